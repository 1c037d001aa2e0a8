import { type SQL, sql } from "drizzle-orm";
import * as z from "zod";
import { queuePerSession } from "../client/queue.ts";
import { withSettings } from "../client/settings.ts";
import { LOG, onShard } from "../client/spread.ts";
import { type Executor, columnList, one } from "../client/sql.ts";
import { agentPerformanceMetrics } from "../schema/index.ts";
import { IS_CUT, logIdBounds } from "./log-bounds.ts";
import { LOOK_BACK, OF_LOG, type Period, REACH, executionsOf, withStart } from "./outcome.ts";
import { lockOrganization, midnight } from "./steps.ts";

/** Whole days, UTC, both included. */
export interface RollUpDays {
  /** The first day, `YYYY-MM-DD`. */
  readonly from: string;
  /** The last day, `YYYY-MM-DD`. */
  readonly to: string;
}

/** What {@link rollUpMetrics} did. */
export interface RollUpResult {
  /** Rows that the logs of these days add up to. */
  readonly rows: number;
  /** How many of them were new or differed from what was stored. */
  readonly written: number;
  /** Stored rows that had no logs any more. */
  readonly removed: number;
  /** What was stored as its column's maximum. */
  readonly capped: readonly CappedSum[];
}

/** A sum that its column cannot hold. */
export interface CappedSum {
  readonly agentId: string;
  readonly promptVersionId: string | null;
  /** `YYYY-MM-DD`. */
  readonly date: string;
  readonly column: "totalTokensInput" | "totalTokensOutput" | "totalCostUsd" | "costPerExecution";
  /** What the column should hold, an exact decimal string. */
  readonly value: string;
}

/** Under this key `error_distribution` sums what is beyond its 100 most common types. */
export const OTHER_ERRORS = "(other)";

/**
 * Computes `agent_performance_metrics` of whole UTC days from the logs: one row for each agent, prompt
 * version or none, and day that has executions or rows. All its columns but `id` are this function's; a row whose
 * logs are gone is removed, so do not roll up days whose logs you have deleted yourself, nor the two days after these
 * and the one before. Days whose logs `pruneLogs` removed, and the two after them, are left alone. However often and in whatever order days are rolled up, they end as if computed once; logs that
 * arrive later count from the next roll-up on, and a day may change until 24 hours after its end.
 *
 * An execution is one `(agent_id, execution_id)`, and counts once, on the day of its first row, with its rows of the
 * 24 hours after that; one that comes again after a gap of 24 hours is another. If it has `agent_run` rows, the one
 * that began last says how it ended and how long it took. Else it failed if one of its rows did, else timed out, else
 * was cancelled, is running, or succeeded, and took the sum of its rows. Latencies are of executions; a
 * running one has none. Its prompt version is that of the deciding row, else of its first row that names one.
 * Tokens, cost and quality are of rows, each on its own day, one without a version under its execution's. So
 * a day may have rows and no execution: its `cost_per_execution` is NULL.
 *
 * Errors are of failed executions: the types of their failed rows by the first 255 characters of `error_type`, each
 * once an execution, `unknown` where none has one. The 100 most common have keys of their own, the others are
 * summed under `(other)`; of equally common ones the first in code point order is
 * `most_common_error`. A review is a `reviewed_at` or `reviewed_by`.
 *
 * As service role it computes the agents of all organizations, and counts logs of the platform's for the agent's
 * organization, which a tenant's own roll-up cannot see. Roll-ups of one organization wait for each other
 * until their transaction ends; one as service role and all others do, too. So keep the transaction short.
 *
 * @throws {TypeError} before any SQL: a day that is none, or `to` before `from`
 * @throws {Error} in a transaction that is not READ COMMITTED: its snapshot may be older than what another
 * roll-up has written
 */
