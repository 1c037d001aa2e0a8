import { sql } from "drizzle-orm";
import { waitForServer } from "../../client/connect.ts";
import type { Database, Queryable, Transaction } from "../../client/sql.ts";
import { databaseError, explain } from "../../client/errors.ts";
import {
  CREATE_JOURNAL,
  JOURNAL,
  type JournalRow,
  readJournal,
  recordStatement,
  windowsHash,
} from "./journal.ts";
import { LOCK_KEY, LockedError, lockMigrators, tableUsers } from "./lock.ts";
import { type TrustOptions, inTrustedSchemas, trustStatement } from "./public-schema.ts";
import { MIGRATIONS, type Migration } from "../../migrations.ts";
import { withServersNames } from "../../client/settings.ts";
import { confinedTransaction } from "../../client/transaction.ts";

/** How to migrate, and what to tell meanwhile. */
export interface MigrateOptions extends TrustOptions {
  /** Seconds to wait for a server that is not up yet. Default 0. */
  readonly wait?: number | undefined;
  /** Seconds to wait for the migrators' lock and for each lock on a table; 0 to fail at once. Default: without limit. */
  readonly lockTimeout?: number | undefined;
  /**
   * Called before each pending file. What this and the other callbacks return is awaited, and what they
   * throw or reject with ends the run: nothing is applied.
   */
  readonly onApply?: (migration: Migration) => unknown;
  /** Called after it, with the seconds it took; it counts only once all files are through. */
  readonly onApplied?: (migration: Migration, seconds: number) => unknown;
  /** Called once when there is something to wait for, with what it is. */
  readonly onWait?: (why: string) => unknown;
  /** Instead of this package's own, for tests. */
  readonly migrations?: readonly Migration[] | undefined;
}

/** What `migrate` did. */
export interface MigrateResult {
  /** Names of the files applied now, in order; empty when there was nothing to do. */
  readonly applied: readonly string[];
}

/** What has become of a migration in a database. */
export interface MigrationRecord {
  /** `null` for one that this version of the package does not have. */
  readonly name: string | null;
  /** When it was generated, Unix milliseconds. */
  readonly when: number;
  /**
   * `out of order`: applied, but after a later one. `edited`: the file is not the one that was applied.
   * `skipped`: later ones are applied, this one is not. `unknown`: applied by another version.
   */
  readonly state: "applied" | "out of order" | "pending" | "edited" | "skipped" | "unknown";
  /** `null` while it is not applied, and where the journal does not say. */
  readonly appliedAt: Date | null;
  readonly appliedBy: string | null;
}

/** What a database has of the migrations. */
export interface MigrationStatus {
  /** Every file is applied as it is, and nothing else. */
  readonly upToDate: boolean;
  readonly migrations: readonly MigrationRecord[];
}

/**
 * What a database has of the migrations. It only reads, on a replica too.
 * @throws {Error} when this login may not read the journal, saying which grants are missing
 */
export async function migrationStatus(
  db: Queryable,
  { migrations = MIGRATIONS }: Pick<MigrateOptions, "migrations"> = {},
): Promise<MigrationStatus> {
  const records = compare(migrations, await readJournal(db));
  return {
    upToDate: records.every(({ state }) => state === "applied" || state === "out of order"),
    migrations: records,
  };
}

/** Files and journal as one list, in the order of generation. */
function compare(files: readonly Migration[], journal: readonly JournalRow[]): MigrationRecord[] {
  const newest = Math.max(...journal.map(({ when }) => when), Number.NEGATIVE_INFINITY);
  const fromFiles = files.map((file): MigrationRecord => {
    const { name, when, hash } = file;
    const index = journal.findIndex((row) => row.when === when);
    const row = journal[index];
    if (!row) {
      const state = when < newest ? "skipped" : "pending";
      return { name, when, state, appliedAt: null, appliedBy: null };
    }
    const hashes = new Set([hash, windowsHash(file)]);
    const isEdited = !journal.some((other) => other.when === when && hashes.has(other.hash));
    const isLate = journal.slice(0, index).some((earlier) => earlier.when > when);
    const state = isEdited ? "edited" : isLate ? "out of order" : "applied";
    return { name, when, state, appliedAt: row.appliedAt, appliedBy: row.appliedBy };
  });
  const known = new Set(files.map(({ when }) => when));
  const unknown = journal
    .filter(({ when }) => !known.has(when))
    .map(({ when, appliedAt, appliedBy }): MigrationRecord => {
      return { name: null, when, state: "unknown", appliedAt, appliedBy };
    });
  return [...fromFiles, ...unknown].toSorted((a, b) => a.when - b.when);
}

/** A migration that could not be applied. The server's own error is in `cause`. */
export class MigrationError extends Error {
  override readonly name = "MigrationError";
}

/**
 * Brings a database up to this package's newest migration. Everything happens in one transaction under
 * one lock: several migrators at once apply each file once, and a failure leaves nothing behind.
 * `drizzle-kit migrate` makes the identical database and shares the journal, but takes no lock.
 *
 * @throws {MigrationError} naming file and statement when the server refuses one; before anything is
 * applied when an applied file was edited or skipped since, or the journal knows files that this package
 * does not
 * @throws {LockedError} when a lock was not to be had within `lockTimeout`, naming who has it
 * @throws {UntrustedSchemaError} before anything is applied, when others have planted or could plant in schema
 * public what would run with this login's rights
 */
