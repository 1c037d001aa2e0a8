-- Logs recorded together name few agents and prompts, and the policy looked up both for each row. Whoever
-- inserts many may now name the pairs in a setting of its transaction, and each pair is looked up once. The
-- setting says what to look up, never what is true; a row of another pair is checked as before.
--
-- Of the pairs in meta_agent.log_references, `agent/prompt,agent/,…`, those that are the caller's: an agent,
-- whether it comes with a prompt, and the prompt, or the agent again. What is no pair is passed over, and a
-- list too long to be the recorder's is not read, since both may be what somebody left on a pooled connection.
CREATE OR REPLACE FUNCTION meta_agent.own_log_references()
RETURNS TABLE (agent_id uuid, has_prompt boolean, prompt_or_agent uuid)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100 SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  named CONSTANT text := current_setting('meta_agent.log_references', true);
  digits CONSTANT text := '123456789abcdefABCDEF';
  zeros CONSTANT text := '000000000000000000000';
  nil CONSTANT text := '00000000-0000-0000-0000-000000000000';
  caller uuid;
BEGIN
  IF length(named) BETWEEN 1 AND 40000 THEN
    caller := meta_agent.current_organization_id();
    RETURN QUERY
      SELECT a.id, p.id IS NOT NULL, coalesce(p.id, a.id)
      FROM string_to_table(named, ',') AS pair
      CROSS JOIN LATERAL (SELECT split_part(pair, '/', 1) AS agent, split_part(pair, '/', 2) AS prompt OFFSET 0) AS said
      CROSS JOIN LATERAL (
        SELECT CASE WHEN translate(said.agent, digits, zeros) = nil THEN said.agent::uuid END AS agent,
          CASE WHEN translate(said.prompt, digits, zeros) = nil THEN said.prompt::uuid END AS prompt
        OFFSET 0
      ) AS given
      -- By key; the planner takes the average organization's index for as good.
      CROSS JOIN LATERAL (
        SELECT r.id FROM public.agent_registry AS r
        WHERE r.id = ANY (ARRAY[given.agent]) AND r.id BETWEEN given.agent AND given.agent AND r.organization_id = caller
        ORDER BY r.id OFFSET 0
      ) AS a
      LEFT JOIN LATERAL (
        SELECT r.id FROM public.agent_prompts AS r
        WHERE r.id = ANY (ARRAY[given.prompt]) AND r.id BETWEEN given.prompt AND given.prompt AND r.organization_id = caller
        ORDER BY r.id OFFSET 0
      ) AS p ON true;
  END IF;
END $$;
--> statement-breakpoint
REVOKE ALL ON FUNCTION meta_agent.own_log_references() FROM PUBLIC, anon, authenticated, service_role;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION meta_agent.own_log_references() TO authenticated, service_role;
--> statement-breakpoint
-- As `isolate` makes it, behind that question. Not where the log lies on workers, whose policies have no sub-select.
DO $$ BEGIN
  IF EXISTS (
    SELECT FROM pg_policy AS p
    WHERE p.polrelid = 'public.agent_execution_logs'::regclass AND p.polname = 'Users add own org logs'
      AND strpos(pg_get_expr(p.polwithcheck, p.polrelid), 'agent_registry') > 0
  ) THEN
    ALTER POLICY "Users add own org logs" ON public.agent_execution_logs WITH CHECK (
      organization_id = (SELECT meta_agent.current_organization_id())
      AND (
        (agent_id, prompt_version_id IS NOT NULL, coalesce(prompt_version_id, agent_id))
          IN (SELECT r.agent_id, r.has_prompt, r.prompt_or_agent FROM meta_agent.own_log_references() AS r)
        OR (
          EXISTS (SELECT FROM public.agent_registry AS p
            WHERE p.id = agent_execution_logs.agent_id AND p.organization_id = agent_execution_logs.organization_id)
          AND (prompt_version_id IS NULL OR EXISTS (SELECT FROM public.agent_prompts AS p
            WHERE p.id = agent_execution_logs.prompt_version_id AND p.organization_id = agent_execution_logs.organization_id))
        )
      )
    );
  END IF;
END $$;
