/**
 * What `rollUpMetrics` and `refreshHealth` should compute, once more in plain TypeScript: row by row, as
 * one would say it, without a thought for speed.
 */
import { expect } from "vitest";
import type { HealthThresholds } from "../src/config.ts";
import type { CappedSum } from "../src/fleet/rollup.ts";
import type {
  AgentExecutionLog,
  AgentHealth,
  AgentPerformanceMetric,
} from "../src/schema/index.ts";

/** What both read of a log. */
export type Log = Pick<
  AgentExecutionLog,
  | "id"
  | "agentId"
  | "promptVersionId"
  | "executionId"
  | "timestamp"
  | "actionType"
  | "status"
  | "latencyMs"
  | "tokenCountInput"
  | "tokenCountOutput"
  | "estimatedCostUsd"
  | "qualityScore"
  | "errorType"
  | "reviewedAt"
  | "reviewedBy"
  | "metadata"
>;

export type Metric = Omit<AgentPerformanceMetric, "id" | "organizationId">;

/** Equal but for what a float cannot hold; decimal strings by their value. */
export const near = (expected: unknown): unknown =>
  typeof expected === "number" || typeof expected === "string"
    ? expect.toSatisfy(
        (found: unknown) =>
          typeof found === typeof expected &&
          Math.abs(Number(found) - Number(expected)) <= 1e-9 * Math.abs(Number(expected)),
        `is near ${expected}`,
      )
    : expected;

export const dayOf = (instant: Date) => instant.toISOString().slice(0, 10);

function groupsOf<T>(list: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of list) {
    const group = groups.get(keyOf(item));
    if (group) group.push(item);
    else groups.set(keyOf(item), [item]);
  }
  return groups;
}

// ── What an execution is ──

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

/** One that counts: its rows in time, and what they say of it. */
interface Execution {
  readonly agentId: string;
  readonly start: Date;
  readonly rows: readonly Log[];
  readonly outcome: AgentExecutionLog["status"];
  readonly latencyMs: number | null;
  readonly promptVersionId: string | null;
}

const inTime = (a: Log, b: Log) => +a.timestamp - +b.timestamp || (a.id < b.id ? -1 : 1);

/** One that has no row of its execution in the 24 hours before begins another. */
function executionsOf(logs: readonly Log[]): Execution[] {
  const keys = groupsOf(logs, ({ agentId, executionId }) => `${agentId} ${executionId}`).values();
  return [...keys].flatMap((group) => {
    const rows = group.toSorted(inTime);
    const begins = rows.filter(({ timestamp }, n) => {
      const former = rows[n - 1];
      return !former || +timestamp - +former.timestamp >= DAY;
    });
    return begins.map(({ timestamp: start }) =>
      executionFrom(
        start,
        rows.filter(({ timestamp }) => timestamp >= start && +timestamp < +start + DAY),
      ),
    );
  });
}

function executionFrom(start: Date, rows: readonly Log[]): Execution {
  const run = rows.findLast(({ actionType }) => actionType === "agent_run");
  const outcome = run?.status ?? worstOf(rows);
  const latency = run ? run.latencyMs : sumOrNull(present(rows.map(({ latencyMs }) => latencyMs)));
  const named = rows.find(({ promptVersionId }) => promptVersionId !== null);
  return {
    agentId: rows[0]?.agentId ?? "",
    start,
    rows,
    outcome,
    latencyMs: outcome === "running" || latency === null ? null : Math.min(latency, MOST.tokens),
    promptVersionId: run?.promptVersionId ?? named?.promptVersionId ?? null,
  };
}

function worstOf(rows: readonly Log[]): AgentExecutionLog["status"] {
  for (const outcome of ["failure", "timeout", "cancelled", "running"] as const) {
    if (rows.some(({ status }) => status === outcome)) return outcome;
  }
  return "success";
}

/** Each once, by their first 255 characters. */
function errorsOf({ rows, outcome }: Execution): string[] {
  if (outcome !== "failure") return [];
  const types = present(
    rows.filter(({ status }) => status === "failure").map((row) => row.errorType),
  );
  const cut = types.map((type) => Array.from(type).slice(0, 255).join(""));
  return cut.length === 0 ? ["unknown"] : [...new Set(cut)];
}

const present = <T>(values: readonly (T | null)[]): T[] =>
  values.flatMap((value) => (value === null ? [] : [value]));
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const sumOrNull = (values: readonly number[]) => (values.length === 0 ? null : sum(values));
const average = (values: readonly number[]) =>
  values.length === 0 ? null : sum(values) / values.length;

