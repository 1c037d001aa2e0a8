CREATE TABLE "alert_history" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_id" uuid,
	"alert_type" text NOT NULL,
	"severity" text NOT NULL,
	"title" text NOT NULL,
	"message" text NOT NULL,
	"details" jsonb,
	"slack_sent" boolean DEFAULT false NOT NULL,
	"slack_sent_at" timestamp with time zone,
	"email_sent" boolean DEFAULT false NOT NULL,
	"email_sent_at" timestamp with time zone,
	"clickup_task_id" text,
	"acknowledged" boolean DEFAULT false NOT NULL,
	"acknowledged_by" text,
	"acknowledged_at" timestamp with time zone,
	"resolved" boolean DEFAULT false NOT NULL,
	"resolved_by" text,
	"resolved_at" timestamp with time zone,
	"resolution_notes" text,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "alert_history_severity_check" CHECK ("alert_history"."severity" IN ('info', 'warning', 'critical', 'emergency')),
	CONSTRAINT "alert_history_details_check" CHECK (jsonb_typeof("alert_history"."details") = 'object'),
	CONSTRAINT "alert_history_slack_sent_at_check" CHECK (isfinite("alert_history"."slack_sent_at")),
	CONSTRAINT "alert_history_email_sent_at_check" CHECK (isfinite("alert_history"."email_sent_at")),
	CONSTRAINT "alert_history_acknowledged_at_check" CHECK (isfinite("alert_history"."acknowledged_at")),
	CONSTRAINT "alert_history_resolved_at_check" CHECK (isfinite("alert_history"."resolved_at")),
	CONSTRAINT "alert_history_created_at_check" CHECK (isfinite("alert_history"."created_at"))
);
--> statement-breakpoint
ALTER TABLE "alert_history" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "canary_deployments" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_id" uuid NOT NULL,
	"current_prompt_id" uuid NOT NULL,
	"canary_prompt_id" uuid NOT NULL,
	"current_stage" integer DEFAULT 1 NOT NULL,
	"stages" jsonb NOT NULL,
	"rollback_on_error_rate" numeric DEFAULT 0.10,
	"rollback_on_latency_increase" numeric DEFAULT 0.50,
	"rollback_on_quality_decrease" numeric DEFAULT 0.10,
	"status" text DEFAULT 'running' NOT NULL,
	"stage_metrics" jsonb,
	"started_at" timestamp with time zone,
	"completed_at" timestamp with time zone,
	"rolled_back_at" timestamp with time zone,
	"rollback_reason" text,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "canary_deployments_current_stage_check" CHECK ("canary_deployments"."current_stage" >= 1),
	CONSTRAINT "canary_deployments_stages_check" CHECK (jsonb_typeof("canary_deployments"."stages") = 'array' AND "canary_deployments"."stages" <> '[]'),
	CONSTRAINT "canary_deployments_rollback_on_error_rate_check" CHECK ("canary_deployments"."rollback_on_error_rate" BETWEEN 0 AND 1),
	CONSTRAINT "canary_deployments_rollback_on_latency_increase_check" CHECK ("canary_deployments"."rollback_on_latency_increase" BETWEEN 0 AND 1000),
	CONSTRAINT "canary_deployments_rollback_on_quality_decrease_check" CHECK ("canary_deployments"."rollback_on_quality_decrease" BETWEEN 0 AND 1),
	CONSTRAINT "canary_deployments_status_check" CHECK ("canary_deployments"."status" IN ('pending', 'running', 'completed', 'rolled_back', 'paused')),
	CONSTRAINT "canary_deployments_started_at_check" CHECK (isfinite("canary_deployments"."started_at")),
	CONSTRAINT "canary_deployments_completed_at_check" CHECK (isfinite("canary_deployments"."completed_at")),
	CONSTRAINT "canary_deployments_rolled_back_at_check" CHECK (isfinite("canary_deployments"."rolled_back_at")),
	CONSTRAINT "canary_deployments_prompts_check" CHECK ("canary_deployments"."current_prompt_id" <> "canary_deployments"."canary_prompt_id")
);
--> statement-breakpoint
ALTER TABLE "canary_deployments" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "shadow_tests" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_id" uuid NOT NULL,
	"production_prompt_id" uuid NOT NULL,
	"shadow_prompt_id" uuid NOT NULL,
	"sample_rate" numeric DEFAULT 0.10 NOT NULL,
	"start_date" timestamp with time zone NOT NULL,
	"end_date" timestamp with time zone,
	"min_sample_size" integer DEFAULT 100 NOT NULL,
	"status" text DEFAULT 'running' NOT NULL,
	"production_success_rate" numeric,
	"shadow_success_rate" numeric,
	"production_avg_quality" numeric,
	"shadow_avg_quality" numeric,
	"output_similarity_score" numeric,
	"recommendation" text,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "shadow_tests_sample_rate_check" CHECK ("shadow_tests"."sample_rate" BETWEEN 0 AND 1),
	CONSTRAINT "shadow_tests_start_date_check" CHECK (isfinite("shadow_tests"."start_date")),
	CONSTRAINT "shadow_tests_end_date_check" CHECK (isfinite("shadow_tests"."end_date")),
	CONSTRAINT "shadow_tests_min_sample_size_check" CHECK ("shadow_tests"."min_sample_size" >= 0),
	CONSTRAINT "shadow_tests_status_check" CHECK ("shadow_tests"."status" IN ('pending', 'running', 'completed', 'stopped')),
	CONSTRAINT "shadow_tests_production_success_rate_check" CHECK ("shadow_tests"."production_success_rate" BETWEEN 0 AND 1),
	CONSTRAINT "shadow_tests_shadow_success_rate_check" CHECK ("shadow_tests"."shadow_success_rate" BETWEEN 0 AND 1),
	CONSTRAINT "shadow_tests_production_avg_quality_check" CHECK ("shadow_tests"."production_avg_quality" BETWEEN 0 AND 100),
	CONSTRAINT "shadow_tests_shadow_avg_quality_check" CHECK ("shadow_tests"."shadow_avg_quality" BETWEEN 0 AND 100),
	CONSTRAINT "shadow_tests_output_similarity_score_check" CHECK ("shadow_tests"."output_similarity_score" BETWEEN 0 AND 1),
	CONSTRAINT "shadow_tests_created_at_check" CHECK (isfinite("shadow_tests"."created_at")),
	CONSTRAINT "shadow_tests_prompts_check" CHECK ("shadow_tests"."production_prompt_id" <> "shadow_tests"."shadow_prompt_id"),
	CONSTRAINT "shadow_tests_dates_check" CHECK ("shadow_tests"."end_date" > "shadow_tests"."start_date")
);
--> statement-breakpoint
ALTER TABLE "shadow_tests" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
ALTER TABLE "alert_history" ADD CONSTRAINT "alert_history_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "canary_deployments" ADD CONSTRAINT "canary_deployments_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "canary_deployments" ADD CONSTRAINT "canary_deployments_current_prompt_id_fkey" FOREIGN KEY ("current_prompt_id") REFERENCES "public"."agent_prompts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "canary_deployments" ADD CONSTRAINT "canary_deployments_canary_prompt_id_fkey" FOREIGN KEY ("canary_prompt_id") REFERENCES "public"."agent_prompts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "shadow_tests" ADD CONSTRAINT "shadow_tests_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "shadow_tests" ADD CONSTRAINT "shadow_tests_production_prompt_id_fkey" FOREIGN KEY ("production_prompt_id") REFERENCES "public"."agent_prompts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "shadow_tests" ADD CONSTRAINT "shadow_tests_shadow_prompt_id_fkey" FOREIGN KEY ("shadow_prompt_id") REFERENCES "public"."agent_prompts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idx_alerts_agent" ON "alert_history" USING btree ("agent_id","created_at" DESC NULLS FIRST);--> statement-breakpoint
CREATE INDEX "idx_alert_history_organization_id" ON "alert_history" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "idx_canary_deployments_agent_id" ON "canary_deployments" USING btree ("agent_id");--> statement-breakpoint
CREATE INDEX "idx_canary_deployments_current_prompt_id" ON "canary_deployments" USING btree ("current_prompt_id");--> statement-breakpoint
CREATE INDEX "idx_canary_deployments_canary_prompt_id" ON "canary_deployments" USING btree ("canary_prompt_id");--> statement-breakpoint
CREATE INDEX "idx_canary_deployments_organization_id" ON "canary_deployments" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "idx_shadow_tests_agent_id" ON "shadow_tests" USING btree ("agent_id");--> statement-breakpoint
CREATE INDEX "idx_shadow_tests_production_prompt_id" ON "shadow_tests" USING btree ("production_prompt_id");--> statement-breakpoint
CREATE INDEX "idx_shadow_tests_shadow_prompt_id" ON "shadow_tests" USING btree ("shadow_prompt_id");--> statement-breakpoint
CREATE INDEX "idx_shadow_tests_organization_id" ON "shadow_tests" USING btree ("organization_id");