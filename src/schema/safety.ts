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
import { type NewRow, type Row, references, after, different, tenantTable } from "./table.ts";

export type { CanaryStage } from "./shapes.ts";

/** A prompt version that answers a sample of the traffic in parallel; nobody sees its answers. */
export const shadowTests = tenantTable(
  "shadow_tests",
  {
    /** The agent whose executions are shadowed. It cannot be deleted while it has tests. */
    agentId: references("agent_id", agentRegistry).notNull(),
    /** The prompt version whose answers are used. */
    productionPromptId: references("production_prompt_id", agentPrompts).notNull(),
    /** The prompt version that answers unseen, another one than that of production. */
    shadowPromptId: references("shadow_prompt_id", agentPrompts).notNull(),
    /** Ratio, 0 to 1. Share of the executions that are shadowed. */
    sampleRate: ratio("sample_rate")
      .notNull()
      .default(sql`0.10`),
    /** From when on executions are shadowed. */
    startDate: timestamptz("start_date").notNull(),
    /** Until when executions are shadowed, after `start_date`. NULL: open end. */
    endDate: timestamptz("end_date"),
    /** Count. Shadowed executions that the application awaits before it recommends anything. */
    minSampleSize: count("min_sample_size").notNull().default(100),
    /** How far the test has come. Executions are shadowed while it is `running`. */
    status: text("status", { enum: TEST_STATUSES }).notNull().default("running"),
    /** Ratio, 0 to 1. Successful executions of production. NULL: not computed. */
    productionSuccessRate: ratio("production_success_rate"),
    /** Ratio, 0 to 1. Successful executions of the shadow. NULL: not computed. */
    shadowSuccessRate: ratio("shadow_success_rate"),
    /** Percent, 0 to 100. Mean quality score of production. NULL: none scored. */
    productionAvgQuality: percent("production_avg_quality"),
    /** Percent, 0 to 100. Mean quality score of the shadow. NULL: none scored. */
    shadowAvgQuality: percent("shadow_avg_quality"),
    /** Ratio, 0 to 1. How alike the two answers are; 1 is the same. NULL: not compared. */
    outputSimilarityScore: ratio("output_similarity_score"),
    /** What to do with the shadow's version, for people. NULL: not concluded. */
    recommendation: text("recommendation"),
    /** When the test was set up. */
    createdAt: createdAt(),
  },
  (t) => [
    different("shadow_tests_prompts_check", t.productionPromptId, t.shadowPromptId),
    after("shadow_tests_dates_check", t.endDate, t.startDate),
  ],
);
/** A row of `shadow_tests`. */
export type ShadowTest = Row<typeof shadowTests>;
/** A row to insert into `shadow_tests`. */
export type NewShadowTest = NewRow<typeof shadowTests>;

/** A gradual rollout of a prompt version, rolled back when it does worse than the current one. */
export const canaryDeployments = tenantTable(
  "canary_deployments",
  {
    /** The agent whose prompt is rolled out. It cannot be deleted while it has rollouts. */
    agentId: references("agent_id", agentRegistry).notNull(),
    /** The prompt version in use, which a rollback returns to. */
    currentPromptId: references("current_prompt_id", agentPrompts).notNull(),
    /** The prompt version that is rolled out, another one than the current. */
    canaryPromptId: references("canary_prompt_id", agentPrompts).notNull(),
    /** Position, from 1. Which of `stages` the rollout has reached. */
    currentStage: position("current_stage").notNull().default(1),
    /**
     * The steps of the rollout in order, at least one: the canary's share of the traffic, 0 to 1,
     * and for how many minutes.
     */
    stages: jsonNonEmptyArray("stages", "canaryStage").notNull(),
    /**
     * Ratio, 0 to 1. NULL: never for this reason. The error rate of the canary above which it is
     * rolled back.
     */
    rollbackOnErrorRate: ratio("rollback_on_error_rate").default(sql`0.10`),
    /**
     * Relative increase, 0 to 1000. NULL: never for this reason. How much slower than the current
     * version it may be; 0.5 is half as slow again.
     */
    rollbackOnLatencyIncrease: relativeIncrease("rollback_on_latency_increase").default(sql`0.50`),
    /**
     * Ratio, 0 to 1. NULL: never for this reason. How much lower than the current version's its
     * quality may be; 0.1 is a tenth.
     */
    rollbackOnQualityDecrease: ratio("rollback_on_quality_decrease").default(sql`0.10`),
    /** How far the rollout has come. The canary gets traffic while it is `running`. */
    status: text("status", { enum: CANARY_STATUSES }).notNull().default("running"),
    /** What was measured in the stages so far, an object each; `stepCanary` keeps it. */
    stageMetrics: json("stage_metrics"),
    /** When the first stage began. NULL: not yet. */
    startedAt: timestamptz("started_at"),
    /** When the last stage ended well. NULL: it has not. */
    completedAt: timestamptz("completed_at"),
    /** When the rollout was undone. NULL: it was not. */
    rolledBackAt: timestamptz("rolled_back_at"),
    /** Why the rollout was undone, such as `Error rate 0.75, more than 0.1`. NULL: it was not. */
    rollbackReason: text("rollback_reason"),
  },
  (t) => [different("canary_deployments_prompts_check", t.currentPromptId, t.canaryPromptId)],
);
/** A row of `canary_deployments`. */
export type CanaryDeployment = Row<typeof canaryDeployments>;
/** A row to insert into `canary_deployments`. */
export type NewCanaryDeployment = NewRow<typeof canaryDeployments>;

