import { randomUUID } from "node:crypto";
import { beforeAll, expect, test } from "vitest";
import { rows } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { fleetSummary, isolationProof, loadDemo } from "../src/demo/load.ts";
import { DEMO_NOW, DEMO_ORGANIZATIONS } from "../src/demo/story.ts";
import * as schema from "../src/schema/index.ts";
import { newAgent } from "../src/testing.ts";
import { type Query, suite } from "./engine.ts";
import { type Metric, metricsOf, near } from "./reference.ts";
import { SEED_TABLES } from "./seed.ts";

/** What came later may be left out of the fleet. */
const tables = [...SEED_TABLES];
const COUNTS = { agents: 5, executions: 1265, logs: 2309, embeddings: 60 };

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

  test("a load that is interrupted leaves nothing", async () => {
    await database.script(`create function no_sla() returns trigger language plpgsql as $$ begin raise exception 'no more'; end $$;
      create trigger no_sla before insert on agent_slas execute function no_sla();`);
    await expect(loadDemo(database.db)).rejects.toThrow();
    expect(await database.query("select from agent_registry")).toEqual([]);
    await database.script("drop trigger no_sla on agent_slas; drop function no_sla;");
  });

  test("two loaders at once load it once, a later one not at all, and it counts the same at any now", async () => {
    const now = new Date("2026-03-04T12:00:00Z");
    const results = await Promise.all([1, 2].map(() => loadDemo(database.db, { now })));
    expect(results.filter(({ loaded }) => loaded)).toEqual([{ loaded: true, ...COUNTS }]);
    expect(await loadDemo(database.db)).toEqual({ loaded: false, ...COUNTS });
  });

  test("a now that is no instant is refused before any SQL", async () => {
    const loading = loadDemo(database.db, { now: new Date("then") });
    await expect(loading).rejects.toThrow("loadDemo: now must be a valid Date");
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
        "ab_tests": "39630f38124401121ded88b92ad38cbb",
        "agent_dependencies": "b7480cf601bd23f5ef8a910bbef961b2",
        "agent_execution_logs": "e56de6e60dca948f15a1c27667aa82c5",
        "agent_health_realtime": "ff3367879289217f184cfca3c401eb69",
        "agent_performance_metrics": "ccb5893287f25422e82cd2d1d9d7a657",
        "agent_prompts": "87098c8eea06456bf00bac3c227932c5",
        "agent_registry": "142dfd13a4f3dc92ef0a7bc79a7f8746",
        "agent_slas": "1321519e3ec9adba56ec00fdaeca3737",
        "alert_history": "6b97cbd12a16101392e7ca4780ec3395",
        "canary_deployments": "0864d7efac15b5cfb51dbfa81feb9630",
        "circuit_breaker_state": "d9891812ea656c3cb0782dd9a9fa4d5a",
        "cost_budgets": "e543a53e135206ce360045a6a588bfcf",
        "evaluation_reports": "70bdafc861aec99f86a66ad04bcf50fe",
        "execution_embeddings": "5f51376626dec33b16ffd11472ca0b0d",
        "improvement_proposals": "15d4362ce47160771e63b72405267d3f",
        "learning_log": "b87fc4a06e3c5af7af4dce38dd7a6107",
        "model_routing_rules": "96754d12c6d698de1eca71f0683e3e7b",
        "prompt_library": "0590d10fa98e20c5999d0f235920ee54",
        "prompt_library_usage": "1642174fb998a5282cb07ac608fed7ab",
        "shadow_tests": "5b330bc1a73980253d8bb8c7d27e8acf",
        "sla_compliance": "41bbc0dfa27c03e65fb1efb49c479e0b",
      }
    `);
  });

  test("has ids of RFC 9562; those of the log carry their row's time", async () => {
    const pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-[478][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$";
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
        { organization: "Larkspur Foods", agents: 2 },
        { organization: "Cobalt Freight", agents: 3 },
        { organization: null, agents: 0 },
      ],
    });
  });

  test("the metrics of a day are what its log rows say", async () => {
    const logs = await database.db.select().from(schema.agentExecutionLogs);
    const stored = await database.db.select().from(schema.agentPerformanceMetrics);
    const keyOf = ({ agentId, promptVersionId, date }: Metric) =>
      `${agentId} ${promptVersionId} ${date}`;
    const sorted = (metrics: Metric[]) =>
      metrics.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
    const exact = sorted(metricsOf(logs).metrics).map((metric) =>
      Object.fromEntries(
        Object.entries(metric).map(([name, value]) => [
          name,
          /^(avg|p\d\d)|Usd$|^cost/.test(name) && value !== null ? near(value) : value,
        ]),
      ),
    );
    expect(sorted(stored)).toMatchObject(exact);
    expect(stored).toHaveLength(exact.length);
  });

  test("prompts, health, tests and budgets add up to the log", async () => {
    const wrong = await database.query(
      `with ${OUTCOMES}
      select 'prompt' as what, p.id from agent_prompts p
        where exists (select p.total_executions, p.successful_executions except
          select count(*)::int, count(*) filter (where outcome = 'success')::int
          from run o where o.prompt_version_id = p.id)
      union all select 'health', h.agent_id from agent_health_realtime h
        where exists (select h.executions_1h, h.failures_1h, round(h.error_rate_1h, 4) except
          select count(*)::int, count(*) filter (where outcome in ('failure', 'timeout'))::int,
            round(avg((outcome <> 'success')::int) filter (where outcome in ('success', 'failure', 'timeout')), 4)
          from outcome o where o.agent_id = h.agent_id and o.started > h.timestamp - interval '1 hour')
      union all select 'A/B test', t.id from ab_tests t
        where exists (select t.control_executions, t.treatment_executions, round(t.treatment_success_rate, 4) except
          select count(*) filter (where o.prompt_version_id = t.control_prompt_id)::int,
            count(*) filter (where o.prompt_version_id = t.treatment_prompt_id)::int,
            round(avg((outcome = 'success')::int) filter (where o.prompt_version_id = t.treatment_prompt_id
              and outcome in ('success', 'failure', 'timeout')), 4)
          from outcome o where o.agent_id = t.agent_id and outcome in ('success', 'failure', 'timeout') and o.started >= t.start_date
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

  test("one breaker is open, after five failures in a row and with no execution since; another was closed by three probes", async () => {
    const breakers = await database.query(
      `with ${OUTCOMES}
      select a.agent_name as agent, b.state, b.failure_count as failures, b.success_count as successes,
        a.consecutive_failures as "inRegistry", h.circuit_state as "inHealth", h.status as health,
        (select string_agg(left(outcome, 1), '' order by started) from outcome o
          where o.agent_id = a.id and o.started between b.opened_at - interval '55 minutes' and b.opened_at + interval '6 hours') as outcomes,
        (select count(*)::int from outcome o where o.agent_id = a.id and o.started > b.opened_at
          and o.started < b.opened_at + b.cooldown_seconds * interval '1 second') as early
      from circuit_breaker_state b join agent_registry a on a.id = b.agent_id
      join agent_health_realtime h on h.agent_id = a.id
      where b.opened_at is not null order by 1`,
    );
    expect(breakers).toEqual([
      {
        agent: "churn-watcher",
        state: "open",
        failures: 5,
        successes: 0,
        inRegistry: 5,
        inHealth: "open",
        health: "critical",
        outcomes: "fftff",
        early: 0,
      },
      {
        agent: "invoice-reconciler",
        state: "closed",
        failures: 0,
        successes: 0,
        inRegistry: 0,
        inHealth: "closed",
        health: "healthy",
        outcomes: expect.stringMatching(/^fftffsss/),
        early: 0,
      },
    ]);
  });

  test("the bad version failed and cost more than what it replaced, and was taken back", async () => {
    const versions = await database.query<{ version: string; failed: number; usd: number }>(
      `select p.version, sum(m.failed_executions + m.timeout_executions)::float8 / sum(m.total_executions) as failed,
        (sum(m.total_cost_usd) / sum(m.total_executions))::float8 as usd
      from agent_performance_metrics m join agent_prompts p on p.id = m.prompt_version_id
      join agent_registry a on a.id = m.agent_id
      where agent_name = 'invoice-reconciler' and p.version > '1.0.0' group by 1 order by 1`,
    );
    const [good, bad] = versions;
    expect(bad?.failed).toBeGreaterThan(0.4);
    expect(good?.failed).toBeLessThan(0.1);
    expect(bad?.usd).toBeGreaterThan(2 * (good?.usd ?? Infinity));
    const [proposal] = await database.query(
      `select p.status, live.version as live from improvement_proposals p
      join agent_prompts bad on bad.id = p.deployed_prompt_version_id and bad.version = '1.2.0'
      join agent_prompts live on live.agent_id = p.agent_id and live.is_active`,
    );
    expect(proposal).toEqual({ status: "rolled_back", live: "1.1.0" });
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
      canaries: "completed, running",
      proposals: "approved, deployed, proposed, rejected, rolled_back, testing",
      "open alerts": "1 of 4, 3 of 4",
      "budgets over their threshold": 1,
      breaches: 3,
      superseded: 1,
      "agents with one active prompt": 5,
    });
  });

  test("the summary of the first minute shows every agent, or one organization's", async () => {
    const summary = await fleetSummary(database.db);
    expect(summary).toMatchInlineSnapshot(`
      [
        {
          "agent": "invoice-reconciler",
          "costUsd": "18.451515",
          "note": "SLA breached",
          "organization": "Larkspur Foods",
          "p95LatencyMs": 11563,
          "runs": 266,
          "status": "improving",
          "successPercent": 89.8,
        },
        {
          "agent": "lead-qualifier",
          "costUsd": "5.152332",
          "note": "A/B test running",
          "organization": "Larkspur Foods",
          "p95LatencyMs": 4031,
          "runs": 275,
          "status": "testing",
          "successPercent": 78.1,
        },
        {
          "agent": "churn-watcher",
          "costUsd": "5.644494",
          "note": "breaker open, shadow test running",
          "organization": "Cobalt Freight",
          "p95LatencyMs": 4123,
          "runs": 193,
          "status": "active",
          "successPercent": 92.1,
        },
        {
          "agent": "contract-summarizer",
          "costUsd": "71.316162",
          "note": "budget nearly spent",
          "organization": "Cobalt Freight",
          "p95LatencyMs": 30033,
          "runs": 253,
          "status": "active",
          "successPercent": 84.4,
        },
        {
          "agent": "shipment-tracker",
          "costUsd": "1.226671",
          "note": "canary at stage 2 of 3",
          "organization": "Cobalt Freight",
          "p95LatencyMs": 2982,
          "runs": 239,
          "status": "active",
          "successPercent": 94.9,
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
    expect(own).toEqual(summary.slice(2));
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
    expect(neighbours.length).toBeGreaterThan(54);
    expect(neighbours.filter(({ agent, topic }) => !agent || !topic)).toEqual([]);
  });
});

/** The organization of a row; a use of a component has its prompt's. */
const owner = (table: string, alias: string) =>
  table === "prompt_library_usage"
    ? `(select organization_id from agent_prompts where id = ${alias}.prompt_id)`
    : `${alias}.organization_id`;

/** How each execution ended, each of which has one `agent_run`; those of shadow tests are apart. */
const OUTCOMES = `run as (
  select agent_id, execution_id, prompt_version_id, timestamp as started, status as outcome, metadata
  from agent_execution_logs where action_type = 'agent_run'
), outcome as (select * from run where not metadata ? 'shadow_of')`;

/** But for `updated_at`, which says when a row was written. */
async function contentOf(query: Query, table: string): Promise<string | undefined> {
  const [content] = await query<{ hash: string }>(
    `select md5(string_agg((to_jsonb(t) - 'updated_at')::text, chr(10) order by id)) as hash from ${table} t`,
  );
  return content?.hash;
}
