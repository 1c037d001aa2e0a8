import { sql } from "drizzle-orm";
import { describe, expect, inject, test } from "vitest";
import { type Connection, connect } from "../../src/client/connect.ts";
import type { Transaction } from "../../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../../src/client/tenancy.ts";
import { refreshHealth } from "../../src/fleet/health.ts";
import { rollUpMetrics } from "../../src/fleet/rollup.ts";
import {
  agentExecutionLogs,
  agentHealthRealtime,
  agentPerformanceMetrics,
  agentRegistry,
} from "../../src/schema/index.ts";
import { newAgent, newExecutionLog, newHealth, newPerformanceMetric } from "../../src/testing.ts";
import { type Query, openMigrated } from "../engine.ts";
import { waiting } from "./waiting.ts";

const A = "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10";
const B = "0c9d1a52-77aa-4c55-8d2e-5b1b5c1f6e01";
const [FIRST, SECOND] = ["2026-03-01", "2026-03-02"];

/** Two organizations with an agent each and a log on both days. */
async function onStage(
  work: (stage: {
    query: Query;
    open: () => Connection;
    agents: readonly [string, string];
    log: (day: string, agent?: 0 | 1) => Promise<void>;
    totals: () => Promise<object>;
  }) => Promise<void>,
): Promise<void> {
  const { db, query, url, close } = await openMigrated();
  const connections: Connection[] = [];
  const open = () => {
    const connection = connect(url);
    connections.push(connection);
    return connection;
  };
  try {
    const agents = [newAgent({ organizationId: A }), newAgent({ organizationId: B })] as const;
    await db.insert(agentRegistry).values([...agents]);
    const log = async (day: string, agent: 0 | 1 = 0) => {
      const { id: agentId, organizationId } = agents[agent];
      const timestamp = new Date(`${day}T12:00:00Z`);
      await db
        .insert(agentExecutionLogs)
        .values(newExecutionLog({ agentId, organizationId, timestamp }));
    };
    for (const day of [FIRST, SECOND]) await Promise.all([log(day, 0), log(day, 1)]);
    /** How many executions the metrics count, by organization and day. */
    const totals = async () => {
      const found = await db.select().from(agentPerformanceMetrics);
      return Object.fromEntries(
        found.map(({ organizationId, date, totalExecutions }) => [
          `${organizationId === A ? "A" : "B"} ${date}`,
          totalExecutions,
        ]),
      );
    };
    await work({ query, open, agents: [agents[0].id, agents[1].id], log, totals });
  } finally {
    await Promise.all(connections.map((connection) => connection.close()));
    await close();
  }
}

const asA =
  (from: string, to = from) =>
  ({ db }: Connection) =>
    withOrganization(db, A, (tx) => rollUpMetrics(tx, { from, to }));
const asService =
  (from: string, to = from) =>
  ({ db }: Connection) =>
    withServiceRole(db, (tx) => rollUpMetrics(tx, { from, to }));

