-- What a log that lies on other machines than the budgets needs of two functions. A statement of Citus names no column
-- as the target of ON CONFLICT, since the key of such a log has two, and joins no two machines laterally.
--
-- What a budget has spent by the log in the day, week and month of `moment`: of its agent, else of its organization.
CREATE OR REPLACE FUNCTION meta_agent.spending(agent uuid, organization uuid, moment timestamptz)
RETURNS TABLE (daily numeric, weekly numeric, monthly numeric)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
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
--> statement-breakpoint
REVOKE ALL ON FUNCTION meta_agent.spending(uuid, uuid, timestamptz) FROM PUBLIC, anon, authenticated, service_role;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION meta_agent.spending(uuid, uuid, timestamptz) TO authenticated, service_role;
--> statement-breakpoint
-- As 0019 made it, but for that.
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
--> statement-breakpoint
-- As 0015 made it, but for the target.
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
