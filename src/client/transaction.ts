/**
 * Keeps a transaction to itself. Drizzle and the drivers offer no such thing, so this stands on three seams
 * that are not public, of drizzle-orm 0.44.4 to 0.45 and postgres.js 3.4: a session's `prepareQuery` and a
 * transaction's `transaction` can be replaced, and a session can be the prototype of another.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { is, sql } from "drizzle-orm";
import {
  type PgPreparedQuery,
  type PgSession,
  PgTransaction,
  type PgTransactionConfig,
  type PreparedQueryConfig,
} from "drizzle-orm/pg-core";
import { PostgresJsTransaction } from "drizzle-orm/postgres-js";
import { refuseOtherDrivers } from "./driver.ts";
import { databaseError, sayingWhereToWrite } from "./errors.ts";
import { lend, takeTurn } from "./loan.ts";
import type { Executor, Transactor } from "./sql.ts";

/** What has become of a transaction. */
interface TransactionState {
  /** Its work has settled, or its connection was lost. */
  over: boolean;
  /** Its connection was lost: the driver's COMMIT or ROLLBACK would reach another transaction, or nobody. */
  lost: boolean;
  /** A statement has failed. Only postgres.js tells whoever goes on that nothing was committed. */
  failed: boolean;
  /** What the work was rejected with. */
  rejection?: { readonly error: unknown };
  /** Statements that are running. */
  readonly running: Set<Promise<unknown>>;
  /** Settles, never rejects, when no COPY has the connection to itself. */
  copied: Promise<unknown>;
  /** The server has answered its COMMIT or ROLLBACK: the connection is in no transaction any more. */
  ended: boolean;
  /** Who ends it: postgres.js unseen from here, other drivers by a last statement, which may be sent already. */
  commit: "driver" | "statement" | "sent";
}

const states = new WeakMap<object, TransactionState>();

/** What a transaction and those nested in it have in common. */
export const transactionOf = ({ _: { session } }: Executor): object | undefined =>
  states.get(session);

/** A transaction that the running code is inside of. */
interface Enclosing {
  /** The session of the database that opened it. */
  readonly database: object;
  readonly state: TransactionState;
  readonly outer: Enclosing | undefined;
}

const enclosing = new AsyncLocalStorage<Enclosing>();

/** How a transaction begins. */
interface ConfinedConfig extends PgTransactionConfig {
  /** The work awaits its first statement, which may be sent twice, before it sends another: it may travel with BEGIN. */
  readonly awaitsFirst?: boolean;
}

/**
 * `db.transaction`, kept to itself. postgres.js sends what a transaction that is over still says on the
 * connection it had, into the transaction of whoever has it now: a statement that `Promise.all` left
 * running after another one failed reads and writes as the next tenant. Here such a statement is
 * refused. And where the connection is lost, no COMMIT or ROLLBACK follows the work: that would end
 * another's transaction, or bring down the process. A transaction inside another is left to whoever opened
 * that one.
 *
 * While `work` runs the database itself is closed to it: a statement of `db` would wait for a connection, and
 * where each that there is waits so, for ever.
 */
export async function confinedTransaction<Tx extends Executor, T>(
  db: Transactor<Tx>,
  work: (tx: Tx) => Promise<T>,
  { awaitsFirst = false, ...modes }: ConfinedConfig = {},
): Promise<T> {
  const config = Object.keys(modes).length > 0 ? modes : undefined;
  const database = db._.session;
  refuseOtherDrivers(database);
  // A nested one shares its session with the outer one, which goes on.
  if (is(db, PgTransaction)) return db.transaction(work, config);
  refuseInside(database);
  watch(database);
  const state: TransactionState = {
    over: false,
    lost: false,
    failed: false,
    running: new Set(),
    copied: Promise.resolve(),
    ended: false,
    commit: "statement",
  };
  const whole = async (tx: Tx): Promise<T> => {
    if (is(tx, PostgresJsTransaction)) state.commit = "driver";
    confine(tx, state);
    try {
      const result = await enclosing.run({ database, state, outer: enclosing.getStore() }, () =>
        work(tx),
      );
      // Unless a savepoint was rolled back, PostgreSQL refuses this.
      if (state.failed && state.commit === "statement") await tx.execute(sql`select 1`);
      return result;
    } catch (error) {
      state.rejection = { error };
      throw error;
    } finally {
      state.over = true;
      await state.copied;
      await unlessLost(state);
    }
  };
  // A single client of pg has one session, for all its transactions and outside of them. It is given back
  // before the next has its turn.
  const { session, giveBack } = lend(database, awaitsFirst);
  return takeTurn(database, async () => {
    try {
      return await session.transaction(whole, config);
    } catch (error) {
      // A BEGIN that the server refused leaves nothing open.
      if (!state.over) state.ended = isRefusal(error);
      // postgres.js would say that its ROLLBACK has lost the connection, not why the work failed.
      throw state.rejection ? state.rejection.error : error;
    } finally {
      state.lost ||= !state.over;
      state.over = true;
      giveBack(state.ended);
    }
  });
}

/** @throws {TypeError} when the running code is inside of a transaction of this database */
function refuseInside(database: object): void {
  for (let at = enclosing.getStore(); at; at = at.outer) {
    if (at.database === database && !at.state.over) {
      throw new TypeError(
        "this runs inside a transaction of the same database, which has its connection: use the transaction's tx, not db",
      );
    }
  }
}

type Session = Pick<PgSession, "prepareQuery" | "transaction">;

const isSession = (value: object): value is Session =>
  "prepareQuery" in value && typeof value.prepareQuery === "function";