/** An alert, where it was sent, and who dealt with it. Without an agent it is of the organization. */
export const alertHistory = tenantTable(
  "alert_history",
  {
    /** The agent that the alert is about. NULL: the whole organization. */
    agentId: references("agent_id", agentRegistry),
    /** What raised it. Open: `failure_rate`, `cost_spike`, whatever the watcher raises. */
    alertType: text("alert_type").notNull(),
    /** How loud the alert is. */
    severity: text("severity", { enum: ALERT_SEVERITIES }).notNull(),
    /** The alert in one line, such as `Circuit breaker open`. */
    title: text("title").notNull(),
    /** What happened, in a sentence or two, for who is woken by it. */
    message: text("message").notNull(),
    /**
     * What was measured when it was raised. NULL: nothing beyond the message. `raiseAlert` keeps
     * `dedup_key`, `occurrences` and `last_seen_at` here: at most one open alert of an agent, or of the
     * organization, has a key (of up to 255 characters).
     */
    details: jsonObject("details"),
    /** Whether the alert reached Slack; who claims it by `claimAlerts` sends it. */
    slackSent: boolean("slack_sent").notNull().default(false),
    /**
     * When it was sent to Slack. NULL: it was not. While `slack_sent` is false: until when it is
     * claimed by who sends it.
     */
    slackSentAt: timestamptz("slack_sent_at"),
    /** Whether the alert went out by e-mail; who claims it by `claimAlerts` sends it. */
    emailSent: boolean("email_sent").notNull().default(false),
    /**
     * When it was sent by e-mail. NULL: it was not. While `email_sent` is false: until when it is
     * claimed by who sends it.
     */
    emailSentAt: timestamptz("email_sent_at"),
    /** The task in ClickUp that was opened for it. NULL: none. */
    clickupTaskId: text("clickup_task_id"),
    /** Whether somebody has taken it on. */
    acknowledged: boolean("acknowledged").notNull().default(false),
    /** Who has taken it on. NULL: nobody. */
    acknowledgedBy: text("acknowledged_by"),
    /** When it was taken on. NULL: it was not. */
    acknowledgedAt: timestamptz("acknowledged_at"),
    /** Whether its cause is gone. Those that are not are the open alerts. */
    resolved: boolean("resolved").notNull().default(false),
    /** Who saw to it. NULL: nobody yet, or it passed by itself. */
    resolvedBy: text("resolved_by"),
    /** When its cause was gone. NULL: it is not. */
    resolvedAt: timestamptz("resolved_at"),
    /** What was done about it, for the next time. NULL: nothing is noted. */
    resolutionNotes: text("resolution_notes"),
    /** When the alert was raised. */
    createdAt: createdAt(),
  },
  (t) => [
    // Serves "the latest alerts of an agent".
    index("idx_alerts_agent").on(t.agentId, t.createdAt.desc().nullsFirst()),
  ],
);
/** A row of `alert_history`. */
export type Alert = Row<typeof alertHistory>;
/** A row to insert into `alert_history`. */
export type NewAlert = NewRow<typeof alertHistory>;
