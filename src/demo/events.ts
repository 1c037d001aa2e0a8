/** What happens to the demo fleet in its thirty days, each step by the function that an application calls for it. */
import { type SQL, eq, getTableName, sql } from "drizzle-orm";
import type { PgTable } from "drizzle-orm/pg-core";
import type { Transaction } from "../client/sql.ts";
import { finishAbTest, refreshAbTest, startAbTest } from "../fleet/ab-tests.ts";
import { acknowledgeAlerts, claimAlerts, markAlertsSent } from "../fleet/alerts.ts";
import { acquireExecution } from "../fleet/breaker.ts";
import { refreshBudgets } from "../fleet/budgets.ts";
import { startCanary, stepCanary } from "../fleet/canaries.ts";
import { addDependency } from "../fleet/dependencies.ts";
import { draftEvaluation } from "../fleet/evaluation.ts";
import { keepAlerts } from "../fleet/governance-alerts.ts";
import { refreshHealth } from "../fleet/health.ts";
import { supersedeLearning } from "../fleet/learnings.ts";
import { refreshPromptCounters } from "../fleet/prompt-counters.ts";
import { moveProposal } from "../fleet/proposals.ts";
import { type NewExecution, recordExecutions } from "../fleet/record/record.ts";
import { rollUpMetrics } from "../fleet/rollup.ts";
import { finishShadowTest, refreshShadowTest, startShadowTest } from "../fleet/shadow-tests.ts";
import { measureSlas } from "../fleet/slas.ts";
import * as schema from "../schema/index.ts";
import type { ExecutionStatus, ProposalStatus } from "../values.ts";
import { embeddingRows } from "./embeddings.ts";
import { DEMO_ORGANIZATIONS, FLEET } from "./story.ts";
import {
  type Actor,
  DAY,
  MINUTE,
  actorOf,
  executionOf,
  executionsUntil,
  idOf,
  promptId,
  versionOf,
} from "./traffic.ts";

/** How long the story is. Days. */
const LENGTH = 30;

/** The fleet at the instant of an event. */
interface Scene {
  readonly tx: Transaction;
  readonly now: Date;
  readonly actors: readonly Actor[];
  /** What has run and is recorded before the next event. */
  readonly ran: NewExecution[];
}
/** One agent of it. */
interface Turn extends Scene {
  readonly actor: Actor;
}

/** Something that happens so many days before the end. */
type Event<At = Scene> = readonly [daysAgo: number, happens: (at: At) => Promise<unknown>];

/** Has the fleet live its thirty days, up to an instant. */
export async function live(tx: Transaction, end: Date): Promise<void> {
  const casts = STORIES.map(({ story, events }) => ({
    actor: actorOf(story, { from: daysBefore(end, LENGTH), end }),
    events,
  }));
  const actors = casts.map(({ actor }) => actor);
  const ran: NewExecution[] = [];
  // Of one instant in this order.
  const plan: Event[] = [
    [LENGTH, found],
    ...casts.flatMap(({ actor, events }) =>
      events.map(([daysAgo, happens]): Event => [daysAgo, (at) => happens({ ...at, actor })]),
    ),
    ...UPKEEP,
  ];
  for (const [daysAgo, happens] of plan.toSorted(([a], [b]) => b - a)) {
    const now = daysBefore(end, daysAgo);
    for (const actor of actors) ran.push(...executionsUntil(actor, now));
    await record(tx, now, ran.splice(0));
    await happens({ tx, now, actors, ran });
  }
  await name(tx);
}

const daysBefore = (instant: Date, days: number) =>
  new Date(instant.getTime() - Math.round(days * DAY));
const dayOf = (instant: Date) => instant.toISOString().slice(0, 10);
const emailOf = ({ owner }: Actor) => `${owner}@example.com`;
/** What most rows of an agent begin with. */
const own = ({ id: agentId, organizationId, agentName }: Actor, kind: string, of = "") => {
  return { id: idOf(kind, agentName, of), agentId, organizationId };
};

const record = (tx: Transaction, now: Date, logs: NewExecution[], ticket: Date | null = null) =>
  recordExecutions(tx, logs, { now, breaker: { probe: ticket } });

// ── What a story is made of ──

