import { type SQL, eq, sql } from "drizzle-orm";
import * as z from "zod";
import { EMBEDDINGS, LOG, besideLog } from "../client/spread.ts";
import { type Executor, isKey } from "../client/sql.ts";
import { type NewShadowTest, type ShadowTest, shadowTests } from "../schema/index.ts";
import { lazy } from "../validation/lazy.ts";
import { answered } from "../validation/refusals.ts";
import { parsed } from "../validation/refused.ts";
import { validators } from "../validation/validators.ts";
import { begun, lockedAgent, requireActive } from "./experiments.ts";
import { REACH, executionsOfSpan, isFailure, reachOf } from "./outcome.ts";
import { CLOCK, clock, lockAgent } from "./steps.ts";

/** A shadow test to begin. What is left out is as the table has it. */
export interface ShadowTestStart
  extends
    Pick<NewShadowTest, "agentId" | "shadowPromptId">,
    Partial<Pick<NewShadowTest, "sampleRate" | "minSampleSize" | "endDate">> {
  /** Default: the active version. */
  readonly productionPromptId?: string | undefined;
  /** When it begins. Default: the database's clock. */
  readonly now?: Date | undefined;
}

const START = lazy(() => {
  const { shape } = validators(shadowTests).insert;
  return z.strictObject({
    agentId: shape.agentId,
    shadowPromptId: shape.shadowPromptId,
    productionPromptId: shape.productionPromptId.optional(),
    sampleRate: shape.sampleRate,
    minSampleSize: shape.minSampleSize,
    endDate: shape.endDate,
    now: shape.createdAt,
  });
});

/**
 * Begins to try a prompt version unseen: `choosePrompt` names it beside the production's version for the share of
 * the units that is sampled. Who runs it records an execution of its own, whose rows say in `metadata.shadow_of` which
 * execution they shadow. It may run beside an A/B test or a canary; of one agent one runs at a time.
 * @throws {z.ZodError} before any SQL, or by the rules between columns: what is wrong with the input
 * @throws {Error} when there is no such agent or version of it, a shadow test of the agent runs, or the transaction is
 * not READ COMMITTED
 */
export async function startShadowTest(tx: Executor, asked: ShadowTestStart): Promise<ShadowTest> {
  const { now, productionPromptId, ...row } = parsed(START, asked);
  const { agentId, shadowPromptId } = row;
  const promptIds = [shadowPromptId, productionPromptId];
  const beginning = { caller: "startShadowTest", agentId, promptIds };
  const state = await lockedAgent(tx, beginning);
  if (state.shadowTestId !== null) {
    throw new Error(
      `startShadowTest: shadow test ${state.shadowTestId} of agent ${agentId} runs: finish it first`,
    );
  }
  const test = {
    ...row,
    productionPromptId: productionPromptId ?? requireActive(beginning, state),
    organizationId: state.organizationId,
    startDate: now ?? CLOCK,
  };
  return begun(tx.insert(shadowTests).values(test).returning());
}

/** Which test, and when. */
export interface ShadowTestRefresh {
  readonly id: string;
  /** The instant up to which it is judged. Default: the database's clock. */
  readonly now?: Date | undefined;
}

/** How a shadow test stands. */
export interface ShadowTestState {
  readonly test: ShadowTest;
  /** Executions of production that have a shadow, both of them ended well or badly. */
  readonly pairs: number;
  /** Pairs whose outputs were compared: both have an embedding. */
  readonly compared: number;
  /** Whether anything was written. */
  readonly written: boolean;
}

const refreshShape = () => {
  const { agentId: id, createdAt: now } = validators(shadowTests).insert.shape;
  return { id, now };
};
const REFRESH = lazy(() => z.strictObject(refreshShape()));
const FINISH = lazy(() => {
  const { recommendation } = validators(shadowTests).insert.shape;
  return z.strictObject({ ...refreshShape(), recommendation });
});

/** How both sides of a shadow test did so far. */
export interface ShadowTestSoFar {
  /** Executions of production that have a shadow, both of them ended well or badly. */
  readonly pairs: number;
  /** Those of them that succeeded. */
  readonly productionSuccesses: number;
  /** Those of their shadows that succeeded. */
  readonly shadowSuccesses: number;
}

/**
 * How a shadow test stands at `now`, by the pairs that {@link refreshShadowTest} counts. It only reads.
 * @returns nothing of a test that is not there
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 */
export async function shadowTestSoFar(
  tx: Executor,
  asked: ShadowTestRefresh,
): Promise<ShadowTestSoFar | undefined> {
  const { id, now } = parsed(REFRESH, asked);
  const [found] = await answered<ShadowTestSoFar>(
    tx,
    sql`${pairsOf(id, now)} select count(pair)::int as pairs,
      (count(*) filter (where production_outcome = 'success'))::int as "productionSuccesses",
      (count(*) filter (where shadow_outcome = 'success'))::int as "shadowSuccesses"
    from span left join pair on true group by span.id`,
  );
  return found;
}

/**
 * Computes a running shadow test anew from the logs, of the pairs alone: an execution of production that began in
 * the test's time, and its shadow. Success rates and mean qualities of both sides; and how alike their outputs
 * are, the mean cosine similarity of their embeddings, where both have one. What is not running any more stays as it is.
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 * @throws {Error} when there is no such test, or the transaction is not READ COMMITTED
 */
export const refreshShadowTest = (
  tx: Executor,
  asked: ShadowTestRefresh,
): Promise<ShadowTestState> => judged(tx, "refreshShadowTest", parsed(REFRESH, asked));