export async function rollUpMetrics(tx: Executor, { from, to }: RollUpDays): Promise<RollUpResult> {
  for (const [name, day] of Object.entries({ from, to })) {
    if (!isDay(day)) throw new TypeError(`rollUpMetrics: ${name} must be a day, YYYY-MM-DD`);
  }
  if (to < from) throw new TypeError("rollUpMetrics: to must not be before from");

  await lockOrganization(tx, "rollUpMetrics", "roll-up");
  const { earliest, isCut } = await one<{ earliest: string | null; isCut: boolean }>(tx, LOG_STATE);
  if (earliest !== null && to < earliest) return { rows: 0, written: 0, removed: 0, capped: [] };
  const days = { from: earliest !== null && from < earliest ? earliest : from, to };
  const bounds = isCut ? sql`and ${logIdBounds(read(days))}` : sql``;
  return inTurn(tx._.session, () =>
    withSettings(tx, NO_NESTED_LOOPS, () =>
      onShard(tx, () => one<RollUpResult>(tx, rollUp(days, bounds))),
    ),
  );
}

/** `earliest`: the first day that logs which were removed had nothing to say of. */
const LOG_STATE = sql`select to_char(meta_agent.logs_pruned_before() + 2, 'YYYY-MM-DD') as earliest, ${IS_CUT} as "isCut"`;

/** What is read for these days: {@link LOOK_BACK} before them, {@link REACH} after. */
const read = ({ from, to }: RollUpDays): Period => ({
  from: new Date(Date.parse(`${from}T00:00:00Z`) - 2 * DAY),
  to: new Date(Date.parse(`${to}T00:00:00Z`) + 2 * DAY),
});
const DAY = 86_400_000;

/** Roll-ups of one transaction wait for each other: each would take the settings of another for the former ones. */
const inTurn = queuePerSession();

/**
 * The planner expects the agents of the average organization, often one: it would compare each stored row
 * with each computed one. Without that way it hashes or sorts. What it cannot avoid it takes for so dear that it would compile it.
 */
const NO_NESTED_LOOPS = { enable_nestloop: "off", jit: "off" };

const isDay = (day: string) => z.iso.date().safeParse(day).success && !day.startsWith("0000");

const columns = columnList(agentPerformanceMetrics);
const stored = columnList(agentPerformanceMetrics, (name) => `stored.${name}`);
const excluded = columnList(agentPerformanceMetrics, (name) => `excluded.${name}`);

/** At most so many error types of a row have a key of their own. */
const ERROR_TYPES = 100;

