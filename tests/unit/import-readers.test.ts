import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { elementsOf, inLine, problemList, timeIn } from "../../src/ingest/documents.ts";
import { openInferenceSpans } from "../../src/ingest/openinference.ts";
import { otlpSpans } from "../../src/ingest/otlp.ts";
import { SpanWindow } from "../../src/ingest/span-window.ts";
import { documentsIn } from "../../src/ingest/stream.ts";
import { newSpan, otlpOf } from "../spans.ts";

async function documentsOf(...chunks: (string | Uint8Array)[]) {
  const { problems, tell } = problemList();
  const bytes = Readable.from(chunks.map((chunk) => Buffer.from(chunk)));
  const found: unknown[] = [];
  for await (const document of documentsIn(bytes, tell)) {
    found.push(...elementsOf(document).map(({ place, value }) => [place, value]));
  }
  return { found, problems };
}

describe("documents of bytes", () => {
  test("wherever the bytes are cut, the lines are the same", async () => {
    const bytes = Buffer.from('{"a":"Łódź 📚"}\r\n\n[1,2]\nnull');
    const whole = await documentsOf(bytes);
    expect(whole.found).toEqual([
      ["line 1: ", { a: "Łódź 📚" }],
      ["line 3: 0.", 1],
      ["line 3: 1.", 2],
      ["line 4: ", null],
    ]);
    const single = Array.from(bytes, (byte) => Buffer.of(byte));
    expect(await documentsOf(...single)).toEqual(whole);
    const packed = Array.from(gzipSync(bytes), (byte) => Buffer.of(byte));
    expect(await documentsOf(...packed)).toEqual(whole);
  });

  test("one document over many lines is one", async () => {
    const value = { messages: [{ role: "user", content: "a\nb" }], n: [] };
    expect((await documentsOf(JSON.stringify(value, null, 2))).found).toEqual([["", value]]);
    const list = "[\n  1,\n  {}\n]\n";
    expect((await documentsOf(list)).found).toEqual([
      ["0.", 1],
      ["1.", {}],
    ]);
    expect(await documentsOf("[\n1,\n")).toEqual({
      found: [],
      problems: [
        { place: "", message: "expected JSON: one document, or one a line, as jq -c . makes them" },
      ],
    });
  });

  test("a line that is no JSON is told, and keeps no other out", async () => {
    const { found, problems } = await documentsOf('oops\n{}\n{"a":\n{}');
    expect(found).toEqual([
      ["line 2: ", {}],
      ["line 4: ", {}],
    ]);
    expect(problems.map(({ place }) => place)).toEqual(["line 1", "line 3"]);
  });

  test("what would have to be read whole has a limit", async () => {
    const read = async (...chunks: string[]) => {
      const bytes = Readable.from(chunks.map((chunk) => Buffer.from(chunk)));
      for await (const document of documentsIn(bytes, problemList().tell, 2 ** 20)) void document;
    };
    const half = "x".repeat(2 ** 19);
    await expect(read("{}\n", half, half, "x")).rejects.toThrow("line 2 is larger than 1 million");
    const lines = ["[\n", ...[half, half].map((text) => `"${text}",\n`)];
    await expect(read(...lines)).rejects.toThrow("one JSON document is larger than");
    await read(...lines.slice(0, 2));
  });
});

test.each([
  ["2026-01-02T03:04:05.678Z", 678],
  ["2026-01-02T03:04:05.678", 678],
  ["2026-01-02 03:04:05.678901", 678],
  ["2026-01-02T05:04:05.678901+02:00", 678],
  ["2026-01-02T04:04:05+0100", 0],
])("%s is the same instant wherever it is read", (text, milliseconds) => {
  expect(timeIn(text)).toBe(1_767_323_045_000 + milliseconds);
});

describe("spans of a file", () => {
  const { tell } = problemList();
  const windowOf = (mostWaiting?: number) =>
    new SpanWindow((document) => otlpSpans(document, tell), { mostWaiting });
  const run = newSpan({
    attributes: { "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk" },
  });
  const call = newSpan({ within: run });
  const documents = [call, run].map((span, index) => inLine(index + 1, otlpOf([span]), 1000));

  test("wait for the one that names their agent", () => {
    const window = windowOf();
    expect(documents.flatMap((document) => [...window.read(document)])).toEqual([]);
    expect([...window.end()].map(({ agentName, place }) => [agentName, place])).toEqual([
      ["clerk", "line 1: resourceSpans.0.scopeSpans.0.spans.0"],
      ["clerk", "line 2: resourceSpans.0.scopeSpans.0.spans.0"],
    ]);
    expect([...window.end()]).toEqual([]);
  });

  test("wait no longer than there is room, the longest waiting trace first", () => {
    const window = windowOf(1500);
    const other = inLine(2, otlpOf([newSpan()]), 1000);
    const [first] = documents;
    const early = [first, other].flatMap((one) => (one ? [...window.read(one)] : []));
    expect(early.map(({ agentName, place }) => [agentName, place])).toEqual([
      ["shop", "line 1: resourceSpans.0.scopeSpans.0.spans.0"],
    ]);
    expect([...window.end()]).toHaveLength(1);
  });

  test("of Phoenix that cannot be read are told with their place, and keep no other out", () => {
    const { problems, tell: telling } = problemList();
    const span = {
      name: "x",
      "context.trace_id": "0xAB",
      "context.span_id": "0xcd",
      start_time: "2026-01-02T03:04:05.678901+00:00",
      end_time: "2026-01-02T03:04:06Z",
      "attributes.llm.model_name": "gpt-5.1",
    };
    const data = [7, span, { ...span, end_time: null }, { ...span, start_time: 5 }, {}];
    const spans = openInferenceSpans(inLine(1, { data }, 1), telling);
    expect(
      spans.map(({ span: found }) => [found.spanContext(), found.attributes, found.startTime]),
    ).toEqual([
      [
        { traceId: "ab", spanId: "cd" },
        { "llm.model_name": "gpt-5.1" },
        [1_767_323_045, 678_000_000],
      ],
    ]);
    expect(problems.map(({ place, message }) => `${place}: ${message}`)).toEqual([
      "line 1: data.0: expected an object, got a number",
      "line 1: data.2: has not ended: expected end_time",
      "line 1: data.3: expected start_time, an instant",
      "line 1: data.4: expected context.trace_id and context.span_id",
    ]);
  });
});
