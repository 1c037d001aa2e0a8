import { type SQL, getTableColumns, sql } from "drizzle-orm";
import type { PgTable } from "drizzle-orm/pg-core";

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
