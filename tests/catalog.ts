import { sql } from "drizzle-orm";
import { type Transaction, rows } from "../src/client/sql.ts";
import type { Query } from "./engine.ts";

// The tests' own reading of the system catalogs: nothing of it is shared with src, whose reading it judges.

interface Common {
  readonly schema: string;
  /** Its table's name, or "". */
  readonly table: string;
  /** A function's with its schema and arguments. */
  readonly name: string;
  /** The name for SQL, but of a function. */
  readonly quoted: string;
  /** `class:object:column` of the dependency graph. */
  readonly key: string;
}

interface Spelling {
  /** All of it on one line, as PostgreSQL itself spells it. */
  readonly line: string;
  /** The statement that makes it, or what follows its name there; "" of a table, a column and a policy. */
  readonly definition: string;
}

interface Facts {
  /** Its columns in their order. */
  table: { readonly path: string; readonly columns: readonly string[] };
  column: { readonly type: string; readonly default: string | null; readonly notNull: boolean };
  constraint: {
    /** `pg_constraint.contype`: primary key, unique, check, foreign key, exclusion. */
    readonly letter: "p" | "u" | "c" | "f" | "x";
    readonly columns: readonly string[];
    /** The table that a foreign key names. */
    readonly parent: string | null;
    readonly isValidated: boolean;
  };
  index: {
    readonly columns: readonly string[];
    readonly isUnique: boolean;
    readonly isPrimary: boolean;
    readonly isPartial: boolean;
    readonly isValid: boolean;
    /** Whether a constraint keeps it. */
    readonly isOwned: boolean;
  };
  policy: { readonly command: string };
  trigger: object;
  statistics: object;
  function: { /** Those of our roles that may call it. */ readonly callers: readonly string[] };
}

export type Kind = keyof Facts;

/** What the system catalogs say of an object of a database. */
type Known<K extends Kind = Kind> = { [Of in K]: { kind: Of } & Common & Facts[Of] }[K];

/** The same, and its SQL. */
export type Part<K extends Kind = Kind> = Known<K> & Spelling;

// What differs between server versions without a difference in meaning is left out: the NOT NULL constraints
// that 18 names, versions of extensions.
const OURS = `
with ours as (
  select c.oid, c.oid::regclass::text as name, n.nspname as schema, c.relname, c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity,
    case when c.relkind <> 'i' then coalesce(c.relacl,
      acldefault((case c.relkind when 'S' then 's' else 'r' end)::"char", c.relowner)) end as relacl
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname in ('public', 'meta_agent', 'auth', 'drizzle')
    and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
), functions as (
  select p.oid, n.nspname as schema, p.oid::regprocedure::text as name, p.proacl
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  where n.nspname in ('public', 'meta_agent', 'auth')
    and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
)`;

/** The names of a table's columns with these numbers, in their order. */
const columnNames = (table: string, numbers: string) => `(
  select coalesce(jsonb_agg((select attname from pg_attribute where attrelid = ${table} and attnum = number) order by place), '[]')
  from unnest(${numbers}) with ordinality as k (number, place))`;

/** Of an index over expressions, the names of all columns that these and its condition read. */
const READ_BY_INDEX = `(
  select jsonb_agg(distinct attname) from pg_depend d join pg_attribute on attrelid = d.refobjid and attnum = d.refobjsubid
  where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid and d.refobjid = o.oid and d.refobjsubid > 0)`;

