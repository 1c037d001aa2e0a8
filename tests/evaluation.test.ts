import { randomUUID } from "node:crypto";
import { eq } from "drizzle-orm";
import { beforeAll, expect, test } from "vitest";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import { loadDemo } from "../src/demo/load.ts";
import { DEMO_ORGANIZATIONS } from "../src/demo/story.ts";
import {
  type EvaluationDraft,
  type EvaluationOf,
  type PeriodNumbers,
  draftEvaluation,
} from "../src/fleet/evaluation.ts";
import {
  type AgentExecutionLog,
  type NewAgentExecutionLog,
  agentExecutionLogs,
  agentRegistry,
  agentSlas,
  evaluationReports,
} from "../src/schema/index.ts";
import { newEvaluationReport, newExecutionLog, newSla } from "../src/testing.ts";
import { suite } from "./engine.ts";
import { newFleet } from "./fleet.ts";
import { executionsOf, near, percentile } from "./reference.ts";

const DAY = 86_400_000;
const at = (text: string) => new Date(`${text}Z`);

suite("draftEvaluation", (database) => {
  /** An agent of its own, with rows of the log. */
  async function evaluated(logs: readonly Partial<NewAgentExecutionLog>[]) {
    const fleet = await newFleet(database.db);
    const { agentId, as } = fleet;
    const rows = logs.map((log) => newExecutionLog({ agentId, actionType: "agent_run", ...log }));
    if (rows.length > 0) await as((tx) => tx.insert(agentExecutionLogs).values(rows));
    const draft = (asked: Partial<EvaluationOf> = {}) =>
      as((tx) => draftEvaluation(tx, { agentId, from: "2026-03-02", to: "2026-03-03", ...asked }));
    return { ...fleet, draft };
  }

  const run = (
    timestamp: string,
    latencyMs: number,
    estimatedCostUsd: string,
    more: Partial<NewAgentExecutionLog> = {},
  ) => ({ timestamp: at(timestamp), latencyMs, estimatedCostUsd, qualityScore: null, ...more });

  test("scores by its formulas, and the row goes in as it is", async () => {
    const { agentId, organization, as, draft } = await evaluated([
      // The two days before: the p95 of their latencies is 100 ms.
      run("2026-02-28T00:00", 100, "1"),
      run("2026-03-01T23:59:59.999", 100, "1", { status: "failure" }),
      // The period: within the target, within four times it, beyond, failed, timed out, running.
      run("2026-03-02T00:00", 100, "3", { qualityScore: 80 }),
      run("2026-03-02T10:00", 400, "2", { qualityScore: 90 }),
      run("2026-03-03T23:59:59.999", 401, "1"),
      run("2026-03-03T12:00", 1, "3", { status: "failure" }),
      run("2026-03-03T12:00", 1, "1", { status: "timeout" }),
      run("2026-03-03T12:00", 1, "0", { status: "running" }),
      // Of a shadow test, and after the period.
      run("2026-03-02T12:00", 9, "50", { metadata: { shadow_of: randomUUID() } }),
      run("2026-03-04T00:00", 9, "50"),
    ]);
    const drafted = await draft({ now: at("2026-03-05T23:30") });
    const period: PeriodNumbers = {
      ...{ executions: 6, successful: 3, failed: 2, successRate: 0.6 },
      ...{ p50LatencyMs: 400, p95LatencyMs: 400.9, costUsd: "10", avgQuality: 85 },
      costPerSuccessUsd: "3.3333333333",
    };
    expect(drafted).toEqual({
      agentId,
      organizationId: organization,
      reportDate: "2026-03-05",
      evaluationPeriodStart: "2026-03-02",
      evaluationPeriodEnd: "2026-03-03",
      reliabilityScore: 60,
      qualityScore: 85,
      efficiencyScore: 50,
      costEfficiencyScore: 60,
      // 0.4 · 60 + 0.3 · 85 + 0.15 · 50 + 0.15 · 60
      overallScore: 66,
      riskLevel: "critical",
      scoreChangeVsPrevious: null,
      comparisonDetails: {
        period,
        before: {
          ...{ executions: 2, successful: 1, failed: 1, successRate: 0.5 },
          ...{ p50LatencyMs: 100, p95LatencyMs: 100, costUsd: "2", avgQuality: null },
          costPerSuccessUsd: "2.0000000000",
        },
        latencyTargetMs: 100,
        latencyTargetBy: "period before",
        previousReportId: null,
      },
    } satisfies EvaluationDraft);
    const [stored] = await as((tx) =>
      tx
        .insert(evaluationReports)
        .values({ ...drafted, executiveSummary: "Half of it fails." })
        .returning(),
    );
    expect(stored).toMatchObject(drafted);
    expect(
      (await draft({ weights: { reliability: 0, quality: 1, efficiency: 0, costEfficiency: 0 } }))
        .overallScore,
    ).toBe(85);
  });

  test("where nothing is to count there is no score and no risk", async () => {
    const { draft, agentId, as } = await evaluated([]);
    const nothing = {
      ...{ overallScore: null, reliabilityScore: null, efficiencyScore: null },
      ...{ costEfficiencyScore: null, qualityScore: null, riskLevel: null },
    };
    expect(await draft()).toMatchObject(nothing);
    const free = { ...run("2026-03-02T10:00", 5, "0"), estimatedCostUsd: null, latencyMs: null };
    await as((tx) => tx.insert(agentExecutionLogs).values(newExecutionLog({ agentId, ...free })));
    expect(await draft()).toMatchObject({
      ...nothing,
      reliabilityScore: 100,
      overallScore: 100,
      riskLevel: "low",
    });
  });

  test("the latency that satisfies is what an active service level promises", async () => {
    const { draft, agentId, as } = await evaluated([
      run("2026-03-01T10:00", 1, "1"),
      run("2026-03-02T10:00", 300, "1"),
    ]);
    expect(await draft()).toMatchObject({ efficiencyScore: 0 });
    await as((tx) =>
      tx
        .insert(agentSlas)
        .values([
          newSla({ agentId, targetP95LatencyMs: 1, isActive: false }),
          newSla({ agentId, targetP95LatencyMs: 300 }),
        ]),
    );
    expect(await draft()).toMatchObject({
      efficiencyScore: 100,
      comparisonDetails: { latencyTargetMs: 300, latencyTargetBy: "service level" },
    });
  });

  test("the change is against the report whose period ended last before this one does", async () => {
    const { draft, agentId, as } = await evaluated(
      Array.from({ length: 50 }, (_, n) =>
        run("2026-03-02T10:00", 5, "1", n === 0 ? { status: "failure" } : {}),
      ),
    );
    const report = (evaluationPeriodEnd: string, overallScore: number | null) =>
      newEvaluationReport({
        ...{ agentId, evaluationPeriodEnd, overallScore, reportDate: "2026-03-09" },
        evaluationPeriodStart: "2026-02-01",
      });
    const [last, ...others] = [
      report("2026-03-02", 99),
      report("2026-03-03", 1),
      report("2026-02-20", 2),
    ];
    await as((tx) => tx.insert(evaluationReports).values(others));
    expect(await draft()).toMatchObject({ riskLevel: "low", overallScore: 98.43 });
    expect((await draft()).scoreChangeVsPrevious).toBe(96.43);
    await as((tx) => tx.insert(evaluationReports).values(last ?? []));
    const fallen = { scoreChangeVsPrevious: -0.57, riskLevel: "low" };
    expect(await draft()).toMatchObject({
      ...fallen,
      comparisonDetails: { previousReportId: last?.id },
    });
    await as((tx) =>
      tx
        .update(evaluationReports)
        .set({ overallScore: 100 })
        .where(eq(evaluationReports.id, last?.id ?? "")),
    );
    const lower = { weights: { efficiency: 10 } };
    await as((tx) => tx.insert(agentSlas).values(newSla({ agentId, targetP95LatencyMs: 1 })));
    expect(await draft(lower)).toMatchObject({ efficiencyScore: 0, riskLevel: "medium" });
  });

  test("another organization's agent is as good as none, and bad input is named", async () => {
    const { agentId } = await evaluated([]);
    const asked = { agentId, from: "2026-03-02", to: "2026-03-03" };
    const stranger = withOrganization(database.db, randomUUID(), (tx) =>
      draftEvaluation(tx, asked),
    );
    await expect(stranger).rejects.toThrow(`no agent ${agentId}`);
    const refused = (given: object) =>
      withServiceRole(database.db, (tx) => draftEvaluation(tx, { ...asked, ...given }));
    await expect(refused({ to: "2026-03-01" })).rejects.toThrow("before from");
    await expect(refused({ from: "2026-02-30" })).rejects.toThrow("from");
    const weights = { reliability: 0, quality: 0, efficiency: 0, costEfficiency: 0 };
    await expect(refused({ weights })).rejects.toThrow("above 0");
    for (const reliability of [Number.NaN, Infinity, -1, null]) {
      await expect(refused({ weights: { reliability } })).rejects.toThrow("weights.reliability");
    }
  });
});

