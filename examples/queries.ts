// What applications ask of the tables, as they would write it inside `withOrganization`:
//
//   const alerts = await withOrganization(db, organizationId, (tx) => openAlerts(tx));
//
// None names the organization: row-level security adds it, and each has an index that serves both.
// tests/container/plans.test.ts holds them to it, bench/queries.ts measures them.
import { and, desc, eq, gte, isNotNull, lt, ne, sql } from "drizzle-orm";
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
  type Period,
  type Transaction,
  executionsBetween,
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
    .where(
      sql`${learningLog.id} in (select meta_agent.latest_learnings(${subject}, ${limit}::integer))`,
    )
    .orderBy(desc(learningLog.createdAt));

/** The prompt that an agent runs with; no row if none is active. */
export const activePrompt = (tx: Transaction, agentId: string) =>
  tx
    .select()
    .from(agentPrompts)
    .where(and(eq(agentPrompts.agentId, agentId), eq(agentPrompts.isActive, true)));

/** Agents that are not well. */
export const unhealthyAgents = (tx: Transaction) =>
  tx.select().from(agentHealthRealtime).where(ne(agentHealthRealtime.status, "healthy"));

// ── For dashboards; docs/dashboards.md has the same as plain SQL ──

const LOG = sql`public.agent_execution_logs as log`;
const isIn = ({ from, to }: Period) =>
  sql`log.timestamp >= ${from.toISOString()}::timestamptz and log.timestamp < ${to.toISOString()}::timestamptz`;

/** What each model cost on each day (UTC), and how often it was called. */
export const costByModel = (tx: Transaction, period: Period) =>
  tx
    .select({
      day: sql<string>`(log.timestamp at time zone 'UTC')::date`.as("day"),
      model: sql<string | null>`log.model_name`.as("model"),
      calls: sql<number>`count(*)::int`.as("calls"),
      /** Exact. */
      dollars: sql<string>`coalesce(sum(log.estimated_cost_usd), 0)`.as("dollars"),
    })
    .from(LOG)
    .where(sql`${isIn(period)} and num_nonnulls(log.model_name, log.estimated_cost_usd) > 0`)
    .groupBy(sql`1, 2`)
    .orderBy(sql`1, 4 desc, 2`);

/** The tokens that each agent's models read and wrote on each day (UTC). */
export const tokensByAgent = (tx: Transaction, period: Period) =>
  tx
    .select({
      day: sql<string>`(log.timestamp at time zone 'UTC')::date`.as("day"),
      agent: sql<string>`agent.agent_name`.as("agent"),
      read: sql`coalesce(sum(log.token_count_input), 0)`.mapWith(Number).as("read"),
      written: sql`coalesce(sum(log.token_count_output), 0)`.mapWith(Number).as("written"),
    })
    .from(LOG)
    .innerJoin(sql`public.agent_registry as agent`, sql`agent.id = log.agent_id`)
    .where(isIn(period))
    .groupBy(sql`1, 2`)
    .orderBy(sql`1, 2`);

/** How the executions of each day (UTC) ended and how long they took. A success rate is a ratio, 0 to 1. */
export const outcomesByDay = (tx: Transaction, period: Period) =>
  tx
    .select({
      day: sql<string>`(started at time zone 'UTC')::date`.as("day"),
      executions: sql<number>`count(*)::int`.as("executions"),
      successful: sql<number>`(count(*) filter (where outcome = 'success'))::int`.as("successful"),
      failed: sql<number>`(count(*) filter (where outcome in ('failure', 'timeout')))::int`.as(
        "failed",
      ),
      successRate: sql<
        number | null
      >`avg(case when outcome = 'success' then 1.0 when outcome in ('failure', 'timeout') then 0.0 end)::float8`.as(
        "success_rate",
      ),
      p50Ms: sql<number | null>`percentile_cont(0.5) within group (order by latency_ms)`.as(
        "p50_ms",
      ),
      p95Ms: sql<number | null>`percentile_cont(0.95) within group (order by latency_ms)`.as(
        "p95_ms",
      ),
    })
    .from(sql`(${executionsBetween(period)}) as execution`)
    .groupBy(sql`1`)
    .orderBy(sql`1`);

/** The tools by how long their slow calls take, the slowest first. */
export const slowestTools = (tx: Transaction, period: Period, limit = 20) =>
  tx
    .select({
      tool: sql<string | null>`log.action_name`.as("tool"),
      calls: sql<number>`count(*)::int`.as("calls"),
      failed: sql<number>`(count(*) filter (where log.status in ('failure', 'timeout')))::int`.as(
        "failed",
      ),
      p50Ms: sql<number | null>`percentile_cont(0.5) within group (order by log.latency_ms)`.as(
        "p50_ms",
      ),
      p95Ms: sql<number | null>`percentile_cont(0.95) within group (order by log.latency_ms)`.as(
        "p95_ms",
      ),
    })
    .from(LOG)
    .where(sql`${isIn(period)} and log.action_type = 'tool_call'`)
    .groupBy(sql`1`)
    .orderBy(sql`5 desc nulls last, 1`)
    .limit(limit);

/** The latest executions that failed or timed out, each with the last error of its rows. */
export const recentFailures = (tx: Transaction, period: Period, limit = 50) =>
  tx
    .select({
      started: sql`started`.mapWith(agentExecutionLogs.timestamp).as("started"),
      agent: sql<string>`agent.agent_name`.as("agent"),
      execution: sql<string>`failed.execution_id`.as("execution"),
      outcome: sql<string>`outcome`.as("outcome"),
      latencyMs: sql<number | null>`latency_ms`.as("latency_ms"),
      errorType: sql<string | null>`error.error_type`.as("error_type"),
      errorMessage: sql<string | null>`error.error_message`.as("error_message"),
    })
    .from(
      sql`(select * from (${executionsBetween(period)}) as execution
        where outcome in ('failure', 'timeout') order by started desc limit ${limit}) as failed`,
    )
    .innerJoin(sql`public.agent_registry as agent`, sql`agent.id = failed.agent_id`)
    .leftJoin(
      sql`lateral (select error_type, error_message from public.agent_execution_logs as log
        where log.execution_id = failed.execution_id and log.agent_id = failed.agent_id
          and log.timestamp between failed.started and failed.latest and log.status in ('failure', 'timeout')
        order by log.timestamp desc limit 1) as error`,
      sql`true`,
    )
    .orderBy(sql`started desc`);

/** One execution as a list: what was done, in order, and how long after its beginning. */
export const stepsOfExecution = (tx: Transaction, executionId: string) =>
  tx
    .select({
      afterMs:
        sql<number>`round(extract(epoch from log.timestamp - min(log.timestamp) over ()) * 1000)::int`.as(
          "after_ms",
        ),
      agent: sql<string>`agent.agent_name`.as("agent"),
      action: sql<string>`log.action_type`.as("action"),
      name: sql<string | null>`log.action_name`.as("name"),
      model: sql<string | null>`log.model_name`.as("model"),
      status: sql<string>`log.status`.as("status"),
      latencyMs: sql<number | null>`log.latency_ms`.as("latency_ms"),
      read: sql<number | null>`log.token_count_input`.as("read"),
      written: sql<number | null>`log.token_count_output`.as("written"),
      dollars: sql<string | null>`log.estimated_cost_usd`.as("dollars"),
      error: sql<string | null>`log.error_message`.as("error"),
    })
    .from(LOG)
    .innerJoin(sql`public.agent_registry as agent`, sql`agent.id = log.agent_id`)
    .where(sql`log.execution_id = ${executionId}::uuid`)
    .orderBy(sql`log.timestamp, log.id`);
