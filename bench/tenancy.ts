// What row-level security costs: each documented query as a tenant against the same query as the owner
// with an explicit filter, both inside an open transaction, in turns. `npm run bench:tenancy [LOGS]`.
import { type SQL, and, arrayContains, desc, eq, sql } from "drizzle-orm";
import { type Database, type Transaction, rows } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { agentExecutionLogs, learningLog } from "../src/schema/index.ts";
import { newExecutionLog } from "../src/testing.ts";
import { type Question, type Tenant, fillFleet, questions } from "./fleet.ts";
import { compare, startServer, time } from "./server.ts";

const LOGS = Number(process.argv[2] ?? 1_000_000);

/** What the owner asks in other words: a tenant's own have the organization's index in a function. */
const OWNERS: Readonly<Record<string, Question>> = {
  learningsApplicableTo: (tx) => learningsOn(tx, "sales", 20),
  learningsApplicableToRare: (tx) => learningsOn(tx, "topic 7", 100),
};

const learningsOn = (tx: Transaction, subject: string, limit: number) =>
  tx
    .select()
    .from(learningLog)
    .where(and(eq(learningLog.isActive, true), arrayContains(learningLog.applicableTo, [subject])))
    .orderBy(desc(learningLog.createdAt))
    .limit(limit);

type Work<T> = (tx: Transaction) => Promise<T>;

const server = await startServer();
try {
  const tenant = await fillFleet(server.db, { logs: LOGS, agents: 5 });
  const asOwner = <T>(work: Work<T>) => server.db.transaction(work);
  const asTenant = <T>(work: Work<T>) => withOrganization(server.db, tenant.organizationId, work);
  console.log(`${LOGS} logs of 100 organizations; medians in ms, in turns`);
  console.log(line("", "owner", "tenant", "ratio", "index"));
  for (const [name, ask] of Object.entries<Question>(questions(tenant))) {
    const owners = OWNERS[name] ?? ask;
    const owned = (tx: Transaction) => statement(owners(tx).toSQL(), tenant.organizationId);
    const own = (tx: Transaction) => statement(ask(tx).toSQL());
    const result = await compare(
      201,
      () => asOwner((tx) => time(() => tx.execute(owned(tx)))),
      () => asTenant((tx) => time(() => tx.execute(own(tx)))),
    );
    const [ownersIndex, index] = [
      await asOwner((tx) => indexes(tx, owned(tx))),
      await asTenant((tx) => indexes(tx, own(tx))),
    ];
    report(name, result, ownersIndex === index ? index : `${index}, owner ${ownersIndex}`);
  }
  await benchInserts(server.db, tenant);
  await benchSwitch(server.db, tenant);
} finally {
  await server.close();
}

/** A query as the driver gets it; as the owner asks it, of one organization's rows. */
function statement(query: { sql: string; params: unknown[] }, organizationId?: string): SQL {
  const text = organizationId
    ? query.sql.replace(
        /from (?:"(\w+)"|public\.(\w+)( as \w+)?)/,
        (_, quoted: string, name = quoted, alias = ` as "${name}"`) =>
          `from (select * from "${name}" where organization_id = '${organizationId}')${alias}`,
      )
    : query.sql;
  const parts = text.split(/\$(\d+)/);
  return sql.join(
    parts.map((part, at) => (at % 2 ? sql`${query.params[Number(part) - 1]}` : sql.raw(part))),
  );
}

/** The names of the indexes in a query's plan. */
async function indexes(tx: Transaction, query: SQL): Promise<string> {
  const plan = rows<{ "QUERY PLAN": string }>(await tx.execute(sql`explain ${query}`));
  const names = plan.flatMap(
    (row) => /(?:using|Index Scan on) (\w+)/.exec(row["QUERY PLAN"])?.[1] ?? [],
  );
  return [...new Set(names)].join(" & ");
}

function line(what: string, ...columns: [string, string, string, string]): string {
  const [owner, tenant, ratio, index] = columns;
  return `${what.padEnd(42)}${[owner, tenant, ratio].map((text) => text.padStart(8)).join("")}  ${index}`.trimEnd();
}

function report(
  what: string,
  { baseline, candidate, ratio }: Awaited<ReturnType<typeof compare>>,
  index = "",
): void {
  console.log(line(what, baseline.toFixed(2), candidate.toFixed(2), ratio.toFixed(2), index));
}

async function benchInserts(db: Database, { organizationId, agentId }: Tenant): Promise<void> {
  const insert = (tx: Transaction, given: { organizationId?: string }) => {
    const logs = Array.from({ length: 1000 }, () =>
      newExecutionLog({ agentId, latencyMs: 12, ...given }),
    );
    return time(() => tx.insert(agentExecutionLogs).values(logs));
  };
  const asOwner = () => db.transaction((tx) => insert(tx, { organizationId }));
  const asTenant = (given: { organizationId?: string }) =>
    withOrganization(db, organizationId, (tx) => insert(tx, given));
  report(
    "insert 1,000 logs, organization given",
    await compare(21, asOwner, () => asTenant({ organizationId })),
  );
  report(
    "insert 1,000 logs, organization by default",
    await compare(21, asOwner, () => asTenant({})),
  );
}

/** The statement that switches, against a plain select, both inside an open transaction. */
async function benchSwitch(db: Database, { organizationId, agentId }: Tenant): Promise<void> {
  const claims = JSON.stringify({ organization_id: organizationId });
  const execute = (query: SQL) => db.transaction((tx) => time(() => tx.execute(query)));
  report(
    "the switch, against a select by key",
    await compare(
      301,
      () => execute(sql`select * from agent_registry where id = ${agentId}`),
      () =>
        execute(
          sql`select set_config('request.jwt.claims', ${claims}, true), set_config('role', 'authenticated', true), row_security_active('public.agent_registry') as secured`,
        ),
    ),
  );
}
