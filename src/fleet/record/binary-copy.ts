/** PostgreSQL's binary COPY: the rows as it wants them, and the way into a running transaction. */
import { finished } from "node:stream/promises";
import type { Sql } from "postgres";
import { confinedCopy } from "../../client/transaction.ts";

/** What a field of a row may be; a jsonb field is its text. */
export type Cell = string | number | Date | null;

type Encoder = (rows: CopyRows, cell: Cell) => void;

/** Kinds of fields, by the SQL type that receives them; all others travel as text. */
const ENCODERS: Readonly<Record<string, Encoder>> = {
  uuid: (rows, cell) => rows.uuid(String(cell)),
  integer: (rows, cell) => rows.integer(Number(cell)),
  jsonb: (rows, cell) => rows.text(String(cell), JSONB_VERSION),
  "timestamp with time zone": (rows, cell) => rows.instant(Number(cell)),
};
const asText: Encoder = (rows, cell) => rows.text(String(cell));

/** The SQL type to COPY a column's text or binary form into: what has no encoder is cast later. */
export const copyType = (type: string): string => (type in ENCODERS ? type : "text");

const JSONB_VERSION = 1;
/** Signature, flags, length of the header's extension. */
const HEADER = Buffer.from("PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", "latin1");
const [NULL, END] = [-1, -1];
/** Milliseconds from 1970 to PostgreSQL's epoch. */
const EPOCH = Date.UTC(2000, 0, 1);

/** Hexadecimal digits by character code. */
const DIGITS = new Uint8Array(128);
for (const digit of "0123456789abcdefABCDEF") {
  DIGITS[digit.charCodeAt(0)] = Number.parseInt(digit, 16);
}

/** A growing buffer of rows. */
export class CopyRows {
  #buffer: Buffer;
  #length: number;
  readonly #encoders: readonly Encoder[];

  /**
   * @param types the SQL types of the columns, in order
   * @param spare a buffer to write into that nobody needs any more
   */
  constructor(types: readonly string[], spare: Buffer = Buffer.allocUnsafe(1 << 20)) {
    this.#buffer = spare;
    this.#length = HEADER.copy(spare);
    this.#encoders = types.map((type) => ENCODERS[type] ?? asText);
  }

  add(cells: readonly Cell[]): void {
    this.#room(2);
    this.#length = this.#buffer.writeInt16BE(this.#encoders.length, this.#length);
    for (const [index, encode] of this.#encoders.entries()) {
      const cell = cells[index] ?? null;
      if (cell === null) {
        this.#room(4);
        this.#length = this.#buffer.writeInt32BE(NULL, this.#length);
      } else {
        encode(this, cell);
      }
    }
  }

  /** All rows, and the end mark; a view of the buffer. */
  end(): Buffer {
    this.#room(2);
    this.#length = this.#buffer.writeInt16BE(END, this.#length);
    return this.#buffer.subarray(0, this.#length);
  }

  #room(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(2 * (this.#length + bytes));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }

  uuid(written: string): void {
    this.#room(20);
    let at = this.#buffer.writeInt32BE(16, this.#length);
    for (let digit = 0; digit < written.length; digit += 2) {
      if (written.charCodeAt(digit) === HYPHEN) digit += 1;
      const high = DIGITS[written.charCodeAt(digit)] ?? 0;
      this.#buffer[at++] = (high << 4) | (DIGITS[written.charCodeAt(digit + 1)] ?? 0);
    }
    this.#length = at;
  }

  integer(value: number): void {
    this.#room(8);
    this.#length = this.#buffer.writeInt32BE(value, this.#buffer.writeInt32BE(4, this.#length));
  }

  /** @param milliseconds from 1970; PostgreSQL counts microseconds from 2000 */
  instant(milliseconds: number): void {
    this.#room(12);
    const microseconds = BigInt(milliseconds - EPOCH) * 1000n;
    const at = this.#buffer.writeInt32BE(8, this.#length);
    this.#length = this.#buffer.writeBigInt64BE(microseconds, at);
  }

  /** @param version a byte before the text, of types that have one */
  text(value: string, version?: number): void {
    // UTF-8 takes three bytes at most for each of JavaScript's halves of a character.
    this.#room(5 + 3 * value.length);
    const start = this.#length + 4;
    const from = version === undefined ? start : this.#buffer.writeUInt8(version, start);
    const end = from + this.#buffer.write(value, from);
    this.#buffer.writeInt32BE(end - start, this.#length);
    this.#length = end;
  }
}

const HYPHEN = "-".charCodeAt(0);

/**
 * Sends the rows of a COPY on the connection that a transaction of postgres.js has. Resolves when
 * PostgreSQL has stored them.
 */
export async function copyIn(
  session: { readonly client: Pick<Sql, "unsafe"> },
  { statement, rows }: { readonly statement: string; readonly rows: Buffer },
): Promise<void> {
  await confinedCopy(session, async () => {
    const query = session.client.unsafe(statement);
    const stream = await query.writable();
    // What PostgreSQL refuses after the last row, postgres.js tells the query alone, which has resolved.
    const refused = new Promise<never>((_, reject) => Reflect.set(query, "reject", reject));
    const done = finished(stream);
    stream.end(rows);
    await Promise.race([done, refused]);
  });
}
