import { beforeAll, expect, test } from "vitest";
import { type Intact, damageAt, intact } from "../diff/damage.ts";
import { suite } from "../engine.ts";
import { type Catalog, readCatalog, spread } from "../isolation/breaking.ts";
import { roleBreaks } from "../isolation/catalog-breaks.ts";
import { mutations } from "../isolation/mutations.ts";

/** MUTATIONS=full breaks every place; otherwise one of each kind. */
const places = process.env["MUTATIONS"] === "full" ? 1000 : 1;

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
