import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { withServiceRole } from "../src/client/tenancy.ts";
import { promotePrompt, rollBackPrompt, setBaseline } from "../src/fleet/prompts.ts";
import { PROPOSAL_STEPS, type ProposalStep, moveProposal } from "../src/fleet/proposals.ts";
import { type NewImprovementProposal, improvementProposals } from "../src/schema/index.ts";
import { newProposal } from "../src/testing.ts";
import { PROPOSAL_STATUSES, type ProposalStatus } from "../src/values.ts";
import { suite } from "./engine.ts";
import { type Fleet, WRITTEN, newFleet } from "./fleet.ts";

const NOW = new Date("2026-03-01T12:00:00.123Z");

async function propose(fleet: Fleet, of: Partial<NewImprovementProposal> = {}) {
  const proposal = newProposal({ agentId: fleet.agentId, proposalType: "prompt_change", ...of });
  await fleet.as((tx) => tx.insert(improvementProposals).values(proposal));
  return proposal.id;
}

const move = (fleet: Fleet, step: ProposalStep) =>
  fleet.as((tx) => moveProposal(tx, { now: NOW, ...step }));

suite("a proposal", (database) => {
  const written = ({ organization }: Fleet) => database.query(WRITTEN, [organization]);

  test("moves by the steps that may follow its status and by no other, and a refused one writes nothing", async () => {
    const fleet = await newFleet(database.db);
    for (const status of PROPOSAL_STATUSES) {
      const deployed = status === "deployed" ? fleet.ids[1] : null;
      const given = { status, requiresHumanApproval: false, deployedPromptVersionId: deployed };
      const step = async (id: string, to: ProposalStatus) =>
        move(fleet, { id, to, by: "lena", promptId: fleet.ids[1] });
      const id = await propose(fleet, given);
      const before = await written(fleet);
      for (const to of PROPOSAL_STATUSES.filter((one) => !PROPOSAL_STEPS[status].includes(one))) {
        if (to === status) {
          expect(await step(id, to)).toMatchObject({ moved: false, promotion: null });
        } else {
          await expect(step(id, to), `${status} to ${to}`).rejects.toThrow(`${id} is ${status}`);
        }
      }
      expect(await written(fleet)).toEqual(before);
      for (const to of PROPOSAL_STEPS[status]) {
        const other = await propose(fleet, given);
        expect(await step(other, to)).toMatchObject({ moved: true, proposal: { status: to } });
        await fleet.as((tx) => promotePrompt(tx, fleet.ids[0]));
      }
    }
  });

  test("keeps who agreed, why it was rejected, and when it went live with which version", async () => {
    const fleet = await newFleet(database.db);
    const good = await propose(fleet);
    expect(await move(fleet, { id: good, to: "approved", by: "lena" })).toMatchObject({
      proposal: { status: "approved", approvedBy: "lena", approvedAt: NOW, deployedAt: null },
    });
    expect(await move(fleet, { id: good, to: "deployed", promptId: fleet.ids[1] })).toMatchObject({
      moved: true,
      promotion: { steppedUp: fleet.ids[1], steppedDown: fleet.ids[0] },
      proposal: { status: "deployed", deployedAt: NOW, deployedPromptVersionId: fleet.ids[1] },
    });
    expect(await fleet.active()).toEqual([fleet.ids[1]]);
    const bad = await propose(fleet);
    const step = { id: bad, to: "rejected", reason: "too dear" } as const;
    expect(await move(fleet, step)).toMatchObject({
      proposal: { status: "rejected", rejectionReason: "too dear", approvedBy: null },
    });
  });

  test("is not deployed, nor tested unapproved, before a person has agreed where one must", async () => {
    const fleet = await newFleet(database.db);
    const id = await propose(fleet);
    const before = await written(fleet);
    await expect(move(fleet, { id, to: "testing" })).rejects.toThrow("agreement");
    await expect(move(fleet, { id, to: "approved" })).rejects.toThrow(/by/);
    const byHand = await propose(fleet, { status: "testing" });
    const step = { id: byHand, to: "deployed", promptId: fleet.ids[1] } as const;
    await expect(move(fleet, step)).rejects.toThrow("agreement");
    expect((await written(fleet)).length).toBe(before.length + 1);
    expect(await fleet.active()).toEqual([fleet.ids[0]]);
    const free = await propose(fleet, { requiresHumanApproval: false });
    await move(fleet, { id: free, to: "testing" });
    await move(fleet, { id: free, to: "deployed", promptId: fleet.ids[2] });
    expect(await fleet.active()).toEqual([fleet.ids[2]]);
  });

  test("of a change of a prompt names a version of its own agent, when it is deployed", async () => {
    const fleet = await newFleet(database.db);
    const other = await newFleet(database.db);
    const id = await propose(fleet);
    await move(fleet, { id, to: "approved", by: "lena" });
    for (const promptId of [undefined, randomUUID(), other.ids[1]]) {
      await expect(move(fleet, { id, to: "deployed", promptId })).rejects.toThrow("promptId");
    }
    const config = await propose(fleet, { proposalType: "config_change", status: "approved" });
    await expect(move(fleet, { id: config, to: "deployed" })).rejects.toThrow("agreement");
    const agreed = await propose(fleet, {
      proposalType: "config_change",
      status: "approved",
      approvedBy: "lena",
    });
    expect(await move(fleet, { id: agreed, to: "deployed" })).toMatchObject({
      moved: true,
      promotion: null,
      proposal: { deployedPromptVersionId: null },
    });
    await move(fleet, { id, to: "deployed", promptId: fleet.ids[1] });
    const again = { id, to: "deployed", promptId: fleet.ids[2] } as const;
    await expect(move(fleet, again)).rejects.toThrow("another prompt version");
    expect(await fleet.active()).toEqual([fleet.ids[1]]);
  });

  test("rolled back gives the place to the parent of its version, or to the one named, unless another is live", async () => {
    const fleet = await newFleet(database.db);
    const deploy = async (promptId: string) => {
      const id = await propose(fleet);
      await move(fleet, { id, to: "approved", by: "lena" });
      await move(fleet, { id, to: "deployed", promptId });
      return id;
    };
    const first = await deploy(fleet.ids[2]);
    expect(await move(fleet, { id: first, to: "rolled_back" })).toMatchObject({
      promotion: { steppedUp: fleet.ids[1], steppedDown: fleet.ids[2] },
    });
    const second = await deploy(fleet.ids[2]);
    await move(fleet, { id: second, to: "rolled_back", promptId: fleet.ids[3] });
    expect(await fleet.active()).toEqual([fleet.ids[3]]);
    const third = await deploy(fleet.ids[2]);
    await fleet.as((tx) => promotePrompt(tx, fleet.ids[3]));
    expect(await move(fleet, { id: third, to: "rolled_back" })).toMatchObject({
      moved: true,
      promotion: null,
    });
    expect(await fleet.active()).toEqual([fleet.ids[3]]);
    const orphan = await deploy(fleet.ids[0]);
    const back = { id: orphan, to: "rolled_back" } as const;
    await expect(move(fleet, back)).rejects.toThrow("no parent");
  });

  test("of another organization is answered as a missing one, and the backend moves any", async () => {
    const fleet = await newFleet(database.db);
    const stranger = await newFleet(database.db);
    const id = await propose(stranger);
    for (const missing of [id, randomUUID()]) {
      const step = { id: missing, to: "approved", by: "lena" } as const;
      await expect(move(fleet, step)).rejects.toThrow(`no proposal ${missing}, or`);
    }
    const step = { id, to: "approved", by: "lena", now: NOW } as const;
    const moved = await withServiceRole(database.db, (tx) => moveProposal(tx, step));
    expect(moved.moved).toBe(true);
  });

  test("is not moved by a transaction whose snapshot may be old", async () => {
    const fleet = await newFleet(database.db);
    const id = await propose(fleet);
    const work = database.db.transaction(
      (tx) => moveProposal(tx, { id, to: "approved", by: "lena" }),
      { isolationLevel: "repeatable read" },
    );
    await expect(work).rejects.toThrow("moveProposal needs a READ COMMITTED transaction");
  });
});

