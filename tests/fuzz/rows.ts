import { getTableColumns, getTableName, is } from "drizzle-orm";
import { type AnyPgColumn, PgTable, getTableConfig } from "drizzle-orm/pg-core";
import * as fc from "fast-check";
import type { Database } from "../../src/client/sql.ts";
import * as schema from "../../src/schema/index.ts";
import { type RowRule, rowRule } from "../../src/schema/rules.ts";
import { ANYTHING, type Kind, kindOf } from "./kinds.ts";

export type Row = Record<string, unknown>;
export type Statement = "insert" | "update";

/** Every exported table, parents first. */
export const tables = Object.values(schema).filter((value) => is(value, PgTable));

/** The ids that a table has, by its SQL name. */
export type Ids = ReadonlyMap<string, readonly string[]>;

/** A column of a table: its name in TypeScript, its kind, and its first value in the n-th row. */
interface Field {
  readonly key: string;
  readonly column: AnyPgColumn;
  readonly kind: Kind;
  readonly sample: (n: number) => unknown;
}

function fieldsOf(table: PgTable, ids: Ids): Field[] {
  const parents = referencesOf(table);
  return Object.entries<AnyPgColumn>(getTableColumns(table)).map(([key, column]) => {
    const at = parents.findIndex(({ name }) => name === column.name);
    const parent = parents[at]?.parent ?? "";
    const known = ids.get(column.primary ? getTableName(table) : parent) ?? [];
    const kind = kindOf(column, known);
    // Of two references to one table each has a row of its own.
    const offset = parents.slice(0, at + 1).filter((other) => other.parent === parent).length;
    const values = parent ? known : kind.close;
    return {
      key,
      column,
      kind: column.primary ? { ...kind, valid: fc.uuid() } : kind,
      sample: (n) => values[(n + offset) % values.length],
    };
  });
}

/** Asked for a table again it answers what it found: Drizzle makes all indexes and checks anew for each question. */
function once<T>(find: (table: PgTable) => T): (table: PgTable) => T {
  const found = new Map<PgTable, T>();
  return (table) => {
    const answer = found.get(table) ?? find(table);
    found.set(table, answer);
    return answer;
  };
}

const referencesOf = once((table) =>
  getTableConfig(table).foreignKeys.flatMap((foreignKey) => {
    const { columns, foreignTable } = foreignKey.reference();
    return columns.map(({ name }) => ({ name, parent: getTableName(foreignTable) }));
  }),
);

/** A column by its name in TypeScript. */
export function columnOf(table: PgTable, key: string): AnyPgColumn {
  const columns: Record<string, AnyPgColumn> = getTableColumns(table);
  const column = columns[key];
  if (!column) throw new Error(`${getTableName(table)} has no column ${key}`);
  return column;
}

/** The rules between columns, by the names that the columns have in TypeScript. */
export const rulesOf = once((table): (RowRule & { name: string; keys: string[] })[] => {
  const keys = new Map(
    Object.entries<AnyPgColumn>(getTableColumns(table)).map(([key, { name }]) => [name, key]),
  );
  return getTableConfig(table).checks.flatMap(({ name }) => {
    const rule = rowRule(name);
    return rule
      ? [{ ...rule, name, keys: rule.columns.map((column) => keys.get(column) ?? "") }]
      : [];
  });
});

/** The n-th row of a table with nothing but what it must have. */
function leastRow(table: PgTable, ids: Ids, n: number): Row {
  const needed = new Set(
    rulesOf(table).flatMap(({ kind, keys }) => (kind === "some" ? keys.slice(0, 1) : [])),
  );
  return Object.fromEntries(
    fieldsOf(table, ids).flatMap(({ key, column, sample }) =>
      (column.notNull && !column.hasDefault) || needed.has(key) ? [[key, sample(n)]] : [],
    ),
  );
}

const PARENTS = 3;

/** Fills every table with a row, those that others refer to with three. */
export async function insertLeastRows(db: Database): Promise<Ids> {
  const ids = new Map<string, string[]>();
  const parents = new Set(tables.flatMap(referencesOf).map(({ parent }) => parent));
  for (const [at, table] of tables.entries()) {
    const name = getTableName(table);
    for (let n = 0; n < (parents.has(name) ? PARENTS : 1); n += 1) {
      const id = `${String(at).padStart(8, "0")}-fade-4bad-8bed-deadbeef000${n}`;
      await db.insert(table).values({ ...leastRow(table, ids, n), id });
      ids.set(name, [...(ids.get(name) ?? []), id]);
    }
  }
  return ids;
}

