import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import { ROOT_CONTEXT, context, createContextKey, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { BasicTracerProvider } from "@opentelemetry/sdk-trace-base";
import { sql } from "drizzle-orm";
import { afterAll, beforeAll, expect, test } from "vitest";
import * as z from "zod";
import { connect } from "../src/client/connect.ts";
import { rows } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import type { Loss } from "../src/ingest/delivery.ts";
import { importExecutions } from "../src/ingest/import.ts";
import {
  AgentSpanProcessor,
  type AgentSpanProcessorOptions,
} from "../src/ingest/span-processor.ts";
import type { FinishedSpan } from "../src/ingest/spans.ts";
import { agentExecutionLogs, agentRegistry } from "../src/schema/index.ts";
import { suite } from "./engine.ts";
import { DIALECTS, capturedSpans, newSpan, otlpOf } from "./spans.ts";

/** A tracer of the SDK that gives spans the ids and times that they have already. */
class Replay {
  readonly #ids: string[] = [];
  readonly #ended: FinishedSpan[] = [];
  readonly #provider: BasicTracerProvider;

  constructor(processor: AgentSpanProcessor) {
    const next = () => this.#ids.shift() ?? "";
    const collector = {
      onStart: () => {},
      onEnd: (span: FinishedSpan) => void this.#ended.push(span),
      forceFlush: async () => {},
      shutdown: async () => {},
    };
    this.#provider = new BasicTracerProvider({
      spanProcessors: [processor, collector],
      idGenerator: { generateTraceId: next, generateSpanId: next },
    });
  }

  get tracer() {
    return this.#provider.getTracer("test");
  }

  /** Begins spans, the outer ones first, and ends them in the order they come; answers them as they ended. */
  run(spans: readonly FinishedSpan[], around = ROOT_CONTEXT): readonly FinishedSpan[] {
    const begun = new Map<string, ReturnType<Replay["begin"]>>();
    const begin = (span: FinishedSpan): ReturnType<Replay["begin"]> => {
      const { spanId } = span.spanContext();
      const outer = spans.find(
        (one) => one.spanContext().spanId === span.parentSpanContext?.spanId,
      );
      const own =
        begun.get(spanId) ?? this.begin(span, outer ? trace.setSpan(around, begin(outer)) : around);
      begun.set(spanId, own);
      return own;
    };
    for (const span of spans) begin(span);
    for (const { status, events, endTime, ...span } of spans) {
      const own = begun.get(span.spanContext().spanId);
      for (const { name, attributes } of events)
        own?.addEvent(name, attributesOf(attributes ?? {}));
      const { code, message } = status;
      own?.setStatus({ code, ...(message !== undefined && { message }) });
      own?.end([endTime[0], endTime[1]]);
    }
    return this.#ended.splice(0);
  }

  private begin(span: FinishedSpan, around = ROOT_CONTEXT) {
    const { name, startTime, attributes } = span;
    const { traceId, spanId } = span.spanContext();
    this.#ids.push(...(trace.getSpan(around) ? [spanId] : [spanId, traceId]));
    return this.tracer.startSpan(
      name,
      { startTime: [startTime[0], startTime[1]], attributes: attributesOf(attributes) },
      around,
    );
  }
}

const attributesOf = (values: FinishedSpan["attributes"]) =>
  z
    .record(
      z.string(),
      z.union([z.string(), z.number(), z.nan(), z.boolean(), z.array(z.string())]),
    )
    .parse(values);

