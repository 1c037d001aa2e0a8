/** The rows of the demo fleet, made from its story: the same, ids included, on every machine and every day. */
import { createHash } from "node:crypto";
import type { Transaction } from "../client/sql.ts";
import * as schema from "../schema/index.ts";
import { EXECUTION_STATUSES, type ExecutionStatus, type ProposalStatus } from "../values.ts";
import {
  type Action,
  DEMO_NOW,
  DEMO_ORGANIZATIONS,
  DEPENDENCIES,
  EMBEDDED,
  ERRORS,
  FLEET,
  LIBRARY,
  ORGANIZATION_BUDGET,
  PRICES,
  type ProposalStory,
  ROUTING,
  type Story,
  TIMEOUT,
  type Version,
  WEEKS,
  type Week,
} from "./story.ts";

// ── Time, chance and names ──

const NOW = Date.parse(DEMO_NOW);
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const daysAgo = (days: number) => new Date(NOW - Math.round(days * DAY));
const hoursAfter = (instant: Date, hours: number) => new Date(instant.getTime() + hours * HOUR);
const dayOf = (instant: Date) => instant.toISOString().slice(0, 10);
const BEGINNING = daysAgo(16);

type Name = (string | number)[];
const digest = (name: Name) => createHash("sha256").update(name.join(" ")).digest("hex");

/** The same uuid for the same name, in the form of version 4. */
function idOf(...name: Name): string {
  const hex = digest(name);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** In the form of version 7, for a row of that instant: the order of ids is the order of time. */
function timedIdOf(instant: number, ...name: Name): string {
  const time = instant.toString(16).padStart(12, "0");
  return `${time.slice(0, 8)}-${time.slice(8)}-7${idOf(...name).slice(15)}`;
}

type Chance = () => number;

/** Numbers in [0, 1) that depend on the name alone (mulberry32). */
function chanceOf(...name: Name): Chance {
  let state = Number.parseInt(digest(name).slice(0, 8), 16);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Normally distributed, near enough: a sum, which is the same on every machine to the last bit. */
const normal = (chance: Chance) => sum(Array.from({ length: 12 }, chance)) - 6;

/** Log-normal around a typical value, rounded to whole numbers. */
const spread = (chance: Chance, typical: number, sigma: number) =>
  Math.round(typical * Math.exp(sigma * normal(chance)));

/** In [0, 1), small values more often. */
const skewed = (chance: Chance) => chance() * chance();

/** One of a list, the first ones more often. */
const pick = <T>(chance: Chance, list: readonly T[]): T =>
  known(list[Math.floor(skewed(chance) * list.length)], "choice");

export function known<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`the demo's story has no ${what}`);
  return value;
}

const round = (value: number, decimals = 2) => Math.round(value * 10 ** decimals) / 10 ** decimals;
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const average = (values: readonly number[]) =>
  values.length === 0 ? null : round(sum(values) / values.length);
const present = <T>(values: readonly (T | null)[]) => values.filter((value) => value !== null);

/** An exact decimal of whole millionths of a dollar, and back. */
const dollars = (millionths: number) => (millionths / 1e6).toFixed(6);
const millionths = (usd: string) => Math.round(Number(usd) * 1e6);

// ── Executions ──

interface Log extends schema.AgentExecutionLog {
  inputData: schema.JsonObject & { topic: string };
}

/** One execution: its log rows and how it ended. */
interface Run {
  start: number;
  outcome: ExecutionStatus;
  logs: Log[];
}

/** An agent of the story with all that it did, the oldest first. */
interface Member extends Story {
  runs: Run[];
  logs: Log[];
}

/** What every row of an agent begins with. */
export const rowOf = ({ name, organization }: Story, kind: string, ...key: Name) => ({
  id: idOf(kind, name, ...key),
  organizationId: DEMO_ORGANIZATIONS[organization].id,
  agentId: idOf("agent", name),
});
const promptId = ({ name }: Story, { version }: Version) => idOf("prompt", name, version);
const ownerEmail = ({ owner }: Story) => `${owner}@example.com`;

/** The version that served most executions at an instant. */
function liveVersion({ name, versions }: Story, instant: number): Version {
  const isLive = ({ live }: Version) => live !== undefined && +daysAgo(live) <= instant;
  return known(versions.findLast(isLive), `version of ${name}`);
}
const activeVersion = (story: Story) => liveVersion(story, NOW);
const candidateOf = ({ name, versions, trial }: Story): Version =>
  known(
    versions.find(({ version }) => version === trial.candidate),
    `candidate of ${name}`,
  );

function servingVersion(story: Story, instant: number, chance: Chance): Version {
  const { kind, from, until = 0, share } = story.trial;
  const isTrial = kind !== "shadow_test" && instant >= +daysAgo(from) && instant < +daysAgo(until);
  return isTrial && chance() < share ? candidateOf(story) : liveVersion(story, instant);
}

