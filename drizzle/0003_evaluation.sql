CREATE TABLE "ab_tests" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_id" uuid NOT NULL,
	"improvement_proposal_id" uuid,
	"test_name" text NOT NULL,
	"hypothesis" text NOT NULL,
	"control_prompt_id" uuid NOT NULL,
	"treatment_prompt_id" uuid NOT NULL,
	"traffic_split" numeric DEFAULT 0.50 NOT NULL,
	"start_date" timestamp with time zone NOT NULL,
	"end_date" timestamp with time zone,
	"min_sample_size" integer DEFAULT 100 NOT NULL,
	"status" text DEFAULT 'running' NOT NULL,
	"control_executions" integer DEFAULT 0 NOT NULL,
	"treatment_executions" integer DEFAULT 0 NOT NULL,
	"control_success_rate" numeric,
	"treatment_success_rate" numeric,
	"control_avg_quality" numeric,
	"treatment_avg_quality" numeric,
	"statistical_significance" numeric,
	"winner" text,
	"conclusion_summary" text,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "ab_tests_traffic_split_check" CHECK ("ab_tests"."traffic_split" BETWEEN 0 AND 1),
	CONSTRAINT "ab_tests_start_date_check" CHECK (isfinite("ab_tests"."start_date")),
	CONSTRAINT "ab_tests_end_date_check" CHECK (isfinite("ab_tests"."end_date")),
	CONSTRAINT "ab_tests_min_sample_size_check" CHECK ("ab_tests"."min_sample_size" >= 0),
	CONSTRAINT "ab_tests_status_check" CHECK ("ab_tests"."status" IN ('pending', 'running', 'completed', 'stopped')),
	CONSTRAINT "ab_tests_control_executions_check" CHECK ("ab_tests"."control_executions" >= 0),
	CONSTRAINT "ab_tests_treatment_executions_check" CHECK ("ab_tests"."treatment_executions" >= 0),
	CONSTRAINT "ab_tests_control_success_rate_check" CHECK ("ab_tests"."control_success_rate" BETWEEN 0 AND 1),
	CONSTRAINT "ab_tests_treatment_success_rate_check" CHECK ("ab_tests"."treatment_success_rate" BETWEEN 0 AND 1),
	CONSTRAINT "ab_tests_control_avg_quality_check" CHECK ("ab_tests"."control_avg_quality" BETWEEN 0 AND 100),
	CONSTRAINT "ab_tests_treatment_avg_quality_check" CHECK ("ab_tests"."treatment_avg_quality" BETWEEN 0 AND 100),
	CONSTRAINT "ab_tests_statistical_significance_check" CHECK ("ab_tests"."statistical_significance" BETWEEN 0 AND 1),
	CONSTRAINT "ab_tests_winner_check" CHECK ("ab_tests"."winner" IN ('control', 'treatment', 'inconclusive')),
	CONSTRAINT "ab_tests_created_at_check" CHECK (isfinite("ab_tests"."created_at")),
	CONSTRAINT "ab_tests_updated_at_check" CHECK (isfinite("ab_tests"."updated_at")),
	CONSTRAINT "ab_tests_prompts_check" CHECK ("ab_tests"."control_prompt_id" <> "ab_tests"."treatment_prompt_id"),
	CONSTRAINT "ab_tests_dates_check" CHECK ("ab_tests"."end_date" > "ab_tests"."start_date")
);
--> statement-breakpoint
ALTER TABLE "ab_tests" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "evaluation_reports" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_id" uuid NOT NULL,
	"report_date" date NOT NULL,
	"evaluation_period_start" date NOT NULL,
	"evaluation_period_end" date NOT NULL,
	"overall_score" numeric,
	"reliability_score" numeric,
	"efficiency_score" numeric,
	"cost_efficiency_score" numeric,
	"quality_score" numeric,
	"strengths" text[],
	"weaknesses" text[],
	"risk_level" text,
	"recommendations" jsonb,
	"priority_actions" text[],
	"score_change_vs_previous" numeric,
	"comparison_details" jsonb,
	"executive_summary" text,
	"full_report_text" text,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "evaluation_reports_report_date_check" CHECK (isfinite("evaluation_reports"."report_date")),
	CONSTRAINT "evaluation_reports_evaluation_period_start_check" CHECK (isfinite("evaluation_reports"."evaluation_period_start")),
	CONSTRAINT "evaluation_reports_evaluation_period_end_check" CHECK (isfinite("evaluation_reports"."evaluation_period_end")),
	CONSTRAINT "evaluation_reports_overall_score_check" CHECK ("evaluation_reports"."overall_score" BETWEEN 0 AND 100),
	CONSTRAINT "evaluation_reports_reliability_score_check" CHECK ("evaluation_reports"."reliability_score" BETWEEN 0 AND 100),
	CONSTRAINT "evaluation_reports_efficiency_score_check" CHECK ("evaluation_reports"."efficiency_score" BETWEEN 0 AND 100),
	CONSTRAINT "evaluation_reports_cost_efficiency_score_check" CHECK ("evaluation_reports"."cost_efficiency_score" BETWEEN 0 AND 100),
	CONSTRAINT "evaluation_reports_quality_score_check" CHECK ("evaluation_reports"."quality_score" BETWEEN 0 AND 100),
	CONSTRAINT "evaluation_reports_strengths_check" CHECK (array_position("evaluation_reports"."strengths", NULL) IS NULL),
	CONSTRAINT "evaluation_reports_weaknesses_check" CHECK (array_position("evaluation_reports"."weaknesses", NULL) IS NULL),
	CONSTRAINT "evaluation_reports_risk_level_check" CHECK ("evaluation_reports"."risk_level" IN ('low', 'medium', 'high', 'critical')),
	CONSTRAINT "evaluation_reports_recommendations_check" CHECK (jsonb_typeof("evaluation_reports"."recommendations") = 'array'),
	CONSTRAINT "evaluation_reports_priority_actions_check" CHECK (array_position("evaluation_reports"."priority_actions", NULL) IS NULL),
	CONSTRAINT "evaluation_reports_score_change_vs_previous_check" CHECK ("evaluation_reports"."score_change_vs_previous" BETWEEN -100 AND 100),
	CONSTRAINT "evaluation_reports_comparison_details_check" CHECK (jsonb_typeof("evaluation_reports"."comparison_details") = 'object'),
	CONSTRAINT "evaluation_reports_created_at_check" CHECK (isfinite("evaluation_reports"."created_at")),
	CONSTRAINT "evaluation_reports_evaluation_period_check" CHECK ("evaluation_reports"."evaluation_period_end" >= "evaluation_reports"."evaluation_period_start")
);
--> statement-breakpoint
ALTER TABLE "evaluation_reports" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "improvement_proposals" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_id" uuid NOT NULL,
	"evaluation_report_id" uuid,
	"proposal_type" text NOT NULL,
	"title" text NOT NULL,
	"description" text NOT NULL,
	"rationale" text NOT NULL,
	"current_state" jsonb,
	"proposed_state" jsonb,
	"diff_summary" text,
	"expected_improvement" text,
	"expected_metrics_change" jsonb,
	"risk_assessment" text,
	"rollback_plan" text,
	"status" text DEFAULT 'proposed' NOT NULL,
	"priority" text DEFAULT 'medium' NOT NULL,
	"requires_human_approval" boolean DEFAULT true NOT NULL,
	"approved_by" text,
	"approved_at" timestamp with time zone,
	"rejection_reason" text,
	"deployed_at" timestamp with time zone,
	"deployed_prompt_version_id" uuid,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "improvement_proposals_proposal_type_check" CHECK ("improvement_proposals"."proposal_type" IN ('prompt_change', 'tool_addition', 'tool_removal', 'config_change', 'architecture_change')),
	CONSTRAINT "improvement_proposals_expected_metrics_change_check" CHECK (jsonb_typeof("improvement_proposals"."expected_metrics_change") = 'object'),
	CONSTRAINT "improvement_proposals_status_check" CHECK ("improvement_proposals"."status" IN ('proposed', 'approved', 'rejected', 'testing', 'deployed', 'rolled_back')),
	CONSTRAINT "improvement_proposals_priority_check" CHECK ("improvement_proposals"."priority" IN ('low', 'medium', 'high', 'critical')),
	CONSTRAINT "improvement_proposals_approved_at_check" CHECK (isfinite("improvement_proposals"."approved_at")),
	CONSTRAINT "improvement_proposals_deployed_at_check" CHECK (isfinite("improvement_proposals"."deployed_at")),
	CONSTRAINT "improvement_proposals_created_at_check" CHECK (isfinite("improvement_proposals"."created_at")),
	CONSTRAINT "improvement_proposals_updated_at_check" CHECK (isfinite("improvement_proposals"."updated_at"))
);
--> statement-breakpoint
ALTER TABLE "improvement_proposals" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
ALTER TABLE "ab_tests" ADD CONSTRAINT "ab_tests_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "ab_tests" ADD CONSTRAINT "ab_tests_improvement_proposal_id_fkey" FOREIGN KEY ("improvement_proposal_id") REFERENCES "public"."improvement_proposals"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "ab_tests" ADD CONSTRAINT "ab_tests_control_prompt_id_fkey" FOREIGN KEY ("control_prompt_id") REFERENCES "public"."agent_prompts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "ab_tests" ADD CONSTRAINT "ab_tests_treatment_prompt_id_fkey" FOREIGN KEY ("treatment_prompt_id") REFERENCES "public"."agent_prompts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "evaluation_reports" ADD CONSTRAINT "evaluation_reports_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "improvement_proposals" ADD CONSTRAINT "improvement_proposals_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "improvement_proposals" ADD CONSTRAINT "improvement_proposals_evaluation_report_id_fkey" FOREIGN KEY ("evaluation_report_id") REFERENCES "public"."evaluation_reports"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "improvement_proposals" ADD CONSTRAINT "improvement_proposals_deployed_prompt_version_id_fkey" FOREIGN KEY ("deployed_prompt_version_id") REFERENCES "public"."agent_prompts"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idx_ab_tests_agent_id" ON "ab_tests" USING btree ("agent_id");--> statement-breakpoint
CREATE INDEX "idx_ab_tests_improvement_proposal_id" ON "ab_tests" USING btree ("improvement_proposal_id");--> statement-breakpoint
CREATE INDEX "idx_ab_tests_control_prompt_id" ON "ab_tests" USING btree ("control_prompt_id");--> statement-breakpoint
CREATE INDEX "idx_ab_tests_treatment_prompt_id" ON "ab_tests" USING btree ("treatment_prompt_id");--> statement-breakpoint
CREATE INDEX "idx_ab_tests_organization_id" ON "ab_tests" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "idx_reports_agent_date" ON "evaluation_reports" USING btree ("agent_id","report_date" DESC NULLS FIRST);--> statement-breakpoint
CREATE INDEX "idx_evaluation_reports_organization_id" ON "evaluation_reports" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "idx_proposals_agent_status" ON "improvement_proposals" USING btree ("agent_id","status");--> statement-breakpoint
CREATE INDEX "idx_improvement_proposals_evaluation_report_id" ON "improvement_proposals" USING btree ("evaluation_report_id");--> statement-breakpoint
CREATE INDEX "idx_improvement_proposals_deployed_prompt_version_id" ON "improvement_proposals" USING btree ("deployed_prompt_version_id");--> statement-breakpoint
CREATE INDEX "idx_improvement_proposals_organization_id" ON "improvement_proposals" USING btree ("organization_id");