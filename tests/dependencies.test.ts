import { randomUUID } from "node:crypto";
import { eq } from "drizzle-orm";
import { expect, onTestFinished, test } from "vitest";
import { connect } from "../src/client/connect.ts";
import type { Transaction } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import {
  type Dependency,
  DependencyCycleError,
  addDependency,
  blastRadius,
} from "../src/fleet/dependencies.ts";
import { agentDependencies, agentRegistry } from "../src/schema/index.ts";
import { newAgent } from "../src/testing.ts";
import { engine, suite } from "./engine.ts";

suite("dependencies of agents", (database) => {
  /** An organization with so many agents, and their ids. */
  async function newFleet(size: number) {
    const organization = randomUUID();
    const agents = Array.from({ length: size }, () => newAgent());
    const act = <T>(work: (tx: Transaction) => Promise<T>) =>
      withOrganization(database.db, organization, work);
    await act((tx) => tx.insert(agentRegistry).values(agents));
    const ids = agents.map(({ id }) => id);
    const link = (up: number, down: number, more: Partial<Dependency> = {}): Dependency => ({
      upstreamAgentId: ids[up] ?? "",
      downstreamAgentId: ids[down] ?? "",
      dependencyType: "data",
      ...more,
    });
    const stored = () =>
      database.query<{ row: string }>(
        "select xmin::text || d::text as row from agent_dependencies as d where organization_id = $1 order by id",
        [organization],
      );
    return { organization, agents, ids, act, link, stored };
  }

  /** Agents by their places: depth, C where critical, O where in a circle. */
  const places = (ids: readonly string[], hit: Awaited<ReturnType<typeof blastRadius>>) =>
    hit
      .map(
        ({ agentId, depth, isCritical, inCycle }) =>
          `${ids.indexOf(agentId)}: ${depth}${isCritical ? "C" : ""}${inCycle ? "O" : ""}`,
      )
      .toSorted();

  test("one that would close a circle is refused by its path, and nothing is written", async () => {
    const { ids, agents, act, link, stored } = await newFleet(5);
    await act(async (tx) => {
      for (const [up, down] of [
        [0, 1],
        [1, 2],
        [2, 3],
        [0, 2],
        [3, 4],
      ] as const) {
        expect(await addDependency(tx, link(up, down))).toMatchObject({ isNew: true });
      }
    });
    const before = await stored();
    const refusal: unknown = await act((tx) => addDependency(tx, link(3, 0))).catch(
      (error: unknown) => error,
    );
    expect(refusal).toBeInstanceOf(DependencyCycleError);
    // By the shortest way.
    const path = [0, 2, 3, 0];
    expect(refusal).toMatchObject({ path: path.map((place) => ids[place]) });
    const names = path.map((place) => agents[place]?.agentName).join(" → ");
    expect(refusal instanceof Error && refusal.message).toContain(`in a circle: ${names}.`);
    await expect(act((tx) => addDependency(tx, link(1, 0)))).rejects.toMatchObject({
      path: [ids[0], ids[1], ids[0]],
    });
    await expect(act((tx) => addDependency(tx, link(1, 1)))).rejects.toThrow(/AgentId/);
    expect(await stored()).toEqual(before);
  });

  test("the same again writes nothing; another type or weight is the stored one's from then on", async () => {
    const { act, link, stored } = await newFleet(2);
    const first = await act((tx) => addDependency(tx, link(0, 1)));
    const before = await stored();
    expect(await act((tx) => addDependency(tx, link(0, 1)))).toEqual({ ...first, isNew: false });
    expect(await stored()).toEqual(before);
    const other = { dependencyType: "approval", isCritical: true } as const;
    expect(await act((tx) => addDependency(tx, link(0, 1, other)))).toEqual({
      ...first,
      isNew: false,
    });
    const [row] = await database.db
      .select()
      .from(agentDependencies)
      .where(eq(agentDependencies.id, first.id));
    expect(row).toMatchObject(other);
  });

  test("as service role it is of the agents' organization, and none joins two", async () => {
    const ours = await newFleet(2);
    const theirs = await newFleet(1);
    await withServiceRole(database.db, async (tx) => {
      const { id } = await addDependency(tx, ours.link(0, 1));
      const [row] = await tx.select().from(agentDependencies).where(eq(agentDependencies.id, id));
      expect(row?.organizationId).toBe(ours.organization);
      const across = ours.link(0, 1, { downstreamAgentId: theirs.ids[0] ?? "" });
      await expect(addDependency(tx, across)).rejects.toThrow(/no agents .+ of one organization/);
      const back = addDependency(tx, ours.link(1, 0));
      await expect(back).rejects.toBeInstanceOf(DependencyCycleError);
      expect(places(ours.ids, await blastRadius(tx, { agentId: ours.ids[0] ?? "" }))).toEqual([
        "1: 1",
      ]);
    });
  });

  test("an agent of another organization answers as one that is not there", async () => {
    const { act, link } = await newFleet(1);
    const theirs = await newFleet(2);
    await theirs.act((tx) => addDependency(tx, theirs.link(0, 1)));
    for (const id of [theirs.ids[0] ?? "", randomUUID()]) {
      for (const dependency of [
        link(0, 0, { upstreamAgentId: id }),
        link(0, 0, { downstreamAgentId: id }),
      ]) {
        await expect(act((tx) => addDependency(tx, dependency))).rejects.toThrow(
          `addDependency: no agents ${dependency.upstreamAgentId} and ${dependency.downstreamAgentId}`,
        );
      }
      await expect(act((tx) => blastRadius(tx, { agentId: id }))).rejects.toThrow(
        `blastRadius: no agent ${id}, or it is not this caller's`,
      );
    }
  });

  test("a transaction whose snapshot may be old is refused", async () => {
    const { link } = await newFleet(2);
    const attempt = database.db.transaction((tx) => addDependency(tx, link(0, 1)), {
      isolationLevel: "repeatable read",
    });
    await expect(attempt).rejects.toThrow("addDependency needs a READ COMMITTED transaction");
  });

  test("the blast radius tells how far, whether on critical ways alone, and who needs itself", async () => {
    const { ids, act, link } = await newFleet(8);
    const isCritical = true;
    await act(async (tx) => {
      await addDependency(tx, link(0, 1, { isCritical }));
      await addDependency(tx, link(1, 2, { isCritical }));
      await addDependency(tx, link(0, 2));
      await addDependency(tx, link(2, 3));
      await addDependency(tx, link(3, 4, { isCritical }));
      await addDependency(tx, link(5, 0));
      // A circle that others made.
      await tx
        .insert(agentDependencies)
        .values([link(4, 6, { isCritical }), link(6, 7), link(7, 4)]);
    });
    const of = (place: number, direction?: "up" | "down") =>
      act(async (tx) =>
        places(ids, await blastRadius(tx, { agentId: ids[place] ?? "", direction })),
      );
    expect(await of(0)).toEqual(["1: 1C", "2: 1C", "3: 2", "4: 3O", "6: 4O", "7: 5O"]);
    expect(await of(4)).toEqual(["4: 3O", "6: 1CO", "7: 2O"]);
    expect(await of(2, "up")).toEqual(["0: 1C", "1: 1C", "5: 2"]);
    expect(await of(5, "up")).toEqual([]);
  });

  test("a graph with more ways than anybody counts is answered", async () => {
    const layers = 12;
    const { ids, act, link } = await newFleet(layers * 5);
    await act((tx) =>
      tx
        .insert(agentDependencies)
        .values(
          Array.from({ length: layers - 1 }, (_, layer) =>
            Array.from({ length: 25 }, (__, n) =>
              link(layer * 5 + Math.floor(n / 5), (layer + 1) * 5 + (n % 5), { isCritical: true }),
            ),
          ).flat(),
        ),
    );
    const hit = await act((tx) => blastRadius(tx, { agentId: ids[0] ?? "" }));
    expect(hit).toHaveLength((layers - 1) * 5);
    expect(hit.at(-1)).toMatchObject({ depth: layers - 1, isCritical: true, inCycle: false });
    await expect(act((tx) => addDependency(tx, link(layers * 5 - 1, 0)))).rejects.toMatchObject({
      path: expect.objectContaining({ length: layers + 1 }),
    });
  });

  test.skipIf(engine === "embedded")(
    "12 writers that close a circle together: one is refused; who looks and then writes closes it",
    async () => {
      const { db, close } = connect(database.url, { max: 12 });
      onTestFinished(close);
      for (const as of ["tenant", "service"]) {
        const { organization, link } = await newFleet(12);
        const write = (place: number) => (tx: Transaction) =>
          addDependency(tx, link(place, (place + 1) % 12));
        const attempts = await Promise.allSettled(
          Array.from({ length: 12 }, (_, place) =>
            as === "tenant"
              ? withOrganization(db, organization, write(place))
              : withServiceRole(db, write(place)),
          ),
        );
        const refusals = attempts.flatMap((attempt): unknown[] =>
          attempt.status === "rejected" ? [attempt.reason] : [],
        );
        expect(refusals).toEqual([expect.any(DependencyCycleError)]);
        expect(refusals[0]).toMatchObject({ path: expect.objectContaining({ length: 13 }) });
      }
      const { organization, link, ids, act } = await newFleet(12);
      let looked = 0;
      let allHaveLooked = (): void => {};
      const meeting = new Promise<void>((resolve) => (allHaveLooked = resolve));
      await Promise.all(
        ids.map((id, place) =>
          withOrganization(db, organization, async (tx) => {
            const next = link(place, (place + 1) % 12);
            const hit = await blastRadius(tx, { agentId: next.downstreamAgentId });
            looked += 1;
            if (looked === 12) allHaveLooked();
            await meeting;
            if (hit.some(({ agentId }) => agentId === id)) return;
            await tx.insert(agentDependencies).values(next);
          }),
        ),
      );
      const circular = await act((tx) => blastRadius(tx, { agentId: ids[0] ?? "" }));
      expect(circular.filter(({ inCycle }) => inCycle)).toHaveLength(12);
    },
    60_000,
  );
});
