import { getTableName } from "drizzle-orm";
import { TABLES } from "../src/schema/all.ts";
import type { Query } from "./engine.ts";

/** What is in a table. */
export interface Content {
  readonly count: number;
  /** Of all rows, in {@link columns}. */
  readonly checksum: string | null;
  readonly columns: readonly string[];
}

/**
 * How many rows each of the tables has, and a checksum of all that is in them.
 * @param like of the columns that were there then, so that what a migration adds is no difference
 */
export async function contents(
  query: Query,
  tables: readonly string[] = TABLES.map(getTableName),
  like: Readonly<Record<string, Content>> = {},
): Promise<Record<string, Content>> {
  const listed = (columns: readonly string[]) =>
    `array[${columns.map((column) => `'${column}'`).join(", ")}]::text[]`;
  const counts = tables.map((table) => {
    const wanted = like[table]?.columns;
    return `select '${table}' as "table", count(*)::int as count,
      md5(string_agg(md5((select jsonb_object_agg(key, value) from jsonb_each(to_jsonb(t))
        where ${wanted ? `key = any (${listed(wanted)})` : "true"})::text), '' order by id)) as checksum,
      (select array_agg(attname::text order by attname) from pg_attribute
        where attrelid = '"${table}"'::regclass and attnum > 0 and not attisdropped
        and ${wanted ? `attname = any (${listed(wanted)})` : "true"}) as columns
      from "${table}" as t`;
  });
  const rows = await query<Content & { table: string }>(counts.join(" union all "));
  return Object.fromEntries(rows.map(({ table, ...content }) => [table, content]));
}
