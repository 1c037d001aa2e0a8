import { desc } from "drizzle-orm";
import {
  agentExecutionLogs,
  agentRegistry,
  migrate,
  openEmbedded,
  recordExecutions,
  withOrganization,
} from "../src/index.ts";

const { db, close } = await openEmbedded(); // or connect("postgres://…")
await migrate(db);

await withOrganization(db, "6f0d9d6e-36c5-4b8f-9a3e-1f3a5f1c7b2d", async (tx) => {
  const [agent] = await tx
    .insert(agentRegistry)
    .values({ agentName: "clerk", displayName: "Invoice clerk", category: "operations" })
    .onConflictDoUpdate({ target: agentRegistry.agentName, set: { status: "active" } })
    .returning();
  if (!agent) throw new Error("no agent");
  await recordExecutions(tx, [
    {
      agentId: agent.id,
      executionId: crypto.randomUUID(),
      actionType: "llm_call",
      latencyMs: 840,
      estimatedCostUsd: "0.0042",
    },
  ]);
  const { timestamp } = agentExecutionLogs;
  console.log(await tx.select().from(agentExecutionLogs).orderBy(desc(timestamp)).limit(10));
});
await close();
