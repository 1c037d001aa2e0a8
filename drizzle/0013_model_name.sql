-- Which model answered, of each action: what costs are told apart by. Written by drizzle-kit, completed by hand.
ALTER TABLE agent_execution_logs ADD COLUMN IF NOT EXISTS model_name text
  CONSTRAINT agent_execution_logs_model_name_check CHECK (char_length(model_name) BETWEEN 1 AND 255);
--> statement-breakpoint
COMMENT ON COLUMN agent_execution_logs.model_name IS 'The model that answered.';
