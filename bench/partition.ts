// The log cut into months: what the conversion costs three clients, queries and records of the partitioned log against
// the flat one, and a month dropped against the same month deleted. `npm run bench:partition [LOGS]`.
import { randomUUID } from "node:crypto";
import { and, desc, eq, gte, lt, sql } from "drizzle-orm";
import { connect } from "../src/client/connect.ts";
import { type Database, type Transaction, one, rows } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import { logIdBounds } from "../src/fleet/log-bounds.ts";
import { refreshHealth } from "../src/fleet/health.ts";
import { recordExecutions } from "../src/fleet/record/record.ts";
import { rollUpMetrics } from "../src/fleet/rollup.ts";
import { addPartitions, partitionLogs } from "../src/operate/partitions.ts";
import { pruneLogs } from "../src/operate/retention.ts";
import { agentExecutionLogs } from "../src/schema/index.ts";
import { newExecutionLog } from "../src/testing.ts";
import { type Question, type Tenant, fillLogs, questions } from "./fleet.ts";
import { compare, median, startServer, time } from "./server.ts";

const LOGS = Number(process.argv[2] ?? 1_500_000);

/** Six months of the past as partitions of their own, as if the log had been cut long ago; empty ones before the log is filled, and one for what is written now. */
async function cutAsOf(db: Database, months: number): Promise<void> {
  await partitionLogs(db);
  await db.execute(
    sql.raw(`do $$ declare at timestamp; begin
    alter table public.agent_execution_logs detach partition meta_agent_partitions.agent_execution_logs_history;
    drop table meta_agent_partitions.agent_execution_logs_history;
    for at in select generate_series(timestamp '2025-01-01', timestamp '2025-01-01' + interval '1 month' * ${months - 1}, interval '1 month') loop
      execute format('create table meta_agent_partitions.m%s partition of public.agent_execution_logs for values from (%L) to (%L)',
        to_char(at, 'YYYYMM'), meta_agent.uuidv7_floor(at at time zone 'UTC'), meta_agent.uuidv7_floor((at + interval '1 month') at time zone 'UTC'));
      execute format('alter table meta_agent_partitions.m%s enable row level security', to_char(at, 'YYYYMM'));
      execute format('create statistics meta_agent_partitions.m%1$s_stats (dependencies) on agent_id, organization_id from meta_agent_partitions.m%1$s', to_char(at, 'YYYYMM'));
    end loop;
    execute format('create table meta_agent_partitions.rest partition of public.agent_execution_logs for values from (%L) to (%L)',
      meta_agent.uuidv7_floor((timestamp '2025-01-01' + interval '1 month' * ${months}) at time zone 'UTC'),
      (select min((regexp_match(pg_get_expr(relpartbound, oid), '[-0-9a-f]{36}'))[1]) from pg_class where relname like 'agent_execution_logs_2%' and relkind = 'r'));
    end $$`),
  );
}

/** Adds to each agent's turn how long it took, until it is told to stop. */
function client(url: string, turn: (db: Database) => Promise<unknown>) {
  const { db, close } = connect(url);
  const taken: number[] = [];
  const over = new AbortController();
  const running = (async () => {
    while (!over.signal.aborted) taken.push(await time(() => turn(db)));
    await close();
  })();
  return {
    taken,
    stop: async () => {
      over.abort();
      await running;
    },
  };
}

const entriesOf = ({ agentId }: Tenant, count: number) =>
  Array.from({ length: count }, () => ({
    ...newExecutionLog({ agentId }),
    id: undefined,
    executionId: randomUUID(),
  }));
const record = (db: Database, tenant: Tenant, count: number) =>
  withOrganization(db, tenant.organizationId, (tx) =>
    recordExecutions(tx, entriesOf(tenant, count)),
  );

/** Medians of planning and of execution, milliseconds. */
async function explained(db: Database, { organizationId }: Tenant, question: Question) {
  const found: { planning: number; execution: number }[] = [];
  for (let round = 0; round < 12; round++) {
    await withOrganization(db, organizationId, async (tx) => found.push(await plan(tx, question)));
  }
  return {
    planning: median(found.map(({ planning }) => planning)),
    execution: median(found.map(({ execution }) => execution)),
  };
}

async function plan(tx: Transaction, question: Question) {
  const [row] = rows<{ "QUERY PLAN": { "Planning Time": number; "Execution Time": number }[] }>(
    await tx.execute(sql`explain (analyze, format json) ${question(tx)}`),
  );
  const [found] = row?.["QUERY PLAN"] ?? [];
  return { planning: found?.["Planning Time"] ?? 0, execution: found?.["Execution Time"] ?? 0 };
}

