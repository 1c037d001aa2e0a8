CREATE SCHEMA auth;

CREATE SCHEMA drizzle;

CREATE SCHEMA meta_agent;

COMMENT ON SCHEMA meta_agent IS 'Helpers of meta-agent-db. Not to be exposed through an API.';

CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;

COMMENT ON EXTENSION vector IS 'vector data type and ivfflat and hnsw access methods';

CREATE FUNCTION auth.jwt() RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;

CREATE FUNCTION auth.role() RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT auth.jwt() ->> 'role' $$;

CREATE FUNCTION auth.uid() RETURNS uuid
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT (auth.jwt() ->> 'sub')::uuid $$;

CREATE FUNCTION meta_agent.acquire_execution(agent uuid, instant timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS TABLE(allowed boolean, circuit_state text, probe timestamp with time zone, retry_at timestamp with time zone)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  clock CONSTANT timestamptz := coalesce(instant, clock_timestamp());
  breaker public.circuit_breaker_state;
BEGIN
  FOR look IN 1..2 LOOP
    IF look = 1 THEN
      SELECT b.* INTO breaker FROM public.circuit_breaker_state AS b
      WHERE b.agent_id = ANY (ARRAY[agent]) AND b.agent_id BETWEEN agent AND agent ORDER BY b.agent_id;
    ELSE
      SELECT b.* INTO breaker FROM public.circuit_breaker_state AS b
      WHERE b.agent_id = ANY (ARRAY[agent]) AND b.agent_id BETWEEN agent AND agent ORDER BY b.agent_id
      FOR NO KEY UPDATE;
    END IF;
    IF NOT FOUND THEN
      RETURN QUERY SELECT true, 'closed', NULL::timestamptz, NULL::timestamptz FROM public.agent_registry AS a
        WHERE a.id = ANY (ARRAY[agent]) AND a.id BETWEEN agent AND agent ORDER BY a.id;
      RETURN;
    END IF;
    allowed := breaker.state = 'closed';
    circuit_state := breaker.state;
    -- NULL where a probe may go at once.
    retry_at := CASE
      WHEN breaker.state = 'open' THEN breaker.opened_at + make_interval(secs => breaker.cooldown_seconds)
      WHEN breaker.state = 'half_open' AND (breaker.last_success_at >= breaker.half_open_at) IS NOT TRUE
        THEN breaker.half_open_at + make_interval(secs => greatest(breaker.cooldown_seconds, 1))
    END;
    IF allowed OR clock < retry_at THEN
      RETURN NEXT;
      RETURN;
    END IF;
  END LOOP;
  -- Later than every ticket and every success before it, in milliseconds, which is what a Date can hold.
  UPDATE public.circuit_breaker_state AS b SET
    state = 'half_open',
    success_count = CASE b.state WHEN 'open' THEN 0 ELSE b.success_count END,
    half_open_at = date_trunc('milliseconds',
      greatest(clock, greatest(b.half_open_at, b.last_success_at) + interval '1 millisecond'))
  WHERE b.id = ANY (ARRAY[breaker.id]) AND b.id BETWEEN breaker.id AND breaker.id
  RETURNING true, b.state, b.half_open_at, NULL INTO allowed, circuit_state, probe, retry_at;
  RETURN NEXT;
END $$;

CREATE FUNCTION meta_agent.bucket_of(salt uuid, unit text) RETURNS double precision
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT ('x' || encode(substr(sha256(convert_to(salt || ':' || unit, 'UTF8')), 1, 4), 'hex'))::bit(32)::bigint
    / 4294967296::double precision
$$;

CREATE FUNCTION meta_agent.budget_windows(budget anyelement, moment timestamp with time zone) RETURNS TABLE(span text, limit_usd numeric, spent_usd numeric, action text, starts_at timestamp with time zone, ends_at timestamp with time zone)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  RETURN QUERY SELECT given.span, given.most, CASE WHEN budget.updated_at < starts.at THEN 0 ELSE given.spent END, given.action,
    starts.at, (starts.at AT TIME ZONE 'UTC' + given.length) AT TIME ZONE 'UTC'
  FROM (VALUES
    ('daily', 'day', interval '1 day', budget.daily_budget_usd, budget.current_daily_spend, budget.on_daily_exceeded),
    ('weekly', 'week', interval '7 days', budget.weekly_budget_usd, budget.current_weekly_spend, budget.on_weekly_exceeded),
    ('monthly', 'month', interval '1 month', budget.monthly_budget_usd, budget.current_monthly_spend, budget.on_monthly_exceeded)
  ) AS given(span, unit, length, most, spent, action)
  CROSS JOIN LATERAL (SELECT date_trunc(given.unit, greatest(budget.updated_at, moment), 'UTC') AS at) AS starts;
END $$;

CREATE FUNCTION meta_agent.charge_budgets(charges json, moment timestamp with time zone) RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  agents uuid[];
  organizations uuid[];
  bound uuid[];
  alerts json;
BEGIN
  SELECT array_agg(DISTINCT c.agent), array_agg(DISTINCT c.organization) INTO agents, organizations
  FROM json_to_recordset(charges) AS c(agent uuid, organization uuid);
  SELECT array_agg(locked.id) INTO bound FROM (
    SELECT b.id FROM public.cost_budgets AS b
    WHERE b.agent_id = ANY (agents)
      OR (b.agent_id IS NULL AND b.organization_id = ANY (organizations))
      OR (b.agent_id IS NULL AND b.organization_id IS NULL AND array_position(organizations, NULL) IS NOT NULL)
    ORDER BY b.id FOR NO KEY UPDATE
  ) AS locked;
  IF bound IS NULL THEN
    RETURN '[]';
  END IF;
  -- Not before: whoever waited over midnight is in the new day.
  moment := coalesce(moment, clock_timestamp());
  -- First the windows that have passed, once a day a budget: what is added may equal what was there. An instant
  -- that is given moves on, else the trigger would take the clock's.
  UPDATE public.cost_budgets SET updated_at = moment
  WHERE id = ANY (bound) AND date_trunc('day', updated_at, 'UTC') < date_trunc('day', moment, 'UTC');
  WITH charge AS MATERIALIZED (
    SELECT * FROM json_to_recordset(charges) AS c(agent uuid, organization uuid, at timestamptz, usd numeric)
  ), spent AS (
    SELECT b.id,
      coalesce(sum(c.usd) FILTER (WHERE date_trunc('day', c.at, 'UTC') = date_trunc('day', w.at, 'UTC')), 0) AS daily,
      coalesce(sum(c.usd) FILTER (WHERE date_trunc('week', c.at, 'UTC') = date_trunc('week', w.at, 'UTC')), 0) AS weekly,
      coalesce(sum(c.usd) FILTER (WHERE date_trunc('month', c.at, 'UTC') = date_trunc('month', w.at, 'UTC')), 0) AS monthly
    FROM public.cost_budgets AS b
    CROSS JOIN LATERAL (SELECT greatest(b.updated_at, moment) AS at) AS w
    JOIN charge AS c ON c.agent = b.agent_id
      OR (b.agent_id IS NULL AND c.organization IS NOT DISTINCT FROM b.organization_id)
    WHERE b.id = ANY (bound)
    GROUP BY b.id
  ), charged AS (
    UPDATE public.cost_budgets AS b SET
      current_daily_spend = least(greatest(b.current_daily_spend + s.daily, 0), 1000000000000),
      current_weekly_spend = least(greatest(b.current_weekly_spend + s.weekly, 0), 1000000000000),
      current_monthly_spend = least(greatest(b.current_monthly_spend + s.monthly, 0), 1000000000000),
      updated_at = greatest(b.updated_at + interval '1 microsecond', moment)
    FROM spent AS s
    WHERE b.id = s.id AND (s.daily <> 0 OR s.weekly <> 0 OR s.monthly <> 0)
    RETURNING b AS budget, s.daily, s.weekly, s.monthly
  )
  SELECT coalesce(json_agg(json_build_object(
      'budgetId', (c.budget).id, 'agentId', (c.budget).agent_id, 'window', w.span,
      'percentage', (c.budget).alert_at_percentage::text, 'limitUsd', w.limit_usd::text, 'spentUsd', w.spent_usd::text
    ) ORDER BY (c.budget).id, w.ends_at - w.starts_at), '[]') INTO alerts
  FROM charged AS c
  CROSS JOIN LATERAL meta_agent.budget_windows(c.budget, moment) AS w
  CROSS JOIN LATERAL (
    SELECT w.limit_usd * (c.budget).alert_at_percentage / 100 AS worth,
      CASE w.span WHEN 'daily' THEN c.daily WHEN 'weekly' THEN c.weekly ELSE c.monthly END AS usd
  ) AS added
  WHERE w.spent_usd >= added.worth AND w.spent_usd - added.usd < added.worth;
  RETURN alerts;
END $$;

CREATE FUNCTION meta_agent.current_organization_id() RETURNS uuid
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  claims CONSTANT json := nullif(current_setting('request.jwt.claims', true), '')::json;
  named CONSTANT text := coalesce(claims -> 'organization_id', claims -> 'app_metadata' -> 'organization_id')::text;
BEGIN
  IF translate(named, '123456789abcdefABCDEF', '000000000000000000000') = '"00000000-0000-0000-0000-000000000000"' THEN
    RETURN btrim(named, '"')::uuid;
  END IF;
  RETURN NULL;
END $$;

CREATE FUNCTION meta_agent.execution_log_id(instant timestamp with time zone, key text) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT encode(
    set_byte(set_byte(bits, 6, get_byte(bits, 6) & 15 | 112), 8, get_byte(bits, 8) & 63 | 128),
    'hex')::uuid
  FROM (
    SELECT substr(int8send(greatest(0, least(281474976710655,
        floor(extract(epoch FROM instant - to_timestamp(0)) * 1000)))::bigint), 3)
      || substr(sha256(convert_to(key, 'UTF8')), 1, 10) AS bits
  ) AS made
$$;

CREATE FUNCTION meta_agent.isolate(table_name text, noun text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET client_min_messages TO 'warning'
    AS $_$
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
END $_$;

CREATE FUNCTION meta_agent.latest_learnings(subject text, most integer) RETURNS SETOF uuid
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER ROWS 20 PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
BEGIN
  RETURN QUERY EXECUTE
    'SELECT id FROM public.learning_log
     WHERE organization_id = $1 AND is_active AND applicable_to @> ARRAY[$2]
     ORDER BY created_at DESC LIMIT $3'
  USING meta_agent.current_organization_id(), subject, most;
END $_$;

CREATE FUNCTION meta_agent.logs_pruned_before() RETURNS date
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT substring(obj_description(to_regprocedure('meta_agent.logs_pruned_before()'), 'pg_proc') FROM '\d{4}-\d\d-\d\d')::date
$$;

CREATE FUNCTION meta_agent.mirror_circuit() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  UPDATE public.agent_health_realtime AS h SET circuit_state = NEW.state, circuit_opened_at = NEW.opened_at
  WHERE h.agent_id = ANY (ARRAY[NEW.agent_id]) AND h.agent_id BETWEEN NEW.agent_id AND NEW.agent_id
    AND (h.circuit_state, h.circuit_opened_at) IS DISTINCT FROM (NEW.state, NEW.opened_at);
  RETURN NULL;
END $$;

CREATE FUNCTION meta_agent.own_agent_prompts_row(row_id uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT EXISTS (SELECT FROM public.agent_prompts AS p
         WHERE p.id = row_id AND p.organization_id = meta_agent.current_organization_id()) $$;

CREATE FUNCTION meta_agent.own_learning_log_row(row_id uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT EXISTS (SELECT FROM public.learning_log AS p
         WHERE p.id = row_id AND p.organization_id = meta_agent.current_organization_id()) $$;

CREATE FUNCTION meta_agent.own_log_references() RETURNS TABLE(agent_id uuid, has_prompt boolean, prompt_or_agent uuid)
    LANGUAGE plpgsql STABLE ROWS 100 PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
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

CREATE FUNCTION meta_agent.record_outcomes(outcomes json, instant timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS TABLE(agent uuid, circuit_state text, has_changed boolean)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  clock CONSTANT timestamptz := coalesce(instant, clock_timestamp());
  batch record;
  stored public.circuit_breaker_state;
  breaker public.circuit_breaker_state;
  at timestamptz;
BEGIN
  FOR batch IN
    -- In the order of their agents, so that two callers never wait for each other.
    SELECT o.agent, array_agg(o.failed ORDER BY o.n) AS failed, array_agg(o.probe ORDER BY o.n) AS probe,
      array_agg(o.instant ORDER BY o.n) AS instant
    FROM (
      -- A writer's clock may be ahead: what lies in the future is now, and still in its order.
      SELECT given.agent, given.failed, given.probe, row_number() OVER in_time AS n,
        least(given.at, clock - (count(*) OVER (PARTITION BY given.agent) - row_number() OVER in_time)
          * interval '1 microsecond') AS instant
      FROM json_to_recordset(outcomes) AS given (agent uuid, at timestamptz, failed boolean, probe timestamptz)
      WINDOW in_time AS (PARTITION BY given.agent ORDER BY given.at, given.failed DESC)
    ) AS o
    GROUP BY o.agent ORDER BY o.agent
  LOOP
    FOR look IN 1..2 LOOP
      IF look = 1 THEN
        SELECT b.* INTO stored FROM public.circuit_breaker_state AS b
        WHERE b.agent_id = ANY (ARRAY[batch.agent]) AND b.agent_id BETWEEN batch.agent AND batch.agent ORDER BY b.agent_id;
        IF NOT FOUND THEN
          INSERT INTO public.circuit_breaker_state (agent_id, organization_id)
          SELECT a.id, a.organization_id FROM public.agent_registry AS a
          WHERE a.id = ANY (ARRAY[batch.agent]) AND a.id BETWEEN batch.agent AND batch.agent ORDER BY a.id
          ON CONFLICT (agent_id) DO NOTHING;
          CONTINUE;
        END IF;
      ELSE
        SELECT b.* INTO stored FROM public.circuit_breaker_state AS b
        WHERE b.agent_id = ANY (ARRAY[batch.agent]) AND b.agent_id BETWEEN batch.agent AND batch.agent ORDER BY b.agent_id
        FOR NO KEY UPDATE;
        EXIT WHEN NOT FOUND;
      END IF;
      breaker := stored;
      FOR n IN 1..cardinality(batch.failed) LOOP
        at := batch.instant[n];
        IF breaker.state = 'closed' AND batch.probe[n] IS NULL THEN
          IF batch.failed[n] AND (at <= breaker.last_success_at) IS NOT TRUE THEN
            breaker.failure_count := breaker.failure_count + 1;
            breaker.last_failure_at := greatest(breaker.last_failure_at, at);
            IF breaker.failure_count >= breaker.failure_threshold THEN
              breaker.state := 'open';
            END IF;
          ELSIF NOT batch.failed[n] AND (at < breaker.last_failure_at) IS NOT TRUE THEN
            breaker.failure_count := 0;
            breaker.last_success_at := greatest(breaker.last_success_at, at);
          END IF;
        ELSIF breaker.state = 'half_open' AND batch.probe[n] = breaker.half_open_at
          AND (breaker.last_success_at >= breaker.half_open_at) IS NOT TRUE
        THEN
          IF batch.failed[n] THEN
            breaker.state := 'open';
            breaker.last_failure_at := greatest(breaker.last_failure_at, at);
          ELSE
            breaker.success_count := breaker.success_count + 1;
            breaker.last_success_at := greatest(breaker.half_open_at, at);
            IF breaker.success_count >= breaker.success_threshold THEN
              breaker.state := 'closed';
              breaker.failure_count := 0;
            END IF;
          END IF;
        END IF;
      END LOOP;
      IF breaker.state <> stored.state THEN
        IF breaker.state = 'open' THEN
          breaker.opened_at := greatest(clock, breaker.opened_at);
        END IF;
        breaker.success_count := 0;
      END IF;
      EXIT WHEN (breaker.state, breaker.failure_count, breaker.success_count, breaker.last_failure_at)
          IS NOT DISTINCT FROM (stored.state, stored.failure_count, stored.success_count, stored.last_failure_at)
        AND NOT coalesce(breaker.last_success_at >= stored.last_success_at + interval '1 second',
          breaker.last_success_at IS NOT NULL);
      CONTINUE WHEN look = 1;
      UPDATE public.circuit_breaker_state AS b SET
        state = breaker.state, failure_count = breaker.failure_count, success_count = breaker.success_count,
        last_failure_at = breaker.last_failure_at, last_success_at = breaker.last_success_at, opened_at = breaker.opened_at
      WHERE b.id = ANY (ARRAY[breaker.id]) AND b.id BETWEEN breaker.id AND breaker.id;
    END LOOP;
    CONTINUE WHEN stored.id IS NULL;
    agent := batch.agent;
    circuit_state := breaker.state;
    has_changed := breaker.state <> stored.state;
    RETURN NEXT;
  END LOOP;
END $$;

CREATE FUNCTION meta_agent.refresh_budgets(only_agent uuid, moment timestamp with time zone) RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  bound uuid[];
  corrected json;
BEGIN
  SELECT array_agg(locked.id) INTO bound FROM (
    SELECT b.id FROM public.cost_budgets AS b
    WHERE only_agent IS NULL OR b.agent_id = only_agent OR (b.agent_id IS NULL
      AND b.organization_id IS NOT DISTINCT FROM (SELECT organization_id FROM public.agent_registry WHERE id = only_agent))
    ORDER BY b.id FOR NO KEY UPDATE
  ) AS locked;
  moment := coalesce(moment, clock_timestamp());
  UPDATE public.cost_budgets SET updated_at = moment
  WHERE id = ANY (bound) AND date_trunc('day', updated_at, 'UTC') < date_trunc('day', moment, 'UTC');
  WITH ledger AS MATERIALIZED (
    SELECT b.id, b AS budget, w.at, l.daily, l.weekly, l.monthly
    FROM public.cost_budgets AS b
    CROSS JOIN LATERAL (SELECT greatest(b.updated_at, moment) AS at) AS w
    CROSS JOIN LATERAL meta_agent.spending(b.agent_id, b.organization_id, w.at) AS l
    WHERE b.id = ANY (bound)
  ), updated AS (
    UPDATE public.cost_budgets AS b SET current_daily_spend = least(s.daily, 1000000000000),
      current_weekly_spend = least(s.weekly, 1000000000000), current_monthly_spend = least(s.monthly, 1000000000000),
      updated_at = greatest(b.updated_at + interval '1 microsecond', moment)
    FROM ledger AS s
    WHERE b.id = s.id
      AND (b.current_daily_spend, b.current_weekly_spend, b.current_monthly_spend) IS DISTINCT FROM (s.daily, s.weekly, s.monthly)
    RETURNING b.id, b AS budget
  ), changed AS MATERIALIZED (
    SELECT u.id, u.budget, s.budget AS counted, s.at FROM updated AS u JOIN ledger AS s ON s.id = u.id
  )
  SELECT coalesce(json_agg(json_build_object('budgetId', c.id, 'agentId', (c.counted).agent_id, 'window', w.span,
      'spentUsd', w.spent_usd::text, 'countedUsd', former.spent_usd::text)
    ORDER BY c.id, w.ends_at - w.starts_at), '[]') INTO corrected
  FROM changed AS c
  CROSS JOIN LATERAL meta_agent.budget_windows(c.budget, c.at) AS w
  JOIN LATERAL meta_agent.budget_windows(c.counted, c.at) AS former ON former.span = w.span
  WHERE w.spent_usd <> former.spent_usd;
  RETURN corrected;
END $$;

CREATE FUNCTION meta_agent.reserve_execution(entry jsonb, moment timestamp with time zone) RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  log CONSTANT uuid := entry ->> 'id';
  agent CONSTANT uuid := entry ->> 'agent_id';
  usd CONSTANT numeric := entry ->> 'estimated_cost_usd';
  organization uuid;
  named text;
  bound uuid[];
  exceeded json;
  refused boolean;
  strictest text;
  resets timestamptz;
  started public.agent_execution_logs;
  is_new boolean;
BEGIN
  SELECT organization_id, agent_name INTO organization, named FROM public.agent_registry
  WHERE id = ANY (ARRAY[agent]) AND id BETWEEN agent AND agent ORDER BY id;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  SELECT array_agg(locked.id) INTO bound FROM (
    SELECT b.id FROM public.cost_budgets AS b
    WHERE b.agent_id = agent
      OR (b.agent_id IS NULL AND b.organization_id = organization)
      OR (b.agent_id IS NULL AND b.organization_id IS NULL AND organization IS NULL)
    ORDER BY b.id FOR NO KEY UPDATE
  ) AS locked;
  moment := coalesce(moment, clock_timestamp());
  SELECT * INTO started FROM public.agent_execution_logs
  WHERE id = ANY (ARRAY[log]) AND id BETWEEN log AND log ORDER BY id;
  is_new := NOT FOUND;
  -- Of a statement of its own: it sees what those wrote who had the locks before.
  SELECT coalesce(json_agg(json_build_object('budgetId', b.id, 'agentId', b.agent_id, 'window', w.span,
        'action', w.action, 'limitUsd', w.limit_usd::text, 'spentUsd', w.spent_usd::text)
      ORDER BY b.id, w.ends_at - w.starts_at), '[]'),
    coalesce(bool_or(w.action IN ('pause', 'throttle')), false),
    (array_agg(w.action ORDER BY array_position(ARRAY['pause', 'throttle', 'downgrade_model', 'alert'], w.action)))[1],
    max(w.ends_at) FILTER (WHERE w.action IN ('pause', 'throttle'))
  INTO exceeded, refused, strictest, resets
  FROM public.cost_budgets AS b
  CROSS JOIN LATERAL meta_agent.budget_windows(b, moment) AS w
  WHERE is_new AND b.id = ANY (bound) AND w.spent_usd + usd > w.limit_usd;
  IF is_new AND NOT refused THEN
    INSERT INTO public.agent_execution_logs (id, agent_id, organization_id, prompt_version_id, execution_id, action_type,
      action_name, model_name, user_id, input_data, timestamp, status, estimated_cost_usd, metadata)
    SELECT log, agent, organization, r.prompt_version_id, r.execution_id, r.action_type,
      r.action_name, r.model_name, r.user_id, r.input_data, moment, 'running', usd,
      coalesce(r.metadata, '{}') || jsonb_build_object('reserved_usd', usd::text)
    FROM jsonb_populate_record(NULL::public.agent_execution_logs, entry) AS r
    ON CONFLICT DO NOTHING
    RETURNING * INTO started;
    -- One that another caller has begun meanwhile, or that this one does not see.
    IF NOT FOUND THEN
      is_new := false;
      SELECT * INTO started FROM public.agent_execution_logs
      WHERE id = ANY (ARRAY[log]) AND id BETWEEN log AND log ORDER BY id;
    END IF;
  END IF;
  RETURN json_build_object(
    'allowed', NOT refused,
    'isTaken', NOT is_new AND (started.agent_id IS DISTINCT FROM agent OR started.status <> 'running'),
    'action', strictest, 'exceeded', exceeded, 'resetsAt', resets,
    'logId', started.id, 'executionId', started.execution_id, 'agentName', named,
    'alerts', CASE WHEN is_new AND NOT refused THEN meta_agent.charge_budgets(json_build_array(json_build_object(
      'agent', agent, 'organization', organization, 'at', moment, 'usd', usd)), moment) ELSE '[]' END);
END $$;

CREATE FUNCTION meta_agent.roll_budget() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  NEW.updated_at := greatest(OLD.updated_at, least(
    CASE WHEN NEW.updated_at IS DISTINCT FROM OLD.updated_at THEN NEW.updated_at ELSE clock_timestamp() END,
    clock_timestamp() + interval '1 day'));
  IF NEW.current_daily_spend = OLD.current_daily_spend
    AND date_trunc('day', NEW.updated_at, 'UTC') > date_trunc('day', OLD.updated_at, 'UTC') THEN
    NEW.current_daily_spend := 0;
  END IF;
  IF NEW.current_weekly_spend = OLD.current_weekly_spend
    AND date_trunc('week', NEW.updated_at, 'UTC') > date_trunc('week', OLD.updated_at, 'UTC') THEN
    NEW.current_weekly_spend := 0;
  END IF;
  IF NEW.current_monthly_spend = OLD.current_monthly_spend
    AND date_trunc('month', NEW.updated_at, 'UTC') > date_trunc('month', OLD.updated_at, 'UTC') THEN
    NEW.current_monthly_spend := 0;
  END IF;
  RETURN NEW;
END $$;

CREATE FUNCTION meta_agent.spending(agent uuid, organization uuid, moment timestamp with time zone) RETURNS TABLE(daily numeric, weekly numeric, monthly numeric)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  today CONSTANT timestamptz := date_trunc('day', moment, 'UTC');
  this_week CONSTANT timestamptz := date_trunc('week', moment, 'UTC');
  this_month CONSTANT timestamptz := date_trunc('month', moment, 'UTC');
  since CONSTANT timestamptz := least(this_week, this_month);
BEGIN
  IF agent IS NOT NULL THEN
    -- By key; the planner takes the average organization's index for as good.
    SELECT coalesce(sum(l.usd) FILTER (WHERE date_trunc('day', l.timestamp, 'UTC') = today), 0),
      coalesce(sum(l.usd) FILTER (WHERE date_trunc('week', l.timestamp, 'UTC') = this_week), 0),
      coalesce(sum(l.usd) FILTER (WHERE date_trunc('month', l.timestamp, 'UTC') = this_month), 0)
    INTO daily, weekly, monthly FROM (
      SELECT r.timestamp, r.estimated_cost_usd AS usd FROM public.agent_execution_logs AS r
      WHERE r.agent_id = ANY (ARRAY[agent]) AND r.agent_id BETWEEN agent AND agent AND r.timestamp >= since
      ORDER BY r.agent_id, r.timestamp DESC OFFSET 0
    ) AS l;
  ELSIF organization IS NOT NULL THEN
    SELECT coalesce(sum(l.estimated_cost_usd) FILTER (WHERE date_trunc('day', l.timestamp, 'UTC') = today), 0),
      coalesce(sum(l.estimated_cost_usd) FILTER (WHERE date_trunc('week', l.timestamp, 'UTC') = this_week), 0),
      coalesce(sum(l.estimated_cost_usd) FILTER (WHERE date_trunc('month', l.timestamp, 'UTC') = this_month), 0)
    INTO daily, weekly, monthly FROM public.agent_execution_logs AS l
    WHERE l.organization_id = organization AND l.timestamp >= since;
  ELSE
    SELECT coalesce(sum(l.estimated_cost_usd) FILTER (WHERE date_trunc('day', l.timestamp, 'UTC') = today), 0),
      coalesce(sum(l.estimated_cost_usd) FILTER (WHERE date_trunc('week', l.timestamp, 'UTC') = this_week), 0),
      coalesce(sum(l.estimated_cost_usd) FILTER (WHERE date_trunc('month', l.timestamp, 'UTC') = this_month), 0)
    INTO daily, weekly, monthly FROM public.agent_execution_logs AS l
    WHERE l.organization_id IS NULL AND l.timestamp >= since;
  END IF;
  RETURN NEXT;
END $$;

CREATE FUNCTION meta_agent.touch_updated_at() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END $$;

CREATE FUNCTION meta_agent.uuid_for(VARIADIC parts text[]) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
  SELECT CASE
    WHEN array_position(parts, NULL) IS NOT NULL OR cardinality(parts) = 0 THEN NULL
    WHEN cardinality(parts) = 1 AND bare ~ '^([0-9a-fA-F]{4}-?){7}[0-9a-fA-F]{4}$' THEN bare::uuid
    ELSE (
      SELECT encode(
        set_byte(set_byte(hash, 6, get_byte(hash, 6) & 15 | 128), 8, get_byte(hash, 8) & 63 | 128),
        'hex')::uuid
      FROM (
        SELECT substr(sha256(string_agg(
          convert_to(octet_length(convert_to(part, 'UTF8')) || ':' || part, 'UTF8'), '' ORDER BY place)),
          1, 16) AS hash
        FROM unnest(parts) WITH ORDINALITY AS given(part, place)
      ) AS hashed
    )
  END
  FROM (
    SELECT CASE WHEN parts[1] LIKE '{%}' THEN substr(parts[1], 2, length(parts[1]) - 2) ELSE parts[1] END AS bare
  ) AS first
$_$;

CREATE FUNCTION meta_agent.uuidv7() RETURNS uuid
    LANGUAGE plpgsql PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF current_setting('server_version_num')::int >= 180000 THEN
    RETURN pg_catalog.uuidv7();
  END IF;
  RETURN encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
        FROM 1 FOR 6),
      52, 1), 53, 1),
    'hex')::uuid;
END $$;

CREATE FUNCTION meta_agent.uuidv7_at(instant timestamp with time zone) RETURNS uuid
    LANGUAGE plpgsql STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  RETURN encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send(greatest(0, least(281474976710655,
          floor(extract(epoch FROM instant) * 1000)))::bigint) FROM 3)
        FROM 1 FOR 6),
      52, 1), 53, 1),
    'hex')::uuid;
