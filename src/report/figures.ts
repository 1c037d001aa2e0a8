/** What the page shows, as plain data: what the functions of the fleet answer, and what rows say. */
import { type SQL, sql } from "drizzle-orm";
import { type Database, type Transaction, isKey, one, rows } from "../client/sql.ts";
import { withOrganization, withServiceRole } from "../client/tenancy.ts";
import { type EvidenceSoFar, evidenceOverTime } from "../fleet/ab-tests.ts";
import { type BudgetState, budgetStatus } from "../fleet/budgets.ts";
import { type PromptExplanation, explainPrompt } from "../fleet/explain.ts";
import { executionsBetween, isFailure } from "../fleet/outcome.ts";
import { type ShadowTestSoFar, shadowTestSoFar } from "../fleet/shadow-tests.ts";
import { type ErrorBudget, errorBudgets } from "../fleet/slas.ts";
import { isoOf } from "../fleet/steps.ts";
import type {
  AgentStatus,
  AlertSeverity,
  CanaryStatus,
  CircuitState,
  HealthStatus,
} from "../values.ts";
import { percent } from "./words.ts";

/** What is asked for. */
export interface Asked {
  /** Whose rows. Left out: those of all organizations. */
  readonly organization?: string | undefined;
  /** How many days of UTC, the one that `now` is in included. */
  readonly days: number;
  /** Where the page stands. Default: now, or the end of the log where that is older than the days. */
  readonly now?: Date | undefined;
}

/** What executions did; those of shadow tests left out. */
export interface Measure {
  readonly executions: number;
  readonly successes: number;
  /** Failed or timed out. */
  readonly failures: number;
  readonly cancelled: number;
  /** Milliseconds. `null`: none has ended with a latency. */
  readonly p50: number | null;
  /** Milliseconds. */
  readonly p95: number | null;
}

/** A measure with what rows of the same time cost. */
interface Spent extends Measure {
  readonly usd: number;
}

export interface Day extends Spent {
  /** `YYYY-MM-DD` */
  readonly day: string;
}

/** What the calls of a model cost on a day. */
export interface ModelCost {
  readonly day: string;
  /** `null`: not named. */
  readonly model: string | null;
  readonly usd: number;
}

export interface AgentFigures extends Spent {
  readonly id: string;
  readonly name: string;
  readonly organizationId: string | null;
  readonly status: AgentStatus;
  /** `null`: no snapshot was taken. */
  readonly health: HealthStatus | null;
  readonly healthAt: Date | null;
  readonly breaker: CircuitState;
  readonly breakerOpenedAt: Date | null;
  /** The limits that it is over, in words, whatever its health says. */
  readonly over: readonly string[];
  /** One for each day, in order. */
  readonly days: readonly Pick<Day, "day" | "executions" | "failures">[];
}

export interface OpenAlert {
  readonly severity: AlertSeverity;
  readonly title: string;
  readonly message: string;
  /** `null`: of the whole organization. */
  readonly agentName: string | null;
  readonly createdAt: Date;
  readonly acknowledgedBy: string | null;
}

export interface RunningTest {
  readonly id: string;
  readonly agentName: string;
  readonly testName: string;
  readonly hypothesis: string;
  readonly control: string;
  readonly treatment: string;
  readonly split: number;
  readonly minSampleSize: number;
  readonly startDate: Date;
  readonly evidence: readonly EvidenceSoFar[];
}

export interface RunningShadow extends ShadowTestSoFar {
  readonly id: string;
  readonly agentName: string;
  readonly production: string;
  readonly shadow: string;
  readonly startDate: Date;
  readonly minSampleSize: number;
  /** Ratio, 0 to 1. `null`: not computed. */
  readonly similarity: number | null;
}

/** One version in a stage. */
export interface StageArm {
  readonly executions: number;
  readonly failures: number;
}

interface Stage {
  /** Ratio, 0 to 1. */
  readonly traffic: number | null;
  /** How long it lasts. */
  readonly minutes: number;
  /** `null`: not reached. */
  readonly startedAt: Date | null;
  /** The e-value against "it fails no more often than the limit". `null`: not judged. */
  readonly evidence: number | null;
  /** Both versions where it was measured. */
  readonly measured: { readonly canary: StageArm; readonly current: StageArm } | null;
}

