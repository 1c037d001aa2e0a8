// What a transaction costs from far away: round trips to a server behind a line that delays each direction by 1 ms,
// as a tenant and as a plain transaction of Drizzle, one read by key in each. `npm run bench:trips [MILLISECONDS]`
import { eq } from "drizzle-orm";
import { drizzle as drizzlePg } from "drizzle-orm/node-postgres";
import { Pool } from "pg";
import { connect } from "../src/client/connect.ts";
import { schema } from "../src/client/schema.ts";
import type { Database, Transaction } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { agentRegistry } from "../src/schema/index.ts";
import { newAgent } from "../src/testing.ts";
import { type Distance, layDistance } from "../tests/container/distance.ts";
import { compare, startServer, time } from "./server.ts";

const DELAY = Number(process.argv[2] ?? 1);
const ROUNDS = 101;
const ORGANIZATION = "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10";

const server = await startServer();
const line = await layDistance(server.url, DELAY);
const pool = new Pool({ connectionString: line.url, max: 1 });
const { db, close } = connect(line.url, { max: 1 });
try {
  const agent = newAgent({ organizationId: ORGANIZATION });
  await server.db.insert(agentRegistry).values(agent);
  const byKey = async (tx: Transaction) =>
    tx.select().from(agentRegistry).where(eq(agentRegistry.id, agent.id));
  const all = async (tx: Transaction) => tx.select().from(agentRegistry);
  console.log(`each direction ${DELAY} ms; round trips, and medians of ${ROUNDS} pairs in ms`);
  console.log(row("", "plain", "tenant", "plain", "tenant", "ratio"));
  await report("postgres.js (connect), by key", db, byKey);
  await report("postgres.js (connect), no parameter", db, all);
  await report("pg, by key", drizzlePg(pool, { schema }), byKey);
} finally {
  await Promise.all([close(), pool.end()]);
  line.close();
  await server.close();
}

function row(what: string, ...columns: readonly string[]): string {
  return `${what.padEnd(40)}${columns.map((text) => text.padStart(8)).join("")}`;
}

async function report(
  what: string,
  database: Database,
  work: (tx: Transaction) => Promise<unknown>,
): Promise<void> {
  const plain = () => database.transaction(work);
  const tenant = () => withOrganization(database, ORGANIZATION, work);
  const { baseline, candidate, ratio } = await compare(
    ROUNDS,
    () => time(plain),
    () => time(tenant),
  );
  const trips = [await tripsOf(line, plain), await tripsOf(line, tenant)];
  const times = [baseline, candidate, ratio].map((value) => value.toFixed(2));
  console.log(row(what, ...trips.map(String), ...times));
}

async function tripsOf({ trips }: Distance, work: () => Promise<unknown>): Promise<number> {
  const before = trips();
  await work();
  return trips() - before;
}
