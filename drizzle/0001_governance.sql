CREATE TABLE "agent_execution_logs" (
	"id" uuid PRIMARY KEY DEFAULT meta_agent.uuidv7() NOT NULL,
	"agent_id" uuid NOT NULL,
	"prompt_version_id" uuid,
	"execution_id" uuid NOT NULL,
	"timestamp" timestamp with time zone DEFAULT now() NOT NULL,
	"action_type" text NOT NULL,
	"action_name" text,
	"input_data" jsonb,
	"output_data" jsonb,
	"latency_ms" integer,
	"token_count_input" integer,
	"token_count_output" integer,
	"estimated_cost_usd" numeric,
	"status" text DEFAULT 'success' NOT NULL,
	"error_message" text,
	"error_type" text,
	"error_stack_trace" text,
	"related_entity_type" text,
	"related_entity_id" uuid,
	"user_id" uuid,
	"quality_score" numeric,
	"quality_feedback" text,
	"reviewed_by" text,
	"reviewed_at" timestamp with time zone,
	"metadata" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "agent_execution_logs_timestamp_check" CHECK (isfinite("agent_execution_logs"."timestamp")),
	CONSTRAINT "agent_execution_logs_latency_ms_check" CHECK ("agent_execution_logs"."latency_ms" >= 0),
	CONSTRAINT "agent_execution_logs_token_count_input_check" CHECK ("agent_execution_logs"."token_count_input" >= 0),
	CONSTRAINT "agent_execution_logs_token_count_output_check" CHECK ("agent_execution_logs"."token_count_output" >= 0),
	CONSTRAINT "agent_execution_logs_estimated_cost_usd_check" CHECK ("agent_execution_logs"."estimated_cost_usd" BETWEEN 0 AND 1000000000000),
	CONSTRAINT "agent_execution_logs_status_check" CHECK ("agent_execution_logs"."status" IN ('success', 'failure', 'timeout', 'cancelled', 'running')),
	CONSTRAINT "agent_execution_logs_quality_score_check" CHECK ("agent_execution_logs"."quality_score" BETWEEN 0 AND 100),
	CONSTRAINT "agent_execution_logs_reviewed_at_check" CHECK (isfinite("agent_execution_logs"."reviewed_at")),
	CONSTRAINT "agent_execution_logs_metadata_check" CHECK (jsonb_typeof("agent_execution_logs"."metadata") = 'object')
);
--> statement-breakpoint
ALTER TABLE "agent_execution_logs" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "agent_performance_metrics" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_id" uuid NOT NULL,
	"prompt_version_id" uuid,
	"date" date NOT NULL,
	"total_executions" integer,
	"successful_executions" integer,
	"failed_executions" integer,
	"timeout_executions" integer,
	"avg_latency_ms" numeric,
	"p50_latency_ms" numeric,
	"p95_latency_ms" numeric,
	"p99_latency_ms" numeric,
	"total_cost_usd" numeric,
	"cost_per_execution" numeric,
	"total_tokens_input" integer,
	"total_tokens_output" integer,
	"avg_quality_score" numeric,
	"human_interventions" integer,
	"unique_error_types" integer,
	"most_common_error" text,
	"error_distribution" jsonb,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "agent_performance_metrics_agent_id_prompt_version_id_date_key" UNIQUE NULLS NOT DISTINCT("agent_id","prompt_version_id","date"),
	CONSTRAINT "agent_performance_metrics_date_check" CHECK (isfinite("agent_performance_metrics"."date")),
	CONSTRAINT "agent_performance_metrics_total_executions_check" CHECK ("agent_performance_metrics"."total_executions" >= 0),
	CONSTRAINT "agent_performance_metrics_successful_executions_check" CHECK ("agent_performance_metrics"."successful_executions" >= 0),
	CONSTRAINT "agent_performance_metrics_failed_executions_check" CHECK ("agent_performance_metrics"."failed_executions" >= 0),
	CONSTRAINT "agent_performance_metrics_timeout_executions_check" CHECK ("agent_performance_metrics"."timeout_executions" >= 0),
	CONSTRAINT "agent_performance_metrics_avg_latency_ms_check" CHECK ("agent_performance_metrics"."avg_latency_ms" BETWEEN 0 AND 2147483647),
	CONSTRAINT "agent_performance_metrics_p50_latency_ms_check" CHECK ("agent_performance_metrics"."p50_latency_ms" BETWEEN 0 AND 2147483647),
	CONSTRAINT "agent_performance_metrics_p95_latency_ms_check" CHECK ("agent_performance_metrics"."p95_latency_ms" BETWEEN 0 AND 2147483647),
	CONSTRAINT "agent_performance_metrics_p99_latency_ms_check" CHECK ("agent_performance_metrics"."p99_latency_ms" BETWEEN 0 AND 2147483647),
	CONSTRAINT "agent_performance_metrics_total_cost_usd_check" CHECK ("agent_performance_metrics"."total_cost_usd" BETWEEN 0 AND 1000000000000),
	CONSTRAINT "agent_performance_metrics_cost_per_execution_check" CHECK ("agent_performance_metrics"."cost_per_execution" BETWEEN 0 AND 1000000000000),
	CONSTRAINT "agent_performance_metrics_total_tokens_input_check" CHECK ("agent_performance_metrics"."total_tokens_input" >= 0),
	CONSTRAINT "agent_performance_metrics_total_tokens_output_check" CHECK ("agent_performance_metrics"."total_tokens_output" >= 0),
	CONSTRAINT "agent_performance_metrics_avg_quality_score_check" CHECK ("agent_performance_metrics"."avg_quality_score" BETWEEN 0 AND 100),
	CONSTRAINT "agent_performance_metrics_human_interventions_check" CHECK ("agent_performance_metrics"."human_interventions" >= 0),
	CONSTRAINT "agent_performance_metrics_unique_error_types_check" CHECK ("agent_performance_metrics"."unique_error_types" >= 0),
	CONSTRAINT "agent_performance_metrics_error_distribution_check" CHECK (jsonb_typeof("agent_performance_metrics"."error_distribution") = 'object')
);
--> statement-breakpoint
ALTER TABLE "agent_performance_metrics" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "agent_prompts" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_id" uuid NOT NULL,
	"version" text NOT NULL,
	"system_prompt" text NOT NULL,
	"tool_definitions" jsonb,
	"few_shot_examples" jsonb,
	"model_name" text DEFAULT 'claude-sonnet-4-20250514' NOT NULL,
	"temperature" numeric DEFAULT 0.7,
	"max_tokens" integer DEFAULT 4096,
	"configuration" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"is_active" boolean DEFAULT false NOT NULL,
	"is_baseline" boolean DEFAULT false NOT NULL,
	"parent_version_id" uuid,
	"total_executions" integer DEFAULT 0 NOT NULL,
	"successful_executions" integer DEFAULT 0 NOT NULL,
	"avg_quality_score" numeric,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"created_by" text,
	"change_reason" text,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "agent_prompts_agent_id_version_key" UNIQUE("agent_id","version"),
	CONSTRAINT "agent_prompts_version_check" CHECK (char_length("agent_prompts"."version") BETWEEN 1 AND 255),
	CONSTRAINT "agent_prompts_tool_definitions_check" CHECK (jsonb_typeof("agent_prompts"."tool_definitions") = 'array'),
	CONSTRAINT "agent_prompts_few_shot_examples_check" CHECK (jsonb_typeof("agent_prompts"."few_shot_examples") = 'array'),
	CONSTRAINT "agent_prompts_temperature_check" CHECK ("agent_prompts"."temperature" BETWEEN 0 AND 2),
	CONSTRAINT "agent_prompts_max_tokens_check" CHECK ("agent_prompts"."max_tokens" >= 0),
	CONSTRAINT "agent_prompts_configuration_check" CHECK (jsonb_typeof("agent_prompts"."configuration") = 'object'),
	CONSTRAINT "agent_prompts_total_executions_check" CHECK ("agent_prompts"."total_executions" >= 0),
	CONSTRAINT "agent_prompts_successful_executions_check" CHECK ("agent_prompts"."successful_executions" >= 0),
	CONSTRAINT "agent_prompts_avg_quality_score_check" CHECK ("agent_prompts"."avg_quality_score" BETWEEN 0 AND 100),
	CONSTRAINT "agent_prompts_created_at_check" CHECK (isfinite("agent_prompts"."created_at")),
	CONSTRAINT "agent_prompts_parent_check" CHECK ("agent_prompts"."parent_version_id" <> "agent_prompts"."id")
);
--> statement-breakpoint
ALTER TABLE "agent_prompts" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "agent_registry" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_name" text NOT NULL,
	"display_name" text NOT NULL,
	"description" text,
	"category" text NOT NULL,
	"version" text DEFAULT '1.0.0' NOT NULL,
	"status" text DEFAULT 'active' NOT NULL,
	"owner_email" text,
	"slack_channel" text,
	"target_success_rate" numeric DEFAULT 95.00,
	"target_avg_latency_ms" integer DEFAULT 5000,
	"target_cost_per_execution" numeric DEFAULT 0.10,
	"current_health_score" numeric DEFAULT 100.00 NOT NULL,
	"last_health_check" timestamp with time zone,
	"consecutive_failures" integer DEFAULT 0 NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	"metadata" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "agent_registry_agent_name_key" UNIQUE("agent_name"),
	CONSTRAINT "agent_registry_agent_name_check" CHECK (char_length("agent_registry"."agent_name") BETWEEN 1 AND 255),
	CONSTRAINT "agent_registry_category_check" CHECK ("agent_registry"."category" IN ('client_success', 'marketing', 'sales', 'operations', 'internal')),
	CONSTRAINT "agent_registry_version_check" CHECK (char_length("agent_registry"."version") BETWEEN 1 AND 255),
	CONSTRAINT "agent_registry_status_check" CHECK ("agent_registry"."status" IN ('active', 'paused', 'deprecated', 'testing', 'improving')),
	CONSTRAINT "agent_registry_target_success_rate_check" CHECK ("agent_registry"."target_success_rate" BETWEEN 0 AND 100),
	CONSTRAINT "agent_registry_target_avg_latency_ms_check" CHECK ("agent_registry"."target_avg_latency_ms" >= 0),
	CONSTRAINT "agent_registry_target_cost_per_execution_check" CHECK ("agent_registry"."target_cost_per_execution" BETWEEN 0 AND 1000000000000),
	CONSTRAINT "agent_registry_current_health_score_check" CHECK ("agent_registry"."current_health_score" BETWEEN 0 AND 100),
	CONSTRAINT "agent_registry_last_health_check_check" CHECK (isfinite("agent_registry"."last_health_check")),
	CONSTRAINT "agent_registry_consecutive_failures_check" CHECK ("agent_registry"."consecutive_failures" >= 0),
	CONSTRAINT "agent_registry_created_at_check" CHECK (isfinite("agent_registry"."created_at")),
	CONSTRAINT "agent_registry_updated_at_check" CHECK (isfinite("agent_registry"."updated_at")),
	CONSTRAINT "agent_registry_metadata_check" CHECK (jsonb_typeof("agent_registry"."metadata") = 'object')
);
--> statement-breakpoint
ALTER TABLE "agent_registry" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
ALTER TABLE "agent_execution_logs" ADD CONSTRAINT "agent_execution_logs_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "agent_execution_logs" ADD CONSTRAINT "agent_execution_logs_prompt_version_id_fkey" FOREIGN KEY ("prompt_version_id") REFERENCES "public"."agent_prompts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "agent_performance_metrics" ADD CONSTRAINT "agent_performance_metrics_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "agent_performance_metrics" ADD CONSTRAINT "agent_performance_metrics_prompt_version_id_fkey" FOREIGN KEY ("prompt_version_id") REFERENCES "public"."agent_prompts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "agent_prompts" ADD CONSTRAINT "agent_prompts_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "agent_prompts" ADD CONSTRAINT "agent_prompts_parent_version_id_fkey" FOREIGN KEY ("parent_version_id") REFERENCES "public"."agent_prompts"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idx_logs_agent_timestamp" ON "agent_execution_logs" USING btree ("agent_id","timestamp" DESC NULLS FIRST);--> statement-breakpoint
CREATE INDEX "idx_logs_execution" ON "agent_execution_logs" USING btree ("execution_id");--> statement-breakpoint
CREATE INDEX "idx_logs_org_timestamp" ON "agent_execution_logs" USING btree ("organization_id","timestamp" DESC NULLS FIRST);--> statement-breakpoint
CREATE INDEX "idx_agent_execution_logs_timestamp" ON "agent_execution_logs" USING brin ("timestamp");--> statement-breakpoint
CREATE INDEX "idx_agent_execution_logs_prompt_version_id" ON "agent_execution_logs" USING btree ("prompt_version_id");--> statement-breakpoint
CREATE INDEX "idx_metrics_agent_date" ON "agent_performance_metrics" USING btree ("agent_id","date" DESC NULLS FIRST);--> statement-breakpoint
CREATE INDEX "idx_agent_performance_metrics_prompt_version_id" ON "agent_performance_metrics" USING btree ("prompt_version_id");--> statement-breakpoint
CREATE INDEX "idx_agent_performance_metrics_organization_id" ON "agent_performance_metrics" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "idx_agent_prompts_parent_version_id" ON "agent_prompts" USING btree ("parent_version_id");--> statement-breakpoint
CREATE INDEX "idx_agent_prompts_organization_id" ON "agent_prompts" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "idx_agent_registry_organization_id" ON "agent_registry" USING btree ("organization_id");