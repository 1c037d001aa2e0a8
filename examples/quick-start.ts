import { migrate, openEmbedded, recordExecutions, withOrganization } from "../src/index.ts";
import { agentRegistry } from "../src/schema/governance.ts";

const { db, close } = await openEmbedded(); // or connect("postgres://…")
await migrate(db);
await withOrganization(db, "6f0d9d6e-36c5-4b8f-9a3e-1f3a5f1c7b2d", async (tx) => {
  const [id, executionId] = ["0b3f6a52-9d4e-4c7a-8f21-5e6d7c8b9a01", crypto.randomUUID()];
  const clerk = { id, agentName: "clerk", displayName: "Clerk", category: "sales" } as const;
  await tx.insert(agentRegistry).values(clerk).onConflictDoNothing();
  await recordExecutions(tx, [{ agentId: id, executionId, actionType: "reply", latencyMs: 840 }]);
  console.log(await tx.query.agentExecutionLogs.findMany({ with: { agent: true }, limit: 10 }));
});
await close();
