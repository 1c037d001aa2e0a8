import { describe, expect, test } from "vitest";
import { readOtlp } from "../../src/ingest/otlp.ts";
import { executionOf } from "../../src/ingest/spans.ts";
import { DIALECTS, capturedSpans, newSpan, otlpOf } from "../spans.ts";

const rowsOf = (json: unknown) =>
  readOtlp(json).spans.flatMap((span) => executionOf(span, {}, span.around) ?? []);
const documentOf = (...spans: unknown[]) => ({ resourceSpans: [{ scopeSpans: [{ spans }] }] });
const [FIRST] = otlpOf([newSpan()]).resourceSpans;
const SPAN = FIRST?.scopeSpans[0]?.spans[0];

describe("readOtlp", () => {
  test.each(DIALECTS)("finds parents anywhere in the lines (%s)", (dialect) => {
    const spans = capturedSpans(dialect);
    const whole = rowsOf(otlpOf(spans));
    expect(whole).toHaveLength(12);
    const lines = spans.map((span) => JSON.stringify(otlpOf([span])));
    expect(rowsOf(lines.join("\n"))).toEqual(whole);
    expect(rowsOf(`${lines.toReversed().join("\r\n\n")}\n`)).toEqual(whole.toReversed());
    expect(rowsOf(JSON.stringify(otlpOf(spans), null, 2))).toEqual(whole);
  });

  test("what cannot be read is told with its place, and keeps nothing else out", () => {
    const { traceId: _, ...nameless } = SPAN ?? {};
    const lines = [
      documentOf(SPAN, nameless, 7, { ...SPAN, startTimeUnixNano: "soon" }, SPAN),
      documentOf({ ...SPAN, endTimeUnixNano: "0" }),
      { resourceSpans: "none" },
      { resourceMetrics: [] },
      [],
      { resourceSpans: [{ scopeSpans: { spans: [] } }, null, ...documentOf(SPAN).resourceSpans] },
    ].map((document) => JSON.stringify(document));
    const { spans, problems } = readOtlp([...lines, "{ cut sho"].join("\n"));
    expect(spans).toHaveLength(3);
    expect(problems.map(({ place, message }) => `${place}: ${message}`)).toEqual([
      "line 1: resourceSpans.0.scopeSpans.0.spans.1: expected a traceId and a spanId",
      "line 1: resourceSpans.0.scopeSpans.0.spans.2: expected an object, got a number",
      "line 1: resourceSpans.0.scopeSpans.0.spans.3: expected startTimeUnixNano, nanoseconds since 1970",
      "line 2: resourceSpans.0.scopeSpans.0.spans.0: has not ended: expected endTimeUnixNano",
      "line 3: resourceSpans: expected a list, got a string",
      "line 4: expected resourceSpans",
      "line 5: expected an object, got a list of 0",
      "line 6: resourceSpans.0.scopeSpans: expected a list, got an object",
      "line 6: resourceSpans.1: expected an object, got null",
      "line 7: expected JSON",
    ]);
    expect(readOtlp("").problems).toEqual([]);
    expect(readOtlp(undefined).problems).toHaveLength(1);
  });

  test("a span that is its own ancestor, and one of twenty thousand generations, are rows", () => {
    const span = newSpan();
    const { traceId, spanId } = span.spanContext();
    const loop = newSpan({ ids: [traceId, spanId, spanId] });
    expect(rowsOf(otlpOf([loop]))).toHaveLength(1);
    const generations = [newSpan({ attributes: { "gen_ai.agent.name": "eve" } })];
    for (let n = 0; n < 20_000; n++)
      generations.push(newSpan({ within: generations.at(-1) ?? span, attributes: {} }));
    const last = newSpan({ within: generations.at(-1) ?? span });
    expect(rowsOf(otlpOf([last, ...generations.toReversed()]))).toMatchObject([
      { agentName: "eve" },
    ]);
  });

  test("nesting without end is told, not thrown", () => {
    const deep = `${'{"arrayValue":{"values":['.repeat(60_000)}${"]}}".repeat(60_000)}`;
    const text = JSON.stringify(
      documentOf(SPAN, { ...SPAN, attributes: [{ key: "a", value: "deep" }] }),
    );
    const { spans, problems } = readOtlp(text.replace('"deep"', deep));
    expect(spans).toHaveLength(1);
    expect(problems).toMatchObject([{ message: "is nested too deep" }]);
  });

  test.each([
    [{ intValue: "12" }, 12],
    [{ intValue: 12 }, 12],
    [{ doubleValue: 0.5 }, 0.5],
    [{ doubleValue: "NaN" }, NaN],
    [{ boolValue: false }, false],
    [{ stringValue: "" }, ""],
    [{ bytesValue: "AAE=" }, "AAE="],
    [{ arrayValue: { values: [{ stringValue: "a" }, { intValue: "1" }] } }, ["a", 1]],
    [{ kvlistValue: { values: [{ key: "k", value: { boolValue: true } }] } }, { k: true }],
    [{ arrayValue: {} }, []],
    [{}, undefined],
    [null, undefined],
  ])("an attribute %j is %j", (value, expected) => {
    const [span] = readOtlp(documentOf({ ...SPAN, attributes: [{ key: "a", value }] })).spans;
    expect(span?.attributes).toEqual({ a: expected });
  });

  test("ids in upper case, times as numbers, names of codes and the former name of scopes are read", () => {
    const upper = {
      ...SPAN,
      traceId: SPAN?.traceId.toUpperCase(),
      spanId: SPAN?.spanId.toUpperCase(),
      startTimeUnixNano: Number(SPAN?.startTimeUnixNano),
      status: { code: "STATUS_CODE_ERROR", message: "no" },
    };
    const json = { resourceSpans: [{ instrumentationLibrarySpans: [{ spans: [upper] }] }] };
    const [before] = rowsOf(documentOf(SPAN));
    const [after] = rowsOf(json);
    expect(after?.execution).toMatchObject({ status: "failure", id: before?.execution.id });
  });
});
