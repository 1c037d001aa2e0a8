import { randomUUID } from "node:crypto";
import { type SQL, and, eq } from "drizzle-orm";
import { expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import type { Database, Transaction } from "../../src/client/sql.ts";
import { withOrganization } from "../../src/client/tenancy.ts";
import { databaseError } from "../../src/client/errors.ts";
import { promotePrompt } from "../../src/fleet/prompts.ts";
import { type AgentPrompt, agentPrompts, agentRegistry } from "../../src/schema/index.ts";
import { newAgent, newPrompt } from "../../src/testing.ts";
import { suite } from "../engine.ts";
import { waiting } from "./waiting.ts";

interface Fleet {
  readonly organization: string;
  readonly agentId: string;
  readonly ids: readonly string[];
}

async function newFleet(db: Database, activeFirst: boolean): Promise<Fleet> {
  const organization = randomUUID();
  const agent = newAgent();
  const prompts = Array.from({ length: 3 }, (_, n) =>
    newPrompt({ agentId: agent.id, isActive: activeFirst && n === 0 }),
  );
  await withOrganization(db, organization, async (tx) => {
    await tx.insert(agentRegistry).values(agent);
    await tx.insert(agentPrompts).values(prompts);
  });
  return { organization, agentId: agent.id, ids: prompts.map(({ id }) => id) };
}

const activeOnes = async (db: Database, { agentId }: Fleet) =>
  (
    await db
      .select({ id: agentPrompts.id })
      .from(agentPrompts)
      .where(and(eq(agentPrompts.agentId, agentId), agentPrompts.isActive))
  ).map(({ id }) => id);

/** What `work` answers in a transaction of the fleet's organization, which stays open until it is ended. */
async function held<T>(db: Database, fleet: Fleet, work: (tx: Transaction) => Promise<T>) {
  let end = (_commit: boolean): void => {};
  const ended = new Promise<boolean>((resolve) => (end = resolve));
  let whole: Promise<unknown> = Promise.resolve();
  const result = await new Promise<T>((resolve, reject) => {
    whole = withOrganization(db, fleet.organization, async (tx) => {
      resolve(await work(tx));
      if (!(await ended)) tx.rollback();
    }).catch(reject);
  });
  return {
    result,
    commit: () => (end(true), whole),
    rollBack: () => (end(false), whole),
  };
}

suite("promotions at the same time", (database) => {
  const promote = (fleet: Fleet, id = "") =>
    withOrganization(database.db, fleet.organization, (tx) => promotePrompt(tx, id));

  // Which two versions, of [0, 1, 2] with 0 active or none.
  const cases = [0, 1, 2].flatMap((one) =>
    [0, 1, 2].flatMap((two) => [true, false].map((active) => ({ one, two, active }))),
  );
  test.each(cases)(
    "of $one, then $two (0 active: $active): both succeed and the second stands",
    async ({ one, two, active }) => {
      const { db, query } = database;
      const fleet = await newFleet(db, active);
      const first = await held(db, fleet, (tx) => promotePrompt(tx, fleet.ids[one] ?? ""));
      const second = promote(fleet, fleet.ids[two]);
      await waiting(query);
      await first.commit();
      expect(await second).toEqual({
        agentId: fleet.agentId,
        steppedUp: one === two ? null : fleet.ids[two],
        steppedDown: one === two ? null : fleet.ids[one],
      });
      expect(await activeOnes(db, fleet)).toEqual([fleet.ids[two]]);
    },
  );

  test("many at once: all succeed, one stands, and each stepped up over the one before it", async () => {
    const { db } = database;
    for (let round = 0; round < 25; round += 1) {
      const fleet = await newFleet(db, round % 2 === 0);
      const choices = Array.from({ length: 8 }, (_, n) => fleet.ids[(n + round) % 3]);
      const promotions = await Promise.all(choices.map((id) => promote(fleet, id)));
      const [standing, ...more] = await activeOnes(db, fleet);
      expect(more).toEqual([]);
      const balance = new Map<string, number>();
      const count = (id: string | null, by: number) =>
        id && balance.set(id, (balance.get(id) ?? 0) + by);
      count(round % 2 === 0 ? (fleet.ids[0] ?? null) : null, 1);
      for (const { steppedUp, steppedDown } of promotions) {
        count(steppedUp, 1);
        count(steppedDown, -1);
      }
      expect([...balance].filter(([, times]) => times !== 0)).toEqual([[standing, 1]]);
    }
  });

  test("72 of 12 connections beside other writers of both flags: all succeed, and one stands", async () => {
    const { db, close } = connect(database.url, { max: 16, connectTimeout: 100 });
    const fleet = await newFleet(db, true);
    const { agentId, organization } = fleet;
    const one = (n: number) => fleet.ids[n % 3] ?? "";
    const set = (tx: Transaction, flags: Partial<AgentPrompt>, of: SQL) =>
      tx.update(agentPrompts).set(flags).where(of);
    const others: ((tx: Transaction, n: number) => Promise<unknown>)[] = [
      // Moved by hand, behind the same lock.
      async (tx, n) => {
        await tx
          .select({ id: agentRegistry.id })
          .from(agentRegistry)
          .where(eq(agentRegistry.id, agentId))
          .for("no key update");
        await set(tx, { isActive: false }, eq(agentPrompts.agentId, agentId));
        await set(tx, { isActive: true }, eq(agentPrompts.id, one(n)));
      },
      (tx, n) => set(tx, { isActive: false }, eq(agentPrompts.id, one(n))),
      (tx, n) => set(tx, { isBaseline: n % 2 === 0 }, eq(agentPrompts.id, one(0))),
      (tx) => tx.insert(agentPrompts).values(newPrompt({ agentId })),
    ];
    const promotions = Array.from(
      { length: 12 },
      () => (tx: Transaction, n: number) => promotePrompt(tx, one(n)),
    );
    const refused: unknown[] = [];
    const client = async (work: (typeof others)[number], start: number) => {
      for (let n = start; n < start + 6; n += 1) {
        await withOrganization(db, organization, (tx) => work(tx, n)).catch((error: unknown) =>
          refused.push(databaseError(error)?.code ?? error),
        );
      }
    };
    await Promise.all([...promotions, ...others].map(client));
    expect(refused).toEqual([]);
    await promote(fleet, one(1));
    expect(await activeOnes(db, fleet)).toEqual([one(1)]);
    await close();
  });

  test("12 who look and then move the flag without the agent's lock: some are refused", async () => {
    const { db, close } = connect(database.url, { max: 12, connectTimeout: 100 });
    const fleet = await newFleet(db, true);
    let missing = 12;
    let allHaveLooked = () => {};
    const looked = new Promise<void>((resolve) => (allHaveLooked = resolve));
    const moves = await Promise.allSettled(
      Array.from({ length: 12 }, (_, n) =>
        withOrganization(db, fleet.organization, async (tx) => {
          const isActive = and(eq(agentPrompts.agentId, fleet.agentId), agentPrompts.isActive);
          const [former] = await tx.select().from(agentPrompts).where(isActive);
          missing -= 1;
          if (missing === 0) allHaveLooked();
          await looked;
          const flip = (id: string | undefined, flag: boolean) =>
            tx
              .update(agentPrompts)
              .set({ isActive: flag })
              .where(eq(agentPrompts.id, id ?? ""));
          await flip(former?.id, false);
          await flip(fleet.ids[1 + (n % 2)], true);
        }),
      ),
    );
    const refused = moves.filter(({ status }) => status === "rejected");
    expect(refused.length).toBeGreaterThan(0);
    await close();
  });

  test("beside a new version that is active: refused by name once that is committed", async () => {
    const { db, query } = database;
    const fleet = await newFleet(db, false);
    const newcomer = newPrompt({ agentId: fleet.agentId, isActive: true });
    const inserting = await held(db, fleet, (tx) => tx.insert(agentPrompts).values(newcomer));
    const refusal = promote(fleet, fleet.ids[1]).catch((error: unknown) => databaseError(error));
    await waiting(query);
    await inserting.commit();
    expect(await refusal).toMatchObject({ code: "23505", constraint: "agent_prompts_one_active" });
    expect(await activeOnes(db, fleet)).toEqual([newcomer.id]);
  });

  test("beside a new version that is given up: done", async () => {
    const { db, query } = database;
    const fleet = await newFleet(db, true);
    const inserting = await held(db, fleet, async (tx) => {
      await tx.update(agentPrompts).set({ isActive: false }).where(eq(agentPrompts.isActive, true));
      await tx.insert(agentPrompts).values(newPrompt({ agentId: fleet.agentId, isActive: true }));
    });
    const promotion = promote(fleet, fleet.ids[1]);
    await waiting(query);
    await inserting.rollBack();
    expect(await promotion).toMatchObject({ steppedUp: fleet.ids[1], steppedDown: fleet.ids[0] });
    expect(await activeOnes(db, fleet)).toEqual([fleet.ids[1]]);
  });

  test("of a version that is deleted meanwhile: refused, the former one stays active", async () => {
    const { db, query } = database;
    const fleet = await newFleet(db, true);
    const id = fleet.ids[1] ?? "";
    const deleting = await held(db, fleet, (tx) =>
      tx.delete(agentPrompts).where(eq(agentPrompts.id, id)),
    );
    const refusal = expect(promote(fleet, id)).rejects.toThrow(`no prompt ${id}`);
    await waiting(query);
    await deleting.commit();
    await refusal;
    expect(await activeOnes(db, fleet)).toEqual([fleet.ids[0]]);
  });

  test("new versions and logs of the agent are not held up", async () => {
    const { db } = database;
    const fleet = await newFleet(db, true);
    const promotion = await held(db, fleet, (tx) => promotePrompt(tx, fleet.ids[1] ?? ""));
    await withOrganization(db, fleet.organization, (tx) =>
      tx.insert(agentPrompts).values(newPrompt({ agentId: fleet.agentId })),
    );
    await promotion.commit();
    expect(await activeOnes(db, fleet)).toEqual([fleet.ids[1]]);
  });
});
