import { beforeAll, expect, test } from "vitest";
import * as queries from "../examples/queries.ts";
import type { Database, Transaction } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { loadDemo } from "../src/demo/load.ts";
import { DEMO_ORGANIZATIONS } from "../src/demo/story.ts";
import type { Period } from "../src/fleet/outcome.ts";
import { suite } from "./engine.ts";
import { dayOf, executionsOf, groupsOf, near, percentile } from "./reference.ts";

const ALL = 10_000;
const ORGANIZATION = Object.values(DEMO_ORGANIZATIONS)[0]?.id ?? "";

/** What a query answers, what it should, and the numbers by which its rows should ascend. */
type Outcome = readonly [answer: { id: string }[], expected: { id: string }[], order?: number[]];
type Case = (tx: Transaction, own: Fleet) => Promise<Outcome>;
type Fleet = Awaited<ReturnType<typeof fleet>>;

/** The rows of one organization, sifted here from all that the owner of the tables sees. */
async function fleet({ query }: Database) {
  const own = <T extends { organizationId: string | null }>(rows: T[]) =>
    rows.filter((row) => row.organizationId === ORGANIZATION);
  return {
    names: new Map(
      own(await query.agentRegistry.findMany()).map(({ id, agentName }) => [id, agentName]),
    ),
    logs: own(await query.agentExecutionLogs.findMany()),
    prompts: own(await query.agentPrompts.findMany()),
    metrics: own(await query.agentPerformanceMetrics.findMany()),
    health: own(await query.agentHealthRealtime.findMany()),
    reports: own(await query.evaluationReports.findMany()),
    proposals: own(await query.improvementProposals.findMany()),
    abTests: own(await query.abTests.findMany()),
    shadowTests: own(await query.shadowTests.findMany()),
    canaries: own(await query.canaryDeployments.findMany()),
    alerts: own(await query.alertHistory.findMany()),
    learnings: own(await query.learningLog.findMany()),
    compliance: own(await query.slaCompliance.findMany()),
    budgets: own(await query.costBudgets.findMany()),
  };
}

const newestFirst = (instants: (Date | string)[]) => instants.map((at) => -new Date(at).getTime());
const isRunning = ({ status }: { status: string }) => status === "running";

