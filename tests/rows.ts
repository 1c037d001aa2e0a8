import { getTableColumns, getTableName } from "drizzle-orm";
import { type AnyPgColumn, type PgTable, getTableConfig } from "drizzle-orm/pg-core";
import type { Transaction } from "../src/client/sql.ts";
import { TABLES } from "../src/schema/all.ts";
import * as testing from "../src/testing.ts";

type Values = Record<string, unknown> & { id: string };

interface Factory {
  (parents: Record<string, string | undefined>): Values;
  readonly table: PgTable;
}

const isFactory = (value: unknown): value is Factory =>
  typeof value === "function" && "table" in value;
const exported: unknown[] = Object.values(testing);
const factories = new Map(exported.filter(isFactory).map((factory) => [factory.table, factory]));

function factoryOf(table: PgTable): Factory {
  const factory = factories.get(table);
  if (factory) return factory;
  throw new Error(`no factory of src/testing.ts makes rows of ${getTableName(table)}: add one`);
}

interface Reference {
  /** The column by its name in TypeScript. */
  readonly key: string;
  readonly parent: unknown;
}

/** The columns that name rows of other tables. */
function findReferences(table: PgTable): Reference[] {
  const columns = Object.entries<AnyPgColumn>(getTableColumns(table));
  return getTableConfig(table).foreignKeys.flatMap((foreignKey) => {
    const { columns: own, foreignTable: parent } = foreignKey.reference();
    return columns
      .filter(([, column]) => parent !== table && own.includes(column))
      .map(([key]) => ({ key, parent }));
  });
}

/** Found once: for each table that it is asked of, Drizzle makes all indexes and checks anew. */
const references = new Map(TABLES.map((table) => [table, findReferences(table)]));

/** As many rows as a row of another table may name: two prompts for a test, two agents for a dependency. */
const needed = (table: PgTable) =>
  Math.max(
    1,
    ...[...references.values()].map((of) => of.filter(({ parent }) => parent === table).length),
  );

/**
 * A valid row of every table, parents first, and of some two; every foreign key is set, but for those
 * within a table, and two of one row name two rows.
 */
export function oneOfEach(): { table: PgTable; values: Values }[] {
  const newestFirst = new Map<unknown, string[]>();
  return [...references].flatMap(([table, ofTable]) => {
    const make = factoryOf(table);
    const parents = ofTable.map(({ key, parent }, index) => {
      const place = ofTable.slice(0, index).filter((other) => other.parent === parent).length;
      return [key, newestFirst.get(parent)?.[place]];
    });
    const rows = Array.from({ length: needed(table) }, () => make(Object.fromEntries(parents)));
    newestFirst.set(table, rows.map(({ id }) => id).toReversed());
    return rows.map((values) => ({ table, values }));
  });
}

/** Inserts {@link oneOfEach}, a statement a row; answers the id of the newest row of each table, by SQL name. */
export async function insertOneOfEach(tx: Transaction): Promise<Map<string, string>> {
  const ids = new Map<string, string>();
  for (const { table, values } of oneOfEach()) {
    await tx.insert(table).values(values);
    ids.set(getTableName(table), values.id);
  }
  return ids;
}
