/** Writes the reference of the tables from a live catalog: what is said there is so. */
import { getTableName, is, sql } from "drizzle-orm";
import { PgTable, getTableConfig } from "drizzle-orm/pg-core";
import { type Database, rows } from "./client/sql.ts";
import * as embeddings from "./schema/embeddings.ts";
import * as evaluation from "./schema/evaluation.ts";
import * as governance from "./schema/governance.ts";
import * as learningCost from "./schema/learning-cost.ts";
import * as monitoring from "./schema/monitoring.ts";
import * as safety from "./schema/safety.ts";
import { columnsOf } from "./schema/all.ts";
import { columnRule, ruleInWords } from "./schema/rules.ts";

/** A group's tables, those first that others refer to; a module lists its exports by name. */
const tablesOf = (group: object): PgTable[] =>
  Object.values(group)
    .filter((value) => is(value, PgTable))
    .toSorted((a, b) => depth(a) - depth(b) || (getTableName(a) < getTableName(b) ? -1 : 1));

/** How many references in a row lead from a table to one that has none. */
function depth(table: PgTable): number {
  const parents = getTableConfig(table).foreignKeys.map((key) => key.reference().foreignTable);
  return Math.max(0, ...parents.filter((parent) => parent !== table).map((one) => 1 + depth(one)));
}

/** The tables in their groups, the groups in the order of the migrations. */
export const TABLE_GROUPS: readonly { readonly title: string; readonly tables: PgTable[] }[] = [
  { title: "Governance", tables: tablesOf(governance) },
  { title: "Monitoring", tables: tablesOf(monitoring) },
  { title: "Evaluation", tables: tablesOf(evaluation) },
  { title: "Safety", tables: tablesOf(safety) },
  { title: "Learning and cost", tables: tablesOf(learningCost) },
  { title: "Embeddings", tables: tablesOf(embeddings) },
];

/** What the catalog says of a table. */
export interface TableFacts {
  readonly name: string;
  readonly purpose: string | null;
  readonly columns: readonly {
    readonly name: string;
    readonly type: string;
    readonly nullable: boolean;
    readonly default: string | null;
    readonly comment: string | null;
  }[];
  readonly constraints: readonly { readonly kind: string; readonly definition: string }[];
  readonly references: readonly {
    readonly column: string;
    readonly table: string;
    /** The delete rule as `pg_constraint.confdeltype`. */
    readonly onDelete: string;
  }[];
  readonly indexes: readonly IndexFacts[];
  readonly policies: readonly {
    readonly name: string;
    readonly command: string;
    readonly role: string;
    readonly shows: string | null;
    readonly accepts: string | null;
  }[];
  readonly triggers: readonly { readonly definition: string }[];
}

export interface IndexFacts {
  readonly name: string;
  readonly method: string;
  readonly unique: boolean;
  readonly predicate: string | null;
  readonly columns: readonly {
    readonly name: string;
    readonly type: string;
    readonly descending: boolean;
    /** The table that a reference of this column alone names. */
    readonly refersTo: string | null;
  }[];
}

