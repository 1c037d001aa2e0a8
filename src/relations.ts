/** How the tables relate, for Drizzle's `db.query` and for drizzle-kit studio. */
import { relations } from "drizzle-orm";
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
  agent: one(agentRegistry, { fields: [agentPrompts.agentId], references: [agentRegistry.id] }),
  parentVersion: one(agentPrompts, {
    fields: [agentPrompts.parentVersionId],
    references: [agentPrompts.id],
    relationName: "parentVersion",
  }),
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
  agent: one(agentRegistry, {
    fields: [agentExecutionLogs.agentId],
    references: [agentRegistry.id],
  }),
  promptVersion: one(agentPrompts, {
    fields: [agentExecutionLogs.promptVersionId],
    references: [agentPrompts.id],
  }),
  embeddings: many(executionEmbeddings),
}));

/** What `agent_performance_metrics` relates to. */
export const agentPerformanceMetricsRelations = relations(agentPerformanceMetrics, ({ one }) => ({
  agent: one(agentRegistry, {
    fields: [agentPerformanceMetrics.agentId],
    references: [agentRegistry.id],
  }),
  promptVersion: one(agentPrompts, {
    fields: [agentPerformanceMetrics.promptVersionId],
    references: [agentPrompts.id],
  }),
}));

/** What `agent_health_realtime` relates to. */
export const agentHealthRealtimeRelations = relations(agentHealthRealtime, ({ one }) => ({
  agent: one(agentRegistry, {
    fields: [agentHealthRealtime.agentId],
    references: [agentRegistry.id],
  }),
}));

/** What `circuit_breaker_state` relates to. */
export const circuitBreakerStateRelations = relations(circuitBreakerState, ({ one }) => ({
  agent: one(agentRegistry, {
    fields: [circuitBreakerState.agentId],
    references: [agentRegistry.id],
  }),
}));

/** What `evaluation_reports` relates to. */
export const evaluationReportsRelations = relations(evaluationReports, ({ many, one }) => ({
  agent: one(agentRegistry, {
    fields: [evaluationReports.agentId],
    references: [agentRegistry.id],
  }),
  improvementProposals: many(improvementProposals),
}));

/** What `improvement_proposals` relates to. */
export const improvementProposalsRelations = relations(improvementProposals, ({ many, one }) => ({
  agent: one(agentRegistry, {
    fields: [improvementProposals.agentId],
    references: [agentRegistry.id],
  }),
  evaluationReport: one(evaluationReports, {
    fields: [improvementProposals.evaluationReportId],
    references: [evaluationReports.id],
  }),
  deployedPromptVersion: one(agentPrompts, {
    fields: [improvementProposals.deployedPromptVersionId],
    references: [agentPrompts.id],
  }),
  abTests: many(abTests),
  learnings: many(learningLog),
}));

/** What `ab_tests` relates to. */
export const abTestsRelations = relations(abTests, ({ many, one }) => ({
  agent: one(agentRegistry, { fields: [abTests.agentId], references: [agentRegistry.id] }),
  improvementProposal: one(improvementProposals, {
    fields: [abTests.improvementProposalId],
    references: [improvementProposals.id],
  }),
  controlPrompt: one(agentPrompts, {
    fields: [abTests.controlPromptId],
    references: [agentPrompts.id],
    relationName: "controlPrompt",
  }),
  treatmentPrompt: one(agentPrompts, {
    fields: [abTests.treatmentPromptId],
    references: [agentPrompts.id],
    relationName: "treatmentPrompt",
  }),
  learnings: many(learningLog),
}));

/** What `shadow_tests` relates to. */
export const shadowTestsRelations = relations(shadowTests, ({ one }) => ({
  agent: one(agentRegistry, { fields: [shadowTests.agentId], references: [agentRegistry.id] }),
  productionPrompt: one(agentPrompts, {
    fields: [shadowTests.productionPromptId],
    references: [agentPrompts.id],
    relationName: "productionPrompt",
  }),
  shadowPrompt: one(agentPrompts, {
    fields: [shadowTests.shadowPromptId],
    references: [agentPrompts.id],
    relationName: "shadowPrompt",
  }),
}));

