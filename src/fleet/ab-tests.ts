import { type SQL, eq, sql } from "drizzle-orm";
import * as z from "zod";
import { besideLog } from "../client/spread.ts";
import type { Executor } from "../client/sql.ts";
import { type AbTest, type NewAbTest, abTests } from "../schema/index.ts";
import { lazy } from "../validation/lazy.ts";
import { answered } from "../validation/refusals.ts";
import { parsed } from "../validation/refused.ts";
import { validators } from "../validation/validators.ts";
import { EVIDENCE_OF_DIFFERENCE, armsOf, evidenceOfMismatch } from "./evidence.ts";
import { begun, lockedAgent, requireActive, requireFreeTraffic } from "./experiments.ts";
import { REACH, executionsOfSpan, isFailure, reachOf } from "./outcome.ts";
import { CLOCK, clock, lockAgent, written } from "./steps.ts";

/** A test to begin. What is left out is as the table has it. */
export interface AbTestStart
  extends
    Pick<NewAbTest, "agentId" | "treatmentPromptId" | "testName" | "hypothesis">,
    Partial<Pick<NewAbTest, "minSampleSize" | "endDate" | "improvementProposalId">> {
  /** Default: the active version. */
  readonly controlPromptId?: string | undefined;
  /** Ratio, between 0 and 1. Default 0.5. */
  readonly trafficSplit?: number | undefined;
  /** When it begins. Default: the database's clock. */
  readonly now?: Date | undefined;
}

const START = lazy(() => {
  const { shape } = validators(abTests).insert;
  return z.strictObject({
    agentId: shape.agentId,
    treatmentPromptId: shape.treatmentPromptId,
    controlPromptId: shape.controlPromptId.optional(),
    testName: shape.testName,
    hypothesis: shape.hypothesis,
    trafficSplit: z.number().gt(0).lt(1).optional(),
    minSampleSize: shape.minSampleSize,
    endDate: shape.endDate,
    improvementProposalId: shape.improvementProposalId,
    now: shape.createdAt,
  });
});

/**
 * Begins to share an agent's traffic between its active prompt version and another one, which `choosePrompt` then
 * hands out. Of any number of callers at once one begins it.
 * @example
 * await startAbTest(tx, { agentId, treatmentPromptId, testName: "clerk 1.2", hypothesis: "Reads dates" });
 * @throws {z.ZodError} before any SQL, or by the rules between columns: what is wrong with the input
 * @throws {Error} when there is no such agent, version or proposal of it, a test or canary of the agent runs, the
 * treatment is active, or the transaction is not READ COMMITTED
 */
export async function startAbTest(tx: Executor, asked: AbTestStart): Promise<AbTest> {
  const { now, controlPromptId, improvementProposalId, ...row } = parsed(START, asked);
  const { agentId, treatmentPromptId } = row;
  const promptIds = [treatmentPromptId, controlPromptId];
  const beginning = { caller: "startAbTest", agentId, promptIds };
  const state = await lockedAgent(tx, beginning);
  requireFreeTraffic(beginning, state, treatmentPromptId);
  await requireProposal(tx, agentId, improvementProposalId);
  const test = {
    ...row,
    improvementProposalId,
    controlPromptId: controlPromptId ?? requireActive(beginning, state),
    organizationId: state.organizationId,
    startDate: now ?? CLOCK,
  };
  return begun(tx.insert(abTests).values(test).returning());
}

async function requireProposal(tx: Executor, agentId: string, id: string | null | undefined) {
  if (id === null || id === undefined) return;
  const [found] = await answered(
    tx,
    sql`select from public.improvement_proposals where id = ${id} and agent_id = ${agentId}`,
  );
  if (found) return;
  throw new Error(`startAbTest: no proposal ${id} of agent ${agentId}, or it is not this caller's`);
}

/** Which test, and how sure one wants to be. */
export interface AbTestRefresh {
  readonly id: string;
  /** How many of 100 tests without any difference may name a winner, as a ratio. Default 0.05. */
  readonly alpha?: number | undefined;
  /** The instant up to which it is judged. Default: the database's clock. */
  readonly now?: Date | undefined;
}

/** How a test stands. */
export interface AbTestState {
  readonly test: AbTest;
  /** The e-value of the difference: `statistical_significance` is `1 - min(1, 1 / evidence)`. */
  readonly evidence: number;
  /**
   * Whether units came to the arms in other shares than `traffic_split`, at an error of 1 in 1,000: then something
   * assigns, loses or repeats executions by arm, and no side wins.
   */
  readonly sampleRatioMismatch: boolean;
  /** Whether anything was written. */
  readonly written: boolean;
}

const refreshShape = () => {
  const { agentId: id, createdAt: now } = validators(abTests).insert.shape;
  return { id, alpha: z.number().gt(0).lt(1).default(0.05), now };
};
const REFRESH = lazy(() => z.strictObject(refreshShape()));
const FINISH = lazy(() => {
  const { conclusionSummary } = validators(abTests).insert.shape;
  return z.strictObject({ ...refreshShape(), conclusionSummary });
});

