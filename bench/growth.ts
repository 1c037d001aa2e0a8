// How the cost of the execution path grows with the log: databases of several sizes, asked in turns as one
// of 100 tenants. One JSON line a cost and size; bench/plot.ts draws them.
// `npm run bench:growth -- 10000 100000 1000000 5000000 | tee growth.jsonl | npx tsx bench/plot.ts > docs/performance.svg`
import { sql } from "drizzle-orm";
import * as queries from "../examples/queries.ts";
import { type Connection, type Transaction, withOrganization } from "../src/database.ts";
import { agentExecutionLogs } from "../src/schema/index.ts";
import { newExecutionLog } from "../src/testing.ts";
import { type Tenant, fillLogs } from "./fleet.ts";
import { median, startServer, time } from "./server.ts";

const SIZES =
  process.argv.length > 2 ? process.argv.slice(2).map(Number) : [10_000, 100_000, 1_000_000];
const [WARM_UP, ROUNDS] = [10, 101];

/** Two agents of each organization: at 10,000 logs each has the 50 that are asked for. */
const AGENTS = 2;

type Work = (tx: Transaction, tenant: Tenant) => PromiseLike<unknown>;

/** What is measured, each in a transaction that is rolled back; what writes comes last. */
const WORKS: Record<string, Work> = {
  "an empty statement": (tx) => tx.execute(sql`select 1`),
  "latest 50 logs of an agent": (tx, { agentId }) => queries.latestLogsOfAgent(tx, agentId),
  "latest 50 logs of the organization": (tx) => queries.latestLogs(tx),
  "failures of a day": (tx, { day }) => queries.failuresOfDay(tx, day),
  "logs of an execution": (tx, { executionId }) => queries.logsOfExecution(tx, executionId),
  "lowest 50 logs below a quality": (tx, { agentId }) => queries.logsBelowQuality(tx, agentId, 20),
  "insert 1,000 logs": (tx, { agentId }) =>
    tx
      .insert(agentExecutionLogs)
      .values(Array.from({ length: 1000 }, () => newExecutionLog({ agentId, latencyMs: 12 }))),
};

const server = await startServer();
const opened: Connection[] = [];
try {
  const sizes: { logs: number; db: Connection["db"]; tenant: Tenant }[] = [];
  for (const logs of SIZES) {
    const connection = await server.another(`growth_${logs}`);
    opened.push(connection);
    console.error(`filling ${logs} logs`);
    sizes.push({
      logs,
      db: connection.db,
      tenant: await fillLogs(connection.db, { logs, agents: AGENTS }),
    });
  }
  for (const [cost, work] of Object.entries(WORKS)) {
    const taken = sizes.map(() => new Array<number>());
    for (let round = -WARM_UP; round < ROUNDS; round += 1) {
      for (const [at, { db, tenant }] of sizes.entries()) {
        const ms = await measure(db, tenant, work);
        if (round >= 0) taken[at]?.push(ms);
      }
    }
    for (const [at, { logs }] of sizes.entries()) {
      console.log(
        JSON.stringify({ cost, logs, ms: Number(median(taken[at] ?? []).toPrecision(3)) }),
      );
    }
  }
} finally {
  for (const { close } of opened) await close();
  await server.close();
}

/** Milliseconds of the work alone; whatever it wrote is rolled back. */
async function measure(db: Connection["db"], tenant: Tenant, work: Work): Promise<number> {
  const done = new Error("rolled back");
  let ms = 0;
  await withOrganization(db, tenant.organizationId, async (tx) => {
    ms = await time(async () => work(tx, tenant));
    throw done;
  }).catch((error: unknown) => {
    if (error !== done) throw error;
  });
  return ms;
}
