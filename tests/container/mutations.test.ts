import { afterAll, expect, test } from "vitest";
import { catalog } from "../catalog.ts";
import { suite } from "../engine.ts";
import { type Verdict, breakAt } from "../isolation/breaking.ts";
import { guarantees } from "../isolation/guarantees.ts";
import { mutations } from "../isolation/mutations.ts";

/** MUTATIONS=full breaks every place; otherwise one of each kind. */
const places = process.env["MUTATIONS"] === "full" ? 1000 : 1;

suite("each guarantee turns red when what it guards is broken", (database) => {
  const verdicts: Verdict[] = [];
  afterAll(() => {
    console.log(report(verdicts));
  });

  test("no guarantee is without a break that it must notice", () => {
    const guarded = new Set(mutations.flatMap(({ caughtBy }) => caughtBy));
    expect(guarantees.filter((guarantee) => !guarded.has(guarantee))).toEqual([]);
  });

  test.each(mutations.map((mutation) => [mutation.kind, mutation] as const))(
    "%s",
    async (_, mutation) => {
      const before = await catalog(database.query);
      const found = await breakAt(database, mutation, places);
      verdicts.push(...found);
      expect(found.length).toBeGreaterThan(0);
      expect(found.filter(({ caught }) => !caught)).toEqual([]);
      expect(await catalog(database.query), "undone").toEqual(before);
    },
    600_000,
  );
});

/** Each kind of break, at how many places, and the guarantees that noticed it at all of them. */
function report(verdicts: readonly Verdict[]): string {
  const kinds = new Map<string, Verdict[]>();
  for (const verdict of verdicts) {
    kinds.set(verdict.kind, [...(kinds.get(verdict.kind) ?? []), verdict]);
  }
  const lines = [...kinds].flatMap(([kind, list]) => {
    const targets = new Set(list.map(({ target }) => target)).size;
    const titles = new Set(list.map(({ title }) => title));
    return [
      `${kind} (${targets})`,
      ...[...titles].map((title) => {
        const missed = list.filter((verdict) => verdict.title === title && !verdict.caught);
        const mark = missed.length === 0 ? "caught by" : `MISSED ${missed.length} times by`;
        return `    ${mark}: ${title}`;
      }),
    ];
  });
  return [...lines, `${kinds.size} kinds, ${verdicts.length} verdicts`].join("\n");
}
