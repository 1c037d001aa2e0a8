/** Safety: changes tried without risk, rolled out step by step, and the alerts along the way. */
import { sql } from "drizzle-orm";
import { boolean, index, text } from "drizzle-orm/pg-core";
import { ALERT_SEVERITIES, CANARY_STATUSES, TEST_STATUSES } from "../values.ts";
import { agentPrompts, agentRegistry } from "./governance.ts";
import {
  count,
  createdAt,
  json,
  jsonNonEmptyArray,
  jsonObject,
  percent,
  position,
  ratio,
  relativeIncrease,
  timestamptz,
} from "./columns.ts";
import { references, after, different, tenantTable } from "./table.ts";

export type { CanaryStage } from "./shapes.ts";

/** A prompt version that answers a sample of the traffic in parallel; nobody sees its answers. */
export const shadowTests = tenantTable(
  "shadow_tests",
  {
    agentId: references("agent_id", agentRegistry).notNull(),
    productionPromptId: references("production_prompt_id", agentPrompts).notNull(),
    shadowPromptId: references("shadow_prompt_id", agentPrompts).notNull(),
    /** Share of the executions that are shadowed. Ratio, 0 to 1. */
    sampleRate: ratio("sample_rate")
      .notNull()
      .default(sql`0.10`),
    startDate: timestamptz("start_date").notNull(),
    /** NULL: open end. */
    endDate: timestamptz("end_date"),
    minSampleSize: count("min_sample_size").notNull().default(100),
    status: text("status", { enum: TEST_STATUSES }).notNull().default("running"),
    /** Ratio, 0 to 1. */
    productionSuccessRate: ratio("production_success_rate"),
    /** Ratio, 0 to 1. */
    shadowSuccessRate: ratio("shadow_success_rate"),
    /** Percent, 0 to 100. */
    productionAvgQuality: percent("production_avg_quality"),
    /** Percent, 0 to 100. */
    shadowAvgQuality: percent("shadow_avg_quality"),
    /** Ratio, 0 to 1. */
    outputSimilarityScore: ratio("output_similarity_score"),
    recommendation: text("recommendation"),
    createdAt: createdAt(),
  },
  (t) => [
    different("shadow_tests_prompts_check", t.productionPromptId, t.shadowPromptId),
    after("shadow_tests_dates_check", t.endDate, t.startDate),
  ],
);
/** A row of `shadow_tests`. */
export type ShadowTest = typeof shadowTests.$inferSelect;
/** A row to insert into `shadow_tests`. */
export type NewShadowTest = typeof shadowTests.$inferInsert;

/** A gradual rollout of a prompt version, rolled back when it does worse than the current one. */
export const canaryDeployments = tenantTable(
  "canary_deployments",
  {
    agentId: references("agent_id", agentRegistry).notNull(),
    currentPromptId: references("current_prompt_id", agentPrompts).notNull(),
    canaryPromptId: references("canary_prompt_id", agentPrompts).notNull(),
    /** Position in `stages`, the first is 1. */
    currentStage: position("current_stage").notNull().default(1),
    stages: jsonNonEmptyArray("stages", "canaryStage").notNull(),
    /** Ratio, 0 to 1. NULL: never for this reason. */
    rollbackOnErrorRate: ratio("rollback_on_error_rate").default(sql`0.10`),
    /** Relative increase, may exceed 1: 0.5 is half as slow again. NULL: never for this reason. */
    rollbackOnLatencyIncrease: relativeIncrease("rollback_on_latency_increase").default(sql`0.50`),
    /** Ratio, 0 to 1. NULL: never for this reason. */
    rollbackOnQualityDecrease: ratio("rollback_on_quality_decrease").default(sql`0.10`),
    status: text("status", { enum: CANARY_STATUSES }).notNull().default("running"),
    stageMetrics: json("stage_metrics"),
    startedAt: timestamptz("started_at"),
    completedAt: timestamptz("completed_at"),
    rolledBackAt: timestamptz("rolled_back_at"),
    rollbackReason: text("rollback_reason"),
  },
  (t) => [different("canary_deployments_prompts_check", t.currentPromptId, t.canaryPromptId)],
);
/** A row of `canary_deployments`. */
export type CanaryDeployment = typeof canaryDeployments.$inferSelect;
/** A row to insert into `canary_deployments`. */
export type NewCanaryDeployment = typeof canaryDeployments.$inferInsert;

/** An alert, where it was sent, and who dealt with it. Without an agent it is of the organization. */
export const alertHistory = tenantTable(
  "alert_history",
  {
    agentId: references("agent_id", agentRegistry),
    /** Open: `failure_rate`, `cost_spike`, whatever the watcher raises. */
    alertType: text("alert_type").notNull(),
    severity: text("severity", { enum: ALERT_SEVERITIES }).notNull(),
    title: text("title").notNull(),
    message: text("message").notNull(),
    details: jsonObject("details"),
    slackSent: boolean("slack_sent").notNull().default(false),
    slackSentAt: timestamptz("slack_sent_at"),
    emailSent: boolean("email_sent").notNull().default(false),
    emailSentAt: timestamptz("email_sent_at"),
    clickupTaskId: text("clickup_task_id"),
    acknowledged: boolean("acknowledged").notNull().default(false),
    acknowledgedBy: text("acknowledged_by"),
    acknowledgedAt: timestamptz("acknowledged_at"),
    resolved: boolean("resolved").notNull().default(false),
    resolvedBy: text("resolved_by"),
    resolvedAt: timestamptz("resolved_at"),
    resolutionNotes: text("resolution_notes"),
    createdAt: createdAt(),
  },
  (t) => [
    // Serves "the latest alerts of an agent".
    index("idx_alerts_agent").on(t.agentId, t.createdAt.desc().nullsFirst()),
  ],
);
/** A row of `alert_history`. */
export type Alert = typeof alertHistory.$inferSelect;
/** A row to insert into `alert_history`. */
export type NewAlert = typeof alertHistory.$inferInsert;
