import { type ChildProcess, spawn } from "node:child_process";
import { appendFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getTableName } from "drizzle-orm";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import * as z from "zod";
import { freePort } from "../../src/cli/studio.ts";
import { diff } from "../../src/operate/drift/diff.ts";
import { MIGRATIONS } from "../../src/migrations.ts";
import { TABLES } from "../../src/schema/all.ts";
import { catalog } from "../catalog.ts";
import {
  DRIZZLE_KIT,
  type Outcome,
  askStudio,
  cli,
  environment,
  finished,
  mainFile,
  printed,
  start,
} from "../cli.ts";
import { type TestDatabase, openEmpty, openMigrated } from "../engine.ts";
import { administer, siblingUrl } from "../setup/server.ts";

const names = MIGRATIONS.map(({ name }) => name);
const statusJson = z.strictObject({
  upToDate: z.boolean(),
  migrations: z.array(
    z.strictObject({
      name: z.string().nullable(),
      when: z.int(),
      state: z.enum(["applied", "out of order", "pending", "edited", "skipped", "unknown"]),
      appliedAt: z.iso.datetime().nullable(),
      appliedBy: z.string().nullable(),
    }),
  ),
  findings: z.array(z.looseObject({ object: z.string(), repair: z.array(z.string()) })).nullable(),
});

