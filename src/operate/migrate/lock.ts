import { type SQL, sql } from "drizzle-orm";
import { type Executor, type Queryable, type Transaction, one, rows } from "../../client/sql.ts";
import { databaseError } from "../../client/errors.ts";
import { TABLE_NAMES } from "../../schema/all.ts";

/** The key of the one lock that all migrators of a database take, as SQL. */
export const LOCK_KEY = "pg_catalog.hashtextextended('meta-agent-db migrate', 0)";

/** A session that is in the way, as far as this login may see it. */
export interface LockHolder {
  readonly pid: number;
  /** Empty when the session does not say. */
  readonly application: string;
  readonly login: string | null;
  /** When its transaction began; `null` for a session of another login, unless this one has pg_read_all_stats. */
  readonly since: Date | null;
}

/** A lock was not to be had in the time given. */
export class LockedError extends Error {
  override readonly name = "LockedError";
  /** Who has it; empty when it has just been released. */
  readonly holders: readonly LockHolder[];

  constructor(message: string, holders: readonly LockHolder[], cause?: unknown) {
    super([message, ...describe(holders)].join("\n"), { cause });
    this.holders = holders;
  }
}

export interface LockOptions {
  /** Seconds; 0 to fail at once, `undefined` to wait without limit. */
  readonly timeout?: number | undefined;
  readonly onWait?: ((why: string) => unknown) | undefined;
}

/**
 * Takes the migrators' lock until the end of the transaction; the time given then holds for each lock on
 * a table as well.
 * @throws {LockedError} when the time is over
 */
export async function lockMigrators(
  tx: Transaction,
  { timeout, onWait }: LockOptions = {},
): Promise<void> {
  if (timeout !== undefined) {
    // PostgreSQL takes 0 for "without limit".
    const milliseconds = Math.max(1, Math.round(timeout * 1000));
    await tx.execute(
      sql`select pg_catalog.set_config('lock_timeout', ${`${milliseconds}ms`}, true)`,
    );
  }
  if (await tryLock(tx)) return;
  if (timeout !== 0) {
    await onWait?.(["waiting for another migrator", ...describe(await migrators(tx))].join("\n"));
  }
  try {
    // Nested: the transaction must live on to say who is in the way.
    await tx.transaction((inner) =>
      inner.execute(sql`select pg_advisory_xact_lock(${sql.raw(LOCK_KEY)})`),
    );
  } catch (error) {
    if (databaseError(error)?.code !== "55P03") throw error;
    throw new LockedError("another migrator holds the lock", await migrators(tx), error);
  }
}

async function tryLock(tx: Executor): Promise<boolean> {
  const { locked } = await one<{ locked: boolean }>(
    tx,
    sql`select pg_try_advisory_xact_lock(${sql.raw(LOCK_KEY)}) as locked`,
  );
  return locked;
}

/** The other sessions that hold the migrators' lock. */
const migrators = (db: Queryable) =>
  holdersOf(
    db,
    sql`l.locktype = 'advisory' and l.objsubid = 1
      and (l.classid::bigint << 32) | l.objid::bigint = ${sql.raw(LOCK_KEY)}`,
  );

/** The other sessions that hold any lock on this package's tables. */
export const tableUsers = (db: Queryable) =>
  holdersOf(
    db,
    sql`l.locktype = 'relation' and l.relation in (
      select c.oid from pg_class as c
      where c.relnamespace = to_regnamespace('public') and c.relname = any(${TABLE_NAMES}))`,
  );

async function holdersOf(db: Queryable, condition: SQL): Promise<LockHolder[]> {
  const found = rows<{ pid: number; application: string; login: string; since: string | null }>(
    await db.execute(sql`
      select distinct a.pid, a.application_name as application, a.usename::text as login,
        pg_catalog.to_jsonb(a.xact_start) #>> '{}' as since
      from pg_locks as l join pg_stat_activity as a on a.pid = l.pid
      where l.granted and l.pid <> pg_backend_pid()
        and l.database = (select oid from pg_database where datname = current_database())
        and ${condition}
      order by a.pid`),
  );
  return found.map(({ since, ...holder }) => ({
    ...holder,
    since: since === null ? null : new Date(since),
  }));
}

function describe(found: readonly LockHolder[]): string[] {
  const lines = found.map(
    ({ pid, application, login, since }) =>
      `  pid ${pid}, ${application || "no application name"}, as ${login ?? "?"}, since ${since?.toISOString() ?? "a time that this login may not see"}`,
  );
  const [holder, ...others] = found;
  // Of several that hold locks on tables some are in nobody's way.
  return holder && others.length === 0
    ? [...lines, `To end it: SELECT pg_terminate_backend(${holder.pid});`]
    : lines;
}
