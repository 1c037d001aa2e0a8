import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { drizzle } from "drizzle-orm/pglite";
import { type Connection, schema } from "./database.ts";

/** Where the embedded database lives unless another directory is named. */
export const EMBEDDED_DIRECTORY = ".meta-agent";

/** An embedded PostgreSQL that this process has open. */
export interface EmbeddedConnection extends Connection {
  /**
   * Serves it on the loopback address to psql, drizzle-kit and others until it is closed. All clients
   * share one session of the server; one transaction runs at a time.
   * @param port 0 for any free one
   * @returns its URL
   */
  readonly serve: (port: number) => Promise<string>;
}

/**
 * Opens the embedded PostgreSQL (PGlite with pgvector) in a directory, creating it first where it does
 * not exist. One process at a time: a second one would lose rows.
 * @throws {Error} when another process has the directory open, naming it; when PGlite is not installed
 */
export async function openEmbedded(directory = EMBEDDED_DIRECTORY): Promise<EmbeddedConnection> {
  const root = resolve(directory);
  const unlock = lock(root);
  try {
    const client = await startPglite(root);
    let server: { stop: () => Promise<void> } | undefined;
    return {
      db: drizzle(client, { schema }),
      label: `embedded PostgreSQL in ${directory}`,
      async serve(port) {
        const { PGLiteSocketServer } = await import("@electric-sql/pglite-socket");
        const listener = new PGLiteSocketServer({
          db: client,
          host: "127.0.0.1",
          port,
          maxConnections: 20,
        });
        await listener.start();
        server = listener;
        const url = `postgres://postgres@${listener.getServerConn()}/postgres?sslmode=disable`;
        writeLock(root, { pid: process.pid, url });
        return url;
      },
      async close() {
        await server?.stop();
        await client.close();
        unlock();
      },
    };
  } catch (error) {
    unlock();
    throw error;
  }
}

async function startPglite(root: string) {
  const { PGlite } = await import("@electric-sql/pglite").catch(missing);
  const { vector } = await import("@electric-sql/pglite-pgvector").catch(missing);
  const data = join(root, "pgdata");
  // Marks a first start that has not finished: what it left is no database and is made again.
  const unfinished = join(root, "unfinished");
  if (isFile(unfinished)) rmSync(data, { recursive: true, force: true });
  else if (isFile(join(data, "PG_VERSION"))) return PGlite.create(data, { extensions: { vector } });
  writeFileSync(unfinished, "");
  const client = await PGlite.create(data, { extensions: { vector } });
  rmSync(unfinished);
  return client;
}

function missing(error: unknown): never {
  throw new Error(
    "the embedded database needs the optional packages @electric-sql/pglite and @electric-sql/pglite-pgvector: install them, or set DATABASE_URL",
    { cause: error },
  );
}

function isFile(path: string): boolean {
  return readOptional(path) !== undefined;
}

function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

// ── The lock: one file a process, `lock.<pid>`, written before the others are looked at. Of two that
// start at once at least one sees the other and gives way. ──

interface Lock {
  readonly pid: number;
  readonly url?: string;
}

/** Directories that this process holds: its own pid in a lock may be left from a former life. */
const held = new Set<string>();

function lock(root: string): () => void {
  mkdirSync(root, { recursive: true });
  if (held.has(root)) throw inUse(root, { pid: process.pid });
  writeLock(root, { pid: process.pid });
  const unlock = () => {
    held.delete(root);
    process.off("exit", unlock);
    rmSync(join(root, `lock.${process.pid}`), { force: true });
  };
  const holder = otherHolder(root);
  if (holder) {
    unlock();
    throw inUse(root, holder);
  }
  held.add(root);
  process.once("exit", unlock);
  return unlock;
}

function writeLock(root: string, content: Lock): void {
  writeFileSync(join(root, `lock.${content.pid}`), JSON.stringify(content));
}

function otherHolder(root: string): Lock | undefined {
  for (const file of readdirSync(root)) {
    const pid = Number(/^lock\.(\d+)$/.exec(file)?.[1]);
    if (!pid || pid === process.pid) continue;
    if (isAlive(pid)) return { pid, ...readUrl(join(root, file)) };
    rmSync(join(root, file), { force: true });
  }
  return undefined;
}

/** The address of the server that has a directory open, if one does. */
export function embeddedServerUrl(directory = EMBEDDED_DIRECTORY): string | undefined {
  try {
    return otherHolder(resolve(directory))?.url;
  } catch {
    return undefined;
  }
}

function readUrl(file: string): { url: string } | undefined {
  const url = /"url":"([^"]+)"/.exec(readOptional(file) ?? "")?.[1];
  return url === undefined ? undefined : { url };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

function inUse(root: string, { pid, url }: Lock): Error {
  return new Error(
    [
      `${root} is open in process ${pid}, and only one process may have it open.`,
      url ? `It is served: connect to ${url}` : "Wait for it or stop it, then try again.",
      `If that process has nothing to do with meta-agent-db, delete ${join(root, `lock.${pid}`)}.`,
    ].join("\n"),
  );
}