describe.skipIf(inject("server") === "")("the command line against a server", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await openEmpty();
  });
  afterAll(() => database.close());

  test("a wrong password is said, without it", async () => {
    const url = new URL(database.url);
    url.password = "s3cret";
    const { code, stderr } = await cli(["migrate", "--url", url.href]);
    expect(code).toBe(1);
    expect(stderr).toContain("password authentication failed");
    expect(stderr).toContain("Check user and password");
    expect(stderr).not.toContain("s3cret");
  });

  test("a missing database is said", async () => {
    const { code, stderr } = await cli(["migrate", "--url", siblingUrl(database.url, "nowhere")]);
    expect(code).toBe(1);
    expect(stderr).toContain(`database "nowhere" does not exist (3D000)`);
    expect(stderr).toContain("Create the database");
  });

  test("a role without rights is told so, and nothing is half-done", async () => {
    const login = `powerless_${process.pid}`;
    await database.query(`create role ${login} login password 'x'`);
    const url = new URL(database.url);
    [url.username, url.password] = [login, "x"];
    const { code, stderr } = await cli(["migrate", "--url", url.href]);
    await database.query(`drop role ${login}`);
    expect(code).toBe(1);
    expect(stderr).toContain("permission denied for database");
    expect(stderr).toContain("Connect as the owner");
    expect(await catalog(database.query)).toEqual([]);
  });

  test("migrate takes MIGRATION_DATABASE_URL before DATABASE_URL and says which database it is", async () => {
    const outcome = await cli(["migrate"], {
      DATABASE_URL: siblingUrl(database.url, "nowhere"),
      MIGRATION_DATABASE_URL: database.url,
    });
    expect(outcome).toMatchObject({ code: 0, stdout: `${names.length} migrations applied\n` });
    const { host, pathname } = new URL(database.url);
    expect(outcome.stderr).toContain(`postgres://postgres@${host}${pathname}`);
    for (const name of names)
      expect(outcome.stderr).toMatch(new RegExp(` {2}${name} {2}[\\d.]+ s\n`));
  });

  test("demo fills another database only by --url and only while it is empty", async () => {
    const first = await cli(["demo", "--url", database.url]);
    expect(first).toMatchObject({ code: 0 });
    expect(first.stderr).toContain("demo fleet loaded");
    expect((await cli(["demo", "--url", database.url])).stderr).toContain("demo fleet found");
  });

  test("demo refuses a database that others use, before it migrates it", async () => {
    const used = await openMigrated();
    await used.query(
      "insert into agent_registry (agent_name, display_name, category) values ('a', 'A', 'sales')",
    );
    await used.query(
      "delete from drizzle.__meta_agent_migrations where id = (select max(id) from drizzle.__meta_agent_migrations)",
    );
    const { code, stderr } = await cli(["demo", "--url", used.url]);
    const [journal] = await used.query<{ count: number }>(
      "select count(*)::int as count from drizzle.__meta_agent_migrations",
    );
    await used.close();
    expect(journal?.count).toBe(names.length - 1);
    expect(code).toBe(1);
    expect(stderr).toContain("these tables hold rows: agent_registry");
  });

  describe("before and after a migration", () => {
    let empty: TestDatabase;
    beforeAll(async () => {
      empty = await openEmpty();
    });
    afterAll(() => empty.close());
    const on = (...words: string[]) => cli([...words, "--url", empty.url], { NO_COLOR: "" });

    test("status and --dry-run find everything pending and change nothing", async () => {
      const status = await on("status");
      expect(status.code).toBe(2);
      expect(status.stdout).toMatch(
        /^MIGRATION +STATE +APPLIED AT +BY\n0000_foundation +pending\n/,
      );
      expect(status.stdout).toContain(`${names.length} pending: run meta-agent-db migrate`);
      const dryRun = await on("migrate", "--dry-run");
      expect(dryRun.code).toBe(2);
      expect(dryRun.stdout).toMatch(/^BEGIN;\n/);
      expect(dryRun.stderr).toContain(`${names.length} pending; nothing was changed`);
      const asJson = await on("migrate", "--dry-run", "--json");
      expect(asJson.code).toBe(2);
      expect(JSON.parse(asJson.stdout)).toEqual({ pending: names, sql: dryRun.stdout });
      // eslint-disable-next-line no-control-regex
      expect(Object.values({ ...status, ...dryRun }).join("")).not.toMatch(/\u001b\[/);
      expect(await catalog(empty.query)).toEqual([]);
    });

    test("the SQL of --dry-run is what migrate would have done", async () => {
      const { stdout } = await on("migrate", "--dry-run");
      await administer(empty.url, stdout);
      expect(await diff(empty.db)).toEqual([]);
      expect(await on("migrate", "--dry-run")).toMatchObject({ code: 0, stdout: "" });
      expect(await on("migrate")).toMatchObject({ code: 0, stdout: "up to date\n" });
      expect(JSON.parse((await on("migrate", "--json")).stdout)).toEqual({ applied: [] });
    });

    test("a name that holds control sequences is shown, not obeyed", async () => {
      const name = "\u001b[2J\u0007\r\u009b8m";
      await administer(
        empty.url,
        `create table "${name}" (organization_id uuid);
         create policy "${name}" on agent_slas to authenticated using (true);
         create schema "${name}"`,
      );
      const doctor = await on("doctor");
      const diffs = await on("diff");
      const mistyped = await on("\u001b[2J");
      await administer(
        empty.url,
        `drop table "${name}"; drop policy "${name}" on agent_slas; drop schema "${name}"`,
      );
      for (const { stdout, stderr } of [doctor, mistyped]) {
        expect((stdout + stderr).replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
        expect(stdout + stderr).toContain("\\x1b[2J");
      }
      // In a pipe SQL is as it is to run.
      expect(diffs.stdout).toContain(`"${name}"`);
    });

    test("status says who applied what and when, as a table and as JSON", async () => {
      const { code, stdout } = await on("status");
      expect(code).toBe(0);
      expect(stdout).toMatch(/\n0001_governance +applied +\d{4}-\d\d-\d\dT[\d:.]+Z +postgres\n/);
      expect(stdout).toContain("policies, grants and the rest: as they should be\n");
      const json = await on("status", "--json");
      expect(json.code).toBe(0);
      const status = statusJson.parse(JSON.parse(json.stdout));
      expect(status).toMatchObject({ upToDate: true, findings: [] });
      expect(status.migrations.map(({ name }) => name)).toEqual(names);
    });

    test("status finds a policy that is gone though nothing is pending", async () => {
      await empty.query(`drop policy "Users see own org alerts" on alert_history`);
      const { code, stdout } = await on("status");
      expect(code).toBe(2);
      expect(stdout).toContain("1 found changed: run meta-agent-db diff");
      const { findings } = statusJson.parse(JSON.parse((await on("status", "--json")).stdout));
      expect(findings).toHaveLength(1);
      await empty.query("select meta_agent.isolate('alert_history', 'alerts')");
    });

    test("status as a login that may not read the journal says what to grant", async () => {
      const login = `stranger_${process.pid}`;
      await empty.query(`create role ${login} login password 's3cret'`);
      const url = new URL(empty.url);
      [url.username, url.password] = [login, "s3cret"];
      const { code, stdout, stderr } = await cli(["status", "--url", url.href]);
      await empty.query(`drop role ${login}`);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toContain(`GRANT USAGE ON SCHEMA drizzle TO ${login};`);
      expect(stderr).not.toContain("s3cret");
    });
  });

  test("sql needs no database, prints a script alone, and that one migrates", async () => {
    const { code, stdout, stderr } = await cli(["sql"], {
      DATABASE_URL: "postgres://nobody@127.0.0.1:1/x",
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const other = await openEmpty();
    await other.query(stdout);
    const status = await cli(["status", "--url", other.url]);
    await other.close();
    expect(status.code).toBe(0);
    const { stdout: prerequisites } = await cli(["sql", "--prerequisites"]);
    await database.query(prerequisites);
  });

  test("eject writes once, says what, and leaves a changed file with exit code 2", async () => {
    const directory = await mkdtemp(join(tmpdir(), "meta-agent-db-eject-"));
    const eject = () => cli(["eject", "--supabase", "--directory", directory]);
    const first = await eject();
    expect(first.code).toBe(0);
    const files = first.stdout.trim().split("\n");
    expect(files).toHaveLength(names.length);
    expect(await eject()).toMatchObject({ code: 0, stdout: "" });
    await appendFile(files[1] ?? "", "-- mine");
    const changed = await eject();
    await rm(directory, { recursive: true });
    expect(changed).toMatchObject({ code: 2, stdout: "" });
    expect(changed.stderr).toContain("_governance.sql: has other content, left as it is");
  });

  test("rebuild says what became of each index, and keeps those that no rebuild would help", async () => {
    const of = (action: string) =>
      ["idx_input_embedding", "idx_error_embedding"].map((index) => ({
        index,
        action,
        lists: 100,
      }));
    const rebuild = async (...options: string[]): Promise<unknown> => {
      const { code, stdout } = await cli(["rebuild", "--json", "--url", database.url, ...options]);
      expect(code).toBe(0);
      return JSON.parse(stdout);
    };
    expect(await rebuild()).toMatchObject(of("kept"));
    expect(await rebuild("--force")).toMatchObject(of("rebuilt"));
    expect(await diff(database.db)).toEqual([]);
  });

  test("rebuild that is interrupted ends on the server too, and the next one clears up", async () => {
    const builds = () =>
      database.query(
        "select pid from pg_stat_activity where datname = current_database() and query like 'create index concurrently%'",
      );
    await database.rolledBack(async (query) => {
      // An index cannot be finished beside a transaction that has written.
      await query("lock table execution_embeddings in row exclusive mode");
      const rebuilding = start(["rebuild", "--force", "--url", database.url]);
      const outcome = finished(rebuilding);
      await vi.waitFor(async () => expect(await builds()).toHaveLength(1), 20_000);
      rebuilding.kill("SIGINT");
      expect((await outcome).code).toBe(130);
      await vi.waitFor(async () => expect(await builds()).toEqual([]), 20_000);
    });
    expect(await cli(["rebuild", "--force", "--url", database.url])).toMatchObject({ code: 0 });
    expect(await diff(database.db)).toEqual([]);
  });

  test("rebuild says from its fifth second on how far it is: in lines, or in one that a narrow terminal rewrites", async () => {
    const words = ["rebuild", "--force", "--url", database.url];
    /** Runs it beside a transaction that has written, until its progress is to be seen. */
    const held = async (begin: () => ChildProcess, stream: "stdout" | "stderr", line: RegExp) => {
      let outcome: Promise<Outcome> | undefined;
      await database.rolledBack(async (query) => {
        await query("lock table execution_embeddings in row exclusive mode");
        const rebuilding = begin();
        outcome = finished(rebuilding);
        await printed(rebuilding[stream], line);
      });
      return outcome;
    };
    const terminal = ["stty cols 40;", process.execPath, mainFile(), ...words].join(" ");
    const rewritten = await held(
      () => spawn("script", ["-qec", terminal, "/dev/null"], { env: environment() }),
      "stdout",
      /\r.\[K\d+ s: idx_input_embedding, 1 of 2, w[a-z]{2,4}(?![a-z])/,
    );
    expect(rewritten?.code).toBe(0);
    // When it is done nothing of it is left in the way.
    expect(rewritten?.stdout).toMatch(/\r.\[K(?:INDEX|idx_input_embedding)/);
    const piped = await held(
      () => start(words),
      "stderr",
      /^\d+ s: idx_input_embedding, 1 of 2, waiting for writers before build$/m,
    );
    expect(piped).toMatchObject({ code: 0, stderr: expect.not.stringContaining("\r") });
  }, 60_000);

  test("drizzle-kit studio serves all 21 tables", async () => {
    const port = await freePort(0);
    const studio = spawn(process.execPath, [DRIZZLE_KIT, "studio", "--port", String(port)], {
      env: environment({ DATABASE_URL: database.url }),
      detached: true,
    });
    try {
      await printed(studio.stdout, /up and running/);
      expect(await askStudio(port, { type: "init" })).toMatchObject({ dialect: "postgresql" });
      for (const table of TABLES.map(getTableName)) {
        const sql = `select count(*)::int as count from "${table}"`;
        const data = { sql, params: [], method: "all", mode: "object" };
        const answer = await askStudio(port, { type: "proxy", data });
        expect(answer, table).toEqual([{ count: expect.any(Number) }]);
      }
    } finally {
      if (studio.pid) process.kill(-studio.pid);
    }
  });
});