END $$;

CREATE FUNCTION meta_agent.uuidv7_floor(instant timestamp with time zone) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT (substr(hex, 1, 8) || '-' || substr(hex, 9, 4) || '-7000-8000-000000000000')::uuid
  FROM (
    SELECT lpad(to_hex(greatest(0, least(281474976710655,
      floor(extract(epoch FROM instant - to_timestamp(0)) * 1000)))::bigint), 12, '0') AS hex
  ) AS millisecond
$$;

CREATE FUNCTION meta_agent.uuidv7_time(id uuid) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT CASE WHEN substr(id::text, 15, 1) = '7' THEN
    to_timestamp(('x' || substr(id::text, 1, 8) || substr(id::text, 10, 4))::bit(48)::bigint / 1000.0)
  END
$$;

CREATE TABLE drizzle.__meta_agent_migrations (
    id integer NOT NULL,
    hash text NOT NULL,
    created_at bigint,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    applied_by text DEFAULT SESSION_USER NOT NULL
);

CREATE SEQUENCE drizzle.__meta_agent_migrations_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE drizzle.__meta_agent_migrations_id_seq OWNED BY drizzle.__meta_agent_migrations.id;

CREATE TABLE public.ab_tests (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_id uuid NOT NULL,
    improvement_proposal_id uuid,
    test_name text NOT NULL,
    hypothesis text NOT NULL,
    control_prompt_id uuid NOT NULL,
    treatment_prompt_id uuid NOT NULL,
    traffic_split numeric DEFAULT 0.50 NOT NULL,
    start_date timestamp with time zone NOT NULL,
    end_date timestamp with time zone,
    min_sample_size integer DEFAULT 100 NOT NULL,
    status text DEFAULT 'running'::text NOT NULL,
    control_executions integer DEFAULT 0 NOT NULL,
    treatment_executions integer DEFAULT 0 NOT NULL,
    control_success_rate numeric,
    treatment_success_rate numeric,
    control_avg_quality numeric,
    treatment_avg_quality numeric,
    statistical_significance numeric,
    winner text,
    conclusion_summary text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT ab_tests_control_avg_quality_check CHECK (((control_avg_quality >= (0)::numeric) AND (control_avg_quality <= (100)::numeric))),
    CONSTRAINT ab_tests_control_executions_check CHECK ((control_executions >= 0)),
    CONSTRAINT ab_tests_control_success_rate_check CHECK (((control_success_rate >= (0)::numeric) AND (control_success_rate <= (1)::numeric))),
    CONSTRAINT ab_tests_created_at_check CHECK (isfinite(created_at)),
    CONSTRAINT ab_tests_dates_check CHECK ((end_date > start_date)),
    CONSTRAINT ab_tests_end_date_check CHECK (isfinite(end_date)),
    CONSTRAINT ab_tests_min_sample_size_check CHECK ((min_sample_size >= 0)),
    CONSTRAINT ab_tests_prompts_check CHECK ((control_prompt_id <> treatment_prompt_id)),
    CONSTRAINT ab_tests_start_date_check CHECK (isfinite(start_date)),
    CONSTRAINT ab_tests_statistical_significance_check CHECK (((statistical_significance >= (0)::numeric) AND (statistical_significance <= (1)::numeric))),
    CONSTRAINT ab_tests_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'completed'::text, 'stopped'::text]))),
    CONSTRAINT ab_tests_traffic_split_check CHECK (((traffic_split >= (0)::numeric) AND (traffic_split <= (1)::numeric))),
    CONSTRAINT ab_tests_treatment_avg_quality_check CHECK (((treatment_avg_quality >= (0)::numeric) AND (treatment_avg_quality <= (100)::numeric))),
    CONSTRAINT ab_tests_treatment_executions_check CHECK ((treatment_executions >= 0)),
    CONSTRAINT ab_tests_treatment_success_rate_check CHECK (((treatment_success_rate >= (0)::numeric) AND (treatment_success_rate <= (1)::numeric))),
    CONSTRAINT ab_tests_updated_at_check CHECK (isfinite(updated_at)),
    CONSTRAINT ab_tests_winner_check CHECK ((winner = ANY (ARRAY['control'::text, 'treatment'::text, 'inconclusive'::text])))
);

