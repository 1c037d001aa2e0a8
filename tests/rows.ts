import { getTableName } from "drizzle-orm";
import type { PgTable } from "drizzle-orm/pg-core";
import type { Transaction } from "../src/client/sql.ts";
import * as tables from "../src/schema/index.ts";
import * as row from "../src/testing.ts";

/** One valid row for each of the 21 tables, parents first; every foreign key is set, but for the two self references. */
export function oneOfEach(): {
  table: PgTable;
  values: Record<string, unknown> & { id: string };
}[] {
  const agent = row.newAgent();
  const upstream = row.newAgent();
  const agentId = agent.id;
  const prompt = row.newPrompt({ agentId });
  const other = row.newPrompt({ agentId });
  const promptVersionId = prompt.id;
  const log = row.newExecutionLog({ agentId, promptVersionId });
  const report = row.newEvaluationReport({ agentId });
  const proposal = row.newProposal({
    agentId,
    evaluationReportId: report.id,
    deployedPromptVersionId: promptVersionId,
  });
  const test = row.newAbTest({
    agentId,
    improvementProposalId: proposal.id,
    controlPromptId: prompt.id,
    treatmentPromptId: other.id,
  });
  const component = row.newPromptComponent();
  const sla = row.newSla({ agentId });
  const learning = row.newLearning({
    agentId,
    relatedProposalId: proposal.id,
    relatedAbTestId: test.id,
  });
  return [
    { table: tables.agentRegistry, values: upstream },
    { table: tables.agentRegistry, values: agent },
    { table: tables.agentPrompts, values: other },
    { table: tables.agentPrompts, values: prompt },
    { table: tables.agentExecutionLogs, values: log },
    {
      table: tables.agentPerformanceMetrics,
      values: row.newPerformanceMetric({ agentId, promptVersionId }),
    },
    { table: tables.agentHealthRealtime, values: row.newHealth({ agentId }) },
    { table: tables.circuitBreakerState, values: row.newCircuitBreaker({ agentId }) },
    { table: tables.evaluationReports, values: report },
    { table: tables.improvementProposals, values: proposal },
    { table: tables.abTests, values: test },
    {
      table: tables.shadowTests,
      values: row.newShadowTest({
        agentId,
        productionPromptId: prompt.id,
        shadowPromptId: other.id,
      }),
    },
    {
      table: tables.canaryDeployments,
      values: row.newCanary({ agentId, currentPromptId: prompt.id, canaryPromptId: other.id }),
    },
    { table: tables.alertHistory, values: row.newAlert({ agentId }) },
    { table: tables.learningLog, values: learning },
    { table: tables.promptLibrary, values: component },
    {
      table: tables.promptLibraryUsage,
      values: row.newPromptLibraryUse({ promptId: prompt.id, libraryComponentId: component.id }),
    },
    { table: tables.agentSlas, values: sla },
    { table: tables.slaCompliance, values: row.newSlaCompliance({ agentId, slaId: sla.id }) },
    { table: tables.costBudgets, values: row.newBudget({ agentId }) },
    { table: tables.modelRoutingRules, values: row.newRoutingRule({ agentId }) },
    {
      table: tables.agentDependencies,
      values: row.newDependency({ upstreamAgentId: upstream.id, downstreamAgentId: agentId }),
    },
    {
      table: tables.executionEmbeddings,
      values: row.newEmbedding({ executionLogId: log.id }),
    },
  ];
}

/** Inserts {@link oneOfEach}, a statement a row; answers the id of the newest row of each table, by SQL name. */
export async function insertOneOfEach(tx: Transaction): Promise<Map<string, string>> {
  const ids = new Map<string, string>();
  for (const { table, values } of oneOfEach()) {
    await tx.insert(table).values(values);
    ids.set(getTableName(table), values.id);
  }
  return ids;
}
