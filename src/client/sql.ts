/** The floor: what whoever sends SQL stands on. Types, and what needs no driver. */
import { type ExtractTablesWithRelations, type SQL, getTableColumns, sql } from "drizzle-orm";
import type {
  PgDatabase,
  PgQueryResultHKT,
  PgTransaction,
  PgTransactionConfig,
  PgTable,
} from "drizzle-orm/pg-core";
import type { Schema } from "./schema.ts";

/** Drizzle over postgres.js or PGlite, with this package's schema. */
export type Database = PgDatabase<PgQueryResultHKT, Schema>;
/** What `db.transaction` hands over. */
export type Transaction = PgTransaction<
  PgQueryResultHKT,
  Schema,
  ExtractTablesWithRelations<Schema>
>;

/** Whatever runs a statement: a database, a transaction, a reserved connection. */
export interface Queryable {
  execute(query: SQL): PromiseLike<unknown>;
}

/**
 * A transaction of any driver and schema: what functions that work inside one take. The compiler refuses a
 * plain database, which has no `rollback`.
 */
export interface Executor
  extends Queryable, Pick<PgDatabase<PgQueryResultHKT>, "select" | "insert"> {
  readonly _: { readonly session: object };
  transaction<T>(work: (nested: Executor) => Promise<T>): Promise<T>;
  rollback(): never;
}

/** A database of any driver and schema, by the transactions it opens. */
export interface Transactor<Tx> {
  readonly _: {
    readonly session: {
      transaction<T>(work: (tx: Tx) => Promise<T>, config?: PgTransactionConfig): Promise<T>;
    };
  };
  transaction<T>(work: (tx: Tx) => Promise<T>, config?: PgTransactionConfig): Promise<T>;
}

/** The rows of `db.execute`, whose shape differs between the drivers. `T` is what the query selects. */
export function rows<T extends object = Record<string, unknown>>(result: unknown): T[] {
  const list: unknown = Array.isArray(result)
    ? result
    : typeof result === "object" && result !== null && "rows" in result && result.rows;
  if (!Array.isArray(list)) throw new TypeError("not the result of db.execute");
  return list;
}

/**
 * The one row of a query that always has one, such as an aggregate.
 * @throws {TypeError} when there is none
 */
export async function one<T extends object>(db: Queryable, query: SQL): Promise<T> {
  const [row] = rows<T>(await db.execute(query));
  if (!row) throw new TypeError("a query that always answers a row has answered none");
  return row;
}

/** Texts as one bound value: `name = any (${textArray(names)})`. Drizzle would write a list of parameters. */
export const textArray = (values: readonly string[]): SQL => sql`${sql.param([...values])}::text[]`;

/** The SQL of each column of a table but `id`, for an upsert that computes them all; by default its name. */
export function columnList(table: PgTable, write = (name: string) => name): SQL {
  const names = Object.values(getTableColumns(table)).map(({ name }) => name);
  return sql.raw(
    names
      .filter((name) => name !== "id")
      .map(write)
      .join(", "),
  );
}

/**
 * A condition that finds rows by an indexed key, for each row of something else, in a sub-select that must
 * be ordered by that key first. The planner expects the average organization and takes its index for as
 * good as the key's: of a large one, all rows were read for every key. Of a range it believes that it is
 * short, statistics or none, and beside an equality written like this the order is one that only the
 * key's index has. Identifiers only.
 */
export const isKey = (key: string, value: string): SQL =>
  sql.raw(`${key} = any (array[${value}]) and ${key} between ${value} and ${value}`);

/** Ends such a sub-select: `where ${byKey("p.id", "r.id")}`. OFFSET keeps it from becoming a join. */
export const byKey = (key: string, value: string): SQL =>
  sql`${isKey(key, value)} order by ${sql.raw(key)} offset 0`;
