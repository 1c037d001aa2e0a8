/** This package's tables as one list: whoever asks something of all of them asks here. */
import { getTableColumns, getTableName, is, sql } from "drizzle-orm";
import { type AnyPgColumn, PgTable } from "drizzle-orm/pg-core";
import * as schema from "./index.ts";

export const TABLES: readonly PgTable[] = Object.values(schema).filter((value) =>
  is(value, PgTable),
);

/** Their names, all in schema public, as a bound value: `relname = any (${TABLE_NAMES})`. */
export const TABLE_NAMES = sql`${sql.param(TABLES.map(getTableName))}::text[]`;

export const columnsOf = (table: PgTable): AnyPgColumn[] =>
  Object.values<AnyPgColumn>(getTableColumns(table));
