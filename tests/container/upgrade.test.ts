import { getTableColumns, getTableName } from "drizzle-orm";
import type { AnyPgColumn } from "drizzle-orm/pg-core";
import { expect, test } from "vitest";
import { loadDemo } from "../../src/demo/load.ts";
import { diff } from "../../src/operate/drift/diff.ts";
import { migrate } from "../../src/operate/migrate/migrate.ts";
import { MIGRATIONS } from "../../src/migrations.ts";
import { TABLES } from "../../src/schema/all.ts";
import { contents } from "../contents.ts";
import { type Query, type TestDatabase, openEmpty, suite } from "../engine.ts";
import { guarantees } from "../isolation/guarantees.ts";
import { insertOneOfEach } from "../rows.ts";

/** The last migration of the previous release; `.ci/upgrade` runs that release's own tests on the newest ones. */
const PREVIOUS = "0011_tenant_indexes";
const place = MIGRATIONS.findIndex(({ name }) => name === PREVIOUS) + 1;
const later = MIGRATIONS.slice(place).map(({ name }) => name);

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
    await fill(database);
    const columns = await columnsOf(database.query);
    upgraded.before = await contents(database.query);
    upgraded.applied = (await migrate(database.db)).applied;
    const added = (await columnsOf(database.query)).filter((column) => !columns.includes(column));
    upgraded.after = await contents(database.query, undefined, added);
    return database;
  },
);

/** Today's rows name columns that came later: these are there only while the tables are filled. */
async function fill({ db, query }: TestDatabase): Promise<void> {
  const found = await query<{ path: string }>(
    "select concat(table_name, '.', column_name) as path from information_schema.columns where table_schema = 'public'",
  );
  const known = new Set(found.map(({ path }) => path));
  const missing = TABLES.flatMap((table) =>
    Object.values<AnyPgColumn>(getTableColumns(table)).map((column) => ({
      table: getTableName(table),
      name: column.name,
      type: column.getSQLType(),
    })),
  ).filter(({ table, name }) => !known.has(`${table}.${name}`));
  for (const { table, name, type } of missing) {
    await query(`alter table ${table} add column ${name} ${type}`);
  }
  await loadDemo(db);
  await db.transaction(insertOneOfEach);
  for (const { table, name } of missing) await query(`alter table ${table} drop column ${name}`);
}

/** Names of columns, of whatever table. */
async function columnsOf(query: Query): Promise<string[]> {
  const columns = await query<{ name: string }>(
    "select distinct column_name::text as name from information_schema.columns where table_schema = 'public'",
  );
  return columns.map(({ name }) => name);
}
