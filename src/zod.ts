/**
 * Validators of every table, three each. Each is built when first something of it is read: importing all
 * costs next to nothing.
 */
import * as tables from "./schema/index.ts";
import { validators } from "./validation/validators.ts";

export {
  type Validators,
  insertJsonSchema,
  jsonInsertSchema,
  validators,
} from "./validation/validators.ts";

const agentRegistry = validators(tables.agentRegistry);
/** A row of `agent_registry` as it is stored. */
export const selectAgentSchema = agentRegistry.select;
/** A row to insert into `agent_registry`. */
export const insertAgentSchema = agentRegistry.insert;
/** What may change in a row of `agent_registry`. */
export const updateAgentSchema = agentRegistry.update;

const agentPrompts = validators(tables.agentPrompts);
/** A row of `agent_prompts` as it is stored. */
export const selectAgentPromptSchema = agentPrompts.select;
/** A row to insert into `agent_prompts`. */
export const insertAgentPromptSchema = agentPrompts.insert;
/** What may change in a row of `agent_prompts`. */
export const updateAgentPromptSchema = agentPrompts.update;

const agentExecutionLogs = validators(tables.agentExecutionLogs);
/** A row of `agent_execution_logs` as it is stored. */
export const selectAgentExecutionLogSchema = agentExecutionLogs.select;
/** A row to insert into `agent_execution_logs`. */
export const insertAgentExecutionLogSchema = agentExecutionLogs.insert;
/** What may change in a row of `agent_execution_logs`. */
export const updateAgentExecutionLogSchema = agentExecutionLogs.update;

const agentPerformanceMetrics = validators(tables.agentPerformanceMetrics);
/** A row of `agent_performance_metrics` as it is stored. */
export const selectAgentPerformanceMetricSchema = agentPerformanceMetrics.select;
/** A row to insert into `agent_performance_metrics`. */
export const insertAgentPerformanceMetricSchema = agentPerformanceMetrics.insert;
/** What may change in a row of `agent_performance_metrics`. */
export const updateAgentPerformanceMetricSchema = agentPerformanceMetrics.update;

const agentHealthRealtime = validators(tables.agentHealthRealtime);
/** A row of `agent_health_realtime` as it is stored. */
export const selectAgentHealthSchema = agentHealthRealtime.select;
/** A row to insert into `agent_health_realtime`. */
export const insertAgentHealthSchema = agentHealthRealtime.insert;
/** What may change in a row of `agent_health_realtime`. */
export const updateAgentHealthSchema = agentHealthRealtime.update;

const circuitBreakerState = validators(tables.circuitBreakerState);
/** A row of `circuit_breaker_state` as it is stored. */
export const selectCircuitBreakerSchema = circuitBreakerState.select;
/** A row to insert into `circuit_breaker_state`. */
export const insertCircuitBreakerSchema = circuitBreakerState.insert;
/** What may change in a row of `circuit_breaker_state`. */
export const updateCircuitBreakerSchema = circuitBreakerState.update;

const evaluationReports = validators(tables.evaluationReports);
/** A row of `evaluation_reports` as it is stored. */
export const selectEvaluationReportSchema = evaluationReports.select;
/** A row to insert into `evaluation_reports`. */
export const insertEvaluationReportSchema = evaluationReports.insert;
/** What may change in a row of `evaluation_reports`. */
export const updateEvaluationReportSchema = evaluationReports.update;

const improvementProposals = validators(tables.improvementProposals);
/** A row of `improvement_proposals` as it is stored. */
export const selectImprovementProposalSchema = improvementProposals.select;
/** A row to insert into `improvement_proposals`. */
export const insertImprovementProposalSchema = improvementProposals.insert;
/** What may change in a row of `improvement_proposals`. */
export const updateImprovementProposalSchema = improvementProposals.update;

const abTests = validators(tables.abTests);
/** A row of `ab_tests` as it is stored. */
export const selectAbTestSchema = abTests.select;
/** A row to insert into `ab_tests`. */
export const insertAbTestSchema = abTests.insert;
/** What may change in a row of `ab_tests`. */
export const updateAbTestSchema = abTests.update;

const shadowTests = validators(tables.shadowTests);
/** A row of `shadow_tests` as it is stored. */
export const selectShadowTestSchema = shadowTests.select;
/** A row to insert into `shadow_tests`. */
export const insertShadowTestSchema = shadowTests.insert;
/** What may change in a row of `shadow_tests`. */
export const updateShadowTestSchema = shadowTests.update;