export interface CanaryFigures {
  readonly agentId: string;
  readonly agentName: string;
  readonly current: string;
  readonly canary: string;
  readonly status: CanaryStatus;
  /** From 1. */
  readonly stage: number;
  readonly stages: readonly Stage[];
  /** Ratio, 0 to 1. `null`: it is never rolled back for errors. */
  readonly limit: number | null;
  readonly startedAt: Date | null;
  readonly endedAt: Date | null;
  readonly reason: string | null;
}

/** A budget with those of its windows that have a limit. */
export interface BudgetFigures {
  /** `null`: of the whole organization. */
  readonly agentName: string | null;
  readonly organizationId: string | null;
  readonly windows: readonly BudgetState[];
}

/** A list of which the page shows the first. */
export interface Listed<T> {
  readonly shown: readonly T[];
  readonly leftOut: number;
}

export interface Figures {
  readonly organization: string | null;
  /** Midnight of the first day, UTC. */
  readonly from: Date;
  /** Where the page stands. */
  readonly now: Date;
  /** The log ends before the days that were asked for: the page stands there. */
  readonly isPast: boolean;
  /** The last row of the log up to then. `null`: there is none. */
  readonly latest: Date | null;
  /** The last snapshot of an agent's health. */
  readonly healthAt: Date | null;
  readonly total: Spent;
  readonly days: readonly Day[];
  readonly models: readonly ModelCost[];
  /** What needs a look first, then by executions. */
  readonly agents: Listed<AgentFigures>;
  readonly alerts: Listed<OpenAlert>;
  /** The fullest first. */
  readonly budgets: Listed<BudgetFigures>;
  readonly errorBudgets: Listed<ErrorBudget & { readonly agentName: string }>;
  readonly tests: Listed<RunningTest>;
  readonly shadows: Listed<RunningShadow>;
  readonly canaries: Listed<CanaryFigures>;
  readonly stories: Listed<PromptExplanation>;
}

/** A page that nobody can read to its end is none: so many of each are shown. */
const MOST = { agents: 40, alerts: 20, bars: 12, tests: 8, stories: 24 };
/** Instants of an experiment. */
const POINTS = 48;
const DAY = 86_400_000;

/**
 * Reads all of it in one transaction that writes nothing.
 * @throws {TypeError} `now` is no valid Date
 */
export async function figuresOf(db: Database, asked: Asked): Promise<Figures> {
  const { organization } = asked;
  const read = (tx: Transaction) => figures(tx, asked);
  return organization === undefined
    ? withServiceRole(db, read, { readOnly: true })
    : withOrganization(db, organization, read, { readOnly: true });
}

async function figures(tx: Transaction, { organization, days, now }: Asked): Promise<Figures> {
  const place = await placeOf(tx, days, now);
  const registry = await agentsOf(tx, place);
  const names = new Map(registry.map(({ id, name }) => [id, name]));
  const named = <T extends { readonly agentId: string }>(of: T) => ({
    ...of,
    agentName: names.get(of.agentId) ?? of.agentId,
  });
  const measured = await measuresOf(tx, place);
  const spent = await costsOf(tx, place);
  const dayNames = Array.from({ length: days }, (_, n) => dayOf(+place.from + n * DAY));
  const { budgets: promises } = await errorBudgets(tx, { now: place.now });
  const states = await budgetStatus(tx, { now: place.now });
  const canaries = await canariesOf(tx, place);
  const checks = registry.flatMap(({ healthAt }) => (healthAt === null ? [] : [+healthAt]));
  const agents = first(
    registry
      .map(({ isSlaMissed, ...agent }) => ({
        ...agent,
        over: [
          ...promises.filter(isOf(agent)).flatMap(overspent),
          ...states
            .filter(isOf(agent))
            .flatMap(({ isSpent, window }) => (isSpent ? [`${window} budget spent`] : [])),
          ...(isSlaMissed ? ["SLA missed"] : []),
          ...canaries.shown.filter(isOf(agent)).flatMap(failing),
        ],
        ...spentBy(measured.get(keyOf(agent.id)), spent.get(keyOf(agent.id))),
        days: dayNames.map((day) => ({ day, ...(measured.get(keyOf(agent.id, day)) ?? NOTHING) })),
      }))
      .toSorted(byNeed),
    MOST.agents,
  );
  return {
    organization: organization ?? null,
    ...place,
    healthAt: checks.length === 0 ? null : new Date(Math.max(...checks)),
    total: spentBy(measured.get(keyOf()), spent.get(keyOf())),
    days: dayNames.map((day) => ({
      day,
      ...spentBy(measured.get(keyOf(null, day)), spent.get(keyOf(null, day))),
    })),
    models: await modelCostsOf(tx, place),
    agents,
    alerts: await alertsOf(tx),
    budgets: budgetsOf(states, names),
    errorBudgets: first(
      promises.map(named).toSorted((a, b) => (b.usedShare ?? 0) - (a.usedShare ?? 0)),
      MOST.bars,
    ),
    tests: await testsOf(tx, place.now),
    shadows: await shadowsOf(tx, place.now),
    canaries,
    stories: await storiesOf(tx, agents.shown),
  };
}

