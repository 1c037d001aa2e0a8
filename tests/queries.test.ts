import { beforeAll, expect, test } from "vitest";
import * as queries from "../examples/queries.ts";
import type { Database, Transaction } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { loadDemo } from "../src/demo/load.ts";
import { DEMO_ORGANIZATIONS } from "../src/demo/story.ts";
import { suite } from "./engine.ts";

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

const CASES: Record<keyof typeof queries, Case> = {
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

suite("documented queries", (database) => {
  let own: Fleet;
  beforeAll(async () => {
    await loadDemo(database.db);
    await database.query("update canary_deployments set status = 'running'");
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
});
