// Code of an application, as spend.test.ts tests it: what an agent has cost since an instant.
import { and, eq, gte, sql } from "drizzle-orm";
import { type Transaction, agentExecutionLogs } from "../src/index.ts";

/** US dollars, an exact decimal string. */
export async function spend(tx: Transaction, agentId: string, since: Date): Promise<string> {
  const { agentId: agent, estimatedCostUsd, timestamp } = agentExecutionLogs;
  const [sum] = await tx
    .select({ usd: sql<string>`coalesce(sum(${estimatedCostUsd}), 0)::text` })
    .from(agentExecutionLogs)
    .where(and(eq(agent, agentId), gte(timestamp, since)));
  return sum?.usd ?? "0";
}