const isOf =
  ({ id }: { readonly id: string }) =>
  ({ agentId }: { readonly agentId: string | null }) =>
    agentId === id;

const overspent = ({ usedShare, failures }: ErrorBudget) => {
  if (usedShare === null) return failures > 0 ? ["error budget spent"] : [];
  return usedShare >= 1 ? [`error budget ${percent(usedShare)}`] : [];
};

const failing = (canary: CanaryFigures) => {
  const rate = rateOverLimit(canary);
  return rate === null ? [] : [`canary fails ${percent(rate)}`];
};

function budgetsOf(
  states: readonly BudgetState[],
  names: ReadonlyMap<string, string>,
): Listed<BudgetFigures> {
  const limited = new Map<string, BudgetState[]>();
  for (const state of states) {
    if (state.limitUsd === null) continue;
    limited.set(state.budgetId, [...(limited.get(state.budgetId) ?? []), state]);
  }
  const fullest = ({ windows }: BudgetFigures) => Math.max(...windows.map(budgetShare));
  const all = [...limited.values()].map((windows) => {
    const [{ agentId, organizationId } = { agentId: null, organizationId: null }] = windows;
    const agentName = agentId === null ? null : (names.get(agentId) ?? agentId);
    return { agentName, organizationId, windows };
  });
  return first(
    all.toSorted((a, b) => fullest(b) - fullest(a)),
    MOST.bars,
  );
}

/** Spent ÷ limit; of a limit of 0 everything. */
export function budgetShare({ spentUsd, limitUsd }: BudgetState): number {
  const [spent, limit] = [Number(spentUsd), Number(limitUsd ?? 0)];
  return limit > 0 ? spent / limit : Number(spent > 0);
}

/** Successes ÷ (successes + failures), as everywhere. `null`: neither. */
export function successRate({ successes, failures }: Measure): number | null {
  return successes + failures > 0 ? successes / (successes + failures) : null;
}

export const failureRate = ({ executions, failures }: StageArm): number | null =>
  executions > 0 ? failures / executions : null;

/** How often a running canary fails in its stage, where that is more than its limit. */
export function rateOverLimit({ status, stage, stages, limit }: CanaryFigures): number | null {
  const measured = stages[stage - 1]?.measured;
  if (status !== "running" || !measured) return null;
  const rate = failureRate(measured.canary);
  return rate !== null && limit !== null && rate > limit ? rate : null;
}

const first = <T>(all: readonly T[], most: number): Listed<T> => ({
  shown: all.slice(0, most),
  leftOut: Math.max(0, all.length - most),
});

const dayOf = (instant: number) => new Date(instant).toISOString().slice(0, 10);

// ── The time ──

interface Place {
  readonly from: Date;
  readonly now: Date;
  readonly isPast: boolean;
  readonly latest: Date | null;
}

/** The days that end with now, or with the log where that ends before they begin. */
async function placeOf(tx: Transaction, days: number, given: Date | undefined): Promise<Place> {
  if (given !== undefined) isoOf("report: now", given);
  const { clock, latest } = await one<{ clock: string; latest: string | null }>(
    tx,
    endsBefore(given),
  );
  const from = (now: Date) => new Date(Math.floor(+now / DAY) * DAY - (days - 1) * DAY);
  const present = given ?? new Date(clock);
  // What began at the end is of the time before the millisecond after it.
  const end = latest === null ? present : new Date(Date.parse(latest) + 1);
  const isPast = given === undefined && end < from(present);
  const now = isPast ? end : present;
  return { from: from(now), now, isPast, latest: instantOf(latest) };
}

