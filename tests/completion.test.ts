import { randomUUID } from "node:crypto";
import { eq } from "drizzle-orm";
import * as fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import type { Transaction } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { type NewExecution, recordExecutions } from "../src/fleet/record/record.ts";
import { agentExecutionLogs, agentRegistry, executionEmbeddings } from "../src/schema/index.ts";
import { newAgent, newExecutionLog } from "../src/testing.ts";
import { expectEnded } from "./ended.ts";
import { suite } from "./engine.ts";

const OURS = randomUUID();
const agent = newAgent();
const SEED = process.env["PROPERTY_SEED"];

/** Two ways on a server, one on the embedded engine; the result is the same. */
const SIZES = [1, 600];

const vector = (first: number) => Array.from({ length: 1536 }, (_, i) => (i === 0 ? first : 0.5));

const running = (given: Partial<NewExecution> & { id?: string } = {}) =>
  ({
    ...newExecutionLog({ agentId: agent.id, timestamp: new Date("2026-01-02T03:04:05.678Z") }),
    status: "running",
    inputData: { question: 1 },
    metadata: { traced: true },
    ...given,
  }) satisfies NewExecution;

/** The end of a row that began as `begun`: what it does not give stays. */
const ended = (
  { id, agentId, executionId, actionType, timestamp }: ReturnType<typeof running>,
  given: Partial<NewExecution> = {},
) =>
  ({
    ...{ id, agentId, executionId, actionType, timestamp },
    ...{ outputData: { answer: 2 }, latencyMs: 5290, ...given },
  }) satisfies NewExecution;

