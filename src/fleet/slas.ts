/** What was promised of an agent's service: whether it was kept, and how fast its error budget burns. */
import { type SQL, sql } from "drizzle-orm";
import * as z from "zod";
import { type Reach, besideLog } from "../client/spread.ts";
import { type Executor, byKey, columnList, isKey, textArray } from "../client/sql.ts";
import { slaCompliance } from "../schema/index.ts";
import { lazy } from "../validation/lazy.ts";
import { answered } from "../validation/refusals.ts";
import { parsed } from "../validation/refused.ts";
import { validators } from "../validation/validators.ts";
import { LOOK_BACK, REACH, executionsOfSpan, isFailure } from "./outcome.ts";
import { ISOLATION, clock, requireReadCommitted, written } from "./steps.ts";

/** Whose SLAs, and when. */
export interface SlaOptions {
  /** One agent's. Default: those of every agent that the caller sees. */
  readonly agentId?: string | undefined;
  /** The instant up to which is measured. Default: the database's clock. */
  readonly now?: Date | undefined;
}

/** A period that an active SLA was measured over: its row of `sla_compliance`. */
export interface SlaPeriod {
  readonly slaId: string;
  readonly agentId: string;
  /** `YYYY-MM-DD`, the first day. */
  readonly periodStart: string;
  /** `YYYY-MM-DD`, the last day, included. */
  readonly periodEnd: string;
  /** Whether all that is promised was kept, as the row says. NULL: nothing could be judged. */
  readonly overallCompliant: boolean | null;
}

/** A period whose row is another SLA's: an agent has one row for each period. */
export interface SlaConflict extends Omit<SlaPeriod, "overallCompliant"> {
  /** The SLA that has the row. */
  readonly heldBy: string;
}

/** An active SLA whose `measurement_window` is none of those that are measured. */
export interface UnknownSlaWindow {
  readonly slaId: string;
  readonly agentId: string;
  readonly measurementWindow: string;
}

/** What {@link measureSlas} did. */
export interface SlaResult {
  /** Rows that are new or differed from what was stored. */
  readonly written: readonly SlaPeriod[];
  /** Rows that say so already, or were measured at a later instant. */
  readonly unchanged: readonly SlaPeriod[];
  /** What was not measured, since another SLA of the agent reports the period. */
  readonly conflicts: readonly SlaConflict[];
  readonly notUnderstood: readonly UnknownSlaWindow[];
}

const optionsShape = () => {
  const { agentId, createdAt: now } = validators(slaCompliance).insert.shape;
  return { agentId: agentId.optional(), now };
};
const OPTIONS = lazy(() => z.strictObject(optionsShape()));

/**
 * Measures every active SLA over the period of its `measurement_window` that `now` is in, and writes its row of
 * `sla_compliance`: all columns but `id`. Windows are days of UTC: `rolling_<n>d`, the n days that end with today, and
 * `calendar_day`, `calendar_week` (from Monday) and `calendar_month`, each with the one before, since an
 * execution may go on for 24 hours. Any other is answered as not understood.
 *
 * It counts the executions that began in the period, as `rollUpMetrics` says what one is; those of shadow tests
 * do not count.
 *
 * - A minute is down if an execution that began in it failed or timed out and none succeeded. Others are up, quiet ones,
 *   too. `actual_availability` is the share of the period's minutes so far that were up, `breach_minutes` how
 *   many were down.
 * - `actual_success_rate` is successes ÷ (successes + failures + timeouts); latencies are of executions, the smallest
 *   one that so many were not above; `actual_quality_score` is the mean of their rows' scores.
 * - What is not promised, or has nothing to be judged by, is NULL; `overall_compliant` is about the rest.
 * - `breach_details`: how many failed and timed out, and the 20 longest `outages`, minutes without a gap that were
 *   down. NULL: nothing failed.
 *
 * An agent has one row for each period. It stays with the SLA that wrote it, active or not; of several that come
 * to write a new one the oldest does. The others are answered as conflicts, and overwrite nothing.
 * `created_at` is `now`: a row that was measured later stays.
 *
 * Measurers wait for each other until their transaction ends, and changes of these SLAs for them.
 * @example
 * const { written } = await withServiceRole(db, (tx) => measureSlas(tx));
 * const broken = written.filter(({ overallCompliant }) => overallCompliant === false);
 * @throws {z.ZodError} before any SQL: what is wrong with the options
 * @throws {Error} in a transaction that is not READ COMMITTED
 */
