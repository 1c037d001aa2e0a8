/** Says what is healthy about a database and what is not. The checks are in `doctor/`. */
import { sql } from "drizzle-orm";
import { type Database, type Queryable, type Transaction, one } from "../../client/sql.ts";
import {
  type Check,
  type Diagnosis,
  type CheckResult,
  type Subject,
  error,
  info,
  ours,
} from "./check.ts";
import { definers, isolated, publications, unguarded } from "./isolation.ts";
import { logins, operator, roles } from "./logins.ts";
import {
  breakers,
  budgets,
  counters,
  crossed,
  platform,
  repeated,
  running,
  unsent,
} from "./rows.ts";
import { bloat, differences, embeddings, indexes, references, statistics } from "./schema.ts";
import { months, strangeIds } from "./months.ts";
import { autovacuum, sessions, wraparound } from "./upkeep.ts";
import { databaseError } from "../../client/errors.ts";
import { TABLES } from "../../schema/all.ts";
import { withServersNames } from "../../client/settings.ts";
import { confinedTransaction } from "../../client/transaction.ts";

/** How thoroughly to look. */
export interface DoctorOptions {
  /** Also read whole tables: references across organizations, counters that are full, costs that count twice. Default false. */
  readonly deep?: boolean | undefined;
  /** From which age on an open transaction is a finding. Seconds, default 300. */
  readonly longTransaction?: number | undefined;
}

const CHECKS: readonly Check[] = [
  differences,
  logins,
  operator,
  roles,
  definers,
  publications,
  unguarded,
  isolated,
  references,
  indexes,
  bloat,
  embeddings,
  statistics,
  autovacuum,
  sessions,
  wraparound,
  months,
  strangeIds,
  platform,
  running,
  breakers,
  unsent,
  crossed,
  counters,
  repeated,
  budgets,
];

/**
 * Examines a database, in one transaction that may only read. It needs no right beyond connecting, and says
 * as `info` what it could not look at: rows that are not the login's to see, tables that somebody has locked
 * for more than a second. A login that does not own the tables is examined as the application's.
 */
export async function doctor(
  db: Database,
  { deep = false, longTransaction = 300 }: DoctorOptions = {},
): Promise<Diagnosis[]> {
  const examine = async (tx: Transaction): Promise<Diagnosis[]> => {
    await tx.execute(sql`select pg_catalog.set_config('lock_timeout', '1s', true)`);
    const subject = { ...(await inspect(tx)), longTransaction };
    const found: Diagnosis[] = serverFindings(subject).map((result) => ({
      ...result,
      check: "server",
    }));
    for (const check of CHECKS.filter((each) => isDue(each, subject, deep))) {
      const results = await runCheck(tx, check, subject);
      found.push(...results.map((result) => ({ ...result, check: check.name })));
    }
    return found;
  };
  return confinedTransaction(db, (tx) => withServersNames(tx, () => examine(tx)), {
    accessMode: "read only",
  });
}

/** Where a table is missing, what depends on it would only be an error of a query. */
function isDue(check: Check, { tables, embedded }: Subject, deep: boolean): boolean {
  if (check === differences) return tables > 0;
  return tables === TABLES.length && (deep || !check.deep) && !(embedded && check.server);
}

async function runCheck(tx: Transaction, check: Check, subject: Subject): Promise<CheckResult[]> {
  if (check.owner && !subject.isOwner) {
    return [
      info(
        "not checked: needs the owner of the tables",
        "Run doctor with MIGRATION_DATABASE_URL too.",
      ),
    ];
  }
  try {
    return await tx.transaction((savepoint) => check.run(savepoint, subject));
  } catch (cause) {
    if (databaseError(cause)?.code !== "55P03") throw cause;
    return [
      info(
        "not checked: another session holds a lock on a table",
        "Run doctor again when it is released.",
      ),
    ];
  }
}

/** What this login is, and what of ours it finds. */
const inspect = (db: Queryable): Promise<Omit<Subject, "longTransaction">> =>
  one(
    db,
    sql`
      select current_setting('server_version_num')::int as server, version() like '%emscripten%' as embedded,
        (select extversion from pg_extension where extname = 'vector') as vector,
        count(*)::int as tables, coalesce(bool_and(pg_has_role(relowner, 'USAGE')), false) as "isOwner",
        current_user::text as login
      from ${ours} as ours`,
  );

function serverFindings({ server, vector, tables }: Subject): CheckResult[] {
  const [major = 0, minor = 0] = (vector ?? "").split(".").map(Number);
  return [
    server < 150_000 &&
      error(
        `the server is PostgreSQL ${Math.floor(server / 10_000)}, it must be 15 or newer`,
        "Upgrade the server.",
      ),
    vector === null && error("pgvector is not installed", "CREATE EXTENSION vector;"),
    vector !== null &&
      major === 0 &&
      minor < 8 &&
      error(`pgvector is ${vector}, it must be 0.8 or newer`, "ALTER EXTENSION vector UPDATE;"),
    tables === 0 && error("the database is not migrated", "meta-agent-db migrate"),
  ].filter((result) => result !== false);
}
