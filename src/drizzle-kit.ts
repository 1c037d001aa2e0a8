/**
 * The journal of this database's migrations, for `migrations` in a drizzle config. A table of its own:
 * drizzle-kit applies a file only when it is newer than the newest row, so two packages in one journal
 * skip each other's files without a word.
 */
export const JOURNAL = { schema: "drizzle", table: "__meta_agent_migrations" } as const;
