import { randomUUID } from "node:crypto";
import { inArray, sql } from "drizzle-orm";
import { expect, test } from "vitest";
import * as z from "zod";
import { type Transaction, rows } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import { ensureAgents } from "../src/fleet/agents.ts";
import { agentRegistry } from "../src/schema/index.ts";
import { engine, suite } from "./engine.ts";

const OURS = randomUUID();
const names = (count: number) => Array.from({ length: count }, () => `agent-${randomUUID()}`);

suite("ensureAgents", (database) => {
  const asUs = <T>(work: (tx: Transaction) => Promise<T>, organization = OURS) =>
    withOrganization(database.db, organization, work);
  const count = async (tx: Transaction) => tx.$count(agentRegistry);

  test("makes those that are missing, and answers the id of each in the order given", async () => {
    const [a = "", b = "", c = ""] = names(3);
    await asUs(async (tx) => {
      const [first] = await ensureAgents(tx, [{ agentName: b }]);
      const ensured = await ensureAgents(tx, [
        { agentName: c, category: "operations", displayName: "C", metadata: { from: "import" } },
        { agentName: b, displayName: "another", status: "paused" },
        { agentName: a },
        { agentName: c },
      ]);
      expect(ensured.map(({ agentName, isNew }) => [agentName, isNew])).toEqual([
        [c, true],
        [b, false],
        [a, true],
        [c, true],
      ]);
      expect(ensured[1]?.id).toBe(first?.id);
      expect(ensured[3]?.id).toBe(ensured[0]?.id);
      const stored = await tx
        .select()
        .from(agentRegistry)
        .where(inArray(agentRegistry.agentName, [a, b, c]));
      expect(new Map(stored.map((agent) => [agent.agentName, agent]))).toMatchObject(
        new Map([
          [c, { category: "operations", displayName: "C", metadata: { from: "import" } }],
          [b, { displayName: b, status: "active", category: "internal", organizationId: OURS }],
          [a, { displayName: a }],
        ]),
      );
      expect(await ensureAgents(tx, [])).toEqual([]);
    });
  });

  test("is one statement, and writes nothing where all are there", async () => {
    const agents = names(3).map((agentName) => ({ agentName }));
    await asUs((tx) => ensureAgents(tx, agents));
    await asUs(async (tx) => {
      let statements = 0;
      const execute = tx.execute.bind(tx);
      tx.execute = (query) => {
        statements += 1;
        return execute(query);
      };
      await ensureAgents(tx, agents);
      expect(statements).toBe(1);
      const [touched] = rows<{ n: number }>(
        await execute(
          sql`select count(*)::int as n from agent_registry where xmin::text = pg_current_xact_id_if_assigned()::text`,
        ),
      );
      expect(touched?.n).toBe(0);
    });
  });

  test("a name that another organization has is told, and none is made", async () => {
    const [theirs = "", fresh = ""] = names(2);
    await asUs((tx) => ensureAgents(tx, [{ agentName: theirs }]), randomUUID());
    await asUs(async (tx) => {
      const before = await count(tx);
      await expect(ensureAgents(tx, [{ agentName: fresh }, { agentName: theirs }])).rejects.toThrow(
        `another organization has an agent of this name: "${theirs}".`,
      );
      expect(await count(tx)).toBe(before);
    });
    await withServiceRole(database.db, async (tx) => {
      expect(await ensureAgents(tx, [{ agentName: theirs }])).toMatchObject([{ isNew: false }]);
      await expect(
        ensureAgents(tx, [{ agentName: theirs, organizationId: OURS }]),
      ).rejects.toMatchObject({ name: "AgentNameTakenError", agentNames: [theirs] });
      expect(await ensureAgents(tx, [{ agentName: fresh, organizationId: OURS }])).toMatchObject([
        { isNew: true },
      ]);
    });
  });

  test("a bad agent is named by its place", async () => {
    await asUs(async (tx) => {
      const attempt = ensureAgents(tx, [{ agentName: "fine" }, { agentName: "" }]);
      const error: unknown = await attempt.catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(Error);
      expect(error instanceof z.ZodError && error.issues[0]?.path).toEqual([1, "agentName"]);
    });
  });

  test.skipIf(engine === "embedded")(
    "callers that name the same agents in opposite orders do not wait for each other for ever",
    async () => {
      for (let round = 0; round < 5; round += 1) {
        const agents = names(200).map((agentName) => ({ agentName }));
        const all = await Promise.all(
          [agents, agents.toReversed(), agents, agents.toReversed()].map((mine) =>
            asUs((tx) => ensureAgents(tx, mine)),
          ),
        );
        expect(new Set(all.flat().map(({ id }) => id)).size).toBe(200);
      }
    },
  );

  test.skipIf(engine === "embedded")("of many callers at once one makes each agent", async () => {
    for (let round = 0; round < 5; round += 1) {
      const agents = names(20).map((agentName) => ({ agentName }));
      const all = await Promise.all(
        Array.from({ length: 8 }, () => asUs((tx) => ensureAgents(tx, agents))),
      );
      const ids = new Set(all.flat().map(({ id }) => id));
      expect(ids.size).toBe(20);
      expect(all.flat().filter(({ isNew }) => isNew)).toHaveLength(20);
    }
    // Look, then make, as one would at first.
    const naively = async (agentName: string) =>
      asUs(async (tx) => {
        const [found] = await tx
          .select()
          .from(agentRegistry)
          .where(inArray(agentRegistry.agentName, [agentName]));
        if (!found) {
          const agent = { agentName, displayName: agentName, category: "internal" } as const;
          await tx.insert(agentRegistry).values(agent);
        }
      });
    const attempts = await Promise.allSettled(
      names(20).flatMap((name) => [naively(name), naively(name), naively(name)]),
    );
    expect(attempts.some(({ status }) => status === "rejected")).toBe(true);
  });
});
