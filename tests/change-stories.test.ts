import { randomUUID } from "node:crypto";
import { and, eq } from "drizzle-orm";
import * as fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import type { Transaction } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { finishAbTest, refreshAbTest, startAbTest } from "../src/fleet/ab-tests.ts";
import { choosePrompt } from "../src/fleet/assignment.ts";
import { startCanary, stepCanary } from "../src/fleet/canaries.ts";
import { explainPrompt } from "../src/fleet/explain.ts";
import { promotePrompt, rollBackPrompt, setBaseline } from "../src/fleet/prompts.ts";
import { moveProposal } from "../src/fleet/proposals.ts";
import {
  agentExecutionLogs,
  agentPrompts,
  agentRegistry,
  improvementProposals,
} from "../src/schema/index.ts";
import { newAgent, newExecutionLog, newPrompt, newProposal } from "../src/testing.ts";
import { suite } from "./engine.ts";

const RUNS = Number(process.env["PROPERTY_RUNS"] ?? 40);
const SEED = process.env["PROPERTY_SEED"];

const KINDS = [
  ...["promote", "roll back", "to baseline", "set baseline", "deploy", "undo"],
  ...["start canary", "step canary", "start test", "look at test", "finish test"],
] as const;
/** Those that need another one before them come more often. */
const OFTEN = KINDS.filter((kind) => /test$|canary$/.test(kind));
const step = fc.record({
  kind: fc.constantFrom(...KINDS, ...OFTEN, ...OFTEN, "step canary"),
  version: fc.nat({ max: 3 }),
  fails: fc.boolean(),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

suite("any story of changes", (database) => {
  const organization = randomUUID();
  const seen = new Map<string, number>();
  beforeAll(() =>
    withOrganization(database.db, organization, (tx) =>
      tx.insert(agentRegistry).values(newAgent()),
    ),
  );

  /** Plays a story on an agent of its own beside what should be, and looks at both after each step. */
  async function play(tx: Transaction, steps: readonly Step[]): Promise<void> {
    const agent = newAgent();
    const ids: string[] = Array.from({ length: 4 }, () => randomUUID());
    const idOf = (n: number) => ids[n] ?? "";
    const parentOf = (id: string) => ids[ids.indexOf(id) - 1];
    await tx.insert(agentRegistry).values(agent);
    for (const [n, id] of ids.entries()) {
      const flags = { isActive: n === 0, isBaseline: n === 0, parentVersionId: ids[n - 1] ?? null };
      await tx.insert(agentPrompts).values(newPrompt({ id, agentId: agent.id, ...flags }));
    }
    let [active, baseline] = [idOf(0), idOf(0)];
    let canary: { id: string; tries: string; from: string } | undefined;
    let trial: { id: string; tries: string } | undefined;
    const deployed: { id: string; version: string; isLive: boolean }[] = [];
    const completed: string[] = [];
    let now = new Date("2026-03-01T00:00Z");

    for (const { kind, version, fails } of steps) {
      now = new Date(now.getTime() + 3_600_000);
      const chosen = idOf(version);
      const ran = async (promptVersionId: string, status: "success" | "failure") =>
        tx.insert(agentExecutionLogs).values(
          Array.from({ length: 3 }, () =>
            newExecutionLog({
              ...{ agentId: agent.id, promptVersionId, status, actionType: "agent_run" },
              timestamp: new Date(now.getTime() - 60_000),
            }),
          ),
        );
      const isBusy = canary !== undefined || trial !== undefined || chosen === active;
      const told = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1);
      if (kind === "promote") {
        await promotePrompt(tx, chosen);
        active = chosen;
      } else if (kind === "roll back") {
        const parent = parentOf(active);
        const moved = rollBackPrompt(tx, { agentId: agent.id });
        if (parent === undefined) await expect(moved).rejects.toThrow("names no parent");
        else active = (await moved).steppedUp ?? "";
        if (parent !== undefined) expect(active).toBe(parent);
      } else if (kind === "to baseline") {
        await rollBackPrompt(tx, { agentId: agent.id, to: "baseline" });
        active = baseline;
      } else if (kind === "set baseline") {
        await setBaseline(tx, chosen);
        baseline = chosen;
      } else if (kind === "deploy") {
        const proposal = newProposal({ agentId: agent.id, proposalType: "prompt_change" });
        await tx.insert(improvementProposals).values(proposal);
        const asked = { id: proposal.id, promptId: chosen, now };
        const early = moveProposal(tx, { ...asked, to: "deployed" });
        await expect(early).rejects.toThrow("is proposed and may become");
        await moveProposal(tx, { id: proposal.id, to: "approved", by: "lena", now });
        await moveProposal(tx, { ...asked, to: "deployed" });
        deployed.push({ id: proposal.id, version: chosen, isLive: true });
        active = chosen;
      } else if (kind === "undo") {
        const last = deployed.findLast(({ isLive }) => isLive);
        if (last === undefined) continue;
        const undone = moveProposal(tx, { id: last.id, to: "rolled_back", now });
        const parent = parentOf(last.version);
        if (active === last.version && parent === undefined) {
          await expect(undone).rejects.toThrow("has no parent");
          continue;
        }
        await undone;
        last.isLive = false;
        if (active === last.version) active = parent ?? "";
      } else if (kind === "start canary") {
        const stages = [{ traffic: 0.5 }];
        const begun = startCanary(tx, {
          ...{ agentId: agent.id, canaryPromptId: chosen, stages, now },
        });
        if (isBusy) await expect(begun).rejects.toThrow(/finish it|is not over|is active already/);
        else canary = { id: (await begun).id, tries: chosen, from: active };
      } else if (kind === "step canary" && canary) {
        await ran(canary.tries, fails ? "failure" : "success");
        const { action } = await stepCanary(tx, { id: canary.id, minExecutions: 3, now });
        told(action);
        if (active !== canary.from) expect(action).toBe("rolled_back");
        else if (!fails) expect(["advanced", "completed", "held"]).toContain(action);
        if (action === "completed") {
          completed.push(canary.id);
          active = canary.tries;
        }
        if (action === "completed" || action === "rolled_back") canary = undefined;
      } else if (kind === "start test") {
        const begun = startAbTest(tx, {
          ...{ agentId: agent.id, treatmentPromptId: chosen, testName: "t", hypothesis: "h", now },
        });
        if (isBusy) await expect(begun).rejects.toThrow(/finish it|is not over|is active already/);
        else trial = { id: (await begun).id, tries: chosen };
      } else if (kind === "look at test" && trial) {
        await ran(trial.tries, fails ? "failure" : "success");
        const { test: found } = await refreshAbTest(tx, { id: trial.id, now });
        expect(found.treatmentExecutions).toBeGreaterThan(2);
      } else if (kind === "finish test" && trial) {
        await finishAbTest(tx, { id: trial.id, now });
        trial = undefined;
      } else {
        continue;
      }
      told(kind);

      const live = await tx
        .select({ id: agentPrompts.id })
        .from(agentPrompts)
        .where(and(eq(agentPrompts.agentId, agent.id), eq(agentPrompts.isActive, true)));
      expect(live, kind).toEqual([{ id: active }]);
      const why = await explainPrompt(tx, { promptId: active });
      const proposal = deployed.findLast((one) => one.version === active);
      expect(why, kind).toMatchObject({
        prompt: { id: active, isActive: true, isBaseline: active === baseline },
        parent: parentOf(active) === undefined ? null : { id: parentOf(active) },
        proposal: proposal
          ? { id: proposal.id, status: proposal.isLive ? "deployed" : "rolled_back" }
          : null,
        approval: proposal ? { by: "lena" } : null,
      });
      const finished = why.canaries.filter((one) => one.status === "completed");
      expect(finished.every(({ id }) => completed.includes(id))).toBe(true);
      expect(why.missing.includes("no proposal deployed it")).toBe(!proposal);
      const choice = await choosePrompt(tx, { agentId: agent.id, unit: "u" });
      const open = [active, canary?.tries, canary?.from, trial?.tries];
      expect([...open, ...ids.filter(() => trial !== undefined)]).toContain(choice.promptId);
    }
  }

  test(
    "leaves one active version, which explainPrompt explains by what was done to it",
    { timeout: 3_600_000 },
    async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(step, { minLength: 12, maxLength: 30, size: "max" }),
          async (steps) => withOrganization(database.db, organization, (tx) => play(tx, steps)),
        ),
        { numRuns: RUNS, ...(SEED === undefined ? {} : { seed: Number(SEED) }) },
      );
      const unseen = [...KINDS, "completed", "rolled_back"].filter((kind) => !seen.has(kind));
      expect(unseen).toEqual([]);
    },
  );
});
