/** How the tables relate, for Drizzle's `db.query` and for drizzle-kit studio. */
import { relations } from "drizzle-orm";
import type { AnyPgColumn } from "drizzle-orm/pg-core";
import {
  abTests,
  agentDependencies,
  agentExecutionLogs,
  agentHealthRealtime,
  agentPerformanceMetrics,
  agentPrompts,
  agentRegistry,
  agentSlas,
  alertHistory,
  canaryDeployments,
  circuitBreakerState,
  costBudgets,
  evaluationReports,
  executionEmbeddings,
  improvementProposals,
  learningLog,
  modelRoutingRules,
  promptLibrary,
  promptLibraryUsage,
  shadowTests,
  slaCompliance,
} from "./schema/index.ts";

/** The row whose id a column holds. Where two columns of a table name rows of one table, each has a name. */
const by = <Column extends AnyPgColumn, Id extends AnyPgColumn>(
  column: Column,
  id: Id,
  relationName?: string,
): { fields: [Column]; references: [Id]; relationName?: string } => ({
  fields: [column],
  references: [id],
  ...(relationName === undefined ? {} : { relationName }),
});

/** What `agent_registry` relates to. */
export const agentRegistryRelations = relations(agentRegistry, ({ many, one }) => ({
  prompts: many(agentPrompts),
  executionLogs: many(agentExecutionLogs),
  performanceMetrics: many(agentPerformanceMetrics),
  health: one(agentHealthRealtime),
  circuitBreaker: one(circuitBreakerState),
  evaluationReports: many(evaluationReports),
  improvementProposals: many(improvementProposals),
  abTests: many(abTests),
  shadowTests: many(shadowTests),
  canaryDeployments: many(canaryDeployments),
  alerts: many(alertHistory),
  learnings: many(learningLog),
  slas: many(agentSlas),
  slaCompliance: many(slaCompliance),
  costBudgets: many(costBudgets),
  modelRoutingRules: many(modelRoutingRules),
  /** The agents that need this one. */
  downstream: many(agentDependencies, { relationName: "upstream" }),
  /** The agents that this one needs. */
  upstream: many(agentDependencies, { relationName: "downstream" }),
}));

/** What `agent_prompts` relates to. */
export const agentPromptsRelations = relations(agentPrompts, ({ many, one }) => ({
  agent: one(agentRegistry, by(agentPrompts.agentId, agentRegistry.id)),
  parentVersion: one(
    agentPrompts,
    by(agentPrompts.parentVersionId, agentPrompts.id, "parentVersion"),
  ),
  childVersions: many(agentPrompts, { relationName: "parentVersion" }),
  executionLogs: many(agentExecutionLogs),
  performanceMetrics: many(agentPerformanceMetrics),
  libraryUses: many(promptLibraryUsage),
  deployedBy: many(improvementProposals),
  abTestsAsControl: many(abTests, { relationName: "controlPrompt" }),
  abTestsAsTreatment: many(abTests, { relationName: "treatmentPrompt" }),
  shadowTestsAsProduction: many(shadowTests, { relationName: "productionPrompt" }),
  shadowTestsAsShadow: many(shadowTests, { relationName: "shadowPrompt" }),
  canariesAsCurrent: many(canaryDeployments, { relationName: "currentPrompt" }),
  canariesAsCanary: many(canaryDeployments, { relationName: "canaryPrompt" }),
}));

/** What `agent_execution_logs` relates to. */
export const agentExecutionLogsRelations = relations(agentExecutionLogs, ({ many, one }) => ({
  agent: one(agentRegistry, by(agentExecutionLogs.agentId, agentRegistry.id)),
  promptVersion: one(agentPrompts, by(agentExecutionLogs.promptVersionId, agentPrompts.id)),
  embeddings: many(executionEmbeddings),
}));

/** What `agent_performance_metrics` relates to. */
export const agentPerformanceMetricsRelations = relations(agentPerformanceMetrics, ({ one }) => ({
  agent: one(agentRegistry, by(agentPerformanceMetrics.agentId, agentRegistry.id)),
  promptVersion: one(agentPrompts, by(agentPerformanceMetrics.promptVersionId, agentPrompts.id)),
}));

/** What `agent_health_realtime` relates to. */
export const agentHealthRealtimeRelations = relations(agentHealthRealtime, ({ one }) => ({
  agent: one(agentRegistry, by(agentHealthRealtime.agentId, agentRegistry.id)),
}));

/** What `circuit_breaker_state` relates to. */
export const circuitBreakerStateRelations = relations(circuitBreakerState, ({ one }) => ({
  agent: one(agentRegistry, by(circuitBreakerState.agentId, agentRegistry.id)),
}));

/** What `evaluation_reports` relates to. */
export const evaluationReportsRelations = relations(evaluationReports, ({ many, one }) => ({
  agent: one(agentRegistry, by(evaluationReports.agentId, agentRegistry.id)),
  improvementProposals: many(improvementProposals),
}));

