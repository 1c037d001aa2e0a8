/** OTLP/JSON as spans: what the collector's file exporter writes, and the body of an export over HTTP. */
import { kindOf } from "../schema/json.ts";
import {
  type Document,
  type Members,
  type PlacedSpan,
  type ReadProblem,
  type Tell,
  documentsOf,
  isRecord,
  listOf,
  problemList,
  readEach,
  textOf,
} from "./documents.ts";
import {
  type Attributes,
  type FinishedSpan,
  type Instant,
  type SpanScope,
  scopesOf,
} from "./spans.ts";

/** A span of a document, with what it takes from the spans around it. */
export interface OtlpSpan extends FinishedSpan {
  readonly around: SpanScope | undefined;
}

/** What {@link readOtlp} found. */
export interface OtlpContent {
  readonly spans: readonly OtlpSpan[];
  readonly problems: readonly ReadProblem[];
}

/**
 * Reads the spans of OTLP/JSON: one `ExportTraceServiceRequest`, as text or parsed, or a text of JSON lines with
 * one each. Parents are found in the whole of it, in any order, so that a span knows its agent; what is no span
 * is told and does not keep the others out.
 * @example
 * const { spans, problems } = readOtlp(await readFile("traces.json", "utf8"));
 * const found = spans.flatMap((span) => executionOf(span, {}, span.around) ?? []);
 */
export function readOtlp(json: unknown): OtlpContent {
  const { problems, tell } = problemList();
  const spans: FinishedSpan[] = [];
  for (const document of documentsOf(json, tell)) {
    for (const { span } of otlpSpans(document, tell)) spans.push(span);
  }
  const arounds = scopesOf(spans);
  return { spans: spans.map((span) => ({ ...span, around: arounds.get(span) })), problems };
}

/** Whether a document is of OTLP. */
export const isOtlp = (value: Members): boolean => "resourceSpans" in value || isOtherSignal(value);

/** Whether a document has what a collector may write into the same file: metrics, logs. */
export const isOtherSignal = (value: unknown): boolean =>
  isRecord(value) && ("resourceMetrics" in value || "resourceLogs" in value);

/** The spans of a document. */
export function otlpSpans({ value, place }: Document, tell: Tell): PlacedSpan[] {
  if (!isRecord(value)) {
    tell(place, `expected an object, got ${kindOf(value)}`);
    return [];
  }
  if (!("resourceSpans" in value)) {
    tell(place, "expected resourceSpans");
    return [];
  }
  const each = <T extends object>(
    holder: Members,
    path: readonly [place: string, key: string],
    read: (one: Members, place: string) => T | string,
  ) => readEach(holder[path[1]] ?? [], { place: path.join(""), tell }, read);
  return each(value, [place, "resourceSpans"], (found, at) => {
    const resource = {
      attributes: attributesOf(isRecord(found["resource"]) ? found["resource"] : {}),
    };
    // As it was called until 2022.
    const scopes = "scopeSpans" in found ? "scopeSpans" : "instrumentationLibrarySpans";
    return each(found, [`${at}.`, scopes], (scope, inside) =>
      each(scope, [`${inside}.`, "spans"], (span, where) => {
        const read = spanIn(span, resource);
        return typeof read === "string" ? read : { span: read, place: where };
      }),
    ).flat();
  }).flat();
}

/** A span, or why it is none. */
function spanIn(span: Members, resource: FinishedSpan["resource"]): FinishedSpan | string {
  const [traceId, spanId] = [idOf(span["traceId"]), idOf(span["spanId"])];
  if (!traceId || !spanId) return "expected a traceId and a spanId";
  const startTime = instantOf(span["startTimeUnixNano"]);
  if (!startTime) return "expected startTimeUnixNano, nanoseconds since 1970";
  const endTime = instantOf(span["endTimeUnixNano"]);
  if (!endTime) return "has not ended: expected endTimeUnixNano";
  const parent = idOf(span["parentSpanId"]);
  try {
    return {
      name: textOf(span["name"]),
      attributes: attributesOf(span),
      resource,
      startTime,
      endTime,
      status: statusOf(span["status"]),
      events: listOf(span["events"]).map((event) => ({
        name: textOf(event["name"]),
        attributes: attributesOf(event),
      })),
      parentSpanContext: parent ? { spanId: parent } : undefined,
      spanContext: () => ({ traceId, spanId }),
    };
  } catch {
    return "is nested too deep";
  }
}

// ── Members ──

/** Hex digits in either case; nothing but zeros is none. */
const idOf = (value: unknown): string | undefined =>
  typeof value === "string" && /[^0]/.test(value) ? value.toLowerCase() : undefined;

/** Nanoseconds as digits: a number is too coarse for them, but its milliseconds are right. */
function instantOf(value: unknown): Instant | undefined {
  if (typeof value !== "string" && typeof value !== "number") return undefined;
  if (!/^\d{1,20}$/.test(String(value)) || Number(value) === 0) return undefined;
  const nanoseconds = BigInt(value);
  return [Number(nanoseconds / 1_000_000_000n), Number(nanoseconds % 1_000_000_000n)];
}

function statusOf(value: unknown): FinishedSpan["status"] {
  const { code, message } = isRecord(value) ? value : {};
  const isError = code === 2 || code === "STATUS_CODE_ERROR";
  return { code: isError ? 2 : 0, message: textOf(message) };
}

const attributesOf = (holder: Members): Attributes =>
  Object.fromEntries(
    listOf(holder["attributes"]).map(({ key, value }) => [textOf(key), valueOf(value)]),
  );

/** An `AnyValue`. Undefined for what is none. */
function valueOf(value: unknown): unknown {
  if (!isRecord(value)) return undefined;
  const { stringValue, boolValue, intValue, doubleValue, bytesValue, arrayValue, kvlistValue } =
    value;
  if (isRecord(arrayValue)) return listOf(arrayValue["values"]).map(valueOf);
  if (isRecord(kvlistValue)) return attributesOf({ attributes: kvlistValue["values"] });
  const number = intValue ?? doubleValue;
  return stringValue ?? boolValue ?? (number === undefined ? bytesValue : Number(number));
}
