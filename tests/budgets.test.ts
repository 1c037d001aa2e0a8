import { randomUUID } from "node:crypto";
import { eq, sql } from "drizzle-orm";
import * as fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import * as z from "zod";
import type { Transaction } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import {
  type BudgetWindow,
  budgetStatus,
  expireExecutions,
  refreshBudgets,
  reserveExecution,
} from "../src/fleet/budgets.ts";
import { recordExecutions } from "../src/fleet/record/record.ts";
import {
  type NewCostBudget,
  agentExecutionLogs,
  agentRegistry,
  costBudgets,
} from "../src/schema/index.ts";
import { newAgent, newExecutionLog } from "../src/testing.ts";
import { suite } from "./engine.ts";

const at = (text: string) => new Date(`${text}Z`);

suite("budgets", (database) => {
  /** An organization with one agent and its budgets, those without `agentId: null` the agent's. */
  async function newFleet(...budgets: Partial<NewCostBudget>[]) {
    const [organization, agent] = [randomUUID(), newAgent()];
    const as = <T>(work: (tx: Transaction) => Promise<T>) =>
      withOrganization(database.db, organization, work);
    const values = budgets.map((given) => ({
      id: randomUUID(),
      agentId: agent.id,
      updatedAt: at("2019-01-01T00:00"),
      ...given,
    }));
    await as(async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      if (values.length > 0) await tx.insert(costBudgets).values(values);
    });
    const spent = async (now: Date) => {
      const states = await as((tx) => budgetStatus(tx, { now }));
      return states.map(({ spentUsd }) => Number(spentUsd));
    };
    /** Records a row that cost so much, and charges it. */
    const spend = async (usd: string, now: Date, timestamp = now) =>
      as((tx) =>
        recordExecutions(
          tx,
          [newExecutionLog({ agentId: agent.id, estimatedCostUsd: usd, timestamp })],
          { charge: true, now },
        ),
      );
    return {
      organization,
      agentId: agent.id,
      budgetIds: values.map(({ id }) => id),
      as,
      spent,
      spend,
    };
  }

  const log = (tx: Transaction, id: string) =>
    tx.select().from(agentExecutionLogs).where(eq(agentExecutionLogs.id, id));

  test("a reservation is a running row that says what is reserved, and whoever completes it settles the difference", async () => {
    const { agentId, as, spent } = await newFleet({ dailyBudgetUsd: "1" });
    const now = at("2026-03-04T12:00");
    const made = await as((tx) =>
      reserveExecution(tx, {
        agentId,
        usd: "0.40",
        now,
        actionName: "answer",
        inputData: { question: "why?" },
        metadata: { ticket: 7 },
      }),
    );
    expect(made).toEqual({
      allowed: true,
      action: null,
      exceeded: [],
      alerts: [],
      resetsAt: null,
      logId: expect.any(String),
      executionId: expect.any(String),
    });
    const { logId, executionId } = made;
    if (logId === null || executionId === null) throw new Error("nothing was reserved");
    const [row] = await as((tx) => log(tx, logId));
    expect(row).toMatchObject({
      agentId,
      executionId,
      status: "running",
      actionType: "agent_run",
      actionName: "answer",
      inputData: { question: "why?" },
      estimatedCostUsd: "0.40",
      timestamp: now,
      metadata: { ticket: 7, reserved_usd: "0.40" },
    });
    expect(await spent(now)).toEqual([0.4, 0.4, 0.4]);
    const end = { id: logId, agentId, executionId, actionType: "agent_run", latencyMs: 9 };
    const ended = await as((tx) =>
      recordExecutions(tx, [{ ...end, estimatedCostUsd: "0.15" }], { now }),
    );
    expect(ended).toMatchObject({ completed: 1, alerts: [] });
    expect(await spent(now)).toEqual([0.15, 0.15, 0.15]);
    // Again, with and without charging: the row is final.
    for (const charge of [false, true]) {
      const again = await as((tx) =>
        recordExecutions(tx, [{ ...end, estimatedCostUsd: "0.15" }], { charge, now }),
      );
      expect(again).toMatchObject({ completed: 0, repeated: 1 });
    }
    expect(await spent(now)).toEqual([0.15, 0.15, 0.15]);
  });

  test("without a cost the estimate stands, and more than was reserved is charged, too", async () => {
    const { agentId, as, spent } = await newFleet({ monthlyBudgetUsd: "1", alertAtPercentage: 50 });
    const now = at("2026-03-04T12:00");
    for (const [estimatedCostUsd, total] of [
      [undefined, 0.1],
      ["0.7", 0.8],
    ] as const) {
      const { logId, executionId } = await as((tx) =>
        reserveExecution(tx, { agentId, usd: "0.1", now }),
      );
      if (logId === null || executionId === null) throw new Error("nothing was reserved");
      const ended = await as((tx) =>
        recordExecutions(
          tx,
          [{ id: logId, agentId, executionId, actionType: "agent_run", estimatedCostUsd }],
          { now },
        ),
      );
      expect(await spent(now)).toEqual([total, total, total]);
      expect(ended.alerts.map(({ window, spentUsd }) => [window, Number(spentUsd)])).toEqual(
        estimatedCostUsd === undefined ? [] : [["monthly", 0.8]],
      );
    }
  });

  test.each([
    ["pause", false],
    ["throttle", false],
    ["downgrade_model", true],
    ["alert", true],
    [null, true],
  ] as const)("beyond a limit %s: allowed is %s", async (action, allowed) => {
    const { agentId, as, budgetIds } = await newFleet({
      weeklyBudgetUsd: "1",
      onWeeklyExceeded: action,
      alertAtPercentage: null,
    });
    const now = at("2026-03-04T12:00");
    const reserve = (usd: string) => as((tx) => reserveExecution(tx, { agentId, usd, now }));
    expect(await reserve("0.75")).toMatchObject({ allowed: true, action: null, exceeded: [] });
    expect(await reserve("0.25")).toMatchObject({ allowed: true, action: null, exceeded: [] });
    const beyond = await reserve("0.000001");
    expect(beyond).toMatchObject({
      allowed,
      action,
      exceeded: [
        {
          budgetId: budgetIds[0],
          agentId,
          window: "weekly",
          action,
          limitUsd: "1",
          spentUsd: "1.00",
        },
      ],
      alerts: [],
      resetsAt: allowed ? null : at("2026-03-09T00:00"),
    });
    expect(beyond.logId === null).toBe(!allowed);
    const written = await as((tx) => tx.$count(agentExecutionLogs));
    expect(written).toBe(allowed ? 3 : 2);
  });

  test("all budgets that bind bind together, and the strictest action is told", async () => {
    const { agentId, as, spent } = await newFleet(
      { dailyBudgetUsd: "10", onDailyExceeded: "pause" },
      { dailyBudgetUsd: "0.5", onDailyExceeded: "downgrade_model" },
      { agentId: null, monthlyBudgetUsd: "0.5", onMonthlyExceeded: "throttle" },
      { agentId: null, monthlyBudgetUsd: "0.5", onMonthlyExceeded: "alert" },
    );
    const now = at("2025-12-31T23:59");
    const refused = await as((tx) => reserveExecution(tx, { agentId, usd: "0.6", now }));
    expect(refused).toMatchObject({
      allowed: false,
      action: "throttle",
      resetsAt: at("2026-01-01T00:00"),
    });
    expect(new Set(refused.exceeded.map(({ action }) => action))).toEqual(
      new Set(["alert", "downgrade_model", "throttle"]),
    );
    expect(new Set(await spent(now))).toEqual(new Set([0]));
  });

  test("an early alert is told to the one who crosses its percentage, once a window", async () => {
    const { agentId, as, spend, budgetIds } = await newFleet({
      dailyBudgetUsd: "1",
      alertAtPercentage: 80,
    });
    const now = at("2026-03-04T12:00");
    expect((await spend("0.79", now)).alerts).toEqual([]);
    const crossed = await as((tx) => reserveExecution(tx, { agentId, usd: "0.01", now }));
    expect(crossed.alerts).toEqual([
      {
        budgetId: budgetIds[0],
        agentId,
        window: "daily",
        percentage: "80",
        limitUsd: "1",
        spentUsd: "0.80",
      },
    ]);
    expect((await spend("5", now)).alerts).toEqual([]);
    const next = at("2026-03-05T00:00");
    expect((await spend("0.9", next)).alerts).toHaveLength(1);
  });

  test.each<[string, string, string, BudgetWindow[]]>([
    ["a second before midnight", "2026-03-04T23:59:59", "2026-03-04T23:59:59.999", []],
    ["midnight", "2026-03-04T23:59:59", "2026-03-05T00:00", ["daily"]],
    ["Monday", "2026-03-08T23:59:59", "2026-03-09T00:00", ["daily", "weekly"]],
    ["the first", "2026-03-31T23:59:59", "2026-04-01T00:00", ["daily", "monthly"]],
    ["a leap day", "2024-02-28T12:00", "2024-02-29T12:00", ["daily"]],
    ["the day after it", "2024-02-29T23:59:59", "2024-03-01T00:00", ["daily", "monthly"]],
    ["the year in ISO week 53", "2020-12-31T12:00", "2021-01-01T12:00", ["daily", "monthly"]],
    ["the end of week 53", "2021-01-03T12:00", "2021-01-04T00:00", ["daily", "weekly"]],
    ["a year", "2025-03-04T00:00", "2026-03-04T00:00", ["daily", "weekly", "monthly"]],
  ])("windows roll at %s", async (_, first, second, rolled) => {
    const { spend, spent } = await newFleet({ updatedAt: at(first) });
    await spend("0.01", at(first));
    // The same amount: a counter that is what it was, and yet of another window.
    await spend("0.01", at(second));
    const expected = (["daily", "weekly", "monthly"] as const).map((window) =>
      rolled.includes(window) ? 0.01 : 0.02,
    );
    expect(await spent(at(second))).toEqual(expected);
  });

  test("of a window that has passed nothing is spent, whoever reads", async () => {
    const { spend, as, budgetIds } = await newFleet({
      dailyBudgetUsd: "1",
      onDailyExceeded: "pause",
    });
    await spend("0.3", at("2026-03-04T12:00"));
    const [daily, weekly] = await as((tx) => budgetStatus(tx, { now: at("2026-03-05T12:00") }));
    expect(daily).toMatchObject({
      budgetId: budgetIds[0],
      window: "daily",
      spentUsd: "0",
      remainingUsd: "1",
      action: "pause",
      resetsAt: at("2026-03-06T00:00"),
    });
    expect(weekly).toMatchObject({
      window: "weekly",
      spentUsd: "0.3",
      limitUsd: null,
      remainingUsd: null,
    });
  });

  test("a late row counts in those windows that it lies in", async () => {
    const { spend, spent } = await newFleet({});
    const now = at("2026-03-18T12:00");
    await spend("1", now);
    await spend("2", now, at("2026-03-17T12:00"));
    await spend("4", now, at("2026-03-12T12:00"));
    await spend("8", now, at("2026-02-12T12:00"));
    expect(await spent(now)).toEqual([1, 3, 7]);
  });

  test("an administrator's edit leaves what is spent, and zeroes what has passed", async () => {
    const { as, spent, spend, budgetIds } = await newFleet({
      updatedAt: new Date(Date.now() - 40 * 86_400_000),
    });
    const edit = (change: Partial<NewCostBudget>) =>
      as((tx) =>
        tx
          .update(costBudgets)
          .set(change)
          .where(eq(costBudgets.id, budgetIds[0] ?? "")),
      );
    await as((tx) =>
      tx.execute(sql`insert into cost_budgets (id, current_daily_spend, current_weekly_spend, current_monthly_spend, updated_at)
        values (${randomUUID()}, 10, 10, 10, now() - interval '40 days')`),
    );
    await as((tx) => tx.update(costBudgets).set({ dailyBudgetUsd: "5" }));
    const now = new Date();
    expect(await spent(now)).toEqual([0, 0, 0, 0, 0, 0]);
    await spend("1", now);
    await edit({ dailyBudgetUsd: "6", updatedAt: new Date("2020-01-01") });
    expect(await spent(now)).toEqual([1, 1, 1, 1, 1, 1]);
    const [kept] = await as((tx) =>
      tx
        .select()
        .from(costBudgets)
        .where(eq(costBudgets.id, budgetIds[0] ?? "")),
    );
    expect(kept?.updatedAt.getTime()).toBeGreaterThanOrEqual(now.getTime() - 1000);
    // A clock that is wrong does not carry a budget away for years.
    await edit({ updatedAt: new Date("2999-01-01") });
    const [ahead] = await as((tx) =>
      tx
        .select()
        .from(costBudgets)
        .where(eq(costBudgets.id, budgetIds[0] ?? "")),
    );
    expect(ahead?.updatedAt.getTime()).toBeLessThan(Date.now() + 2 * 86_400_000);
  });

  test("a refresh sets the counters to what the log says, and the second time corrects nothing", async () => {
    const { as, agentId, spent, budgetIds } = await newFleet({}, { agentId: null });
    const now = at("2026-03-18T12:00");
    const rowsOf = ["2026-03-18T01:00", "2026-03-17T12:00", "2026-03-02T12:00", "2026-02-28T12:00"];
    await as((tx) =>
      recordExecutions(
        tx,
        rowsOf.map((day, n) =>
          newExecutionLog({ agentId, timestamp: at(day), estimatedCostUsd: `${10 ** n}.5` }),
        ),
      ),
    );
    const corrected = await as((tx) => refreshBudgets(tx, { now }));
    expect(corrected).toHaveLength(6);
    expect(corrected).toContainEqual({
      budgetId: budgetIds[0],
      agentId,
      window: "weekly",
      spentUsd: "12.0",
      countedUsd: "0",
    });
    expect(await spent(now)).toEqual([1.5, 12, 112.5, 1.5, 12, 112.5]);
    expect(await as((tx) => refreshBudgets(tx, { now }))).toEqual([]);
    expect(await as((tx) => refreshBudgets(tx, { now, agentId }))).toEqual([]);
    // In the next day the very same sum is no passed one.
    const next = at("2026-03-19T12:00");
    await as((tx) =>
      recordExecutions(tx, [
        newExecutionLog({ agentId, timestamp: next, estimatedCostUsd: "1.5" }),
      ]),
    );
    await as((tx) => refreshBudgets(tx, { now: next }));
    expect(await spent(next)).toEqual([1.5, 13.5, 114, 1.5, 13.5, 114]);
  });

  test("what runs too long expires, its reservation is given back, and its late end is charged", async () => {
    const { as, agentId, spent } = await newFleet({ dailyBudgetUsd: "1" });
    const now = at("2026-03-04T12:00");
    const { logId, executionId } = await as((tx) =>
      reserveExecution(tx, { agentId, usd: "0.5", now }),
    );
    if (logId === null || executionId === null) throw new Error("nothing was reserved");
    const plain = newExecutionLog({
      agentId,
      status: "running",
      timestamp: now,
      estimatedCostUsd: "0.2",
    });
    await as((tx) => recordExecutions(tx, [plain]));
    const expire = (olderThan: Date, keepEstimates = false) =>
      as((tx) => expireExecutions(tx, { olderThan, keepEstimates, now }));
    expect(await expire(now)).toEqual({ expired: 0 });
    expect(await expire(at("2026-03-04T12:01"))).toEqual({ expired: 2 });
    expect(await expire(at("2026-03-04T12:01"))).toEqual({ expired: 0 });
    expect(await spent(now)).toEqual([0, 0, 0]);
    const [row] = await as((tx) => log(tx, logId));
    expect(row).toMatchObject({ status: "timeout", errorType: "expired", estimatedCostUsd: "0" });
    const [other] = await as((tx) => log(tx, plain.id));
    expect(other).toMatchObject({
      status: "timeout",
      errorType: "expired",
      estimatedCostUsd: "0.2",
    });
    const late = {
      id: logId,
      agentId,
      executionId,
      actionType: "agent_run",
      estimatedCostUsd: "0.6",
    };
    expect(await as((tx) => recordExecutions(tx, [late], { now }))).toMatchObject({ completed: 1 });
    expect(await spent(now)).toEqual([0.6, 0.6, 0.6]);

    await as((tx) => reserveExecution(tx, { agentId, usd: "0.3", now }));
    await expire(at("2026-03-04T12:01"), true);
    expect((await spent(now))[0]).toBeCloseTo(0.9, 9);
  });

  test("the same id again reserves nothing more, and another's is refused", async () => {
    const { as, agentId, spent } = await newFleet({
      dailyBudgetUsd: "1",
      onDailyExceeded: "pause",
    });
    const [now, id] = [at("2026-03-04T12:00"), randomUUID()];
    const reserve = (usd: string) => as((tx) => reserveExecution(tx, { id, agentId, usd, now }));
    const first = await reserve("0.8");
    expect(await reserve("0.8")).toEqual({ ...first, alerts: [] });
    expect(await spent(now)).toEqual([0.8, 0.8, 0.8]);
    const stranger = await newFleet();
    await expect(
      stranger.as((tx) => reserveExecution(tx, { id, agentId: stranger.agentId, usd: "1", now })),
    ).rejects.toThrow(/taken: a row has this id/);
  });

  test("as service role the organization is the agent's", async () => {
    const { agentId, organization, spent } = await newFleet({ agentId: null, dailyBudgetUsd: "1" });
    const now = at("2026-03-04T12:00");
    const { logId } = await withServiceRole(database.db, (tx) =>
      reserveExecution(tx, { agentId, usd: "0.5", now }),
    );
    const [row] = await withServiceRole(database.db, (tx) => log(tx, logId ?? ""));
    expect(row?.organizationId).toBe(organization);
    expect(await spent(now)).toEqual([0.5, 0.5, 0.5]);
  });

  test("another organization's agents and budgets are as missing ones", async () => {
    const [ours, theirs] = [
      await newFleet({ dailyBudgetUsd: "1" }),
      await newFleet({ dailyBudgetUsd: "1" }),
    ];
    const now = at("2026-03-04T12:00");
    await theirs.spend("0.5", now);
    await expect(
      ours.as((tx) => reserveExecution(tx, { agentId: theirs.agentId, usd: "0.1", now })),
    ).rejects.toThrow(`no agent ${theirs.agentId}`);
    expect(await ours.as((tx) => budgetStatus(tx, { agentId: theirs.agentId, now }))).toEqual([]);
    expect(await ours.as((tx) => refreshBudgets(tx, { agentId: theirs.agentId, now }))).toEqual([]);
    await ours.as(async (tx) => {
      const charges = JSON.stringify([
        { agent: theirs.agentId, organization: theirs.organization, at: now, usd: 1 },
      ]);
      await tx.execute(
        sql`select meta_agent.charge_budgets(${charges}::text::json, ${now.toISOString()}::timestamptz)`,
      );
    });
    expect(await theirs.spent(now)).toEqual([0.5, 0.5, 0.5]);
  });

  test("windows are of UTC, whatever the session's time zone is", async () => {
    const { as, agentId } = await newFleet({ dailyBudgetUsd: "1", onDailyExceeded: "pause" });
    // Of a day, a week and a month that is over in one zone and has not begun in the other.
    const now = at("2026-05-31T23:30");
    for (const zone of ["Pacific/Kiritimati", "America/St_Johns", "Asia/Kathmandu"]) {
      await as(async (tx) => {
        await tx.execute(sql`select set_config('timezone', ${zone}, true)`);
        const made = await reserveExecution(tx, { agentId, usd: "0.2", now });
        expect(made.allowed).toBe(true);
        const states = await budgetStatus(tx, { now });
        expect(states.map(({ resetsAt }) => resetsAt)).toEqual([
          at("2026-06-01T00:00"),
          at("2026-06-01T00:00"),
          at("2026-06-01T00:00"),
        ]);
        expect(await refreshBudgets(tx, { now })).toEqual([]);
      });
    }
    const refused = await as(async (tx) => {
      await tx.execute(sql`select set_config('timezone', 'Pacific/Kiritimati', true)`);
      return reserveExecution(tx, { agentId, usd: "0.5", now });
    });
    expect(refused).toMatchObject({ allowed: false, resetsAt: at("2026-06-01T00:00") });
    expect(refused.exceeded).toMatchObject([{ window: "daily", spentUsd: "0.6" }]);
  });

  test("claims that name no organization see no agent and no budget", async () => {
    const { agentId, spend, spent } = await newFleet({ dailyBudgetUsd: "1" });
    const now = at("2026-03-04T12:00");
    await spend("0.5", now);
    for (const organization_id of ["no uuid", null, 7, `${randomUUID()}'`]) {
      await withOrganization(database.db, { organization_id }, async (tx) => {
        expect(await budgetStatus(tx, { now })).toEqual([]);
        expect(await refreshBudgets(tx, { now })).toEqual([]);
        expect(await expireExecutions(tx, { olderThan: new Date() })).toEqual({ expired: 0 });
        await expect(reserveExecution(tx, { agentId, usd: "0.1", now })).rejects.toThrow(
          `no agent ${agentId}`,
        );
      });
    }
    expect(await spent(now)).toEqual([0.5, 0.5, 0.5]);
  });

  test("a limit of zero lets only what is free through, and no budget lets all through", async () => {
    const none = await newFleet();
    const zero = await newFleet({ dailyBudgetUsd: "0", onDailyExceeded: "pause" });
    const now = at("2026-03-04T12:00");
    const allowed = ({ as, agentId }: typeof zero, usd: string) =>
      as(async (tx) => (await reserveExecution(tx, { agentId, usd, now })).allowed);
    expect(await allowed(zero, "0")).toBe(true);
    expect(await allowed(zero, "0.000001")).toBe(false);
    expect(await allowed(none, "1000000")).toBe(true);
  });

  test("values that are none are refused by their names, and nothing is reserved", async () => {
    const { as, agentId } = await newFleet({});
    const bad = (given: object) =>
      as((tx) => reserveExecution(tx, { agentId, usd: "1", ...given })).catch(
        (error: unknown) => error,
      );
    for (const [given, path] of [
      [{ usd: "-1" }, "usd"],
      [{ usd: "cheap" }, "usd"],
      [{ usd: "NaN" }, "usd"],
      [{ usd: "Infinity" }, "usd"],
      [{ agentId: "x" }, "agentId"],
      [{ executionId: "x" }, "executionId"],
    ] as const) {
      const error = await bad(given);
      expect(error).toBeInstanceOf(z.ZodError);
      expect(error instanceof z.ZodError && error.issues.map((issue) => issue.path)).toEqual([
        [path],
      ]);
    }
    for (const now of [new Date("never"), new Date(Date.now() + 2 * 86_400_000)]) {
      expect(await bad({ now })).toBeInstanceOf(TypeError);
    }
    expect(String(await bad({ promptVersionId: randomUUID() }))).toMatch(/promptVersionId/);
    expect(await as((tx) => tx.$count(agentExecutionLogs))).toBe(0);
  });
});

