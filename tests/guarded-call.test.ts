import { randomUUID } from "node:crypto";
import { asc, eq } from "drizzle-orm";
import { expect, test } from "vitest";
import { ask } from "../examples/guarded-call.ts";
import {
  agentExecutionLogs,
  agentRegistry,
  alertHistory,
  circuitBreakerState,
  costBudgets,
} from "../src/schema/index.ts";
import { newAgent, newCircuitBreaker } from "../src/testing.ts";
import { suite } from "./engine.ts";

suite("examples/guarded-call.ts", (database) => {
  test("asks until the breaker opens, then not at all, then once, and until the budget is spent", async () => {
    const organizationId = randomUUID();
    const agent = newAgent({ organizationId });
    const agentId = agent.id;
    await database.db.insert(agentRegistry).values(agent);
    await database.db
      .insert(circuitBreakerState)
      .values(
        newCircuitBreaker({ agentId, organizationId, failureThreshold: 2, successThreshold: 1 }),
      );
    await database.db.insert(costBudgets).values({
      agentId,
      organizationId,
      dailyBudgetUsd: "0.2",
      onDailyExceeded: "pause",
      alertAtPercentage: 60,
    });
    let asked = 0;
    let isDown = true;
    const answer = { text: "because", inputTokens: 7, outputTokens: 9, usd: "0.02" };
    const call = () =>
      ask(database.db, { organization: organizationId, agentId, question: "why?" }, async () => {
        asked += 1;
        if (isDown) throw new Error("the model is down");
        return answer;
      });
    await expect(call()).rejects.toThrow("the model is down");
    await expect(call()).rejects.toThrow("the model is down");
    expect(await call()).toMatchObject({ allowed: false, by: "breaker" });
    expect(asked).toBe(2);

    isDown = false;
    await database.db
      .update(circuitBreakerState)
      .set({ openedAt: new Date(0) })
      .where(eq(circuitBreakerState.agentId, agentId));
    expect(await call()).toEqual(answer);
    expect(await call()).toEqual(answer);
    // The estimates of the two that failed stand, and with this one's there is no room.
    expect(await call()).toEqual(answer);
    expect(await call()).toMatchObject({ allowed: false, by: "budget" });
    expect(asked).toBe(5);
    const rows = await database.db
      .select()
      .from(agentExecutionLogs)
      .where(eq(agentExecutionLogs.agentId, agentId))
      .orderBy(asc(agentExecutionLogs.timestamp));
    expect(rows.map(({ status, estimatedCostUsd }) => [status, Number(estimatedCostUsd)])).toEqual([
      ["failure", 0.05],
      ["failure", 0.05],
      ["success", 0.02],
      ["success", 0.02],
      ["success", 0.02],
    ]);
    const alerts = await database.db
      .select()
      .from(alertHistory)
      .where(eq(alertHistory.agentId, agentId));
    expect(alerts).toMatchObject([{ alertType: "budget", severity: "warning" }]);
  });
});
