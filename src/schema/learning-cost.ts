/** Learning and cost: what was learnt, which parts are reused, what is promised and what it may cost. */
import { sql } from "drizzle-orm";
import { boolean, index, integer, text, unique } from "drizzle-orm/pg-core";
import {
  BUDGET_ACTIONS,
  CONFIDENCE_LEVELS,
  DEPENDENCY_TYPES,
  LEARNING_TYPES,
  LIBRARY_CATEGORIES,
} from "../values.ts";
import { abTests, improvementProposals } from "./evaluation.ts";
import { agentPrompts, agentRegistry } from "./governance.ts";
import {
  count,
  createdAt,
  day,
  json,
  jsonArray,
  jsonBy,
  jsonObject,
  milliseconds,
  minutes,
  name,
  nameList,
  percent,
  ratio,
  textList,
  updatedAt,
  usd,
} from "./columns.ts";
import { references, different, notBefore, ownedTable, tenantTable } from "./table.ts";

export type { BreachDetails, UsageExample } from "./shapes.ts";

/** Something the organization learnt about its agents, replaced rather than edited. */
export const learningLog = tenantTable(
  "learning_log",
  {
    /** NULL: about no single agent. */
    agentId: references("agent_id", agentRegistry).onDelete("set null"),
    relatedProposalId: references("related_proposal_id", improvementProposals).onDelete("set null"),
    relatedAbTestId: references("related_ab_test_id", abTests).onDelete("set null"),
    learningType: text("learning_type", { enum: LEARNING_TYPES }).notNull(),
    title: text("title").notNull(),
    description: text("description").notNull(),
    evidence: json("evidence"),
    confidenceLevel: text("confidence_level", { enum: CONFIDENCE_LEVELS }),
    /** Categories or names it applies to; each 1 to 255 characters. */
    applicableTo: nameList("applicable_to"),
    isActive: boolean("is_active").notNull().default(true),
    supersededBy: references("superseded_by", "self").onDelete("set null"),
    createdAt: createdAt(),
  },
  (t) => [
    different("learning_log_superseded_check", t.supersededBy, t.id),
    // Serves "what applies to …" (applicable_to @> …).
    index("idx_learning_applicable").using("gin", t.applicableTo),
  ],
);
/** A row of `learning_log`. */
export type Learning = typeof learningLog.$inferSelect;
/** A row to insert into `learning_log`. */
export type NewLearning = typeof learningLog.$inferInsert;

/** A reusable part of prompts. `name` is unique across organizations: kept for compatibility with the first schema. */
export const promptLibrary = tenantTable("prompt_library", {
  name: name("name").notNull().unique("prompt_library_name_key"),
  category: text("category", { enum: LIBRARY_CATEGORIES }).notNull(),
  tags: textList("tags"),
  content: text("content").notNull(),
  description: text("description"),
  usageExamples: jsonArray("usage_examples", "usageExample"),
  timesUsed: count("times_used").notNull().default(0),
  /** Percent, 0 to 100. */
  avgQualityWhenUsed: percent("avg_quality_when_used"),
  version: name("version").notNull().default("1.0.0"),
  isActive: boolean("is_active").notNull().default(true),
  createdAt: createdAt(),
  createdBy: text("created_by"),
});
/** A row of `prompt_library`. */
export type PromptComponent = typeof promptLibrary.$inferSelect;
/** A row to insert into `prompt_library`. */
export type NewPromptComponent = typeof promptLibrary.$inferInsert;

/**
 * Which prompt version uses which component. It belongs to no organization of its own: it is read
 * with its prompt and written only where prompt and component are both the caller's.
 */
export const promptLibraryUsage = ownedTable(
  "prompt_library_usage",
  {
    promptId: references("prompt_id", agentPrompts).onDelete("cascade").notNull(),
    libraryComponentId: references("library_component_id", promptLibrary).notNull(),
  },
  (t) => [
    unique("prompt_library_usage_prompt_id_library_component_id_key").on(
      t.promptId,
      t.libraryComponentId,
    ),
  ],
);
/** A row of `prompt_library_usage`. */
export type PromptLibraryUse = typeof promptLibraryUsage.$inferSelect;
/** A row to insert into `prompt_library_usage`. */
export type NewPromptLibraryUse = typeof promptLibraryUsage.$inferInsert;