suite("a prompt", (database) => {
  const written = ({ organization }: Fleet) => database.query(WRITTEN, [organization]);

  test("is rolled back to its parent step by step, and from a version that is not active not at all", async () => {
    const fleet = await newFleet(database.db);
    const [first, second, third] = fleet.ids;
    await fleet.as((tx) => promotePrompt(tx, third));
    const back = { agentId: fleet.agentId, from: third };
    const roll = () => fleet.as((tx) => rollBackPrompt(tx, back));
    expect(await roll()).toMatchObject({ steppedUp: second, steppedDown: third });
    const before = await written(fleet);
    expect(await roll()).toMatchObject({ steppedUp: null, steppedDown: null });
    expect(await written(fleet)).toEqual(before);
    await fleet.as((tx) => rollBackPrompt(tx, { agentId: fleet.agentId }));
    expect(await fleet.active()).toEqual([first]);
    const further = fleet.as((tx) => rollBackPrompt(tx, { agentId: fleet.agentId }));
    await expect(further).rejects.toThrow("names no parent version");
  });

  test("is rolled back to the baseline, which setBaseline moves", async () => {
    const fleet = await newFleet(database.db);
    const [first, second, third] = fleet.ids;
    const moved = await fleet.as((tx) => setBaseline(tx, second));
    expect(moved).toEqual({ agentId: fleet.agentId, steppedUp: second, steppedDown: first });
    const before = await written(fleet);
    await fleet.as((tx) => setBaseline(tx, second));
    expect(await written(fleet)).toEqual(before);
    await fleet.as((tx) => promotePrompt(tx, third));
    await fleet.as((tx) => rollBackPrompt(tx, { agentId: fleet.agentId, to: "baseline" }));
    expect(await fleet.active()).toEqual([second]);
  });

  test("of another organization is no baseline, and its agent is not rolled back", async () => {
    const fleet = await newFleet(database.db);
    const stranger = await newFleet(database.db);
    for (const id of [stranger.ids[1], randomUUID()]) {
      const set = fleet.as((tx) => setBaseline(tx, id));
      await expect(set).rejects.toThrow(`setBaseline: no prompt ${id}, or`);
    }
    for (const agentId of [stranger.agentId, randomUUID()]) {
      const roll = fleet.as((tx) => rollBackPrompt(tx, { agentId }));
      await expect(roll).rejects.toThrow(`rollBackPrompt: no agent ${agentId}, or`);
    }
  });
});
