/** Loads the demo fleet and looks at it. Who they are is in `demo/story.ts`, what happens to them in `demo/events.ts`. */
import { type SQL, getTableName, inArray, sql } from "drizzle-orm";
import { type Database, type Executor, one, rows } from "../client/sql.ts";
import { withOrganization, withServiceRole } from "../client/tenancy.ts";
import { type BudgetState, budgetStatus } from "../fleet/budgets.ts";
import { executionsBetween, isFailure } from "../fleet/outcome.ts";
import { isoOf } from "../fleet/steps.ts";
import { live } from "./events.ts";
import { DEMO_NOW, DEMO_ORGANIZATIONS, FLEET } from "./story.ts";
import { idOf } from "./traffic.ts";
import { agentRegistry } from "../schema/index.ts";
import { TABLES } from "../schema/all.ts";
import type { AgentStatus } from "../values.ts";

// ── Loading ──

/** What `loadDemo` did, and what the database holds now. */
export interface DemoResult {
  /** False when the demo was already there. */
  readonly loaded: boolean;
  readonly agents: number;
  readonly executions: number;
  readonly logs: number;
  readonly embeddings: number;
}

type Counts = Omit<DemoResult, "loaded">;

/** How the demo is loaded. */
export interface DemoOptions {
  /** The instant at which its thirty days end. Default: {@link DEMO_NOW}. */
  readonly now?: Date | undefined;
}

/**
 * Loads the demo fleet, all of it or nothing, into a migrated database whose tables are empty: thirty days of five
 * agents, made by the functions that an application calls. Of one `now` it is the same each time, ids included, but for
 * `updated_at`, which is when it was written. Where it already is, of whatever `now`, nothing happens.
 * @example
 * await loadDemo(db, { now: new Date() });
 * @throws {TypeError} before any SQL: `now` is no valid Date; later: it is more than a day ahead
 * @throws {Error} when the tables hold other rows, naming them
 */
export async function loadDemo(
  db: Database,
  { now = new Date(DEMO_NOW) }: DemoOptions = {},
): Promise<DemoResult> {
  isoOf("loadDemo: now", now);
  const loaded = await withServiceRole(db, async (tx) => {
    // Two loaders at once: the second waits, then finds the demo there.
    await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended('meta-agent-db demo', 0))`);
    if (await isLoaded(tx)) return false;
    await refuseUsedDatabase(tx);
    await live(tx, now);
    return true;
  });
  // The embedded server has no autovacuum that would gather statistics.
  if (loaded) await db.execute(sql`analyze ${sql.join([...TABLES], sql`, `)}`);
  return { loaded, ...(await withServiceRole(db, countRows)) };
}

async function isLoaded(db: Database): Promise<boolean> {
  const ids = Object.values(FLEET).map(({ agentName }) => idOf("agent", agentName));
  const agents = await db
    .select({ id: agentRegistry.id })
    .from(agentRegistry)
    .where(inArray(agentRegistry.id, ids))
    .limit(1);
  return agents.length > 0;
}

/**
 * Looks before anything is changed whether the demo may use a database, migrated or not.
 * @throws {Error} when tables of ours hold rows that are not the demo's, naming them
 */
export async function refuseUsedDatabase(db: Database): Promise<void> {
  const present = rows<{ name: string }>(
    await db.execute(
      sql`select relname::text as name from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'`,
    ),
  );
  const names = new Set(present.map(({ name }) => name));
  const ours = TABLES.filter((table) => names.has(getTableName(table)));
  if (ours.length === 0 || (names.has("agent_registry") && (await isLoaded(db)))) return;
  const probes = ours.map(
    (table) => sql`select ${getTableName(table)}::text as name where exists (select from ${table})`,
  );
  const used = rows<{ name: string }>(await db.execute(sql.join(probes, sql` union all `)));
  if (used.length === 0) return;
  throw new Error(
    [
      `The demo needs an empty database, but these tables hold rows: ${used.map(({ name }) => name).join(", ")}.`,
      "Nothing was changed. Name an empty database, or a new --directory for an embedded one.",
    ].join("\n"),
  );
}

const countRows = (tx: Executor): Promise<Counts> =>
  one<Counts>(
    tx,
    sql`
    select (select count(*)::int from agent_registry) as agents,
      (select count(distinct (agent_id, execution_id))::int from agent_execution_logs) as executions,
      (select count(*)::int from agent_execution_logs) as logs,
      (select count(*)::int from execution_embeddings) as embeddings`,
  );

// ── Looking at it ──

