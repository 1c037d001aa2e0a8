import { eq, getTableColumns, getTableName, sql } from "drizzle-orm";
import type { AnyPgColumn, PgTable } from "drizzle-orm/pg-core";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import * as z from "zod";
import type { Transaction } from "../src/client/sql.ts";
import { loadDemo } from "../src/demo/load.ts";
import { databaseError } from "../src/client/errors.ts";
import { columnRule } from "../src/schema/rules.ts";
import { validators } from "../src/zod.ts";
import { engine, suite } from "./engine.ts";
import { rolledBack } from "./fuzz/rolled-back.ts";
import { type Ids, type Row, columnOf, insertLeastRows, rowsOf, tables } from "./fuzz/rows.ts";

const named = (list: PgTable[]) => list.map((table) => [getTableName(table), table] as const);

suite("what an insert schema returns comes back through the select schema equal", (database) => {
  let rows: Map<PgTable, Row[]>;
  beforeAll(async () => {
    const ids = await insertLeastRows(database.db);
    rows = new Map(tables.map((table) => [table, validRows(table, ids)]));
  });

  test.each(named(tables))("in rows of %s", (_, table) =>
    rolledBack(database.db, (tx) => expectRoundTrips(tx, table, rows.get(table) ?? [])),
  );

  describe.each([
    ["Asia/Tokyo", "Europe/Amsterdam", 0],
    ["America/New_York", "Asia/Tokyo", 1],
    ["Europe/Amsterdam", "America/New_York", 2],
  ])("with the process in %s and the server in %s,", (zone, serverZone, turn) => {
    beforeAll(() => vi.stubEnv("TZ", zone));
    afterAll(() => vi.unstubAllEnvs());

    test.each(named(tables.filter(tellsTime)))("in rows of %s", (_, table) =>
      rolledBack(database.db, async (tx) => {
        await tx.execute(sql`select set_config('TimeZone', ${serverZone}, true)`);
        const timed = rows.get(table)?.filter((row, n) => n % 3 === turn && isTimed(row)) ?? [];
        await expectRoundTrips(tx, table, timed);
      }),
    );

    test("the process is elsewhere in fact", () => {
      expect(new Intl.DateTimeFormat().resolvedOptions().timeZone).toBe(zone);
      expect(new Date("2026-01-05T12:00:00Z").getHours()).not.toBe(12);
    });
  });
});

suite("the demo fleet", (database) => {
  beforeAll(async () => {
    await loadDemo(database.db);
  });

  test.each(named(tables))("passes the select schema of %s", async (_, table) => {
    const rows = await database.db.select().from(table);
    expect(rows).not.toEqual([]);
    expect(z.array(validators(table).select).parse(rows)).toHaveLength(rows.length);
  });
});

const tellsTime = (table: PgTable) =>
  Object.values<AnyPgColumn>(getTableColumns(table)).some((column) =>
    /^(instant|day)$/.test(columnRule(column)?.kind ?? ""),
  );

/** With an instant or a day. */
function isTimed(row: Row): boolean {
  const values = Object.values(row);
  const instants = values.filter((value) => value instanceof Date);
  const days = values.filter(
    (value) => typeof value === "string" && /^\d{4}(-\d\d){2}$/.test(value),
  );
  return instants.length + days.length > 0;
}

/** Edges and random rows, as the insert schema returns them. */
function validRows(table: PgTable, ids: Ids): Row[] {
  const { probes, random } = rowsOf(table, "insert", ids);
  const { insert } = validators(table);
  return [...probes, ...fc.sample(random, { numRuns: 20, seed: 1 })].flatMap((row) => {
    const { data } = insert.safeParse(row);
    return data && isReadable(data) ? [data] : [];
  });
}

/** The embedded driver takes U+FEFF at the beginning of a text for a byte order mark. */
const isReadable = (row: Row) =>
  engine === "container" ||
  !Object.values(row).some((value) => typeof value === "string" && value.startsWith("\ufeff"));

/** Each row alone, but for those whose references or uniques are in the way. */
async function expectRoundTrips(tx: Transaction, table: PgTable, rows: Row[]): Promise<void> {
  const { select } = validators(table);
  let stored = 0;
  await tx.execute(sql`savepoint row`);
  for (const row of rows) {
    const back = await storedRow(tx, table, row);
    if (!back) continue;
    stored += 1;
    expect(written(select.parse(back), row)).toEqual(written(row, row));
  }
  expect(stored).toBeGreaterThan(rows.length / 2);
}

async function storedRow(tx: Transaction, table: PgTable, row: Row): Promise<Row | undefined> {
  try {
    const [returned = {}] = await tx.insert(table).values(row).returning();
    const ofRow = eq(columnOf(table, "id"), returned["id"]);
    expect(await tx.select().from(table).where(ofRow)).toEqual([returned]);
    return returned;
  } catch (error) {
    if (!/^23(503|505|P01)$/.test(databaseError(error)?.code ?? "")) throw error;
    return undefined;
  } finally {
    await tx.execute(sql`rollback to savepoint row`);
  }
}

/** The columns that `row` names as text: without keys that have no value, and without the sign of zero. */
function written(values: Row, row: Row): unknown {
  const keys = Object.keys(row).filter((key) => row[key] !== undefined);
  return JSON.parse(JSON.stringify(Object.fromEntries(keys.map((key) => [key, values[key]]))));
}
