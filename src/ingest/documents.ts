/** JSON of others: one document or a line each, and its members, whose shape nobody has promised. */

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
}

/** The documents of a text of JSON or of JSON lines; what is no text is one already. */
export function* documentsOf(json: unknown, tell: Tell): Generator<Document> {
  const whole = typeof json === "string" ? parsed(json) : { value: json };
  if (whole) {
    yield { value: whole.value, place: "" };
    return;
  }
  for (const [index, line] of String(json).split("\n").entries()) {
    if (line.trim() === "") continue;
    const document = parsed(line);
    if (document) yield { value: document.value, place: `line ${index + 1}: ` };
    else tell(`line ${index + 1}`, "expected JSON");
  }
}

/** A list of problems, and what adds to it. */
export function problemList(): { readonly problems: ReadProblem[]; readonly tell: Tell } {
  const problems: ReadProblem[] = [];
  const tell: Tell = (place, message) =>
    void problems.push({ place: place.replace(/[.: ]+$/, ""), message });
  return { problems, tell };
}

/** An object's members. */
export type Members = Readonly<Record<string, unknown>>;

export const isRecord = (value: unknown): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const listOf = (value: unknown): Members[] =>
  Array.isArray(value) ? value.filter(isRecord) : [];

export const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

function parsed(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}