const CASES: Record<Exclude<keyof typeof queries, keyof typeof DASHBOARDS>, Case> = {
  latestLogsOfAgent: async (tx, own) => {
    const agentId = own.logs[0]?.agentId ?? "";
    const answer = await queries.latestLogsOfAgent(tx, agentId, ALL);
    return [
      answer,
      own.logs.filter((log) => log.agentId === agentId),
      newestFirst(answer.map(({ timestamp }) => timestamp)),
    ];
  },
  latestLogs: async (tx, own) => {
    const answer = await queries.latestLogs(tx, ALL);
    return [answer, own.logs, newestFirst(answer.map(({ timestamp }) => timestamp))];
  },
  failuresOfDay: async (tx, own) => {
    const failures = own.logs.filter(({ status }) => status === "failure");
    const day = failures[0]?.timestamp.toISOString().slice(0, 10) ?? "";
    const answer = await queries.failuresOfDay(tx, day);
    return [
      answer,
      failures.filter(({ timestamp }) => timestamp.toISOString().startsWith(day)),
      newestFirst(answer.map(({ timestamp }) => timestamp)),
    ];
  },
  logsOfExecution: async (tx, own) => {
    const executionId = own.logs[0]?.executionId ?? "";
    const answer = await queries.logsOfExecution(tx, executionId);
    return [
      answer,
      own.logs.filter((log) => log.executionId === executionId),
      answer.map(({ timestamp }) => timestamp.getTime()),
    ];
  },
  logsBelowQuality: async (tx, own) => {
    const scored = own.logs
      .filter(({ qualityScore }) => qualityScore !== null)
      .toSorted((a, b) => Number(a.qualityScore) - Number(b.qualityScore));
    const { agentId = "", qualityScore } = scored[Math.floor(scored.length / 2)] ?? {};
    const answer = await queries.logsBelowQuality(tx, agentId, Number(qualityScore), 5);
    return [
      answer,
      scored
        .filter((log) => log.agentId === agentId && Number(log.qualityScore) < Number(qualityScore))
        .slice(0, 5),
      answer.map((log) => Number(log.qualityScore)),
    ];
  },
  openAlerts: async (tx, own) => {
    const answer = await queries.openAlerts(tx);
    return [
      answer,
      own.alerts.filter(({ resolved }) => !resolved),
      newestFirst(answer.map(({ createdAt }) => createdAt)),
    ];
  },
  pendingProposals: async (tx, own) => {
    const answer = await queries.pendingProposals(tx);
    return [
      answer,
      own.proposals.filter(({ status }) => status === "proposed"),
      answer.map(({ createdAt }) => createdAt.getTime()),
    ];
  },
  runningAbTests: async (tx, own) => [
    await queries.runningAbTests(tx),
    own.abTests.filter(isRunning),
  ],
  runningShadowTests: async (tx, own) => [
    await queries.runningShadowTests(tx),
    own.shadowTests.filter(isRunning),
  ],
  runningCanaries: async (tx, own) => [
    await queries.runningCanaries(tx),
    own.canaries.filter(isRunning),
  ],
  latestReports: async (tx, own) => {
    const agentId = own.reports[0]?.agentId ?? "";
    const answer = await queries.latestReports(tx, agentId, ALL);
    return [
      answer,
      own.reports.filter((report) => report.agentId === agentId),
      newestFirst(answer.map(({ reportDate }) => reportDate)),
    ];
  },
  metricsOfAgent: async (tx, own) => {
    const { agentId = "", date: since = "" } = own.metrics[0] ?? {};
    const answer = await queries.metricsOfAgent(tx, agentId, since);
    return [
      answer,
      own.metrics.filter(({ date, ...day }) => day.agentId === agentId && date >= since),
      newestFirst(answer.map(({ date }) => date)),
    ];
  },
  metricsOfOrganization: async (tx, own) => {
    const since = own.metrics[0]?.date ?? "";
    return [
      await queries.metricsOfOrganization(tx, since),
      own.metrics.filter(({ date }) => date >= since),
    ];
  },
  complianceOfPeriod: async (tx, own) => {
    const start = own.compliance[0]?.periodStart ?? "";
    return [
      await queries.complianceOfPeriod(tx, start),
      own.compliance.filter(({ periodStart }) => periodStart === start),
    ];
  },
  budgets: async (tx, own) => [await queries.budgets(tx), own.budgets],
  learningsApplicableTo: async (tx, own) => {
    const learnings = own.learnings.filter(({ isActive }) => isActive);
    const subject = learnings[0]?.applicableTo?.[0] ?? "";
    const answer = await queries.learningsApplicableTo(tx, subject);
    return [
      answer,
      learnings.filter(({ applicableTo }) => applicableTo?.includes(subject)),
      newestFirst(answer.map(({ createdAt }) => createdAt)),
    ];
  },
  activePrompt: async (tx, own) => {
    const active = own.prompts.filter(({ isActive }) => isActive);
    return [await queries.activePrompt(tx, active[0]?.agentId ?? ""), active.slice(0, 1)];
  },
  unhealthyAgents: async (tx, own) => [
    await queries.unhealthyAgents(tx),
    own.health.filter(({ status }) => status !== "healthy"),
  ],
};

/** What a dashboard's query answers of a time, by key, what it should, and what should ascend. */
type Figures = (
  tx: Transaction,
  own: Fleet,
  period: Period,
) => Promise<readonly [answer: object, expected: object, order?: (number | string)[]]>;

const hasFailed = (outcome: string) => outcome === "failure" || outcome === "timeout";
const within = ({ from, to }: Period, instant: Date) => instant >= from && instant < to;
const total = (numbers: readonly (number | string | null)[]) =>
  numbers.reduce<number>((sum, number) => sum + Number(number), 0);
