import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { choosePrompt } from "../src/fleet/assignment.ts";
import { recordExecutions } from "../src/fleet/record/record.ts";
import {
  type ShadowTestStart,
  finishShadowTest,
  refreshShadowTest,
  shadowTestSoFar,
  startShadowTest,
} from "../src/fleet/shadow-tests.ts";
import type { ExecutionStatus } from "../src/values.ts";
import { newExecutionLog } from "../src/testing.ts";
import { suite } from "./engine.ts";
import { type Fleet, WRITTEN, newFleet } from "./fleet.ts";

const START = new Date("2026-03-01T00:00:00Z");
const after = (hours: number) => new Date(+START + hours * 3_600_000);
const NOW = after(10);

/** A direction of its own. */
const vector = (...of: number[]) => Array.from({ length: 1536 }, (_, n) => of[n] ?? 0);

suite("a shadow test", (database) => {
  const start = (fleet: Fleet, given: Partial<ShadowTestStart> = {}) =>
    fleet.as((tx) =>
      startShadowTest(tx, {
        agentId: fleet.agentId,
        shadowPromptId: fleet.ids[1],
        sampleRate: 1,
        now: START,
        ...given,
      }),
    );
  const refresh = (fleet: Fleet, id: string, now = NOW) =>
    fleet.as((tx) => refreshShadowTest(tx, { id, now }));
  const written = ({ organization }: Fleet) => database.query(WRITTEN, [organization]);

  interface Run {
    readonly status?: ExecutionStatus;
    readonly qualityScore?: number;
    readonly output?: number[];
    readonly promptVersionId?: string;
  }
  /** An execution of production, and its shadow if it has one. */
  const run = async ({ agentId, ids, as }: Fleet, production: Run, shadow?: Run, at = after(1)) => {
    const executionId = randomUUID();
    const entry = ({ output, ...of }: Run, prompt: string, more: object) => ({
      ...newExecutionLog({ agentId, promptVersionId: prompt, timestamp: at, ...more, ...of }),
      ...(output && { embeddings: { output: vector(...output) } }),
    });
    const shadows = shadow ? [entry(shadow, ids[1], { metadata: { shadow_of: executionId } })] : [];
    await as((tx) =>
      recordExecutions(tx, [entry(production, ids[0], { executionId }), ...shadows]),
    );
  };

  test("compares executions of production with their shadows, and no others", async () => {
    const fleet = await newFleet(database.db);
    const { id } = await start(fleet, { endDate: after(5) });
    await run(fleet, { qualityScore: 80, output: [1, 0] }, { qualityScore: 60, output: [1, 0] });
    await run(fleet, { qualityScore: 90, output: [1, 0] }, { status: "failure", output: [0, 1] });
    await run(fleet, { output: [1] }, { status: "timeout" });
    await run(fleet, { status: "failure" }, {});
    // Without a shadow, not over, of another version, before and after the test's time.
    await run(fleet, { status: "failure", qualityScore: 1 });
    await run(fleet, {}, { status: "running" });
    await run(fleet, { promptVersionId: fleet.ids[2], status: "failure" }, {});
    await run(fleet, { status: "failure" }, {}, after(-1));
    await run(fleet, { status: "failure" }, {}, after(5));
    const soFar = () => fleet.as((tx) => shadowTestSoFar(tx, { id, now: NOW }));
    const unread = await written(fleet);
    expect(await soFar()).toEqual({ pairs: 4, productionSuccesses: 3, shadowSuccesses: 2 });
    expect(await written(fleet)).toEqual(unread);
    expect(await refresh(fleet, id)).toMatchObject({
      pairs: 4,
      compared: 2,
      written: true,
      test: {
        productionSuccessRate: 0.75,
        shadowSuccessRate: 0.5,
        productionAvgQuality: 85,
        shadowAvgQuality: 60,
        outputSimilarityScore: 0.5,
        status: "running",
      },
    });
    const before = await written(fleet);
    expect(await refresh(fleet, id)).toMatchObject({ written: false });
    expect(await written(fleet)).toEqual(before);
  });

  test("without pairs compares nothing", async () => {
    const fleet = await newFleet(database.db);
    const { id } = await start(fleet);
    const soFar = await fleet.as((tx) => shadowTestSoFar(tx, { id, now: NOW }));
    expect(soFar).toEqual({ pairs: 0, productionSuccesses: 0, shadowSuccesses: 0 });
    expect(await refresh(fleet, id)).toMatchObject({
      pairs: 0,
      compared: 0,
      test: { productionSuccessRate: null, outputSimilarityScore: null },
    });
  });

  test("runs beside choosePrompt, alone of its agent, and ends once", async () => {
    const fleet = await newFleet(database.db);
    const stranger = await newFleet(database.db);
    const { id } = await start(fleet, { minSampleSize: 1 });
    const asked = { agentId: fleet.agentId, unit: "a", now: NOW };
    const chosen = await fleet.as((tx) => choosePrompt(tx, asked));
    expect(chosen.shadow).toEqual({ testId: id, promptId: fleet.ids[1] });
    await expect(start(fleet)).rejects.toThrow(`shadow test ${id}`);
    const foreign = { shadowPromptId: stranger.ids[1] };
    await expect(start(fleet, foreign)).rejects.toThrow(`no prompt ${stranger.ids[1]}`);
    await expect(start(stranger, { shadowPromptId: stranger.ids[0] })).rejects.toThrow(/PromptId/);
    await run(fleet, {}, {});
    const finish = (recommendation: string) =>
      fleet.as((tx) => finishShadowTest(tx, { id, now: NOW, recommendation }));
    expect(await finish("Try it")).toMatchObject({
      written: true,
      test: { status: "completed", endDate: NOW, recommendation: "Try it", shadowSuccessRate: 1 },
    });
    const before = await written(fleet);
    expect(await finish("Do not")).toMatchObject({ written: false });
    expect(await written(fleet)).toEqual(before);
    expect((await fleet.as((tx) => choosePrompt(tx, asked))).shadow).toBeNull();
    const { id: early } = await start(fleet, { now: after(11) });
    const stopped = await fleet.as((tx) => finishShadowTest(tx, { id: early, now: after(12) }));
    expect(stopped.test.status).toBe("stopped");
  });

  test("of another organization is answered as a missing one", async () => {
    const fleet = await newFleet(database.db);
    const { id } = await start(await newFleet(database.db));
    for (const missing of [id, randomUUID()]) {
      await expect(refresh(fleet, missing)).rejects.toThrow(`no shadow test ${missing}, or`);
      const soFar = fleet.as((tx) => shadowTestSoFar(tx, { id: missing }));
      expect(await soFar).toBeUndefined();
    }
  });
});
