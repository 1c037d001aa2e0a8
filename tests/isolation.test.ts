import { expect, test } from "vitest";
import { suite } from "./engine.ts";
import { guarantees } from "./isolation/guarantees.ts";

suite("no organization sees, writes, moves or blocks another's rows", (database) => {
  test.each(guarantees.map(({ title, check }) => [title, check] as const))(
    "%s",
    async (_, check) => {
      expect(await check(database)).toEqual([]);
    },
  );
});
