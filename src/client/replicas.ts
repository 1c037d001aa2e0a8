/** Reading on a replica what was written on the primary. */
import { setTimeout } from "node:timers/promises";
import { type SQL, is, sql } from "drizzle-orm";
import { PgTransaction } from "drizzle-orm/pg-core";
import { type Queryable, one } from "./sql.ts";

/** A place in the primary's write-ahead log, as PostgreSQL writes one: `16/B374D848`. A text, to be kept with a session. */
export type Lsn = `${string}/${string}`;

const LSN = /^[0-9a-f]{1,8}\/[0-9a-f]{1,8}$/i;

export const isLsn = (value: unknown): value is Lsn => typeof value === "string" && LSN.test(value);

/**
 * How far the primary has written, for `freshAs` of `withOrganization`. Ask after the transaction that wrote has
 * committed. Any role may. Of who writes with `synchronous_commit` off the last commit may be missing.
 * @example
 * await withOrganization(primary, organization, (tx) => recordExecutions(tx, entries));
 * const freshAs = await currentLsn(primary);
 * const logs = await withOrganization(replica, organization, (tx) => latestLogs(tx), { freshAs });
 * @param primary the database that was written to; of Drizzle's `withReplicas` that is its primary
 * @throws {TypeError} when given a transaction, whose own commit would be missing
 * @throws {Error} when the server is a replica
 */
export async function currentLsn(primary: Queryable): Promise<Lsn> {
  if (is(primary, PgTransaction)) {
    throw new TypeError(
      "currentLsn: ask after the commit: give it the database, not a transaction",
    );
  }
  const { lsn } = await one<{ lsn: string | null }>(
    primary,
    sql`select case when not pg_catalog.pg_is_in_recovery() then pg_catalog.pg_current_wal_lsn() end::pg_catalog.text as lsn`,
  );
  if (isLsn(lsn)) return lsn;
  throw new Error("currentLsn: this server is a replica: ask the primary, which was written to");
}

/** How far the server is that a statement runs on. A primary that was once recovered has stopped to replay. */
const POSITION = sql`case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_lsn() end`;

/** Whether a server is as far as `lsn`, and how far, as columns of a statement. Null where a server never replays. */
export const freshness = (lsn: Lsn): SQL =>
  sql`pg_catalog.pg_lsn_ge(${POSITION}, ${lsn}::pg_catalog.pg_lsn) as fresh, (${POSITION})::pg_catalog.text as position`;

/** A server had not replayed what was asked of it in the time given. */
export class StaleReplicaError extends Error {
  override readonly name = "StaleReplicaError";
}

/** What a server has answered: the result, or that it is not as far yet. */
export type Answer<T> = { readonly result: T } | { readonly staleAt: string | null | undefined };

/**
 * Asks until the answer is a result. Each try is a transaction of its own: between them no lock holds up what is to be
 * replayed, no connection is taken, and where several replicas share an address another may answer.
 * @throws {StaleReplicaError} when the time is over
 */
export async function untilFresh<T>(
  ask: () => Promise<Answer<T>>,
  { freshAs, freshWithinMs }: { readonly freshAs: Lsn; readonly freshWithinMs: number },
): Promise<T> {
  const end = performance.now() + freshWithinMs;
  for (let pause = 5; ; pause = Math.min(pause * 2, 100)) {
    const answer = await ask();
    if ("result" in answer) return answer.result;
    const left = end - performance.now();
    if (left > 0) await setTimeout(Math.min(pause, left));
    else {
      throw new StaleReplicaError(
        `after ${freshWithinMs} ms this server has not replayed ${freshAs}: it is at ${answer.staleAt ?? "no position"}. Read from the primary, or wait longer by freshWithinMs. Where it never gets there its replay is paused (pg_is_wal_replay_paused()) or it has lost its primary (pg_stat_wal_receiver).`,
      );
    }
  }
}