/** The facts of this package's tables, by name. It reads the system catalogs alone. */
export async function tableFacts(db: Database): Promise<Map<string, TableFacts>> {
  const names = TABLE_GROUPS.flatMap(({ tables }) => tables.map(getTableName));
  const found = await db.execute(sql`
    select t.relname::text as name, obj_description(t.oid, 'pg_class') as purpose,
      (select jsonb_agg(jsonb_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
          'nullable', not a.attnotnull, 'default', pg_get_expr(d.adbin, d.adrelid), 'comment', col_description(t.oid, a.attnum)) order by a.attnum)
        from pg_attribute as a left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped) as columns,
      (select coalesce(jsonb_agg(jsonb_build_object('kind', contype, 'definition', pg_get_constraintdef(oid)) order by contype desc, conname), '[]')
        from pg_constraint where conrelid = t.oid
          and (contype in ('u', 'x') or contype = 'c' and cardinality(conkey) > 1)) as constraints,
      (select coalesce(jsonb_agg(jsonb_build_object('column', a.attname, 'table', c.confrelid::regclass::text, 'onDelete', c.confdeltype) order by a.attnum), '[]')
        from pg_constraint as c join pg_attribute as a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
        where c.conrelid = t.oid and c.contype = 'f') as references,
      (select coalesce(jsonb_agg(jsonb_build_object('name', i.relname, 'method', am.amname, 'unique', x.indisunique,
          'predicate', pg_get_expr(x.indpred, x.indrelid), 'columns', (
            select jsonb_agg(jsonb_build_object('name', pg_get_indexdef(x.indexrelid, k.position::int, true), 'type', format_type(a.atttypid, null),
                'descending', coalesce(x.indoption[k.position - 1] & 1, 0) = 1, 'refersTo', (
                  select min(c.confrelid::regclass::text) from pg_constraint as c
                  where c.conrelid = t.oid and c.contype = 'f' and c.conkey = array[k.attnum])) order by k.position)
            from unnest(x.indkey) with ordinality as k (attnum, position) left join pg_attribute as a on a.attrelid = t.oid and a.attnum = k.attnum
            where k.position <= x.indnkeyatts)) order by i.relname), '[]')
        from pg_index as x join pg_class as i on i.oid = x.indexrelid join pg_am as am on am.oid = i.relam
        where x.indrelid = t.oid and not exists (select from pg_constraint where conindid = i.oid and contype in ('p', 'u', 'x'))) as indexes,
      (select coalesce(jsonb_agg(jsonb_build_object('name', policyname, 'command', cmd, 'role', array_to_string(roles, ', '), 'shows', qual, 'accepts', with_check)
          order by array_position('{SELECT,INSERT,UPDATE,DELETE,ALL}', cmd), policyname), '[]')
        from pg_policies where schemaname = 'public' and tablename = t.relname) as policies,
      (select coalesce(jsonb_agg(jsonb_build_object('definition', pg_get_triggerdef(oid)) order by tgname), '[]')
        from pg_trigger where tgrelid = t.oid and not tgisinternal) as triggers
    from pg_class as t where t.relnamespace = 'public'::regnamespace and t.relname = any (${sql.param(names)}::text[])
    order by array_position(${sql.param(names)}::text[], t.relname::text)`);
  return new Map(
    rows<TableFacts & Record<string, unknown>>(found).map((facts) => [facts.name, facts]),
  );
}

/** The reference of a migrated database's tables, as Markdown; `image` is where it finds the diagram. */
export async function schemaReference(db: Database, image = "schema.svg"): Promise<string> {
  const facts = await tableFacts(db);
  const lines = [
    "# Tables",
    "",
    `Written by \`meta-agent-db docs\` from the catalog of a migrated database: change the schema, not this page. How they hang together: [the diagram](${image}).`,
    "",
    ...TABLE_GROUPS.map(({ title, tables }) => {
      const links = tables.map(getTableName).map((name) => `[${name}](#${name})`);
      return `- **${title}**: ${links.join(", ")}`;
    }),
  ];
  for (const { title, tables } of TABLE_GROUPS) {
    lines.push("", `## ${title}`);
    for (const table of tables) {
      const known = facts.get(getTableName(table));
      if (!known) {
        throw new Error(`${getTableName(table)} is missing: run meta-agent-db migrate first`);
      }
      lines.push("", ...tableSection(table, known, [...facts.values()]));
    }
  }
  return `${lines.join("\n")}\n`;
}

const DELETE_RULES: Readonly<Record<string, string>> = {
  a: "refused",
  r: "refused",
  c: "this row goes too",
  n: "set to NULL",
  d: "set to the default",
};

/** Kinds of columns whose rule no comment says. */
const TOLD: ReadonlySet<string> = new Set(["oneOf", "length", "elements", "json"]);