/** A promise about one agent's service, measured over a rolling window. */
export const agentSlas = tenantTable(
  "agent_slas",
  {
    agentId: references("agent_id", agentRegistry).onDelete("cascade").notNull(),
    /** Share of the window the agent must answer. Ratio, 0 to 1. NULL: not promised. */
    targetAvailability: ratio("target_availability").default(sql`0.9990`),
    /** Milliseconds. NULL: this percentile is not promised. */
    targetP50LatencyMs: milliseconds("target_p50_latency_ms"),
    targetP95LatencyMs: milliseconds("target_p95_latency_ms"),
    targetP99LatencyMs: milliseconds("target_p99_latency_ms"),
    /** Ratio, 0 to 1. NULL: not promised. (`agent_registry` counts its target in percent.) */
    targetSuccessRate: ratio("target_success_rate").default(sql`0.9500`),
    /** Percent, 0 to 100. NULL: not promised. */
    targetQualityScore: percent("target_quality_score").default(sql`80.00`),
    /** Open: `rolling_30d`, `calendar_month`, whatever the report understands. */
    measurementWindow: text("measurement_window").notNull().default("rolling_30d"),
    isActive: boolean("is_active").notNull().default(true),
    createdAt: createdAt(),
  },
  (t) => [
    notBefore("agent_slas_p95_p50_check", t.targetP95LatencyMs, t.targetP50LatencyMs),
    notBefore("agent_slas_p99_p95_check", t.targetP99LatencyMs, t.targetP95LatencyMs),
    notBefore("agent_slas_p99_p50_check", t.targetP99LatencyMs, t.targetP50LatencyMs),
  ],
);
/** A row of `agent_slas`. */
export type AgentSla = typeof agentSlas.$inferSelect;
/** A row to insert into `agent_slas`. */
export type NewAgentSla = typeof agentSlas.$inferInsert;

/** What was measured against an SLA over one period of days. */
export const slaCompliance = tenantTable(
  "sla_compliance",
  {
    agentId: references("agent_id", agentRegistry).notNull(),
    slaId: references("sla_id", agentSlas).notNull(),
    periodStart: day("period_start").notNull(),
    /** Inclusive. */
    periodEnd: day("period_end").notNull(),
    /** Ratio, 0 to 1. */
    actualAvailability: ratio("actual_availability"),
    actualP50LatencyMs: milliseconds("actual_p50_latency_ms"),
    actualP95LatencyMs: milliseconds("actual_p95_latency_ms"),
    actualP99LatencyMs: milliseconds("actual_p99_latency_ms"),
    /** Ratio, 0 to 1. */
    actualSuccessRate: ratio("actual_success_rate"),
    /** Percent, 0 to 100. */
    actualQualityScore: percent("actual_quality_score"),
    availabilityMet: boolean("availability_met"),
    latencyMet: boolean("latency_met"),
    successRateMet: boolean("success_rate_met"),
    qualityMet: boolean("quality_met"),
    overallCompliant: boolean("overall_compliant"),
    breachMinutes: minutes("breach_minutes").notNull().default(0),
    breachDetails: jsonObject("breach_details", "breachDetails"),
    createdAt: createdAt(),
  },
  (t) => [
    unique("sla_compliance_agent_id_period_start_period_end_key").on(
      t.agentId,
      t.periodStart,
      t.periodEnd,
    ),
    notBefore("sla_compliance_period_check", t.periodEnd, t.periodStart),
    // Serves "the latest periods of an agent".
    index("idx_sla_compliance_period").on(t.agentId, t.periodStart.desc().nullsFirst()),
    // Serves "how the organization kept its promises in a period".
    index("idx_sla_compliance_organization_id_period_start").on(
      t.organizationId,
      t.periodStart.desc().nullsFirst(),
    ),
  ],
);
/** A row of `sla_compliance`. */
export type SlaCompliance = typeof slaCompliance.$inferSelect;
/** A row to insert into `sla_compliance`. */
export type NewSlaCompliance = typeof slaCompliance.$inferInsert;