const RUNS = Number(process.env["PROPERTY_RUNS"] ?? 40);
const SEED = process.env["PROPERTY_SEED"];

/** A step of a story: what happens, how long after the one before it, and how late its row is. */
const step = fc.record({
  kind: fc.constantFrom("charge", "reserve", "complete", "expire", "refresh", "record"),
  after: fc.constantFrom(0, 1, 60, 3600 * 7, 3600 * 24, 3600 * 24 * 6, 3600 * 24 * 31),
  late: fc.constantFrom(0, 0, 0, 3600 * 5, 3600 * 24, 3600 * 24 * 8),
  cents: fc.integer({ min: 0, max: 40 }),
  pick: fc.nat(),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

interface Row {
  readonly id: string;
  readonly executionId: string;
  readonly at: Date;
  cents: number;
  isReserved: boolean;
  isRunning: boolean;
}

/** What a budget has spent in the windows of an instant, from the rows that were charged. */
function spentIn(ledger: readonly Row[], now: Date): number[] {
  const day = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate());
  const monday = day - ((now.getUTCDay() + 6) % 7) * 86_400_000;
  const first = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1);
  return [day, monday, first].map((since) =>
    ledger.reduce((sum, { at: when, cents }) => (when.getTime() >= since ? sum + cents : sum), 0),
  );
}

