import { SQL, getTableName, is, sql } from "drizzle-orm";
import type { PgTable } from "drizzle-orm/pg-core";
import { type Database, type Transaction, one, rows } from "../../client/sql.ts";
import { applyRepairs, diff, takenNames } from "../drift/diff.ts";
import { explain } from "../../client/errors.ts";
import type { Finding } from "../drift/findings.ts";
import { CREATE_JOURNAL, JOURNAL_NAME, readJournal, recordStatement } from "../migrate/journal.ts";
import { lockMigrators } from "../migrate/lock.ts";
import { type TrustOptions, inTrustedSchemas } from "../migrate/public-schema.ts";
import { MigrationError } from "../migrate/migrate.ts";
import { MIGRATIONS } from "../../migrations.ts";
import { type LiveTypes, type Violation, findViolations, liveTypes } from "./violations.ts";
import { TABLES, TABLE_NAMES, columnsOf } from "../../schema/all.ts";
import { withServersNames } from "../../client/settings.ts";
import { confinedTransaction } from "../../client/transaction.ts";

/** How to take a database over. */
export interface AdoptOptions extends TrustOptions {
  /** Only look, in a read-only transaction. Default false. */
  readonly dryRun?: boolean | undefined;
  /** Put a column's default where it holds NULL and must not. Default false: such a row is a violation. */
  readonly fillDefaults?: boolean | undefined;
  /** Seconds to wait for the migrators' lock and for each lock on a table; 0 to fail at once. Default: without limit. */
  readonly lockTimeout?: number | undefined;
  /** Called once when there is something to wait for, with what it is. */
  readonly onWait?: ((why: string) => unknown) | undefined;
}

/** What `adopt` found and did. */
export interface AdoptResult {
  /** False after a dry run, and where rows are in the way; then nothing was changed. */
  readonly adopted: boolean;
  /**
   * How the database differed from what the migrations make, with the SQL that brings it there. What
   * others added, `problem: "extra"` and not `safe`, is left as it is.
   */
  readonly findings: readonly Finding[];
  /** Rows that the rules refuse; adoption waits until there are none. */
  readonly offences: readonly Violation[];
  /** NULLs that the defaults replaced, or would. Empty without `fillDefaults`. */
  readonly filled: readonly {
    readonly table: string;
    readonly column: string;
    readonly count: number;
  }[];
  /** Tables with rows of no organization: rows of the platform, which no tenant sees. */
  readonly platformRows: readonly { readonly table: string; readonly count: number }[];
}

/**
 * Takes over a database whose tables were made by hand or by another migrator: makes what is missing,
 * mends what differs, replaces foreign policies and grants, and writes the journal as `migrate` would
 * have. All of it in one transaction behind the migrators' lock, or nothing. Rows are kept as they are,
 * but for NULLs that `fillDefaults` replaces; objects of others stay.
 *
 * @throws {Error} before anything is changed: the journal exists or none of the tables does (run migrate),
 * a column has a type that cannot be converted without loss, or is of others and must be given a value; and when the result would still differ
 * @throws {LockedError} when the migrators' lock was not to be had within `lockTimeout`
 * @throws {UntrustedSchemaError} before anything is changed, when others have planted or could plant in schema
 * public what would run with this login's rights
 */
export async function adopt(
  db: Database,
  { dryRun = false, fillDefaults = false, lockTimeout, onWait, trustPublic }: AdoptOptions = {},
): Promise<AdoptResult> {
  const adoptAll = async (tx: Transaction): Promise<AdoptResult> => {
    await demandPublicFirst(tx);
    const result = await withServersNames(tx, async () => {
      if (!dryRun) await lockMigrators(tx, { timeout: lockTimeout, onWait });
      return look(tx, fillDefaults);
    });
    if (dryRun || result.offences.length > 0) return { adopted: false, ...result };
    await inTrustedSchemas(tx, { trustPublic }, () => takeOver(tx, result.filled));
    return { adopted: true, ...result };
  };
  return confinedTransaction(db, adoptAll, {
    isolationLevel: "read committed",
    accessMode: dryRun ? "read only" : "read write",
  });
}

