import { type SQL, eq, sql } from "drizzle-orm";
import * as z from "zod";
import { besideLog } from "../client/spread.ts";
import { type Executor, textArray } from "../client/sql.ts";
import {
  type CanaryDeployment,
  type NewCanaryDeployment,
  agentPrompts,
  canaryDeployments,
} from "../schema/index.ts";
import { lazy } from "../validation/lazy.ts";
import { answered } from "../validation/refusals.ts";
import { parsed } from "../validation/refused.ts";
import { validators } from "../validation/validators.ts";
import { ENOUGH_EVIDENCE, ENOUGH_EXECUTIONS, evidenceOfFailure } from "./evidence.ts";
import { begun, lockedAgent, requireActive, requireFreeTraffic } from "./experiments.ts";
import { executionsOfSpan, isFailure, reachOf } from "./outcome.ts";
import type { CanaryStatus } from "../values.ts";
import { promotePrompt } from "./prompts.ts";
import { CLOCK, clock, lockAgent, written } from "./steps.ts";

/** A canary to begin. A limit that is left out is as the table has it; null never rolls back. */
export interface CanaryStart
  extends
    Pick<NewCanaryDeployment, "agentId" | "canaryPromptId" | "stages">,
    Partial<
      Pick<
        NewCanaryDeployment,
        "rollbackOnErrorRate" | "rollbackOnLatencyIncrease" | "rollbackOnQualityDecrease"
      >
    > {
  /** When it begins. Default: the database's clock. */
  readonly now?: Date | undefined;
}

const START = lazy(() => {
  const { shape } = validators(canaryDeployments).insert;
  return z.strictObject({
    agentId: shape.agentId,
    canaryPromptId: shape.canaryPromptId,
    stages: shape.stages,
    rollbackOnErrorRate: shape.rollbackOnErrorRate,
    rollbackOnLatencyIncrease: shape.rollbackOnLatencyIncrease,
    rollbackOnQualityDecrease: shape.rollbackOnQualityDecrease,
    now: optionalInstant(),
  });
});
const optionalInstant = () => validators(agentPrompts).insert.shape.createdAt;

/**
 * Begins to roll out a prompt version in stages beside the active one: `choosePrompt` hands it out to a stage's
 * share of the units, and {@link stepCanary} takes it from stage to stage. Of any number of callers at once one
 * begins it.
 * @example
 * const stages = [{ traffic: 0.05, duration_minutes: 60 }, { traffic: 0.5, duration_minutes: 240 }];
 * await startCanary(tx, { agentId, canaryPromptId, stages });
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 * @throws {Error} when there is no such agent or version of it, a test or canary of the agent runs, the version is
 * active or none is, or the transaction is not READ COMMITTED
 */
export async function startCanary(tx: Executor, asked: CanaryStart): Promise<CanaryDeployment> {
  const { now, ...row } = parsed(START, asked);
  const { agentId, canaryPromptId } = row;
  const beginning = { caller: "startCanary", agentId, promptIds: [canaryPromptId] };
  const state = await lockedAgent(tx, beginning);
  requireFreeTraffic(beginning, state, canaryPromptId);
  const canary = {
    ...row,
    currentPromptId: requireActive(beginning, state),
    organizationId: state.organizationId,
    startedAt: now ?? CLOCK,
  };
  return begun(tx.insert(canaryDeployments).values(canary).returning());
}

/** Which canary, and when. */
export interface CanaryChoice {
  readonly id: string;
  /** Default: the database's clock. */
  readonly now?: Date | undefined;
}

/** How a canary is judged. */
export interface CanaryStepOptions extends CanaryChoice {
  /** Executions that a stage must have had before it is over, or is judged by latency and quality. Default 50. */
  readonly minExecutions?: number | undefined;
}

/** What one version did in a stage so far. */
export interface StageMeasure {
  /** Executions that ended well or badly. */
  readonly executions: number;
  /** Those that failed or timed out. */
  readonly failures: number;
  readonly avgLatencyMs: number | null;
  readonly avgQuality: number | null;
}

