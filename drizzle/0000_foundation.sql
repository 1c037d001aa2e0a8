-- What everything else stands on: the vector type, the three roles that policies name, the columns
-- that say who migrated, and the schema `meta_agent` with the tenancy helper and the key generators.
-- Applies unchanged as superuser, as a plain owner, on Supabase and embedded: what exists is left alone.
DO $$
DECLARE
  missing text[] := '{}';
  role_name text;
  vector_version text;
BEGIN
  IF current_setting('server_version_num')::int < 150000 THEN
    RAISE EXCEPTION 'meta-agent-db needs PostgreSQL 15 or newer, this server is %', current_setting('server_version');
  END IF;

  IF current_schema() IS DISTINCT FROM 'public' THEN
    RAISE EXCEPTION 'the tables would be created in schema %, not in public', coalesce(current_schema(), '(none)')
      USING ERRCODE = 'invalid_schema_name',
        HINT = format('Put public first on the search_path, for example ALTER ROLE %I SET search_path = public; then migrate again.', current_user);
  END IF;

  -- Look first: CREATE ROLE checks the privilege before the existence.
  FOREACH role_name IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', role_name);
      EXCEPTION
        -- Roles belong to the server: a migration of another database may have been faster.
        WHEN duplicate_object OR unique_violation THEN NULL;
        WHEN insufficient_privilege THEN
          missing := missing || format('CREATE ROLE %I NOLOGIN NOINHERIT;', role_name);
      END;
    END IF;
  END LOOP;

  IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') THEN
    IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector') THEN
      RAISE EXCEPTION 'this server does not have pgvector'
        USING ERRCODE = 'feature_not_supported',
          HINT = 'Install pgvector 0.8 or newer on the server (for example the package postgresql-17-pgvector or the image pgvector/pgvector:pg17), then migrate again.';
    END IF;
    BEGIN
      IF to_regnamespace('extensions') IS NULL THEN
        CREATE EXTENSION IF NOT EXISTS vector;
      ELSE
        CREATE EXTENSION IF NOT EXISTS vector SCHEMA extensions;
      END IF;
    EXCEPTION WHEN insufficient_privilege THEN
      missing := missing || CASE
        WHEN to_regnamespace('extensions') IS NULL THEN 'CREATE EXTENSION vector;'
        ELSE 'CREATE EXTENSION vector SCHEMA extensions;'
      END;
    END;
  END IF;

  IF missing <> '{}' THEN
    RAISE EXCEPTION '% may not create what the database needs first: %', current_user, array_to_string(missing, ' ')
      USING ERRCODE = 'insufficient_privilege',
        HINT = format('Have a superuser run these statements in database %I, then migrate again.', current_database());
  END IF;

  SELECT extversion INTO vector_version FROM pg_extension WHERE extname = 'vector';
  IF string_to_array(substring(vector_version FROM '^\d+\.\d+'), '.')::int[] < ARRAY[0, 8] THEN
    RAISE EXCEPTION 'meta-agent-db needs pgvector 0.8 or newer, this database has %', vector_version
      USING ERRCODE = 'feature_not_supported',
        HINT = 'Run ALTER EXTENSION vector UPDATE; (after updating pgvector on the server), then migrate again.';
  END IF;
  IF to_regtype('vector') IS NULL THEN
    RAISE EXCEPTION 'the type vector is in schema %, which is not on the search_path of %',
        (SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'vector'), current_user
      USING ERRCODE = 'undefined_object',
        HINT = format('Run ALTER DATABASE %I SET search_path = "$user", public, %s; then migrate again.', current_database(),
          (SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'vector'));
  END IF;
END $$;
--> statement-breakpoint
-- Where PUBLIC has lost its right to look into the schemas, the two roles still need it.
DO $$
DECLARE
  role_name text;
  home text;
