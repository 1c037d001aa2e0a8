/** Removes old logs: whole months by their partitions, all else in batches. What was removed is remembered. */
import { type SQL, sql } from "drizzle-orm";
import * as z from "zod";
import { withServersNames } from "../client/settings.ts";
import { type Database, type Queryable, type Transaction, one, rows } from "../client/sql.ts";
import { confinedTransaction } from "../client/transaction.ts";
import { REACH, LOOK_BACK } from "../fleet/outcome.ts";
import { lockOrganization, midnight } from "../fleet/steps.ts";
import { PARTITIONS } from "./months.ts";
import { PartitionError, type PartitionOptions, briefly, lockAll, run } from "./partitions.ts";

/** What to remove. */
export interface PruneOptions extends Omit<PartitionOptions, "ahead"> {
  /** The first day that stays, UTC, `YYYY-MM-DD`. */
  readonly before: string;
  /** Told after each transaction how many logs of those that are deleted one by one are gone. */
  readonly onDeleted?: ((deleted: number, of: number) => unknown) | undefined;
}

/** What was removed. */
export interface PruneResult {
  /** Partitions that were dropped, with all their rows. */
  readonly dropped: readonly string[];
  /** Logs that were deleted one by one. */
  readonly deleted: number;
}

/** Rows a transaction. */
const BATCH = 5000;

/**
 * Removes the logs of all organizations before a day, and their embeddings. Where the log is partitioned, whole months
 * are dropped, which takes a fraction of a second whatever they hold; all else is deleted in short transactions, and
 * what is interrupted goes on the next time. The day is remembered: `rollUpMetrics` leaves the metrics of the days
 * before it alone, and those of the two days after, whose executions may have begun before. Runs as the owner.
 *
 * @throws {TypeError} before any SQL: a day that is none
 * @throws {PartitionError} before anything is removed, with what to do: the days, or the two after them, are not rolled
 * up or may still change; a test or a canary that runs has begun in them; a budget's window reaches back to them
 * @throws {LockedError} when a lock was not to be had within `lockTimeout`
 */
export async function pruneLogs(
  db: Database,
  { before, ...options }: PruneOptions,
): Promise<PruneResult> {
  if (!z.iso.date().safeParse(before).success) {
    throw new TypeError("pruneLogs: before must be a day, YYYY-MM-DD");
  }
  await options.onStep?.("looking whether all of it is rolled up, and nothing needs it");
  await inOne(db, async (tx) => {
    // Roll-ups wait, and then leave these days alone.
    await lockOrganization(tx, "pruneLogs", "roll-up");
    const needs = await neededBy(tx, before);
    if (needs.length > 0) throw new PartitionError([...needs, "Nothing was removed."].join("\n"));
    await run(tx, [remember(before)]);
  });
  const dropped: string[] = [];
  for (;;) {
    const [partition] = await inOne(db, (tx) => partitionsBefore(tx, before));
    if (!partition) break;
    await options.onStep?.(`dropping ${partition.relname}`);
    await drop(db, partition, options);
    dropped.push(partition.relname);
  }
  return { dropped, deleted: await deleteRest(db, before, options) };
}

/** A comment, since it takes no grant to read and no table to open. The day was validated. */
const remember = (before: string) => `DO $$ BEGIN
  EXECUTE format('COMMENT ON FUNCTION meta_agent.logs_pruned_before() IS %L',
    format('Logs before %s were removed.', greatest(date '${before}', meta_agent.logs_pruned_before())));
END $$`;

const inOne = <T>(db: Database, work: (tx: Transaction) => Promise<T>): Promise<T> =>
  confinedTransaction(db, (tx) => withServersNames(tx, () => work(tx)), {
    isolationLevel: "read committed",
  });

// ── What is needed still ──

