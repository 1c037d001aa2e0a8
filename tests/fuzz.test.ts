import { getTableName, sql } from "drizzle-orm";
import type { PgTable } from "drizzle-orm/pg-core";
import { beforeAll, describe, expect, test } from "vitest";
import * as z from "zod";
import * as schema from "../src/schema/index.ts";
import { validators } from "../src/zod.ts";
import { engine, suite } from "./engine.ts";
import { OUT_OF_COMPARISON, type Subject, fuzz } from "./fuzz/compare.ts";
import { rolledBack } from "./fuzz/rolled-back.ts";
import { type Ids, insertLeastRows, tables } from "./fuzz/rows.ts";

/** Random rows for each table and statement, beside every edge of every column. The full run takes 10000. */
const ROWS = Number(process.env["FUZZ_ROWS"] ?? 60);
/** What is planted is found by chance, too. */
const PLANTED_ROWS = Math.max(ROWS, 100);
/** Repeats the random rows of a run. */
const SEED = Number(process.env["FUZZ_SEED"] ?? Date.now() % 1e9);
const TIMEOUT = 60_000 + ROWS * 50;

const explained = (disagreement: string) =>
  `${disagreement}
FUZZ_SEED=${SEED} repeats it. Not compared: ${Object.keys(OUT_OF_COMPARISON).join(", ")}.`;

