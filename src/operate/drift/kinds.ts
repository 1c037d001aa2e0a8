/** What a kind of object is, a record each. */
import { type SQL, sql } from "drizzle-orm";
import { textArray } from "../../client/sql.ts";
import { unixLines } from "../line-ends.ts";
import { OUR_ROLES } from "../logins.ts";
import {
  GAPS,
  ID_TIME_CHECK,
  ADD_ID_TIME_CHECK,
  PARTITION_SCHEMA,
  monthsOf,
  statisticsOf,
} from "../months.ts";
import { type CatalogObject, type FactsOf, type Kind, keyOf } from "./facts.ts";

/** A statement on the way from what is there to what should be. */
export interface Change {
  readonly statement: string;
  /** Rows, or what stands on the object, may refuse it or be lost. */
  readonly risky?: true;
}

interface KindRecord<Facts> {
  /** An object a row, `path` and `facts` in JSON, of the tables that `readCatalog` prepares. */
  readonly query: SQL;
  /** As a person names it. */
  readonly say: (path: readonly string[]) => string;
  /** The key of what it goes with when that is dropped. */
  readonly partOf?: (path: readonly string[]) => string;
  /** Why it matters; `changed` and `extra` where that is another matter. */
  readonly why: { readonly always: string; readonly changed?: string; readonly extra?: string };
  /** The statement that makes it; a table with its columns. */
  readonly make: (facts: Facts, columns: readonly FactsOf["column"][]) => string;
  /** The statement that takes it away; none where nothing of that kind is ever one too many. */
  readonly drop?: (facts: Facts) => string | readonly string[];
  /** What default privileges may open to our roles when it is made, as REVOKE names it. */
  readonly opened?: (facts: Facts) => string;
  /** How what is there is altered; `undefined`, and without this, it is dropped and made. */
  readonly change?: (expected: Facts, live: Facts) => readonly Change[] | undefined;
  /** What makes a difference, where the statement that makes it says more than that. */
  readonly compared?: (facts: Facts) => unknown;
  /** Facts of an object that was read where the extension is in public, for where it is in `schema`. */
  readonly relocated?: (facts: Facts, schema: string) => Facts;
  /** Rows that are there may refuse it. */
  readonly refusable?: true;
  /** An empty new one would hide that rows are elsewhere. */
  readonly holdsRows?: true;
  /** To drop it, so that it can be made anew, loses rows or is refused by what stands on it. */
  readonly dropIsRisky?: true;
  /** It serves speed and understanding, not isolation or the sense of rows. */
  readonly minor?: true | "extra";
  /** One that is not of the migrations does no harm. */
  readonly harmless?: (facts: Facts) => boolean;
  /** Whether one that is not of the migrations opens something to nobody but the roles that this package governs. */
  readonly opens?: (facts: Facts) => boolean;
}

/** Roles that this package governs, as SQL writes them. */
export const OURS: readonly string[] = ["PUBLIC", ...OUR_ROLES];
const ROLE_NAMES = textArray(OUR_ROLES);

const ofTable = ([table = ""]: readonly string[]) => keyOf("table", [table]);
const onTable =
  (kind: string) =>
  ([table, name]: readonly string[]) =>
    `${kind} ${name} on ${table}`;

/** The manifest was made where the extension is in public. */
const inSchema = (text: string, schema: string) =>
  text.replaceAll("public.vector", `${schema}.vector`);

/** Columns of ours, and other tables of ours as a whole, that an object refers to. */
const needsOf = (catalog: string, id: SQL, table: SQL) => sql`(
  select jsonb_agg(distinct jsonb_build_array(n.label, a.attname)) from pg_depend d join tables n on n.oid = d.refobjid
  left join columns a on a.attrelid = n.oid and a.attnum = d.refobjsubid
  where d.classid = ${catalog}::regclass and d.objid = ${id} and d.refclassid = 'pg_class'::regclass
    and (d.refobjsubid > 0 or d.refobjid <> ${table}))`;