/**
 * Computes a running test anew from the logs: executions that ended well or badly, rates, qualities, significance
 * and winner. One may look at any time, as often as one likes: of tests without any difference at most `alpha` ever
 * name a winner, also where users differ and stay with one arm, if their executions carry `user_id`. There is no winner
 * before each arm has `min_sample_size` executions. What is not running any more stays as it is.
 *
 * The method is a mixture sequential probability ratio test over differences of 0.01, 0.03 and 0.1, with the larger
 * of the pooled variance and that between units. An execution counts by the rule of `rollUpMetrics`, in the arm of its
 * prompt version, if it began between `start_date` and `end_date`.
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 * @throws {Error} when there is no such test, or the transaction is not READ COMMITTED
 */
export const refreshAbTest = (tx: Executor, asked: AbTestRefresh): Promise<AbTestState> =>
  judged(tx, "refreshAbTest", parsed(REFRESH, asked));

/** How a test ends. */
export interface AbTestFinish extends AbTestRefresh {
  /** What was learnt, for people. */
  readonly conclusionSummary?: string | null | undefined;
}

/**
 * Refreshes a test a last time, as {@link refreshAbTest}, and ends it: `completed` where each arm has
 * `min_sample_size` executions, else `stopped`; without a winner it is `inconclusive`. It promotes nothing. Again it
 * writes nothing.
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 * @throws {Error} when there is no such test, or the transaction is not READ COMMITTED
 */
export async function finishAbTest(tx: Executor, asked: AbTestFinish): Promise<AbTestState> {
  const { conclusionSummary = null, ...refresh } = parsed(FINISH, asked);
  return judged(tx, "finishAbTest", { ...refresh, ends: { conclusionSummary } });
}

interface Judgement extends z.infer<typeof REFRESH> {
  readonly ends?: { readonly conclusionSummary: string | null };
}

async function judged(tx: Executor, caller: string, asked: Judgement): Promise<AbTestState> {
  const { id } = asked;
  await lockAgent(tx, caller, sql`select agent_id from public.ab_tests where id = ${id}`);
  const [state] = await besideLog(tx, reachOf(sql`public.ab_tests`, id), () =>
    answered<Omit<AbTestState, "test">>(tx, judge(asked)),
  );
  const [test] = await tx.select().from(abTests).where(eq(abTests.id, id));
  if (!state || !test) {
    throw new Error(`${caller}: no A/B test ${id}, or it is not this caller's`);
  }
  return { test, ...state };
}

/** Whose executions are not independent of each other. */
const UNIT = sql`coalesce(user_id, execution_id)`;
/** What a unit did: `n` executions that ended well or badly, `s` of them well. */
const COUNTED = sql`count(*) filter (where is_good or ${isFailure(sql`outcome`)}) as n, count(*) filter (where is_good) as s`;

/** One in so many tests whose traffic is shared as planned is suspected. */
const SUSPICION = 1000;

/** A test with its time up to `now`, and the executions of both arms that began in it: the beginning of a statement. */
const testAndExecutions = (id: string, now: Date | undefined): SQL => sql`
  with span as materialized (
    select test.*, clock.now, start_date as since, least(end_date, clock.now) as until,
      least(end_date + ${REACH}, clock.now) as seen
    from public.ab_tests as test cross join ${clock(now)} as clock where test.id = ${id}
  ), execution as materialized (
    select execution.*, prompt_version_id = treatment_prompt_id as is_treatment, outcome = 'success' as is_good
    from span cross join lateral (${executionsOfSpan("own")}) as execution
    where prompt_version_id in (control_prompt_id, treatment_prompt_id)
  )`;

const judge = ({ id, alpha, now, ends }: Judgement): SQL => sql`
  ${testAndExecutions(id, now)}, arms as (${armsOf(sql`
    select span.id as test, is_treatment, ${UNIT} as unit, ${COUNTED}
    from span cross join execution group by 1, 2, 3`)}
  ), scores as (
    select sum(quality) filter (where not is_treatment) / nullif(sum(scored) filter (where not is_treatment), 0) as control,
      sum(quality) filter (where is_treatment) / nullif(sum(scored) filter (where is_treatment), 0) as treatment
    from execution
  ), computed as (
    select span.*, evidence,
      coalesce(n_control, 0)::int as n_control, coalesce(n_treatment, 0)::int as n_treatment,
      s_control::numeric / nullif(n_control, 0)::numeric as rate_control,
      s_treatment::numeric / nullif(n_treatment, 0)::numeric as rate_treatment,
      scores.control as quality_control, scores.treatment as quality_treatment,
      (1 - least(1, 1 / evidence))::numeric as significance,
      ${evidenceOfMismatch(sql`traffic_split`)} >= ${SUSPICION} as is_mismatch
    from span cross join scores left join arms on true
    cross join lateral (select ${EVIDENCE_OF_DIFFERENCE} as evidence) as against
  ), result as (
    select *, least(n_control, n_treatment) >= min_sample_size as is_enough
    from computed
  ), decided as (
    select *, coalesce(
      case when is_enough and not is_mismatch and evidence * ${alpha}::float8 >= 1
        then case when rate_treatment > rate_control then 'treatment' else 'control' end end,
      ${ends ? "inconclusive" : null}::text) as decision
    from result
  ), written as (
    update public.ab_tests as test
    set (${list("test")}) = row(${list("computed")})${ends && ending(ends.conclusionSummary)}
    from decided
    where test.id = decided.id and test.status = 'running'
      and (${ends !== undefined} or (${list("stored")}) is distinct from (${list("computed")}))
    returning test.id
  )
  select evidence, is_mismatch as "sampleRatioMismatch", exists (select from written) as written from decided`;

