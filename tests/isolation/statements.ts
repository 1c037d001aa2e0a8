import { randomUUID } from "node:crypto";
import { executionLogId } from "../../src/client/keys.ts";
import type { Ground } from "./attack.ts";
import type { Fixture, Row } from "./fixture.ts";
import type { ForeignKey, Table } from "./survey.ts";

/** A key that any table takes: that of a log says its time. */
export const newId = (): string => executionLogId(new Date(), randomUUID());

/** A value as SQL text. */
export function literal(value: unknown): string {
  if (value === null) return "null";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return `'${text.replaceAll("'", "''")}'`;
}

/** A list of ids as SQL text. */
export const uuids = (ids: readonly string[]): string => `'{${ids.join(",")}}'::uuid[]`;

/** Column names as SQL text. */
export const quoted = (columns: readonly string[]): string =>
  columns.map((column) => `"${column}"`).join(", ");

/** An INSERT of one row, every column given. It reads no table, so no SELECT policy plays a part. */
export function insertOf(table: Table, row: Readonly<Record<string, unknown>>): string {
  const columns = quoted(Object.keys(row));
  return `insert into ${table.path} (${columns}) select ${columns}
    from jsonb_populate_record(null::${table.path}, ${literal(JSON.stringify(row))})`;
}

/** The column that says whose a row is: its organization, or else its first parent. */
export function belongsBy({ name, hasOrganization, foreignKeys }: Table): string {
  if (hasOrganization) return "organization_id";
  const [first] = foreignKeys;
  if (!first) throw new Error(`${name} has neither organization nor parent`);
  return first.column;
}

/**
 * An UPDATE of all rows that leaves the caller's as they are. It reads no column: a WHERE, a RETURNING
 * or a column on the right would bring the SELECT policy in, which hides what the UPDATE policy lets by.
 */
export function blindUpdate(table: Table, own: Row): string {
  const column = belongsBy(table);
  return `update ${table.path} set "${column}" = ${literal(own[column])}`;
}

/** The row that a foreign key would point at, of that organization or of the platform. */
export const parentOf = (fixture: Fixture, key: ForeignKey, organization: string | null): string =>
  fixture.row(key.parent, organization).id;

/** Whether rows of any table refer to it. */
export const isParent = (tables: readonly Table[], { name }: Table): boolean =>
  tables.some(({ foreignKeys }) => foreignKeys.some(({ parent }) => parent === name));

/** The caller's row as another one, with those columns changed. */
export const copyOf = (row: Row, id: string, changes: Readonly<Record<string, unknown>> = {}) => ({
  ...row,
  id,
  ...changes,
});

/**
 * An organization's rows of every table once more, parents first, as new rows: each uuid in them, names
 * that contain one too, is replaced by a fresh one. They name no organization.
 */
export function freshRows({ tables, fixture }: Ground, organization: string) {
  const rows = fixture.order.flatMap((name) =>
    tables
      .filter((table) => table.name === name)
      .flatMap((table) => fixture.rows(name, organization).map((row) => ({ table, row }))),
  );
  const fresh = new Map<string, string>();
  return rows.map(({ table, row }) => {
    const { organization_id: _, ...rest } = row;
    const text = JSON.stringify(rest).replaceAll(UUID, (uuid) => {
      const replacement = fresh.get(uuid) ?? newId();
      fresh.set(uuid, replacement);
      return replacement;
    });
    const replaced: Row = JSON.parse(text);
    return { table, row: replaced };
  });
}

const UUID = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g;

/** One more row of a table for an organization: names and id are fresh, the parents are those it has. */
export function anotherRow(
  ground: Ground,
  { name, foreignKeys }: Table,
  organization: string,
): Row {
  const own = ground.fixture.row(name, organization);
  const fresh = freshRows(ground, organization).findLast(({ table }) => table.name === name);
  const parents = foreignKeys.map(({ column }) => [column, own[column]]);
  return { ...own, ...fresh?.row, ...Object.fromEntries(parents) };
}