COMMENT ON TABLE public.ab_tests IS 'A controlled experiment: two prompt versions of one agent share its traffic.';

COMMENT ON COLUMN public.ab_tests.traffic_split IS 'Ratio, 0 to 1.';

COMMENT ON COLUMN public.ab_tests.min_sample_size IS 'Count.';

COMMENT ON COLUMN public.ab_tests.control_executions IS 'Count.';

COMMENT ON COLUMN public.ab_tests.treatment_executions IS 'Count.';

COMMENT ON COLUMN public.ab_tests.control_success_rate IS 'Ratio, 0 to 1.';

COMMENT ON COLUMN public.ab_tests.treatment_success_rate IS 'Ratio, 0 to 1.';

COMMENT ON COLUMN public.ab_tests.control_avg_quality IS 'Percent, 0 to 100.';

COMMENT ON COLUMN public.ab_tests.treatment_avg_quality IS 'Percent, 0 to 100.';

COMMENT ON COLUMN public.ab_tests.statistical_significance IS 'Ratio, 0 to 1. How sure it is that the two sides differ: 1 less the p-value of a mixture sequential probability ratio test (mSPRT) over differences of 0.01, 0.03 and 0.1, valid however often it is looked at. A winner has at least 1 - alpha, 0.95 unless told.';

CREATE TABLE public.agent_dependencies (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    upstream_agent_id uuid NOT NULL,
    downstream_agent_id uuid NOT NULL,
    dependency_type text NOT NULL,
    is_critical boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT agent_dependencies_agents_check CHECK ((upstream_agent_id <> downstream_agent_id)),
    CONSTRAINT agent_dependencies_created_at_check CHECK (isfinite(created_at)),
    CONSTRAINT agent_dependencies_dependency_type_check CHECK ((dependency_type = ANY (ARRAY['data'::text, 'trigger'::text, 'approval'::text, 'context'::text])))
);

COMMENT ON TABLE public.agent_dependencies IS 'The downstream agent needs something of the upstream agent.';

CREATE TABLE public.agent_execution_logs (
    id uuid DEFAULT meta_agent.uuidv7() NOT NULL,
    agent_id uuid NOT NULL,
    prompt_version_id uuid,
    execution_id uuid NOT NULL,
    "timestamp" timestamp with time zone DEFAULT now() NOT NULL,
    action_type text NOT NULL,
    action_name text,
    input_data jsonb,
    output_data jsonb,
    latency_ms integer,
    token_count_input integer,
    token_count_output integer,
    estimated_cost_usd numeric,
    status text DEFAULT 'success'::text NOT NULL,
    error_message text,
    error_type text,
    error_stack_trace text,
    related_entity_type text,
    related_entity_id uuid,
    user_id uuid,
    quality_score numeric,
    quality_feedback text,
    reviewed_by text,
    reviewed_at timestamp with time zone,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    model_name text,
    CONSTRAINT agent_execution_logs_estimated_cost_usd_check CHECK (((estimated_cost_usd >= (0)::numeric) AND (estimated_cost_usd <= ('1000000000000'::bigint)::numeric))),
    CONSTRAINT agent_execution_logs_latency_ms_check CHECK ((latency_ms >= 0)),
    CONSTRAINT agent_execution_logs_metadata_check CHECK ((jsonb_typeof(metadata) = 'object'::text)),
    CONSTRAINT agent_execution_logs_model_name_check CHECK (((char_length(model_name) >= 1) AND (char_length(model_name) <= 255))),
    CONSTRAINT agent_execution_logs_quality_score_check CHECK (((quality_score >= (0)::numeric) AND (quality_score <= (100)::numeric))),
    CONSTRAINT agent_execution_logs_reviewed_at_check CHECK (isfinite(reviewed_at)),
    CONSTRAINT agent_execution_logs_status_check CHECK ((status = ANY (ARRAY['success'::text, 'failure'::text, 'timeout'::text, 'cancelled'::text, 'running'::text]))),
    CONSTRAINT agent_execution_logs_timestamp_check CHECK (isfinite("timestamp")),
    CONSTRAINT agent_execution_logs_token_count_input_check CHECK ((token_count_input >= 0)),
    CONSTRAINT agent_execution_logs_token_count_output_check CHECK ((token_count_output >= 0))
);

COMMENT ON TABLE public.agent_execution_logs IS 'One action of one execution; the rows that share (agent_id, execution_id) are one execution.';

COMMENT ON COLUMN public.agent_execution_logs.latency_ms IS 'Milliseconds.';

COMMENT ON COLUMN public.agent_execution_logs.token_count_input IS 'Tokens.';

COMMENT ON COLUMN public.agent_execution_logs.token_count_output IS 'Tokens.';

COMMENT ON COLUMN public.agent_execution_logs.estimated_cost_usd IS 'US dollars.';

COMMENT ON COLUMN public.agent_execution_logs.quality_score IS 'Percent, 0 to 100.';

COMMENT ON COLUMN public.agent_execution_logs.model_name IS 'The model that answered.';

CREATE TABLE public.agent_health_realtime (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_id uuid NOT NULL,
    "timestamp" timestamp with time zone DEFAULT now() NOT NULL,
    executions_5m integer DEFAULT 0 NOT NULL,
    failures_5m integer DEFAULT 0 NOT NULL,
    avg_latency_5m numeric,
    error_rate_5m numeric,
    executions_1h integer DEFAULT 0 NOT NULL,
    failures_1h integer DEFAULT 0 NOT NULL,
    avg_latency_1h numeric,
    error_rate_1h numeric,
    status text DEFAULT 'healthy'::text NOT NULL,
    last_successful_execution timestamp with time zone,
    last_failed_execution timestamp with time zone,
    circuit_state text DEFAULT 'closed'::text NOT NULL,
    circuit_opened_at timestamp with time zone,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT agent_health_realtime_avg_latency_1h_check CHECK (((avg_latency_1h >= (0)::numeric) AND (avg_latency_1h <= (2147483647)::numeric))),
    CONSTRAINT agent_health_realtime_avg_latency_5m_check CHECK (((avg_latency_5m >= (0)::numeric) AND (avg_latency_5m <= (2147483647)::numeric))),
    CONSTRAINT agent_health_realtime_circuit_opened_at_check CHECK (isfinite(circuit_opened_at)),
    CONSTRAINT agent_health_realtime_circuit_state_check CHECK ((circuit_state = ANY (ARRAY['closed'::text, 'open'::text, 'half_open'::text]))),
    CONSTRAINT agent_health_realtime_error_rate_1h_check CHECK (((error_rate_1h >= (0)::numeric) AND (error_rate_1h <= (1)::numeric))),
    CONSTRAINT agent_health_realtime_error_rate_5m_check CHECK (((error_rate_5m >= (0)::numeric) AND (error_rate_5m <= (1)::numeric))),
    CONSTRAINT agent_health_realtime_executions_1h_check CHECK ((executions_1h >= 0)),
    CONSTRAINT agent_health_realtime_executions_5m_check CHECK ((executions_5m >= 0)),
    CONSTRAINT agent_health_realtime_failures_1h_check CHECK ((failures_1h >= 0)),
    CONSTRAINT agent_health_realtime_failures_5m_check CHECK ((failures_5m >= 0)),
    CONSTRAINT agent_health_realtime_last_failed_execution_check CHECK (isfinite(last_failed_execution)),
    CONSTRAINT agent_health_realtime_last_successful_execution_check CHECK (isfinite(last_successful_execution)),
    CONSTRAINT agent_health_realtime_status_check CHECK ((status = ANY (ARRAY['healthy'::text, 'degraded'::text, 'critical'::text, 'offline'::text]))),
    CONSTRAINT agent_health_realtime_timestamp_check CHECK (isfinite("timestamp"))
);

COMMENT ON TABLE public.agent_health_realtime IS 'The latest health snapshot of an agent, one row each, over windows of 5 minutes and 1 hour.';

COMMENT ON COLUMN public.agent_health_realtime.executions_5m IS 'Count.';

COMMENT ON COLUMN public.agent_health_realtime.failures_5m IS 'Count.';

COMMENT ON COLUMN public.agent_health_realtime.avg_latency_5m IS 'Milliseconds.';

COMMENT ON COLUMN public.agent_health_realtime.error_rate_5m IS 'Ratio, 0 to 1.';

COMMENT ON COLUMN public.agent_health_realtime.executions_1h IS 'Count.';

COMMENT ON COLUMN public.agent_health_realtime.failures_1h IS 'Count.';

COMMENT ON COLUMN public.agent_health_realtime.avg_latency_1h IS 'Milliseconds.';

COMMENT ON COLUMN public.agent_health_realtime.error_rate_1h IS 'Ratio, 0 to 1.';

CREATE TABLE public.agent_performance_metrics (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_id uuid NOT NULL,
    prompt_version_id uuid,
    date date NOT NULL,
    total_executions integer,
    successful_executions integer,
    failed_executions integer,
    timeout_executions integer,
    avg_latency_ms numeric,
    p50_latency_ms numeric,
    p95_latency_ms numeric,
    p99_latency_ms numeric,
    total_cost_usd numeric,
    cost_per_execution numeric,
    total_tokens_input integer,
    total_tokens_output integer,
    avg_quality_score numeric,
    human_interventions integer,
    unique_error_types integer,
    most_common_error text,
    error_distribution jsonb,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT agent_performance_metrics_avg_latency_ms_check CHECK (((avg_latency_ms >= (0)::numeric) AND (avg_latency_ms <= (2147483647)::numeric))),
    CONSTRAINT agent_performance_metrics_avg_quality_score_check CHECK (((avg_quality_score >= (0)::numeric) AND (avg_quality_score <= (100)::numeric))),
    CONSTRAINT agent_performance_metrics_cost_per_execution_check CHECK (((cost_per_execution >= (0)::numeric) AND (cost_per_execution <= ('1000000000000'::bigint)::numeric))),
    CONSTRAINT agent_performance_metrics_date_check CHECK (isfinite(date)),
    CONSTRAINT agent_performance_metrics_error_distribution_check CHECK ((jsonb_typeof(error_distribution) = 'object'::text)),
    CONSTRAINT agent_performance_metrics_failed_executions_check CHECK ((failed_executions >= 0)),
    CONSTRAINT agent_performance_metrics_human_interventions_check CHECK ((human_interventions >= 0)),
    CONSTRAINT agent_performance_metrics_p50_latency_ms_check CHECK (((p50_latency_ms >= (0)::numeric) AND (p50_latency_ms <= (2147483647)::numeric))),
    CONSTRAINT agent_performance_metrics_p95_latency_ms_check CHECK (((p95_latency_ms >= (0)::numeric) AND (p95_latency_ms <= (2147483647)::numeric))),
    CONSTRAINT agent_performance_metrics_p99_latency_ms_check CHECK (((p99_latency_ms >= (0)::numeric) AND (p99_latency_ms <= (2147483647)::numeric))),
    CONSTRAINT agent_performance_metrics_successful_executions_check CHECK ((successful_executions >= 0)),
    CONSTRAINT agent_performance_metrics_timeout_executions_check CHECK ((timeout_executions >= 0)),
    CONSTRAINT agent_performance_metrics_total_cost_usd_check CHECK (((total_cost_usd >= (0)::numeric) AND (total_cost_usd <= ('1000000000000'::bigint)::numeric))),
    CONSTRAINT agent_performance_metrics_total_executions_check CHECK ((total_executions >= 0)),
    CONSTRAINT agent_performance_metrics_total_tokens_input_check CHECK ((total_tokens_input >= 0)),
    CONSTRAINT agent_performance_metrics_total_tokens_output_check CHECK ((total_tokens_output >= 0)),
    CONSTRAINT agent_performance_metrics_unique_error_types_check CHECK ((unique_error_types >= 0))
);

COMMENT ON TABLE public.agent_performance_metrics IS 'One agent''s day (UTC), per prompt version and once for the logs that name none. Computed from the logs.';

COMMENT ON COLUMN public.agent_performance_metrics.total_executions IS 'Count.';

COMMENT ON COLUMN public.agent_performance_metrics.successful_executions IS 'Count.';

COMMENT ON COLUMN public.agent_performance_metrics.failed_executions IS 'Count.';

COMMENT ON COLUMN public.agent_performance_metrics.timeout_executions IS 'Count.';

COMMENT ON COLUMN public.agent_performance_metrics.avg_latency_ms IS 'Milliseconds.';

COMMENT ON COLUMN public.agent_performance_metrics.p50_latency_ms IS 'Milliseconds.';

COMMENT ON COLUMN public.agent_performance_metrics.p95_latency_ms IS 'Milliseconds.';

COMMENT ON COLUMN public.agent_performance_metrics.p99_latency_ms IS 'Milliseconds.';

COMMENT ON COLUMN public.agent_performance_metrics.total_cost_usd IS 'US dollars.';

COMMENT ON COLUMN public.agent_performance_metrics.cost_per_execution IS 'US dollars.';

COMMENT ON COLUMN public.agent_performance_metrics.total_tokens_input IS 'Tokens.';

COMMENT ON COLUMN public.agent_performance_metrics.total_tokens_output IS 'Tokens.';

COMMENT ON COLUMN public.agent_performance_metrics.avg_quality_score IS 'Percent, 0 to 100.';

COMMENT ON COLUMN public.agent_performance_metrics.human_interventions IS 'Count.';

COMMENT ON COLUMN public.agent_performance_metrics.unique_error_types IS 'Count.';

