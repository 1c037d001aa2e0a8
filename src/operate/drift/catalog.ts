import { sql } from "drizzle-orm";
import { withSettings } from "../../client/settings.ts";
import { type Database, rows } from "../../client/sql.ts";
import { OUR_ROLES } from "../logins.ts";
import { confinedTransaction } from "../../client/transaction.ts";

/** Kinds of objects, each before those that stand on it: the order in which they are made. */
export const KINDS = [
  "role",
  "schema",
  "extension",
  "function",
  "table",
  "column",
  "row-level security",
  "primary key",
  "unique constraint",
  "check",
  "exclusion constraint",
  "foreign key",
  "index",
  "statistics",
  "trigger",
  "rule",
  "policy",
  "view",
  "owner",
  "comment",
  "grant",
] as const;
export type Kind = (typeof KINDS)[number];

/** One object of a database. */
export interface CatalogObject {
  /** Its kind and its name, as a person says it: `policy "Users see own org agents" on agent_registry`. */
  readonly object: string;
  /** The object it goes with when that is dropped, or `""`. */
  readonly parent: string;
  /** The statement that makes it. What is not as it should be may stand behind it: ` -- invalid`. */
  readonly definition: string;
}

/** One object of a live database. */
export interface LiveObject extends CatalogObject {
  /** The statement that takes it away. */
  readonly undo: string;
}

export interface Catalog {
  readonly objects: readonly LiveObject[];
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
      const [home] = rows<{ schema: string }>(
        await tx.execute(sql`
        select coalesce((select extnamespace from pg_extension where extname = 'vector'),
          to_regnamespace('extensions'), to_regnamespace('public'))::regnamespace::text as schema`),
      );
      const found = rows<Pick<LiveObject, keyof LiveObject>>(await tx.execute(objectsOf(tables)));
      return { objects: inOrder(found), vectorSchema: home?.schema ?? "public" };
    });
  });
}

