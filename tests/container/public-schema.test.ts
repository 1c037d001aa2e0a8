import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import postgres from "postgres";
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { databaseError } from "../../src/client/errors.ts";
import { adopt } from "../../src/operate/adopt/adopt.ts";
import { repair } from "../../src/operate/drift/diff.ts";
import {
  PREREQUISITES_SQL,
  ejectSupabase,
  installSql,
} from "../../src/operate/migrate/install-script.ts";
import { migrate, migrationSql, migrationStatus } from "../../src/operate/migrate/migrate.ts";
import { UntrustedSchemaError } from "../../src/operate/migrate/public-schema.ts";
import { rebuildEmbeddingIndexes } from "../../src/operate/rebuild.ts";
import { MIGRATIONS } from "../../src/migrations.ts";
import { cli } from "../cli.ts";
import { type TestDatabase, openEmpty, openMigrated, openUrl } from "../engine.ts";
import { makeSeed } from "../made-by-seed.ts";
import { administer } from "../setup/server.ts";

const MALLORY = `mallory_${process.pid}`;
const OWNER = `owner_${process.pid}`;

/** Makes its author superuser, or whatever else who calls it may do, and answers as if nothing were. */
const TAKE = `create function public.take() returns void language plpgsql as $$ begin
    execute 'alter role ${MALLORY} superuser';
    exception when others then execute 'grant ${OWNER} to ${MALLORY}';
  end $$`;

/** Overloads that fit literals and arrays of the migrations better than the server's polymorphic ones. */
const PLANTS = [
  TAKE,
  ...["text[]", "integer[]"].flatMap((type) => [
    `create function public.planted(one ${type}, two ${type}) returns boolean language plpgsql as $$ begin
      perform public.take(); return false; exception when others then return false; end $$`,
    ...["<>", "<"].map(
      (operator) =>
        `create operator public.${operator} (function = public.planted, leftarg = ${type}, rightarg = ${type})`,
    ),
  ]),
  `create function public.format(one text, two regnamespace) returns text language plpgsql as $$ begin
    perform public.take(); return pg_catalog.format(one, two::text); end $$`,
];

async function openSeeded(): Promise<TestDatabase> {
  const database = await openEmpty();
  await makeSeed(database);
  return database;
}

const REVOKE = "REVOKE CREATE ON SCHEMA public FROM PUBLIC;";