suite("AgentSpanProcessor", (database) => {
  const us = randomUUID();
  const losses: Loss[] = [];
  const processorOf = (options: Partial<AgentSpanProcessorOptions> = {}) => {
    losses.length = 0;
    return new AgentSpanProcessor({
      db: database.db,
      organization: us,
      onLoss: (loss) => void losses.push(loss),
      ...options,
    });
  };
  /** Records spans, and answers them as they ended. */
  const recorded = async (
    processor: AgentSpanProcessor,
    spans: readonly FinishedSpan[],
    around = ROOT_CONTEXT,
  ) => {
    const ended = new Replay(processor).run(spans, around);
    await processor.forceFlush();
    return ended;
  };
  const stored = (organization: string, spans: readonly Pick<FinishedSpan, "spanContext">[]) => {
    const traces = [...new Set(spans.map((span) => span.spanContext().traceId))];
    return withOrganization(database.db, organization, async (tx) =>
      rows(
        await tx.execute(sql`
          select l.*, a.agent_name, a.category, meta_agent.uuidv7_time(l.id) = l.timestamp as is_its_time
          from ${agentExecutionLogs} as l join ${agentRegistry} as a on a.id = l.agent_id
          where replace(l.execution_id::text, '-', '') = any (string_to_array(${traces.join()}, ','))
          order by l.timestamp, l.id`),
      ),
    );
  };
  const named = (agent: string, more: object = {}) =>
    newSpan({
      attributes: { "gen_ai.operation.name": "chat", "gen_ai.agent.name": agent, ...more },
    });

  beforeAll(() => {
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  });
  afterAll(() => context.disable());

  test.each(DIALECTS)(
    "records what agents did; the same spans again, at once, and imported as OTLP/JSON add nothing (%s)",
    async (dialect) => {
      const spans = capturedSpans(dialect);
      const [first, second] = [processorOf(), processorOf()];
      const [ended] = await Promise.all([recorded(first, spans), recorded(second, spans)]);
      expect(first.counts.inserted + second.counts.inserted).toBe(12);
      expect(first.counts.repeated + second.counts.repeated).toBe(12);
      const found = await stored(us, spans);
      expect(found).toHaveLength(12);
      expect(found.every(({ is_its_time }) => is_its_time)).toBe(true);
      expect(found.filter(({ agent_name }) => agent_name === "weather-agent")).toHaveLength(4);
      const file = Readable.from([Buffer.from(JSON.stringify(otlpOf(ended)))]);
      expect(await importExecutions(database.db, file, { organization: us })).toMatchObject({
        format: "otlp",
        inserted: 0,
        completed: 0,
        repeated: 12,
        conflicting: 0,
        refused: 0,
        newAgents: [],
      });
      await recorded(first, spans);
      expect(first.counts).toMatchObject({ conflicting: 0, lost: 0, retries: 0 });
      expect(await stored(us, spans)).toEqual(found);
      expect(losses).toEqual([]);
    },
  );

  test("what cannot be stored costs its field, never the row; a row of 1970 is told", async () => {
    const deep = "[".repeat(600) + "]".repeat(600);
    const chat = { "gen_ai.operation.name": "chat", "gen_ai.agent.name": "poisoned" };
    const now = newSpan().startTime;
    const poison: Parameters<typeof newSpan>[0][] = [
      { attributes: { ...chat, "gen_ai.usage.input_tokens": -5 } },
      { attributes: { ...chat, "gen_ai.usage.input_tokens": NaN } },
      { attributes: { ...chat, "gen_ai.usage.input_tokens": 1e12 } },
      { attributes: { ...chat, "gen_ai.usage.input_tokens": "12" } },
      { attributes: { ...chat, "gen_ai.agent.name": "poi\0soned" } },
      { attributes: { ...chat, "gen_ai.agent.name": "p".repeat(5000) } },
      { attributes: { ...chat, "gen_ai.input.messages": JSON.stringify("x".repeat(3_000_000)) } },
      { attributes: { ...chat, "gen_ai.input.messages": '[{"content":"\\ud800"}]' } },
      { attributes: { ...chat, "gen_ai.input.messages": '[{"content":"\\u0000"}]' } },
      { attributes: { ...chat, "gen_ai.input.messages": deep } },
      { attributes: { ...chat, "gen_ai.response.model": "m\0" } },
      { attributes: { ...chat, "session.id": "s\0\ud800" } },
      { attributes: { ...chat, "meta_agent.prompt_version_id": randomUUID() } },
      { attributes: chat, startTime: now, endTime: [now[0] - 60, 0] },
      { attributes: chat, startTime: [12, 0] },
    ];
    const spans = [named("sound"), ...poison.map((given) => newSpan(given)), named("sound")];
    const processor = processorOf({ cost: () => "a lot" });
    await recorded(processor, spans);
    expect(processor.counts).toMatchObject({ inserted: 16, lost: 1 });
    expect(losses).toMatchObject([{ rows: 1, reason: "refused" }]);
    expect(String(losses[0]?.cause)).toContain("seconds, not milliseconds?");
    const found = await stored(us, spans);
    expect(found).toHaveLength(16);
    expect(found.map(({ token_count_input }) => token_count_input).filter(Boolean)).toEqual([12]);
    expect(found.flatMap(({ metadata }) => Reflect.get(Object(metadata), "refused") ?? [])).toEqual(
      ["promptVersionId"],
    );
  });

  test("a price that is no decimal text and a prompt version that is none cost these two", async () => {
    const usage = {
      "gen_ai.request.model": "m",
      "gen_ai.usage.input_tokens": 1,
      "meta_agent.prompt_version_id": randomUUID(),
    };
    const span = named("priced", usage);
    const processor = processorOf({ cost: () => "1e-7" });
    await recorded(processor, [span]);
    expect(await stored(us, [span])).toMatchObject([
      {
        estimated_cost_usd: null,
        token_count_input: 1,
        prompt_version_id: null,
        metadata: { refused: ["estimatedCostUsd", "promptVersionId"] },
      },
    ]);
    await recorded(processor, [span]);
    expect(processor.counts).toMatchObject({ inserted: 1, repeated: 1, lost: 0 });
  });

  test("10,000 spans at once are stored or told", async () => {
    const processor = processorOf({ maxQueue: 3000 });
    const spans = Array.from({ length: 10_000 }, () => named("busy"));
    for (const span of spans) {
      processor.onStart(span, ROOT_CONTEXT);
      processor.onEnd(span);
    }
    await processor.shutdown();
    const told = losses.reduce((sum, { rows: lost }) => sum + lost, 0);
    expect(processor.counts).toMatchObject({ inserted: 10_000 - told, lost: told });
    expect(told).toBeGreaterThanOrEqual(6500);
    expect(new Set(losses.map(({ reason }) => reason))).toEqual(new Set(["queue full"]));
    expect(await stored(us, spans)).toHaveLength(10_000 - told);
  });

  test.each(["organization", "service"] as const)(
    "writes for the organization that the context names, as %s; others see nothing",
    async (as) => {
      const [ours, theirs, key] = [randomUUID(), randomUUID(), createContextKey("tenant")];
      const processor = processorOf({
        as,
        organization: (_, around) => z.string().optional().parse(around.getValue(key)),
      });
      const run = named(`shared-${as}`, { "gen_ai.operation.name": "invoke_agent" });
      const spans = [newSpan({ within: run }), run];
      await recorded(processor, spans, ROOT_CONTEXT.setValue(key, ours));
      const other = named(`shared-${as}`);
      await recorded(processor, [other], ROOT_CONTEXT.setValue(key, theirs));
      await recorded(processor, [named("x"), named("x")]);
      await recorded(processor, [named("x")], ROOT_CONTEXT.setValue(key, "no uuid"));
      expect(losses).toEqual([1, 2, 3].map(() => ({ rows: 1, reason: "no organization" })));
      expect((await stored(ours, [...spans, other])).map(({ agent_name }) => agent_name)).toEqual(
        [1, 2].map(() => `shared-${as}`),
      );
      // The name is taken, and its rows are not lost for it.
      expect(await stored(theirs, [...spans, other])).toMatchObject([
        { agent_name: `shared-${as}@${theirs.slice(0, 8)}`, organization_id: theirs },
      ]);
    },
  );

  test("what begins after the span around it has ended has its organization and its conversation", async () => {
    const [ours, key] = [randomUUID(), createContextKey("tenant")];
    const processor = processorOf({
      organization: (_, around) => z.string().optional().parse(around.getValue(key)),
    });
    const fixed = processorOf({ organization: ours });
    const late = (by: AgentSpanProcessor, attributes: Record<string, string>) => {
      const tracer = new BasicTracerProvider({ spanProcessors: [by] }).getTracer("test");
      const outer = tracer.startSpan("GET /", { attributes }, ROOT_CONTEXT.setValue(key, ours));
      outer.end();
      const chat = { "gen_ai.operation.name": "chat", "gen_ai.agent.name": "late" };
      const inner = trace.setSpan(ROOT_CONTEXT, outer);
      const span = tracer.startSpan("chat", { attributes: chat }, inner);
      span.end();
      return span;
    };
    const session = { "session.id": "evening" };
    const spans = [late(processor, {}), late(fixed, session), late(fixed, {})];
    await Promise.all([processor.forceFlush(), fixed.forceFlush()]);
    expect(losses).toEqual([]);
    const found = await Promise.all(spans.map((span) => stored(ours, [span])));
    expect(
      found.flat().map(({ metadata }) => Reflect.get(Object(metadata), "conversation")),
    ).toEqual([undefined, "evening", undefined]);
  });

  test("an agent is made as asked, without what is refused, and again where it was deleted", async () => {
    const asked: string[] = [];
    const agent = ({ agentName }: { agentName: string }) => {
      asked.push(agentName);
      if (agentName === "unasked") throw new Error("not today");
      return {
        category: "operations" as const,
        displayName: agentName === "misnamed" ? "\0" : "Nice",
      };
    };
    const processor = processorOf({ agent });
    const spans = ["nice", "misnamed", "unasked", "nice"].map((name) => named(name));
    await recorded(processor, spans);
    expect(asked).toEqual(["nice", "misnamed", "unasked"]);
    const categories = (await stored(us, spans)).map(({ agent_name, category }) =>
      [agent_name, category].join(" "),
    );
    expect(categories.toSorted()).toEqual([
      "misnamed internal",
      "nice operations",
      "nice operations",
      "unasked internal",
    ]);
    expect(losses).toMatchObject([
      { rows: 0, reason: "refused", cause: { message: "not today" } },
      { rows: 0, reason: "refused", cause: expect.any(z.ZodError) },
    ]);
    await withOrganization(database.db, us, async (tx) => {
      await tx.execute(
        sql`delete from ${agentExecutionLogs} where agent_id in (select id from ${agentRegistry} where agent_name = 'nice')`,
      );
      await tx.execute(sql`delete from ${agentRegistry} where agent_name = 'nice'`);
    });
    const later = named("nice");
    await recorded(processor, [later]);
    expect(await stored(us, [later])).toMatchObject([
      { agent_name: "nice", category: "operations" },
    ]);
    expect(processor.counts).toMatchObject({ inserted: 5, lost: 0 });
  });

  test("a database that cannot be reached loses no row untold, and holds nobody up for longer than the deadline", async () => {
    const { db, close } = connect("postgres://nobody@localhost:1/none", { connectTimeout: 1 });
    const processor = processorOf({ db, deadlineMs: 500 });
    await recorded(processor, [named("lonely"), named("lonely")]);
    expect(losses).toMatchObject([{ rows: 2, reason: "unreachable" }]);
    expect(processor.counts).toMatchObject({ inserted: 0, lost: 2 });
    expect(processor.counts.retries).toBeGreaterThan(0);
    await close();
  });

  test("a span may end inside a transaction of the same database", async () => {
    const processor = processorOf({ delayMs: 0 });
    const span = named("inner");
    await withOrganization(database.db, us, async (tx) => {
      processor.onStart(span, ROOT_CONTEXT);
      processor.onEnd(span);
      // The queue is at work meanwhile.
      await tx.execute(sql`select pg_sleep(0.05)`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    });
    await processor.forceFlush();
    expect(processor.counts).toMatchObject({ inserted: 1, retries: 0, lost: 0 });
  });

  test("makes no spans of its own", async () => {
    let hasRecorded: boolean | undefined;
    const processor = processorOf({
      onLoss: () => {
        hasRecorded = replay.tracer.startSpan("INSERT").isRecording();
      },
    });
    const replay = new Replay(processor);
    replay.run([newSpan({ ...named("old"), startTime: [12, 0] })]);
    await processor.forceFlush();
    expect(hasRecorded).toBe(false);
  });

  test("spans that end after shutdown are told, and an organization that is none is refused at once", async () => {
    const processor = processorOf();
    await processor.shutdown();
    await recorded(processor, [named("late")]);
    expect(losses).toEqual([{ rows: 1, reason: "shut down" }]);
    expect(() => processorOf({ organization: "acme" })).toThrow("must be a uuid");
  });

  test("what onLoss throws reaches nobody", async () => {
    const processor = processorOf({
      organization: () => {
        throw new Error("no tenant");
      },
      onLoss: () => {
        throw new Error("no log");
      },
    });
    await recorded(processor, [named("x")]);
    expect(processor.counts.lost).toBe(1);
  });
});