/** An agent's executions, the newest first: a busy last two hours, a steady pace before. */
function* startsOf(story: Story): Generator<{ start: number; scripted?: ExecutionStatus }> {
  const { ending = {}, idle, actions } = story;
  const last = EXECUTION_STATUSES.flatMap((scripted) =>
    (ending[scripted] ?? []).map((minutes) => ({ start: NOW - minutes * MINUTE, scripted })),
  );
  yield* last.toSorted((a, b) => b.start - a.start);
  const chance = chanceOf("pace", story.name);
  const pace = (16 * DAY * actions.length) / story.rows;
  for (let start = NOW - idle * MINUTE; ;) {
    yield { start: Math.round(start) };
    start -= (0.5 + chance()) * (start > NOW - 2 * HOUR ? 8 * MINUTE : pace);
  }
}

function memberOf(story: Story): Member {
  const runs: Run[] = [];
  let left = story.rows;
  for (const { start, scripted } of startsOf(story)) {
    const logs = logsOf(story, start, scripted).slice(0, left);
    runs.unshift({ start, outcome: outcomeOf(logs), logs });
    left -= logs.length;
    if (left === 0) break;
  }
  return { ...story, runs, logs: runs.flatMap(({ logs }) => logs) };
}

/** How an execution ended that has these rows. */
function outcomeOf(logs: Log[]): ExecutionStatus {
  const precedence = ["failure", "timeout", "cancelled", "running"] as const;
  return precedence.find((outcome) => logs.some(({ status }) => status === outcome)) ?? "success";
}

/** The rows of one execution: actions that succeed, up to the one that decides how it ends. */
function logsOf(story: Story, start: number, scripted?: ExecutionStatus): Log[] {
  const chance = chanceOf("run", story.name, start);
  const version = servingVersion(story, start, chance);
  const decline =
    story.decline && start > +daysAgo(story.decline.since) ? story.decline : undefined;
  const outcome = scripted ?? drawOutcome(chance, decline?.failing ?? version.failing);
  const { length } = story.actions;
  const steps = outcome === "success" ? length : length - Math.floor(skewed(chance) * length);
  const subject = { topic: pick(chance, story.topics), number: 1000 + Math.floor(chance() * 9000) };
  const logs: Log[] = [];
  let at = start;
  for (const [step, action] of story.actions.slice(0, steps).entries()) {
    const status = step === steps - 1 ? outcome : "success";
    const isDone = step === length - 1 && status === "success";
    const log: Log = {
      ...rowOf(story, "log", start, step),
      id: timedIdOf(at, "log", story.name, start, step),
      promptVersionId: promptId(story, version),
      executionId: idOf("execution", story.name, start),
      timestamp: new Date(at),
      actionType: action.type,
      actionName: action.name,
      inputData: { [story.entity]: subject.number, topic: subject.topic },
      outputData: status === "success" ? { [action.name]: "done" } : null,
      ...measured(story.model, action, { status, chance, slower: decline?.slower ?? 1 }),
      status,
      ...errorOf(story.errors, status, chance),
      relatedEntityType: story.entity,
      relatedEntityId: idOf(story.entity, story.name, subject.number),
      userId: null,
      ...(isDone ? judged(story, version, at, chance) : UNJUDGED),
      metadata: {},
      modelName: action.tokens ? story.model : null,
    };
    logs.push(log);
    at += log.latencyMs ?? 0;
  }
  return logs;
}

function drawOutcome(chance: Chance, failing: number): ExecutionStatus {
  const draw = chance();
  if (draw < failing) return chance() < 0.2 ? "timeout" : "failure";
  return draw < failing + 0.008 ? "cancelled" : "success";
}

function measured(
  model: Story["model"],
  { ms, tokens }: Action,
  { status, chance, slower }: { status: ExecutionStatus; chance: Chance; slower: number },
) {
  if (status === "running") return UNMEASURED;
  const latencyMs = status === "timeout" ? TIMEOUT.ms : spread(chance, ms * slower, 0.45);
  if (!tokens) return { ...UNMEASURED, latencyMs };
  const input = spread(chance, tokens.input, 0.25);
  const output = status === "success" ? spread(chance, tokens.output, 0.35) : 0;
  const price = PRICES[model];
  return {
    latencyMs,
    tokenCountInput: input,
    tokenCountOutput: output,
    estimatedCostUsd: dollars(input * price.input + output * price.output),
  };
}
const UNMEASURED = {
  latencyMs: null,
  tokenCountInput: null,
  tokenCountOutput: null,
  estimatedCostUsd: null,
};

function errorOf(errors: Story["errors"], status: ExecutionStatus, chance: Chance) {
  const none = { errorMessage: null, errorType: null, errorStackTrace: null };
  if (status === "timeout") {
    return { ...none, errorMessage: TIMEOUT.message, errorType: TIMEOUT.type };
  }
  if (status !== "failure") return none;
  const type = pick(chance, errors);
  return { ...none, errorMessage: ERRORS[type], errorType: type === "unknown" ? null : type };
}