/** What {@link stepCanary} did, and why. */
export interface CanaryStep {
  /** `none`: it is not running. */
  readonly action: "held" | "advanced" | "completed" | "rolled_back" | "none";
  /** Why it was held or rolled back, in words. */
  readonly reason: string | null;
  /** The stage that was judged, from 1. */
  readonly stage: number;
  /** The e-value of "the canary fails more often than `rollback_on_error_rate`"; 20 rolls back. */
  readonly evidence: number;
  readonly canary: StageMeasure;
  readonly current: StageMeasure;
}

const CHOICE = lazy(() =>
  z.strictObject({
    id: validators(canaryDeployments).insert.shape.agentId,
    now: optionalInstant(),
  }),
);
const STEP = lazy(() =>
  z.strictObject({
    id: validators(canaryDeployments).insert.shape.agentId,
    minExecutions: z.int().min(1).default(ENOUGH_EXECUTIONS),
    now: optionalInstant(),
  }),
);

/**
 * Judges the stage that a canary is in by the executions that began in it, keeps what it measured in
 * `stage_metrics`, and takes one step, in this order:
 *
 * - `rolled_back`: the active prompt is not the current one any more; the evidence that the canary's error rate exceeds
 *   `rollback_on_error_rate` has reached 20; or from `minExecutions` of both versions on its mean latency or quality is
 *   worse than its limit says. One may look as often as one likes: a canary that fails no more often than the
 *   limit is rolled back for errors in at most 1 of 20 stages, one at half the limit in less than 1 of 100.
 * - `held`: executions or minutes are missing, or the error rate is above the limit without the evidence. No
 *   traffic never passes.
 * - `advanced` to the next stage, or after the last one `completed`: its version is promoted in the same transaction.
 *
 * Of any number of callers at once one takes a step, and the others see it. Means are moved by outliers: where latencies
 * have long tails, ask for more executions or leave that limit out (null).
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 * @throws {Error} when there is no such canary, or the transaction is not READ COMMITTED
 */
export async function stepCanary(tx: Executor, asked: CanaryStepOptions): Promise<CanaryStep> {
  const options = parsed(STEP, asked);
  await lockCanary(tx, "stepCanary", options.id);
  const reach = reachOf(sql`public.canary_deployments`, options.id, sql`started_at`);
  const [step] = await besideLog(tx, reach, () =>
    answered<CanaryStep & { promptId: string }>(tx, judge(options)),
  );
  if (!step) throw new Error(missing("stepCanary", options.id));
  const { promptId, ...taken } = step;
  if (taken.action === "completed") await promotePrompt(tx, promptId);
  return taken;
}

const lockCanary = (tx: Executor, caller: string, id: string) =>
  lockAgent(tx, caller, sql`select agent_id from public.canary_deployments where id = ${id}`);

const missing = (caller: string, id: string) =>
  `${caller}: no canary ${id}, or it is not this caller's`;

const WRITTEN = String.raw`^\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d\.\d{3}Z$`;

const begins = (stage: SQL, instant: SQL): SQL =>
  sql`jsonb_build_array(jsonb_build_object('stage', ${stage}, 'started_at', ${written(instant)}))`;

/** One version's columns of `measure`. */
const measureOf = (arm: "canary" | "current", filter: SQL): SQL => {
  const as = (name: string) => sql.raw(`${arm}_${name}`);
  return sql`
    count(*) filter (where ${filter} and is_ended)::int as ${as("executions")},
    count(*) filter (where ${filter} and is_failure)::int as ${as("failures")},
    (avg(latency_ms) filter (where ${filter}))::float8 as ${as("latency")},
    (sum(quality) filter (where ${filter}) / nullif(sum(scored) filter (where ${filter}), 0))::float8 as ${as("quality")}`;
};

/** The same as JSON, by the names of `stage_metrics` or of {@link StageMeasure}. */
const asJson = (arm: "canary" | "current", [latency, quality]: readonly [string, string]): SQL =>
  sql.raw(`jsonb_build_object('executions', ${arm}_executions, 'failures', ${arm}_failures,
    '${latency}', ${arm}_latency, '${quality}', ${arm}_quality)`);
