/**
 * Migrations create in schema public, so they must search it, and whoever else may create there could plant a
 * function or an operator that fits a literal better than the server's own (CVE-2018-1058). What must search
 * public asks here first; all else runs with `withServersNames`.
 */
import { sql } from "drizzle-orm";
import { databaseError } from "../../client/errors.ts";
import { LOCK_KEY } from "./lock.ts";
import { type Transaction, one } from "../../client/sql.ts";
import { withSettings } from "../../client/settings.ts";

/** Others have planted, or could plant, what would run with the rights of this login. */
export class UntrustedSchemaError extends Error {
  override readonly name = "UntrustedSchemaError";
}

/** Whom to trust. */
export interface TrustOptions {
  /**
   * Go on although others may create in schema public, or own what the migrations made before: they could
   * have this login run what they write. What is planted there already is refused all the same. Default false.
   */
  readonly trustPublic?: boolean | undefined;
}

/** SQLSTATE of the refusal; nothing else in the block raises it. */
const REFUSED = "55000";

/** The setting by which a script is told to go on; `trustPublic` sets it. */
const TRUST_SETTING = "meta_agent.trust_public";

/**
 * Runs `work` where functions, operators and types are found in pg_catalog, public and the home of the vector
 * type alone, after a look that nobody else has planted or could plant anything there.
 * @throws {UntrustedSchemaError} naming objects and roles, with the statements to run
 */
export async function inTrustedSchemas<T>(
  tx: Transaction,
  { trustPublic = false }: TrustOptions,
  work: () => Promise<T>,
): Promise<T> {
  const { former } = await one<{ former: string }>(
    tx,
    sql`select pg_catalog.current_setting('search_path') as former`,
  );
  // The block narrows the path; what was is put back after the work.
  const settings = { search_path: former, ...(trustPublic ? { [TRUST_SETTING]: "on" } : {}) };
  return withSettings(tx, settings, async () => {
    try {
      await tx.execute(sql.raw(trustStatement()));
    } catch (error) {
      throw refusal(error);
    }
    return work();
  });
}

function refusal(error: unknown): unknown {
  const said = databaseError(error);
  return said?.code === REFUSED
    ? new UntrustedSchemaError([said.message, said.hint].filter(Boolean).join("\n"), {
        cause: error,
      })
    : error;
}

/** The look as a statement of its own. It narrows the search_path until the end of the transaction. */
export const trustStatement = (): string =>
  `DO $meta_agent_trust$\n${DECLARATIONS}BEGIN\n${LOOK}END $meta_agent_trust$`;

/**
 * The look behind the migrators' lock, and then a block of PL/pgSQL inside of it, after which the path is what
 * it was. Within a statement the server goes on believing that a schema is missing which it looked for before
 * it waited, so nothing is looked for before the lock.
 */
export const afterLook = (block: string): string =>
  `${DECLARATIONS}BEGIN\n  PERFORM pg_catalog.pg_advisory_xact_lock(${LOCK_KEY});\n${LOOK}\n${block}\n  PERFORM pg_catalog.set_config('search_path', meta_agent_former, true);\nEND `;

// Until the first PERFORM every name stands with its schema: public may be searched before pg_catalog.
const DECLARATIONS = `DECLARE
  meta_agent_former pg_catalog.text := pg_catalog.current_setting('search_path');
  meta_agent_path pg_catalog.name[] := pg_catalog.current_schemas(false);
  meta_agent_places pg_catalog.oid[];
  meta_agent_trusted pg_catalog.oid[];
  meta_agent_plants pg_catalog.text;
  meta_agent_planters pg_catalog.text;
  meta_agent_remedies pg_catalog.text;
  meta_agent_grants pg_catalog.text;
  meta_agent_revokes pg_catalog.text;
`;

/** The roles that hold the rights of this login, or of who owns the database or public, hold them anyway. */
const TRUSTED = `SELECT array_agg(r.oid) INTO meta_agent_trusted FROM pg_roles AS r
  WHERE r.rolsuper
    OR pg_has_role(r.oid, (SELECT oid FROM pg_roles WHERE rolname = current_user), 'MEMBER')
    OR pg_has_role(r.oid, (SELECT datdba FROM pg_database WHERE datname = current_database()), 'MEMBER')
    OR pg_has_role(r.oid, (SELECT nspowner FROM pg_namespace WHERE nspname = 'public'), 'MEMBER');`;