CREATE TABLE public.agent_prompts (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_id uuid NOT NULL,
    version text NOT NULL,
    system_prompt text NOT NULL,
    tool_definitions jsonb,
    few_shot_examples jsonb,
    model_name text DEFAULT 'claude-sonnet-4-20250514'::text NOT NULL,
    temperature numeric DEFAULT 0.7,
    max_tokens integer DEFAULT 4096,
    configuration jsonb DEFAULT '{}'::jsonb NOT NULL,
    is_active boolean DEFAULT false NOT NULL,
    is_baseline boolean DEFAULT false NOT NULL,
    parent_version_id uuid,
    total_executions integer DEFAULT 0 NOT NULL,
    successful_executions integer DEFAULT 0 NOT NULL,
    avg_quality_score numeric,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by text,
    change_reason text,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT agent_prompts_avg_quality_score_check CHECK (((avg_quality_score >= (0)::numeric) AND (avg_quality_score <= (100)::numeric))),
    CONSTRAINT agent_prompts_configuration_check CHECK ((jsonb_typeof(configuration) = 'object'::text)),
    CONSTRAINT agent_prompts_created_at_check CHECK (isfinite(created_at)),
    CONSTRAINT agent_prompts_few_shot_examples_check CHECK ((jsonb_typeof(few_shot_examples) = 'array'::text)),
    CONSTRAINT agent_prompts_max_tokens_check CHECK ((max_tokens >= 0)),
    CONSTRAINT agent_prompts_parent_check CHECK ((parent_version_id <> id)),
    CONSTRAINT agent_prompts_successful_executions_check CHECK ((successful_executions >= 0)),
    CONSTRAINT agent_prompts_temperature_check CHECK (((temperature >= (0)::numeric) AND (temperature <= (2)::numeric))),
    CONSTRAINT agent_prompts_tool_definitions_check CHECK ((jsonb_typeof(tool_definitions) = 'array'::text)),
    CONSTRAINT agent_prompts_total_executions_check CHECK ((total_executions >= 0)),
    CONSTRAINT agent_prompts_version_check CHECK (((char_length(version) >= 1) AND (char_length(version) <= 255)))
);

COMMENT ON TABLE public.agent_prompts IS 'One version of an agent''s prompt with all that a run needs. At most one is active and one the baseline.';

COMMENT ON COLUMN public.agent_prompts.temperature IS 'Sampling temperature, 0 to 2. NULL: the model''s own.';

COMMENT ON COLUMN public.agent_prompts.max_tokens IS 'Tokens. NULL: no such limit.';

COMMENT ON COLUMN public.agent_prompts.total_executions IS 'Count.';

COMMENT ON COLUMN public.agent_prompts.successful_executions IS 'Count.';

COMMENT ON COLUMN public.agent_prompts.avg_quality_score IS 'Percent, 0 to 100.';

CREATE TABLE public.agent_registry (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_name text NOT NULL,
    display_name text NOT NULL,
    description text,
    category text NOT NULL,
    version text DEFAULT '1.0.0'::text NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    owner_email text,
    slack_channel text,
    target_success_rate numeric DEFAULT 95.00,
    target_avg_latency_ms integer DEFAULT 5000,
    target_cost_per_execution numeric DEFAULT 0.10,
    current_health_score numeric DEFAULT 100.00 NOT NULL,
    last_health_check timestamp with time zone,
    consecutive_failures integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT agent_registry_agent_name_check CHECK (((char_length(agent_name) >= 1) AND (char_length(agent_name) <= 255))),
    CONSTRAINT agent_registry_category_check CHECK ((category = ANY (ARRAY['client_success'::text, 'marketing'::text, 'sales'::text, 'operations'::text, 'internal'::text]))),
    CONSTRAINT agent_registry_consecutive_failures_check CHECK ((consecutive_failures >= 0)),
    CONSTRAINT agent_registry_created_at_check CHECK (isfinite(created_at)),
    CONSTRAINT agent_registry_current_health_score_check CHECK (((current_health_score >= (0)::numeric) AND (current_health_score <= (100)::numeric))),
    CONSTRAINT agent_registry_last_health_check_check CHECK (isfinite(last_health_check)),
    CONSTRAINT agent_registry_metadata_check CHECK ((jsonb_typeof(metadata) = 'object'::text)),
    CONSTRAINT agent_registry_status_check CHECK ((status = ANY (ARRAY['active'::text, 'paused'::text, 'deprecated'::text, 'testing'::text, 'improving'::text]))),
    CONSTRAINT agent_registry_target_avg_latency_ms_check CHECK ((target_avg_latency_ms >= 0)),
    CONSTRAINT agent_registry_target_cost_per_execution_check CHECK (((target_cost_per_execution >= (0)::numeric) AND (target_cost_per_execution <= ('1000000000000'::bigint)::numeric))),
    CONSTRAINT agent_registry_target_success_rate_check CHECK (((target_success_rate >= (0)::numeric) AND (target_success_rate <= (100)::numeric))),
    CONSTRAINT agent_registry_updated_at_check CHECK (isfinite(updated_at)),
    CONSTRAINT agent_registry_version_check CHECK (((char_length(version) >= 1) AND (char_length(version) <= 255)))
);

COMMENT ON TABLE public.agent_registry IS 'One AI agent. agent_name is unique across all organizations.';

COMMENT ON COLUMN public.agent_registry.target_success_rate IS 'Percent, 0 to 100. NULL: no target.';

COMMENT ON COLUMN public.agent_registry.target_avg_latency_ms IS 'Milliseconds. NULL: no target.';

COMMENT ON COLUMN public.agent_registry.target_cost_per_execution IS 'US dollars. NULL: no target.';

COMMENT ON COLUMN public.agent_registry.current_health_score IS 'Percent, 0 to 100.';

COMMENT ON COLUMN public.agent_registry.consecutive_failures IS 'Count.';

CREATE TABLE public.agent_slas (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_id uuid NOT NULL,
    target_availability numeric DEFAULT 0.9990,
    target_p50_latency_ms integer,
    target_p95_latency_ms integer,
    target_p99_latency_ms integer,
    target_success_rate numeric DEFAULT 0.9500,
    target_quality_score numeric DEFAULT 80.00,
    measurement_window text DEFAULT 'rolling_30d'::text NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT agent_slas_created_at_check CHECK (isfinite(created_at)),
    CONSTRAINT agent_slas_p95_p50_check CHECK ((target_p95_latency_ms >= target_p50_latency_ms)),
    CONSTRAINT agent_slas_p99_p50_check CHECK ((target_p99_latency_ms >= target_p50_latency_ms)),
    CONSTRAINT agent_slas_p99_p95_check CHECK ((target_p99_latency_ms >= target_p95_latency_ms)),
    CONSTRAINT agent_slas_target_availability_check CHECK (((target_availability >= (0)::numeric) AND (target_availability <= (1)::numeric))),
    CONSTRAINT agent_slas_target_p50_latency_ms_check CHECK ((target_p50_latency_ms >= 0)),
    CONSTRAINT agent_slas_target_p95_latency_ms_check CHECK ((target_p95_latency_ms >= 0)),
    CONSTRAINT agent_slas_target_p99_latency_ms_check CHECK ((target_p99_latency_ms >= 0)),
    CONSTRAINT agent_slas_target_quality_score_check CHECK (((target_quality_score >= (0)::numeric) AND (target_quality_score <= (100)::numeric))),
    CONSTRAINT agent_slas_target_success_rate_check CHECK (((target_success_rate >= (0)::numeric) AND (target_success_rate <= (1)::numeric)))
);

COMMENT ON TABLE public.agent_slas IS 'A promise about one agent''s service, measured over a rolling window.';

COMMENT ON COLUMN public.agent_slas.target_availability IS 'Ratio, 0 to 1. NULL: not promised.';

COMMENT ON COLUMN public.agent_slas.target_p50_latency_ms IS 'Milliseconds. NULL: not promised.';

COMMENT ON COLUMN public.agent_slas.target_p95_latency_ms IS 'Milliseconds. NULL: not promised.';

COMMENT ON COLUMN public.agent_slas.target_p99_latency_ms IS 'Milliseconds. NULL: not promised.';

COMMENT ON COLUMN public.agent_slas.target_success_rate IS 'Ratio, 0 to 1. NULL: not promised.';

COMMENT ON COLUMN public.agent_slas.target_quality_score IS 'Percent, 0 to 100. NULL: not promised.';

CREATE TABLE public.alert_history (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_id uuid,
    alert_type text NOT NULL,
    severity text NOT NULL,
    title text NOT NULL,
    message text NOT NULL,
    details jsonb,
    slack_sent boolean DEFAULT false NOT NULL,
    slack_sent_at timestamp with time zone,
    email_sent boolean DEFAULT false NOT NULL,
    email_sent_at timestamp with time zone,
    clickup_task_id text,
    acknowledged boolean DEFAULT false NOT NULL,
    acknowledged_by text,
    acknowledged_at timestamp with time zone,
    resolved boolean DEFAULT false NOT NULL,
    resolved_by text,
    resolved_at timestamp with time zone,
    resolution_notes text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT alert_history_acknowledged_at_check CHECK (isfinite(acknowledged_at)),
    CONSTRAINT alert_history_created_at_check CHECK (isfinite(created_at)),
    CONSTRAINT alert_history_details_check CHECK ((jsonb_typeof(details) = 'object'::text)),
    CONSTRAINT alert_history_email_sent_at_check CHECK (isfinite(email_sent_at)),
    CONSTRAINT alert_history_resolved_at_check CHECK (isfinite(resolved_at)),
    CONSTRAINT alert_history_severity_check CHECK ((severity = ANY (ARRAY['info'::text, 'warning'::text, 'critical'::text, 'emergency'::text]))),
    CONSTRAINT alert_history_slack_sent_at_check CHECK (isfinite(slack_sent_at))
);

COMMENT ON TABLE public.alert_history IS 'An alert, where it was sent, and who dealt with it. Without an agent it is of the organization.';

CREATE TABLE public.canary_deployments (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_id uuid NOT NULL,
    current_prompt_id uuid NOT NULL,
    canary_prompt_id uuid NOT NULL,
    current_stage integer DEFAULT 1 NOT NULL,
    stages jsonb NOT NULL,
    rollback_on_error_rate numeric DEFAULT 0.10,
    rollback_on_latency_increase numeric DEFAULT 0.50,
    rollback_on_quality_decrease numeric DEFAULT 0.10,
    status text DEFAULT 'running'::text NOT NULL,
    stage_metrics jsonb,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    rolled_back_at timestamp with time zone,
    rollback_reason text,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT canary_deployments_completed_at_check CHECK (isfinite(completed_at)),
    CONSTRAINT canary_deployments_current_stage_check CHECK ((current_stage >= 1)),
    CONSTRAINT canary_deployments_prompts_check CHECK ((current_prompt_id <> canary_prompt_id)),
    CONSTRAINT canary_deployments_rollback_on_error_rate_check CHECK (((rollback_on_error_rate >= (0)::numeric) AND (rollback_on_error_rate <= (1)::numeric))),
    CONSTRAINT canary_deployments_rollback_on_latency_increase_check CHECK (((rollback_on_latency_increase >= (0)::numeric) AND (rollback_on_latency_increase <= (1000)::numeric))),
    CONSTRAINT canary_deployments_rollback_on_quality_decrease_check CHECK (((rollback_on_quality_decrease >= (0)::numeric) AND (rollback_on_quality_decrease <= (1)::numeric))),
    CONSTRAINT canary_deployments_rolled_back_at_check CHECK (isfinite(rolled_back_at)),
    CONSTRAINT canary_deployments_stages_check CHECK (((jsonb_typeof(stages) = 'array'::text) AND (stages <> '[]'::jsonb))),
    CONSTRAINT canary_deployments_started_at_check CHECK (isfinite(started_at)),
    CONSTRAINT canary_deployments_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'completed'::text, 'rolled_back'::text, 'paused'::text])))
);

COMMENT ON TABLE public.canary_deployments IS 'A gradual rollout of a prompt version, rolled back when it does worse than the current one.';

COMMENT ON COLUMN public.canary_deployments.current_stage IS 'Position, from 1.';

COMMENT ON COLUMN public.canary_deployments.rollback_on_error_rate IS 'Ratio, 0 to 1. NULL: never for this reason.';

COMMENT ON COLUMN public.canary_deployments.rollback_on_latency_increase IS 'Relative increase, 0 to 1000. NULL: never for this reason.';

COMMENT ON COLUMN public.canary_deployments.rollback_on_quality_decrease IS 'Ratio, 0 to 1. NULL: never for this reason.';

CREATE TABLE public.circuit_breaker_state (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_id uuid NOT NULL,
    state text DEFAULT 'closed'::text NOT NULL,
    failure_count integer DEFAULT 0 NOT NULL,
    success_count integer DEFAULT 0 NOT NULL,
    last_failure_at timestamp with time zone,
    last_success_at timestamp with time zone,
    opened_at timestamp with time zone,
    half_open_at timestamp with time zone,
    failure_threshold integer DEFAULT 5 NOT NULL,
    success_threshold integer DEFAULT 3 NOT NULL,
    cooldown_seconds integer DEFAULT 60 NOT NULL,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT circuit_breaker_state_cooldown_seconds_check CHECK ((cooldown_seconds >= 0)),
    CONSTRAINT circuit_breaker_state_failure_count_check CHECK ((failure_count >= 0)),
    CONSTRAINT circuit_breaker_state_failure_threshold_check CHECK ((failure_threshold >= 0)),
    CONSTRAINT circuit_breaker_state_half_open_at_check CHECK (isfinite(half_open_at)),
    CONSTRAINT circuit_breaker_state_last_failure_at_check CHECK (isfinite(last_failure_at)),
    CONSTRAINT circuit_breaker_state_last_success_at_check CHECK (isfinite(last_success_at)),
    CONSTRAINT circuit_breaker_state_opened_at_check CHECK (isfinite(opened_at)),
    CONSTRAINT circuit_breaker_state_state_check CHECK ((state = ANY (ARRAY['closed'::text, 'open'::text, 'half_open'::text]))),
    CONSTRAINT circuit_breaker_state_success_count_check CHECK ((success_count >= 0)),
    CONSTRAINT circuit_breaker_state_success_threshold_check CHECK ((success_threshold >= 0))
);

COMMENT ON TABLE public.circuit_breaker_state IS 'The circuit breaker of an agent, one row each.';

COMMENT ON COLUMN public.circuit_breaker_state.failure_count IS 'Count.';

COMMENT ON COLUMN public.circuit_breaker_state.success_count IS 'Count.';

COMMENT ON COLUMN public.circuit_breaker_state.failure_threshold IS 'Count.';

COMMENT ON COLUMN public.circuit_breaker_state.success_threshold IS 'Count.';

COMMENT ON COLUMN public.circuit_breaker_state.cooldown_seconds IS 'Seconds.';

