/** Checks of what others made: ways past the policies of our tables, and tables of their own. */
import { sql } from "drizzle-orm";
import { checkOf, error, info, ours, warning } from "./check.ts";

/** Who acts for people: what PUBLIC may do they may do too. */
const tenants = sql`(select oid, rolname from pg_roles where rolname in ('authenticated', 'anon'))`;

/**
 * Functions that read our tables with the rights of one to whom the policies do not apply. PostgreSQL knows what
 * a body of statements reads; of a body that is a text the names in it are all there is to see. Trigger
 * functions cannot be called.
 */
export const definers = checkOf<{
  routine: string;
  owner: string;
  certain: boolean;
  tables: string;
}>(
  "isolation",
  () => sql`
    with recursive reader (oid, name) as (
      select oid, relname::text from ${ours} as ours
      union
      select r.ev_class, reader.name from reader
      join pg_depend as d on d.refclassid = 'pg_class'::regclass and d.refobjid = reader.oid and d.classid = 'pg_rewrite'::regclass
      join pg_rewrite as r on r.oid = d.objid join pg_class as c on c.oid = r.ev_class and c.relkind = 'v'
    ), definer as (
      select p.oid, p.prosrc, p.prosqlbody is not null as certain, p.proowner from pg_proc as p
      join pg_namespace as n on n.oid = p.pronamespace join pg_roles as o on o.oid = p.proowner
      where p.prosecdef and n.nspname not in ('pg_catalog', 'information_schema', 'meta_agent')
        and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
        and not exists (select from pg_depend as d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
        and (o.rolbypassrls or exists (select from ${ours} as ours where pg_has_role(o.oid, ours.relowner, 'USAGE'))
          or exists (select from pg_roles as s where s.rolname = 'service_role' and pg_has_role(o.oid, s.oid, 'USAGE')))
        and exists (select from ${tenants} as tenant
          where has_function_privilege(tenant.oid, p.oid, 'EXECUTE') and has_schema_privilege(tenant.oid, n.oid, 'USAGE'))
    )
    select definer.oid::regprocedure::text as routine, quote_ident(pg_get_userbyid(definer.proowner)) as owner,
      certain, string_agg(distinct reader.name, ', ' order by reader.name) as tables
    from definer join reader on case
      when certain then exists (select from pg_depend as d where d.classid = 'pg_proc'::regclass and d.objid = definer.oid
        and d.refclassid = 'pg_class'::regclass and d.refobjid = reader.oid)
      else definer.prosrc ~* ('\\m' || reader.name || '\\M') end
    group by definer.oid, certain, definer.proowner order by 1`,
  ({ routine, owner, certain, tables }) => [
    warning(
      `${routine} is SECURITY DEFINER, tenants may call it, and it ${certain ? "reads" : "seems to read"} ${tables} as ${owner}, to whom no policy applies: unless it asks for the caller's organization itself, it shows every organization's rows`,
      `ALTER ROUTINE ${routine} SECURITY INVOKER;`,
    ),
  ],
);

/** A subscriber is told of every row. */
export const publications = checkOf<{ name: string; tables: string }>(
  "isolation",
  () => sql`
    select quote_ident(pubname) as name, string_agg(tablename, ', ' order by tablename) as tables
    from pg_publication_tables where schemaname = 'public'
      and tablename in (select relname from ${ours} as ours) group by pubname order by pubname`,
  ({ name, tables }) => [
    info(
      `the publication ${name} sends the rows of every organization to whoever subscribes: ${tables}`,
      "Nothing, if each subscriber may see them all, or sorts them by organization as Supabase Realtime does.",
    ),
  ],
);

/** Tables of the user's own, wherever they are: `oid`, `name` as SQL may write it, `home`. */
const theirs = sql`(
  select c.oid, c.relname, c.oid::regclass::text as name, n.nspname as home, c.relrowsecurity, c.relacl, c.relowner from pg_class as c
  join pg_namespace as n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and c.relpersistence <> 't' and c.oid not in (select oid from ${ours} as ours)
    and n.nspname not in ('pg_catalog', 'information_schema', 'meta_agent', 'drizzle')
    and not exists (select from pg_depend as d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'))`;

/** Whether the tenants may read, add, change or take rows of it. */
const isOpen = sql`exists (select from ${tenants} as tenant where has_schema_privilege(tenant.oid, theirs.home, 'USAGE')
  and (has_any_column_privilege(tenant.oid, theirs.oid, 'SELECT, INSERT, UPDATE')
    or has_table_privilege(tenant.oid, theirs.oid, 'DELETE, TRUNCATE')))`;

