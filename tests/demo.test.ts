import { randomUUID } from "node:crypto";
import { beforeAll, expect, test } from "vitest";
import { rows } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { fleetSummary, isolationProof, loadDemo } from "../src/demo/load.ts";
import { DEMO_NOW, DEMO_ORGANIZATIONS } from "../src/demo/story.ts";
import * as schema from "../src/schema/index.ts";
import { newAgent } from "../src/testing.ts";
import { type Query, suite } from "./engine.ts";
import { SEED_TABLES } from "./seed.ts";

/** What came later may be left out of the fleet. */
const tables = [...SEED_TABLES];
const COUNTS = { agents: 6, executions: 735, logs: 2000, embeddings: 100 };

suite("loading the demo", (database) => {
  test("a database with rows of its own is refused, its tables named, and nothing written", async () => {
    const agent = newAgent();
    await database.db.insert(schema.agentRegistry).values(agent);
    await database.db.insert(schema.costBudgets).values({ agentId: agent.id });
    await expect(loadDemo(database.db)).rejects.toThrow(
      /these tables hold rows: agent_registry, cost_budgets\.\nNothing was changed\./,
    );
    expect(await database.query("select agent_name from agent_registry")).toHaveLength(1);
    await database.query("delete from agent_registry");
  });

  test("two loaders at once load it once, a later one not at all", async () => {
    const results = await Promise.all([loadDemo(database.db), loadDemo(database.db)]);
    expect(results.filter(({ loaded }) => loaded)).toEqual([{ loaded: true, ...COUNTS }]);
    expect(await loadDemo(database.db)).toEqual({ loaded: false, ...COUNTS });
  });

  test("the planner knows the tables at once", async () => {
    const unknown = await database.query(
      "select relname from pg_class where relname = any (string_to_array($1, ' ')) and reltuples < 1",
      [tables.join(" ")],
    );
    expect(unknown).toEqual([]);
  });
});