export async function measureSlas(tx: Executor, options: SlaOptions = {}): Promise<SlaResult> {
  const { agentId, now } = parsed(OPTIONS, options);
  // A statement of its own: what follows sees what whoever held them before has written. Inactive ones, too, so that
  // no two measure an agent at once because one SLA took the place of another.
  const [locked] = await answered<{ isolation: string; ids: string[] }>(
    tx,
    sql`with sla as materialized (${slasOf(agentId, sql`for no key update`)})
      select ${ISOLATION}, (select coalesce(json_agg(id), '[]') from sla) as ids`,
  );
  requireReadCommitted("measureSlas", locked?.isolation);
  const [result] = await besideLog(tx, reachOfSlas(now), () =>
    answered<SlaResult>(tx, measure(locked?.ids ?? [], now)),
  );
  return result ?? { written: [], unchanged: [], conflicts: [], notUnderstood: [] };
}

/** The SLAs of one agent, or of all that the caller sees, in the order of their ids. */
const slasOf = (agentId: string | undefined, lock = sql``): SQL =>
  agentId === undefined
    ? sql`select * from public.agent_slas order by id ${lock}`
    : sql`select sla.* from (select ${agentId}::uuid as agent_id) as asked cross join lateral (
        select * from public.agent_slas where ${isKey("agent_id", "asked.agent_id")} order by agent_id, id offset 0 ${lock}
      ) as sla`;

/**
 * The periods of an SLA's `measurement_window` at `now`, the present one and of a calendar's the one before; none
 * where it is not understood. To be joined laterally to both: their `first` and `last` day, and the span of
 * {@link executionsOfSpan}.
 */
const PERIODS = sql`
  select first, last, last < today as is_over, since, least(ends, now) as until, least(ends + ${REACH}, now) as seen
  from (
    select (now at time zone 'UTC')::date as today,
      substring(measurement_window from '^rolling_([1-9][0-9]{0,3})d$')::int as days,
      substring(measurement_window from '^calendar_(day|week|month)$') as unit
  ) as told
  cross join lateral (
    select today - days + 1 as first, today as last where days is not null
    union all
    select day::date, (day + ('1 ' || unit)::interval)::date - 1
    from (select date_trunc(unit, today::timestamp) as present) as begun
    cross join lateral (values (present), (present - ('1 ' || unit)::interval)) as begins (day)
    where unit is not null
  ) as period
  cross join lateral (
    select first::timestamp at time zone 'UTC' as since, (last + 1)::timestamp at time zone 'UTC' as ends
  ) as edge`;

/** What {@link PERIODS} reach back to: their days, or a month and the one before. */
const reachOfSlas = (now: Date | undefined): Reach => ({
  agents: sql`select agent_id from public.agent_slas where is_active`,
  since: sql`select clock.now - greatest(max(substring(measurement_window from '^rolling_([1-9][0-9]{0,3})d$')::int), 62) * interval '1 day'
    - ${LOOK_BACK} - interval '1 day' from ${clock(now)} as clock cross join public.agent_slas group by clock.now`,
});

/** So many outages are named in `breach_details`. */
const OUTAGES = 20;

