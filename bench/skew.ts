// How the cost of each function grows with one large organization among 4,000 small ones: databases in which it
// is 1, 4 and 16 times as large, asked in turns as that organization, without statistics and with fresh ones.
// An exponent of 1 is linear in the organization, 2 quadratic, 0 no growth. Then, by the least of the rounds, what a
// first refresh of health costs of many agents, in the server's CPU, and what 9,999 others cost. `npm run bench:skew`
import { sql } from "drizzle-orm";
import type { Connection } from "../src/client/connect.ts";
import { type Database, type Transaction, one } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { refreshHealth } from "../src/fleet/health.ts";
import { promotePrompt } from "../src/fleet/prompts.ts";
import { recordExecutions } from "../src/fleet/record/record.ts";
import { rollUpMetrics } from "../src/fleet/rollup.ts";
import { findSimilarExecutions } from "../src/fleet/search.ts";
import { newExecutionLog } from "../src/testing.ts";
import {
  type LargeOrganization,
  type SkewedTenant,
  type SmallOrganizations,
  fillSkewed,
} from "./fleet.ts";
import { median, startServer } from "./server.ts";

const FACTORS = [1, 4, 16];
const [AGENTS, LOGS, EMBEDDINGS] = [2500, 6250, 500];
/** Agents with one row of the log each, whose health is refreshed for the first time. */
const FEW_AGENTS = 5000;
const MANY_AGENTS = 100_000;
/** An organization, alone and among 9,999 others like it. */
const ONE = { agents: 10, logs: 25, embeddings: 2 };
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
    const large = {
      agents: factor * AGENTS,
      logs: factor * LOGS,
      embeddings: factor * EMBEDDINGS,
    };
    sizes.push(await filled(`skew_${factor}`, large));
  }
  console.log(
    `one organization of ${AGENTS} agents, ${LOGS} logs and ${EMBEDDINGS} embeddings, and times as many`,
  );
  await report("no statistics", sizes);
  for (const { db } of sizes) await db.execute(sql`vacuum analyze`);
  await report("fresh statistics", sizes);
  await reportHealth();
  await reportOneOfMany();
} finally {
  for (const { close } of opened) await close();
  await server.close();
}

async function filled(
  name: string,
  large: LargeOrganization,
  small?: SmallOrganizations,
): Promise<Sized> {
  const connection = await server.another(name);
  opened.push(connection);
  const { db } = connection;
  return { db, tenant: await fillSkewed(db, large, small) };
}

async function reportHealth(): Promise<void> {
  const sizes: Sized[] = [];
  for (const agents of [FEW_AGENTS, MANY_AGENTS]) {
    const size = await filled(`health_${agents}`, { agents, logs: agents, embeddings: 1 });
    // Seconds on a shared machine always meet somebody, milliseconds do not.
    await size.db.execute(sql`
      create function public.cpu_ms() returns float8 language sql security definer as
        $$ select 10 * (split_part(stat, ' ', 14)::float8 + split_part(stat, ' ', 15)::float8)
           from pg_read_file('/proc/self/stat') as stat $$`);
    sizes.push(size);
  }
  const [few, many] = sizes;
  if (!few || !many) return;
  const { first, again } = await least(few, many, "refreshHealth", cpu);
  console.log(
    `\nthe first refreshHealth of ${MANY_AGENTS} agents costs ${first} times that of ${FEW_AGENTS}, the next one ${again} times`,
  );
}

async function reportOneOfMany(): Promise<void> {
  const alone = await filled("alone", ONE, { ...ONE, organizations: 0 });
  const among = await filled("among", ONE, { ...ONE, organizations: 9999 });
  for (const { db } of [alone, among]) await db.execute(sql`vacuum analyze`);
  console.log(`\n${line("one of 10,000 organizations, to it alone", ["first", "again"])}`);
  for (const name of Object.keys(WORKS)) {
    const { first, again } = await least(alone, among, name);
    console.log(line(name, [first, again]));
  }
}

/** The least that a work takes of one, and of the other, in turns, as ratios. */
async function least(
  former: Sized,
  latter: Sized,
  name: string,
  clock?: Clock,
): Promise<Record<keyof Twice, string>> {
  const turns = [former, latter].map((size) => ({ ...size, taken: new Array<Twice>() }));
  const enough = performance.now() + MILLISECONDS;
  for (let round = 0; round < ROUNDS || performance.now() < enough; round += 1) {
    for (const { db, tenant, taken } of turns) {
      const work = WORKS[name]?.(tenant);
      if (work) taken.push(await twice(db, tenant, work, clock));
      // What was rolled back is in the way of the next.
      await db.execute(sql`vacuum agent_health_realtime, agent_performance_metrics`);
    }
  }
  const ratio = (of: keyof Twice) => {
    const [a = 0, b = 0] = turns.map(({ taken }) => Math.min(...taken.map((turn) => turn[of])));
    return (b / a).toFixed(2);
  };
  return { first: ratio("first"), again: ratio("again") };
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
  return what.padEnd(42) + columns.map((column) => column.padStart(10)).join("");
}

interface Twice {
  first: number;
  again: number;
}

/** Milliseconds so far, of whatever is counted. */
type Clock = (tx: Transaction) => Promise<number>;

async function wall(): Promise<number> {
  return performance.now();
}

/** Of the server, for this session. */
async function cpu(tx: Transaction): Promise<number> {
  const { ms } = await one<{ ms: number }>(tx, sql`select public.cpu_ms() as ms`);
  return ms;
}

/** Milliseconds of a work and of the same again, in one transaction that is rolled back. */
async function twice(
  db: Database,
  tenant: SkewedTenant,
  work: Work,
  clock: Clock = wall,
): Promise<Twice> {
  const done = new Error("rolled back");
  const taken = { first: 0, again: 0 };
  await withOrganization(db, tenant.organizationId, async (tx) => {
    const start = await clock(tx);
    await work(tx);
    const between = await clock(tx);
    await work(tx);
    taken.first = between - start;
    taken.again = (await clock(tx)) - between;
    throw done;
  }).catch((error: unknown) => {
    if (error !== done) throw error;
  });
  return taken;
}
