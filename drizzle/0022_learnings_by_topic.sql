-- The learnings of the caller's organization that apply to a subject, newest first: those in force, at most
-- so many. Tenants cannot reach the GIN index on applicable_to, for its operator is not leakproof and would
-- have to be tried on rows of others; this runs as the owner and asks for the caller's organization by name.
-- A plan of its own for each subject: one that is rare comes from that index, a frequent one from the newest.
CREATE OR REPLACE FUNCTION meta_agent.latest_learnings(subject text, most integer) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE STRICT SECURITY DEFINER ROWS 20 SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY EXECUTE
    'SELECT id FROM public.learning_log
     WHERE organization_id = $1 AND is_active AND applicable_to @> ARRAY[$2]
     ORDER BY created_at DESC LIMIT $3'
  USING meta_agent.current_organization_id(), subject, most;
END $$;
--> statement-breakpoint
REVOKE ALL ON FUNCTION meta_agent.latest_learnings(text, integer) FROM PUBLIC, anon, authenticated, service_role;
--> statement-breakpoint
-- Not to service_role, which has no organization and reads the table by the index itself.
GRANT EXECUTE ON FUNCTION meta_agent.latest_learnings(text, integer) TO authenticated;
