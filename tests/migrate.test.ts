import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "drizzle-orm";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { MigrationError, migrate, readMigrations } from "../src/migrate.ts";
import { catalog } from "./catalog.ts";
import { type TestDatabase, engine, openEmpty } from "./engine.ts";

const names = readMigrations().map(({ name }) => name);

describe.skipIf(engine === "container" && inject("server") === "")("migrate", () => {
  let database: TestDatabase;
  let folder: string;
  beforeEach(async () => {
    database = await openEmpty();
    folder = await mkdtemp(join(tmpdir(), "meta-agent-db-migrations-"));
    await cp("drizzle", folder, { recursive: true });
  });
  afterEach(async () => {
    await database.close();
    await rm(folder, { recursive: true });
  });

  const file = (name: string) => join(folder, `${name}.sql`);
  const journal = () =>
    database.query<{ count: number }>(
      "select count(*)::int as count from drizzle.__meta_agent_migrations",
    );
  /** Adds a file at the end of the folder's journal. */
  async function addMigration(name: string, text: string, when = Date.now()): Promise<void> {
    await writeFile(file(name), text);
    const path = join(folder, "meta", "_journal.json");
    const content: { entries: object[] } = JSON.parse(await readFile(path, "utf8"));
    content.entries.push({ idx: names.length, version: "7", when, tag: name, breakpoints: true });
    await writeFile(path, JSON.stringify(content));
  }

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

  test("all hand-written patches run again, in order, leave the catalog identical", async () => {
    await migrate(database.db);
    const before = await catalog(database.query);
    const handWritten = readMigrations().filter(({ name }) => !isGenerated(name));
    expect(handWritten.map(({ name }) => name)).toContain("0010_row_level_security");
    for (const { statements } of handWritten) {
      for (const statement of statements) await database.query(statement);
    }
    expect(await catalog(database.query)).toEqual(before);
  });

  test("a failing migration names file and statement and leaves nothing behind", async () => {
    await addMigration(
      "0099_broken",
      "CREATE TABLE kept (a int);\n--> statement-breakpoint\nALTER TABLE nowhere ADD COLUMN a int;",
    );
    const message = await failure(migrate(database.db, { folder }));
    expect(message).toContain("0099_broken.sql, statement 2 of 2");
    expect(message).toContain(`relation "nowhere" does not exist (42P01)`);
    expect(message).toContain("| ALTER TABLE nowhere ADD COLUMN a int;");
    expect(message).toContain("Nothing was applied.");
    expect(await catalog(database.query)).toEqual([]);
    expect((await migrate(database.db)).applied).toEqual(names);
  });

  test("an applied file that was edited since is refused by name", async () => {
    await migrate(database.db);
    await writeFile(file("0003_evaluation"), "SELECT 1;");
    await addMigration("0099_later", "CREATE TABLE later (a int);");
    const message = await failure(migrate(database.db, { folder }));
    expect(message).toContain("0003_evaluation.sql was edited after it was applied");
    expect((await journal())[0]?.count).toBe(names.length);
  });

  test("a file that was skipped is refused by name", async () => {
    await migrate(database.db);
    const { when } = readMigrations().at(-1) ?? { when: 0 };
    await addMigration("0099_early", "CREATE TABLE early (a int);", when - 1);
    const message = await failure(migrate(database.db, { folder }));
    expect(message).toContain("0099_early.sql was skipped: later files are applied");
    expect((await journal())[0]?.count).toBe(names.length);
  });

  test("a database migrated by a newer version is refused", async () => {
    await addMigration("0099_later", "CREATE TABLE later (a int);");
    await migrate(database.db, { folder });
    const message = await failure(migrate(database.db));
    expect(message).toContain("1 migration that this version does not have: update meta-agent-db");
  });

  test("pending files of a migrated database are applied", async () => {
    await migrate(database.db);
    await addMigration("0099_later", "CREATE TABLE later (a int);");
    expect((await migrate(database.db, { folder })).applied).toEqual(["0099_later"]);
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
      expect(message).toContain("CREATE EXTENSION vector;");
      expect(message).toContain(`Have a superuser run these statements in database`);
      if (engine === "embedded") {
        for (const role of ["anon", "authenticated", "service_role"]) {
          expect(message).toContain(`CREATE ROLE ${role} NOLOGIN NOINHERIT;`);
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

/** drizzle-kit wrote one file a table group; all else is by hand. */
function isGenerated(name: string): boolean {
  return /^000[1-6]_/.test(name);
}
