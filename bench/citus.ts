// A log that is spread over the workers of Citus against one table of plain PostgreSQL: as a tenant, in turns.
// `CITUS_URL=postgres://… npm run bench:citus [ROWS]`, after `meta-agent-db citus --apply` there. Set both to sync alike.
import { randomUUID } from "node:crypto";
import { and, desc, eq, sql } from "drizzle-orm";
import { connect } from "../src/client/connect.ts";
import { executionLogId } from "../src/client/keys.ts";
import { type Database, type Transaction, one } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { refreshHealth } from "../src/fleet/health.ts";
import {
  type NewExecution,
  recordExecutionStream,
  recordExecutions,
} from "../src/fleet/record/record.ts";
import { rollUpMetrics } from "../src/fleet/rollup.ts";
import { findSimilarExecutions } from "../src/fleet/search.ts";
import { agentExecutionLogs as logs, agentRegistry } from "../src/schema/index.ts";
import { newAgent, newExecutionLog } from "../src/testing.ts";
import { compare, startServer, time } from "./server.ts";

const ROWS = Number(process.argv[2] ?? 20_000);
const ROUNDS = 5;

interface Side {
  readonly db: Database;
  readonly organization: string;
  readonly agentId: string;
  readonly known: string;
}

const vector = (seed: number) => Array.from({ length: 1536 }, (_, i) => Math.sin(i * seed + seed));

function entries(
  agentId: string,
  count: number,
  of?: (n: number) => Partial<NewExecution>,
): NewExecution[] {
  return Array.from({ length: count }, (_, n) => {
    const timestamp = new Date(Date.now() - (n % 3600) * 1000);
    const id = executionLogId(timestamp, randomUUID());
    const inputData = { text: "x".repeat(800) };
    return { ...newExecutionLog({ agentId, timestamp }), id, latencyMs: 5, inputData, ...of?.(n) };
  });
}

async function prepared(db: Database): Promise<Side> {
  const [organization, agent] = [randomUUID(), newAgent()];
  const embedded = entries(agent.id, 2000, (n) => ({ embeddings: { input: vector(n + 1) } }));
  await withOrganization(db, organization, async (tx) => {
    await tx.insert(agentRegistry).values(agent);
    await recordExecutionStream(tx, embedded);
    await recordExecutionStream(tx, entries(agent.id, ROWS));
  });
  return { db, organization, agentId: agent.id, known: embedded[0]?.id ?? "" };
}

const cluster = connect(process.env["CITUS_URL"] ?? "");
const server = await startServer();
try {
  const [plain, spread] = [await prepared(server.db), await prepared(cluster.db)];
  const { version } = await one<{ version: string }>(
    cluster.db,
    sql`select 'Citus ' || extversion || ' on PostgreSQL ' || current_setting('server_version') as version from pg_extension where extname = 'citus'`,
  );
  console.log(
    `${version}; ${ROWS + 2000} logs of one organization; medians of ${ROUNDS} pairs in ms, and times faster than plain`,
  );
  const today = new Date().toISOString().slice(0, 10);
  const isOwn = (side: Side) => eq(logs.organizationId, side.organization);
  const asked: [what: string, work: (tx: Transaction, side: Side) => Promise<unknown>][] = [
    [
      `record ${ROWS} in one stream`,
      (tx, { agentId }) => recordExecutionStream(tx, entries(agentId, ROWS)),
    ],
    ["record 100", (tx, { agentId }) => recordExecutions(tx, entries(agentId, 100))],
    ["record 1", (tx, { agentId }) => recordExecutions(tx, entries(agentId, 1))],
    [
      "latest 50 of an agent",
      (tx, { agentId }) =>
        tx
          .select()
          .from(logs)
          .where(eq(logs.agentId, agentId))
          .orderBy(desc(logs.timestamp))
          .limit(50),
    ],
    [
      "the same, naming the organization",
      (tx, side) =>
        tx
          .select()
          .from(logs)
          .where(and(isOwn(side), eq(logs.agentId, side.agentId)))
          .orderBy(desc(logs.timestamp))
          .limit(50),
    ],
    [
      "one by id, naming it",
      (tx, side) =>
        tx
          .select()
          .from(logs)
          .where(and(isOwn(side), eq(logs.id, side.known))),
    ],
    [
      "search of 2,000 vectors",
      (tx) => findSimilarExecutions(tx, { vector: vector(3), by: "input" }),
    ],
    ["roll-up of a day", (tx) => rollUpMetrics(tx, { from: today, to: today })],
    ["refreshHealth", (tx) => refreshHealth(tx)],
  ];
  for (const [what, work] of asked) {
    const once = (side: Side) =>
      time(() => withOrganization(side.db, side.organization, (tx) => work(tx, side)));
    const { baseline, candidate, ratio } = await compare(
      ROUNDS,
      () => once(plain),
      () => once(spread),
    );
    console.log(
      `${what.padEnd(36)} ${baseline.toFixed(1).padStart(9)} ${candidate.toFixed(1).padStart(9)} ${(1 / ratio).toFixed(2).padStart(6)}`,
    );
  }
} finally {
  await Promise.all([cluster.close(), server.close()]);
}