suite("the demo fleet", (database) => {
  beforeAll(async () => {
    expect(await loadDemo(database.db)).toEqual({ loaded: true, ...COUNTS });
  });

  test.each(tables)("%s has rows of both organizations and none of the platform", async (table) => {
    const owners = await database.query(
      `select distinct ${owner(table, "t")} as id from ${table} t order by 1`,
    );
    expect(owners).toEqual(Object.values(DEMO_ORGANIZATIONS).map(({ id }) => ({ id })));
  });

  test("is the same on every machine, ids included", async () => {
    let contents: (readonly [table: string, hash: string | undefined])[] = [];
    await database.rolledBack(async (query) => {
      await query("set local timezone to 'UTC'");
      contents = await Promise.all(
        tables.map(async (table) => [table, await contentOf(query, table)] as const),
      );
    });
    expect(Object.fromEntries(contents)).toMatchInlineSnapshot(`
      {
        "ab_tests": "2e941b54c9cb5f034de671ffc94eaa6a",
        "agent_dependencies": "1e2049c52c15736037499e856a440d77",
        "agent_execution_logs": "d2ed3160f71c8ed4365331ad9cd6d3d7",
        "agent_health_realtime": "44d3993ab57c2777b192891e3a1525dc",
        "agent_performance_metrics": "1292e0dfdc31645dba1ae99cd364d4da",
        "agent_prompts": "149d5707ef7ea5d9f37df5e72a3bcc5d",
        "agent_registry": "a822086087e397781378c045f67d0ce1",
        "agent_slas": "6ed36e5f3a137a7e90978e4e36a753f3",
        "alert_history": "ce95db5a5a0311bf483108748dbe909b",
        "canary_deployments": "5a04b992ff0a8c7c80a82c5cab14e814",
        "circuit_breaker_state": "666a3d433ea59df8eda4882e6b968725",
        "cost_budgets": "7a1ef6fab9e0b221c7e3320401dd6793",
        "evaluation_reports": "b6b91179f21304e03dbbee37768dbace",
        "execution_embeddings": "f1af7cc85289f50857c99b1d0b927332",
        "improvement_proposals": "f05f3f667922f7cc08042a94911f5cad",
        "learning_log": "7c68f4fc0ea8003fb1e92918ac345f3d",
        "model_routing_rules": "21ef740a4621f76cedb6d1abf16a94b8",
        "prompt_library": "170f33eb2b6d4fa524f6fc666e8270ec",
        "prompt_library_usage": "8a9298783de21126bd7b5fa42dfd3c81",
        "shadow_tests": "a3139d06d178ec1d6d73c347c10425c5",
        "sla_compliance": "c0cb0496cd90b2ff1829511d0eeb4478",
      }
    `);
  });

  test("has ids of RFC 9562; those of the log carry their row's time", async () => {
    const pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$";
    const ids = tables.map((table) => `select id from ${table}`).join(" union all ");
    expect(
      await database.query(`select id from (${ids}) t where id::text !~ $1`, [pattern]),
    ).toEqual([]);
    const untimely = await database.query(
      "select id from agent_execution_logs where meta_agent.uuidv7_time(id) <> timestamp",
    );
    expect(untimely).toEqual([]);
  });

  test("runs forward: no row before what it is about, none after the demo's instant", async () => {
    const wrong = await database.query(
      `select l.id from agent_execution_logs l
        join agent_prompts p on p.id = l.prompt_version_id join agent_registry a on a.id = l.agent_id
        where l.timestamp < p.created_at or p.created_at < a.created_at or l.timestamp > $1::timestamptz
          or l.reviewed_at not between l.timestamp and $1::timestamptz
          or p.agent_id <> l.agent_id`,
      [DEMO_NOW],
    );
    expect(wrong).toEqual([]);
  });

  test("no reference crosses organizations", async () => {
    const keys = await database.query<{ child: string; parent: string; column: string }>(
      `select c.conrelid::regclass::text as child, c.confrelid::regclass::text as parent, a.attname as column
        from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
        where c.contype = 'f' and c.connamespace = 'public'::regnamespace`,
    );
    expect(keys.length).toBeGreaterThan(30);
    const crossing = keys.map(
      ({ child, parent, column }) => `select '${child}.${column}' as key from ${child} c
        join ${parent} p on p.id = c.${column} where ${owner(child, "c")} <> ${owner(parent, "p")}`,
    );
    expect(await database.query(crossing.join(" union all "))).toEqual([]);
  });

  test("each organization sees its own rows alone, together all, and nobody else any", async () => {
    const counts = tables.map(
      (table) => `select '${table}' as name, count(*)::int as n from ${table}`,
    );
    const counting = `${counts.join(" union all ")} order by name`;
    const seenBy = (caller: string) =>
      withOrganization(database.db, caller, async (tx) =>
        rows<{ name: string; n: number }>(await tx.execute(counting)),
      );
    const larkspur = await seenBy(DEMO_ORGANIZATIONS.larkspur.id);
    const cobalt = await seenBy(DEMO_ORGANIZATIONS.cobalt.id);
    const nobody = await seenBy(randomUUID());
    const all = await database.query<{ name: string; n: number }>(counting);
    expect(
      larkspur.map(({ name, n }, index) => ({ name, n: n + (cobalt[index]?.n ?? 0) })),
    ).toEqual(all);
    expect(nobody).toEqual(all.map(({ name }) => ({ name, n: 0 })));
    expect(await isolationProof(database.db)).toEqual({
      query: "select count(*) from agent_registry",
      answers: [
        { organization: "Larkspur Foods", agents: 3 },
        { organization: "Cobalt Freight", agents: 3 },
        { organization: null, agents: 0 },
      ],
    });
  });

  test("the metrics of a day are what its log rows say", async () => {
    const days = await database.query<{ n: number }>(
      `${METRICS_FROM_LOGS} select count(*)::int as n from expected`,
    );
    const stored = await database.query("select id from agent_performance_metrics");
    expect(days).toEqual([{ n: stored.length }]);
    const different = await database.query(
      `${METRICS_FROM_LOGS}
        select e.*, m.* from expected e
        full join agent_performance_metrics m using (agent_id, prompt_version_id, date)
        where (m.organization_id, m.total_executions, m.successful_executions, m.failed_executions,
            m.timeout_executions, m.p50_latency_ms, m.p95_latency_ms, m.p99_latency_ms, m.total_cost_usd,
            m.total_tokens_input, m.total_tokens_output, m.human_interventions, m.unique_error_types,
            m.most_common_error, m.error_distribution, m.cost_per_execution)
          is distinct from (e.organization_id, e.total, e.successful, e.failed,
            e.timed_out, e.p50, e.p95, e.p99, e.cost,
            e.tokens_input, e.tokens_output, e.reviewed, e.error_types,
            e.common_error, e.errors, round(e.cost / e.total, 6))
          or abs(m.avg_latency_ms - e.latency) > 0.006
          or abs(m.avg_quality_score - e.quality) > 0.006
          or (m.avg_quality_score is null) <> (e.quality is null)`,
    );
    expect(different).toEqual([]);
  });

  test("prompts, health, tests and budgets add up to the log", async () => {
    const wrong = await database.query(
      `with ${OUTCOMES}
      select 'prompt' as what, p.id from agent_prompts p
        where exists (select p.total_executions, p.successful_executions except
          select count(*)::int, count(*) filter (where outcome = 'success')::int
          from outcome o where o.prompt_version_id = p.id)
      union all select 'health', h.agent_id from agent_health_realtime h
        where exists (select h.executions_1h, h.failures_1h, h.error_rate_1h except
          select count(*)::int, count(*) filter (where outcome in ('failure', 'timeout'))::int,
            round(avg((outcome <> 'success')::int) filter (where outcome in ('success', 'failure', 'timeout')), 4)
          from outcome o where o.agent_id = h.agent_id and o.started >= h.timestamp - interval '1 hour')
      union all select 'A/B test', t.id from ab_tests t
        where exists (select t.control_executions, t.treatment_executions, t.treatment_success_rate except
          select count(*) filter (where o.prompt_version_id = t.control_prompt_id)::int,
            count(*) filter (where o.prompt_version_id = t.treatment_prompt_id)::int,
            round(avg((outcome = 'success')::int) filter (where o.prompt_version_id = t.treatment_prompt_id
              and outcome in ('success', 'failure', 'timeout')), 4)
          from outcome o where o.agent_id = t.agent_id and o.started >= t.start_date
            and o.started < coalesce(t.end_date, 'infinity'))
      union all select 'budget', b.id from cost_budgets b
        where exists (select b.current_daily_spend, b.current_weekly_spend, b.current_monthly_spend except
          select sum(estimated_cost_usd) filter (where timestamp >= '2026-01-31T00:00Z'),
            sum(estimated_cost_usd) filter (where timestamp >= '2026-01-26T00:00Z'),
            sum(estimated_cost_usd) filter (where timestamp >= '2026-01-01T00:00Z')
          from agent_execution_logs l
          where l.organization_id = b.organization_id and (b.agent_id is null or l.agent_id = b.agent_id))`,
    );
    expect(wrong).toEqual([]);
  });

  test("one breaker is open, after five failures in a row and with no execution since", async () => {
    const breakers = await database.query(
      `with ${OUTCOMES}
      select a.agent_name as agent, b.state, b.failure_count as failures, b.success_count as successes,
        a.consecutive_failures as "inRegistry", h.circuit_state as "inHealth", h.status as health,
        (select string_agg(left(outcome, 1), '' order by started) from outcome o
          where o.agent_id = a.id and o.started > b.opened_at - interval '20 minutes') as outcomes,
        (select count(*)::int from outcome o where o.agent_id = a.id and o.started > b.opened_at
          and o.started < b.opened_at + b.cooldown_seconds * interval '1 second') as early
      from circuit_breaker_state b join agent_registry a on a.id = b.agent_id
      join agent_health_realtime h on h.agent_id = a.id
      where b.state <> 'closed' order by 1`,
    );
    expect(breakers).toEqual([
      {
        agent: "churn-watcher",
        state: "half_open",
        failures: 0,
        successes: 2,
        inRegistry: 0,
        inHealth: "half_open",
        health: "degraded",
        outcomes: "fftffss",
        early: 0,
      },
      {
        agent: "invoice-reconciler",
        state: "open",
        failures: 5,
        successes: 0,
        inRegistry: 5,
        inHealth: "open",
        health: "critical",
        outcomes: "ftfff",
        early: 0,
      },
    ]);
  });

  test("tells its story: what runs, what was rolled back, what is over, what was breached", async () => {
    const [story] = await database.query(`select
      (select string_agg(status || coalesce(' ' || winner, ''), ', ' order by status) from ab_tests) as "A/B tests",
      (select string_agg(status, ', ' order by status) from shadow_tests) as "shadow tests",
      (select string_agg(status, ', ' order by status) from canary_deployments) as canaries,
      (select string_agg(distinct status, ', ' order by status) from improvement_proposals) as proposals,
      (select string_agg(open || ' of ' || n, ', ') from (select count(*) filter (where not resolved) as open,
        count(*) as n from alert_history group by organization_id order by organization_id) t) as "open alerts",
      (select count(*)::int from cost_budgets where alert_at_percentage <= 100 * greatest(
        current_daily_spend / daily_budget_usd, current_weekly_spend / weekly_budget_usd,
        current_monthly_spend / monthly_budget_usd)) as "budgets over their threshold",
      (select count(*)::int from sla_compliance where not overall_compliant) as breaches,
      (select count(*)::int from learning_log l join learning_log by on by.id = l.superseded_by
        where not l.is_active and by.is_active) as superseded,
      (select count(*)::int from (select 1 from agent_prompts group by agent_id
        having count(*) filter (where is_active) = 1 and count(*) filter (where is_baseline) = 1) t) as "agents with one active prompt"`);
    expect(story).toEqual({
      "A/B tests": "completed treatment, running",
      "shadow tests": "completed, running",
      canaries: "completed, rolled_back",
      proposals: "approved, deployed, proposed, rejected, rolled_back, testing",
      "open alerts": "2 of 3, 1 of 2",
      "budgets over their threshold": 1,
      breaches: 1,
      superseded: 1,
      "agents with one active prompt": 6,
    });
  });

  test("the summary of the first minute shows every agent, or one organization's", async () => {
    const summary = await fleetSummary(database.db);
    expect(summary).toMatchInlineSnapshot(`
      [
        {
          "agent": "campaign-writer",
          "costUsd": "6.124962",
          "note": "canary rolled back",
          "organization": "Larkspur Foods",
          "p95LatencyMs": 8531,
          "runs": 137,
          "status": "active",
          "successPercent": 95.5,
        },
        {
          "agent": "invoice-reconciler",
          "costUsd": "7.674792",
          "note": "breaker open, shadow test running, SLA breached",
          "organization": "Larkspur Foods",
          "p95LatencyMs": 6829,
          "runs": 103,
          "status": "improving",
          "successPercent": 81.4,
        },
        {
          "agent": "lead-qualifier",
          "costUsd": "2.625810",
          "note": "A/B test running",
          "organization": "Larkspur Foods",
          "p95LatencyMs": 3070,
          "runs": 111,
          "status": "testing",
          "successPercent": 94.6,
        },
        {
          "agent": "churn-watcher",
          "costUsd": "3.584157",
          "note": "breaker half-open",
          "organization": "Cobalt Freight",
          "p95LatencyMs": 4256,
          "runs": 135,
          "status": "active",
          "successPercent": 94.1,
        },
        {
          "agent": "contract-summarizer",
          "costUsd": "57.829185",
          "note": "budget nearly spent",
          "organization": "Cobalt Freight",
          "p95LatencyMs": 16013,
          "runs": 114,
          "status": "active",
          "successPercent": 87.7,
        },
        {
          "agent": "shipment-tracker",
          "costUsd": "1.306009",
          "note": "",
          "organization": "Cobalt Freight",
          "p95LatencyMs": 2478,
          "runs": 135,
          "status": "active",
          "successPercent": 93.9,
        },
      ]
    `);
    const recounted = await database.query(
      `with ${OUTCOMES}
      select agent_name as agent, count(*)::int as runs,
        round(100 * avg((outcome = 'success')::int)
          filter (where outcome in ('success', 'failure', 'timeout')), 1)::float8 as "successPercent"
      from outcome o join agent_registry a on a.id = o.agent_id
      group by a.organization_id, agent_name order by a.organization_id, agent_name`,
    );
    expect(
      summary.map(({ agent, runs, successPercent }) => ({ agent, runs, successPercent })),
    ).toEqual(recounted);
    const own = await fleetSummary(database.db, DEMO_ORGANIZATIONS.cobalt.id);
    expect(own).toEqual(summary.slice(3));
  });

  test("the execution most similar to another is of the same agent, and so is its topic if any is", async () => {
    // Every pair is compared: the index, built empty, would not find them.
    const neighbours = await database.query<{ agent: boolean; topic: boolean }>(
      `with execution as (
        select e.id, e.input_embedding as embedding, l.agent_id as agent, l.input_data ->> 'topic' as topic
        from execution_embeddings e join agent_execution_logs l on l.id = e.execution_log_id)
      select nearest.agent = execution.agent as agent, nearest.topic = execution.topic as topic
      from execution, lateral (
        select agent, topic from execution as other where other.id <> execution.id
        order by (other.embedding <=> execution.embedding) + 0 limit 1) as nearest
      where exists (select from execution as other where other.topic = execution.topic and other.id <> execution.id)`,
    );
    expect(neighbours.length).toBeGreaterThan(90);
    expect(neighbours.filter(({ agent, topic }) => !agent || !topic)).toEqual([]);
  });
});