/** Most finished executions are scored, some are reviewed by the owner hours later. */
function judged(story: Story, version: Version, at: number, chance: Chance) {
  const score = Math.min(100, round(version.quality + 6 * normal(chance), 1));
  const reviewedAt = hoursAfter(new Date(at), 1 + Math.floor(20 * chance()));
  const isReviewed = chance() < 0.1 && +reviewedAt < NOW;
  return {
    qualityScore: chance() < 0.8 ? score : null,
    qualityFeedback: isReviewed ? (score < 80 ? "Needs rework." : "Good as it is.") : null,
    reviewedBy: isReviewed ? ownerEmail(story) : null,
    reviewedAt: isReviewed ? reviewedAt : null,
  };
}
const UNJUDGED = { qualityScore: null, qualityFeedback: null, reviewedBy: null, reviewedAt: null };

// ── What the log adds up to ──

/** Log rows of a period, summed up as `rollUpMetrics` does. */
interface Tally {
  runs: number;
  successful: number;
  failed: number;
  timeout: number;
  reviewed: number;
  /** Successful ÷ (successful + failed + timeout). */
  successRate: number | null;
  /** Milliseconds, ascending. */
  latencies: number[];
  /** US dollars. */
  cost: string;
  tokensInput: number;
  tokensOutput: number;
  quality: number | null;
  /** Failed rows by error type, the most common first. */
  errors: [type: string, count: number][];
}

function tally(logs: Log[]): Tally {
  const runs = [...groupBy(logs, ({ executionId }) => executionId).values()];
  const outcomes = runs.map(outcomeOf);
  const countOf = (outcome: ExecutionStatus) => outcomes.filter((one) => one === outcome).length;
  const successful = countOf("success");
  const failed = countOf("failure");
  const timeout = countOf("timeout");
  const decided = successful + failed + timeout;
  const failures = logs.filter(({ status }) => status === "failure");
  const errors = groupBy(failures, ({ errorType }) => errorType ?? "unknown");
  return {
    runs: runs.length,
    successful,
    failed,
    timeout,
    reviewed: runs.filter((run) => run.some(({ reviewedAt }) => reviewedAt)).length,
    successRate: decided === 0 ? null : successful / decided,
    latencies: present(logs.map(({ latencyMs }) => latencyMs)).toSorted((a, b) => a - b),
    cost: dollars(sum(present(logs.map((log) => log.estimatedCostUsd)).map(millionths))),
    tokensInput: sum(present(logs.map(({ tokenCountInput }) => tokenCountInput))),
    tokensOutput: sum(present(logs.map(({ tokenCountOutput }) => tokenCountOutput))),
    quality: average(present(logs.map(({ qualityScore }) => qualityScore))),
    errors: [...errors]
      .map(([type, list]): [string, number] => [type, list.length])
      .toSorted(([a, left], [b, right]) => right - left || (a < b ? -1 : 1)),
  };
}

function groupBy<T>(list: T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of list) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}

/** As percentile_cont: between two values, in proportion. */
function percentile(ascending: number[], share: number): number | null {
  const position = (ascending.length - 1) * share;
  const [below, above] = [ascending[Math.floor(position)], ascending[Math.ceil(position)]];
  if (below === undefined || above === undefined) return null;
  return round(below + (above - below) * (position - Math.floor(position)));
}

/** Rows from one instant, inclusive, to another, exclusive. */
const between = (logs: Log[], from: Date, to = new Date(NOW)) =>
  logs.filter(({ timestamp }) => timestamp >= from && timestamp < to);
const ofVersion = (member: Member, version: Version) =>
  member.logs.filter((log) => log.promptVersionId === promptId(member, version));
const errorRate = ({ successRate }: Tally) =>
  successRate === null ? null : round(1 - successRate, 4);
const successRatio = ({ successRate }: Tally) =>
  successRate === null ? null : round(successRate, 4);

// ── Governance and monitoring ──

function agentRow(member: Member): schema.NewAgent {
  const { successRate } = tally(between(member.logs, daysAgo(1)));
  const { agentId: id, organizationId } = rowOf(member, "agent");
  return {
    id,
    organizationId,
    agentName: member.name,
    displayName: member.displayName,
    description: member.description,
    category: member.category,
    version: activeVersion(member).version,
    status: member.status,
    ownerEmail: ownerEmail(member),
    slackChannel: `#${member.name}`,
    targetSuccessRate: 100 * member.sla.success,
    targetAvgLatencyMs: targetLatency(member),
    currentHealthScore: round(100 * (successRate ?? 1)),
    lastHealthCheck: new Date(NOW),
    consecutiveFailures: breakerRow(member).failureCount,
    createdAt: BEGINNING,
    updatedAt: new Date(NOW),
  };
}

