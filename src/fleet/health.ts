import { type SQL, sql } from "drizzle-orm";
import { type HealthThresholds, healthThresholds } from "../config.ts";
import { LOG, besideLog } from "../client/spread.ts";
import { type Executor, byKey, columnList, isKey, one } from "../client/sql.ts";
import { agentHealthRealtime } from "../schema/index.ts";
import { IS_CUT, logIdBounds } from "./log-bounds.ts";
import {
  IS_SHADOW,
  LOOK_BACK,
  OF_LOG,
  type Period,
  executionsOf,
  isFailure,
  withStart,
} from "./outcome.ts";
import { isoOf } from "./steps.ts";

/** How {@link refreshHealth} judges; what `loadConfig` returns fits, too. */
export interface HealthOptions extends Partial<HealthThresholds> {
  /** The end of both windows. Default: the database's clock. */
  readonly now?: Date | undefined;
}

/** What {@link refreshHealth} did. */
export interface HealthResult {
  /** Snapshots it wrote, one an agent. */
  readonly written: number;
}

/**
 * Takes a new snapshot of every agent of the caller, deprecated ones too, in one statement behind the locks of the
 * stored ones: all columns of `agent_health_realtime` but `id`. As service role the agents of all organizations. An
 * agent that has a newer snapshot keeps it, so refreshers may come in any order. A breaker that moves meanwhile
 * moves in the snapshot too, whoever comes first.
 *
 * The windows are the 5 minutes and the hour that end with `now`, `now` included. They count the executions
 * that began in them, as `rollUpMetrics` says what one is; rows of shadow tests do not count. Failures are failed
 * or timed out, the error rate is failures ÷ (failures + successes) and NULL without either; latency is
 * averaged over executions, of which a running one has none.
 *
 * - `offline`: no rows in the hour, whatever the breaker says.
 * - `critical`: the breaker is open, or failure rate and failure count are both reached.
 * - `degraded`: the breaker is half open, or one is reached: the failure rate in either window, the failure
 *   count in the hour, or the latency spike, the 5 minutes' average in multiples of the hour's.
 * - `healthy`: the rest.
 *
 * `last_successful_execution` and `last_failed_execution` are the last rows of such executions; the
 * stored ones stay until there are later ones. It reads what began since the last snapshot, at least the
 * hour; for an agent's first one its latest 1,000 rows; and of the executions of these rows what they had
 * before. Breaker columns are copied from `circuit_breaker_state`, closed where an agent has none.
 *
 * @throws {TypeError} before any SQL: `now` is no valid Date
 * @throws {Error} before any SQL: thresholds that are none, all of them named
 */
export async function refreshHealth(
  tx: Executor,
  { now, ...given }: HealthOptions = {},
): Promise<HealthResult> {
  if (now !== undefined) isoOf("refreshHealth: now", now);
  const thresholds = healthThresholds(given);
  // A statement of its own: what follows must see each breaker whose move is in the snapshot already. One that
  // moves later waits here, and then moves in the new one.
  const { isCut } = await one<{ isCut: boolean }>(tx, LOCK);
  const bounds = isCut ? sql`and ${logIdBounds(await readBy(tx, now))}` : sql``;
  return besideLog(tx, { since: earliestRead(now) }, () =>
    one<HealthResult>(tx, refresh(thresholds, now, bounds)),
  );
}

/** The time that all agents are read of. Without a beginning where one of them has no snapshot yet. */
async function readBy(tx: Executor, now: Date | undefined): Promise<Partial<Period>> {
  const { since, until } = await one<{ since: string | null; until: string }>(
    tx,
    sql`select to_json(${moment(now)}) #>> '{}' as until, to_json((${earliestRead(now)})) #>> '{}' as since`,
  );
  return { ...(since === null ? {} : { from: new Date(since) }), to: new Date(until) };
}

const moment = (now: Date | undefined): SQL =>
  sql`coalesce(${now?.toISOString() ?? null}::timestamptz, statement_timestamp())`;

/** Where that time begins. */
const earliestRead = (now: Date | undefined): SQL => sql`
  select case when count(former.timestamp) = count(*) then least(min(former.timestamp), ${moment(now)} - interval '1 hour') - ${LOOK_BACK} end
  from public.agent_registry as agent left join public.agent_health_realtime as former on former.agent_id = agent.id`;

/** In the order in which the snapshots are written, and breakers are moved. */
const LOCK = sql`
  with locked as materialized (select from public.agent_health_realtime order by agent_id for no key update)
  select count(*), ${IS_CUT} as "isCut" from locked`;

const columns = columnList(agentHealthRealtime);
/** What an older snapshot knows of the last executions stays. */
const replaced = columnList(agentHealthRealtime, (name) =>
  name.startsWith("last_")
    ? `${name} = greatest(stored.${name}, excluded.${name})`
    : `${name} = excluded.${name}`,
);

