// What the span processor takes of the application's CPU: the spans of runs of the Vercel AI SDK 7, from their
// beginnings to committed rows, against the SDK's batch processor that serializes the same spans as OTLP/proto
// and sends them nowhere. Both take turns in one process. And the heap that spans of others leave behind.
// `PEERS=folder npm run bench:spans [ROUNDS]`, the folder a copy of bench/peers after `npm install`.
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";
import { type Context, ROOT_CONTEXT, trace } from "@opentelemetry/api";
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  type ReadableSpan,
  type Span,
} from "@opentelemetry/sdk-trace-base";
import { sql } from "drizzle-orm";
import * as z from "zod";
import { AgentSpanProcessor } from "../src/ingest/span-processor.ts";
import type { FinishedSpan } from "../src/ingest/spans.ts";
import { capturedSpans } from "../tests/spans.ts";
import { median, startServer } from "./server.ts";

const ROUNDS = Number(process.argv[2] ?? 9);
const RUNS = 500;
const FOREIGN = 200_000;
const CONTENT = /messages$|arguments$|result$|definitions$|instructions$/;
const WORDS = 'Rain until noon, then "dry" in Zürich; ';

const ATTRIBUTES = z.record(z.string(), z.union([z.string(), z.number(), z.array(z.string())]));

/** A span, and what it began in. */
interface Ended {
  readonly span: Span;
  readonly around: Context;
}

/** What both processors are. */
interface Processor {
  onStart(span: Span, around: Context): void;
  onEnd(span: ReadableSpan): void;
  forceFlush(): Promise<void>;
  shutdown(): Promise<void>;
}

const peers = process.env["PEERS"];
const server = await startServer();
try {
  await compared("spans with content, stored", 900, "all");
  await compared("spans with content, not stored", 900, "none");
  await compared("spans without content", 0, "none");
  await foreign();
} finally {
  await server.close();
}

/** Medians of rounds, the first of which, that compile, do not count. */
async function compared(what: string, characters: number, content: "all" | "none") {
  const theirs = peers && serializing(peers);
  const ours = new AgentSpanProcessor({
    db: server.db,
    organization: randomUUID(),
    content,
    maxQueue: Infinity,
  });
  const costs: { theirs: number; ours: number }[] = [];
  for (let round = 0; round < ROUNDS + 3; round += 1) {
    const spans = ended(RUNS, characters);
    const each = {
      theirs: theirs ? (await cpu(theirs, spans)) / spans.length : 0,
      ours: (await cpu(ours, spans)) / spans.length,
    };
    if (round >= 3) costs.push(each);
  }
  const [a, b] = [median(costs.map((cost) => cost.theirs)), median(costs.map((cost) => cost.ours))];
  const { inserted, lost } = ours.counts;
  const beside = theirs ? `OTLP/proto ${a.toFixed(1)}, ratio ${(b / a).toFixed(2)}` : "no peers";
  console.log(
    `${what}: processor ${b.toFixed(1)} µs of CPU a span; ${beside}; ${inserted} rows, ${lost} lost`,
  );
  await server.db.execute(sql`truncate agent_execution_logs cascade`);
}

/**
 * Microseconds of the process, all threads, until the spans are dealt with. Without a collection of garbage before:
 * that gives memory back, and whoever asks for it first would pay.
 */
async function cpu(processor: Processor, spans: readonly Ended[]): Promise<number> {
  const start = process.cpuUsage();
  for (const { span, around } of spans) {
    processor.onStart(span, around);
    processor.onEnd(span);
  }
  await processor.forceFlush();
  const { user, system } = process.cpuUsage(start);
  return user + system;
}

/** The SDK's batch processor, whose exporter serializes. */
function serializing(folder: string): Processor {
  const { ProtobufTraceSerializer } = z
    .object({ ProtobufTraceSerializer: z.looseObject({ serializeRequest: z.function() }) })
    .parse(createRequire(join(folder, "package.json"))("@opentelemetry/otlp-transformer"));
  const exporter = {
    export(spans: ReadableSpan[], done: (result: { code: number }) => void) {
      Reflect.apply(ProtobufTraceSerializer.serializeRequest, ProtobufTraceSerializer, [spans]);
      done({ code: 0 });
    },
    shutdown: async () => {},
  };
  return new BatchSpanProcessor(exporter, { maxQueueSize: 1_000_000 });
}

/** Spans of runs as the AI SDK 7 makes them, the outer ones first, with texts of so many characters more. */
function ended(runs: number, characters: number): Ended[] {
  const captured = capturedSpans("ai-sdk-7-gen-ai");
  const traceId = captured[0]?.spanContext().traceId;
  const model = captured.filter((span) => span.spanContext().traceId === traceId).toReversed();
  const all: Ended[] = [];
  const collector = {
    onStart: (span: Span, around: Context) => void all.push({ span, around }),
    onEnd: () => {},
    forceFlush: async () => {},
    shutdown: async () => {},
  };
  const tracer = new BasicTracerProvider({ spanProcessors: [collector] }).getTracer("gen_ai");
  for (let run = 0; run < runs; run += 1) {
    const contexts = new Map<string | undefined, Context>();
    for (const one of model) {
      const attributes = ATTRIBUTES.parse(withContent(one.attributes, characters));
      const around = contexts.get(one.parentSpanContext?.spanId) ?? ROOT_CONTEXT;
      const span = tracer.startSpan(one.name, { attributes }, around);
      contexts.set(one.spanContext().spanId, trace.setSpan(around, span));
      span.end();
    }
  }
  return all;
}

/** Without content, or with inputs and outputs of at least so many characters. */
function withContent(attributes: FinishedSpan["attributes"], characters: number) {
  return Object.fromEntries(
    Object.entries(attributes).flatMap(([key, value]) => {
      if (!CONTENT.test(key)) return [[key, value]];
      if (characters === 0) return [];
      const more = characters - String(value).length;
      return [[key, key.endsWith("messages") ? longer(String(value), more) : value]];
    }),
  );
}

/** Messages of which the last says more. */
function longer(messages: string, more: number): string {
  const text = WORDS.repeat(Math.max(1, Math.ceil(more / WORDS.length)));
  const list: unknown[] = z.array(z.unknown()).parse(JSON.parse(messages));
  return JSON.stringify([
    ...list,
    { role: "assistant", parts: [{ type: "text", content: text.slice(0, Math.max(1, more)) }] },
  ]);
}

/** What the heap has more once spans of others have come and gone. */
async function foreign(): Promise<void> {
  const processor = new AgentSpanProcessor({ db: server.db, organization: randomUUID() });
  const provider = new BasicTracerProvider({ spanProcessors: [processor] });
  const tracer = provider.getTracer("http");
  const heap = () => {
    globalThis.gc?.();
    return process.memoryUsage().heapUsed;
  };
  const serve = async (requests: number) => {
    for (let n = 0; n < requests; n += 1) {
      const outer = tracer.startSpan("GET /", { attributes: { "http.request.method": "GET" } });
      const inside = trace.setSpan(ROOT_CONTEXT, outer);
      tracer.startSpan("SELECT", { attributes: { "db.system": "postgresql" } }, inside).end();
      outer.end();
      if (n % 1000 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await serve(1000);
  const grown: string[] = [];
  for (let round = 0; round < 3; round += 1) {
    const before = heap();
    await serve(FOREIGN / 2);
    grown.push(((heap() - before) / 1e6).toFixed(2));
  }
  console.log(`${FOREIGN} spans of others: the heap grew by ${grown.join(", then ")} MB`);
  await processor.shutdown();
}