/** By kind; columns, which come in their table's order, stay in it. */
function inOrder(objects: LiveObject[]): LiveObject[] {
  const key = (object: LiveObject) => {
    const kind = kindOf(object);
    return `${String(KINDS.indexOf(kind)).padStart(2, "0")} ${kind === "column" ? object.parent : object.object}`;
  };
  return objects.toSorted((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
}

export function kindOf({ object }: Pick<CatalogObject, "object">): Kind {
  const kind = KINDS.find((name) => object.startsWith(`${name} `));
  if (!kind) throw new Error(`${object} is of no known kind`);
  return kind;
}

const ROLE_NAMES = sql`${sql.param([...OUR_ROLES])}::text[]`;

// Columns that PostgreSQL 15 does not have are not read. Left out, for they tune: options and
// storage of tables, statistics targets, tablespaces.
const objectsOf = (tables: readonly string[]) => sql`
with tables as (
  select c.*, format('%I.%I', n.nspname, c.relname) as path,
    case n.nspname when 'public' then '' else n.nspname || '.' end || c.relname as label
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p')
    and (n.nspname = 'public' and c.relname = any (${sql.param([...tables])}::text[]) or n.nspname = 'meta_agent')
), columns as (
  select a.*, t.path, t.label, d.adbin
  from tables t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
), functions as (
  select p.*, p.oid::regprocedure::text as path from pg_proc p where p.pronamespace = to_regnamespace('meta_agent')
), schemas as (
  select * from pg_namespace where nspname in ('meta_agent', 'drizzle', 'public')
), journal as (
  select c.*, format('drizzle.%I', c.relname) as path from pg_class c
  where c.relnamespace = to_regnamespace('drizzle')
    and c.relname in ('__meta_agent_migrations', '__meta_agent_migrations_id_seq')
),
-- What others than the owner may do. To a role that is not ours row-level security applies as to any:
-- only what looks past it counts.
privileges (scope, parent, owner, acl, columns, watched) as (
  select 'TABLE ' || path, 'table ' || label, relowner, relacl, '', array['TRUNCATE', 'TRIGGER', 'REFERENCES'] from tables
  union all
  select 'TABLE ' || c.path, 'table ' || c.label, t.relowner, c.attacl, format(' (%I)', c.attname), array['REFERENCES']
  from columns c join tables t on t.oid = c.attrelid
  union all
  select 'FUNCTION ' || path, 'function ' || path, proowner, coalesce(proacl, acldefault('f', proowner)), '', '{}' from functions
  union all
  select 'SCHEMA ' || nspname, 'schema ' || nspname, nspowner, nspacl, '',
    case nspname when 'meta_agent' then array['CREATE'] else '{}' end from schemas
  union all
  select case relkind when 'S' then 'SEQUENCE ' else 'TABLE ' end || path, 'table ' || path, relowner, relacl, '',
    case relkind when 'S' then '{}' else array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES'] end from journal
), grants as (
  select p.scope, p.parent, case a.grantee when 0 then 'PUBLIC' else quote_ident(r.rolname) end as grantee,
    -- Whoever may use public may go on.
    case p.scope when 'SCHEMA public' then 'CREATE' else 'ALL' end as taken,
    string_agg(a.privilege_type || p.columns || case when a.is_grantable then ' WITH GRANT OPTION' else '' end, ', '
      order by a.privilege_type collate "C", p.columns) as list
  from privileges p cross join aclexplode(p.acl) a left join pg_roles r on r.oid = a.grantee
  where a.grantee <> p.owner
    -- In public others may do what they please, but our roles make nothing there.
    and (p.scope <> 'SCHEMA public' or a.privilege_type = 'CREATE')
    and (a.grantee = 0 or r.rolname = any (${ROLE_NAMES}) or a.privilege_type = any (p.watched))
  group by 1, 2, 3, 4
),
-- The owner passes row-level security: all of it belongs to one.
owned (object, command, owner) as (
  select label, 'TABLE ' || path, relowner from tables
  union all select path, 'ROUTINE ' || path, proowner from functions
  union all select 'schema meta_agent', 'SCHEMA meta_agent', nspowner from schemas where nspname = 'meta_agent'
), usual as (
  select mode() within group (order by owner) as owner from owned
),
-- Views over our tables, and views over those.
views as (
  with recursive readers as (
    select t.oid from tables t
    union
    select r.ev_class from readers o
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = o.oid and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite r on r.oid = d.objid
  )
  select c.*, c.oid::regclass::text as path from readers join pg_class c using (oid)
  where c.relkind = 'v' and not exists (
      select from pg_options_to_table(c.reloptions) where option_name = 'security_invoker' and option_value::boolean)
    or c.relkind = 'm' and exists (select from aclexplode(c.relacl) where grantee <> c.relowner)
)
select 'role ' || rolname as object, '' as parent,
  format('CREATE ROLE %I NOLOGIN NOINHERIT', rolname) as definition, '' as undo
  from pg_roles where rolname = any (${ROLE_NAMES})
union all
select 'schema meta_agent', '', 'CREATE SCHEMA meta_agent', '' from schemas where nspname = 'meta_agent'
union all
select 'extension vector', '', 'CREATE EXTENSION vector', '' from pg_extension where extname = 'vector'
union all
select 'function ' || path, 'schema meta_agent',
  case prokind when 'a' then 'CREATE AGGREGATE ' || path else rtrim(pg_get_functiondef(oid), E'\n') end, 'DROP ROUTINE ' || path
  from functions
union all
select 'table ' || label, '',
  format('CREATE %sTABLE %s ()', case relpersistence when 'u' then 'UNLOGGED ' else '' end, path), 'DROP TABLE ' || path
  from tables
union all
select 'row-level security of ' || label, 'table ' || label,
  format('ALTER TABLE %s %s ROW LEVEL SECURITY, %s ROW LEVEL SECURITY', path,
    case when relrowsecurity then 'ENABLE' else 'DISABLE' end, case when relforcerowsecurity then 'FORCE' else 'NO FORCE' end), ''
  from tables
union all
(select format('column %s.%s', label, attname), 'table ' || label,
  format('ALTER TABLE %s ADD COLUMN %I %s', path, attname, format_type(atttypid, atttypmod))
    || case when attcollation <> (select typcollation from pg_type where oid = atttypid)
      then ' COLLATE ' || attcollation::regcollation else '' end
    || case when attgenerated <> '' then format(' GENERATED ALWAYS AS (%s)', pg_get_expr(adbin, attrelid))
        || case attgenerated when 's' then ' STORED' else ' VIRTUAL' end
      when attidentity <> '' then format(' GENERATED %s AS IDENTITY', case attidentity when 'a' then 'ALWAYS' else 'BY DEFAULT' end)
      else coalesce(' DEFAULT ' || pg_get_expr(adbin, attrelid), '') end
    || case when attnotnull then ' NOT NULL' else '' end
    -- From 18 on.
    || case when exists (select from pg_constraint k where k.conrelid = attrelid and k.contype = 'n'
        and k.conkey = array[attnum] and not k.convalidated) then ' -- not validated' else '' end,
  format('ALTER TABLE %s DROP COLUMN %I', path, attname)
  from columns order by attrelid, attnum)
union all
select format('%s %s on %s', kind.name, k.conname, t.label), 'table ' || t.label,
  format('ALTER TABLE %s ADD CONSTRAINT %I %s', t.path, k.conname, pg_get_constraintdef(k.oid))
    || case when exists (select from pg_trigger g where g.tgconstraint = k.oid and g.tgenabled <> 'O') then ' -- disabled' else '' end,
  format('ALTER TABLE %s DROP CONSTRAINT %I', t.path, k.conname)
  from tables t join pg_constraint k on k.conrelid = t.oid
  join (values ('p', 'primary key'), ('u', 'unique constraint'), ('c', 'check'), ('x', 'exclusion constraint'), ('f', 'foreign key'))
    as kind (letter, name) on kind.letter = k.contype::text
union all
select format('index %s on %s', c.relname, t.label), 'table ' || t.label,
  pg_get_indexdef(i.indexrelid) || case when i.indisvalid and i.indisready then '' else ' -- invalid' end,
  'DROP INDEX ' || i.indexrelid::regclass
  from tables t join pg_index i on i.indrelid = t.oid join pg_class c on c.oid = i.indexrelid
  where not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x'))
union all
select format('statistics %s on %s', s.stxname, t.label), 'table ' || t.label,
  pg_get_statisticsobjdef(s.oid), format('DROP STATISTICS %s.%I', s.stxnamespace::regnamespace, s.stxname)
  from tables t join pg_statistic_ext s on s.stxrelid = t.oid
union all
select format('trigger %s on %s', g.tgname, t.label), 'table ' || t.label,
  pg_get_triggerdef(g.oid) || case g.tgenabled when 'O' then '' when 'D' then ' -- disabled' when 'R' then ' -- on replicas' else ' -- always' end,
  format('DROP TRIGGER %I ON %s', g.tgname, t.path)
  from tables t join pg_trigger g on g.tgrelid = t.oid where not g.tgisinternal
union all
select format('rule %s on %s', r.rulename, t.label), 'table ' || t.label,
  pg_get_ruledef(r.oid), format('DROP RULE %I ON %s', r.rulename, t.path)
  from tables t join pg_rewrite r on r.ev_class = t.oid
union all
select format('policy "%s" on %s', p.polname, t.label), 'table ' || t.label,
  format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', p.polname, t.path,
    case when p.polpermissive then 'PERMISSIVE' else 'RESTRICTIVE' end,
    case p.polcmd when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE' when 'd' then 'DELETE' else 'ALL' end,
    (select string_agg(coalesce(quote_ident(r.rolname), 'PUBLIC'), ', ' order by r.rolname)
      from unnest(p.polroles) as role left join pg_roles r on r.oid = role))
    || coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
    || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', ''),
  format('DROP POLICY %I ON %s', p.polname, t.path)
  from tables t join pg_policy p on p.polrelid = t.oid
union all
select 'view ' || path, '',
  case relkind when 'v' then format('CREATE VIEW %s AS %s', path, pg_get_viewdef(oid)) else format('CREATE MATERIALIZED VIEW %s AS %s', path, pg_get_viewdef(oid)) end,
  case relkind when 'v' then format('ALTER VIEW %s SET (security_invoker = true)', path)
    else (select format('REVOKE ALL ON TABLE %s FROM %s CASCADE', path,
        string_agg(distinct coalesce(quote_ident(r.rolname), 'PUBLIC'), ', '))
      from aclexplode(relacl) a left join pg_roles r on r.oid = a.grantee where a.grantee <> relowner) end
  from views
union all
select 'owner of ' || o.object, '',
  format('ALTER %s OWNER TO %s', o.command, o.owner::regrole), format('ALTER %s OWNER TO %s', o.command, usual.owner::regrole)
  from owned o, usual where o.owner <> usual.owner
union all
select 'comment on table ' || t.label, 'table ' || t.label,
  format('COMMENT ON TABLE %s IS %L', t.path, obj_description(t.oid, 'pg_class')), ''
  from tables t where obj_description(t.oid, 'pg_class') is not null
union all
select format('comment on column %s.%s', label, attname), format('column %s.%s', label, attname),
  format('COMMENT ON COLUMN %s.%I IS %L', path, attname, col_description(attrelid, attnum)), ''
  from columns where col_description(attrelid, attnum) is not null
union all
select 'comment on schema meta_agent', 'schema meta_agent',
  format('COMMENT ON SCHEMA meta_agent IS %L', obj_description(oid, 'pg_namespace')), ''
  from schemas where nspname = 'meta_agent' and obj_description(oid, 'pg_namespace') is not null
union all
select format('grant on %s to %s', regexp_replace(parent, '^table ', ''), grantee), parent,
  format('GRANT %s ON %s TO %s', list, scope, grantee), format('REVOKE %s ON %s FROM %s CASCADE', taken, scope, grantee)
  from grants
union all
-- Through PUBLIC or by name: both roles must be able to look into public.
select format('grant of use of schema public to %s', rolname), '',
  format('GRANT USAGE ON SCHEMA public TO %I', rolname), ''
  from schemas s, pg_roles r
  where nspname = 'public' and rolname in ('authenticated', 'service_role') and has_schema_privilege(r.oid, s.oid, 'USAGE')`;