CREATE TABLE public.cost_budgets (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_id uuid,
    daily_budget_usd numeric,
    weekly_budget_usd numeric,
    monthly_budget_usd numeric,
    current_daily_spend numeric DEFAULT 0 NOT NULL,
    current_weekly_spend numeric DEFAULT 0 NOT NULL,
    current_monthly_spend numeric DEFAULT 0 NOT NULL,
    on_daily_exceeded text,
    on_weekly_exceeded text,
    on_monthly_exceeded text,
    alert_at_percentage numeric DEFAULT 80.00,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT cost_budgets_alert_at_percentage_check CHECK (((alert_at_percentage >= (0)::numeric) AND (alert_at_percentage <= (100)::numeric))),
    CONSTRAINT cost_budgets_current_daily_spend_check CHECK (((current_daily_spend >= (0)::numeric) AND (current_daily_spend <= ('1000000000000'::bigint)::numeric))),
    CONSTRAINT cost_budgets_current_monthly_spend_check CHECK (((current_monthly_spend >= (0)::numeric) AND (current_monthly_spend <= ('1000000000000'::bigint)::numeric))),
    CONSTRAINT cost_budgets_current_weekly_spend_check CHECK (((current_weekly_spend >= (0)::numeric) AND (current_weekly_spend <= ('1000000000000'::bigint)::numeric))),
    CONSTRAINT cost_budgets_daily_budget_usd_check CHECK (((daily_budget_usd >= (0)::numeric) AND (daily_budget_usd <= ('1000000000000'::bigint)::numeric))),
    CONSTRAINT cost_budgets_monthly_budget_usd_check CHECK (((monthly_budget_usd >= (0)::numeric) AND (monthly_budget_usd <= ('1000000000000'::bigint)::numeric))),
    CONSTRAINT cost_budgets_on_daily_exceeded_check CHECK ((on_daily_exceeded = ANY (ARRAY['alert'::text, 'throttle'::text, 'pause'::text, 'downgrade_model'::text]))),
    CONSTRAINT cost_budgets_on_monthly_exceeded_check CHECK ((on_monthly_exceeded = ANY (ARRAY['alert'::text, 'throttle'::text, 'pause'::text, 'downgrade_model'::text]))),
    CONSTRAINT cost_budgets_on_weekly_exceeded_check CHECK ((on_weekly_exceeded = ANY (ARRAY['alert'::text, 'throttle'::text, 'pause'::text, 'downgrade_model'::text]))),
    CONSTRAINT cost_budgets_updated_at_check CHECK (isfinite(updated_at)),
    CONSTRAINT cost_budgets_weekly_budget_usd_check CHECK (((weekly_budget_usd >= (0)::numeric) AND (weekly_budget_usd <= ('1000000000000'::bigint)::numeric)))
);

COMMENT ON TABLE public.cost_budgets IS 'What an agent, or without one the whole organization, may spend, and what it has spent.';

COMMENT ON COLUMN public.cost_budgets.daily_budget_usd IS 'US dollars. NULL: no limit.';

COMMENT ON COLUMN public.cost_budgets.weekly_budget_usd IS 'US dollars. NULL: no limit.';

COMMENT ON COLUMN public.cost_budgets.monthly_budget_usd IS 'US dollars. NULL: no limit.';

COMMENT ON COLUMN public.cost_budgets.current_daily_spend IS 'US dollars.';

COMMENT ON COLUMN public.cost_budgets.current_weekly_spend IS 'US dollars.';

COMMENT ON COLUMN public.cost_budgets.current_monthly_spend IS 'US dollars.';

COMMENT ON COLUMN public.cost_budgets.alert_at_percentage IS 'Percent, 0 to 100. NULL: no early alert.';

CREATE TABLE public.evaluation_reports (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_id uuid NOT NULL,
    report_date date NOT NULL,
    evaluation_period_start date NOT NULL,
    evaluation_period_end date NOT NULL,
    overall_score numeric,
    reliability_score numeric,
    efficiency_score numeric,
    cost_efficiency_score numeric,
    quality_score numeric,
    strengths text[],
    weaknesses text[],
    risk_level text,
    recommendations jsonb,
    priority_actions text[],
    score_change_vs_previous numeric,
    comparison_details jsonb,
    executive_summary text,
    full_report_text text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT evaluation_reports_comparison_details_check CHECK ((jsonb_typeof(comparison_details) = 'object'::text)),
    CONSTRAINT evaluation_reports_cost_efficiency_score_check CHECK (((cost_efficiency_score >= (0)::numeric) AND (cost_efficiency_score <= (100)::numeric))),
    CONSTRAINT evaluation_reports_created_at_check CHECK (isfinite(created_at)),
    CONSTRAINT evaluation_reports_efficiency_score_check CHECK (((efficiency_score >= (0)::numeric) AND (efficiency_score <= (100)::numeric))),
    CONSTRAINT evaluation_reports_evaluation_period_check CHECK ((evaluation_period_end >= evaluation_period_start)),
    CONSTRAINT evaluation_reports_evaluation_period_end_check CHECK (isfinite(evaluation_period_end)),
    CONSTRAINT evaluation_reports_evaluation_period_start_check CHECK (isfinite(evaluation_period_start)),
    CONSTRAINT evaluation_reports_overall_score_check CHECK (((overall_score >= (0)::numeric) AND (overall_score <= (100)::numeric))),
    CONSTRAINT evaluation_reports_priority_actions_check CHECK ((array_position(priority_actions, NULL::text) IS NULL)),
    CONSTRAINT evaluation_reports_quality_score_check CHECK (((quality_score >= (0)::numeric) AND (quality_score <= (100)::numeric))),
    CONSTRAINT evaluation_reports_recommendations_check CHECK ((jsonb_typeof(recommendations) = 'array'::text)),
    CONSTRAINT evaluation_reports_reliability_score_check CHECK (((reliability_score >= (0)::numeric) AND (reliability_score <= (100)::numeric))),
    CONSTRAINT evaluation_reports_report_date_check CHECK (isfinite(report_date)),
    CONSTRAINT evaluation_reports_risk_level_check CHECK ((risk_level = ANY (ARRAY['low'::text, 'medium'::text, 'high'::text, 'critical'::text]))),
    CONSTRAINT evaluation_reports_score_change_vs_previous_check CHECK (((score_change_vs_previous >= ('-100'::integer)::numeric) AND (score_change_vs_previous <= (100)::numeric))),
    CONSTRAINT evaluation_reports_strengths_check CHECK ((array_position(strengths, NULL::text) IS NULL)),
    CONSTRAINT evaluation_reports_weaknesses_check CHECK ((array_position(weaknesses, NULL::text) IS NULL))
);

COMMENT ON TABLE public.evaluation_reports IS 'An AI-written evaluation of one agent over a period of days.';

COMMENT ON COLUMN public.evaluation_reports.overall_score IS 'Percent, 0 to 100.';

COMMENT ON COLUMN public.evaluation_reports.reliability_score IS 'Percent, 0 to 100.';

COMMENT ON COLUMN public.evaluation_reports.efficiency_score IS 'Percent, 0 to 100.';

COMMENT ON COLUMN public.evaluation_reports.cost_efficiency_score IS 'Percent, 0 to 100.';

COMMENT ON COLUMN public.evaluation_reports.quality_score IS 'Percent, 0 to 100.';

COMMENT ON COLUMN public.evaluation_reports.score_change_vs_previous IS 'Percentage points, -100 to 100.';

CREATE TABLE public.execution_embeddings (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    execution_log_id uuid NOT NULL,
    input_embedding public.vector(1536),
    output_embedding public.vector(1536),
    error_embedding public.vector(1536),
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT execution_embeddings_created_at_check CHECK (isfinite(created_at)),
    CONSTRAINT execution_embeddings_some_embedding_check CHECK ((num_nonnulls(input_embedding, output_embedding, error_embedding) > 0))
);

COMMENT ON TABLE public.execution_embeddings IS 'The vectors of one log row, at least one of the three.';

CREATE TABLE public.improvement_proposals (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_id uuid NOT NULL,
    evaluation_report_id uuid,
    proposal_type text NOT NULL,
    title text NOT NULL,
    description text NOT NULL,
    rationale text NOT NULL,
    current_state jsonb,
    proposed_state jsonb,
    diff_summary text,
    expected_improvement text,
    expected_metrics_change jsonb,
    risk_assessment text,
    rollback_plan text,
    status text DEFAULT 'proposed'::text NOT NULL,
    priority text DEFAULT 'medium'::text NOT NULL,
    requires_human_approval boolean DEFAULT true NOT NULL,
    approved_by text,
    approved_at timestamp with time zone,
    rejection_reason text,
    deployed_at timestamp with time zone,
    deployed_prompt_version_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT improvement_proposals_approved_at_check CHECK (isfinite(approved_at)),
    CONSTRAINT improvement_proposals_created_at_check CHECK (isfinite(created_at)),
    CONSTRAINT improvement_proposals_deployed_at_check CHECK (isfinite(deployed_at)),
    CONSTRAINT improvement_proposals_expected_metrics_change_check CHECK ((jsonb_typeof(expected_metrics_change) = 'object'::text)),
    CONSTRAINT improvement_proposals_priority_check CHECK ((priority = ANY (ARRAY['low'::text, 'medium'::text, 'high'::text, 'critical'::text]))),
    CONSTRAINT improvement_proposals_proposal_type_check CHECK ((proposal_type = ANY (ARRAY['prompt_change'::text, 'tool_addition'::text, 'tool_removal'::text, 'config_change'::text, 'architecture_change'::text]))),
    CONSTRAINT improvement_proposals_status_check CHECK ((status = ANY (ARRAY['proposed'::text, 'approved'::text, 'rejected'::text, 'testing'::text, 'deployed'::text, 'rolled_back'::text]))),
    CONSTRAINT improvement_proposals_updated_at_check CHECK (isfinite(updated_at))
);

COMMENT ON TABLE public.improvement_proposals IS 'A suggested change to an agent, from proposal through approval and test to deployment.';

CREATE TABLE public.learning_log (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_id uuid,
    related_proposal_id uuid,
    related_ab_test_id uuid,
    learning_type text NOT NULL,
    title text NOT NULL,
    description text NOT NULL,
    evidence jsonb,
    confidence_level text,
    applicable_to text[],
    is_active boolean DEFAULT true NOT NULL,
    superseded_by uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT learning_log_applicable_to_check CHECK (((array_position(applicable_to, NULL::text) IS NULL) AND (''::text <> ALL (applicable_to)) AND (((applicable_to)::character varying(255)[])::text[] = applicable_to))),
    CONSTRAINT learning_log_confidence_level_check CHECK ((confidence_level = ANY (ARRAY['low'::text, 'medium'::text, 'high'::text, 'proven'::text]))),
    CONSTRAINT learning_log_created_at_check CHECK (isfinite(created_at)),
    CONSTRAINT learning_log_learning_type_check CHECK ((learning_type = ANY (ARRAY['success_pattern'::text, 'failure_pattern'::text, 'optimization'::text, 'anti_pattern'::text]))),
    CONSTRAINT learning_log_superseded_check CHECK ((superseded_by <> id))
);

COMMENT ON TABLE public.learning_log IS 'Something the organization learnt about its agents, replaced rather than edited.';

CREATE TABLE public.model_routing_rules (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_id uuid,
    condition_type text NOT NULL,
    condition_operator text NOT NULL,
    condition_value jsonb NOT NULL,
    target_model text NOT NULL,
    fallback_model text,
    priority integer DEFAULT 100 NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT model_routing_rules_created_at_check CHECK (isfinite(created_at))
);

COMMENT ON TABLE public.model_routing_rules IS 'Which model answers when a condition holds. Without an agent it is a rule of the organization.';

CREATE TABLE public.prompt_library (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    category text NOT NULL,
    tags text[],
    content text NOT NULL,
    description text,
    usage_examples jsonb,
    times_used integer DEFAULT 0 NOT NULL,
    avg_quality_when_used numeric,
    version text DEFAULT '1.0.0'::text NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by text,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT prompt_library_avg_quality_when_used_check CHECK (((avg_quality_when_used >= (0)::numeric) AND (avg_quality_when_used <= (100)::numeric))),
    CONSTRAINT prompt_library_category_check CHECK ((category = ANY (ARRAY['system_instruction'::text, 'output_format'::text, 'error_handling'::text, 'tool_usage'::text, 'persona'::text]))),
    CONSTRAINT prompt_library_created_at_check CHECK (isfinite(created_at)),
    CONSTRAINT prompt_library_name_check CHECK (((char_length(name) >= 1) AND (char_length(name) <= 255))),
    CONSTRAINT prompt_library_tags_check CHECK ((array_position(tags, NULL::text) IS NULL)),
    CONSTRAINT prompt_library_times_used_check CHECK ((times_used >= 0)),
    CONSTRAINT prompt_library_usage_examples_check CHECK ((jsonb_typeof(usage_examples) = 'array'::text)),
    CONSTRAINT prompt_library_version_check CHECK (((char_length(version) >= 1) AND (char_length(version) <= 255)))
);

COMMENT ON TABLE public.prompt_library IS 'A reusable part of prompts. name is unique across all organizations.';

COMMENT ON COLUMN public.prompt_library.times_used IS 'Count.';

COMMENT ON COLUMN public.prompt_library.avg_quality_when_used IS 'Percent, 0 to 100.';

CREATE TABLE public.prompt_library_usage (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    prompt_id uuid NOT NULL,
    library_component_id uuid NOT NULL
);

COMMENT ON TABLE public.prompt_library_usage IS 'Which prompt version uses which component. Belongs to its prompt''s organization.';

CREATE TABLE public.shadow_tests (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_id uuid NOT NULL,
    production_prompt_id uuid NOT NULL,
    shadow_prompt_id uuid NOT NULL,
    sample_rate numeric DEFAULT 0.10 NOT NULL,
    start_date timestamp with time zone NOT NULL,
    end_date timestamp with time zone,
    min_sample_size integer DEFAULT 100 NOT NULL,
    status text DEFAULT 'running'::text NOT NULL,
    production_success_rate numeric,
    shadow_success_rate numeric,
    production_avg_quality numeric,
    shadow_avg_quality numeric,
    output_similarity_score numeric,
    recommendation text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT shadow_tests_created_at_check CHECK (isfinite(created_at)),
    CONSTRAINT shadow_tests_dates_check CHECK ((end_date > start_date)),
    CONSTRAINT shadow_tests_end_date_check CHECK (isfinite(end_date)),
    CONSTRAINT shadow_tests_min_sample_size_check CHECK ((min_sample_size >= 0)),
    CONSTRAINT shadow_tests_output_similarity_score_check CHECK (((output_similarity_score >= (0)::numeric) AND (output_similarity_score <= (1)::numeric))),
    CONSTRAINT shadow_tests_production_avg_quality_check CHECK (((production_avg_quality >= (0)::numeric) AND (production_avg_quality <= (100)::numeric))),
    CONSTRAINT shadow_tests_production_success_rate_check CHECK (((production_success_rate >= (0)::numeric) AND (production_success_rate <= (1)::numeric))),
    CONSTRAINT shadow_tests_prompts_check CHECK ((production_prompt_id <> shadow_prompt_id)),
    CONSTRAINT shadow_tests_sample_rate_check CHECK (((sample_rate >= (0)::numeric) AND (sample_rate <= (1)::numeric))),
    CONSTRAINT shadow_tests_shadow_avg_quality_check CHECK (((shadow_avg_quality >= (0)::numeric) AND (shadow_avg_quality <= (100)::numeric))),
    CONSTRAINT shadow_tests_shadow_success_rate_check CHECK (((shadow_success_rate >= (0)::numeric) AND (shadow_success_rate <= (1)::numeric))),
    CONSTRAINT shadow_tests_start_date_check CHECK (isfinite(start_date)),
    CONSTRAINT shadow_tests_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'completed'::text, 'stopped'::text])))
);

COMMENT ON TABLE public.shadow_tests IS 'A prompt version that answers a sample of the traffic in parallel; nobody sees its answers.';

COMMENT ON COLUMN public.shadow_tests.sample_rate IS 'Ratio, 0 to 1.';

COMMENT ON COLUMN public.shadow_tests.min_sample_size IS 'Count.';

COMMENT ON COLUMN public.shadow_tests.production_success_rate IS 'Ratio, 0 to 1.';

COMMENT ON COLUMN public.shadow_tests.shadow_success_rate IS 'Ratio, 0 to 1.';

COMMENT ON COLUMN public.shadow_tests.production_avg_quality IS 'Percent, 0 to 100.';

COMMENT ON COLUMN public.shadow_tests.shadow_avg_quality IS 'Percent, 0 to 100.';

COMMENT ON COLUMN public.shadow_tests.output_similarity_score IS 'Ratio, 0 to 1.';

