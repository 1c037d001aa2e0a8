// What recording costs: executions of about 1 kB, recorded as a tenant, against COPY of the same rows as the
// owner (psql's \copy of a text file made beforehand), on the same indexes and keys, in turns.
// `npm run bench:record [ROWS]`. With PEERS=folder, a copy of bench/peers after `npm install`, @mastra/pg too.
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { getTableColumns, sql } from "drizzle-orm";
import type { Database } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { recordExecutions } from "../src/fleet/record/record.ts";
import { agentExecutionLogs, agentPrompts, agentRegistry } from "../src/schema/index.ts";
import { newAgent, newPrompt } from "../src/testing.ts";
import { ORGANIZATION, newLog, organization } from "./logs.ts";
import type { Streamed } from "./record-stream.ts";
import { compare, startServer, time } from "./server.ts";

const ROWS = Number(process.argv[2] ?? 100_000);
const ROUNDS = 5;
const [ORGANIZATIONS, AGENTS] = [100, 10];

const columns = Object.entries(getTableColumns(agentExecutionLogs));

const server = await startServer();
const folder = mkdtempSync(join(tmpdir(), "bench-record-"));
try {
  const agents = await fillParents(server.db);
  const logs = Array.from({ length: ROWS }, (_, n) => newLog(n, agents));
  const all = fileOf(logs);
  const copyAll = () => copy(all);
  console.log(`${ROWS} rows; medians of ${ROUNDS} pairs in ms; ratio of rates to COPY as owner`);
  report("record", await against(copyAll, () => record(logs)));
  report("record on two connections", await against(copyAll, () => recordOnTwo(logs)));
  report("insert().values() of 1,000", await against(copyAll, () => insertValues(logs)));
  const peers = process.env["PEERS"];
  if (peers) report("@mastra/pg", await against(copyAll, () => mastra(peers)));
  for (const size of [1000, 500, 100]) {
    const few = logs.slice(0, size);
    const file = fileOf(few);
    const result = await against(
      () => copy(file),
      () => record(few),
      21,
    );
    report(`record ${size}${size > 500 ? "" : ", one statement"}`, result);
  }
  for (const rows of [ROWS, 10 * ROWS]) await memory(rows);
} finally {
  rmSync(folder, { recursive: true });
  await server.close();
}

/** The agents and prompts of many organizations, with statistics; answers those of ours. */
async function fillParents(db: Database) {
  const parents = Array.from({ length: ORGANIZATIONS * AGENTS }, (_, n) => {
    const organizationId = organization(n % ORGANIZATIONS);
    const agent = newAgent({ organizationId });
    return { agent, prompt: newPrompt({ agentId: agent.id, organizationId }) };
  });
  await db.insert(agentRegistry).values(parents.map(({ agent }) => agent));
  await db.insert(agentPrompts).values(parents.map(({ prompt }) => prompt));
  await db.execute(sql`analyze`);
  return parents
    .filter(({ agent }) => agent.organizationId === ORGANIZATION)
    .map(({ agent, prompt }) => ({ agentId: agent.id, promptVersionId: prompt.id }));
}

type Log = ReturnType<typeof newLog>;

/** The rows as COPY's text, complete. */
function fileOf(logs: Log[]): string {
  const file = join(folder, `${logs.length}.txt`);
  const lines = logs.map((log) => {
    const row: Record<string, unknown> = { ...log, organizationId: ORGANIZATION };
    return columns.map(([key]) => written(row[key])).join("\t");
  });
  writeFileSync(file, `${lines.join("\n")}\n`);
  return file;
}

function written(value: unknown): string {
  if (value === undefined || value === null) return "\\N";
  if (value instanceof Date) return value.toISOString();
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Each run writes into an empty table, after a checkpoint. */
async function reset(): Promise<void> {
  await server.db.execute(sql`truncate agent_execution_logs cascade`);
  await server.db.execute(sql`checkpoint`);
}

async function against(
  baseline: () => Promise<number>,
  candidate: () => Promise<number>,
  rounds = ROUNDS,
) {
  const fresh = (work: () => Promise<number>) => async () => {
    await reset();
    return work();
  };
  return compare(rounds, fresh(baseline), fresh(candidate));
}

async function copy(file: string): Promise<number> {
  const names = columns.map(([, { name }]) => name).join(", ");
  const said = execFileSync(
    "psql",
    [
      server.url,
      "-X",
      "-c",
      "\\timing on",
      "-c",
      `\\copy agent_execution_logs (${names}) from '${file}'`,
    ],
    { encoding: "utf8" },
  );
  return Number(/Time: ([\d.]+)/.exec(said)?.[1]);
}

function record(logs: Log[]): Promise<number> {
  return time(() => withOrganization(server.db, ORGANIZATION, (tx) => recordExecutions(tx, logs)));
}

function recordOnTwo(logs: Log[]): Promise<number> {
  const half = logs.length >> 1;
  return time(() => Promise.all([record(logs.slice(0, half)), record(logs.slice(half))]));
}

function insertValues(logs: Log[]): Promise<number> {
  return time(() =>
    withOrganization(server.db, ORGANIZATION, async (tx) => {
      for (let from = 0; from < logs.length; from += 1000) {
        await tx.insert(agentExecutionLogs).values(logs.slice(from, from + 1000));
      }
    }),
  );
}

async function mastra(peers: string): Promise<number> {
  const said = execFileSync("node", [join(peers, "mastra.mjs"), server.url, String(ROWS)], {
    encoding: "utf8",
  });
  return Number(said.trim().split("\n").at(-1));
}

function report(what: string, { baseline, candidate, ratio }: Awaited<ReturnType<typeof compare>>) {
  console.log(
    `${what.padEnd(32)} COPY ${baseline.toFixed(0).padStart(6)}  ${candidate.toFixed(0).padStart(6)}  ratio ${(1 / ratio).toFixed(2)}`,
  );
}

/** A stream in a process of its own: as it is, and with so little memory for old objects. */
async function memory(rows: number): Promise<void> {
  const [free, little] = [await streamed(rows), await streamed(rows, "--max-old-space-size=96")];
  const mega = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
  console.log(
    `stream of ${rows} rows under 96 MB of old objects: rss ${mega(little.rss)} (${mega(free.rss)} without the limit), rate ${(free.ms / little.ms).toFixed(2)} of that`,
  );
}

async function streamed(rows: number, ...flags: string[]): Promise<Streamed> {
  await reset();
  const words = [...flags, "--import", "tsx", "bench/record-stream.ts", server.url, String(rows)];
  const { stdout } = await promisify(execFile)(process.execPath, words);
  const result: Streamed = JSON.parse(stdout);
  return result;
}
