import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { eq, sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { databaseError } from "../../src/client/errors.ts";
import { type Executor, one } from "../../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../../src/client/tenancy.ts";
import {
  budgetStatus,
  expireExecutions,
  refreshBudgets,
  reserveExecution,
} from "../../src/fleet/budgets.ts";
import { guardedExecution } from "../../src/fleet/guard.ts";
import { recordExecutions } from "../../src/fleet/record/record.ts";
import { agentExecutionLogs, agentRegistry, costBudgets } from "../../src/schema/index.ts";
import { newAgent, newExecutionLog } from "../../src/testing.ts";
import { printed, startProgram } from "../cli.ts";
import { suite } from "../engine.ts";
import { pgbouncer, startPooler } from "./pgbouncer.ts";

const LIMIT = "0.50";
const CALL = "0.01";

suite("budgets under many callers", (database) => {
  /** An agent with a budget of its own and one of its organization. */
  async function newFleet(limit = LIMIT, updatedAt = new Date()) {
    const [organization, agent] = [randomUUID(), newAgent()];
    const budget = { dailyBudgetUsd: limit, onDailyExceeded: "pause", updatedAt } as const;
    await withOrganization(database.db, organization, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      await tx.insert(costBudgets).values([{ agentId: agent.id, ...budget }, budget]);
    });
    return { organization, agentId: agent.id };
  }
  type Fleet = Awaited<ReturnType<typeof newFleet>>;
  type Act = <T>(work: (tx: Executor) => Promise<T>) => Promise<T>;

  /** Each client has a connection of its own, and does its works one after the other. */
  async function clients<T>(
    { organization }: Fleet,
    { count, isService = false }: { count: number; isService?: boolean },
    works: readonly ((act: Act, n: number) => Promise<T>)[],
  ): Promise<T[]> {
    const { db, close } = connect(database.url, { max: count });
    const act: Act = (work) =>
      isService ? withServiceRole(db, work) : withOrganization(db, organization, work);
    const queue = [...works.entries()];
    const results: T[] = [];
    const client = async () => {
      for (let next = queue.shift(); next; next = queue.shift()) {
        results.push(await next[1](act, next[0]));
      }
    };
    await Promise.all(Array.from({ length: count }, client));
    await close();
    return results;
  }

  /** What the counters of today say, and what the log does. */
  async function books({ organization, agentId }: Fleet) {
    return withOrganization(database.db, organization, async (tx) => {
      const states = await budgetStatus(tx);
      const { usd } = await one<{ usd: number }>(
        tx,
        sql`select coalesce(sum(estimated_cost_usd), 0)::float as usd from ${agentExecutionLogs} where agent_id = ${agentId}`,
      );
      return {
        counters: states.map(({ spentUsd }) => Number(spentUsd).toFixed(4)),
        ledger: usd.toFixed(4),
      };
    });
  }

  /** A read, a decision and a write. */
  const naive = async (tx: Executor, agentId: string) => {
    const { spent } = await one<{ spent: number }>(
      tx,
      sql`select max(current_daily_spend)::float as spent from cost_budgets`,
    );
    if (spent + Number(CALL) > Number(LIMIT)) return false;
    await tx
      .insert(agentExecutionLogs)
      .values(newExecutionLog({ agentId, estimatedCostUsd: CALL }));
    await tx.execute(
      sql`update cost_budgets set current_daily_spend = ${spent + Number(CALL)} where agent_id = ${agentId}`,
    );
    return true;
  };

  test.each([
    [16, false],
    [64, true],
  ])(
    "%i clients, as service role %s: a budget of 50 calls lets 50 through",
    async (count, isService) => {
      const fleet = await newFleet();
      const tries = Array.from(
        { length: 320 },
        () => (act: Act) =>
          act(
            async (tx) =>
              (await reserveExecution(tx, { agentId: fleet.agentId, usd: CALL })).allowed,
          ),
      );
      const allowed = await clients(fleet, { count, isService }, tries);
      expect(allowed.filter(Boolean)).toHaveLength(50);
      const { counters, ledger } = await books(fleet);
      expect(ledger).toBe("0.5000");
      expect(new Set(counters)).toEqual(new Set([ledger]));
    },
  );

  test("its twin that reads, decides and writes lets more through", async () => {
    const fleet = await newFleet();
    const tries = Array.from(
      { length: 160 },
      () => (act: Act) => act((tx) => naive(tx, fleet.agentId)),
    );
    const allowed = await clients(fleet, { count: 16 }, tries);
    expect(allowed.filter(Boolean).length).toBeGreaterThan(50);
  });

  test("over the edges of days, a week and a month charges, late rows, retries, completions, expiries and edits at once: the counters are the log's", async () => {
    const fleet = await newFleet("1000", new Date("2026-02-28T00:00Z"));
    const { agentId, organization } = fleet;
    const ids = Array.from({ length: 30 }, () => randomUUID());
    // From Saturday evening, the last of a month, to Tuesday.
    const at = (n: number) => new Date(Date.UTC(2026, 1, 28, 20, 20 * n));
    const mixed = async (act: Act, n: number) => {
      const [kind, now] = [n % 8, at(n)];
      if (kind < 3) {
        const late = kind === 2 ? 30 * 3_600_000 : 0;
        const id = ids[n % ids.length] ?? "";
        const entry = {
          id,
          agentId,
          executionId: id,
          actionType: "llm_call",
          estimatedCostUsd: CALL,
        };
        const timestamp = new Date(now.getTime() - late);
        await act((tx) => recordExecutions(tx, [{ ...entry, timestamp }], { charge: true, now }));
      } else if (kind < 6) {
        const { logId, executionId } = await act((tx) =>
          reserveExecution(tx, { agentId, usd: "0.05", now }),
        );
        const end = {
          id: logId ?? "",
          agentId,
          executionId: executionId ?? "",
          actionType: "agent_run",
          estimatedCostUsd: `0.0${n % 9}`,
        };
        // Twice, at once.
        await Promise.all([
          act((tx) => recordExecutions(tx, [end], { now })),
          act((tx) => recordExecutions(tx, [end], { charge: true, now })),
        ]);
      } else if (kind === 6) {
        const edit = sql`update cost_budgets set alert_at_percentage = ${n % 100}, updated_at = ${now.toISOString()}::timestamptz where agent_id is null`;
        await act(async (tx) => tx.execute(edit));
      } else {
        await act((tx) => reserveExecution(tx, { agentId, usd: "0.03", now }));
        await act((tx) => expireExecutions(tx, { olderThan: at(n - 8), now }));
      }
    };
    await clients(
      fleet,
      { count: 16 },
      Array.from({ length: 160 }, () => mixed),
    );
    const now = at(160);
    const act: Act = (work) => withOrganization(database.db, organization, work);
    const counted = await act((tx) => budgetStatus(tx, { now }));
    expect(counted.map(({ spentUsd }) => Number(spentUsd) > 0)).toEqual(Array(6).fill(true));
    expect(await act((tx) => refreshBudgets(tx, { now }))).toEqual([]);
  });

  test("guarded executions at once: no more run than there is room for, and the books are right", async () => {
    const fleet = await newFleet();
    const { organization, agentId } = fleet;
    const { db, close } = connect(database.url, { max: 16 });
    let ran = 0;
    const calls = await Promise.all(
      Array.from({ length: 100 }, async (_, n) =>
        guardedExecution(
          db,
          { organization, agentId, usd: CALL, columns: () => ({ estimatedCostUsd: CALL }) },
          () => {
            ran += 1;
            return n;
          },
        ),
      ),
    );
    await close();
    expect(calls.filter(({ allowed }) => allowed)).toHaveLength(50);
    expect(ran).toBe(50);
    const { counters, ledger } = await books(fleet);
    expect(ledger).toBe("0.5000");
    expect(new Set(counters)).toEqual(new Set([ledger]));
    const running = await withOrganization(database.db, organization, (tx) =>
      tx.$count(agentExecutionLogs, eq(agentExecutionLogs.status, "running")),
    );
    expect(running).toBe(0);
  });

  test.skipIf(!pgbouncer)(
    "behind a pooler organizations that share one connection spend each its own",
    async () => {
      const pooler = await startPooler(database.url, 1);
      const { db, close } = connect(pooler.url("guard"), { max: 8 });
      const fleets = await Promise.all([newFleet("0.05"), newFleet("0.05"), newFleet("0.05")]);
      const calls = await Promise.all(
        fleets.flatMap(({ organization, agentId }) =>
          Array.from({ length: 10 }, async () =>
            guardedExecution(
              db,
              { organization, agentId, usd: CALL, columns: () => ({ estimatedCostUsd: CALL }) },
              () => 1,
            ),
          ),
        ),
      );
      await close();
      await pooler.stop();
      expect(calls.filter(({ allowed }) => allowed)).toHaveLength(15);
      for (const fleet of fleets) {
        const { counters, ledger } = await books(fleet);
        expect([ledger, ...new Set(counters)]).toEqual(["0.0500", "0.0500"]);
      }
    },
  );

  test("in a transaction of REPEATABLE READ nobody spends what another has spent meanwhile", async () => {
    const { organization, agentId } = await newFleet("0.01");
    const { db, close } = connect(database.url, { max: 2 });
    const late = db.transaction(
      async (tx) => {
        await tx.execute(sql`select count(*) from cost_budgets`);
        const first = await withOrganization(database.db, organization, (other) =>
          reserveExecution(other, { agentId, usd: CALL }),
        );
        expect(first.allowed).toBe(true);
        return reserveExecution(tx, { agentId, usd: CALL });
      },
      { isolationLevel: "repeatable read" },
    );
    await expect(late).rejects.toSatisfy((error) => databaseError(error)?.code === "40001");
    await close();
  });

  test("connections that are killed during the work keep no end out of the books", async () => {
    const fleet = await newFleet();
    const { organization, agentId } = fleet;
    const { db, close } = connect(database.url, { max: 2, connectTimeout: 10 });
    const told: Error[] = [];
    const call = await guardedExecution(
      db,
      {
        ...{ organization, agentId, usd: "0.2" },
        columns: () => ({ estimatedCostUsd: CALL }),
        onUnrecorded: (error) => told.push(error),
      },
      async () =>
        database.query(
          "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
        ),
    );
    await close();
    expect([call.allowed, told]).toEqual([true, []]);
    expect(await books(fleet)).toMatchObject({
      ledger: "0.0100",
      counters: Array(6).fill("0.0100"),
    });
  });

  test("a process that is killed during the work leaves a running row, which expires and gives back what it held", async () => {
    const fleet = await newFleet();
    const { organization, agentId } = fleet;
    const script = `
      import { connect, guardedExecution } from "meta-agent-db";
      const { db } = connect(process.env.DATABASE_URL);
      await guardedExecution(
        db,
        { organization: "${organization}", agentId: "${agentId}", usd: "0.2" },
        () => new Promise(() => { console.log("working"); setInterval(() => {}, 1000); }),
      );`;
    const child = startProgram(script, { env: { DATABASE_URL: database.url } });
    await printed(child.stdout, /working/);
    child.kill("SIGKILL");
    await once(child, "exit");
    const act: Act = (work) => withOrganization(database.db, organization, work);
    const held = await books(fleet);
    expect(held).toMatchObject({ ledger: "0.2000", counters: Array(6).fill("0.2000") });
    expect(await act((tx) => expireExecutions(tx, { olderThan: new Date() }))).toEqual({
      expired: 1,
    });
    expect(await books(fleet)).toMatchObject({
      ledger: "0.0000",
      counters: Array(6).fill("0.0000"),
    });
  });

  test("who waits for a budget over a refresh is in it afterwards", async () => {
    const fleet = await newFleet("1000");
    const { agentId } = fleet;
    const charging = async (act: Act) =>
      act((tx) =>
        recordExecutions(tx, [newExecutionLog({ agentId, estimatedCostUsd: "0.001" })], {
          charge: true,
        }),
      );
    const refreshing = async (act: Act) => act(async (tx) => void (await refreshBudgets(tx)));
    const works = Array.from({ length: 160 }, (_, n) => async (act: Act) => {
      await (n % 5 === 0 ? refreshing(act) : charging(act));
    });
    await clients(fleet, { count: 16 }, works);
    const { counters, ledger } = await books(fleet);
    expect(ledger).toBe("0.1280");
    expect(new Set(counters)).toEqual(new Set([ledger]));
  });
});