function promptRows(member: Member): schema.NewAgentPrompt[] {
  return member.versions.map((version, index): schema.NewAgentPrompt => {
    const { runs, successful, quality } = tally(ofVersion(member, version));
    const parent = member.versions[index - 1];
    return {
      ...rowOf(member, "prompt", version.version),
      version: version.version,
      systemPrompt: `You are the ${member.displayName.toLowerCase()}. ${member.description}`,
      toolDefinitions: member.actions.filter(({ tokens }) => !tokens).map(({ name }) => ({ name })),
      fewShotExamples: member.topics.map((topic) => ({ input: { topic }, output: "done" })),
      modelName: member.model,
      temperature: 0.2,
      isActive: version === activeVersion(member),
      isBaseline: index === 0,
      parentVersionId: parent ? promptId(member, parent) : null,
      totalExecutions: runs,
      successfulExecutions: successful,
      avgQualityScore: quality,
      // A candidate is written shortly before its trial.
      createdAt: daysAgo(
        version === candidateOf(member) ? member.trial.from + 0.5 : (version.live ?? 0),
      ),
      createdBy: ownerEmail(member),
      changeReason: version.reason,
    };
  });
}

const metricRows = (member: Member): schema.NewAgentPerformanceMetric[] =>
  member.versions.flatMap((version) =>
    [...groupBy(ofVersion(member, version), ({ timestamp }) => dayOf(timestamp))].map(
      ([date, logs]) => metricRow(member, version, { date, ...tally(logs) }),
    ),
  );

function metricRow(
  member: Member,
  version: Version,
  day: Tally & { date: string },
): schema.NewAgentPerformanceMetric {
  return {
    ...rowOf(member, "metric", version.version, day.date),
    promptVersionId: promptId(member, version),
    date: day.date,
    totalExecutions: day.runs,
    successfulExecutions: day.successful,
    failedExecutions: day.failed,
    timeoutExecutions: day.timeout,
    avgLatencyMs: average(day.latencies),
    p50LatencyMs: percentile(day.latencies, 0.5),
    p95LatencyMs: percentile(day.latencies, 0.95),
    p99LatencyMs: percentile(day.latencies, 0.99),
    totalCostUsd: day.cost,
    costPerExecution: dollars(Math.round(millionths(day.cost) / day.runs)),
    totalTokensInput: day.tokensInput,
    totalTokensOutput: day.tokensOutput,
    avgQualityScore: day.quality,
    humanInterventions: day.reviewed,
    uniqueErrorTypes: day.errors.length,
    mostCommonError: day.errors[0]?.[0] ?? null,
    errorDistribution: Object.fromEntries(day.errors),
  };
}

const BREAKER = { failureThreshold: 5, successThreshold: 3, cooldownSeconds: 1800 };

interface Breaker extends schema.NewCircuitBreaker {
  failureCount: number;
  successCount: number;
}

/** The breaker as all executions have left it. */
function breakerRow(member: Member): Breaker {
  const row = rowOf(member, "breaker");
  const breaker: Breaker = {
    ...row,
    state: "closed",
    failureCount: 0,
    successCount: 0,
    ...BREAKER,
  };
  for (const run of member.runs) {
    if (run.outcome === "success") succeed(breaker, run);
    if (run.outcome === "failure" || run.outcome === "timeout") fail(breaker, run);
  }
  return breaker;
}

const endOf = ({ logs }: Run) => known(logs.at(-1), "row of an execution").timestamp;

function succeed(breaker: Breaker, run: Run): void {
  breaker.lastSuccessAt = endOf(run);
  breaker.failureCount = 0;
  if (breaker.state === "open") {
    breaker.state = "half_open";
    breaker.halfOpenAt = new Date(run.start);
  }
  if (breaker.state === "half_open") breaker.successCount += 1;
  if (breaker.successCount === BREAKER.successThreshold) {
    breaker.state = "closed";
    breaker.successCount = 0;
  }
}

function fail(breaker: Breaker, run: Run): void {
  breaker.lastFailureAt = endOf(run);
  breaker.failureCount += 1;
  breaker.successCount = 0;
  if (breaker.state === "closed" && breaker.failureCount < BREAKER.failureThreshold) return;
  breaker.state = "open";
  breaker.openedAt = endOf(run);
  breaker.halfOpenAt = null;
}

function healthRow(member: Member): schema.NewAgentHealth {
  const five = tally(between(member.logs, new Date(NOW - 5 * MINUTE)));
  const hour = tally(between(member.logs, new Date(NOW - HOUR)));
  const breaker = breakerRow(member);
  const isDegraded = breaker.state === "half_open" || (errorRate(hour) ?? 0) > 0.2;
  return {
    ...rowOf(member, "health"),
    timestamp: new Date(NOW),
    executions5m: five.runs,
    failures5m: five.failed + five.timeout,
    avgLatency5m: average(five.latencies),
    errorRate5m: errorRate(five),
    executions1h: hour.runs,
    failures1h: hour.failed + hour.timeout,
    avgLatency1h: average(hour.latencies),
    errorRate1h: errorRate(hour),
    status: breaker.state === "open" ? "critical" : isDegraded ? "degraded" : "healthy",
    lastSuccessfulExecution: breaker.lastSuccessAt,
    lastFailedExecution: breaker.lastFailureAt,
    circuitState: breaker.state,
    circuitOpenedAt: breaker.openedAt,
  };
}

// ── Evaluation and safety ──

