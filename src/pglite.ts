import type { PGlite, PGliteOptions } from "@electric-sql/pglite";

/**
 * Starts PGlite with pgvector: in a directory, from a dump, or empty and in memory.
 * @throws {Error} when the optional packages are not installed
 */
export async function createPglite(options: PGliteOptions = {}): Promise<PGlite> {
  const [{ PGlite }, { vector }] = await Promise.all([
    import("@electric-sql/pglite"),
    import("@electric-sql/pglite-pgvector"),
  ]).catch((cause: unknown) => {
    throw new Error(
      "the embedded database needs the optional packages @electric-sql/pglite and @electric-sql/pglite-pgvector: install them, or set DATABASE_URL",
      { cause },
    );
  });
  return PGlite.create({ ...options, extensions: { vector } });
}