CREATE TABLE public.sla_compliance (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agent_id uuid NOT NULL,
    sla_id uuid NOT NULL,
    period_start date NOT NULL,
    period_end date NOT NULL,
    actual_availability numeric,
    actual_p50_latency_ms integer,
    actual_p95_latency_ms integer,
    actual_p99_latency_ms integer,
    actual_success_rate numeric,
    actual_quality_score numeric,
    availability_met boolean,
    latency_met boolean,
    success_rate_met boolean,
    quality_met boolean,
    overall_compliant boolean,
    breach_minutes integer DEFAULT 0 NOT NULL,
    breach_details jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    organization_id uuid DEFAULT meta_agent.current_organization_id(),
    CONSTRAINT sla_compliance_actual_availability_check CHECK (((actual_availability >= (0)::numeric) AND (actual_availability <= (1)::numeric))),
    CONSTRAINT sla_compliance_actual_p50_latency_ms_check CHECK ((actual_p50_latency_ms >= 0)),
    CONSTRAINT sla_compliance_actual_p95_latency_ms_check CHECK ((actual_p95_latency_ms >= 0)),
    CONSTRAINT sla_compliance_actual_p99_latency_ms_check CHECK ((actual_p99_latency_ms >= 0)),
    CONSTRAINT sla_compliance_actual_quality_score_check CHECK (((actual_quality_score >= (0)::numeric) AND (actual_quality_score <= (100)::numeric))),
    CONSTRAINT sla_compliance_actual_success_rate_check CHECK (((actual_success_rate >= (0)::numeric) AND (actual_success_rate <= (1)::numeric))),
    CONSTRAINT sla_compliance_breach_details_check CHECK ((jsonb_typeof(breach_details) = 'object'::text)),
    CONSTRAINT sla_compliance_breach_minutes_check CHECK ((breach_minutes >= 0)),
    CONSTRAINT sla_compliance_created_at_check CHECK (isfinite(created_at)),
    CONSTRAINT sla_compliance_period_check CHECK ((period_end >= period_start)),
    CONSTRAINT sla_compliance_period_end_check CHECK (isfinite(period_end)),
    CONSTRAINT sla_compliance_period_start_check CHECK (isfinite(period_start))
);

COMMENT ON TABLE public.sla_compliance IS 'What was measured against an SLA over one period of days.';

COMMENT ON COLUMN public.sla_compliance.actual_availability IS 'Ratio, 0 to 1.';

COMMENT ON COLUMN public.sla_compliance.actual_p50_latency_ms IS 'Milliseconds.';

COMMENT ON COLUMN public.sla_compliance.actual_p95_latency_ms IS 'Milliseconds.';

COMMENT ON COLUMN public.sla_compliance.actual_p99_latency_ms IS 'Milliseconds.';

COMMENT ON COLUMN public.sla_compliance.actual_success_rate IS 'Ratio, 0 to 1.';

COMMENT ON COLUMN public.sla_compliance.actual_quality_score IS 'Percent, 0 to 100.';

COMMENT ON COLUMN public.sla_compliance.breach_minutes IS 'Minutes.';

ALTER TABLE ONLY drizzle.__meta_agent_migrations ALTER COLUMN id SET DEFAULT nextval('drizzle.__meta_agent_migrations_id_seq'::regclass);

ALTER TABLE ONLY drizzle.__meta_agent_migrations
    ADD CONSTRAINT __meta_agent_migrations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.ab_tests
    ADD CONSTRAINT ab_tests_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.agent_dependencies
    ADD CONSTRAINT agent_dependencies_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.agent_dependencies
    ADD CONSTRAINT agent_dependencies_upstream_agent_id_downstream_agent_id_key UNIQUE (upstream_agent_id, downstream_agent_id);

ALTER TABLE ONLY public.agent_execution_logs
    ADD CONSTRAINT agent_execution_logs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.agent_health_realtime
    ADD CONSTRAINT agent_health_realtime_agent_id_key UNIQUE (agent_id);

ALTER TABLE ONLY public.agent_health_realtime
    ADD CONSTRAINT agent_health_realtime_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.agent_performance_metrics
    ADD CONSTRAINT agent_performance_metrics_agent_id_prompt_version_id_date_key UNIQUE NULLS NOT DISTINCT (agent_id, prompt_version_id, date);

ALTER TABLE ONLY public.agent_performance_metrics
    ADD CONSTRAINT agent_performance_metrics_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.agent_prompts
    ADD CONSTRAINT agent_prompts_agent_id_version_key UNIQUE (agent_id, version);

ALTER TABLE ONLY public.agent_prompts
    ADD CONSTRAINT agent_prompts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.agent_registry
    ADD CONSTRAINT agent_registry_agent_name_key UNIQUE (agent_name);

ALTER TABLE ONLY public.agent_registry
    ADD CONSTRAINT agent_registry_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.agent_slas
    ADD CONSTRAINT agent_slas_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.alert_history
    ADD CONSTRAINT alert_history_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.canary_deployments
    ADD CONSTRAINT canary_deployments_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.circuit_breaker_state
    ADD CONSTRAINT circuit_breaker_state_agent_id_key UNIQUE (agent_id);

ALTER TABLE ONLY public.circuit_breaker_state
    ADD CONSTRAINT circuit_breaker_state_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.cost_budgets
    ADD CONSTRAINT cost_budgets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.evaluation_reports
    ADD CONSTRAINT evaluation_reports_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.execution_embeddings
    ADD CONSTRAINT execution_embeddings_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.improvement_proposals
    ADD CONSTRAINT improvement_proposals_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.learning_log
    ADD CONSTRAINT learning_log_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.model_routing_rules
    ADD CONSTRAINT model_routing_rules_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.prompt_library
    ADD CONSTRAINT prompt_library_name_key UNIQUE (name);

ALTER TABLE ONLY public.prompt_library
    ADD CONSTRAINT prompt_library_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.prompt_library_usage
    ADD CONSTRAINT prompt_library_usage_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.prompt_library_usage
    ADD CONSTRAINT prompt_library_usage_prompt_id_library_component_id_key UNIQUE (prompt_id, library_component_id);

ALTER TABLE ONLY public.shadow_tests
    ADD CONSTRAINT shadow_tests_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.sla_compliance
    ADD CONSTRAINT sla_compliance_agent_id_period_start_period_end_key UNIQUE (agent_id, period_start, period_end);

ALTER TABLE ONLY public.sla_compliance
    ADD CONSTRAINT sla_compliance_pkey PRIMARY KEY (id);

CREATE UNIQUE INDEX agent_prompts_one_active ON public.agent_prompts USING btree (agent_id) WHERE is_active;

CREATE UNIQUE INDEX agent_prompts_one_baseline ON public.agent_prompts USING btree (agent_id) WHERE is_baseline;

CREATE UNIQUE INDEX alert_history_open_key ON public.alert_history USING btree (agent_id, ((details ->> 'dedup_key'::text)), organization_id) NULLS NOT DISTINCT WHERE ((NOT resolved) AND (char_length((details ->> 'dedup_key'::text)) <= 255));

CREATE INDEX idx_ab_tests_agent_id ON public.ab_tests USING btree (agent_id);

CREATE INDEX idx_ab_tests_control_prompt_id ON public.ab_tests USING btree (control_prompt_id);

CREATE INDEX idx_ab_tests_improvement_proposal_id ON public.ab_tests USING btree (improvement_proposal_id);

CREATE INDEX idx_ab_tests_organization_id ON public.ab_tests USING btree (organization_id);

CREATE INDEX idx_ab_tests_organization_id_running ON public.ab_tests USING btree (organization_id) WHERE (status = 'running'::text);

CREATE INDEX idx_ab_tests_running ON public.ab_tests USING btree (status) WHERE (status = 'running'::text);

CREATE INDEX idx_ab_tests_treatment_prompt_id ON public.ab_tests USING btree (treatment_prompt_id);

CREATE INDEX idx_agent_dependencies_downstream_agent_id ON public.agent_dependencies USING btree (downstream_agent_id);

CREATE INDEX idx_agent_dependencies_organization_id ON public.agent_dependencies USING btree (organization_id);

CREATE INDEX idx_agent_execution_logs_organization_id_timestamp_failure ON public.agent_execution_logs USING btree (organization_id, "timestamp" DESC) WHERE (status = 'failure'::text);

CREATE INDEX idx_agent_execution_logs_organization_id_timestamp_running ON public.agent_execution_logs USING btree (organization_id, "timestamp") WHERE (status = 'running'::text);

CREATE INDEX idx_agent_execution_logs_prompt_version_id ON public.agent_execution_logs USING btree (prompt_version_id);

CREATE INDEX idx_agent_execution_logs_timestamp ON public.agent_execution_logs USING brin ("timestamp");

CREATE INDEX idx_agent_health_realtime_organization_id ON public.agent_health_realtime USING btree (organization_id);

CREATE INDEX idx_agent_performance_metrics_organization_id_date ON public.agent_performance_metrics USING btree (organization_id, date DESC);

CREATE INDEX idx_agent_performance_metrics_prompt_version_id ON public.agent_performance_metrics USING btree (prompt_version_id);

CREATE INDEX idx_agent_prompts_organization_id ON public.agent_prompts USING btree (organization_id);

CREATE INDEX idx_agent_prompts_parent_version_id ON public.agent_prompts USING btree (parent_version_id);

CREATE INDEX idx_agent_registry_organization_id ON public.agent_registry USING btree (organization_id);

CREATE INDEX idx_agent_slas_agent_id ON public.agent_slas USING btree (agent_id);

CREATE INDEX idx_agent_slas_organization_id ON public.agent_slas USING btree (organization_id);

CREATE INDEX idx_alert_history_organization_id ON public.alert_history USING btree (organization_id);

CREATE INDEX idx_alert_history_organization_id_created_at_open ON public.alert_history USING btree (organization_id, created_at DESC) WHERE (resolved = false);

CREATE INDEX idx_alerts_agent ON public.alert_history USING btree (agent_id, created_at DESC);

CREATE INDEX idx_alerts_unresolved ON public.alert_history USING btree (resolved, created_at DESC) WHERE (resolved = false);

CREATE INDEX idx_canary_deployments_agent_id ON public.canary_deployments USING btree (agent_id);

CREATE INDEX idx_canary_deployments_canary_prompt_id ON public.canary_deployments USING btree (canary_prompt_id);

CREATE INDEX idx_canary_deployments_current_prompt_id ON public.canary_deployments USING btree (current_prompt_id);

CREATE INDEX idx_canary_deployments_organization_id ON public.canary_deployments USING btree (organization_id);

CREATE INDEX idx_canary_deployments_organization_id_running ON public.canary_deployments USING btree (organization_id) WHERE (status = 'running'::text);

CREATE INDEX idx_canary_running ON public.canary_deployments USING btree (status) WHERE (status = 'running'::text);

CREATE INDEX idx_circuit_breaker_state_organization_id ON public.circuit_breaker_state USING btree (organization_id);

CREATE INDEX idx_cost_budgets_agent_id ON public.cost_budgets USING btree (agent_id);

CREATE INDEX idx_cost_budgets_org ON public.cost_budgets USING btree (organization_id);

CREATE INDEX idx_error_embedding ON public.execution_embeddings USING ivfflat (error_embedding public.vector_cosine_ops) WITH (lists='100');

CREATE INDEX idx_evaluation_reports_organization_id ON public.evaluation_reports USING btree (organization_id);

CREATE INDEX idx_execution_embeddings_execution_log_id ON public.execution_embeddings USING btree (execution_log_id);

CREATE INDEX idx_execution_embeddings_organization_id ON public.execution_embeddings USING btree (organization_id);

CREATE INDEX idx_health_realtime_agent ON public.agent_health_realtime USING btree (agent_id);

CREATE INDEX idx_improvement_proposals_deployed_prompt_version_id ON public.improvement_proposals USING btree (deployed_prompt_version_id);

CREATE INDEX idx_improvement_proposals_evaluation_report_id ON public.improvement_proposals USING btree (evaluation_report_id);

CREATE INDEX idx_improvement_proposals_organization_id ON public.improvement_proposals USING btree (organization_id);

CREATE INDEX idx_improvement_proposals_organization_id_created_at_pending ON public.improvement_proposals USING btree (organization_id, created_at) WHERE (status = 'proposed'::text);

CREATE INDEX idx_input_embedding ON public.execution_embeddings USING ivfflat (input_embedding public.vector_cosine_ops) WITH (lists='100');

CREATE INDEX idx_learning_applicable ON public.learning_log USING gin (applicable_to);

CREATE INDEX idx_learning_log_agent_id ON public.learning_log USING btree (agent_id);

CREATE INDEX idx_learning_log_organization_id ON public.learning_log USING btree (organization_id);

CREATE INDEX idx_learning_log_organization_id_created_at_active ON public.learning_log USING btree (organization_id, created_at DESC) WHERE (is_active = true);

CREATE INDEX idx_learning_log_related_ab_test_id ON public.learning_log USING btree (related_ab_test_id);

CREATE INDEX idx_learning_log_related_proposal_id ON public.learning_log USING btree (related_proposal_id);

CREATE INDEX idx_learning_log_superseded_by ON public.learning_log USING btree (superseded_by);

CREATE INDEX idx_logs_agent_timestamp ON public.agent_execution_logs USING btree (agent_id, "timestamp" DESC);

CREATE INDEX idx_logs_execution ON public.agent_execution_logs USING btree (execution_id);

CREATE INDEX idx_logs_org_timestamp ON public.agent_execution_logs USING btree (organization_id, "timestamp" DESC);

CREATE INDEX idx_logs_quality ON public.agent_execution_logs USING btree (agent_id, quality_score) WHERE (quality_score IS NOT NULL);

CREATE INDEX idx_logs_status_failure ON public.agent_execution_logs USING btree (status) WHERE (status = 'failure'::text);

CREATE INDEX idx_metrics_agent_date ON public.agent_performance_metrics USING btree (agent_id, date DESC);

CREATE INDEX idx_model_routing_rules_agent_id ON public.model_routing_rules USING btree (agent_id);

CREATE INDEX idx_model_routing_rules_organization_id ON public.model_routing_rules USING btree (organization_id);

CREATE INDEX idx_prompt_library_organization_id ON public.prompt_library USING btree (organization_id);

CREATE INDEX idx_prompt_library_usage_library_component_id ON public.prompt_library_usage USING btree (library_component_id);

CREATE INDEX idx_prompts_agent_active ON public.agent_prompts USING btree (agent_id, is_active) WHERE (is_active = true);

CREATE INDEX idx_proposals_agent_status ON public.improvement_proposals USING btree (agent_id, status);

CREATE INDEX idx_proposals_pending ON public.improvement_proposals USING btree (status) WHERE (status = 'proposed'::text);

CREATE INDEX idx_reports_agent_date ON public.evaluation_reports USING btree (agent_id, report_date DESC);

CREATE INDEX idx_shadow_tests_agent_id ON public.shadow_tests USING btree (agent_id);

CREATE INDEX idx_shadow_tests_organization_id ON public.shadow_tests USING btree (organization_id);

CREATE INDEX idx_shadow_tests_organization_id_running ON public.shadow_tests USING btree (organization_id) WHERE (status = 'running'::text);

CREATE INDEX idx_shadow_tests_production_prompt_id ON public.shadow_tests USING btree (production_prompt_id);

CREATE INDEX idx_shadow_tests_running ON public.shadow_tests USING btree (status) WHERE (status = 'running'::text);

CREATE INDEX idx_shadow_tests_shadow_prompt_id ON public.shadow_tests USING btree (shadow_prompt_id);

CREATE INDEX idx_sla_compliance_organization_id_period_start ON public.sla_compliance USING btree (organization_id, period_start DESC);

CREATE INDEX idx_sla_compliance_period ON public.sla_compliance USING btree (agent_id, period_start DESC);

