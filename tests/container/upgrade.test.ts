import { expect, test } from "vitest";
import { diff } from "../../src/operate/drift/diff.ts";
import { migrate } from "../../src/operate/migrate/migrate.ts";
import { MIGRATIONS } from "../../src/migrations.ts";
import { contents } from "../contents.ts";
import { openEmpty, suite } from "../engine.ts";
import { fillSeed } from "../made-by-seed.ts";
import { guarantees } from "../isolation/guarantees.ts";

/** The last migration of the previous release; `.ci/upgrade` runs that release's own tests on the newest ones. */
const PREVIOUS = "0011_tenant_indexes";
const place = MIGRATIONS.findIndex(({ name }) => name === PREVIOUS) + 1;
const later = MIGRATIONS.slice(place).map(({ name }) => name);

/** UPGRADE_LOGS is the long form. */
const LOGS = Number(process.env["UPGRADE_LOGS"] ?? 2000);

/** The database of the previous release, filled, then migrated to the newest. */
const upgraded = { before: {}, after: {}, applied: [] as readonly string[] };

suite(
  `a database of ${PREVIOUS}, filled and then migrated`,
  (database) => {
    test("has been through every later migration, and none twice", async () => {
      expect(later.length).toBeGreaterThan(0);
      expect(upgraded.applied).toEqual(later);
      expect(await migrate(database.db)).toEqual({ applied: [] });
    });

    test("has each row that it had, as it was", () => {
      expect(Object.keys(upgraded.before)).toHaveLength(21);
      expect(upgraded.before).not.toMatchObject({ execution_embeddings: { count: 0 } });
      expect(upgraded.after).toEqual(upgraded.before);
    });

    test("is the database that the migrations make of nothing", async () => {
      expect(await diff(database.db)).toEqual([]);
    });

    test.each(guarantees.map((guarantee) => [guarantee.title, guarantee] as const))(
      "isolates its tenants: %s",
      async (_, guarantee) => {
        expect(await guarantee.check(database)).toEqual([]);
      },
    );
  },
  async () => {
    const database = await openEmpty();
    await migrate(database.db, { migrations: MIGRATIONS.slice(0, place) });
    // By SQL of its own age: today's code names the columns of today.
    await fillSeed(database, { agents: 20, logs: LOGS });
    upgraded.before = await contents(database.query);
    upgraded.applied = (await migrate(database.db)).applied;
    upgraded.after = await contents(database.query, undefined, upgraded.before);
    return database;
  },
);