/** Objects of the server's and of pgvector's, whose names others must not bear. */
const ofVector = (
  catalog: string,
) => `SELECT d.objid FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
        WHERE e.extname = 'vector' AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
          AND d.classid = '${catalog}'::regclass`;

/**
 * A type of the server's name is never found: pg_catalog is searched first. A cast needs a type of its
 * author's, which only a function, an operator or a type found here brings in.
 */
const PLANTS = `SELECT 'ROUTINE ' || p.oid::regprocedure::text AS object, p.proowner AS owner FROM pg_proc AS p
      WHERE p.pronamespace = ANY (meta_agent_places) AND p.proname IN (
        SELECT s.proname FROM pg_proc AS s
        WHERE s.pronamespace = 'pg_catalog'::regnamespace OR s.oid IN (${ofVector("pg_proc")}))
    UNION ALL
    SELECT 'OPERATOR ' || o.oid::regoperator::text, o.oprowner FROM pg_operator AS o
      WHERE o.oprnamespace = ANY (meta_agent_places) AND o.oprname IN (
        SELECT s.oprname FROM pg_operator AS s
        WHERE s.oprnamespace = 'pg_catalog'::regnamespace OR s.oid IN (${ofVector("pg_operator")}))
    UNION ALL
    SELECT CASE WHEN c.relkind IN ('r', 'p') THEN 'TABLE ' WHEN c.relkind = 'v' THEN 'VIEW '
        WHEN c.relkind = 'm' THEN 'MATERIALIZED VIEW ' WHEN c.relkind = 'f' THEN 'FOREIGN TABLE '
        WHEN t.typtype = 'd' THEN 'DOMAIN ' ELSE 'TYPE ' END || t.oid::regtype::text, t.typowner
      FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = t.typrelid
      WHERE t.typnamespace = ANY (meta_agent_places) AND t.typname IN ('vector', 'halfvec', 'sparsevec')`;

/**
 * Who may create in the schemas, by whatever way, and who owns what the migrations call or write to. A role
 * that nobody can log in as or switch to is nobody.
 */
const GRANTS = `SELECT g.why, g.remedy, array_to_string((array_agg(quote_ident(l.rolname) ORDER BY l.rolname))[1:5], ', ')
        || CASE WHEN count(*) > 5 THEN format(' and %s more', count(*) - 5) ELSE '' END AS logins
      FROM (
        SELECT a.grantee, 'CREATE on schema ' || quote_ident(n.nspname)
            || CASE a.grantee WHEN 0 THEN ' is PUBLIC''s' ELSE ' is granted to ' || quote_ident(pg_get_userbyid(a.grantee)) END AS why,
          'REVOKE CREATE ON SCHEMA ' || quote_ident(n.nspname) || ' FROM '
            || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END || ';' AS remedy
        FROM pg_namespace AS n CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
        WHERE (n.oid = ANY (meta_agent_places) OR n.nspname IN ('meta_agent', 'drizzle'))
          AND a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner
        UNION
        SELECT n.nspowner, 'schema ' || quote_ident(n.nspname) || ' belongs to ' || quote_ident(pg_get_userbyid(n.nspowner)),
          'ALTER SCHEMA ' || quote_ident(n.nspname) || ' OWNER TO ' || quote_ident(current_user) || ';'
        FROM pg_namespace AS n
        WHERE n.oid = ANY (meta_agent_places) OR n.nspname IN ('meta_agent', 'drizzle')
        UNION
        SELECT p.proowner, 'function ' || p.oid::regprocedure::text || ' belongs to ' || quote_ident(pg_get_userbyid(p.proowner)),
          'ALTER ROUTINE ' || p.oid::regprocedure::text || ' OWNER TO ' || quote_ident(current_user) || ';'
        FROM pg_proc AS p WHERE p.pronamespace = to_regnamespace('meta_agent')
        UNION
        SELECT c.relowner, 'the journal ' || c.oid::regclass::text || ' belongs to ' || quote_ident(pg_get_userbyid(c.relowner)),
          'ALTER TABLE ' || c.oid::regclass::text || ' OWNER TO ' || quote_ident(current_user) || ';'
        FROM pg_class AS c
        WHERE c.relnamespace = to_regnamespace('drizzle') AND c.relname = '__meta_agent_migrations'
      ) AS g JOIN pg_roles AS l ON CASE g.grantee WHEN 0 THEN true ELSE pg_has_role(l.oid, g.grantee, 'MEMBER') END
      WHERE l.rolcanlogin AND l.oid <> ALL (meta_agent_trusted)
        AND has_database_privilege(l.oid, current_database(), 'CONNECT')
      GROUP BY g.why, g.remedy`;

