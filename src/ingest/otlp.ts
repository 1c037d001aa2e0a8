/** OTLP/JSON as spans: what the collector's file exporter writes, and the body of an export over HTTP. */
import { kindOf } from "../schema/json.ts";
import {
  type Members,
  type ReadProblem,
  type Tell,
  documentsOf,
  isRecord,
  listOf,
  problemList,
  textOf,
} from "./documents.ts";
import { type PlacedSpan, scopesOf } from "./span-window.ts";
import type { Attributes, FinishedSpan, Instant, SpanScope } from "./spans.ts";

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
  const reader = new OtlpReader(tell);
  for (const { value, place } of documentsOf(json, tell)) reader.read(value, place);
  const arounds = scopesOf(reader.spans);
  const spans = reader.spans.map((one) => ({ ...one.span, around: arounds.get(one) }));
  return { spans, problems };
}

/** Collects the spans of OTLP's documents. */
export class OtlpReader {
  readonly spans: PlacedSpan[] = [];
  readonly #tell: Tell;

  constructor(tell: Tell) {
    this.#tell = tell;
  }

  read(document: unknown, place: string): void {
    if (!isRecord(document))
      return this.#tell(place, `expected an object, got ${kindOf(document)}`);
    // Lines of a collector may hold metrics or logs.
    if (!("resourceSpans" in document)) return this.#tell(place, "expected resourceSpans");
    this.#each(document, "resourceSpans", place, (found, at) => {
      const resource = {
        attributes: attributesOf(isRecord(found["resource"]) ? found["resource"] : {}),
      };
      // As it was called until 2022.
      const scopes = "scopeSpans" in found ? "scopeSpans" : "instrumentationLibrarySpans";
      this.#each(found, scopes, `${at}.`, (scope, inside) =>
        this.#each(scope, "spans", `${inside}.`, (span, where) => {
          try {
            this.#add(span, resource, where);
          } catch {
            this.#tell(where, "is nested too deep");
          }
        }),
      );
    });
  }

  #each(
    parent: Members,
    key: string,
    place: string,
    read: (member: Members, place: string) => void,
  ): void {
    const members = parent[key] ?? [];
    if (!Array.isArray(members)) {
      return this.#tell(place + key, `expected a list, got ${kindOf(members)}`);
    }
    for (const [index, member] of members.entries()) {
      const at = `${place}${key}.${index}`;
      if (isRecord(member)) read(member, at);
      else this.#tell(at, `expected an object, got ${kindOf(member)}`);
    }
  }

  #add(span: Members, resource: FinishedSpan["resource"], place: string): void {
    const [traceId, spanId] = [idOf(span["traceId"]), idOf(span["spanId"])];
    if (!traceId || !spanId) return this.#tell(place, "expected a traceId and a spanId");
    const startTime = instantOf(span["startTimeUnixNano"]);
    if (!startTime) return this.#tell(place, "expected startTimeUnixNano, nanoseconds since 1970");
    const endTime = instantOf(span["endTimeUnixNano"]);
    if (!endTime) return this.#tell(place, "has not ended: expected endTimeUnixNano");
    const parent = idOf(span["parentSpanId"]);
    const read: FinishedSpan = {
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
    this.spans.push({
      span: read,
      place,
      traceId,
      key: `${traceId}/${spanId}`,
      parentKey: `${traceId}/${parent}`,
    });
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
