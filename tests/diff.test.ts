import { expect, test } from "vitest";
import { type CatalogObject, readCatalog } from "../src/catalog.ts";
import { diff } from "../src/diff.ts";
import { suite } from "./engine.ts";

suite("diff", (database) => {
  test("src/expected.ts is what the migrations make (update it with vitest -u)", async () => {
    const tables = await database.query<{ name: string }>(
      "select tablename::text as name from pg_tables where schemaname = 'public'",
    );
    const { objects } = await readCatalog(
      database.db,
      tables.map(({ name }) => name),
    );
    await expect(manifest(objects)).toMatchFileSnapshot("../src/expected.ts");
  });

  test("a migrated database has no findings", async () => {
    expect(await diff(database.db)).toEqual([]);
  });
});

function manifest(objects: readonly CatalogObject[]): string {
  const lines = objects.map(
    ({ object, parent, definition }) => `  ${JSON.stringify([object, parent, definition])},\n`,
  );
  return `// What the migrations make, read from a database that they made. Never edited by hand:
// npx vitest run --project embedded tests/diff.test.ts -u
import type { CatalogObject } from "./catalog.ts";

const OBJECTS: readonly (readonly [object: string, parent: string, definition: string])[] = [
${lines.join("")}];

/** Every object of a migrated database, each before those that stand on it. */
export const EXPECTED: readonly CatalogObject[] = OBJECTS.map(([object, parent, definition]) => ({
  object,
  parent,
  definition,
}));
`;
}