/** By each agent's own end before what is given, if anything is, which its index has. */
const endsBefore = (given: Date | undefined): SQL => sql`
  select to_json(statement_timestamp()) #>> '{}' as clock, to_json(max(latest)) #>> '{}' as latest
  from public.agent_registry as agent cross join lateral (
    select timestamp as latest from public.agent_execution_logs where ${isKey("agent_id", "agent.id")}
      and timestamp < coalesce(${given?.toISOString() ?? null}::timestamptz, 'infinity')
    order by agent_id, timestamp desc limit 1
  ) as log`;

// ── Executions and dollars, of all, a day, an agent, and an agent's day ──

const keyOf = (agentId: string | null = null, day: string | null = null) => `${agentId} ${day}`;
const NOTHING: Measure = {
  ...{ executions: 0, successes: 0, failures: 0, cancelled: 0 },
  ...{ p50: null, p95: null },
};
const spentBy = (measure: Measure = NOTHING, usd = 0): Spent => ({ ...measure, usd });
const dayOfUtc = (instant: SQL): SQL => sql`to_char(${instant} at time zone 'UTC', 'YYYY-MM-DD')`;

async function measuresOf(tx: Transaction, { from, now }: Place): Promise<Map<string, Measure>> {
  const found = rows<Measure & { agentId: string | null; day: string | null }>(
    await tx.execute(sql`
      select agent_id as "agentId", day, count(*)::int as executions,
        (count(*) filter (where outcome = 'success'))::int as successes,
        (count(*) filter (where ${isFailure(sql`outcome`)}))::int as failures,
        (count(*) filter (where outcome = 'cancelled'))::int as cancelled,
        percentile_cont(0.5) within group (order by latency_ms) as p50,
        percentile_cont(0.95) within group (order by latency_ms) as p95
      from (
        select agent_id, ${dayOfUtc(sql`started`)} as day, outcome, latency_ms
        from (${executionsBetween({ from, to: now })}) as execution
      ) as execution
      group by grouping sets ((), (day), (agent_id), (agent_id, day))`),
  );
  return new Map(found.map(({ agentId, day, ...measure }) => [keyOf(agentId, day), measure]));
}

/** Rows whose dollars count, each on its own day, those of shadow tests too. */
const costly = ({ from, now }: Place): SQL => sql`
  select agent_id, model_name as model, ${dayOfUtc(sql`timestamp`)} as day, estimated_cost_usd as usd
  from public.agent_execution_logs
  where timestamp >= ${from.toISOString()}::timestamptz and timestamp < ${now.toISOString()}::timestamptz
    and estimated_cost_usd <> 0`;

async function costsOf(tx: Transaction, place: Place): Promise<Map<string, number>> {
  const found = rows<{ agentId: string | null; day: string | null; usd: number | null }>(
    await tx.execute(sql`
      select agent_id as "agentId", day, sum(usd)::float8 as usd from (${costly(place)}) as row
      group by grouping sets ((), (day), (agent_id))`),
  );
  return new Map(found.map(({ agentId, day, usd }) => [keyOf(agentId, day), usd ?? 0]));
}

async function modelCostsOf(tx: Transaction, place: Place): Promise<ModelCost[]> {
  return rows<ModelCost & Record<string, unknown>>(
    await tx.execute(sql`
      select day, model, sum(usd)::float8 as usd from (${costly(place)}) as row group by 1, 2 order by 1, 3 desc, 2`),
  );
}

// ── What rows say ──

interface Registered extends Omit<AgentFigures, keyof Spent | "days" | "over"> {
  /** Whether the present period of an active SLA is not what was promised. */
  readonly isSlaMissed: boolean;
}