/** Stores a version of the agent's prompt, made from the live one. */
async function write({ tx, now, actor }: Turn, version: string): Promise<string> {
  const id = promptId(actor, version);
  await tx.insert(schema.agentPrompts).values({
    ...promptOf(actor, version, now),
    parentVersionId: promptId(actor, actor.live),
  });
  const { organization, agentName } = actor;
  const libraryComponentId = idOf("component", organization);
  const use = { id: idOf("use", agentName, version), promptId: id, libraryComponentId };
  await tx.insert(schema.promptLibraryUsage).values(use);
  return id;
}

const promptOf = (actor: Actor, version: string, now: Date) => ({
  ...{ ...own(actor, "prompt", version), version, createdAt: now, createdBy: emailOf(actor) },
  systemPrompt: `You are the ${actor.displayName.toLowerCase()}. ${actor.description}`,
  modelName: versionOf(actor, version).model ?? actor.model,
  changeReason: versionOf(actor, version).reason,
  temperature: 0.2,
});

interface Idea extends Pick<schema.NewImprovementProposal, "title" | "rationale" | "priority"> {
  readonly proposalType?: schema.ImprovementProposal["proposalType"];
  /** The steps that it takes at once. */
  readonly to?: readonly ProposalStatus[];
  readonly reason?: string;
}

async function propose({ tx, now, actor }: Turn, { to = [], reason, ...idea }: Idea) {
  const row = own(actor, "proposal", idea.title);
  const [report] = await tx
    .select({ id: schema.evaluationReports.id })
    .from(schema.evaluationReports)
    .where(eq(schema.evaluationReports.agentId, actor.id))
    .orderBy(sql`report_date desc`)
    .limit(1);
  await tx.insert(schema.improvementProposals).values({
    ...{ ...row, proposalType: "prompt_change", ...idea, createdAt: now },
    ...{ description: `${actor.displayName}: ${idea.title}.`, evaluationReportId: report?.id },
  });
  const by = emailOf(actor);
  for (const step of to) await moveProposal(tx, { id: row.id, to: step, by, reason, now });
}

/** Stores a version and has somebody agree that it is tried. */
async function offer(turn: Turn, version: string, rationale: string): Promise<string> {
  const id = await write(turn, version);
  const { reason: title } = versionOf(turn.actor, version);
  await propose(turn, { title, rationale, priority: "medium", to: ["approved", "testing"] });
  return id;
}

/** Makes a version the live one, or takes it back, by the proposal that it was. */
async function settle({ tx, now, actor }: Turn, version: string, to: "deployed" | "rolled_back") {
  const { id } = own(actor, "proposal", versionOf(actor, version).reason);
  const named = to === "deployed" ? { promptId: promptId(actor, version) } : {};
  const { promotion } = await moveProposal(tx, { id, to, ...named, now });
  actor.trial = undefined;
  return promotion;
}

interface Begun {
  readonly table:
    | typeof schema.abTests
    | typeof schema.shadowTests
    | typeof schema.canaryDeployments;
  readonly begin: Promise<{ readonly id: string }>;
  readonly version: string;
  readonly share: number;
}

/** An experiment that begins, by its name in the story: by its id units fall into its arms. */
async function begun({ tx, now, actor }: Turn, { table, begin, version, share }: Begun) {
  const former = await begin;
  const { id } = own(actor, getTableName(table), version);
  const since = "createdAt" in table ? sql`, created_at = ${now.toISOString()}` : sql``;
  await tx.execute(sql`update ${table} set id = ${id}${since} where id = ${former.id}`);
  return { id, version, share };
}

/** So many executions, one every ten minutes, the last one ten minutes before now. */
async function runEach({ now, actor, ran }: Turn, outcomes: readonly ExecutionStatus[]) {
  for (const [index, outcome] of outcomes.entries()) {
    const start = now.getTime() - (outcomes.length - index) * 10 * MINUTE;
    ran.push(...executionOf(actor, start, outcome));
  }
}

/** As many failures in a row as open a breaker. */
const collapse = (turn: Turn) =>
  runEach(turn, ["failure", "failure", "timeout", "failure", "failure"]);

interface Insight extends Pick<
  schema.NewLearning,
  "learningType" | "confidenceLevel" | "title" | "description"