describe.skipIf(inject("server") === "")("others may create in schema public", () => {
  const server = inject("server");
  beforeAll(async () => {
    await administer(server, `create role ${MALLORY} login password 'test'`);
    await administer(server, `create role ${OWNER} login password 'test'`);
  });
  beforeEach(() => administer(server, `alter role ${MALLORY} nosuperuser`));
  afterAll(async () => {
    await administer(server, `drop role ${MALLORY}`);
    await administer(server, `drop role ${OWNER}`);
  });

  const as = async (login: string, url: string, work: (other: TestDatabase) => Promise<void>) => {
    const other = new URL(url);
    other.username = login;
    other.password = "test";
    const opened = openUrl(other.href);
    await work(opened).finally(() => opened.close());
  };

  const plant = (url: string, plants: readonly string[] = PLANTS) =>
    as(MALLORY, url, async ({ query }) => {
      for (const statement of plants) await query(statement);
    });

  /** A database in which everybody may create in public, and somebody has. */
  const withPlants = async (
    opened: Promise<TestDatabase>,
    work: (database: TestDatabase) => Promise<void>,
    plants = PLANTS,
  ) => {
    const database = await opened;
    try {
      await database.query("grant create on schema public to public");
      await plant(database.url, plants);
      await work(database);
    } finally {
      await database.close();
    }
  };

  const expectNothingTaken = async ({ query }: TestDatabase) => {
    const [taken] = await query<{ taken: boolean }>(
      `select rolsuper or pg_has_role(rolname, '${OWNER}', 'member') as taken from pg_roles where rolname = '${MALLORY}'`,
    );
    expect(taken).toEqual({ taken: false });
  };

  /** What refuses says, once it has been seen that nothing ran. */
  const refusal = async (database: TestDatabase, run: () => Promise<unknown>): Promise<string> => {
    const error: unknown = await run().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    await expectNothingTaken(database);
    const [journal] = await database.query<{ there: boolean }>(
      "select to_regclass('drizzle.__meta_agent_migrations') is not null as there",
    );
    expect(journal).toEqual({ there: false });
    return error instanceof Error ? [error.message, databaseError(error)?.hint].join("\n") : "";
  };

  const expectRefusedUntilMended = async (
    database: TestDatabase,
    run: () => Promise<unknown>,
    mend: (statement: string) => Promise<unknown>,
  ) => {
    const first = await refusal(database, run);
    expect(first).toContain(REVOKE);
    expect(first).toContain("CREATE on schema public is PUBLIC's");
    expect(first).toContain(`OPERATOR public.<>(text[],text[]) of ${MALLORY}`);
    expect(first).toContain(`ROUTINE public.format(text,regnamespace) of ${MALLORY}`);
    await mend(REVOKE);
    const second = await refusal(database, run);
    expect(second).not.toContain("REVOKE");
    // The statements are meant to be run as they stand, by a superuser: others may not drop them.
    const [, statements = ""] = /then run: (DROP .+;)/.exec(second) ?? [];
    expect(statements).toContain("DROP OPERATOR public.<(integer[],integer[]);");
    await database.script(statements);
    await run();
    await expectNothingTaken(database);
    expect((await migrationStatus(database.db)).upToDate).toBe(true);
  };

  /** On a connection that is closed afterwards: a script that fails leaves its transaction open. */
  const onItsOwn = async (url: string, text: string) => {
    const client = postgres(url, { max: 1, onnotice: () => {} });
    await client
      .unsafe(text)
      .simple()
      .finally(() => client.end());
  };

  const everyFile = async ({ script }: TestDatabase) => {
    const directory = await mkdtemp(join(tmpdir(), "meta-agent-db-planted-"));
    try {
      for (const file of ejectSupabase(directory).written) {
        await script(await readFile(join(directory, file), "utf8"));
      }
    } finally {
      await rm(directory, { recursive: true });
    }
  };

  test.each<[string, (database: TestDatabase) => Promise<unknown>]>([
    ["migrate", ({ db }) => migrate(db)],
    ["the script", ({ script }) => script(installSql())],
    ["what migrate --dry-run prints", ({ url }) => onItsOwn(url, migrationSql(MIGRATIONS))],
    ["the files of eject", everyFile],
  ])("%s as superuser refuses what is planted, and who may plant, and runs neither", (_, run) =>
    withPlants(openEmpty(), (database) =>
      expectRefusedUntilMended(
        database,
        () => run(database),
        (statement) => database.query(statement),
      ),
    ),
  );

  test("adopt as superuser refuses them too", () =>
    withPlants(openSeeded(), async (database) => {
      await expectRefusedUntilMended(
        database,
        () => adopt(database.db),
        (statement) => database.query(statement),
      );
    }));

  test("migrate as a plain owner refuses them too", () =>
    withPlants(openEmpty(), async (database) => {
      const name = new URL(database.url).pathname.slice(1);
      await database.query(`alter database ${name} owner to ${OWNER}`);
      await as(OWNER, database.url, async (owner) => {
        expect(await refusal(database, () => migrate(owner.db))).toContain(
          `with the rights of ${OWNER}`,
        );
        await owner.query(REVOKE);
        await database.query(`drop owned by ${MALLORY}`);
        await database.query(PREREQUISITES_SQL);
        expect((await migrate(owner.db)).applied).toHaveLength(MIGRATIONS.length);
      });
      // Its own functions are the owner's to have called, and the superuser trusts who owns the database.
      expect((await migrate(database.db)).applied).toEqual([]);
    }));

  test("who trusts all that may create there says so, and plants are refused all the same", () =>
    withPlants(openEmpty(), async (database) => {
      const { db, url, query } = database;
      const planted = await refusal(database, () => migrate(db, { trustPublic: true }));
      expect(planted).not.toContain("REVOKE");
      expect(planted).toContain("OPERATOR public.<>(text[],text[])");
      await query(`drop owned by ${MALLORY}`);
      const error: unknown = await migrate(db).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(UntrustedSchemaError);
      const { code, stderr } = await cli(["migrate", "--url", url]);
      expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining(REVOKE) });
      expect(stderr).toContain("--trust-public");
      await database.rolledBack(async (inside) => {
        await inside("set local meta_agent.trust_public = on");
        await inside(installSql());
      });
      expect((await cli(["migrate", "--trust-public", "--url", url])).code).toBe(0);
      // With nothing to apply nothing of public is called.
      expect((await migrate(db)).applied).toEqual([]);
    }));

  test("a right that nobody can use, and overloads of a superuser or the owner, are in nobody's way", () =>
    withPlants(
      openEmpty(),
      async ({ db, query, url }) => {
        const nobody = `nobody_${process.pid}`;
        await query(REVOKE);
        await query(`create role ${nobody}`);
        await query(`grant create on schema public to ${nobody}`);
        await query(`alter database ${new URL(url).pathname.slice(1)} owner to ${OWNER}`);
        await query(
          `create function public.lower(integer) returns text language sql as 'select ''''' `,
        );
        await query(
          `create function public.upper(integer) returns text language sql as 'select ''''' `,
        );
        await query(`alter function public.upper(integer) owner to ${OWNER}`);
        expect((await migrate(db)).applied).toHaveLength(MIGRATIONS.length);
        await query(`drop owned by ${nobody}`);
        await query(`drop role ${nobody}`);
      },
      [],
    ));

  test("a membership counts as the right: who may act as a role that may create is named", () =>
    withPlants(
      openEmpty(),
      async (database) => {
        const group = `group_${process.pid}`;
        await database.query(REVOKE);
        await database.query(`create role ${group}`);
        await database.query(`grant ${group} to ${MALLORY}`);
        await database.query(`grant create on schema public to ${group}`);
        const said = await refusal(database, () => migrate(database.db));
        expect(said).toContain(`${MALLORY}: CREATE on schema public is granted to ${group}`);
        expect(said).toContain(`REVOKE CREATE ON SCHEMA public FROM ${group};`);
        await database.query(`drop owned by ${group}`);
        await database.query(`drop role ${group}`);
      },
      [],
    ));

  test("a schema or a journal of others in the place of ours is refused, and a view is not read", () =>
    withPlants(
      openEmpty(),
      async (database) => {
        const { db, query, url } = database;
        await query(REVOKE);
        await query(`create schema drizzle authorization ${MALLORY}`);
        await query(`create schema meta_agent authorization ${MALLORY}`);
        const said = await refusal(database, () => migrate(db));
        expect(said).toContain(`${MALLORY}: schema drizzle belongs to ${MALLORY}`);
        expect(said).toContain(`${MALLORY}: schema meta_agent belongs to ${MALLORY}`);
        await plant(url, [
          `create function drizzle.hash() returns text language plpgsql as $$ begin
            execute 'alter role ${MALLORY} superuser'; return 'x'; end $$`,
          `create view drizzle.__meta_agent_migrations as select 1 as id, drizzle.hash() as hash, 1::bigint as created_at`,
        ]);
        for (const read of [() => migrate(db), () => migrationStatus(db)]) {
          await expect(read()).rejects.toThrow("is not the table that migrate makes");
          await expectNothingTaken(database);
        }
      },
      [],
    ));

  test("an overload whose name would move the terminal's cursor is printed without it", () =>
    withPlants(
      openEmpty(),
      async (database) => {
        const said = await refusal(database, () => migrate(database.db));
        expect(said).toContain(`ROUTINE public.lower(public."?[2Jx")`);
        expect(said).not.toContain("\u001b");
      },
      [
        `create type public."\u001b[2Jx" as (a int)`,
        `create function public.lower(public."\u001b[2Jx") returns text language sql as 'select null::text'`,
      ],
    ));

  test("repair, rebuild and status call nothing of what is planted, and need not refuse", () =>
    withPlants(openMigrated(), async (database) => {
      await database.query("drop index idx_logs_quality");
      expect((await repair(database.db)).repaired).toHaveLength(1);
      await rebuildEmbeddingIndexes(database.db, { force: true });
      expect((await migrationStatus(database.db)).upToDate).toBe(true);
      await expectNothingTaken(database);
    }));
});