/** The five kinds of constraints differ in a letter, and in why they matter. */
function constraint(
  kind: string,
  letter: string,
  why: KindRecord<FactsOf["check"]>["why"],
): KindRecord<FactsOf["check"]> {
  return {
    query: sql`
      select array[t.label, k.conname] as path, jsonb_build_object('table', t.path, 'name', quote_ident(k.conname),
        'rule', pg_get_constraintdef(k.oid), 'notValid', nullif(not k.convalidated, false),
        'state', case when exists (select from pg_trigger g where g.tgconstraint = k.oid and g.tgenabled <> 'O')
          then 'disabled' end) as facts
      from tables t join pg_constraint k on k.conrelid = t.oid where k.contype::text = ${letter}
        -- A key to a cut log stands there again for each partition.
        and not exists (select from pg_constraint whole where whole.oid = k.conparentid and whole.conrelid = k.conrelid)
        and not (t.relkind = 'p' and k.conname = ${ID_TIME_CHECK})`,
    say: onTable(kind),
    partOf: ofTable,
    why,
    make: ({ table, name, rule }) => `ALTER TABLE ${table} ADD CONSTRAINT ${name} ${rule}`,
    drop: ({ table, name }) => `ALTER TABLE ${table} DROP CONSTRAINT ${name}`,
    change: ({ table, name, rule }, live) =>
      live.notValid && live.state === undefined && live.rule === `${rule} NOT VALID`
        ? [{ statement: `ALTER TABLE ${table} VALIDATE CONSTRAINT ${name}` }]
        : undefined,
    refusable: true,
  };
}

/** The two kinds of indexes differ in what they refuse, and in why they matter. */
function indexes(
  kind: string,
  condition: SQL,
  why: KindRecord<FactsOf["index"]>["why"],
): KindRecord<FactsOf["index"]> {
  return {
    query: sql`
      select array[t.label, c.relname] as path, jsonb_build_object('name', i.indexrelid::regclass::text,
        'definition', case t.relkind when 'p' then regexp_replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ')
          else pg_get_indexdef(i.indexrelid) end,
        'state', case when not (i.indisvalid and i.indisready) then 'invalid' end,
        'isOfPartitions', nullif(t.relkind = 'p', false),
        -- Into how many lists it is cut is its owner's.
        'compared', case when (select amname = 'ivfflat' from pg_am where oid = c.relam) then jsonb_build_array(
          pg_get_indexdef(i.indexrelid, 1, false), (select opcname from pg_opclass where oid = i.indclass[0]),
          pg_get_expr(i.indpred, i.indrelid), (select jsonb_object_agg(option_name, option_value)
            from pg_options_to_table(c.reloptions) where option_name <> 'lists')) end,
        'needs', ${needsOf("pg_class", sql`i.indexrelid`, sql`t.oid`)}) as facts
      from tables t join pg_index i on i.indrelid = t.oid join pg_class c on c.oid = i.indexrelid
      where ${condition}
        and not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x'))`,
    say: onTable(kind),
    partOf: ofTable,
    why,
    make: ({ definition }) => definition,
    drop: ({ name }) => `DROP INDEX ${name}`,
    compared: ({ compared, definition, state }) => [compared ?? definition, state],
    relocated: (facts, schema) => ({ ...facts, definition: inSchema(facts.definition, schema) }),
  };
}

function columnOf({ name, default: value, ...facts }: FactsOf["column"]): string {
  const stored = facts.stored ? "STORED" : "VIRTUAL";
  return [
    `${name} ${typeOf(facts)}`,
    facts.computed === undefined ? "" : ` GENERATED ALWAYS AS (${facts.computed}) ${stored}`,
    facts.identity === undefined ? "" : ` GENERATED ${facts.identity} AS IDENTITY`,
    value === undefined ? "" : ` DEFAULT ${value}`,
    facts.notNull ? " NOT NULL" : "",
  ].join("");
}

const typeOf = ({ type, collation }: Pick<FactsOf["column"], "type" | "collation">) =>
  collation === undefined ? type : `${type} COLLATE ${collation}`;

