import { type Socket, connect as openSocket } from "node:net";
import { setTimeout } from "node:timers/promises";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/postgres-js";
import postgres from "postgres";
import { POSTGRES_URL } from "../config.ts";
import { isUnreachable } from "./errors.ts";
import { schema } from "./schema.ts";
import type { Database } from "./sql.ts";

/**
 * An open database and how to close it, which gives running statements five seconds. `label` says what it
 * is, without a password.
 */
export interface Connection {
  readonly db: Database;
  readonly label: string;
  readonly close: () => Promise<void>;
}

/**
 * Connects to a PostgreSQL server, lazily and through a pool.
 * @throws {TypeError} when `url` is not `postgres://…`; the message does not repeat it
 */
export function connect(url: string): Connection {
  const label = redactedUrl(url);
  const options = {
    onnotice: () => {},
    connect_timeout: 10,
    // postgres.js prepares its own COMMIT. A transaction pooler brings that to a session that does not know
    // it: the transaction is rolled back, and the caller is told that it was committed.
    prepare: false,
    // The column kinds read dates as ISO writes them, whatever the database is set to.
    connection: { application_name: "meta-agent-db", DateStyle: "ISO" },
    ...(hasOneHost(url) ? { socket: promptSocket } : {}),
  };
  const client = postgres(url, options);
  // For ever it would wait for a transaction that has lost its connection: that one never ends.
  return { db: drizzle(client, { schema }), label, close: () => client.end({ timeout: 5 }) };
}

/**
 * Waits until the server answers; a connection that fails for another reason than that it is not up (a
 * wrong password, no such database) is an error at once.
 * @param options.seconds how long; then the last error is thrown
 * @param options.onWait called once if there is something to wait for
 */
export async function waitForServer(
  db: Database,
  { seconds, onWait }: { seconds: number; onWait?: ((why: string) => void) | undefined },
): Promise<void> {
  if (seconds === 0) return;
  const end = performance.now() + seconds * 1000;
  for (let isFirst = true; ; isFirst = false) {
    try {
      await db.execute(sql`select 1`);
      return;
    } catch (error) {
      if (!isUnreachable(error) || performance.now() >= end) throw error;
      if (isFirst) onWait?.("waiting for the server");
    }
    await setTimeout(500);
  }
}

/** Only postgres.js itself knows which of several hosts is next. */
function hasOneHost(url: string): boolean {
  const hosts = POSTGRES_URL.exec(url)?.[4] || (process.env["PGHOST"] ?? "");
  return !hosts.includes(",");
}

/**
 * A socket that sends at once. postgres.js leaves Nagle's algorithm on, and the end of each COPY then
 * waits some 40 ms for an acknowledgement.
 */
async function promptSocket(to: {
  readonly host: readonly string[];
  readonly port: readonly number[];
  readonly path: string | false;
}): Promise<Socket> {
  // What follows runs after the caller, and what it returns is listened to before it can fail.
  await Promise.resolve();
  if (to.path) return openSocket(to.path);
  const [[host = ""], [port = 0]] = [to.host, to.port];
  // With TLS, the name that the certificate must bear.
  return Object.assign(openSocket({ host, port, noDelay: true }), { host });
}

function redactedUrl(url: string): string {
  const [, scheme, user, , hosts = "", database = ""] = POSTGRES_URL.exec(url) ?? [];
  if (!scheme) {
    throw new TypeError(
      "database URL: expected postgres://user:password@host:5432/database, special characters of the password percent-encoded",
    );
  }
  return `${scheme}${user ? `${user}@` : ""}${hosts}${database}`;
}
