import { type TablesRelationalConfig, is, sql } from "drizzle-orm";
import {
  type PgDatabase,
  type PgQueryResultHKT,
  type PgSession,
  PgTransaction,
  type PgTransactionConfig,
  type PreparedQueryConfig,
} from "drizzle-orm/pg-core";
import { PostgresJsTransaction } from "drizzle-orm/postgres-js";

/** What has become of a transaction. */
interface Life {
  /** Its work has settled, or its connection was lost. */
  over: boolean;
  /** Its connection was lost: the driver's COMMIT or ROLLBACK would reach another transaction, or nobody. */
  lost: boolean;
  /** A statement has failed. Only postgres.js tells whoever goes on that nothing was committed. */
  failed: boolean;
  /** Statements that are running. */
  readonly running: Set<Promise<unknown>>;
  /** Settles, never rejects, when no COPY has the connection to itself. */
  copied: Promise<unknown>;
  /** How it ends: postgres.js sees to that itself, other drivers send a last statement of the transaction. */
  end: "unseen" | "statement" | "sent";
}

const lives = new WeakMap<object, Life>();

/**
 * `db.transaction`, kept to itself. postgres.js sends what a transaction that is over still says on the
 * connection it had, into the transaction of whoever has it now: a statement that `Promise.all` left
 * running after another one failed reads and writes as the next tenant. Here such a statement is
 * refused. And where the connection is lost, no COMMIT or ROLLBACK follows the work: that would end
 * another's transaction, or bring down the process. A transaction inside another is left to whoever opened
 * that one.
 */
export async function confinedTransaction<
  HKT extends PgQueryResultHKT,
  S extends Record<string, unknown>,
  R extends TablesRelationalConfig,
  T,
>(
  db: PgDatabase<HKT, S, R>,
  work: (tx: PgTransaction<HKT, S, R>) => Promise<T>,
  config?: PgTransactionConfig,
): Promise<T> {
  // A nested one shares its session with the outer one, which goes on.
  if (is(db, PgTransaction)) return db.transaction(work, config);
  const life: Life = {
    over: false,
    lost: false,
    failed: false,
    running: new Set(),
    copied: Promise.resolve(),
    end: "statement",
  };
  const whole = async (tx: PgTransaction<HKT, S, R>): Promise<T> => {
    if (is(tx, PostgresJsTransaction)) life.end = "unseen";
    confine(tx, life);
    try {
      const result = await work(tx);
      // Unless a savepoint was rolled back, PostgreSQL refuses this.
      if (life.failed && life.end === "statement") await tx.execute(sql`select 1`);
      return result;
    } finally {
      life.over = true;
      await life.copied;
      await unlessLost(life);
    }
  };
  // A single client of pg has one session, for all its transactions and outside of them.
  const session: typeof db._.session = Object.create(db._.session);
  try {
    return await session.transaction(whole, config);
  } finally {
    life.lost ||= !life.over;
    life.over = true;
  }
}

/** Returns at once, or never: postgres.js goes on only from a connection that is still the transaction's. */
async function unlessLost(life: Life): Promise<void> {
  if (life.lost && life.end === "unseen") await new Promise(() => {});
}

/** Has a transaction, and those nested in it, refuse statements once it is over. */
function confine<
  HKT extends PgQueryResultHKT,
  S extends Record<string, unknown>,
  R extends TablesRelationalConfig,
>(tx: PgTransaction<HKT, S, R>, life: Life): void {
  const { session } = tx._;
  if (lives.get(session) !== life) confineSession(session, life);
  const transaction = tx.transaction.bind(tx);
  tx.transaction = (work) =>
    confined(
      life,
      () =>
        new Promise((resolve, reject) => {
          const nested = async (inner: PgTransaction<HKT, S, R>) => {
            confine(inner, life);
            // A query of Drizzle runs each time it is awaited; a promise, once.
            const done = (async () => work(inner))();
            await done.catch(() => {});
            if (!life.over && !life.lost) return done;
            // The driver's ROLLBACK TO SAVEPOINT would reach another transaction.
            resolve(done);
            return new Promise<never>(() => {});
          };
          transaction(nested).then(resolve, reject);
        }),
    );
}

/** Nested transactions of pg share the session of the outer one; postgres.js gives each its own. */
function confineSession(session: Pick<PgSession, "prepareQuery">, life: Life): void {
  lives.set(session, life);
  const prepareQuery = session.prepareQuery.bind(session);
  session.prepareQuery = <Q extends PreparedQueryConfig>(
    ...query: Parameters<typeof prepareQuery>
  ) => {
    const prepared = prepareQuery<Q>(...query);
    const execute = prepared.execute.bind(prepared);
    prepared.execute = (...values) => {
      if (life.over && life.end !== "unseen" && /^(commit|rollback)$/.test(query[0].sql)) {
        // The ROLLBACK that follows a COMMIT that failed: by then there is nothing to roll back.
        if (life.end === "sent") return Promise.resolve();
        life.end = "sent";
        return execute(...values);
      }
      return confined(life, async () => {
        const statement = execute(...values);
        life.running.add(statement);
        return statement.finally(() => life.running.delete(statement));
      });
    };
    return prepared;
  };
}

/**
 * Runs a COPY, for which Drizzle has no word, on the connection of a transaction and by the same rules.
 * The protocol knows no other statement meanwhile: those that run are awaited first, others wait.
 */
export function confinedCopy<T>(session: object, copy: () => Promise<T>): Promise<T> {
  const life = lives.get(session);
  if (!life) return copy();
  const copied = confined(life, async () => {
    await Promise.allSettled(life.running);
    return copy();
  });
  life.copied = copied.catch(() => {});
  return copied;
}

async function confined<T>(life: Life, run: () => Promise<T>): Promise<T> {
  await life.copied;
  if (life.over || life.lost) {
    throw new Error(
      life.lost
        ? "this transaction has lost its connection"
        : "this transaction is over: await all its statements before the work returns, and send none after",
    );
  }
  try {
    return await run();
  } catch (error) {
    life.failed = true;
    life.lost ||= isConnectionLoss(error);
    throw error;
  }
}

/** The server ends a session with an error of severity FATAL or PANIC; the rest is the driver's and the network's. */
export function isConnectionLoss(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    const severity: unknown = Reflect.get(at, "severity");
    if (severity === "FATAL" || severity === "PANIC") return true;
    const code: unknown = Reflect.get(at, "code");
    if (/^(CONNECTION_\w+|ECONNRESET|EPIPE|ETIMEDOUT)$/.test(String(code))) return true;
  }
  return false;
}
