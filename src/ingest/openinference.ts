/**
 * Spans as Phoenix exports them, and as OpenTelemetry's console exporters print them: an object each, with ids
 * in `context`. Attributes may be nested, or columns of their own with dots in their names.
 */
import { kindOf } from "../schema/json.ts";
import { type Document, type Members, type Tell, isRecord, listOf, textOf } from "./documents.ts";
import type { PlacedSpan } from "./span-window.ts";
import { type Attributes, instantOf } from "./spans.ts";

/** Whether a document is one span, or a page of them. */
export const isOpenInference = (value: Members): boolean =>
  isRecord(value["context"]) ||
  "context.span_id" in value ||
  listOf(value["data"]).some(isOpenInference);

/** The spans of a document. */
export function openInferenceSpans({ value, place }: Document, tell: Tell): PlacedSpan[] {
  if (!isRecord(value)) {
    tell(place, `expected an object, got ${kindOf(value)}`);
    return [];
  }
  const page = value["data"];
  const given: unknown[] = Array.isArray(page) ? page : [value];
  return given.flatMap((one, index) => {
    const at = Array.isArray(page) ? `${place}data.${index}` : place;
    const span = spanIn(one, at);
    if (typeof span !== "string") return [span];
    tell(at, span);
    return [];
  });
}

/** A span, or why it is none. */
function spanIn(value: unknown, place: string): PlacedSpan | string {
  if (!isRecord(value)) return `expected an object, got ${kindOf(value)}`;
  const members = flattened(value);
  const traceId = idOf(members["context.trace_id"]);
  const spanId = idOf(members["context.span_id"]);
  if (!traceId || !spanId) return "expected context.trace_id and context.span_id";
  const [startTime, endTime] = [instantOf(members["start_time"]), instantOf(members["end_time"])];
  if (!startTime) return "expected start_time, an instant";
  if (!endTime) return "has not ended: expected end_time";
  const parent = idOf(members["parent_id"]);
  const kind = textOf(members["span_kind"]);
  const isError = /ERROR/i.test(textOf(members["status_code"] ?? members["status.status_code"]));
  const span = {
    name: textOf(members["name"]),
    attributes: {
      ...(kind && { "openinference.span.kind": kind }),
      ...within(members, "attributes."),
    },
    resource: { attributes: within(members, "resource.attributes.") },
    startTime,
    endTime,
    status: {
      code: isError ? 2 : 0,
      message: textOf(members["status_message"] ?? members["status.description"]),
    },
    events: listOf(value["events"]).map((event) => ({
      name: textOf(event["name"]),
      attributes: isRecord(event["attributes"]) ? flattened(event["attributes"]) : {},
    })),
    parentSpanContext: parent ? { spanId: parent } : undefined,
    spanContext: () => ({ traceId, spanId }),
  };
  return { span, place, traceId, key: `${traceId}/${spanId}`, parentKey: `${traceId}/${parent}` };
}

/** Python prints `0x` before the digits. */
const idOf = (value: unknown): string => textOf(value).replace(/^0x/, "").toLowerCase();

/** Attributes that are values, whatever is inside. */
const WHOLE = /(?:^|\.)(?:input|output)\.value$/;

/** Members by the path to them. Lists stay whole. */
function flattened(value: Members): Attributes {
  const flat: Record<string, unknown> = {};
  const waiting: (readonly [string, unknown])[] = Object.entries(value).toReversed();
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [path, member] = next;
    if (!isRecord(member) || WHOLE.test(path)) flat[path] = member ?? undefined;
    else
      waiting.push(
        ...Object.entries(member).map(([key, inner]) => [`${path}.${key}`, inner] as const),
      );
  }
  return flat;
}

/** Of the members that begin so, what is behind. */
const within = (members: Attributes, prefix: string): Attributes =>
  Object.fromEntries(
    Object.entries(members).flatMap(([key, value]) =>
      key.startsWith(prefix) ? [[key.slice(prefix.length), value]] : [],
    ),
  );