const latenciesOf = (list: readonly { latencyMs: number | null }[]) => {
  const ascending = list
    .flatMap(({ latencyMs }) => latencyMs ?? [])
    .toSorted((one, other) => one - other);
  return { p50Ms: near(percentile(ascending, 0.5)), p95Ms: near(percentile(ascending, 0.95)) };
};
/** What `keyOf` says of each item, and what `of` says of all that it says the same of. */
const figures = <T>(list: readonly T[], keyOf: (item: T) => string, of: (group: T[]) => object) =>
  Object.fromEntries([...groupsOf(list, keyOf)].map(([key, group]) => [key, of(group)]));
const isNoShadow = ({ metadata }: { metadata: object }) => !("shadow_of" in metadata);

const DASHBOARDS = {
  costByModel: async (tx, own, period) => {
    const answer = await queries.costByModel(tx, period);
    const calls = own.logs.filter(
      (log) => within(period, log.timestamp) && (log.modelName ?? log.estimatedCostUsd) !== null,
    );
    return [
      Object.fromEntries(answer.map(({ day, model, ...rest }) => [`${day} ${model}`, rest])),
      figures(
        calls,
        (log) => `${dayOf(log.timestamp)} ${log.modelName}`,
        (group) => ({
          calls: group.length,
          dollars: near(String(total(group.map((log) => log.estimatedCostUsd)))),
        }),
      ),
      answer.map(({ day, dollars }) => Date.parse(day) - Number(dollars)),
    ];
  },
  tokensByAgent: async (tx, own, period) => {
    const answer = await queries.tokensByAgent(tx, period);
    return [
      Object.fromEntries(answer.map(({ day, agent, ...rest }) => [`${day} ${agent}`, rest])),
      figures(
        own.logs.filter((log) => within(period, log.timestamp)),
        (log) => `${dayOf(log.timestamp)} ${own.names.get(log.agentId)}`,
        (group) => ({
          read: total(group.map((log) => log.tokenCountInput)),
          written: total(group.map((log) => log.tokenCountOutput)),
        }),
      ),
      answer.map(({ day }) => day),
    ];
  },
  outcomesByDay: async (tx, own, period) => {
    const answer = await queries.outcomesByDay(tx, period);
    const executions = executionsOf(own.logs.filter(isNoShadow));
    return [
      Object.fromEntries(answer.map(({ day, ...rest }) => [day, rest])),
      figures(
        executions.filter(({ start }) => within(period, start)),
        ({ start }) => dayOf(start),
        (group) => {
          const successful = group.filter(({ outcome }) => outcome === "success").length;
          const failed = group.filter(({ outcome }) => hasFailed(outcome)).length;
          const successRate = near(successful / (successful + failed));
          return {
            executions: group.length,
            successful,
            failed,
            successRate,
            ...latenciesOf(group),
          };
        },
      ),
      answer.map(({ day }) => day),
    ];
  },
  slowestTools: async (tx, own, period) => {
    const answer = await queries.slowestTools(tx, period, ALL);
    return [
      Object.fromEntries(answer.map(({ tool, ...rest }) => [tool, rest])),
      figures(
        own.logs.filter((log) => log.actionType === "tool_call" && within(period, log.timestamp)),
        (log) => String(log.actionName),
        (group) => ({
          calls: group.length,
          failed: group.filter(({ status }) => hasFailed(status)).length,
          ...latenciesOf(group),
        }),
      ),
      answer.map(({ p95Ms }) => -Number(p95Ms)),
    ];
  },
  recentFailures: async (tx, own, period) => {
    const answer = await queries.recentFailures(tx, period, ALL);
    const failed = executionsOf(own.logs.filter(isNoShadow)).filter(
      ({ start, outcome }) => within(period, start) && hasFailed(outcome),
    );
    return [
      Object.fromEntries(answer.map((row) => [`${row.agent} ${row.execution}`, row])),
      figures(
        failed,
        ({ agentId, rows }) => `${own.names.get(agentId)} ${rows[0]?.executionId}`,
        ([execution]) => {
          const last = execution?.rows.findLast(({ status }) => hasFailed(status));
          return {
            started: execution?.start,
            agent: own.names.get(execution?.agentId ?? ""),
            execution: execution?.rows[0]?.executionId,
            outcome: execution?.outcome,
            latencyMs: execution?.latencyMs,
            errorType: last?.errorType,
            errorMessage: own.logs.find(({ id }) => id === last?.id)?.errorMessage,
          };
        },
      ),
      newestFirst(answer.map(({ started }) => started)),
    ];
  },
  stepsOfExecution: async (tx, own) => {
    const [largest = []] = [
      ...groupsOf(own.logs, ({ executionId }) => executionId).values(),
    ].toSorted((one, other) => other.length - one.length);
    const answer = await queries.stepsOfExecution(tx, largest[0]?.executionId ?? "");
    const start = Math.min(...largest.map(({ timestamp }) => timestamp.getTime()));
    const steps = largest.map((log) => ({
      afterMs: log.timestamp.getTime() - start,
      agent: own.names.get(log.agentId),
      action: log.actionType,
      name: log.actionName,
      model: log.modelName,
      status: log.status,
      latencyMs: log.latencyMs,
      read: log.tokenCountInput,
      written: log.tokenCountOutput,
      dollars: log.estimatedCostUsd,
      error: log.errorMessage,
    }));
    expect(largest.length).toBeGreaterThan(1);
    return [
      { steps: answer },
      { steps: steps.toSorted((one, other) => one.afterMs - other.afterMs) },
    ];
  },
} satisfies Record<string, Figures>;