const OF_AGENT = byKey("agent_id", "agent.id");
const logOfAgent = (bounds: SQL) => sql`${LOG} where ${isKey("agent_id", "agent.id")} ${bounds}`;
const LATEST_FIRST = sql`order by agent_id, timestamp desc`;

/** The instant of an agent's 1,000th row from the end, or of its first. */
const earliest = (
  bounds: SQL,
) => sql`(select min(timestamp) from (select timestamp from ${logOfAgent(bounds)}
  and timestamp <= clock.now ${LATEST_FIRST} limit 1000) as latest)`;

// OFFSET 0 keeps the planner from moving the sub-selects into the condition on the log: not being leakproof, they
// would wait behind the tenant's policy, and the index would read all rows of an agent.
// Sorted, so that two refreshers lock the rows in one order.
const refresh = (thresholds: HealthThresholds, now: Date | undefined, bounds: SQL): SQL => sql`
  with written as (
    insert into public.agent_health_realtime as stored (${columns})
    select ${columns} from (
      select agent.id as agent_id, agent.organization_id, clock.now as timestamp, seen.*, rate.*,
        case
          when is_online is not true then 'offline'
          when breaker.state = 'open' or (failing and many) then 'critical'
          when breaker.state = 'half_open' or failing or many or slow then 'degraded'
          else 'healthy'
        end as status,
        coalesce(breaker.state, 'closed') as circuit_state,
        breaker.opened_at as circuit_opened_at
      from (select coalesce(${now?.toISOString() ?? null}::timestamptz, statement_timestamp()) as now) as clock
      cross join public.agent_registry as agent
      left join lateral (
        select state, opened_at from public.circuit_breaker_state where ${OF_AGENT}
      ) as breaker on true
      left join lateral (select timestamp from public.agent_health_realtime where ${OF_AGENT}) as former on true
      cross join lateral (
        select least(clock.now - interval '1 hour', coalesce(former.timestamp, ${earliest(bounds)})) as since
        offset 0
      ) as period
      cross join lateral (
        with recent as materialized (
          select ${OF_LOG} from (
            select * from ${logOfAgent(bounds)} and timestamp >= since and timestamp <= clock.now ${LATEST_FIRST} offset 0
          ) as row
          where not ${IS_SHADOW}
        ), earlier as (
          select row.* from (select distinct execution_id from recent) as of
          cross join lateral (
            select ${OF_LOG} from (
              select * from ${LOG} where true ${bounds} and ${byKey("execution_id", "of.execution_id")}
            ) as row
            where agent_id = agent.id and timestamp < since and timestamp >= since - ${LOOK_BACK} and not ${IS_SHADOW}
          ) as row
        )
        select
          (select max(timestamp) from recent) > clock.now - interval '1 hour' as is_online,
          count(*) filter (where is_5m)::int as executions_5m,
          count(*) filter (where is_5m and is_failure)::int as failures_5m,
          count(*) filter (where is_5m and outcome = 'success') as successes_5m,
          avg(latency_ms) filter (where is_5m) as avg_latency_5m,
          count(*) filter (where is_1h)::int as executions_1h,
          count(*) filter (where is_1h and is_failure)::int as failures_1h,
          count(*) filter (where is_1h and outcome = 'success') as successes_1h,
          avg(latency_ms) filter (where is_1h) as avg_latency_1h,
          max(latest) filter (where outcome = 'success') as last_successful_execution,
          max(latest) filter (where is_failure) as last_failed_execution
        from (
          select latest, outcome, latency_ms, ${isFailure(sql`outcome`)} as is_failure,
            started > clock.now - interval '5 minutes' as is_5m, started > clock.now - interval '1 hour' as is_1h
          from (${executionsOf(sql`(${withStart(sql`select * from recent union all select * from earlier`)})`)}) as execution
          where latest >= since
        ) as execution
      ) as seen
      cross join lateral (
        select failures_5m / nullif(failures_5m + successes_5m, 0)::numeric as error_rate_5m,
          failures_1h / nullif(failures_1h + successes_1h, 0)::numeric as error_rate_1h
      ) as rate
      cross join lateral (
        select failures_1h > 0 and greatest(error_rate_5m, error_rate_1h) >= ${thresholds.failureRateThreshold}::numeric as failing,
          failures_1h > 0 and failures_1h >= ${thresholds.failureCountThreshold}::numeric as many,
          avg_latency_5m > 0 and avg_latency_5m >= avg_latency_1h * ${thresholds.latencySpikeThreshold}::numeric as slow
      ) as reached
    ) as snapshot
    order by agent_id
    on conflict (agent_id) do update set ${replaced}
    where stored.timestamp <= excluded.timestamp
    returning id
  )
  select count(*)::int as written from written`;