suite("a row that runs", (database) => {
  const asUs = <T>(work: (tx: Transaction) => Promise<T>) =>
    withOrganization(database.db, OURS, work);
  const stored = async (tx: Transaction, id: string) =>
    (await tx.select().from(agentExecutionLogs).where(eq(agentExecutionLogs.id, id)))[0];
  const lists = (size: number, make = running) => Array.from({ length: size }, () => make());

  beforeAll(() => asUs((tx) => tx.insert(agentRegistry).values(agent)));

  test.each(SIZES)(
    "is completed by its id: what is given replaces what was there (%i)",
    async (size) => {
      const begun = lists(size);
      const ends = begun.map((row) => ended(row));
      await asUs(async (tx) => {
        await recordExecutions(tx, begun);
        expect(await recordExecutions(tx, [...ends, running()])).toEqual({
          inserted: 1,
          completed: size,
          repeated: 0,
          conflicting: [],
          alerts: [],
        });
        expect(await stored(tx, begun[0]?.id ?? "")).toMatchObject({
          status: "success",
          inputData: { question: 1 },
          outputData: { answer: 2 },
          latencyMs: 5290,
          metadata: { traced: true },
          organizationId: OURS,
        });
        // The end again, and the beginning that comes late.
        expect(await recordExecutions(tx, [...ends, ...begun])).toEqual({
          inserted: 0,
          completed: 0,
          repeated: 2 * size,
          conflicting: [],
          alerts: [],
        });
      });
    },
  );

  test.each(SIZES)(
    "is not ended by what disagrees on agent, execution or time (%i)",
    async (size) => {
      const other = newAgent();
      await asUs(async (tx) => {
        await tx.insert(agentRegistry).values(other);
        const changes: Partial<NewExecution>[] = [
          { agentId: other.id },
          { executionId: randomUUID() },
          { timestamp: new Date("2026-01-02T03:04:05.679Z") },
        ];
        for (const change of changes) {
          const begun = lists(size);
          await recordExecutions(tx, begun);
          const wrong = begun.map((row) => ended(row, change));
          expect(await recordExecutions(tx, wrong)).toEqual({
            inserted: 0,
            completed: 0,
            repeated: 0,
            conflicting: begun.map(({ id }) => id),
            alerts: [],
          });
          expect(await stored(tx, begun[0]?.id ?? "")).toMatchObject({
            status: "running",
            outputData: null,
          });
        }
      });
    },
  );

  test("of columns that an end gives NULL, NULL is stored", async () => {
    const begun = running({ actionName: "search" });
    await asUs(async (tx) => {
      await recordExecutions(tx, [begun]);
      await recordExecutions(tx, [
        ended(begun, { status: "failure", inputData: null, actionName: null }),
      ]);
      expect(await stored(tx, begun.id)).toMatchObject({
        status: "failure",
        inputData: null,
        actionName: null,
      });
    });
  });

  test("a beginning that comes late and says another thing is in conflict, and changes nothing", async () => {
    const begun = running();
    await asUs(async (tx) => {
      await recordExecutions(tx, [ended(begun)]);
      expect(await recordExecutions(tx, [begun])).toMatchObject({ conflicting: [begun.id] });
      expect(await stored(tx, begun.id)).toMatchObject({ status: "success", inputData: null });
    });
  });

  test("an expired row is completed, and forgets why it expired; another timeout is final", async () => {
    const [expired, late] = [running(), running()];
    await asUs(async (tx) => {
      await recordExecutions(tx, [expired, late]);
      const times = { errorMessage: "no end came", status: "timeout" } as const;
      const of = (id: string) => eq(agentExecutionLogs.id, id);
      await tx
        .update(agentExecutionLogs)
        .set({ ...times, errorType: "expired" })
        .where(of(expired.id));
      await tx
        .update(agentExecutionLogs)
        .set({ ...times, errorType: "slow" })
        .where(of(late.id));
      expect(await recordExecutions(tx, [ended(expired), ended(late)])).toMatchObject({
        completed: 1,
        conflicting: [late.id],
        alerts: [],
      });
      expect(await stored(tx, expired.id)).toMatchObject({
        status: "success",
        errorType: null,
        errorMessage: null,
      });
    });
  });

  test("of several entries of one id in a call the final one wins, the first of two", async () => {
    await asUs(async (tx) => {
      for (const place of [0, 1, 2]) {
        const begun = running();
        const end = ended(begun, { inputData: begun.inputData, metadata: begun.metadata });
        const entries: NewExecution[] = [begun, begun];
        entries.splice(place, 0, end);
        expect(await recordExecutions(tx, entries)).toEqual({
          inserted: 1,
          completed: place === 0 ? 0 : 1,
          repeated: place === 0 ? 2 : 1,
          conflicting: [],
          alerts: [],
        });
        expect(await stored(tx, begun.id)).toMatchObject({ status: "success", latencyMs: 5290 });
      }
      const begun = running();
      const ends = [ended(begun, { status: "failure" }), ended(begun, { status: "success" })];
      expect(await recordExecutions(tx, [begun, ...ends])).toEqual({
        inserted: 1,
        completed: 1,
        repeated: 0,
        conflicting: [begun.id],
        alerts: [],
      });
      expect(await stored(tx, begun.id)).toMatchObject({ status: "failure" });
    });
  });

  test("of another organization stays running: its id is taken", async () => {
    const begun = running();
    await asUs((tx) => recordExecutions(tx, [begun]));
    const ours = newAgent();
    await withOrganization(database.db, randomUUID(), async (tx) => {
      await tx.insert(agentRegistry).values(ours);
      const [mine, theirs] = [running({ agentId: ours.id }), ended(begun, { agentId: ours.id })];
      await recordExecutions(tx, [mine]);
      await expect(
        recordExecutions(tx, [ended(mine, { agentId: ours.id }), theirs]),
      ).rejects.toThrow("taken");
      expect(await stored(tx, mine.id)).toMatchObject({ status: "running" });
      const told: number[] = [];
      const onRefused = (index: number) => told.push(index);
      const entries = [ended(mine, { agentId: ours.id }), theirs];
      expect(await recordExecutions(tx, entries, { onRefused })).toMatchObject({ completed: 1 });
      expect(told).toEqual([1]);
    });
    expect(await asUs((tx) => stored(tx, begun.id))).toMatchObject({ status: "running" });
  });

  test("embeddings: an end replaces them, a repeat fills in what was NULL, another one conflicts", async () => {
    const begun = running();
    const of = async (tx: Transaction) => {
      const all = await tx
        .select()
        .from(executionEmbeddings)
        .where(eq(executionEmbeddings.executionLogId, begun.id));
      expect(all.length).toBeLessThan(2);
      return [all[0]?.inputEmbedding?.[0], all[0]?.outputEmbedding?.[0]];
    };
    await asUs(async (tx) => {
      await recordExecutions(tx, [{ ...begun, embeddings: { input: vector(1) } }]);
      const filled = { ...begun, embeddings: { output: vector(2) } };
      expect(await recordExecutions(tx, [filled, filled])).toMatchObject({ repeated: 2 });
      expect(await of(tx)).toEqual([1, 2]);
      const other = { ...begun, embeddings: { output: vector(3) } };
      expect(await recordExecutions(tx, [other])).toMatchObject({ conflicting: [begun.id] });
      expect(await of(tx)).toEqual([1, 2]);
      const end = { ...ended(begun), embeddings: { input: vector(4) } };
      expect(await recordExecutions(tx, [end])).toMatchObject({ completed: 1 });
      expect(await of(tx)).toEqual([4, 2]);
      // In one call, as in two.
      const twice = running();
      await recordExecutions(tx, [
        { ...twice, embeddings: { input: vector(5) } },
        { ...ended(twice), embeddings: { output: vector(6) } },
      ]);
      expect(
        await tx
          .select()
          .from(executionEmbeddings)
          .where(eq(executionEmbeddings.executionLogId, twice.id)),
      ).toMatchObject([{ inputEmbedding: vector(5), outputEmbedding: vector(6) }]);
    });
  });

  test("in 1,000 random orders of delivery it ends once, and every entry is counted", async () => {
    const begun = lists(1000);
    const kept = ({ inputData, metadata }: ReturnType<typeof running>) => ({ inputData, metadata });
    const deliveries = fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4 });
    const orders = fc.sample(deliveries, {
      numRuns: begun.length,
      ...(SEED === undefined ? {} : { seed: Number(SEED) }),
    });
    await asUs(async (tx) => {
      const sums = { inserted: 0, completed: 0, repeated: 0 };
      for (const turn of [0, 1, 2, 3]) {
        const entries = begun.map((row, n) =>
          (orders[n]?.[turn] ?? 0) < 2 ? row : ended(row, kept(row)),
        );
        const { conflicting, ...counts } = await recordExecutions(tx, entries);
        expect(conflicting).toEqual([]);
        sums.inserted += counts.inserted;
        sums.completed += counts.completed;
        sums.repeated += counts.repeated;
      }
      const beganFirst = orders.filter(([first = 0]) => first < 2).length;
      expect(sums).toEqual({
        inserted: begun.length,
        completed: beganFirst,
        repeated: 3 * begun.length - beganFirst,
      });
      await expectEnded(
        tx,
        begun.map(({ id }) => id),
      );
    });
  });
});