/** A time that begins and ends within executions: the first began before it, the last goes on after it. */
function periodAcross(logs: Fleet["logs"]): Period {
  const seconds = [...groupsOf(logs.filter(isNoShadow), ({ executionId }) => executionId).values()]
    .map((group) => group.map(({ timestamp }) => timestamp.getTime()).toSorted((a, b) => a - b))
    .flatMap(([first, second]) => (second !== undefined && first !== second ? [second] : []))
    .toSorted((a, b) => a - b);
  const at = (share: number) => new Date(seconds[Math.floor(seconds.length * share)] ?? 0);
  return { from: at(0.3), to: at(0.9) };
}

suite("documented queries", (database) => {
  let own: Fleet;
  beforeAll(async () => {
    await loadDemo(database.db);
    for (const table of ["canary_deployments", "shadow_tests"]) {
      await database.query(`update ${table} set status = 'running'`);
    }
    await database.query("update agent_health_realtime set status = 'degraded'");
    // Runs that went on, and shadows.
    await database.query(
      `update agent_execution_logs set action_type = 'agent_run', status = 'success'
       where hashtext(execution_id::text) % 5 = 0 and action_type = 'tool_call'`,
    );
    await database.query(
      `update agent_execution_logs set metadata = '{"shadow_of": "another"}' where hashtext(execution_id::text) % 7 = 0`,
    );
    own = await fleet(database.db);
  });

  test.each(Object.entries(CASES))("%s answers the organization's rows alone", async (_, ask) => {
    const [answer, expected, order = []] = await withOrganization(database.db, ORGANIZATION, (tx) =>
      ask(tx, own),
    );
    expect(answer).not.toEqual([]);
    expect(answer.map(({ id }) => id).toSorted()).toEqual(expected.map(({ id }) => id).toSorted());
    expect(order).toEqual(order.toSorted((a, b) => a - b));
  });

  test.each(Object.entries<Figures>(DASHBOARDS))(
    "%s answers the figures of the organization alone",
    async (_, ask) => {
      const [answer, expected, order = []] = await withOrganization(
        database.db,
        ORGANIZATION,
        (tx) => ask(tx, own, periodAcross(own.logs)),
      );
      expect(answer).not.toEqual({});
      expect(answer).toEqual(expected);
      expect(order).toEqual(order.toSorted((a, b) => (a < b ? -1 : Number(a > b))));
    },
  );
});
