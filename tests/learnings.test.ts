import { randomUUID } from "node:crypto";
import { eq } from "drizzle-orm";
import { expect, test } from "vitest";
import { supersedeLearning } from "../src/fleet/learnings.ts";
import { learningLog } from "../src/schema/index.ts";
import { newLearning } from "../src/testing.ts";
import { suite } from "./engine.ts";
import { type Fleet, WRITTEN, newFleet } from "./fleet.ts";

suite("a learning", (database) => {
  async function learnt(fleet: Fleet): Promise<[string, string, string]> {
    const [a, b, c] = [newLearning(), newLearning(), newLearning()];
    await fleet.as((tx) => tx.insert(learningLog).values([a, b, c]));
    return [a.id, b.id, c.id];
  }
  const supersede = (fleet: Fleet, id: string, by: string) =>
    fleet.as((tx) => supersedeLearning(tx, { id, by }));
  const written = ({ organization }: Fleet) => database.query(WRITTEN, [organization]);

  test("that is superseded names its successor and holds no more; again writes nothing", async () => {
    const fleet = await newFleet(database.db);
    const [a, b] = await learnt(fleet);
    expect(await supersede(fleet, a, b)).toBe(true);
    const [row] = await database.db.select().from(learningLog).where(eq(learningLog.id, a));
    expect(row).toMatchObject({ supersededBy: b, isActive: false });
    const before = await written(fleet);
    expect(await supersede(fleet, a, b)).toBe(false);
    expect(await written(fleet)).toEqual(before);
  });

  test("has one successor, no superseded one and never itself, so that no ring comes about", async () => {
    const fleet = await newFleet(database.db);
    const [a, b, c] = await learnt(fleet);
    await supersede(fleet, a, b);
    await supersede(fleet, b, c);
    const before = await written(fleet);
    await expect(supersede(fleet, a, c)).rejects.toThrow(`${a} is superseded by ${b}`);
    await expect(supersede(fleet, c, a)).rejects.toThrow(`${a} is itself superseded, by ${b}`);
    await expect(supersede(fleet, c, c)).rejects.toThrow("another learning");
    expect(await written(fleet)).toEqual(before);
  });

  test("of another organization is answered as a missing one", async () => {
    const fleet = await newFleet(database.db);
    const [a] = await learnt(fleet);
    const [foreign] = await learnt(await newFleet(database.db));
    for (const [id, by] of [
      [a, foreign],
      [foreign, a],
      [a, randomUUID()],
    ] as const) {
      await expect(supersede(fleet, id, by)).rejects.toThrow("no learnings");
    }
  });
});
