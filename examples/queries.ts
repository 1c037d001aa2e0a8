// What applications ask of the tables, as they would write it inside `withOrganization`:
//
//   const alerts = await withOrganization(db, organizationId, (tx) => openAlerts(tx));
//
// None names the organization: row-level security adds it, and each has an index that serves both.
// tests/container/plans.test.ts holds them to it, bench/queries.ts measures them.
import { and, arrayContains, desc, eq, gte, isNotNull, lt, ne } from "drizzle-orm";
import {
  abTests,
  agentExecutionLogs,
  agentHealthRealtime,
  agentPerformanceMetrics,
  agentPrompts,
  alertHistory,
  canaryDeployments,
  costBudgets,
  evaluationReports,
  improvementProposals,
  learningLog,
  shadowTests,
  slaCompliance,
  type Transaction,
} from "../src/index.ts";

/** The latest logs of an agent, newest first. */
export const latestLogsOfAgent = (tx: Transaction, agentId: string, limit = 50) =>
  tx
    .select()
    .from(agentExecutionLogs)
    .where(eq(agentExecutionLogs.agentId, agentId))
    .orderBy(desc(agentExecutionLogs.timestamp))
    .limit(limit);

/** The latest logs of the organization, newest first. */
export const latestLogs = (tx: Transaction, limit = 50) =>
  tx.select().from(agentExecutionLogs).orderBy(desc(agentExecutionLogs.timestamp)).limit(limit);

/** What failed on a day (UTC), newest first. */
export function failuresOfDay(tx: Transaction, day: string) {
  const start = new Date(`${day}T00:00:00Z`);
  const end = new Date(start.getTime() + 24 * 60 * 60 * 1000);
  return tx
    .select()
    .from(agentExecutionLogs)
    .where(
      and(
        eq(agentExecutionLogs.status, "failure"),
        gte(agentExecutionLogs.timestamp, start),
        lt(agentExecutionLogs.timestamp, end),
      ),
    )
    .orderBy(desc(agentExecutionLogs.timestamp));
}

/** The rows of one execution, in order. */
export const logsOfExecution = (tx: Transaction, executionId: string) =>
  tx
    .select()
    .from(agentExecutionLogs)
    .where(eq(agentExecutionLogs.executionId, executionId))
    .orderBy(agentExecutionLogs.timestamp);

/**
 * The worst scored logs of an agent, those below a quality, worst first. The limit stands inside:
 * row-level security keeps numeric comparisons out of an index, so the index gives the lowest and the
 * comparison comes after.
 */
export function logsBelowQuality(tx: Transaction, agentId: string, quality: number, limit = 50) {
  const lowest = tx
    .select()
    .from(agentExecutionLogs)
    .where(and(eq(agentExecutionLogs.agentId, agentId), isNotNull(agentExecutionLogs.qualityScore)))
    .orderBy(agentExecutionLogs.qualityScore)
    .limit(limit)
    .as("lowest");
  return tx
    .select()
    .from(lowest)
    .where(lt(lowest.qualityScore, quality))
    .orderBy(lowest.qualityScore);
}

/** Alerts that nobody has resolved, newest first. */
export const openAlerts = (tx: Transaction, limit = 50) =>
  tx
    .select()
    .from(alertHistory)
    .where(eq(alertHistory.resolved, false))
    .orderBy(desc(alertHistory.createdAt))
    .limit(limit);

/** Proposals that nobody has decided on, the longest waiting first. */
export const pendingProposals = (tx: Transaction, limit = 50) =>
  tx
    .select()
    .from(improvementProposals)
    .where(eq(improvementProposals.status, "proposed"))
    .orderBy(improvementProposals.createdAt)
    .limit(limit);

export const runningAbTests = (tx: Transaction) =>
  tx.select().from(abTests).where(eq(abTests.status, "running"));

export const runningShadowTests = (tx: Transaction) =>
  tx.select().from(shadowTests).where(eq(shadowTests.status, "running"));

export const runningCanaries = (tx: Transaction) =>
  tx.select().from(canaryDeployments).where(eq(canaryDeployments.status, "running"));

/** The latest reports of an agent, newest first. */
export const latestReports = (tx: Transaction, agentId: string, limit = 10) =>
  tx
    .select()
    .from(evaluationReports)
    .where(eq(evaluationReports.agentId, agentId))
    .orderBy(desc(evaluationReports.reportDate))
    .limit(limit);

/** The days of an agent since one, a row for each day and prompt version, newest first. */
export const metricsOfAgent = (tx: Transaction, agentId: string, since: string) =>
  tx
    .select()
    .from(agentPerformanceMetrics)
    .where(
      and(eq(agentPerformanceMetrics.agentId, agentId), gte(agentPerformanceMetrics.date, since)),
    )
    .orderBy(desc(agentPerformanceMetrics.date));

/** The days of all agents of the organization since one. */
export const metricsOfOrganization = (tx: Transaction, since: string) =>
  tx.select().from(agentPerformanceMetrics).where(gte(agentPerformanceMetrics.date, since));

/** How each agent of the organization kept its promises in the periods that begin on a day. */
export const complianceOfPeriod = (tx: Transaction, periodStart: string) =>
  tx.select().from(slaCompliance).where(eq(slaCompliance.periodStart, periodStart));

/** All budgets of the organization, its own and those of its agents. */
export const budgets = (tx: Transaction) => tx.select().from(costBudgets);

/** The newest learnings in force that apply to a category or name. */
export const learningsApplicableTo = (tx: Transaction, subject: string, limit = 20) =>
  tx
    .select()
    .from(learningLog)
    .where(and(eq(learningLog.isActive, true), arrayContains(learningLog.applicableTo, [subject])))
    .orderBy(desc(learningLog.createdAt))
    .limit(limit);

/** The prompt that an agent runs with; no row if none is active. */
export const activePrompt = (tx: Transaction, agentId: string) =>
  tx
    .select()
    .from(agentPrompts)
    .where(and(eq(agentPrompts.agentId, agentId), eq(agentPrompts.isActive, true)));

/** Agents that are not well. */
export const unhealthyAgents = (tx: Transaction) =>
  tx.select().from(agentHealthRealtime).where(ne(agentHealthRealtime.status, "healthy"));
