// What importing takes: memory and rate for files of 10 MB, 100 MB and 1 GB, of OTLP by lines and of transcripts.
// The files are made as they are read. `npm run bench:import [MEGABYTES…]`.
import { randomUUID } from "node:crypto";
import { importExecutions } from "../src/ingest/import.ts";
import { startServer } from "./server.ts";

const sizes = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [10, 100, 1000];
const START = Date.UTC(2026, 0, 1);
const TEXT = "word ".repeat(200);

const server = await startServer();
try {
  for (const [format, lineOf] of Object.entries({ otlp: otlpLine, chat: chatLine })) {
    for (const megabytes of sizes) await measure(format, { lineOf, bytes: megabytes * 1e6 });
  }
} finally {
  await server.close();
}

type LineOf = (n: number, file: string) => string;

async function measure(format: string, { lineOf, bytes }: { lineOf: LineOf; bytes: number }) {
  globalThis.gc?.();
  const before = process.memoryUsage();
  const start = performance.now();
  let [rss, heap] = [0, 0];
  const onProgress = () => {
    const now = process.memoryUsage();
    rss = Math.max(rss, now.rss - before.rss);
    heap = Math.max(heap, now.heapUsed - before.heapUsed);
  };
  const organization = randomUUID();
  const { inserted, refused } = await importExecutions(server.db, file(lineOf, bytes), {
    organization,
    agent: `bench-${organization}`,
    onProgress,
  });
  const seconds = (performance.now() - start) / 1000;
  const mega = (count: number) => `${(count / 1e6).toFixed(0)} MB`;
  console.log(
    `${format}, ${mega(bytes)}: ${inserted} rows, ${refused} refused, ${Math.round(inserted / seconds)} a second; rss grew by ${mega(rss)} at most, heap by ${mega(heap)}`,
  );
}

async function* file(lineOf: LineOf, bytes: number): AsyncGenerator<Uint8Array> {
  const name = randomUUID().replaceAll("-", "");
  for (let [n, made] = [0, 0]; made < bytes; n += 1) {
    const line = Buffer.from(`${lineOf(n, name)}\n`);
    made += line.length;
    yield line;
  }
}

/** A run with nine calls of a model in it, which end before it, as a collector writes them. */
function otlpLine(n: number, name: string): string {
  const trace = Math.floor(n / 10);
  const isRun = n % 10 === 9;
  const traceId = name.slice(0, 20) + trace.toString(16).padStart(12, "0");
  const spanId = (at: number) => (at + 1).toString(16).padStart(16, "0");
  const time = (milliseconds: number) =>
    String(BigInt(START + trace * 10 + milliseconds) * 1_000_000n);
  const text = (key: string, stringValue: string) => ({ key, value: { stringValue } });
  const span = {
    traceId,
    spanId: spanId(n),
    parentSpanId: isRun ? "" : spanId(trace * 10 + 9),
    name: isRun ? "invoke_agent" : "chat",
    startTimeUnixNano: time(n % 10),
    endTimeUnixNano: time(10),
    attributes: [
      text("gen_ai.operation.name", isRun ? "invoke_agent" : "chat"),
      text("input.value", TEXT),
      text("output.value", TEXT),
    ],
  };
  return JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] });
}

function chatLine(n: number, name: string): string {
  const messages = ["user", "assistant", "user", "assistant"].map((role) => ({
    role,
    content: TEXT,
  }));
  return JSON.stringify({ run: `${name}/${n}`, messages });
}
