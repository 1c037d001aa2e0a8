import { randomUUID } from "node:crypto";
import { ROOT_CONTEXT } from "@opentelemetry/api";
import { expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { withOrganization } from "../../src/client/tenancy.ts";
import type { DeliveryCounts } from "../../src/ingest/delivery.ts";
import { AgentSpanProcessor } from "../../src/ingest/span-processor.ts";
import { agentExecutionLogs, agentRegistry } from "../../src/schema/index.ts";
import { suite } from "../engine.ts";
import { newSpan } from "../spans.ts";
import { layWire } from "./wire.ts";

const run = (agent: string) =>
  newSpan({ attributes: { "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent } });

function record(processor: AgentSpanProcessor, count: number, agent: string): void {
  for (let n = 0; n < count; n++) {
    const span = run(agent);
    processor.onStart(span, ROOT_CONTEXT);
    processor.onEnd(span);
  }
}

suite("AgentSpanProcessor on a line that breaks", (database) => {
  test.each([
    ["cut", "commit"],
    ["sever", "commit"],
    ["cut", "into public.agent_execution_logs"],
    ["sever", "into public.agent_execution_logs"],
    ["sever", "agent_registry"],
    ["sever", "begin"],
    ["garble", "into public.agent_execution_logs"],
  ] as const)("stores each row once: %s at %s", async (deed, word) => {
    const organization = randomUUID();
    const line = await layWire(database.url);
    const { db, close } = connect(line.url, { max: 1 });
    const losses: unknown[] = [];
    const processor = new AgentSpanProcessor({
      db,
      organization,
      onLoss: (loss) => void losses.push(loss),
    });
    try {
      line.arm(deed, word);
      record(processor, 700, `first ${deed} ${word.length}`);
      await processor.forceFlush();
      expect(line.isDone()).toBe(true);
      line.arm(deed, word);
      record(processor, 5, `second ${deed} ${word.length}`);
      await processor.shutdown();
      expect(losses).toEqual([]);
      const { inserted, repeated, retries } = processor.counts;
      expect([inserted + repeated, retries > 0]).toEqual([705, true]);
      const stored = await withOrganization(database.db, organization, (tx) =>
        tx.$count(agentExecutionLogs),
      );
      expect(stored).toBe(705);
    } finally {
      await close();
      line.close();
    }
  });

  test("no batch makes a temporary table", async () => {
    const made = async () => {
      const [row] = await database.query<{ made: string }>(
        "select pg_stat_force_next_flush(), (select n_tup_ins::text from pg_stat_all_tables where relid = 'pg_class'::regclass) as made",
      );
      return row?.made;
    };
    const processor = new AgentSpanProcessor({ db: database.db, organization: randomUUID() });
    record(processor, 1, "first");
    await processor.forceFlush();
    const before = await made();
    record(processor, 3000, "second");
    await processor.forceFlush();
    expect(processor.counts).toMatchObject({ inserted: 3001, lost: 0 });
    expect(await made()).toBe(before);
  });

  test("processors of several processes that meet the same spans and a new agent store each once", async () => {
    const organization = randomUUID();
    const spans = Array.from({ length: 1200 }, (_, n) => run(`fresh ${n % 7}`));
    const processors = [1, 2, 3, 4].map(
      () => new AgentSpanProcessor({ db: database.db, organization }),
    );
    for (const [n, processor] of processors.entries()) {
      for (const span of n % 2 === 0 ? spans : spans.toReversed()) {
        processor.onStart(span, ROOT_CONTEXT);
        processor.onEnd(span);
      }
    }
    await Promise.all(processors.map((processor) => processor.shutdown()));
    const sum = (of: (counts: DeliveryCounts) => number) =>
      processors.reduce((total, { counts }) => total + of(counts), 0);
    expect(sum(({ inserted }) => inserted)).toBe(1200);
    expect(sum(({ repeated }) => repeated)).toBe(3600);
    expect(sum(({ conflicting, lost }) => conflicting + lost)).toBe(0);
    expect(
      await withOrganization(database.db, organization, (tx) => tx.$count(agentRegistry)),
    ).toBe(7);
  });
});
