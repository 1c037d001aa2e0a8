/**
 * Steps that many take at once, on connections of their own: each is taken once. The naive twin of each, a read, a
 * decision and a write without the agent's lock, is run beside it and must break the same promise, or the promise
 * was never in danger.
 */
import { randomUUID } from "node:crypto";
import { and, eq, inArray, sql } from "drizzle-orm";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startAbTest } from "../../src/fleet/ab-tests.ts";
import { rollBackCanary, startCanary, stepCanary } from "../../src/fleet/canaries.ts";
import { type Connection, connect } from "../../src/client/connect.ts";
import type { Transaction } from "../../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../../src/client/tenancy.ts";
import { runGovernance } from "../../src/fleet/governance.ts";
import { supersedeLearning } from "../../src/fleet/learnings.ts";
import { refreshPromptCounters } from "../../src/fleet/prompt-counters.ts";
import { promotePrompt, rollBackPrompt, setBaseline } from "../../src/fleet/prompts.ts";
import { moveProposal } from "../../src/fleet/proposals.ts";
import { measureSlas } from "../../src/fleet/slas.ts";
import {
  abTests,
  agentExecutionLogs,
  agentPrompts,
  agentSlas,
  alertHistory,
  canaryDeployments,
  costBudgets,
  improvementProposals,
  learningLog,
  slaCompliance,
} from "../../src/schema/index.ts";
import {
  newAbTest,
  newBudget,
  newExecutionLog,
  newLearning,
  newProposal,
  newSla,
} from "../../src/testing.ts";
import { suite } from "../engine.ts";
import { type Fleet, newFleet } from "../fleet.ts";

const START = new Date("2026-03-01T00:00:00Z");
const minutes = (n: number) => new Date(+START + n * 60_000);

