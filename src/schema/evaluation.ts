/** Evaluation: how good an agent is, what should change, and whether the change helped. */
import { sql } from "drizzle-orm";
import { boolean, index, text } from "drizzle-orm/pg-core";
import {
  PROPOSAL_PRIORITIES,
  PROPOSAL_STATUSES,
  PROPOSAL_TYPES,
  RISK_LEVELS,
  TEST_STATUSES,
  TEST_WINNERS,
} from "../values.ts";
import { agentPrompts, agentRegistry } from "./governance.ts";
import {
  count,
  createdAt,
  day,
  json,
  jsonArray,
  jsonObject,
  percent,
  percentagePoints,
  ratio,
  textList,
  timestamptz,
  updatedAt,
} from "./columns.ts";
import { references, after, different, notBefore, tenantTable } from "./table.ts";

export type { ExpectedMetricsChange, Recommendation } from "./shapes.ts";

/** An AI-written evaluation of one agent over a period of days. */
export const evaluationReports = tenantTable(
  "evaluation_reports",
  {
    agentId: references("agent_id", agentRegistry).notNull(),
    reportDate: day("report_date").notNull(),
    evaluationPeriodStart: day("evaluation_period_start").notNull(),
    /** Inclusive. */
    evaluationPeriodEnd: day("evaluation_period_end").notNull(),
    /** Percent, 0 to 100. */
    overallScore: percent("overall_score"),
    /** Percent, 0 to 100. */
    reliabilityScore: percent("reliability_score"),
    /** Percent, 0 to 100. */
    efficiencyScore: percent("efficiency_score"),
    /** Percent, 0 to 100. */
    costEfficiencyScore: percent("cost_efficiency_score"),
    /** Percent, 0 to 100. */
    qualityScore: percent("quality_score"),
    strengths: textList("strengths"),
    weaknesses: textList("weaknesses"),
    riskLevel: text("risk_level", { enum: RISK_LEVELS }),
    recommendations: jsonArray("recommendations", "recommendation"),
    priorityActions: textList("priority_actions"),
    /** Percentage points of the overall score, -100 to 100. NULL: no previous report. */
    scoreChangeVsPrevious: percentagePoints("score_change_vs_previous"),
    comparisonDetails: jsonObject("comparison_details"),
    executiveSummary: text("executive_summary"),
    fullReportText: text("full_report_text"),
    createdAt: createdAt(),
  },
  (t) => [
    notBefore(
      "evaluation_reports_evaluation_period_check",
      t.evaluationPeriodEnd,
      t.evaluationPeriodStart,
    ),
    // Serves "the latest reports of an agent".
    index("idx_reports_agent_date").on(t.agentId, t.reportDate.desc().nullsFirst()),
  ],
);
/** A row of `evaluation_reports`. */
export type EvaluationReport = typeof evaluationReports.$inferSelect;
/** A row to insert into `evaluation_reports`. */
export type NewEvaluationReport = typeof evaluationReports.$inferInsert;

/** A suggested change to an agent, from proposal through approval and test to deployment. */
export const improvementProposals = tenantTable(
  "improvement_proposals",
  {
    agentId: references("agent_id", agentRegistry).notNull(),
    evaluationReportId: references("evaluation_report_id", evaluationReports).onDelete("set null"),
    proposalType: text("proposal_type", { enum: PROPOSAL_TYPES }).notNull(),
    title: text("title").notNull(),
    description: text("description").notNull(),
    rationale: text("rationale").notNull(),
    currentState: json("current_state"),
    proposedState: json("proposed_state"),
    diffSummary: text("diff_summary"),
    expectedImprovement: text("expected_improvement"),
    expectedMetricsChange: jsonObject("expected_metrics_change", "expectedMetricsChange"),
    riskAssessment: text("risk_assessment"),
    rollbackPlan: text("rollback_plan"),
    status: text("status", { enum: PROPOSAL_STATUSES }).notNull().default("proposed"),
    priority: text("priority", { enum: PROPOSAL_PRIORITIES }).notNull().default("medium"),
    requiresHumanApproval: boolean("requires_human_approval").notNull().default(true),
    approvedBy: text("approved_by"),
    approvedAt: timestamptz("approved_at"),
    rejectionReason: text("rejection_reason"),
    deployedAt: timestamptz("deployed_at"),
    deployedPromptVersionId: references("deployed_prompt_version_id", agentPrompts).onDelete(
      "set null",
    ),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (t) => [
    // Serves "the proposals of an agent in a given state".
    index("idx_proposals_agent_status").on(t.agentId, t.status),
  ],
);
/** A row of `improvement_proposals`. */
export type ImprovementProposal = typeof improvementProposals.$inferSelect;
/** A row to insert into `improvement_proposals`. */
export type NewImprovementProposal = typeof improvementProposals.$inferInsert;

/** A controlled experiment: two prompt versions of one agent share its traffic. */
export const abTests = tenantTable(
  "ab_tests",
  {
    agentId: references("agent_id", agentRegistry).notNull(),
    improvementProposalId: references("improvement_proposal_id", improvementProposals).onDelete(
      "set null",
    ),
    testName: text("test_name").notNull(),
    hypothesis: text("hypothesis").notNull(),
    controlPromptId: references("control_prompt_id", agentPrompts).notNull(),
    treatmentPromptId: references("treatment_prompt_id", agentPrompts).notNull(),
    /** Share of the traffic that gets the treatment. Ratio, 0 to 1. */
    trafficSplit: ratio("traffic_split")
      .notNull()
      .default(sql`0.50`),
    startDate: timestamptz("start_date").notNull(),
    /** NULL: open end. */
    endDate: timestamptz("end_date"),
    minSampleSize: count("min_sample_size").notNull().default(100),
    status: text("status", { enum: TEST_STATUSES }).notNull().default("running"),
    controlExecutions: count("control_executions").notNull().default(0),
    treatmentExecutions: count("treatment_executions").notNull().default(0),
    /** Ratio, 0 to 1. */
    controlSuccessRate: ratio("control_success_rate"),
    /** Ratio, 0 to 1. */
    treatmentSuccessRate: ratio("treatment_success_rate"),
    /** Percent, 0 to 100. */
    controlAvgQuality: percent("control_avg_quality"),
    /** Percent, 0 to 100. */
    treatmentAvgQuality: percent("treatment_avg_quality"),
    /** Ratio, 0 to 1. */
    statisticalSignificance: ratio("statistical_significance"),
    winner: text("winner", { enum: TEST_WINNERS }),
    conclusionSummary: text("conclusion_summary"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (t) => [
    different("ab_tests_prompts_check", t.controlPromptId, t.treatmentPromptId),
    after("ab_tests_dates_check", t.endDate, t.startDate),
  ],
);
/** A row of `ab_tests`. */
export type AbTest = typeof abTests.$inferSelect;
/** A row to insert into `ab_tests`. */
export type NewAbTest = typeof abTests.$inferInsert;
