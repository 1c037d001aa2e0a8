import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sql } from "drizzle-orm";
import { readMigrationFiles } from "drizzle-orm/migrator";
import { z } from "zod";
import { type Database, type Transaction, rows } from "./database.ts";
import { JOURNAL } from "./drizzle-kit.ts";
import { databaseError, explainRefusal } from "./errors.ts";

/** One migration file, as drizzle-kit numbers, hashes and splits it. */
export interface Migration {
  /** File name without `.sql`: `0003_evaluation`. */
  readonly name: string;
  /** When it was generated, Unix milliseconds: its place in the order and its key in the journal. */
  readonly when: number;
  /** SHA-256 of the file. */
  readonly hash: string;
  readonly statements: readonly string[];
}

export interface MigrateOptions {
  /** Called before each pending file. */
  readonly onApply?: (migration: Migration) => void;
  /** Instead of this package's own, for tests. */
  readonly folder?: string;
}

export interface MigrateResult {
  /** Names of the files applied now, in order; empty when there was nothing to do. */
  readonly applied: readonly string[];
}

const OWN_FOLDER = fileURLToPath(new URL("../drizzle", import.meta.url));
const journalFile = z.object({ entries: z.array(z.object({ tag: z.string() })) });

/** The migration files in order. */
export function readMigrations(folder = OWN_FOLDER): Migration[] {
  const { entries } = journalFile.parse(
    JSON.parse(readFileSync(join(folder, "meta", "_journal.json"), "utf8")),
  );
  return readMigrationFiles({ migrationsFolder: folder }).map((file, index) => ({
    name: entries[index]?.tag ?? String(index),
    when: file.folderMillis,
    hash: file.hash,
    statements: file.sql,
  }));
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
 */
export async function migrate(
  db: Database,
  { onApply, folder }: MigrateOptions = {},
): Promise<MigrateResult> {
  const migrations = readMigrations(folder);
  const migrateAll = async (tx: Transaction): Promise<MigrateResult> => {
    await lockMigrators(tx);
    const pending = pendingOf(migrations, await appliedHashes(tx));
    if (pending.length > 0) await createJournal(tx);
    for (const migration of pending) {
      onApply?.(migration);
      await apply(tx, migration);
    }
    return { applied: pending.map(({ name }) => name) };
  };
  // Whatever the server's default: a snapshot older than the lock would not see what the last one did.
  return db.transaction(migrateAll, { isolationLevel: "read committed" });
}

/** Waits until no other migrator of this database is at work, and holds them off for the transaction. */
export async function lockMigrators(tx: Transaction): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended('meta-agent-db migrate', 0))`);
}

/**
 * The files that a database has not seen yet.
 * @throws {MigrationError} when the journal and the files disagree
 */
export async function pendingMigrations(db: Database): Promise<Migration[]> {
  return pendingOf(readMigrations(), await appliedHashes(db));
}

const journal = sql`${sql.identifier(JOURNAL.schema)}.${sql.identifier(JOURNAL.table)}`;

/** The journal: when a file was generated, and the hash it had when it was applied. */
async function appliedHashes(tx: Database): Promise<Map<number, string>> {
  const found = await tx.execute(
    sql`select to_regclass(${`${JOURNAL.schema}.${JOURNAL.table}`}) is not null as found`,
  );
  if (rows<{ found: boolean }>(found)[0]?.found !== true) return new Map();
  const entries = await tx.execute(sql`select created_at::text as "when", hash from ${journal}`);
  return new Map(
    rows<{ when: string; hash: string }>(entries).map(({ when, hash }) => [Number(when), hash]),
  );
}

function pendingOf(migrations: Migration[], applied: Map<number, string>): Migration[] {
  const newest = Math.max(...applied.keys(), Number.NEGATIVE_INFINITY);
  const known = new Set(migrations.map(({ when }) => when));
  const problems = migrations.flatMap(({ name, when, hash }) => {
    const appliedHash = applied.get(when);
    if (appliedHash === undefined) {
      return when < newest ? [`${name}.sql was skipped: later files are applied`] : [];
    }
    return appliedHash === hash ? [] : [`${name}.sql was edited after it was applied`];
  });
  const unknown = [...applied.keys()].filter((when) => !known.has(when)).length;
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
  return migrations.filter(({ when }) => !applied.has(when));
}

/** As drizzle-kit makes it. The first migration adds who and when. */
async function createJournal(tx: Transaction): Promise<void> {
  const found = await tx.execute(
    sql`select to_regnamespace(${JOURNAL.schema}) is not null as found`,
  );
  if (rows<{ found: boolean }>(found)[0]?.found !== true) {
    await tx.execute(sql`create schema ${sql.identifier(JOURNAL.schema)}`);
  }
  await tx.execute(
    sql`create table if not exists ${journal} (id serial primary key, hash text not null, created_at bigint)`,
  );
}

async function apply(tx: Transaction, migration: Migration): Promise<void> {
  for (const [index, statement] of migration.statements.entries()) {
    try {
      await tx.execute(sql.raw(statement));
    } catch (error) {
      throw refused(migration, index, error);
    }
  }
  await tx.execute(
    sql`insert into ${journal} (hash, created_at) values (${migration.hash}, ${migration.when})`,
  );
}

function refused({ name, statements }: Migration, index: number, error: unknown): unknown {
  const refusal = databaseError(error);
  if (!refusal) return error;
  const head = (statements[index] ?? "").trim().split("\n").slice(0, 3);
  return new MigrationError(
    [
      `${name}.sql, statement ${index + 1} of ${statements.length}: ${explainRefusal(refusal)}`,
      ...head.map((line) => `  | ${line}`),
      "Nothing was applied.",
    ].join("\n"),
    { cause: error },
  );
}
