import { expect, test } from "vitest";
import { howFar, table } from "../../src/cli/print.ts";

const HEAD = ["AGENT", "ORGANIZATION", "RUNS", "OK %", ""];
const BODY = [
  ["invoice-reconciler", "Larkspur Foods", "266", "89.8", "SLA breached"],
  ["churn-watcher", "Cobalt Freight", "1,193", "–", ""],
];

test("a table is as wide as its cells, numbers to the right", () => {
  expect(table(HEAD, BODY, 80)).toMatchInlineSnapshot(`
    "AGENT               ORGANIZATION     RUNS  OK %
    invoice-reconciler  Larkspur Foods    266  89.8  SLA breached
    churn-watcher       Cobalt Freight  1,193     –"
  `);
  expect(table(HEAD, BODY)).toBe(table(HEAD, BODY, 80));
});

test("in a terminal that is too narrow for it each row is a block, and no line wraps", () => {
  const narrow = table(HEAD, BODY, 60);
  expect(narrow).toMatchInlineSnapshot(`
    "invoice-reconciler
      ORGANIZATION  Larkspur Foods
      RUNS          266
      OK %          89.8
                    SLA breached
    churn-watcher
      ORGANIZATION  Cobalt Freight
      RUNS          1,193
      OK %          –"
  `);
  expect(narrow.split("\n").filter(({ length }) => length > 60)).toEqual([]);
});

test("a table that just fits stays one, and one without rows says its head alone", () => {
  const width = Math.max(
    ...table(HEAD, BODY, 80)
      .split("\n")
      .map(({ length }) => length),
  );
  expect(table(HEAD, BODY, width)).toBe(table(HEAD, BODY, 80));
  expect(table(HEAD, BODY, width - 1)).not.toBe(table(HEAD, BODY, 80));
  expect(table(["A", "B"], [], 80)).toBe("A  B");
});

test.each([
  [0, undefined, "0 s: reading"],
  [59_001, undefined, "1 min 0 s: reading"],
  [5000, { done: 0, total: 8, unit: "files" }, "0 %, 0 of 8 files: reading"],
  [5000, { done: 0, total: 0, unit: "files" }, "5 s: reading"],
  [10_000, { done: 2, total: 8, unit: "files" }, "25 %, 30 s left, 2 of 8 files: reading"],
  [10_000, { done: 8, total: 8, unit: "files" }, "100 %, 0 s left, 8 of 8 files: reading"],
  [10_000, { done: 9, total: 8, unit: "files" }, "100 %, 0 s left, 8 of 8 files: reading"],
  [100, { done: 999, total: 1000, unit: "rows" }, "99 %, 1 s left, 999 of 1,000 rows: reading"],
  [60_000, { done: 1, total: 2.5, unit: "x" }, "40 %, 1 min 30 s left, 1 of 2.5 x: reading"],
  [60_000, { done: 1, total: 13.5, unit: "x" }, "7 %, 13 min left, 1 of 13.5 x: reading"],
  [60_000, { done: 1, total: 60.9, unit: "x" }, "1 %, 1 h 0 min left, 1 of 60.9 x: reading"],
  [3_600_000, { done: 1, total: 4.5, unit: "x" }, "22 %, 3 h 30 min left, 1 of 4.5 x: reading"],
])("after %i ms, %j is said as what is left at the rate so far: %s", (elapsed, extent, said) => {
  expect(howFar("reading", elapsed, extent)).toBe(said);
});
