/** Writes the reference of the tables from a live catalog: what is said there is so. */
import { getTableName } from "drizzle-orm";
import type { PgTable } from "drizzle-orm/pg-core";
import type { Database } from "../../src/client/sql.ts";
import { columnsOf } from "../../src/schema/all.ts";
import { columnRule, ruleInWords } from "../../src/schema/rules.ts";
import { type IndexFacts, TABLE_GROUPS, type TableFacts, tableFacts } from "./facts.ts";

/** The reference of a migrated database's tables, as Markdown. */
export async function schemaReference(db: Database): Promise<string> {
  const facts = await tableFacts(db);
  const lines = [
    "# Tables",
    "",
    "Written by `npm run docs` from the catalog of a migrated database: change the schema, not this page. How they hang together: [the diagram](schema.svg).",
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
