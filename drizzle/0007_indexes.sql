-- What drizzle-kit cannot spell or would get wrong: the seed's partial and IVFFlat indexes, and at most
-- one active and one baseline prompt per agent.
SET LOCAL client_min_messages = warning; -- IVFFlat says that it is built on few rows; that is known
--> statement-breakpoint
-- Serves "the active prompt of an agent".
CREATE INDEX IF NOT EXISTS idx_prompts_agent_active ON agent_prompts (agent_id, is_active) WHERE is_active = TRUE;
--> statement-breakpoint
-- Failures are a sliver of all logs.
CREATE INDEX IF NOT EXISTS idx_logs_status_failure ON agent_execution_logs (status) WHERE status = 'failure';
--> statement-breakpoint
-- Serves "the logs of an agent below a quality"; most logs are never scored.
CREATE INDEX IF NOT EXISTS idx_logs_quality ON agent_execution_logs (agent_id, quality_score) WHERE quality_score IS NOT NULL;
--> statement-breakpoint
CREATE INDEX IF NOT EXISTS idx_proposals_pending ON improvement_proposals (status) WHERE status = 'proposed';
--> statement-breakpoint
CREATE INDEX IF NOT EXISTS idx_ab_tests_running ON ab_tests (status) WHERE status = 'running';
--> statement-breakpoint
CREATE INDEX IF NOT EXISTS idx_shadow_tests_running ON shadow_tests (status) WHERE status = 'running';
--> statement-breakpoint
CREATE INDEX IF NOT EXISTS idx_canary_running ON canary_deployments (status) WHERE status = 'running';
--> statement-breakpoint
-- Open alerts are a sliver of all alerts; the pager asks for them every minute.
CREATE INDEX IF NOT EXISTS idx_alerts_unresolved ON alert_history (resolved, created_at DESC) WHERE resolved = FALSE;
--> statement-breakpoint
-- Similarity search. Created empty as the seed says: blind until rebuilt over real rows.
CREATE INDEX IF NOT EXISTS idx_input_embedding ON execution_embeddings USING ivfflat (input_embedding vector_cosine_ops) WITH (lists = 100);
--> statement-breakpoint
CREATE INDEX IF NOT EXISTS idx_error_embedding ON execution_embeddings USING ivfflat (error_embedding vector_cosine_ops) WITH (lists = 100);
--> statement-breakpoint
-- Exclusion constraints, checked at the end of a statement: one UPDATE may step one version down and
-- another up. A partial unique index would fail or not, by the order in which it meets the rows.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'agent_prompts_one_active' AND conrelid = 'agent_prompts'::regclass) THEN
    ALTER TABLE agent_prompts ADD CONSTRAINT agent_prompts_one_active
      EXCLUDE USING btree (agent_id WITH =) WHERE (is_active) DEFERRABLE INITIALLY IMMEDIATE;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'agent_prompts_one_baseline' AND conrelid = 'agent_prompts'::regclass) THEN
    ALTER TABLE agent_prompts ADD CONSTRAINT agent_prompts_one_baseline
      EXCLUDE USING btree (agent_id WITH =) WHERE (is_baseline) DEFERRABLE INITIALLY IMMEDIATE;
  END IF;
END $$;
