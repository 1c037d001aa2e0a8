import { getTableName } from "drizzle-orm";
import { TABLES } from "./schema/all.ts";

export { JOURNAL } from "./operate/migrate/journal.ts";

/** The SQL names of this package's tables, all in schema public. */
export const tableNames: readonly string[] = TABLES.map((table) => getTableName(table));

/**
 * For `tablesFilter` in the drizzle config of an application that keeps tables of its own beside these:
 * without it `drizzle-kit push` takes ours for renamed ones of the application.
 */
export const tablesFilter: string[] = tableNames.map((name) => `!${name}`);
