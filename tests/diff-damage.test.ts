import { beforeAll, expect, test } from "vitest";
import { type Intact, damageAt, intact } from "./diff/damage.ts";
import { damages } from "./diff/damages.ts";
import { engine, suite } from "./engine.ts";
import { type Catalog, readCatalog, spread } from "./isolation/breaking.ts";
import { roleBreaks } from "./isolation/catalog-breaks.ts";
import { mutations } from "./isolation/mutations.ts";

/** MUTATIONS=full damages every place; otherwise two of each kind, and on the slower engine one. */
const places = process.env["MUTATIONS"] === "full" ? 1000 : engine === "container" ? 2 : 1;

suite("diff names exactly what was damaged, and its repair leaves nothing behind", (database) => {
  let whole: Intact;
  beforeAll(async () => {
    whole = await intact(database.db);
  });

  test.each(damages.map((damage) => [damage.kind, damage] as const))(
    "%s",
    async (_, damage) => {
      const all = damage.places(whole.anatomy);
      expect(all.length).toBeGreaterThanOrEqual(2);
      const outcomes = await damageAt(database.db, whole, spread(all, places));
      for (const { statements, expected, found, leftover, remaining } of outcomes) {
        expect(found, statements.join("\n")).toEqual(expected);
        expect({ leftover, remaining }, statements.join("\n")).toEqual({
          leftover: [],
          remaining: [],
        });
      }
    },
    600_000,
  );
});

/** What diff does not look at: attributes and memberships of roles, and tables that are not ours. */
const NOT_OURS = new Set([
  ...roleBreaks.map(({ kind }) => kind).filter((kind) => kind !== "a table that a caller owns"),
  "a new table, forgotten",
  "a new table, isolated but not attacked",
]);

suite("diff sees whatever breaks the isolation of tenants, and its repair mends it", (database) => {
  let whole: Intact;
  let catalog: Catalog;
  beforeAll(async () => {
    whole = await intact(database.db);
    catalog = await database.db.transaction(readCatalog);
  });

  test.each(
    mutations.filter(({ kind }) => !NOT_OURS.has(kind)).map((one) => [one.kind, one] as const),
  )(
    "%s",
    async (_, { breaks }) => {
      for (const { targets, statements } of spread(breaks(catalog), places)) {
        const place = { statements, findings: [] };
        const [outcome] = await damageAt(database.db, whole, [place]);
        for (const target of targets) {
          // What a function answers is broken for every table; diff names the function.
          const [name = ""] = target.split(".");
          const named = new RegExp(`\\b${name}\\b|^changed function `);
          expect(outcome?.found).toContainEqual(expect.stringMatching(named));
        }
        // An index of the user's own does no harm, and stays.
        const leftover = outcome?.leftover.filter(
          (line) => !line.startsWith("+ index CREATE INDEX"),
        );
        expect({ ...outcome, leftover }).toMatchObject({ leftover: [], remaining: [] });
      }
    },
    600_000,
  );
});
