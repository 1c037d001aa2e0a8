import { sql } from "drizzle-orm";
import { type Queryable, rows } from "./sql.ts";

/**
 * Runs `work` with settings of this transaction that are put back afterwards, whether it succeeds or fails.
 * All names are the server's own: others may have made functions of these names.
 */
export async function withSettings<T>(
  tx: Queryable,
  settings: Readonly<Record<string, string | number>>,
  work: () => Promise<T>,
): Promise<T> {
  const former = rows<{ name: string; former: string | null }>(
    await tx.execute(sql`
      select name, former, pg_catalog.set_config(name, value, true) from (
        select key as name, value, pg_catalog.current_setting(key, true) as former
        from pg_catalog.json_each_text(${JSON.stringify(settings)}::pg_catalog.text::pg_catalog.json) offset 0) as wanted`),
  );
  const before = JSON.stringify(
    Object.fromEntries(former.map((setting) => [setting.name, setting.former])),
  );
  const putBack = () =>
    tx.execute(sql`
      select pg_catalog.set_config(key, value, true)
      from pg_catalog.json_each_text(${before}::pg_catalog.text::pg_catalog.json)`);
  let result: T;
  try {
    result = await work();
  } catch (error) {
    // In a transaction that has failed PostgreSQL refuses this, and puts them back itself.
    await putBack().then(undefined, () => {});
    throw error;
  }
  await putBack();
  return result;
}

/**
 * Finds functions, operators and types of the server alone while `work` runs: whoever may create in public
 * could plant there ones that fit better, and they would run as this login. Ours are named with their schema.
 */
export const withServersNames = <T>(tx: Queryable, work: () => Promise<T>): Promise<T> =>
  withSettings(tx, { search_path: "pg_catalog, pg_temp" }, work);
