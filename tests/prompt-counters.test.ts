import { randomUUID } from "node:crypto";
import { eq } from "drizzle-orm";
import { expect, test } from "vitest";
import { withServiceRole } from "../src/client/tenancy.ts";
import { refreshPromptCounters } from "../src/fleet/prompt-counters.ts";
import {
  type NewAgentExecutionLog,
  agentExecutionLogs,
  agentPrompts,
  promptLibrary,
  promptLibraryUsage,
} from "../src/schema/index.ts";
import { newExecutionLog, newPromptComponent, newPromptLibraryUse } from "../src/testing.ts";
import { suite } from "./engine.ts";
import { type Fleet, WRITTEN, newFleet } from "./fleet.ts";

const at = (hours: number) => new Date(Date.UTC(2026, 2, 1, hours));

suite("prompt counters", (database) => {
  const log = (fleet: Fleet, ...given: Partial<NewAgentExecutionLog>[]) =>
    fleet.as((tx) =>
      tx
        .insert(agentExecutionLogs)
        .values(given.map((row) => newExecutionLog({ agentId: fleet.agentId, ...row }))),
    );
  const counters = async (id: string) => {
    const [prompt] = await database.db.select().from(agentPrompts).where(eq(agentPrompts.id, id));
    return [prompt?.totalExecutions, prompt?.successfulExecutions, prompt?.avgQualityScore];
  };
  const written = ({ organization }: Fleet) => database.query(WRITTEN, [organization]);

  test("count executions once, by what decides them, and quality by rows", async () => {
    const fleet = await newFleet(database.db);
    const [first, second] = fleet.ids;
    const [night, retried] = [randomUUID(), randomUUID()];
    const [running, decided] = [randomUUID(), randomUUID()];
    await log(
      fleet,
      // Over midnight: one. A row without a version has its execution's.
      { executionId: night, promptVersionId: first, timestamp: at(23), qualityScore: 80 },
      { executionId: night, promptVersionId: null, timestamp: at(25), qualityScore: 60 },
      // The same id after a day: another one.
      { executionId: retried, promptVersionId: first, timestamp: at(0), status: "failure" },
      { executionId: retried, promptVersionId: first, timestamp: at(24) },
      { executionId: running, promptVersionId: first, timestamp: at(1), status: "running" },
      // A tool failed, the run says success and names the version.
      { executionId: decided, promptVersionId: first, timestamp: at(3), status: "timeout" },
      { executionId: decided, promptVersionId: second, timestamp: at(2), actionType: "agent_run" },
    );
    expect(await fleet.as((tx) => refreshPromptCounters(tx))).toEqual({
      prompts: 2,
      components: 0,
    });
    expect(await counters(first)).toEqual([4, 2, 70]);
    expect(await counters(second)).toEqual([1, 1, null]);
    const before = await written(fleet);
    expect(await fleet.as((tx) => refreshPromptCounters(tx))).toEqual({
      prompts: 0,
      components: 0,
    });
    expect(await written(fleet)).toEqual(before);
    await database.db
      .delete(agentExecutionLogs)
      .where(eq(agentExecutionLogs.agentId, fleet.agentId));
    await fleet.as((tx) => refreshPromptCounters(tx, { agentId: fleet.agentId }));
    expect(await counters(first)).toEqual([0, 0, null]);
  });

  test("of the library are its uses, and the quality of its prompts by their executions", async () => {
    const fleet = await newFleet(database.db);
    const [first, second, third] = fleet.ids;
    const [component, unused] = [newPromptComponent(), newPromptComponent({ timesUsed: 3 })];
    await fleet.as(async (tx) => {
      await tx.insert(promptLibrary).values([component, unused]);
      await tx
        .insert(promptLibraryUsage)
        .values(
          [first, second, third].map((promptId) =>
            newPromptLibraryUse({ promptId, libraryComponentId: component.id }),
          ),
        );
    });
    await log(
      fleet,
      { promptVersionId: first, qualityScore: 90 },
      { promptVersionId: first, qualityScore: 90 },
      { promptVersionId: second, qualityScore: 60 },
      { promptVersionId: third },
    );
    const done = await fleet.as((tx) => refreshPromptCounters(tx));
    expect(done).toEqual({ prompts: 3, components: 2 });
    const stored = async (id: string) => {
      const [row] = await database.db.select().from(promptLibrary).where(eq(promptLibrary.id, id));
      return [row?.timesUsed, row?.avgQualityWhenUsed];
    };
    expect(await stored(component.id)).toEqual([3, 80]);
    expect(await stored(unused.id)).toEqual([0, null]);
  });

  test("of one agent leave the others alone, and a tenant's those of other organizations", async () => {
    const [fleet, other] = [await newFleet(database.db), await newFleet(database.db)];
    for (const one of [fleet, other]) await log(one, { promptVersionId: one.ids[0] });
    await fleet.as((tx) => refreshPromptCounters(tx, { agentId: other.agentId }));
    await fleet.as((tx) => refreshPromptCounters(tx));
    expect(await counters(fleet.ids[0])).toEqual([1, 1, null]);
    expect(await counters(other.ids[0])).toEqual([0, 0, null]);
    await withServiceRole(database.db, (tx) => refreshPromptCounters(tx));
    expect(await counters(other.ids[0])).toEqual([1, 1, null]);
  });
});
