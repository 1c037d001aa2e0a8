-- The caller's organization by the rules of 0000, in half the time: a regular expression took most of a
-- call. Each digit of the claim becomes a 0 before its form is compared. PL/pgSQL keeps its plans for the
-- session; a function of SQL is planned anew for every row of a VALUES list, and one that is put in place
-- of its call is read from the catalog for every row of it.
CREATE OR REPLACE FUNCTION meta_agent.current_organization_id() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
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