// Versions are compared by IS NOT DISTINCT, which no join hashes: agents and days are what the joins go by.
const rollUp = ({ from, to }: RollUpDays, bounds: SQL): SQL => {
  const isAsked = (instant: SQL) =>
    sql`${instant} >= ${midnight(from)} and ${instant} < ${midnight(to, 1)}`;
  const dayOf = (instant: SQL) => sql`(${instant} at time zone 'UTC')::date`;
  return sql`
  with log as materialized (
    select ${OF_LOG}, estimated_cost_usd, token_count_input, token_count_output, quality_score,
      num_nonnulls(reviewed_at, reviewed_by) > 0 as is_reviewed,
      case when status = 'failure' then left(error_type, 255) end as error_type
    from ${LOG}
    where timestamp >= ${midnight(from)} - ${LOOK_BACK} and timestamp < ${midnight(to, 1)} + ${REACH} ${bounds}
  ), row as materialized (
    ${withStart(sql`
    select * from log
    where exists (select from log as asked where ${isAsked(sql`asked.timestamp`)}
      and asked.agent_id = log.agent_id and asked.execution_id = log.execution_id)`)}
  ), execution as materialized (
    ${executionsOf(sql`row`, sql`, bool_or(is_reviewed) as is_reviewed`)}
  ), day as (
    select agent_id, prompt_version_id, date,
      count(outcome)::int as executions,
      count(*) filter (where outcome = 'success')::int as successful,
      count(*) filter (where outcome = 'failure')::int as failed,
      count(*) filter (where outcome = 'timeout')::int as timeout,
      count(*) filter (where is_reviewed)::int as reviewed,
      avg(latency_ms) as latency,
      percentile_cont(array[0.5, 0.95, 0.99]) within group (order by latency_ms)::numeric[] as percentiles,
      coalesce(sum(cost), 0) as cost,
      coalesce(sum(tokens_input), 0) as tokens_input,
      coalesce(sum(tokens_output), 0) as tokens_output,
      avg(quality) as quality
    from (
      select agent_id, prompt_version_id, ${dayOf(sql`started`)} as date, outcome, is_reviewed, latency_ms,
        null::numeric as cost, null::int as tokens_input, null::int as tokens_output, null::numeric as quality
      from execution where ${isAsked(sql`started`)}
      union all
      select agent_id, coalesce(row.prompt_version_id, execution.prompt_version_id), ${dayOf(sql`timestamp`)}, null, null, null,
        estimated_cost_usd, token_count_input, token_count_output, quality_score
      from row left join execution using (agent_id, execution_id, started)
      where ${isAsked(sql`timestamp`)}
    ) as part
    group by 1, 2, 3
  ), error as (
    select *, row_number() over (partition by agent_id, prompt_version_id, date order by times desc, type collate "C") as rank
    from (
      select agent_id, prompt_version_id, date, type, count(*) as times
      from (
        select distinct agent_id, execution_id, started, execution.prompt_version_id,
          ${dayOf(sql`started`)} as date, coalesce(failure.error_type, 'unknown') as type
        from execution
        left join (select * from row where error_type is not null) as failure using (agent_id, execution_id, started)
        where outcome = 'failure' and ${isAsked(sql`started`)}
      ) as told
      group by 1, 2, 3, 4
    ) as counted
  ), errors as (
    select agent_id, prompt_version_id, date, sum(types)::int as types, max(most_common) as most_common,
      jsonb_object_agg(key, times) as distribution
    from (
      select agent_id, prompt_version_id, date, case when rank <= ${ERROR_TYPES} then type else ${OTHER_ERRORS} end as key,
        sum(times) as times, count(*) as types, max(type) filter (where rank = 1) as most_common
      from error group by 1, 2, 3, 4
    ) as listed
    group by 1, 2, 3
  ), computed as (
    select day.agent_id, day.prompt_version_id, day.date,
      executions as total_executions,
      successful as successful_executions,
      failed as failed_executions,
      timeout as timeout_executions,
      latency as avg_latency_ms,
      percentiles[1] as p50_latency_ms,
      percentiles[2] as p95_latency_ms,
      percentiles[3] as p99_latency_ms,
      least(cost, 1e12) as total_cost_usd,
      case when executions > 0 then least(cost / executions, 1e12) end as cost_per_execution,
      least(tokens_input, 2147483647)::int as total_tokens_input,
      least(tokens_output, 2147483647)::int as total_tokens_output,
      quality as avg_quality_score,
      reviewed as human_interventions,
      coalesce(errors.types, 0) as unique_error_types,
      errors.most_common as most_common_error,
      coalesce(errors.distribution, '{}') as error_distribution,
      agent.organization_id
    from day
    join public.agent_registry as agent on agent.id = day.agent_id
    left join errors on errors.agent_id = day.agent_id and errors.date = day.date
      and errors.prompt_version_id is not distinct from day.prompt_version_id
  ), removed as (
    delete from public.agent_performance_metrics as stored
    using public.agent_registry as agent
    where agent.id = stored.agent_id and stored.date between ${from} and ${to}
      and not exists (select from computed where computed.agent_id = stored.agent_id
        and computed.date = stored.date and computed.prompt_version_id is not distinct from stored.prompt_version_id)
    returning stored.id
  ), written as (
    insert into public.agent_performance_metrics as stored (${columns})
    select ${columns} from computed
    order by agent_id, date, prompt_version_id
    on conflict (agent_id, prompt_version_id, date) do update set (${columns}) = row(${excluded})
    where (${stored}) is distinct from (${excluded})
    returning id
  ), capped as (
    select agent_id as "agentId", prompt_version_id as "promptVersionId", date, "column", value::text
    from day
    cross join lateral (values
      ('totalTokensInput', tokens_input::numeric, 2147483647),
      ('totalTokensOutput', tokens_output, 2147483647),
      ('totalCostUsd', cost, 1e12),
      ('costPerExecution', cost / nullif(executions, 0), 1e12)
    ) as sum ("column", value, most)
    where value > most
    order by date, agent_id, prompt_version_id, "column"
  )
  select (select count(*)::int from computed) as rows,
    (select count(*)::int from written) as written,
    (select count(*)::int from removed) as removed,
    (select coalesce(json_agg(capped), '[]') from capped) as capped`;
};