/** Tables of the user's own whose rows belong to an organization, and that no policy guards. */
export const unguarded = checkOf<{
  table: string;
  enabled: boolean;
  open: boolean;
  statement: string | null;
}>(
  "isolation",
  () => sql`
    select name as table, relrowsecurity as enabled, ${isOpen} as open,
      case home when 'public' then format('SELECT meta_agent.isolate(%L, %L);', relname, replace(relname, '_', ' ')) end as statement
    from ${theirs} as theirs join pg_attribute as a on a.attrelid = theirs.oid and a.attname = 'organization_id' and not a.attisdropped
    where not (relrowsecurity and exists (select from pg_policy as p where p.polrelid = theirs.oid))
      -- Its parent's policies guard a partition, unless it is opened itself.
      and (${isOpen} or not (select relispartition from pg_class as c where c.oid = theirs.oid))
      -- Of one that was isolated there is more to say.
      and not exists (select from pg_policy as p where p.polrelid = theirs.oid and p.polname like 'Users % own org %')
    order by name`,
  ({ table, enabled, open, statement }) => {
    if (enabled) {
      return [
        warning(
          `${table} has an organization_id and no policy: nobody but its owner sees a row of it`,
          statement ??
            `Give ${table} policies; meta_agent.isolate does it for tables in schema public.`,
        ),
      ];
    }
    return [
      (open ? error : warning)(
        `${table} has an organization_id and no row-level security: ${open ? "tenants reach the rows of every organization" : "a grant would open the rows of every organization"}`,
        statement ?? `ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY;`,
      ),
    ];
  },
);

/**
 * Tables of the user's own that `meta_agent.isolate` closed, and that are no longer as it made them. Policies
 * beside its five are the user's.
 */
export const isolated = checkOf<{
  table: string;
  noun: string;
  problems: string[];
  statement: string;
}>(
  "isolation",
  () => sql`
    with named as (
      select theirs.*, (select substring(p.polname::text from '^Users (?:see|add|change|remove) own org (.+)$') as noun
        from pg_policy as p where p.polrelid = theirs.oid and p.polname ~ '^Users (see|add|change|remove) own org .'
        group by 1 order by count(*) desc, 1 limit 1) as noun,
        exists (select from pg_attribute as a where a.attrelid = theirs.oid and a.attname = 'organization_id' and not a.attisdropped) as owned
      from ${theirs} as theirs where home = 'public'
    ), wanted as (
      select named.*, list.* from named cross join (values
        ('Users see own org ', 'r', 'authenticated', true, false),
        ('Users add own org ', 'a', 'authenticated', false, true),
        ('Users change own org ', 'w', 'authenticated', true, true),
        ('Users remove own org ', 'd', 'authenticated', true, false),
        ('Service role full access', '*', 'service_role', true, true)) as list (title, command, role, reads, writes)
      where noun is not null
    ), compared as (
      select wanted.oid, wanted.title || case when role = 'authenticated' then noun else '' end as policy, p.oid as found,
        p.polpermissive and p.polcmd::text = command and p.polroles = array(select r.oid from pg_roles as r where r.rolname = role)
          and (pg_get_expr(p.polqual, p.polrelid) is not null) = reads
          and (pg_get_expr(p.polwithcheck, p.polrelid) is not null) = writes
          and case role when 'service_role'
            then pg_get_expr(p.polqual, p.polrelid) = 'true' and pg_get_expr(p.polwithcheck, p.polrelid) = 'true'
            else coalesce(shape.reads_own, true) and coalesce(shape.writes_own, true) end as same
      from wanted
      left join pg_policy as p on p.polrelid = wanted.oid
        and p.polname = left(wanted.title || case when role = 'authenticated' then noun else '' end, 63)
      cross join lateral (select regexp_replace(pg_get_expr(p.polqual, p.polrelid), '\\s+', ' ', 'g') as qual,
        regexp_replace(pg_get_expr(p.polwithcheck, p.polrelid), '\\s+', ' ', 'g') as checked,
        '(organization_id = ( SELECT meta_agent.current_organization_id() AS current_organization_id))' as own) as text
      cross join lateral (select
        case when wanted.owned then qual = own else qual like '%p.organization_id = ( SELECT meta_agent.current_organization_id()%' end as reads_own,
        case when wanted.owned then checked = own or checked like '(' || own || ' AND %'
          else checked like '%p.organization_id = ( SELECT meta_agent.current_organization_id()%' end
          -- Each reference is held to the organization: one that came later wants isolate again.
          and not exists (select from pg_constraint as k join pg_attribute as a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
            where k.conrelid = wanted.oid and k.contype = 'f' and strpos(checked, '.' || quote_ident(a.attname) || ')') = 0
              and strpos(checked, '(' || quote_ident(a.attname) || ')') = 0) as writes_own) as shape
    ), opened as (
      select named.oid, string_agg(distinct coalesce(r.rolname, 'PUBLIC') || ' may ' || a.privilege_type, ', ') as list
      from named cross join aclexplode(named.relacl) as a left join pg_roles as r on r.oid = a.grantee
      where noun is not null and a.grantee <> named.relowner and (a.grantee = 0 or r.rolname = 'anon'
        or r.rolname in ('authenticated', 'service_role') and a.privilege_type not in ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))
      group by named.oid
    )
    select name as table, noun, format('SELECT meta_agent.isolate(%L, %L);', relname, noun) as statement,
      array_remove(array(select format('the policy %I is %s', policy, case when found is null then 'missing' else 'changed' end)
          from compared where compared.oid = named.oid and same is not true order by policy)
        || array[case when not relrowsecurity then 'row-level security is off' end, (select list from opened where opened.oid = named.oid)], null) as problems
    from named where noun is not null order by name`,
  ({ table, problems, statement }) =>
    problems.length === 0
      ? []
      : [
          error(
            `${table} is no longer as meta_agent.isolate made it, so rows may be open to other organizations or closed to their own: ${problems.join("; ")}`,
            statement,
          ),
        ],
);