export async function migrate(
  db: Database,
  {
    wait = 0,
    lockTimeout,
    onApply,
    onApplied,
    onWait,
    trustPublic,
    migrations = MIGRATIONS,
  }: MigrateOptions = {},
): Promise<MigrateResult> {
  await waitForServer(db, { seconds: wait, onWait });
  // Kept outside of the transaction: when it loses its connection, what it throws is replaced by the driver.
  let at: { migration: Migration; index: number } | undefined;
  const lookForPending = async (tx: Transaction) => {
    await lockMigrators(tx, { timeout: lockTimeout, onWait });
    return pendingOf(migrations, await readJournal(tx));
  };
  const apply = async (tx: Transaction, pending: readonly Migration[]): Promise<MigrateResult> => {
    await tx.execute(sql.raw(CREATE_JOURNAL));
    for (const migration of pending) {
      await onApply?.(migration);
      const start = performance.now();
      for (const [index, statement] of migration.statements.entries()) {
        at = { migration, index };
        await tx.execute(sql.raw(statement));
      }
      at = undefined;
      await tx.execute(sql.raw(recordStatement(migration)));
      await onApplied?.(migration, (performance.now() - start) / 1000);
    }
    return { applied: pending.map(({ name }) => name) };
  };
  const migrateAll = async (tx: Transaction): Promise<MigrateResult> => {
    const pending = await withServersNames(tx, () => lookForPending(tx));
    if (pending.length === 0) return { applied: [] };
    return inTrustedSchemas(tx, { trustPublic }, () => apply(tx, pending));
  };
  try {
    // Whatever the server's default: a snapshot older than the lock would not see what the last one did.
    return await confinedTransaction(db, migrateAll, { isolationLevel: "read committed" });
  } catch (error) {
    if (!at) throw error;
    const failure = refused(at.migration, at.index, error);
    throw databaseError(error)?.code === "55P03"
      ? new LockedError(failure.message, await tableUsers(db), failure)
      : failure;
  }
}

/**
 * The files that `migrate` would apply now. It only reads.
 * @throws {MigrationError} as `migrate` does before it applies anything
 */
export async function pendingMigrations(
  db: Queryable,
  { migrations = MIGRATIONS }: Pick<MigrateOptions, "migrations"> = {},
): Promise<readonly Migration[]> {
  return pendingOf(migrations, await readJournal(db));
}

/** The SQL that `migrate` would run for these files, as a script; empty when there are none. */
export function migrationSql(pending: readonly Migration[]): string {
  if (pending.length === 0) return "";
  const files = pending.map((migration) =>
    [
      `-- ${migration.name}`,
      ...migration.statements.map(terminated),
      recordStatement(migration),
    ].join("\n"),
  );
  return [
    "BEGIN;",
    // What the look found missing before a lock was waited for would be missing still, to this transaction.
    `SELECT pg_catalog.pg_advisory_xact_lock(${LOCK_KEY});`,
    `${trustStatement()};`,
    CREATE_JOURNAL,
    ...files,
    "COMMIT;",
    "",
  ].join("\n\n");
}

function terminated(statement: string): string {
  const text = statement.trim();
  return text.endsWith(";") ? text : `${text}\n;`;
}

const PROBLEMS: Partial<Record<MigrationRecord["state"], string>> = {
  edited: "was edited after it was applied",
  skipped: "was skipped: later files are applied",
};

function pendingOf(
  migrations: readonly Migration[],
  journal: readonly JournalRow[],
): readonly Migration[] {
  const records = compare(migrations, journal);
  const problems = records.flatMap(({ name, state }) => {
    const problem = PROBLEMS[state];
    return problem ? [`${name}.sql ${problem}`] : [];
  });
  const unknown = records.filter(({ state }) => state === "unknown").length;
  if (unknown > 0) {
    problems.push(
      `the journal has ${unknown} migration${unknown === 1 ? "" : "s"} that this version does not have: update meta-agent-db`,
    );
  }
  if (problems.length > 0) {
    throw new MigrationError(
      [
        `The journal ${JOURNAL.schema}.${JOURNAL.table} and the migration files disagree:`,
        ...problems.map((problem) => `  ${problem}`),
        "Nothing was applied. Restore the files as they were released, or use the version that migrated this database.",
      ].join("\n"),
    );
  }
  const pending = new Set(
    records.flatMap(({ name, state }) => (state === "pending" ? [name] : [])),
  );
  return migrations.filter(({ name }) => pending.has(name));
}

function refused(migration: Migration, index: number, cause: unknown): MigrationError {
  const { name, statements } = migration;
  const missing = prerequisites(cause);
  if (missing !== undefined) return lacking(migration, missing, cause);
  const head = (statements[index] ?? "")
    .trim()
    .split("\n")
    .filter((line) => !line.startsWith("--"))
    .slice(0, 3);
  return new MigrationError(
    [
      `${name}.sql, statement ${index + 1} of ${statements.length}: ${explain(cause)}`,
      ...head.map((line) => `  | ${line}`),
      "Nothing was applied.",
    ].join("\n"),
    { cause },
  );
}

/** What 0000_foundation says that a superuser must run first: who may not, and the statements. */
function prerequisites(cause: unknown): { who: string; statements: string[] } | undefined {
  const { message = "" } = databaseError(cause) ?? {};
  const [, who, list] =
    /^(.+ may not create what the database needs first): (.+;)$/.exec(message) ?? [];
  if (who === undefined || list === undefined) return undefined;
  return { who, statements: list.split(/(?<=;) /) };
}

/** The statements alone, a line each, to be copied. */
function lacking(
  { name }: Migration,
  { who, statements }: { who: string; statements: string[] },
  cause: unknown,
): MigrationError {
  const hint = databaseError(cause)?.hint ?? "Have a superuser run these statements.";
  return new MigrationError(
    [
      `${name}.sql: ${who}.`,
      `${hint} meta-agent-db sql --prerequisites prints a script that does the same.`,
      ...statements,
      "Nothing was applied.",
    ].join("\n"),
    { cause },
  );
}
