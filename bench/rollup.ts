// The roll-up of a day against fetching the columns it needs and adding them up in Node, without and with
// writing what came out; inside an open transaction, in turns. The roll-up takes its lock and writes every row.
// Beside it, what a refresh of health takes. `npm run bench:rollup [LOGS]`.
import { and, gte, lt, sql } from "drizzle-orm";
import { type Database, type Transaction, rows } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import { refreshHealth } from "../src/fleet/health.ts";
import { rollUpMetrics } from "../src/fleet/rollup.ts";
import {
  type NewAgentPerformanceMetric,
  agentExecutionLogs,
  agentPerformanceMetrics,
} from "../src/schema/index.ts";
import { compare, startServer, time } from "./server.ts";

const LOGS = Number(process.argv[2] ?? 1_000_000);
const DAY = "2026-03-05";

/**
 * 100 organizations with 5 agents and as many prompts each, over 10 days: the first one has a tenth of all logs, the
 * others share the rest evenly. Executions of about three rows, two thirds of them with a prompt.
 */
async function fill(db: Database): Promise<void> {
  const id = (kind: string, number: string) =>
    `('${kind}-' || lpad((${number})::text, 12, '0'))::uuid`;
  const [organization, agent, prompt] = [
    "00000000-0000-4000-8000",
    "00000000-0000-4000-9000",
    "00000000-0000-4000-a000",
  ];
  await db.execute(
    sql.raw(`insert into agent_registry (id, agent_name, display_name, category, organization_id)
      select ${id(agent, "o * 1000 + a")}, 'agent ' || o || '/' || a, 'Agent', 'operations', ${id(organization, "o")}
      from generate_series(0, 99) o, generate_series(0, 4) a`),
  );
  await db.execute(
    sql.raw(`insert into agent_prompts (id, agent_id, version, system_prompt, organization_id)
      select ('${prompt}-' || right(id::text, 12))::uuid, id, '1', 'You are helpful.', organization_id from agent_registry`),
  );
  await db.execute(
    sql.raw(`insert into agent_execution_logs (id, agent_id, prompt_version_id, execution_id, timestamp, action_type, latency_ms,
        status, error_type, token_count_input, token_count_output, quality_score, reviewed_at, estimated_cost_usd, output_data,
        organization_id)
      select meta_agent.uuidv7_at(at), ${id(agent, "o * 1000 + a")}, case when run % 3 > 0 then ${id(prompt, "o * 1000 + a")} end,
        md5(concat(o, '/', a, '/', run))::uuid, at, 'llm_call', n * 7919::bigint % 5000,
        case when n % 37 = 0 then 'failure' when n % 101 = 0 then 'timeout' else 'success' end,
        case when n % 37 = 0 then 'error ' || n % 7 end, n % 2000, n % 500, case when n % 10 = 0 then n % 100 end,
        case when n % 50 = 0 then at end, 0.001 * (n % 7), jsonb_build_object('text', repeat('x', 300)), ${id(organization, "o")}
      from (
        select n, at, o, mine % 5 as a, mine / 15 as run
        from (
          select n, case when n % 10 = 0 then 0 else 1 + n % 99 end as o, case when n % 10 = 0 then n / 10 else n / 110 end as mine,
            timestamptz '2026-03-01' + n * (interval '10 days' / ${LOGS}) as at
          from generate_series(0, ${LOGS - 1}) n
        ) as numbered
      ) as log`),
  );
  await db.execute(sql`vacuum analyze`);
}

const LOG = agentExecutionLogs;
const NEEDED = {
  agent: LOG.agentId,
  prompt: LOG.promptVersionId,
  execution: LOG.executionId,
  status: LOG.status,
  latency: LOG.latencyMs,
  input: LOG.tokenCountInput,
  output: LOG.tokenCountOutput,
  cost: LOG.estimatedCostUsd,
  quality: LOG.qualityScore,
  error: LOG.errorType,
  reviewed: sql<boolean>`${LOG.reviewedAt} is not null or ${LOG.reviewedBy} is not null`,
};
const fetched = (tx: Transaction) =>
  tx
    .select(NEEDED)
    .from(LOG)
    .where(
      and(
        gte(LOG.timestamp, new Date(`${DAY}T00:00:00Z`)),
        lt(LOG.timestamp, new Date(`${DAY}T24:00:00Z`)),
      ),
    );
type Fetched = Awaited<ReturnType<typeof fetched>>[number];

const RANK: Readonly<Record<string, number>> = {
  success: 0,
  running: 1,
  cancelled: 2,
  timeout: 3,
  failure: 4,
};

/** What an application would write: one pass over the rows, then a look at each group. */
async function computedInNode(tx: Transaction): Promise<NewAgentPerformanceMetric[]> {
  const groups = new Map<string, Group>();
  for (const row of await fetched(tx)) {
    const key = `${row.agent}${row.prompt}`;
    const group = groups.get(key) ?? newGroup(row);
    groups.set(key, group);
    add(group, row);
  }
  return [...groups.values()].map(finish);
}

type Group = ReturnType<typeof newGroup>;

const newGroup = ({ agent, prompt }: Fetched) => ({
  agent,
  prompt,
  outcomes: new Map<string, number>(),
  reviewed: new Set<string>(),
  latencies: new Array<number>(),
  errors: new Map<string, number>(),
  input: 0,
  output: 0,
  cost: 0,
  quality: 0,
  scored: 0,
});

