import { sql } from "drizzle-orm";
import { rows } from "../../src/client/sql.ts";
import { type Guarantee, guarantee } from "./attack.ts";

/** A guarantee that the catalog alone can answer: the query names what violates it. */
const lint = (title: string, query: string): Guarantee =>
  guarantee(title, async ({ tx, fixture }) => {
    const known = `{${fixture.order.join(",")}}`;
    const text = query.replaceAll(":attacked", `'${known}'::text[]`);
    const found = await tx.execute(sql.raw(`${CATALOG} ${text}`));
    return rows<{ violation: string }>(found).map(({ violation }) => violation);
  });

// What the lints share. Extensions' own objects are not ours.
const CATALOG = `
with relations as (
  select c.oid, c.relname::text as name, c.relkind, c.relowner, c.relrowsecurity, c.relforcerowsecurity, c.relacl
  from pg_class c
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
), tables as (
  select * from relations where relkind in ('r', 'p')
), columns as (
  select t.oid, t.name as table_name, a.attname::text as name, a.attnum, a.attacl
  from tables t join pg_attribute a on a.attrelid = t.oid
  where a.attnum > 0 and not a.attisdropped
), keys as (
  select t.oid, t.name as table_name, k.conname, k.conkey, k.confrelid, a.attname::text as column_name, a.attnum
  from tables t join pg_constraint k on k.conrelid = t.oid and k.contype = 'f'
  join pg_attribute a on a.attrelid = t.oid and a.attnum = any (k.conkey)
), policies as (
  select t.oid, t.name as table_name, p.oid as policy, p.polname::text as name, p.polpermissive as permissive,
    case p.polcmd when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE' when 'd' then 'DELETE' else 'ALL' end as command,
    array(select case r when 0 then 'public' else pg_get_userbyid(r)::text end from unnest(p.polroles) r order by 1) as roles,
    pg_get_expr(p.polqual, p.polrelid) as old_row, pg_get_expr(p.polwithcheck, p.polrelid) as new_row
  from tables t join pg_policy p on p.polrelid = t.oid
), functions as (
  select p.*, p.oid::regprocedure::text as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  where (n.nspname in ('public', 'meta_agent')
      or n.nspname = 'auth' and n.nspowner = (select nspowner from pg_namespace where nspname = 'meta_agent'))
    and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
), callers (role) as (
  values ('anon'), ('authenticated'), ('service_role')
)`;

export const coverage = lint(
  "everything in the schema public is a table that is attacked here",
  `select format('%s: not attacked, for tests/rows.ts has no row of it, or it is no table (%s)', name, relkind) as violation
   from relations where relkind not in ('r', 'p') or name <> all (:attacked)`,
);

export const rowSecurity = lint(
  "row-level security is on for every table and forced on none",
  `select name || ': row-level security is off' as violation from tables where not relrowsecurity
   union all
   select name || ': row-level security is forced on its owner' from tables where relforcerowsecurity`,
);

export const fivePolicies = lint(
  "every table has its five policies, one for a role and command, and no other",
  `, expected (prefix, command, role) as (values
     ('Users see own org ', 'SELECT', 'authenticated'), ('Users add own org ', 'INSERT', 'authenticated'),
     ('Users change own org ', 'UPDATE', 'authenticated'), ('Users remove own org ', 'DELETE', 'authenticated'),
     ('Service role full access', 'ALL', 'service_role'))
   , noted as (
     select p.*, e.prefix, substr(p.name, length(e.prefix) + 1) as noun from policies p left join expected e
     on starts_with(p.name, e.prefix) and p.command = e.command and p.roles = array[e.role] and p.permissive)
   select format('%s: unexpected policy "%s" %s for %s to %s', table_name, name,
     case when permissive then 'permissive' else 'restrictive' end, command, roles) as violation
   from noted where prefix is null
   union all
   select format('%s: no policy "%s..." for %s to %s alone', t.name, e.prefix, e.command, e.role)
   from tables t cross join expected e
   where 1 <> (select count(*) from noted n where n.oid = t.oid and n.prefix = e.prefix)
   union all
   select format('%s: its policies speak of different things: %s', table_name, string_agg(distinct noun, ', '))
   from noted where roles = '{authenticated}' and prefix is not null group by table_name having count(distinct noun) > 1`,
);

export const sameCondition = lint(
  "reading, changing and removing ask the same of a row, and only service_role's policies are true",
  `select format('%s: "%s" sees other rows than the SELECT policy', p.table_name, p.name) as violation
   from policies p join policies s on s.oid = p.oid and s.command = 'SELECT' and s.roles = p.roles
   where p.command in ('UPDATE', 'DELETE') and p.old_row is distinct from s.old_row
   union all
   select format('%s: "%s" is not true for service_role', table_name, name) from policies
   where roles = '{service_role}' and (old_row, new_row) is distinct from ('true', 'true')
   union all
   select format('%s: "%s" is true', table_name, name) from policies
   where roles <> '{service_role}' and 'true' in (old_row, new_row)`,
);