> {
  /** The title of the one whose place it takes. */
  readonly instead?: string;
}

async function learn({ tx, now, actor }: Turn, { instead, ...insight }: Insight) {
  const row = own(actor, "learning", insight.title);
  const applicableTo = [actor.category, actor.entity];
  await tx.insert(schema.learningLog).values({ ...row, ...insight, applicableTo, createdAt: now });
  if (instead === undefined) return;
  await supersedeLearning(tx, { id: own(actor, "learning", instead).id, by: row.id });
}

// ── The agents ──

/** Tried in the shadow, rolled out in stages, live. Then a version goes live with neither, and is taken back. */
const INVOICES: Event<Turn>[] = [
  [
    28,
    async (turn) => {
      const { tx, now, actor } = turn;
      const shadowPromptId = await offer(turn, "1.1.0", "Half of its failures are credit notes.");
      const asked = { agentId: actor.id, shadowPromptId, sampleRate: 0.6, minSampleSize: 15, now };
      const [table, begin] = [schema.shadowTests, startShadowTest(tx, asked)];
      actor.shadow = await begun(turn, { table, begin, version: "1.1.0", share: 0.6 });
    },
  ],
  [
    24,
    async (turn) => {
      const { tx, now, actor } = turn;
      const { id = "" } = actor.shadow ?? {};
      await finishShadowTest(tx, { id, recommendation: "Roll it out in stages.", now });
      actor.shadow = undefined;
      const stages = [0.5, 0.8].map((traffic) => ({ traffic, duration_minutes: 1440 }));
      const canaryPromptId = promptId(actor, "1.1.0");
      const begin = startCanary(tx, { agentId: actor.id, canaryPromptId, stages, now });
      const table = schema.canaryDeployments;
      actor.trial = await begun(turn, { table, begin, version: "1.1.0", share: 0.5 });
    },
  ],
  [22, (turn) => nextStage(turn, 0.8)],
  [
    20,
    async (turn) => {
      await nextStage(turn, 1);
      await settle(turn, "1.1.0", "deployed");
      turn.actor.live = "1.1.0";
      await learn(turn, {
        ...{ learningType: "optimization", confidenceLevel: "low", title: "More context helps" },
        description: "Credit notes along with the invoice halved the failures: more may help more.",
      });
    },
  ],
  [
    5,
    async (turn) => {
      await write(turn, "1.2.0");
      const title = versionOf(turn.actor, "1.2.0").reason;
      const rationale = "The month ends in a week, and more context helped.";
      await propose(turn, { title, rationale, priority: "high", to: ["approved"] });
      // Straight to all of its traffic, which doubles at the end of the month.
      await settle(turn, "1.2.0", "deployed");
      Object.assign(turn.actor, { live: "1.2.0", pace: 20 });
      turn.actor.rests = turn.now.getTime() + 1.15 * DAY;
    },
  ],
  [3.8, collapse],
  [
    3.6,
    async (turn) => {
      const { actor } = turn;
      await settle(turn, "1.2.0", "rolled_back");
      actor.live = "1.1.0";
      for (const minutes of [0, 10, 20]) await probe(turn, minutes);
      const { pace } = FLEET.invoices;
      Object.assign(actor, { pace, next: turn.now.getTime() + 30 * MINUTE, rests: undefined });
      await learn(turn, {
        ...{ learningType: "anti_pattern", confidenceLevel: "high" },
        title: "No version goes live untried",
        description: "1.2.0 overran the model's context and tripled the cost within a day.",
        instead: "More context helps",
      });
    },
  ],
  [
    0.3,
    (turn) =>
      propose(turn, {
        ...{ title: "Send the last three invoices along", proposalType: "config_change" },
        ...{ rationale: "Most of the gain at a third of the tokens.", priority: "high" },
      }),
  ],
];

/** Takes the canary to its next stage, or has it complete. */
async function nextStage({ tx, now, actor }: Turn, share: number): Promise<void> {
  if (!actor.trial) return;
  const { action, reason } = await stepCanary(tx, { id: actor.trial.id, minExecutions: 3, now });
  if (reason !== null)
    throw new Error(`the demo's canary of ${actor.agentName} ${action}: ${reason}`);
  actor.trial = { ...actor.trial, share };
}

