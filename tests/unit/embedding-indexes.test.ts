import { expect, test } from "vitest";
import { fittedLists } from "../../src/embedding-indexes.ts";

test("lists follow the rows as pgvector advises, and stay the seed's 100 up to 100,000 rows", () => {
  const lists = [0, 10_000, 100_000, 150_000, 1_000_000, 4_000_000, 2e9].map(fittedLists);
  expect(lists).toEqual([100, 100, 100, 150, 1000, 2000, 32_768]);
});