const server = await startServer();
const flat = await server.another("flat");
const cut = await server.another("cut");
try {
  const months = Math.max(7, Math.ceil(LOGS / 10_000 / 30.4) + 1);
  await cutAsOf(cut.db, months);
  const tenant = await fillLogs(flat.db, { logs: LOGS, agents: 5 });
  await fillLogs(cut.db, { logs: LOGS, agents: 5 });
  console.log(`${LOGS} logs in ${months} months`);

  for (const name of [
    "latestLogsOfAgent",
    "latestLogs",
    "failuresOfDay",
    "logsOfExecution",
    "logsBelowQuality",
  ] as const) {
    const question = questions(tenant)[name];
    const [whole, many] = [
      await explained(flat.db, tenant, question),
      await explained(cut.db, tenant, question),
    ];
    console.log(
      `${name}: planning ${whole.planning.toFixed(2)} and ${many.planning.toFixed(2)} ms, execution ${whole.execution.toFixed(2)} and ${many.execution.toFixed(2)} ms`,
    );
  }
  const day = {
    from: new Date(`${tenant.day}T00:00Z`),
    to: new Date(Date.parse(tenant.day) + 86_400_000),
  };
  const bounded = await explained(cut.db, tenant, (tx) =>
    tx
      .select()
      .from(agentExecutionLogs)
      .where(
        and(
          eq(agentExecutionLogs.status, "failure"),
          gte(agentExecutionLogs.timestamp, day.from),
          lt(agentExecutionLogs.timestamp, day.to),
          logIdBounds(day),
        ),
      )
      .orderBy(desc(agentExecutionLogs.timestamp)),
  );
  console.log(
    `failuresOfDay with logIdBounds: planning ${bounded.planning.toFixed(2)} ms, execution ${bounded.execution.toFixed(2)} ms`,
  );

  const ratio = async (title: string, work: (db: Database) => Promise<unknown>) => {
    const {
      baseline,
      candidate,
      ratio: times,
    } = await compare(
      5,
      () => time(() => work(flat.db)),
      () => time(() => work(cut.db)),
    );
    console.log(
      `${title}: ${baseline.toFixed(0)} ms flat, ${candidate.toFixed(0)} ms in months, ${times.toFixed(2)}`,
    );
  };
  await ratio("record 3,000 at once", (db) => record(db, tenant, 3000));
  await ratio("record 100", (db) => record(db, tenant, 100));
  await ratio("roll-up of a day, all organizations", (db) =>
    withServiceRole(db, (tx) => rollUpMetrics(tx, { from: tenant.day, to: tenant.day })),
  );
  await ratio("refreshHealth of a tenant", (db) =>
    withOrganization(db, tenant.organizationId, (tx) => refreshHealth(tx)),
  );

  const month = { from: "2025-01-01", to: "2025-02-02" };
  for (const { db } of [flat, cut]) await withServiceRole(db, (tx) => rollUpMetrics(tx, month));
  const before = "2025-02-01";
  // Rolled up before, so that both look at the same, and once more, so that only the removal is left.
  const deleting = await time(() => pruneLogs(flat.db, { before }));
  const dropping = await time(() => pruneLogs(cut.db, { before }));
  const looking = await time(() => pruneLogs(cut.db, { before }));
  console.log(
    `January: deleted in ${deleting.toFixed(0)} ms and vacuumed in ${(await time(async () => flat.db.execute(sql`vacuum agent_execution_logs`))).toFixed(0)} ms, dropped in ${dropping.toFixed(0)} ms, of which ${looking.toFixed(0)} ms are to look`,
  );

  const { name } = await one<{ name: string }>(flat.db, sql`select current_database() as name`);
  const at = new URL(server.url);
  at.pathname = `/${name}`;
  const clients = [
    client(at.href, (db) => record(db, tenant, 20)),
    client(at.href, (db) => record(db, tenant, 1)),
    client(at.href, (db) =>
      withOrganization(db, tenant.organizationId, (tx) => questions(tenant).latestLogsOfAgent(tx)),
    ),
  ];
  let last = performance.now();
  let step = "";
  const told = (what: string) => {
    if (step !== "") console.log(`  ${step}: ${(performance.now() - last).toFixed(0)} ms`);
    [step, last] = [what, performance.now()];
  };
  await partitionLogs(flat.db, { onStep: told });
  told("");
  await Promise.all(clients.map(({ stop }) => stop()));
  for (const { taken } of clients) {
    console.log(
      `  client: ${taken.length} turns, median ${median(taken).toFixed(0)} ms, worst ${Math.max(...taken).toFixed(0)} ms`,
    );
  }
  await addPartitions(cut.db, { ahead: 36 });
  const many = await explained(cut.db, tenant, questions(tenant).latestLogsOfAgent);
  console.log(
    `latestLogsOfAgent with ${months + 36} partitions: planning ${many.planning.toFixed(2)} ms`,
  );
} finally {
  await Promise.all([flat.close(), cut.close()]);
  await server.close();
}
