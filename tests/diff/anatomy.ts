import { sql } from "drizzle-orm";
import { type Transaction, rows } from "../../src/client/sql.ts";
import { type Kind, type Part as Catalogued, KINDS, partsOf, queryIn } from "../catalog.ts";

/** An object of a migrated database, as the catalog has it. */
export interface Part {
  readonly kind: Kind;
  /** As findings name it. */
  readonly object: string;
  /** Its name for SQL; a function's with its arguments. */
  readonly name: string;
  /** Its table for SQL, or "". */
  readonly table: string;
  /** Of a constraint, index, trigger or function; a column's type, a policy's command. */
  readonly definition: string;
  /** A column's default, a constraint's letter, those of our roles that may call a function: `authenticated,service_role`. */
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

/** The part as findings name it. */
function objectOf(part: Catalogued): string {
  const { kind, table, name } = part;
  switch (kind) {
    case "table":
      return `table ${table}`;
    case "column":
      return `column ${table}.${name}`;
    case "constraint":
      return `${CONSTRAINTS[part.letter]} ${name} on ${table}`;
    case "policy":
      return `policy "${name}" on ${table}`;
    case "function":
      return `function ${name}`;
    case "index":
      return `${part.isUnique ? "unique index" : "index"} ${name} on ${table}`;
    case "trigger":
    case "statistics":
      return `${kind} ${name} on ${table}`;
  }
}

const CONSTRAINTS = {
  p: "primary key",
  u: "unique constraint",
  c: "check",
  f: "foreign key",
  x: "exclusion constraint",
} as const;

function factsOf(part: Catalogued): Pick<Part, "definition" | "more" | "notNull"> {
  const { definition } = part;
  switch (part.kind) {
    case "column":
      return { definition: part.type, more: part.default ?? "", notNull: part.notNull };
    case "constraint":
      return { definition, more: part.letter, notNull: false };
    case "policy":
      return { definition: part.command, more: "", notNull: false };
    case "function":
      return { definition, more: part.callers.join(), notNull: false };
    default:
      return { definition, more: "", notNull: false };
  }
}

function nameOf({ kind, name, quoted }: Catalogued): string {
  if (kind === "function") return name;
  return kind === "statistics" ? `public.${quoted}` : quoted;
}

/** The objects of this package's tables, and its functions. */
async function partsIn(tx: Transaction): Promise<Part[]> {
  const found = await partsOf(queryIn(tx), KINDS);
  return found
    .filter((part) =>
      part.kind === "function"
        ? part.schema === "meta_agent"
        : part.schema === "public" && !(part.kind === "index" && part.isOwned),
    )
    .map((part) => ({
      kind: part.kind,
      object: objectOf(part),
      name: nameOf(part),
      table: part.table === "" ? "" : `public.${part.table}`,
      key: part.key,
      ...factsOf(part),
    }))
    .toSorted((a, b) => (a.object < b.object ? -1 : 1));
}

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
  const parts = await partsIn(tx);
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
