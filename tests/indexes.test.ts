import { expect, test } from "vitest";
import { type Query, suite } from "./engine.ts";
import { SEED_INDEXES } from "./seed.ts";

const UUID = "'00000000-0000-4000-8000-000000000000'";
const VECTOR = `('[1' || repeat(',0', 1535) || ']')::vector`;

/** For each index of the seed a query that it is there for. */
const QUERIES: Record<string, string> = {
  idx_prompts_agent_active: `select * from agent_prompts where agent_id = ${UUID} and is_active = true`,
  idx_logs_agent_timestamp: `select * from agent_execution_logs where agent_id = ${UUID} order by timestamp desc limit 50`,
  idx_logs_execution: `select * from agent_execution_logs where execution_id = ${UUID}`,
  idx_logs_status_failure: `select * from agent_execution_logs where status = 'failure'`,
  idx_logs_quality: `select * from agent_execution_logs where agent_id = ${UUID} and quality_score < 50`,
  idx_logs_org_timestamp: `select * from agent_execution_logs where organization_id = ${UUID} order by timestamp desc limit 50`,
  idx_metrics_agent_date: `select * from agent_performance_metrics where agent_id = ${UUID} order by date desc limit 30`,
  idx_reports_agent_date: `select * from evaluation_reports where agent_id = ${UUID} order by report_date desc limit 5`,
  idx_proposals_agent_status: `select * from improvement_proposals where agent_id = ${UUID} and status = 'approved'`,
  idx_proposals_pending: `select * from improvement_proposals where status = 'proposed'`,
  idx_ab_tests_running: `select * from ab_tests where status = 'running'`,
  idx_shadow_tests_running: `select * from shadow_tests where status = 'running'`,
  idx_canary_running: `select * from canary_deployments where status = 'running'`,
  idx_alerts_unresolved: `select * from alert_history where resolved = false order by created_at desc limit 50`,
  idx_alerts_agent: `select * from alert_history where agent_id = ${UUID} order by created_at desc limit 50`,
  idx_health_realtime_agent: `select * from agent_health_realtime where agent_id = ${UUID}`,
  idx_sla_compliance_period: `select * from sla_compliance where agent_id = ${UUID} order by period_start desc limit 12`,
  idx_cost_budgets_org: `select * from cost_budgets where organization_id = ${UUID}`,
  idx_learning_applicable: `select * from learning_log where applicable_to @> array['sales']`,
  idx_input_embedding: `select * from execution_embeddings order by input_embedding <=> ${VECTOR} limit 10`,
  idx_error_embedding: `select * from execution_embeddings order by error_embedding <=> ${VECTOR} limit 10`,
};

/** Others that serve the same query as well: out of the way for that plan. */
const RIVALS: Record<string, string[]> = {
  idx_prompts_agent_active: [
    "drop index agent_prompts_one_active",
    "alter table agent_prompts drop constraint agent_prompts_agent_id_version_key",
  ],
  idx_health_realtime_agent: [
    "alter table agent_health_realtime drop constraint agent_health_realtime_agent_id_key",
  ],
  idx_logs_status_failure: [
    "drop index idx_agent_execution_logs_organization_id_timestamp_failure",
  ],
  idx_proposals_pending: [
    "drop index idx_improvement_proposals_organization_id_created_at_pending",
  ],
  idx_ab_tests_running: ["drop index idx_ab_tests_organization_id_running"],
  idx_shadow_tests_running: ["drop index idx_shadow_tests_organization_id_running"],
  idx_canary_running: ["drop index idx_canary_deployments_organization_id_running"],
};

async function plan(query: Query, statement: string): Promise<string> {
  const lines = await query<{ "QUERY PLAN": string }>(`explain ${statement}`);
  return lines.map((line) => line["QUERY PLAN"]).join("\n");
}

suite("indexes serve their queries", (database) => {
  test("no index of the seed is without a query here", () => {
    expect(Object.keys(QUERIES)).toEqual(expect.arrayContaining([...SEED_INDEXES]));
  });

  test.each(Object.entries(QUERIES))("%s is used", async (index, statement) => {
    await database.rolledBack(async (query) => {
      // The tables are empty: only the choice between indexes is left to the planner.
      await query("set local enable_seqscan = off");
      await query("set local enable_sort = off");
      for (const rival of RIVALS[index] ?? []) await query(rival);
      expect(await plan(query, statement)).toMatch(
        new RegExp(`Index (Only )?Scan (using|on) ${index}\\b`),
      );
    });
  });

  test("every foreign key column leads a whole index", async () => {
    const bare = await database.query(
      `select c.conrelid::regclass::text || '.' || a.attname as name
       from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
       where c.contype = 'f' and not exists (
         select from pg_index i where i.indrelid = c.conrelid and i.indkey[0] = c.conkey[1] and i.indpred is null)`,
    );
    expect(bare).toEqual([]);
  });

  test("every tenant table has a whole index that leads with organization_id", async () => {
    const bare = await database.query(
      `select a.attrelid::regclass::text as name from pg_attribute a join pg_class c on c.oid = a.attrelid
       where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attname = 'organization_id' and not exists (
         select from pg_index i where i.indrelid = a.attrelid and i.indkey[0] = a.attnum and i.indpred is null)`,
    );
    expect(bare).toEqual([]);
  });

  test("added indexes are named idx_<table>_<columns>, partial ones with a word for their rows", async () => {
    const added = await database.query<{ name: string; expected: string; partial: boolean }>(
      `select i.relname::text as name, x.indpred is not null as partial, 'idx_' || t.relname || '_' || string_agg(a.attname, '_' order by k.position) as expected
       from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class t on t.oid = x.indrelid
       cross join lateral unnest(x.indkey) with ordinality as k (attnum, position)
       join pg_attribute a on a.attrelid = t.oid and a.attnum = k.attnum
       where t.relnamespace = 'public'::regnamespace
         -- What is unique is a rule, and named as one.
         and not x.indisunique
       group by i.relname, t.relname, x.indexrelid, partial`,
    );
    const ours = added.filter(({ name }) => !SEED_INDEXES.includes(name));
    expect(ours.length).toBeGreaterThan(30);
    expect(
      ours.filter(
        ({ name, expected, partial }) =>
          (partial ? name.replace(/_[a-z]+$/, "") : name) !== expected,
      ),
    ).toEqual([]);
  });

  test("the log has a BRIN index on its time", async () => {
    await database.rolledBack(async (query) => {
      for (const rival of ["idx_logs_agent_timestamp", "idx_logs_org_timestamp"]) {
        await query(`drop index ${rival}`);
      }
      await query("set local enable_seqscan = off");
      expect(
        await plan(
          query,
          "select count(*) from agent_execution_logs where timestamp >= '2026-01-01' and timestamp < '2026-01-02'",
        ),
      ).toContain("Bitmap Index Scan on idx_agent_execution_logs_timestamp");
    });
  });
});
