import { getTableName, is } from "drizzle-orm";
import { type AnyPgColumn, PgTable, getTableConfig } from "drizzle-orm/pg-core";
import { expect, test } from "vitest";
import { withServiceRole } from "../src/client/tenancy.ts";
import { databaseError } from "../src/client/errors.ts";
import * as schema from "../src/schema/index.ts";
import { type ColumnRule, columnRule } from "../src/schema/rules.ts";
import { suite } from "./engine.ts";
import { insertOneOfEach } from "./rows.ts";

const tables = Object.values(schema).filter((value) => is(value, PgTable));
const ruled = tables.flatMap((table) =>
  getTableConfig(table).columns.flatMap((column) => {
    const rule = columnRule(column);
    return rule ? [{ table: getTableName(table), column, name: column.name, rule }] : [];
  }),
);

/** Values as SQL text: what the column must take and what it must refuse. */
function probes(rule: ColumnRule, column: AnyPgColumn): { takes: string[]; refuses: string[] } {
  switch (rule.kind) {
    case "oneOf": {
      const takes = rule.values.map((value) => `'${value}'`);
      return { takes, refuses: ["''", "'nonsense'", takes[0]?.toUpperCase() ?? "''"] };
    }
    case "range": {
      const whole = column.getSQLType() === "integer";
      const max = rule.max ?? 2_147_483_647;
      const takes = [String(rule.min), String(max), ...(whole ? [] : [String(rule.min + 0.5)])];
      const beyond = whole ? [] : [`${max}.000000001`, "'NaN'", "'Infinity'", "'-Infinity'"];
      return { takes, refuses: [`${rule.min} - 1`, `${max} + 1`, ...beyond] };
    }
    case "length":
      return {
        takes: ["'x'", "repeat('x', 255)", "repeat('é', 255)"],
        refuses: ["''", "repeat('x', 256)"],
      };
    case "elements": {
      const refuses = ["array['a', null]", "array[array['a']]::text[]"];
      const takes = ["'{}'", "array['a', '{x}', ',\"\\']"];
      return rule.min === 0
        ? { takes: [...takes, "array['', repeat('x', 256)]"], refuses }
        : {
            takes: [...takes, "array[repeat('x', 255), 'a']"],
            refuses: [
              ...refuses,
              "array['a', '']",
              "array[repeat('x', 256)]",
              "array[repeat(' ', 256)]",
            ],
          };
    }
    case "instant":
    case "day":
      return { takes: ["'2026-01-01'", "'0001-01-01'"], refuses: ["'infinity'", "'-infinity'"] };
    case "json": {
      const forms = {
        object: { takes: ["'{}'"], refuses: ["'[]'", "'null'", "'1'"] },
        array: { takes: ["'[]'"], refuses: ["'{}'", "'null'", "'1'"] },
        "non-empty array": { takes: ["'[1]'"], refuses: ["'[]'", "'{}'", "'null'", "'1'"] },
      };
      return rule.form ? forms[rule.form] : { takes: ["'1'", "'null'", "'[]'"], refuses: [] };
    }
  }
}

