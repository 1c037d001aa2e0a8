import { afterEach, expect, test } from "vitest";
import { resolveAlerts, raiseAlert } from "../src/fleet/alerts.ts";
import { startAbTest } from "../src/fleet/ab-tests.ts";
import { startCanary } from "../src/fleet/canaries.ts";
import { type GovernanceOptions, runGovernance } from "../src/fleet/governance.ts";
import { startShadowTest } from "../src/fleet/shadow-tests.ts";
import {
  type NewAgentExecutionLog,
  agentExecutionLogs,
  agentSlas,
  alertHistory,
  costBudgets,
} from "../src/schema/index.ts";
import { newBudget, newExecutionLog, newSla } from "../src/testing.ts";
import { suite } from "./engine.ts";
import { type Fleet, newFleet } from "./fleet.ts";

const MINUTE = 60_000;
const NOON = Date.UTC(2026, 2, 4, 12);
const after = (minutes: number) => new Date(NOON + minutes * MINUTE);

/** Of a budget that nobody has touched for days. */
const OLD = { updatedAt: after(-10_000) };

/** Rows that a round may write, each with the transaction that wrote it. */
const WRITTEN = `
  select 'canary' as kind, xmin::text, c::text as row from canary_deployments as c where organization_id = $1
  union all select 'test', xmin::text, t::text from ab_tests as t where organization_id = $1
  union all select 'shadow', xmin::text, t::text from shadow_tests as t where organization_id = $1
  union all select 'sla', xmin::text, s::text from sla_compliance as s where organization_id = $1
  union all select 'budget', xmin::text, b::text from cost_budgets as b where organization_id = $1
  union all select 'alert', xmin::text, a::text from alert_history as a where organization_id = $1
  union all select 'metric', xmin::text, m::text from agent_performance_metrics as m where organization_id = $1
  order by 1, 3`;