/** How a shadow test ends. */
export interface ShadowTestFinish extends ShadowTestRefresh {
  /** What to do with the shadow's version, for people. */
  readonly recommendation?: string | null | undefined;
}

/**
 * Refreshes a shadow test a last time, as {@link refreshShadowTest}, and ends it: `completed` where it has
 * `min_sample_size` pairs, else `stopped`. Again it writes nothing.
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 * @throws {Error} when there is no such test, or the transaction is not READ COMMITTED
 */
export async function finishShadowTest(
  tx: Executor,
  asked: ShadowTestFinish,
): Promise<ShadowTestState> {
  const { recommendation = null, ...refresh } = parsed(FINISH, asked);
  return judged(tx, "finishShadowTest", { ...refresh, ends: { recommendation } });
}

interface Judgement extends z.infer<typeof REFRESH> {
  readonly ends?: { readonly recommendation: string | null };
}

async function judged(tx: Executor, caller: string, asked: Judgement): Promise<ShadowTestState> {
  const { id } = asked;
  await lockAgent(tx, caller, sql`select agent_id from public.shadow_tests where id = ${id}`);
  const [state] = await besideLog(
    tx,
    { ...reachOf(sql`public.shadow_tests`, id), outputs: true },
    () => answered<Omit<ShadowTestState, "test">>(tx, judge(asked)),
  );
  const [test] = await tx.select().from(shadowTests).where(eq(shadowTests.id, id));
  if (!state || !test) {
    throw new Error(`${caller}: no shadow test ${id}, or it is not this caller's`);
  }
  return { test, ...state };
}

/** The output of an execution as a vector: of its run, else of its last row that has one. */
const outputOf = (execution: string): SQL => sql`(
    select output_embedding from (
      select * from ${LOG} where ${isKey("execution_id", execution)} order by execution_id offset 0
    ) as row join ${EMBEDDINGS} as embedding on embedding.execution_log_id = row.id
    where row.agent_id = pair.agent_id and output_embedding is not null
    order by (action_type = 'agent_run') desc, row.timestamp desc, row.id limit 1)`;

const ofSide = (side: "production" | "shadow"): SQL => {
  const filter = sql`filter (where is_shadow = ${side === "shadow"})`;
  const as = (name: string) => sql.raw(`${side}_${name}`);
  return sql`max(outcome) ${filter} as ${as("outcome")}, max(execution_id::text) ${filter} as ${as("execution")},
      sum(quality) ${filter} as ${as("quality")}, sum(scored) ${filter} as ${as("scored")}`;
};

const rated = (side: "production" | "shadow"): SQL => {
  const column = (name: string) => sql.raw(`${side}_${name}`);
  return sql`(count(*) filter (where ${column("outcome")} = 'success'))::numeric / nullif(count(*), 0) as ${column("rate")},
      sum(${column("quality")}) / nullif(sum(${column("scored")}), 0) as ${column("mean")}`;
};

/**
 * A test with its time up to `now`, and its pairs: the beginning of a statement. Both sides are in one list, so that
 * no plan joins them by guesses of their numbers.
 */
const pairsOf = (id: string, now: Date | undefined): SQL => sql`
  with span as materialized (
    select test.*, clock.now, start_date as since, least(end_date, clock.now) as until,
      least(end_date + ${REACH}, clock.now) as seen
    from public.shadow_tests as test cross join ${clock(now)} as clock where test.id = ${id}
  ), execution as materialized (
    select own.*, false as is_shadow, own.execution_id::text as pair
    from span cross join lateral (${executionsOfSpan("own")}) as own
    where prompt_version_id = production_prompt_id
    union all
    select shadow.*, true, shadow_of
    from span cross join lateral (${executionsOfSpan("shadow")}) as shadow
    where prompt_version_id = shadow_prompt_id
  ), pair as materialized (
    select agent_id, ${ofSide("production")}, ${ofSide("shadow")}
    from execution where outcome = 'success' or ${isFailure(sql`outcome`)}
    group by agent_id, pair having bool_or(is_shadow) and not bool_and(is_shadow)
  )`;

const judge = ({ id, now, ends }: Judgement): SQL => sql`
  ${pairsOf(id, now)}, likeness as (
    select avg(greatest(0, 1 - distance)) filter (where distance is not null) as similarity, count(distance)::int as compared
    from (
      select nullif(${outputOf("pair.production_execution::uuid")} <=> ${outputOf("pair.shadow_execution::uuid")}, 'NaN') as distance
      from pair
    ) as apart
  ), result as (
    select count(*)::int as pairs, ${rated("production")}, ${rated("shadow")} from pair
  ), decided as (
    select span.*, result.*, compared, similarity::numeric as similarity
    from span cross join result cross join likeness
  ), written as (
    update public.shadow_tests as test
    set production_success_rate = production_rate, shadow_success_rate = shadow_rate,
      production_avg_quality = production_mean, shadow_avg_quality = shadow_mean, output_similarity_score = similarity${ends && ending(ends.recommendation)}
    from decided
    where test.id = decided.id and test.status = 'running' and (${ends !== undefined} or
      (test.production_success_rate, test.shadow_success_rate, test.production_avg_quality, test.shadow_avg_quality, test.output_similarity_score)
      is distinct from (production_rate, shadow_rate, production_mean, shadow_mean, similarity))
    returning test.id
  )
  select pairs, compared, exists (select from written) as written from decided`;

const ending = (recommendation: string | null): SQL => sql`,
      status = case when pairs >= test.min_sample_size then 'completed' else 'stopped' end,
      end_date = case when test.end_date <= now or now <= test.start_date then test.end_date else now end,
      recommendation = coalesce(${recommendation}, test.recommendation)`;
