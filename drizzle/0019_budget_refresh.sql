-- A refresh that corrects many budgets asks for the windows of each once. It asked for those of every pair: 1,000
-- budgets took half a minute.
-- It sets the counters to what the log says, of the budgets that bind one agent or of all that the caller sees, and answers what
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
  WITH ledger AS MATERIALIZED (
    SELECT b.id, b AS budget, w.at, l.daily, l.weekly, l.monthly
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
