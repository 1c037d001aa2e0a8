// A test of an application's own code on a real, migrated database: no server, no mock. The first database
// on a machine takes some seconds, so give Vitest a `hookTimeout` of 60_000. For a container of yours:
// openTestDatabase({ url }).
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { agentExecutionLogs, agentRegistry, withOrganization } from "../src/index.ts";
import { newAgent, newExecutionLog, openTestDatabase } from "../src/testing.ts";
import { spend } from "./spend.ts";

const OURS = "7a8bb0ce-59e2-4d26-b2c5-0f3a6d9d8a01";
const THEIRS = "7a8bb0ce-59e2-4d26-b2c5-0f3a6d9d8a02";
const TODAY = new Date("2026-03-02T00:00:00Z");
const YESTERDAY = new Date("2026-03-01T12:00:00Z");

describe("what an agent has cost", () => {
  let database: Awaited<ReturnType<typeof openTestDatabase>>;
  const agent = newAgent();
  const cost = (estimatedCostUsd: string, timestamp = TODAY) =>
    newExecutionLog({ agentId: agent.id, estimatedCostUsd, timestamp });

  beforeAll(async () => {
    database = await openTestDatabase();
    await withOrganization(database.db, OURS, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      await tx.insert(agentExecutionLogs).values([cost("0.1"), cost("0.2"), cost("7", YESTERDAY)]);
    });
  });
  afterAll(() => database.close());

  test("is the exact sum since the instant", async () => {
    const usd = await withOrganization(database.db, OURS, (tx) => spend(tx, agent.id, TODAY));
    expect(usd).toBe("0.3");
  });

  test("is nothing to another organization", async () => {
    const usd = await withOrganization(database.db, THEIRS, (tx) => spend(tx, agent.id, TODAY));
    expect(usd).toBe("0");
  });
});
