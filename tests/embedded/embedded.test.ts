import { spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { PGlite } from "@electric-sql/pglite";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/pglite";
import postgres from "postgres";
import { afterEach, beforeEach, expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { schema } from "../../src/client/schema.ts";
import { rows } from "../../src/client/sql.ts";
import { withOrganization } from "../../src/client/tenancy.ts";
import { type EmbeddedConnection, embeddedServerUrl, openEmbedded } from "../../src/embedded.ts";
import { migrate } from "../../src/operate/migrate/migrate.ts";
import { agentRegistry } from "../../src/schema/index.ts";
import { newAgent } from "../../src/testing.ts";
import { catalog } from "../catalog.ts";
import { finished, startProgram } from "../cli.ts";

const ORGANIZATION = "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10";

let directory: string;
let open: EmbeddedConnection[];
const opened = async (): Promise<EmbeddedConnection> => {
  const connection = await openEmbedded(directory);
  open.push(connection);
  return connection;
};
const close = async (connection: EmbeddedConnection) => {
  open = open.filter((one) => one !== connection);
  await connection.close();
};

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "meta-agent-db-embedded-"));
  open = [];
});
afterEach(async () => {
  for (const connection of open) await connection.close();
  await rm(directory, { recursive: true });
});

const locks = () => readdirSync(directory).filter((file) => file.startsWith("lock."));

test("a database that was closed is there when it is opened again", async () => {
  const first = await opened();
  await migrate(first.db);
  await withOrganization(first.db, ORGANIZATION, (tx) =>
    tx.insert(agentRegistry).values(newAgent({ agentName: "kept" })),
  );
  await close(first);
  expect(locks()).toEqual([]);
  const second = await opened();
  expect((await migrate(second.db)).applied).toEqual([]);
  const kept = await second.db.select({ name: agentRegistry.agentName }).from(agentRegistry);
  expect(kept).toEqual([{ name: "kept" }]);
});

test("a second opening is refused while the first lasts, in this process and in another", async () => {
  const first = await opened();
  const link = `${directory}-link`;
  symlinkSync(directory, link);
  for (const name of [directory, link, `${directory}/../${basename(directory)}`]) {
    await expect(openEmbedded(name)).rejects.toThrow(`is open in process ${process.pid}`);
  }
  rmSync(link);
  const other = await inAnotherProcess();
  expect(other).toContain(`is open in process ${process.pid}`);
  expect(locks()).toEqual([`lock.${process.pid}`]);
  const answer = rows<{ one: number }>(await first.db.execute(sql`select 1 as one`));
  expect(answer).toEqual([{ one: 1 }]);
});

test("of many processes that start at once no two have the directory open together", async () => {
  const hold = `const c = await openEmbedded(process.argv[1]); console.log("from", Date.now());
    await new Promise((done) => setTimeout(done, 500)); console.log("to", Date.now()); await c.close();`;
  const answers = await Promise.all(Array.from({ length: 4 }, () => inAnotherProcess(hold)));
  const holds = answers.flatMap((answer) => {
    const [, from, to] = /from (\d+)\s+to (\d+)/.exec(answer) ?? [];
    if (from) return [{ from: Number(from), to: Number(to) }];
    expect(answer).toContain("is open in process");
    return [];
  });
  const inOrder = holds.toSorted((a, b) => a.from - b.from);
  expect(inOrder.every(({ from }, i) => from >= (inOrder[i - 1]?.to ?? 0))).toBe(true);
});

test("a lock that a dead process left is no obstacle, nor one of an earlier life of this pid", async () => {
  const { pid = 0 } = await exited();
  for (const dead of [pid, process.pid]) {
    writeFileSync(join(directory, `lock.${dead}`), JSON.stringify({ pid: dead, started: 1 }));
  }
  await opened();
  expect(locks()).toEqual([`lock.${process.pid}`]);
});