suite("budgets, as a model of them says", (database) => {
  const organization = randomUUID();
  const limit = 30;
  const seen = { allowed: 0, refused: 0, completed: 0 };
  beforeAll(() =>
    withOrganization(database.db, organization, (tx) =>
      tx.insert(agentRegistry).values(newAgent()),
    ),
  );

  /** Plays a story on an agent of its own, and compares the counters after each step. */
  async function play(tx: Transaction, steps: readonly Step[]): Promise<void> {
    const agent = newAgent();
    await tx.insert(agentRegistry).values(agent);
    await tx.insert(costBudgets).values({
      agentId: agent.id,
      monthlyBudgetUsd: String(limit / 100),
      onMonthlyExceeded: "pause",
      updatedAt: new Date("2019-12-20T00:00Z"),
    });
    const charged: Row[] = [];
    const uncharged: Row[] = [];
    let now = new Date("2019-12-24T18:00Z");
    const usd = (cents: number) => (cents / 100).toFixed(2);
    for (const { kind, after, late, cents, pick } of steps) {
      now = new Date(now.getTime() + after * 1000);
      const row = (): Row => ({
        id: randomUUID(),
        executionId: randomUUID(),
        at: new Date(now.getTime() - late * 1000),
        cents,
        isReserved: false,
        isRunning: false,
      });
      const running = charged.filter(({ isRunning }) => isRunning);
      const chosen = running[pick % Math.max(running.length, 1)];
      const entry = ({ id, executionId }: Row) => ({
        id,
        executionId,
        agentId: agent.id,
        actionType: "agent_run",
        estimatedCostUsd: usd(cents),
      });
      if (kind === "charge" || kind === "record") {
        const made = row();
        const entries = [{ ...entry(made), timestamp: made.at }];
        await recordExecutions(tx, entries, { charge: kind === "charge", now });
        (kind === "charge" ? charged : uncharged).push(made);
      } else if (kind === "reserve") {
        const made = { ...row(), at: now, isReserved: true, isRunning: true };
        const { allowed } = await reserveExecution(tx, {
          ...{ id: made.id, executionId: made.executionId, agentId: agent.id },
          usd: usd(cents),
          now,
        });
        expect(allowed).toBe((spentIn(charged, now)[2] ?? 0) + cents <= limit);
        if (allowed) charged.push(made);
        seen[allowed ? "allowed" : "refused"]++;
      } else if (kind === "complete" && chosen) {
        await recordExecutions(tx, [entry(chosen)], { now });
        seen.completed++;
        Object.assign(chosen, { cents, isRunning: false });
      } else if (kind === "expire") {
        await expireExecutions(tx, { olderThan: new Date(now.getTime() - 86_400_000), now });
        for (const old of running) {
          if (old.at.getTime() < now.getTime() - 86_400_000) old.cents = 0;
        }
      } else if (kind === "refresh") {
        await refreshBudgets(tx, { agentId: agent.id, now });
        charged.push(...uncharged.splice(0));
      }
      const states = await budgetStatus(tx, { agentId: agent.id, now });
      expect(states.map(({ spentUsd }) => Math.round(Number(spentUsd) * 100))).toEqual(
        spentIn(charged, now),
      );
    }
  }

  test(
    "the counters are the ledger's, over days, weeks, months and years",
    { timeout: 600_000 },
    async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 12 }), async (steps) =>
          withOrganization(database.db, organization, (tx) => play(tx, steps)),
        ),
        { numRuns: RUNS, ...(SEED === undefined ? {} : { seed: Number(SEED) }) },
      );
      expect(Math.min(seen.allowed, seen.refused, seen.completed)).toBeGreaterThan(0);
    },
  );
});
