// How the cost of the execution path grows with the log: databases of several sizes, asked in turns as one
// of 100 tenants. One JSON line a cost and size; bench/plot.ts draws them.
// `npm run -s bench:growth -- 10000 100000 1000000 5000000 | tee growth.jsonl | npx tsx bench/plot.ts > docs/performance.svg`
import { sql } from "drizzle-orm";
import * as queries from "../examples/queries.ts";
import type { Connection } from "../src/client/connect.ts";
import type { Database, Transaction } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { recordExecutions } from "../src/fleet/record/record.ts";
import { rollUpMetrics } from "../src/fleet/rollup.ts";
import { agentExecutionLogs } from "../src/schema/index.ts";
import { newExecutionLog } from "../src/testing.ts";
import { type Tenant, fillLogs } from "./fleet.ts";
import { median, startServer, time } from "./server.ts";

const SIZES =
  process.argv.length > 2 ? process.argv.slice(2).map(Number) : [10_000, 100_000, 1_000_000];
const WARM_UP = 10;

/** Two agents of each organization: at 10,000 logs each has the 50 that are asked for. */
const AGENTS = 2;

type Work = (tx: Transaction, tenant: Tenant) => PromiseLike<unknown>;

/** What is measured, each in a transaction that is rolled back. */
const READS: Record<string, Work> = {
  "an empty statement": (tx) => tx.execute(sql`select 1`),
  "latest 50 logs of an agent": (tx, { agentId }) => queries.latestLogsOfAgent(tx, agentId),
  "latest 50 logs of the organization": (tx) => queries.latestLogs(tx),
  "failures of a day": (tx, { day }) => queries.failuresOfDay(tx, day),
  "logs of an execution": (tx, { executionId }) => queries.logsOfExecution(tx, executionId),
  "lowest 5 logs below a quality": (tx, { agentId }) =>
    queries.logsBelowQuality(tx, agentId, 50, 5),
};
/** After the reads, which would meet the rows that were rolled back. */
const WRITES: Record<string, Work> = {
  "insert 1,000 logs": (tx, { agentId }) =>
    tx
      .insert(agentExecutionLogs)
      .values(Array.from({ length: 1000 }, () => newExecutionLog({ agentId, latencyMs: 12 }))),
  "record 1,000 logs": (tx, { agentId }) =>
    recordExecutions(
      tx,
      Array.from({ length: 1000 }, () => newExecutionLog({ agentId, latencyMs: 12 })),
    ),
  "roll up a day": (tx, { day }) => rollUpMetrics(tx, { from: day, to: day }),
};

interface Sized {
  readonly logs: number;
  readonly db: Database;
  readonly tenant: Tenant;
}

const server = await startServer();
const opened: Connection[] = [];
try {
  const sizes: Sized[] = [];
  for (const logs of SIZES) {
    console.error(`filling ${logs} logs`);
    const connection = await server.another(`growth_${logs}`);
    opened.push(connection);
    const { db } = connection;
    sizes.push({ logs, db, tenant: await fillLogs(db, { logs, agents: AGENTS }) });
  }
  await compareSizes(READS, sizes, 201);
  await compareSizes(WRITES, sizes, 21);
} finally {
  for (const { close } of opened) await close();
  await server.close();
}

/** Prints the median of each work and size; all take turns, so that a noisy machine disturbs them alike. */
async function compareSizes(
  works: Record<string, Work>,
  sizes: Sized[],
  rounds: number,
): Promise<void> {
  const measured = Object.entries(works).flatMap(([cost, work]) =>
    sizes.map((size) => ({ ...size, cost, work, taken: new Array<number>() })),
  );
  for (let round = -WARM_UP; round < rounds; round += 1) {
    for (const { db, tenant, work, taken } of measured) {
      const ms = await measure(db, tenant, work);
      if (round >= 0) taken.push(ms);
    }
  }
  for (const { cost, logs, taken } of measured) {
    console.log(JSON.stringify({ cost, logs, ms: Number(median(taken).toPrecision(3)) }));
  }
}

/** Milliseconds of the work alone; whatever it wrote is rolled back. */
async function measure(db: Database, tenant: Tenant, work: Work): Promise<number> {
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
