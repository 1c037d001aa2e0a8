import type { PGlite, PGliteOptions } from "@electric-sql/pglite";
import { schema } from "./schema.ts";
import type { Database } from "./sql.ts";

/**
 * Starts PGlite with pgvector: in a directory, from a dump, or empty and in memory.
 * @throws {Error} when the optional packages are not installed
 */
export async function createPglite(
  options: PGliteOptions = {},
): Promise<{ client: PGlite; db: Database }> {
  // Drizzle's driver imports PGlite too: all of it is loaded here, and only here.
  const [{ PGlite }, { vector }, { drizzle }] = await Promise.all([
    import("@electric-sql/pglite"),
    import("@electric-sql/pglite-pgvector"),
    import("drizzle-orm/pglite"),
  ]).catch((cause: unknown) => {
    throw new Error(
      "the embedded database needs the optional packages @electric-sql/pglite and @electric-sql/pglite-pgvector: install them, or set DATABASE_URL",
      { cause },
    );
  });
  const client = await PGlite.create({ ...options, extensions: { vector } });
  return { client, db: drizzle(client, { schema }) };
}
