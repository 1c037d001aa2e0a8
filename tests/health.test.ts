import { randomUUID } from "node:crypto";
import { eq } from "drizzle-orm";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { healthThresholds } from "../src/config.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import { executionLogId } from "../src/client/keys.ts";
import { type HealthOptions, refreshHealth } from "../src/fleet/health.ts";
import {
  type NewAgent,
  type NewAgentExecutionLog,
  agentExecutionLogs,
  agentHealthRealtime,
  agentRegistry,
  circuitBreakerState,
} from "../src/schema/index.ts";
import { newAgent, newCircuitBreaker, newExecutionLog, newHealth } from "../src/testing.ts";
import { CIRCUIT_STATES, type CircuitState, EXECUTION_STATUSES } from "../src/values.ts";
import { suite } from "./engine.ts";
import { explained, fillLogs } from "./explained.ts";
import { type Log, healthOf, near } from "./reference.ts";

const RUNS = Number(process.env["PROPERTY_RUNS"] ?? 60);
const SEED = process.env["PROPERTY_SEED"];

const NOW = new Date("2026-03-01T12:00:00Z");
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const ago = (milliseconds: number) => new Date(+NOW - milliseconds);

suite("refreshHealth", (database) => {
  /** A tenant with one agent. */
  async function tenant(agentGiven: Partial<NewAgent> = {}) {
    const organizationId = randomUUID();
    const { id: agentId, ...agent } = newAgent({ organizationId, ...agentGiven });
    await database.db.insert(agentRegistry).values({ id: agentId, ...agent });
    const refresh = (options: HealthOptions = { now: NOW }) =>
      withOrganization(database.db, organizationId, (tx) => refreshHealth(tx, options));
    const health = async () => {
      const ofAgent = eq(agentHealthRealtime.agentId, agentId);
      return (await database.db.select().from(agentHealthRealtime).where(ofAgent))[0];
    };
    return {
      agentId,
      organizationId,
      refresh,
      log: (...given: Partial<NewAgentExecutionLog>[]) =>
        database.db
          .insert(agentExecutionLogs)
          .values(
            given.map((log) =>
              newExecutionLog({ agentId, organizationId, timestamp: ago(MINUTE), ...log }),
            ),
          ),
      break: (state: CircuitState, openedAt: Date | null = null) =>
        database.db
          .insert(circuitBreakerState)
          .values(newCircuitBreaker({ agentId, organizationId, state, openedAt }))
          .onConflictDoUpdate({ target: circuitBreakerState.agentId, set: { state, openedAt } }),
      health,
      /** The snapshot at {@link NOW}. */
      refreshed: async (options: HealthOptions = {}) => {
        await refresh({ now: NOW, ...options });
        return health();
      },
    };
  }

  test.each([new Date(Number.NaN), "2026-03-01", 1, null])("now: %s is refused", async (now) => {
    const { organizationId } = await tenant();
    const work = withOrganization(database.db, organizationId, (tx) =>
      Reflect.apply(refreshHealth, undefined, [tx, { now }]),
    );
    await expect(work).rejects.toThrow(new TypeError("refreshHealth: now must be a valid Date"));
  });

  test("thresholds that are none are refused, all of them named", async () => {
    const { refresh } = await tenant();
    const wrong = {
      failureRateThreshold: -1,
      failureCountThreshold: 1.5,
      latencySpikeThreshold: Number.NaN,
    };
    await expect(refresh(wrong)).rejects.toThrow(
      /FAILURE_RATE_THRESHOLD.*\n.*FAILURE_COUNT_THRESHOLD.*\n.*LATENCY_SPIKE_THRESHOLD/,
    );
  });

  test("an agent without rows is offline; nothing is counted, the breaker counts as closed", async () => {
    const { agentId, organizationId, refreshed } = await tenant();
    expect(await refreshed()).toEqual({
      id: expect.any(String),
      organizationId,
      agentId,
      timestamp: NOW,
      executions5m: 0,
      failures5m: 0,
      avgLatency5m: null,
      errorRate5m: null,
      executions1h: 0,
      failures1h: 0,
      avgLatency1h: null,
      errorRate1h: null,
      status: "offline",
      lastSuccessfulExecution: null,
      lastFailedExecution: null,
      circuitState: "closed",
      circuitOpenedAt: null,
    });
  });

  test("every agent gets one, a deprecated one too", async () => {
    const { refreshed } = await tenant({ status: "deprecated" });
    expect(await refreshed()).toMatchObject({ status: "offline" });
  });

  test("the windows end with now, now included, and begin after their first instant", async () => {
    const { log, refreshed } = await tenant();
    await log(
      { timestamp: NOW },
      { timestamp: ago(-1) },
      { timestamp: ago(5 * MINUTE - 1) },
      { timestamp: ago(5 * MINUTE) },
      { timestamp: ago(HOUR - 1) },
      { timestamp: ago(HOUR) },
    );
    expect(await refreshed()).toMatchObject({
      executions5m: 2,
      executions1h: 4,
      lastSuccessfulExecution: NOW,
    });
  });

  test("executions are counted, not rows, and latency is averaged over them", async () => {
    const { log, refreshed } = await tenant();
    const [failed, fine] = [randomUUID(), randomUUID()];
    await log(
      { executionId: failed, latencyMs: 100, timestamp: ago(3 * MINUTE) },
      { executionId: failed, latencyMs: 200, status: "timeout" },
      { executionId: failed, latencyMs: 600, status: "failure" },
      { executionId: fine },
      { executionId: fine, latencyMs: 700 },
      { status: "running", latencyMs: 5 },
      { status: "cancelled" },
    );
    expect(await refreshed()).toMatchObject({
      executions5m: 4,
      failures5m: 1,
      avgLatency5m: 800,
      errorRate5m: 0.5,
      executions1h: 4,
      failures1h: 1,
      avgLatency1h: 800,
      errorRate1h: 0.5,
    });
  });

  test("a run with a failing tool that recovered is a success of its own latency", async () => {
    const { log, refreshed } = await tenant();
    const executionId = randomUUID();
    await log(
      { executionId, actionType: "agent_run", latencyMs: 5290, timestamp: ago(2 * MINUTE) },
      { executionId, actionType: "tool_call", latencyMs: 2, ...failure },
    );
    expect(await refreshed()).toMatchObject({
      executions5m: 1,
      failures5m: 0,
      avgLatency5m: 5290,
      lastSuccessfulExecution: ago(MINUTE),
      lastFailedExecution: null,
    });
  });

  test("an execution that began before the window is not one of it, and its run still decides", async () => {
    const { log, refreshed } = await tenant();
    const [executionId, other] = [randomUUID(), randomUUID()];
    const run = { actionType: "agent_run" };
    await log(
      { executionId, ...run, timestamp: ago(20 * HOUR) },
      { executionId, ...failure, timestamp: ago(MINUTE) },
      // After a gap of 24 hours it is another.
      { executionId: other, ...run, ...failure, timestamp: ago(25 * HOUR) },
      { executionId: other, timestamp: ago(HOUR - MINUTE) },
    );
    await refreshed({ now: ago(2 * MINUTE) });
    expect(await refreshed()).toMatchObject({
      executions5m: 0,
      executions1h: 1,
      failures1h: 0,
      status: "healthy",
      lastSuccessfulExecution: ago(MINUTE),
      lastFailedExecution: ago(25 * HOUR),
    });
  });

  test("rows of a shadow test count in no health", async () => {
    const { log, refreshed } = await tenant();
    await log({ ...failure, metadata: { shadow_of: randomUUID() } });
    expect(await refreshed()).toMatchObject({
      executions1h: 0,
      status: "offline",
      lastFailedExecution: null,
    });
  });

  test("without an execution that has ended there is no error rate", async () => {
    const { log, refreshed } = await tenant();
    await log({ status: "running" }, { status: "cancelled" });
    expect(await refreshed()).toMatchObject({
      errorRate5m: null,
      errorRate1h: null,
      status: "healthy",
    });
  });

  const times = (count: number, log: Partial<NewAgentExecutionLog> = {}) =>
    Array.from({ length: count }, () => log);
  const failure = { status: "failure" } as const;
  const earlier = { timestamp: ago(30 * MINUTE) };

  test.each<
    [what: string, status: string, logs: Partial<NewAgentExecutionLog>[], options?: HealthOptions]
  >([
    ["successes", "healthy", times(5)],
    ["a failure rate just below", "healthy", [...times(5), failure]],
    ["the failure rate", "degraded", [...times(4), failure]],
    ["the failure rate of timeouts", "degraded", [...times(4), { status: "timeout" }]],
    ["the failure rate in the last 5 minutes", "degraded", [...times(50, earlier), failure]],
    [
      "a failure rate that fell",
      "degraded",
      [...times(2), ...times(2, { ...failure, ...earlier })],
    ],
    ["a failure count just below", "healthy", [...times(91), ...times(9, failure)]],
    ["the failure count", "degraded", [...times(90), ...times(10, failure)]],
    [
      "the failure count, earlier in the hour",
      "degraded",
      [...times(90), ...times(10, { ...failure, ...earlier })],
    ],
    ["rate and count", "critical", [...times(10), ...times(10, failure)]],
    [
      "a latency just below",
      "healthy",
      [{ latencyMs: 199 }, ...times(2, { ...earlier, latencyMs: 50 })],
    ],
    [
      "a latency spike",
      "degraded",
      [{ latencyMs: 200 }, ...times(2, { ...earlier, latencyMs: 50 })],
    ],
    ["no latency at all", "healthy", times(3, { latencyMs: 0 })],
    ["a rate of one's own", "healthy", [...times(4), failure], { failureRateThreshold: 0.21 }],
    ["a rate of 0 without failures", "healthy", times(3), { failureRateThreshold: 0 }],
    ["a count of 0 without failures", "healthy", times(3), { failureCountThreshold: 0 }],
    ["a count of one's own", "critical", [failure], { failureCountThreshold: 1 }],
    [
      "a spike of one's own",
      "healthy",
      [{ latencyMs: 200 }, ...times(2, { ...earlier, latencyMs: 50 })],
      { latencySpikeThreshold: 2.1 },
    ],
  ])("%s: %s", async (_, status, logs, options) => {
    const { log, refreshed } = await tenant();
    await log(...logs);
    expect(await refreshed(options)).toMatchObject({ status });
  });

  test("the breaker is copied; open is critical, half open degraded, and offline comes first", async () => {
    const { log, refreshed, break: set } = await tenant();
    await set("open", ago(MINUTE));
    expect(await refreshed()).toMatchObject({ status: "offline", circuitState: "open" });
    await log({});
    expect(await refreshed()).toMatchObject({
      status: "critical",
      circuitState: "open",
      circuitOpenedAt: ago(MINUTE),
    });
    await set("half_open", ago(MINUTE));
    expect(await refreshed()).toMatchObject({ status: "degraded", circuitState: "half_open" });
    await set("closed");
    expect(await refreshed()).toMatchObject({
      status: "healthy",
      circuitState: "closed",
      circuitOpenedAt: null,
    });
  });

  test("the last success and the last failure stay until there are later ones", async () => {
    const { log, refresh, health } = await tenant();
    await log({ timestamp: ago(2 * MINUTE) }, { ...failure, timestamp: ago(MINUTE) });
    await refresh();
    const known = { lastSuccessfulExecution: ago(2 * MINUTE), lastFailedExecution: ago(MINUTE) };
    expect(await health()).toMatchObject(known);
    await refresh({ now: ago(-2 * HOUR) });
    expect(await health()).toMatchObject({ status: "offline", ...known });
    await log({ timestamp: ago(-3 * HOUR) });
    await refresh({ now: ago(-3 * HOUR) });
    expect(await health()).toMatchObject({ ...known, lastSuccessfulExecution: ago(-3 * HOUR) });
  });

  test("what ended while nobody refreshed is not missed", async () => {
    const { log, refresh, health } = await tenant();
    await refresh();
    await log({ ...failure, timestamp: ago(-HOUR) }, ...times(1000, { timestamp: ago(-2 * HOUR) }));
    await refresh({ now: ago(-9 * HOUR) });
    expect(await health()).toMatchObject({
      status: "offline",
      lastSuccessfulExecution: ago(-2 * HOUR),
      lastFailedExecution: ago(-HOUR),
    });
  });

  test("a first snapshot looks at the agent's latest 1,000 rows", async () => {
    const { log, refreshed } = await tenant();
    const at = (n: number) => ({ timestamp: ago((24 * 60 + n) * MINUTE) });
    await log({ ...failure, ...at(1000) }, { ...failure, ...at(999) });
    await log(...Array.from({ length: 999 }, (_, n) => at(n)));
    expect(await refreshed()).toMatchObject({
      lastSuccessfulExecution: at(0).timestamp,
      lastFailedExecution: at(999).timestamp,
    });
    const busy = await tenant();
    await busy.log({ ...failure, ...at(1000) }, ...Array.from({ length: 1000 }, (_, n) => at(n)));
    expect(await busy.refreshed()).toMatchObject({ lastFailedExecution: null });
  });

  test("a newer snapshot is not replaced by an older one", async () => {
    const { log, refresh, health } = await tenant();
    expect(await refresh()).toEqual({ written: 1 });
    await log({});
    expect(await refresh({ now: ago(1) })).toEqual({ written: 0 });
    expect(await health()).toMatchObject({ timestamp: NOW, executions5m: 0 });
    expect(await refresh()).toEqual({ written: 1 });
    expect(await health()).toMatchObject({ timestamp: NOW, executions5m: 1 });
  });

  test("now is the database's clock unless given", async () => {
    const { log, refresh, health } = await tenant();
    await log({ timestamp: undefined });
    await refresh({});
    expect(await health()).toMatchObject({ executions5m: 1, status: "healthy" });
    const [{ recent } = { recent: false }] = await database.query<{ recent: boolean }>(
      "select max(timestamp) between now() - interval '1 minute' and now() as recent from agent_health_realtime",
    );
    expect(recent).toBe(true);
  });

  test("a tenant refreshes its own agents, service role all of them, under the agent's organization", async () => {
    const [one, other] = [await tenant(), await tenant()];
    await one.refresh();
    expect(await other.health()).toBeUndefined();
    // As a plain insert of the backend leaves it: nobody's.
    await database.db
      .insert(agentHealthRealtime)
      .values(newHealth({ agentId: other.agentId, organizationId: null, timestamp: ago(MINUTE) }));
    const agents = await database.db.$count(agentRegistry);
    const service = (now: Date) => withServiceRole(database.db, (tx) => refreshHealth(tx, { now }));
    expect(await service(new Date("2999-01-01T00:00:00Z"))).toEqual({ written: agents });
    expect(await one.health()).toMatchObject({ organizationId: one.organizationId });
    expect(await other.health()).toMatchObject({ organizationId: other.organizationId });
  });

  test("a caller without an organization refreshes nothing", async () => {
    await tenant();
    const refreshed = withOrganization(database.db, {}, (tx) => refreshHealth(tx, { now: NOW }));
    expect(await refreshed).toEqual({ written: 0 });
  });

  test("as a tenant it reads the period through an index, not all of an agent's log", async () => {
    const own = await tenant();
    await fillLogs(database.db, NOW, own);
    await own.refresh();
    const plan = await withOrganization(database.db, own.organizationId, (tx) =>
      explained(tx, (spied) => refreshHealth(spied, { now: NOW })),
    );
    expect(plan).toMatch(
      /Index Scan using idx_logs_(agent|org)_timestamp.*\n\s+Index Cond: \(\(\w+ = .*\) AND \("timestamp" >= .*\) AND \("timestamp" <= /,
    );
  });

  // ── Random logs against the reference ──

  const log = fc.record({
    execution: fc.nat(20),
    age: fc.oneof(
      fc.nat(6 * MINUTE),
      fc.nat(HOUR + MINUTE),
      fc.nat(5 * HOUR),
      fc.nat(60 * HOUR),
      fc.constantFrom(0, 5 * MINUTE, HOUR, 24 * HOUR, 25 * HOUR, 25 * HOUR - 1, -1),
    ),
    actionType: fc.constantFrom("agent_run", "agent_step", "llm_call", "tool_call"),
    isShadow: fc.nat(4).map((n) => n === 0),
    status: fc.constantFrom("success", "success", "success", ...EXECUTION_STATUSES),
    latencyMs: fc.option(fc.oneof(fc.nat(1000), fc.constant(2_147_483_647)), {
      nil: null,
      freq: 4,
    }),
  });
  const situation = fc.record({
    logs: fc.array(log, { maxLength: 60, size: "max" }),
    breaker: fc.constantFrom("none", ...CIRCUIT_STATES),
    thresholds: fc.record(
      {
        failureRateThreshold: fc.constantFrom(0, 0.2, 0.5, 1),
        failureCountThreshold: fc.constantFrom(0, 1, 3, 10),
        latencySpikeThreshold: fc.constantFrom(0, 1, 1.5, 2),
      },
      { requiredKeys: [] },
    ),
  });

  test(
    "random logs: each snapshot is the reference's",
    { timeout: 60_000 + 500 * RUNS },
    async () => {
      const property = fc.asyncProperty(situation, async ({ logs, breaker, thresholds }) => {
        const subject = await tenant();
        const stored = logs.map(({ execution, age, isShadow, ...given }) => ({
          ...BLANK,
          ...given,
          id: executionLogId(ago(age), randomUUID()),
          agentId: subject.agentId,
          executionId: `00000000-0000-4000-8000-0000000000${String(execution).padStart(2, "0")}`,
          timestamp: ago(age),
          metadata: isShadow ? { shadow_of: "another" } : {},
        }));
        if (stored.length > 0) await subject.log(...stored);
        if (breaker !== "none") await subject.break(breaker);
        const expected = healthOf(stored, {
          now: NOW,
          breaker,
          thresholds: healthThresholds(thresholds),
        });
        expect(await subject.refreshed(thresholds)).toMatchObject(
          Object.fromEntries(
            Object.entries(expected).map(([name, value]) => [
              name,
              typeof value === "number" ? near(value) : value,
            ]),
          ),
        );
      });
      await fc.assert(property, {
        numRuns: RUNS,
        ...(SEED === undefined ? {} : { seed: Number(SEED) }),
      });
    },
  );
});

const BLANK: Omit<
  Log,
  | "id"
  | "agentId"
  | "executionId"
  | "timestamp"
  | "actionType"
  | "status"
  | "latencyMs"
  | "metadata"
> = {
  promptVersionId: null,
  tokenCountInput: null,
  tokenCountOutput: null,
  estimatedCostUsd: null,
  qualityScore: null,
  errorType: null,
  reviewedAt: null,
  reviewedBy: null,
};
