CREATE TABLE "agent_dependencies" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"upstream_agent_id" uuid NOT NULL,
	"downstream_agent_id" uuid NOT NULL,
	"dependency_type" text NOT NULL,
	"is_critical" boolean DEFAULT false NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "agent_dependencies_upstream_agent_id_downstream_agent_id_key" UNIQUE("upstream_agent_id","downstream_agent_id"),
	CONSTRAINT "agent_dependencies_dependency_type_check" CHECK ("agent_dependencies"."dependency_type" IN ('data', 'trigger', 'approval', 'context')),
	CONSTRAINT "agent_dependencies_created_at_check" CHECK (isfinite("agent_dependencies"."created_at")),
	CONSTRAINT "agent_dependencies_agents_check" CHECK ("agent_dependencies"."upstream_agent_id" <> "agent_dependencies"."downstream_agent_id")
);
--> statement-breakpoint
ALTER TABLE "agent_dependencies" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "agent_slas" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_id" uuid NOT NULL,
	"target_availability" numeric DEFAULT 0.9990,
	"target_p50_latency_ms" integer,
	"target_p95_latency_ms" integer,
	"target_p99_latency_ms" integer,
	"target_success_rate" numeric DEFAULT 0.9500,
	"target_quality_score" numeric DEFAULT 80.00,
	"measurement_window" text DEFAULT 'rolling_30d' NOT NULL,
	"is_active" boolean DEFAULT true NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "agent_slas_target_availability_check" CHECK ("agent_slas"."target_availability" BETWEEN 0 AND 1),
	CONSTRAINT "agent_slas_target_p50_latency_ms_check" CHECK ("agent_slas"."target_p50_latency_ms" >= 0),
	CONSTRAINT "agent_slas_target_p95_latency_ms_check" CHECK ("agent_slas"."target_p95_latency_ms" >= 0),
	CONSTRAINT "agent_slas_target_p99_latency_ms_check" CHECK ("agent_slas"."target_p99_latency_ms" >= 0),
	CONSTRAINT "agent_slas_target_success_rate_check" CHECK ("agent_slas"."target_success_rate" BETWEEN 0 AND 1),
	CONSTRAINT "agent_slas_target_quality_score_check" CHECK ("agent_slas"."target_quality_score" BETWEEN 0 AND 100),
	CONSTRAINT "agent_slas_created_at_check" CHECK (isfinite("agent_slas"."created_at")),
	CONSTRAINT "agent_slas_p95_p50_check" CHECK ("agent_slas"."target_p95_latency_ms" >= "agent_slas"."target_p50_latency_ms"),
	CONSTRAINT "agent_slas_p99_p95_check" CHECK ("agent_slas"."target_p99_latency_ms" >= "agent_slas"."target_p95_latency_ms"),
	CONSTRAINT "agent_slas_p99_p50_check" CHECK ("agent_slas"."target_p99_latency_ms" >= "agent_slas"."target_p50_latency_ms")
);
--> statement-breakpoint
ALTER TABLE "agent_slas" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "cost_budgets" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_id" uuid,
	"daily_budget_usd" numeric,
	"weekly_budget_usd" numeric,
	"monthly_budget_usd" numeric,
	"current_daily_spend" numeric DEFAULT 0 NOT NULL,
	"current_weekly_spend" numeric DEFAULT 0 NOT NULL,
	"current_monthly_spend" numeric DEFAULT 0 NOT NULL,
	"on_daily_exceeded" text,
	"on_weekly_exceeded" text,
	"on_monthly_exceeded" text,
	"alert_at_percentage" numeric DEFAULT 80.00,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "cost_budgets_daily_budget_usd_check" CHECK ("cost_budgets"."daily_budget_usd" BETWEEN 0 AND 1000000000000),
	CONSTRAINT "cost_budgets_weekly_budget_usd_check" CHECK ("cost_budgets"."weekly_budget_usd" BETWEEN 0 AND 1000000000000),
	CONSTRAINT "cost_budgets_monthly_budget_usd_check" CHECK ("cost_budgets"."monthly_budget_usd" BETWEEN 0 AND 1000000000000),
	CONSTRAINT "cost_budgets_current_daily_spend_check" CHECK ("cost_budgets"."current_daily_spend" BETWEEN 0 AND 1000000000000),
	CONSTRAINT "cost_budgets_current_weekly_spend_check" CHECK ("cost_budgets"."current_weekly_spend" BETWEEN 0 AND 1000000000000),
	CONSTRAINT "cost_budgets_current_monthly_spend_check" CHECK ("cost_budgets"."current_monthly_spend" BETWEEN 0 AND 1000000000000),
	CONSTRAINT "cost_budgets_on_daily_exceeded_check" CHECK ("cost_budgets"."on_daily_exceeded" IN ('alert', 'throttle', 'pause', 'downgrade_model')),
	CONSTRAINT "cost_budgets_on_weekly_exceeded_check" CHECK ("cost_budgets"."on_weekly_exceeded" IN ('alert', 'throttle', 'pause', 'downgrade_model')),
	CONSTRAINT "cost_budgets_on_monthly_exceeded_check" CHECK ("cost_budgets"."on_monthly_exceeded" IN ('alert', 'throttle', 'pause', 'downgrade_model')),
	CONSTRAINT "cost_budgets_alert_at_percentage_check" CHECK ("cost_budgets"."alert_at_percentage" BETWEEN 0 AND 100),
	CONSTRAINT "cost_budgets_updated_at_check" CHECK (isfinite("cost_budgets"."updated_at"))
);
--> statement-breakpoint
ALTER TABLE "cost_budgets" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "learning_log" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_id" uuid,
	"related_proposal_id" uuid,
	"related_ab_test_id" uuid,
	"learning_type" text NOT NULL,
	"title" text NOT NULL,
	"description" text NOT NULL,
	"evidence" jsonb,
	"confidence_level" text,
	"applicable_to" text[],
	"is_active" boolean DEFAULT true NOT NULL,
	"superseded_by" uuid,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "learning_log_learning_type_check" CHECK ("learning_log"."learning_type" IN ('success_pattern', 'failure_pattern', 'optimization', 'anti_pattern')),
	CONSTRAINT "learning_log_confidence_level_check" CHECK ("learning_log"."confidence_level" IN ('low', 'medium', 'high', 'proven')),
	CONSTRAINT "learning_log_applicable_to_check" CHECK (array_position("learning_log"."applicable_to", NULL) IS NULL AND '' <> ALL ("learning_log"."applicable_to") AND "learning_log"."applicable_to"::varchar(255)[]::text[] = "learning_log"."applicable_to"),
	CONSTRAINT "learning_log_created_at_check" CHECK (isfinite("learning_log"."created_at")),
	CONSTRAINT "learning_log_superseded_check" CHECK ("learning_log"."superseded_by" <> "learning_log"."id")
);
--> statement-breakpoint
ALTER TABLE "learning_log" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "model_routing_rules" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_id" uuid,
	"condition_type" text NOT NULL,
	"condition_operator" text NOT NULL,
	"condition_value" jsonb NOT NULL,
	"target_model" text NOT NULL,
	"fallback_model" text,
	"priority" integer DEFAULT 100 NOT NULL,
	"is_active" boolean DEFAULT true NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "model_routing_rules_created_at_check" CHECK (isfinite("model_routing_rules"."created_at"))
);
--> statement-breakpoint
ALTER TABLE "model_routing_rules" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "prompt_library" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"name" text NOT NULL,
	"category" text NOT NULL,
	"tags" text[],
	"content" text NOT NULL,
	"description" text,
	"usage_examples" jsonb,
	"times_used" integer DEFAULT 0 NOT NULL,
	"avg_quality_when_used" numeric,
	"version" text DEFAULT '1.0.0' NOT NULL,
	"is_active" boolean DEFAULT true NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"created_by" text,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "prompt_library_name_key" UNIQUE("name"),
	CONSTRAINT "prompt_library_name_check" CHECK (char_length("prompt_library"."name") BETWEEN 1 AND 255),
	CONSTRAINT "prompt_library_category_check" CHECK ("prompt_library"."category" IN ('system_instruction', 'output_format', 'error_handling', 'tool_usage', 'persona')),
	CONSTRAINT "prompt_library_tags_check" CHECK (array_position("prompt_library"."tags", NULL) IS NULL),
	CONSTRAINT "prompt_library_usage_examples_check" CHECK (jsonb_typeof("prompt_library"."usage_examples") = 'array'),
	CONSTRAINT "prompt_library_times_used_check" CHECK ("prompt_library"."times_used" >= 0),
	CONSTRAINT "prompt_library_avg_quality_when_used_check" CHECK ("prompt_library"."avg_quality_when_used" BETWEEN 0 AND 100),
	CONSTRAINT "prompt_library_version_check" CHECK (char_length("prompt_library"."version") BETWEEN 1 AND 255),
	CONSTRAINT "prompt_library_created_at_check" CHECK (isfinite("prompt_library"."created_at"))
);
--> statement-breakpoint
ALTER TABLE "prompt_library" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "prompt_library_usage" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"prompt_id" uuid NOT NULL,
	"library_component_id" uuid NOT NULL,
	CONSTRAINT "prompt_library_usage_prompt_id_library_component_id_key" UNIQUE("prompt_id","library_component_id")
);
--> statement-breakpoint
ALTER TABLE "prompt_library_usage" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "sla_compliance" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_id" uuid NOT NULL,
	"sla_id" uuid NOT NULL,
	"period_start" date NOT NULL,
	"period_end" date NOT NULL,
	"actual_availability" numeric,
	"actual_p50_latency_ms" integer,
	"actual_p95_latency_ms" integer,
	"actual_p99_latency_ms" integer,
	"actual_success_rate" numeric,
	"actual_quality_score" numeric,
	"availability_met" boolean,
	"latency_met" boolean,
	"success_rate_met" boolean,
	"quality_met" boolean,
	"overall_compliant" boolean,
	"breach_minutes" integer DEFAULT 0 NOT NULL,
	"breach_details" jsonb,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "sla_compliance_agent_id_period_start_period_end_key" UNIQUE("agent_id","period_start","period_end"),
	CONSTRAINT "sla_compliance_period_start_check" CHECK (isfinite("sla_compliance"."period_start")),
	CONSTRAINT "sla_compliance_period_end_check" CHECK (isfinite("sla_compliance"."period_end")),
	CONSTRAINT "sla_compliance_actual_availability_check" CHECK ("sla_compliance"."actual_availability" BETWEEN 0 AND 1),
	CONSTRAINT "sla_compliance_actual_p50_latency_ms_check" CHECK ("sla_compliance"."actual_p50_latency_ms" >= 0),
	CONSTRAINT "sla_compliance_actual_p95_latency_ms_check" CHECK ("sla_compliance"."actual_p95_latency_ms" >= 0),
	CONSTRAINT "sla_compliance_actual_p99_latency_ms_check" CHECK ("sla_compliance"."actual_p99_latency_ms" >= 0),
	CONSTRAINT "sla_compliance_actual_success_rate_check" CHECK ("sla_compliance"."actual_success_rate" BETWEEN 0 AND 1),
	CONSTRAINT "sla_compliance_actual_quality_score_check" CHECK ("sla_compliance"."actual_quality_score" BETWEEN 0 AND 100),
	CONSTRAINT "sla_compliance_breach_minutes_check" CHECK ("sla_compliance"."breach_minutes" >= 0),
	CONSTRAINT "sla_compliance_breach_details_check" CHECK (jsonb_typeof("sla_compliance"."breach_details") = 'object'),
	CONSTRAINT "sla_compliance_created_at_check" CHECK (isfinite("sla_compliance"."created_at")),
	CONSTRAINT "sla_compliance_period_check" CHECK ("sla_compliance"."period_end" >= "sla_compliance"."period_start")
);
--> statement-breakpoint
ALTER TABLE "sla_compliance" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
ALTER TABLE "agent_dependencies" ADD CONSTRAINT "agent_dependencies_upstream_agent_id_fkey" FOREIGN KEY ("upstream_agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "agent_dependencies" ADD CONSTRAINT "agent_dependencies_downstream_agent_id_fkey" FOREIGN KEY ("downstream_agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "agent_slas" ADD CONSTRAINT "agent_slas_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "cost_budgets" ADD CONSTRAINT "cost_budgets_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "learning_log" ADD CONSTRAINT "learning_log_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "learning_log" ADD CONSTRAINT "learning_log_related_proposal_id_fkey" FOREIGN KEY ("related_proposal_id") REFERENCES "public"."improvement_proposals"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "learning_log" ADD CONSTRAINT "learning_log_related_ab_test_id_fkey" FOREIGN KEY ("related_ab_test_id") REFERENCES "public"."ab_tests"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "learning_log" ADD CONSTRAINT "learning_log_superseded_by_fkey" FOREIGN KEY ("superseded_by") REFERENCES "public"."learning_log"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "model_routing_rules" ADD CONSTRAINT "model_routing_rules_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "prompt_library_usage" ADD CONSTRAINT "prompt_library_usage_prompt_id_fkey" FOREIGN KEY ("prompt_id") REFERENCES "public"."agent_prompts"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "prompt_library_usage" ADD CONSTRAINT "prompt_library_usage_library_component_id_fkey" FOREIGN KEY ("library_component_id") REFERENCES "public"."prompt_library"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sla_compliance" ADD CONSTRAINT "sla_compliance_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sla_compliance" ADD CONSTRAINT "sla_compliance_sla_id_fkey" FOREIGN KEY ("sla_id") REFERENCES "public"."agent_slas"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idx_agent_dependencies_downstream_agent_id" ON "agent_dependencies" USING btree ("downstream_agent_id");--> statement-breakpoint
CREATE INDEX "idx_agent_dependencies_organization_id" ON "agent_dependencies" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "idx_agent_slas_agent_id" ON "agent_slas" USING btree ("agent_id");--> statement-breakpoint
CREATE INDEX "idx_agent_slas_organization_id" ON "agent_slas" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "idx_cost_budgets_org" ON "cost_budgets" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "idx_cost_budgets_agent_id" ON "cost_budgets" USING btree ("agent_id");--> statement-breakpoint
CREATE INDEX "idx_learning_applicable" ON "learning_log" USING gin ("applicable_to");--> statement-breakpoint
CREATE INDEX "idx_learning_log_agent_id" ON "learning_log" USING btree ("agent_id");--> statement-breakpoint
CREATE INDEX "idx_learning_log_related_proposal_id" ON "learning_log" USING btree ("related_proposal_id");--> statement-breakpoint
CREATE INDEX "idx_learning_log_related_ab_test_id" ON "learning_log" USING btree ("related_ab_test_id");--> statement-breakpoint
CREATE INDEX "idx_learning_log_superseded_by" ON "learning_log" USING btree ("superseded_by");--> statement-breakpoint
CREATE INDEX "idx_learning_log_organization_id" ON "learning_log" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "idx_model_routing_rules_agent_id" ON "model_routing_rules" USING btree ("agent_id");--> statement-breakpoint
CREATE INDEX "idx_model_routing_rules_organization_id" ON "model_routing_rules" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "idx_prompt_library_organization_id" ON "prompt_library" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "idx_prompt_library_usage_library_component_id" ON "prompt_library_usage" USING btree ("library_component_id");--> statement-breakpoint
CREATE INDEX "idx_sla_compliance_period" ON "sla_compliance" USING btree ("agent_id","period_start" DESC NULLS FIRST);--> statement-breakpoint
CREATE INDEX "idx_sla_compliance_sla_id" ON "sla_compliance" USING btree ("sla_id");--> statement-breakpoint
CREATE INDEX "idx_sla_compliance_organization_id" ON "sla_compliance" USING btree ("organization_id");