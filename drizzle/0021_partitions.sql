-- What a log cut into months needs, which is the operator's to ask for: meta-agent-db partition.
--
-- A foreign key to a partitioned table stands in the catalog once for itself and once for each partition;
-- `isolate` reads the first alone. Else as 0010 made it.
CREATE OR REPLACE FUNCTION meta_agent.isolate(table_name text, noun text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = 'warning'
AS $$
DECLARE
  target CONSTANT regclass := format('public.%I', table_name);
  -- The sub-select is evaluated once a statement instead of once a row.
  caller CONSTANT text := '(SELECT meta_agent.current_organization_id())';
  has_organization CONSTANT boolean := EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = target AND attname = 'organization_id');
  has_agent CONSTANT boolean := EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = target AND attname = 'agent_id');
  refers_to_itself CONSTANT boolean := EXISTS (
    SELECT FROM pg_constraint WHERE contype = 'f' AND conrelid = target AND confrelid = target AND conparentid = 0);
  own_row CONSTANT text := 'own_' || table_name || '_row';
  parents text[];
  readable text;
  writable text;
  policy record;
BEGIN
  IF EXISTS (
    SELECT FROM pg_constraint AS c WHERE c.contype = 'f' AND c.conrelid = target AND c.conparentid = 0 AND (
      cardinality(c.conkey) > 1 OR NOT EXISTS (
        SELECT FROM pg_attribute AS a WHERE a.attrelid = c.confrelid AND a.attname = 'organization_id'))
  ) THEN
    RAISE EXCEPTION 'isolate(%): each foreign key must be one column and name a table with organization_id', table_name;
  END IF;

  -- A policy that reads its own table recurses; this helper answers yes or no instead, and only about
  -- the caller's own organization.
  IF refers_to_itself THEN
    EXECUTE format(
      'CREATE OR REPLACE FUNCTION meta_agent.%I(row_id uuid) RETURNS boolean
       LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
       AS $f$ SELECT EXISTS (SELECT FROM %s AS p
         WHERE p.id = row_id AND p.organization_id = meta_agent.current_organization_id()) $f$',
      own_row, target);
    EXECUTE format('REVOKE ALL ON FUNCTION meta_agent.%I(uuid) FROM PUBLIC, anon, authenticated, service_role', own_row);
    EXECUTE format('GRANT EXECUTE ON FUNCTION meta_agent.%I(uuid) TO authenticated, service_role', own_row);
  END IF;

  SELECT array_agg(
    CASE WHEN fk.attnotnull THEN '' ELSE format('%I IS NULL OR ', fk.attname) END
    || CASE
      WHEN c.confrelid = target THEN format('meta_agent.%I(%I)', own_row, fk.attname)
      ELSE format('EXISTS (SELECT FROM %s AS p WHERE p.id = %s.%I AND p.organization_id = %s)',
        c.confrelid::regclass, target, fk.attname,
        CASE WHEN has_organization THEN format('%s.organization_id', target) ELSE caller END)
    END
    ORDER BY fk.attnum)
  INTO parents
  FROM pg_constraint AS c
  JOIN pg_attribute AS fk ON fk.attrelid = c.conrelid AND fk.attnum = c.conkey[1]
  WHERE c.contype = 'f' AND c.conrelid = target AND c.conparentid = 0;

  readable := CASE WHEN has_organization THEN 'organization_id = ' || caller ELSE parents[1] END;
  writable := CASE WHEN has_organization THEN readable || coalesce(' AND (' || array_to_string(parents, ') AND (') || ')', '')
    ELSE '(' || array_to_string(parents, ') AND (') || ')' END;

  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
  FOR policy IN
    SELECT * FROM (VALUES
      ('Users see own org ' || noun, 'SELECT TO authenticated', readable, NULL),
      ('Users add own org ' || noun, 'INSERT TO authenticated', NULL, writable),
      ('Users change own org ' || noun, 'UPDATE TO authenticated', readable, writable),
      ('Users remove own org ' || noun, 'DELETE TO authenticated', readable, NULL),
      ('Service role full access', 'ALL TO service_role', 'true', 'true')
    ) AS list (title, scope, old_row, new_row)
  LOOP
    EXECUTE format('DROP POLICY IF EXISTS %I ON %s', policy.title, target);
    EXECUTE format('CREATE POLICY %I ON %s FOR %s', policy.title, target, policy.scope)
      || coalesce(' USING (' || policy.old_row || ')', '')
      || coalesce(' WITH CHECK (' || policy.new_row || ')', '');
  END LOOP;

  -- TRUNCATE looks past row-level security, and a trigger runs as whoever fires it: neither is granted.
  EXECUTE format('REVOKE ALL ON TABLE %s FROM PUBLIC, anon, authenticated, service_role', target);
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE %s TO authenticated, service_role', target);

  -- The policy's condition goes with the agent: without this the planner multiplies the two, expects
  -- next to no rows, and leaves the index for "the latest logs of an agent".
  IF has_organization AND has_agent THEN
    EXECUTE format('CREATE STATISTICS IF NOT EXISTS public.%I (dependencies) ON agent_id, organization_id FROM %s',
      table_name || '_agent_id_organization_id_stat', target);
  END IF;
END $$;
--> statement-breakpoint
-- The one table that refers to the log: on a log that is cut, 0010 run again has named its partitions.
SELECT meta_agent.isolate('execution_embeddings', 'embeddings');
--> statement-breakpoint
-- The day before which all logs were removed on purpose; NULL: none were. `pruneLogs` writes it into the comment of
-- this function, which only the owner can, everybody may read, and a dump keeps. It tells nothing of any organization.
CREATE OR REPLACE FUNCTION meta_agent.logs_pruned_before() RETURNS date
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT substring(obj_description(to_regprocedure('meta_agent.logs_pruned_before()'), 'pg_proc') FROM '\d{4}-\d\d-\d\d')::date
$$;
--> statement-breakpoint
REVOKE ALL ON FUNCTION meta_agent.logs_pruned_before() FROM PUBLIC, anon, authenticated, service_role;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION meta_agent.logs_pruned_before() TO authenticated, service_role;
