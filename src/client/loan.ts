/**
 * The connection of a transaction, and what becomes of it. postgres.js asks the server: it hands a connection
 * on when that says that no transaction is open. Drizzle over `pg` gives one back however its transaction
 * ended, even inside of it, and never one whose BEGIN failed: here the end decides.
 */

import { joiningBegin } from "./begin.ts";
import { queuePerSession } from "./queue.ts";

/** A session that has the connection of one transaction. */
interface Loan<Session> {
  readonly session: Session;
  /** Gives the connection back, or destroys it where its transaction may not have ended. */
  readonly giveBack: (hasEnded: boolean) => void;
}

/** What is needed of a `Pool` of pg. */
interface Pool {
  connect(): Promise<Lent>;
}

/** What is needed of a client that it lends. */
interface Lent {
  query(...words: unknown[]): unknown;
  release: (destroy?: boolean) => void;
  on(event: "error", listener: () => void): unknown;
  off(event: "error", listener: () => void): unknown;
}

/** What is needed of a `Client` of pg. */
interface Client {
  query(...words: unknown[]): unknown;
  end(): Promise<void>;
}

const isPool = (client: object): client is Pool =>
  "connect" in client && typeof client.connect === "function" && "totalCount" in client;

const isClient = (client: object): client is Client =>
  "end" in client && typeof client.end === "function" && "escapeIdentifier" in client;

const inTurn = queuePerSession();

/**
 * Runs what a database has to do, and on a single client of pg when it is its turn: the client sends what it is
 * given at once, a second BEGIN or a plain statement into the transaction of the first.
 */
export async function takeTurn<T>(session: object, work: () => Promise<T>): Promise<T> {
  const client: unknown = Reflect.get(session, "client");
  if (typeof client !== "object" || client === null || isPool(client) || !isClient(client)) {
    return work();
  }
  return inTurn(client, work);
}

/**
 * A session of its own for one transaction: `Session` is Drizzle's, of any driver.
 * @param joinsBegin whether the first statement of the transaction may travel with its BEGIN
 */
export function lend<Session extends object>(session: Session, joinsBegin: boolean): Loan<Session> {
  const own: Session = Object.create(session);
  const client: unknown = Reflect.get(session, "client");
  if (typeof client !== "object" || client === null) return { session: own, giveBack: () => {} };
  if (isPool(client)) return lendOf(client, own, joinsBegin);
  if (!isClient(client)) return { session: own, giveBack: () => {} };
  if (joinsBegin) Object.defineProperty(own, "client", { value: joiningBegin(client) });
  return {
    session: own,
    // It has no other connection: whoever uses it next is told that it is closed.
    giveBack: (hasEnded) => {
      if (!hasEnded) client.end().catch(() => {});
    },
  };
}

function lendOf<Session extends object>(
  pool: Pool,
  session: Session,
  joinsBegin: boolean,
): Loan<Session> {
  let giveBack = (_destroy: boolean): void => {};
  const connect = async () => {
    const lent = await pool.connect();
    // The pool gives it a new one each time.
    const { release } = lent;
    lent.release = () => {};
    // The pool does not listen to what it has lent, and an error that nobody hears ends the process. Who
    // loses the connection is told by the statement that fails.
    const hear = () => {};
    lent.on("error", hear);
    giveBack = (destroy) => {
      release(destroy);
      lent.off("error", hear);
    };
    return joinsBegin ? joiningBegin(lent) : lent;
  };
  const lender: Pool = Object.create(pool, { connect: { value: connect } });
  Object.defineProperty(session, "client", { value: lender });
  return { session, giveBack: (hasEnded) => giveBack(!hasEnded) };
}
