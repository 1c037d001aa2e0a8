/** Governance: which agents exist, which prompt each runs, what every execution did. */
import { sql } from "drizzle-orm";
import { boolean, index, text, unique, uuid } from "drizzle-orm/pg-core";
import { AGENT_CATEGORIES, AGENT_STATUSES, EXECUTION_STATUSES } from "../values.ts";
import {
  averageMilliseconds,
  count,
  createdAt,
  day,
  json,
  jsonArray,
  jsonObject,
  milliseconds,
  name,
  percent,
  temperature,
  timeOrderedId,
  timestamptz,
  tokens,
  updatedAt,
  usd,
} from "./columns.ts";
import { references, different, tenantTable } from "./table.ts";

export type { ErrorDistribution, FewShotExample, ToolDefinition } from "./shapes.ts";

/**
 * One AI agent. `agent_name` is unique in the whole database, across organizations: kept for compatibility
 * with the first schema. An agent with history is `deprecated`, not deleted.
 */
export const agentRegistry = tenantTable("agent_registry", {
  agentName: name("agent_name").notNull().unique("agent_registry_agent_name_key"),
  displayName: text("display_name").notNull(),
  description: text("description"),
  category: text("category", { enum: AGENT_CATEGORIES }).notNull(),
  version: name("version").notNull().default("1.0.0"),
  status: text("status", { enum: AGENT_STATUSES }).notNull().default("active"),
  ownerEmail: text("owner_email"),
  slackChannel: text("slack_channel"),
  /** Percent, 0 to 100. NULL: no target. (`agent_slas` counts its rates as ratios.) */
  targetSuccessRate: percent("target_success_rate").default(sql`95.00`),
  /** Milliseconds. NULL: no target. */
  targetAvgLatencyMs: milliseconds("target_avg_latency_ms").default(5000),
  /** US dollars. NULL: no target. */
  targetCostPerExecution: usd("target_cost_per_execution").default(sql`0.10`),
  /** Percent, 0 to 100. */
  currentHealthScore: percent("current_health_score")
    .notNull()
    .default(sql`100.00`),
  lastHealthCheck: timestamptz("last_health_check"),
  consecutiveFailures: count("consecutive_failures").notNull().default(0),
  createdAt: createdAt(),
  updatedAt: updatedAt(),
  metadata: jsonObject("metadata")
    .notNull()
    .default(sql`'{}'::jsonb`),
});
/** A row of `agent_registry`. */
export type Agent = typeof agentRegistry.$inferSelect;
/** A row to insert into `agent_registry`. */
export type NewAgent = typeof agentRegistry.$inferInsert;

/**
 * One version of an agent's prompt with all that a run needs. At most one is active and at most one
 * is the baseline (exclusion constraints, so that one UPDATE may promote; `onConflictDoNothing` therefore
 * needs its `target`). The treatment of a test or
 * canary is not `is_active`.
 */
export const agentPrompts = tenantTable(
  "agent_prompts",
  {
    agentId: references("agent_id", agentRegistry).notNull(),
    version: name("version").notNull(),
    systemPrompt: text("system_prompt").notNull(),
    toolDefinitions: jsonArray("tool_definitions", "toolDefinition"),
    fewShotExamples: jsonArray("few_shot_examples", "fewShotExample"),
    modelName: text("model_name").notNull().default("claude-sonnet-4-20250514"),
    /** Sampling temperature, 0 to 2. NULL: the model's own. */
    temperature: temperature("temperature").default(sql`0.7`),
    /** Tokens. NULL: no such limit. */
    maxTokens: tokens("max_tokens").default(4096),
    configuration: jsonObject("configuration")
      .notNull()
      .default(sql`'{}'::jsonb`),
    isActive: boolean("is_active").notNull().default(false),
    isBaseline: boolean("is_baseline").notNull().default(false),
    /** The version this one was made from. */
    parentVersionId: references("parent_version_id", "self").onDelete("set null"),
    totalExecutions: count("total_executions").notNull().default(0),
    successfulExecutions: count("successful_executions").notNull().default(0),
    /** Percent, 0 to 100. NULL: none scored yet. */
    avgQualityScore: percent("avg_quality_score"),
    createdAt: createdAt(),
    createdBy: text("created_by"),
    changeReason: text("change_reason"),
  },
  (t) => [
    unique("agent_prompts_agent_id_version_key").on(t.agentId, t.version),
    different("agent_prompts_parent_check", t.parentVersionId, t.id),
  ],
);
/** A row of `agent_prompts`. */
export type AgentPrompt = typeof agentPrompts.$inferSelect;
/** A row to insert into `agent_prompts`. */
export type NewAgentPrompt = typeof agentPrompts.$inferInsert;

/**
 * One action of one execution. The rows that share `(agent_id, execution_id)` are one execution.
 * No triggers: the table that grows fastest pays for nothing it does not need.
 */
