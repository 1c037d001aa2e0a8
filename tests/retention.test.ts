import { eq, sql } from "drizzle-orm";
import { beforeEach, describe, expect, test } from "vitest";
import { executionLogId } from "../src/client/keys.ts";
import { rows } from "../src/client/sql.ts";
import { withServiceRole } from "../src/client/tenancy.ts";
import { logIdBounds } from "../src/fleet/log-bounds.ts";
import { recordExecutions } from "../src/fleet/record/record.ts";
import { rollUpMetrics } from "../src/fleet/rollup.ts";
import { partitionLogs } from "../src/operate/partitions.ts";
import { pruneLogs } from "../src/operate/retention.ts";
import {
  abTests,
  agentExecutionLogs,
  agentPrompts,
  agentRegistry,
  canaryDeployments,
  costBudgets,
} from "../src/schema/index.ts";
import {
  newAbTest,
  newAgent,
  newBudget,
  newCanary,
  newExecutionLog,
  newPrompt,
} from "../src/testing.ts";
import { suite } from "./engine.ts";

const MONTH = { from: "2026-01-01", to: "2026-02-02" };

describe.each(["as one table", "in months"])("a log %s", (form) => {
  suite("and what is pruned of it", (database) => {
    const agent = newAgent();
    const at = (day: string) => new Date(`${day}T12:00:00Z`);
    const log = (day: string) => ({
      ...newExecutionLog({ agentId: agent.id, timestamp: at(day), estimatedCostUsd: "0.5" }),
      embeddings: { input: VECTOR },
    });
    const left = async () => {
      const [row] = await database.query<{ logs: number; embeddings: number; metrics: number }>(`
        select (select count(*)::int from agent_execution_logs) as logs, (select count(*)::int from execution_embeddings) as embeddings,
          (select count(*)::int from agent_performance_metrics) as metrics`);
      return row;
    };
    const rollUp = (days = MONTH) => withServiceRole(database.db, (tx) => rollUpMetrics(tx, days));
    const pruned = () =>
      database.query<{ before: string | null }>(
        "select meta_agent.logs_pruned_before()::text as before",
      );
    const days = ["2026-01-05", "2026-01-31", "2026-02-01", "2026-02-10"];

    /** Months of their own for what is long past, as if the log had been cut then. */
    beforeEach(async () => {
      if ((await left())?.logs !== 0) return;
      await database.db.insert(agentRegistry).values(agent).onConflictDoNothing();
      if (form === "in months") {
        await partitionLogs(database.db);
        await database.script(`
          alter table agent_execution_logs detach partition meta_agent_partitions.agent_execution_logs_history;
          drop table meta_agent_partitions.agent_execution_logs_history;
          do $$ declare month timestamptz; begin
            for month in select generate_series('2026-01-01Z'::timestamptz at time zone 'UTC', (select min(meta_agent.uuidv7_time((regexp_match(pg_get_expr(relpartbound, oid), '[-0-9a-f]{36}'))[1]::uuid)) from pg_class where relispartition and relkind = 'r') at time zone 'UTC' - interval '1 day', interval '1 month') at time zone 'UTC' loop
              execute format('create table meta_agent_partitions.m%s partition of public.agent_execution_logs for values from (%L) to (%L)', to_char(month at time zone 'UTC', 'YYYYMM'),
                meta_agent.uuidv7_floor(month), meta_agent.uuidv7_floor((month at time zone 'UTC' + interval '1 month') at time zone 'UTC'));
            end loop; end $$`);
      }
      await withServiceRole(database.db, (tx) => recordExecutions(tx, days.map(log)));
    });

    test("is refused, and nothing removed, before its days and the two after them are rolled up", async () => {
      const prune = () => pruneLogs(database.db, { before: "2026-02-01" });
      await expect(prune()).rejects.toThrow(
        /3 days before 2026-02-01 .*from: "2026-01-05", to: "2026-02-01"/,
      );
      await rollUp({ from: "2026-01-01", to: "2026-01-31" });
      await expect(prune()).rejects.toThrow(/1 days before .* from: "2026-02-01"/);
      await rollUp();
      // Logs that came late are in no metrics.
      await withServiceRole(database.db, (tx) => recordExecutions(tx, [log("2026-01-05")]));
      await expect(prune()).rejects.toThrow(/1 days before .* from: "2026-01-05"/);
      await rollUp();
      expect(await left()).toMatchObject({ logs: 5, embeddings: 5 });
      expect(await pruned()).toEqual([{ before: null }]);
    });

    test("is refused while tests and canaries reach into its days, or budgets, or they may change", async () => {
      const [control, treatment] = [
        newPrompt({ agentId: agent.id }),
        newPrompt({ agentId: agent.id }),
      ];
      await database.db.insert(agentPrompts).values([control, treatment]);
      const abTest = newAbTest({
        agentId: agent.id,
        controlPromptId: control.id,
        treatmentPromptId: treatment.id,
        status: "running",
        startDate: at("2026-02-02"),
      });
      const canary = newCanary({
        agentId: agent.id,
        currentPromptId: control.id,
        canaryPromptId: treatment.id,
        status: "paused",
        startedAt: at("2026-01-20"),
      });
      await database.db.insert(abTests).values(abTest);
      await database.db.insert(canaryDeployments).values(canary);
      await database.db.insert(costBudgets).values(newBudget({ agentId: agent.id }));
      await expect(pruneLogs(database.db, { before: "2026-02-01" })).rejects.toThrow(
        `A/B test ${abTest.id}, canary ${canary.id}`,
      );
      const tomorrow = new Date(Date.now() + 86_400_000).toISOString().slice(0, 10);
      await expect(pruneLogs(database.db, { before: tomorrow })).rejects.toThrow(
        /may go on: three days.*[^]*budgets count what was spent from/,
      );
      await database.db.update(abTests).set({ status: "stopped" }).where(eq(abTests.id, abTest.id));
      await database.db.delete(canaryDeployments);
      expect((await left())?.logs).toBe(5);
    });

    test("takes logs and embeddings with it, and leaves metrics that no roll-up changes any more", async () => {
      const before = await left();
      const told: string[] = [];
      const { dropped, deleted } = await pruneLogs(database.db, {
        before: "2026-02-01",
        onDeleted: (done, of) => told.push(`${done} of ${of}`),
      });
      expect({ dropped, deleted }).toEqual(
        form === "in months" ? { dropped: ["m202601"], deleted: 0 } : { dropped: [], deleted: 3 },
      );
      expect(told.at(-1)).toBe(form === "in months" ? undefined : "3 of 3");
      expect(await left()).toEqual({ ...before, logs: 2, embeddings: 2 });
      expect(await pruned()).toEqual([{ before: "2026-02-01" }]);
      expect(await rollUp()).toEqual({ rows: 0, written: 0, removed: 0, capped: [] });
      expect(await rollUp({ from: "2026-01-01", to: "2026-02-10" })).toMatchObject({
        rows: 1,
        removed: 0,
      });
      expect((await left())?.metrics).toBe((before?.metrics ?? 0) + 1);
      // Again, and with an earlier day, it has nothing to do and forgets nothing.
      expect(await pruneLogs(database.db, { before: "2026-01-15" })).toEqual({
        dropped: [],
        deleted: 0,
      });
      expect(await pruned()).toEqual([{ before: "2026-02-01" }]);
    });

    test("a day that is none is refused before any SQL", async () => {
      await expect(pruneLogs(database.db, { before: "2026-02-30" })).rejects.toThrow(TypeError);
    });
  });
});

