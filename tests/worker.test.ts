import { randomUUID } from "node:crypto";
import { eq } from "drizzle-orm";
import { expect, test } from "vitest";
import { type Delivery, everyMinute, everyNight, recordDeliveries } from "../examples/worker.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import {
  agentExecutionLogs,
  agentHealthRealtime,
  agentPerformanceMetrics,
  agentRegistry,
} from "../src/schema/index.ts";
import { newAgent, newExecutionLog } from "../src/testing.ts";
import { suite } from "./engine.ts";

const OURS = randomUUID();

suite("examples/worker.ts", (database) => {
  async function agentOfOurs() {
    const agent = newAgent();
    await withOrganization(database.db, OURS, (tx) => tx.insert(agentRegistry).values(agent));
    return agent;
  }
  const logsOf = (agentId: string) =>
    withOrganization(database.db, OURS, (tx) =>
      tx.select().from(agentExecutionLogs).where(eq(agentExecutionLogs.agentId, agentId)),
    );

  /** Runs the worker over these deliveries; answers what it rejected and how many it acknowledged. */
  async function delivered(...deliveries: Delivery["entries"][]) {
    const rejected: [id: string | undefined, reason: string][] = [];
    let acknowledged = 0;
    async function* queue(): AsyncGenerator<Delivery> {
      for (const entries of deliveries) {
        yield {
          entries,
          acknowledge: async () => {
            acknowledged++;
          },
        };
      }
    }
    const done = recordDeliveries(database.db, queue(), async ({ id }, reason) => {
      rejected.push([id, reason]);
    });
    const [outcome] = await Promise.allSettled([done]);
    return { rejected, acknowledged, ...outcome };
  }

  test("a delivery that comes twice is recorded once, as the agent's organization's", async () => {
    const { id: agentId } = await agentOfOurs();
    const entries = [newExecutionLog({ agentId }), newExecutionLog({ agentId })];
    expect(await delivered(entries, entries)).toMatchObject({
      rejected: [],
      acknowledged: 2,
      value: { inserted: 2, completed: 0, repeated: 2 },
    });
    expect(await logsOf(agentId)).toHaveLength(2);
  });

  test("a run is ended by a later delivery, and what says another thing is rejected", async () => {
    const { id: agentId } = await agentOfOurs();
    const begun = { ...newExecutionLog({ agentId }), status: "running" as const };
    const end = { ...begun, status: "failure" as const };
    expect(await delivered([begun], [end], [{ ...end, latencyMs: 7 }])).toMatchObject({
      rejected: [[begun.id, "another row has this id"]],
      acknowledged: 3,
      value: { inserted: 1, completed: 1, repeated: 0 },
    });
    expect(await logsOf(agentId)).toMatchObject([{ status: "failure" }]);
  });

  test("bad entries are rejected with the reason, and keep nothing else out", async () => {
    const { id: agentId } = await agentOfOurs();
    const good = [newExecutionLog({ agentId }), newExecutionLog({ agentId })];
    const tooGood = newExecutionLog({ agentId, qualityScore: 140 });
    const orphan = newExecutionLog({ agentId: randomUUID() });
    const [first, last] = good;
    if (!first || !last) throw new Error("two entries");
    expect(await delivered([first, tooGood, orphan, last])).toMatchObject({
      rejected: [
        [tooGood.id, expect.stringContaining("0 to 100")],
        [orphan.id, expect.any(String)],
      ],
      acknowledged: 1,
    });
    const ids = (await logsOf(agentId)).map(({ id }) => id);
    expect(ids.toSorted()).toEqual(good.map(({ id }) => id).toSorted());
  });

  test("a failure that is not the entries' leaves the delivery to come again", async () => {
    const { id: agentId } = await agentOfOurs();
    await database.query("alter table agent_execution_logs rename to elsewhere");
    try {
      expect(await delivered([newExecutionLog({ agentId })])).toMatchObject({
        rejected: [],
        acknowledged: 0,
        status: "rejected",
      });
    } finally {
      await database.query("alter table elsewhere rename to agent_execution_logs");
    }
  });

  test("what was recorded shows in the health of the minute and, after the night, in the metrics", async () => {
    const { id: agentId } = await agentOfOurs();
    const now = new Date();
    const late = new Date(now.getTime() - 2 * 86_400_000);
    await delivered([newExecutionLog({ agentId }), newExecutionLog({ agentId, timestamp: late })]);
    await everyMinute(database.db);
    await everyNight(database.db, now);
    await withOrganization(database.db, OURS, async (tx) => {
      const { agentId: health } = agentHealthRealtime;
      expect(await tx.select().from(agentHealthRealtime).where(eq(health, agentId))).toMatchObject([
        { executions5m: 1, status: "healthy" },
      ]);
      const { agentId: metrics } = agentPerformanceMetrics;
      expect(
        await tx.select().from(agentPerformanceMetrics).where(eq(metrics, agentId)),
      ).toMatchObject([{ date: late.toISOString().slice(0, 10), totalExecutions: 1 }]);
    });
  });
});
