/** What a check is, and what checks share. */
import { type SQL, sql } from "drizzle-orm";
import { type Database, rows } from "../../client/sql.ts";
import { TABLE_NAMES } from "../../schema/all.ts";

/** One finding of `doctor`. */
export interface Diagnosis {
  /** `error`: isolation or data are at risk. `warning`: something will hurt. `info`: worth knowing. */
  readonly level: "error" | "warning" | "info";
  /** What is so, a sentence. */
  readonly message: string;
  /** What to do about it: SQL that ends in `;`, a command, or a sentence. */
  readonly next: string;
  /** The check that says it: `logins`, `indexes`, … */
  readonly check: string;
}

/** A finding, but for who says it. */
export type CheckResult = Omit<Diagnosis, "check">;

/** Who asks, and what of. */
export interface Subject {
  /** As `server_version_num`: 170011. */
  readonly server: number;
  /** The embedded PostgreSQL has one session, no autovacuum and no statistics of activity. */
  readonly embedded: boolean;
  /** Version of pgvector, null where it is not installed. */
  readonly vector: string | null;
  /** How many of ours are there. */
  readonly tables: number;
  /** Whether the login owns the tables, or may become who does. */
  readonly isOwner: boolean;
  readonly login: string;
  /** Seconds. */
  readonly longTransaction: number;
}

export interface Check {
  readonly name: string;
  /** Reads whole tables. */
  readonly deep?: true;
  /** Whether it needs the owner of the tables: it reads rows, or what PostgreSQL shows to owners alone. */
  readonly owner?: true;
  /** Whether the embedded PostgreSQL is left out. */
  readonly server?: true;
  readonly run: (db: Database, subject: Subject) => Promise<CheckResult[]>;
}

export const error = (message: string, next: string): CheckResult => ({
  level: "error",
  message,
  next,
});
export const warning = (message: string, next: string): CheckResult => ({
  level: "warning",
  message,
  next,
});
export const info = (message: string, next: string): CheckResult => ({
  level: "info",
  message,
  next,
});

/** Our tables that are there: `oid`, `relname`, `name` as SQL may write it, `relowner`. */
export const ours = sql`(
  select oid, relname, relowner, reltuples, reloptions, oid::regclass::text as name from pg_class
  where relnamespace = to_regnamespace('public') and relkind in ('r', 'p') and relname = any (${TABLE_NAMES}))`;

/** Those that hold rows themselves: of a cut log its partitions, with the same columns. */
export const stored = sql`(
  select oid, relname, relowner, reltuples, reloptions, oid::regclass::text as name, relnamespace::regnamespace::text as home from pg_class
  where relkind = 'r' and (oid in (select oid from ${ours} as ours)
    or oid in (select inhrelid from pg_inherits join ${ours} as ours on oid = inhparent)))`;

/** A check of one query; each row is judged by itself. */
export function checkOf<Row extends Record<string, unknown>>(
  name: string,
  facts: (subject: Subject) => SQL,
  judge: (row: Row, subject: Subject) => CheckResult[],
  traits: Pick<Check, "deep" | "owner" | "server"> = {},
): Check {
  const run: Check["run"] = async (db, subject) =>
    rows<Row>(await db.execute(facts(subject))).flatMap((row) => judge(row, subject));
  return { name, run, ...traits };
}

/** A number as a person reads it. */
export const count = (value: number) => value.toLocaleString("en-US");
