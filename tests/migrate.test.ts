import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { sql } from "drizzle-orm";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import {
  MigrationError,
  migrate,
  migrationStatus,
  pendingMigrations,
} from "../src/operate/migrate/migrate.ts";
import { connect } from "../src/client/connect.ts";
import { MIGRATIONS, type Migration } from "../src/migrations.ts";
import { installSql } from "../src/operate/migrate/install-script.ts";
import { catalog } from "./catalog.ts";
import { type TestDatabase, engine, openEmpty } from "./engine.ts";

const names = MIGRATIONS.map(({ name }) => name);

describe.skipIf(engine === "container" && inject("server") === "")("migrate", () => {
  let database: TestDatabase;
  beforeEach(async () => {
    database = await openEmpty();
  });
  afterEach(() => database.close());

  const journal = () =>
    database.query<{ count: number }>(
      "select count(*)::int as count from drizzle.__meta_agent_migrations",
    );
  /** A file after the last one. */
  const later = (name: string, statements: string[], when = Date.now()): Migration => ({
    name,
    when,
    hash: name,
    statements,
  });

  test("brings an empty database to the newest migration, then finds nothing to do", async () => {
    const seen: string[] = [];
    const first = await migrate(database.db, { onApply: ({ name }) => seen.push(name) });
    expect(first.applied).toEqual(names);
    expect(seen).toEqual(names);
    const before = await catalog(database.query);
    expect((await migrate(database.db)).applied).toEqual([]);
    expect(await catalog(database.query)).toEqual(before);
    const entries = await database.query<{ who: string; recent: boolean }>(
      `select applied_by as who, now() - applied_at < interval '1 hour' as recent
       from drizzle.__meta_agent_migrations`,
    );
    expect(entries).toHaveLength(names.length);
    expect(new Set(entries.map(({ who, recent }) => `${who} ${recent}`))).toEqual(
      new Set(["postgres true"]),
    );
  });

  test("what a callback throws or rejects with is the call's, and nothing is applied", async () => {
    const fallen = new Error("progress bar fell over");
    const callbacks = [
      () => {
        throw fallen;
      },
      async () => {
        await setImmediate();
        throw fallen;
      },
    ];
    for (const callback of callbacks) {
      await expect(migrate(database.db, { onApply: callback })).rejects.toBe(fallen);
      await expect(migrate(database.db, { onApplied: callback })).rejects.toBe(fallen);
      expect((await migrationStatus(database.db)).migrations[0]?.state).toBe("pending");
      // Nobody listens there.
      const { db, close } = connect("postgres://nobody@127.0.0.1:1/nowhere");
      await expect(migrate(db, { wait: 30, onWait: callback })).rejects.toBe(fallen);
      await close();
    }
  });

  const handWritten = MIGRATIONS.filter(({ statements: [first = ""] }) => first.startsWith("--"));

  test("all hand-written patches run again, in order, leave the catalog identical", async () => {
    await migrate(database.db);
    const before = await catalog(database.query);
    expect(handWritten.map(({ name }) => name)).toContain("0010_row_level_security");
    for (const { statements } of handWritten) {
      for (const statement of statements) {
        const again = database.query(statement);
        // What 0012 made in their place bears their names.
        await (statement.includes("ADD CONSTRAINT agent_prompts_one_active")
          ? expect(again).rejects.toMatchObject({ code: "42P07" })
          : again);
      }
    }
    expect(await catalog(database.query)).toEqual(before);
  });

  test("each hand-written patch run again at once leaves the catalog identical", async () => {
    for (const [index, migration] of MIGRATIONS.entries()) {
      await migrate(database.db, { migrations: MIGRATIONS.slice(0, index + 1) });
      if (!handWritten.includes(migration)) continue;
      const before = await catalog(database.query);
      for (const statement of migration.statements) await database.query(statement);
      expect(await catalog(database.query), migration.name).toEqual(before);
    }
  });

  test("two active prompts that came while the constraint was off are refused by name, and nothing is lost", async () => {
    const last = names.indexOf("0011_tenant_indexes");
    await migrate(database.db, { migrations: MIGRATIONS.slice(0, last + 1) });
    const prompts = () =>
      database.query<{ version: string }>(
        "select version, is_active as active from agent_prompts order by version",
      );
    await database.query("alter table agent_prompts drop constraint agent_prompts_one_active");
    await database.query(`
      with agent as (insert into agent_registry (agent_name, display_name, category)
        values ('a', 'A', 'sales') returning id)
      insert into agent_prompts (agent_id, version, system_prompt, is_active, is_baseline)
      select id, n::text, '', true, n = 1 from agent, generate_series(1, 2) as n`);
    const before = [await catalog(database.query), await prompts()];
    const message = await failure(migrate(database.db));
    expect(message).toContain("0012_one_active_prompt.sql, statement 2 of 2");
    expect(message).toContain(`could not create unique index "agent_prompts_one_active" (23505)`);
    expect(message).toMatch(/Key \(agent_id\)=\([-0-9a-f]{36}\) is duplicated/);
    expect([await catalog(database.query), await prompts()]).toEqual(before);
    await database.query("update agent_prompts set is_active = false where version = '1'");
    expect((await migrate(database.db)).applied).toEqual(names.slice(last + 1));
    expect(await prompts()).toEqual([
      { version: "1", active: false },
      { version: "2", active: true },
    ]);
  });

  test("a failing migration names file and statement and leaves nothing behind", async () => {
    const broken = later("0099_broken", [
      "CREATE TABLE kept (a int);",
      "ALTER TABLE nowhere ADD COLUMN a int;",
    ]);
    const message = await failure(migrate(database.db, { migrations: [...MIGRATIONS, broken] }));
    expect(message).toContain("0099_broken.sql, statement 2 of 2");
    expect(message).toContain(`relation "nowhere" does not exist (42P01)`);
    expect(message).toContain("| ALTER TABLE nowhere ADD COLUMN a int;");
    expect(message).toContain("Nothing was applied.");
    expect(await catalog(database.query)).toEqual([]);
    expect((await migrate(database.db)).applied).toEqual(names);
  });

  test("an applied file that was edited since is refused by name", async () => {
    await migrate(database.db);
    const edited = MIGRATIONS.map((migration) =>
      migration.name === "0003_evaluation" ? { ...migration, hash: "another" } : migration,
    );
    const migrations = [...edited, later("0099_later", ["CREATE TABLE later (a int);"])];
    const message = await failure(migrate(database.db, { migrations }));
    expect(message).toContain("0003_evaluation.sql was edited after it was applied");
    expect((await journal())[0]?.count).toBe(names.length);
  });

  test("what drizzle-kit applied from a checkout with Windows' line ends was not edited", async () => {
    await migrate(database.db);
    for (const migration of MIGRATIONS) {
      const text = readFileSync(`drizzle/${migration.name}.sql`, "utf8").replaceAll("\n", "\r\n");
      const hash = createHash("sha256").update(text).digest("hex");
      await database.query(
        `update drizzle.__meta_agent_migrations set hash = '${hash}' where created_at = ${migration.when}`,
      );
    }
    expect((await migrationStatus(database.db)).upToDate).toBe(true);
    expect((await migrate(database.db)).applied).toEqual([]);
    await database.query(installSql());
  });

  test("a file that was skipped is refused by name", async () => {
    await migrate(database.db);
    const { when } = MIGRATIONS.at(-1) ?? { when: 0 };
    const early = later("0099_early", ["CREATE TABLE early (a int);"], when - 1);
    const message = await failure(migrate(database.db, { migrations: [...MIGRATIONS, early] }));
    expect(message).toContain("0099_early.sql was skipped: later files are applied");
    expect((await journal())[0]?.count).toBe(names.length);
  });

  test("a database migrated by a newer version is refused", async () => {
    const newer = later("0099_later", ["CREATE TABLE later (a int);"]);
    await migrate(database.db, { migrations: [...MIGRATIONS, newer] });
    const message = await failure(migrate(database.db));
    expect(message).toContain("1 migration that this version does not have: update meta-agent-db");
  });

  test("pending files of a migrated database are applied", async () => {
    await migrate(database.db);
    const migrations = [...MIGRATIONS, later("0099_later", ["CREATE TABLE later (a int);"])];
    expect((await migrate(database.db, { migrations })).applied).toEqual(["0099_later"]);
  });

  test("a half-applied database is refused and left as it was", async () => {
    await database.query("create table agent_prompts (id uuid)");
    const before = await catalog(database.query);
    const message = await failure(migrate(database.db));
    expect(message).toContain("0001_governance.sql");
    expect(message).toContain(`relation "agent_prompts" already exists (42P07)`);
    expect(message).toContain("take them over with meta-agent-db adopt");
    expect(await catalog(database.query)).toEqual(before);
  });

  test("status of an empty database: all is pending, and asking changes nothing", async () => {
    const status = await migrationStatus(database.db);
    expect(status.upToDate).toBe(false);
    expect(status.migrations.map(({ name, state }) => `${name} ${state}`)).toEqual(
      names.map((name) => `${name} pending`),
    );
    expect((await pendingMigrations(database.db)).map(({ name }) => name)).toEqual(names);
    expect(await catalog(database.query)).toEqual([]);
  });

  test("status tells applied, edited, skipped, out of order and unknown apart, by whom and when", async () => {
    await migrate(database.db);
    expect(await migrationStatus(database.db)).toMatchObject({ upToDate: true });
    const when = MIGRATIONS.map((migration) => migration.when);
    const change = (assignment: string, place: number) =>
      database.query(
        `update drizzle.__meta_agent_migrations set ${assignment} where created_at = $1`,
        [when[place]],
      );
    await change("id = 1000", 3);
    // Out of order is told, and no reason to refuse.
    expect(await migrationStatus(database.db)).toMatchObject({ upToDate: true });
    expect((await migrate(database.db)).applied).toEqual([]);
    await change("hash = 'another'", 1);
    await change("created_at = 5", 2);
    await change("applied_by = 'deploy', applied_at = '2026-01-02 03:04:05+00'", 4);
    const { upToDate, migrations } = await migrationStatus(database.db);
    expect(upToDate).toBe(false);
    expect(migrations.map(({ name, state }) => `${name} ${state}`)).toEqual([
      "null unknown",
      `${names[0]} applied`,
      `${names[1]} edited`,
      `${names[2]} skipped`,
      `${names[3]} out of order`,
      ...names.slice(4).map((name) => `${name} applied`),
    ]);
    expect(migrations[5]).toEqual({
      name: names[4],
      when: when[4],
      state: "applied",
      appliedAt: new Date("2026-01-02T03:04:05Z"),
      appliedBy: "deploy",
    });
    expect(migrations[3]).toMatchObject({ appliedAt: null, appliedBy: null });
    expect(migrations[1]).toMatchObject({ appliedAt: expect.any(Date), appliedBy: "postgres" });
  });

  test("status reads a journal that does not say yet who and when", async () => {
    await database.query("create schema drizzle");
    await database.query(
      "create table drizzle.__meta_agent_migrations (id serial primary key, hash text not null, created_at bigint)",
    );
    await database.query(
      "insert into drizzle.__meta_agent_migrations (hash, created_at) values ('h', 7)",
    );
    const { migrations } = await migrationStatus(database.db);
    expect(migrations[0]).toEqual({
      name: null,
      when: 7,
      state: "unknown",
      appliedAt: null,
      appliedBy: null,
    });
  });

  test("a login that may not read the journal is told the grants, and with them it may", async () => {
    await migrate(database.db);
    const login = `reader_${process.pid}`;
    await database.query(`create role ${login}`);
    const statusAsReader = () =>
      database.db.transaction(async (tx) => {
        await tx.execute(sql.raw(`set local role ${login}`));
        return migrationStatus(tx);
      });
    try {
      const refusal: unknown = await statusAsReader().catch((error: unknown) => error);
      const message = refusal instanceof Error ? refusal.message : "";
      expect(message).toContain(`${login} may not read the journal`);
      expect(message).toContain("Connect as postgres, or have it run: GRANT USAGE");
      for (const [grant] of message.matchAll(/GRANT [^;]+;/g)) await database.query(grant);
      expect(await statusAsReader()).toMatchObject({ upToDate: true });
    } finally {
      await database.query(`drop owned by ${login}`);
      await database.query(`drop role ${login}`);
    }
  });

  test("tables would land in another schema: refused before the first one", async () => {
    await database.query("create schema elsewhere");
    const attempt = database.db.transaction(async (tx) => {
      await tx.execute(sql`set local search_path = elsewhere, public`);
      await migrate(tx);
    });
    expect(await failure(attempt)).toContain("tables would be created in schema elsewhere");
    expect(await catalog(database.query)).toEqual([]);
  });

  test("an owner who may not create roles is told exactly what a superuser must run", async () => {
    const login = `owner_${process.pid}`;
    await database.query(`create role ${login} login password 'x' nosuperuser`);
    await database.query(`grant create on database ${await databaseName()} to ${login}`);
    await database.query(`grant create, usage on schema public to ${login}`);
    try {
      const message = await failure(
        database.db.transaction(async (tx) => {
          await tx.execute(sql.raw(`set local role ${login}`));
          await migrate(tx);
        }),
      );
      expect(message).toContain("\nCREATE EXTENSION vector;\nNothing was applied.");
      expect(message).toContain("meta-agent-db sql --prerequisites");
      expect(message).not.toContain("  | ");
      expect(message).toContain(`Have a superuser run these statements in database`);
      if (engine === "embedded") {
        for (const role of ["anon", "authenticated", "service_role"]) {
          expect(message).toContain(`\nCREATE ROLE ${role} NOLOGIN NOINHERIT;\n`);
        }
      }
    } finally {
      await database.query(`drop owned by ${login}`);
      await database.query(`drop role ${login}`);
    }
    expect(await catalog(database.query)).toEqual([]);
  });

  async function databaseName(): Promise<string> {
    const [row] = await database.query<{ name: string }>("select current_database()::text as name");
    return row?.name ?? "";
  }
});

/** The message of the MigrationError that the work ends with. */
async function failure(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(MigrationError);
  return error instanceof Error ? error.message : "";
}
