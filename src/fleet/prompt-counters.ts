import { type SQL, sql } from "drizzle-orm";
import * as z from "zod";
import { LOG, besideLog } from "../client/spread.ts";
import { type Executor, isKey } from "../client/sql.ts";
import { agentPrompts } from "../schema/index.ts";
import { lazy } from "../validation/lazy.ts";
import { answered } from "../validation/refusals.ts";
import { parsed } from "../validation/refused.ts";
import { validators } from "../validation/validators.ts";
import { OF_LOG, executionsOf, withStart } from "./outcome.ts";
import { lockOrganization } from "./steps.ts";

/** What {@link refreshPromptCounters} is about. */
export interface PromptCounterOptions {
  /** One agent's prompts. Default: those of every agent that the caller sees. */
  readonly agentId?: string | undefined;
}

/** What {@link refreshPromptCounters} wrote. */
export interface PromptCounterResult {
  /** Prompts whose counters differed. */
  readonly prompts: number;
  /** Components of the library whose counters differed. */
  readonly components: number;
}

const OPTIONS = lazy(() =>
  z.strictObject({ agentId: validators(agentPrompts).insert.shape.agentId.optional() }),
);

/**
 * Counts anew what ran each prompt version, from all logs of its agent: `total_executions`,
 * `successful_executions` and `avg_quality_score` of `agent_prompts`, by the same rule as `rollUpMetrics`. Then the
 * prompt library's `times_used`, the prompts that use a component, and `avg_quality_when_used`, the mean of their
 * qualities weighted by their executions. Only what differs is written. It reads every log: a job for the night,
 * not for each execution; and it counts only logs that are still there.
 *
 * Refreshers of one organization wait for each other until their transaction ends.
 *
 * @throws {z.ZodError} before any SQL: what is wrong with the options
 * @throws {Error} in a transaction that is not READ COMMITTED
 */
export async function refreshPromptCounters(
  tx: Executor,
  options: PromptCounterOptions = {},
): Promise<PromptCounterResult> {
  const { agentId } = parsed(OPTIONS, options);
  await lockOrganization(tx, "refreshPromptCounters", "prompt counters");
  const agents = agentId === undefined ? undefined : sql`select ${agentId}::uuid`;
  const prompts = await besideLog(tx, { agents }, () => answered(tx, countPrompts(agentId)));
  const components = await answered(tx, COUNT_COMPONENTS);
  return { prompts: prompts.length, components: components.length };
}

/** What is summed beside what is stored, in one list, so that no plan joins them by guesses of their numbers. */
const countPrompts = (agentId: string | undefined): SQL => {
  const asked = agentId === undefined ? sql`` : sql`where agent_id = ${agentId}::uuid`;
  const log =
    agentId === undefined
      ? sql`select ${OF_LOG}, quality_score from ${LOG}`
      : sql`select ${OF_LOG}, quality_score from (select ${agentId}::uuid as agent) as asked cross join lateral (
          select * from ${LOG} where ${isKey("agent_id", "asked.agent")}
          order by agent_id, timestamp desc offset 0) as row`;
  const scored = sql`sum(quality_score) filter (where prompt_version_id is null) as quality,
    count(quality_score) filter (where prompt_version_id is null) as scored`;
  return sql`
  with row as materialized (${withStart(log)}),
  part as (
    select prompt_version_id as id, null::uuid as agent_id, 1 as executions, (outcome = 'success')::int as successes,
      quality, scored, null::int as stored_executions, null::int as stored_successes, null::numeric as stored_quality
    from (${executionsOf(sql`row`, sql`, ${scored}`)}) as execution
    union all
    select prompt_version_id, null, 0, 0, quality_score, 1, null, null, null from row
    where quality_score is not null and prompt_version_id is not null
    union all
    select id, agent_id, 0, 0, null, 0, total_executions, successful_executions, avg_quality_score
    from public.agent_prompts ${asked}
  ), counted as (
    select id, max(agent_id::text)::uuid as agent_id, sum(executions)::int as executions, sum(successes)::int as successes,
      sum(quality) / nullif(sum(scored), 0) as quality, max(stored_executions) as stored_executions,
      max(stored_successes) as stored_successes, max(stored_quality) as stored_quality
    from part group by id
  ), changed as materialized (
    select * from counted where agent_id is not null
      and (executions, successes, quality) is distinct from (stored_executions, stored_successes, stored_quality)
  ), locked as materialized (
    select id from public.agent_registry where id in (select agent_id from changed) order by id for no key update
  )
  update public.agent_prompts as prompt
  set total_executions = executions, successful_executions = successes, avg_quality_score = quality
  from changed join locked on locked.id = changed.agent_id
  where prompt.id = changed.id
  returning prompt.id`;
};

const COUNT_COMPONENTS = sql`
  with counted as (
    select component.id, count(prompt.id)::int as times,
      sum(prompt.avg_quality_score * prompt.total_executions)
        / nullif(sum(prompt.total_executions) filter (where prompt.avg_quality_score is not null), 0) as quality
    from public.prompt_library as component
    left join (public.prompt_library_usage as use join public.agent_prompts as prompt on prompt.id = use.prompt_id)
      on use.library_component_id = component.id
    group by component.id
  ), changed as materialized (
    select component.id, times, quality from public.prompt_library as component join counted on counted.id = component.id
    where (times_used, avg_quality_when_used) is distinct from (times, quality)
    order by component.id for no key update of component
  )
  update public.prompt_library as component set times_used = times, avg_quality_when_used = quality
  from changed where component.id = changed.id
  returning component.id`;