/** What one span measures: one row. */
const MEASURE = sql`
  with execution as materialized (
    select outcome, latency_ms::int as latency_ms, quality, scored, date_trunc('minute', started, 'UTC') as minute
    from (${executionsOfSpan("own")}) as execution
  ), outage as (
    select begun, minutes, row_number() over (order by minutes desc, begun) as rank
    from (
      select min(minute) as begun, count(*)::int as minutes
      from (
        select minute, minute - row_number() over (order by minute) * interval '1 minute' as run
        from execution group by minute
        having bool_or(${isFailure(sql`outcome`)}) and not bool_or(outcome = 'success')
      ) as down
      group by run
    ) as gathered
  )
  select 1 - down / nullif(ceil(extract(epoch from until - since) / 60), 0) as actual_availability,
    latencies[1] as actual_p50_latency_ms, latencies[2] as actual_p95_latency_ms, latencies[3] as actual_p99_latency_ms,
    successes / nullif(successes + failures + timeouts, 0)::numeric as actual_success_rate,
    quality as actual_quality_score, down as breach_minutes,
    case when failures + timeouts > 0
      then jsonb_build_object('failed', failures, 'timeout', timeouts, 'outages', outages) end as breach_details
  from (
    select count(*) filter (where outcome = 'success') as successes, count(*) filter (where outcome = 'failure') as failures,
      count(*) filter (where outcome = 'timeout') as timeouts, sum(quality) / nullif(sum(scored), 0) as quality,
      percentile_disc(array[0.5, 0.95, 0.99]) within group (order by latency_ms) as latencies
    from execution
  ) as counted
  cross join (
    select coalesce(sum(minutes), 0)::int as down, coalesce(jsonb_agg(
        jsonb_build_object('from', ${written(sql`begun`)}, 'minutes', minutes) order by rank
      ) filter (where rank <= ${OUTAGES}), '[]') as outages
    from outage
  ) as broken`;

/** As JSON, the periods of rows with `agent_id`, `period_start` and `period_end`. */
const told = (
  slaId: SQL,
  also: SQL,
): SQL => sql`coalesce(json_agg(json_build_object('slaId', ${slaId}, 'agentId', agent_id,
    'periodStart', period_start, 'periodEnd', period_end${also}) order by agent_id, period_start, period_end, ${slaId}), '[]')`;
const UNKNOWN_WINDOWS = sql`(
  select coalesce(json_agg(json_build_object('slaId', id, 'agentId', agent_id, 'measurementWindow', measurement_window)
    order by agent_id, id), '[]') from period where first is null)`;

/** Whether all of some promises were kept, but for those that are NULL; NULL where all are. */
const allKept = (...promises: readonly string[]): SQL =>
  sql.raw(`(select bool_and(kept) from (values (${promises.join("), (")})) as promise (kept))`);

const columns = columnList(slaCompliance);
const excluded = columnList(slaCompliance, (name) => `excluded.${name}`);
/** What differs makes a row be written, but for when that was. */
const compared = (write: (name: string) => string): SQL =>
  columnList(slaCompliance, (name) => (name === "created_at" ? "null" : write(name)));

const measure = (slaIds: readonly string[], now: Date | undefined): SQL => sql`
  with clock as materialized ${clock(now)},
  period as materialized (
    select sla.*, agent.organization_id as owner, now, first, last, since, until, seen, former,
      coalesce((former).sla_id, first_value(sla.id) over (
        partition by sla.agent_id, first, last order by sla.created_at, sla.id)) as holder
    from clock cross join unnest(${textArray(slaIds)}::uuid[]) as asked (id)
    cross join lateral (select * from public.agent_slas where ${byKey("id", "asked.id")}) as sla
    cross join lateral (select organization_id from public.agent_registry where ${byKey("id", "sla.agent_id")}) as agent
    left join lateral (${PERIODS}) as period on true
    left join lateral (
      select compliance as former from public.sla_compliance as compliance
      where ${isKey("agent_id", "sla.agent_id")} and period_start = first and period_end = last order by agent_id offset 0
    ) as stored on true
    where is_active
  ), measured as materialized (
    select owner as organization_id, agent_id, id as sla_id, first as period_start, last as period_end,
      measure.*, verdict.*, ${allKept("availability_met", "latency_met", "success_rate_met", "quality_met")} as overall_compliant,
      now as created_at, former
    from period as span
    cross join lateral (${MEASURE}) as measure
    cross join lateral (
      select actual_availability >= target_availability as availability_met,
        ${allKept(
          "actual_p50_latency_ms <= target_p50_latency_ms",
          "actual_p95_latency_ms <= target_p95_latency_ms",
          "actual_p99_latency_ms <= target_p99_latency_ms",
        )} as latency_met,
        actual_success_rate >= target_success_rate as success_rate_met,
        actual_quality_score >= target_quality_score as quality_met
    ) as verdict
    where holder = id and first is not null
  ), differing as materialized (
    select *, (former is null or (former).created_at <= created_at)
      and (${compared((name) => `(former).${name}`)}) is distinct from (${compared((name) => name)}) as differs
    from measured
  ), written as (
    insert into public.sla_compliance as stored (${columns})
    select ${columns} from differing where differs
    order by agent_id, period_start, period_end
    on conflict (agent_id, period_start, period_end) do update set (${columns}) = row(${excluded})
    where stored.sla_id = excluded.sla_id
    returning sla_id, agent_id, period_start, period_end, overall_compliant
  )
  select
    (select ${told(sql`sla_id`, sql`, 'overallCompliant', overall_compliant`)} from written) as written,
    (select ${told(sql`sla_id`, sql`, 'overallCompliant', (former).overall_compliant`)} from differing where not differs) as unchanged,
    (select ${told(sql`id`, sql`, 'heldBy', holder`)} from (
      select *, first as period_start, last as period_end from period where first is not null and holder <> id
    ) as taken) as conflicts,
    ${UNKNOWN_WINDOWS} as "notUnderstood"
  from clock`;

