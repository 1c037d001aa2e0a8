/** Evaluation: a report's numbers from the log, its texts left to who reads them. */
import { type SQL, sql } from "drizzle-orm";
import * as z from "zod";
import { LOG, besideLog } from "../client/spread.ts";
import { type Executor, isKey } from "../client/sql.ts";
import { type EvaluationReport, evaluationReports } from "../schema/index.ts";
import { lazy } from "../validation/lazy.ts";
import { answered } from "../validation/refusals.ts";
import { parsed } from "../validation/refused.ts";
import { validators } from "../validation/validators.ts";
import {
  IS_SHADOW,
  LOOK_BACK,
  OF_LOG,
  REACH,
  executionsOf,
  isFailure,
  withStart,
} from "./outcome.ts";
import { clock, midnight } from "./steps.ts";

/** How much each score weighs in the overall one, 0 or more. One that is left out weighs as the default says. */
export interface EvaluationWeights {
  /** Default 0.4. */
  readonly reliability?: number | undefined;
  /** Default 0.3. */
  readonly quality?: number | undefined;
  /** Default 0.15. */
  readonly efficiency?: number | undefined;
  /** Default 0.15. */
  readonly costEfficiency?: number | undefined;
}

/** Which agent is evaluated, and over which days. */
export interface EvaluationOf {
  readonly agentId: string;
  /** The first day, `YYYY-MM-DD`, UTC. */
  readonly from: string;
  /** The last day, `YYYY-MM-DD`, UTC, included. */
  readonly to: string;
  readonly weights?: EvaluationWeights | undefined;
  /** When the report is written. Default: the database's clock. */
  readonly now?: Date | undefined;
}

/** What an agent did in a period: of the executions that began in it, with all their rows. */
export type PeriodNumbers = {
  readonly executions: number;
  readonly successful: number;
  /** Failed or timed out. */
  readonly failed: number;
  /** Ratio, 0 to 1. NULL: none ended well or badly. */
  readonly successRate: number | null;
  /** Milliseconds, of successful executions. NULL: none has a latency. */
  readonly p50LatencyMs: number | null;
  readonly p95LatencyMs: number | null;
  /** US dollars, exact. */
  readonly costUsd: string;
  /** US dollars for each successful execution. NULL: there is none. */
  readonly costPerSuccessUsd: string | null;
  /** Percent, 0 to 100. NULL: nothing was scored. */
  readonly avgQuality: number | null;
};

/** What the scores are computed from, as the report keeps it in `comparison_details`. */
export type EvaluationComparison = {
  readonly period: PeriodNumbers;
  /** The days before, as many. */
  readonly before: PeriodNumbers;
  /** Milliseconds: what an execution may take to satisfy, and who says so. NULL: nothing has a latency. */
  readonly latencyTargetMs: number | null;
  readonly latencyTargetBy: "service level" | "period before" | "period" | null;
  /** The report that `score_change_vs_previous` is against. */
  readonly previousReportId: string | null;
};

/** A report without its texts: a row to insert. */
export interface EvaluationDraft extends Pick<
  EvaluationReport,
  | "agentId"
  | "organizationId"
  | "reportDate"
  | "evaluationPeriodStart"
  | "evaluationPeriodEnd"
  | "overallScore"
  | "reliabilityScore"
  | "efficiencyScore"
  | "costEfficiencyScore"
  | "qualityScore"
  | "riskLevel"
  | "scoreChangeVsPrevious"
> {
  readonly comparisonDetails: EvaluationComparison;
}

const ASKED = lazy(() => {
  const {
    agentId,
    evaluationPeriodStart: day,
    createdAt: now,
  } = validators(evaluationReports).insert.shape;
  const weight = (usual: number) => z.number().min(0).max(1_000_000).default(usual);
  return z
    .strictObject({
      agentId,
      from: day,
      to: day,
      weights: z
        .strictObject({
          reliability: weight(0.4),
          quality: weight(0.3),
          efficiency: weight(0.15),
          costEfficiency: weight(0.15),
        })
        .prefault({})
        .refine((weights) => Object.values(weights).some((given) => given > 0), {
          error: "expected one weight above 0",
        }),
      now,
    })
    .refine(({ from, to }) => from <= to, { path: ["to"], error: "expected no day before from" });
});