/** What `canary_deployments` relates to. */
export const canaryDeploymentsRelations = relations(canaryDeployments, ({ one }) => ({
  agent: one(agentRegistry, {
    fields: [canaryDeployments.agentId],
    references: [agentRegistry.id],
  }),
  currentPrompt: one(agentPrompts, {
    fields: [canaryDeployments.currentPromptId],
    references: [agentPrompts.id],
    relationName: "currentPrompt",
  }),
  canaryPrompt: one(agentPrompts, {
    fields: [canaryDeployments.canaryPromptId],
    references: [agentPrompts.id],
    relationName: "canaryPrompt",
  }),
}));

/** What `alert_history` relates to. */
export const alertHistoryRelations = relations(alertHistory, ({ one }) => ({
  agent: one(agentRegistry, { fields: [alertHistory.agentId], references: [agentRegistry.id] }),
}));

/** What `learning_log` relates to. */
export const learningLogRelations = relations(learningLog, ({ many, one }) => ({
  agent: one(agentRegistry, { fields: [learningLog.agentId], references: [agentRegistry.id] }),
  relatedProposal: one(improvementProposals, {
    fields: [learningLog.relatedProposalId],
    references: [improvementProposals.id],
  }),
  relatedAbTest: one(abTests, {
    fields: [learningLog.relatedAbTestId],
    references: [abTests.id],
  }),
  /** The learning that replaced this one. */
  successor: one(learningLog, {
    fields: [learningLog.supersededBy],
    references: [learningLog.id],
    relationName: "supersededBy",
  }),
  /** The learnings that this one replaced. */
  predecessors: many(learningLog, { relationName: "supersededBy" }),
}));

/** What `prompt_library` relates to. */
export const promptLibraryRelations = relations(promptLibrary, ({ many }) => ({
  uses: many(promptLibraryUsage),
}));

/** What `prompt_library_usage` relates to. */
export const promptLibraryUsageRelations = relations(promptLibraryUsage, ({ one }) => ({
  prompt: one(agentPrompts, {
    fields: [promptLibraryUsage.promptId],
    references: [agentPrompts.id],
  }),
  libraryComponent: one(promptLibrary, {
    fields: [promptLibraryUsage.libraryComponentId],
    references: [promptLibrary.id],
  }),
}));

/** What `agent_slas` relates to. */
export const agentSlasRelations = relations(agentSlas, ({ many, one }) => ({
  agent: one(agentRegistry, { fields: [agentSlas.agentId], references: [agentRegistry.id] }),
  compliance: many(slaCompliance),
}));

/** What `sla_compliance` relates to. */
export const slaComplianceRelations = relations(slaCompliance, ({ one }) => ({
  agent: one(agentRegistry, { fields: [slaCompliance.agentId], references: [agentRegistry.id] }),
  sla: one(agentSlas, { fields: [slaCompliance.slaId], references: [agentSlas.id] }),
}));

/** What `cost_budgets` relates to. */
export const costBudgetsRelations = relations(costBudgets, ({ one }) => ({
  agent: one(agentRegistry, { fields: [costBudgets.agentId], references: [agentRegistry.id] }),
}));

/** What `model_routing_rules` relates to. */
export const modelRoutingRulesRelations = relations(modelRoutingRules, ({ one }) => ({
  agent: one(agentRegistry, {
    fields: [modelRoutingRules.agentId],
    references: [agentRegistry.id],
  }),
}));

/** What `agent_dependencies` relates to. */
export const agentDependenciesRelations = relations(agentDependencies, ({ one }) => ({
  upstreamAgent: one(agentRegistry, {
    fields: [agentDependencies.upstreamAgentId],
    references: [agentRegistry.id],
    relationName: "upstream",
  }),
  downstreamAgent: one(agentRegistry, {
    fields: [agentDependencies.downstreamAgentId],
    references: [agentRegistry.id],
    relationName: "downstream",
  }),
}));

/** What `execution_embeddings` relates to. */
export const executionEmbeddingsRelations = relations(executionEmbeddings, ({ one }) => ({
  executionLog: one(agentExecutionLogs, {
    fields: [executionEmbeddings.executionLogId],
    references: [agentExecutionLogs.id],
  }),
}));
