import { getTableName } from "drizzle-orm";
import { TABLES } from "./schema/all.ts";

/**
 * The journal of this database's migrations, for `migrations` in a drizzle config. A table of its own:
 * drizzle-kit applies a file only when it is newer than the newest row, so two packages in one journal
 * skip each other's files without a word.
 */
export const JOURNAL = { schema: "drizzle", table: "__meta_agent_migrations" } as const;

/** The SQL names of this package's tables, all in schema public. */
export const tableNames: readonly string[] = TABLES.map((table) => getTableName(table));

/**
 * For `tablesFilter` in the drizzle config of an application that keeps tables of its own beside these:
 * without it `drizzle-kit push` takes ours for renamed ones of the application.
 */
export const tablesFilter: string[] = tableNames.map((name) => `!${name}`);