CREATE INDEX idx_sla_compliance_sla_id ON public.sla_compliance USING btree (sla_id);

CREATE STATISTICS public.ab_tests_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.ab_tests;

CREATE STATISTICS public.agent_execution_logs_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.agent_execution_logs;

CREATE STATISTICS public.agent_health_realtime_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.agent_health_realtime;

CREATE STATISTICS public.agent_performance_metrics_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.agent_performance_metrics;

CREATE STATISTICS public.agent_prompts_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.agent_prompts;

CREATE STATISTICS public.agent_slas_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.agent_slas;

CREATE STATISTICS public.alert_history_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.alert_history;

CREATE STATISTICS public.canary_deployments_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.canary_deployments;

CREATE STATISTICS public.circuit_breaker_state_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.circuit_breaker_state;

CREATE STATISTICS public.cost_budgets_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.cost_budgets;

CREATE STATISTICS public.evaluation_reports_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.evaluation_reports;

CREATE STATISTICS public.improvement_proposals_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.improvement_proposals;

CREATE STATISTICS public.learning_log_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.learning_log;

CREATE STATISTICS public.model_routing_rules_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.model_routing_rules;

CREATE STATISTICS public.shadow_tests_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.shadow_tests;

CREATE STATISTICS public.sla_compliance_agent_id_organization_id_stat (dependencies) ON agent_id, organization_id FROM public.sla_compliance;

CREATE TRIGGER ab_tests_updated_at BEFORE UPDATE ON public.ab_tests FOR EACH ROW EXECUTE FUNCTION meta_agent.touch_updated_at();

CREATE TRIGGER agent_registry_updated_at BEFORE UPDATE ON public.agent_registry FOR EACH ROW EXECUTE FUNCTION meta_agent.touch_updated_at();

CREATE TRIGGER circuit_breaker_state_mirrored AFTER UPDATE ON public.circuit_breaker_state FOR EACH ROW WHEN (((old.state <> new.state) OR (old.opened_at IS DISTINCT FROM new.opened_at))) EXECUTE FUNCTION meta_agent.mirror_circuit();

CREATE TRIGGER circuit_breaker_state_mirrored_new AFTER INSERT ON public.circuit_breaker_state FOR EACH ROW EXECUTE FUNCTION meta_agent.mirror_circuit();

CREATE TRIGGER cost_budgets_updated_at BEFORE UPDATE ON public.cost_budgets FOR EACH ROW EXECUTE FUNCTION meta_agent.roll_budget();

CREATE TRIGGER improvement_proposals_updated_at BEFORE UPDATE ON public.improvement_proposals FOR EACH ROW EXECUTE FUNCTION meta_agent.touch_updated_at();

ALTER TABLE ONLY public.ab_tests
    ADD CONSTRAINT ab_tests_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id);

ALTER TABLE ONLY public.ab_tests
    ADD CONSTRAINT ab_tests_control_prompt_id_fkey FOREIGN KEY (control_prompt_id) REFERENCES public.agent_prompts(id);

ALTER TABLE ONLY public.ab_tests
    ADD CONSTRAINT ab_tests_improvement_proposal_id_fkey FOREIGN KEY (improvement_proposal_id) REFERENCES public.improvement_proposals(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.ab_tests
    ADD CONSTRAINT ab_tests_treatment_prompt_id_fkey FOREIGN KEY (treatment_prompt_id) REFERENCES public.agent_prompts(id);

ALTER TABLE ONLY public.agent_dependencies
    ADD CONSTRAINT agent_dependencies_downstream_agent_id_fkey FOREIGN KEY (downstream_agent_id) REFERENCES public.agent_registry(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.agent_dependencies
    ADD CONSTRAINT agent_dependencies_upstream_agent_id_fkey FOREIGN KEY (upstream_agent_id) REFERENCES public.agent_registry(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.agent_execution_logs
    ADD CONSTRAINT agent_execution_logs_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id);

ALTER TABLE ONLY public.agent_execution_logs
    ADD CONSTRAINT agent_execution_logs_prompt_version_id_fkey FOREIGN KEY (prompt_version_id) REFERENCES public.agent_prompts(id);

ALTER TABLE ONLY public.agent_health_realtime
    ADD CONSTRAINT agent_health_realtime_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.agent_performance_metrics
    ADD CONSTRAINT agent_performance_metrics_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id);

ALTER TABLE ONLY public.agent_performance_metrics
    ADD CONSTRAINT agent_performance_metrics_prompt_version_id_fkey FOREIGN KEY (prompt_version_id) REFERENCES public.agent_prompts(id);

ALTER TABLE ONLY public.agent_prompts
    ADD CONSTRAINT agent_prompts_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id);

ALTER TABLE ONLY public.agent_prompts
    ADD CONSTRAINT agent_prompts_parent_version_id_fkey FOREIGN KEY (parent_version_id) REFERENCES public.agent_prompts(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.agent_slas
    ADD CONSTRAINT agent_slas_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.alert_history
    ADD CONSTRAINT alert_history_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id);

ALTER TABLE ONLY public.canary_deployments
    ADD CONSTRAINT canary_deployments_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id);

ALTER TABLE ONLY public.canary_deployments
    ADD CONSTRAINT canary_deployments_canary_prompt_id_fkey FOREIGN KEY (canary_prompt_id) REFERENCES public.agent_prompts(id);

ALTER TABLE ONLY public.canary_deployments
    ADD CONSTRAINT canary_deployments_current_prompt_id_fkey FOREIGN KEY (current_prompt_id) REFERENCES public.agent_prompts(id);

ALTER TABLE ONLY public.circuit_breaker_state
    ADD CONSTRAINT circuit_breaker_state_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.cost_budgets
    ADD CONSTRAINT cost_budgets_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.evaluation_reports
    ADD CONSTRAINT evaluation_reports_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id);

ALTER TABLE ONLY public.execution_embeddings
    ADD CONSTRAINT execution_embeddings_execution_log_id_fkey FOREIGN KEY (execution_log_id) REFERENCES public.agent_execution_logs(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.improvement_proposals
    ADD CONSTRAINT improvement_proposals_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id);

ALTER TABLE ONLY public.improvement_proposals
    ADD CONSTRAINT improvement_proposals_deployed_prompt_version_id_fkey FOREIGN KEY (deployed_prompt_version_id) REFERENCES public.agent_prompts(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.improvement_proposals
    ADD CONSTRAINT improvement_proposals_evaluation_report_id_fkey FOREIGN KEY (evaluation_report_id) REFERENCES public.evaluation_reports(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.learning_log
    ADD CONSTRAINT learning_log_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.learning_log
    ADD CONSTRAINT learning_log_related_ab_test_id_fkey FOREIGN KEY (related_ab_test_id) REFERENCES public.ab_tests(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.learning_log
    ADD CONSTRAINT learning_log_related_proposal_id_fkey FOREIGN KEY (related_proposal_id) REFERENCES public.improvement_proposals(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.learning_log
    ADD CONSTRAINT learning_log_superseded_by_fkey FOREIGN KEY (superseded_by) REFERENCES public.learning_log(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.model_routing_rules
    ADD CONSTRAINT model_routing_rules_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.prompt_library_usage
    ADD CONSTRAINT prompt_library_usage_library_component_id_fkey FOREIGN KEY (library_component_id) REFERENCES public.prompt_library(id);

ALTER TABLE ONLY public.prompt_library_usage
    ADD CONSTRAINT prompt_library_usage_prompt_id_fkey FOREIGN KEY (prompt_id) REFERENCES public.agent_prompts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.shadow_tests
    ADD CONSTRAINT shadow_tests_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id);

ALTER TABLE ONLY public.shadow_tests
    ADD CONSTRAINT shadow_tests_production_prompt_id_fkey FOREIGN KEY (production_prompt_id) REFERENCES public.agent_prompts(id);

ALTER TABLE ONLY public.shadow_tests
    ADD CONSTRAINT shadow_tests_shadow_prompt_id_fkey FOREIGN KEY (shadow_prompt_id) REFERENCES public.agent_prompts(id);

ALTER TABLE ONLY public.sla_compliance
    ADD CONSTRAINT sla_compliance_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agent_registry(id);

ALTER TABLE ONLY public.sla_compliance
    ADD CONSTRAINT sla_compliance_sla_id_fkey FOREIGN KEY (sla_id) REFERENCES public.agent_slas(id);

CREATE POLICY "Service role full access" ON public.ab_tests TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.agent_dependencies TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.agent_execution_logs TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.agent_health_realtime TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.agent_performance_metrics TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.agent_prompts TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.agent_registry TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.agent_slas TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.alert_history TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.canary_deployments TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.circuit_breaker_state TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.cost_budgets TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.evaluation_reports TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.execution_embeddings TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.improvement_proposals TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.learning_log TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.model_routing_rules TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.prompt_library TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.prompt_library_usage TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.shadow_tests TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Service role full access" ON public.sla_compliance TO service_role USING (true) WITH CHECK (true);

CREATE POLICY "Users add own org A/B tests" ON public.ab_tests FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = ab_tests.agent_id) AND (p.organization_id = ab_tests.organization_id)))) AND ((improvement_proposal_id IS NULL) OR (EXISTS ( SELECT
   FROM public.improvement_proposals p
  WHERE ((p.id = ab_tests.improvement_proposal_id) AND (p.organization_id = ab_tests.organization_id))))) AND (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = ab_tests.control_prompt_id) AND (p.organization_id = ab_tests.organization_id)))) AND (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = ab_tests.treatment_prompt_id) AND (p.organization_id = ab_tests.organization_id))))));

CREATE POLICY "Users add own org SLA compliance" ON public.sla_compliance FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = sla_compliance.agent_id) AND (p.organization_id = sla_compliance.organization_id)))) AND (EXISTS ( SELECT
   FROM public.agent_slas p
  WHERE ((p.id = sla_compliance.sla_id) AND (p.organization_id = sla_compliance.organization_id))))));

CREATE POLICY "Users add own org SLAs" ON public.agent_slas FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = agent_slas.agent_id) AND (p.organization_id = agent_slas.organization_id))))));

CREATE POLICY "Users add own org agents" ON public.agent_registry FOR INSERT TO authenticated WITH CHECK ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users add own org alerts" ON public.alert_history FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND ((agent_id IS NULL) OR (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = alert_history.agent_id) AND (p.organization_id = alert_history.organization_id)))))));

CREATE POLICY "Users add own org budgets" ON public.cost_budgets FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND ((agent_id IS NULL) OR (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = cost_budgets.agent_id) AND (p.organization_id = cost_budgets.organization_id)))))));

CREATE POLICY "Users add own org canaries" ON public.canary_deployments FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = canary_deployments.agent_id) AND (p.organization_id = canary_deployments.organization_id)))) AND (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = canary_deployments.current_prompt_id) AND (p.organization_id = canary_deployments.organization_id)))) AND (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = canary_deployments.canary_prompt_id) AND (p.organization_id = canary_deployments.organization_id))))));

CREATE POLICY "Users add own org circuit breakers" ON public.circuit_breaker_state FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = circuit_breaker_state.agent_id) AND (p.organization_id = circuit_breaker_state.organization_id))))));

CREATE POLICY "Users add own org dependencies" ON public.agent_dependencies FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = agent_dependencies.upstream_agent_id) AND (p.organization_id = agent_dependencies.organization_id)))) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = agent_dependencies.downstream_agent_id) AND (p.organization_id = agent_dependencies.organization_id))))));

CREATE POLICY "Users add own org embeddings" ON public.execution_embeddings FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_execution_logs p
  WHERE ((p.id = execution_embeddings.execution_log_id) AND (p.organization_id = execution_embeddings.organization_id))))));

CREATE POLICY "Users add own org health" ON public.agent_health_realtime FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = agent_health_realtime.agent_id) AND (p.organization_id = agent_health_realtime.organization_id))))));

CREATE POLICY "Users add own org learnings" ON public.learning_log FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND ((agent_id IS NULL) OR (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = learning_log.agent_id) AND (p.organization_id = learning_log.organization_id))))) AND ((related_proposal_id IS NULL) OR (EXISTS ( SELECT
   FROM public.improvement_proposals p
  WHERE ((p.id = learning_log.related_proposal_id) AND (p.organization_id = learning_log.organization_id))))) AND ((related_ab_test_id IS NULL) OR (EXISTS ( SELECT
   FROM public.ab_tests p
  WHERE ((p.id = learning_log.related_ab_test_id) AND (p.organization_id = learning_log.organization_id))))) AND ((superseded_by IS NULL) OR meta_agent.own_learning_log_row(superseded_by))));

CREATE POLICY "Users add own org logs" ON public.agent_execution_logs FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (((agent_id, (prompt_version_id IS NOT NULL), COALESCE(prompt_version_id, agent_id)) IN ( SELECT r.agent_id,
    r.has_prompt,
    r.prompt_or_agent
   FROM meta_agent.own_log_references() r(agent_id, has_prompt, prompt_or_agent))) OR ((EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = agent_execution_logs.agent_id) AND (p.organization_id = agent_execution_logs.organization_id)))) AND ((prompt_version_id IS NULL) OR (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = agent_execution_logs.prompt_version_id) AND (p.organization_id = agent_execution_logs.organization_id)))))))));

CREATE POLICY "Users add own org metrics" ON public.agent_performance_metrics FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = agent_performance_metrics.agent_id) AND (p.organization_id = agent_performance_metrics.organization_id)))) AND ((prompt_version_id IS NULL) OR (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = agent_performance_metrics.prompt_version_id) AND (p.organization_id = agent_performance_metrics.organization_id)))))));

CREATE POLICY "Users add own org prompt component uses" ON public.prompt_library_usage FOR INSERT TO authenticated WITH CHECK (((EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = prompt_library_usage.prompt_id) AND (p.organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))))) AND (EXISTS ( SELECT
   FROM public.prompt_library p
  WHERE ((p.id = prompt_library_usage.library_component_id) AND (p.organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)))))));

CREATE POLICY "Users add own org prompt components" ON public.prompt_library FOR INSERT TO authenticated WITH CHECK ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users add own org prompts" ON public.agent_prompts FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = agent_prompts.agent_id) AND (p.organization_id = agent_prompts.organization_id)))) AND ((parent_version_id IS NULL) OR meta_agent.own_agent_prompts_row(parent_version_id))));

CREATE POLICY "Users add own org proposals" ON public.improvement_proposals FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = improvement_proposals.agent_id) AND (p.organization_id = improvement_proposals.organization_id)))) AND ((evaluation_report_id IS NULL) OR (EXISTS ( SELECT
   FROM public.evaluation_reports p
  WHERE ((p.id = improvement_proposals.evaluation_report_id) AND (p.organization_id = improvement_proposals.organization_id))))) AND ((deployed_prompt_version_id IS NULL) OR (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = improvement_proposals.deployed_prompt_version_id) AND (p.organization_id = improvement_proposals.organization_id)))))));

CREATE POLICY "Users add own org reports" ON public.evaluation_reports FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = evaluation_reports.agent_id) AND (p.organization_id = evaluation_reports.organization_id))))));

CREATE POLICY "Users add own org routing rules" ON public.model_routing_rules FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND ((agent_id IS NULL) OR (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = model_routing_rules.agent_id) AND (p.organization_id = model_routing_rules.organization_id)))))));

CREATE POLICY "Users add own org shadow tests" ON public.shadow_tests FOR INSERT TO authenticated WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = shadow_tests.agent_id) AND (p.organization_id = shadow_tests.organization_id)))) AND (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = shadow_tests.production_prompt_id) AND (p.organization_id = shadow_tests.organization_id)))) AND (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = shadow_tests.shadow_prompt_id) AND (p.organization_id = shadow_tests.organization_id))))));

