import { type SQL, sql } from "drizzle-orm";
import { withSettings } from "../../client/settings.ts";
import { type Database, one, rows, textArray } from "../../client/sql.ts";
import { confinedTransaction } from "../../client/transaction.ts";
import { OUR_ROLES } from "../logins.ts";
import { PARTITIONS } from "../months.ts";
import type { CatalogObject } from "./facts.ts";
import { KINDS, KIND_RECORDS, nameOf } from "./kinds.ts";

/** What there is of our tables, and around them. */
export interface Catalog {
  /** In the order of their kinds. */
  readonly objects: readonly CatalogObject[];
  /** The schema of the type vector, or the one where it would be created. */
  readonly vectorSchema: string;
}

/**
 * Reads what there is of our tables, of the schema `meta_agent`, of the journal's grants, and what others
 * added to them. It takes no rights but to connect.
 * @param tables names in schema public
 */
export async function readCatalog(db: Database, tables: readonly string[]): Promise<Catalog> {
  return confinedTransaction(db, async (tx) => {
    // PostgreSQL leaves out the schemas that the search_path finds.
    return withSettings(tx, { search_path: "", quote_all_identifiers: "off" }, async () => {
      const { schema } = await one<{ schema: string }>(
        tx,
        sql`
        select coalesce((select extnamespace from pg_extension where extname = 'vector'),
          to_regnamespace('extensions'), to_regnamespace('public'))::regnamespace::text as schema`,
      );
      const found = rows<CatalogObject>(await tx.execute(objectsOf(tables)));
      return { objects: inOrder(found), vectorSchema: schema };
    });
  });
}