suite("columns take what their kind says and nothing else", (database) => {
  test("every column kind with a rule has its CHECK in the catalog, by name", async () => {
    const checks = await database.query<{ name: string }>(
      "select conname::text as name from pg_constraint where contype = 'c' and connamespace = 'public'::regnamespace",
    );
    const names = new Set(checks.map(({ name }) => name));
    expect(ruled.length).toBeGreaterThan(150);
    const missing = ruled.filter(
      ({ table, name, rule }) =>
        !names.has(`${table}_${name}_check`) && !(rule.kind === "json" && !rule.form),
    );
    expect(missing).toEqual([]);
  });

  test("every column with a unit says it in its comment", async () => {
    const comments = await database.query<{ name: string; comment: string }>(
      `select c.relname || '.' || a.attname as name, col_description(c.oid, a.attnum) as comment
       from pg_class c join pg_attribute a on a.attrelid = c.oid
       where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0`,
    );
    const commentOf = new Map(comments.map(({ name, comment }) => [name, comment]));
    const units = ruled.flatMap(({ table, name, rule }) =>
      rule.kind === "range" ? [{ name: `${table}.${name}`, unit: rule.unit }] : [],
    );
    expect(units.length).toBeGreaterThan(80);
    for (const { name, unit } of units) {
      expect(commentOf.get(name), name).toMatch(new RegExp(`^${unit}\\.`));
    }
  });

  test("every table has a comment", async () => {
    const bare = await database.query(
      `select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
       and obj_description(oid, 'pg_class') is null`,
    );
    expect(bare).toEqual([]);
  });

  test("the database takes and refuses at the edges of every rule", async () => {
    const rollback = new Error("rolled back");
    const verdicts: string[] = [];
    const attempt = withServiceRole(database.db, async (tx) => {
      const ids = await insertOneOfEach(tx);
      for (const { table, column, name, rule } of ruled) {
        if (name === "updated_at") continue; // overwritten by its trigger
        const check = `${table}_${name}_check`;
        const { takes, refuses } = probes(rule, column);
        for (const [value, expected] of [
          ...takes.map((taken) => [taken, "taken"] as const),
          ...refuses.map((refused) => [refused, "refused"] as const),
        ]) {
          const verdict = await tx
            .transaction(async (inner) => {
              await inner.execute(
                `update ${table} set "${name}" = ${value} where id = '${ids.get(table)}'`,
              );
              throw rollback;
            })
            .catch((error: unknown) => (error === rollback ? "taken" : refusalOf(error, check)));
          // A rule between columns may speak first, and says nothing of this one.
          const agrees = verdict === expected || verdict === "refused by another rule";
          if (!agrees) verdicts.push(`${table}.${name} = ${value}: ${verdict}`);
        }
      }
      throw rollback;
    });
    await expect(attempt).rejects.toBe(rollback);
    expect(verdicts).toEqual([]);
  });

  test("a column with a default keeps it out of reach of NULL, unless NULL means no limit", async () => {
    const nullable = await database.query<{ name: string }>(
      `select c.relname || '.' || a.attname as name from pg_attribute a join pg_class c on c.oid = a.attrelid
       where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and a.atthasdef
         and not a.attnotnull and a.attname <> 'organization_id' order by 1`,
    );
    expect(nullable.map(({ name }) => name)).toEqual([
      "agent_prompts.max_tokens",
      "agent_prompts.temperature",
      "agent_registry.target_avg_latency_ms",
      "agent_registry.target_cost_per_execution",
      "agent_registry.target_success_rate",
      "agent_slas.target_availability",
      "agent_slas.target_quality_score",
      "agent_slas.target_success_rate",
      "canary_deployments.rollback_on_error_rate",
      "canary_deployments.rollback_on_latency_increase",
      "canary_deployments.rollback_on_quality_decrease",
      "cost_budgets.alert_at_percentage",
    ]);
  });

  const between: [rule: string, statement: string, satisfied: string][] = [
    [
      "evaluation_reports_evaluation_period_check",
      "update evaluation_reports set evaluation_period_end = '2026-01-04'",
      "update evaluation_reports set evaluation_period_end = evaluation_period_start",
    ],
    [
      "sla_compliance_period_check",
      "update sla_compliance set period_end = '2025-12-31'",
      "update sla_compliance set period_end = period_start",
    ],
    [
      "ab_tests_dates_check",
      "update ab_tests set end_date = start_date",
      "update ab_tests set end_date = start_date + interval '1 second'",
    ],
    [
      "shadow_tests_dates_check",
      "update shadow_tests set end_date = start_date",
      "update shadow_tests set end_date = start_date + interval '1 second'",
    ],
    [
      "ab_tests_prompts_check",
      "update ab_tests set treatment_prompt_id = control_prompt_id",
      "update ab_tests set control_prompt_id = treatment_prompt_id, treatment_prompt_id = control_prompt_id",
    ],
    [
      "shadow_tests_prompts_check",
      "update shadow_tests set shadow_prompt_id = production_prompt_id",
      "update shadow_tests set shadow_prompt_id = production_prompt_id, production_prompt_id = shadow_prompt_id",
    ],
    [
      "canary_deployments_prompts_check",
      "update canary_deployments set canary_prompt_id = current_prompt_id",
      "update canary_deployments set canary_prompt_id = current_prompt_id, current_prompt_id = canary_prompt_id",
    ],
    [
      "agent_dependencies_agents_check",
      "update agent_dependencies set upstream_agent_id = downstream_agent_id",
      "update agent_dependencies set upstream_agent_id = downstream_agent_id, downstream_agent_id = upstream_agent_id",
    ],
    [
      "agent_prompts_parent_check",
      "update agent_prompts set parent_version_id = id",
      "update agent_prompts set parent_version_id = (select max(id::text)::uuid from agent_prompts) where id <> (select max(id::text)::uuid from agent_prompts)",
    ],
    [
      "learning_log_superseded_check",
      "update learning_log set superseded_by = id",
      "update learning_log set superseded_by = null",
    ],
    [
      "execution_embeddings_some_embedding_check",
      "update execution_embeddings set input_embedding = null, error_embedding = null",
      "update execution_embeddings set error_embedding = input_embedding, input_embedding = null",
    ],
    [
      "agent_slas_p95_p50_check",
      "update agent_slas set target_p50_latency_ms = 2, target_p95_latency_ms = 1",
      "update agent_slas set target_p50_latency_ms = 2, target_p95_latency_ms = 2",
    ],
    [
      "agent_slas_p99_p95_check",
      "update agent_slas set target_p95_latency_ms = 2, target_p99_latency_ms = 1",
      "update agent_slas set target_p95_latency_ms = 2, target_p99_latency_ms = 2",
    ],
    [
      "agent_slas_p99_p50_check",
      "update agent_slas set target_p50_latency_ms = 2, target_p99_latency_ms = 1",
      "update agent_slas set target_p50_latency_ms = 2, target_p99_latency_ms = 2",
    ],
  ];
  test.each(between)("%s holds between columns", async (rule, broken, satisfied) => {
    const rollback = new Error("rolled back");
    const attempt = withServiceRole(database.db, async (tx) => {
      await insertOneOfEach(tx);
      await tx.execute(satisfied);
      const refusal: unknown = await tx
        .transaction((inner) => inner.execute(broken))
        .catch((error: unknown) => error);
      expect(databaseError(refusal)).toMatchObject({
        code: "23514",
        message: expect.stringContaining(rule),
      });
      throw rollback;
    });
    await expect(attempt).rejects.toBe(rollback);
  });

  test("no rule between columns is untested", async () => {
    const columns = new Set(ruled.map(({ table, name }) => `${table}_${name}_check`));
    const checks = await database.query<{ name: string }>(
      "select conname::text as name from pg_constraint where contype = 'c' and connamespace = 'public'::regnamespace",
    );
    const others = checks.map(({ name }) => name).filter((name) => !columns.has(name));
    expect(others.toSorted()).toEqual(between.map(([rule]) => rule).toSorted());
  });
});

/** Whether the type or the column's own CHECK refused, or another one. */
function refusalOf(error: unknown, check: string): "refused" | "refused by another rule" {
  const refusal = databaseError(error);
  switch (refusal?.code ?? "") {
    case "22003": // out of the type's range
    case "22P02": // malformed
    case "0A000": // an array of arrays
      return "refused";
    case "23514":
      return refusal?.message.includes(`"${check}"`) ? "refused" : "refused by another rule";
    default:
      throw error;
  }
}
