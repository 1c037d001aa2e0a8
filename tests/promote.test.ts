import { randomUUID } from "node:crypto";
import { and, eq } from "drizzle-orm";
import { expect, test } from "vitest";
import type { Database } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import { promotePrompt } from "../src/fleet/prompts.ts";
import { agentPrompts, agentRegistry } from "../src/schema/index.ts";
import { newAgent, newPrompt } from "../src/testing.ts";
import { suite } from "./engine.ts";

/** A new organization with an agent and its versions, the first one active. */
async function newFleet(db: Database, versions = 3, active = true) {
  const organization = randomUUID();
  const agent = newAgent();
  const prompts = Array.from({ length: versions }, (_, n) =>
    newPrompt({ agentId: agent.id, isActive: active && n === 0, isBaseline: n === 0 }),
  );
  await withOrganization(db, organization, async (tx) => {
    await tx.insert(agentRegistry).values(agent);
    await tx.insert(agentPrompts).values(prompts);
  });
  const [first = "", second = "", third = ""] = prompts.map(({ id }) => id);
  return { organization, agentId: agent.id, first, second, third };
}

const activeOnes = async (db: Database, agentId: string) =>
  (
    await db
      .select({ id: agentPrompts.id })
      .from(agentPrompts)
      .where(and(eq(agentPrompts.agentId, agentId), agentPrompts.isActive))
  ).map(({ id }) => id);

suite("promotion of a prompt", (database) => {
  test("makes it the one active version; the former one steps down", async () => {
    const { db } = database;
    const { organization, agentId, first, second, third } = await newFleet(db);
    const promote = (id: string) =>
      withOrganization(db, organization, (tx) => promotePrompt(tx, id));
    expect(await promote(third)).toEqual({ agentId, steppedUp: third, steppedDown: first });
    expect(await promote(second)).toEqual({ agentId, steppedUp: second, steppedDown: third });
    expect(await activeOnes(db, agentId)).toEqual([second]);
  });

  test("works where none was active", async () => {
    const { db } = database;
    const { organization, agentId, second } = await newFleet(db, 2, false);
    const done = await withOrganization(db, organization, (tx) => promotePrompt(tx, second));
    expect(done).toEqual({ agentId, steppedUp: second, steppedDown: null });
    expect(await activeOnes(db, agentId)).toEqual([second]);
  });

  test("of the active version changes nothing", async () => {
    const { db, query } = database;
    const { organization, agentId, first } = await newFleet(db);
    const versions = () =>
      query("select xmin::text, p::text from agent_prompts as p where agent_id = $1 order by id", [
        agentId,
      ]);
    const before = await versions();
    const done = await withOrganization(db, organization, (tx) => promotePrompt(tx, first));
    expect(done).toEqual({ agentId, steppedUp: null, steppedDown: null });
    expect(await versions()).toEqual(before);
  });

  test("leaves other agents, other versions and the baseline as they are", async () => {
    const { db, query } = database;
    const one = await newFleet(db);
    const other = await newFleet(db);
    const others = () =>
      query(
        "select p::text as row from agent_prompts as p where id <> all ($1::uuid[]) order by id",
        [[one.first, one.second]],
      );
    const before = await others();
    await withOrganization(db, one.organization, (tx) => promotePrompt(tx, one.second));
    expect(await others()).toEqual(before);
    expect(await activeOnes(db, other.agentId)).toEqual([other.first]);
    const [former] = await db.select().from(agentPrompts).where(eq(agentPrompts.id, one.first));
    expect(former).toMatchObject({ isActive: false, isBaseline: true });
  });

  test("of a version that is not there, or another organization's, is refused by name and changes nothing", async () => {
    const { db } = database;
    const { organization, agentId, first } = await newFleet(db);
    const stranger = await newFleet(db);
    for (const id of [randomUUID(), stranger.second]) {
      await expect(
        withOrganization(db, organization, (tx) => promotePrompt(tx, id)),
      ).rejects.toThrow(`no prompt ${id}`);
    }
    expect(await activeOnes(db, agentId)).toEqual([first]);
    expect(await activeOnes(db, stranger.agentId)).toEqual([stranger.first]);
  });

  test("is open to the backend for every organization", async () => {
    const { db } = database;
    const { agentId, second } = await newFleet(db);
    await withServiceRole(db, (tx) => promotePrompt(tx, second));
    expect(await activeOnes(db, agentId)).toEqual([second]);
  });
});