function add(sums: Group, row: Fetched): void {
  const rank = RANK[row.status] ?? 0;
  const known = sums.outcomes.get(row.execution);
  if (known === undefined || known < rank) sums.outcomes.set(row.execution, rank);
  if (row.reviewed) sums.reviewed.add(row.execution);
  if (row.latency !== null) sums.latencies.push(row.latency);
  sums.input += row.input ?? 0;
  sums.output += row.output ?? 0;
  // Floats: an exact sum would cost more.
  sums.cost += Number(row.cost ?? 0);
  if (row.quality !== null) {
    sums.quality += row.quality;
    sums.scored += 1;
  }
  if (row.status === "failure") {
    const type = row.error ?? "unknown";
    sums.errors.set(type, (sums.errors.get(type) ?? 0) + 1);
  }
}

function finish({ outcomes, latencies, errors, ...sums }: Group): NewAgentPerformanceMetric {
  const ended = [0, 0, 0, 0, 0];
  for (const rank of outcomes.values()) ended[rank] = (ended[rank] ?? 0) + 1;
  const ascending = Float64Array.from(latencies).toSorted();
  const percentile = (share: number) => {
    const place = (ascending.length - 1) * share;
    const [below = 0, above = 0] = [ascending[Math.floor(place)], ascending[Math.ceil(place)]];
    return below + (above - below) * (place - Math.floor(place));
  };
  return {
    agentId: sums.agent,
    promptVersionId: sums.prompt,
    date: DAY,
    totalExecutions: outcomes.size,
    successfulExecutions: ended[0],
    timeoutExecutions: ended[3],
    failedExecutions: ended[4],
    avgLatencyMs: ascending.reduce((total, one) => total + one, 0) / ascending.length,
    p50LatencyMs: percentile(0.5),
    p95LatencyMs: percentile(0.95),
    p99LatencyMs: percentile(0.99),
    totalCostUsd: String(sums.cost),
    costPerExecution: String(sums.cost / outcomes.size),
    totalTokensInput: sums.input,
    totalTokensOutput: sums.output,
    avgQualityScore: sums.scored ? sums.quality / sums.scored : null,
    humanInterventions: sums.reviewed.size,
    uniqueErrorTypes: errors.size,
    mostCommonError:
      [...errors].toSorted(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))[0]?.[0] ?? null,
    errorDistribution: Object.fromEntries(errors),
  };
}

/** Takes the time of `work` in a transaction in which the day has no metrics yet. */
async function afresh(tx: Transaction, work: () => Promise<unknown>): Promise<number> {
  await tx.execute(sql`delete from agent_performance_metrics where date = ${DAY}`);
  return time(work);
}

const line = (what: string, ...columns: string[]) =>
  console.log(what.padEnd(44) + columns.map((column) => column.padStart(11)).join(""));

const server = await startServer();
try {
  const { db } = server;
  await fill(db);
  const organization = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
  const callers: [name: string, act: <T>(work: (tx: Transaction) => Promise<T>) => Promise<T>][] = [
    ["one organization", (work) => withOrganization(db, organization(42), work)],
    [
      "one organization, a tenth of all logs",
      (work) => withOrganization(db, organization(0), work),
    ],
    ["all organizations, as service role", (work) => withServiceRole(db, work)],
  ];
  console.log(`${LOGS} logs of 100 organizations over 10 days; medians in ms, in turns`);
  line("a day of", "rows", "Node", "and writes", "roll-up", "times", "times");
  for (const [name, act] of callers) {
    const count = await act(async (tx) =>
      rows<{ count: number }>(
        await tx.execute(
          sql`select count(*)::int as count from agent_execution_logs where (timestamp at time zone 'UTC')::date = ${DAY}`,
        ),
      ),
    );
    const rolledUp = () => act((tx) => afresh(tx, () => rollUpMetrics(tx, { from: DAY, to: DAY })));
    const written = (tx: Transaction) =>
      afresh(tx, async () => tx.insert(agentPerformanceMetrics).values(await computedInNode(tx)));
    const computing = await compare(
      21,
      () => act((tx) => time(() => computedInNode(tx))),
      rolledUp,
    );
    const writing = await compare(21, () => act(written), rolledUp);
    line(
      name,
      String(count[0]?.count),
      ...[computing.baseline, writing.baseline, writing.candidate].map((ms) => ms.toFixed(1)),
      ...[computing, writing].map(({ ratio }) => (1 / ratio).toFixed(2)),
    );
  }
  line("refresh of health", "agents", "first", "again");
  const now = new Date(`${DAY}T12:00:00Z`);
  for (const [name, act] of callers) {
    const refreshed = (tx: Transaction) => time(() => refreshHealth(tx, { now }));
    const { written: agents } = await act((tx) => refreshHealth(tx, { now }));
    const { baseline, candidate } = await compare(
      11,
      () =>
        act(async (tx) => {
          await tx.execute(sql`delete from agent_health_realtime`);
          return refreshed(tx);
        }),
      () => act(refreshed),
    );
    line(name, String(agents), baseline.toFixed(1), candidate.toFixed(1));
  }
} finally {
  await server.close();
}
