import { randomUUID } from "node:crypto";
import { sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { rows } from "../src/client/sql.ts";
import { type PromptChoice, bucketOf, choosePrompt } from "../src/fleet/assignment.ts";
import { promotePrompt } from "../src/fleet/prompts.ts";
import {
  type NewAbTest,
  type NewCanaryDeployment,
  abTests,
  agentPrompts,
  canaryDeployments,
  shadowTests,
} from "../src/schema/index.ts";
import { newAbTest, newCanary, newShadowTest } from "../src/testing.ts";
import { suite } from "./engine.ts";
import { type Fleet, newFleet } from "./fleet.ts";

const NOW = new Date("2026-03-01T12:00:00Z");
const HOUR = 3_600_000;
const UNITS = Array.from({ length: 60 }, (_, n) => `user ${n}`);

suite("choosePrompt", (database) => {
  const choose = (fleet: Fleet, unit: string, given: Partial<PromptChoice> = {}) =>
    fleet.as((tx) => choosePrompt(tx, { agentId: fleet.agentId, unit, now: NOW, ...given }));
  /** Of all units, in one transaction. */
  const chosen = (fleet: Fleet) =>
    fleet.as(async (tx) => {
      const choices = [];
      for (const unit of UNITS) {
        choices.push(await choosePrompt(tx, { agentId: fleet.agentId, unit, now: NOW }));
      }
      return choices;
    });
  const canary = async (fleet: Fleet, given: Partial<NewCanaryDeployment> = {}) => {
    const [currentPromptId, canaryPromptId] = fleet.ids;
    const row = newCanary({
      agentId: fleet.agentId,
      currentPromptId,
      canaryPromptId,
      stages: [{ traffic: 0.3 }, { traffic: 0.6 }],
      ...given,
    });
    await fleet.as((tx) => tx.insert(canaryDeployments).values(row));
    return row.id;
  };
  const abTest = async (fleet: Fleet, given: Partial<NewAbTest> = {}) => {
    const [controlPromptId, , treatmentPromptId] = fleet.ids;
    const row = newAbTest({
      agentId: fleet.agentId,
      controlPromptId,
      treatmentPromptId,
      startDate: new Date(+NOW - HOUR),
      ...given,
    });
    await fleet.as((tx) => tx.insert(abTests).values(row));
    return row.id;
  };

  test("assigns by a hash that is the same in TypeScript and SQL, evenly spread", async () => {
    const salt = randomUUID();
    const units = Array.from({ length: 2000 }, (_, n) => ["", "é", "日本", "🙂"][n % 4] + `${n}`);
    const found = rows<{ unit: string; bucket: number }>(
      await database.db.execute(sql`
        select unit, meta_agent.bucket_of(${salt}, unit) as bucket
        from json_array_elements_text(${JSON.stringify(units)}::text::json) as unit`),
    );
    expect(found.length).toBe(2000);
    for (const { unit, bucket } of found) expect(bucketOf(salt, unit), unit).toBe(bucket);
    for (const share of [0.05, 0.5, 0.9]) {
      const below = found.filter(({ bucket }) => bucket < share).length / 2000;
      expect(Math.abs(below - share)).toBeLessThan(0.05);
    }
  });

  test("answers the active version where nothing runs, and says so where there is none", async () => {
    const fleet = await newFleet(database.db);
    const [active] = fleet.ids;
    const none = { role: "active", experimentId: null, shadow: null };
    expect(await choose(fleet, "a")).toEqual({ promptId: active, ...none });
    await database.db.update(agentPrompts).set({ isActive: false });
    await expect(choose(fleet, "a")).rejects.toThrow("no active prompt");
  });

  test("keeps each unit in the arm of its bucket while an A/B test runs, and no longer", async () => {
    const fleet = await newFleet(database.db);
    const [control, , treatment] = fleet.ids;
    const endDate = new Date(+NOW + HOUR);
    const id = await abTest(fleet, { trafficSplit: 0.4, endDate });
    await abTest(fleet, { status: "completed", trafficSplit: 1 });
    const expected = UNITS.map((unit) =>
      bucketOf(id, unit) < 0.4
        ? { promptId: treatment, role: "treatment", experimentId: id, shadow: null }
        : { promptId: control, role: "control", experimentId: id, shadow: null },
    );
    expect(await chosen(fleet)).toEqual(expected);
    for (const now of [endDate, new Date(+NOW - 2 * HOUR)]) {
      expect(await choose(fleet, "a", { now })).toMatchObject({ role: "active" });
    }
  });

  test("lets a running canary decide before an A/B test, and its growing share keeps whom it has", async () => {
    const fleet = await newFleet(database.db);
    const [current, candidate] = fleet.ids;
    await abTest(fleet);
    const id = await canary(fleet);
    const inCanary = async (share: number) => {
      const choices = await chosen(fleet);
      expect(choices).toEqual(
        UNITS.map((unit) =>
          bucketOf(id, unit) < share
            ? { promptId: candidate, role: "canary", experimentId: id, shadow: null }
            : { promptId: current, role: "active", experimentId: id, shadow: null },
        ),
      );
      return UNITS.filter((_, n) => choices[n]?.role === "canary");
    };
    const first = await inCanary(0.3);
    await database.db.update(canaryDeployments).set({ currentStage: 2 });
    expect(await inCanary(0.6)).toEqual(expect.arrayContaining(first));
    await database.db.update(canaryDeployments).set({ status: "paused" });
    expect((await choose(fleet, "a")).role).not.toBe("canary");
  });

  test("forgets a canary whose current version is not active any more, and stages without a number", async () => {
    const fleet = await newFleet(database.db);
    const [current, candidate, , other] = fleet.ids;
    await canary(fleet, { stages: [{ traffic: 1 }] });
    expect(await choose(fleet, "a")).toMatchObject({ promptId: candidate, role: "canary" });
    await database.query(
      `update canary_deployments set stages = '[{"traffic": "all"}]' where agent_id = $1`,
      [fleet.agentId],
    );
    expect(await choose(fleet, "a")).toMatchObject({ promptId: current, role: "active" });
    await fleet.as((tx) => promotePrompt(tx, other));
    expect(await choose(fleet, "a")).toMatchObject({ promptId: other, experimentId: null });
  });

  test("names a shadow version for the share that is sampled, beside its production's version alone", async () => {
    const fleet = await newFleet(database.db);
    const [active, , treatment, shadowed] = fleet.ids;
    const row = newShadowTest({
      agentId: fleet.agentId,
      productionPromptId: active,
      shadowPromptId: shadowed,
      sampleRate: 0.5,
      startDate: new Date(+NOW - HOUR),
    });
    await fleet.as((tx) => tx.insert(shadowTests).values(row));
    const isSampled = (unit: string) => bucketOf(row.id, unit) < 0.5;
    const beside = { testId: row.id, promptId: shadowed };
    expect((await chosen(fleet)).map(({ shadow }) => shadow)).toEqual(
      UNITS.map((unit) => (isSampled(unit) ? beside : null)),
    );
    await abTest(fleet, { trafficSplit: 1 });
    const choices = await chosen(fleet);
    expect(new Set(choices.map(({ promptId }) => promptId))).toEqual(new Set([treatment]));
    expect(choices.filter(({ shadow }) => shadow !== null)).toEqual([]);
  });

  test("answers another organization's agent as a missing one", async () => {
    const fleet = await newFleet(database.db);
    const stranger = await newFleet(database.db);
    for (const agentId of [stranger.agentId, randomUUID()]) {
      await expect(choose(fleet, "a", { agentId })).rejects.toThrow(`no agent ${agentId}, or`);
    }
    await expect(choose(fleet, "")).rejects.toThrow("unit");
    await expect(choose(fleet, "\uD800")).rejects.toThrow("unit");
  });
});
