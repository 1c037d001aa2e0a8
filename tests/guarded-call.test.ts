import { randomUUID } from "node:crypto";
import { eq } from "drizzle-orm";
import { expect, test } from "vitest";
import { behindBreaker } from "../examples/guarded-call.ts";
import { agentRegistry, circuitBreakerState } from "../src/schema/index.ts";
import { newAgent, newCircuitBreaker } from "../src/testing.ts";
import { suite } from "./engine.ts";

suite("examples/guarded-call.ts", (database) => {
  test("calls until the breaker opens, then not at all, then once, and again when it is closed", async () => {
    const organization = randomUUID();
    const { id: agentId, ...agent } = newAgent({ organizationId: organization });
    await database.db.insert(agentRegistry).values({ id: agentId, ...agent });
    await database.db.insert(circuitBreakerState).values(
      newCircuitBreaker({
        agentId,
        organizationId: organization,
        failureThreshold: 2,
        successThreshold: 1,
      }),
    );
    let calls = 0;
    let isDown = true;
    const call = () =>
      behindBreaker(database.db, { organization, agentId }, async () => {
        calls += 1;
        if (isDown) throw new Error("the model is down");
        return "an answer";
      });
    await expect(call()).rejects.toThrow("the model is down");
    await expect(call()).rejects.toThrow("the model is down");
    expect(await call()).toEqual({ allowed: false, retryAt: expect.any(Date) });
    expect(calls).toBe(2);

    isDown = false;
    await database.db
      .update(circuitBreakerState)
      .set({ openedAt: new Date(0) })
      .where(eq(circuitBreakerState.agentId, agentId));
    expect(await call()).toEqual({ allowed: true, answer: "an answer" });
    expect(await call()).toEqual({ allowed: true, answer: "an answer" });
    expect(calls).toBe(4);
  });
});