/** Whose error budgets, when, and from how many failures on they are taken seriously. */
export interface ErrorBudgetOptions extends SlaOptions {
  /** Failures that the longer window must have before it fires. Default 5: a single one says little. */
  readonly minFailures?: number | undefined;
}

/** What a stretch of time that ends now did to an error budget. */
export interface BurnWindow {
  readonly minutes: number;
  /** Executions that ended well or badly. */
  readonly executions: number;
  /** Those that failed or timed out. */
  readonly failures: number;
  /**
   * The share that failed in multiples of the share that may. At 1 the budget is used up when its window ends. NULL:
   * nothing ended, or none may fail.
   */
  readonly burnRate: number | null;
}

/** Two windows that fire together: the longer one says that it matters, the shorter one that it still goes on. */
export interface BurnAlert {
  /** Whom to tell: somebody at once, or somebody tomorrow. */
  readonly severity: "page" | "ticket";
  /** The burn rate that both must exceed. */
  readonly factor: number;
  readonly long: BurnWindow;
  readonly short: BurnWindow;
  /** Whether both exceed it, and the longer one has enough failures. */
  readonly isFiring: boolean;
}

/** How many executions may fail by an SLA's `target_success_rate`, and how many did. */
export interface ErrorBudget {
  readonly slaId: string;
  readonly agentId: string;
  /** `YYYY-MM-DD`, the first day of the present period of its window. */
  readonly periodStart: string;
  /** `YYYY-MM-DD`, the last day, included. */
  readonly periodEnd: string;
  /** Ratio, 0 to 1. */
  readonly targetSuccessRate: number;
  /** Executions of the period so far that ended well or badly. */
  readonly executions: number;
  /** Those that failed or timed out. */
  readonly failures: number;
  /** So many of these executions may fail; a fraction, too. */
  readonly allowedFailures: number;
  /** Of these are left; negative where more failed. */
  readonly remainingFailures: number;
  /** Failures ÷ allowed failures; more than 1 where it is overspent. NULL: none is allowed. */
  readonly usedShare: number | null;
  /** The fastest first. */
  readonly burns: readonly BurnAlert[];
}

/** What {@link errorBudgets} read. */
export interface ErrorBudgetResult {
  /** One for each active SLA with a `target_success_rate`, by agent. */
  readonly budgets: readonly ErrorBudget[];
  readonly notUnderstood: readonly UnknownSlaWindow[];
}

const BUDGET_OPTIONS = lazy(() =>
  z.strictObject({ ...optionsShape(), minFailures: z.int().min(1).default(5) }),
);

/**
 * Reads the error budget of every active SLA that promises a success rate: what of the period that `now` is in may fail
 * and did, by the executions that {@link measureSlas} counts; and how fast it burns, in three pairs of windows as the
 * workbook of Site Reliability Engineering has them (chapter "Alerting on SLOs", for a budget of 30 days):
 *
 * | windows | factor | |
 * | --- | --- | --- |
 * | 1 hour and 5 minutes | 14.4 | page |
 * | 6 hours and 30 minutes | 6 | page |
 * | 3 days and 6 hours | 1 | ticket |
 *
 * A pair fires where both windows burn faster than its factor, and the longer one has `minFailures`: with little
 * traffic one failure is a high rate. Where all that can fail is less than the factor, as with 14.4 times of more than
 * 6.9 %, that pair never fires, and the next one tells.
 * @example
 * const { budgets } = await errorBudgets(tx);
 * const urgent = budgets.filter(({ burns }) => burns.some(({ isFiring, severity }) => isFiring && severity === "page"));
 * @throws {z.ZodError} before any SQL: what is wrong with the options
 */
