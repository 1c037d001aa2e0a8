import { sql } from "drizzle-orm";
import { type Transaction, rows } from "../../src/client/sql.ts";

/** An object of a migrated database, as the catalog has it. */
export interface Part {
  readonly kind:
    | "table"
    | "column"
    | "constraint"
    | "index"
    | "policy"
    | "trigger"
    | "statistics"
    | "function";
  /** As findings name it. */
  readonly object: string;
  /** Its name for SQL; a function's with its arguments. */
  readonly name: string;
  /** Its table for SQL, or "". */
  readonly table: string;
  /** Of a constraint, index, trigger or function; a column's type, a policy's command. */
  readonly definition: string;
  /** A column's default, a constraint's letter, `for tenants` of a function that they may call. */
  readonly more: string;
  readonly notNull: boolean;
  /** `class:object:column` of the dependency graph. */
  readonly key: string;
}

export interface Anatomy {
  readonly of: (kind: Part["kind"]) => readonly Part[];
  /** What falls when it is dropped with CASCADE, itself included, as findings say it. */
  readonly fallsWith: (part: Part) => string[];
  /** Whether no other part stands on it. */
  readonly isFree: (part: Part) => boolean;
}

const PARTS = sql`
with tables as (
  select c.oid, c.relname, format('public.%I', c.relname) as path from pg_class c
  where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
)
select json_build_object('kind', kind, 'object', object, 'name', name, 'table', path, 'definition', definition,
  'more', coalesce(more, ''), 'notNull', not_null, 'key', concat_ws(':', class::oid, id, sub))::text as json
from (
  select 'table' as kind, 'table ' || relname as object, quote_ident(relname) as name, path, '' as definition, '' as more,
    false as not_null, 'pg_class'::regclass as class, oid as id, 0 as sub from tables
  union all
  select 'column', format('column %s.%s', relname, attname), quote_ident(attname), path, format_type(atttypid, atttypmod),
    pg_get_expr(adbin, adrelid), attnotnull, 'pg_class'::regclass, t.oid, attnum
  from tables t join pg_attribute a on attrelid = t.oid and attnum > 0 left join pg_attrdef on adrelid = t.oid and adnum = attnum
  union all
  select 'constraint', format('%s %s on %s', case contype when 'p' then 'primary key' when 'u' then 'unique constraint'
      when 'c' then 'check' when 'f' then 'foreign key' else 'exclusion constraint' end, conname, relname),
    quote_ident(conname), path, pg_get_constraintdef(k.oid), contype::text, false, 'pg_constraint'::regclass, k.oid, 0
  from tables t join pg_constraint k on conrelid = t.oid where contype <> 'n'
  union all
  select 'index', format('index %s on %s', c.relname, t.relname), quote_ident(c.relname), path, pg_get_indexdef(c.oid), '',
    false, 'pg_class'::regclass, c.oid, 0
  from tables t join pg_index i on indrelid = t.oid join pg_class c on c.oid = indexrelid
  where not exists (select from pg_constraint where conindid = indexrelid and contype <> 'f')
  union all
  select 'policy', format('policy "%s" on %s', polname, relname), quote_ident(polname), path,
    case polcmd when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE' when 'd' then 'DELETE' else 'ALL' end,
    '', false, 'pg_policy'::regclass, p.oid, 0
  from tables t join pg_policy p on polrelid = t.oid
  union all
  select 'trigger', format('trigger %s on %s', tgname, relname), quote_ident(tgname), path, pg_get_triggerdef(g.oid), '',
    false, 'pg_trigger'::regclass, g.oid, 0
  from tables t join pg_trigger g on tgrelid = t.oid where not tgisinternal
  union all
  select 'statistics', format('statistics %s on %s', stxname, relname), 'public.' || quote_ident(stxname), path,
    pg_get_statisticsobjdef(s.oid), '', false, 'pg_statistic_ext'::regclass, s.oid, 0
  from tables t join pg_statistic_ext s on stxrelid = t.oid
  union all
  select 'function', 'function ' || p.oid::regprocedure, p.oid::regprocedure::text, '', pg_get_functiondef(p.oid),
    case when has_function_privilege('authenticated', p.oid, 'execute') then 'for tenants' end, false, 'pg_proc'::regclass, p.oid, 0
  from pg_proc p where pronamespace = 'meta_agent'::regnamespace
) as part order by object`;

/** A default that falls leaves its column changed. */
const DEFAULTS = sql`
select concat_ws(':', 'pg_attrdef'::regclass::oid, d.oid, 0) as key,
  format('column %s.%s', c.relname, a.attname) as object
from pg_attrdef d join pg_class c on c.oid = adrelid join pg_attribute a on attrelid = adrelid and attnum = adnum`;

const EDGES = sql`
select concat_ws(':', refclassid, refobjid, refobjsubid) as "from", concat_ws(':', classid, objid, objsubid) as "to"
from pg_depend where deptype in ('n', 'a', 'i', 'e')
union all
-- An index that cannot stay takes its constraint with it.
select concat_ws(':', classid, objid, objsubid), concat_ws(':', refclassid, refobjid, refobjsubid)
from pg_depend where deptype = 'i' and refclassid = 'pg_constraint'::regclass`;

/** Reads the parts of a migrated database, and what stands on what. */
export async function dissect(tx: Transaction): Promise<Anatomy> {
  const parts = rows<{ json: string }>(await tx.execute(PARTS)).map(({ json }) => {
    const part: Part = JSON.parse(json);
    return part;
  });
  const defaults = rows<{ key: string; object: string }>(await tx.execute(DEFAULTS));
  const edges = rows<{ from: string; to: string }>(await tx.execute(EDGES));

  const standing = new Map<string, Set<string>>();
  for (const { from, to } of edges) {
    // What stands on a column stands on its table; what is a table's falls with it, its columns too.
    for (const key of new Set([from, from.replace(/:\d+$/, ":0")])) {
      standing.set(key, (standing.get(key) ?? new Set()).add(to));
    }
  }
  const fallenKeys = (root: string): Set<string> => {
    const fallen = new Set([root]);
    for (const key of fallen) for (const next of standing.get(key) ?? []) fallen.add(next);
    return fallen;
  };
  const fallsWith = (root: Part): string[] => {
    const fallen = fallenKeys(root.key);
    const gone = parts.filter(({ key }) => fallen.has(key));
    // Said once: with its table.
    const tables = new Set(gone.flatMap(({ kind, table }) => (kind === "table" ? [table] : [])));
    const missing = gone.filter(({ kind, table }) => kind === "table" || !tables.has(table));
    const changed = defaults.filter(
      ({ key, object }) =>
        fallen.has(key) &&
        !gone.some(
          (part) =>
            part.object === object ||
            (part.kind === "table" && object.startsWith(`column ${part.name}.`)),
        ),
    );
    return [
      ...missing.map(({ object }) => `missing ${object}`),
      ...changed.map(({ object }) => `changed ${object}`),
    ];
  };
  return {
    of: (kind) => parts.filter((part) => part.kind === kind),
    fallsWith,
    isFree: (part) => fallsWith(part).length === 1,
  };
}