/** One execution that the open breaker lets out, so many minutes after now. */
async function probe({ tx, now, actor }: Turn, minutes: number): Promise<void> {
  const start = now.getTime() + minutes * MINUTE;
  const ticket = await acquireExecution(tx, { agentId: actor.id, now: new Date(start) });
  const ended = new Date(start + 2 * MINUTE);
  await record(tx, ended, executionOf(actor, start, "success"), ticket.probe);
}

/** A test that runs, and is nearly sure. */
const LEADS: Event<Turn>[] = [
  [12, (turn) => compare(turn, "A third of the price.")],
  [0, (turn) => runEach(turn, ["success", "success"])],
  [0, async ({ tx, now, actor }) => refreshAbTest(tx, { id: actor.trial?.id ?? "", now })],
];

/** Begins to share the traffic between 1.0.0 and 1.1.0. */
async function compare(turn: Turn, rationale: string): Promise<void> {
  const { tx, now, actor } = turn;
  const treatmentPromptId = await offer(turn, "1.1.0", rationale);
  const { reason } = versionOf(actor, "1.1.0");
  const begin = startAbTest(tx, {
    ...{ agentId: actor.id, treatmentPromptId, testName: `${actor.agentName} 1.1.0`, now },
    ...{ hypothesis: `“${reason}” makes more executions succeed.`, minSampleSize: 40 },
    improvementProposalId: own(actor, "proposal", reason).id,
  });
  const table = schema.abTests;
  actor.trial = await begun(turn, { table, begin, version: "1.1.0", share: 0.5 });
}

/** A test that had a winner, which is live. It is dear all the same. */
const CONTRACTS: Event<Turn>[] = [
  [28, (turn) => compare(turn, "Long contracts overrun the context.")],
  [
    12,
    async (turn) => {
      const { tx, now, actor } = turn;
      const conclusionSummary = "Clause by clause removes nearly all overruns.";
      await finishAbTest(tx, { id: actor.trial?.id ?? "", conclusionSummary, now });
      await settle(turn, "1.1.0", "deployed");
      actor.live = "1.1.0";
      await learn(turn, {
        ...{ learningType: "success_pattern", confidenceLevel: "proven" },
        title: "Clause by clause beats the whole text",
        description: "Working clause by clause removes most overruns and raises the quality.",
      });
    },
  ],
  [
    0.3,
    (turn) =>
      propose(turn, {
        ...{ title: "Give short contracts to a smaller model", proposalType: "config_change" },
        ...{ rationale: "They score the same at a fifth of the price.", priority: "high" },
        to: ["approved"],
      }),
  ],
  [0, (turn) => runEach(turn, ["success", "success"])],
];

/** A canary in the second of its three stages, and an execution that runs. */
const SHIPMENTS: Event<Turn>[] = [
  [
    3,
    async (turn) => {
      const { tx, now, actor } = turn;
      const canaryPromptId = await offer(turn, "1.1.0", "Customers ask again less often.");
      const stages = [0.2, 0.5, 1].map((traffic) => ({ traffic, duration_minutes: 1440 }));
      const begin = startCanary(tx, { agentId: actor.id, canaryPromptId, stages, now });
      const table = schema.canaryDeployments;
      actor.trial = await begun(turn, { table, begin, version: "1.1.0", share: 0.2 });
    },
  ],
  [1.5, (turn) => nextStage(turn, 0.5)],
  [
    0,
    async ({ tx, now, actor, ran }) => {
      await stepCanary(tx, { id: actor.trial?.id ?? "", now });
      ran.push(...executionOf(actor, now.getTime() - 6000, "running"));
    },
  ],
];

/** A shadow test; and an expired token, by which the breaker is open at the end. */
const CHURN: Event<Turn>[] = [
  [
    6,
    async (turn) => {
      const { tx, now, actor } = turn;
      const shadowPromptId = await write(turn, "1.1.0");
      await propose(turn, {
        ...{ title: "One agent for each region", proposalType: "architecture_change" },
        ...{ rationale: "Offers differ between regions.", priority: "low", to: ["rejected"] },
        reason: "A routing rule gives the same with one agent.",
      });
      const asked = { agentId: actor.id, shadowPromptId, sampleRate: 0.4, minSampleSize: 30, now };
      const [table, begin] = [schema.shadowTests, startShadowTest(tx, asked)];
      actor.shadow = await begun(turn, { table, begin, version: "1.1.0", share: 0.4 });
      actor.rests = now.getTime() + 5.95 * DAY;
    },
  ],
  [0.003, collapse],
  [0, async ({ tx, now, actor }) => refreshShadowTest(tx, { id: actor.shadow?.id ?? "", now })],
];

