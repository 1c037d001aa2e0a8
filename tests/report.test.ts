import { expect, test } from "vitest";
import { withServiceRole } from "../src/client/tenancy.ts";
import { refreshAbTest } from "../src/fleet/ab-tests.ts";
import { executionsBetween } from "../src/fleet/outcome.ts";
import { rollUpMetrics } from "../src/fleet/rollup.ts";
import { startShadowTest } from "../src/fleet/shadow-tests.ts";
import { measureSlas } from "../src/fleet/slas.ts";
import {
  type Day,
  type Figures,
  budgetShare,
  figuresOf,
  successRate,
} from "../src/report/figures.ts";
import { pageOf } from "../src/report/page.ts";
import { loadPlots } from "../src/report/plots.ts";
import { percent } from "../src/report/words.ts";
import { agentExecutionLogs } from "../src/schema/index.ts";
import { newExecutionLog } from "../src/testing.ts";
import { END, FIRST, HOSTILE, busyFleet, renameAll } from "./busy-fleet.ts";
import { suite } from "./engine.ts";
import { type Fleet, WRITTEN } from "./fleet.ts";

const HOUR = 3_600_000;

suite("the page about a fleet", (database) => {
  let tested: Awaited<ReturnType<typeof busyFleet>>;
  let rolledOut: typeof tested;
  const of = ({ organization }: Fleet, days = 14, now = END) =>
    figuresOf(database.db, { organization, days, now });

  test("each day is what the roll-up has of it, and their sum the head of the page", async () => {
    tested = await busyFleet(database, "A/B test");
    rolledOut = await busyFleet(database, "canary");
    const { organization, agentId } = tested;
    await tested.as((tx) => rollUpMetrics(tx, { from: "2026-03-01", to: "2026-03-14" }));
    const stored = await database.query<Pick<Day, "day" | "executions" | "usd">>(
      `select to_char(date, 'YYYY-MM-DD') as day, sum(total_executions)::int as executions, sum(successful_executions)::int as successes,
         sum(failed_executions + timeout_executions)::int as failures, sum(total_cost_usd)::float8 as usd
       from agent_performance_metrics where agent_id = $1 group by 1 order by 1`,
      [agentId],
    );
    // The last day is not over: what it has is before the instant of the page.
    const { days, total, agents, models, from } = await of(
      tested,
      15,
      new Date("2026-03-15T00:00:00Z"),
    );
    expect(from).toEqual(FIRST);
    expect(days.slice(0, -1)).toMatchObject(
      stored.map(({ usd, ...counts }) => ({ ...counts, usd: expect.closeTo(usd, 9) })),
    );
    // No day has two versions before the seventh: there percentiles are the roll-up's own.
    expect(days.slice(0, 6).map(({ p50, p95 }) => [p50, p95])).toEqual(
      (
        await database.query<{ p: number[] }>(
          `select array[p50_latency_ms, p95_latency_ms]::float8[] as p from agent_performance_metrics
           where agent_id = $1 and date < '2026-03-07' order by date`,
          [agentId],
        )
      ).map(({ p }) => p.map((ms) => expect.closeTo(ms, 1))),
    );
    const sum = (name: "executions" | "failures" | "usd") =>
      days.reduce((all, day) => all + day[name], 0);
    expect(total).toMatchObject({
      executions: sum("executions"),
      failures: sum("failures"),
      usd: expect.closeTo(sum("usd"), 9),
    });
    expect(models.reduce((all, { usd }) => all + usd, 0)).toBeCloseTo(total.usd, 9);
    expect(new Set(models.map(({ model }) => model))).toEqual(new Set(["large", "small", null]));
    expect(agents.shown).toMatchObject([{ id: agentId, organizationId: organization, ...total }]);
    expect(successRate(total)).toBeCloseTo(
      total.successes / (total.successes + total.failures),
      12,
    );
  });

  test("an execution is counted by the rule of the others; shadows cost, and count as none", async () => {
    const before = await of(tested);
    const counted = await tested.as((tx) =>
      tx.execute(executionsBetween({ from: before.from, to: before.now })),
    );
    expect(before.total.executions).toBe(Array.from(Object(counted).rows ?? counted).length);
    await tested.as((tx) =>
      tx.insert(agentExecutionLogs).values(
        newExecutionLog({
          agentId: tested.agentId,
          timestamp: new Date(+END - HOUR),
          metadata: { shadow_of: tested.testId },
          estimatedCostUsd: "1.5",
        }),
      ),
    );
    const after = await of(tested);
    expect(after.total.executions).toBe(before.total.executions);
    expect(after.total.usd).toBeCloseTo(before.total.usd + 1.5, 9);
  });

  test("the evidence of a test at each instant is what refreshing it then had said", async () => {
    const { tests } = await of(tested);
    const { evidence, id } = tests.shown[0] ?? { evidence: [], id: "" };
    expect(evidence).toHaveLength(48);
    for (const point of [evidence[10], evidence[30], evidence[47]]) {
      if (!point) throw new Error("there are 48");
      // Up to the instant, which is not in the time any more.
      const now = new Date(+point.at - 1);
      const { evidence: then, test: row } = await tested.as((tx) => refreshAbTest(tx, { id, now }));
      expect(point.evidence).toBeCloseTo(then, 6);
      expect(point.control.executions).toBe(row.controlExecutions);
      expect(point.treatment.executions).toBe(row.treatmentExecutions);
      expect(point.treatment.executions).toBeGreaterThan(0);
    }
    expect(evidence[47]?.at).toEqual(END);
  });

  test("a canary has each stage with what was measured in it, an agent its breaker and its health", async () => {
    const { canaries, agents, alerts, budgets, errorBudgets, stories } = await of(rolledOut);
    expect(canaries.shown).toMatchObject([
      { status: "running", stage: 2, stages: [{ traffic: 0.05 }, { traffic: 0.5 }], limit: 0.5 },
    ]);
    for (const { measured } of canaries.shown[0]?.stages ?? []) {
      expect(measured?.canary.executions).toBeGreaterThan(9);
      expect(measured?.canary.failures).toBeGreaterThan(0);
    }
    expect(agents.shown[0]).toMatchObject({
      breaker: "open",
      breakerOpenedAt: END,
      health: "critical",
    });
    expect(agents.shown[0]?.days).toHaveLength(14);
    expect(alerts.shown).toMatchObject([{ severity: "critical", title: "Failure rate" }]);
    expect(budgets.shown.map(({ windows }) => windows.map(({ window }) => window))).toEqual([
      ["daily", "weekly", "monthly"],
      ["monthly"],
    ]);
    expect(budgets.shown[0]?.windows.map(budgetShare)).toEqual([1.02, 0.85, 0.8]);
    expect(errorBudgets.shown).toMatchObject([{ targetSuccessRate: 0.8, periodEnd: "2026-03-14" }]);
    expect(stories.shown).toMatchObject([{ prompt: { id: rolledOut.ids[0], isActive: true } }]);
  });

  test("an organization sees its own agents, the backend those of all, and neither writes", async () => {
    const written = () =>
      Promise.all(
        [tested, rolledOut].map((fleet) => database.query(WRITTEN, [fleet.organization])),
      );
    const before = await written();
    const ids = ({ agents }: Figures) => agents.shown.map(({ id }) => id).toSorted();
    expect(ids(await of(tested))).toEqual([tested.agentId]);
    const all = await figuresOf(database.db, { days: 14, now: END });
    expect(ids(all)).toEqual([tested.agentId, rolledOut.agentId].toSorted());
    expect(all.total.executions).toBe(
      (await of(tested)).total.executions + (await of(rolledOut)).total.executions,
    );
    expect(await written()).toEqual(before);
    const writing = withServiceRole(
      database.db,
      (tx) => tx.insert(agentExecutionLogs).values(newExecutionLog({ agentId: tested.agentId })),
      { readOnly: true },
    );
    await expect(writing).rejects.toThrow("write on the primary");
  });

  test("where nothing was recorded in the days it stands where the log ends", async () => {
    const present = ({ organization }: Fleet) => figuresOf(database.db, { organization, days: 14 });
    const { isPast, now, total, days } = await present(tested);
    const [{ latest } = { latest: "" }] = await database.query<{ latest: string }>(
      "select to_json(max(timestamp)) #>> '{}' as latest from agent_execution_logs where agent_id = $1",
      [tested.agentId],
    );
    expect(isPast).toBe(true);
    expect(now).toEqual(new Date(Date.parse(latest) + 1));
    expect(days.at(-1)?.executions).toBeGreaterThan(0);
    expect(total.executions).toBeGreaterThan(300);
    await rolledOut.as((tx) =>
      tx.insert(agentExecutionLogs).values(newExecutionLog({ agentId: rolledOut.agentId })),
    );
    const recent = await present(rolledOut);
    expect(recent.isPast).toBe(false);
    expect(+recent.now).toBeGreaterThan(Date.now() - HOUR);
    expect(recent.total.executions).toBe(1);
  });

  test("what is not as green as it looks is said in words, and each rate with how many it is of", async () => {
    const { agentId, ids } = rolledOut;
    const set = (table: string, values: string) =>
      database.query(`update ${table} set ${values} where agent_id = $1`, [agentId]);
    const words = async (fleet: Fleet) =>
      pageOf(await of(fleet), await loadPlots())
        .replaceAll(/<style>.*?<\/style>|<[^>]+>/gs, " ")
        .replaceAll(/\s+/g, " ");
    await set("agent_health_realtime", "status = 'healthy'");
    await set("agent_slas", "target_success_rate = 0.95");
    await set("canary_deployments", "rollback_on_error_rate = 0.05");
    await rolledOut.as((tx) => measureSlas(tx, { now: END }));
    await rolledOut.as((tx) =>
      startShadowTest(tx, { agentId, shadowPromptId: ids[2], minSampleSize: 30, now: FIRST }),
    );
    const { agents, canaries, errorBudgets, shadows } = await of(rolledOut);
    const canary = canaries.shown[0]?.stages[1]?.measured?.canary ?? { executions: 0, failures: 0 };
    const said = await words(rolledOut);
    expect(agents.shown[0]).toMatchObject({ health: "healthy", over: expect.any(Array) });
    expect(agents.shown[0]?.over).toEqual([
      `error budget ${percent(errorBudgets.shown[0]?.usedShare ?? null)}`,
      "daily budget spent",
      "SLA missed",
      `canary fails ${percent(canary.failures / canary.executions)}`,
    ]);
    expect(errorBudgets.shown[0]?.usedShare).toBeGreaterThan(1);
    for (const over of agents.shown[0]?.over ?? []) expect(said).toContain(`■ ${over}`);
    expect(said).toContain("1 healthy, 1 of them over a limit");
    const { failures, executions } = canary;
    expect(said).toContain(
      `Fails more often than the limit, ${failures} of ${executions}, without`,
    );
    expect(said).toMatch(/roll it back: \d+\.\d of the 20 that are asked/);
    expect(said).toMatch(
      executions < 50
        ? `Too few executions to go on: ${executions} of the 50 that a stage needs`
        : /Its stage goes on until \d+ [A-Z]/,
    );
    expect(shadows.shown).toMatchObject([{ pairs: 0, productionSuccesses: 0, minSampleSize: 30 }]);
    expect(said).toContain("Not decided yet: 0 of the 30 pairs that are asked.");
    expect(said).toContain("taken on by nobody yet");
    expect(said).toContain("The last execution in the log: 14 Mar, ");
    expect(said).toContain("Health was last checked: 14 Mar, 12:00 UTC (just now).");

    const { tests } = await of(tested);
    const last = tests.shown[0]?.evidence.at(-1);
    const sides = await words(tested);
    for (const side of ["control", "treatment"] as const) {
      const n = last?.[side].executions ?? 0;
      expect(n).toBeGreaterThan(40);
      expect(sides).toContain(`${side}, n = ${n} `);
      expect(sides.toLowerCase()).toMatch(
        new RegExp(`${side} [^ ]+ ?: [\\d.]+% succeeded, n = ${n} `),
      );
    }
    const sure = percent(1 - Math.min(1, 1 / (last?.evidence ?? 1)));
    expect(sides).toContain(`Not decided yet: ${sure} sure that they differ, and 95% are asked.`);
    // One number is said in one way.
    await tested.as((tx) => refreshAbTest(tx, { id: tested.testId, now: END }));
    expect((await words(tested)).split(`${sure} sure that they differ`)).toHaveLength(3);
    expect(sides).not.toContain("significance");
  });

  test("names and values are text, whatever is in them, and the page has no script and no address", async () => {
    await renameAll(database, tested);
    const page = pageOf(await of(tested), await loadPlots(), { title: HOSTILE });
    expect(page.split("&#60;img src=x onerror=alert(1)&#62;").length).toBeGreaterThan(8);
    expect(page).not.toMatch(/<(script|img|link|iframe|object|base)\b|[^#\w]url\(|@import/i);
    // oxlint-disable-next-line no-control-regex
    expect(page).not.toMatch(/[\u0000-\u0008\u000B-\u001F\u202A-\u202E\u2066-\u2069]/u);
    expect(page).toContain(String.raw`\u202egnp.exe\u0007`);
    expect(page).not.toMatch(/\b(https?:)?\/\/[a-z]/i);
  });
});