suite("runGovernance", (database) => {
  // A round is over all organizations.
  afterEach(() => database.script("truncate agent_registry cascade"));

  const runs = (fleet: Fleet, count: number, given: Partial<NewAgentExecutionLog>) =>
    fleet.as((tx) =>
      tx.insert(agentExecutionLogs).values(
        Array.from({ length: count }, () =>
          newExecutionLog({
            ...{ agentId: fleet.agentId, actionType: "agent_run", estimatedCostUsd: "1" },
            ...{ timestamp: after(-10), latencyMs: 100, status: "success" },
            ...given,
          }),
        ),
      ),
    );
  const round = (given: GovernanceOptions = {}) =>
    runGovernance(database.db, { now: after(0), ...given });
  const alertsOf = (fleet: Fleet) =>
    fleet.as((tx) => tx.select().from(alertHistory).orderBy(alertHistory.title));

  test("does every step, tells it by alerts, and has nothing to do the second time", async () => {
    const fleet = await newFleet(database.db);
    const { agentId, ids, as } = fleet;
    const [canary, shadow] = await as(async (tx) => {
      await tx
        .insert(costBudgets)
        .values(newBudget({ ...OLD, agentId, dailyBudgetUsd: "60", alertAtPercentage: 80 }));
      await tx.insert(agentSlas).values(
        newSla({
          agentId,
          targetSuccessRate: 0.99,
          targetP95LatencyMs: 50,
          measurementWindow: "calendar_day",
        }),
      );
      const stages = [{ traffic: 0.1 }];
      const limits = { rollbackOnErrorRate: 0.1, now: after(-60) };
      const begun = { agentId, canaryPromptId: ids[1], stages, ...limits };
      return [
        await startCanary(tx, begun),
        await startShadowTest(tx, { agentId, shadowPromptId: ids[2], now: after(-60) }),
      ] as const;
    });
    await runs(fleet, 20, { promptVersionId: ids[0] });
    await runs(fleet, 30, { promptVersionId: ids[1], status: "failure" });

    const first = await round();
    expect(first.problems).toEqual([]);
    expect(first).toMatchObject({
      now: after(0),
      rollUp: { from: "2026-03-03", to: "2026-03-04" },
      shadowTests: [{ id: shadow.id, isFinished: false }],
    });
    expect(first.canaries).toMatchObject([
      { id: canary.id, agentId, action: "rolled_back", stage: 1 },
    ]);
    expect(first.health?.written).toBeGreaterThan(0);
    expect(first.rollUp?.written).toBe(2);
    expect(first.slas?.written.map((period) => period.overallCompliant)).toContain(false);
    expect(first.budgets).toMatchObject([
      { window: "daily", spentUsd: "50" },
      { window: "weekly", spentUsd: "50" },
      { window: "monthly", spentUsd: "50" },
    ]);
    const told = (await alertsOf(fleet)).map(
      ({ alertType, severity }) => `${alertType} ${severity}`,
    );
    expect(told.toSorted()).toEqual([
      "agent_health critical",
      "budget warning",
      "canary warning",
      "error_budget critical",
      "service_level warning",
    ]);
    expect(first.alerts?.raised).toHaveLength(4);
    const messages = new Map(
      (await alertsOf(fleet)).map(({ alertType, message }) => [alertType, message]),
    );
    expect(messages.get("service_level")).toBe(
      "From 2026-03-04 to 2026-03-04: success 40% where 99% is promised, p95 100 ms where 50 ms is promised.",
    );
    expect(messages.get("budget")).toContain("50.00 of 60.00 US dollars;");

    const before = await database.query(WRITTEN, [fleet.organization]);
    expect(before.length).toBeGreaterThan(8);
    const second = await round();
    expect(second).toMatchObject({
      ...{ canaries: [], slas: { written: [] }, budgets: [], problems: [] },
      alerts: { raised: [], resolved: 0 },
    });
    expect(await database.query(WRITTEN, [fleet.organization])).toEqual(before);
  });

  test("what has passed is resolved, what happened once stays, and others' alerts, too", async () => {
    const fleet = await newFleet(database.db);
    const { agentId, as } = fleet;
    await as(async (tx) => {
      await tx.insert(costBudgets).values(newBudget({ ...OLD, agentId, dailyBudgetUsd: "10" }));
      const [title, message] = ["Mine", "Not of governance."];
      const severity = "warning";
      await raiseAlert(tx, { agentId, alertType: "budget", severity, title, message });
    });
    await runs(fleet, 9, { status: "failure" });
    expect((await round()).alerts?.raised).toMatchObject([
      { alertType: "budget", severity: "warning", agentId },
      { alertType: "agent_health", severity: "warning", agentId },
    ]);
    await runs(fleet, 1, {});
    const louder = await round({ now: after(1) });
    expect(louder.alerts).toMatchObject({
      raised: [{ alertType: "budget", severity: "critical", agentId }],
      resolved: 0,
    });
    const healed = await round({ now: after(13 * 60) });
    expect(healed.alerts).toEqual({ raised: [], resolved: 2 });
    const states = (await alertsOf(fleet)).map(
      ({ alertType, resolved }) => `${alertType} ${resolved ? "resolved" : "open"}`,
    );
    expect(states.toSorted()).toEqual(["agent_health resolved", "budget open", "budget resolved"]);
    // Begun again: a new incident, a new row.
    await runs(fleet, 11, { status: "failure", timestamp: after(13 * 60) });
    expect((await round({ now: after(13 * 60 + 1) })).alerts?.raised).toHaveLength(2);
    expect(await alertsOf(fleet)).toHaveLength(5);
  });

  test("a test is ended a day after its end, and its winner is told once", async () => {
    const fleet = await newFleet(database.db);
    const { agentId, ids, as } = fleet;
    const test_ = await as((tx) =>
      startAbTest(tx, {
        ...{ agentId, treatmentPromptId: ids[1], testName: "clerk", hypothesis: "h" },
        ...{ minSampleSize: 100, now: after(-60), endDate: after(0) },
      }),
    );
    await runs(fleet, 150, { promptVersionId: ids[0], status: "failure" });
    await runs(fleet, 150, { promptVersionId: ids[1] });
    const winner = { id: test_.id, agentId, testName: "clerk", winner: "treatment" };
    expect((await round()).abTests).toMatchObject([{ ...winner, isFinished: false }]);
    expect((await round({ now: after(24 * 60 - 1) })).abTests).toMatchObject([
      { ...winner, isFinished: false, written: false },
    ]);
    expect((await round({ now: after(24 * 60) })).abTests).toMatchObject([
      { ...winner, isFinished: true, written: true },
    ]);
    expect((await round({ now: after(24 * 60 + 1) })).abTests).toEqual([]);
    const told = (await alertsOf(fleet)).filter(({ alertType }) => alertType === "ab_test");
    expect(told).toMatchObject([{ severity: "info", details: { winner: "treatment" } }]);
    expect(told[0]?.details).toMatchObject({ occurrences: 1 });
  });

  test("units in other shares than planned are told while the test runs so", async () => {
    const fleet = await newFleet(database.db);
    const { agentId, ids, as } = fleet;
    await as((tx) =>
      startAbTest(tx, {
        ...{ agentId, treatmentPromptId: ids[1], testName: "clerk", hypothesis: "h" },
        ...{ now: after(-60), endDate: after(5) },
      }),
    );
    await runs(fleet, 90, { promptVersionId: ids[0] });
    await runs(fleet, 10, { promptVersionId: ids[1] });
    const found = await round();
    expect(found.abTests).toMatchObject([{ sampleRatioMismatch: true, winner: null }]);
    expect(found.alerts?.raised).toMatchObject([{ alertType: "ab_test", severity: "warning" }]);
    const ended = await round({ now: after(25 * 60) });
    expect(ended.alerts?.resolved).toBe(1);
  });

  test("what one step cannot do is told, and the rest is done", async () => {
    const [one, other] = [await newFleet(database.db), await newFleet(database.db)];
    const begin = ({ as, agentId, ids }: Fleet) =>
      as((tx) =>
        startCanary(tx, {
          ...{ agentId, canaryPromptId: ids[1], stages: [{ traffic: 0.5 }], now: after(-60) },
        }),
      );
    const [broken, sound] = [await begin(one), await begin(other)];
    await database.script(`
      create function refuse_canary() returns trigger language plpgsql as
        $$ begin raise exception 'not this one'; end $$;
      create trigger refuse before update on canary_deployments for each row
        when (old.id = '${broken.id}') execute function refuse_canary();`);
    const { problems, canaries, alerts, health } = await round();
    expect(problems).toEqual([
      { step: "canaries", id: broken.id, message: expect.stringContaining("not this one") },
    ]);
    expect(canaries).toMatchObject([{ id: sound.id, action: "held" }]);
    expect([alerts, health]).not.toContain(null);
    await database.script(
      "drop trigger refuse on canary_deployments; drop function refuse_canary;",
    );
  });

  test("an organization's budget is the organization's alert, and the platform's nobody's", async () => {
    const fleet = await newFleet(database.db);
    const budget = newBudget({ ...OLD, agentId: null, dailyBudgetUsd: "1" });
    await fleet.as((tx) => tx.insert(costBudgets).values(budget));
    await database.query(
      "insert into cost_budgets (daily_budget_usd, current_daily_spend, updated_at) values (1, 1, $1::timestamptz)",
      [after(0).toISOString()],
    );
    await runs(fleet, 2, {});
    expect((await round()).alerts?.raised).toEqual([
      {
        ...{ alertType: "budget", severity: "critical", agentId: null },
        title: "The organization's daily budget is spent",
        organizationId: fleet.organization,
      },
    ]);
    const open = await fleet.as((tx) =>
      resolveAlerts(tx, { dedupKey: `governance:budget:${budget.id}:daily`, by: "lena" }),
    );
    expect(open).toBe(1);
  });

  test("rolls up from the day that is named, in parts", async () => {
    const fleet = await newFleet(database.db);
    for (const day of [0, 6, 7, 8, 20]) {
      await runs(fleet, 1, { timestamp: new Date(NOON - day * 1440 * MINUTE) });
    }
    const { rollUp } = await round({ since: "2026-02-12" });
    expect(rollUp).toMatchObject({ from: "2026-02-12", to: "2026-03-04" });
    const days = await database.query<{ date: string }>(
      "select date::text from agent_performance_metrics where agent_id = $1 order by 1",
      [fleet.agentId],
    );
    expect(days.map(({ date }) => date)).toEqual([
      "2026-02-12",
      "2026-02-24",
      "2026-02-25",
      "2026-02-26",
      "2026-03-04",
    ]);
  });

  test("input that is none is refused before anything is done", async () => {
    await expect(round({ now: new Date(Number.NaN) })).rejects.toThrow("now must be a valid Date");
    await expect(round({ since: "2026-03-05" })).rejects.toThrow("since must be a day");
    await expect(round({ since: "2026-02-30" })).rejects.toThrow("since must be a day");
    await expect(round({ failureRateThreshold: -1 })).rejects.toThrow("FAILURE_RATE_THRESHOLD");
  });
});
