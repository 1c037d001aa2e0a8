-- The circuit breaker, moved by functions: one round trip, a plan that the session keeps, and every decision
-- on the row as its lock finds it. Both look first without a lock, since a lock is a write, and look again
-- behind it only where there is something to write. They act as their caller: row-level security holds. Rows
-- are looked up by a range of one key, which the planner does not mistake for an average organization.
--
-- May this agent run? Closed: yes, without a lock. Open or half open: the first caller after the rest is given
-- the one ticket, `probe`; the others are told when to come again. A ticket is good until another is let out:
-- when it has been reported, or has lapsed after the breaker's cooldown, one second at the least. No row: no
-- such agent, or not the caller's.
CREATE OR REPLACE FUNCTION meta_agent.acquire_execution(agent uuid, instant timestamptz DEFAULT NULL)
RETURNS TABLE (allowed boolean, circuit_state text, probe timestamptz, retry_at timestamptz)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
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
--> statement-breakpoint
-- What became of executions: [{"agent", "at", "failed", "probe"}], each told once, in any order. `at` is the
-- instant that orders them, now where there is none, and now at the latest; those of one agent are taken in its
-- order. One row for each agent that there is.
--
-- Closed: a failure that is newer than the last success counts, a success that is not older than the last
-- failure sets the count to 0, and at `failure_threshold` it opens. Half open: only the report of the current
-- ticket counts, once; a failure opens again, `success_threshold` successes in a row close. A report with a
-- ticket counts nowhere else, one without a ticket only while it is closed. The time of a success alone is
-- written once a second.
CREATE OR REPLACE FUNCTION meta_agent.record_outcomes(outcomes json, instant timestamptz DEFAULT NULL)
RETURNS TABLE (agent uuid, circuit_state text, has_changed boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
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
--> statement-breakpoint
REVOKE ALL ON FUNCTION meta_agent.acquire_execution(uuid, timestamptz), meta_agent.record_outcomes(json, timestamptz)
  FROM PUBLIC, anon, authenticated, service_role;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION meta_agent.acquire_execution(uuid, timestamptz), meta_agent.record_outcomes(json, timestamptz)
  TO authenticated, service_role;
--> statement-breakpoint
-- The snapshot of an agent's health shows its breaker as it is, whoever moves that.
CREATE OR REPLACE FUNCTION meta_agent.mirror_circuit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE public.agent_health_realtime AS h SET circuit_state = NEW.state, circuit_opened_at = NEW.opened_at
  WHERE h.agent_id = ANY (ARRAY[NEW.agent_id]) AND h.agent_id BETWEEN NEW.agent_id AND NEW.agent_id
    AND (h.circuit_state, h.circuit_opened_at) IS DISTINCT FROM (NEW.state, NEW.opened_at);
  RETURN NULL;
END $$;
--> statement-breakpoint
REVOKE ALL ON FUNCTION meta_agent.mirror_circuit() FROM PUBLIC, anon, authenticated, service_role;
--> statement-breakpoint
CREATE OR REPLACE TRIGGER circuit_breaker_state_mirrored_new AFTER INSERT ON circuit_breaker_state
  FOR EACH ROW EXECUTE FUNCTION meta_agent.mirror_circuit();
--> statement-breakpoint
CREATE OR REPLACE TRIGGER circuit_breaker_state_mirrored AFTER UPDATE ON circuit_breaker_state
  FOR EACH ROW WHEN (OLD.state <> NEW.state OR OLD.opened_at IS DISTINCT FROM NEW.opened_at)
  EXECUTE FUNCTION meta_agent.mirror_circuit();
