-- At most one active and one baseline prompt per agent, now as unique indexes: a constraint that may wait is
-- no arbiter for ON CONFLICT, which failed on agent_prompts unless it named its target. To move a flag, take
-- it from one prompt in one statement and give it to another in the next, as promotePrompt does. Written by
-- drizzle-kit, completed by hand.
SET LOCAL client_min_messages = warning; -- a constraint that is gone already is no news
--> statement-breakpoint
-- Both in one statement, each under its former name, so that no moment is without the rule. Where an agent
-- has two all the same, since the constraint was off, it is refused: leave one, then migrate again.
DO $$
BEGIN
  ALTER TABLE agent_prompts
    DROP CONSTRAINT IF EXISTS agent_prompts_one_active,
    DROP CONSTRAINT IF EXISTS agent_prompts_one_baseline;
  CREATE UNIQUE INDEX IF NOT EXISTS agent_prompts_one_active ON agent_prompts (agent_id) WHERE is_active;
  CREATE UNIQUE INDEX IF NOT EXISTS agent_prompts_one_baseline ON agent_prompts (agent_id) WHERE is_baseline;
END $$;