/** Milliseconds: a fifth above the average of what its actions typically take. */
const targetLatency = ({ actions }: Story) =>
  Math.round((1.2 * sum(actions.map(({ ms }) => ms))) / actions.length);

const instantOf = (day: string) => new Date(`${day}T00:00:00Z`);
/** A week is reported on the morning after its last day. */
const reportedAt = ({ end }: Week) => hoursAfter(instantOf(end), 30);
const tallyOf = ({ logs }: Member, { start, end }: Week) =>
  tally(between(logs, instantOf(start), hoursAfter(instantOf(end), 24)));

/** Percent. What keeps to its target is 100, what takes twice as much is 50. */
function scoresOf(member: Member, week: Week) {
  const { successRate, latencies, quality, cost } = tallyOf(member, week);
  const against = (goal: number, actual: number) => Math.min(100, round((100 * goal) / actual, 1));
  return {
    reliability: round(100 * (successRate ?? 1)),
    efficiency: against(targetLatency(member), average(latencies) ?? 1),
    costEfficiency: against((member.budget.monthly * 7) / 31, Number(cost)),
    quality: quality ?? 0,
  };
}

function reportRows(member: Member): schema.NewEvaluationReport[] {
  const overallOf = (week: Week) => average(Object.values(scoresOf(member, week))) ?? 0;
  return WEEKS.map((week, index): schema.NewEvaluationReport => {
    const scores = scoresOf(member, week);
    const overall = overallOf(week);
    const previous = WEEKS[index - 1];
    const weaknesses = Object.entries(scores).flatMap(([aspect, score]) =>
      score < 85 ? [aspect] : [],
    );
    return {
      ...rowOf(member, "report", week.start),
      reportDate: dayOf(reportedAt(week)),
      evaluationPeriodStart: week.start,
      evaluationPeriodEnd: week.end,
      overallScore: overall,
      reliabilityScore: scores.reliability,
      efficiencyScore: scores.efficiency,
      costEfficiencyScore: scores.costEfficiency,
      qualityScore: scores.quality,
      strengths: Object.keys(scores).filter((aspect) => !weaknesses.includes(aspect)),
      weaknesses,
      riskLevel: overall >= 90 ? "low" : overall >= 80 ? "medium" : "high",
      recommendations: weaknesses.map((aspect) => ({ title: `Look into ${aspect}` })),
      scoreChangeVsPrevious: previous ? round(overall - overallOf(previous)) : null,
      executiveSummary: `${member.displayName}: ${overall} of 100.`,
      createdAt: reportedAt(week),
    };
  });
}

/** A trial's two versions and what each did meanwhile. */
function trialOf(member: Member) {
  const start = daysAgo(member.trial.from);
  const end = member.trial.until === undefined ? null : daysAgo(member.trial.until);
  const current = liveVersion(member, +start);
  const candidate = candidateOf(member);
  const during = (version: Version) => between(ofVersion(member, version), start, end ?? undefined);
  return {
    start,
    end,
    currentId: promptId(member, current),
    candidateId: promptId(member, candidate),
    candidate,
    control: tally(during(current)),
    treatment: tally(during(candidate)),
  };
}

const isDeployed = (member: Story) => activeVersion(member) === candidateOf(member);

function trialStatus(member: Member): ProposalStatus {
  if (member.trial.until === undefined) return "testing";
  if (isDeployed(member)) return "deployed";
  return member.trial.kind === "canary" ? "rolled_back" : "rejected";
}

/** The proposal that led to the trial. */
function trialProposal(member: Member): ProposalStory {
  const status = trialStatus(member);
  return {
    proposalType: "prompt_change",
    status,
    priority: "medium",
    title: candidateOf(member).reason,
    rationale: "Expected to raise quality and to fail less often.",
    daysAgo: member.trial.from + 0.5,
    ...(status === "rejected" && { rejectionReason: "No better than the version in use." }),
  };
}
const trialProposalId = (member: Member) =>
  idOf("proposal", member.name, candidateOf(member).reason);

const proposalRows = (member: Member): schema.NewImprovementProposal[] =>
  [trialProposal(member), ...member.proposals].map((story) => proposalRow(member, story));

function proposalRow(
  member: Member,
  { daysAgo: age, ...story }: ProposalStory,
): schema.NewImprovementProposal {
  const createdAt = daysAgo(age);
  const report = WEEKS.findLast((week) => reportedAt(week) <= createdAt);
  const isApproved = story.status !== "proposed" && story.status !== "rejected";
  const deployed = story.status === "deployed" ? candidateOf(member) : undefined;
  return {
    ...rowOf(member, "proposal", story.title),
    ...story,
    evaluationReportId: report ? idOf("report", member.name, report.start) : null,
    description: `${member.displayName}: ${story.title}.`,
    approvedBy: isApproved ? ownerEmail(member) : null,
    approvedAt: isApproved ? hoursAfter(createdAt, 4) : null,
    deployedAt: deployed?.live === undefined ? null : daysAgo(deployed.live),
    deployedPromptVersionId: deployed ? promptId(member, deployed) : null,
    createdAt,
    updatedAt: createdAt,
  };
}

