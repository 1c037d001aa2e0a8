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
import {
  type NewRow,
  type Row,
  references,
  different,
  notBefore,
  ownedTable,
  tenantTable,
} from "./table.ts";

export type { BreachDetails, UsageExample } from "./shapes.ts";

/** Something the organization learnt about its agents, replaced rather than edited. */
export const learningLog = tenantTable(
  "learning_log",
  {
    /** The agent it was learnt from. NULL: about no single agent, or that agent was deleted. */
    agentId: references("agent_id", agentRegistry).onDelete("set null"),
    /** The proposal it was learnt from. NULL: none, or it was deleted. */
    relatedProposalId: references("related_proposal_id", improvementProposals).onDelete("set null"),
    /** The A/B test it was learnt from. NULL: none, or it was deleted. */
    relatedAbTestId: references("related_ab_test_id", abTests).onDelete("set null"),
    /** What kind of thing was learnt. */
    learningType: text("learning_type", { enum: LEARNING_TYPES }).notNull(),
    /** The learning in one line, such as `Name the next checkpoint`. */
    title: text("title").notNull(),
    /** What was learnt, so that others can act on it. */
    description: text("description").notNull(),
    /** What it rests on, any JSON: figures, ids of executions. NULL: not kept. */
    evidence: json("evidence"),
    /** How sure it is. NULL: not judged. */
    confidenceLevel: text("confidence_level", { enum: CONFIDENCE_LEVELS }),
    /** Categories or names it applies to; each 1 to 255 characters. */
    applicableTo: nameList("applicable_to"),
    /** Whether it still holds; one that was superseded does not. */
    isActive: boolean("is_active").notNull().default(true),
    /** The learning that took its place. NULL: none, or that one was deleted. */
    supersededBy: references("superseded_by", "self").onDelete("set null"),
    /** When it was learnt. */
    createdAt: createdAt(),
  },
  (t) => [
    different("learning_log_superseded_check", t.supersededBy, t.id),
    // Serves "what applies to …" (applicable_to @> …).
    index("idx_learning_applicable").using("gin", t.applicableTo),
  ],
);
/** A row of `learning_log`. */
export type Learning = Row<typeof learningLog>;
/** A row to insert into `learning_log`. */
export type NewLearning = NewRow<typeof learningLog>;

/** A reusable part of prompts. `name` is unique across organizations: kept for compatibility with the first schema. */
export const promptLibrary = tenantTable("prompt_library", {
  /**
   * What prompts call the component, 1 to 255 characters. Unique in the whole database, across
   * organizations.
   */
  name: name("name").notNull().unique("prompt_library_name_key"),
  /** What the component does in a prompt. */
  category: text("category", { enum: LIBRARY_CATEGORIES }).notNull(),
  /** Words to find it by. NULL: none. */
  tags: textList("tags"),
  /** The text that is put into the prompt. */
  content: text("content").notNull(),
  /** When to use it, for who writes prompts. */
  description: text("description"),
  /** Inputs with what a prompt made of them with this component. NULL: none. */
  usageExamples: jsonArray("usage_examples", "usageExample"),
  /**
   * Count. Prompts that use it, as `refreshPromptCounters` last counted them; the uses themselves
   * stand in `prompt_library_usage`.
   */
  timesUsed: count("times_used").notNull().default(0),
  /**
   * Percent, 0 to 100. Mean quality of the prompts that use it, weighted by their executions, by
   * `refreshPromptCounters`. NULL: none scored.
   */
  avgQualityWhenUsed: percent("avg_quality_when_used"),
  /** The component's own version, such as `1.0.0`, 1 to 255 characters. */
  version: name("version").notNull().default("1.0.0"),
  /** Whether new prompts may use it. */
  isActive: boolean("is_active").notNull().default(true),
  /** When the component was stored. */
  createdAt: createdAt(),
  /** Who wrote it. NULL: not said. */
  createdBy: text("created_by"),
});
/** A row of `prompt_library`. */
export type PromptComponent = Row<typeof promptLibrary>;
/** A row to insert into `prompt_library`. */
export type NewPromptComponent = NewRow<typeof promptLibrary>;

/**
 * Which prompt version uses which component. It belongs to no organization of its own: it is read
 * with its prompt and written only where prompt and component are both the caller's.
 */