function percentile(ascending: readonly number[], share: number): number | null {
  const place = (ascending.length - 1) * share;
  const [below, above] = [ascending[Math.floor(place)], ascending[Math.ceil(place)]];
  if (below === undefined || above === undefined) return null;
  return below + (above - below) * (place - Math.floor(place));
}

/** So fine that a quotient's rest does not matter. */
const DECIMALS = 30;

/** Dollars as a whole number of their smallest part. */
function exact(decimal: string): bigint {
  const [whole = "", fraction = ""] = decimal.split(".");
  return BigInt(whole + fraction.padEnd(DECIMALS, "0"));
}

function dollars(parts: bigint): string {
  const digits = String(parts).padStart(DECIMALS + 1, "0");
  return `${digits.slice(0, -DECIMALS)}.${digits.slice(-DECIMALS)}`;
}

const MOST = { tokens: 2_147_483_647, dollars: exact("1000000000000") };

/** What one agent, one version or none, and one day have. */
interface Group {
  readonly agentId: string;
  readonly promptVersionId: string | null;
  readonly date: string;
  /** Begun on that day. */
  readonly executions: Execution[];
  /** Of that day. */
  readonly logs: Log[];
}

function sortedOut(logs: readonly Log[]): Group[] {
  const groups = new Map<string, Group>();
  const groupOf = (agentId: string, promptVersionId: string | null, instant: Date): Group => {
    const date = dayOf(instant);
    const key = `${agentId} ${promptVersionId} ${date}`;
    const group = groups.get(key) ?? { agentId, promptVersionId, date, executions: [], logs: [] };
    groups.set(key, group);
    return group;
  };
  const executions = executionsOf(logs);
  const versions = new Map(
    executions.flatMap(({ rows, promptVersionId }) =>
      rows.map(({ id }) => [id, promptVersionId] as const),
    ),
  );
  for (const execution of executions) {
    const { agentId, promptVersionId, start } = execution;
    groupOf(agentId, promptVersionId, start).executions.push(execution);
  }
  for (const log of logs) {
    const version = log.promptVersionId ?? versions.get(log.id) ?? null;
    groupOf(log.agentId, version, log.timestamp).logs.push(log);
  }
  return [...groups.values()];
}

/** The first ones, and the others under one key. */
function distributionOf(errors: readonly { type: string; length: number }[]) {
  const distribution: Record<string, number> = {};
  for (const [place, { type, length }] of errors.entries()) {
    const key = place < 100 ? type : "(other)";
    distribution[key] = (distribution[key] ?? 0) + length;
  }
  return distribution;
}

/** The metrics of a group; the sums before they are capped. */
function metricOf({ agentId, promptVersionId, date, executions, logs }: Group) {
  const ended = (outcome: AgentExecutionLog["status"]) =>
    executions.filter((execution) => execution.outcome === outcome).length;
  const latencies = present(executions.map(({ latencyMs }) => latencyMs)).toSorted((a, b) => a - b);
  const cost = present(logs.map((log) => log.estimatedCostUsd))
    .map(exact)
    .reduce((total, value) => total + value, 0n);
  const errors = [...groupsOf(executions.flatMap(errorsOf), (type) => type)]
    .map(([type, { length }]) => ({ type, length }))
    .toSorted(
      (a, b) => b.length - a.length || Buffer.compare(Buffer.from(a.type), Buffer.from(b.type)),
    );
  return {
    sums: {
      tokensInput: sum(present(logs.map((log) => log.tokenCountInput))),
      tokensOutput: sum(present(logs.map((log) => log.tokenCountOutput))),
      cost,
      costPerExecution: executions.length === 0 ? null : cost / BigInt(executions.length),
    },
    metric: {
      agentId,
      promptVersionId,
      date,
      totalExecutions: executions.length,
      successfulExecutions: ended("success"),
      failedExecutions: ended("failure"),
      timeoutExecutions: ended("timeout"),
      avgLatencyMs: average(latencies),
      p50LatencyMs: percentile(latencies, 0.5),
      p95LatencyMs: percentile(latencies, 0.95),
      p99LatencyMs: percentile(latencies, 0.99),
      avgQualityScore: average(present(logs.map(({ qualityScore }) => qualityScore))),
      humanInterventions: executions.filter(({ rows }) =>
        rows.some(({ reviewedAt, reviewedBy }) => (reviewedAt ?? reviewedBy) !== null),
      ).length,
      uniqueErrorTypes: errors.length,
      mostCommonError: errors[0]?.type ?? null,
      errorDistribution: distributionOf(errors),
    },
  };
}

