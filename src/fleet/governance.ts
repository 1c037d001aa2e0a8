/** One round of everything that keeps itself: a job for a scheduler. */
import { type SQL, sql } from "drizzle-orm";
import * as z from "zod";
import { healthThresholds } from "../config.ts";
import { explain, isUnreachable } from "../client/errors.ts";
import { type Executor, type Transactor, one, rows } from "../client/sql.ts";
import { withServiceRole } from "../client/tenancy.ts";
import type { AbTest } from "../schema/index.ts";
import { finishAbTest, refreshAbTest } from "./ab-tests.ts";
import { raiseAlert } from "./alerts.ts";
import { type BudgetCorrection, refreshBudgets } from "./budgets.ts";
import { type CanaryStep, stepCanary } from "./canaries.ts";
import { type StandingAlerts, keepAlerts } from "./governance-alerts.ts";
import { type HealthOptions, type HealthResult, refreshHealth } from "./health.ts";
import { REACH } from "./outcome.ts";
import { type RollUpDays, type RollUpResult, rollUpMetrics } from "./rollup.ts";
import { finishShadowTest, refreshShadowTest } from "./shadow-tests.ts";
import { type SlaResult, measureSlas } from "./slas.ts";
import { CLOCK, isoOf } from "./steps.ts";

/** When a round is, and how it judges. Thresholds of health are as `refreshHealth` takes them. */
export interface GovernanceOptions extends HealthOptions {
  /** The first day to roll up, `YYYY-MM-DD`, UTC. Default: the day before `now`. */
  readonly since?: string | undefined;
  /** Executions that a canary's stage must have had, as `stepCanary` takes them. */
  readonly minExecutions?: number | undefined;
}

/** The steps of a round, in their order. */
export type GovernanceStep =
  | "health"
  | "roll-up"
  | "canaries"
  | "A/B tests"
  | "shadow tests"
  | "SLAs"
  | "budgets"
  | "alerts";

/** What could not be done; the rest of the round was. */
export interface GovernanceProblem {
  readonly step: GovernanceStep;
  /** The canary or test that it was about. `null`: the whole step. */
  readonly id: string | null;
  /** Why, in words, without any value of the statement. */
  readonly message: string;
}

/** A canary that was judged. */
export interface GovernedCanary extends Pick<
  CanaryStep,
  "action" | "reason" | "stage" | "evidence"
> {
  readonly id: string;
  readonly agentId: string;
}

/** A test that was computed anew. */
export interface GovernedTest {
  readonly id: string;
  readonly agentId: string;
  /** Whether anything was written. */
  readonly written: boolean;
  /** Whether it was ended, since 24 hours have passed after its `end_date`. */
  readonly isFinished: boolean;
}

/** An A/B test that was computed anew. */
export interface GovernedAbTest extends GovernedTest, Pick<AbTest, "testName" | "winner"> {
  readonly sampleRatioMismatch: boolean;
}

/** What {@link runGovernance} did, step by step; `null`: the step could not be done, and `problems` says why. */
export interface GovernanceResult {
  /** The instant that all of it is of. */
  readonly now: Date;
  readonly health: HealthResult | null;
  /** Summed over its days. */
  readonly rollUp: (RollUpDays & Pick<RollUpResult, "rows" | "written" | "removed">) | null;
  readonly canaries: readonly GovernedCanary[];
  readonly abTests: readonly GovernedAbTest[];
  readonly shadowTests: readonly GovernedTest[];
  readonly slas: SlaResult | null;
  /** What the budgets' counters had wrong. */
  readonly budgets: readonly BudgetCorrection[] | null;
  readonly alerts: StandingAlerts | null;
  readonly problems: readonly GovernanceProblem[];
}

const DAY = 86_400_000;
/** One transaction rolls up so many days at most: others wait for it. */
const DAYS_AT_ONCE = 7;