test("a lock of another machine or container is never taken for dead, nor one half written", async () => {
  const { pid = 0 } = await exited();
  for (const held of [pid, process.pid]) {
    const file = join(directory, `lock.${held}`);
    for (const text of [
      JSON.stringify({ pid: held, started: 1, place: "elsewhere boot pid:[1]" }),
      "",
    ]) {
      writeFileSync(file, text);
      await expect(openEmbedded(directory)).rejects.toThrow(`is open in process ${held}`);
      await expect(openEmbedded(directory)).rejects.toThrow(`delete ${file}`);
      expect(readFileSync(file, "utf8")).toBe(text);
      expect(locks()).toEqual([`lock.${held}`]);
    }
    rmSync(file);
  }
  await opened();
});

test("git adds nothing of it, and all else as before", async () => {
  await opened();
  expect(readFileSync(join(directory, ".gitignore"), "utf8")).toBe("*\n");
  const shared = join(directory, "shared");
  mkdirSync(shared);
  writeFileSync(join(shared, "package.json"), "{}");
  const beside = await openEmbedded(shared);
  await beside.close();
  expect(existsSync(join(shared, ".gitignore"))).toBe(false);
});

test("a first start that was cut short is made again", async () => {
  writeFileSync(join(directory, "unfinished"), "");
  const connection = await opened();
  expect((await migrate(connection.db)).applied.length).toBeGreaterThan(0);
  expect(existsSync(join(directory, "unfinished"))).toBe(false);
});

test("closing twice is closing once, and a data directory of another version says so", async () => {
  const connection = await opened();
  await Promise.all([connection.close(), connection.close()]);
  await connection.close();
  writeFileSync(join(directory, "pgdata", "PG_VERSION"), "17\n");
  await expect(openEmbedded(directory)).rejects.toThrow("it was made by PostgreSQL 17");
  expect(locks()).toEqual([]);
});

test("it is served to other clients, who find its address", async () => {
  const connection = await opened();
  await migrate(connection.db);
  const url = await connection.serve(0);
  expect(url).toMatch(/^postgres:\/\/postgres@127\.0\.0\.1:\d+\/postgres\?sslmode=disable$/);
  const seen = await inAnotherProcess("console.log(embeddedServerUrl(process.argv[1]))");
  expect(seen).toContain(url);
  expect(embeddedServerUrl(directory)).toBeUndefined(); // this process is no other

  const client = postgres(url, { max: 1 });
  expect(await client`select count(*)::int as count from agent_registry`).toEqual([{ count: 0 }]);
  await client.end();

  const remote = connect(url);
  await withOrganization(remote.db, ORGANIZATION, (tx) =>
    tx.insert(agentRegistry).values(newAgent()),
  );
  await remote.close();
  expect(await connection.db.$count(agentRegistry)).toBe(1);
});

test("a server without pgvector is told what to install, and nothing is left behind", async () => {
  const client = await PGlite.create();
  await expect(migrate(drizzle(client, { schema }))).rejects.toThrow(
    /0000_foundation\.sql, statement 1 .+ this server does not have pgvector \(0A000\)\nInstall pgvector 0\.8 or newer/,
  );
  expect(await catalog(async (text) => (await client.query<never>(text)).rows)).toEqual([]);
  await client.close();
});

test("the quick start of the README runs, and runs again", async () => {
  const example = join(process.cwd(), "examples/quick-start.ts");
  const tsx = import.meta.resolve("tsx");
  for (const logs of [1, 2]) {
    const child = spawn(process.execPath, ["--import", tsx, example], { cwd: directory });
    const { code, stdout } = await finished(child);
    expect(code).toBe(0);
    expect(stdout.match(/executionId/g)).toHaveLength(logs);
  }
});

/** Runs code in a process of its own; answers what it printed. */
async function inAnotherProcess(
  code = "await (await openEmbedded(process.argv[1])).close();",
): Promise<string> {
  const text = `import { openEmbedded, embeddedServerUrl } from "meta-agent-db/embedded"; ${code}`;
  const { stdout, stderr } = await finished(startProgram(text, { words: [directory] }));
  return stdout + stderr;
}

async function exited() {
  const child = spawn(process.execPath, ["--version"]);
  await new Promise((done) => child.once("close", done));
  return child;
}
