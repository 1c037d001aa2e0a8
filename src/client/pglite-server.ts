import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type Server, createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Transform, type TransformCallback, pipeline } from "node:stream";
import type { PGlite } from "@electric-sql/pglite";

/** A server of PGlite, on the loopback address. */
export interface PgliteServer {
  readonly port: number;
  readonly stop: () => Promise<void>;
}

/**
 * Serves PGlite to clients of PostgreSQL's protocol. pglite-socket stands behind a gate of ours: it takes
 * any bytes for a message to come, and a COPY from a client ends the engine, for all clients.
 */
export async function servePglite(db: PGlite, port: number): Promise<PgliteServer> {
  const { PGLiteSocketServer } = await import("@electric-sql/pglite-socket");
  const { path, remove } = privatePath();
  const behind = new PGLiteSocketServer({ db, path, maxConnections: 20 });
  await behind.start();
  const front = createServer((client) => {
    client.setNoDelay(true);
    // Whoever is refused is cut off; there is no error of ours to report.
    pipeline(client, new Gate(), createConnection(path), client, () => {});
  });
  const stop = async () => {
    await Promise.all([behind.stop(), closed(front)]);
    remove();
  };
  try {
    front.listen(port, "127.0.0.1");
    await once(front, "listening");
  } catch (error) {
    await stop();
    throw error;
  }
  const address = front.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : port,
    stop,
  };
}

/** A socket that no other user of the machine reaches. */
function privatePath(): { path: string; remove: () => void } {
  if (process.platform === "win32") {
    return { path: `\\\\.\\pipe\\meta-agent-db-${randomUUID()}`, remove: () => {} };
  }
  const directory = mkdtempSync(join(tmpdir(), "meta-agent-db-"));
  const remove = () => rmSync(directory, { recursive: true, force: true });
  return { path: join(directory, "socket"), remove };
}

const closed = (server: Server) =>
  new Promise<void>((done) => {
    server.close(() => done());
  });

/** What a client may open a connection with: the protocol 3.0, or a question before it. */
const STARTUP = { protocol3: 196_608, cancel: 80_877_102, tls: 80_877_103, gssapi: 80_877_104 };
/** PostgreSQL's own limit of a startup packet. */
const STARTUP_BYTES = 10_000;
const MESSAGE_TYPES = "BCDEFHPQSXcdfp";

/** Lets whole messages through, and nothing that is none, such as what a web page may send. */
class Gate extends Transform {
  #held = Buffer.alloc(0);
  #isStarted = false;

  override _transform(chunk: Buffer, _: BufferEncoding, done: TransformCallback): void {
    this.#held = Buffer.concat([this.#held, chunk]);
    try {
      for (let message = this.#next(); message; message = this.#next()) this.push(message);
      done();
    } catch (error) {
      done(error instanceof Error ? error : new Error("not PostgreSQL's protocol"));
    }
  }

  #next(): Buffer | undefined {
    return this.#isStarted ? this.#message() : this.#startup();
  }

  #startup(): Buffer | undefined {
    if (this.#held.length < 8) return undefined;
    const [length, code] = [this.#held.readInt32BE(0), this.#held.readInt32BE(4)];
    if (!Object.values(STARTUP).includes(code) || length < 8 || length > STARTUP_BYTES) {
      throw new Error("this is no startup packet of PostgreSQL's protocol");
    }
    const packet = this.#take(length);
    this.#isStarted = packet !== undefined && code === STARTUP.protocol3;
    // pglite-socket knows one of the two questions for encryption, and says no.
    if (code === STARTUP.gssapi) packet?.writeInt32BE(STARTUP.tls, 4);
    return packet;
  }

  #message(): Buffer | undefined {
    if (this.#held.length < 5) return undefined;
    const type = this.#held.toString("latin1", 0, 1);
    const length = this.#held.readInt32BE(1);
    if (!MESSAGE_TYPES.includes(type) || length < 4) {
      throw new Error("this is no message of PostgreSQL's protocol");
    }
    const message = this.#take(1 + length);
    return message && withoutCopy(type, message);
  }

  #take(length: number): Buffer | undefined {
    if (this.#held.length < length) return undefined;
    const taken = this.#held.subarray(0, length);
    this.#held = this.#held.subarray(length);
    return taken;
  }
}

/** Fails where the COPY would have run, so that transactions and pipelines go on as they do after an error. */
const REFUSAL = `DO $$ BEGIN RAISE EXCEPTION 'the embedded database takes no COPY from a client'
  USING ERRCODE = 'feature_not_supported', HINT = 'Use INSERT, or a server.'; END $$`;

/** A query or a statement to prepare that copies from the client, with the refusal in its place. */
function withoutCopy(type: string, message: Buffer): Buffer {
  if (type !== "Q" && type !== "P") return message;
  // The text of a query; of a statement to prepare its name, the text, and types of parameters.
  const start = type === "Q" ? 5 : message.indexOf(0, 5) + 1;
  const end = message.indexOf(0, start);
  if (start === 0 || end === -1 || !copiesFromClient(message.toString("utf8", start, end))) {
    return message;
  }
  const changed = Buffer.concat([
    message.subarray(0, start),
    Buffer.from(REFUSAL),
    message.subarray(end),
  ]);
  changed.writeInt32BE(changed.length - 1, 1);
  return changed;
}

const COPY = /(?:^|;)\s*copy\b[^;]*\bfrom\s+std(?:in|out)\b/i;
const QUOTED = String.raw`--[^\n]*|\/\*|"[^"]*"|(?<![\w$])\$(\w*)\$[^]*?\$\1\$`;
/** What is no word of SQL, as literals end with standard_conforming_strings on, and off. */
const OPAQUE = [
  new RegExp(String.raw`${QUOTED}|\be'(?:[^'\\]|\\[^]|'')*'|'[^']*'`, "gi"),
  new RegExp(String.raw`${QUOTED}|'(?:[^'\\]|\\[^]|'')*'`, "g"),
];

/** Whether one of the statements is a COPY from the client. STDOUT is another word for STDIN there. */
export function copiesFromClient(text: string): boolean {
  if (!/\bcopy\b[^]*\bstd(?:in|out)\b/i.test(text)) return false;
  return OPAQUE.some((opaque) => COPY.test(wordsOf(text, opaque)));
}

/** The text without its comments, and without what is in its quotes. */
function wordsOf(text: string, opaque: RegExp): string {
  let words = "";
  let from = 0;
  for (;;) {
    opaque.lastIndex = from;
    const found = opaque.exec(text);
    if (found === null) return words + text.slice(from);
    const isComment = found[0].startsWith("--") || found[0] === "/*";
    words += text.slice(from, found.index) + (isComment ? " " : "''");
    from = found[0] === "/*" ? endOfComment(text, found.index) : opaque.lastIndex;
  }
}

/** Comments nest. */
function endOfComment(text: string, start: number): number {
  let depth = 0;
  for (const { 0: mark, index } of text.slice(start).matchAll(/\/\*|\*\//g)) {
    depth += mark === "/*" ? 1 : -1;
    if (depth === 0) return start + index + 2;
  }
  return text.length;
}