async function agentsOf(tx: Transaction, { now }: Place): Promise<Registered[]> {
  const found = rows<
    Omit<Registered, "healthAt" | "breakerOpenedAt"> &
      Record<"healthAt" | "openedAt", string | null>
  >(
    await tx.execute(sql`
      select agent.id, agent_name as name, agent.organization_id as "organizationId", agent.status,
        health.status as health, to_json(health.timestamp) #>> '{}' as "healthAt",
        coalesce(breaker.state, 'closed') as breaker, to_json(breaker.opened_at) #>> '{}' as "openedAt",
        exists (
          select from public.sla_compliance as period join public.agent_slas as sla on sla.id = period.sla_id and sla.is_active
          where period.agent_id = agent.id and not overall_compliant and ${dayOf(+now)}::date between period_start and period_end
        ) as "isSlaMissed"
      from public.agent_registry as agent
      left join public.agent_health_realtime as health on health.agent_id = agent.id
      left join public.circuit_breaker_state as breaker on breaker.agent_id = agent.id`),
  );
  return found.map(({ healthAt, openedAt, ...agent }) => ({
    ...agent,
    healthAt: instantOf(healthAt),
    breakerOpenedAt: instantOf(openedAt),
  }));
}

const instantOf = (text: string | null) => (text === null ? null : new Date(text));

const NEED: Record<HealthStatus | CircuitState, number> = {
  critical: 3,
  open: 3,
  degraded: 2,
  half_open: 2,
  offline: 1,
  healthy: 0,
  closed: 0,
};
const needOf = ({ health, breaker, executions, over }: AgentFigures) =>
  // Who rests for months is offline, too.
  Math.max(
    health === null || (health === "offline" && executions === 0) ? 0 : NEED[health],
    NEED[breaker],
    over.length > 0 ? NEED.degraded : 0,
  );
const byNeed = (a: AgentFigures, b: AgentFigures) =>
  needOf(b) - needOf(a) || b.executions - a.executions || (a.name < b.name ? -1 : 1);

/** The first of a query, and how many it leaves out. */
async function listed<T>(
  tx: Transaction,
  { query, order, most }: { query: SQL; order: SQL; most: number },
): Promise<Listed<T>> {
  const { shown, total } = await one<{ shown: T[]; total: number }>(
    tx,
    sql`with found as materialized (${query})
      select (select count(*)::int from found) as total, (select coalesce(json_agg(of), '[]')
        from (select * from found order by ${order} limit ${most}::int) as of) as shown`,
  );
  return { shown, leftOut: Math.max(0, total - most) };
}

const mapped = <T, U>({ shown, leftOut }: Listed<T>, to: (of: T) => U): Listed<U> => ({
  shown: shown.map(to),
  leftOut,
});

type Written<T> = {
  [K in keyof T]: T[K] extends Date ? string : T[K] extends Date | null ? string | null : T[K];
};

async function alertsOf(tx: Transaction): Promise<Listed<OpenAlert>> {
  const found = await listed<Written<OpenAlert>>(tx, {
    query: sql`select alert.id, severity, title, message, agent_name as "agentName", alert.created_at as "createdAt",
        case when acknowledged then coalesce(acknowledged_by, '') end as "acknowledgedBy"
      from public.alert_history as alert left join public.agent_registry as agent on agent.id = alert.agent_id
      where not resolved`,
    order: sql`array_position(array['emergency', 'critical', 'warning', 'info'], severity), "createdAt" desc, id`,
    most: MOST.alerts,
  });
  return mapped(found, (alert) => ({ ...alert, createdAt: new Date(alert.createdAt) }));
}

const versionOf = (id: string): SQL =>
  sql`(select version from public.agent_prompts where id = ${sql.raw(id)})`;

async function testsOf(tx: Transaction, now: Date): Promise<Listed<RunningTest>> {
  const found = await listed<Omit<Written<RunningTest>, "evidence">>(tx, {
    query: sql`select test.id, agent_name as "agentName", test_name as "testName", hypothesis,
        ${versionOf("control_prompt_id")} as control, ${versionOf("treatment_prompt_id")} as treatment,
        traffic_split::float8 as split, min_sample_size as "minSampleSize", start_date as "startDate"
      from public.ab_tests as test join public.agent_registry as agent on agent.id = test.agent_id
      where test.status = 'running'`,
    order: sql`"startDate", id`,
    most: MOST.tests,
  });
  const shown: RunningTest[] = [];
  for (const test of found.shown) {
    const evidence = await evidenceOverTime(tx, { id: test.id, now, points: POINTS });
    shown.push({ ...test, startDate: new Date(test.startDate), evidence });
  }
  return { ...found, shown };
}