export const promptLibraryUsage = ownedTable(
  "prompt_library_usage",
  {
    /**
     * The prompt version that uses the component. The row goes with it, and is seen by who sees it.
     */
    promptId: references("prompt_id", agentPrompts).onDelete("cascade").notNull(),
    /** The component that is used. It cannot be deleted while a prompt uses it. */
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
export type PromptLibraryUse = Row<typeof promptLibraryUsage>;
/** A row to insert into `prompt_library_usage`. */
export type NewPromptLibraryUse = NewRow<typeof promptLibraryUsage>;

/** A promise about one agent's service, measured over a rolling window. */
export const agentSlas = tenantTable(
  "agent_slas",
  {
    /** The agent whose service is promised. The promise goes with it. */
    agentId: references("agent_id", agentRegistry).onDelete("cascade").notNull(),
    /** Ratio, 0 to 1. NULL: not promised. Share of the window the agent must answer. */
    targetAvailability: ratio("target_availability").default(sql`0.9990`),
    /** Milliseconds. NULL: not promised. Half of the answers must take no longer. */
    targetP50LatencyMs: milliseconds("target_p50_latency_ms"),
    /**
     * Milliseconds. NULL: not promised. 95 in 100 answers must take no longer; not below the P50
     * target.
     */
    targetP95LatencyMs: milliseconds("target_p95_latency_ms"),
    /**
     * Milliseconds. NULL: not promised. 99 in 100 answers must take no longer; not below the P95
     * target.
     */
    targetP99LatencyMs: milliseconds("target_p99_latency_ms"),
    /** Ratio, 0 to 1. NULL: not promised. (`agent_registry` counts its target in percent.) */
    targetSuccessRate: ratio("target_success_rate").default(sql`0.9500`),
    /** Percent, 0 to 100. NULL: not promised. The mean quality score to reach. */
    targetQualityScore: percent("target_quality_score").default(sql`80.00`),
    /**
     * Over what time it is measured. Open: `measureSlas` understands `rolling_<n>d`, `calendar_day`,
     * `calendar_week` and `calendar_month`.
     */
    measurementWindow: text("measurement_window").notNull().default("rolling_30d"),
    /** Whether the promise holds now. */
    isActive: boolean("is_active").notNull().default(true),
    /** When the promise was made. */
    createdAt: createdAt(),
  },
  (t) => [
    notBefore("agent_slas_p95_p50_check", t.targetP95LatencyMs, t.targetP50LatencyMs),
    notBefore("agent_slas_p99_p95_check", t.targetP99LatencyMs, t.targetP95LatencyMs),
    notBefore("agent_slas_p99_p50_check", t.targetP99LatencyMs, t.targetP50LatencyMs),
  ],
);
/** A row of `agent_slas`. */
export type AgentSla = Row<typeof agentSlas>;
/** A row to insert into `agent_slas`. */
export type NewAgentSla = NewRow<typeof agentSlas>;

/** What was measured against an SLA over one period of days. */
export const slaCompliance = tenantTable(
  "sla_compliance",
  {
    /**
     * The agent that was measured; one row for each period. It cannot be deleted while it has any.
     */
    agentId: references("agent_id", agentRegistry).notNull(),
    /** The promise that it was measured against. It cannot be deleted while it has periods. */
    slaId: references("sla_id", agentSlas).notNull(),
    /** `YYYY-MM-DD`, the first day of the period. */
    periodStart: day("period_start").notNull(),
    /** `YYYY-MM-DD`, the last day of the period, inclusive. Not before the start. */
    periodEnd: day("period_end").notNull(),
    /** Ratio, 0 to 1. Share of the minutes so far that were not down. NULL: not measured. */
    actualAvailability: ratio("actual_availability"),
    /** Milliseconds. Half of the answers took no longer. NULL: not measured. */
    actualP50LatencyMs: milliseconds("actual_p50_latency_ms"),
    /** Milliseconds. 95 in 100 answers took no longer. NULL: not measured. */
    actualP95LatencyMs: milliseconds("actual_p95_latency_ms"),
    /** Milliseconds. 99 in 100 answers took no longer. NULL: not measured. */
    actualP99LatencyMs: milliseconds("actual_p99_latency_ms"),
    /** Ratio, 0 to 1. Executions that succeeded. NULL: not measured. */
    actualSuccessRate: ratio("actual_success_rate"),
    /** Percent, 0 to 100. The mean quality score of the period. NULL: none scored. */
    actualQualityScore: percent("actual_quality_score"),
    /** Whether `actual_availability` kept to its target. NULL: not promised, or not measured. */
    availabilityMet: boolean("availability_met"),
    /** Whether every latency that is promised was kept. NULL: none is, or not measured. */
    latencyMet: boolean("latency_met"),
    /** Whether `actual_success_rate` kept to its target. NULL: not promised, or not measured. */
    successRateMet: boolean("success_rate_met"),
    /** Whether `actual_quality_score` kept to its target. NULL: not promised, or not measured. */
    qualityMet: boolean("quality_met"),
    /** Whether all that is promised was kept. NULL: not judged. */
    overallCompliant: boolean("overall_compliant"),
    /** Minutes. How many were down: an execution failed in them and none succeeded. */
    breachMinutes: minutes("breach_minutes").notNull().default(0),
    /**
     * What went wrong and when: `failed` and `timeout` executions, the longest `outages`. NULL: nothing
     * did, or it is not kept.
     */
    breachDetails: jsonObject("breach_details", "breachDetails"),
    /** As of when it was measured. */
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
export type SlaCompliance = Row<typeof slaCompliance>;
/** A row to insert into `sla_compliance`. */
export type NewSlaCompliance = NewRow<typeof slaCompliance>;

/** What an agent, or without one the whole organization, may spend, and what it has spent. */
export const costBudgets = tenantTable(
  "cost_budgets",
  {
    /** The agent whose spending it limits. NULL: a budget of the whole organization. */
    agentId: references("agent_id", agentRegistry).onDelete("cascade"),
    /** US dollars. NULL: no limit. What a day may cost. */
    dailyBudgetUsd: usd("daily_budget_usd"),
    /** US dollars. NULL: no limit. What a week may cost. */
    weeklyBudgetUsd: usd("weekly_budget_usd"),
    /** US dollars. NULL: no limit. What a month may cost. */
    monthlyBudgetUsd: usd("monthly_budget_usd"),
    /** US dollars. Spent and reserved in the day (UTC) of `updated_at`; kept by `recordExecutions`, `reserveExecution` and `refreshBudgets`. */
    currentDailySpend: usd("current_daily_spend")
      .notNull()
      .default(sql`0`),
    /** US dollars. Spent and reserved in the ISO week (UTC) of `updated_at`; kept by `recordExecutions`, `reserveExecution` and `refreshBudgets`. */
    currentWeeklySpend: usd("current_weekly_spend")
      .notNull()
      .default(sql`0`),
    /** US dollars. Spent and reserved in the month (UTC) of `updated_at`; kept by `recordExecutions`, `reserveExecution` and `refreshBudgets`. */
    currentMonthlySpend: usd("current_monthly_spend")
      .notNull()
      .default(sql`0`),
    /** What the application does when a day costs more than its budget. NULL: nothing. */
    onDailyExceeded: text("on_daily_exceeded", { enum: BUDGET_ACTIONS }),
    /** What the application does when a week costs more than its budget. NULL: nothing. */
    onWeeklyExceeded: text("on_weekly_exceeded", { enum: BUDGET_ACTIONS }),
    /** What the application does when a month costs more than its budget. NULL: nothing. */
    onMonthlyExceeded: text("on_monthly_exceeded", { enum: BUDGET_ACTIONS }),
    /**
     * Percent, 0 to 100. NULL: no early alert. The part of a budget whose spending is worth one.
     */
    alertAtPercentage: percent("alert_at_percentage").default(sql`80.00`),
    /**
     * When the row last changed, and of which day, week and month the spending is. The database sets it
     * on every UPDATE, whoever writes, and never back; of windows that have passed the spending begins anew.
     */
    updatedAt: updatedAt(),
  },
  (t) => [
    // Serves "the budgets of an organization".
    index("idx_cost_budgets_org").on(t.organizationId),
  ],
);
/** A row of `cost_budgets`. */
export type CostBudget = Row<typeof costBudgets>;
/** A row to insert into `cost_budgets`. */
export type NewCostBudget = NewRow<typeof costBudgets>;

/** Which model answers when a condition holds. Without an agent it is a rule of the organization. */
export const modelRoutingRules = tenantTable("model_routing_rules", {
  /** The agent whose calls are routed. NULL: a rule of the whole organization. */
  agentId: references("agent_id", agentRegistry).onDelete("cascade"),
  /**
   * What is compared, such as `token_count` or `language`. Open, as is the operator: the router
   * gives them meaning.
   */
  conditionType: text("condition_type").notNull(),
  /** How it is compared, such as `>`. Open: the router gives it meaning. */
  conditionOperator: text("condition_operator").notNull(),
  /**
   * What it is compared with: a number or numbers for `token_count` and its like, a text or texts
   * for `language` and its like.
   */
  conditionValue: jsonBy("condition_value", "condition_type", "routingConditionValue").notNull(),
  /** The model that answers when the condition holds, as its provider calls it. */
  targetModel: text("target_model").notNull(),
  /** The model that answers when `target_model` cannot. NULL: none. */
  fallbackModel: text("fallback_model"),
  /** The rule with the lowest number is tried first. */
  priority: integer("priority").notNull().default(100),
  /** Whether the router considers the rule. */
  isActive: boolean("is_active").notNull().default(true),
  /** When the rule was made. */
  createdAt: createdAt(),
});
/** A row of `model_routing_rules`. */
export type ModelRoutingRule = Row<typeof modelRoutingRules>;
/** A row to insert into `model_routing_rules`. */
export type NewModelRoutingRule = NewRow<typeof modelRoutingRules>;

/** The downstream agent needs something of the upstream agent. */
export const agentDependencies = tenantTable(
  "agent_dependencies",
  {
    /** The agent that gives. The dependency goes with it. */
    upstreamAgentId: references("upstream_agent_id", agentRegistry).onDelete("cascade").notNull(),
    /** The agent that needs, another one than the upstream. The dependency goes with it. */
    downstreamAgentId: references("downstream_agent_id", agentRegistry)
      .onDelete("cascade")
      .notNull(),
    /** What the downstream agent needs of the upstream one. */
    dependencyType: text("dependency_type", { enum: DEPENDENCY_TYPES }).notNull(),
    /** Whether the downstream agent cannot work without it. */
    isCritical: boolean("is_critical").notNull().default(false),
    /** When the dependency was noted. */
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
export type AgentDependency = Row<typeof agentDependencies>;
/** A row to insert into `agent_dependencies`. */
export type NewAgentDependency = NewRow<typeof agentDependencies>;
