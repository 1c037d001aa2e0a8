import { type SQL, sql } from "drizzle-orm";
import * as z from "zod";
import { queuePerSession } from "../client/queue.ts";
import { withSettings } from "../client/settings.ts";
import { type Executor, columnList, one } from "../client/sql.ts";
import { agentPerformanceMetrics } from "../schema/index.ts";

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

/**
 * Computes `agent_performance_metrics` of whole UTC days from the logs: one row for each agent, prompt
 * version or none, and day that has logs. All its columns but `id` are this function's; a row whose logs are
 * gone is removed, so do not roll up days whose logs you have pruned. However often and in whatever
 * order days are rolled up, they end as if computed once; logs that arrive later count from the next
 * roll-up on.
 *
 * An execution is one `(agent_id, execution_id)`. Among the rows of its group it is failed if one is a
 * `failure`, else timed out if one is a `timeout`, else cancelled or running, else successful; the total
 * includes all of them, and `cost_per_execution` divides by it. Latency and quality are averaged over rows.
 * Errors are the failed rows by the first 255 characters of `error_type`, `unknown` without one; of equally
 * common ones the first in code point order is `most_common_error`. A review is a `reviewed_at` or `reviewed_by`.
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

  // A statement of its own: the next one's snapshot is newer than the lock.
  const { isolation } = await one<{ isolation: string }>(tx, LOCK);
  if (isolation !== "read committed") {
    throw new Error(
      "rollUpMetrics needs a READ COMMITTED transaction: where that is not the default, run ALTER ROLE … SET default_transaction_isolation = 'read committed' for the login",
    );
  }
  return inTurn(tx._.session, () =>
    withSettings(tx, NO_NESTED_LOOPS, () => one<RollUpResult>(tx, rollUp({ from, to }))),
  );
}

/** Roll-ups of one transaction wait for each other: each would take the settings of another for the former ones. */
const inTurn = queuePerSession();

/**
 * The planner expects the agents of the average organization, often one: it would compare each stored row
 * with each computed one. Without that way it hashes or sorts. What it cannot avoid it takes for so dear that it would compile it.
 */
const NO_NESTED_LOOPS = { enable_nestloop: "off", jit: "off" };

const isDay = (day: string) => z.iso.date().safeParse(day).success && !day.startsWith("0000");

/** A tenant's roll-up keeps out those of its organization, one as service role all others. */
const LOCK = sql`
  select current_setting('transaction_isolation') as isolation,
    case when is_tenant then pg_advisory_xact_lock_shared(everyone) else pg_advisory_xact_lock(everyone) end,
    case when is_tenant then pg_advisory_xact_lock(own) end
  from (select current_user = 'authenticated' as is_tenant,
    hashtextextended('meta-agent-db roll-up', 0) as everyone,
    hashtextextended(concat('meta-agent-db roll-up ', meta_agent.current_organization_id()), 0) as own) as lock`;

const columns = columnList(agentPerformanceMetrics);
const stored = columnList(agentPerformanceMetrics, (name) => `stored.${name}`);
const excluded = columnList(agentPerformanceMetrics, (name) => `excluded.${name}`);

const rollUp = ({ from, to }: RollUpDays): SQL => sql`
  with day as (
    select agent_id, prompt_version_id, (timestamp at time zone 'UTC')::date as date,
      count(distinct execution_id)::int as executions,
      count(distinct execution_id) filter (where status = 'failure')::int as failed,
      count(distinct execution_id) filter (where status in ('failure', 'timeout'))::int as failed_or_timeout,
      count(distinct execution_id) filter (where status <> 'success')::int as not_successful,
      count(distinct execution_id) filter (where num_nonnulls(reviewed_at, reviewed_by) > 0)::int as reviewed,
      avg(latency_ms) as latency,
      percentile_cont(array[0.5, 0.95, 0.99]) within group (order by latency_ms)::numeric[] as percentiles,
      coalesce(sum(estimated_cost_usd), 0) as cost,
      coalesce(sum(token_count_input), 0) as tokens_input,
      coalesce(sum(token_count_output), 0) as tokens_output,
      avg(quality_score) as quality,
      array_agg(left(coalesce(error_type, 'unknown'), 255)) filter (where status = 'failure') as errors
    from public.agent_execution_logs
    where timestamp >= ${from}::date::timestamp at time zone 'UTC'
      and timestamp < (${to}::date + 1)::timestamp at time zone 'UTC'
    group by 1, 2, 3
  ), computed as (
    select agent_id, prompt_version_id, date,
      executions as total_executions,
      executions - not_successful as successful_executions,
      failed as failed_executions,
      failed_or_timeout - failed as timeout_executions,
      latency as avg_latency_ms,
      percentiles[1] as p50_latency_ms,
      percentiles[2] as p95_latency_ms,
      percentiles[3] as p99_latency_ms,
      least(cost, 1e12) as total_cost_usd,
      least(cost / executions, 1e12) as cost_per_execution,
      least(tokens_input, 2147483647)::int as total_tokens_input,
      least(tokens_output, 2147483647)::int as total_tokens_output,
      quality as avg_quality_score,
      reviewed as human_interventions,
      error.types as unique_error_types,
      error.most_common as most_common_error,
      error.distribution as error_distribution,
      agent.organization_id
    from day
    join public.agent_registry as agent on agent.id = agent_id
    cross join lateral (
      select count(*)::int as types, (array_agg(type order by times desc, type collate "C"))[1] as most_common,
        coalesce(jsonb_object_agg(type, times), '{}') as distribution
      from (select type, count(*) as times from unnest(errors) as type group by type) as error
    ) as error
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
      ('costPerExecution', cost / executions, 1e12)
    ) as sum ("column", value, most)
    where value > most
    order by date, agent_id, prompt_version_id, "column"
  )
  select (select count(*)::int from computed) as rows,
    (select count(*)::int from written) as written,
    (select count(*)::int from removed) as removed,
    (select coalesce(json_agg(capped), '[]') from capped) as capped`;
