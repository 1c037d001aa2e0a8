// The roll-up of a day against fetching the columns it needs, of the days beside it too, and adding them up in Node, without and with
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
  id: LOG.id,
  agent: LOG.agentId,
  prompt: LOG.promptVersionId,
  execution: LOG.executionId,
  at: LOG.timestamp,
  action: LOG.actionType,
  status: LOG.status,
  latency: LOG.latencyMs,
  input: LOG.tokenCountInput,
  output: LOG.tokenCountOutput,
  cost: LOG.estimatedCostUsd,
  quality: LOG.qualityScore,
  error: LOG.errorType,
  reviewed: sql<boolean>`${LOG.reviewedAt} is not null or ${LOG.reviewedBy} is not null`,
};
const HOURS = 3_600_000;
const [START, END] = [Date.parse(`${DAY}T00:00:00Z`), Date.parse(`${DAY}T24:00:00Z`)];
/** What the day needs: an execution may have begun before it and may go on after it. */
const fetched = (tx: Transaction) =>
  tx
    .select(NEEDED)
    .from(LOG)
    .where(
      and(
        gte(LOG.timestamp, new Date(START - 48 * HOURS)),
        lt(LOG.timestamp, new Date(END + 24 * HOURS)),
      ),
    );
type Fetched = Awaited<ReturnType<typeof fetched>>[number];

const isAsked = (at: Date) => +at >= START && +at < END;

/** What an application would write: the rows of each execution that has some on the day, then a look at each group. */
async function computedInNode(tx: Transaction): Promise<NewAgentPerformanceMetric[]> {
  const keys = new Map<string, Fetched[]>();
  for (const row of await fetched(tx)) {
    const key = row.agent + row.execution;
    const known = keys.get(key);
    if (known) known.push(row);
    else keys.set(key, [row]);
  }
  const groups = new Map<string, Group>();
  for (const logs of keys.values()) {
    if (logs.some(({ at }) => isAsked(at))) addExecutions(groups, logs);
  }
  return [...groups.values()].map(finish);
}

function addExecutions(groups: Map<string, Group>, logs: Fetched[]): void {
  logs.sort((a, b) => +a.at - +b.at || (a.id < b.id ? -1 : 1));
  for (let first = 0; first < logs.length;) {
    let [end, next] = [first + 1, first + 1];
    const begun = Number(logs[first]?.at);
    while (next < logs.length && Number(logs[next]?.at) - Number(logs[next - 1]?.at) < 24 * HOURS) {
      if (Number(logs[next]?.at) - begun < 24 * HOURS) end = next + 1;
      next += 1;
    }
    const version = addExecution(groups, logs.slice(first, end));
    for (const row of logs.slice(first, end)) addRow(groups, row, row.prompt ?? version);
    for (const row of logs.slice(end, next)) addRow(groups, row, row.prompt);
    first = next;
  }
}

function groupOf(groups: Map<string, Group>, agent: string, prompt: string | null): Group {
  const key = agent + String(prompt);
  const group = groups.get(key) ?? newGroup(agent, prompt);
  groups.set(key, group);
  return group;
}

type Group = ReturnType<typeof newGroup>;

const newGroup = (agent: string, prompt: string | null) => ({
  agent,
  prompt,
  total: 0,
  ended: new Map<string, number>(),
  reviewed: 0,
  latencies: new Array<number>(),
  errors: new Map<string, number>(),
  input: 0,
  output: 0,
  cost: 0,
  quality: 0,
  scored: 0,
});

const WORST_FIRST = ["failure", "timeout", "cancelled", "running"];

/** Answers its prompt version. */
function addExecution(groups: Map<string, Group>, logs: readonly Fetched[]): string | null {
  const run = logs.findLast(({ action }) => action === "agent_run");
  const version = run?.prompt ?? logs.find(({ prompt }) => prompt !== null)?.prompt ?? null;
  const [first] = logs;
  if (!first || !isAsked(first.at)) return version;
  const worst = WORST_FIRST.find((status) => logs.some((row) => row.status === status));
  const outcome = run?.status ?? worst ?? "success";
  const group = groupOf(groups, first.agent, version);
  group.total += 1;
  group.ended.set(outcome, (group.ended.get(outcome) ?? 0) + 1);
  if (logs.some(({ reviewed }) => reviewed)) group.reviewed += 1;
  const latencies = run ? [run.latency] : logs.map(({ latency }) => latency);
  if (outcome !== "running" && latencies.some((latency) => latency !== null)) {
    group.latencies.push(latencies.reduce<number>((sum, latency) => sum + (latency ?? 0), 0));
  }
  if (outcome === "failure") addErrors(group, logs);
  return version;
}

function addErrors({ errors }: Group, logs: readonly Fetched[]): void {
  const types = new Set<string>();
  for (const { status, error } of logs)
    if (status === "failure" && error !== null) types.add(error);
  if (types.size === 0) types.add("unknown");
  for (const type of types) errors.set(type, (errors.get(type) ?? 0) + 1);
}

function addRow(groups: Map<string, Group>, row: Fetched, version: string | null): void {
  if (!isAsked(row.at)) return;
  const sums = groupOf(groups, row.agent, version);
  sums.input += row.input ?? 0;
  sums.output += row.output ?? 0;
  // Floats: an exact sum would cost more.
  sums.cost += Number(row.cost ?? 0);
  if (row.quality !== null) {
    sums.quality += row.quality;
    sums.scored += 1;
  }
}

function finish({ total, ended, latencies, errors, ...sums }: Group): NewAgentPerformanceMetric {
  const ascending = Float64Array.from(latencies).toSorted();
  const percentile = (share: number) => {
    const place = (ascending.length - 1) * share;
    const [below, above] = [ascending[Math.floor(place)], ascending[Math.ceil(place)]];
    if (below === undefined || above === undefined) return null;
    return below + (above - below) * (place - Math.floor(place));
  };
  return {
    agentId: sums.agent,
    promptVersionId: sums.prompt,
    date: DAY,
    totalExecutions: total,
    successfulExecutions: ended.get("success") ?? 0,
    timeoutExecutions: ended.get("timeout") ?? 0,
    failedExecutions: ended.get("failure") ?? 0,
    avgLatencyMs: ascending.length
      ? ascending.reduce((sum, one) => sum + one, 0) / ascending.length
      : null,
    p50LatencyMs: percentile(0.5),
    p95LatencyMs: percentile(0.95),
    p99LatencyMs: percentile(0.99),
    totalCostUsd: String(sums.cost),
    costPerExecution: total ? String(sums.cost / total) : null,
    totalTokensInput: sums.input,
    totalTokensOutput: sums.output,
    avgQualityScore: sums.scored ? sums.quality / sums.scored : null,
    humanInterventions: sums.reviewed,
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