const STORIES = [
  { story: FLEET.invoices, events: INVOICES },
  { story: FLEET.leads, events: LEADS },
  { story: FLEET.contracts, events: CONTRACTS },
  { story: FLEET.shipments, events: SHIPMENTS },
  { story: FLEET.churn, events: CHURN },
];

// ── The fleet ──

async function found(scene: Scene): Promise<void> {
  const { tx, now, actors } = scene;
  await tx.insert(schema.agentRegistry).values(
    actors.map((actor) => ({
      ...{ id: actor.id, organizationId: actor.organizationId, createdAt: now, updatedAt: now },
      ...{ agentName: actor.agentName, displayName: actor.displayName, status: actor.status },
      ...{ description: actor.description, category: actor.category, ownerEmail: emailOf(actor) },
      ...{ slackChannel: `#${actor.agentName}`, targetSuccessRate: 100 * actor.sla.success },
    })),
  );
  const isFirst = { isActive: true, isBaseline: true };
  await tx
    .insert(schema.agentPrompts)
    .values(actors.map((actor) => ({ ...promptOf(actor, actor.live, now), ...isFirst })));
  await tx.insert(schema.promptLibrary).values(
    Object.entries(DEMO_ORGANIZATIONS).map(([key, { id: organizationId }]) => ({
      ...{ id: idOf("component", key), organizationId, name: `${key}-facts`, createdAt: now },
      ...{ category: "system_instruction" as const, content: "State only what a record says." },
    })),
  );
  await tx.insert(schema.promptLibraryUsage).values(
    actors.map((actor) => ({
      ...{ id: idOf("use", actor.agentName), promptId: promptId(actor, actor.live) },
      libraryComponentId: idOf("component", actor.organization),
    })),
  );
  await promise(scene);
  const [invoices, leads, contracts, shipments] = actors;
  const needs = [
    { up: leads, down: invoices, dependencyType: "data" },
    { up: contracts, down: shipments, dependencyType: "approval", isCritical: true },
  ] as const;
  for (const { up, down, ...kind } of needs) {
    const [upstreamAgentId = "", downstreamAgentId = ""] = [up?.id, down?.id];
    await addDependency(tx, { upstreamAgentId, downstreamAgentId, ...kind });
  }
}

/** What is promised of each agent, when it is to rest, what it may cost, and which model answers. */
async function promise({ tx, now, actors }: Scene): Promise<void> {
  await tx.insert(schema.agentSlas).values(
    actors.map((actor) => ({
      ...{ ...own(actor, "SLA"), measurementWindow: actor.sla.window, createdAt: now },
      ...{ targetAvailability: 0.99, targetSuccessRate: actor.sla.success },
      ...{ targetP95LatencyMs: actor.sla.p95, targetQualityScore: 75 },
    })),
  );
  await tx
    .insert(schema.circuitBreakerState)
    .values(actors.map((actor) => ({ ...own(actor, "breaker"), cooldownSeconds: 1800 })));
  const limits = ({ daily, monthly }: Actor["budget"]) => ({
    ...{ dailyBudgetUsd: daily.toFixed(2), monthlyBudgetUsd: monthly.toFixed(2), updatedAt: now },
    ...{ onDailyExceeded: "alert" as const, onMonthlyExceeded: "downgrade_model" as const },
  });
  await tx.insert(schema.costBudgets).values([
    ...actors.map((actor) => ({ ...own(actor, "budget"), ...limits(actor.budget) })),
    ...Object.entries(DEMO_ORGANIZATIONS).map(([key, { id: organizationId }]) => ({
      ...{ id: idOf("budget", key), organizationId, agentId: null },
      ...limits({ daily: 8, monthly: 150 }),
    })),
  ]);
  await tx.insert(schema.modelRoutingRules).values(
    actors.map((actor) => ({
      ...{ ...own(actor, "routing rule"), conditionType: "topic", conditionOperator: "=" },
      ...{ conditionValue: actor.route.topic, targetModel: actor.route.model },
      ...{ fallbackModel: actor.model, createdAt: now },
    })),
  );
}

