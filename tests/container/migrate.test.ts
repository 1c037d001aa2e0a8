import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { PGlite } from "@electric-sql/pglite";
import { vector } from "@electric-sql/pglite-pgvector";
import { drizzle } from "drizzle-orm/pglite";
import { getContainerRuntimeClient } from "testcontainers";
import { describe, expect, inject, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { schema } from "../../src/client/schema.ts";
import { withOrganization } from "../../src/client/tenancy.ts";
import { migrate } from "../../src/operate/migrate/migrate.ts";
import { MIGRATIONS } from "../../src/migrations.ts";
import { agentRegistry } from "../../src/schema/index.ts";
import { catalog } from "../catalog.ts";
import { DRIZZLE_KIT } from "../cli.ts";
import { type TestDatabase, openEmpty, openMigrated } from "../engine.ts";

const run = promisify(execFile);
const names = MIGRATIONS.map(({ name }) => name);

async function withDatabase<T>(
  opened: Promise<TestDatabase>,
  work: (database: TestDatabase) => Promise<T>,
): Promise<T> {
  const database = await opened;
  try {
    return await work(database);
  } finally {
    await database.close();
  }
}

describe.skipIf(inject("server") === "")("migrations on a server", () => {
  test("four migrators at once apply each file once", async () => {
    await withDatabase(openEmpty(), async ({ url, query }) => {
      const connections = Array.from({ length: 4 }, () => connect(url));
      const results = await Promise.all(connections.map(({ db }) => migrate(db)));
      await Promise.all(connections.map(({ close }) => close()));
      expect(results.flatMap(({ applied }) => applied).toSorted()).toEqual(names);
      const [journal] = await query<{ count: number }>(
        "select count(*)::int as count from drizzle.__meta_agent_migrations",
      );
      expect(journal?.count).toBe(names.length);
    });
  });

  test("four migrators at once, whatever isolation the server defaults to", async () => {
    await withDatabase(openEmpty(), async ({ query, url }) => {
      const name = new URL(url).pathname.slice(1);
      await query(`alter database ${name} set default_transaction_isolation = 'serializable'`);
      const connections = Array.from({ length: 4 }, () => connect(url));
      const results = await Promise.all(connections.map(({ db }) => migrate(db)));
      await Promise.all(connections.map(({ close }) => close()));
      expect(results.flatMap(({ applied }) => applied).toSorted()).toEqual(names);
    });
  });

  test("where PUBLIC may not look into schema public, the two roles still may", async () => {
    await withDatabase(openEmpty(), async ({ db, query }) => {
      await query("revoke all on schema public from public");
      await migrate(db);
      const organization = "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10";
      expect(await withOrganization(db, organization, (tx) => tx.$count(agentRegistry))).toBe(0);
    });
  });

  test("drizzle-kit migrate leaves the identical database, and ours finds nothing left to do", async () => {
    const expected = await withDatabase(openMigrated(), ({ query }) => catalog(query));
    await withDatabase(openEmpty(), async ({ db, query, url }) => {
      await drizzleKit("migrate", url);
      expect(await catalog(query)).toEqual(expected);
      const [entry] = await query<{ who: string }>(
        "select distinct applied_by as who from drizzle.__meta_agent_migrations",
      );
      expect(entry?.who).toBe("postgres");
      expect((await migrate(db)).applied).toEqual([]);
    });
  });

  test("drizzle-kit migrate finds nothing left to do after ours", async () => {
    await withDatabase(openMigrated(), async ({ query, url }) => {
      const before = await catalog(query);
      await drizzleKit("migrate", url);
      expect(await catalog(query)).toEqual(before);
    });
  });

  test("an index that was built before, concurrently and by the same name, is kept", async () => {
    const patch = MIGRATIONS.find(({ name }) => name === "0011_tenant_indexes");
    await withDatabase(openMigrated(), async ({ query }) => {
      const expected = await catalog(query);
      await query("drop index idx_agent_execution_logs_organization_id_timestamp_failure");
      await query(
        `create index concurrently idx_agent_execution_logs_organization_id_timestamp_failure
         on agent_execution_logs (organization_id, timestamp desc) where status = 'failure'`,
      );
      const built = () =>
        query("select oid from pg_class where relname like 'idx_%timestamp_failure'");
      const before = await built();
      for (const statement of patch?.statements ?? []) await query(statement);
      expect(await built()).toEqual(before);
      expect(await catalog(query)).toEqual(expected);
    });
  });

  test("the embedded database has the same catalog", async () => {
    const expected = await withDatabase(openMigrated(), ({ query }) => catalog(query));
    const client = await PGlite.create({ extensions: { vector } });
    await migrate(drizzle(client, { schema }));
    const actual = await catalog(
      async (text, parameters) => (await client.query<never>(text, parameters)).rows,
    );
    await client.close();
    // The privilege MAINTAIN came with 17, and the owner has it.
    const known = (line: string) => inject("version") >= 17 || !line.startsWith("grant MAINTAIN ");
    expect(actual.filter(known)).toEqual(expected);
  });

  // Another version's pg_dump spells it otherwise.
  test.skipIf(inject("containerId") === "" || inject("version") !== 17)(
    "docs/schema.sql is the whole database (update it with vitest -u)",
    async () => {
      await withDatabase(openMigrated(), async ({ url }) => {
        const docker = (await getContainerRuntimeClient()).container;
        const { output, exitCode } = await docker.exec(
          docker.getById(inject("containerId")),
          ["pg_dump", "--schema-only", "--no-owner", `--dbname=${new URL(url).pathname.slice(1)}`],
          { env: { PGUSER: "postgres", PGHOST: "/var/run/postgresql" } },
        );
        expect(exitCode).toBe(0);
        await expect(withoutChatter(output)).toMatchFileSnapshot("../../docs/schema.sql");
      });
    },
  );
});

async function drizzleKit(command: string, url: string): Promise<void> {
  const { DATABASE_URL: _, MIGRATION_DATABASE_URL: __, ...env } = process.env;
  await run(process.execPath, [DRIZZLE_KIT, command], { env: { ...env, DATABASE_URL: url } });
}

/** A dump without what says when and by which version it was made. */
function withoutChatter(dump: string): string {
  return dump
    .split("\n")
    .filter((line) => !/^(--|\\(un)?restrict|SET |SELECT pg_catalog\.set_config)/.test(line))
    .join("\n")
    .replace(/\n{3,}/g, "\n\n")
    .trim()
    .concat("\n");
}