/** How sure it is that two success rates differ: their difference in standard errors, as a share. */
function certainty(left: Tally, right: Tally): number {
  const [p, q] = [left.successRate ?? 0, right.successRate ?? 0];
  const error = Math.sqrt((p * (1 - p)) / left.runs + (q * (1 - q)) / right.runs);
  return error > 0 ? round(1 / (1 + Math.exp((-1.702 * Math.abs(p - q)) / error)), 4) : 0.5;
}

function abTestRows(member: Member): schema.NewAbTest[] {
  if (member.trial.kind !== "ab_test") return [];
  const { start, end, currentId, candidateId, candidate, control, treatment } = trialOf(member);
  const significance = certainty(control, treatment);
  const better = (errorRate(treatment) ?? 1) < (errorRate(control) ?? 1) ? "treatment" : "control";
  const winner = significance >= 0.95 ? better : "inconclusive";
  return [
    {
      ...rowOf(member, "A/B test"),
      improvementProposalId: trialProposalId(member),
      testName: `${member.name} ${candidate.version}`,
      hypothesis: `"${candidate.reason}" makes more executions succeed.`,
      controlPromptId: currentId,
      treatmentPromptId: candidateId,
      trafficSplit: member.trial.share,
      startDate: start,
      endDate: end,
      minSampleSize: 25,
      status: end ? "completed" : "running",
      controlExecutions: control.runs,
      treatmentExecutions: treatment.runs,
      controlSuccessRate: successRatio(control),
      treatmentSuccessRate: successRatio(treatment),
      controlAvgQuality: control.quality,
      treatmentAvgQuality: treatment.quality,
      statisticalSignificance: significance,
      winner: end && winner,
      conclusionSummary: end && `Winner: ${winner}.`,
      createdAt: start,
      updatedAt: end ?? new Date(NOW),
    },
  ];
}

/** Nobody sees a shadow's answers and the log does not hold them: its figures are the story's. */
function shadowTestRows(member: Member): schema.NewShadowTest[] {
  if (member.trial.kind !== "shadow_test") return [];
  const { start, end, currentId, candidateId, candidate, control } = trialOf(member);
  return [
    {
      ...rowOf(member, "shadow test"),
      productionPromptId: currentId,
      shadowPromptId: candidateId,
      sampleRate: member.trial.share,
      startDate: start,
      endDate: end,
      minSampleSize: 25,
      status: end ? "completed" : "running",
      productionSuccessRate: successRatio(control),
      shadowSuccessRate: 1 - candidate.failing,
      productionAvgQuality: control.quality,
      shadowAvgQuality: candidate.quality,
      outputSimilarityScore: 0.87,
      recommendation: end && "Keep the version in use: the difference is too small.",
      createdAt: start,
    },
  ];
}

function canaryRows(member: Member): schema.NewCanaryDeployment[] {
  if (member.trial.kind !== "canary") return [];
  const { start, end, currentId, candidateId, control, treatment } = trialOf(member);
  const completed = isDeployed(member);
  const minutes = (Number(end ?? NOW) - Number(start)) / MINUTE;
  return [
    {
      ...rowOf(member, "canary"),
      currentPromptId: currentId,
      canaryPromptId: candidateId,
      currentStage: completed ? 2 : 1,
      stages: [{ traffic: member.trial.share, duration_minutes: minutes }, { traffic: 1 }],
      status: completed ? "completed" : "rolled_back",
      stageMetrics: {
        current_error_rate: errorRate(control),
        canary_error_rate: errorRate(treatment),
      },
      startedAt: start,
      completedAt: completed ? end : null,
      rolledBackAt: completed ? null : end,
      rollbackReason: completed ? null : `Error rate ${errorRate(treatment)}, more than 0.1`,
    },
  ];
}

function alertRows(member: Member): schema.NewAlert[] {
  return member.alerts.map(({ hoursAgo, resolution, ...story }): schema.NewAlert => {
    const createdAt = new Date(NOW - hoursAgo * HOUR);
    const [acknowledged, resolved] = [hoursAgo > 1, resolution !== undefined];
    return {
      ...rowOf(member, "alert", story.title),
      ...story,
      slackSent: true,
      slackSentAt: createdAt,
      acknowledged,
      acknowledgedBy: acknowledged ? ownerEmail(member) : null,
      acknowledgedAt: acknowledged ? hoursAfter(createdAt, 0.25) : null,
      resolved,
      resolvedBy: resolved ? ownerEmail(member) : null,
      resolvedAt: resolved ? hoursAfter(createdAt, 0.5) : null,
      resolutionNotes: resolution ?? null,
      createdAt,
    };
  });
}

// ── Learning, cost and embeddings ──