function columnChanges(
  to: FactsOf["column"],
  from: FactsOf["column"],
): readonly Change[] | undefined {
  // It has no values of its own, and cannot be given any.
  if (from.computed !== undefined && !from.stored) return undefined;
  const alter = (action: string) => `ALTER TABLE ${to.table} ALTER COLUMN ${to.name} ${action}`;
  const [type, formerType] = [typeOf(to), typeOf(from)];
  const isRetyped = type !== formerType;
  const changes: Change[] = [];
  if (from.stored) changes.push({ statement: alter("DROP EXPRESSION") });
  if (from.identity !== undefined) changes.push({ statement: alter("DROP IDENTITY") });
  if (from.default !== undefined && (isRetyped || to.default === undefined)) {
    changes.push({ statement: alter("DROP DEFAULT") });
  }
  if (isRetyped) {
    changes.push({ statement: alter(`TYPE ${type} USING ${to.name}::${type}`), risky: true });
  }
  if (to.default !== undefined && (isRetyped || to.default !== from.default)) {
    changes.push({ statement: alter(`SET DEFAULT ${to.default}`) });
  }
  if (to.notNull && (!from.notNull || from.state !== to.state)) {
    changes.push({ statement: alter("SET NOT NULL"), risky: true });
  }
  if (!to.notNull && from.notNull) changes.push({ statement: alter("DROP NOT NULL") });
  return changes;
}

type KindRecords = { readonly [K in Kind]: KindRecord<FactsOf[K]> };