/** One agent in the table of the first minute. */
export interface AgentSummary {
  agent: string;
  /** The organization's name, its id where it is none of the demo's, null for the platform's own. */
  organization: string | null;
  status: AgentStatus;
  /** Executions; those of shadow tests are none. */
  runs: number;
  /** Successful ÷ (successful + failed + timed out). Percent, one decimal. Null: none of these yet. */
  successPercent: number | null;
  /** Of executions. Null: none measured yet. */
  p95LatencyMs: number | null;
  /** US dollars, exact. */
  costUsd: string;
  /** What deserves a look: `breaker open, over budget`; empty if nothing does. */
  note: string;
}

interface SummaryRow extends AgentSummary, Record<string, unknown> {
  id: string;
}

/** Every agent, or those of one organization, with what its log adds up to, as of when their health was last looked at. */
export async function fleetSummary(db: Database, organizationId?: string): Promise<AgentSummary[]> {
  const filter: SQL =
    organizationId === undefined ? sql`true` : sql`agent.organization_id = ${organizationId}`;
  return withServiceRole(db, async (tx) => {
    const { ms } = await one<{ ms: number }>(
      tx,
      sql`select (extract(epoch from coalesce(max(timestamp), now())) * 1000)::float8 as ms from agent_health_realtime`,
    );
    const now = new Date(ms);
    const budgets = await budgetStatus(tx, { now });
    const agents = rows<SummaryRow>(await tx.execute(summaryUntil(now, filter)));
    return agents.map(({ id, note, organization, ...agent }) => ({
      ...{ ...agent, organization: organizationName(organization) },
      note: [note, budgetNote(budgets.filter(({ agentId }) => agentId === id))]
        .filter((part) => part !== "")
        .join(", "),
    }));
  });
}

const ALWAYS = new Date("2000-01-01");
/** An execution that runs has begun by now. */
const after = (now: Date) => new Date(now.getTime() + 1);

const summaryUntil = (now: Date, filter: SQL): SQL => sql`
  with run as (
    select agent_id, count(*)::int as runs,
      count(*) filter (where ${isFailure(sql`outcome`)}) as failures,
      count(*) filter (where outcome = 'success') as successes,
      percentile_cont(0.95) within group (order by latency_ms) as p95
    from (${executionsBetween({ from: ALWAYS, to: after(now) })}) as execution
    group by agent_id
  ), action as (
    select agent_id, sum(estimated_cost_usd) as cost
    from agent_execution_logs
    group by agent_id
  )
  select agent.id, agent.agent_name as agent, agent.organization_id as organization, agent.status,
    coalesce(runs, 0) as runs,
    round(100.0 * successes / nullif(successes + failures, 0), 1)::float8 as "successPercent",
    round(p95)::int as "p95LatencyMs",
    coalesce(cost, 0)::text as "costUsd",
    ${NOTE} as note
  from agent_registry as agent
  left join run on run.agent_id = agent.id
  left join action on action.agent_id = agent.id
  left join circuit_breaker_state as breaker on breaker.agent_id = agent.id
  where ${filter}
  order by agent.organization_id, agent.agent_name`;

const NOTE = sql`concat_ws(', ',
  case breaker.state when 'open' then 'breaker open' when 'half_open' then 'breaker half-open' end,
  (select case status when 'rolled_back' then 'canary rolled back' else format('canary at stage %s of %s', current_stage, jsonb_array_length(stages)) end
    from canary_deployments
    where agent_id = agent.id and status in ('running', 'rolled_back') order by started_at desc limit 1),
  (select 'A/B test running' from ab_tests where agent_id = agent.id and status = 'running' limit 1),
  (select 'shadow test running' from shadow_tests where agent_id = agent.id and status = 'running' limit 1),
  (select case when not overall_compliant then 'SLA breached' end from sla_compliance
    where agent_id = agent.id order by period_end desc limit 1))`;

const budgetNote = (windows: readonly BudgetState[]): string =>
  windows.some(({ isSpent }) => isSpent)
    ? "over budget"
    : windows.some(({ isAlertDue }) => isAlertDue)
      ? "budget nearly spent"
      : "";

function organizationName(id: string | null): string | null {
  return (
    Object.values(DEMO_ORGANIZATIONS).find((organization) => organization.id === id)?.name ?? id
  );
}

/** What one and the same query finds, by who asks. */
export interface IsolationProof {
  query: string;
  /** An organization's name, or null for a caller without one. */
  answers: { organization: string | null; agents: number }[];
}

/** Asks one query as each organization and as a caller who belongs to none. */
export async function isolationProof(db: Database): Promise<IsolationProof> {
  const query = "select count(*) from agent_registry";
  const callers = [...Object.values(DEMO_ORGANIZATIONS), { id: {}, name: null }];
  const answers = await Promise.all(
    callers.map(async ({ id, name }) => {
      const counted = await withOrganization(db, id, (tx) => tx.execute(sql.raw(query)));
      return { organization: name, agents: Number(rows<{ count: unknown }>(counted)[0]?.count) };
    }),
  );
  return { query, answers };
}
