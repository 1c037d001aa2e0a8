import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import { inArray } from "drizzle-orm";
import { expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { databaseError } from "../../src/client/errors.ts";
import type { Database, Transaction } from "../../src/client/sql.ts";
import { withOrganization } from "../../src/client/tenancy.ts";
import { ensureAgents } from "../../src/fleet/agents.ts";
import { type NewExecution, recordExecutions } from "../../src/fleet/record/record.ts";
import { importExecutions } from "../../src/ingest/import.ts";
import type { FinishedSpan } from "../../src/ingest/spans.ts";
import { agentExecutionLogs, agentRegistry } from "../../src/schema/index.ts";
import { suite } from "../engine.ts";
import { executionsOf, newSpan, otlpOf } from "../spans.ts";
import { waiting } from "./waiting.ts";

/** Runs of agents, each with a call of a model that ends before it. */
const runsOf = (agents: readonly string[], length: number): FinishedSpan[] =>
  Array.from({ length }, (_, n) => {
    const name = agents[n % agents.length];
    const run = newSpan({
      attributes: { "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name },
    });
    return [newSpan({ within: run }), run];
  }).flat();

const fileOf = (spans: readonly FinishedSpan[]) =>
  Readable.from(spans.map((span) => Buffer.from(`${JSON.stringify(otlpOf([span]))}\n`)));

suite("one file that is imported twice at once", (database) => {
  test("four imports, two of them from its end, store each row once and make each agent once", async () => {
    const organization = randomUUID();
    const agents = ["one", "two", "three"].map((name) => `${name} of ${organization.slice(0, 4)}`);
    // More than two transactions of each import.
    const spans = runsOf(agents, 1100);
    const orders = [spans, spans.toReversed(), spans, spans.toReversed()];
    const pools = orders.map(() => connect(database.url, { max: 1 }));
    const results = await Promise.all(
      pools.map(({ db }, n) => importExecutions(db, fileOf(orders[n] ?? []), { organization })),
    );
    await Promise.all(pools.map(({ close }) => close()));
    const sum = (of: "inserted" | "repeated" | "completed" | "conflicting" | "refused") =>
      results.reduce((total, result) => total + result[of], 0);
    expect([sum("inserted"), sum("repeated")]).toEqual([spans.length, 3 * spans.length]);
    expect([sum("completed"), sum("conflicting"), sum("refused")]).toEqual([0, 0, 0]);
    expect(results.flatMap(({ newAgents }) => newAgents).toSorted()).toEqual(agents.toSorted());
    await withOrganization(database.db, organization, async (tx) => {
      expect(await tx.$count(agentExecutionLogs)).toBe(spans.length);
      expect(await tx.$count(agentRegistry)).toBe(agents.length);
    });
  });

  interface Beside {
    readonly db: Database;
    readonly organization: string;
    readonly spans: readonly FinishedSpan[];
    readonly rows: readonly (NewExecution & { readonly id: string })[];
  }

  /** What an import answers whose rows another has written, and commits only when it waits for them. */
  async function besideUncommitted<T>(work: (given: Beside) => Promise<T>): Promise<T> {
    const organization = randomUUID();
    const spans = runsOf([`desk ${organization.slice(0, 4)}`], 10);
    const { db, close } = connect(database.url, { max: 1 });
    const [agent] = await withOrganization(db, organization, (tx) =>
      ensureAgents(tx, [{ agentName: executionsOf(spans)[0]?.agentName ?? "" }]),
    );
    const rows = executionsOf(spans).map(({ execution }) => ({
      ...execution,
      id: String(execution.id),
      agentId: agent?.id ?? "",
    }));
    let working: Promise<T> | undefined;
    await withOrganization(database.db, organization, async (tx) => {
      await recordExecutions(tx, rows);
      working = work({ db, organization, spans, rows });
      working.catch(() => {});
      await waiting(database.query);
    });
    if (!working) throw new Error("the work begins inside the transaction");
    return working.finally(close);
  }

  /** As somebody would write it at first: what it does not see when it looks, it inserts. */
  async function naively(tx: Transaction, { rows }: Beside): Promise<void> {
    const ids = rows.map(({ id }) => id);
    const found = await tx
      .select({ id: agentExecutionLogs.id })
      .from(agentExecutionLogs)
      .where(inArray(agentExecutionLogs.id, ids));
    const there = new Set(found.map(({ id }) => id));
    for (const { id, agentId, executionId, actionType } of rows) {
      if (there.has(id)) continue;
      await tx.insert(agentExecutionLogs).values({ id, agentId, executionId, actionType });
    }
  }

  test("rows that another import has not committed yet are there, where looking first would fail", async () => {
    const result = await besideUncommitted(({ db, organization, spans }) =>
      importExecutions(db, fileOf(spans), { organization }),
    );
    expect(result).toMatchObject({ inserted: 0, repeated: 20, conflicting: 0, newAgents: [] });
    const error: unknown = await besideUncommitted((given) =>
      withOrganization(given.db, given.organization, (tx) => naively(tx, given)),
    ).catch((cause: unknown) => cause);
    expect(databaseError(error)?.code).toBe("23505");
  });
});