async function look(tx: Transaction, fillDefaults: boolean): Promise<Omit<AdoptResult, "adopted">> {
  const live = await survey(tx);
  const findings = await diff(tx);
  const violations = await findViolations(tx, live);
  const isFilled = ({ hasDefault }: Violation) => fillDefaults && hasDefault;
  return {
    findings,
    offences: violations.filter((violation) => !isFilled(violation)),
    filled: violations
      .filter(isFilled)
      .map(({ table, rule, count }) => ({ table, column: rule, count })),
    platformRows: await platformRows(tx, live),
  };
}

/** The first migration demands it too. */
async function demandPublicFirst(tx: Transaction): Promise<void> {
  const { schema } = await one<{ schema: string | null }>(
    tx,
    sql`select pg_catalog.current_schema()::text as schema`,
  );
  if (schema !== "public") {
    throw new Error(
      `public must come first on the search_path, not ${schema ?? "nothing"}: ALTER ROLE … SET search_path = public; then try again.`,
    );
  }
}

/** The columns there are. Throws where adoption is not the way, or cannot be. */
async function survey(tx: Transaction): Promise<LiveTypes> {
  if ((await readJournal(tx)).length > 0) {
    throw new Error(
      `This database has the journal ${JOURNAL_NAME} already: run meta-agent-db migrate, and meta-agent-db diff to see how it differs.`,
    );
  }
  const live = await liveTypes(tx);
  const foreign = [
    ...(await otherRelations(tx)),
    ...TABLES.flatMap((table) => mistypedColumns(table, live)),
    ...(await demandingColumns(tx)),
    ...(await takenNames(tx)).values(),
  ];
  if (foreign.length > 0) {
    throw new Error(
      [
        "These are not the tables of this package:",
        ...foreign.map((line) => `  ${line}`),
        "Nothing was changed. Convert or rename them after a backup, then try again.",
      ].join("\n"),
    );
  }
  if (live.size === 0) {
    throw new Error("This database has none of the tables: run meta-agent-db migrate.");
  }
  const [hidden] = rows<{ name: string; owner: string }>(
    await tx.execute(sql`
      select relname::text as name, relowner::regrole::text as owner from pg_class
      where relnamespace = to_regnamespace('public') and relname = any(${TABLE_NAMES}) and row_security_active(oid)
      order by relname limit 1`),
  );
  if (hidden) {
    throw new Error(
      `Row-level security hides rows of ${hidden.name} from this login. Connect as its owner, ${hidden.owner}; where it is forced on the owner, run ALTER TABLE ${hidden.name} NO FORCE ROW LEVEL SECURITY; first. Nothing was changed.`,
    );
  }
  return live;
}

async function otherRelations(tx: Transaction): Promise<string[]> {
  const found = await tx.execute(sql`
    select relname::text as name, case relkind when 'p' then 'partitioned' when 'v' then 'a view'
      when 'm' then 'a materialized view' when 'f' then 'a foreign table' else 'no table' end as kind
    from pg_class where relnamespace = to_regnamespace('public') and relkind <> 'r'
      and relname = any(${TABLE_NAMES})
    order by relname`);
  return rows<{ name: string; kind: string }>(found).map(({ name, kind }) => `${name} is ${kind}`);
}

/** Columns that are not ours, and without which nobody could insert a row: the program does not know them. */
async function demandingColumns(tx: Transaction): Promise<string[]> {
  const found = await tx.execute(sql`
    select c.relname::text as table, a.attname::text as column, c.oid::regclass::text as path, quote_ident(a.attname) as quoted
    from pg_class as c join pg_attribute as a on a.attrelid = c.oid join pg_type as t on t.oid = a.atttypid
    where c.relnamespace = to_regnamespace('public') and c.relkind = 'r' and c.relname = any(${TABLE_NAMES})
      and a.attnum > 0 and not a.attisdropped and (a.attnotnull or t.typnotnull)
      and not a.atthasdef and a.attidentity = '' and t.typdefault is null
    order by 1, a.attnum`);
  const ours = new Set(
    TABLES.flatMap((table) => columnsOf(table).map(({ name }) => `${getTableName(table)}.${name}`)),
  );
  return rows<{ table: string; column: string; path: string; quoted: string }>(found)
    .filter(({ table, column }) => !ours.has(`${table}.${column}`))
    .map(
      ({ table, column, path, quoted }) =>
        `${table}.${column} is not of this package, NOT NULL and without a default, so that the program could not insert: ALTER TABLE ${path} ALTER COLUMN ${quoted} SET DEFAULT …; or DROP NOT NULL`,
    );
}

