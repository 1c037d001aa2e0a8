/** The circuit breaker of an agent: whether it may run, and what became of it. Its rules stand in the database's functions. */
import { sql } from "drizzle-orm";
import { type Executor, isKey } from "../client/sql.ts";
import { answered } from "../validation/refusals.ts";
import type { CircuitState } from "../values.ts";
import { agentIdOf, isoOf } from "./steps.ts";

/** Which agent's breaker. */
export interface CircuitOf {
  readonly agentId: string;
}

/** What {@link acquireExecution} is asked. */
export interface AcquireOptions extends CircuitOf {
  /** The instant to decide at. Default: the database's clock. */
  readonly now?: Date | undefined;
}

/** Whether an agent may run now. */
export interface ExecutionPermit {
  readonly allowed: boolean;
  /** The breaker's state, after this call. An agent without a breaker is `closed`. */
  readonly state: CircuitState;
  /** The ticket of a probe, for {@link recordOutcome}. `null`: this is none. */
  readonly probe: Date | null;
  /** When a probe will be let out, if none reports before. `null`: allowed. */
  readonly retryAt: Date | null;
}

/** How an execution ended: `failure` is failed or timed out. One that was cancelled, or runs, is neither. */
export type Outcome = "success" | "failure";

/** What {@link recordOutcome} is told. */
export interface OutcomeReport extends CircuitOf {
  readonly outcome: Outcome;
  /** The ticket that {@link acquireExecution} gave; none or `null` where it gave none. */
  readonly probe?: Date | null | undefined;
  /** When it ended. Default: the database's clock. */
  readonly now?: Date | undefined;
}

/** An outcome of several that {@link foldOutcomes} is told. */
export interface AgentOutcome extends CircuitOf {
  /** What orders it among others of the agent. In the future it counts as now. */
  readonly at: Date;
  readonly outcome: Outcome;
  readonly probe?: Date | null | undefined;
}

/** What became of a breaker. */
export interface CircuitChange {
  /** Its state now. */
  readonly state: CircuitState;
  /** Whether it had another state before: of all callers, one is told so. */
  readonly changed: boolean;
}

/** What became of an agent's breaker. */
export interface AgentCircuitChange extends CircuitChange, CircuitOf {}

/**
 * Whether an agent may run now. Ask before each execution, in a transaction of its own that commits before
 * the model is called, and report by {@link recordOutcome} with the `probe` that was given.
 *
 * - `closed`: allowed; takes no lock, writes nothing, and costs about as much as a select by key.
 * - `open`: refused until `cooldown_seconds` after it opened. The first call after that is the probe: it alone is
 *   allowed, and the breaker is `half_open`.
 * - `half_open`: one probe at a time. The next is let out when the last has succeeded, or has not reported for
 *   `cooldown_seconds`, one at the least. `success_threshold` successes of probes in a row close it,
 *   a failure opens it again, and the rest begins anew.
 *
 * A probe's ticket is good until the next is let out, so let `cooldown_seconds` be longer than an execution.
 * Thresholds of 0 count as 1. Not promised: a caller whose agent fails at this moment may be let through yet.
 * @example
 * const permit = await withOrganization(db, organization, (tx) => acquireExecution(tx, { agentId }));
 * if (!permit.allowed) return later(permit.retryAt);
 * const outcome = await run();
 * await withOrganization(db, organization, (tx) => recordOutcome(tx, { agentId, outcome, probe: permit.probe }));
 * @throws {TypeError} before any SQL: `agentId` is no uuid, `now` no valid Date
 * @throws {Error} when there is no such agent, or the caller does not see it
 */
export async function acquireExecution(
  tx: Executor,
  { agentId, now }: AcquireOptions,
): Promise<ExecutionPermit> {
  const [agent, instant] = [
    agentIdOf("acquireExecution", agentId),
    dateOf(now, "acquireExecution: now"),
  ];
  const [permit] = await answered<PermitRow>(
    tx,
    sql`select allowed, circuit_state as state, ${milliseconds("probe")} as probe, ${milliseconds("retry_at")} as "retryAt"
      from meta_agent.acquire_execution(${agent}::uuid, ${instant}::timestamptz)`,
  );
  if (!permit) throw noAgent("acquireExecution", agentId);
  return { ...permit, probe: instantOf(permit.probe), retryAt: instantOf(permit.retryAt) };
}