suite("many at once", (database) => {
  let many: Connection | undefined;
  beforeAll(() => {
    many = connect(database.url, { max: 24, connectTimeout: 100 });
  });
  afterAll(() => many?.close());

  /** Opens when so many have come; whoever comes later goes on at once. */
  function meeting(size: number): () => Promise<void> {
    let missing = size;
    let open = () => {};
    const opened = new Promise<void>((resolve) => (open = resolve));
    return () => {
      missing -= 1;
      if (missing === 0) open();
      return opened;
    };
  }

  /**
   * What each of so many callers answers, as the organization; undefined where it was refused. All have begun before
   * any goes on. A naive one meets the others again between what it reads and what it writes.
   */
  async function crowd<T>(
    { organization }: Fleet,
    size: number,
    work: (tx: Transaction, n: number, meet: () => Promise<void>) => Promise<T>,
  ): Promise<(T | undefined)[]> {
    const db = many?.db ?? database.db;
    const [begin, meet] = [meeting(Math.min(size, 24)), meeting(Math.min(size, 24))];
    return Promise.all(
      Array.from({ length: size }, (_, n) =>
        withOrganization(db, organization, async (tx) => {
          await begin();
          return work(tx, n, meet);
        }).catch(() => undefined),
      ),
    );
  }
  const times = <T>(list: readonly T[], is: (one: T) => boolean) => list.filter(is).length;

  const runningTests = (fleet: Fleet) =>
    database.db
      .select()
      .from(abTests)
      .where(and(eq(abTests.agentId, fleet.agentId), eq(abTests.status, "running")));

  test("24 who start an A/B test start one; of the naive several run", async () => {
    const fleet = await newFleet(database.db);
    const [, treatmentPromptId] = fleet.ids;
    const row = { agentId: fleet.agentId, treatmentPromptId, testName: "t", hypothesis: "h" };
    const begun = await crowd(fleet, 24, (tx) => startAbTest(tx, row));
    expect(times(begun, (one) => one !== undefined)).toBe(1);
    expect(await runningTests(fleet)).toHaveLength(1);

    const twin = await newFleet(database.db);
    await crowd(twin, 24, async (tx, _, meet) => {
      const running = await tx.select().from(abTests).where(eq(abTests.agentId, twin.agentId));
      await meet();
      const { agentId, ids } = twin;
      if (running.length > 0) return;
      const prompts = { controlPromptId: ids[0], treatmentPromptId: ids[1] };
      await tx.insert(abTests).values(newAbTest({ agentId, ...prompts }));
    });
    expect((await runningTests(twin)).length).toBeGreaterThan(1);
  });

  test("starters of canaries and A/B tests begin one of either", async () => {
    const fleet = await newFleet(database.db);
    const { agentId, ids } = fleet;
    const begun = await crowd<unknown>(fleet, 24, (tx, n) =>
      n % 2 === 0
        ? startCanary(tx, { agentId, canaryPromptId: ids[1], stages: [{ traffic: 1 }] })
        : startAbTest(tx, { agentId, treatmentPromptId: ids[1], testName: "t", hypothesis: "h" }),
    );
    expect(times(begun, (one) => one !== undefined)).toBe(1);
  });

  /** A canary that may advance once: its executions are those of the first stage. */
  async function ready(stages: number) {
    const fleet = await newFleet(database.db);
    const { agentId, ids } = fleet;
    const { id } = await fleet.as(async (tx) => {
      const canary = await startCanary(tx, {
        agentId,
        canaryPromptId: ids[1],
        stages: Array.from({ length: stages }, () => ({ traffic: 0.5 })),
        now: START,
      });
      const row = () =>
        newExecutionLog({ agentId, promptVersionId: ids[1], timestamp: minutes(1) });
      await tx.insert(agentExecutionLogs).values(Array.from({ length: 20 }, row));
      return canary;
    });
    return { fleet, id };
  }
  const stored = async (id: string) => {
    const ofId = eq(canaryDeployments.id, id);
    const [canary] = await database.db.select().from(canaryDeployments).where(ofId);
    return canary;
  };

  test("16 who step a canary take one step; the naive take more", async () => {
    const { fleet, id } = await ready(30);
    const steps = await crowd(fleet, 16, (tx) =>
      stepCanary(tx, { id, minExecutions: 20, now: minutes(10) }),
    );
    expect(times(steps, (step) => step?.action === "advanced")).toBe(1);
    expect(times(steps, (step) => step?.action === "held")).toBe(15);
    expect(await stored(id)).toMatchObject({ currentStage: 2 });

    const twin = await ready(30);
    await crowd(twin.fleet, 16, async (tx, _, meet) => {
      const ofId = eq(canaryDeployments.id, twin.id);
      const [canary] = await tx.select().from(canaryDeployments).where(ofId);
      const logs = await tx.select().from(agentExecutionLogs);
      await meet();
      const since = canary?.currentStage === 1 ? START : minutes(10);
      if (logs.filter(({ timestamp }) => timestamp >= since).length < 20) return;
      await tx
        .update(canaryDeployments)
        .set({ currentStage: sql`${canaryDeployments.currentStage} + 1` })
        .where(ofId);
    });
    expect((await stored(twin.id))?.currentStage).toBeGreaterThan(2);
  });

  test("16 who step a canary's last stage complete it once, and its version is the one that is active", async () => {
    const { fleet, id } = await ready(1);
    const steps = await crowd(fleet, 16, (tx) =>
      stepCanary(tx, { id, minExecutions: 20, now: minutes(10) }),
    );
    expect(times(steps, (step) => step?.action === "completed")).toBe(1);
    expect(times(steps, (step) => step?.action === "none")).toBe(15);
    expect(await fleet.active()).toEqual([fleet.ids[1]]);
  });

  test("a canary that is rolled back while others complete it either completed and is live, or never is", async () => {
    for (let round = 0; round < 10; round += 1) {
      const { fleet, id } = await ready(1);
      await crowd<unknown>(fleet, 4, (tx, n) =>
        n % 2 === round % 2
          ? stepCanary(tx, { id, minExecutions: 20, now: minutes(10) })
          : rollBackCanary(tx, { id, reason: "Odd answers" }),
      );
      const [current, candidate] = fleet.ids;
      const canary = await stored(id);
      const isLive = canary?.status === "completed";
      expect(canary?.status).toMatch(/^(completed|rolled_back)$/);
      expect(canary?.rollbackReason ?? null).toBe(isLive ? null : "Odd answers");
      expect(await fleet.active()).toEqual([isLive ? candidate : current]);
    }
  });

  const propose = async (fleet: Fleet) => {
    const proposal = newProposal({ agentId: fleet.agentId, proposalType: "prompt_change" });
    await fleet.as((tx) => tx.insert(improvementProposals).values(proposal));
    return proposal.id;
  };

  test("64 who move a proposal take each edge once, and what was rejected is never live; the naive do both", async () => {
    const fleet = await newFleet(database.db);
    const id = await propose(fleet);
    const promptId = fleet.ids[1];
    const steps = ["approved", "rejected", "testing", "deployed", "rolled_back"] as const;
    const moves = await crowd(fleet, 64, async (tx, n) => {
      const to = steps[n % 5] ?? "approved";
      return moveProposal(tx, {
        id,
        to,
        by: `person ${n}`,
        ...(to === "deployed" && { promptId }),
      });
    });
    const taken = moves.flatMap((move) => (move?.moved ? [move.proposal.status] : []));
    expect(taken.length).toBeGreaterThan(0);
    expect(new Set(taken).size).toBe(taken.length);
    const isRejected = taken.includes("rejected");
    expect(isRejected && taken.includes("deployed")).toBe(false);
    const isLive = taken.includes("deployed") && !taken.includes("rolled_back");
    expect(await fleet.active()).toEqual([fleet.ids[isLive ? 1 : 0]]);

    const twin = await propose(fleet);
    const naive = await crowd(fleet, 64, async (tx, n, meet) => {
      const ofId = eq(improvementProposals.id, twin);
      const [proposal] = await tx.select().from(improvementProposals).where(ofId);
      await meet();
      if (proposal?.status !== "proposed") return undefined;
      const status = n % 2 === 0 ? "approved" : "rejected";
      await tx.update(improvementProposals).set({ status }).where(ofId);
      return status;
    });
    expect(times(naive, (one) => one !== undefined)).toBeGreaterThan(1);
  });

  test("rollers back from one version take one step down, setters of the baseline leave one", async () => {
    const fleet = await newFleet(database.db);
    const { agentId, ids } = fleet;
    await fleet.as((tx) => promotePrompt(tx, ids[3]));
    const rolled = await crowd(fleet, 24, (tx, n) =>
      n % 2 === 0 ? rollBackPrompt(tx, { agentId, from: ids[3] }) : setBaseline(tx, ids[1]),
    );
    expect(times(rolled, (one) => one === undefined)).toBe(0);
    expect(times(rolled, (one) => one?.steppedDown === ids[3])).toBe(1);
    expect(await fleet.active()).toEqual([ids[2]]);
    const ofAgent = eq(agentPrompts.agentId, agentId);
    const prompts = await database.db.select().from(agentPrompts).where(ofAgent);
    expect(prompts.flatMap(({ id, isBaseline }) => (isBaseline ? [id] : []))).toEqual([ids[1]]);
  });

  test("counters are refreshed beside promotions, and no one waits for ever", async () => {
    const fleet = await newFleet(database.db);
    const { agentId, ids } = fleet;
    await fleet.as((tx) =>
      tx
        .insert(agentExecutionLogs)
        .values(ids.map((promptVersionId) => newExecutionLog({ agentId, promptVersionId }))),
    );
    const done = await crowd<unknown>(fleet, 24, (tx, n) =>
      n % 3 === 0 ? refreshPromptCounters(tx) : promotePrompt(tx, ids[n % 2 === 0 ? 0 : 3]),
    );
    expect(times(done, (one) => one === undefined)).toBe(0);
    await withServiceRole(database.db, async (tx) => {
      const prompts = await tx.select().from(agentPrompts).where(inArray(agentPrompts.id, ids));
      expect(prompts.map(({ totalExecutions }) => totalExecutions)).toEqual([1, 1, 1, 1]);
    });
  });

  test("8 rounds of governance at once do what one does: a canary one step, each finding one alert, raised once", async () => {
    const fleet = await newFleet(database.db);
    const { agentId, ids, as } = fleet;
    await as(async (tx) => {
      const stages = [{ traffic: 0.1 }, { traffic: 0.5 }];
      await startCanary(tx, { agentId, canaryPromptId: ids[1], stages, now: START });
      const budget = newBudget({ agentId, dailyBudgetUsd: "50", updatedAt: START });
      await tx.insert(costBudgets).values(budget);
      await tx
        .insert(agentSlas)
        .values(newSla({ agentId, targetSuccessRate: 0.99, measurementWindow: "calendar_day" }));
      await tx.insert(agentExecutionLogs).values(
        Array.from({ length: 80 }, (_, n) =>
          newExecutionLog({
            ...{ agentId, actionType: "agent_run", estimatedCostUsd: "1", timestamp: minutes(1) },
            ...{ promptVersionId: ids[n < 60 ? 1 : 0], status: n < 60 ? "success" : "failure" },
          }),
        ),
      );
    });
    const results = await Promise.all(
      Array.from({ length: 8 }, () =>
        runGovernance(many?.db ?? database.db, { now: minutes(5), minExecutions: 50 }),
      ),
    );
    expect(results.flatMap(({ problems }) => problems)).toEqual([]);
    const [canary] = await as((tx) => tx.select().from(canaryDeployments));
    expect(canary).toMatchObject({ status: "running", currentStage: 2 });
    const alerts = await as((tx) => tx.select().from(alertHistory));
    expect(alerts.map(({ alertType }) => alertType).toSorted()).toEqual([
      ...["agent_health", "budget", "error_budget", "service_level"],
    ]);
    for (const { details } of alerts) expect(details).toMatchObject({ occurrences: 1 });
    const raised = results.flatMap((result) => result.alerts?.raised ?? []);
    expect(raised.filter(({ agentId: of }) => of === agentId)).toHaveLength(4);
    expect(await as((tx) => tx.$count(slaCompliance))).toBe(2);
  });

  test("a round whose connection is killed in one step does the others, and the next round does that one", async () => {
    const fleet = await newFleet(database.db);
    const { agentId, ids, as } = fleet;
    const stages = [{ traffic: 0.1 }];
    const { id } = await as((tx) =>
      startCanary(tx, { agentId, canaryPromptId: ids[1], stages, now: START }),
    );
    await database.script(`
      create function killed() returns trigger language plpgsql security definer as
        $$ begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$;
      create trigger kill before update on canary_deployments for each row
        when (old.id = '${id}') execute function killed();`);
    const round = () => runGovernance(many?.db ?? database.db, { now: minutes(5) });
    const first = await round();
    expect(first.problems).toMatchObject([{ step: "canaries", id }]);
    expect([first.health, first.slas, first.budgets, first.alerts]).not.toContain(null);
    await database.script("drop trigger kill on canary_deployments; drop function killed;");
    const second = await round();
    expect(second.problems).toEqual([]);
    expect(second.canaries).toContainEqual(expect.objectContaining({ id, action: "held" }));
  });

  test("learnings superseded in a ring leave the ring open; of the naive it closes", async () => {
    const ring = async (
      fleet: Fleet,
      supersede: (
        tx: Transaction,
        pair: { id: string; by: string },
        meet: () => Promise<void>,
      ) => Promise<unknown>,
    ) => {
      const learnings = Array.from({ length: 4 }, () => newLearning({ id: randomUUID() }));
      await fleet.as((tx) => tx.insert(learningLog).values(learnings));
      await crowd(fleet, 4, (tx, n, meet) => {
        const pair = { id: learnings[n]?.id ?? "", by: learnings[(n + 1) % 4]?.id ?? "" };
        return supersede(tx, pair, meet);
      });
      const ids = learnings.map(({ id }) => id);
      const found = await database.db
        .select()
        .from(learningLog)
        .where(inArray(learningLog.id, ids));
      return times(found, ({ supersededBy }) => supersededBy !== null);
    };
    const fleet = await newFleet(database.db);
    for (let round = 0; round < 10; round += 1) {
      const pointers = await ring(fleet, supersedeLearning);
      expect(pointers).toBeGreaterThan(0);
      expect(pointers).toBeLessThan(4);
    }
    const naive = await ring(fleet, async (tx, { id, by }, meet) => {
      const [successor] = await tx.select().from(learningLog).where(eq(learningLog.id, by));
      await meet();
      if (successor?.supersededBy !== null) return;
      await tx.update(learningLog).set({ supersededBy: by }).where(eq(learningLog.id, id));
    });
    expect(naive).toBe(4);
  });

  /** An agent with two SLAs, whose windows are three periods. */
  async function promised() {
    const fleet = await newFleet(database.db);
    const { agentId } = fleet;
    const [week, days] = ["calendar_week", "rolling_3d"].map((measurementWindow) =>
      newSla({ agentId, measurementWindow }),
    );
    if (!week || !days) throw new Error("two windows are two SLAs");
    await fleet.as((tx) => tx.insert(agentSlas).values([week, days]));
    const ofAgent = eq(slaCompliance.agentId, agentId);
    return {
      fleet,
      reports: () => database.db.select().from(slaCompliance).where(ofAgent),
      /** One that fails, committed at once. */
      record: () =>
        fleet.as((tx) =>
          tx
            .insert(agentExecutionLogs)
            .values(newExecutionLog({ agentId, timestamp: START, status: "failure" })),
        ),
      measure: (tx: Transaction, n: number) =>
        measureSlas(tx, { now: minutes(60), ...(n % 2 === 0 ? {} : { agentId }) }),
      /** Reads the log, and writes what it said. */
      naive: async (tx: Transaction, meet: () => Promise<unknown>) => {
        const logs = await tx.select().from(agentExecutionLogs);
        await meet();
        const breachDetails = { failed: logs.length };
        const period = { periodStart: "2026-02-23", periodEnd: "2026-03-01" };
        return tx
          .insert(slaCompliance)
          .values({ agentId, slaId: week.id, ...period, breachDetails })
          .onConflictDoUpdate({
            target: [slaCompliance.agentId, slaCompliance.periodStart, slaCompliance.periodEnd],
            set: { breachDetails },
          })
          .returning();
      },
    };
  }

  test("16 who measure SLAs write each period once, and nobody is refused; of the naive all write it", async () => {
    const { fleet, measure, reports } = await promised();
    const results = await crowd(fleet, 16, measure);
    const told = results.map((one) => (one ? one.written.length + one.unchanged.length : 0));
    expect(told).toEqual(results.map(() => 3));
    expect(results.flatMap((one) => one?.written ?? [])).toHaveLength(3);
    expect(await reports()).toHaveLength(3);

    const twin = await promised();
    const written = await crowd(twin.fleet, 16, (tx, _, meet) => twin.naive(tx, meet));
    expect(written.flat()).toHaveLength(16);
  });

  test("of 16 who record a failure and then measure the last one leaves what all recorded; the naive may leave less", async () => {
    const failed = async ({ reports }: Pick<Awaited<ReturnType<typeof promised>>, "reports">) =>
      (await reports()).flatMap(({ breachDetails }) => breachDetails?.["failed"] ?? []);
    const promise = await promised();
    await crowd(promise.fleet, 16, async (tx, n) => {
      await promise.record();
      return promise.measure(tx, n);
    });
    expect(await failed(promise)).toEqual([16, 16]);

    const twin = await promised();
    await crowd(twin.fleet, 1, (tx) =>
      twin.naive(tx, async () => {
        await twin.record();
        await twin.fleet.as((other) => twin.naive(other, () => Promise.resolve()));
      }),
    );
    expect(await failed(twin)).toEqual([0]);
  });
});
