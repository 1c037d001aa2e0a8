import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { finishAbTest, startAbTest } from "../src/fleet/ab-tests.ts";
import { rollBackCanary, startCanary } from "../src/fleet/canaries.ts";
import { explainPrompt } from "../src/fleet/explain.ts";
import { moveProposal } from "../src/fleet/proposals.ts";
import { finishShadowTest, startShadowTest } from "../src/fleet/shadow-tests.ts";
import {
  agentExecutionLogs,
  evaluationReports,
  improvementProposals,
  promptLibrary,
  promptLibraryUsage,
} from "../src/schema/index.ts";
import {
  newEvaluationReport,
  newExecutionLog,
  newPromptComponent,
  newPromptLibraryUse,
  newProposal,
} from "../src/testing.ts";
import { suite } from "./engine.ts";
import { newFleet } from "./fleet.ts";

const day = (n: number) => new Date(Date.UTC(2026, 2, n));

suite("explainPrompt", (database) => {
  test("tells the whole chain of a version, from its report to where it is live", async () => {
    const fleet = await newFleet(database.db);
    const { agentId, ids } = fleet;
    const [first, second] = ids;
    const report = newEvaluationReport({ agentId, overallScore: 61 });
    const component = newPromptComponent();
    const proposal = newProposal({
      agentId,
      proposalType: "prompt_change",
      evaluationReportId: report.id,
    });
    const log = newExecutionLog({ agentId, promptVersionId: second, timestamp: day(9) });
    const step = newExecutionLog({
      agentId,
      promptVersionId: null,
      executionId: log.executionId,
      timestamp: day(9),
    });
    const [testId, shadowId, canaryId] = await fleet.as(async (tx) => {
      await tx.insert(evaluationReports).values(report);
      await tx.insert(promptLibrary).values(component);
      const use = { promptId: second, libraryComponentId: component.id };
      await tx.insert(promptLibraryUsage).values(newPromptLibraryUse(use));
      await tx.insert(improvementProposals).values(proposal);
      await moveProposal(tx, { id: proposal.id, to: "approved", by: "lena", now: day(1) });
      const shadow = { agentId, shadowPromptId: second, now: day(1) };
      const { id: shadowed } = await startShadowTest(tx, shadow);
      await finishShadowTest(tx, { id: shadowed, now: day(2), recommendation: "Try it" });
      const { id: tested } = await startAbTest(tx, {
        agentId,
        treatmentPromptId: second,
        testName: "clerk",
        hypothesis: "h",
        improvementProposalId: proposal.id,
        now: day(2),
      });
      await finishAbTest(tx, { id: tested, now: day(3) });
      const stages = [{ traffic: 0.1 }];
      const canary = { agentId, canaryPromptId: second, stages, now: day(4) };
      const { id: rolled } = await startCanary(tx, canary);
      await rollBackCanary(tx, { id: rolled, reason: "Odd answers", now: day(5) });
      await moveProposal(tx, { id: proposal.id, to: "deployed", promptId: second, now: day(6) });
      await tx.insert(agentExecutionLogs).values([log, step]);
      return [tested, shadowed, rolled];
    });
    const expected = {
      prompt: { id: second, agentId, isActive: true, isBaseline: false },
      parent: { id: first },
      proposal: { id: proposal.id, status: "deployed", deployedAt: day(6) },
      approval: { by: "lena", at: day(1) },
      report: { id: report.id, overallScore: 61 },
      abTests: [{ id: testId, role: "treatment", status: "stopped", startDate: day(2) }],
      shadowTests: [{ id: shadowId, role: "shadow", recommendation: "Try it" }],
      canaries: [{ id: canaryId, role: "canary", status: "rolled_back", startedAt: day(4) }],
      components: [{ id: component.id }],
      since: { at: day(6), by: "proposal" },
      missing: [],
    };
    for (const asked of [{ promptId: second }, { logId: log.id }, { logId: step.id ?? "" }]) {
      const told = await fleet.as((tx) => explainPrompt(tx, asked));
      expect(told).toMatchObject(expected);
      expect(told.prompt.createdAt).toBeInstanceOf(Date);
    }
    const control = await fleet.as((tx) => explainPrompt(tx, { promptId: first }));
    expect(control).toMatchObject({
      parent: null,
      abTests: [{ role: "control" }],
      canaries: [{ role: "current" }],
      since: null,
      missing: [
        "it names no version that it was made from",
        "no proposal deployed it",
        "no test and no canary tried it",
      ],
    });
  });

  test("says which links are missing, and from when on the log knows the version", async () => {
    const fleet = await newFleet(database.db);
    const { agentId, ids } = fleet;
    const proposal = newProposal({
      agentId,
      status: "deployed",
      deployedPromptVersionId: ids[2],
    });
    await fleet.as(async (tx) => {
      await tx.insert(improvementProposals).values(proposal);
      const rows = [day(3), day(2)].map((timestamp) =>
        newExecutionLog({ agentId, promptVersionId: ids[2], timestamp }),
      );
      await tx.insert(agentExecutionLogs).values(rows);
    });
    const told = await fleet.as((tx) => explainPrompt(tx, { promptId: ids[2] }));
    expect(told.since).toEqual({ at: day(2), by: "first execution" });
    expect(told.missing).toEqual([
      "nobody approved its proposal",
      "its proposal names no report",
      "no test and no canary tried it before it went live",
    ]);
  });

  test("answers another organization's as missing ones, and a row without a version by name", async () => {
    const fleet = await newFleet(database.db);
    const stranger = await newFleet(database.db);
    const unnamed = newExecutionLog({ agentId: fleet.agentId });
    const foreign = newExecutionLog({
      agentId: stranger.agentId,
      promptVersionId: stranger.ids[0],
    });
    await fleet.as((tx) => tx.insert(agentExecutionLogs).values(unnamed));
    await stranger.as((tx) => tx.insert(agentExecutionLogs).values(foreign));
    for (const promptId of [stranger.ids[0], randomUUID()]) {
      const told = fleet.as((tx) => explainPrompt(tx, { promptId }));
      await expect(told).rejects.toThrow(`no prompt ${promptId}, or`);
    }
    for (const logId of [unnamed.id ?? "", foreign.id ?? "", randomUUID()]) {
      const told = fleet.as((tx) => explainPrompt(tx, { logId }));
      await expect(told).rejects.toThrow(`no row ${logId} of the log that names a prompt version`);
    }
  });
});
