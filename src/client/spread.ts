/**
 * What statements over the log are told where it lies on the workers of a Citus cluster. Elsewhere they are
 * what they are: nothing here adds a word to them.
 *
 * Citus answers any statement whose rows are all on one shard, which it sees by the organization in it. What joins
 * the log with tables of the coordinator reads a copy of the rows that it needs.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { type SQL, type SQLWrapper, sql } from "drizzle-orm";
import { queuePerSession } from "./queue.ts";
import { type Executor, type Queryable, one } from "./sql.ts";
import { transactionOf } from "./transaction.ts";

/** A transaction on a cluster. */
interface Spread {
  /** Whose rows it sees; none: all. */
  readonly organization: string | undefined;
}

const spread = new WeakMap<object, Spread>();

/** Notes that the log lies on workers, and whose rows a transaction sees. */
export function noteSpread(tx: Executor, organization: string | undefined): void {
  const transaction = transactionOf(tx);
  if (transaction) spread.set(transaction, { organization });
}

/** What is known of a transaction whose log lies on workers; elsewhere nothing. */
export function spreadOf(tx: Executor): Spread | undefined {
  const transaction = transactionOf(tx);
  return transaction && spread.get(transaction);
}

/** How the statements that are written now name the two tables. */
interface Named {
  readonly log: SQL;
  readonly embeddings: SQL;
  readonly organization?: string;
}

const NAMES: Named = {
  log: sql.raw("public.agent_execution_logs"),
  embeddings: sql.raw("public.execution_embeddings"),
};
const COPY = "pg_temp.meta_agent_log";
const COPY_OF_EMBEDDINGS = "pg_temp.meta_agent_embeddings";
const names = new AsyncLocalStorage<Named>();

const current = (say: (named: Named) => SQL): SQLWrapper => ({
  getSQL: () => say(names.getStore() ?? NAMES),
  shouldOmitSQLParens: () => true,
});

/** The log, for a `from`. */
export const LOG = current(({ log }) => log);
/** The embeddings, for a `from`. */
export const EMBEDDINGS = current(({ embeddings }) => embeddings);
/** Ends a condition on a table that is changed: `where l.id = r.id ${ofOwn("l")}`. */
export const ofOwn = (table: string): SQLWrapper =>
  current(({ organization }) =>
    organization === undefined
      ? sql``
      : sql` and ${sql.raw(table)}.organization_id = ${organization}::uuid`,
  );

/** An organization as a column has it: on one shard it is said. */
export const ownOr = (column: string): SQLWrapper =>
  current(({ organization }) =>
    organization === undefined ? sql.raw(column) : sql`${organization}::uuid`,
  );
/** How a list that comes with a statement is read: with a shard it is joined when it is there as a whole. */
export const LISTED = current(({ organization }) =>
  sql.raw(organization === undefined ? "not materialized" : "materialized"),
);

/**
 * Runs statements over log and embeddings alone, where one shard answers: of the caller's organization, or of the one
 * that is given.
 */
export async function onShard<T>(tx: Executor, work: () => Promise<T>, given?: string): Promise<T> {
  const at = spreadOf(tx);
  const organization = given ?? at?.organization;
  if (!at || organization === undefined) return work();
  const own = (table: SQL) =>
    sql`(select * from ${table} where organization_id = ${organization}::uuid)`;
  const named = { log: own(NAMES.log), embeddings: own(NAMES.embeddings), organization };
  return names.run(named, work);
}

/** Which rows of the log a statement reads. */
export interface Reach {
  /** A list of agents' ids, as a query. */
  readonly agents?: SQL | undefined;
  /** From when on, as a query of one instant. */
  readonly since?: SQL | undefined;
  /** Whether it reads embeddings of outputs, too. */
  readonly outputs?: boolean;
}

/** Copies of one transaction take turns: they have one name. */
const inTurn = queuePerSession();

/** Runs a statement that joins the log with other tables. On a cluster it reads a copy of the rows that it needs. */
export async function besideLog<T>(tx: Executor, reach: Reach, work: () => Promise<T>): Promise<T> {
  const at = spreadOf(tx);
  if (!at) return work();
  return inTurn(tx._.session, async () => {
    await copyLog(tx, at, reach);
    const named = { log: sql.raw(COPY), embeddings: sql.raw(COPY_OF_EMBEDDINGS) };
    const result = await names.run(named, work);
    await tx.execute(sql.raw(`drop table ${COPY}, ${COPY_OF_EMBEDDINGS}`));
    return result;
  });
}

/** What executions are counted by, without payloads. */
const COPIED = sql.raw(
  "id, agent_id, organization_id, execution_id, prompt_version_id, timestamp, action_type, status, latency_ms, quality_score, estimated_cost_usd, error_type, user_id, metadata",
);

async function copyLog(tx: Queryable, { organization }: Spread, reach: Reach): Promise<void> {
  const { agents, since } = await one<{ agents: string[] | null; since: string | null }>(
    tx,
    sql`select ${reach.agents ? sql`(select coalesce(json_agg(id), '[]') from (${reach.agents}) as asked (id))` : sql`null::json`} as agents,
      ${reach.since ? sql`to_json((${reach.since})) #>> '{}'` : sql`null`} as since`,
  );
  const isRead = sql.join(
    [
      sql`true`,
      ...(organization === undefined ? [] : [sql`l.organization_id = ${organization}::uuid`]),
      ...(agents === null ? [] : [sql`l.agent_id = any (${sql.param(agents)}::uuid[])`]),
      ...(since === null ? [] : [sql`l.timestamp >= ${since}::timestamptz`]),
    ],
    sql` and `,
  );
  const [log, embeddings] = [sql.raw(COPY), sql.raw(COPY_OF_EMBEDDINGS)];
  await tx.execute(
    sql`create temporary table ${log} (like public.agent_execution_logs) on commit drop`,
  );
  await tx.execute(
    sql`create temporary table ${embeddings} (like public.execution_embeddings) on commit drop`,
  );
  await tx.execute(
    sql`insert into ${log} (${COPIED}) select ${COPIED} from public.agent_execution_logs as l where ${isRead}`,
  );
  if (reach.outputs) {
    await tx.execute(sql`
      insert into ${embeddings} (id, execution_log_id, organization_id, output_embedding, created_at)
      select e.id, e.execution_log_id, e.organization_id, e.output_embedding, e.created_at
      from public.execution_embeddings as e join public.agent_execution_logs as l
        on l.id = e.execution_log_id and l.organization_id = e.organization_id
      where ${isRead} and e.output_embedding is not null`);
  }
  await tx.execute(sql`create index on ${log} (agent_id, timestamp desc)`);
  await tx.execute(sql`create index on ${log} (execution_id)`);
}
