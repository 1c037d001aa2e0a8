/** Governance: which agents exist, which prompt each runs, what every execution did. */
import { sql } from "drizzle-orm";
import { boolean, index, text, unique, uniqueIndex, uuid } from "drizzle-orm/pg-core";
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
import { type NewRow, type Row, references, different, tenantTable } from "./table.ts";

export type { ErrorDistribution, FewShotExample, ToolDefinition } from "./shapes.ts";

/**
 * One AI agent. `agent_name` is unique in the whole database, across organizations: kept for compatibility
 * with the first schema. An agent with history is `deprecated`, not deleted.
 */
export const agentRegistry = tenantTable("agent_registry", {
  /**
   * What code calls the agent, such as `invoice-reconciler`, 1 to 255 characters. Unique in the
   * whole database, across organizations.
   */
  agentName: name("agent_name").notNull().unique("agent_registry_agent_name_key"),
  /** What people read instead of `agent_name`, such as `Invoice reconciler`. */
  displayName: text("display_name").notNull(),
  /** What the agent does, in a sentence or two, for people. */
  description: text("description"),
  /** Which part of the business the agent works for. */
  category: text("category", { enum: AGENT_CATEGORIES }).notNull(),
  /**
   * The agent's own version, 1 to 255 characters. Its prompts count theirs in
   * `agent_prompts.version`.
   */
  version: name("version").notNull().default("1.0.0"),
  /** Whether the agent works. One that has a history is `deprecated`, not deleted. */
  status: text("status", { enum: AGENT_STATUSES }).notNull().default("active"),
  /** Who answers for the agent. NULL: nobody is named. */
  ownerEmail: text("owner_email"),
  /** Where the agent's people talk, such as `#invoice-reconciler`. NULL: none. */
  slackChannel: text("slack_channel"),
  /** Percent, 0 to 100. NULL: no target. (`agent_slas` counts its rates as ratios.) */
  targetSuccessRate: percent("target_success_rate").default(sql`95.00`),
  /** Milliseconds. NULL: no target. */
  targetAvgLatencyMs: milliseconds("target_avg_latency_ms").default(5000),
  /** US dollars. NULL: no target. */
  targetCostPerExecution: usd("target_cost_per_execution").default(sql`0.10`),
  /**
   * Percent, 0 to 100. How well the agent does, as the application scores it; `refreshHealth`
   * leaves it alone.
   */
  currentHealthScore: percent("current_health_score")
    .notNull()
    .default(sql`100.00`),
  /** When the application last scored the agent's health. NULL: never. */
  lastHealthCheck: timestamptz("last_health_check"),
  /** Count. Failed executions since the last successful one, kept by the application. */
  consecutiveFailures: count("consecutive_failures").notNull().default(0),
  /** When the agent was registered. */
  createdAt: createdAt(),
  /** When the row last changed. The database sets it on every UPDATE, whoever writes. */
  updatedAt: updatedAt(),
  /** Whatever else the application keeps about the agent. */
  metadata: jsonObject("metadata")
    .notNull()
    .default(sql`'{}'::jsonb`),
});
/** A row of `agent_registry`. */
export type Agent = Row<typeof agentRegistry>;
/** A row to insert into `agent_registry`. */
export type NewAgent = NewRow<typeof agentRegistry>;

/**
 * One version of an agent's prompt with all that a run needs. At most one is active and at most one
 * is the baseline. The treatment of a test or canary is not `is_active`.
 */
