import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { withServiceRole } from "../src/client/tenancy.ts";
import { startAbTest } from "../src/fleet/ab-tests.ts";
import {
  type CanaryStart,
  type CanaryStepOptions,
  pauseCanary,
  resumeCanary,
  rollBackCanary,
  startCanary,
  stepCanary,
} from "../src/fleet/canaries.ts";
import { promotePrompt } from "../src/fleet/prompts.ts";
import { canaryDeployments } from "../src/schema/index.ts";
import { newCanary } from "../src/testing.ts";
import { suite } from "./engine.ts";
import { evidenceOfFailure } from "./evidence.ts";
import { type Fleet, WRITTEN, newFleet } from "./fleet.ts";

const START = new Date("2026-03-01T00:00:00Z");
const after = (minutes: number) => new Date(+START + minutes * 60_000);
const STAGES = [
  { traffic: 0.1, duration_minutes: 60 },
  { traffic: 0.5, duration_minutes: 60 },
];

/** What a version did, each execution a second after the other. */
interface Did {
  readonly n: number;
  readonly failures?: number;
  readonly latencyMs?: number;
  readonly quality?: number;
  /** Minutes after the start. */
  readonly at?: number;
}

suite("a canary", (database) => {
  const start = (fleet: Fleet, given: Partial<CanaryStart> = {}) =>
    fleet.as((tx) =>
      startCanary(tx, {
        agentId: fleet.agentId,
        canaryPromptId: fleet.ids[1],
        stages: STAGES,
        now: START,
        ...given,
      }),
    );
  const step = (fleet: Fleet, id: string, minute: number, given: Partial<CanaryStepOptions> = {}) =>
    fleet.as((tx) => stepCanary(tx, { id, now: after(minute), minExecutions: 20, ...given }));
  const did = (
    fleet: Fleet,
    promptId: string,
    { n, failures = 0, latencyMs, quality, at = 1 }: Did,
  ) =>
    database.query(
      `insert into agent_execution_logs (id, agent_id, organization_id, prompt_version_id, execution_id, action_type, timestamp, status, latency_ms, quality_score)
       select meta_agent.uuidv7_at($4::timestamptz + i * interval '1 second'), $1, $2, $3, gen_random_uuid(), 'agent_run', $4::timestamptz + i * interval '1 second',
         case when i > $6::int then 'success' when i % 2 = 0 then 'failure' else 'timeout' end, $7::int, $8::numeric
       from generate_series(1, $5::int) as i`,
      [
        fleet.agentId,
        fleet.organization,
        promptId,
        after(at),
        n,
        failures,
        latencyMs ?? null,
        quality ?? null,
      ],
    );
  const written = ({ organization }: Fleet) => database.query(WRITTEN, [organization]);
  const stored = async (fleet: Fleet, id: string) => {
    const found = await fleet.as((tx) => tx.select().from(canaryDeployments));
    return found.find((canary) => canary.id === id);
  };

  test("begins beside the active version, and not beside another experiment or of what is not the agent's", async () => {
    const fleet = await newFleet(database.db);
    const stranger = await newFleet(database.db);
    const cases: [Partial<CanaryStart>, string][] = [
      [{ canaryPromptId: fleet.ids[0] }, "is active already"],
      [{ canaryPromptId: stranger.ids[1] }, `no prompt ${stranger.ids[1]}`],
      [{ agentId: stranger.agentId }, `no agent ${stranger.agentId}, or`],
      [{ stages: [] }, "stages"],
    ];
    for (const [given, says] of cases) await expect(start(fleet, given)).rejects.toThrow(says);
    const canary = await start(fleet, { rollbackOnLatencyIncrease: null });
    expect(canary).toMatchObject({
      organizationId: fleet.organization,
      currentPromptId: fleet.ids[0],
      canaryPromptId: fleet.ids[1],
      currentStage: 1,
      rollbackOnErrorRate: 0.1,
      rollbackOnLatencyIncrease: null,
      status: "running",
      startedAt: START,
    });
    await expect(start(fleet)).rejects.toThrow(`canary ${canary.id}`);
    await fleet.as((tx) => pauseCanary(tx, { id: canary.id }));
    await expect(start(fleet)).rejects.toThrow(`canary ${canary.id}`);
    const prompts = { agentId: stranger.agentId, treatmentPromptId: stranger.ids[1] };
    const { id } = await stranger.as((tx) =>
      startAbTest(tx, { ...prompts, testName: "t", hypothesis: "h" }),
    );
    await expect(start(stranger)).rejects.toThrow(`A/B test ${id}`);
  });

  test("goes from stage to stage when time and executions have come, and its version is promoted at the end", async () => {
    const fleet = await newFleet(database.db);
    const [current, candidate] = fleet.ids;
    const { id } = await start(fleet);
    expect(await step(fleet, id, 90)).toMatchObject({
      action: "held",
      reason: "0 of 20 executions",
    });
    await did(fleet, candidate, { n: 40, failures: 3, latencyMs: 100, quality: 80 });
    await did(fleet, current, { n: 30, failures: 1, latencyMs: 90, quality: 82 });
    expect(await step(fleet, id, 59)).toMatchObject({ action: "held", reason: "59 of 60 minutes" });
    const measured = {
      canary: { executions: 40, failures: 3, avgLatencyMs: 100, avgQuality: 80 },
      current: { executions: 30, failures: 1, avgLatencyMs: 90, avgQuality: 82 },
    };
    const advanced = await step(fleet, id, 60);
    expect(advanced).toMatchObject({ action: "advanced", reason: null, stage: 1, ...measured });
    expect(advanced.evidence / evidenceOfFailure(3, 37, 0.1) - 1).toBeCloseTo(0, 9);
    // What came before the stage is none of its executions.
    expect(await step(fleet, id, 200)).toMatchObject({
      action: "held",
      stage: 2,
      canary: { executions: 0 },
    });
    await did(fleet, candidate, { n: 25, at: 70 });
    expect(await step(fleet, id, 120)).toMatchObject({ action: "completed", stage: 2 });
    expect(await fleet.active()).toEqual([candidate]);
    expect(await stored(fleet, id)).toMatchObject({
      status: "completed",
      currentStage: 2,
      completedAt: after(120),
      rolledBackAt: null,
      stageMetrics: [
        { stage: 1, started_at: START.toISOString(), canary: { executions: 40, avg_quality: 80 } },
        { stage: 2, started_at: after(60).toISOString(), canary: { executions: 25 } },
      ],
    });
    const before = await written(fleet);
    expect(await step(fleet, id, 500)).toMatchObject({ action: "none" });
    expect(await written(fleet)).toEqual(before);
  });

  test("that is held writes what it measured, and nothing where that is the same", async () => {
    const fleet = await newFleet(database.db);
    const { id } = await start(fleet);
    await did(fleet, fleet.ids[1], { n: 5 });
    await step(fleet, id, 30);
    expect(await stored(fleet, id)).toMatchObject({
      stageMetrics: [{ canary: { executions: 5 } }],
    });
    const before = await written(fleet);
    expect(await step(fleet, id, 40)).toMatchObject({ action: "held" });
    expect(await written(fleet)).toEqual(before);
  });

  const faults: { why: RegExp; canary: Did; current?: Did }[] = [
    { why: /^Error rate 1 in 6 executions, more than 0.1$/, canary: { n: 6, failures: 6 } },
    { why: /^Error rate 0.4 in 40 executions/, canary: { n: 40, failures: 16 } },
    {
      why: /^Mean latency 160 ms, of the current version 100 ms$/,
      canary: { n: 20, latencyMs: 160 },
      current: { n: 20, latencyMs: 100 },
    },
    {
      why: /^Mean quality 80, of the current version 90$/,
      canary: { n: 20, quality: 80 },
      current: { n: 20, quality: 90 },
    },
  ];
  test.each(faults)("is rolled back with its reason: $why", async ({ why, canary, current }) => {
    const fleet = await newFleet(database.db);
    const { id } = await start(fleet);
    await did(fleet, fleet.ids[1], canary);
    if (current) await did(fleet, fleet.ids[0], current);
    expect(await step(fleet, id, 10)).toMatchObject({
      action: "rolled_back",
      reason: expect.stringMatching(why),
    });
    expect(await stored(fleet, id)).toMatchObject({
      status: "rolled_back",
      rolledBackAt: after(10),
      rollbackReason: expect.stringMatching(why),
      completedAt: null,
    });
    expect(await fleet.active()).toEqual([fleet.ids[0]]);
  });

  const waits: { of: string; canary: Did; current?: Did; limits?: Partial<CanaryStart> }[] = [
    {
      of: "few executions with long latencies",
      canary: { n: 5, latencyMs: 900 },
      current: { n: 5, latencyMs: 100 },
    },
    { of: "an error rate above the limit without evidence", canary: { n: 40, failures: 6 } },
    {
      of: "errors that no limit names",
      canary: { n: 10, failures: 10, latencyMs: 900 },
      limits: { rollbackOnErrorRate: null, rollbackOnLatencyIncrease: null },
    },
  ];
  test.each(waits)("is held, not rolled back, by $of", async ({ canary, current, limits }) => {
    const fleet = await newFleet(database.db);
    const { id } = await start(fleet, limits);
    await did(fleet, fleet.ids[1], canary);
    if (current) await did(fleet, fleet.ids[0], current);
    expect(await step(fleet, id, 100)).toMatchObject({ action: "held" });
  });

  test("ends when another version became active meanwhile, and then never promotes", async () => {
    const fleet = await newFleet(database.db);
    const { id } = await start(fleet);
    await did(fleet, fleet.ids[1], { n: 40 });
    await fleet.as((tx) => promotePrompt(tx, fleet.ids[2]));
    expect(await step(fleet, id, 100)).toMatchObject({
      action: "rolled_back",
      reason: "The active prompt is another one than when it began",
    });
    expect(await step(fleet, id, 200)).toMatchObject({ action: "none" });
    expect(await fleet.active()).toEqual([fleet.ids[2]]);
  });

  test("that is paused takes no step, and goes on with its stage anew; each by hand writes once", async () => {
    const fleet = await newFleet(database.db);
    const { id } = await start(fleet);
    await did(fleet, fleet.ids[1], { n: 40 });
    const pause = () => fleet.as((tx) => pauseCanary(tx, { id }));
    const resume = () => fleet.as((tx) => resumeCanary(tx, { id, now: after(100) }));
    const rollBack = () =>
      fleet.as((tx) => rollBackCanary(tx, { id, reason: "Odd answers", now: after(130) }));
    for (const [act, status] of [
      [pause, "paused"],
      [resume, "running"],
      [rollBack, "rolled_back"],
    ] as const) {
      expect(await act()).toMatchObject({ status });
      const before = await written(fleet);
      expect(await act()).toMatchObject({ status });
      expect(await written(fleet)).toEqual(before);
      if (status === "paused") {
        expect(await step(fleet, id, 90)).toMatchObject({ action: "none" });
      }
      if (status === "running") {
        expect(await step(fleet, id, 120)).toMatchObject({
          action: "held",
          canary: { executions: 0 },
        });
      }
    }
    expect(await stored(fleet, id)).toMatchObject({
      rolledBackAt: after(130),
      rollbackReason: "Odd answers",
    });
    for (const act of [pause, resume]) await expect(act()).rejects.toThrow("is rolled_back");
  });

  test("made by hand, with metrics of another form, is judged too", async () => {
    const fleet = await newFleet(database.db);
    const [currentPromptId, canaryPromptId] = fleet.ids;
    const row = newCanary({
      agentId: fleet.agentId,
      currentPromptId,
      canaryPromptId,
      stages: [{ traffic: 1 }],
      stageMetrics: [{ stage: 1, started_at: "yesterday" }],
    });
    await fleet.as((tx) => tx.insert(canaryDeployments).values(row));
    await did(fleet, canaryPromptId, { n: 20, at: 60 * 24 * 300 });
    expect(await step(fleet, row.id, 60 * 24 * 301)).toMatchObject({ action: "held" });
  });

  test("of another organization is answered as a missing one; the backend steps any", async () => {
    const fleet = await newFleet(database.db);
    const stranger = await newFleet(database.db);
    const { id } = await start(stranger);
    for (const missing of [id, randomUUID()]) {
      const says = `no canary ${missing}, or`;
      await expect(step(fleet, missing, 1)).rejects.toThrow(says);
      for (const act of [pauseCanary, resumeCanary]) {
        await expect(fleet.as((tx) => act(tx, { id: missing }))).rejects.toThrow(says);
      }
      const rollBack = fleet.as((tx) => rollBackCanary(tx, { id: missing, reason: "r" }));
      await expect(rollBack).rejects.toThrow(says);
    }
    await did(stranger, stranger.ids[1], { n: 9, failures: 9 });
    const done = await withServiceRole(database.db, (tx) => stepCanary(tx, { id, now: after(9) }));
    expect(done.action).toBe("rolled_back");
  });
});