export const agentExecutionLogs = tenantTable(
  "agent_execution_logs",
  {
    id: timeOrderedId(),
    agentId: references("agent_id", agentRegistry).notNull(),
    promptVersionId: references("prompt_version_id", agentPrompts),
    executionId: uuid("execution_id").notNull(),
    timestamp: timestamptz("timestamp")
      .notNull()
      .default(sql`now()`),
    /** Open: `llm_call`, `tool_call`, `reply`, whatever the agent does. */
    actionType: text("action_type").notNull(),
    actionName: text("action_name"),
    inputData: json("input_data"),
    outputData: json("output_data"),
    latencyMs: milliseconds("latency_ms"),
    tokenCountInput: tokens("token_count_input"),
    tokenCountOutput: tokens("token_count_output"),
    /** US dollars. */
    estimatedCostUsd: usd("estimated_cost_usd"),
    status: text("status", { enum: EXECUTION_STATUSES }).notNull().default("success"),
    errorMessage: text("error_message"),
    /** What metrics group errors by. A failed row without one counts as `unknown`. */
    errorType: text("error_type"),
    errorStackTrace: text("error_stack_trace"),
    relatedEntityType: text("related_entity_type"),
    relatedEntityId: uuid("related_entity_id"),
    userId: uuid("user_id"),
    /** Percent, 0 to 100. NULL: not scored. */
    qualityScore: percent("quality_score"),
    qualityFeedback: text("quality_feedback"),
    reviewedBy: text("reviewed_by"),
    reviewedAt: timestamptz("reviewed_at"),
    metadata: jsonObject("metadata")
      .notNull()
      .default(sql`'{}'::jsonb`),
  },
  (t) => [
    // Serves "the latest logs of an agent".
    index("idx_logs_agent_timestamp").on(t.agentId, t.timestamp.desc().nullsFirst()),
    // Serves "the rows of an execution".
    index("idx_logs_execution").on(t.executionId),
    // Serves "the latest logs of an organization".
    index("idx_logs_org_timestamp").on(t.organizationId, t.timestamp.desc().nullsFirst()),
    // Serves the roll-up of a day over all organizations; a few kilobytes per million rows.
    index("idx_agent_execution_logs_timestamp").using("brin", t.timestamp),
  ],
);
/** A row of `agent_execution_logs`. */
export type AgentExecutionLog = typeof agentExecutionLogs.$inferSelect;
/** A row to insert into `agent_execution_logs`. */
export type NewAgentExecutionLog = typeof agentExecutionLogs.$inferInsert;

/**
 * One agent's day (UTC), per prompt version; a row without a prompt version sums the logs that name
 * none. Computed from the logs.
 */
export const agentPerformanceMetrics = tenantTable(
  "agent_performance_metrics",
  {
    agentId: references("agent_id", agentRegistry).notNull(),
    promptVersionId: references("prompt_version_id", agentPrompts),
    date: day("date").notNull(),
    /** Distinct executions, running and cancelled ones included. */
    totalExecutions: count("total_executions"),
    successfulExecutions: count("successful_executions"),
    failedExecutions: count("failed_executions"),
    timeoutExecutions: count("timeout_executions"),
    /** Milliseconds, per row of the log, as are the percentiles. */
    avgLatencyMs: averageMilliseconds("avg_latency_ms"),
    p50LatencyMs: averageMilliseconds("p50_latency_ms"),
    p95LatencyMs: averageMilliseconds("p95_latency_ms"),
    p99LatencyMs: averageMilliseconds("p99_latency_ms"),
    /** US dollars. */
    totalCostUsd: usd("total_cost_usd"),
    /** US dollars. */
    costPerExecution: usd("cost_per_execution"),
    totalTokensInput: tokens("total_tokens_input"),
    totalTokensOutput: tokens("total_tokens_output"),
    /** Percent, 0 to 100. */
    avgQualityScore: percent("avg_quality_score"),
    /** Executions that a human reviewed. */
    humanInterventions: count("human_interventions"),
    uniqueErrorTypes: count("unique_error_types"),
    mostCommonError: text("most_common_error"),
    errorDistribution: jsonObject("error_distribution", "errorDistribution"),
  },
  (t) => [
    // NULLS NOT DISTINCT: without it a day without a prompt version could be stored twice.
    unique("agent_performance_metrics_agent_id_prompt_version_id_date_key")
      .on(t.agentId, t.promptVersionId, t.date)
      .nullsNotDistinct(),
    // Serves "the last days of an agent".
    index("idx_metrics_agent_date").on(t.agentId, t.date.desc().nullsFirst()),
    // Serves "the last days of the organization".
    index("idx_agent_performance_metrics_organization_id_date").on(
      t.organizationId,
      t.date.desc().nullsFirst(),
    ),
  ],
);
/** A row of `agent_performance_metrics`. */
export type AgentPerformanceMetric = typeof agentPerformanceMetrics.$inferSelect;
/** A row to insert into `agent_performance_metrics`. */
export type NewAgentPerformanceMetric = typeof agentPerformanceMetrics.$inferInsert;
