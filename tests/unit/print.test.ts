import { expect, test } from "vitest";
import { table } from "../../src/cli/print.ts";

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
