import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { adopt } from "../../src/operate/adopt/adopt.ts";
import { connect } from "../../src/client/connect.ts";
import { diff } from "../../src/operate/drift/diff.ts";
import { migrate, migrationStatus } from "../../src/operate/migrate/migrate.ts";
import { DRIZZLE_KIT, cli, environment } from "../cli.ts";
import { contents } from "../contents.ts";
import { type TestDatabase, openEmpty, openUrl } from "../engine.ts";
import { fillSeed, makeSeed } from "../made-by-seed.ts";

/** The full run takes 100000. */
const ROWS = Number(process.env["ADOPT_ROWS"] ?? 20_000);

describe.skipIf(inject("server") === "")("adopt on a server", () => {
  let database: TestDatabase;
  beforeEach(async () => {
    database = await openEmpty();
  });
  afterEach(() => database.close());

  const total = (counts: Awaited<ReturnType<typeof contents>>) =>
    Object.values(counts).reduce((sum, { count }) => sum + count, 0);

  test(`${ROWS} rows made with the seed's files are kept, each as it was, and diff is silent`, async () => {
    await makeSeed(database);
    await fillSeed(database, { agents: ROWS / 500, logs: 0.9 * ROWS });
    const before = await contents(database.query);
    expect(total(before)).toBeGreaterThan(ROWS);
    expect(await adopt(database.db, { dryRun: true })).toMatchObject({ adopted: false });
    const { adopted } = await adopt(database.db);
    expect(adopted).toBe(true);
    expect(await contents(database.query, undefined, before)).toEqual(before);
    expect(await diff(database.db)).toEqual([]);
    expect(await migrate(database.db)).toEqual({ applied: [] });
  });

  test("what drizzle-kit migrated under its default journal is taken over; that journal stays", async () => {
    const folder = await mkdtemp(join(tmpdir(), "meta-agent-db-kit-"));
    const config = join(folder, "drizzle.config.json");
    const out = resolve("drizzle");
    await writeFile(
      config,
      JSON.stringify({ dialect: "postgresql", out, dbCredentials: { url: database.url } }),
    );
    await promisify(execFile)(process.execPath, [DRIZZLE_KIT, "migrate", "--config", config], {
      env: environment(),
    });
    await rm(folder, { recursive: true });
    const journal = () => database.query(`select * from drizzle.__drizzle_migrations order by id`);
    const theirs = await journal();
    await expect(migrate(database.db)).rejects.toThrow("already exists");

    const { adopted, findings } = await adopt(database.db);
    expect({ adopted, findings }).toEqual({ adopted: true, findings: [] });
    expect((await migrationStatus(database.db)).upToDate).toBe(true);
    expect(await diff(database.db)).toEqual([]);
    expect(await journal()).toEqual(theirs);
  });

  test("an owner who is no superuser adopts what is his", async () => {
    const login = `owner_${process.pid}`;
    await database.query(`create role ${login} login password 'x' nosuperuser`);
    await database.query("create extension vector");
    const name = new URL(database.url).pathname.slice(1);
    await database.query(`alter database ${name} owner to ${login}`);
    const url = new URL(database.url);
    [url.username, url.password] = [login, "x"];
    const owned = openUrl(url.href);
    try {
      await makeSeed(owned);
      await fillSeed(owned, { agents: 8, logs: 60 });
      const before = await contents(owned.query);
      await owned.query("alter table agent_slas force row level security");
      await expect(adopt(owned.db)).rejects.toThrow(
        "Row-level security hides rows of agent_slas from this login",
      );
      await owned.query("alter table agent_slas no force row level security");
      expect((await adopt(owned.db)).adopted).toBe(true);
      expect(await contents(owned.query, undefined, before)).toEqual(before);
      expect(await diff(owned.db)).toEqual([]);
    } finally {
      await owned.close();
      await database.query(`reassign owned by ${login} to postgres`);
      await database.query(`drop owned by ${login}`);
      await database.query(`drop role ${login}`);
    }
  });

  test("what a superuser adopts belongs to the owner of the tables", async () => {
    const login = `owner_${process.pid}`;
    await database.query(`create role ${login}`);
    await makeSeed(database);
    await database.script(`do $$ declare t text; begin
      for t in select tablename from pg_tables where schemaname = 'public' loop
        execute format('alter table %I owner to ${login}', t);
      end loop; end $$`);
    try {
      expect((await adopt(database.db)).adopted).toBe(true);
      expect(await diff(database.db)).toEqual([]);
      const owners = await database.query(
        "select distinct proowner::regrole::text as owner from pg_proc where pronamespace = 'meta_agent'::regnamespace",
      );
      expect(owners).toEqual([{ owner: login }]);
    } finally {
      await database.query(`reassign owned by ${login} to postgres`);
      await database.query(`drop role ${login}`);
    }
  });

  test("two at once: one adopts, the other finds it done", async () => {
    await makeSeed(database);
    const connections = [connect(database.url), connect(database.url)];
    const outcomes = await Promise.allSettled(connections.map(({ db }) => adopt(db)));
    await Promise.all(connections.map(({ close }) => close()));
    expect(outcomes.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    const late = outcomes.find((outcome) => outcome.status === "rejected");
    expect(String(late?.reason)).toContain("run meta-agent-db migrate");
    expect(await diff(database.db)).toEqual([]);
  });

  test("the command lists rows in the way with exit code 2, and adopts when they are mended", async () => {
    await makeSeed(database);
    await fillSeed(database, { agents: 8, logs: 60 });
    await database.query("update agent_registry set status = null, category = 'fun'");
    const refused = await cli(["adopt", "--fill-defaults", "--url", database.url]);
    expect(refused.code).toBe(2);
    expect(refused.stdout).toMatch(
      /agent_registry +agent_registry_category_check +8 +category: one of/,
    );
    expect(refused.stdout).toContain("nothing was changed: mend these rows, then try again");

    await database.query("update agent_registry set category = 'sales'");
    const dry = await cli(["adopt", "--dry-run", "--json", "--url", database.url]);
    expect(dry.code).toBe(2);
    expect(JSON.parse(dry.stdout)).toMatchObject({
      adopted: false,
      offences: [{ table: "agent_registry", rule: "status", count: 8, hasDefault: true }],
    });
    const done = await cli(["adopt", "--fill-defaults", "--url", database.url]);
    expect(done.code).toBe(0);
    expect(done.stdout).toContain("NULLs replaced by defaults: agent_registry.status 8");
    expect(done.stdout).toContain("adopted: from now on run meta-agent-db migrate");
    const again = await cli(["adopt", "--url", database.url]);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain("run meta-agent-db migrate");
    expect(await migrate(database.db)).toEqual({ applied: [] });
  });
});