const watched = new WeakSet<object>();

/** Has statements and transactions of a database refused inside of its own transactions. */
function watch(database: object): void {
  if (watched.has(database) || !isSession(database)) return;
  watched.add(database);
  // The session of a transaction on a single client of pg inherits from this one, and is let through.
  const refusing = async (self: unknown, run: () => unknown): Promise<unknown> => {
    if (self !== database) return run();
    refuseInside(database);
    return takeTurn(database, async () => run());
  };
  database.transaction = new Proxy(database.transaction, {
    apply: (transaction, self, words) =>
      refusing(self, () => Reflect.apply(transaction, self, words)),
  });
  database.prepareQuery = new Proxy(database.prepareQuery, {
    apply: (prepareQuery, self, words) => {
      const prepared: PgPreparedQuery<PreparedQueryConfig> = Reflect.apply(
        prepareQuery,
        self,
        words,
      );
      const execute = prepared.execute.bind(prepared);
      prepared.execute = (values, ...rest) => refusing(self, () => execute(values, ...rest));
      return prepared;
    },
  });
}

/** Returns at once, or never: postgres.js goes on only from a connection that is still the transaction's. */
async function unlessLost(state: TransactionState): Promise<void> {
  if (state.lost && state.commit === "driver") await new Promise(() => {});
}

/** The seams of a transaction. */
interface Confinable {
  readonly _: { readonly session: Pick<PgSession, "prepareQuery"> };
  transaction: <T>(work: (nested: Executor) => Promise<T>) => Promise<T>;
}

function isConfinable(tx: object): tx is Confinable {
  return is(tx, PgTransaction) && typeof tx._.session.prepareQuery === "function";
}

/** Has a transaction, and those nested in it, refuse statements once it is over. */
function confine(tx: Executor, state: TransactionState): void {
  if (!isConfinable(tx)) {
    throw new TypeError(
      "this drizzle-orm has no session that can be confined: meta-agent-db needs 0.44.4 or newer, below 1",
    );
  }
  const { session } = tx._;
  if (states.get(session) !== state) confineSession(session, state);
  const transaction = tx.transaction.bind(tx);
  tx.transaction = (work) =>
    confined(
      state,
      () =>
        new Promise((resolve, reject) => {
          const nested = async (inner: Executor) => {
            confine(inner, state);
            // A query of Drizzle runs each time it is awaited; a promise, once.
            const done = (async () => work(inner))();
            await done.catch(() => {});
            if (!state.over && !state.lost) return done;
            // The driver's ROLLBACK TO SAVEPOINT would reach another transaction.
            resolve(done);
            return new Promise<never>(() => {});
          };
          transaction(nested).then(resolve, reject);
        }),
    );
}

/** Nested transactions of pg share the session of the outer one; postgres.js gives each its own. */
function confineSession(session: Pick<PgSession, "prepareQuery">, state: TransactionState): void {
  states.set(session, state);
  const prepareQuery = session.prepareQuery.bind(session);
  session.prepareQuery = <Q extends PreparedQueryConfig>(
    ...query: Parameters<typeof prepareQuery>
  ) => {
    const prepared = prepareQuery<Q>(...query);
    const execute = prepared.execute.bind(prepared);
    prepared.execute = (...values) => {
      const [{ sql: text }] = query;
      if (state.over && state.commit !== "driver" && (text === "commit" || text === "rollback")) {
        return endBy(text, state, () => execute(...values));
      }
      return confined(state, async () => {
        const statement = execute(...values);
        state.running.add(statement);
        return statement.finally(() => state.running.delete(statement));
      });
    };
    return prepared;
  };
}

/** Sends the last statement of a transaction. */
async function endBy(
  statement: "commit" | "rollback",
  state: TransactionState,
  send: () => Promise<unknown>,
): Promise<unknown> {
  // The ROLLBACK that follows a COMMIT without an answer: what that left is not for the next statement to mend.
  if (state.commit === "sent") return undefined;
  state.commit = "sent";
  try {
    const answer = await send();
    state.ended = true;
    return answer;
  } catch (error) {
    // The caller is told why the work failed, not that it could not be rolled back in words.
    if (statement === "rollback") return undefined;
    // Refused before it was tried, as by a cancel that came late, it leaves its transaction open: the ROLLBACK
    // that follows is sent.
    if (isRefusal(error)) state.commit = "statement";
    throw error;
  }
}

/** The server has refused a statement, and goes on serving. */
const isRefusal = (error: unknown): boolean =>
  databaseError(error) !== undefined && !isConnectionLoss(error);

/**
 * Runs a COPY, for which Drizzle has no word, on the connection of a transaction and by the same rules.
 * The protocol knows no other statement meanwhile: those that run are awaited first, others wait.
 */
export function confinedCopy<T>(session: object, copy: () => Promise<T>): Promise<T> {
  const state = states.get(session);
  if (!state) return copy();
  const copied = confined(state, async () => {
    await Promise.allSettled(state.running);
    return copy();
  });
  state.copied = copied.catch(() => {});
  return copied;
}

async function confined<T>(state: TransactionState, run: () => Promise<T>): Promise<T> {
  await state.copied;
  if (state.over || state.lost) {
    throw new Error(
      state.lost
        ? "this transaction has lost its connection"
        : "this transaction is over: await all its statements before the work returns, and send none after",
    );
  }
  try {
    return await run();
  } catch (error) {
    state.failed = true;
    state.lost ||= isConnectionLoss(error);
    throw sayingWhereToWrite(error);
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
