import { beforeAll, expect, test } from "vitest";
import { type Intact, damageAt, intact } from "./diff/damage.ts";
import { damages } from "./diff/damages.ts";
import { suite } from "./engine.ts";
import { spread } from "./isolation/breaking.ts";

/** MUTATIONS=full damages every place; otherwise one of each kind on each engine. */
const places = process.env["MUTATIONS"] === "full" ? 1000 : 1;

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