/** One side of a test so far. */
export interface ArmSoFar {
  /** Executions that ended well or badly. */
  readonly executions: number;
  readonly successes: number;
}

/** What the executions that began before an instant say. */
export interface EvidenceSoFar {
  /** Excluded. */
  readonly at: Date;
  /** The e-value of the difference, as {@link AbTestState} has it. */
  readonly evidence: number;
  readonly control: ArmSoFar;
  readonly treatment: ArmSoFar;
}

/** Which test, and how often to look. */
export interface EvidenceOptions {
  readonly id: string;
  /** Until when, unless the test has ended before. Default: the database's clock. */
  readonly now?: Date | undefined;
  /** How many instants, 1 to 1,000. Default 48. */
  readonly points?: number | undefined;
}

const OVER_TIME = lazy(() => {
  const { id, now } = refreshShape();
  return z.strictObject({ id, now, points: z.int().min(1).max(1000).default(48) });
});

/**
 * How the evidence of a test grew from its start to its end or `now`, at so many instants of equal distance. The last
 * is what {@link refreshAbTest} would compute now; those before count executions as they are known now. It only reads.
 * @returns nothing of a test that is not there or has not begun
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 */
export async function evidenceOverTime(
  tx: Executor,
  asked: EvidenceOptions,
): Promise<EvidenceSoFar[]> {
  const { id, now, points } = parsed(OVER_TIME, asked);
  const found = await answered<Omit<EvidenceSoFar, "at"> & { at: string }>(
    tx,
    evidenceAt(id, now, points),
  );
  return found.map((point) => ({ ...point, at: new Date(point.at) }));
}

const evidenceAt = (id: string, now: Date | undefined, points: number): SQL => {
  const arm = (name: string) =>
    sql.raw(
      `json_build_object('executions', coalesce(n_${name}, 0), 'successes', coalesce(s_${name}, 0))`,
    );
  return sql`
  ${testAndExecutions(id, now)}, part as materialized (
    select least(${points}::int, 1 + floor(${points}::int * extract(epoch from started - since) / extract(epoch from until - since)))::int as first,
      is_treatment, ${UNIT} as unit, ${COUNTED}
    from span cross join execution group by 1, 2, 3
  ), point as (
    select n as test, since + (until - since) * n / ${points}::int as at
    from span cross join generate_series(1, ${points}::int) as n where until > since
  )
  select ${written(sql`at`)} as at, evidence, ${arm("control")} as control, ${arm("treatment")} as treatment
  from point left join (${armsOf(sql`
    select point.test, is_treatment, unit, sum(n) as n, sum(s) as s
    from point join part on part.first <= point.test group by 1, 2, 3`)}) as arms using (test)
  cross join lateral (select ${EVIDENCE_OF_DIFFERENCE} as evidence) as against
  order by at`;
};

const ending = (conclusionSummary: string | null): SQL => sql`,
      status = case when is_enough then 'completed' else 'stopped' end,
      end_date = case when test.end_date <= now or now <= test.start_date then test.end_date else now end,
      conclusion_summary = coalesce(${conclusionSummary}, test.conclusion_summary)`;

/** What is computed: the column, and its name in the statement. */
const COLUMNS: readonly (readonly [column: string, computed: string])[] = [
  ["control_executions", "n_control"],
  ["treatment_executions", "n_treatment"],
  ["control_success_rate", "rate_control"],
  ["treatment_success_rate", "rate_treatment"],
  ["control_avg_quality", "quality_control"],
  ["treatment_avg_quality", "quality_treatment"],
  ["statistical_significance", "significance"],
  ["winner", "decision"],
];

function list(as: "test" | "stored" | "computed"): SQL {
  const names = COLUMNS.map(([column, computed]) =>
    as === "test" ? column : as === "stored" ? `test.${column}` : `decided.${computed}`,
  );
  return sql.raw(names.join(", "));
}
