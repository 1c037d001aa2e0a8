import { randomUUID } from "node:crypto";
import { sql } from "drizzle-orm";
import { beforeAll, expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import type { Database, Transaction } from "../../src/client/sql.ts";
import { withOrganization } from "../../src/client/tenancy.ts";
import { type NewExecution, recordExecutions } from "../../src/fleet/record/record.ts";
import { agentRegistry } from "../../src/schema/index.ts";
import { newAgent, newExecutionLog } from "../../src/testing.ts";
import { END, expectEnded } from "../ended.ts";
import { suite } from "../engine.ts";
import { waiting } from "./waiting.ts";

const ORGANIZATION = randomUUID();
const agent = newAgent();
const beginnings = (length: number) =>
  Array.from({ length }, () => ({
    ...newExecutionLog({ agentId: agent.id }),
    status: "running" as const,
  }));
const endOf = (row: NewExecution): NewExecution => ({ ...row, ...END });

const asTenant = <T>(db: Database, work: (tx: Transaction) => Promise<T>) =>
  withOrganization(db, ORGANIZATION, work);

/** As somebody would write it at first: what it does not see when it begins, it does not complete. */
async function naively(tx: Transaction, [end]: readonly NewExecution[]): Promise<void> {
  await tx.execute(sql`
    with new as (
      insert into agent_execution_logs (id, agent_id, execution_id, action_type, status, latency_ms)
      values (${end?.id}, ${end?.agentId}, ${end?.executionId}, ${end?.actionType}, 'success', 5290)
      on conflict (id) do nothing returning id
    )
    update agent_execution_logs set status = 'success', latency_ms = 5290
    where id = ${end?.id} and status = 'running' and not exists (select from new)`);
}

suite("rows that several callers end", (database) => {
  beforeAll(() => asTenant(database.db, (tx) => tx.insert(agentRegistry).values(agent)));

  /** How a row ends whose end is recorded while its beginning is not committed yet. */
  async function endBesideBeginning(
    record: (tx: Transaction, entries: readonly NewExecution[]) => Promise<unknown>,
  ) {
    const begun = beginnings(1);
    const { db: beside, close } = connect(database.url, { max: 1 });
    let ending: Promise<unknown> = Promise.resolve();
    await asTenant(database.db, async (tx) => {
      await recordExecutions(tx, begun);
      ending = asTenant(beside, (other) => record(other, begun.map(endOf)));
      await waiting(database.query);
    });
    const result = await ending;
    await close();
    const [row] = await database.query<{ status: string }>(
      "select status from agent_execution_logs where id = $1::text::uuid",
      [begun[0]?.id],
    );
    return { status: row?.status, result };
  }

  test("an end beside the uncommitted beginning is not lost, as it would be in one statement", async () => {
    expect(await endBesideBeginning(recordExecutions)).toEqual({
      status: "success",
      result: { inserted: 0, completed: 1, repeated: 0, conflicting: [], alerts: [] },
    });
    expect(await endBesideBeginning(naively)).toMatchObject({ status: "running" });
  });

  test("64 writers deliver beginnings and ends, each twice, in any order: every row ends once", async () => {
    const rows = beginnings(1000);
    const deliveries = [...rows, ...rows, ...rows.map(endOf), ...rows.map(endOf)]
      .map((entry) => ({ entry, place: Math.random() }))
      .toSorted((a, b) => a.place - b.place)
      .map(({ entry }) => entry);
    const size = deliveries.length / 64;
    const pools = Array.from({ length: 4 }, () => connect(database.url, { max: 8 }));
    const results = await Promise.all(
      Array.from({ length: 64 }, (_, writer) => {
        const pool = pools[writer % pools.length] ?? database;
        const mine = deliveries.slice(Math.floor(writer * size), Math.floor((writer + 1) * size));
        return asTenant(pool.db, (tx) => recordExecutions(tx, mine));
      }),
    );
    await Promise.all(pools.map(({ close }) => close()));
    const sum = (of: "inserted" | "completed" | "repeated") =>
      results.reduce((total, result) => total + result[of], 0);
    expect(results.flatMap(({ conflicting }) => conflicting)).toEqual([]);
    expect(sum("inserted")).toBe(rows.length);
    expect(sum("inserted") + sum("completed") + sum("repeated")).toBe(deliveries.length);
    await expectEnded(
      database.db,
      rows.map(({ id }) => id),
    );
  });

  test.each([100, 1500])("two callers end the same %i rows in opposite orders", async (size) => {
    for (let round = 0; round < 4; round += 1) {
      const begun = beginnings(size);
      await asTenant(database.db, (tx) => recordExecutions(tx, begun));
      const ends = begun.map(endOf);
      const results = await Promise.all(
        [ends, ends.toReversed()].map((mine) =>
          asTenant(database.db, (tx) => recordExecutions(tx, mine)),
        ),
      );
      expect(results.reduce((sum, { completed }) => sum + completed, 0)).toBe(size);
      expect(results.reduce((sum, { repeated }) => sum + repeated, 0)).toBe(size);
    }
  });
});
