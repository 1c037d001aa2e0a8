/**
 * Embedded databases that are made once and kept for the processes to come, since making one takes several times
 * as long as loading it: the migrated one that tests are given copies of, and the empty one that a new directory
 * begins with. Nobody's rows are in them: they are written before the first copy is handed out.
 */
import { createHash, randomUUID } from "node:crypto";
import { mkdir, readFile, readdir, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { EMBEDDED_ENGINE, createPglite } from "../client/pglite.ts";
import { MIGRATIONS } from "../migrations.ts";
import { migrate } from "./migrate/migrate.ts";

type Embedded = Awaited<ReturnType<typeof createPglite>>;

/** What is in a kept database: its name says it. The number is to be raised when it is made in another way. */
export const EMPTY = [1, "empty", EMBEDDED_ENGINE];
const MIGRATED = [2, EMBEDDED_ENGINE, ...MIGRATIONS.map(({ hash }) => hash)];

/** A data directory, packed; the first database of the process reads or makes it. */
let snapshot: Promise<Blob> | undefined;

/** Opens a migrated database of its own, in memory. */
export async function openSnapshot(): Promise<Embedded> {
  snapshot ??= readKept(MIGRATED).then((kept) => kept ?? make());
  const used = snapshot;
  try {
    return await createPglite({ loadDataDir: await used });
  } catch {
    // Whole, but not what this engine opens. Others may have noticed before.
    if (snapshot === used) snapshot = make();
    return createPglite({ loadDataDir: await snapshot });
  }
}

async function make(): Promise<Blob> {
  // What is loaded has one segment of WAL in it: 1 MB of them instead of 16.
  const { client, db } = await createPglite({ initDbStartParams: ["--wal-segsize=1"] });
  try {
    await migrate(db);
    const packed = await pack(client);
    await keep(MIGRATED, packed);
    return blobOf(packed);
  } finally {
    await client.close();
  }
}

/** Opens a new database without any table in a directory that does not exist yet. */
export async function createEmpty(directory: string): Promise<Embedded> {
  const kept = await readKept(EMPTY);
  if (kept !== undefined) {
    try {
      return await createPglite({ dataDir: directory, loadDataDir: kept });
    } catch {
      // Whole, but not what this engine opens.
      await rm(directory, { recursive: true, force: true });
    }
  }
  const made = await createPglite({ dataDir: directory });
  if (snapshotFile(EMPTY) !== undefined) await keep(EMPTY, await pack(made.client));
  return made;
}

const pack = async (client: Embedded["client"]) =>
  Buffer.from(await (await client.dumpDataDir("gzip")).arrayBuffer());

/** PGlite goes by the type. */
const blobOf = (packed: Uint8Array<ArrayBuffer>) =>
  new Blob([packed], { type: "application/gzip" });

// ── The file: the hash of what follows, and that. ──

const HASH_BYTES = 32;
const DAYS_UNUSED = 30;

const hashOf = (...parts: readonly (string | Uint8Array)[]) =>
  parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest();

/**
 * Where it is kept, undefined if nowhere: in the user's own cache, as each system has one. That outlives `npm ci`,
 * is there under Yarn's PnP, and no other user writes to it. The name says all that it is made of.
 */
export function snapshotFile(made = MIGRATED): string | undefined {
  const directory = cacheDirectory();
  const name = hashOf(made.join()).toString("hex").slice(0, 32);
  return directory === undefined ? undefined : join(directory, `${name}.snapshot`);
}

function cacheDirectory(): string | undefined {
  const { META_AGENT_DB_CACHE: chosen, XDG_CACHE_HOME: xdg = "", LOCALAPPDATA } = process.env;
  if (chosen !== undefined) return ["", "off"].includes(chosen) ? undefined : chosen;
  if (isAbsolute(xdg)) return join(xdg, "meta-agent-db");
  if (process.platform === "win32" && LOCALAPPDATA) return join(LOCALAPPDATA, "meta-agent-db");
  const caches = process.platform === "darwin" ? ["Library", "Caches"] : [".cache"];
  return join(homedir(), ...caches, "meta-agent-db");
}

/** What was kept, unless it is not there or damaged. */
async function readKept(made: typeof MIGRATED): Promise<Blob | undefined> {
  try {
    const path = snapshotFile(made);
    if (path === undefined) return undefined;
    const bytes = await readFile(path);
    const packed = bytes.subarray(HASH_BYTES);
    if (!hashOf(packed).equals(bytes.subarray(0, HASH_BYTES))) return undefined;
    // Tells `keep` that it is in use; where it is read only, nobody removes it either.
    await utimes(path, new Date(), new Date()).catch(() => {});
    return blobOf(packed);
  } catch {
    return undefined;
  }
}

/** To be slow is better than to fail where nothing can be kept. */
async function keep(made: typeof MIGRATED, packed: Uint8Array): Promise<void> {
  const path = snapshotFile(made);
  if (path !== undefined) await write(path, packed).catch(() => {});
}

/** Written aside and renamed: of two that make it at once the later one takes the place of the other, whole. */
async function write(path: string, packed: Uint8Array): Promise<void> {
  const directory = dirname(path);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const aside = join(directory, `${randomUUID()}.snapshot`);
  try {
    await writeFile(aside, Buffer.concat([hashOf(packed), packed]), { mode: 0o600 });
    await rename(aside, path);
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
  await removeUnused(directory);
}

/** Those of other versions, and what a process that was killed has left. */
async function removeUnused(directory: string): Promise<void> {
  const oldest = Date.now() - DAYS_UNUSED * 86_400_000;
  for (const file of await readdir(directory)) {
    const path = join(directory, file);
    if (/^[0-9a-f-]+\.snapshot$/.test(file) && (await stat(path)).mtimeMs < oldest) await rm(path);
  }
}
