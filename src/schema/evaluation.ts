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
import {
  type NewRow,
  type Row,
  references,
  after,
  different,
  notBefore,
  tenantTable,
} from "./table.ts";

export type { ExpectedMetricsChange, Recommendation } from "./shapes.ts";

/** An AI-written evaluation of one agent over a period of days. */
export const evaluationReports = tenantTable(
  "evaluation_reports",
  {
    /** The agent that was evaluated. It cannot be deleted while it has reports. */
    agentId: references("agent_id", agentRegistry).notNull(),
    /** `YYYY-MM-DD`, the day the report was written. */
    reportDate: day("report_date").notNull(),
    /** `YYYY-MM-DD`, the first day that was evaluated. */
    evaluationPeriodStart: day("evaluation_period_start").notNull(),
    /** `YYYY-MM-DD`, the last day that was evaluated, inclusive. Not before the start. */
    evaluationPeriodEnd: day("evaluation_period_end").notNull(),
    /**
     * Percent, 0 to 100. All aspects in one number, as the evaluator weighs them. NULL: not scored.
     */
    overallScore: percent("overall_score"),
    /** Percent, 0 to 100. How surely executions succeed. NULL: not scored. */
    reliabilityScore: percent("reliability_score"),
    /** Percent, 0 to 100. How fast the agent is for what it does. NULL: not scored. */
    efficiencyScore: percent("efficiency_score"),
    /** Percent, 0 to 100. How much the agent gives for its money. NULL: not scored. */
    costEfficiencyScore: percent("cost_efficiency_score"),
    /** Percent, 0 to 100. How good the answers were. NULL: not scored. */
    qualityScore: percent("quality_score"),
    /** What the agent does well, a text each. */
    strengths: textList("strengths"),
    /** What the agent does badly, a text each. */
    weaknesses: textList("weaknesses"),
    /** How much the evaluation worries. NULL: not judged. */
    riskLevel: text("risk_level", { enum: RISK_LEVELS }),
    /** What the evaluator advises, each with a title. NULL: nothing. */
    recommendations: jsonArray("recommendations", "recommendation"),
    /** What to do first, a text each. */
    priorityActions: textList("priority_actions"),
    /**
     * Percentage points, -100 to 100. The overall score less that of the report before. NULL: no
     * previous report.
     */
    scoreChangeVsPrevious: percentagePoints("score_change_vs_previous"),
    /** How the period compares with the one before, as the evaluator breaks it down. */
    comparisonDetails: jsonObject("comparison_details"),
    /** The report in a few sentences, for who reads nothing else. */
    executiveSummary: text("executive_summary"),
    /** The whole report as text. */
    fullReportText: text("full_report_text"),
    /** When the report was stored. */
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
export type EvaluationReport = Row<typeof evaluationReports>;
/** A row to insert into `evaluation_reports`. */
export type NewEvaluationReport = NewRow<typeof evaluationReports>;

/** A suggested change to an agent, from proposal through approval and test to deployment. */
export const improvementProposals = tenantTable(
  "improvement_proposals",
  {
    /** The agent to change. It cannot be deleted while it has proposals. */
    agentId: references("agent_id", agentRegistry).notNull(),
    /** The report that led to the proposal. NULL: none did, or it was deleted. */
    evaluationReportId: references("evaluation_report_id", evaluationReports).onDelete("set null"),
    /** What the proposal would change. */
    proposalType: text("proposal_type", { enum: PROPOSAL_TYPES }).notNull(),
    /** The proposal in one line, such as `Post to the ledger in batches`. */
    title: text("title").notNull(),
    /** What exactly should change. */
    description: text("description").notNull(),
    /** Why the change should help. */
    rationale: text("rationale").notNull(),
    /** What would be changed, as it is now, any JSON. NULL: not kept. */
    currentState: json("current_state"),
    /** The same as it would be, any JSON. NULL: not worked out. */
    proposedState: json("proposed_state"),
    /** The difference between the two states, for people. */
    diffSummary: text("diff_summary"),
    /** What should get better, in words; `expected_metrics_change` has the numbers. */
    expectedImprovement: text("expected_improvement"),
    /** Metric name to expected change, each in the metric's own unit. */
    expectedMetricsChange: jsonObject("expected_metrics_change", "expectedMetricsChange"),
    /** What could go wrong. NULL: not assessed. */
    riskAssessment: text("risk_assessment"),
    /** How to undo the change. NULL: no plan. */
    rollbackPlan: text("rollback_plan"),
    /** How far the proposal has come. Rows that are `proposed` wait for a decision. */
    status: text("status", { enum: PROPOSAL_STATUSES }).notNull().default("proposed"),
    /** How soon the proposal should be looked at. */
    priority: text("priority", { enum: PROPOSAL_PRIORITIES }).notNull().default("medium"),
    /** Whether a person must agree first. The application sees to it, the database does not. */
    requiresHumanApproval: boolean("requires_human_approval").notNull().default(true),
    /** The person who agreed. NULL: nobody yet. */
    approvedBy: text("approved_by"),
    /** When the proposal was approved. NULL: it was not. */
    approvedAt: timestamptz("approved_at"),
    /** Why the proposal was rejected. NULL: it was not, or no reason is given. */
    rejectionReason: text("rejection_reason"),
    /** When the change went live. NULL: it did not. */
    deployedAt: timestamptz("deployed_at"),
    /**
     * The prompt version that the change became. NULL: not deployed, no change of a prompt, or that
     * version was deleted.
     */
    deployedPromptVersionId: references("deployed_prompt_version_id", agentPrompts).onDelete(
      "set null",
    ),
    /** When the proposal was made. */
    createdAt: createdAt(),
    /** When the row last changed. The database sets it on every UPDATE, whoever writes. */
    updatedAt: updatedAt(),
  },
  (t) => [
    // Serves "the proposals of an agent in a given state".
    index("idx_proposals_agent_status").on(t.agentId, t.status),
  ],
);
/** A row of `improvement_proposals`. */
export type ImprovementProposal = Row<typeof improvementProposals>;
/** A row to insert into `improvement_proposals`. */
export type NewImprovementProposal = NewRow<typeof improvementProposals>;

/** A controlled experiment: two prompt versions of one agent share its traffic. */
export const abTests = tenantTable(
  "ab_tests",
  {
    /** The agent whose traffic is shared. It cannot be deleted while it has tests. */
    agentId: references("agent_id", agentRegistry).notNull(),
    /** The proposal that the test is to decide. NULL: none, or it was deleted. */
    improvementProposalId: references("improvement_proposal_id", improvementProposals).onDelete(
      "set null",
    ),
    /** What people call the test, such as `lead-qualifier 1.1.0`. */
    testName: text("test_name").notNull(),
    /** What the treatment is expected to do better. */
    hypothesis: text("hypothesis").notNull(),
    /** The prompt version to compare with. */
    controlPromptId: references("control_prompt_id", agentPrompts).notNull(),
    /** The prompt version on trial, another one than the control. */
    treatmentPromptId: references("treatment_prompt_id", agentPrompts).notNull(),
    /** Ratio, 0 to 1. Share of the traffic that gets the treatment. */
    trafficSplit: ratio("traffic_split")
      .notNull()
      .default(sql`0.50`),
    /** From when on the traffic is shared. */
    startDate: timestamptz("start_date").notNull(),
    /** Until when the traffic is shared, after `start_date`. NULL: open end. */
    endDate: timestamptz("end_date"),
    /** Count. Executions that each side must have before `refreshAbTest` names a winner. */
    minSampleSize: count("min_sample_size").notNull().default(100),
    /** How far the test has come. Traffic is shared while it is `running`. */
    status: text("status", { enum: TEST_STATUSES }).notNull().default("running"),
    /** Count. Executions that ran the control and ended well or badly; `refreshAbTest` counts them. */
    controlExecutions: count("control_executions").notNull().default(0),
    /** Count. Executions that ran the treatment and ended well or badly; `refreshAbTest` counts them. */
    treatmentExecutions: count("treatment_executions").notNull().default(0),
    /** Ratio, 0 to 1. Successful executions of the control. NULL: not computed. */
    controlSuccessRate: ratio("control_success_rate"),
    /** Ratio, 0 to 1. Successful executions of the treatment. NULL: not computed. */
    treatmentSuccessRate: ratio("treatment_success_rate"),
    /** Percent, 0 to 100. Mean quality score of the control. NULL: none scored. */
    controlAvgQuality: percent("control_avg_quality"),
    /** Percent, 0 to 100. Mean quality score of the treatment. NULL: none scored. */
    treatmentAvgQuality: percent("treatment_avg_quality"),
    /**
     * Ratio, 0 to 1. How sure it is that the two sides differ: 1 less the p-value of a mixture
     * sequential probability ratio test (mSPRT) over differences of 0.01, 0.03 and 0.1, valid however
     * often it is looked at. A winner has at least 1 - alpha, 0.95 unless told. NULL: not computed.
     */
    statisticalSignificance: ratio("statistical_significance"),
    /** Which side did better. NULL: not decided yet. */
    winner: text("winner", { enum: TEST_WINNERS }),
    /** What was learnt, for people. NULL: not concluded. */
    conclusionSummary: text("conclusion_summary"),
    /** When the test was set up. */
    createdAt: createdAt(),
    /** When the row last changed. The database sets it on every UPDATE, whoever writes. */
    updatedAt: updatedAt(),
  },
  (t) => [
    different("ab_tests_prompts_check", t.controlPromptId, t.treatmentPromptId),
    after("ab_tests_dates_check", t.endDate, t.startDate),
  ],
);
/** A row of `ab_tests`. */
export type AbTest = Row<typeof abTests>;
/** A row to insert into `ab_tests`. */
export type NewAbTest = NewRow<typeof abTests>;