export const wrapped = lint(
  "a policy evaluates the caller's organization once a statement, not once a row",
  `select format('%s: "%s" calls the helper outside of a sub-select', table_name, name) as violation
   from policies cross join lateral (values (old_row), (new_row)) as condition (text)
   where replace(text, '( SELECT meta_agent.current_organization_id() AS current_organization_id)', '') ~ 'current_organization_id'`,
);

export const sources = lint(
  "no policy asks for a role claim, user_metadata, or any other setting, and no helper decides by one",
  `select format('%s: "%s" asks for something else than the organization', table_name, name) as violation
   from policies cross join lateral (values (old_row), (new_row)) as condition (text)
   where text ~ 'current_setting|_user\\M|current_role|auth\\.|jwt|metadata'
   union all
   select format('%s: reads user_metadata or a role', name) from functions
   where pronamespace = 'meta_agent'::regnamespace and prosrc ~ 'user_metadata|''role''|auth\\.'`,
);

export const checkedReferences = lint(
  "every foreign key is a single column that the INSERT and the UPDATE policy check",
  `select format('%s: %s has several columns', table_name, conname) as violation from keys where cardinality(conkey) > 1
   union all
   select format('%s.%s is not checked by the %s policy', k.table_name, k.column_name, command)
   from keys k cross join (values ('INSERT'), ('UPDATE')) as list (command)
   where not exists (
     select from policies p where p.oid = k.oid and p.command = list.command
       and p.roles = '{authenticated}' and p.new_row ~ ('\\m' || k.column_name || '\\M'))`,
);

export const organizationIndex = lint(
  "every table with an organization has a whole index that leads with it",
  `select c.table_name || ': no index leads with organization_id' as violation from columns c
   where c.name = 'organization_id' and not exists (
     select from pg_index i where i.indrelid = c.oid and i.indkey[0] = c.attnum and i.indisvalid and i.indpred is null)`,
);

export const referenceIndex = lint(
  "every foreign key has a whole index that leads with it",
  `select format('%s: no index leads with %s', k.table_name, k.column_name) as violation from keys k
   where not exists (
     select from pg_index i where i.indrelid = k.oid and i.indkey[0] = k.attnum and i.indisvalid and i.indpred is null)`,
);

// idx_health_realtime_agent: kept for compatibility with the first schema.
export const duplicateIndex = lint(
  "no index repeats another, but the one that the seed asks for",
  `select format('%s: %s repeats another', t.name, string_agg(i.indexrelid::regclass::text, ' and ' order by i.indexrelid::regclass::text)) as violation
   from tables t join pg_index i on i.indrelid = t.oid
   group by t.name, i.indkey, i.indclass, i.indoption, coalesce(i.indpred::text, ''), coalesce(i.indexprs::text, '')
   having string_agg(i.indexrelid::regclass::text, ' and ' order by i.indexrelid::regclass::text)
     not in (min(i.indexrelid::regclass::text), 'agent_health_realtime_agent_id_key and idx_health_realtime_agent')`,
);

export const statistics = lint(
  "the planner knows that an agent has one organization, wherever a table has both",
  `select a.table_name || ': no statistics (dependencies) on agent_id, organization_id' as violation
   from columns a join columns o on o.oid = a.oid and o.name = 'organization_id'
   where a.name = 'agent_id' and not exists (
     select from pg_statistic_ext s where s.stxrelid = a.oid and 'f' = any (s.stxkind)
       and s.stxkeys::text in (a.attnum || ' ' || o.attnum, o.attnum || ' ' || a.attnum))`,
);

export const organizationDefault = lint(
  "an organization is the caller's unless given",
  `select c.table_name || ': organization_id has another default or none' as violation
   from columns c left join pg_attrdef d on d.adrelid = c.oid and d.adnum = c.attnum
   where c.name = 'organization_id'
     and pg_get_expr(d.adbin, d.adrelid) is distinct from 'meta_agent.current_organization_id()'`,
);

export const primaryKey = lint(
  "every table has its id as the primary key",
  `select t.name || ': no primary key (id)' as violation from tables t where not exists (
     select from pg_constraint k where k.conrelid = t.oid and k.contype = 'p' and pg_get_constraintdef(k.oid) = 'PRIMARY KEY (id)')`,
);

export const grants = lint(
  "authenticated and service_role may SELECT, INSERT, UPDATE and DELETE; nobody may anything else",
  `, granted as (
     select t.oid, t.name, a.privilege_type, a.is_grantable,
       case a.grantee when 0 then 'public' else pg_get_userbyid(a.grantee)::text end as role
     from tables t cross join aclexplode(coalesce(t.relacl, acldefault('r', t.relowner))) as a where a.grantee <> t.relowner)
   , expected as (
     select t.oid, t.name, privilege_type, role from tables t
     cross join (values ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) as p (privilege_type)
     cross join (values ('authenticated'), ('service_role')) as r (role))
   select format('%s: %s may %s', name, role, privilege_type) as violation from granted g
   where g.is_grantable or not exists (select from expected e where (e.oid, e.privilege_type, e.role) = (g.oid, g.privilege_type, g.role))
   union all
   select format('%s: %s may not %s', name, role, privilege_type) from expected e
   where not exists (select from granted g where (e.oid, e.privilege_type, e.role) = (g.oid, g.privilege_type, g.role))
   union all
   select format('%s: privileges on the column %s', table_name, name) from columns where attacl is not null`,
);

