CREATE TABLE "agent_health_realtime" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_id" uuid NOT NULL,
	"timestamp" timestamp with time zone DEFAULT now() NOT NULL,
	"executions_5m" integer DEFAULT 0 NOT NULL,
	"failures_5m" integer DEFAULT 0 NOT NULL,
	"avg_latency_5m" numeric,
	"error_rate_5m" numeric,
	"executions_1h" integer DEFAULT 0 NOT NULL,
	"failures_1h" integer DEFAULT 0 NOT NULL,
	"avg_latency_1h" numeric,
	"error_rate_1h" numeric,
	"status" text DEFAULT 'healthy' NOT NULL,
	"last_successful_execution" timestamp with time zone,
	"last_failed_execution" timestamp with time zone,
	"circuit_state" text DEFAULT 'closed' NOT NULL,
	"circuit_opened_at" timestamp with time zone,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "agent_health_realtime_agent_id_key" UNIQUE("agent_id"),
	CONSTRAINT "agent_health_realtime_timestamp_check" CHECK (isfinite("agent_health_realtime"."timestamp")),
	CONSTRAINT "agent_health_realtime_executions_5m_check" CHECK ("agent_health_realtime"."executions_5m" >= 0),
	CONSTRAINT "agent_health_realtime_failures_5m_check" CHECK ("agent_health_realtime"."failures_5m" >= 0),
	CONSTRAINT "agent_health_realtime_avg_latency_5m_check" CHECK ("agent_health_realtime"."avg_latency_5m" BETWEEN 0 AND 2147483647),
	CONSTRAINT "agent_health_realtime_error_rate_5m_check" CHECK ("agent_health_realtime"."error_rate_5m" BETWEEN 0 AND 1),
	CONSTRAINT "agent_health_realtime_executions_1h_check" CHECK ("agent_health_realtime"."executions_1h" >= 0),
	CONSTRAINT "agent_health_realtime_failures_1h_check" CHECK ("agent_health_realtime"."failures_1h" >= 0),
	CONSTRAINT "agent_health_realtime_avg_latency_1h_check" CHECK ("agent_health_realtime"."avg_latency_1h" BETWEEN 0 AND 2147483647),
	CONSTRAINT "agent_health_realtime_error_rate_1h_check" CHECK ("agent_health_realtime"."error_rate_1h" BETWEEN 0 AND 1),
	CONSTRAINT "agent_health_realtime_status_check" CHECK ("agent_health_realtime"."status" IN ('healthy', 'degraded', 'critical', 'offline')),
	CONSTRAINT "agent_health_realtime_last_successful_execution_check" CHECK (isfinite("agent_health_realtime"."last_successful_execution")),
	CONSTRAINT "agent_health_realtime_last_failed_execution_check" CHECK (isfinite("agent_health_realtime"."last_failed_execution")),
	CONSTRAINT "agent_health_realtime_circuit_state_check" CHECK ("agent_health_realtime"."circuit_state" IN ('closed', 'open', 'half_open')),
	CONSTRAINT "agent_health_realtime_circuit_opened_at_check" CHECK (isfinite("agent_health_realtime"."circuit_opened_at"))
);
--> statement-breakpoint
ALTER TABLE "agent_health_realtime" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "circuit_breaker_state" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"agent_id" uuid NOT NULL,
	"state" text DEFAULT 'closed' NOT NULL,
	"failure_count" integer DEFAULT 0 NOT NULL,
	"success_count" integer DEFAULT 0 NOT NULL,
	"last_failure_at" timestamp with time zone,
	"last_success_at" timestamp with time zone,
	"opened_at" timestamp with time zone,
	"half_open_at" timestamp with time zone,
	"failure_threshold" integer DEFAULT 5 NOT NULL,
	"success_threshold" integer DEFAULT 3 NOT NULL,
	"cooldown_seconds" integer DEFAULT 60 NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "circuit_breaker_state_agent_id_key" UNIQUE("agent_id"),
	CONSTRAINT "circuit_breaker_state_state_check" CHECK ("circuit_breaker_state"."state" IN ('closed', 'open', 'half_open')),
	CONSTRAINT "circuit_breaker_state_failure_count_check" CHECK ("circuit_breaker_state"."failure_count" >= 0),
	CONSTRAINT "circuit_breaker_state_success_count_check" CHECK ("circuit_breaker_state"."success_count" >= 0),
	CONSTRAINT "circuit_breaker_state_last_failure_at_check" CHECK (isfinite("circuit_breaker_state"."last_failure_at")),
	CONSTRAINT "circuit_breaker_state_last_success_at_check" CHECK (isfinite("circuit_breaker_state"."last_success_at")),
	CONSTRAINT "circuit_breaker_state_opened_at_check" CHECK (isfinite("circuit_breaker_state"."opened_at")),
	CONSTRAINT "circuit_breaker_state_half_open_at_check" CHECK (isfinite("circuit_breaker_state"."half_open_at")),
	CONSTRAINT "circuit_breaker_state_failure_threshold_check" CHECK ("circuit_breaker_state"."failure_threshold" >= 0),
	CONSTRAINT "circuit_breaker_state_success_threshold_check" CHECK ("circuit_breaker_state"."success_threshold" >= 0),
	CONSTRAINT "circuit_breaker_state_cooldown_seconds_check" CHECK ("circuit_breaker_state"."cooldown_seconds" >= 0)
);
--> statement-breakpoint
ALTER TABLE "circuit_breaker_state" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
ALTER TABLE "agent_health_realtime" ADD CONSTRAINT "agent_health_realtime_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "circuit_breaker_state" ADD CONSTRAINT "circuit_breaker_state_agent_id_fkey" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idx_health_realtime_agent" ON "agent_health_realtime" USING btree ("agent_id");--> statement-breakpoint
CREATE INDEX "idx_agent_health_realtime_organization_id" ON "agent_health_realtime" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "idx_circuit_breaker_state_organization_id" ON "circuit_breaker_state" USING btree ("organization_id");