/** What an agent, or without one the whole organization, may spend, and what it has spent. */
export const costBudgets = tenantTable(
  "cost_budgets",
  {
    /** NULL: a budget of the whole organization. */
    agentId: references("agent_id", agentRegistry).onDelete("cascade"),
    /** US dollars. NULL: no limit. */
    dailyBudgetUsd: usd("daily_budget_usd"),
    /** US dollars. NULL: no limit. */
    weeklyBudgetUsd: usd("weekly_budget_usd"),
    /** US dollars. NULL: no limit. */
    monthlyBudgetUsd: usd("monthly_budget_usd"),
    /** US dollars. */
    currentDailySpend: usd("current_daily_spend")
      .notNull()
      .default(sql`0`),
    /** US dollars. */
    currentWeeklySpend: usd("current_weekly_spend")
      .notNull()
      .default(sql`0`),
    /** US dollars. */
    currentMonthlySpend: usd("current_monthly_spend")
      .notNull()
      .default(sql`0`),
    onDailyExceeded: text("on_daily_exceeded", { enum: BUDGET_ACTIONS }),
    onWeeklyExceeded: text("on_weekly_exceeded", { enum: BUDGET_ACTIONS }),
    onMonthlyExceeded: text("on_monthly_exceeded", { enum: BUDGET_ACTIONS }),
    /** Percent of a budget, 0 to 100. NULL: no early alert. */
    alertAtPercentage: percent("alert_at_percentage").default(sql`80.00`),
    updatedAt: updatedAt(),
  },
  (t) => [
    // Serves "the budgets of an organization".
    index("idx_cost_budgets_org").on(t.organizationId),
  ],
);
/** A row of `cost_budgets`. */
export type CostBudget = typeof costBudgets.$inferSelect;
/** A row to insert into `cost_budgets`. */
export type NewCostBudget = typeof costBudgets.$inferInsert;

/** Which model answers when a condition holds. Without an agent it is a rule of the organization. */
export const modelRoutingRules = tenantTable("model_routing_rules", {
  agentId: references("agent_id", agentRegistry).onDelete("cascade"),
  /** Open, as is the operator: the router gives them meaning. */
  conditionType: text("condition_type").notNull(),
  conditionOperator: text("condition_operator").notNull(),
  /** A number or numbers for `token_count` and its like, a text or texts for `language` and its like. */
  conditionValue: jsonBy("condition_value", "condition_type", "routingConditionValue").notNull(),
  targetModel: text("target_model").notNull(),
  fallbackModel: text("fallback_model"),
  /** The lowest number is tried first. */
  priority: integer("priority").notNull().default(100),
  isActive: boolean("is_active").notNull().default(true),
  createdAt: createdAt(),
});
/** A row of `model_routing_rules`. */
export type ModelRoutingRule = typeof modelRoutingRules.$inferSelect;
/** A row to insert into `model_routing_rules`. */
export type NewModelRoutingRule = typeof modelRoutingRules.$inferInsert;

/** The downstream agent needs something of the upstream agent. */
export const agentDependencies = tenantTable(
  "agent_dependencies",
  {
    upstreamAgentId: references("upstream_agent_id", agentRegistry).onDelete("cascade").notNull(),
    downstreamAgentId: references("downstream_agent_id", agentRegistry)
      .onDelete("cascade")
      .notNull(),
    dependencyType: text("dependency_type", { enum: DEPENDENCY_TYPES }).notNull(),
    isCritical: boolean("is_critical").notNull().default(false),
    createdAt: createdAt(),
  },
  (t) => [
    unique("agent_dependencies_upstream_agent_id_downstream_agent_id_key").on(
      t.upstreamAgentId,
      t.downstreamAgentId,
    ),
    different("agent_dependencies_agents_check", t.upstreamAgentId, t.downstreamAgentId),
  ],
);
/** A row of `agent_dependencies`. */
export type AgentDependency = typeof agentDependencies.$inferSelect;
/** A row to insert into `agent_dependencies`. */
export type NewAgentDependency = typeof agentDependencies.$inferInsert;