suite("logIdBounds", (database) => {
  test.each([
    ["2026-03-10T00:00Z", "2026-03-11T00:00Z", "2026-03-01", "2026-04-01"],
    ["2026-03-01T12:00Z", "2026-03-31T12:00Z", "2026-02-01", "2026-05-01"],
    ["2026-03-02T00:00Z", "2026-03-30T23:59Z", "2026-03-01", "2026-04-01"],
    ["2025-12-31T00:00Z", "2026-01-31T00:00Z", "2025-12-01", "2026-03-01"],
  ])(
    "%s to %s is rounded outward to %s and %s, a day further, never to itself",
    async (from, to, first, end) => {
      const bounds = logIdBounds({ from: new Date(from), to: new Date(to) }, sql`id`);
      const of = (month: string) => `meta_agent.uuidv7_floor('${month}T00:00Z')`;
      const wrong = await database.db.execute(sql`
      select ${bounds} as is_in, id::text from (values
        (${sql.raw(of(first))}, true), (${sql.raw(of(end))}, false)) as given (id, expected)
      where (${bounds}) is distinct from expected`);
      expect(rows(wrong)).toEqual([]);
      // Exact bounds would draw the planner to the key's index, and miss rows a day off.
      for (const exact of [from, to]) {
        expect(
          JSON.stringify(
            database.db.select().from(agentExecutionLogs).where(bounds).toSQL().params,
          ),
        ).not.toContain(executionLogId(new Date(exact), "").slice(0, 13));
      }
    },
  );

  test("before 1970, when ids begin, it is the first month of them", () => {
    const day = new Date("0001-01-01T00:00Z");
    const { params } = database.db
      .select()
      .from(agentExecutionLogs)
      .where(logIdBounds({ from: day, to: day }))
      .toSQL();
    expect(params).toEqual([
      "00000000-0000-7000-8000-000000000000",
      "00009fa5-2400-7000-8000-000000000000",
    ]);
  });

  test("without an end it is open, and an instant that is none is refused", () => {
    expect(() => logIdBounds({ from: new Date("x") })).toThrow(TypeError);
    const { sql: text } = database.db
      .select()
      .from(agentExecutionLogs)
      .where(logIdBounds({ from: new Date() }))
      .toSQL();
    expect(text).toContain(`"agent_execution_logs"."id" >= $1::uuid`);
    expect(text).not.toContain(`"id" <`);
  });
});

const VECTOR = Array.from({ length: 1536 }, (_, i) => (i === 0 ? 1 : 0));
