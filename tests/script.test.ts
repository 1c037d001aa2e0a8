import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "drizzle-orm";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { connect } from "../src/client/connect.ts";
import { migrate, migrationStatus } from "../src/operate/migrate/migrate.ts";
import { MIGRATIONS } from "../src/migrations.ts";
import {
  PREREQUISITES_SQL,
  ejectSupabase,
  installSql,
} from "../src/operate/migrate/install-script.ts";
import { catalog } from "./catalog.ts";
import { type TestDatabase, engine, openEmpty, openMigrated } from "./engine.ts";

const names = MIGRATIONS.map(({ name }) => name);

describe.skipIf(engine === "container" && inject("server") === "")("the script", () => {
  let database: TestDatabase;
  let directory: string;
  beforeEach(async () => {
    database = await openEmpty();
    directory = await mkdtemp(join(tmpdir(), "meta-agent-db-script-"));
  });
  afterEach(async () => {
    await database.close();
    await rm(directory, { recursive: true });
  });

  let expected: Promise<string[]> | undefined;
  const migratedCatalog = async () => {
    const migrated = await openMigrated();
    return catalog(migrated.query).finally(() => migrated.close());
  };
  const states = async () =>
    (await migrationStatus(database.db)).migrations.map(({ state }) => state);

  /** Migrates up to a file, that one not included. */
  async function migrateUpTo(count: number): Promise<void> {
    await migrate(database.db, { migrations: MIGRATIONS.slice(0, count) });
  }

  async function expectMigrated(): Promise<void> {
    expect(await states()).toEqual(names.map(() => "applied"));
    expect((await migrate(database.db)).applied).toEqual([]);
    expect(await catalog(database.query)).toEqual(await (expected ??= migratedCatalog()));
  }

  test("makes what migrate makes, which finds nothing to do; run again it changes nothing", async () => {
    await database.query(installSql());
    await expectMigrated();
    const journal = () =>
      database.query("select * from drizzle.__meta_agent_migrations order by id");
    const before = await journal();
    await database.query(installSql());
    expect(await journal()).toEqual(before);
    expect(before[0]).toMatchObject({ applied_by: "postgres" });
  });

  test.each([1, names.length - 1])(
    "of a database with %i files applied it adds the rest",
    async (count) => {
      await migrateUpTo(count);
      await database.query(installSql());
      await expectMigrated();
    },
  );

  test("a journal and files that disagree are refused", async () => {
    await migrateUpTo(3);
    const journal = "drizzle.__meta_agent_migrations";
    for (const [damage, said] of [
      [`update ${journal} set hash = 'x' where id = 2`, "0001_governance.sql was edited"],
      [`delete from ${journal} where id = 2`, "0001_governance.sql was skipped"],
      [`update ${journal} set created_at = 5 where id = 1`, "that this script does not have"],
    ] as const) {
      await database.rolledBack(async (query) => {
        await query(damage);
        await expect(query(installSql())).rejects.toThrow(said);
      });
    }
    expect(await states()).toEqual(names.map((_, index) => (index < 3 ? "applied" : "pending")));
  });

  test("a statement that fails leaves nothing of the script", async () => {
    await database.query("create table alert_history (id int)");
    const before = await catalog(database.query);
    await expect(database.query(installSql())).rejects.toThrow(`"alert_history" already exists`);
    expect(await catalog(database.query)).toEqual(before);
  });

  test.skipIf(engine === "embedded")(
    "scripts and migrators at once apply each file once",
    async () => {
      const connections = Array.from({ length: 3 }, () => connect(database.url));
      await Promise.all([
        ...connections.map(({ db }) => migrate(db)),
        ...Array.from({ length: 3 }, () => database.query(installSql())),
      ]);
      await Promise.all(connections.map(({ close }) => close()));
      await expectMigrated();
    },
  );

  test("what a superuser runs first lets an owner migrate who may create neither roles nor extensions", async () => {
    const login = `plain_owner_${process.pid}`;
    const [row] = await database.query<{ name: string }>("select current_database()::text as name");
    await database.query(`create role ${login} nosuperuser`);
    await database.query(`grant create on database ${row?.name} to ${login}`);
    await database.query(`grant create, usage on schema public to ${login}`);
    await database.query(PREREQUISITES_SQL);
    await database.query(PREREQUISITES_SQL);
    await database.db.transaction(async (tx) => {
      await tx.execute(sql.raw(`set local role ${login}`));
      await migrate(tx);
    });
    expect(await states()).toEqual(names.map(() => "applied"));
    await database.query(`drop owned by ${login}`);
    await database.query(`drop role ${login}`);
  });

  test("what a superuser runs first puts vector where Supabase has its extensions", async () => {
    await database.query("create schema extensions");
    await database.query(PREREQUISITES_SQL);
    expect(
      await database.query(
        "select extnamespace::regnamespace::text as home from pg_extension where extname = 'vector'",
      ),
    ).toEqual([{ home: "extensions" }]);
  });

  test("the files for Supabase make the same, one by one, and keep our journal", async () => {
    const { written, unchanged, left } = ejectSupabase(directory);
    expect({ count: written.length, unchanged, left }).toEqual({
      count: names.length,
      unchanged: [],
      left: [],
    });
    for (const file of written) await database.query(await readFile(join(directory, file), "utf8"));
    await expectMigrated();
  });

  test("the files for Supabase pass over what migrate has applied", async () => {
    await migrate(database.db);
    const before = await catalog(database.query);
    for (const file of ejectSupabase(directory).written) {
      await database.query(await readFile(join(directory, file), "utf8"));
    }
    expect(await catalog(database.query)).toEqual(before);
    expect(await states()).toEqual(names.map(() => "applied"));
  });

  test("a file for Supabase that does not fit the journal is refused", async () => {
    const { written } = ejectSupabase(directory);
    await migrateUpTo(3);
    await database.query("update drizzle.__meta_agent_migrations set hash = 'x' where id = 3");
    const third = await readFile(join(directory, written[2] ?? ""), "utf8");
    await expect(database.query(third)).rejects.toThrow("0002_monitoring.sql was edited");
    await database.query("delete from drizzle.__meta_agent_migrations where id = 2");
    const second = await readFile(join(directory, written[1] ?? ""), "utf8");
    await expect(database.query(second)).rejects.toThrow("0001_governance.sql was skipped");
  });
});