/** For each kind: line, schema, table, name, definition, class, oid, column, facts. */
const PARTS: Readonly<Record<Kind, string>> = {
  table: `
    select 'table ' || name || ' rls=' || relrowsecurity || ' force=' || relforcerowsecurity || format(' %s', relpersistence),
      schema, relname, relname, '', 'pg_class'::regclass, oid, 0,
      jsonb_build_object('path', format('%I.%I', schema, relname), 'columns', (
        select jsonb_agg(attname order by attnum) from pg_attribute where attrelid = ours.oid and attnum > 0 and not attisdropped))
    from ours where relkind in ('r', 'p')`,
  column: `
    select format('column %s.%s #%s %s null=%s default %s', o.name, a.attname, a.attnum,
        format_type(a.atttypid, a.atttypmod), not a.attnotnull, pg_get_expr(d.adbin, d.adrelid)),
      schema, relname, attname, '', 'pg_class'::regclass, o.oid, attnum,
      jsonb_build_object('type', format_type(atttypid, atttypmod), 'default', pg_get_expr(adbin, adrelid), 'notNull', attnotnull)
    from ours o join pg_attribute a on a.attrelid = o.oid
    left join pg_attrdef d on d.adrelid = o.oid and d.adnum = a.attnum
    where o.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped`,
  constraint: `
    select format('constraint %s.%s %s', o.name, c.conname, pg_get_constraintdef(c.oid)),
      schema, relname, conname, pg_get_constraintdef(c.oid), 'pg_constraint'::regclass, c.oid, 0,
      jsonb_build_object('letter', contype::text, 'columns', ${columnNames("o.oid", "c.conkey")}, 'isValidated', convalidated,
        'parent', (select relname from pg_class where oid = confrelid))
    from ours o join pg_constraint c on c.conrelid = o.oid where c.contype <> 'n'`,
  index: `
    select format('index %s valid=%s', pg_get_indexdef(i.indexrelid), i.indisvalid),
      schema, o.relname, c.relname, pg_get_indexdef(i.indexrelid), 'pg_class'::regclass, i.indexrelid, 0,
      jsonb_build_object('columns', case when i.indexprs is null then ${columnNames("o.oid", "i.indkey")} else ${READ_BY_INDEX} end, 'isUnique', indisunique, 'isPrimary', indisprimary,
        'isPartial', indpred is not null, 'isValid', indisvalid,
        'isOwned', exists (select from pg_constraint where conindid = indexrelid and contype <> 'f'))
    from ours o join pg_index i on i.indrelid = o.oid join pg_class c on c.oid = i.indexrelid`,
  policy: `
    select format('policy %s on %s.%s %s %s to %s using %s check %s', policyname, schemaname, tablename, permissive, cmd,
        roles, qual, with_check),
      schemaname, tablename, polname, '', 'pg_policy'::regclass, p.oid, 0, jsonb_build_object('command', cmd)
    from pg_policies join pg_namespace n on nspname = schemaname join pg_class c on relnamespace = n.oid and relname = tablename
    join pg_policy p on polrelid = c.oid and polname = policyname`,
  trigger: `
    select format('trigger %s enabled=%s', pg_get_triggerdef(t.oid), t.tgenabled),
      schema, relname, tgname, pg_get_triggerdef(t.oid), 'pg_trigger'::regclass, t.oid, 0, '{}'::jsonb
    from ours o join pg_trigger t on t.tgrelid = o.oid where not t.tgisinternal`,
  statistics: `
    select format('statistics %s', pg_get_statisticsobjdef(s.oid)),
      schema, relname, stxname, pg_get_statisticsobjdef(s.oid), 'pg_statistic_ext'::regclass, s.oid, 0, '{}'::jsonb
    from ours o join pg_statistic_ext s on s.stxrelid = o.oid`,
  function: `
    select format('function %s', pg_get_functiondef(f.oid)),
      schema, '', name, pg_get_functiondef(f.oid), 'pg_proc'::regclass, f.oid, 0,
      jsonb_build_object('callers', array(select rolname from pg_roles
        where rolname in ('authenticated', 'service_role') and has_function_privilege(pg_roles.oid, f.oid, 'execute') order by 1))
    from functions f`,
};

/** What no test asks more of than whether it is the same as before. */
const LINES = `
select format('%s triggers of constraint %s enabled=%s', count(*), c.conname, t.tgenabled)
  from pg_constraint c join ours o on o.oid = c.conrelid join pg_trigger t on t.tgconstraint = c.oid group by c.conname, t.tgenabled
union all
select format('rule %s', pg_get_ruledef(r.oid)) from ours o join pg_rewrite r on r.ev_class = o.oid where o.relkind = 'r'
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
select format('extension %s', extname) from pg_extension where extname = 'vector'`;

const isKind = (text: string): text is Kind => text in PARTS;
/** A kind's own query; PostgreSQL computes only what is selected from it. */
const partsIn = (kind: Kind) =>
  `(${PARTS[kind]}) as part (line, schema, table_name, name, definition, class, id, sub, facts)`;

/** All of them. */
export const KINDS: readonly Kind[] = Object.keys(PARTS).filter(isKind);

/** The objects of these kinds in the schemas that this package uses, columns in their order. */
export const partsOf = <K extends Kind>(query: Query, kinds: readonly K[]): Promise<Part<K>[]> =>
  read(query, kinds, "'line', line, 'definition', definition, ");

/** The same without their SQL, which takes most of the time. */
export const factsOf = <K extends Kind>(query: Query, kinds: readonly K[]): Promise<Known<K>[]> =>
  read(query, kinds, "");

async function read<T>(query: Query, kinds: readonly Kind[], spelling: string): Promise<T[]> {
  const all = kinds.map(
    (kind) => `
      select jsonb_build_object('kind', '${kind}', 'schema', schema, 'table', table_name, 'name', name, 'quoted', quote_ident(name),
        ${spelling}'key', concat_ws(':', class::oid, id, sub)) || facts as json, table_name, sub, name
      from ${partsIn(kind)}`,
  );
  const found = await query<{ json: string }>(
    `${OURS} select json::text as json from (${all.join("\nunion all\n")}) as parts order by table_name, sub, name`,
  );
  return found.map(({ json }) => {
    const part: T = JSON.parse(json);
    return part;
  });
}

/** Everything this package puts into a database, one line an object, in order. */
export async function catalog(query: Query): Promise<string[]> {
  const lines = KINDS.map((kind) => `select line from ${partsIn(kind)}`);
  const found = await query<{ line: string }>(`${OURS} ${[...lines, LINES].join("\nunion all\n")}`);
  return found.map(({ line }) => line).toSorted();
}

/** For the readers here, in a transaction of Drizzle's. */
export const queryIn =
  (tx: Transaction): Query =>
  async (text) =>
    rows<never>(await tx.execute(sql.raw(text)));
