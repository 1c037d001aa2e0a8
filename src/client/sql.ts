/** The floor: what whoever sends SQL stands on. Types, and three functions that need no driver. */
import { type ExtractTablesWithRelations, type SQL, sql } from "drizzle-orm";
import type { PgDatabase, PgQueryResultHKT, PgTransaction } from "drizzle-orm/pg-core";
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

/** A transaction of any driver and schema. The compiler refuses a plain database: it has no `rollback`. */
export interface Executor extends Queryable {
  rollback(): never;
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