const STORED = ["avg_latency_ms", "avg_quality"] as const;
const TOLD = ["avgLatencyMs", "avgQuality"] as const;

const rounded = (value: SQL): SQL => sql`trim_scale(round((${value})::numeric, 4))`;

const judge = ({ id, minExecutions, now }: z.infer<typeof STEP>): SQL => sql`
  with canary as materialized (
    select canary.*, clock.now, clock.now as until, clock.now as seen, jsonb_array_length(stages) as stage_count,
      (select id from public.agent_prompts where agent_id = canary.agent_id and is_active) as active,
      case when jsonb_typeof(stages -> (current_stage - 1) -> 'duration_minutes') = 'number'
        then (stages -> (current_stage - 1) ->> 'duration_minutes')::float8 else 0 end as duration,
      case when stage_metrics -> -1 ->> 'stage' = current_stage::text then stage_metrics -> -1 end as former
    from public.canary_deployments as canary cross join ${clock(now)} as clock where canary.id = ${id}
  ), span as materialized (
    select *, coalesce(case when former ->> 'started_at' ~ ${WRITTEN} then (former ->> 'started_at')::timestamptz end,
      started_at, now) as since
    from canary
  ), execution as materialized (
    select execution.*, prompt_version_id = canary_prompt_id as is_canary, ${isFailure(sql`outcome`)} as is_failure,
      outcome = 'success' or ${isFailure(sql`outcome`)} as is_ended
    from span cross join lateral (${executionsOfSpan("own")}) as execution
    where prompt_version_id in (canary_prompt_id, current_prompt_id)
  ), measure as (
    select ${measureOf("canary", sql`is_canary`)}, ${measureOf("current", sql`not is_canary`)} from execution
  ), judged as (
    select span.*, measure.*, evidence,
      least(canary_executions, current_executions) >= ${minExecutions}::int as is_comparable,
      format('Error rate %s in %s executions, more than %s', ${rounded(sql`canary_failures / nullif(canary_executions, 0)::numeric`)},
        canary_executions, trim_scale(rollback_on_error_rate)) as errors
    from span cross join measure
    cross join lateral (select canary_failures as failures, canary_executions - canary_failures as successes) as outcome
    cross join lateral (select ${evidenceOfFailure(sql`rollback_on_error_rate`)} as evidence) as against
  ), reasoned as (
    select *,
      case
        when active is distinct from current_prompt_id then 'The active prompt is another one than when it began'
        when evidence >= ${ENOUGH_EVIDENCE} then errors
        when is_comparable and canary_latency > current_latency * (1 + rollback_on_latency_increase)
          then format('Mean latency %s ms, of the current version %s ms', ${rounded(sql`canary_latency`)}, ${rounded(sql`current_latency`)})
        when is_comparable and canary_quality < current_quality * (1 - rollback_on_quality_decrease)
          then format('Mean quality %s, of the current version %s', ${rounded(sql`canary_quality`)}, ${rounded(sql`current_quality`)})
      end as fault,
      case
        when canary_executions < ${minExecutions}::int then format('%s of %s executions', canary_executions, ${minExecutions}::int)
        when now < since + duration * interval '1 minute'
          then format('%s of %s minutes', floor(extract(epoch from now - since) / 60), duration)
        when canary_failures > canary_executions * rollback_on_error_rate then errors || ', without enough evidence'
      end as wait
    from judged
  ), verdict as (
    select *, case
      when status <> 'running' then 'none'
      when fault is not null then 'rolled_back'
      when wait is not null then 'held'
      when current_stage < stage_count then 'advanced'
      else 'completed' end as action
    from reasoned
  ), noted as (
    select *, (case when jsonb_typeof(stage_metrics) <> 'array' or stage_metrics is null then '[]'
        when former is not null then stage_metrics - -1 else stage_metrics end)
      || jsonb_build_array(jsonb_build_object('stage', current_stage, 'started_at', ${written(sql`since`)}, 'evidence', evidence,
        'canary', ${asJson("canary", STORED)}, 'current', ${asJson("current", STORED)}))
      || case when action = 'advanced' then ${begins(sql`current_stage + 1`, sql`now`)} else '[]' end as metrics
    from verdict
  ), stepped as (
    update public.canary_deployments as canary set
      stage_metrics = metrics,
      current_stage = canary.current_stage + (action = 'advanced')::int,
      status = case when action in ('completed', 'rolled_back') then action else canary.status end,
      completed_at = case when action = 'completed' then now else canary.completed_at end,
      rolled_back_at = case when action = 'rolled_back' then now else canary.rolled_back_at end,
      rollback_reason = case when action = 'rolled_back' then fault else canary.rollback_reason end
    from noted
    where canary.id = noted.id and action <> 'none' and (action <> 'held' or canary.stage_metrics is distinct from metrics)
  )
  select action, case action when 'rolled_back' then fault when 'held' then wait end as reason, current_stage as stage,
    evidence, ${asJson("canary", TOLD)} as canary, ${asJson("current", TOLD)} as current, canary_prompt_id as "promptId"
  from noted`;