/**
 * Drafts the report of an agent over some days: its numbers, scores and risk, ready to insert once a person or a
 * model has added the texts. It reads one statement and stores nothing. Executions count as `rollUpMetrics` says, by
 * the day on which they began, those of shadow tests left out; cost and quality are those of all their rows.
 *
 * Scores are percent, 0 to 100; what has nothing to count is NULL:
 * - **reliability**: successful of those that ended well or badly.
 * - **quality**: the mean quality score.
 * - **efficiency**: the Apdex of successful executions: those within the target, and half of those within four times
 *   it. The target is the p95 that an active service level promises; else the p95 of the days before, as many;
 *   else the period's own.
 * - **cost efficiency**: the share of the dollars that went to executions that succeeded.
 * - **overall**: their mean by `weights`, of those that are not NULL.
 *
 * Risk goes by the share that failed: `low`, from 5 % `medium`, from 10 % `high`, from 20 % `critical`; a level
 * more where the overall score fell by 5 points or more. It fell against the report whose period ended last before
 * this one does.
 * @example
 * const draft = await draftEvaluation(tx, { agentId, from: "2026-11-01", to: "2026-11-30" });
 * const executiveSummary = await summarize(draft.comparisonDetails);
 * await tx.insert(evaluationReports).values({ ...draft, executiveSummary });
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 * @throws {Error} when there is no such agent, or the caller does not see it
 */
export async function draftEvaluation(tx: Executor, asked: EvaluationOf): Promise<EvaluationDraft> {
  const evaluation = parsed(ASKED, asked);
  const { agentId, from, to } = evaluation;
  const reach = {
    agents: sql`select ${agentId}::uuid`,
    since: sql`select ${beforeOf(from, to)} - ${LOOK_BACK}`,
  };
  const [found] = await besideLog(tx, reach, () =>
    answered<{ draft: string }>(tx, draft(evaluation)),
  );
  if (!found) {
    throw new Error(`draftEvaluation: no agent ${evaluation.agentId}, or it is not this caller's`);
  }
  return JSON.parse(found.draft);
}

const numbers = (filter: SQL): SQL => sql`(
    select json_build_object('executions', count(*), 'successful', count(*) filter (where is_good),
      'failed', count(*) filter (where is_bad),
      'successRate', round((count(*) filter (where is_good))::numeric / nullif(count(*) filter (where is_good or is_bad), 0), 6),
      'p50LatencyMs', (percentile_cont(0.5) within group (order by latency_ms) filter (where is_good))::numeric,
      'p95LatencyMs', (percentile_cont(0.95) within group (order by latency_ms) filter (where is_good))::numeric,
      'costUsd', coalesce(sum(cost), 0)::text,
      'costPerSuccessUsd', round(sum(cost) / nullif(count(*) filter (where is_good), 0), 10)::text,
      'avgQuality', round(sum(quality) / nullif(sum(scored), 0), 4))
    from execution where ${filter})`;

/** A round number of percent, to two places. */
const percent = (share: SQL): SQL => sql`round(100 * ${share}, 2)`;

/** When the period of the same length before began. */
const beforeOf = (from: string, to: string): SQL =>
  midnight(sql`(${from}::date - (${to}::date - ${from}::date + 1))`);

