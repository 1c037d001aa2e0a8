import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import type { Connection } from "./client/connect.ts";
import { type PgliteServer, servePglite } from "./client/pglite-server.ts";
import { createPglite } from "./client/pglite.ts";
import { createEmpty } from "./operate/snapshot.ts";

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
 * not exist, from an empty database that is kept in the user's cache as those of `openTestDatabase` are. One
 * process at a time: a second one would lose rows.
 * @throws {Error} when another process has the directory open, naming it; when PGlite is not installed
 */
export async function openEmbedded(directory = EMBEDDED_DIRECTORY): Promise<EmbeddedConnection> {
  mkdirSync(directory, { recursive: true });
  const root = realpathSync(directory);
  keepOutOfGit(root);
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

/** The files of the database are not the application's to commit. Beside files of others it hides nothing. */
function keepOutOfGit(root: string): void {
  const isOurs = readdirSync(root).every((file) => /^(pgdata|unfinished|lock\.\d+)$/.test(file));
  if (isOurs) writeFileSync(join(root, ".gitignore"), "*\n");
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
  const started = await createEmpty(data);
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
  readonly started?: number | undefined;
  /** Where the pid means something. A lock from elsewhere, or one half written, is never taken for dead. */
  readonly place?: string | undefined;
  readonly url?: string | undefined;
}

/** The machine, its start and its numbering of processes, which containers on one volume do not share. */
function placeOf(): string {
  const boot = readOptional("/proc/sys/kernel/random/boot_id")?.trim();
  const numbering = existsSync("/proc/self/ns/pid") ? readlinkSync("/proc/self/ns/pid") : undefined;
  return [hostname(), boot, numbering].filter((part) => part !== undefined).join(" ");
}

const ownLock = () => ({
  pid: process.pid,
  started: Math.round(Date.now() - process.uptime() * 1000),
  place: placeOf(),
});
const lockFile = (root: string, pid = process.pid) => join(root, `lock.${pid}`);

function lock(root: string): () => void {
  const file = lockFile(root);
  const own = ownLock();
  const former = readLock(root, process.pid);
  if (former !== undefined) {
    if (!isFormerLife(former, own)) throw inUse(root, former);
    rmSync(file);
  }
  claim(root, file, own);
  const unlock = () => {
    process.off("exit", unlock);
    rmSync(file, { force: true });
  };
  const others = otherLocks(root);
  const holder = others.find((other) => isHeld(other));
  if (holder) {
    unlock();
    throw inUse(root, holder);
  }
  for (const { pid } of others) rmSync(lockFile(root, pid), { force: true });
  process.once("exit", unlock);
  return unlock;
}

/** A process elsewhere may have the same pid, and be as fast. */
function claim(root: string, file: string, own: Lock): void {
  try {
    writeFileSync(file, JSON.stringify(own), { flag: "wx" });
  } catch (error) {
    if (existsSync(file)) throw inUse(root, readLock(root, process.pid) ?? { pid: process.pid });
    throw error;
  }
}

/** Whether a lock with this pid is of an earlier process, not of another thread or copy of this module. */
function isFormerLife(former: Lock, own: Lock & { started: number }): boolean {
  if (former.started === undefined || isElsewhere(former)) return false;
  return Math.abs(former.started - own.started) >= 5000;
}

/** The releases before wrote no place. */
const isElsewhere = ({ place }: Lock) => place !== undefined && place !== placeOf();

const isHeld = (other: Lock) =>
  other.started === undefined || isElsewhere(other) || isAlive(other.pid);

function otherLocks(root: string): Lock[] {
  return readdirSync(root).flatMap((file) => {
    const pid = Number(/^lock\.(\d+)$/.exec(file)?.[1] ?? process.pid);
    return pid === process.pid ? [] : (readLock(root, pid) ?? []);
  });
}

function readLock(root: string, pid: number): Lock | undefined {
  const text = readOptional(lockFile(root, pid));
  if (text === undefined) return undefined;
  const started = /"started":(\d+)/.exec(text)?.[1];
  return {
    pid,
    started: started === undefined ? undefined : Number(started),
    place: /"place":"([^"]+)"/.exec(text)?.[1],
    url: /"url":"([^"]+)"/.exec(text)?.[1],
  };
}

/** The address of the server that has a directory open, if one does. */
export function embeddedServerUrl(directory = EMBEDDED_DIRECTORY): string | undefined {
  if (!existsSync(directory)) return undefined;
  return otherLocks(realpathSync(directory)).find(
    (other) => other.url !== undefined && !isElsewhere(other) && isAlive(other.pid),
  )?.url;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

function inUse(root: string, holder: Lock): Error {
  const { pid, place, url } = holder;
  const file = lockFile(root, pid);
  if (isElsewhere(holder)) {
    return new Error(
      [
        `${root} is open in process ${pid} of another machine or container (${place?.split(" ")[0]}), and only one process may have it open.`,
        "From here nobody can see whether that process still runs. Stop it, then try again.",
        `If it has ended without closing the database, delete ${file}.`,
      ].join("\n"),
    );
  }
  return new Error(
    [
      `${root} is open in process ${pid}, and only one process may have it open.`,
      url ? `It is served: connect to ${url}` : "Wait for it or stop it, then try again.",
      `If that process has nothing to do with meta-agent-db, delete ${file}.`,
    ].join("\n"),
  );
}