describe.skipIf(inject("server") === "")("two roll-ups at once", () => {
  // The first one's statement has taken its snapshot and stops at its first row, which another transaction
  // holds. Then a log of the second day is committed and the second one rolls that day up.
  test.each([
    ["one tenant's", asA(FIRST, SECOND), asA(SECOND)],
    ["a tenant's, then service role's", asA(FIRST, SECOND), asService(SECOND)],
    ["service role's, then a tenant's", asService(FIRST, SECOND), asA(SECOND)],
  ])("%s: the older snapshot does not have the last word", async (_, first, second) => {
    await onStage(async ({ query, open, agents, log, totals }) => {
      const [holder, one, two] = [open(), open(), open()];
      await asService(FIRST, SECOND)(one);
      let older: Promise<unknown> = Promise.resolve();
      let newer: Promise<unknown> = Promise.resolve();
      await holder.db.transaction(async (tx) => {
        await tx.execute(
          sql`select from agent_performance_metrics where agent_id = ${agents[0]} and date = ${FIRST} for update`,
        );
        older = first(one);
        await waiting(query, 1);
        await log(SECOND);
        newer = second(two);
        // Held off by the first one; without a lock it would be done.
        await Promise.race([newer, waiting(query, 2)]);
      });
      await Promise.all([older, newer]);
      expect(await totals()).toMatchObject({ [`A ${FIRST}`]: 1, [`A ${SECOND}`]: 2 });
    });
  });

  test("one tenant's does not hold off another's", async () => {
    await onStage(async ({ open, totals }) => {
      const [one, two] = [open(), open()];
      await withOrganization(one.db, A, async (tx) => {
        await rollUpMetrics(tx, { from: FIRST, to: SECOND });
        await withOrganization(two.db, B, (other) =>
          rollUpMetrics(other, { from: FIRST, to: SECOND }),
        );
        expect(await totals()).toEqual({ [`B ${FIRST}`]: 1, [`B ${SECOND}`]: 1 });
      });
    });
  });

  test("eight at once, tenants' and service role's, end as one", async () => {
    await onStage(async ({ open, log, totals }) => {
      const connections = Array.from({ length: 8 }, open);
      await Promise.all([
        ...connections.map((connection, n) => (n % 2 ? asA : asService)(FIRST, SECOND)(connection)),
        log(FIRST),
        log(SECOND, 1),
      ]);
      await asService(FIRST, SECOND)(open());
      expect(await totals()).toEqual({
        [`A ${FIRST}`]: 2,
        [`A ${SECOND}`]: 1,
        [`B ${FIRST}`]: 1,
        [`B ${SECOND}`]: 2,
      });
    });
  });

  test("a metric that another program writes meanwhile is the roll-up's in the end", async () => {
    await onStage(async ({ query, open, agents, totals }) => {
      const [writer, one] = [open(), open()];
      let rolledUp: Promise<unknown> = Promise.resolve();
      await withOrganization(writer.db, A, async (tx) => {
        const wrong = newPerformanceMetric({
          agentId: agents[0],
          date: FIRST,
          totalExecutions: 99,
        });
        await tx.insert(agentPerformanceMetrics).values(wrong);
        rolledUp = asA(FIRST)(one);
        await waiting(query, 1);
      });
      await rolledUp;
      expect(await totals()).toEqual({ [`A ${FIRST}`]: 1 });
    });
  });
});

describe.skipIf(inject("server") === "")("two refreshers at once", () => {
  const NOW = new Date(`${SECOND}T12:30:00Z`);
  const later = new Date(+NOW + 1);
  const refreshed = (now: Date) => async (tx: Transaction) =>
    (await refreshHealth(tx, { now })).written;

  test("the older snapshot of the two does not replace the newer", async () => {
    await onStage(async ({ query, open, agents }) => {
      const [newer, older, reader] = [open(), open(), open()];
      let late: Promise<number> = Promise.resolve(-1);
      await withServiceRole(newer.db, async (tx) => {
        expect(await refreshed(later)(tx)).toBe(2);
        late = withOrganization(older.db, A, refreshed(NOW));
        await waiting(query, 1);
      });
      expect(await late).toBe(0);
      const snapshots = await reader.db.select().from(agentHealthRealtime);
      expect(snapshots).toHaveLength(2);
      for (const snapshot of snapshots) {
        expect(snapshot).toMatchObject({ timestamp: later, executions1h: 1, status: "healthy" });
      }
      expect(snapshots.map(({ agentId }) => agentId).toSorted()).toEqual(agents.toSorted());
    });
  });

  test("the last execution that only the older one knew stays known", async () => {
    await onStage(async ({ query, open, agents }) => {
      const [one, other, reader] = [open(), open(), open()];
      let late: Promise<number> = Promise.resolve(-1);
      await withOrganization(one.db, A, async (tx) => {
        // As if it had seen an execution whose rows are gone since.
        const known = { timestamp: NOW, lastFailedExecution: NOW };
        await tx.insert(agentHealthRealtime).values(newHealth({ agentId: agents[0], ...known }));
        late = withOrganization(other.db, A, refreshed(later));
        await waiting(query, 1);
      });
      expect(await late).toBe(1);
      expect(await reader.db.select().from(agentHealthRealtime)).toMatchObject([
        { timestamp: later, lastFailedExecution: NOW, executions1h: 1 },
      ]);
    });
  });

  test("many over many agents neither fail nor wait for each other for ever", async () => {
    await onStage(async ({ open }) => {
      const { db } = open();
      await db
        .insert(agentRegistry)
        .values(Array.from({ length: 200 }, () => newAgent({ organizationId: A })));
      const results = await Promise.all(
        Array.from({ length: 8 }, (_, n) =>
          n % 2
            ? withServiceRole(open().db, refreshed(new Date(+NOW + n)))
            : withOrganization(open().db, A, refreshed(new Date(+NOW + n))),
        ),
      );
      expect(Math.max(...results)).toBe(202);
      expect(
        await db
          .selectDistinct({ timestamp: agentHealthRealtime.timestamp })
          .from(agentHealthRealtime),
      ).toEqual([{ timestamp: new Date(+NOW + 7) }]);
    });
  });
});