/**
 * One round over all organizations, as service role: `refreshHealth`; `rollUpMetrics` of yesterday and today, or from
 * `since` on; `stepCanary` of every running canary; `refreshAbTest` and `refreshShadowTest` of every running test, and
 * their finish where 24 hours have passed after the end; `measureSlas`; `refreshBudgets`; and the alerts of what it found.
 * Every step is a transaction of its own, each canary and each test, too: what one cannot do is told in `problems`, and
 * the others go on. It may run twice, or in two places at once: the second has nothing to do.
 *
 * Alerts of what lasts are raised when it begins and resolved when it has passed: an agent that is critical or degraded,
 * a budget that has reached its limit or its early alert, a service level that is missed, an error budget that burns,
 * an A/B test whose units come in other shares than planned. Their `dedup_key` begins with `governance:`. What
 * happens once is raised in the transaction that does it, and stays open until somebody resolves it: a canary that
 * was rolled back (warning) or completed, an A/B test that has a winner (info).
 *
 * A scheduler calls it each minute; `meta-agent-db govern --every 60` does on one machine. The night's jobs,
 * `refreshPromptCounters` and `expireExecutions`, are not in it.
 * @example
 * const { problems } = await runGovernance(db);
 * @throws {TypeError} before any SQL: `now` is no valid Date, or `since` no day or after it
 * @throws {Error} before any SQL: thresholds that are none; later: the database cannot be reached
 */
export async function runGovernance<Tx extends Executor>(
  db: Transactor<Tx>,
  { since, minExecutions, now: given, ...thresholds }: GovernanceOptions = {},
): Promise<GovernanceResult> {
  if (given !== undefined) isoOf("runGovernance: now", given);
  healthThresholds(thresholds);
  const problems: GovernanceProblem[] = [];
  let wasLost = false;
  /** Does one step, or says why not. */
  const attempt = async <T>(
    step: GovernanceStep,
    work: (tx: Tx) => Promise<T>,
    id: string | null = null,
  ): Promise<T | null> => {
    try {
      const done = await withServiceRole(db, work);
      wasLost = false;
      return done;
    } catch (error) {
      // Once it may be this connection alone that was killed.
      if (isUnreachable(error) && wasLost) throw error;
      wasLost = isUnreachable(error);
      problems.push({ step, id, message: explain(error) });
      return null;
    }
  };
  /** Does a step for each of what runs, one after the other. */
  const each = async <T>(
    step: GovernanceStep,
    query: SQL,
    work: (tx: Tx, found: Running) => Promise<T>,
  ): Promise<T[]> => {
    const done: T[] = [];
    const running = await attempt(step, async (tx) => rows<Running>(await tx.execute(query)));
    for (const found of running ?? []) {
      const result = await attempt(step, (tx) => work(tx, found), found.id);
      if (result !== null) done.push(result);
    }
    return done;
  };

  const now = given ?? (await withServiceRole(db, clockOf));
  const days = daysUntil(now, since);
  const health = await attempt("health", (tx) => refreshHealth(tx, { ...thresholds, now }));
  const rolled: RollUpResult[] = [];
  for (const part of days) {
    const result = await attempt("roll-up", (tx) => rollUpMetrics(tx, part));
    if (result !== null) rolled.push(result);
  }
  const canaries = await each("canaries", RUNNING_CANARIES, async (tx, canary) => {
    const taken = await stepCanary(tx, { id: canary.id, minExecutions, now });
    await tellCanary(tx, canary, taken, now);
    const { action, reason, stage, evidence } = taken;
    return { id: canary.id, agentId: canary.agentId, action, reason, stage, evidence };
  });
  const abTests = await each("A/B tests", runningTests("ab_tests", now), async (tx, running) => {
    const { id, agentId, isOver: isFinished } = running;
    const judge = isFinished ? finishAbTest : refreshAbTest;
    const { test, written, sampleRatioMismatch } = await judge(tx, { id, now });
    if (written) await tellWinner(tx, running, test, now);
    const { testName, winner } = test;
    return { id, agentId, testName, winner, sampleRatioMismatch, written, isFinished };
  });
  const shadowTests = await each(
    "shadow tests",
    runningTests("shadow_tests", now),
    async (tx, { id, agentId, isOver: isFinished }) => {
      const judge = isFinished ? finishShadowTest : refreshShadowTest;
      const { written } = await judge(tx, { id, now });
      return { id, agentId, written, isFinished };
    },
  );
  const slas = await attempt("SLAs", (tx) => measureSlas(tx, { now }));
  const budgets = await attempt("budgets", (tx) => refreshBudgets(tx, { now }));
  const alerts = await attempt("alerts", (tx) => keepAlerts(tx, { now, abTests }));
  const rollUp = rolled.length < days.length ? null : { ...spanOf(days), ...sumOf(rolled) };
  return {
    ...{ now, health, rollUp, canaries, abTests, shadowTests },
    ...{ slas, budgets, alerts, problems },
  };
}

