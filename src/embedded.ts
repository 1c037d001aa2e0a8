import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Connection } from "./client/connect.ts";
import { type PgliteServer, servePglite } from "./client/pglite-server.ts";
import { createPglite } from "./client/pglite.ts";

/** Where the embedded database lives unless another directory is named. */
export const EMBEDDED_DIRECTORY = ".meta-agent";

/** An embedded PostgreSQL that this process has open. */
export interface EmbeddedConnection extends Connection {
  /**
   * Serves it on the loopback address to psql, drizzle-kit and others until it is closed. All clients
   * share one session of the server; one transaction runs at a time, and COPY from a client is refused.
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
  mkdirSync(directory, { recursive: true });
  const root = realpathSync(directory);
  const unlock = lock(root);
  try {
    const { client, db } = await startPglite(root);
    let server: PgliteServer | undefined;
    const stop = async () => {
      try {
        await server?.stop();
        await client.close();
      } finally {
        unlock();
      }
    };
    let closing: Promise<void> | undefined;
    return {
      db,
      label: `embedded PostgreSQL in ${directory}`,
      async serve(port) {
        server = await servePglite(client, port);
        const url = `postgres://postgres@127.0.0.1:${server.port}/postgres?sslmode=disable`;
        writeFileSync(lockFile(root), JSON.stringify({ ...ownLock(), url }));
        return url;
      },
      close: () => (closing ??= stop()),
    };
  } catch (error) {
    unlock();
    throw error;
  }
}

async function startPglite(root: string) {
  const data = join(root, "pgdata");
  // Marks a first start that has not finished: what it left is no database and is made again.
  const unfinished = join(root, "unfinished");
  if (existsSync(unfinished)) rmSync(data, { recursive: true, force: true });
  const version = readOptional(join(data, "PG_VERSION"))?.trim();
  if (version !== undefined) {
    return createPglite({ dataDir: data }).catch((cause: unknown) => {
      throw new Error(
        `${data} does not open: it was made by PostgreSQL ${version}. Use the version of PGlite that made it, or move it away and start anew.`,
        { cause },
      );
    });
  }
  writeFileSync(unfinished, "");
  const started = await createPglite({ dataDir: data });
  rmSync(unfinished);
  return started;
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
  /** When the process started, Unix milliseconds: a pid may have had a former life. */
  readonly started: number;
  readonly url?: string | undefined;
}

const ownLock = (): Lock => ({
  pid: process.pid,
  started: Math.round(Date.now() - process.uptime() * 1000),
});
const lockFile = (root: string, pid = process.pid) => join(root, `lock.${pid}`);

function lock(root: string): () => void {
  const file = lockFile(root);
  const own = ownLock();
  const mine = readLock(root, process.pid);
  // Another thread, or another copy of this module.
  if (mine && Math.abs(mine.started - own.started) < 5000) throw inUse(root, mine);
  rmSync(file, { force: true });
  writeFileSync(file, JSON.stringify(own), { flag: "wx" });
  const unlock = () => {
    process.off("exit", unlock);
    rmSync(file, { force: true });
  };
  const others = otherLocks(root);
  const holder = others.find(({ pid }) => isAlive(pid));
  if (holder) {
    unlock();
    throw inUse(root, holder);
  }
  for (const { pid } of others) rmSync(lockFile(root, pid), { force: true });
  process.once("exit", unlock);
  return unlock;
}

function otherLocks(root: string): Lock[] {
  return readdirSync(root).flatMap((file) => {
    const pid = Number(/^lock\.(\d+)$/.exec(file)?.[1] ?? process.pid);
    return pid === process.pid ? [] : (readLock(root, pid) ?? { pid, started: 0 });
  });
}

function readLock(root: string, pid: number): Lock | undefined {
  const text = readOptional(lockFile(root, pid)) ?? "";
  const started = /"started":(\d+)/.exec(text)?.[1];
  return started
    ? { pid, started: Number(started), url: /"url":"([^"]+)"/.exec(text)?.[1] }
    : undefined;
}

/** The address of the server that has a directory open, if one does. */
export function embeddedServerUrl(directory = EMBEDDED_DIRECTORY): string | undefined {
  if (!existsSync(directory)) return undefined;
  return otherLocks(realpathSync(directory)).find(({ pid, url }) => url && isAlive(pid))?.url;
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
      `If that process has nothing to do with meta-agent-db, delete ${lockFile(root, pid)}.`,
    ].join("\n"),
  );
}