/** The organization of a row; a use of a component has its prompt's. */
const owner = (table: string, alias: string) =>
  table === "prompt_library_usage"
    ? `(select organization_id from agent_prompts where id = ${alias}.prompt_id)`
    : `${alias}.organization_id`;

/** How each execution ended: a failure among its rows decides, then a timeout, a cancellation, a run. */
const OUTCOMES = `outcome as (
  select agent_id, execution_id, min(prompt_version_id::text)::uuid as prompt_version_id,
    min(timestamp) as started,
    case when bool_or(status = 'failure') then 'failure' when bool_or(status = 'timeout') then 'timeout'
      when bool_or(status = 'cancelled') then 'cancelled' when bool_or(status = 'running') then 'running'
      else 'success' end as outcome
  from agent_execution_logs group by agent_id, execution_id)`;

/** A second opinion on `agent_performance_metrics`, in SQL. */
const METRICS_FROM_LOGS = `with log as (
    select *, (timestamp at time zone 'UTC')::date as date from agent_execution_logs
  ), run as (
    select agent_id, prompt_version_id, date, execution_id, bool_or(status = 'failure') as failed,
      bool_or(status = 'timeout') as timed_out, bool_or(reviewed_at is not null) as reviewed,
      bool_and(status = 'success') as successful
    from log group by 1, 2, 3, 4
  ), runs as (
    select agent_id, prompt_version_id, date, count(*)::int as total,
      count(*) filter (where successful)::int as successful, count(*) filter (where failed)::int as failed,
      count(*) filter (where timed_out and not failed)::int as timed_out,
      count(*) filter (where reviewed)::int as reviewed
    from run group by 1, 2, 3
  ), failure as (
    select agent_id, prompt_version_id, date, coalesce(error_type, 'unknown') as type, count(*)::int as n
    from log where status = 'failure' group by 1, 2, 3, 4
  ), failures as (
    select agent_id, prompt_version_id, date, count(*)::int as types, jsonb_object_agg(type, n) as errors,
      (array_agg(type order by n desc, type))[1] as common
    from failure group by 1, 2, 3
  ), row as (
    select agent_id, prompt_version_id, date, organization_id, avg(latency_ms) as latency,
      percentile_cont(0.5) within group (order by latency_ms)::numeric as p50,
      round(percentile_cont(0.95) within group (order by latency_ms)::numeric, 2) as p95,
      round(percentile_cont(0.99) within group (order by latency_ms)::numeric, 2) as p99,
      coalesce(sum(estimated_cost_usd), 0) as cost, coalesce(sum(token_count_input), 0)::int as tokens_input,
      coalesce(sum(token_count_output), 0)::int as tokens_output, avg(quality_score) as quality
    from log group by 1, 2, 3, 4
  ), expected as (
    select row.*, total, successful, failed, timed_out, reviewed, coalesce(types, 0) as error_types,
      common as common_error, coalesce(errors, '{}') as errors
    from row join runs using (agent_id, prompt_version_id, date)
    left join failures using (agent_id, prompt_version_id, date))`;

async function contentOf(query: Query, table: string): Promise<string | undefined> {
  const [content] = await query<{ hash: string }>(
    `select md5(string_agg(t::text, chr(10) order by id)) as hash from ${table} t`,
  );
  return content?.hash;
}
