-- One open alert an incident: what is raised again under the key of an open alert is that alert (raiseAlert).
-- The one unique rule that older rows may break: two open alerts of an agent, or of an organization without
-- one, whose details have the same dedup_key. They are refused with what to do; nothing is changed for them.
SET LOCAL client_min_messages = warning; -- an index that is there already is no news
--> statement-breakpoint
DO $$
DECLARE
  repeated bigint;
BEGIN
  SELECT count(*) INTO repeated FROM (
    SELECT row_number() OVER (PARTITION BY agent_id, details ->> 'dedup_key', organization_id) AS place
    FROM alert_history
    WHERE NOT resolved AND char_length(details ->> 'dedup_key') <= 255
  ) AS open
  WHERE place > 1;
  IF repeated > 0 THEN
    RAISE EXCEPTION 'alert_history: % open alerts have the details.dedup_key of another open alert of the same agent or organization', repeated
      USING ERRCODE = 'unique_violation', HINT = 'Resolve all of them but the oldest, then migrate again: '
        'UPDATE alert_history SET resolved = true, resolved_at = now() WHERE id IN (SELECT id FROM ('
        'SELECT id, row_number() OVER (PARTITION BY agent_id, details ->> ''dedup_key'', organization_id ORDER BY created_at, id) AS place '
        'FROM alert_history WHERE NOT resolved AND char_length(details ->> ''dedup_key'') <= 255) AS open WHERE place > 1);';
  END IF;
END $$;
--> statement-breakpoint
-- By the agent first, which is known where its organization is not. Longer keys are no keys: an index row has
-- no room for any text.
CREATE UNIQUE INDEX IF NOT EXISTS alert_history_open_key
  ON alert_history (agent_id, (details ->> 'dedup_key'), organization_id) NULLS NOT DISTINCT
  WHERE NOT resolved AND char_length(details ->> 'dedup_key') <= 255;