CREATE POLICY "Users change own org A/B tests" ON public.ab_tests FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = ab_tests.agent_id) AND (p.organization_id = ab_tests.organization_id)))) AND ((improvement_proposal_id IS NULL) OR (EXISTS ( SELECT
   FROM public.improvement_proposals p
  WHERE ((p.id = ab_tests.improvement_proposal_id) AND (p.organization_id = ab_tests.organization_id))))) AND (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = ab_tests.control_prompt_id) AND (p.organization_id = ab_tests.organization_id)))) AND (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = ab_tests.treatment_prompt_id) AND (p.organization_id = ab_tests.organization_id))))));

CREATE POLICY "Users change own org SLA compliance" ON public.sla_compliance FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = sla_compliance.agent_id) AND (p.organization_id = sla_compliance.organization_id)))) AND (EXISTS ( SELECT
   FROM public.agent_slas p
  WHERE ((p.id = sla_compliance.sla_id) AND (p.organization_id = sla_compliance.organization_id))))));

CREATE POLICY "Users change own org SLAs" ON public.agent_slas FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = agent_slas.agent_id) AND (p.organization_id = agent_slas.organization_id))))));

CREATE POLICY "Users change own org agents" ON public.agent_registry FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users change own org alerts" ON public.alert_history FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND ((agent_id IS NULL) OR (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = alert_history.agent_id) AND (p.organization_id = alert_history.organization_id)))))));

CREATE POLICY "Users change own org budgets" ON public.cost_budgets FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND ((agent_id IS NULL) OR (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = cost_budgets.agent_id) AND (p.organization_id = cost_budgets.organization_id)))))));

CREATE POLICY "Users change own org canaries" ON public.canary_deployments FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = canary_deployments.agent_id) AND (p.organization_id = canary_deployments.organization_id)))) AND (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = canary_deployments.current_prompt_id) AND (p.organization_id = canary_deployments.organization_id)))) AND (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = canary_deployments.canary_prompt_id) AND (p.organization_id = canary_deployments.organization_id))))));

CREATE POLICY "Users change own org circuit breakers" ON public.circuit_breaker_state FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = circuit_breaker_state.agent_id) AND (p.organization_id = circuit_breaker_state.organization_id))))));

CREATE POLICY "Users change own org dependencies" ON public.agent_dependencies FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = agent_dependencies.upstream_agent_id) AND (p.organization_id = agent_dependencies.organization_id)))) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = agent_dependencies.downstream_agent_id) AND (p.organization_id = agent_dependencies.organization_id))))));

CREATE POLICY "Users change own org embeddings" ON public.execution_embeddings FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_execution_logs p
  WHERE ((p.id = execution_embeddings.execution_log_id) AND (p.organization_id = execution_embeddings.organization_id))))));

CREATE POLICY "Users change own org health" ON public.agent_health_realtime FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = agent_health_realtime.agent_id) AND (p.organization_id = agent_health_realtime.organization_id))))));

CREATE POLICY "Users change own org learnings" ON public.learning_log FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND ((agent_id IS NULL) OR (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = learning_log.agent_id) AND (p.organization_id = learning_log.organization_id))))) AND ((related_proposal_id IS NULL) OR (EXISTS ( SELECT
   FROM public.improvement_proposals p
  WHERE ((p.id = learning_log.related_proposal_id) AND (p.organization_id = learning_log.organization_id))))) AND ((related_ab_test_id IS NULL) OR (EXISTS ( SELECT
   FROM public.ab_tests p
  WHERE ((p.id = learning_log.related_ab_test_id) AND (p.organization_id = learning_log.organization_id))))) AND ((superseded_by IS NULL) OR meta_agent.own_learning_log_row(superseded_by))));

CREATE POLICY "Users change own org logs" ON public.agent_execution_logs FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = agent_execution_logs.agent_id) AND (p.organization_id = agent_execution_logs.organization_id)))) AND ((prompt_version_id IS NULL) OR (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = agent_execution_logs.prompt_version_id) AND (p.organization_id = agent_execution_logs.organization_id)))))));

CREATE POLICY "Users change own org metrics" ON public.agent_performance_metrics FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = agent_performance_metrics.agent_id) AND (p.organization_id = agent_performance_metrics.organization_id)))) AND ((prompt_version_id IS NULL) OR (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = agent_performance_metrics.prompt_version_id) AND (p.organization_id = agent_performance_metrics.organization_id)))))));

CREATE POLICY "Users change own org prompt component uses" ON public.prompt_library_usage FOR UPDATE TO authenticated USING ((EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = prompt_library_usage.prompt_id) AND (p.organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)))))) WITH CHECK (((EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = prompt_library_usage.prompt_id) AND (p.organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))))) AND (EXISTS ( SELECT
   FROM public.prompt_library p
  WHERE ((p.id = prompt_library_usage.library_component_id) AND (p.organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)))))));

CREATE POLICY "Users change own org prompt components" ON public.prompt_library FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users change own org prompts" ON public.agent_prompts FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = agent_prompts.agent_id) AND (p.organization_id = agent_prompts.organization_id)))) AND ((parent_version_id IS NULL) OR meta_agent.own_agent_prompts_row(parent_version_id))));

CREATE POLICY "Users change own org proposals" ON public.improvement_proposals FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = improvement_proposals.agent_id) AND (p.organization_id = improvement_proposals.organization_id)))) AND ((evaluation_report_id IS NULL) OR (EXISTS ( SELECT
   FROM public.evaluation_reports p
  WHERE ((p.id = improvement_proposals.evaluation_report_id) AND (p.organization_id = improvement_proposals.organization_id))))) AND ((deployed_prompt_version_id IS NULL) OR (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = improvement_proposals.deployed_prompt_version_id) AND (p.organization_id = improvement_proposals.organization_id)))))));

CREATE POLICY "Users change own org reports" ON public.evaluation_reports FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = evaluation_reports.agent_id) AND (p.organization_id = evaluation_reports.organization_id))))));

CREATE POLICY "Users change own org routing rules" ON public.model_routing_rules FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND ((agent_id IS NULL) OR (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = model_routing_rules.agent_id) AND (p.organization_id = model_routing_rules.organization_id)))))));

CREATE POLICY "Users change own org shadow tests" ON public.shadow_tests FOR UPDATE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))) WITH CHECK (((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)) AND (EXISTS ( SELECT
   FROM public.agent_registry p
  WHERE ((p.id = shadow_tests.agent_id) AND (p.organization_id = shadow_tests.organization_id)))) AND (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = shadow_tests.production_prompt_id) AND (p.organization_id = shadow_tests.organization_id)))) AND (EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = shadow_tests.shadow_prompt_id) AND (p.organization_id = shadow_tests.organization_id))))));

CREATE POLICY "Users remove own org A/B tests" ON public.ab_tests FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org SLA compliance" ON public.sla_compliance FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org SLAs" ON public.agent_slas FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org agents" ON public.agent_registry FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org alerts" ON public.alert_history FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org budgets" ON public.cost_budgets FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org canaries" ON public.canary_deployments FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org circuit breakers" ON public.circuit_breaker_state FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org dependencies" ON public.agent_dependencies FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org embeddings" ON public.execution_embeddings FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org health" ON public.agent_health_realtime FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org learnings" ON public.learning_log FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org logs" ON public.agent_execution_logs FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org metrics" ON public.agent_performance_metrics FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org prompt component uses" ON public.prompt_library_usage FOR DELETE TO authenticated USING ((EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = prompt_library_usage.prompt_id) AND (p.organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))))));

CREATE POLICY "Users remove own org prompt components" ON public.prompt_library FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org prompts" ON public.agent_prompts FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org proposals" ON public.improvement_proposals FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org reports" ON public.evaluation_reports FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org routing rules" ON public.model_routing_rules FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users remove own org shadow tests" ON public.shadow_tests FOR DELETE TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org A/B tests" ON public.ab_tests FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org SLA compliance" ON public.sla_compliance FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org SLAs" ON public.agent_slas FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org agents" ON public.agent_registry FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org alerts" ON public.alert_history FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org budgets" ON public.cost_budgets FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org canaries" ON public.canary_deployments FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org circuit breakers" ON public.circuit_breaker_state FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org dependencies" ON public.agent_dependencies FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org embeddings" ON public.execution_embeddings FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org health" ON public.agent_health_realtime FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org learnings" ON public.learning_log FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org logs" ON public.agent_execution_logs FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org metrics" ON public.agent_performance_metrics FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org prompt component uses" ON public.prompt_library_usage FOR SELECT TO authenticated USING ((EXISTS ( SELECT
   FROM public.agent_prompts p
  WHERE ((p.id = prompt_library_usage.prompt_id) AND (p.organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))))));

CREATE POLICY "Users see own org prompt components" ON public.prompt_library FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org prompts" ON public.agent_prompts FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org proposals" ON public.improvement_proposals FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org reports" ON public.evaluation_reports FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org routing rules" ON public.model_routing_rules FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

CREATE POLICY "Users see own org shadow tests" ON public.shadow_tests FOR SELECT TO authenticated USING ((organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id)));

ALTER TABLE public.ab_tests ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.agent_dependencies ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.agent_execution_logs ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.agent_health_realtime ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.agent_performance_metrics ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.agent_prompts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.agent_registry ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.agent_slas ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.alert_history ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.canary_deployments ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.circuit_breaker_state ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.cost_budgets ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.evaluation_reports ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.execution_embeddings ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.improvement_proposals ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.learning_log ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.model_routing_rules ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.prompt_library ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.prompt_library_usage ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.shadow_tests ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.sla_compliance ENABLE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA auth TO anon;
GRANT USAGE ON SCHEMA auth TO authenticated;
GRANT USAGE ON SCHEMA auth TO service_role;

GRANT USAGE ON SCHEMA meta_agent TO authenticated;
GRANT USAGE ON SCHEMA meta_agent TO service_role;

REVOKE ALL ON FUNCTION meta_agent.acquire_execution(agent uuid, instant timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.acquire_execution(agent uuid, instant timestamp with time zone) TO authenticated;
GRANT ALL ON FUNCTION meta_agent.acquire_execution(agent uuid, instant timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION meta_agent.bucket_of(salt uuid, unit text) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.bucket_of(salt uuid, unit text) TO authenticated;
GRANT ALL ON FUNCTION meta_agent.bucket_of(salt uuid, unit text) TO service_role;

REVOKE ALL ON FUNCTION meta_agent.budget_windows(budget anyelement, moment timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.budget_windows(budget anyelement, moment timestamp with time zone) TO authenticated;
GRANT ALL ON FUNCTION meta_agent.budget_windows(budget anyelement, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION meta_agent.charge_budgets(charges json, moment timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.charge_budgets(charges json, moment timestamp with time zone) TO authenticated;
GRANT ALL ON FUNCTION meta_agent.charge_budgets(charges json, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION meta_agent.current_organization_id() FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.current_organization_id() TO authenticated;
GRANT ALL ON FUNCTION meta_agent.current_organization_id() TO service_role;

REVOKE ALL ON FUNCTION meta_agent.execution_log_id(instant timestamp with time zone, key text) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.execution_log_id(instant timestamp with time zone, key text) TO authenticated;
GRANT ALL ON FUNCTION meta_agent.execution_log_id(instant timestamp with time zone, key text) TO service_role;

REVOKE ALL ON FUNCTION meta_agent.isolate(table_name text, noun text) FROM PUBLIC;

REVOKE ALL ON FUNCTION meta_agent.latest_learnings(subject text, most integer) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.latest_learnings(subject text, most integer) TO authenticated;

REVOKE ALL ON FUNCTION meta_agent.logs_pruned_before() FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.logs_pruned_before() TO authenticated;
GRANT ALL ON FUNCTION meta_agent.logs_pruned_before() TO service_role;

REVOKE ALL ON FUNCTION meta_agent.mirror_circuit() FROM PUBLIC;

REVOKE ALL ON FUNCTION meta_agent.own_agent_prompts_row(row_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.own_agent_prompts_row(row_id uuid) TO authenticated;
GRANT ALL ON FUNCTION meta_agent.own_agent_prompts_row(row_id uuid) TO service_role;

REVOKE ALL ON FUNCTION meta_agent.own_learning_log_row(row_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.own_learning_log_row(row_id uuid) TO authenticated;
GRANT ALL ON FUNCTION meta_agent.own_learning_log_row(row_id uuid) TO service_role;

REVOKE ALL ON FUNCTION meta_agent.own_log_references() FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.own_log_references() TO authenticated;
GRANT ALL ON FUNCTION meta_agent.own_log_references() TO service_role;

REVOKE ALL ON FUNCTION meta_agent.record_outcomes(outcomes json, instant timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.record_outcomes(outcomes json, instant timestamp with time zone) TO authenticated;
GRANT ALL ON FUNCTION meta_agent.record_outcomes(outcomes json, instant timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION meta_agent.refresh_budgets(only_agent uuid, moment timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.refresh_budgets(only_agent uuid, moment timestamp with time zone) TO authenticated;
GRANT ALL ON FUNCTION meta_agent.refresh_budgets(only_agent uuid, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION meta_agent.reserve_execution(entry jsonb, moment timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.reserve_execution(entry jsonb, moment timestamp with time zone) TO authenticated;
GRANT ALL ON FUNCTION meta_agent.reserve_execution(entry jsonb, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION meta_agent.roll_budget() FROM PUBLIC;

REVOKE ALL ON FUNCTION meta_agent.spending(agent uuid, organization uuid, moment timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.spending(agent uuid, organization uuid, moment timestamp with time zone) TO authenticated;
GRANT ALL ON FUNCTION meta_agent.spending(agent uuid, organization uuid, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION meta_agent.touch_updated_at() FROM PUBLIC;

REVOKE ALL ON FUNCTION meta_agent.uuid_for(VARIADIC parts text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.uuid_for(VARIADIC parts text[]) TO authenticated;
GRANT ALL ON FUNCTION meta_agent.uuid_for(VARIADIC parts text[]) TO service_role;

REVOKE ALL ON FUNCTION meta_agent.uuidv7() FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.uuidv7() TO authenticated;
GRANT ALL ON FUNCTION meta_agent.uuidv7() TO service_role;

REVOKE ALL ON FUNCTION meta_agent.uuidv7_at(instant timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.uuidv7_at(instant timestamp with time zone) TO authenticated;
GRANT ALL ON FUNCTION meta_agent.uuidv7_at(instant timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION meta_agent.uuidv7_floor(instant timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.uuidv7_floor(instant timestamp with time zone) TO authenticated;
GRANT ALL ON FUNCTION meta_agent.uuidv7_floor(instant timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION meta_agent.uuidv7_time(id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION meta_agent.uuidv7_time(id uuid) TO authenticated;
GRANT ALL ON FUNCTION meta_agent.uuidv7_time(id uuid) TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.ab_tests TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.ab_tests TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.agent_dependencies TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.agent_dependencies TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.agent_execution_logs TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.agent_execution_logs TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.agent_health_realtime TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.agent_health_realtime TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.agent_performance_metrics TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.agent_performance_metrics TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.agent_prompts TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.agent_prompts TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.agent_registry TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.agent_registry TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.agent_slas TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.agent_slas TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_history TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_history TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.canary_deployments TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.canary_deployments TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.circuit_breaker_state TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.circuit_breaker_state TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.cost_budgets TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.cost_budgets TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.evaluation_reports TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.evaluation_reports TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.execution_embeddings TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.execution_embeddings TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.improvement_proposals TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.improvement_proposals TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.learning_log TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.learning_log TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.model_routing_rules TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.model_routing_rules TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.prompt_library TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.prompt_library TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.prompt_library_usage TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.prompt_library_usage TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.shadow_tests TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.shadow_tests TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.sla_compliance TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.sla_compliance TO service_role;