async function neededBy(tx: Transaction, before: string): Promise<string[]> {
  const reached = sql`(${midnight(before)} + ${LOOK_BACK})`;
  const found = await one<{
    young: boolean;
    experiments: string | null;
    budgets: string | null;
    first: string | null;
    last: string | null;
    days: number;
  }>(
    tx,
    sql`
    with kept as materialized (
      select coalesce(meta_agent.logs_pruned_before() + 2, '-infinity') as since
    ), logged as (
      select agent_id, (timestamp at time zone 'UTC')::date as date, least(coalesce(sum(estimated_cost_usd), 0), 1e12) as cost,
        least(coalesce(sum(token_count_input), 0), 2147483647) as read, least(coalesce(sum(token_count_output), 0), 2147483647) as written
      from public.agent_execution_logs, kept
      where timestamp < ${midnight(before, 2)} and (since = '-infinity' or timestamp >= (since::timestamp at time zone 'UTC')) group by 1, 2
    ), counted as (
      select agent_id, date, sum(total_cost_usd) as cost, sum(total_tokens_input) as read, sum(total_tokens_output) as written
      from public.agent_performance_metrics where date < ${before}::date + 2 group by 1, 2
    ), lacking as (
      select logged.date from logged left join counted using (agent_id, date)
      -- Of an organization whose own logs were removed before there is more in the metrics.
      where counted.date is null or logged.cost > counted.cost + 0.000001 or logged.read > counted.read or logged.written > counted.written
    )
    select now() < ${midnight(before, 2)} + ${REACH} as young,
      (select string_agg(what, ', ' order by what) from (
        select 'A/B test ' || id as what from public.ab_tests where status = 'running' and start_date < ${reached}
        union all select 'shadow test ' || id from public.shadow_tests where status = 'running' and start_date < ${reached}
        union all select 'canary ' || id from public.canary_deployments where status in ('running', 'paused') and started_at < ${reached}
      ) as running) as experiments,
      (select to_char(reach at time zone 'UTC', 'YYYY-MM-DD') from (
        select least(date_trunc('week', now(), 'UTC'), date_trunc('month', now(), 'UTC')) as reach) as open
        where reach < ${midnight(before)} and exists (select from public.cost_budgets)) as budgets,
      min(date)::text as first, max(date)::text as last, count(distinct date)::int as days
    from lacking`,
  );
  return [
    found.young &&
      `executions of the days before ${before}, or of the two days from it on, may go on: three days must have passed since`,
    found.experiments !== null &&
      `what runs has begun in these days or close to them: ${found.experiments}. Finish it first.`,
    found.budgets !== null &&
      `budgets count what was spent from ${found.budgets} on: name that day or an earlier one`,
    found.days > 0 &&
      `${found.days} days before ${before} or within two days from it have logs that no metrics have: run rollUpMetrics(tx, { from: "${found.first}", to: "${found.last}" }) as service role first`,
  ].filter((line) => line !== false);
}

// ── By partition ──

interface Partition {
  readonly relname: string;
  readonly path: string;
  readonly lower: string | null;
  readonly upper: string;
}

const partitionsBefore = async (tx: Queryable, before: string): Promise<Partition[]> =>
  rows<Partition>(
    await tx.execute(sql`
      select relname::text, path, lower::text, upper::text from ${PARTITIONS} as part
      where not is_default and until <= ${midnight(before)} order by since nulls first`),
  );

async function drop(
  db: Database,
  { path, lower, upper }: Partition,
  options: PartitionOptions,
): Promise<void> {
  const embedded = sql`execution_log_id >= coalesce(${lower}::uuid, '00000000-0000-0000-0000-000000000000') and execution_log_id < ${upper}::uuid`;
  await inBatches(
    db,
    sql`delete from public.execution_embeddings where id in (
      select id from public.execution_embeddings where ${embedded} limit ${BATCH}) returning id`,
  );
  await briefly(db, options, async (tx) => {
    await lockAll(tx, "ACCESS EXCLUSIVE");
    // Those that came meanwhile.
    await tx.execute(sql`delete from public.execution_embeddings where ${embedded}`);
    await run(tx, [
      `ALTER TABLE public.agent_execution_logs DETACH PARTITION ${path}`,
      `DROP TABLE ${path}`,
    ]);
  });
}

// ── Row by row ──

/** Day by day, so that no batch looks again at all that the earlier ones have deleted. */
async function deleteRest(
  db: Database,
  before: string,
  { onStep, onDeleted }: Omit<PruneOptions, "before">,
): Promise<number> {
  const days = await inOne(db, async (tx) =>
    rows<{ day: string; since: string; until: string; logs: number }>(
      await tx.execute(sql`
        select logs, to_char(start at time zone 'UTC', 'YYYY-MM-DD') as day, to_json(start) #>> '{}' as since, to_json(start + interval '1 day') #>> '{}' as until
        from (select date_trunc('day', timestamp, 'UTC') as start, count(*)::int as logs from public.agent_execution_logs
          where timestamp < ${midnight(before)} group by 1) as logged order by start`),
    ),
  );
  const found = days.reduce((sum, { logs }) => sum + logs, 0);
  let deleted = 0;
  for (const { day, since, until } of days) {
    const ofDay = await inBatches(
      db,
      sql`delete from public.agent_execution_logs where id in (
        select id from public.agent_execution_logs
        where timestamp >= ${since}::timestamptz and timestamp < ${until}::timestamptz limit ${BATCH}) returning id`,
      (count) => onDeleted?.(deleted + count, found),
    );
    deleted += ofDay;
    if (ofDay > 0) await onStep?.(`${day}: ${ofDay.toLocaleString("en-US")} logs deleted`);
  }
  return deleted;
}

/** Each a transaction, until one has fewer rows than it may. */
async function inBatches(
  db: Database,
  statement: SQL,
  tell?: (count: number) => unknown,
): Promise<number> {
  for (let total = 0; ;) {
    const { count } = await inOne(db, (tx) =>
      one<{ count: number }>(
        tx,
        sql`with gone as (${statement}) select count(*)::int as count from gone`,
      ),
    );
    total += count;
    await tell?.(total);
    if (count < BATCH) return total;
  }
}