function tableSection(table: PgTable, facts: TableFacts, all: readonly TableFacts[]): string[] {
  const rules = new Map(columnsOf(table).map((column) => [column.name, columnRule(column)]));
  /** The comment says units and what NULL means; of the other kinds of columns their rule says what they take. */
  const meaning = (column: TableFacts["columns"][number]): string => {
    const rule = rules.get(column.name);
    return [column.comment, rule && TOLD.has(rule.kind) ? sentence(ruleInWords(rule)) : ""]
      .filter((text) => text !== null && text !== "" && text !== "JSON.")
      .join(" ");
  };
  const referring = all.flatMap(({ name, references }) =>
    references
      .filter((reference) => reference.table === facts.name)
      .map(({ column }) => code(`${name}.${column}`)),
  );
  const { constraints, references, indexes, policies, triggers } = facts;
  return [
    `### ${facts.name}`,
    "",
    facts.purpose ?? "",
    "",
    ...markdownTable(
      ["Column", "Type", "NULL", "Default", "Meaning"],
      facts.columns.map((column) => [
        code(column.name),
        code(column.type),
        column.nullable ? "yes" : "",
        column.default === null ? "" : code(column.default),
        meaning(column),
      ]),
    ),
    ...list(
      "Rules",
      constraints.map(({ definition }) => code(definition)),
    ),
    ...section(
      "References",
      ["Column", "Refers to", "When that is deleted"],
      references.map(({ column, table: parent, onDelete }) => [
        code(column),
        `[${parent}](#${parent})`,
        DELETE_RULES[onDelete] ?? onDelete,
      ]),
    ),
    ...(referring.length > 0 ? ["", `Referred to by ${referring.join(", ")}.`] : []),
    ...section(
      "Indexes",
      ["Index", "Kind", "Serves"],
      indexes.map((index) => [
        code(index.name),
        `${index.method}${index.unique ? ", unique" : ""}`,
        [code(servedQuery(index)), ...servedBesides(index)].join("; "),
      ]),
    ),
    ...section(
      "Policies",
      ["Policy", "For", "To", "Rows it shows", "Rows it accepts"],
      policies.map(({ name, command, role, shows, accepts }) => [
        name,
        command,
        code(role),
        shows === null ? "" : code(shows),
        accepts === null ? "" : code(accepts),
      ]),
    ),
    ...list(
      "Triggers",
      triggers.map(({ definition }) => code(definition)),
    ),
  ];
}

/**
 * The query an index is made for, as its definition says it: equal values of the columns before the last; the
 * last one equal too, or in order where the index descends, or a range where it is a measure.
 */
export function servedQuery({ method, columns, predicate }: IndexFacts): string {
  const last = columns.at(-1);
  switch (method) {
    case "ivfflat":
    case "hnsw":
      return `ORDER BY ${last?.name} <=> $1 LIMIT 10`;
    case "gin":
      return `WHERE ${last?.name} @> $1`;
    case "brin":
      return `WHERE ${last?.name} >= $1 AND ${last?.name} < $2`;
    default: {
      const fixed = columns.filter(({ name }) => !predicate?.includes(`(${name} =`));
      const conditions = fixed
        .filter(({ descending }) => !descending)
        .map(
          (column, at) =>
            `${column.name} ${column === last && columns.length > 1 && isMeasure(column) ? "<" : "="} $${at + 1}`,
        );
      if (predicate !== null) conditions.push(predicate.replace(/^\((.*)\)$/, "$1"));
      const order = columns
        .filter(({ descending }) => descending)
        .map(({ name }) => `${name} DESC`);
      return [
        ...(conditions.length > 0 ? [`WHERE ${conditions.join(" AND ")}`] : []),
        ...(order.length > 0 ? [`ORDER BY ${order.join(", ")}`] : []),
      ].join(" ");
    }
  }
}

const isMeasure = ({ type, refersTo }: IndexFacts["columns"][number]): boolean =>
  refersTo === null && /^(numeric|integer|bigint|date|timestamp)/.test(type);

function servedBesides({ columns: [first], predicate }: IndexFacts): string[] {
  if (!first || predicate !== null) return [];
  if (first.name === "organization_id") return ["all that a tenant reads"];
  return first.refersTo === null ? [] : [`deletes of ${first.refersTo}`];
}

// ── Markdown ──

const code = (text: string) => `\`${text.replaceAll(/\s+/g, " ")}\``;
const sentence = (words: string) => `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;

function markdownTable(head: readonly string[], body: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...body.map(line)];
}

function section(
  title: string,
  head: readonly string[],
  body: readonly (readonly string[])[],
): string[] {
  return body.length > 0 ? ["", `**${title}**`, "", ...markdownTable(head, body)] : [];
}

const list = (title: string, items: readonly string[]): string[] =>
  items.length > 0 ? ["", `**${title}**`, "", ...items.map((item) => `- ${item}`)] : [];
