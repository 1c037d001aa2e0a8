-- What a tenant asks is answered from what belongs to the tenant. The seed's partial indexes span all
-- organizations, and its GIN index is closed to tenants: under row-level security an index takes only
-- leakproof operators, which those of arrays and numerics are not. Written by drizzle-kit, completed by hand.
--
-- A large table is locked for writing while its index is built. Built before, CONCURRENTLY and by the same
-- name, an index is found here and kept.
SET LOCAL client_min_messages = warning; -- an index that is found, or gone already, is no news
--> statement-breakpoint
-- Serves "the failures of a day".
CREATE INDEX IF NOT EXISTS idx_agent_execution_logs_organization_id_timestamp_failure
  ON agent_execution_logs (organization_id, timestamp DESC) WHERE status = 'failure';
--> statement-breakpoint
-- Serves "the open alerts".
CREATE INDEX IF NOT EXISTS idx_alert_history_organization_id_created_at_open
  ON alert_history (organization_id, created_at DESC) WHERE resolved = FALSE;
--> statement-breakpoint
-- Serves "the pending proposals".
CREATE INDEX IF NOT EXISTS idx_improvement_proposals_organization_id_created_at_pending
  ON improvement_proposals (organization_id, created_at) WHERE status = 'proposed';
--> statement-breakpoint
-- Serve "the running tests", however many have run before.
CREATE INDEX IF NOT EXISTS idx_ab_tests_organization_id_running ON ab_tests (organization_id) WHERE status = 'running';
--> statement-breakpoint
CREATE INDEX IF NOT EXISTS idx_shadow_tests_organization_id_running ON shadow_tests (organization_id) WHERE status = 'running';
--> statement-breakpoint
CREATE INDEX IF NOT EXISTS idx_canary_deployments_organization_id_running ON canary_deployments (organization_id) WHERE status = 'running';
--> statement-breakpoint
-- Serves "the learnings that apply to …": the newest in force come first and are looked through.
CREATE INDEX IF NOT EXISTS idx_learning_log_organization_id_created_at_active
  ON learning_log (organization_id, created_at DESC) WHERE is_active = TRUE;
--> statement-breakpoint
-- Two that led with organization_id alone go on with the day; nothing is written more often for it.
CREATE INDEX IF NOT EXISTS "idx_agent_performance_metrics_organization_id_date" ON "agent_performance_metrics" USING btree ("organization_id","date" DESC NULLS FIRST);
--> statement-breakpoint
DROP INDEX IF EXISTS "idx_agent_performance_metrics_organization_id";
--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "idx_sla_compliance_organization_id_period_start" ON "sla_compliance" USING btree ("organization_id","period_start" DESC NULLS FIRST);
--> statement-breakpoint
DROP INDEX IF EXISTS "idx_sla_compliance_organization_id";