/** What is done on every day. */
const UPKEEP: Event[] = [
  [6, evaluate],
  [3.8, govern],
  [3.6, takeOn],
  [3, govern],
  [0.3, evaluate],
  [0, govern],
  [0, sumUp],
];

/** What `runGovernance` does in a round, in this transaction: health, service levels, budgets, and alerts of what it finds. */
async function govern({ tx, now }: Scene): Promise<void> {
  await refreshHealth(tx, { now });
  await measureSlas(tx, { now });
  await refreshBudgets(tx, { now });
  await keepAlerts(tx, { now, abTests: [] });
  const alerts = await claimAlerts(tx, { channel: "slack", now });
  await markAlertsSent(tx, { channel: "slack", alerts, now });
}

/** Somebody takes on what is open. */
async function takeOn({ tx, now, actors }: Scene): Promise<void> {
  const open = await tx.select({ id: schema.alertHistory.id }).from(schema.alertHistory);
  const by = actors.map(emailOf)[0] ?? "";
  await acknowledgeAlerts(tx, { ids: open.map(({ id }) => id), by, now });
}

/** Reports on the seven days that have passed. */
async function evaluate({ tx, now, actors }: Scene): Promise<void> {
  const [from, to] = [dayOf(daysBefore(now, 7)), dayOf(daysBefore(now, 1))];
  const reports: schema.NewEvaluationReport[] = [];
  for (const actor of actors) {
    const draft = await draftEvaluation(tx, { agentId: actor.id, from, to, now });
    const isReliable = (draft.reliabilityScore ?? 0) >= 90;
    reports.push({
      ...{ ...draft, ...own(actor, "report", from), createdAt: now },
      [isReliable ? "strengths" : "weaknesses"]: ["reliability"],
      executiveSummary: `${actor.displayName}: ${draft.overallScore} of 100.`,
    });
  }
  await tx.insert(schema.evaluationReports).values(reports);
}

/** The night's jobs, embeddings of the last executions, and what the application says of its agents itself. */
async function sumUp({ tx, now, actors }: Scene): Promise<void> {
  await rollUpMetrics(tx, { from: dayOf(daysBefore(now, LENGTH)), to: dayOf(now) });
  await refreshPromptCounters(tx);
  await tx.insert(schema.executionEmbeddings).values(embeddingRows(actors));
  await tx.execute(sql`
    update ${schema.agentRegistry} as agent set consecutive_failures = failure_count,
      current_health_score = 100 * (1 - coalesce(error_rate_1h, 0)), last_health_check = timestamp
    from ${schema.circuitBreakerState} as breaker, ${schema.agentHealthRealtime} as health
    where breaker.agent_id = agent.id and health.agent_id = agent.id`);
  await tx.execute(sql`update ${schema.agentDependencies} set created_at = (
    select created_at from ${schema.agentRegistry} as agent where agent.id = upstream_agent_id)`);
}

/** What tells apart the rows that functions have made. */
const KEYS: readonly (readonly [table: PgTable, key: SQL])[] = [
  [schema.agentHealthRealtime, sql`agent_id`],
  [schema.agentDependencies, sql`upstream_agent_id, downstream_agent_id`],
  [schema.agentPerformanceMetrics, sql`prompt_version_id, date`],
  [schema.slaCompliance, sql`sla_id, period_end`],
  [
    schema.alertHistory,
    sql`details ->> 'dedup_key', agent_id, organization_id, extract(epoch from created_at)`,
  ],
];

/** Gives these rows ids that are the same each time. */
async function name(tx: Transaction): Promise<void> {
  for (const [table, key] of KEYS) {
    const words = sql`'meta-agent-db demo', ${getTableName(table)}::text, concat_ws(' ', ${key})`;
    await tx.execute(sql`update ${table} set id = meta_agent.uuid_for(${words})`);
  }
}
