import type { Query } from "./engine.ts";

// One line an object, as PostgreSQL itself spells it. What differs between server versions without a
// difference in meaning is left out: the NOT NULL constraints that 18 names, versions of extensions.
const CATALOG = `
with ours as (
  select c.oid, c.oid::regclass::text as name, c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity,
    case when c.relkind <> 'i' then coalesce(c.relacl,
      acldefault((case c.relkind when 'S' then 's' else 'r' end)::"char", c.relowner)) end as relacl
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname in ('public', 'meta_agent', 'auth', 'drizzle')
    and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
), functions as (
  select p.oid, p.oid::regprocedure::text as name, p.proacl
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  where n.nspname in ('public', 'meta_agent', 'auth')
    and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
)
select 'table ' || name || ' rls=' || relrowsecurity || ' force=' || relforcerowsecurity || format(' %s', relpersistence) as line from ours where relkind = 'r'
union all
select format('column %s.%s #%s %s null=%s default %s', o.name, a.attname, a.attnum,
  format_type(a.atttypid, a.atttypmod), not a.attnotnull, pg_get_expr(d.adbin, d.adrelid))
  from ours o join pg_attribute a on a.attrelid = o.oid
  left join pg_attrdef d on d.adrelid = o.oid and d.adnum = a.attnum
  where o.relkind = 'r' and a.attnum > 0 and not a.attisdropped
union all
select format('constraint %s.%s %s', o.name, c.conname, pg_get_constraintdef(c.oid))
  from ours o join pg_constraint c on c.conrelid = o.oid where c.contype <> 'n'
union all
select format('index %s valid=%s', pg_get_indexdef(i.indexrelid), i.indisvalid)
  from ours o join pg_index i on i.indrelid = o.oid
union all
select format('policy %s on %s.%s %s %s to %s using %s check %s', policyname, schemaname, tablename, permissive, cmd,
  roles, qual, with_check) from pg_policies
union all
select format('trigger %s enabled=%s', pg_get_triggerdef(t.oid), t.tgenabled) from ours o join pg_trigger t on t.tgrelid = o.oid where not t.tgisinternal
union all
select format('%s triggers of constraint %s enabled=%s', count(*), c.conname, t.tgenabled)
  from pg_constraint c join ours o on o.oid = c.conrelid join pg_trigger t on t.tgconstraint = c.oid group by c.conname, t.tgenabled
union all
select format('rule %s', pg_get_ruledef(r.oid)) from ours o join pg_rewrite r on r.ev_class = o.oid where o.relkind = 'r'
union all
select format('statistics %s', pg_get_statisticsobjdef(s.oid)) from ours o join pg_statistic_ext s on s.stxrelid = o.oid
union all
select format('function %s', pg_get_functiondef(f.oid)) from functions f
union all
select format('grant %s on %s to %s', acl.privilege_type, o.name, coalesce(r.rolname, 'public'))
  from ours o cross join aclexplode(o.relacl) acl left join pg_roles r on r.oid = acl.grantee
union all
select format('grant %s on %s.%s to %s', acl.privilege_type, o.name, a.attname, coalesce(r.rolname, 'public'))
  from ours o join pg_attribute a on a.attrelid = o.oid cross join aclexplode(a.attacl) acl
  left join pg_roles r on r.oid = acl.grantee
union all
select format('grant %s on function %s to %s', acl.privilege_type, f.name, coalesce(r.rolname, 'public'))
  from functions f cross join aclexplode(f.proacl) acl left join pg_roles r on r.oid = acl.grantee
union all
select format('grant %s on schema %s to %s', acl.privilege_type, n.nspname, coalesce(r.rolname, 'public'))
  from pg_namespace n cross join aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) acl left join pg_roles r on r.oid = acl.grantee
  where n.nspname in ('meta_agent', 'auth', 'drizzle')
union all
select format('comment on %s %s: %s', o.name, coalesce(a.attname, ''), d.description)
  from ours o join pg_description d on d.objoid = o.oid and d.classoid = 'pg_class'::regclass
  left join pg_attribute a on a.attrelid = o.oid and a.attnum = d.objsubid and d.objsubid > 0
union all
select format('comment on schema %s: %s', n.nspname, d.description)
  from pg_namespace n join pg_description d on d.objoid = n.oid and d.classoid = 'pg_namespace'::regclass
  where n.nspname = 'meta_agent'
union all
select format('extension %s', extname) from pg_extension where extname = 'vector'
order by line`;

/** Everything this package puts into a database, one line an object, in order. */
export async function catalog(query: Query): Promise<string[]> {
  const rows = await query<{ line: string }>(CATALOG);
  return rows.map(({ line }) => line).toSorted();
}