/**
 * Tells an agent's breaker what became of an execution, which makes the agent's breaker if it has none. While it is
 * closed it counts failures in a row: a success sets the count to 0, and at `failure_threshold` it opens, as many
 * callers as there may be. A success of a healthy agent writes at most once a second, and takes no lock otherwise.
 *
 * A report with a ticket counts while that ticket is the current one, once; a stale one moves nothing. One
 * without a ticket moves no breaker that is open or half open. So the same report again counts twice
 * while it is closed, as do this and `recordExecutions` with `breaker` of one execution: do one of both.
 *
 * `agent_health_realtime` has the new state from then on. Breakers of several agents are moved in the order of
 * their agents; in another order two transactions may wait for each other (40P01), and one be tried again.
 * @throws {TypeError} before any SQL: `agentId` is no uuid, `outcome` none of both, `probe` or `now` no valid Date
 * @throws {Error} when there is no such agent, or the caller does not see it
 */
export async function recordOutcome(
  tx: Executor,
  { agentId, outcome, probe, now }: OutcomeReport,
): Promise<CircuitChange> {
  const agent = agentIdOf("recordOutcome", agentId);
  if (outcome !== "success" && outcome !== "failure") {
    throw new TypeError("recordOutcome: outcome must be success or failure");
  }
  const entry = {
    agent,
    failed: outcome === "failure",
    probe: dateOf(probe, "recordOutcome: probe"),
  };
  const [change] = await fold(tx, [entry], dateOf(now, "recordOutcome: now"));
  if (!change) throw noAgent("recordOutcome", agentId);
  return { state: change.state, changed: change.changed };
}

/**
 * As {@link recordOutcome}, of any number of outcomes in one statement, each told once and in any order: those
 * of an agent are taken in the order of `at`. A failure that is not newer than the last success does not count, and
 * a success that is older than the last failure sets nothing to 0, so what comes late moves nothing that is
 * newer. Agents that the caller does not see are left out.
 */
export async function foldOutcomes(
  tx: Executor,
  outcomes: readonly AgentOutcome[],
  { now }: { readonly now?: Date | undefined } = {},
): Promise<readonly AgentCircuitChange[]> {
  if (outcomes.length === 0) return [];
  return fold(
    tx,
    outcomes.map(({ agentId, at, outcome, probe }) => ({
      agent: agentId,
      at,
      failed: outcome === "failure",
      probe: probe ?? null,
    })),
    dateOf(now, "foldOutcomes: now"),
  );
}

/**
 * Closes an agent's breaker by hand, and counts anew; a probe that is out no longer counts.
 * @throws {TypeError} before any SQL: `agentId` is no uuid
 * @throws {Error} when there is no such agent, or the caller does not see it
 */
export async function resetCircuit(tx: Executor, { agentId }: CircuitOf): Promise<CircuitChange> {
  const agent = agentIdOf("resetCircuit", agentId);
  const [change] = await answered<CircuitChange>(
    tx,
    sql`
      with asked as (select ${agent}::uuid as id), stored as materialized (
        select b.* from asked cross join lateral (
          select id, state from public.circuit_breaker_state where ${isKey("agent_id", "asked.id")}
          order by agent_id for no key update
        ) as b
      ), closed as (
        update public.circuit_breaker_state as b set state = 'closed', failure_count = 0, success_count = 0
        from stored where ${isKey("b.id", "stored.id")}
          and (b.state, b.failure_count, b.success_count) <> ('closed', 0, 0)
        returning stored.state
      )
      select 'closed' as state, exists (select from closed where state <> 'closed') as changed
      from asked cross join lateral (
        select from public.agent_registry as a where ${isKey("a.id", "asked.id")} order by a.id offset 0
      ) as agent`,
  );
  if (!change) throw noAgent("resetCircuit", agentId);
  return change;
}

interface PermitRow {
  readonly allowed: boolean;
  readonly state: CircuitState;
  readonly probe: number | null;
  readonly retryAt: number | null;
}

/** What `meta_agent.record_outcomes` is told of one. */
interface Entry {
  readonly agent: string;
  readonly at?: Date;
  readonly failed: boolean;
  readonly probe: Date | string | null;
}

const fold = (
  tx: Executor,
  entries: readonly Entry[],
  now: string | null = null,
): Promise<AgentCircuitChange[]> =>
  answered<AgentCircuitChange>(
    tx,
    sql`select agent as "agentId", circuit_state as state, has_changed as changed
      from meta_agent.record_outcomes(${JSON.stringify(entries)}::text::json, ${now}::timestamptz)`,
  );

/** Whole ones, and not before the instant: who waits for it has waited long enough. */
const milliseconds = (instant: string) =>
  sql.raw(`ceil(extract(epoch from ${instant}) * 1000)::float8`);
const instantOf = (ms: number | null) => (ms === null ? null : new Date(ms));

const dateOf = (given: Date | null | undefined, name: string): string | null =>
  given === undefined || given === null ? null : isoOf(name, given);

const noAgent = (by: string, agentId: string) =>
  new Error(`${by}: no agent ${agentId}, or it is not this caller's`);
