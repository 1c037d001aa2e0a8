-- Budgets are exact: the counters of cost_budgets are a cache of agent_execution_logs, moved in the
-- transaction that writes the log. `updated_at` says which day, week and month they are of, so it never
-- steps back, and spending that an UPDATE leaves alone begins anew where its window has passed. A statement
-- may give `updated_at`, up to a day ahead; without it the clock counts, not the transaction's start, which
-- lies before what the transaction waited for.
CREATE OR REPLACE FUNCTION meta_agent.roll_budget() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
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
--> statement-breakpoint
CREATE OR REPLACE TRIGGER cost_budgets_updated_at BEFORE UPDATE ON cost_budgets
  FOR EACH ROW EXECUTE FUNCTION meta_agent.roll_budget();
--> statement-breakpoint
-- The day, ISO week and month in UTC that `moment` is in, or `updated_at` where that is later: what each may
-- cost and has cost. Where the window has passed since `updated_at`, nothing. `budget` is a row of cost_budgets:
-- to name its type would tie the function to the table, which could not be made again without it. In plpgsql, whose
-- plans stay with the session.
CREATE OR REPLACE FUNCTION meta_agent.budget_windows(budget anyelement, moment timestamptz)
RETURNS TABLE (span text, limit_usd numeric, spent_usd numeric, action text, starts_at timestamptz, ends_at timestamptz)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
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
--> statement-breakpoint
-- Adds to every budget that binds an agent what it has spent, or has not spent after all. `charges`:
-- [{"agent", "organization", "at", "usd"}]; each counts in those windows of the budget that its `at` is in.
-- Answers the early alerts whose percentage this crossed. The budgets stay locked until the transaction ends.
CREATE OR REPLACE FUNCTION meta_agent.charge_budgets(charges json, moment timestamptz) RETURNS json
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
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
--> statement-breakpoint
-- Begins an execution that may cost `usd`, if all budgets that bind its agent have room for it: a running row,
-- from the columns in `entry`, whose metadata says what is reserved. Else it writes nothing. Answers the
-- verdict; NULL where the caller sees no such agent. An id that is there already is neither charged nor changed.
CREATE OR REPLACE FUNCTION meta_agent.reserve_execution(entry jsonb, moment timestamptz) RETURNS json
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
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
    ON CONFLICT (id) DO NOTHING
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
--> statement-breakpoint
-- Sets the counters to what the log says, of the budgets that bind one agent or of all that the caller sees, and answers what
-- it corrected. The lock first: who has written logs and waits for it adds them after this.
CREATE OR REPLACE FUNCTION meta_agent.refresh_budgets(only_agent uuid, moment timestamptz) RETURNS json
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
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
  WITH ledger AS (
    SELECT b AS budget, w.at, l.daily, l.weekly, l.monthly
    FROM public.cost_budgets AS b
    CROSS JOIN LATERAL (SELECT greatest(b.updated_at, moment) AS at) AS w
    CROSS JOIN LATERAL (
      SELECT
        coalesce(sum(l.usd) FILTER (WHERE date_trunc('day', l.timestamp, 'UTC') = date_trunc('day', w.at, 'UTC')), 0) AS daily,
        coalesce(sum(l.usd) FILTER (WHERE date_trunc('week', l.timestamp, 'UTC') = date_trunc('week', w.at, 'UTC')), 0) AS weekly,
        coalesce(sum(l.usd) FILTER (WHERE date_trunc('month', l.timestamp, 'UTC') = date_trunc('month', w.at, 'UTC')), 0) AS monthly
      FROM (
        -- By key; the planner takes the average organization's index for as good.
        SELECT * FROM (
          SELECT timestamp, estimated_cost_usd AS usd FROM public.agent_execution_logs
          WHERE agent_id = ANY (ARRAY[b.agent_id]) AND agent_id BETWEEN b.agent_id AND b.agent_id
            AND timestamp >= least(date_trunc('week', w.at, 'UTC'), date_trunc('month', w.at, 'UTC'))
          ORDER BY agent_id, timestamp DESC OFFSET 0
        ) AS of_agent
        UNION ALL
        SELECT timestamp, estimated_cost_usd FROM public.agent_execution_logs
        WHERE b.agent_id IS NULL AND organization_id = b.organization_id
          AND timestamp >= least(date_trunc('week', w.at, 'UTC'), date_trunc('month', w.at, 'UTC'))
        UNION ALL
        SELECT timestamp, estimated_cost_usd FROM public.agent_execution_logs
        WHERE b.agent_id IS NULL AND b.organization_id IS NULL AND organization_id IS NULL
          AND timestamp >= least(date_trunc('week', w.at, 'UTC'), date_trunc('month', w.at, 'UTC'))
      ) AS l
    ) AS l
    WHERE b.id = ANY (bound)
  ), updated AS (
    UPDATE public.cost_budgets AS b SET current_daily_spend = least(s.daily, 1000000000000),
      current_weekly_spend = least(s.weekly, 1000000000000), current_monthly_spend = least(s.monthly, 1000000000000),
      updated_at = greatest(b.updated_at + interval '1 microsecond', moment)
    FROM ledger AS s
    WHERE b.id = (s.budget).id
      AND (b.current_daily_spend, b.current_weekly_spend, b.current_monthly_spend) IS DISTINCT FROM (s.daily, s.weekly, s.monthly)
    RETURNING b AS budget
  )
  SELECT coalesce(json_agg(json_build_object('budgetId', (s.budget).id, 'agentId', (s.budget).agent_id, 'window', w.span,
      'spentUsd', w.spent_usd::text, 'countedUsd', former.spent_usd::text)
    ORDER BY (s.budget).id, w.ends_at - w.starts_at), '[]') INTO corrected
  FROM updated AS u
  JOIN ledger AS s ON (s.budget).id = (u.budget).id
  CROSS JOIN LATERAL meta_agent.budget_windows(u.budget, s.at) AS w
  JOIN LATERAL meta_agent.budget_windows(s.budget, s.at) AS former ON former.span = w.span
  WHERE w.spent_usd <> former.spent_usd;
  RETURN corrected;
END $$;
--> statement-breakpoint
REVOKE ALL ON FUNCTION meta_agent.roll_budget(), meta_agent.budget_windows(anyelement, timestamptz),
  meta_agent.charge_budgets(json, timestamptz), meta_agent.reserve_execution(jsonb, timestamptz),
  meta_agent.refresh_budgets(uuid, timestamptz)
  FROM PUBLIC, anon, authenticated, service_role;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION meta_agent.budget_windows(anyelement, timestamptz),
  meta_agent.charge_budgets(json, timestamptz), meta_agent.reserve_execution(jsonb, timestamptz),
  meta_agent.refresh_budgets(uuid, timestamptz)
  TO authenticated, service_role;
--> statement-breakpoint
-- Serves "what runs, and since when": few rows are running at once.
CREATE INDEX IF NOT EXISTS idx_agent_execution_logs_organization_id_timestamp_running
  ON agent_execution_logs (organization_id, timestamp) WHERE status = 'running';