async function shadowsOf(tx: Transaction, now: Date): Promise<Listed<RunningShadow>> {
  const found = await listed<Omit<Written<RunningShadow>, keyof ShadowTestSoFar>>(tx, {
    query: sql`select test.id, agent_name as "agentName", ${versionOf("production_prompt_id")} as production,
        ${versionOf("shadow_prompt_id")} as shadow, start_date as "startDate",
        min_sample_size as "minSampleSize", output_similarity_score::float8 as similarity
      from public.shadow_tests as test join public.agent_registry as agent on agent.id = test.agent_id
      where test.status = 'running'`,
    order: sql`"startDate", id`,
    most: MOST.tests,
  });
  const shown: RunningShadow[] = [];
  for (const test of found.shown) {
    const soFar = await shadowTestSoFar(tx, { id: test.id, now });
    if (soFar) shown.push({ ...test, ...soFar, startDate: new Date(test.startDate) });
  }
  return { ...found, shown };
}

/** Those that go on, and those that ended in the time. */
async function canariesOf(tx: Transaction, { from }: Place): Promise<Listed<CanaryFigures>> {
  type Row = Omit<Written<CanaryFigures>, "stages"> & { stages: unknown; metrics: unknown };
  const found = await listed<Row>(tx, {
    query: sql`select canary.id, canary.agent_id as "agentId", agent_name as "agentName", ${versionOf("current_prompt_id")} as current,
        ${versionOf("canary_prompt_id")} as canary, canary.status, current_stage as stage, stages, stage_metrics as metrics,
        rollback_on_error_rate::float8 as "limit", started_at as "startedAt", coalesce(completed_at, rolled_back_at) as "endedAt",
        rollback_reason as reason
      from public.canary_deployments as canary join public.agent_registry as agent on agent.id = canary.agent_id
      where canary.status in ('pending', 'running', 'paused')
        or coalesce(completed_at, rolled_back_at) >= ${from.toISOString()}::timestamptz`,
    order: sql`"endedAt" desc nulls first, "startedAt" desc, id`,
    most: MOST.tests,
  });
  return mapped(found, ({ metrics, ...canary }) => ({
    ...canary,
    stages: stagesOf(canary.stages, metrics),
    startedAt: instantOf(canary.startedAt),
    endedAt: instantOf(canary.endedAt),
  }));
}

/** Applications may have stages and metrics of their own making: what is not as `stepCanary` writes it is left out. */
function stagesOf(stages: unknown, metrics: unknown): Stage[] {
  const measures = Array.isArray(metrics) ? metrics : [];
  return (Array.isArray(stages) ? stages : []).map((stage: unknown, n) => {
    // A stage that began anew after a pause has several.
    const own: unknown = measures.findLast((measure) => field(measure, "stage") === n + 1);
    const [canary, current] = [armOf(field(own, "canary")), armOf(field(own, "current"))];
    const began = field(own, "started_at");
    return {
      traffic: numberOf(field(stage, "traffic")),
      minutes: numberOf(field(stage, "duration_minutes")) ?? 0,
      startedAt:
        typeof began === "string" && !Number.isNaN(Date.parse(began)) ? new Date(began) : null,
      evidence: numberOf(field(own, "evidence")),
      measured: canary && current ? { canary, current } : null,
    };
  });
}

const field = (of: unknown, name: string): unknown =>
  typeof of === "object" && of !== null ? Reflect.get(of, name) : undefined;

const numberOf = (value: unknown) => (typeof value === "number" ? value : null);

function armOf(measure: unknown): StageArm | undefined {
  const [executions, failures] = [field(measure, "executions"), field(measure, "failures")];
  return typeof executions === "number" && typeof failures === "number"
    ? { executions, failures }
    : undefined;
}

/** Of the agents that are shown, in their order. */
async function storiesOf(
  tx: Transaction,
  agents: readonly AgentFigures[],
): Promise<Listed<PromptExplanation>> {
  const ids = new Map(
    rows<{ agentId: string; id: string }>(
      await tx.execute(
        sql`select agent_id as "agentId", id from public.agent_prompts where is_active`,
      ),
    ).map(({ agentId, id }) => [agentId, id]),
  );
  const shown: PromptExplanation[] = [];
  for (const agent of agents) {
    const promptId = ids.get(agent.id);
    if (promptId === undefined) continue;
    if (shown.length === MOST.stories) break;
    shown.push(await explainPrompt(tx, { promptId }));
  }
  return { shown, leftOut: ids.size - shown.length };
}