/** Types whose every value is one of the type that it is to be, by that type. */
const LOSSLESS: Readonly<Record<string, RegExp>> = {
  text: /^(character varying(\(\d+\))?|enum .+)$/,
  "text[]": /^character varying(\(\d+\))?\[\]$/,
  integer: /^smallint$/,
  numeric: /^(smallint|integer|bigint|numeric\(\d+,-?\d+\))$/,
};

function mistypedColumns(table: PgTable, live: LiveTypes): string[] {
  const tableName = getTableName(table);
  if (!Array.from(live.keys()).some((path) => path.startsWith(`${tableName}.`))) return [];
  return columnsOf(table).flatMap((column) => {
    const expected = column.getSQLType();
    const found = live.get(`${tableName}.${column.name}`);
    if (found === undefined) {
      return column.primary ? [`${tableName}.${column.name} is missing, expected ${expected}`] : [];
    }
    return found === expected || LOSSLESS[expected]?.test(found)
      ? []
      : [`${tableName}.${column.name} is ${found}, expected ${expected}`];
  });
}

async function platformRows(
  tx: Transaction,
  live: LiveTypes,
): Promise<AdoptResult["platformRows"]> {
  const counts = TABLES.filter((table) => live.has(`${getTableName(table)}.organization_id`)).map(
    (table) =>
      sql`select ${getTableName(table)}::text as "table", count(*)::int as count from public.${table} where organization_id is null`,
  );
  if (counts.length === 0) return [];
  const found = await tx.execute(sql`
    select "table", count from (${sql.join(counts, sql` union all `)}) as counted where count > 0`);
  return rows<{ table: string; count: number }>(found);
}

async function takeOver(tx: Transaction, gaps: AdoptResult["filled"]): Promise<void> {
  const [foundation] = MIGRATIONS;
  if (!foundation) return;
  await tx.execute(sql.raw(CREATE_JOURNAL));
  // Made to run on any database: roles and extension, or a word on what a superuser must run first.
  try {
    for (const statement of foundation.statements) await tx.execute(sql.raw(statement));
  } catch (cause) {
    throw new MigrationError(`${foundation.name}.sql: ${explain(cause)}\nNothing was changed.`, {
      cause,
    });
  }
  // A table with checks put off to the end of the transaction could not be altered.
  await tx.execute(sql`set constraints all immediate`);
  for (const table of TABLES) await fill(tx, table, gaps);
  // What others added stays, but for what it opens to our roles.
  const only = ({ problem, safe }: Finding) => problem !== "extra" || safe;
  await applyRepairs(tx, { only });
  // Functions made now may belong to another than the tables, and change hands.
  const { remaining } = await applyRepairs(tx, { only });
  const left = remaining.filter(only);
  if (left.length > 0) {
    throw new Error(
      [
        "After all repairs the database would still differ:",
        ...left.map(({ object, problem, why }) => `  ${object}: ${problem}. ${why}`),
        "Nothing was changed.",
      ].join("\n"),
    );
  }
  for (const migration of MIGRATIONS) {
    await tx.execute(sql.raw(recordStatement(migration)));
  }
}

/** Puts the defaults of a table's columns where they hold NULL, a row in one go. */
async function fill(tx: Transaction, table: PgTable, gaps: AdoptResult["filled"]): Promise<void> {
  const columns = columnsOf(table).filter(({ name }) =>
    gaps.some((gap) => gap.table === getTableName(table) && gap.column === name),
  );
  if (columns.length === 0) return;
  const values = columns.map((column) => {
    const value = is(column.default, SQL) ? column.default : sql.param(column.default, column);
    return sql`${sql.identifier(column.name)} = coalesce(${column}, ${value})`;
  });
  const empty = columns.map((column) => sql`${column} is null`);
  await tx.execute(
    sql`update ${table} set ${sql.join(values, sql`, `)} where ${sql.join(empty, sql` or `)}`,
  );
}