export const schemas = lint(
  "callers may use meta_agent, anon not even that, and create in no schema",
  `select format('%s: %s may %s', nspname, role, privilege) as violation
   from pg_namespace cross join callers cross join (values ('USAGE'), ('CREATE')) as list (privilege)
   where nspname in ('public', 'meta_agent', 'auth', 'drizzle') and has_schema_privilege(role, nspname, privilege)
     and not (privilege = 'USAGE' and (nspname in ('public', 'auth') or nspname = 'meta_agent' and role <> 'anon'))
   union all
   select format('meta_agent: %s may not use it', role) from callers
   where role <> 'anon' and not has_schema_privilege(role, 'meta_agent', 'USAGE')
   union all
   select format('meta_agent: %s may %s', case a.grantee when 0 then 'public' else pg_get_userbyid(a.grantee)::text end, a.privilege_type)
   from pg_namespace n cross join aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) as a
   where n.nspname = 'meta_agent' and a.grantee <> n.nspowner and a.grantee::regrole::text not in ('authenticated', 'service_role')`,
);

export const execution = lint(
  "authenticated and service_role may call the helpers of meta_agent, and nobody may call anything else there",
  `, granted as (
     select f.name, case a.grantee when 0 then 'public' else pg_get_userbyid(a.grantee)::text end as role
     from functions f cross join aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) as a
     where f.pronamespace = 'meta_agent'::regnamespace and a.grantee <> f.proowner)
   , expected as (
     select f.name, r.role from functions f cross join (values ('authenticated'), ('service_role')) as r (role)
     where f.pronamespace = 'meta_agent'::regnamespace and f.prorettype not in ('void'::regtype, 'trigger'::regtype)
       and not (f.proname = 'latest_learnings' and r.role = 'service_role'))
   (select format('%s: %s may call it', name, role) as violation from granted except select format('%s: %s may call it', name, role) from expected)
   union all
   (select format('%s: %s may not call it', name, role) from expected except select format('%s: %s may not call it', name, role) from granted)`,
);

// Where it is not named, pg_temp is searched first, for types and tables of the caller's own making.
export const searchPaths = lint(
  "the search path of every function is pinned: the system's schema, and pg_temp last",
  `select name || ': search_path is not pinned' as violation from functions
   where not exists (
     select from unnest(proconfig) as setting
     where setting = 'search_path=pg_catalog, pg_temp')`,
);

export const definers = lint(
  "what runs as the owner are the helpers for self references and latest_learnings, closed to anon and the public",
  `select name || ': SECURITY DEFINER' as violation from functions f
   where prosecdef and not (pronamespace = 'meta_agent'::regnamespace and (f.proname = 'latest_learnings' or exists (
     select from keys k where k.confrelid = k.oid and f.proname = 'own_' || k.table_name || '_row')))
   union all
   select name || ': SECURITY DEFINER and anon may call it' from functions
   where prosecdef and has_function_privilege('anon', oid, 'EXECUTE')
   union all
   select name || ': LEAKPROOF' from functions where proleakproof`,
);

export const volatility = lint(
  "every function in a policy is STABLE and PARALLEL SAFE",
  `select distinct format('%s: its policies call %s, which is not', p.table_name, f.name) as violation
   from policies p
   join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.policy and d.refclassid = 'pg_proc'::regclass
   join functions f on f.oid = d.refobjid
   where (f.provolatile, f.proparallel) <> ('s', 's')`,
);

// A service_role that was there before may bypass policies (Supabase's does); then schema auth is not ours.
export const roles = lint(
  "the three roles cannot log in, own nothing, bypass nothing and act as nobody else",
  `select format('%s: can log in', rolname) as violation from callers join pg_roles on rolname = role where rolcanlogin
   union all
   select format('%s: owns %s', role, t.name) from callers join tables t on pg_get_userbyid(t.relowner) = role
   union all
   select format('%s: acts as %s, who %s', role, r.rolname,
     case when r.rolsuper then 'is superuser' when r.rolbypassrls then 'bypasses row-level security' else 'is another' end)
   from callers join pg_roles r on pg_has_role(role, r.oid, 'MEMBER')
   where (r.rolsuper or r.rolbypassrls or r.oid in (select relowner from tables)
       or r.rolname <> role and role <> 'service_role')
     and not (role = 'service_role' and r.rolname = role and not r.rolsuper and exists (
       select from pg_namespace a join pg_namespace m on m.nspname = 'meta_agent'
       where a.nspname = 'auth' and a.nspowner <> m.nspowner))`,
);

export const lints = [
  coverage,
  rowSecurity,
  fivePolicies,
  sameCondition,
  wrapped,
  sources,
  checkedReferences,
  organizationIndex,
  referenceIndex,
  duplicateIndex,
  statistics,
  organizationDefault,
  primaryKey,
  grants,
  schemas,
  execution,
  searchPaths,
  definers,
  volatility,
  roles,
];