/** What an update does not name: two columns never change, one is kept by a trigger. */
const FIXED = new Set(["id", "organizationId", "updatedAt"]);
const ABSENT = Symbol("absent");

/** Rows of a table as a statement gives them. */
export interface Rows {
  /** Valid, nearly valid and wild. */
  readonly random: fc.Arbitrary<Row>;
  /** Every edge of every column, one at a time, and every meeting of columns that a rule binds. */
  readonly probes: readonly Row[];
  readonly isCanonical: (row: Row) => boolean;
}

export function rowsOf(table: PgTable, statement: Statement, ids: Ids): Rows {
  const change = statement === "update";
  const least = change ? {} : leastRow(table, ids, ids.get(getTableName(table))?.length ?? 0);
  const fields = fieldsOf(table, ids).filter(({ key }) => !(change && FIXED.has(key)));
  const meetings = meetingsOf(table, fields);
  const row = (given: Row): Row =>
    Object.fromEntries(
      Object.entries({ ...least, ...given }).filter(([, value]) => value !== ABSENT),
    );
  const kinds = new Map(fields.map(({ key, kind }) => [key, kind]));
  return {
    random: randomRows(fields, meetings).map(row).filter(namesSomething),
    // An update takes the values that an insert takes; what differs is NULL.
    probes: [...fields.flatMap(change ? nullOf : edgesOf), ...meetings]
      .map(row)
      .filter(namesSomething),
    isCanonical: (given) =>
      Object.entries(given).every(
        ([key, value]) => value == null || kinds.get(key)?.isCanonical(value),
      ),
  };
}

/** Drizzle makes no statement of an update without values. */
const namesSomething = (row: Row) => Object.values(row).some((value) => value !== undefined);

const nullOf = ({ key }: Field): Row[] => [{ [key]: null }];

const edgesOf = ({ key, kind }: Field): Row[] =>
  [...kind.edges, null, undefined, ABSENT].map((value) => ({ [key]: value }));

/** All pairs of close values, NULL and nothing, for the columns of a rule. */
function meetingsOf(table: PgTable, fields: Field[]): Row[] {
  return rulesOf(table).flatMap(({ keys }) =>
    fields
      .filter(({ key }) => keys.includes(key))
      .map(({ key, kind }) => [...kind.close, null, undefined].map((value) => ({ [key]: value })))
      .reduce<Row[]>(
        (rows, values) => rows.flatMap((row) => values.map((value) => ({ ...row, ...value }))),
        [{}],
      ),
  );
}

function randomRows(fields: Field[], meetings: Row[]): fc.Arbitrary<Row> {
  const valid: fc.Arbitrary<Row> = fc.record(
    Object.fromEntries(fields.map(({ key, column, kind }) => [key, validOf(column, kind)])),
    { requiredKeys: [] },
  );
  const edge = fc.oneof(...fields.map((field) => fc.constantFrom(...edgesOf(field))));
  const near = fc.oneof(
    ...fields.map(({ key, kind }) => kind.near.map((value) => ({ [key]: value }))),
  );
  const keys = fc.constantFrom(...fields.map(({ key }) => key));
  const wild = fc.dictionary(keys, ANYTHING, { minKeys: 1, maxKeys: 3 });
  const besides = (arbitrary: fc.Arbitrary<Row>) =>
    fc.tuple(valid, arbitrary).map(([most, rest]): Row => ({ ...most, ...rest }));
  return fc.oneof(
    { weight: 3, arbitrary: valid },
    { weight: 3, arbitrary: besides(edge) },
    { weight: 3, arbitrary: besides(near) },
    { weight: 1, arbitrary: besides(wild) },
    ...(meetings.length > 0
      ? [{ weight: 1, arbitrary: besides(fc.constantFrom(...meetings)) }]
      : []),
  );
}

const validOf = ({ notNull }: AnyPgColumn, { valid }: Kind) =>
  notNull ? valid : fc.option(valid, { freq: 6 });
