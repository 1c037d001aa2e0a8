import { type Socket, connect as openSocket } from "node:net";
import { setTimeout } from "node:timers/promises";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/postgres-js";
import postgres from "postgres";
import { isUnreachable } from "./errors.ts";
import { schema } from "./schema.ts";
import type { Database } from "./sql.ts";
import { readUrl } from "./url.ts";

/**
 * An open database and how to close it, which gives running statements five seconds. `label` says what it
 * is, without a password.
 */
export interface Connection {
  readonly db: Database;
  readonly label: string;
  readonly close: () => Promise<void>;
}

/** How to connect. What the URL says, too, is overridden. */
export interface ConnectOptions {
  /** Connections at most. Default 10. */
  readonly max?: number | undefined;
  /** Seconds until an attempt to connect has failed. Default 10. */
  readonly connectTimeout?: number | undefined;
  /** Seconds after which a connection that nobody uses is closed. Default: never. */
  readonly idleTimeout?: number | undefined;
  /** Seconds after which a connection is replaced by a new one. Default: 30 to 60 minutes. */
  readonly maxLifetime?: number | undefined;
  /** Seconds between attempts to reach a server that is away, at most; they begin with milliseconds. Default 2. */
  readonly maxBackoff?: number | undefined;
  /** Seconds a statement may take; the server then cancels it. Default: the server's own setting. */
  readonly statementTimeout?: number | undefined;
  /** How the sessions call themselves in `pg_stat_activity`. Default `meta-agent-db`. */
  readonly applicationName?: string | undefined;
  /** TLS: on or off, how strict, or options of `tls.connect` such as `{ ca }`. Default: as `sslmode` of the URL says. */
  readonly ssl?: boolean | "require" | "allow" | "prefer" | "verify-full" | object | undefined;
}

/**
 * Connects to a PostgreSQL server, lazily and through a pool. Parameters of the URL that only libpq, Prisma or
 * a provider understands are left out, and the label names them.
 * @example
 * const { db, close } = connect(process.env.DATABASE_URL, { max: 20, applicationName: "worker" });
 * @throws {TypeError} when `url` is not `postgres://…` or an option is no number of 0 or more; no message
 * repeats a URL
 */
export function connect(url: string, options: ConnectOptions = {}): Connection {
  const read = readUrl(url);
  const sockets = new Set<Socket>();
  const client = postgres(read.url, {
    ...driverOptions(options),
    onnotice: () => {},
    // postgres.js prepares its own COMMIT. A transaction pooler brings that to a session that does not know
    // it: the transaction is rolled back, and the caller is told that it was committed.
    prepare: false,
    ...(read.hasOneHost ? { socket: promptSocket(sockets) } : {}),
  });
  const ignored = read.ignored.length > 0 ? ` (ignoring ${read.ignored.join(", ")})` : "";
  return {
    db: drizzle(client, { schema }),
    label: read.label + ignored,
    // A transaction that has lost its connection never ends: for ever it would be waited for, and where
    // no connection is left there is nothing to wait for.
    close: () => client.end({ timeout: read.hasOneHost && sockets.size === 0 ? 0 : 5 }),
  };
}

function driverOptions({ applicationName = "meta-agent-db", ssl, ...numbers }: ConnectOptions) {
  const wrong = Object.entries(numbers).filter(
    ([, value]) => value !== undefined && !(Number.isFinite(value) && value >= 0),
  );
  if (wrong.length > 0) {
    throw new TypeError(
      `connect: expected numbers of 0 or more: ${wrong.map(([name]) => name).join(", ")}`,
    );
  }
  const { max, connectTimeout = 10, idleTimeout, maxLifetime, statementTimeout } = numbers;
  const given = { max, idle_timeout: idleTimeout, max_lifetime: maxLifetime, ssl };
  return {
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    connect_timeout: connectTimeout,
    backoff: backoffUpTo(numbers.maxBackoff ?? 2),
    connection: {
      application_name: applicationName,
      // The column kinds read dates as ISO writes them, whatever the database is set to.
      DateStyle: "ISO",
      ...(statementTimeout === undefined ? {} : { statement_timeout: statementTimeout * 1000 }),
    },
  };
}

/** Seconds until the next attempt, by how many have failed; spread, so that not all clients come at once. */
const backoffUpTo = (most: number) => (failed: number) =>
  (0.5 + Math.random() / 2) * Math.min(3 ** failed / 100, most);

/**
 * Waits until the server answers; a connection that fails for another reason than that it is not up (a
 * wrong password, no such database) is an error at once.
 * @param options.seconds how long; then the last error is thrown
 * @param options.onWait called once if there is something to wait for, and awaited
 */
export async function waitForServer(
  db: Database,
  { seconds, onWait }: { seconds: number; onWait?: ((why: string) => unknown) | undefined },
): Promise<void> {
  if (seconds === 0) return;
  const end = performance.now() + seconds * 1000;
  for (let isFirst = true; ; isFirst = false) {
    try {
      await db.execute(sql`select 1`);
      return;
    } catch (error) {
      if (!isUnreachable(error) || performance.now() >= end) throw error;
      if (isFirst) await onWait?.("waiting for the server");
    }
    await setTimeout(500);
  }
}

/**
 * Makes sockets that send at once, and keeps in `open` those that are. postgres.js leaves Nagle's algorithm
 * on, and the end of each COPY then waits some 40 ms for an acknowledgement.
 */
const promptSocket =
  (open: Set<Socket>) =>
  async (to: {
    readonly host: readonly string[];
    readonly port: readonly number[];
    readonly path: string | false;
  }): Promise<Socket> => {
    // What follows runs after the caller, and what it returns is listened to before it can fail.
    await Promise.resolve();
    const [[host = ""], [port = 0]] = [to.host, to.port];
    const socket = to.path ? openSocket(to.path) : openSocket({ host, port, noDelay: true });
    open.add(socket.once("close", () => open.delete(socket)));
    // With TLS, the name that the certificate must bear.
    return to.path ? socket : Object.assign(socket, { host });
  };
