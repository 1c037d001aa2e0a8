import type { Database, Transaction } from "../../src/client/sql.ts";

/** The result of `work`, which leaves nothing in the database. */
export async function rolledBack<T>(db: Database, work: (tx: Transaction) => Promise<T>) {
  const results: T[] = [];
  const rollback = new Error("rolled back");
  await db
    .transaction(async (tx) => {
      results.push(await work(tx));
      throw rollback;
    })
    .catch((error: unknown) => {
      if (error !== rollback) throw error;
    });
  return results[0];
}