/** What `improvement_proposals` relates to. */
export const improvementProposalsRelations = relations(improvementProposals, ({ many, one }) => ({
  agent: one(agentRegistry, by(improvementProposals.agentId, agentRegistry.id)),
  evaluationReport: one(
    evaluationReports,
    by(improvementProposals.evaluationReportId, evaluationReports.id),
  ),
  deployedPromptVersion: one(
    agentPrompts,
    by(improvementProposals.deployedPromptVersionId, agentPrompts.id),
  ),
  abTests: many(abTests),
  learnings: many(learningLog),
}));

/** What `ab_tests` relates to. */
export const abTestsRelations = relations(abTests, ({ many, one }) => ({
  agent: one(agentRegistry, by(abTests.agentId, agentRegistry.id)),
  improvementProposal: one(
    improvementProposals,
    by(abTests.improvementProposalId, improvementProposals.id),
  ),
  controlPrompt: one(agentPrompts, by(abTests.controlPromptId, agentPrompts.id, "controlPrompt")),
  treatmentPrompt: one(
    agentPrompts,
    by(abTests.treatmentPromptId, agentPrompts.id, "treatmentPrompt"),
  ),
  learnings: many(learningLog),
}));

/** What `shadow_tests` relates to. */
export const shadowTestsRelations = relations(shadowTests, ({ one }) => ({
  agent: one(agentRegistry, by(shadowTests.agentId, agentRegistry.id)),
  productionPrompt: one(
    agentPrompts,
    by(shadowTests.productionPromptId, agentPrompts.id, "productionPrompt"),
  ),
  shadowPrompt: one(agentPrompts, by(shadowTests.shadowPromptId, agentPrompts.id, "shadowPrompt")),
}));

/** What `canary_deployments` relates to. */
export const canaryDeploymentsRelations = relations(canaryDeployments, ({ one }) => ({
  agent: one(agentRegistry, by(canaryDeployments.agentId, agentRegistry.id)),
  currentPrompt: one(
    agentPrompts,
    by(canaryDeployments.currentPromptId, agentPrompts.id, "currentPrompt"),
  ),
  canaryPrompt: one(
    agentPrompts,
    by(canaryDeployments.canaryPromptId, agentPrompts.id, "canaryPrompt"),
  ),
}));

/** What `alert_history` relates to. */
export const alertHistoryRelations = relations(alertHistory, ({ one }) => ({
  agent: one(agentRegistry, by(alertHistory.agentId, agentRegistry.id)),
}));

/** What `learning_log` relates to. */
export const learningLogRelations = relations(learningLog, ({ many, one }) => ({
  agent: one(agentRegistry, by(learningLog.agentId, agentRegistry.id)),
  relatedProposal: one(
    improvementProposals,
    by(learningLog.relatedProposalId, improvementProposals.id),
  ),
  relatedAbTest: one(abTests, by(learningLog.relatedAbTestId, abTests.id)),
  /** The learning that replaced this one. */
  successor: one(learningLog, by(learningLog.supersededBy, learningLog.id, "supersededBy")),
  /** The learnings that this one replaced. */
  predecessors: many(learningLog, { relationName: "supersededBy" }),
}));

/** What `prompt_library` relates to. */
export const promptLibraryRelations = relations(promptLibrary, ({ many }) => ({
  uses: many(promptLibraryUsage),
}));

/** What `prompt_library_usage` relates to. */
export const promptLibraryUsageRelations = relations(promptLibraryUsage, ({ one }) => ({
  prompt: one(agentPrompts, by(promptLibraryUsage.promptId, agentPrompts.id)),
  libraryComponent: one(promptLibrary, by(promptLibraryUsage.libraryComponentId, promptLibrary.id)),
}));

/** What `agent_slas` relates to. */
export const agentSlasRelations = relations(agentSlas, ({ many, one }) => ({
  agent: one(agentRegistry, by(agentSlas.agentId, agentRegistry.id)),
  compliance: many(slaCompliance),
}));

/** What `sla_compliance` relates to. */
export const slaComplianceRelations = relations(slaCompliance, ({ one }) => ({
  agent: one(agentRegistry, by(slaCompliance.agentId, agentRegistry.id)),
  sla: one(agentSlas, by(slaCompliance.slaId, agentSlas.id)),
}));

/** What `cost_budgets` relates to. */
export const costBudgetsRelations = relations(costBudgets, ({ one }) => ({
  agent: one(agentRegistry, by(costBudgets.agentId, agentRegistry.id)),
}));

/** What `model_routing_rules` relates to. */
export const modelRoutingRulesRelations = relations(modelRoutingRules, ({ one }) => ({
  agent: one(agentRegistry, by(modelRoutingRules.agentId, agentRegistry.id)),
}));

/** What `agent_dependencies` relates to. */
export const agentDependenciesRelations = relations(agentDependencies, ({ one }) => ({
  upstreamAgent: one(
    agentRegistry,
    by(agentDependencies.upstreamAgentId, agentRegistry.id, "upstream"),
  ),
  downstreamAgent: one(
    agentRegistry,
    by(agentDependencies.downstreamAgentId, agentRegistry.id, "downstream"),
  ),
}));

/** What `execution_embeddings` relates to. */
export const executionEmbeddingsRelations = relations(executionEmbeddings, ({ one }) => ({
  executionLog: one(
    agentExecutionLogs,
    by(executionEmbeddings.executionLogId, agentExecutionLogs.id),
  ),
}));