const canaryDeployments = validators(tables.canaryDeployments);
/** A row of `canary_deployments` as it is stored. */
export const selectCanaryDeploymentSchema = canaryDeployments.select;
/** A row to insert into `canary_deployments`. */
export const insertCanaryDeploymentSchema = canaryDeployments.insert;
/** What may change in a row of `canary_deployments`. */
export const updateCanaryDeploymentSchema = canaryDeployments.update;

const alertHistory = validators(tables.alertHistory);
/** A row of `alert_history` as it is stored. */
export const selectAlertSchema = alertHistory.select;
/** A row to insert into `alert_history`. */
export const insertAlertSchema = alertHistory.insert;
/** What may change in a row of `alert_history`. */
export const updateAlertSchema = alertHistory.update;

const learningLog = validators(tables.learningLog);
/** A row of `learning_log` as it is stored. */
export const selectLearningSchema = learningLog.select;
/** A row to insert into `learning_log`. */
export const insertLearningSchema = learningLog.insert;
/** What may change in a row of `learning_log`. */
export const updateLearningSchema = learningLog.update;

const promptLibrary = validators(tables.promptLibrary);
/** A row of `prompt_library` as it is stored. */
export const selectPromptComponentSchema = promptLibrary.select;
/** A row to insert into `prompt_library`. */
export const insertPromptComponentSchema = promptLibrary.insert;
/** What may change in a row of `prompt_library`. */
export const updatePromptComponentSchema = promptLibrary.update;

const promptLibraryUsage = validators(tables.promptLibraryUsage);
/** A row of `prompt_library_usage` as it is stored. */
export const selectPromptLibraryUseSchema = promptLibraryUsage.select;
/** A row to insert into `prompt_library_usage`. */
export const insertPromptLibraryUseSchema = promptLibraryUsage.insert;
/** What may change in a row of `prompt_library_usage`. */
export const updatePromptLibraryUseSchema = promptLibraryUsage.update;

const agentSlas = validators(tables.agentSlas);
/** A row of `agent_slas` as it is stored. */
export const selectAgentSlaSchema = agentSlas.select;
/** A row to insert into `agent_slas`. */
export const insertAgentSlaSchema = agentSlas.insert;
/** What may change in a row of `agent_slas`. */
export const updateAgentSlaSchema = agentSlas.update;

const slaCompliance = validators(tables.slaCompliance);
/** A row of `sla_compliance` as it is stored. */
export const selectSlaComplianceSchema = slaCompliance.select;
/** A row to insert into `sla_compliance`. */
export const insertSlaComplianceSchema = slaCompliance.insert;
/** What may change in a row of `sla_compliance`. */
export const updateSlaComplianceSchema = slaCompliance.update;

const costBudgets = validators(tables.costBudgets);
/** A row of `cost_budgets` as it is stored. */
export const selectCostBudgetSchema = costBudgets.select;
/** A row to insert into `cost_budgets`. */
export const insertCostBudgetSchema = costBudgets.insert;
/** What may change in a row of `cost_budgets`. */
export const updateCostBudgetSchema = costBudgets.update;

const modelRoutingRules = validators(tables.modelRoutingRules);
/** A row of `model_routing_rules` as it is stored. */
export const selectModelRoutingRuleSchema = modelRoutingRules.select;
/** A row to insert into `model_routing_rules`. */
export const insertModelRoutingRuleSchema = modelRoutingRules.insert;
/** What may change in a row of `model_routing_rules`. */
export const updateModelRoutingRuleSchema = modelRoutingRules.update;

const agentDependencies = validators(tables.agentDependencies);
/** A row of `agent_dependencies` as it is stored. */
export const selectAgentDependencySchema = agentDependencies.select;
/** A row to insert into `agent_dependencies`. */
export const insertAgentDependencySchema = agentDependencies.insert;
/** What may change in a row of `agent_dependencies`. */
export const updateAgentDependencySchema = agentDependencies.update;

const executionEmbeddings = validators(tables.executionEmbeddings);
/** A row of `execution_embeddings` as it is stored. */
export const selectExecutionEmbeddingSchema = executionEmbeddings.select;
/** A row to insert into `execution_embeddings`. */
export const insertExecutionEmbeddingSchema = executionEmbeddings.insert;
/** What may change in a row of `execution_embeddings`. */
export const updateExecutionEmbeddingSchema = executionEmbeddings.update;
