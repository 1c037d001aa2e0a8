/** Which of Drizzle's drivers a database is of. */
import { entityKind } from "drizzle-orm";

/** Drizzle's own names of the sessions whose transactions and values are tested: its classes keep them when bundled. */
const SUPPORTED = new Set(["PostgresJsSession", "NodePgSession", "NeonSession", "PgliteSession"]);

/**
 * Refuses a database whose driver is not known to hold a transaction on one connection and to send JSON as it is:
 * over some each statement is alone, over others a document is stored as a text.
 * @throws {TypeError} naming the session
 */
export function refuseOtherDrivers(session: object): void {
  const kinds = kindsOf(session);
  if (kinds.some((kind) => SUPPORTED.has(kind))) return;
  const [kind = "no session of Drizzle"] = kinds;
  throw new TypeError(
    `meta-agent-db does not support the driver of this database (${kind}): open it with drizzle-orm/postgres-js, node-postgres, neon-serverless or pglite, or with connect(url)`,
  );
}

/** As Drizzle's `is` reads them: a session may be of a class derived from one of Drizzle's. */
function kindsOf(session: object): string[] {
  const kinds = [];
  for (
    let at: unknown = session.constructor;
    typeof at === "function";
    at = Object.getPrototypeOf(at)
  ) {
    const kind: unknown = Reflect.get(at, entityKind);
    if (typeof kind === "string") kinds.push(kind);
  }
  return kinds;
}