const draft = ({ agentId, from, to, weights, now }: z.infer<typeof ASKED>): SQL => sql`
  with asked as materialized (
    select agent.id as agent, agent.organization_id, ${from}::date as first, ${to}::date as last,
      ${midnight(from)} as since, ${midnight(to, 1)} as until,
      ${beforeOf(from, to)} as before, clock.now
    from public.agent_registry as agent cross join ${clock(now)} as clock where agent.id = ${agentId}::uuid
  ), row as materialized (
    ${withStart(sql`
    select ${OF_LOG}, quality_score, estimated_cost_usd from asked cross join lateral (
      select * from ${LOG} where ${isKey("agent_id", "asked.agent")}
        and timestamp >= asked.before - ${LOOK_BACK} and timestamp < asked.until + ${REACH}
      order by agent_id, timestamp desc offset 0
    ) as row
    where not ${IS_SHADOW}`)}
  ), execution as materialized (
    select execution.*, started >= since as is_current, outcome = 'success' as is_good, ${isFailure(sql`outcome`)} as is_bad
    from asked cross join (${executionsOf(
      sql`row`,
      sql`, sum(estimated_cost_usd) as cost, sum(quality_score) as quality, count(quality_score) as scored`,
    )}) as execution
    where started >= before and started < until
  ), told as (
    select ${numbers(sql`is_current`)} as period, ${numbers(sql`not is_current`)} as before
  ), target as (
    select coalesce(promised, earlier, own) as ms, case when promised is not null then 'service level'
      when earlier is not null then 'period before' when own is not null then 'period' end as by
    from (
      select (select min(target_p95_latency_ms) from public.agent_slas where agent_id = asked.agent and is_active)::numeric as promised,
        (told.before ->> 'p95LatencyMs')::numeric as earlier, (told.period ->> 'p95LatencyMs')::numeric as own
      from asked cross join told
    ) as known
  ), scored as (
    select ${percent(sql`(count(*) filter (where is_good))::numeric / nullif(count(*) filter (where is_good or is_bad), 0)`)} as reliability,
      round(sum(quality) / nullif(sum(scored), 0), 2) as quality,
      ${percent(sql`(count(*) filter (where is_good and latency_ms <= ms) + count(*) filter (where is_good and latency_ms <= 4 * ms))::numeric
        / nullif(2 * count(*) filter (where is_good and latency_ms is not null), 0)`)} as efficiency,
      ${percent(sql`coalesce(sum(cost) filter (where is_good), 0) / nullif(sum(cost), 0)`)} as cost_efficiency
    from execution cross join target where is_current
  ), overall as (
    select scored.*, (
      select round(sum(score * weight) / nullif(sum(weight), 0), 2)
      from (values (reliability, ${weights.reliability}::numeric), (quality, ${weights.quality}::numeric),
        (efficiency, ${weights.efficiency}::numeric), (cost_efficiency, ${weights.costEfficiency}::numeric)) as part (score, weight)
      where score is not null) as overall
    from scored
  ), previous as (
    select report.id, overall_score from asked join public.evaluation_reports as report on report.agent_id = asked.agent
    where evaluation_period_end < asked.last
    order by evaluation_period_end desc, report_date desc, report.created_at desc, report.id limit 1
  ), changed as (
    select overall.*, previous.id as previous_id, overall - round(previous.overall_score, 2) as change,
      (reliability <= 95)::int + (reliability <= 90)::int + (reliability <= 80)::int
        + coalesce((overall - round(previous.overall_score, 2) <= -5)::int, 0) as risk
    from overall left join previous on true
  )
  select json_build_object(
    'agentId', asked.agent, 'organizationId', organization_id, 'reportDate', (now at time zone 'UTC')::date,
    'evaluationPeriodStart', first, 'evaluationPeriodEnd', last,
    'overallScore', overall, 'reliabilityScore', reliability, 'efficiencyScore', efficiency,
    'costEfficiencyScore', cost_efficiency, 'qualityScore', quality,
    'riskLevel', case when risk is not null then (array['low', 'medium', 'high', 'critical'])[1 + least(risk, 3)] end, 'scoreChangeVsPrevious', change,
    'comparisonDetails', json_build_object('period', told.period, 'before', told.before, 'latencyTargetMs', target.ms,
      'latencyTargetBy', target.by, 'previousReportId', previous_id))::text as draft
  from asked cross join told cross join target cross join changed`;
