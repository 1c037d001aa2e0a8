// What row-level security costs: each query as a tenant against the same query as the owner with an
// explicit filter, both inside an open transaction, in turns. `npm run bench:tenancy [LOGS]`.
import { sql } from "drizzle-orm";
import { type Database, type Transaction, withOrganization } from "../src/database.ts";
import { agentExecutionLogs } from "../src/schema/index.ts";
import { newExecutionLog } from "../src/testing.ts";
import { compare, startServer, time } from "./server.ts";

const LOGS = Number(process.argv[2] ?? 1_000_000);
const [ORGANIZATIONS, AGENTS] = [100, 5];
const organization = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const ORGANIZATION = organization(42);
const AGENT = "00000000-0000-4000-9000-000042000003";

/** 100 organizations with 5 agents each; their logs interleaved over 100 days, as they would arrive. */
async function fill(db: Database): Promise<void> {
  await db.execute(
    sql.raw(`
    insert into agent_registry (id, agent_name, display_name, category, organization_id)
    select ('00000000-0000-4000-9000-' || lpad((o * 1000000 + a)::text, 12, '0'))::uuid, 'agent ' || o || '/' || a,
      'Agent', 'operations', ('00000000-0000-4000-8000-' || lpad(o::text, 12, '0'))::uuid
    from generate_series(0, ${ORGANIZATIONS - 1}) o, generate_series(0, ${AGENTS - 1}) a`),
  );
  await db.execute(
    sql.raw(`
    insert into agent_execution_logs (id, agent_id, execution_id, timestamp, action_type, latency_ms, status,
      quality_score, estimated_cost_usd, output_data, organization_id)
    select meta_agent.uuidv7_at(at), ('00000000-0000-4000-9000-' || lpad((o * 1000000 + a)::text, 12, '0'))::uuid,
      gen_random_uuid(), at, 'llm_call', n % 5000, case when n % 37 = 0 then 'failure' else 'success' end,
      case when n % 10 = 0 then n % 100 end, 0.001, jsonb_build_object('text', repeat('x', 300)),
      ('00000000-0000-4000-8000-' || lpad(o::text, 12, '0'))::uuid
    from (
      select n, n % ${ORGANIZATIONS} as o, (n / ${ORGANIZATIONS}) % ${AGENTS} as a,
        timestamptz '2026-01-01' + n * (interval '100 days' / ${LOGS}) as at
      from generate_series(0, ${LOGS - 1}) n
    ) as log`),
  );
  await db.execute(sql`vacuum analyze`);
}

const DAY = sql`timestamp >= '2026-03-01' and timestamp < '2026-03-02'`;
const READS = {
  "latest 50 logs of an agent": (own: typeof DAY) =>
    sql`select * from agent_execution_logs where agent_id = ${AGENT} and ${own} order by timestamp desc limit 50`,
  "latest 50 logs of the organization": (own: typeof DAY) =>
    sql`select * from agent_execution_logs where ${own} order by timestamp desc limit 50`,
  "failures of a day": (own: typeof DAY) =>
    sql`select * from agent_execution_logs where status = 'failure' and ${DAY} and ${own}`,
  "cost and runs of a day": (own: typeof DAY) =>
    sql`select agent_id, count(distinct execution_id), sum(estimated_cost_usd) from agent_execution_logs where ${DAY} and ${own} group by agent_id`,
  "logs below a quality": (own: typeof DAY) =>
    sql`select * from agent_execution_logs where agent_id = ${AGENT} and quality_score < 3 and ${own}`,
  "agents of the organization": (own: typeof DAY) =>
    sql`select * from agent_registry where ${own} order by agent_name`,
};

async function asOwner<T>(db: Database, work: (tx: Transaction) => Promise<T>): Promise<T> {
  return db.transaction(work);
}

const report = (
  what: string,
  { baseline, candidate, ratio }: Awaited<ReturnType<typeof compare>>,
) =>
  console.log(
    `${what.padEnd(40)} ${baseline.toFixed(2).padStart(9)} ${candidate.toFixed(2).padStart(9)} ${ratio.toFixed(2).padStart(7)}`,
  );

const server = await startServer();
try {
  await fill(server.db);
  console.log(`${LOGS} logs of ${ORGANIZATIONS} organizations; medians in ms, in turns`);
  console.log(
    `${"".padEnd(40)} ${"owner".padStart(9)} ${"tenant".padStart(9)} ${"ratio".padStart(7)}`,
  );
  const filter = sql`organization_id = ${ORGANIZATION}`;
  for (const [name, read] of Object.entries(READS)) {
    report(
      name,
      await compare(
        101,
        () => asOwner(server.db, (tx) => time(() => tx.execute(read(filter)))),
        () =>
          withOrganization(server.db, ORGANIZATION, (tx) =>
            time(() => tx.execute(read(sql`true`))),
          ),
      ),
    );
  }
  await benchInserts(server.db);
  await benchSwitch(server.db);
} finally {
  await server.close();
}

async function benchInserts(db: Database): Promise<void> {
  const logs = (owner?: string) =>
    Array.from({ length: 1000 }, () =>
      newExecutionLog({
        agentId: AGENT,
        latencyMs: 12,
        ...(owner ? { organizationId: owner } : {}),
      }),
    );
  const insert = (tx: Transaction, owner?: string) => {
    const values = logs(owner);
    return time(() => tx.insert(agentExecutionLogs).values(values));
  };
  report(
    "insert 1,000 logs, organization given",
    await compare(
      21,
      () => asOwner(db, (tx) => insert(tx, ORGANIZATION)),
      () => withOrganization(db, ORGANIZATION, (tx) => insert(tx, ORGANIZATION)),
    ),
  );
  report(
    "insert 1,000 logs, organization by default",
    await compare(
      21,
      () => asOwner(db, (tx) => insert(tx, ORGANIZATION)),
      () => withOrganization(db, ORGANIZATION, (tx) => insert(tx)),
    ),
  );
}

/** The statement that switches, against a plain select, both inside an open transaction. */
async function benchSwitch(db: Database): Promise<void> {
  const claims = JSON.stringify({ organization_id: ORGANIZATION });
  report(
    "the switch, against a select by key",
    await compare(
      301,
      () =>
        asOwner(db, (tx) =>
          time(() => tx.execute(sql`select * from agent_registry where id = ${AGENT}`)),
        ),
      () =>
        asOwner(db, (tx) =>
          time(() =>
            tx.execute(
              sql`select set_config('request.jwt.claims', ${claims}, true), set_config('role', 'authenticated', true), row_security_active('public.agent_registry') as secured`,
            ),
          ),
        ),
    ),
  );
}
