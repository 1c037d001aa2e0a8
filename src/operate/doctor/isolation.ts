/** Checks of what others made: ways past the policies of our tables, and tables of their own. */
import { sql } from "drizzle-orm";
import { checkOf, info, ours, warning } from "./check.ts";

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