/** The rows that logs add up to, one for each agent, prompt or none, and day. */
export function metricsOf(logs: readonly Log[]): { metrics: Metric[]; capped: CappedSum[] } {
  const metrics: Metric[] = [];
  const capped: CappedSum[] = [];
  for (const group of sortedOut(logs)) {
    const { metric, sums } = metricOf(group);
    const { agentId, promptVersionId, date } = metric;
    const cap = <T extends number | bigint>(column: CappedSum["column"], value: T, most: T): T => {
      if (value <= most) return value;
      const written = typeof value === "bigint" ? dollars(value) : String(value);
      capped.push({ agentId, promptVersionId, date, column, value: written });
      return most;
    };
    metrics.push({
      ...metric,
      totalTokensInput: cap("totalTokensInput", sums.tokensInput, MOST.tokens),
      totalTokensOutput: cap("totalTokensOutput", sums.tokensOutput, MOST.tokens),
      totalCostUsd: dollars(cap("totalCostUsd", sums.cost, MOST.dollars)),
      costPerExecution:
        sums.costPerExecution === null
          ? null
          : dollars(cap("costPerExecution", sums.costPerExecution, MOST.dollars)),
    });
  }
  return { metrics, capped };
}

export type Health = Pick<
  AgentHealth,
  | "executions5m"
  | "failures5m"
  | "avgLatency5m"
  | "errorRate5m"
  | "executions1h"
  | "failures1h"
  | "avgLatency1h"
  | "errorRate1h"
  | "status"
  | "lastSuccessfulExecution"
  | "lastFailedExecution"
>;

const isFailure = (outcome: string) => outcome === "failure" || outcome === "timeout";

/** An agent's health at an instant, from its logs and the state of its breaker. */
export function healthOf(
  logs: readonly Log[],
  { now, breaker, thresholds }: { now: Date; breaker: string; thresholds: HealthThresholds },
): Health {
  const past = logs.filter(
    ({ timestamp, metadata }) => timestamp <= now && !("shadow_of" in metadata),
  );
  const isWithin = (minutes: number) => (instant: Date) => +instant > +now - minutes * MINUTE;
  const executions = executionsOf(past);
  const windowOf = (minutes: number) => {
    const begun = executions.filter(({ start }) => isWithin(minutes)(start));
    const failures = begun.filter(({ outcome }) => isFailure(outcome)).length;
    const decided = failures + begun.filter(({ outcome }) => outcome === "success").length;
    return {
      executions: begun.length,
      failures,
      latency: average(present(begun.map(({ latencyMs }) => latencyMs))),
      rate: decided === 0 ? null : failures / decided,
    };
  };
  const last = (isWanted: (outcome: string) => boolean) => {
    const ends = executions
      .filter(({ outcome }) => isWanted(outcome))
      .flatMap(({ rows }) => rows.map(({ timestamp }) => +timestamp));
    return ends.length === 0 ? null : new Date(Math.max(...ends));
  };
  const [five, hour] = [windowOf(5), windowOf(60)];
  const { failureRateThreshold, failureCountThreshold, latencySpikeThreshold } = thresholds;
  const failing =
    hour.failures > 0 && Math.max(five.rate ?? 0, hour.rate ?? 0) >= failureRateThreshold;
  const many = hour.failures > 0 && hour.failures >= failureCountThreshold;
  const slow =
    five.latency !== null &&
    five.latency > 0 &&
    five.latency >= latencySpikeThreshold * (hour.latency ?? 0);
  const status = () => {
    if (!past.some(({ timestamp }) => isWithin(60)(timestamp))) return "offline";
    if (breaker === "open" || (failing && many)) return "critical";
    return breaker === "half_open" || failing || many || slow ? "degraded" : "healthy";
  };
  return {
    executions5m: five.executions,
    failures5m: five.failures,
    avgLatency5m: five.latency,
    errorRate5m: five.rate,
    executions1h: hour.executions,
    failures1h: hour.failures,
    avgLatency1h: hour.latency,
    errorRate1h: hour.rate,
    status: status(),
    lastSuccessfulExecution: last((outcome) => outcome === "success"),
    lastFailedExecution: last(isFailure),
  };
}