function learningRows(member: Member): schema.NewLearning[] {
  const learningId = (title: string) => idOf("learning", member.name, title);
  return member.learnings.map(({ daysAgo: age, supersededBy, ...story }) => ({
    ...rowOf(member, "learning", story.title),
    ...story,
    relatedProposalId: trialProposalId(member),
    relatedAbTestId: member.trial.kind === "ab_test" ? idOf("A/B test", member.name) : null,
    applicableTo: [member.category, member.entity],
    isActive: supersededBy === undefined,
    supersededBy: supersededBy === undefined ? null : learningId(supersededBy),
    createdAt: daysAgo(age),
  }));
}

function slaRow(member: Member): schema.NewAgentSla {
  return {
    ...rowOf(member, "SLA"),
    targetAvailability: 0.99,
    targetP95LatencyMs: member.sla.p95,
    targetSuccessRate: member.sla.success,
    targetQualityScore: 75,
    measurementWindow: "calendar_week",
    createdAt: BEGINNING,
  };
}

const complianceRows = (member: Member): schema.NewSlaCompliance[] =>
  WEEKS.map((week) => complianceRow(member, week));

function complianceRow(member: Member, week: Week): schema.NewSlaCompliance {
  const sums = tallyOf(member, week);
  const { failed, timeout, quality } = sums;
  const latencyAt = (share: number) => Math.round(percentile(sums.latencies, share) ?? 0);
  const latencyMet = latencyAt(0.95) <= member.sla.p95;
  const successRateMet = (sums.successRate ?? 1) >= member.sla.success;
  const qualityMet = (quality ?? 100) >= 75;
  // Where too many executions fail, each that does counts as a quarter of an hour without service.
  const breachMinutes = successRateMet ? 0 : 15 * (failed + timeout);
  const availability = round(1 - breachMinutes / (7 * 24 * 60), 4);
  const availabilityMet = availability >= 0.99;
  return {
    ...rowOf(member, "SLA period", week.start),
    slaId: idOf("SLA", member.name),
    periodStart: week.start,
    periodEnd: week.end,
    actualAvailability: availability,
    actualP50LatencyMs: latencyAt(0.5),
    actualP95LatencyMs: latencyAt(0.95),
    actualP99LatencyMs: latencyAt(0.99),
    actualSuccessRate: successRatio(sums),
    actualQualityScore: quality,
    availabilityMet,
    latencyMet,
    successRateMet,
    qualityMet,
    overallCompliant: availabilityMet && latencyMet && successRateMet && qualityMet,
    breachMinutes,
    breachDetails: successRateMet ? null : { failed, timeout },
    createdAt: reportedAt(week),
  };
}

const componentRows = (members: Member[]): schema.NewPromptComponent[] =>
  LIBRARY.map(({ usedBy, name, category, content }) => {
    const users = members.filter((member) => usedBy.includes(member.name));
    const author = known(users[0], `user of ${name}`);
    const logs = users.flatMap((user) => ofVersion(user, activeVersion(user)));
    return {
      id: idOf("component", name),
      organizationId: rowOf(author, "component").organizationId,
      name,
      category,
      tags: [category],
      content,
      timesUsed: users.length,
      avgQualityWhenUsed: tally(logs).quality,
      createdAt: BEGINNING,
      createdBy: ownerEmail(author),
    };
  });

const memberNamed = (members: Member[], name: string) =>
  known(
    members.find((member) => member.name === name),
    `agent ${name}`,
  );

const componentUseRows = (member: Member): schema.NewPromptLibraryUse[] =>
  LIBRARY.filter(({ usedBy }) => usedBy.includes(member.name)).map(({ name }) => ({
    id: idOf("component use", member.name, name),
    promptId: promptId(member, activeVersion(member)),
    libraryComponentId: idOf("component", name),
  }));

function budgetRows(members: Member[]): schema.NewCostBudget[] {
  const ofAgents = members.map((member) =>
    budgetRow(rowOf(member, "budget"), member.budget, member.logs),
  );
  const ofOrganizations = Object.entries(DEMO_ORGANIZATIONS).map(
    ([key, { id: organizationId }]) => {
      const logs = members.flatMap((member) => (member.organization === key ? member.logs : []));
      return budgetRow({ id: idOf("budget", key), organizationId }, ORGANIZATION_BUDGET, logs);
    },
  );
  return [...ofAgents, ...ofOrganizations];
}

/** A budget beside what the log says was spent today, this week (from Monday) and this month, in UTC. */
function budgetRow(
  scope: Pick<schema.NewCostBudget, "id" | "organizationId" | "agentId">,
  { daily, monthly }: Story["budget"],
  logs: Log[],
): schema.NewCostBudget {
  const today = instantOf(dayOf(new Date(NOW)));
  const monday = hoursAfter(today, -24 * ((today.getUTCDay() + 6) % 7));
  const spentSince = (from: Date) => tally(between(logs, from)).cost;
  return {
    ...scope,
    dailyBudgetUsd: daily.toFixed(2),
    weeklyBudgetUsd: (5 * daily).toFixed(2),
    monthlyBudgetUsd: monthly.toFixed(2),
    currentDailySpend: spentSince(today),
    currentWeeklySpend: spentSince(monday),
    currentMonthlySpend: spentSince(instantOf(`${DEMO_NOW.slice(0, 7)}-01`)),
    onDailyExceeded: "alert",
    onWeeklyExceeded: "throttle",
    onMonthlyExceeded: "downgrade_model",
    updatedAt: new Date(NOW),
  };
}