/** Names of others may hold what moves a terminal's cursor. */
const printable = (text: string) => `regexp_replace(${text}, '[\\x01-\\x1f\\x7f-\\x9f]', '?', 'g')`;

/** More of them are counted. */
const SHOWN = 20;

const LOOK = `  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

  -- What else is on the path is not searched. Where public does not come first, the first migration says so.
  IF meta_agent_path[1] = 'public' THEN
    meta_agent_path := ARRAY(
      SELECT s.name FROM unnest(meta_agent_path) WITH ORDINALITY AS s (name, place)
      WHERE s.name IN ('public', 'extensions') OR s.name = (
        SELECT n.nspname FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'vector')
      ORDER BY s.place);
  END IF;
  -- An extension is made in its home, whoever searches it.
  SELECT array_agg(n.oid) INTO meta_agent_places FROM pg_namespace AS n
  WHERE n.nspname <> 'pg_catalog' AND (n.nspname = ANY (meta_agent_path)
    OR n.nspname = 'extensions' AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector'));
  ${TRUSTED}

  SELECT string_agg('  ' || ${printable("object || ' of ' || quote_ident(pg_get_userbyid(owner))")}, E'\\n' ORDER BY place) FILTER (WHERE place <= ${SHOWN})
      || CASE WHEN count(*) > ${SHOWN} THEN format(E'\\n  and %s more', count(*) - ${SHOWN}) ELSE '' END,
    string_agg(DISTINCT 'DROP OWNED BY ' || ${printable("quote_ident(pg_get_userbyid(owner))")} || ';', ' '),
    string_agg('DROP ' || ${printable("object")} || ';', ' ' ORDER BY place) FILTER (WHERE place <= ${SHOWN})
      || CASE WHEN count(*) > ${SHOWN} THEN ' …' ELSE '' END
  INTO meta_agent_plants, meta_agent_planters, meta_agent_remedies FROM (
    SELECT object, owner, row_number() OVER (ORDER BY object) AS place FROM (
    ${PLANTS}
    ) AS born WHERE owner <> ALL (meta_agent_trusted)
  ) AS planted;

  IF coalesce(current_setting('${TRUST_SETTING}', true), '') NOT IN ('on', 'true', '1') THEN
    SELECT string_agg('  ' || ${printable("logins || ': ' || why")}, E'\\n' ORDER BY why),
      string_agg(${printable("remedy")}, ' ' ORDER BY remedy)
    INTO meta_agent_grants, meta_agent_revokes FROM (
    ${GRANTS}
    ) AS granted;
  END IF;

  IF meta_agent_plants IS NOT NULL OR meta_agent_grants IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '${REFUSED}',
      MESSAGE = concat_ws(E'\\n',
        E'objects of others could be called in place of the server''s own, with the rights of ' || quote_ident(current_user) || '. Nothing was changed.',
        E'They are there already:\\n' || meta_agent_plants,
        E'Others may make them:\\n' || meta_agent_grants),
      HINT = concat_ws(E'\\n',
        'Run: ' || meta_agent_revokes,
        'Look at what is there, then run: ' || meta_agent_remedies || E'\\nor, to drop all that they own in this database: ' || meta_agent_planters,
        'Or connect as the role that all of it belongs to. Where all who may create there are trusted with the rights of this login, go on with --trust-public or { trustPublic: true }; a script, after SET ${TRUST_SETTING} = on;'
          || CASE WHEN meta_agent_grants IS NULL THEN NULL ELSE '' END);
  END IF;
  PERFORM set_config('search_path', concat_ws(', ', (
    SELECT string_agg(quote_ident(s.name), ', ' ORDER BY s.place)
    FROM unnest(meta_agent_path) WITH ORDINALITY AS s (name, place) WHERE s.name <> 'pg_catalog'), 'pg_temp'), true);
`;