/** By kind, then by name; columns, which come in their table's order, stay in it. */
function inOrder(objects: CatalogObject[]): CatalogObject[] {
  const key = (object: CatalogObject) =>
    [
      String(KINDS.indexOf(object.kind)).padStart(2, "0"),
      object.kind === "column" ? object.path[0] : nameOf(object),
    ].join(" ");
  return objects.toSorted((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
}

const allKinds = sql.join(
  KINDS.map(
    (kind) => sql`
select ${kind}::text as kind, to_jsonb(path) as path, jsonb_strip_nulls(facts) as facts
from (${KIND_RECORDS[kind].query}) as of_kind`,
  ),
  sql` union all `,
);

// Columns that PostgreSQL 15 does not have are not read. Left out, for they tune: options and
// storage of tables, statistics targets, tablespaces.
const objectsOf = (tables: readonly string[]): SQL => sql`
with tables as (
  select c.*, format('%I.%I', n.nspname, c.relname) as path,
    case n.nspname when 'public' then '' else n.nspname || '.' end || c.relname as label
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p')
    and (n.nspname = 'public' and c.relname = any (${textArray(tables)}) or n.nspname = 'meta_agent')
), partitions as (
  select * from ${PARTITIONS} as part
), columns as (
  select a.*, t.path, t.label, d.adbin
  from tables t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
),
-- Of any table, what rules and inheritance are said by.
ruled as (
  select c.oid, format('%I.%I', n.nspname, c.relname) as path,
    case n.nspname when 'public' then '' else n.nspname || '.' end || c.relname as label,
    c.oid in (select oid from tables) as ours
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'f')
), functions as (
  select p.*, p.oid::regprocedure::text as path from pg_proc p where p.pronamespace = to_regnamespace('meta_agent')
    -- What isolate makes for a table of the user's own that refers to itself is not of the migrations, nor one too many.
    and not exists (
      select from pg_class c join pg_policy y on y.polrelid = c.oid
      join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = y.oid and d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid
      where c.relnamespace = to_regnamespace('public') and c.oid not in (select oid from tables)
        and p.proname = ('own_' || c.relname || '_row')::name
        and p.prosrc like '% WHERE p.id = row_id AND p.organization_id = meta_agent.current_organization_id()) ')
), schemas as (
  select * from pg_namespace where nspname in ('meta_agent', 'meta_agent_partitions', 'drizzle', 'public')
), journal as (
  select c.*, format('drizzle.%I', c.relname) as path from pg_class c
  where c.relnamespace = to_regnamespace('drizzle')
    and c.relname in ('__meta_agent_migrations', '__meta_agent_migrations_id_seq')
),
-- What others than the owner may do. To a role that is not ours row-level security applies as to any:
-- only what looks past it counts.
privileges (scope, kind, name, owner, acl, columns, watched) as (
  select 'TABLE ' || path, 'table', label, relowner, relacl, '', array['TRUNCATE', 'TRIGGER', 'REFERENCES'] from tables
  union all
  select 'TABLE ' || path, 'table', label, relowner, relacl, '', array['TRUNCATE', 'TRIGGER', 'REFERENCES'] from partitions
  union all
  select 'TABLE ' || path, 'table', label, relowner, attacl, format(' (%I)', attname), array['REFERENCES']
  from partitions join pg_attribute on attrelid = oid and attnum > 0 and not attisdropped
  union all
  select 'TABLE ' || c.path, 'table', c.label, t.relowner, c.attacl, format(' (%I)', c.attname), array['REFERENCES']
  from columns c join tables t on t.oid = c.attrelid
  union all
  select 'FUNCTION ' || path, 'function', path, proowner, coalesce(proacl, acldefault('f', proowner)), '', '{}' from functions
  union all
  select 'SCHEMA ' || nspname, 'schema', nspname, nspowner, nspacl, '',
    case when nspname like 'meta_agent%' then array['CREATE'] else '{}' end from schemas
  union all
  select case relkind when 'S' then 'SEQUENCE ' else 'TABLE ' end || path, 'table', path, relowner, relacl, '',
    case relkind when 'S' then '{}' else array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES'] end from journal
), grants as (
  select p.scope, p.kind, p.name, case a.grantee when 0 then 'PUBLIC' else quote_ident(r.rolname) end as grantee,
    -- Whoever may use public may go on.
    case p.scope when 'SCHEMA public' then 'CREATE' else 'ALL' end as taken,
    string_agg(a.privilege_type || p.columns || case when a.is_grantable then ' WITH GRANT OPTION' else '' end, ', '
      order by a.privilege_type collate "C", p.columns) as list
  from privileges p cross join aclexplode(p.acl) a left join pg_roles r on r.oid = a.grantee
  where a.grantee <> p.owner
    -- In public others may do what they please, but our roles make nothing there.
    and (p.scope <> 'SCHEMA public' or a.privilege_type = 'CREATE')
    and (a.grantee = 0 or r.rolname = any (${textArray(OUR_ROLES)}) or a.privilege_type = any (p.watched))
  group by 1, 2, 3, 4, 5
),
-- The owner passes row-level security: all of it belongs to one.
owned (kind, name, command, owner) as (
  select 'table', label, 'TABLE ' || path, relowner from tables
  union all select 'table', label, 'TABLE ' || path, relowner from partitions
  union all select 'function', path, 'ROUTINE ' || path, proowner from functions
  union all select 'schema', nspname, 'SCHEMA ' || nspname, nspowner from schemas where nspname like 'meta_agent%'
), usual as (
  select mode() within group (order by owner) as owner from owned
),
-- Our tables, views over them, and views over those.
readers as (
  with recursive reader as (
    select oid from (select oid from tables union all select oid from partitions) t
    union
    select r.ev_class from reader o
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = o.oid and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite r on r.oid = d.objid
    -- A rule of a table is said itself.
    join pg_class c on c.oid = r.ev_class and c.relkind in ('v', 'm')
  )
  select oid from reader
), views as (
  select c.*, c.oid::regclass::text as path from readers join pg_class c using (oid)
  where c.relkind = 'v' and not exists (
      select from pg_options_to_table(c.reloptions) where option_name = 'security_invoker' and option_value::boolean)
    or c.relkind = 'm' and exists (select from aclexplode(c.relacl) where grantee <> c.relowner)
)
${allKinds}`;