suite("draftEvaluation, on the demo", (database) => {
  const organization = DEMO_ORGANIZATIONS.larkspur.id;
  beforeAll(async () => {
    await loadDemo(database.db);
  });

  /** The numbers, once more in plain TypeScript. */
  function numbersOf(logs: readonly AgentExecutionLog[], since: number, until: number) {
    const executions = executionsOf(logs).filter(({ start }) => +start >= since && +start < until);
    const good = executions.filter(({ outcome }) => outcome === "success");
    const bad = executions.filter(({ outcome }) => ["failure", "timeout"].includes(outcome));
    const latencies = good.flatMap(({ latencyMs }) => latencyMs ?? []).toSorted((a, b) => a - b);
    const rows = executions.flatMap((execution) => execution.rows);
    const scores = rows.flatMap((row) => ("qualityScore" in row ? (row.qualityScore ?? []) : []));
    const cost = (of: typeof executions) =>
      of
        .flatMap((execution) => execution.rows)
        .reduce((sum, row) => sum + Number(row.estimatedCostUsd ?? 0), 0);
    return { executions, good, bad, latencies, scores, cost };
  }

  test("equals a calculator of its own for every agent, in any session's time zone", async () => {
    const { agents, logs } = await withOrganization(database.db, organization, async (tx) => ({
      agents: await tx.select().from(agentRegistry),
      logs: await tx.select().from(agentExecutionLogs),
    }));
    expect(agents.length).toBeGreaterThan(1);
    const last = Math.max(...logs.map(({ timestamp }) => +timestamp));
    const to = new Date(last - DAY).toISOString().slice(0, 10);
    const from = new Date(last - 5 * DAY).toISOString().slice(0, 10);
    const [since, until] = [+at(`${from}T00:00`), +at(`${to}T00:00`) + DAY];
    let scored = 0;
    for (const { id: agentId } of agents) {
      const own = logs.filter(
        (log) =>
          log.agentId === agentId &&
          !(typeof log.metadata === "object" && "shadow_of" in (log.metadata ?? {})),
      );
      const draft = await withOrganization(database.db, organization, async (tx) => {
        await tx.execute("set local timezone to 'America/St_Johns'");
        return draftEvaluation(tx, { agentId, from, to });
      });
      const told = draft.comparisonDetails;
      for (const [numbers, start, end] of [
        [told.period, since, until],
        [told.before, since - (until - since), since],
      ] as const) {
        const { executions, good, bad, latencies, scores, cost } = numbersOf(own, start, end);
        expect(numbers).toMatchObject({
          executions: executions.length,
          successful: good.length,
          failed: bad.length,
          p50LatencyMs: near(percentile(latencies, 0.5)),
          p95LatencyMs: near(percentile(latencies, 0.95)),
        });
        expect(Number(numbers.costUsd)).toBeCloseTo(cost(executions), 9);
        const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
        if (scores.length > 0) expect(numbers.avgQuality).toBeCloseTo(mean, 3);
        else expect(numbers.avgQuality).toBeNull();
      }
      const { good, bad, executions, cost } = numbersOf(own, since, until);
      const share = (of: number, all: number) => (all === 0 ? null : (100 * of) / all);
      const reliability = share(good.length, good.length + bad.length);
      const efficiency = share(cost(good), cost(executions));
      for (const [score, expected] of [
        [draft.reliabilityScore, reliability],
        [draft.costEfficiencyScore, efficiency],
      ] as const) {
        if (expected === null) expect(score).toBeNull();
        else expect(Math.abs((score ?? -1) - expected)).toBeLessThanOrEqual(0.0051);
        scored += score === null ? 0 : 1;
      }
    }
    expect(scored).toBeGreaterThan(3);
  });
});
