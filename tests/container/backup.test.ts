import type { StartedTestContainer } from "testcontainers";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { withOrganization } from "../../src/client/tenancy.ts";
import { loadDemo } from "../../src/demo/load.ts";
import { DEMO_ORGANIZATIONS } from "../../src/demo/story.ts";
import { diff, repair } from "../../src/operate/drift/diff.ts";
import { migrate } from "../../src/operate/migrate/migrate.ts";
import { agentRegistry } from "../../src/schema/index.ts";
import { PREREQUISITES_SQL } from "../../src/operate/migrate/install-script.ts";
import { contents } from "../contents.ts";
import { type TestDatabase, openUrl } from "../engine.ts";
import { startTestPostgres } from "../setup/postgres.ts";
import { administer, siblingUrl } from "../setup/server.ts";

/** `pg_dump --exclude-extension` came with 17. */
const excludesExtensions = inject("version") >= 17;

// Roles belong to a whole server, and a dump of a database does not hold them: a server of its own.
describe.skipIf(inject("server") === "")("a backup", () => {
  let server: { url: string; container: StartedTestContainer };
  let before: Awaited<ReturnType<typeof contents>>;
  beforeAll(async () => {
    server = await startTestPostgres();
    await administer(server.url, "create database app");
    await opened("app", async ({ db, query }) => {
      await migrate(db);
      await loadDemo(db);
      before = await contents(query);
    });
    await run("pg_dump --format custom --file /tmp/app.dump app");
    if (excludesExtensions) {
      await run("pg_dump --format custom --exclude-extension vector --file /tmp/plain.dump app");
    }
    await run("pg_dump --file /tmp/app.sql app");
    await administer(server.url, "drop database app");
    await administer(server.url, "drop role anon, authenticated, service_role");
  });
  afterAll(() => server.container.stop());

  const run = async (command: string, expected = 0) => {
    const { exitCode, output } = await server.container.exec(command.split(" "), {
      user: "postgres",
    });
    expect(exitCode, output).toBe(expected);
    return output;
  };

  async function opened(name: string, work: (database: TestDatabase) => Promise<void>) {
    const database = openUrl(siblingUrl(server.url, name));
    try {
      await work(database);
    } finally {
      await database.close();
    }
  }

  const count = async ({ query }: TestDatabase, from: string) =>
    (await query<{ count: number }>(`select count(*)::int as count from ${from}`))[0]?.count;
  const POLICIES = "pg_policies";
  const GRANTS = `information_schema.role_table_grants
    where grantee in ('anon', 'authenticated', 'service_role')`;

  test("restored where the roles are missing keeps its rows, and has lost every policy and grant; diff --repair mends it", async () => {
    await run("createdb without_roles");
    // psql calls that success.
    await run("psql --quiet --dbname without_roles --file /tmp/app.sql");
    await opened("without_roles", async (database) => {
      expect(await contents(database.query)).toEqual(before);
      expect(await migrate(database.db)).toEqual({ applied: [] });
      expect(await count(database, POLICIES)).toBe(0);
      expect(await count(database, GRANTS)).toBe(0);
      const missing = (await diff(database.db)).map(({ object }) => object);
      expect(missing).toContain("role authenticated");
      expect(missing).toContain(`policy "Users see own org agents" on agent_registry`);

      await database.script(PREREQUISITES_SQL);
      const { remaining } = await repair(database.db);
      expect(remaining).toEqual([]);
      expect(await diff(database.db)).toEqual([]);
      expect(await contents(database.query)).toEqual(before);
      await seesItsOwn(database);
    });
    await dropped("without_roles");
  });

  test("pg_restore --exit-on-error stops where the roles are missing, and leaves nothing", async () => {
    await run("createdb stopped");
    const restore =
      "pg_restore --exit-on-error --single-transaction --dbname stopped /tmp/app.dump";
    expect(await run(restore, 1)).toMatch(/role "\w+" does not exist/);
    await opened("stopped", async ({ query }) => {
      expect(await query("select from pg_tables where schemaname = 'public'")).toEqual([]);
    });
    await dropped("stopped");
  });

  test("restored where the prerequisites ran first is whole: rows, policies, journal", async () => {
    await run("createdb whole");
    await opened("whole", ({ script }) => script(PREREQUISITES_SQL));
    await run("pg_restore --exit-on-error --single-transaction --dbname whole /tmp/app.dump");
    await opened("whole", async (database) => {
      expect(await contents(database.query)).toEqual(before);
      expect(await diff(database.db)).toEqual([]);
      expect(await migrate(database.db)).toEqual({ applied: [] });
      await seesItsOwn(database);
    });
    await dropped("whole");
  });

  test("restored where new tables are open to anon by default: diff says so, and --repair closes them", async () => {
    await run("createdb open");
    await opened("open", async (database) => {
      await database.script(PREREQUISITES_SQL);
      await database.script(
        "alter default privileges in schema public grant all on tables to anon",
      );
    });
    await run("pg_restore --exit-on-error --single-transaction --dbname open /tmp/app.dump");
    await opened("open", async (database) => {
      const found = (await diff(database.db)).map(({ object, problem }) => `${problem} ${object}`);
      expect(found).toHaveLength(21);
      expect(found).toContain("extra grant on agent_registry to anon");
      expect((await repair(database.db)).remaining).toEqual([]);
      expect(await contents(database.query)).toEqual(before);
    });
    await dropped("open");
  });

  test("restored without its privileges: diff --repair grants them again", async () => {
    await run("createdb ungranted");
    await opened("ungranted", ({ script }) => script(PREREQUISITES_SQL));
    await run("pg_restore --no-privileges --exit-on-error --dbname ungranted /tmp/app.dump");
    await opened("ungranted", async (database) => {
      expect(await count(database, POLICIES)).toBeGreaterThan(100);
      expect(await count(database, GRANTS)).toBe(0);
      expect((await repair(database.db)).remaining).toEqual([]);
      await seesItsOwn(database);
    });
    await dropped("ungranted");
  });

  test.runIf(excludesExtensions)(
    "an owner who is no superuser restores a dump without the extension, which a superuser makes",
    async () => {
      await administer(server.url, "create role plain login password 'x'");
      await run("createdb --owner plain plain");
      await opened("plain", ({ script }) => script(PREREQUISITES_SQL));
      const restore = "pg_restore --no-owner --exit-on-error --single-transaction --dbname plain";
      await run(`${restore} --username plain /tmp/app.dump`, 1);
      await run(`${restore} --username plain /tmp/plain.dump`);
      await opened("plain", async (database) => {
        expect(await contents(database.query)).toEqual(before);
        expect(await diff(database.db)).toEqual([]);
      });
      await dropped("plain");
    },
  );

  async function seesItsOwn({ db }: TestDatabase) {
    const { id } = DEMO_ORGANIZATIONS.cobalt;
    const seen = await withOrganization(db, id, (tx) =>
      tx.select({ organization: agentRegistry.organizationId }).from(agentRegistry),
    );
    expect(new Set(seen.map((row) => row.organization))).toEqual(new Set([id]));
  }

  async function dropped(name: string) {
    await administer(server.url, `drop database ${name} with (force)`);
    await administer(server.url, "drop role if exists anon, authenticated, service_role");
  }
});
