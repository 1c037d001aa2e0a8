// How the cost of each function grows with one large organization among 4,000 small ones: databases in which it
// is 1, 4 and 16 times as large, asked in turns as that organization, without statistics and with fresh ones.
// An exponent of 1 is linear in the organization, 2 quadratic, 0 no growth. `npm run bench:skew`
import { sql } from "drizzle-orm";
import type { Connection } from "../src/client/connect.ts";
import type { Database, Transaction } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { refreshHealth } from "../src/fleet/health.ts";
import { promotePrompt } from "../src/fleet/prompts.ts";
import { recordExecutions } from "../src/fleet/record/record.ts";
import { rollUpMetrics } from "../src/fleet/rollup.ts";
import { findSimilarExecutions } from "../src/fleet/search.ts";
import { newExecutionLog } from "../src/testing.ts";
import { type SkewedTenant, fillSkewed } from "./fleet.ts";
import { median, startServer, time } from "./server.ts";

const FACTORS = [1, 4, 16];
const [AGENTS, LOGS, EMBEDDINGS] = [2500, 6250, 500];
/** Of each work so many rounds, and more until so many milliseconds have gone by. */
const [ROUNDS, MILLISECONDS] = [Number(process.argv[2] ?? 3), 2000];

type Work = (tx: Transaction) => Promise<unknown>;

/** What the organization does. Recorded twice, entries are new rows, then repeated ones. */
const WORKS: Record<string, (tenant: SkewedTenant) => Work> = {
  findSimilarExecutions:
    ({ vector }) =>
    (tx) =>
      findSimilarExecutions(tx, { vector, by: "input" }),
  "findSimilarExecutions, filtered":
    ({ vector }) =>
    (tx) =>
      findSimilarExecutions(tx, { vector, by: "input", filters: { status: "success" } }),
  refreshHealth:
    ({ day }) =>
    (tx) =>
      refreshHealth(tx, { now: new Date(`${day}T24:00:00Z`) }),
  "rollUpMetrics of a day":
    ({ day }) =>
    (tx) =>
      rollUpMetrics(tx, { from: day, to: day }),
  "recordExecutions of 100": recording(100),
  "recordExecutions of 2,000": recording(2000),
  "recordExecutions, 20 embeddings": recording(20, true),
  promotePrompt:
    ({ promptId }) =>
    (tx) =>
      promotePrompt(tx, promptId),
};

function recording(count: number, embedded = false): (tenant: SkewedTenant) => Work {
  return ({ agentId, vector }) => {
    const entries = Array.from({ length: count }, () => ({
      ...newExecutionLog({ agentId }),
      ...(embedded ? { embeddings: { input: vector } } : {}),
    }));
    return (tx) => recordExecutions(tx, entries);
  };
}

interface Sized {
  readonly db: Database;
  readonly tenant: SkewedTenant;
}

const server = await startServer();
const opened: Connection[] = [];
try {
  const sizes: Sized[] = [];
  for (const factor of FACTORS) {
    const connection = await server.another(`skew_${factor}`);
    opened.push(connection);
    const { db } = connection;
    const large = {
      agents: factor * AGENTS,
      logs: factor * LOGS,
      embeddings: factor * EMBEDDINGS,
    };
    sizes.push({ db, tenant: await fillSkewed(db, large) });
  }
  console.log(
    `one organization of ${AGENTS} agents, ${LOGS} logs and ${EMBEDDINGS} embeddings, and times as many`,
  );
  await report("no statistics", sizes);
  for (const { db } of sizes) await db.execute(sql`vacuum analyze`);
  await report("fresh statistics", sizes);
} finally {
  for (const { close } of opened) await close();
  await server.close();
}

/** Two lines a function: its median at the smallest size, ratios to it, and the exponent of the last step. */
async function report(title: string, sizes: Sized[]): Promise<void> {
  console.log(`\n${line(title, ["1, ms", ...FACTORS.slice(1).map(String), "exponent"])}`);
  for (const [name, workOf] of Object.entries(WORKS)) {
    const taken = sizes.map((size) => ({ ...size, turns: new Array<Twice>() }));
    const enough = performance.now() + MILLISECONDS;
    for (let round = 0; round < ROUNDS || performance.now() < enough; round += 1) {
      for (const { db, tenant, turns } of taken)
        turns.push(await twice(db, tenant, workOf(tenant)));
    }
    const medians = (of: keyof Twice) =>
      taken.map(({ turns }) => median(turns.map((turn) => turn[of])));
    console.log(line(name, growth(medians("first"))));
    console.log(line("  again", growth(medians("again"))));
  }
}

function growth(medians: number[]): string[] {
  const [smallest = 0] = medians;
  const [former = 0, last = 0] = medians.slice(-2);
  const [before = 1, largest = 1] = FACTORS.slice(-2);
  const ratios = medians.slice(1).map((ms) => (ms / smallest).toFixed(2));
  const exponent = Math.log(last / former) / Math.log(largest / before);
  return [smallest.toFixed(1), ...ratios, exponent.toFixed(2)];
}

function line(what: string, columns: string[]): string {
  return what.padEnd(34) + columns.map((column) => column.padStart(10)).join("");
}

interface Twice {
  first: number;
  again: number;
}

/** Milliseconds of a work and of the same again, in one transaction that is rolled back. */
async function twice(db: Database, tenant: SkewedTenant, work: Work): Promise<Twice> {
  const done = new Error("rolled back");
  const taken = { first: 0, again: 0 };
  await withOrganization(db, tenant.organizationId, async (tx) => {
    taken.first = await time(() => work(tx));
    taken.again = await time(() => work(tx));
    throw done;
  }).catch((error: unknown) => {
    if (error !== done) throw error;
  });
  return taken;
}
