import { getTableName } from "drizzle-orm";
import { TABLES } from "../src/schema/all.ts";
import type { Query } from "./engine.ts";

/**
 * How many rows each of the tables has, and a checksum of all that is in them, but for some columns. A column without
 * a value is as one that is not there yet.
 */
export async function contents(
  query: Query,
  tables: readonly string[] = TABLES.map(getTableName),
  without: readonly string[] = [],
): Promise<Record<string, { count: number; checksum: string | null }>> {
  const left = `array[${without.map((column) => `'${column}'`).join(", ")}]::text[]`;
  const counts = tables.map(
    (table) => `select '${table}' as "table", count(*)::int as count,
      md5(string_agg(md5((
        select jsonb_object_agg(key, value) from jsonb_each(to_jsonb(t) - ${left}) where value <> 'null'
      )::text), '' order by id)) as checksum from "${table}" as t`,
  );
  const rows = await query<{ table: string; count: number; checksum: string | null }>(
    counts.join(" union all "),
  );
  return Object.fromEntries(rows.map(({ table, ...content }) => [table, content]));
}