/** Each kind before those that stand on it: the order in which objects are made. */
export const KIND_RECORDS: KindRecords = {
  role: {
    query: sql`
      select array[rolname] as path, jsonb_build_object('name', quote_ident(rolname)) as facts
      from pg_roles where rolname = any (${ROLE_NAMES})`,
    say: ([name]) => `role ${name}`,
    why: {
      always:
        "Policies and grants name this role: without it nobody can act as it, and none of them can be made.",
    },
    make: ({ name }) => `CREATE ROLE ${name} NOLOGIN NOINHERIT`,
  },

  schema: {
    query: sql`
      select array[nspname] as path, jsonb_build_object('name', quote_ident(nspname)) as facts
      from schemas where nspname = 'meta_agent'`,
    say: ([name]) => `schema ${name}`,
    why: { always: "The tenancy helper and the key generators live in it." },
    make: ({ name }) => `CREATE SCHEMA ${name}`,
    opened: ({ name }) => `schema ${name}`,
  },

  extension: {
    query: sql`
      select array[extname] as path, jsonb_build_object('schema', extnamespace::regnamespace::text) as facts
      from pg_extension where extname = 'vector'`,
    say: ([name]) => `extension ${name}`,
    why: { always: "The embeddings are of its type, and similarity search is by its operators." },
    make: ({ schema }) => `CREATE EXTENSION vector SCHEMA ${schema}`,
    compared: () => "whatever its schema",
    relocated: (_, schema) => ({ schema }),
  },

  function: {
    query: sql`
      select array[path] as path, jsonb_build_object('name', path, 'sort', prokind,
        'takes', pg_get_function_arguments(oid), 'returns', pg_get_function_result(oid),
        'definition', case prokind when 'a' then 'CREATE AGGREGATE ' || path
          else rtrim(pg_get_functiondef(oid), E'\n') end) as facts
      from functions`,
    say: ([signature]) => `function ${signature}`,
    partOf: () => keyOf("schema", ["meta_agent"]),
    why: {
      always:
        "Policies, column defaults and triggers call it: what it answers decides whose rows are shown and written.",
      extra:
        "Tenants may use this schema, and a function in it may run as the owner, who sees every organization. Nothing but ours belongs here.",
    },
    make: ({ definition }) => definition,
    drop: ({ name }) => `DROP ROUTINE ${name}`,
    opened: ({ name }) => `function ${name}`,
    // CREATE OR REPLACE keeps the privileges, and cannot change what it takes and returns.
    change: ({ sort, takes, returns, definition }, live) =>
      sort === live.sort && takes === live.takes && returns === live.returns
        ? [{ statement: definition }]
        : undefined,
    dropIsRisky: true,
  },

  table: {
    query: sql`
      select array[label] as path, jsonb_build_object('name', path, 'unlogged', nullif(relpersistence = 'u', false)) as facts
      from tables`,
    say: ([table]) => `table ${table}`,
    why: {
      always:
        "Its rows are gone or elsewhere: look for a backup, or for the table under another name, before you make an empty one.",
      changed: "An unlogged table is empty after a crash, and is not on replicas.",
      extra:
        "Tenants may use this schema. Nothing but ours belongs here; drop it when you know what it holds.",
    },
    make: ({ name, unlogged }, columns) => {
      const lines = columns.map((column) => `\n  ${columnOf(column)}`).join(",");
      return `CREATE ${unlogged ? "UNLOGGED " : ""}TABLE ${name} (${lines}${lines && "\n"})`;
    },
    drop: ({ name }) => `DROP TABLE ${name}`,
    opened: ({ name }) => name,
    change: ({ name }) => [{ statement: `ALTER TABLE ${name} SET LOGGED` }],
    holdsRows: true,
  },

  column: {
    query: sql`
      select array[label, attname] as path, jsonb_build_object('table', path, 'name', quote_ident(attname),
        'type', format_type(atttypid, atttypmod),
        'collation', case when attcollation <> (select typcollation from pg_type where oid = atttypid)
          then attcollation::regcollation::text end,
        'computed', case when attgenerated <> '' then pg_get_expr(adbin, attrelid) end,
        'stored', nullif(attgenerated = 's', false),
        'identity', case attidentity when 'a' then 'ALWAYS' when 'd' then 'BY DEFAULT' end,
        'default', case when attgenerated = '' and attidentity = '' then pg_get_expr(adbin, attrelid) end,
        'notNull', nullif(attnotnull, false),
        -- From 18 on.
        'state', case when exists (select from pg_constraint k where k.conrelid = attrelid and k.contype = 'n'
          and k.conkey = array[attnum] and not k.convalidated) then 'not validated' end) as facts
      from columns order by attrelid, attnum`,
    say: ([table, name]) => `column ${table}.${name}`,
    partOf: ofTable,
    why: {
      always:
        "What it held is gone or elsewhere: look for a backup, or for the column under another name, before you make an empty one.",
      changed: "Rows may come to hold what the program does not expect, or lack what it relies on.",
      extra: "Not ours: the program neither reads nor writes it. Dropping it loses what it holds.",
    },
    make: (facts) => `ALTER TABLE ${facts.table} ADD COLUMN ${columnOf(facts)}`,
    drop: ({ table, name }) => `ALTER TABLE ${table} DROP COLUMN ${name}`,
    change: columnChanges,
    relocated: (facts, schema) => ({ ...facts, type: inSchema(facts.type, schema) }),
    holdsRows: true,
    dropIsRisky: true,
    minor: "extra",
  },

  "row-level security": {
    query: sql`
      select array[label] as path, jsonb_build_object('table', path,
        'enabled', nullif(relrowsecurity, false), 'forced', nullif(relforcerowsecurity, false)) as facts
      from tables`,
    say: ([table]) => `row-level security of ${table}`,
    partOf: ofTable,
    why: {
      always:
        "Off, whoever may read the table reads the rows of every organization. Forced, it hides rows from the owner: from pg_dump, from migrations, and from the helpers of the policies.",
    },
    make: ({ table, enabled, forced }) =>
      `ALTER TABLE ${table} ${enabled ? "ENABLE" : "DISABLE"} ROW LEVEL SECURITY, ${forced ? "FORCE" : "NO FORCE"} ROW LEVEL SECURITY`,
    change: (expected) => [{ statement: KIND_RECORDS["row-level security"].make(expected, []) }],
  },

  "primary key": constraint("primary key", "p", {
    always: "Rows can be stored twice, and nothing can refer to them.",
  }),

  "unique constraint": constraint("unique constraint", "u", {
    always: "What must be there once can be stored twice, and upserts that name it fail.",
    extra:
      "Not ours: it refuses rows that the program may write, and tells one organization what another one has.",
  }),

  check: constraint("check", "c", {
    always: "Rows that the program refuses can be stored by others, and break what reads them.",
    extra: "Not ours: it refuses rows that the program may write.",
  }),

  "exclusion constraint": constraint("exclusion constraint", "x", {
    always: "Not ours: it refuses rows that the program may write.",
  }),

  "foreign key": constraint("foreign key", "f", {
    always:
      "Rows can refer to what does not exist, and deletes no longer carry on or stop where they must.",
    extra: "Not ours: it refuses rows that the program may write.",
  }),

  index: {
    ...indexes("index", sql`not i.indisunique`, {
      always:
        "The queries that it serves read the whole table, and so do deletes of what the table refers to.",
    }),
    minor: true,
    harmless: () => true,
  },

  "unique index": {
    ...indexes("unique index", sql`i.indisunique`, {
      always:
        "What must be there once can be stored twice: an agent can have two active or two baseline prompts.",
      extra:
        "Not ours: it refuses rows that the program may write, and tells one organization what another one has.",
    }),
    refusable: true,
  },

  statistics: {
    query: sql`
      select array[t.label, s.stxname] as path, jsonb_build_object(
        'name', format('%s.%I', s.stxnamespace::regnamespace, s.stxname), 'definition', pg_get_statisticsobjdef(s.oid),
        -- PostgreSQL lists the columns in their table's order.
        'compared', jsonb_build_array(s.stxkind::text, pg_get_expr(s.stxexprs, s.stxrelid),
          (select jsonb_agg(attname order by attname) from columns where attrelid = t.oid and attnum = any (s.stxkeys))),
        'needs', ${needsOf("pg_statistic_ext", sql`s.oid`, sql`t.oid`)}) as facts
      from tables t join pg_statistic_ext s on s.stxrelid = t.oid`,
    say: onTable("statistics"),
    partOf: ofTable,
    why: {
      always:
        "Without it the planner expects next to no rows of an agent, and leaves the index for its latest logs.",
    },
    make: ({ definition }) => definition,
    drop: ({ name }) => `DROP STATISTICS ${name}`,
    compared: ({ compared }) => compared,
    minor: true,
    harmless: () => true,
  },

  trigger: {
    query: sql`
      select array[t.label, g.tgname] as path, jsonb_build_object('table', t.path, 'name', quote_ident(g.tgname),
        'definition', pg_get_triggerdef(g.oid),
        'state', case g.tgenabled when 'D' then 'disabled' when 'R' then 'on replicas' when 'A' then 'always' end,
        'needs', ${needsOf("pg_trigger", sql`g.oid`, sql`t.oid`)}) as facts
      from (select oid, path, label from tables union all select oid, path, label from partitions) t
      join pg_trigger g on g.tgrelid = t.oid where not g.tgisinternal and g.tgparentid = 0`,
    say: onTable("trigger"),
    partOf: ofTable,
    why: {
      always: "It keeps `updated_at` true, whoever writes.",
      extra:
        "Not ours: it runs as whoever writes, service_role included, and may change what is written.",
    },
    make: ({ definition }) => definition,
    drop: ({ table, name }) => `DROP TRIGGER ${name} ON ${table}`,
  },

  rule: {
    query: sql`
      select array[t.label, r.rulename] as path, jsonb_build_object('table', t.path, 'name', quote_ident(r.rulename),
        'definition', pg_get_ruledef(r.oid)) as facts
      from ruled t join pg_rewrite r on r.ev_class = t.oid
      where t.ours or exists (select from pg_depend d join readers o on o.oid = d.refobjid
        where d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass)`,
    say: onTable("rule"),
    partOf: ofTable,
    why: {
      always:
        "Not ours: it rewrites what is read or written, with the rights of the table's owner.",
    },
    make: ({ definition }) => definition,
    drop: ({ table, name }) => `DROP RULE ${name} ON ${table}`,
  },

  policy: {
    query: sql`
      select array[t.label, p.polname] as path, jsonb_build_object('table', t.path, 'name', quote_ident(p.polname),
        'permissive', nullif(p.polpermissive, false),
        'command', case p.polcmd when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE' when 'd' then 'DELETE' else 'ALL' end,
        'roles', (select jsonb_agg(coalesce(quote_ident(r.rolname), 'PUBLIC') order by r.rolname)
          from unnest(p.polroles) as role left join pg_roles r on r.oid = role),
        'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid),
        'needs', ${needsOf("pg_policy", sql`p.oid`, sql`t.oid`)}) as facts
      from tables t join pg_policy p on p.polrelid = t.oid`,
    say: ([table, name]) => `policy "${name}" on ${table}`,
    partOf: ofTable,
    why: {
      always:
        "It decides which rows a role may see and write: without it nobody but the owner can do what it allows.",
      changed:
        "It decides which rows a role may see and write: another condition may show or take rows of other organizations, or hide own ones.",
      extra:
        "Policies add up: a permissive one shows or takes rows that ours do not, a restrictive one hides rows that ours show.",
    },
    make: ({ table, name, permissive, command, roles, using, check }) =>
      [
        `CREATE POLICY ${name} ON ${table} AS ${permissive ? "PERMISSIVE" : "RESTRICTIVE"} FOR ${command} TO ${roles.join(", ")}`,
        using === undefined ? "" : ` USING (${using})`,
        check === undefined ? "" : ` WITH CHECK (${check})`,
      ].join(""),
    drop: ({ table, name }) => `DROP POLICY ${name} ON ${table}`,
    // To drop one that restricts would open rows.
    opens: ({ permissive, roles }) =>
      permissive === true && roles.every((role) => OURS.includes(role)),
  },

  view: {
    query: sql`
      select array[path] as path, jsonb_build_object('name', path, 'query', pg_get_viewdef(oid),
        'materialized', nullif(relkind = 'm', false),
        'users', case relkind when 'm' then (select jsonb_agg(distinct coalesce(quote_ident(r.rolname), 'PUBLIC'))
          from aclexplode(relacl) a left join pg_roles r on r.oid = a.grantee where a.grantee <> relowner) end) as facts
      from views`,
    say: ([name]) => `view ${name}`,
    why: {
      always:
        "Not ours: it reads as its owner, so row-level security does not apply, and whoever may read it sees every organization.",
    },
    make: ({ name, query, materialized }) =>
      `CREATE ${materialized ? "MATERIALIZED " : ""}VIEW ${name} AS ${query}`,
    drop: ({ name, users }) =>
      users
        ? `REVOKE ALL ON TABLE ${name} FROM ${users.join(", ")} CASCADE`
        : `ALTER VIEW ${name} SET (security_invoker = true)`,
  },

  inheritance: {
    query: sql`
      select array[child.label, parent.label] as path, jsonb_build_object('child', child.path, 'parent', parent.path,
        'ours', nullif(child.ours, false), 'bound', pg_get_expr(c.relpartbound, c.oid)) as facts
      from pg_inherits i join pg_class c on c.oid = i.inhrelid
      join ruled child on child.oid = i.inhrelid join ruled parent on parent.oid = i.inhparent
      -- Into which partitions a table of ours is cut is its owner's.
      where child.ours or parent.ours and not c.relispartition`,
    say: ([child, parent]) => `inheritance of ${child} from ${parent}`,
    partOf: ofTable,
    why: {
      always:
        "Not ours: who reads or writes a table reaches the rows of those that inherit from it, past the policies of theirs. Our tables inherit from none, and what inherits from ours is not closed by our policies, nor held to our keys.",
    },
    make: ({ child, parent, bound }) =>
      bound === undefined
        ? `ALTER TABLE ${child} INHERIT ${parent}`
        : `ALTER TABLE ${parent} ATTACH PARTITION ${child} ${bound}`,
    drop: ({ child, parent, bound }) =>
      bound === undefined
        ? `ALTER TABLE ${child} NO INHERIT ${parent}`
        : `ALTER TABLE ${parent} DETACH PARTITION ${child}`,
    // Rows of ours go out through it; rows of theirs come in through the other way.
    opens: ({ ours }) => ours === true,
  },

  // The one kind that says both what is and what should be.
  owner: {
    query: sql`
      select array[o.kind, o.name] as path, jsonb_build_object('of', o.command,
        'owner', quote_ident(pg_get_userbyid(o.owner)), 'usual', quote_ident(pg_get_userbyid(usual.owner))) as facts
      from owned o, usual where o.owner <> usual.owner`,
    say: ([kind, name]) => `owner of ${kind === "schema" ? `schema ${name}` : name}`,
    why: {
      always:
        "The owner is not subject to row-level security and can switch it off; all of this package's objects belong to one.",
    },
    make: ({ of, owner }) => `ALTER ${of} OWNER TO ${owner}`,
    drop: ({ of, usual }) => `ALTER ${of} OWNER TO ${usual}`,
    opens: ({ owner }) => OURS.includes(owner),
  },

  // As it is found: which partitions there are is the operator's.
  partition: {
    query: sql`
      select array[label, problem] as path, jsonb_build_object('problem', said, 'repair', repair,
        'safe', nullif(safe, false), 'missing', nullif(missing, false)) as facts
      from (
        select label, 'row-level security' as problem, 'off: a grant would open the rows of every organization' as said,
          array[format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', path)] as repair, true as safe, false as missing
        from partitions where not relrowsecurity
        union all
        select p.label, 'statistics', 'without what the log has: ' || s.stxname, array[${statisticsOf(sql`s`, sql`p.path`, sql`p.relname`)}], true, true
        from partitions p join tables t on t.label = 'agent_execution_logs' join pg_statistic_ext s on s.stxrelid = t.oid
        where not exists (select from pg_statistic_ext own where own.stxrelid = p.oid and own.stxkind = s.stxkind
          and pg_get_statisticsobjdef_columns(own.oid) = pg_get_statisticsobjdef_columns(s.oid))
        union all
        select label, 'rows of no month', 'takes every row that no other partition takes',
          array[format('ALTER TABLE public.agent_execution_logs DETACH PARTITION %s', path)], false, false
        from partitions where is_default
        union all
        select ${`${PARTITION_SCHEMA}.`}::text || name, 'rows', format('none has what is from %s to %s',
          to_char(since at time zone 'UTC', 'YYYY-MM-DD'), to_char(until at time zone 'UTC', 'YYYY-MM-DD')), statements, true, true
        from ${monthsOf(GAPS)} as gap
        union all
        select label, 'ids', 'without the check that an id says the time of its row',
          array[${sql.raw(`'${ADD_ID_TIME_CHECK.replaceAll("'", "''")}'`)}], false, true
        from tables t where relkind = 'p' and label = 'agent_execution_logs'
          and not exists (select from pg_constraint where conrelid = t.oid and conname = ${ID_TIME_CHECK})
      ) as damage`,
    say: ([label, problem]) => `${problem} of partition ${label}`,
    partOf: ofTable,
    why: {
      always:
        "A partition holds rows of every organization and is read through the log alone; what no partition takes is refused.",
    },
    make: ({ problem }) => problem,
    drop: ({ repair }) => repair,
    opens: ({ safe }) => safe === true,
  },

  comment: {
    query: sql`
      select array['table', label] as path, jsonb_build_object('definition',
        format('COMMENT ON TABLE %s IS %L', path, obj_description(oid, 'pg_class'))) as facts
      from tables where obj_description(oid, 'pg_class') is not null
      union all
      select array['column', label, attname], jsonb_build_object('definition',
        format('COMMENT ON COLUMN %s.%I IS %L', path, attname, col_description(attrelid, attnum)))
      from columns where col_description(attrelid, attnum) is not null
      union all
      select array['schema', nspname], jsonb_build_object('definition',
        format('COMMENT ON SCHEMA %I IS %L', nspname, obj_description(oid, 'pg_namespace')))
      from schemas where nspname = 'meta_agent' and obj_description(oid, 'pg_namespace') is not null`,
    say: ([kind, ...path]) => `comment on ${kind} ${path.join(".")}`,
    partOf: ([kind = "", ...path]) => keyOf(kind, path),
    why: { always: "It says what the rows are, or the unit of a column." },
    make: ({ definition }) => definition,
    change: ({ definition }) => [{ statement: definition }],
    minor: true,
    harmless: () => true,
  },

  grant: {
    query: sql`
      select array[kind, name, grantee] as path, jsonb_build_object('scope', scope, 'grantee', grantee,
        'privileges', list, 'revoke', taken) as facts
      from grants
      union all
      -- Through PUBLIC or by name: both roles must be able to look into public.
      select array['use of schema', nspname, rolname], jsonb_build_object('scope', 'SCHEMA public',
        'grantee', quote_ident(rolname), 'privileges', 'USAGE')
      from schemas s, pg_roles r
      where nspname = 'public' and rolname in ('authenticated', 'service_role')
        and has_schema_privilege(r.oid, s.oid, 'USAGE')`,
    say: ([kind, name, grantee]) =>
      `grant ${kind === "use of schema" ? "of" : "on"} ${kind === "table" ? "" : `${kind} `}${name} to ${grantee}`,
    partOf: ([kind = "", name = ""]) => keyOf(kind, [name]),
    why: {
      always:
        "Tenants and backend jobs work through these privileges alone; without them their statements fail.",
      changed:
        "TRUNCATE looks past row-level security, a trigger runs as whoever fires it, and REFERENCES tells which ids exist; where a privilege is missing, statements fail.",
      extra:
        "Nobody was meant to have this: TRUNCATE, TRIGGER and REFERENCES look past row-level security, the journal decides what migrates, and anon has no business here.",
    },
    make: ({ scope, grantee, privileges }) => `GRANT ${privileges} ON ${scope} TO ${grantee}`,
    drop: ({ scope, grantee, revoke }) => `REVOKE ${revoke} ON ${scope} FROM ${grantee} CASCADE`,
    // Logins of the user's own may live by what everybody may make in public.
    opens: ({ scope, grantee }) =>
      OURS.includes(grantee) && !(scope === "SCHEMA public" && grantee === "PUBLIC"),
  },
};

const isKind = (name: string): name is Kind => name in KIND_RECORDS;

/** The kinds, in the order in which objects are made. */
export const KINDS: readonly Kind[] = Object.keys(KIND_RECORDS).filter(isKind);

/** The kinds of indexes, whatever keeps them. */
export const INDEXES = [
  "primary key",
  "unique constraint",
  "exclusion constraint",
  "index",
  "unique index",
] as const satisfies readonly Kind[];

/** What only one object of a database can have: an index and a constraint that has one share a name's place. */
export const placeOf = ({ kind, path }: CatalogObject): string =>
  keyOf(INDEXES.some((one) => one === kind) ? "index" : kind, path);

// What follows asks the record of an object's kind.

/** As a person names it: `policy "Users see own org agents" on agent_registry`. */
export const nameOf = ({ kind, path }: CatalogObject): string => KIND_RECORDS[kind].say(path);

/** The key of what it goes with when that is dropped. */
export const parentOf = ({ kind, path }: CatalogObject): string | undefined =>
  KIND_RECORDS[kind].partOf?.(path);

/** The statement that makes it. */
export function definitionOf<K extends Kind>(
  { kind, facts }: CatalogObject<K>,
  columns: readonly FactsOf["column"][] = [],
): string {
  return KIND_RECORDS[kind].make(facts, columns);
}

const stateOf = (facts: FactsOf[Kind]) => ("state" in facts ? facts.state : undefined);

/** The statement that makes it, and behind it what no statement says: ` -- disabled`. */
export function printed(object: CatalogObject): string {
  const state = stateOf(object.facts);
  return `${definitionOf(object)}${state === undefined ? "" : ` -- ${state}`}`;
}

/** What makes a difference between two objects of one kind. */
export function comparable<K extends Kind>(object: CatalogObject<K>): string {
  const record: KindRecord<FactsOf[K]> = KIND_RECORDS[object.kind];
  const { facts } = object;
  const compared = record.compared?.(facts) ?? [definitionOf(object), stateOf(facts)];
  return JSON.stringify(compared, (_, value: unknown) =>
    typeof value === "string" ? unixLines(value) : value,
  );
}

/** Whether a finding about this kind concerns speed and understanding alone. */
export const isMinor = (kind: Kind, problem: "missing" | "changed" | "extra"): boolean =>
  [true, problem].includes(KIND_RECORDS[kind].minor ?? false);

/** Whether one that is not of the migrations does no harm. */
export function isHarmless<K extends Kind>({ kind, facts }: CatalogObject<K>): boolean {
  return KIND_RECORDS[kind].harmless?.(facts) ?? false;
}

/** The object as it is where the extension is in `schema`. */
export function relocated<K extends Kind>(
  object: CatalogObject<K>,
  schema: string,
): CatalogObject<K> {
  const record: KindRecord<FactsOf[K]> = KIND_RECORDS[object.kind];
  return record.relocated ? { ...object, facts: record.relocated(object.facts, schema) } : object;
}
