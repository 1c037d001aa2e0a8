import { createHash } from "node:crypto";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { sql } from "drizzle-orm";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { EMBEDDED_ENGINE } from "../../src/client/pglite.ts";
import { one } from "../../src/client/sql.ts";
import { openEmbedded } from "../../src/embedded.ts";
import { EMPTY, snapshotFile } from "../../src/operate/snapshot.ts";
import { finished, startProgram } from "../cli.ts";

/** Opens one, says how many rows and pending migrations it has, and leaves a row in it. */
const PROGRAM = `
  import { agentRegistry, migrate } from "meta-agent-db";
  import { newAgent, openTestDatabase } from "meta-agent-db/testing";
  const { db, close } = await openTestDatabase();
  console.log(await db.$count(agentRegistry), (await migrate(db)).applied.length);
  await db.insert(agentRegistry).values(newAgent());
  await close();`;

/** A process of its own, as test runners start one for each file. */
async function opens(env: NodeJS.ProcessEnv): Promise<void> {
  const nowhere = { META_AGENT_DB_CACHE: undefined, XDG_CACHE_HOME: undefined };
  const child = startProgram(PROGRAM, { env: { ...nowhere, ...env } });
  expect(await finished(child)).toEqual({ code: 0, stdout: "0 0\n", stderr: "" });
}

const hashOf = (file: string) => readFileSync(file).subarray(0, 32);

/** A kept database of an engine before this one, undamaged. */
function ofAnotherVersion(whole: Buffer): Buffer {
  const tar = gunzipSync(whole.subarray(32));
  const catalogVersion = tar.indexOf("/global/pg_control") + 512 + 12;
  tar.writeUInt32LE(tar.readUInt32LE(catalogVersion) - 1, catalogVersion);
  const packed = gzipSync(tar, { level: 1 });
  return Buffer.concat([createHash("sha256").update(packed).digest(), packed]);
}

// Each process that makes one takes seconds, and here several do.
describe("the snapshot of test databases", { timeout: 300_000 }, () => {
  let home: string;
  let directory: string;
  let path: string;
  let whole: Buffer;
  beforeAll(() => {
    // That of this run of the tests.
    whole = readFileSync(snapshotFile() ?? "");
    home = mkdtempSync(join(tmpdir(), "meta-agent-db-cache-"));
    directory = join(home, "meta-agent-db");
    path = join(directory, basename(snapshotFile() ?? ""));
  });
  afterAll(() => rmSync(home, { recursive: true }));

  test("is made anew by two processes at once where it is damaged, and opened by the next without any row", async () => {
    mkdirSync(directory);
    // The engine would open it.
    const damaged = Buffer.from(whole);
    damaged[0] = 255 - (whole[0] ?? 0);
    writeFileSync(path, damaged);
    const unused = join(directory, "0123456789abcdef.snapshot");
    const [notOurs, recent] = [join(directory, "notes.txt"), join(directory, "abc.snapshot")];
    for (const file of [unused, notOurs, recent]) writeFileSync(file, "");
    for (const file of [unused, notOurs]) utimesSync(file, 0, 0);
    await Promise.all([opens({ XDG_CACHE_HOME: home }), opens({ XDG_CACHE_HOME: home })]);
    // Whole, nobody else's to read, and of the other files those removed that no version uses.
    const left = readdirSync(directory).map((file) => join(directory, file));
    expect(left.toSorted()).toEqual([notOurs, path, recent].toSorted());
    const made = statSync(path);
    expect(made.mode & 0o77).toBe(0);
    expect(hashOf(path)).not.toEqual(damaged.subarray(0, 32));
    await opens({ META_AGENT_DB_CACHE: directory });
    const { ino, size } = statSync(path);
    expect({ ino, size }).toEqual({ ino: made.ino, size: made.size });
  });

  test("is made anew where it is whole, but the engine does not open it", async () => {
    const older = ofAnotherVersion(whole);
    writeFileSync(path, older);
    await opens({ META_AGENT_DB_CACHE: directory });
    expect(hashOf(path)).not.toEqual(older.subarray(0, 32));
  });

  test("where it cannot be written, or read, is made for each process", async () => {
    await opens({ HOME: "/dev/null", USERPROFILE: "/dev/null", LOCALAPPDATA: "" });
  });

  test.each([
    [{ META_AGENT_DB_CACHE: "off", XDG_CACHE_HOME: "/xdg" }, undefined],
    [{ META_AGENT_DB_CACHE: "", XDG_CACHE_HOME: "/xdg" }, undefined],
    [{ META_AGENT_DB_CACHE: "/chosen", XDG_CACHE_HOME: "/xdg" }, "/chosen"],
    [{ XDG_CACHE_HOME: "/xdg" }, "/xdg/meta-agent-db"],
    [{ XDG_CACHE_HOME: "relative", HOME: "/ada" }, "/ada/.cache/meta-agent-db"],
  ])("with %o is kept in %s", (env, place) => {
    const none = { META_AGENT_DB_CACHE: undefined, XDG_CACHE_HOME: undefined };
    for (const [name, value] of Object.entries({ ...none, ...env })) vi.stubEnv(name, value);
    const file = snapshotFile();
    vi.unstubAllEnvs();
    expect(file && dirname(file)).toBe(place);
  });

  test("is of the very packages that are installed", () => {
    const installed = ["pglite", "pglite-pgvector"].map((name) => {
      const text = readFileSync(`node_modules/@electric-sql/${name}/package.json`, "utf8");
      return `${name} ${/"version": "([^"]+)"/.exec(text)?.[1]}`;
    });
    expect(EMBEDDED_ENGINE).toBe(installed.join(", "));
  });
});

// In this process, since nothing of it is kept in memory.
test("a new directory begins with the empty database that is kept, and is made where that does not open", async () => {
  const whole = readFileSync(snapshotFile() ?? "");
  const home = mkdtempSync(join(tmpdir(), "meta-agent-db-cache-"));
  vi.stubEnv("META_AGENT_DB_CACHE", home);
  const path = snapshotFile(EMPTY) ?? "";
  /** Opens one, says which database it is a copy of and what tables it has, and leaves one in it. */
  const opened = async (name: string) => {
    const { db, close } = await openEmbedded(join(home, name));
    const found = await one<{ id: string; tables: string | null }>(
      db,
      sql`select system_identifier::text as id,
        (select string_agg(relname, ' ') from pg_class where relnamespace = 'public'::regnamespace) as tables
        from pg_control_system()`,
    );
    await db.execute(sql`create table left_behind ()`);
    await close();
    return found;
  };
  const older = ofAnotherVersion(whole);
  writeFileSync(path, older);
  const first = await opened("first");
  expect(first.tables).toBeNull();
  expect(hashOf(path)).not.toEqual(older.subarray(0, 32));
  expect(statSync(path).mode & 0o77).toBe(0);
  expect(await opened("second")).toEqual(first);
  vi.unstubAllEnvs();
  rmSync(home, { recursive: true });
}, 300_000);
