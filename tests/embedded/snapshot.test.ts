import { spawn } from "node:child_process";
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
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { EMBEDDED_ENGINE } from "../../src/client/pglite.ts";
import { snapshotFile } from "../../src/operate/snapshot.ts";
import { environment, finished } from "../cli.ts";

/** Opens one, says how many rows and pending migrations it has, and leaves a row in it. */
const PROGRAM = `
  const { newAgent, openTestDatabase } = await import("./src/testing.ts");
  const { agentRegistry } = await import("./src/schema/index.ts");
  const { migrate } = await import("./src/operate/migrate/migrate.ts");
  const { db, close } = await openTestDatabase();
  console.log(await db.$count(agentRegistry), (await migrate(db)).applied.length);
  await db.insert(agentRegistry).values(newAgent());
  await close();`;

/** A process of its own, as test runners start one for each file. */
async function opens(env: NodeJS.ProcessEnv): Promise<void> {
  const { META_AGENT_DB_CACHE: _, XDG_CACHE_HOME: __, ...rest } = environment();
  const words = ["--import", "tsx", "--input-type=module", "--eval", PROGRAM];
  const child = spawn(process.execPath, words, { env: { ...rest, ...env } });
  expect(await finished(child)).toEqual({ code: 0, stdout: "0 0\n", stderr: "" });
}

const hashOf = (file: string) => readFileSync(file).subarray(0, 32);

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
    const tar = gunzipSync(whole.subarray(32));
    const catalogVersion = tar.indexOf("/global/pg_control") + 512 + 12;
    tar.writeUInt32LE(tar.readUInt32LE(catalogVersion) - 1, catalogVersion);
    const packed = gzipSync(tar, { level: 1 });
    const hash = createHash("sha256").update(packed).digest();
    writeFileSync(path, Buffer.concat([hash, packed]));
    await opens({ META_AGENT_DB_CACHE: directory });
    expect(hashOf(path)).not.toEqual(hash);
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
