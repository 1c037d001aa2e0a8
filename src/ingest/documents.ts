/** JSON of others: one document or a line each, and its members, whose shape nobody has promised. */
import { kindOf } from "../schema/json.ts";
import type { FinishedSpan, Instant, SpanExecution } from "./spans.ts";

/** A part of a document that could not be read, and was left out. */
export interface ReadProblem {
  /** Where: the line, and the path inside it, as in `line 3: resourceSpans.0.scopeSpans.1.spans.7`. */
  readonly place: string;
  /** What was expected, and what came, in words without content. */
  readonly message: string;
}

/** Takes what could not be read. */
export type Tell = (place: string, message: string) => void;

/** Some document, with what its places begin with. */
export interface Document {
  readonly value: unknown;
  readonly place: string;
  /** How many stand before it, in its list or its lines. */
  readonly index: number;
  /** Of its JSON, about. */
  readonly characters: number;
}

/** A row to record, and where in the input it was found. */
export interface PlacedExecution extends SpanExecution {
  readonly place: string;
}

/** A span, and where in the input it was found. */
export interface PlacedSpan {
  readonly span: FinishedSpan;
  readonly place: string;
}

/** Reads the documents of one format. */
export interface DocumentReader {
  /** The rows that a document completes. */
  read(document: Document): Iterable<PlacedExecution>;
  /** The rows that waited for more. */
  end(): Iterable<PlacedExecution>;
}

/** The documents of a text of JSON or of JSON lines; what is no text is one already. */
export function* documentsOf(json: unknown, tell: Tell): Generator<Document> {
  const whole = typeof json === "string" ? parsed(json) : { value: json };
  if (whole) {
    yield inWhole(whole.value, typeof json === "string" ? json.length : 0);
    return;
  }
  for (const [index, line] of String(json).split("\n").entries()) {
    if (line.trim() === "") continue;
    const document = parsed(line);
    if (document) yield inLine(index + 1, document.value, line.length);
    else tell(`line ${index + 1}`, "expected JSON");
  }
}

/** A document that has a line to itself. */
export const inLine = (line: number, value: unknown, characters: number): Document => ({
  value,
  place: `line ${line}: `,
  index: line - 1,
  characters,
});

/** A document that is all there is. */
export const inWhole = (value: unknown, characters: number): Document => ({
  value,
  place: "",
  index: 0,
  characters,
});

/** The documents in a list of them. A list of messages is one. */
export function elementsOf(document: Document): Document[] {
  const { value, place, characters } = document;
  if (!Array.isArray(value) || listOf(value).some((one) => "role" in one)) return [document];
  return value.map((one: unknown, index) => ({
    value: one,
    place: `${place}${index}.`,
    index,
    characters: characters / value.length,
  }));
}

/**
 * What each object of a list is; those that are none are told, and left out.
 * @param read answers what one is, or in words why it is none
 */
export function readEach<T extends object>(
  value: unknown,
  { place, tell }: { readonly place: string; readonly tell: Tell },
  read: (one: Members, place: string) => T | string,
): T[] {
  if (!Array.isArray(value)) {
    tell(place, `expected a list, got ${kindOf(value)}`);
    return [];
  }
  return value.flatMap((one: unknown, index) => {
    const at = `${place}.${index}`;
    const found = isRecord(one) ? read(one, at) : `expected an object, got ${kindOf(one)}`;
    if (typeof found !== "string") return [found];
    tell(at, found);
    return [];
  });
}

/** A list of problems, and what adds to it. */
export function problemList(): { readonly problems: ReadProblem[]; readonly tell: Tell } {
  const problems: ReadProblem[] = [];
  const tell: Tell = (place, message) => void problems.push({ place: placeOf(place), message });
  return { problems, tell };
}

/** A place without what would join it to more. */
export const placeOf = (place: string): string => place.replace(/[.: ]+$/, "");

/** An object's members. */
export type Members = Readonly<Record<string, unknown>>;

export const isRecord = (value: unknown): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const listOf = (value: unknown): Members[] =>
  Array.isArray(value) ? value.filter(isRecord) : [];

export const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

/** Milliseconds since 1970 of a text; without a zone it is UTC, wherever it is read. NaN for what is none. */
export function timeIn(given: string): number {
  const isZoned = !given.includes(":") || /(?:[+-]\d\d(?::?\d\d)?|Z|GMT|UTC)\s*$/i.test(given);
  return Date.parse(isZoned ? given : `${given}Z`);
}

/** The instant of a text; undefined for anything else. */
export function instantIn(value: unknown): Instant | undefined {
  const at = typeof value === "string" ? timeIn(value) : NaN;
  return Number.isNaN(at)
    ? undefined
    : [Math.floor(at / 1000), (((at % 1000) + 1000) % 1000) * 1e6];
}

/** The JSON of a text, or undefined where it is none. */
export function parsed(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}
