/** What an execution is, once: where it begins, how it ended, how long it took. SQL for whoever counts executions. */
import { type SQL, sql } from "drizzle-orm";
import { LOG, type Reach } from "../client/spread.ts";
import { isKey } from "../client/sql.ts";
import { isoOf } from "./steps.ts";

/** A row of a shadow test. It counts in cost and metrics, and in no health. No `?`: JDBC takes that for a parameter. */
export const IS_SHADOW = sql`(metadata -> 'shadow_of' is not null)`;

/**
 * How long before a window its reader begins. A row is of an execution that began up to 24 hours before it, and that
 * nothing of this one came before is known from the 24 hours before that.
 */
export const LOOK_BACK = sql`interval '48 hours'`;
/** The rows of an execution are those of the 24 hours after its first. */
export const REACH = sql`interval '24 hours'`;

/** The columns of the log that an execution is told by. */
export const OF_LOG = sql.raw(
  "id, agent_id, execution_id, timestamp, action_type, status, latency_ms, prompt_version_id",
);

/**
 * Rows of the log, each with the execution that it is of: `started`, the instant of its first row, before which
 * its `(agent_id, execution_id)` has no row in 24 hours. NULL: the first one is 24 hours ago or more, and no gap since.
 * @param log rows with at least the columns {@link OF_LOG}, and of each execution all of them
 */
export const withStart = (log: SQL): SQL => sql`
  select *, max(n) filter (where action_type = 'agent_run') over execution as decider,
    min(n) filter (where prompt_version_id is not null) over execution as naming
  from (
    select *, case when timestamp - begun < ${REACH} then begun end as started
    from (
      select *, max(timestamp) filter (where begins) over (in_time rows unbounded preceding) as begun
      from (
        select *, row_number() over in_time as n,
          coalesce(timestamp - lag(timestamp) over in_time >= ${REACH}, true) as begins
        from (${log}) as log
        window in_time as (partition by agent_id, execution_id order by timestamp, id)
      ) as numbered
      window in_time as (partition by agent_id, execution_id order by timestamp, id)
    ) as reached
  ) as started
  window execution as (partition by agent_id, execution_id, started)`;

/**
 * One row for each execution of rows {@link withStart}: `agent_id`, `execution_id`, `started`, `latest` the instant
 * of its last row, `outcome`, `latency_ms`, `prompt_version_id`. If it has `agent_run` rows, the one that
 * began last decides; else failure before timeout before cancelled before running, and the sum of latencies.
 * A running one has no latency. The version is the deciding row's, else that of the first row that names one.
 * No aggregate keeps the rows, so that no number of them is too large for it.
 * @param also further aggregates, `…, aggregate as name`
 */
export const executionsOf = (rows: SQL, also = sql``): SQL => sql`
  select *, case
      when outcome = 'running' then null
      when is_decided then decided_ms
      when total_ms is not null then least(total_ms, 2147483647)
    end as latency_ms
  from (
    select agent_id, execution_id, started, max(timestamp) as latest,
      coalesce(max(status) filter (where n = decider), case
        when bool_or(status = 'failure') then 'failure'
        when bool_or(status = 'timeout') then 'timeout'
        when bool_or(status = 'cancelled') then 'cancelled'
        when bool_or(status = 'running') then 'running'
        else 'success'
      end) as outcome,
      max(decider) is not null as is_decided,
      max(latency_ms) filter (where n = decider) as decided_ms,
      sum(latency_ms) as total_ms,
      coalesce(max(prompt_version_id::text) filter (where n = decider),
        max(prompt_version_id::text) filter (where n = naming))::uuid as prompt_version_id
      ${also}
    from ${rows} as row
    where started is not null
    group by agent_id, execution_id, started
  ) as execution`;

/** Whether an outcome counts as a failure where there are but two. */
export const isFailure = (outcome: SQL): SQL => sql`${outcome} in ('failure', 'timeout')`;

/** A time, from an instant to before another. */
export interface Period {
  readonly from: Date;
  readonly to: Date;
}

/**
 * The executions of the caller that began in a time, as a table for a `from`: one row each, counted as
 * `rollUpMetrics` says, shadow rows left out. Its columns are `agent_id`, `execution_id`, `started`, `latest` (the
 * instant of its last row), `outcome`, `latency_ms` (NULL: not known, or it runs) and `prompt_version_id`. It reads
 * the log from two days before to one day after.
 * @example
 * const ended = executionsBetween({ from, to });
 * await tx.execute(sql`select outcome, count(*) from (${ended}) as execution group by outcome`);
 * @throws {TypeError} before any SQL: an instant that is no valid Date
 */
export function executionsBetween({ from, to }: Period): SQL {
  const [first, end] = [
    sql`${isoOf("executionsBetween: from", from)}::timestamptz`,
    sql`${isoOf("executionsBetween: to", to)}::timestamptz`,
  ];
  const log = sql`
    select ${OF_LOG} from ${LOG}
    where timestamp >= ${first} - ${LOOK_BACK} and timestamp < ${end} + ${REACH} and not ${IS_SHADOW}`;
  return sql`
    select agent_id, execution_id, started, latest, outcome, latency_ms::int, prompt_version_id
    from (${executionsOf(sql`(${withStart(log)})`)}) as execution
    where started >= ${first} and started < ${end}`;
}

/** What {@link executionsOfSpan} reads for a row that names its agent and when it began. */
export const reachOf = (table: SQL, id: string, begun = sql`start_date`): Reach => ({
  agents: sql`select agent_id from ${table} where id = ${id}`,
  since: sql`select ${begun} - ${LOOK_BACK} from ${table} where id = ${id}`,
});

/**
 * The executions of one agent that began in a span, those of shadow tests or the others, with `user_id`, one of those
 * whom its rows name, `quality`, the sum of its rows' scores, `scored`, how many have one, and `shadow_of`. To be
 * joined laterally to `span`: `agent_id`, `since`, `until` (excluded), and `seen`, the instant up to which rows are read.
 */
export const executionsOfSpan = (whose: "own" | "shadow"): SQL => sql`
  select * from (${executionsOf(
    sql`(${withStart(sql`
    select ${OF_LOG}, user_id, quality_score, metadata ->> 'shadow_of' as shadow_of from (
      select * from ${LOG} where ${isKey("agent_id", "span.agent_id")}
        and timestamp >= (select span.since - ${LOOK_BACK}) and timestamp < span.seen
      order by agent_id, timestamp desc offset 0
    ) as row
    where ${whose === "own" ? sql`not` : undefined} (${IS_SHADOW})`)})`,
    sql`, min(user_id::text)::uuid as user_id, sum(quality_score) as quality, count(quality_score) as scored,
      min(shadow_of) as shadow_of`,
  )}) as execution
  where started >= span.since and started < span.until`;