export async function errorBudgets(
  tx: Executor,
  options: ErrorBudgetOptions = {},
): Promise<ErrorBudgetResult> {
  const asked = parsed(BUDGET_OPTIONS, options);
  const [result] = await besideLog(tx, reachOfSlas(asked.now), () =>
    answered<ErrorBudgetResult>(tx, budgets(asked)),
  );
  return result ?? { budgets: [], notUnderstood: [] };
}

/** Minutes of the windows. */
const BURNS = [
  { severity: "page", factor: 14.4, long: 60, short: 5 },
  { severity: "page", factor: 6, long: 360, short: 30 },
  { severity: "ticket", factor: 1, long: 4320, short: 360 },
] as const;
const BURN_WINDOWS = [...new Set(BURNS.flatMap(({ long, short }) => [long, short]))];
const LONGEST = Math.max(...BURN_WINDOWS);

const countSince = (since: string, name: string | number): SQL =>
  sql.raw(`count(*) filter (where started >= ${since})::int as executions_${name},
    count(*) filter (where started >= ${since} and is_failure)::int as failures_${name}`);

const burnWindow = (minutes: number): SQL =>
  sql.raw(`json_build_object('minutes', ${minutes}, 'executions', executions_${minutes}, 'failures', failures_${minutes},
    'burnRate', (failures_${minutes} / nullif(executions_${minutes} * may_fail, 0))::float8)`);

const burnAlert = (
  { severity, factor, long, short }: (typeof BURNS)[number],
  minFailures: number,
): SQL => {
  const exceeds = (minutes: number) =>
    sql.raw(`failures_${minutes} > ${factor} * may_fail * executions_${minutes}`);
  return sql`json_build_object('severity', ${severity}::text, 'factor', ${factor}::float8, 'long', ${burnWindow(long)},
    'short', ${burnWindow(short)},
    'isFiring', ${exceeds(long)} and ${exceeds(short)} and failures_${sql.raw(String(long))} >= ${minFailures}::int)`;
};

const budgets = ({ agentId, now, minFailures }: z.infer<typeof BUDGET_OPTIONS>): SQL => sql`
  with clock as materialized ${clock(now)},
  period as materialized (
    select sla.id, agent_id, target_success_rate, 1 - target_success_rate as may_fail, measurement_window, now,
      first, last, period.since as begins, least(period.since, now - ${sql.raw(`interval '${LONGEST} minutes'`)}) as since, until, seen
    from clock cross join (${slasOf(agentId)}) as sla
    left join lateral (${PERIODS}) as period on not is_over
    where is_active and target_success_rate is not null
  ), budget as (
    select span.*, counted.*
    from period as span
    cross join lateral (
      select ${countSince("begins", "period")}, ${sql.join(
        BURN_WINDOWS.map((minutes) =>
          countSince(`span.now - interval '${minutes} minutes'`, minutes),
        ),
        sql`, `,
      )}
      from (
        select started, ${isFailure(sql`outcome`)} as is_failure from (${executionsOfSpan("own")}) as execution
        where outcome = 'success' or ${isFailure(sql`outcome`)}
      ) as execution
    ) as counted
    where first is not null
  )
  select
    (select coalesce(json_agg(json_build_object('slaId', id, 'agentId', agent_id, 'periodStart', first, 'periodEnd', last,
      'targetSuccessRate', target_success_rate::float8,
      'executions', executions_period, 'failures', failures_period,
      'allowedFailures', (executions_period * may_fail)::float8,
      'remainingFailures', (executions_period * may_fail - failures_period)::float8,
      'usedShare', (failures_period / nullif(executions_period * may_fail, 0))::float8,
      'burns', json_build_array(${sql.join(
        BURNS.map((burn) => burnAlert(burn, minFailures)),
        sql`, `,
      )})) order by agent_id, id), '[]') from budget) as budgets,
    ${UNKNOWN_WINDOWS} as "notUnderstood"
  from clock`;