BEGIN
  FOREACH role_name IN ARRAY ARRAY['authenticated', 'service_role'] LOOP
    FOREACH home IN ARRAY ARRAY['public', (SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector')] LOOP
      IF NOT has_schema_privilege(role_name, home, 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', home, role_name);
      END IF;
    END LOOP;
  END LOOP;
END $$;
--> statement-breakpoint
-- Which login applied a migration, and when. The migrators create the journal itself, with whatever the
-- database grants by default; nobody but its owner may write it.
DO $$
BEGIN
  IF to_regclass('drizzle.__meta_agent_migrations') IS NOT NULL THEN
    ALTER TABLE drizzle.__meta_agent_migrations
      ADD COLUMN IF NOT EXISTS applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      ADD COLUMN IF NOT EXISTS applied_by text NOT NULL DEFAULT session_user;
    REVOKE ALL ON TABLE drizzle.__meta_agent_migrations, drizzle.__meta_agent_migrations_id_seq
      FROM PUBLIC, anon, authenticated, service_role;
  END IF;
END $$;
--> statement-breakpoint
-- Outside Supabase the functions that the seed's queries call do not exist. None of our own objects
-- depends on them.
DO $$
BEGIN
  IF to_regnamespace('auth') IS NULL THEN
    CREATE SCHEMA auth;
    CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
      AS $f$ SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb $f$;
    CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
      AS $f$ SELECT (auth.jwt() ->> 'sub')::uuid $f$;
    CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
      AS $f$ SELECT auth.jwt() ->> 'role' $f$;
    GRANT USAGE ON SCHEMA auth TO anon, authenticated, service_role;
  END IF;
END $$;
--> statement-breakpoint
-- Its functions search pg_catalog first and pg_temp last. An empty search_path is not enough: pg_temp is
-- searched for types before all else unless it is named, and a caller's own type `uuid` with a cast of
-- its own would run the caller's code as the owner.
CREATE SCHEMA IF NOT EXISTS meta_agent;
--> statement-breakpoint
COMMENT ON SCHEMA meta_agent IS 'Helpers of meta-agent-db. Not to be exposed through an API.';
--> statement-breakpoint
-- The caller's organization, from the verified claims of the transaction: top-level organization_id,
-- else app_metadata.organization_id, never user_metadata (users edit that themselves). A top-level key
-- that is present decides, whatever it holds. Anything but a uuid string is NULL: no rows, no error.
CREATE OR REPLACE FUNCTION meta_agent.current_organization_id() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT substring(
    coalesce(claims -> 'organization_id', claims -> 'app_metadata' -> 'organization_id')::text
    FROM '^"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"$'
  )::uuid
  FROM (SELECT nullif(current_setting('request.jwt.claims', true), '')::json AS claims) AS setting
$$;
--> statement-breakpoint
-- Time-ordered keys (RFC 9562, version 7): 48 bits of Unix milliseconds, then random bits. One text on
-- every server version; from PostgreSQL 18 on the server's own generator answers.
CREATE OR REPLACE FUNCTION meta_agent.uuidv7() RETURNS uuid
LANGUAGE plpgsql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
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
--> statement-breakpoint
-- A new key as if made at that instant, for rows of the past. Instants before 1970 count as 1970.
CREATE OR REPLACE FUNCTION meta_agent.uuidv7_at(instant timestamptz) RETURNS uuid
LANGUAGE plpgsql VOLATILE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
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
--> statement-breakpoint
-- The smallest key of that millisecond: `id >= meta_agent.uuidv7_floor(…)` reads a time range by key.
CREATE OR REPLACE FUNCTION meta_agent.uuidv7_floor(instant timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT (substr(hex, 1, 8) || '-' || substr(hex, 9, 4) || '-7000-8000-000000000000')::uuid
  FROM (
    SELECT lpad(to_hex(greatest(0, least(281474976710655,
      floor(extract(epoch FROM instant - to_timestamp(0)) * 1000)))::bigint), 12, '0') AS hex
  ) AS millisecond
$$;
--> statement-breakpoint
-- When a key was made, to the millisecond. NULL for a uuid of another version.
CREATE OR REPLACE FUNCTION meta_agent.uuidv7_time(id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN substr(id::text, 15, 1) = '7' THEN
    to_timestamp(('x' || substr(id::text, 1, 8) || substr(id::text, 10, 4))::bit(48)::bigint / 1000.0)
  END
$$;
--> statement-breakpoint
REVOKE ALL ON FUNCTION meta_agent.current_organization_id(), meta_agent.uuidv7(),
  meta_agent.uuidv7_at(timestamptz), meta_agent.uuidv7_floor(timestamptz), meta_agent.uuidv7_time(uuid)
  FROM PUBLIC, anon, authenticated, service_role;
--> statement-breakpoint
REVOKE ALL ON SCHEMA meta_agent FROM PUBLIC, anon, authenticated, service_role;
--> statement-breakpoint
GRANT USAGE ON SCHEMA meta_agent TO authenticated, service_role;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION meta_agent.current_organization_id(), meta_agent.uuidv7(),
  meta_agent.uuidv7_at(timestamptz), meta_agent.uuidv7_floor(timestamptz), meta_agent.uuidv7_time(uuid)
  TO authenticated, service_role;
