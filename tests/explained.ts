import { type SQL, sql } from "drizzle-orm";
import { type Transaction, rows } from "../src/client/sql.ts";

/** Runs `work` and answers the plans of the statements it sent, as the transaction's role gets them. */
export async function explained(
  tx: Transaction,
  work: (tx: Transaction) => Promise<unknown>,
): Promise<string> {
  const sent: SQL[] = [];
  await work(
    new Proxy(tx, {
      get: (target, key) =>
        key === "execute"
          ? (statement: SQL) => {
              sent.push(statement);
              return target.execute(statement);
            }
          : Reflect.get(target, key),
    }),
  );
  const plans: string[] = [];
  for (const statement of sent) {
    const lines = rows<{ "QUERY PLAN": string }>(await tx.execute(sql`explain ${statement}`));
    plans.push(...lines.map((line) => line["QUERY PLAN"]));
  }
  return plans.join("\n");
}
