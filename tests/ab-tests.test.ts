import { randomUUID } from "node:crypto";
import { eq } from "drizzle-orm";
import { expect, test } from "vitest";
import { withServiceRole } from "../src/client/tenancy.ts";
import {
  type AbTestStart,
  finishAbTest,
  refreshAbTest,
  startAbTest,
} from "../src/fleet/ab-tests.ts";
import { startCanary } from "../src/fleet/canaries.ts";
import {
  type NewAgentExecutionLog,
  abTests,
  agentExecutionLogs,
  improvementProposals,
} from "../src/schema/index.ts";
import { newExecutionLog, newProposal } from "../src/testing.ts";
import { suite } from "./engine.ts";
import { type Unit, evidenceOfDifference } from "./evidence.ts";
import { type Fleet, WRITTEN, newFleet } from "./fleet.ts";

const START = new Date("2026-03-01T00:00:00Z");
const HOUR = 3_600_000;
const after = (hours: number) => new Date(+START + hours * HOUR);
const NOW = after(10);

suite("an A/B test", (database) => {
  const start = (fleet: Fleet, given: Partial<AbTestStart> = {}) =>
    fleet.as((tx) =>
      startAbTest(tx, {
        agentId: fleet.agentId,
        treatmentPromptId: fleet.ids[1],
        testName: "clerk",
        hypothesis: "Reads dates",
        now: START,
        ...given,
      }),
    );
  const refresh = (fleet: Fleet, id: string, now = NOW) =>
    fleet.as((tx) => refreshAbTest(tx, { id, now }));
  const log = (fleet: Fleet, ...given: Partial<NewAgentExecutionLog>[]) =>
    fleet.as((tx) =>
      tx
        .insert(agentExecutionLogs)
        .values(
          given.map((row) =>
            newExecutionLog({ agentId: fleet.agentId, timestamp: after(1), ...row }),
          ),
        ),
    );
  const written = ({ organization }: Fleet) => database.query(WRITTEN, [organization]);
  /** One execution each, the first of them good; by so many users, or by nobody. */
  const executions = (fleet: Fleet, promptId: string, { n, s }: Unit, users = 0) =>
    database.query(
      `insert into agent_execution_logs (id, agent_id, organization_id, prompt_version_id, execution_id, action_type, timestamp, status, user_id)
       select meta_agent.uuidv7_at($4::timestamptz + i * interval '1 second'), $1, $2, $3::uuid, gen_random_uuid(), 'agent_run', $4::timestamptz + i * interval '1 second',
         case when i <= $6::int then 'success' when i % 2 = 0 then 'failure' else 'timeout' end,
         case when $7::int > 0 then meta_agent.uuid_for($3::uuid::text, (i * $7::int / ($5::int + 1))::text) end
       from generate_series(1, $5::int) as i`,
      [fleet.agentId, fleet.organization, promptId, START, n, s, users],
    );

  test("begins against the active version, with the table's defaults", async () => {
    const fleet = await newFleet(database.db);
    const proposal = newProposal({ agentId: fleet.agentId });
    await fleet.as((tx) => tx.insert(improvementProposals).values(proposal));
    expect(await start(fleet, { improvementProposalId: proposal.id })).toMatchObject({
      organizationId: fleet.organization,
      agentId: fleet.agentId,
      controlPromptId: fleet.ids[0],
      treatmentPromptId: fleet.ids[1],
      improvementProposalId: proposal.id,
      trafficSplit: 0.5,
      minSampleSize: 100,
      startDate: START,
      status: "running",
    });
  });

  test("is refused beside another experiment, of an active treatment, and of what is not the agent's", async () => {
    const fleet = await newFleet(database.db);
    const stranger = await newFleet(database.db);
    const before = await written(fleet);
    const proposal = newProposal({ agentId: stranger.agentId });
    await stranger.as((tx) => tx.insert(improvementProposals).values(proposal));
    const cases: [Partial<AbTestStart>, string | RegExp][] = [
      [{ treatmentPromptId: fleet.ids[0] }, "is active already"],
      [{ treatmentPromptId: stranger.ids[1] }, `no prompt ${stranger.ids[1]}`],
      [{ controlPromptId: stranger.ids[0] }, `no prompt ${stranger.ids[0]}`],
      [{ agentId: stranger.agentId }, `no agent ${stranger.agentId}, or`],
      [{ improvementProposalId: proposal.id }, `no proposal ${proposal.id}`],
      [{ controlPromptId: fleet.ids[1] }, /controlPromptId|treatmentPromptId/],
      [{ endDate: START }, "endDate"],
      [{ trafficSplit: 0 }, "trafficSplit"],
    ];
    for (const [given, says] of cases) await expect(start(fleet, given)).rejects.toThrow(says);
    expect(await written(fleet)).toEqual(before);
    const { id } = await start(fleet);
    await expect(start(fleet)).rejects.toThrow(`A/B test ${id}`);
    const other = await newFleet(database.db);
    const canary = {
      agentId: other.agentId,
      canaryPromptId: other.ids[1],
      stages: [{ traffic: 1 }],
    };
    const { id: canaryId } = await other.as((tx) => startCanary(tx, canary));
    await expect(start(other)).rejects.toThrow(`canary ${canaryId}`);
  });

  test("counts what began in its time by the version that decides, once, but for shadows, running and cancelled", async () => {
    const fleet = await newFleet(database.db);
    const [control, treatment, other] = fleet.ids;
    const { id } = await start(fleet, { endDate: after(5) });
    const [retried, late] = [randomUUID(), randomUUID()];
    await log(
      fleet,
      { promptVersionId: control, qualityScore: 90 },
      { promptVersionId: control, qualityScore: 70, status: "failure" },
      // A tool of the control failed, the treatment's run went on.
      { executionId: retried, promptVersionId: control, status: "failure" },
      { executionId: retried, promptVersionId: treatment, actionType: "agent_run" },
      // Begun in its time, ended after it.
      { executionId: late, promptVersionId: treatment, timestamp: after(4) },
      { executionId: late, promptVersionId: treatment, timestamp: after(6), status: "timeout" },
      { promptVersionId: treatment, status: "running" },
      { promptVersionId: treatment, status: "cancelled" },
      { promptVersionId: treatment, metadata: { shadow_of: randomUUID() } },
      { promptVersionId: other },
      { promptVersionId: null },
      { promptVersionId: control, timestamp: after(-1) },
      { promptVersionId: control, timestamp: after(5) },
    );
    expect(await refresh(fleet, id)).toMatchObject({
      written: true,
      test: {
        controlExecutions: 2,
        treatmentExecutions: 2,
        controlSuccessRate: 0.5,
        treatmentSuccessRate: 0.5,
        controlAvgQuality: 80,
        treatmentAvgQuality: null,
        winner: null,
      },
    });
    // Seen before the late one had ended.
    expect(await refresh(fleet, id, after(5))).toMatchObject({
      test: { treatmentSuccessRate: 1 },
    });
    const before = await written(fleet);
    expect(await refresh(fleet, id, after(5))).toMatchObject({ written: false });
    expect(await written(fleet)).toEqual(before);
  });

  const cases = [
    { control: { n: 0, s: 0 }, treatment: { n: 0, s: 0 }, winner: null },
    { control: { n: 300, s: 300 }, treatment: { n: 0, s: 0 }, winner: null },
    { control: { n: 1000, s: 950 }, treatment: { n: 1000, s: 900 }, winner: "control" },
    { control: { n: 500, s: 425 }, treatment: { n: 490, s: 470 }, winner: "treatment" },
    { control: { n: 500, s: 490 }, treatment: { n: 450, s: 425 }, winner: null },
    // As sure, of too few.
    { control: { n: 90, s: 90 }, treatment: { n: 100, s: 20 }, winner: null },
  ] as const;
  test.each(cases)(
    "of $control.s of $control.n against $treatment.s of $treatment.n is as sure as a reference, to 1e-9; winner $winner",
    async ({ control, treatment, winner }) => {
      const fleet = await newFleet(database.db);
      const { id } = await start(fleet);
      await executions(fleet, fleet.ids[0], control);
      await executions(fleet, fleet.ids[1], treatment);
      const each = ({ n, s }: Unit) =>
        Array.from({ length: n }, (_, i) => ({ n: 1, s: i < s ? 1 : 0 }));
      const expected = evidenceOfDifference(each(control), each(treatment));
      const { evidence, test: row } = await refresh(fleet, id);
      expect(Math.abs(evidence / expected - 1)).toBeLessThan(1e-9);
      expect(row.statisticalSignificance).toBeCloseTo(1 - Math.min(1, 1 / expected), 9);
      expect(row.winner).toBe(winner);
    },
  );

  test("knows that executions of few users are worth little: the same counts name no winner", async () => {
    const fleet = await newFleet(database.db);
    const { id } = await start(fleet);
    const [control, treatment] = [
      { n: 1000, s: 950 },
      { n: 1000, s: 900 },
    ];
    await executions(fleet, fleet.ids[0], control, 20);
    await executions(fleet, fleet.ids[1], treatment, 20);
    const { test: row } = await refresh(fleet, id);
    expect(row).toMatchObject({ controlExecutions: 1000, winner: null });
    expect(row.statisticalSignificance).toBeLessThan(0.5);
  });

  test("names no winner where units came to the arms in other shares than planned, and says so", async () => {
    const fleet = await newFleet(database.db);
    const { id } = await start(fleet);
    await executions(fleet, fleet.ids[0], { n: 1000, s: 950 });
    await executions(fleet, fleet.ids[1], { n: 700, s: 600 });
    expect(await refresh(fleet, id)).toMatchObject({
      sampleRatioMismatch: true,
      test: { winner: null },
    });
  });

  test("ends once, completed or stopped, and then stays as it is", async () => {
    const fleet = await newFleet(database.db);
    const { id } = await start(fleet);
    await executions(fleet, fleet.ids[0], { n: 1000, s: 950 });
    await executions(fleet, fleet.ids[1], { n: 1000, s: 900 });
    const finish = (one: string, now = NOW) =>
      fleet.as((tx) => finishAbTest(tx, { id: one, now, conclusionSummary: "Keep it" }));
    expect(await finish(id)).toMatchObject({
      written: true,
      test: { status: "completed", winner: "control", endDate: NOW, conclusionSummary: "Keep it" },
    });
    const before = await written(fleet);
    await log(fleet, { promptVersionId: fleet.ids[0] });
    expect(await finish(id, after(20))).toMatchObject({ written: false });
    expect(await refresh(fleet, id, after(20))).toMatchObject({ written: false });
    expect(await written(fleet)).toEqual(before);
    const { id: early } = await start(fleet, { now: after(11) });
    expect(await finish(early, after(12))).toMatchObject({
      test: { status: "stopped", winner: "inconclusive", statisticalSignificance: 0 },
    });
    expect(await fleet.active()).toEqual([fleet.ids[0]]);
  });

  test("of another organization is answered as a missing one, and the backend keeps whose it is", async () => {
    const fleet = await newFleet(database.db);
    const stranger = await newFleet(database.db);
    const { id } = await start(stranger);
    for (const missing of [id, randomUUID()]) {
      await expect(refresh(fleet, missing)).rejects.toThrow(`no A/B test ${missing}, or`);
      const finish = fleet.as((tx) => finishAbTest(tx, { id: missing }));
      await expect(finish).rejects.toThrow(`no A/B test ${missing}, or`);
    }
    await withServiceRole(database.db, (tx) => refreshAbTest(tx, { id, now: NOW }));
    const begun = await withServiceRole(database.db, (tx) =>
      startAbTest(tx, {
        agentId: fleet.agentId,
        treatmentPromptId: fleet.ids[1],
        testName: "t",
        hypothesis: "h",
      }),
    );
    expect(begun.organizationId).toBe(fleet.organization);
    const [row] = await database.db.select().from(abTests).where(eq(abTests.id, begun.id));
    expect(row).toEqual(begun);
  });
});
