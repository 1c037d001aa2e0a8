/**
 * Spans as Phoenix exports them, and as OpenTelemetry's console exporters print them: an object each, with ids
 * in `context`. Attributes may be nested, or columns of their own with dots in their names.
 */
import { kindOf } from "../schema/json.ts";
import {
  type Document,
  type Members,
  type PlacedSpan,
  type Tell,
  instantIn,
  isRecord,
  listOf,
  readEach,
  textOf,
} from "./documents.ts";
import type { Attributes, FinishedSpan } from "./spans.ts";

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
  const read = (one: Members, at: string) => {
    const span = spanIn(one);
    return typeof span === "string" ? span : { span, place: at };
  };
  const page = value["data"];
  if (Array.isArray(page)) return readEach(page, { place: `${place}data`, tell }, read);
  const only = read(value, place);
  if (typeof only !== "string") return [only];
  tell(place, only);
  return [];
}

/** A span, or why it is none. */
function spanIn(value: Members): FinishedSpan | string {
  const members = flattened(value);
  const traceId = idOf(members["context.trace_id"]);
  const spanId = idOf(members["context.span_id"]);
  if (!traceId || !spanId) return "expected context.trace_id and context.span_id";
  const [startTime, endTime] = [instantIn(members["start_time"]), instantIn(members["end_time"])];
  if (!startTime) return "expected start_time, an instant";
  if (!endTime) return "has not ended: expected end_time";
  const parent = idOf(members["parent_id"]);
  const kind = textOf(members["span_kind"]);
  const isError = /ERROR/i.test(textOf(members["status_code"] ?? members["status.status_code"]));
  return {
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
}

/** Python prints `0x` before the digits. */
const idOf = (value: unknown): string => textOf(value).replace(/^0x/, "").toLowerCase();

/** Attributes that are values, whatever is inside. */
const WHOLE = /(?:^|\.)(?:input|output)\.value$/;

/** Members by the path to them. Lists stay whole. */
function flattened(value: Members): Attributes {
  const flat: Record<string, unknown> = {};
  const waiting = Object.entries(value);
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [path, member] = next;
    if (!isRecord(member) || WHOLE.test(path)) flat[path] = member ?? undefined;
    else for (const key of Object.keys(member)) waiting.push([`${path}.${key}`, member[key]]);
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
