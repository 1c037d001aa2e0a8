import { randomUUID } from "node:crypto";
import { type SQL, sql } from "drizzle-orm";
import { type Database, type Transaction, rows } from "../src/client/sql.ts";
import { agentExecutionLogs, agentRegistry } from "../src/schema/index.ts";
import { newAgent, newExecutionLog } from "../src/testing.ts";

const DAY = 86_400_000;

/**
 * Writes logs of `own` and of as much of 19 others, one a day in the 100 days before `until`, and has the planner
 * know them: of an almost empty table every index costs the same, and which one it takes is chance.
 */
export async function fillLogs(
  db: Database,
  until: Date,
  own: { agentId: string; organizationId: string },
): Promise<void> {
  const others = Array.from({ length: 19 }, () => newAgent({ organizationId: randomUUID() }));
  await db.insert(agentRegistry).values(others);
  const writers = [
    own,
    ...others.map(({ id: agentId, organizationId }) => ({ agentId, organizationId })),
  ];
  await db
    .insert(agentExecutionLogs)
    .values(
      Array.from({ length: 100 }, (_, day) => new Date(+until - day * DAY - 1)).flatMap(
        (timestamp) => writers.map((writer) => newExecutionLog({ ...writer, timestamp })),
      ),
    );
  await db.execute(sql`analyze public.agent_execution_logs`);
}

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
