// Neon's driver on a plain server: its pool over a socket that stands where its WebSocket does. Prints `done`.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { Pool, neonConfig } from "@neondatabase/serverless";
import { eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/neon-serverless";
import { agentRegistry, migrate, recordExecutions, schema, withOrganization } from "meta-agent-db";
import { newAgent, newExecutionLog } from "meta-agent-db/testing";

/** As much of a WebSocket as the driver uses; it has the address as ws://host:port. */
class PlainSocket extends EventTarget {
  readyState = 0;
  constructor(address) {
    super();
    const { hostname, port } = new URL(address);
    this.socket = connect({ host: hostname, port: Number(port) }, () => {
      this.readyState = 1;
      this.dispatchEvent(new Event("open"));
    });
    this.socket.on("data", (data) => {
      const message = new Event("message");
      message.data = new Uint8Array(data).buffer;
      this.dispatchEvent(message);
    });
    this.socket.on("error", () => this.dispatchEvent(new Event("error")));
    this.socket.on("close", () => {
      this.readyState = 3;
      this.dispatchEvent(new Event("close"));
    });
  }
  send(data) {
    this.socket.write(Buffer.from(data));
  }
  close() {
    this.socket.end();
  }
}
neonConfig.webSocketConstructor = PlainSocket;
neonConfig.wsProxy = (host, port) => `${host}:${port}`;
neonConfig.useSecureWebSocket = false;
neonConfig.pipelineConnect = false;
neonConfig.pipelineTLS = false;

const [ACME, OTHER] = [
  "6f0d9d6e-36c5-4b8f-9a3e-1f3a5f1c7b2d",
  "0b9f4b1e-7a60-4f0a-8f0c-2d7b2e7e4f11",
];
// One connection: each transaction is the next borrower of the one before it.
const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 1 });
pool.on("error", () => {});
const db = drizzle(pool, { schema });
await migrate(db);
const agent = newAgent({ metadata: { tags: ["a", { b: '"' }] } });
await withOrganization(db, ACME, async (tx) => {
  await tx.insert(agentRegistry).values(agent);
  const entry = newExecutionLog({ agentId: agent.id, inputData: { messages: [] } });
  assert.equal((await recordExecutions(tx, [entry])).inserted, 1);
});
const own = eq(agentRegistry.id, agent.id);
const seen = (organization) =>
  withOrganization(db, organization, (tx) => tx.select().from(agentRegistry).where(own));
assert.deepEqual((await seen(ACME))[0]?.metadata, agent.metadata);
assert.deepEqual(await seen(OTHER), []);
const nobody = async () => {
  const { rows } = await db.execute(sql`select current_user = session_user as is_login,
    coalesce(current_setting('request.jwt.claims', true), '') as claims,
    (select jsonb_typeof(input_data) from agent_execution_logs) as kind`);
  assert.deepEqual(rows, [{ is_login: true, claims: "", kind: "object" }]);
};
await nobody();
const failing = withOrganization(db, ACME, async (tx) => {
  await tx.update(agentRegistry).set({ displayName: "undone" });
  await tx.execute(sql`select 1 / 0`);
});
await assert.rejects(failing);
await nobody();
// A connection that is lost inside of a transaction is not handed on.
const lost = withOrganization(db, ACME, async (tx) => {
  await tx.update(agentRegistry).set({ displayName: "undone" });
  await tx.execute(sql`select pg_terminate_backend(pg_backend_pid())`);
});
await assert.rejects(lost);
await nobody();
assert.equal((await seen(ACME))[0]?.displayName, agent.displayName);
await pool.end();
console.log("done");
