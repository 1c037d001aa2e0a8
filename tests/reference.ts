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
  | "agentId"
  | "promptVersionId"
  | "executionId"
  | "timestamp"
  | "status"
  | "latencyMs"
  | "tokenCountInput"
  | "tokenCountOutput"
  | "estimatedCostUsd"
  | "qualityScore"
  | "errorType"
  | "reviewedAt"
  | "reviewedBy"
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

/** How the rows of one execution say it ended. */
function outcomeOf(execution: readonly Log[]): AgentExecutionLog["status"] {
  for (const outcome of ["failure", "timeout", "cancelled", "running"] as const) {
    if (execution.some(({ status }) => status === outcome)) return outcome;
  }
  return "success";
}

const executionsOf = (logs: readonly Log[]) =>
  [...groupsOf(logs, ({ agentId, executionId }) => `${agentId} ${executionId}`).values()].map(
    (execution) => ({ logs: execution, outcome: outcomeOf(execution) }),
  );

const present = <T>(values: readonly (T | null)[]): T[] =>
  values.flatMap((value) => (value === null ? [] : [value]));
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
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

/** The metrics of one agent's, one prompt's, one day's logs; the sums before they are capped. */
function metricOf(logs: readonly Log[], first: Log) {
  const executions = executionsOf(logs);
  const ended = (outcome: AgentExecutionLog["status"]) =>
    executions.filter((execution) => execution.outcome === outcome).length;
  const latencies = present(logs.map(({ latencyMs }) => latencyMs)).toSorted((a, b) => a - b);
  const cost = present(logs.map((log) => log.estimatedCostUsd))
    .map(exact)
    .reduce((total, value) => total + value, 0n);
  const failures = logs.filter(({ status }) => status === "failure");
  const types = failures.map(({ errorType }) =>
    Array.from(errorType ?? "unknown")
      .slice(0, 255)
      .join(""),
  );
  const errors = [...groupsOf(types, (type) => type)]
    .map(([type, { length }]) => ({ type, length }))
    .toSorted(
      (a, b) => b.length - a.length || Buffer.compare(Buffer.from(a.type), Buffer.from(b.type)),
    );
  return {
    sums: {
      tokensInput: sum(present(logs.map((log) => log.tokenCountInput))),
      tokensOutput: sum(present(logs.map((log) => log.tokenCountOutput))),
      cost,
      costPerExecution: cost / BigInt(executions.length),
    },
    metric: {
      agentId: first.agentId,
      promptVersionId: first.promptVersionId,
      date: dayOf(first.timestamp),
      totalExecutions: executions.length,
      successfulExecutions: ended("success"),
      failedExecutions: ended("failure"),
      timeoutExecutions: ended("timeout"),
      avgLatencyMs: average(latencies),
      p50LatencyMs: percentile(latencies, 0.5),
      p95LatencyMs: percentile(latencies, 0.95),
      p99LatencyMs: percentile(latencies, 0.99),
      avgQualityScore: average(present(logs.map(({ qualityScore }) => qualityScore))),
      humanInterventions: executions.filter((execution) =>
        execution.logs.some(({ reviewedAt, reviewedBy }) => (reviewedAt ?? reviewedBy) !== null),
      ).length,
      uniqueErrorTypes: errors.length,
      mostCommonError: errors[0]?.type ?? null,
      errorDistribution: Object.fromEntries(errors.map(({ type, length }) => [type, length])),
    },
  };
}

/** The rows that logs add up to, one for each agent, prompt or none, and day. */
export function metricsOf(logs: readonly Log[]): { metrics: Metric[]; capped: CappedSum[] } {
  const groups = groupsOf(
    logs,
    (log) => `${log.agentId} ${log.promptVersionId} ${dayOf(log.timestamp)}`,
  );
  const metrics: Metric[] = [];
  const capped: CappedSum[] = [];
  for (const group of groups.values()) {
    const [first] = group;
    if (!first) continue;
    const { metric, sums } = metricOf(group, first);
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
      costPerExecution: dollars(cap("costPerExecution", sums.costPerExecution, MOST.dollars)),
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

const MINUTE = 60_000;

const isFailure = (outcome: string) => outcome === "failure" || outcome === "timeout";

/** An agent's health at an instant, from its logs and the state of its breaker. */
export function healthOf(
  logs: readonly Log[],
  { now, breaker, thresholds }: { now: Date; breaker: string; thresholds: HealthThresholds },
): Health {
  const past = logs.filter(({ timestamp }) => timestamp <= now);
  const windowOf = (minutes: number) => {
    const rows = past.filter(({ timestamp }) => +timestamp > +now - minutes * MINUTE);
    const outcomes = executionsOf(rows).map(({ outcome }) => outcome);
    const failures = outcomes.filter(isFailure).length;
    const decided = failures + outcomes.filter((outcome) => outcome === "success").length;
    return {
      executions: outcomes.length,
      failures,
      latency: average(present(rows.map(({ latencyMs }) => latencyMs))),
      rate: decided === 0 ? null : failures / decided,
    };
  };
  const last = (isWanted: (outcome: string) => boolean) => {
    const ends = executionsOf(past)
      .filter(({ outcome }) => isWanted(outcome))
      .flatMap((execution) => execution.logs.map(({ timestamp }) => +timestamp));
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
    if (hour.executions === 0) return "offline";
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