suite("Zod and PostgreSQL", (database) => {
  let ids: Ids;
  beforeAll(async () => {
    ids = await insertLeastRows(database.db);
  });

  /** Compares in a transaction that begins with `change` and leaves nothing behind. */
  const compared = (subject: Omit<Subject, "tx" | "ids">, rows: number, change = "select") =>
    rolledBack(database.db, async (tx) => {
      await tx.execute(sql.raw(change));
      return fuzz({ ...subject, tx, ids }, rows, SEED);
    });

  const cases = tables.flatMap((table) =>
    (["insert", "update"] as const).map(
      (statement) => [statement, getTableName(table), table] as const,
    ),
  );

  test.each(cases)(
    "agree on every %s of %s",
    async (statement, _, table) => {
      const subject = { table, statement, schema: validators(table)[statement] };
      const outcome = await compared(subject, ROWS);
      if (outcome?.disagreement) throw new Error(explained(outcome.disagreement));
      // The comparison is worth something only where both say yes and both say no.
      expect(outcome?.stored).toBeGreaterThan(ROWS / 10);
      expect(outcome?.refused).toBeGreaterThan(ROWS / 10);
    },
    TIMEOUT,
  );

  // What is planted tries the comparison, which is the same on both engines.
  describe.skipIf(engine === "container")("find a planted disagreement:", () => {
    const dropped = (table: PgTable, key: string, rule: string) => ({
      planted: `no CHECK ${getTableName(table)}_${rule}_check`,
      table,
      key,
      change: `alter table ${getTableName(table)} drop constraint ${getTableName(table)}_${rule}_check`,
    });
    test.each([
      dropped(schema.agentRegistry, "status", "status"),
      dropped(schema.agentRegistry, "agentName", "agent_name"),
      dropped(schema.agentRegistry, "currentHealthScore", "current_health_score"),
      dropped(schema.agentRegistry, "metadata", "metadata"),
      dropped(schema.circuitBreakerState, "failureCount", "failure_count"),
      dropped(schema.costBudgets, "dailyBudgetUsd", "daily_budget_usd"),
      dropped(schema.learningLog, "applicableTo", "applicable_to"),
      dropped(schema.evaluationReports, "strengths", "strengths"),
      dropped(schema.canaryDeployments, "stages", "stages"),
      dropped(schema.agentSlas, "targetP95LatencyMs", "p95_p50"),
      dropped(schema.abTests, "endDate", "dates"),
      dropped(schema.abTests, "controlPromptId", "prompts"),
      dropped(schema.agentPrompts, "parentVersionId", "parent"),
      dropped(schema.executionEmbeddings, "inputEmbedding", "some_embedding"),
      {
        planted: "agent_registry.display_name takes NULL",
        table: schema.agentRegistry,
        key: "displayName",
        change: "alter table agent_registry alter display_name drop not null",
      },
    ])("$planted", async ({ table, key, change }) => {
      const subject = { table, statement: "insert", schema: validators(table).insert } as const;
      const found = (await compared(subject, PLANTED_ROWS, change))?.disagreement;
      expect(found).toMatch(/^Zod refuses: [^]*^PostgreSQL accepts/m);
      expect(found).toContain(`→ at ${key}`);
    });

    const loosened = (table: PgTable, key: string, by: z.ZodType, refusal: RegExp) => ({
      planted: `${getTableName(table)}.${key}`,
      table,
      loose: z.strictObject({ ...validators(table).insert.shape, [key]: by }),
      refusal,
    });
    const { agentRegistry, agentPerformanceMetrics, alertHistory, costBudgets } = schema;
    test.each([
      loosened(agentRegistry, "agentName", z.string(), /agent_registry_agent_name_check/),
      loosened(agentRegistry, "ownerEmail", z.string().nullish(), /invalid byte sequence/),
      loosened(
        agentRegistry,
        "targetSuccessRate",
        z.number().nullish(),
        /target_success_rate_check/,
      ),
      loosened(agentRegistry, "targetAvgLatencyMs", z.int().nullish(), /avg_latency_ms_check/),
      loosened(agentRegistry, "metadata", z.json().optional(), /agent_registry_metadata_check/),
      loosened(agentRegistry, "status", z.string().optional(), /agent_registry_status_check/),
      loosened(agentPerformanceMetrics, "date", z.iso.date(), /out of range: "0000-01-01"/),
      loosened(agentPerformanceMetrics, "agentId", z.string(), /type uuid/),
      loosened(alertHistory, "slackSentAt", z.date().nullish(), /out of range: "0000-12-31/),
      loosened(costBudgets, "dailyBudgetUsd", z.string().nullish(), /daily_budget_usd_check/),
      loosened(schema.promptLibrary, "tags", z.array(z.unknown()).nullish(), /prompt_library_tags/),
      loosened(
        schema.executionEmbeddings,
        "inputEmbedding",
        z.array(z.number()).nullish(),
        /vector/,
      ),
    ])("a loose validator of $planted", async ({ table, loose, refusal }) => {
      const subject = { table, statement: "insert", schema: loose } as const;
      const found = (await compared(subject, PLANTED_ROWS))?.disagreement;
      expect(found).toMatch(/^Zod accepts\nPostgreSQL refuses: /m);
      expect(found).toMatch(refusal);
    });

    test.each([
      [schema.agentPrompts, /agent_prompts_parent_check/],
      [schema.agentSlas, /agent_slas_p\d\d_p\d\d_check/],
      [schema.shadowTests, /shadow_tests_(dates|prompts)_check/],
      [schema.executionEmbeddings, /some_embedding_check/],
    ])("a validator without the rules between columns, %#", async (table, refusal) => {
      const { shape } = validators(table).insert;
      const subject = { table, statement: "insert", schema: z.strictObject(shape) } as const;
      expect((await compared(subject, PLANTED_ROWS))?.disagreement).toMatch(refusal);
    });

    test("a validator that refuses too much", async () => {
      const { shape } = validators(costBudgets).insert;
      const cents = z.string().regex(/^\d+\.\d\d$/);
      const strict = z.strictObject({ ...shape, dailyBudgetUsd: cents.nullish() });
      const subject = { table: costBudgets, statement: "insert", schema: strict } as const;
      const found = (await compared(subject, PLANTED_ROWS))?.disagreement;
      expect(found).toMatch(/dailyBudgetUsd: "0"\nZod refuses: [^]*^PostgreSQL accepts/m);
    });
  });
});
