import type { PGlite, PGliteOptions } from "@electric-sql/pglite";
import { schema } from "./schema.ts";
import type { Database } from "./sql.ts";

/** What makes the files of an embedded database: the optional packages by their pinned versions. */
export const EMBEDDED_ENGINE = "pglite 0.5.14, pglite-pgvector 0.0.15";

/**
 * Its own 128 MB are written through at each start, before WebAssembly is compiled well: a third of the time that
 * it takes to open a database. What does not fit is read from the file system's cache or from memory.
 */
const SHARED_BUFFERS = "16MB";

/**
 * Starts PGlite with pgvector: in a directory, from a dump, or empty and in memory.
 * @throws {Error} when the optional packages are not installed, or cannot be loaded where it runs
 */
export async function createPglite(
  options: PGliteOptions = {},
): Promise<{ client: PGlite; db: Database }> {
  // Drizzle's driver imports PGlite too: all of it is loaded here, and only here.
  const [{ PGlite }, { vector }, { drizzle }] = await Promise.all([
    import("@electric-sql/pglite"),
    import("@electric-sql/pglite-pgvector"),
    import("drizzle-orm/pglite"),
    tryImport(),
  ]).catch((cause: unknown) => {
    throw new Error(whyNotLoaded(cause), { cause });
  });
  const startParams = [...PGlite.defaultStartParams, "-c", `shared_buffers=${SHARED_BUFFERS}`];
  const creating = PGlite.create({ ...options, startParams, extensions: { vector } });
  const client = await creating.catch((cause: unknown) => {
    // It imports as it starts.
    throw isWithoutImport(cause) ? new Error(whyNotLoaded(cause), { cause }) : cause;
  });
  return { client, db: drizzle(client, { schema }) };
}

/**
 * PGlite does not wait for all that it imports as it starts: in Jest without its flag that ends the process. Here
 * it is a rejection. Written as text, since the compiler makes a `require` of it for CommonJS.
 */
async function tryImport(): Promise<void> {
  try {
    // oxlint-disable-next-line typescript/no-implied-eval -- the text is our own
    const imported: unknown = new Function("return import('node:fs')")();
    await imported;
  } catch (cause) {
    // Text is also refused where modules may import, as in Vitest, and where code from text is forbidden. The
    // error is of another realm, in which `instanceof` does not know it.
    if (messageOf(cause).includes("--experimental-vm-modules")) throw cause;
  }
}

/** What a person is told when the optional packages do not load. */
export function whyNotLoaded(cause: unknown): string {
  if (isWithoutImport(cause)) {
    return 'the embedded database cannot be loaded here: the test runner runs files in a VM without import(). Jest: set NODE_OPTIONS=--experimental-vm-modules. Vitest: use pool "forks" or "threads", not "vmThreads" or "vmForks"';
  }
  if (isNotInstalled(cause)) {
    return "the embedded database needs the optional packages @electric-sql/pglite and @electric-sql/pglite-pgvector: install them, or set DATABASE_URL";
  }
  return `the embedded database cannot be loaded: ${messageOf(cause)}`;
}

/** A VM's own refusal of `import()`, which says nothing about what is installed. */
const isWithoutImport = (cause: unknown) =>
  codeOf(cause).startsWith("ERR_VM_") || messageOf(cause).includes("--experimental-vm-modules");

/** Node.js, Jest and Yarn have codes for it, bundlers and Vite only words. */
const isNotInstalled = (cause: unknown) =>
  /MODULE_NOT_FOUND|UNDECLARED_DEPENDENCY/.test(codeOf(cause)) ||
  /cannot find (?:package|module)|failed to (?:resolve|load)/i.test(messageOf(cause));

const codeOf = (cause: unknown) =>
  cause instanceof Object && "code" in cause ? String(cause.code) : "";

const messageOf = (cause: unknown) =>
  cause instanceof Object && "message" in cause ? String(cause.message) : String(cause);
