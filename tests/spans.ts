/** Spans for tests: captured ones, made ones, and both as OTLP/JSON. */
import { readFileSync } from "node:fs";
import * as z from "zod";
import type { FinishedSpan, Instant, SpanExecution, SpanOptions } from "../src/ingest/spans.ts";
import { executionOf } from "../src/ingest/spans.ts";
import { readOtlp } from "../src/ingest/otlp.ts";

const instant = z.tuple([z.number(), z.number()]);
const attributes = z.record(z.string(), z.unknown());
const captured = z.array(
  z.object({
    name: z.string(),
    trace: z.string(),
    span: z.string(),
    parent: z.string().optional(),
    start: instant,
    dur: instant,
    status: z.object({ code: z.number(), message: z.string().optional() }),
    attributes,
    events: z.array(z.object({ name: z.string(), attributes })),
  }),
);

/** Of which spans were captured: the Vercel AI SDK 7 in both of its dialects, and 6 and 5 as OTLP/JSON of their exporter. */
export const DIALECTS = [
  "ai-sdk-7-gen-ai",
  "ai-sdk-7-legacy",
  "ai-sdk-6-otlp",
  "ai-sdk-5-otlp",
] as const;

/** Of runs that end well, with a failing tool, with an error of the model, and aborted; in the order they ended. */
export function capturedSpans(dialect: (typeof DIALECTS)[number]): FinishedSpan[] {
  if (dialect.endsWith("otlp")) {
    const { spans, problems } = readOtlp(readFileSync(`tests/fixtures/${dialect}.jsonl`, "utf8"));
    if (problems.length > 0) throw new Error(`${dialect}: ${problems[0]?.message}`);
    return [...spans];
  }
  const json: unknown = JSON.parse(readFileSync(`tests/fixtures/${dialect}.json`, "utf8"));
  return captured.parse(json).map(({ trace, span, parent, start, dur, ...rest }) =>
    newSpan({
      ...rest,
      startTime: start,
      endTime: after(start, dur[0] * 1e9 + dur[1]),
      ids: [trace, span, parent],
    }),
  );
}

const after = ([seconds, nanoseconds]: Instant, more: number): Instant => {
  const all = nanoseconds + more;
  return [seconds + Math.floor(all / 1e9), all % 1e9];
};

const hex = (length: number) =>
  Array.from({ length }, () => Math.floor(Math.random() * 16).toString(16)).join("");

interface NewSpan extends Partial<Omit<FinishedSpan, "spanContext">> {
  readonly ids?: readonly [trace: string, span: string, parent?: string | undefined];
  /** What it is inside of. */
  readonly within?: FinishedSpan;
  readonly milliseconds?: number;
}

/** A finished span; by default the call of a model just now. */
export function newSpan({ ids, within, milliseconds = 5, ...given }: NewSpan = {}): FinishedSpan {
  const outer = within?.spanContext();
  const own = [outer?.traceId ?? hex(32), hex(16), outer?.spanId] as const;
  const [traceId, spanId, parentSpanId] = ids ?? own;
  const startTime = given.startTime ?? [Math.floor(Date.now() / 1000), 123_456_789];
  return {
    name: "chat gpt-5.1",
    attributes: { "gen_ai.operation.name": "chat" },
    resource: { attributes: { "service.name": "shop" } },
    status: { code: 0 },
    events: [],
    startTime,
    endTime: after(startTime, milliseconds * 1e6),
    parentSpanContext: parentSpanId === undefined ? undefined : { spanId: parentSpanId },
    ...given,
    spanContext: () => ({ traceId, spanId, traceFlags: 1 }),
  };
}

/** An `ExportTraceServiceRequest`, as the collector writes it. */
export function otlpOf(spans: readonly FinishedSpan[]) {
  return {
    resourceSpans: spans.map((span) => ({
      resource: { attributes: keyValues(span.resource.attributes) },
      scopeSpans: [{ scope: { name: "test" }, spans: [otlpSpan(span)] }],
    })),
  };
}

function otlpSpan(span: FinishedSpan) {
  const { traceId, spanId } = span.spanContext();
  return {
    traceId,
    spanId,
    parentSpanId: span.parentSpanContext?.spanId ?? "",
    name: span.name,
    kind: 1,
    startTimeUnixNano: unixNano(span.startTime),
    endTimeUnixNano: unixNano(span.endTime),
    attributes: keyValues(span.attributes),
    events: span.events.map(({ name, attributes: own = {} }) => ({
      timeUnixNano: unixNano(span.endTime),
      name,
      attributes: keyValues(own),
    })),
    status: { code: span.status.code, message: span.status.message ?? "" },
  };
}

const unixNano = ([seconds, nanoseconds]: Instant) =>
  String(BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds));

const keyValues = (values: FinishedSpan["attributes"]) =>
  Object.entries(values).map(([key, value]) => ({ key, value: anyValue(value) }));

function anyValue(value: unknown): object {
  if (Array.isArray(value)) return { arrayValue: { values: value.map(anyValue) } };
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value };
}

/** The rows of spans, by way of their OTLP/JSON. */
export function executionsOf(
  spans: readonly FinishedSpan[],
  options: SpanOptions = {},
): SpanExecution[] {
  return readOtlp(otlpOf(spans)).spans.flatMap(
    (span) => executionOf(span, options, span.around) ?? [],
  );
}