/**
 * Holds a running canary where it is: `choosePrompt` hands out the active version alone.
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 * @throws {Error} when there is no such canary, it is over, or the transaction is not READ COMMITTED
 */
export async function pauseCanary(tx: Executor, asked: CanaryChoice): Promise<CanaryDeployment> {
  const { id } = parsed(CHOICE, asked);
  return moved(tx, { caller: "pauseCanary", id, from: ["running"], to: "paused" });
}

/**
 * Lets a paused canary go on. Its stage begins anew: what came before is not counted.
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 * @throws {Error} when there is no such canary, it is not paused, or the transaction is not READ COMMITTED
 */
export async function resumeCanary(tx: Executor, asked: CanaryChoice): Promise<CanaryDeployment> {
  const { id, now } = parsed(CHOICE, asked);
  const metrics = sql`case when jsonb_typeof(stage_metrics) = 'array' then stage_metrics else '[]' end
    || ${begins(sql`current_stage`, sql`clock.now`)}`;
  const set = sql`, stage_metrics = ${metrics}`;
  return moved(tx, { caller: "resumeCanary", id, from: ["paused"], to: "running", set, now });
}

/** Why a canary is undone. */
export interface CanaryRollBack extends CanaryChoice {
  /** In words. */
  readonly reason: string;
}

const ROLL_BACK = lazy(() => {
  const { id, now } = CHOICE.shape;
  return z.strictObject({ id, now, reason: validators(agentPrompts).insert.shape.systemPrompt });
});

/**
 * Ends a canary by hand: the active prompt stays what it is. One that has completed is live: for that there is
 * `rollBackPrompt`.
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 * @throws {Error} when there is no such canary, it has completed, or the transaction is not READ COMMITTED
 */
export async function rollBackCanary(
  tx: Executor,
  asked: CanaryRollBack,
): Promise<CanaryDeployment> {
  const { id, reason, now } = parsed(ROLL_BACK, asked);
  const set = sql`, rolled_back_at = clock.now, rollback_reason = ${reason}`;
  const from = ["pending", "running", "paused"] as const;
  return moved(tx, { caller: "rollBackCanary", id, from, to: "rolled_back", set, now });
}

interface CanaryMove {
  readonly caller: string;
  readonly id: string;
  readonly from: readonly CanaryStatus[];
  readonly to: CanaryStatus;
  readonly set?: SQL;
  readonly now?: Date | undefined;
}

async function moved(
  tx: Executor,
  { caller, id, from, to, set, now }: CanaryMove,
): Promise<CanaryDeployment> {
  await lockCanary(tx, caller, id);
  await answered(
    tx,
    sql`update public.canary_deployments as canary set status = ${to}${set}
      from ${clock(now)} as clock where canary.id = ${id} and status = any (${textArray(from)})`,
  );
  const ofId = eq(canaryDeployments.id, id);
  const [canary] = await tx.select().from(canaryDeployments).where(ofId);
  if (!canary) throw new Error(missing(caller, id));
  if (canary.status === to) return canary;
  throw new Error(`${caller}: canary ${id} is ${canary.status}, and not ${from.join(" or ")}`);
}
