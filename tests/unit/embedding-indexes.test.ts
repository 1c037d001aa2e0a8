import { expect, test } from "vitest";
import { fittedLists, problemOf } from "../../src/operate/rebuild.ts";

test("lists follow the rows as pgvector advises, and stay the seed's 100 up to 100,000 rows", () => {
  const lists = [0, 10_000, 100_000, 150_000, 1_000_000, 4_000_000, 2e9].map(fittedLists);
  expect(lists).toEqual([100, 100, 100, 150, 1000, 2000, 32_768]);
});

test("a rebuild is needed from 10,000 rows on, and again when they have doubled", () => {
  const problem = (rows: number, builtOver: number | null) =>
    problemOf({ rows, lists: 100, builtOver });
  expect(problem(9999, null)).toBeUndefined();
  expect(problem(10_000, null)).toMatch(/^never built/);
  expect(problem(10_000, 9999)).toMatch(/^built over 9999/);
  expect(problem(40_000, 20_000)).toBeUndefined();
  expect(problem(40_001, 20_000)).toBe("built over 20000 rows, now 40001");
  expect(problemOf({ rows: 0, lists: null, builtOver: null })).toBe("missing or invalid");
});