const routingRows = (member: Member): schema.NewModelRoutingRule[] =>
  ROUTING.filter(({ agent }) => agent === member.name).map(({ when, model }) =>
    routingRow(member, when, model),
  );

function routingRow(
  member: Member,
  [type, operator, value]: (typeof ROUTING)[number]["when"],
  model: string,
): schema.NewModelRoutingRule {
  return {
    ...rowOf(member, "routing rule", type),
    conditionType: type,
    conditionOperator: operator,
    conditionValue: value,
    targetModel: model,
    fallbackModel: member.model,
    createdAt: BEGINNING,
  };
}

const dependencyRows = (members: Member[]): schema.NewAgentDependency[] =>
  DEPENDENCIES.map(({ from, to, type }) => {
    const { id, organizationId, agentId } = rowOf(memberNamed(members, from), "dependency", to);
    return {
      id,
      organizationId,
      upstreamAgentId: agentId,
      downstreamAgentId: rowOf(memberNamed(members, to), "agent").agentId,
      dependencyType: type,
      isCritical: type === "approval",
      createdAt: BEGINNING,
    };
  });

/** The newest failed and the newest successful executions of each organization. */
function embeddingRows(members: Member[]): schema.NewExecutionEmbedding[] {
  return Object.keys(DEMO_ORGANIZATIONS)
    .flatMap((key) => {
      const runs = members
        .flatMap((member) => (member.organization === key ? member.runs : []))
        .toSorted((a, b) => b.start - a.start);
      const newest = (outcome: keyof typeof EMBEDDED) =>
        runs.filter((run) => run.outcome === outcome).slice(0, EMBEDDED[outcome]);
      return [...newest("failure"), ...newest("success")].flatMap(({ logs }) => logs.slice(-1));
    })
    .map(embeddingRow);
}

/** Executions of one agent lie close, those about one topic closer; errors of one type lie close. */
const embeddingRow = (log: Log): schema.NewExecutionEmbedding => ({
  id: idOf("embedding", log.id),
  organizationId: log.organizationId,
  executionLogId: log.id,
  inputEmbedding: embed({ [log.agentId]: 1, [log.inputData.topic]: 1, [log.id]: 0.6 }),
  errorEmbedding:
    log.status === "failure"
      ? embed({ [log.errorType ?? "unknown"]: 1, [log.agentId]: 0.4, [log.id]: 0.4 })
      : null,
  createdAt: log.timestamp,
});

/** A unit vector between the directions of the names, by weight: what shares names lies close. */
function embed(weights: Record<string, number>): number[] {
  const blend = Array.from({ length: 1536 }, () => 0);
  for (const [name, weight] of Object.entries(weights)) {
    const chance = chanceOf("direction", name);
    for (const [axis, part] of blend.entries()) blend[axis] = part + weight * (2 * chance() - 1);
  }
  const length = Math.sqrt(sum(blend.map((part) => part * part)));
  return blend.map((part) => round(part / length, 6));
}

/** All rows, parents first. */
export async function insertFleet(tx: Transaction): Promise<void> {
  const members = FLEET.map(memberOf);
  const of = <Row>(rowsOf: (member: Member) => Row[]) => members.flatMap(rowsOf);
  await tx.insert(schema.agentRegistry).values(members.map(agentRow));
  await tx.insert(schema.agentPrompts).values(of(promptRows));
  // A statement takes 65,535 parameters; these are 2,000 × 22.
  await tx.insert(schema.agentExecutionLogs).values(of(({ logs }) => logs));
  await tx.insert(schema.agentPerformanceMetrics).values(of(metricRows));
  await tx.insert(schema.agentHealthRealtime).values(members.map(healthRow));
  await tx.insert(schema.circuitBreakerState).values(members.map(breakerRow));
  await tx.insert(schema.evaluationReports).values(of(reportRows));
  await tx.insert(schema.improvementProposals).values(of(proposalRows));
  await tx.insert(schema.abTests).values(of(abTestRows));
  await tx.insert(schema.shadowTests).values(of(shadowTestRows));
  await tx.insert(schema.canaryDeployments).values(of(canaryRows));
  await tx.insert(schema.alertHistory).values(of(alertRows));
  await tx.insert(schema.learningLog).values(of(learningRows));
  await tx.insert(schema.promptLibrary).values(componentRows(members));
  await tx.insert(schema.promptLibraryUsage).values(of(componentUseRows));
  await tx.insert(schema.agentSlas).values(members.map(slaRow));
  await tx.insert(schema.slaCompliance).values(of(complianceRows));
  await tx.insert(schema.costBudgets).values(budgetRows(members));
  await tx.insert(schema.modelRoutingRules).values(of(routingRows));
  await tx.insert(schema.agentDependencies).values(dependencyRows(members));
  await tx.insert(schema.executionEmbeddings).values(embeddingRows(members));
}