export const agentPrompts = tenantTable(
  "agent_prompts",
  {
    /** The agent whose prompt this is. It cannot be deleted while it has prompts. */
    agentId: references("agent_id", agentRegistry).notNull(),
    /** Such as `1.2.0`, 1 to 255 characters; unique within the agent. */
    version: name("version").notNull(),
    /** The instructions that the model is given before the conversation. */
    systemPrompt: text("system_prompt").notNull(),
    /** The tools that the model may call. NULL: none. */
    toolDefinitions: jsonArray("tool_definitions", "toolDefinition"),
    /** Inputs with good answers that the model is shown. NULL: none. */
    fewShotExamples: jsonArray("few_shot_examples", "fewShotExample"),
    /** The model that this version is written for, as its provider calls it. */
    modelName: text("model_name").notNull().default("claude-sonnet-4-20250514"),
    /** Sampling temperature, 0 to 2. NULL: the model's own. */
    temperature: temperature("temperature").default(sql`0.7`),
    /** Tokens. NULL: no such limit. The most that one answer may have. */
    maxTokens: tokens("max_tokens").default(4096),
    /** Further settings of a call, such as `top_p`; the application gives them meaning. */
    configuration: jsonObject("configuration")
      .notNull()
      .default(sql`'{}'::jsonb`),
    /**
     * Whether the agent runs this version; at most one version of an agent. `promotePrompt` moves
     * it. The treatment of a test or canary is not active.
     */
    isActive: boolean("is_active").notNull().default(false),
    /** Whether other versions are measured against this one; at most one version of an agent. */
    isBaseline: boolean("is_baseline").notNull().default(false),
    /** The version this one was made from. NULL: written anew, or that version was deleted. */
    parentVersionId: references("parent_version_id", "self").onDelete("set null"),
    /**
     * Count. Executions that ran this version, as `refreshPromptCounters` last counted them; by day
     * they stand in `agent_performance_metrics`.
     */
    totalExecutions: count("total_executions").notNull().default(0),
    /** Count. Those of `total_executions` that succeeded. */
    successfulExecutions: count("successful_executions").notNull().default(0),
    /**
     * Percent, 0 to 100. The mean of the quality scores of its executions, by
     * `refreshPromptCounters`. NULL: none scored yet.
     */
    avgQualityScore: percent("avg_quality_score"),
    /** When the version was stored. */
    createdAt: createdAt(),
    /** Who wrote the version: a person, or the agent that proposed it. NULL: not said. */
    createdBy: text("created_by"),
    /** Why the version was made, such as `Reads credit notes too`. NULL: not said. */
    changeReason: text("change_reason"),
  },
  (t) => [
    unique("agent_prompts_agent_id_version_key").on(t.agentId, t.version),
    // Looked at row by row, unlike a constraint that waits: ON CONFLICT works, and to move the flag, take it
    // from one row before another one gets it.
    uniqueIndex("agent_prompts_one_active")
      .on(t.agentId)
      .where(sql`${t.isActive}`),
    uniqueIndex("agent_prompts_one_baseline")
      .on(t.agentId)
      .where(sql`${t.isBaseline}`),
    different("agent_prompts_parent_check", t.parentVersionId, t.id),
  ],
);
/** A row of `agent_prompts`. */
export type AgentPrompt = Row<typeof agentPrompts>;
/** A row to insert into `agent_prompts`. */
export type NewAgentPrompt = NewRow<typeof agentPrompts>;

/**
 * One action of one execution. The rows that share `(agent_id, execution_id)` are one execution.
 * No triggers: the table that grows fastest pays for nothing it does not need.
 */