/** What runs as a round begins. */
interface Running {
  readonly id: string;
  readonly agentId: string;
  readonly agentName: string;
  readonly winner: AbTest["winner"];
  readonly isOver: boolean;
}

async function clockOf(tx: Executor): Promise<Date> {
  const { ms } = await one<{ ms: number }>(
    tx,
    sql`select (extract(epoch from ${CLOCK}) * 1000)::float8 as ms`,
  );
  return new Date(ms);
}

/** The days to roll up, in parts. */
function daysUntil(now: Date, since: string | undefined): RollUpDays[] {
  const day = (time: number) => new Date(time).toISOString().slice(0, 10);
  const last = day(now.getTime());
  const first = since ?? day(now.getTime() - DAY);
  if (!z.iso.date().safeParse(first).success || first > last) {
    throw new TypeError("runGovernance: since must be a day, YYYY-MM-DD, and not after now");
  }
  const parts: RollUpDays[] = [];
  for (let from = first; from <= last;) {
    const end = Date.parse(from) + (DAYS_AT_ONCE - 1) * DAY;
    const to = day(Math.min(end, Date.parse(last)));
    parts.push({ from, to });
    from = day(Date.parse(to) + DAY);
  }
  return parts;
}

const spanOf = (days: readonly RollUpDays[]): RollUpDays => ({
  from: days[0]?.from ?? "",
  to: days.at(-1)?.to ?? "",
});

function sumOf(results: readonly RollUpResult[]) {
  const sum = (of: "rows" | "written" | "removed") =>
    results.reduce((total, result) => total + result[of], 0);
  return { rows: sum("rows"), written: sum("written"), removed: sum("removed") };
}

const OF_AGENT = sql`join public.agent_registry as agent on agent.id = agent_id
  where running.status = 'running' order by agent_id, running.id`;

const RUNNING_CANARIES = sql`
  select running.id, agent_id as "agentId", agent_name as "agentName", null as winner, false as "isOver"
  from public.canary_deployments as running ${OF_AGENT}`;

const runningTests = (table: "ab_tests" | "shadow_tests", now: Date): SQL => sql`
  select running.id, agent_id as "agentId", agent_name as "agentName",
    ${table === "ab_tests" ? sql`winner` : sql`null`} as winner,
    coalesce(end_date + ${REACH} <= ${now.toISOString()}::timestamptz, false) as "isOver"
  from ${sql.identifier(table)} as running ${OF_AGENT}`;

async function tellCanary(
  tx: Executor,
  { id, agentId, agentName }: Running,
  { action, reason, stage }: CanaryStep,
  now: Date,
): Promise<void> {
  if (action !== "rolled_back" && action !== "completed") return;
  const isUndone = action === "rolled_back";
  await raiseAlert(tx, {
    agentId,
    alertType: "canary",
    severity: isUndone ? "warning" : "info",
    title: isUndone ? `Canary of ${agentName} rolled back` : `Canary of ${agentName} is live`,
    message: isUndone ? `${reason}.` : `It passed all of its ${stage} stages.`,
    details: { canary_id: id, stage },
    dedupKey: `canary:${id}`,
    now,
  });
}

/** Once: of two rounds at the same time the second one writes nothing. */
async function tellWinner(
  tx: Executor,
  { id, agentId, agentName, winner: former }: Running,
  { testName, winner, statisticalSignificance: significance }: AbTest,
  now: Date,
): Promise<void> {
  if (winner === null || winner === former || winner === "inconclusive") return;
  await raiseAlert(tx, {
    agentId,
    alertType: "ab_test",
    severity: "info",
    title: `A/B test of ${agentName}: the ${winner} does better`,
    message: `“${testName}” has a winner. It promotes nothing by itself.`,
    details: { ab_test_id: id, winner, significance },
    dedupKey: `ab_test:${id}`,
    now,
  });
}
