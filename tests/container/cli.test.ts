import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { catalog } from "../catalog.ts";
import { askStudio, cli, environment, printed } from "../cli.ts";
import { type TestDatabase, openEmpty, openMigrated } from "../engine.ts";
import { SEED_TABLES } from "../seed.ts";
import { databaseUrl } from "../setup/server.ts";

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
    const { code, stderr } = await cli(["migrate", "--url", databaseUrl(database.url, "nowhere")]);
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
      DATABASE_URL: databaseUrl(database.url, "nowhere"),
      MIGRATION_DATABASE_URL: database.url,
    });
    expect(outcome).toMatchObject({ code: 0, stdout: "11 migrations applied\n" });
    const { host, pathname } = new URL(database.url);
    expect(outcome.stderr).toContain(`postgres://postgres@${host}${pathname}`);
    expect(outcome.stderr).toContain("0010_row_level_security");
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
    await used.query("delete from drizzle.__meta_agent_migrations where id = 11");
    const { code, stderr } = await cli(["demo", "--url", used.url]);
    const [journal] = await used.query<{ count: number }>(
      "select count(*)::int as count from drizzle.__meta_agent_migrations",
    );
    await used.close();
    expect(journal?.count).toBe(10);
    expect(code).toBe(1);
    expect(stderr).toContain("these tables hold rows: agent_registry");
  });

  test("drizzle-kit studio serves all 21 tables", async () => {
    const port = await freePort();
    const studio = spawn("npx", ["drizzle-kit", "studio", "--port", String(port)], {
      env: environment({ DATABASE_URL: database.url }),
      detached: true,
    });
    try {
      await printed(studio.stdout, /up and running/);
      expect(await askStudio(port, { type: "init" })).toMatchObject({ dialect: "postgresql" });
      for (const table of Object.keys(SEED_TABLES)) {
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

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (typeof address !== "object" || !address) throw new Error("no port");
  return address.port;
}
