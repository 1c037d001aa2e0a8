// An application as strangers write one, compiled as ES module and as CommonJS, by two compilers. It reaches
// every entry point, has a table of its own that refers to ours, and uses pg where postgres.js is not wanted.
import assert from "node:assert/strict";
import { eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { pgTable, text, uuid } from "drizzle-orm/pg-core";
import { type Database, migrate, schema, withOrganization, withServiceRole } from "meta-agent-db";
import { databaseUrls } from "meta-agent-db/config";
import { tablesFilter } from "meta-agent-db/drizzle-kit";
import { EMBEDDED_DIRECTORY } from "meta-agent-db/embedded";
import { executionEmbeddings } from "meta-agent-db/embeddings";
import { evaluationReports } from "meta-agent-db/evaluation";
import { type Agent, type NewAgent, agentRegistry } from "meta-agent-db/governance";
import { costBudgets } from "meta-agent-db/learning-cost";
import { MIGRATIONS } from "meta-agent-db/migrations";
import { agentHealthRealtime } from "meta-agent-db/monitoring";
import { agentRegistryRelations } from "meta-agent-db/relations";
import { alertHistory } from "meta-agent-db/safety";
import * as tables from "meta-agent-db/schema";
import { newAgent, openTestDatabase } from "meta-agent-db/testing";
import { AGENT_STATUSES, type AgentStatus } from "meta-agent-db/values";
import { insertAgentSchema } from "meta-agent-db/zod";
import { Client, Pool } from "pg";

const notes = pgTable("notes", {
  agentId: uuid("agent_id").references(() => agentRegistry.id),
  note: text("note"),
});

// Types: closed sets are unions, money is text, nothing is any.
const status: AgentStatus = AGENT_STATUSES[0];
const agent: NewAgent = { agentName: "clerk", displayName: "Clerk", category: "sales", status };
// @ts-expect-error -- not one of the statuses
const wrong: NewAgent = { ...agent, status: "asleep" };
type IsAny<T> = 0 extends 1 & T ? true : false;
const precise: { [Key in keyof Agent]: IsAny<Agent[Key]> }[keyof Agent] = false;

const ACME = "6f0d9d6e-36c5-4b8f-9a3e-1f3a5f1c7b2d";
const OTHER = "0b9f4b1e-7a60-4f0a-8f0c-2d7b2e7e4f11";

async function use(db: Database): Promise<void> {
  const { id } = await withOrganization(db, ACME, async (tx) => {
    const [row] = await tx.insert(agentRegistry).values(newAgent({ status })).returning();
    assert(row);
    return row;
  });
  const seen = (organization: string) =>
    withOrganization(db, organization, (tx) =>
      tx.query.agentRegistry.findMany({ where: eq(agentRegistry.id, id), with: { prompts: true } }),
    );
  const failing = withOrganization(db, ACME, async (tx) => {
    await tx.update(agentRegistry).set({ status: "paused" });
    throw new Error("changed my mind");
  });
  await assert.rejects(failing, /changed my mind/);
  // Savepoints, one of them rolled back; what they leave is committed.
  await withOrganization(db, ACME, async (tx) => {
    const rename = (displayName: string) => (inner: typeof tx) =>
      inner.update(agentRegistry).set({ displayName }).where(eq(agentRegistry.id, id));
    await tx.transaction(rename("kept"));
    const undone = tx.transaction(async (inner) => {
      await rename("undone")(inner);
      throw new Error("not that");
    });
    await assert.rejects(undone, /not that/);
  });
  const [stored] = await seen(ACME);
  assert.deepEqual([stored?.status, stored?.displayName], ["active", "kept"]);
  assert.deepEqual(await seen(OTHER), []);
  // A transaction that is over sends nothing into the next one, not even on the same connection.
  const leaked = await withOrganization(db, ACME, async (tx) => ({ tx }));
  const late = withOrganization(db, OTHER, () => leaked.tx.execute(sql`select 1`));
  await assert.rejects(late, /this transaction is over/);
}

async function main(): Promise<void> {
  assert.equal(insertAgentSchema.safeParse(wrong).success, false);
  assert.equal(tablesFilter.length, 21);
  assert.equal(MIGRATIONS[0]?.name, "0000_foundation");
  for (const table of [executionEmbeddings, evaluationReports, costBudgets, notes]) assert(table);
  for (const table of [agentHealthRealtime, agentRegistryRelations, alertHistory]) assert(table);
  assert.equal(tables.agentRegistry, agentRegistry);
  assert.deepEqual([precise, EMBEDDED_DIRECTORY], [false, ".meta-agent"]);

  const embedded = await openTestDatabase();
  await use(embedded.db);
  assert.deepEqual(await migrate(embedded.db), { applied: [] });
  await embedded.close();

  const { databaseUrl } = databaseUrls();
  const pool = new Pool({ connectionString: databaseUrl });
  // Without a listener pg ends the process when a connection is lost.
  pool.on("connect", (client) => client.on("error", () => {}));
  const db = drizzle(pool, { schema });
  if (databaseUrl !== undefined) {
    await migrate(db);
    await use(db);
    // A COMMIT that the server refuses is the error, and the connection serves on.
    const refused = withServiceRole(db, async (tx) => {
      await tx.execute(
        sql`create temp table once (id int unique initially deferred) on commit drop`,
      );
      await tx.execute(sql`insert into once values (1), (1)`);
    });
    await assert.rejects(refused, ({ cause }: Error) => /once_id_key/.test(String(cause)));
    const interrupted = withOrganization(db, ACME, async (tx) => {
      const { rows } = await tx.execute(sql`select pg_backend_pid() as pid`);
      await pool.query("select pg_terminate_backend($1)", [rows[0]?.["pid"]]);
      await tx.execute(sql`select 1`);
    });
    await assert.rejects(interrupted);
    const client = new Client({ connectionString: databaseUrl });
    await client.connect();
    await use(drizzle(client, { schema }));
    await client.end();
  }
  await pool.end();
  console.log("done");
}

void main();
