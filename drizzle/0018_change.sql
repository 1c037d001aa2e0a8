-- What decides which prompt version runs, and how sure a test is.
--
-- Where a unit falls in an experiment, 0 to below 1: the first 32 bits of a SHA-256, evenly spread and
-- independent between experiments. TypeScript has the same as bucketOf; a test holds them together.
CREATE OR REPLACE FUNCTION meta_agent.bucket_of(salt uuid, unit text) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ('x' || encode(substr(sha256(convert_to(salt || ':' || unit, 'UTF8')), 1, 4), 'hex'))::bit(32)::bigint
    / 4294967296::double precision
$$;
--> statement-breakpoint
REVOKE ALL ON FUNCTION meta_agent.bucket_of(uuid, text) FROM PUBLIC, anon, authenticated, service_role;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION meta_agent.bucket_of(uuid, text) TO authenticated, service_role;
--> statement-breakpoint
COMMENT ON COLUMN ab_tests.statistical_significance IS 'Ratio, 0 to 1. How sure it is that the two sides differ: 1 less the p-value of a mixture sequential probability ratio test (mSPRT) over differences of 0.01, 0.03 and 0.1, valid however often it is looked at. A winner has at least 1 - alpha, 0.95 unless told.';