export const agentExecutionLogs = tenantTable(
  "agent_execution_logs",
  {
    /**
     * By default a UUID of version 7: its order is the order of time. `recordExecutions` makes it
     * from the `timestamp` of an entry without one.
     */
    id: timeOrderedId(),
    /** The agent that acted. It cannot be deleted while it has logs. */
    agentId: references("agent_id", agentRegistry).notNull(),
    /** The prompt version that the agent ran. NULL: not known, or none. */
    promptVersionId: references("prompt_version_id", agentPrompts),
    /** The execution that this action is part of: the rows that share it and `agent_id` are one. */
    executionId: uuid("execution_id").notNull(),
    /** When the action began; its tokens and its cost count on that day in UTC. */
    timestamp: timestamptz("timestamp")
      .notNull()
      .default(sql`now()`),
    /**
     * What kind of action. Open; known are `agent_run`, `agent_step`, `llm_call`, `tool_call`,
     * `retrieval` and `embedding`. An `agent_run` says how its execution ended and how long it took.
     */
    actionType: text("action_type").notNull(),
    /** Which one of its kind, such as the name of the tool. NULL: not named. */
    actionName: text("action_name"),
    /** What the action was given, any JSON. NULL: not kept. */
    inputData: json("input_data"),
    /** What the action answered, any JSON. NULL: not kept, or no answer. */
    outputData: json("output_data"),
    /**
     * Milliseconds. How long this action took. NULL: not measured; averages and percentiles skip
     * it.
     */
    latencyMs: milliseconds("latency_ms"),
    /** Tokens. Read by the model in this action. NULL: no model was called, or not counted. */
    tokenCountInput: tokens("token_count_input"),
    /** Tokens. Written by the model in this action. NULL: no model was called, or not counted. */
    tokenCountOutput: tokens("token_count_output"),
    /**
     * US dollars. An exact decimal, as the writer estimates what this action cost. NULL: nothing,
     * or not known; sums count it as 0.
     */
    estimatedCostUsd: usd("estimated_cost_usd"),
    /**
     * How the action ended, or `running`. The last `agent_run` of an execution decides how all of it
     * ended; without one a failed action makes its whole execution failed.
     */
    status: text("status", { enum: EXECUTION_STATUSES }).notNull().default("success"),
    /** What went wrong, in the words of whatever failed. NULL: nothing, or not said. */
    errorMessage: text("error_message"),
    /** What metrics group errors by. A failed row without one counts as `unknown`. */
    errorType: text("error_type"),
    /** Where in the code it went wrong. NULL: not kept. */
    errorStackTrace: text("error_stack_trace"),
    /**
     * What kind of thing of the application's the action was about, such as `invoice`. NULL:
     * nothing in particular.
     */
    relatedEntityType: text("related_entity_type"),
    /**
     * Which one of `related_entity_type`. No foreign key: the thing stands in a table of the
     * application's.
     */
    relatedEntityId: uuid("related_entity_id"),
    /**
     * On whose behalf the agent acted. No foreign key: people stand in a table of the
     * application's. NULL: nobody's, or not known.
     */
    userId: uuid("user_id"),
    /**
     * Percent, 0 to 100. How good the answer was, as a person or another model judged it. NULL: not
     * scored.
     */
    qualityScore: percent("quality_score"),
    /** What the reviewer said. NULL: nothing. */
    qualityFeedback: text("quality_feedback"),
    /**
     * The person who reviewed the action. With this or `reviewed_at` its execution counts as a
     * human intervention.
     */
    reviewedBy: text("reviewed_by"),
    /** When a person reviewed the action. NULL: not reviewed, or not said when. */
    reviewedAt: timestamptz("reviewed_at"),
    /** Whatever else the application keeps about the action. */
    metadata: jsonObject("metadata")
      .notNull()
      .default(sql`'{}'::jsonb`),
    /** The model that answered. NULL: no model was called, or not known. */
    modelName: name("model_name"),
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
export type AgentExecutionLog = Row<typeof agentExecutionLogs>;
/** A row to insert into `agent_execution_logs`. */
export type NewAgentExecutionLog = NewRow<typeof agentExecutionLogs>;

/**
 * One agent's day (UTC), per prompt version; a row without a prompt version is of what names none.
 * Computed from the logs: an execution counts on the day of its first row, tokens and cost on that of
 * their own.
 */
export const agentPerformanceMetrics = tenantTable(
  "agent_performance_metrics",
  {
    /** The agent whose day this is. It cannot be deleted while it has metrics. */
    agentId: references("agent_id", agentRegistry).notNull(),
    /** The prompt version of these executions and rows. NULL: of those that name none. */
    promptVersionId: references("prompt_version_id", agentPrompts),
    /** `YYYY-MM-DD`, a day in UTC. Each agent, prompt version and day has one row. */
    date: day("date").notNull(),
    /** Count. Executions that began, running and cancelled ones included. */
    totalExecutions: count("total_executions"),
    /** Count. Executions that ended as a `success`: their last `agent_run`, else all their rows. */
    successfulExecutions: count("successful_executions"),
    /** Count. Executions that ended as a `failure`: their last `agent_run`, else any of their rows. */
    failedExecutions: count("failed_executions"),
    /** Count. Executions that ended as a `timeout`. */
    timeoutExecutions: count("timeout_executions"),
    /**
     * Milliseconds. Per execution, as are the percentiles: of its `agent_run`, else the sum of its
     * rows. NULL: none has ended with a latency.
     */
    avgLatencyMs: averageMilliseconds("avg_latency_ms"),
    /** Milliseconds. The median: half of the executions took no longer. NULL: as the average. */
    p50LatencyMs: averageMilliseconds("p50_latency_ms"),
    /** Milliseconds. 95 in 100 executions took no longer. NULL: as the average. */
    p95LatencyMs: averageMilliseconds("p95_latency_ms"),
    /** Milliseconds. 99 in 100 executions took no longer. NULL: as the average. */
    p99LatencyMs: averageMilliseconds("p99_latency_ms"),
    /** US dollars. The sum over the log's rows, at most 1e12. */
    totalCostUsd: usd("total_cost_usd"),
    /**
     * US dollars. `total_cost_usd` divided by `total_executions`. NULL: rows of the day belong to
     * executions that began before.
     */
    costPerExecution: usd("cost_per_execution"),
    /** Tokens. The sum over the log's rows; one that is too large is stored as 2147483647. */
    totalTokensInput: tokens("total_tokens_input"),
    /** Tokens. The sum over the log's rows; one that is too large is stored as 2147483647. */
    totalTokensOutput: tokens("total_tokens_output"),
    /** Percent, 0 to 100. The mean over the log's rows that are scored. NULL: none is. */
    avgQualityScore: percent("avg_quality_score"),
    /** Count. Executions that a human reviewed. */
    humanInterventions: count("human_interventions"),
    /** Count. Different error types of failed executions, `unknown` among them. */
    uniqueErrorTypes: count("unique_error_types"),
    /** The error type that most failed executions have, at most 255 characters. NULL: none failed. */
    mostCommonError: text("most_common_error"),
    /**
     * How many failed executions had each error type, such as `{ "rate_limited": 3 }`: the 100 most
     * common, and the others together as `(other)`.
     */
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
export type AgentPerformanceMetric = Row<typeof agentPerformanceMetrics>;
/** A row to insert into `agent_performance_metrics`. */
export type NewAgentPerformanceMetric = NewRow<typeof agentPerformanceMetrics>;
