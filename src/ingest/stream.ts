/** Bytes of a file as JSON documents, one at a time: the file may be larger than the memory. */
import { Readable, pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { type Document, type Tell, inLine, inWhole, parsed } from "./documents.ts";

/** Characters of a line, or of a document over many lines: JSON is read whole. */
const MOST_CHARACTERS = 64 * 2 ** 20;

/**
 * The documents of JSON lines, or of one JSON document; plain or gzip. A line of JSON lines that is none is told,
 * and the others are read. Memory is bounded by the longest line, and by the document if it is one: of 64 million
 * characters at most.
 * @throws {Error} for a document or line that is larger, for bytes that are no UTF-8, and for a broken gzip
 */
export async function* documentsIn(
  bytes: AsyncIterable<Uint8Array>,
  tell: Tell,
  most = MOST_CHARACTERS,
): AsyncGenerator<Document> {
  const opening: string[] = [];
  let isFirst = true;
  let [number, length] = [0, 0];
  for await (const line of linesOf(bytes, most)) {
    number += 1;
    if (line.trim() === "") continue;
    if (opening.length > 0 || (isFirst && isOpening(line))) {
      opening.push(line);
      length += line.length;
      if (length > most) throw tooLarge("one JSON document", most);
      continue;
    }
    isFirst = false;
    const found = parsed(line);
    if (found) yield inLine(number, found.value, line.length);
    else tell(`line ${number}`, "expected JSON");
  }
  if (opening.length === 0) return;
  const whole = parsed(opening.join("\n"));
  if (whole) yield inWhole(whole.value, length);
  else tell("", "expected JSON: one document, or one a line, as jq -c . makes them");
}

/** Whether a document begins with this line and goes on in the next. */
const isOpening = (line: string): boolean => /[[{,:]\s*$/.test(line.slice(-1000)) && !parsed(line);

/** Not readline: from Node 24 on it splits at U+2028 too, and it repairs broken UTF-8 in silence. */
async function* linesOf(bytes: AsyncIterable<Uint8Array>, most: number): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let pieces: string[] = [];
  let [number, length] = [1, 0];
  const decoded = (chunk?: Uint8Array) => {
    try {
      return decoder.decode(chunk, { stream: chunk !== undefined });
    } catch (cause) {
      throw notUtf8(number, cause);
    }
  };
  for await (const chunk of unpacked(bytes)) {
    const [first = "", ...lines] = decoded(chunk).split("\n");
    pieces.push(first);
    length += first.length;
    if (length > most) throw tooLarge(`line ${number}`, most);
    for (const line of lines) {
      yield pieces.join("");
      pieces = [line];
      length = line.length;
      number += 1;
    }
  }
  yield pieces.join("") + decoded();
}

const notUtf8 = (number: number, cause: unknown) =>
  new Error(
    `line ${number}, or one soon after it, holds bytes that are no UTF-8: convert the input first, such as by iconv -f latin1 -t utf-8`,
    { cause },
  );

const tooLarge = (what: string, most: number) =>
  new Error(
    `${what} is larger than ${most / 2 ** 20} million characters, and is read whole: make it JSON lines, such as by jq -c '.[]'`,
  );

/** Without gzip, which its first two bytes tell. */
async function* unpacked(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const source = bytes[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < 2) {
    const next = await source.next();
    if (next.done) break;
    head = Buffer.concat([head, next.value]);
  }
  const all = continued(head, source);
  const isGzip = head[0] === 0x1f && head[1] === 0x8b;
  yield* isGzip ? unzipped(all) : all;
}

async function* unzipped(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    // The loop throws what either stream reports.
    yield* pipeline(Readable.from(bytes), createGunzip(), () => {});
  } catch (cause) {
    const isOurs = cause instanceof Error && "code" in cause && String(cause.code).startsWith("Z_");
    throw isOurs ? brokenGzip(cause) : cause;
  }
}

const brokenGzip = (cause: Error) =>
  new Error(
    `the gzip is cut off or damaged (${cause.message}): get the file again, and import it whole; what is stored is not stored twice`,
    { cause },
  );

async function* continued(
  head: Uint8Array,
  source: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    yield head;
    for (let next = await source.next(); !next.done; next = await source.next()) yield next.value;
  } finally {
    await source.return?.();
  }
}
