import { randomUUID } from "node:crypto";
import { type SQL, getTableName, sql } from "drizzle-orm";
import type { PgTable } from "drizzle-orm/pg-core";
import { type Transaction, rows } from "../../src/client/sql.ts";
import { oneOfEach } from "../rows.ts";

/** A row as PostgreSQL spells it in JSON. */
export type Row = Readonly<Record<string, unknown>> & { readonly id: string };

/**
 * One row of every table (two of some) for each of two organizations and for the platform, whose rows
 * have no organization.
 */
export interface Fixture {
  readonly north: string;
  readonly south: string;
  /** Tables that have rows, parents before children. */
  readonly order: readonly string[];
  /** The rows of a table that an organization has, or the platform (`null`). */
  readonly rows: (table: string, organization: string | null) => readonly Row[];
  /** Of the last one: each foreign key of a table but its self references is set. */
  readonly row: (table: string, organization: string | null) => Row;
  /** The ids that an organization has in a table. */
  readonly ids: (table: string, organization: string | null) => readonly string[];
}

/** Fills the tables as their owner. */
export async function fill(tx: Transaction): Promise<Fixture> {
  const [north, south] = [randomUUID(), randomUUID()];
  const owners = new Map<string, string | null>();
  const lists = new Map<PgTable, Record<string, unknown>[]>();
  for (const organization of [north, south, null]) {
    for (const { table, values } of oneOfEach()) {
      const list = lists.get(table) ?? [];
      lists.set(table, [...list, { ...values, organizationId: organization }]);
      owners.set(values.id, organization);
    }
  }
  for (const [table, values] of lists) await tx.insert(table).values(values);
  const order = [...lists.keys()].map((table) => getTableName(table));
  const stored = await readBack(tx, order);
  const rowsOf = (table: string, organization: string | null) =>
    stored.flatMap((found) =>
      found.table === table && owners.get(found.row.id) === organization ? [found.row] : [],
    );
  return {
    north,
    south,
    order,
    rows: rowsOf,
    row: (table, organization) => {
      const last = rowsOf(table, organization).at(-1);
      if (!last) throw new Error(`${table} has no row in tests/rows.ts: add one`);
      return last;
    },
    ids: (table, organization) => rowsOf(table, organization).map(({ id }) => id),
  };
}

async function readBack(tx: Transaction, tables: string[]): Promise<{ table: string; row: Row }[]> {
  const parts = tables.map(
    (table): SQL =>
      sql`select ${table}::text as "table", to_jsonb(t)::text as json from ${sql.identifier(table)} as t`,
  );
  const found = await tx.execute(sql.join(parts, sql` union all `));
  return rows<{ table: string; json: string }>(found).map(({ table, json }) => {
    const row: Row = JSON.parse(json);
    return { table, row };
  });
}
