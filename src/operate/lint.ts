/**
 * What migrations of an application do to a database in use, and to what this package's tables need. They are
 * run in an embedded database in memory, and PostgreSQL is asked what they locked, read and changed.
 */
import { sql } from "drizzle-orm";
import { databaseError, withoutValues } from "../client/errors.ts";
import { type Transaction, one } from "../client/sql.ts";
import { confinedTransaction } from "../client/transaction.ts";
import { type CheckResult, error, info, warning } from "./doctor/check.ts";
import { differenceOf, repairOf } from "./doctor/schema.ts";
import { plannedFindings } from "./drift/diff.ts";
import type { PlannedFinding } from "./drift/findings.ts";
import { openSnapshot } from "./snapshot.ts";
import { type Statement, positionOf, shortened, startOf, statementsOf } from "./statements.ts";

/** A file of SQL. */
export interface SqlFile {
  readonly name: string;
  readonly text: string;
}

/** What is to be said of a statement. */
export interface LintFinding extends CheckResult {
  readonly file: string;
  /** From 1: where the statement begins, or where PostgreSQL could not read on. */
  readonly line: number;
  /** Its beginning, without values. */
  readonly statement: string;
  /**
   * `locks`: others wait for it. `schema`: this package's tables are no longer as they must be. `refused`:
   * PostgreSQL could not run it. `transaction`: it runs outside of one alone. `skipped`: it was not run.
   */
  readonly check: "locks" | "schema" | "refused" | "transaction" | "skipped";
}

/** What of the files to judge, and what to tell meanwhile. */
export interface LintOptions {
  /** The first file to judge; of those before it is told what could not be run. Default: all are judged. */
  readonly from?: string | undefined;
  /** Called before each file, with the number of those that are done. */
  readonly onFile?: ((name: string, done: number) => unknown) | undefined;
}

/**
 * Runs files in order and says what is wrong with them. Each is a transaction, as with `drizzle-kit migrate`, unless
 * it ends that itself. A table that a file makes is nobody's yet: who would wait for its locks?
 */
export async function lint(
  files: readonly SqlFile[],
  { from, onFile }: LintOptions = {},
): Promise<LintFinding[]> {
  const { client, db } = await openSnapshot();
  try {
    const findings: LintFinding[] = [];
    const first = Math.max(
      0,
      files.findIndex(({ name }) => name === from),
    );
    let known: ReadonlySet<string> = new Set();
    for (const [index, file] of files.entries()) {
      await onFile?.(file.name, index);
      const statements = await statementsOf(client, file.text);
      if (index > 0 && index === first) known = keysOf(await plannedFindings(db));
      const told = await confinedTransaction(db, async (tx) => {
        if (index < first) return run(tx, statements);
        const judged = await judge(tx, statements, known);
        known = judged.known;
        return judged.told;
      });
      // Its settings, and the role that it has taken, are not the next one's.
      await db.execute(sql`discard all`);
      findings.push(...told.map((it) => located(file, it)));
    }
    return findings;
  } finally {
    await client.close();
  }
}

/** What is to be said of a statement, and where in it. */
interface Told {
  readonly statement: Statement;
  readonly check: LintFinding["check"];
  readonly result: CheckResult;
  /** Where PostgreSQL stopped to understand it, in `statement.text`. */
  readonly at?: number | undefined;
}

function located({ name, text }: SqlFile, { statement, check, result, at }: Told): LintFinding {
  const offset = statement.offset + (at ?? startOf(statement.text));
  return {
    file: name,
    line: text.slice(0, offset).split("\n").length,
    statement: shortened(statement.text, at),
    check,
    ...result,
  };
}

/** Runs statements; what could not be run is left out. */
async function run(tx: Transaction, statements: readonly Statement[]): Promise<Told[]> {
  const told: Told[] = [];
  for (const statement of statements) told.push(...(await runOne(tx, statement)).told);
  return told;
}

/**
 * Runs statements, and asks after each what it has locked, read and broken.
 * @param known differences that were there before
 * @returns with those that are there now
 */
async function judge(
  tx: Transaction,
  statements: readonly Statement[],
  known: ReadonlySet<string>,
): Promise<{ told: Told[]; known: ReadonlySet<string> }> {
  const told: Told[] = [];
  let broken = new Map<string, Told>();
  let before = await stateOf(tx);
  const existing = before.relations;
  let differences: readonly PlannedFinding[] | undefined;
  for (const statement of statements) {
    const ran = await runOne(tx, statement);
    const after = await stateOf(tx);
    const waits = waitsFor({ existing, before, after, isEmptied: ran.command === "TRUNCATE" });
    told.push(
      ...ran.told,
      ...waits.map((result) => ({ statement, check: "locks" as const, result })),
    );
    before = after;
    differences = await plannedFindings(tx);
    // What a later statement mends is forgotten; of the rest, the first statement that has done it is told.
    broken = new Map(
      differences
        .filter((difference) => !known.has(keyOf(difference)))
        .map((difference) => {
          const key = keyOf(difference);
          const harm = { statement, check: "schema" as const, result: harmOf(difference) };
          return [key, broken.get(key) ?? harm];
        }),
    );
  }
  return {
    told: [...told, ...broken.values()].toSorted((a, b) => a.statement.offset - b.statement.offset),
    known: differences ? keysOf(differences) : known,
  };
}

const keyOf = ({ finding: { object, problem, found } }: PlannedFinding) =>
  JSON.stringify([object, problem, found]);
const keysOf = (differences: readonly PlannedFinding[]) => new Set(differences.map(keyOf));

const harmOf = (difference: PlannedFinding): CheckResult =>
  differenceOf(difference, `Leave it out. What brings it back: ${repairOf(difference)}`);

// ── To run a statement ──

interface Ran {
  /** The first word of PostgreSQL's answer. */
  readonly command?: unknown;
  readonly told: readonly Told[];
}

/** Runs a statement in the transaction that is open, and leaves one open; outside of it where it must be. */
async function runOne(tx: Transaction, statement: Statement): Promise<Ran> {
  const { text } = statement;
  // The embedded database waits for ever for the rows of a client, and a program ends it.
  if (/^copy\b/i.test(text.slice(startOf(text)))) {
    return { told: [{ statement, check: "skipped", result: NO_COPY }] };
  }
  try {
    return { command: await execute(tx, text), told: [] };
  } catch (cause) {
    const refusal = databaseError(cause);
    if (refusal === undefined) throw cause;
    // A COMMIT that fails has ended it.
    await tx.execute(sql`rollback to savepoint lint`).then(undefined, () => openTransaction(tx));
    if (refusal.code !== "25001") return { told: [refused(statement, cause)] };
    await tx.execute(sql`commit`);
    const told = await tx.execute(sql.raw(text)).then(
      () => ({ statement, check: "transaction" as const, result: alone(refusal.message) }),
      (problem: unknown) => refused(statement, problem),
    );
    await openTransaction(tx);
    return { told: [told] };
  }
}

async function execute(tx: Transaction, text: string): Promise<unknown> {
  await openTransaction(tx);
  const answer: unknown = await tx.execute(sql.raw(text));
  await openTransaction(tx);
  return answer instanceof Object && "command" in answer ? answer.command : undefined;
}

/** Sets a savepoint, in a new transaction where a statement of the file has ended the last one. */
async function openTransaction(tx: Transaction): Promise<void> {
  const savepoint = () => tx.execute(sql`savepoint lint`);
  try {
    await savepoint();
  } catch (cause) {
    if (databaseError(cause)?.code !== "25P01") throw cause;
    await tx.execute(sql`begin`);
    await savepoint();
  }
}

const NO_COPY = info(
  "COPY was not run: it reads or writes outside of the database",
  "Rows are not judged here; the statements behind it are, as if there were none.",
);

const alone = (said: string) =>
  info(
    `${said}: it was run outside of one, and its locks were not read`,
    "Run it by psql, in a file of its own: drizzle-kit migrate runs all files in one transaction.",
  );

function refused(statement: Statement, cause: unknown): Told {
  const refusal = databaseError(cause);
  if (refusal === undefined) throw cause;
  const { code, message, detail } = withoutValues(refusal);
  // What it stumbled over may be a password.
  const said = code === "42601" ? message.replaceAll(/"[^]*"/g, '"…"') : message;
  return {
    statement,
    check: "refused",
    result: error(
      [`${said} (${code})`, detail].filter(Boolean).join(". "),
      "Correct it. What must be there before, such as a role, is made by a file that is named before it, with --from for the first to judge; of extensions there is none but vector.",
    ),
    at: positionOf(cause, statement.text),
  };
}

// ── What it has locked, and read meanwhile ──

/** What the session has locked, read and made so far. Keys are OIDs. */
interface State {
  readonly relations: Readonly<Record<string, Relation>>;
  /** Constraints by their `contype`, and as `i` indexes that serve none. */
  readonly parts: Readonly<Record<string, { readonly table: string; readonly kind: string }>>;
  /** That keep others from reading or writing. */
  readonly locks: readonly (readonly [relation: string, mode: string])[];
  /** Whether it waits for a lock as long as it takes: no lock_timeout is set. */
  readonly isPatient: boolean;
}

/** A table, a materialized view, a view or an index. */
interface Relation {
  /** Of an index its table's. */
  readonly table: string;
  readonly name: string;
  /** Another one when it was written anew. */
  readonly file: string;
  /** How often this session has read all of it. */
  readonly reads: number;
}

/** What of a table a lock keeps from others: who reads takes ACCESS SHARE, who writes ROW EXCLUSIVE. */
const HELD_UP: Readonly<Record<string, "reads" | "writes">> = {
  AccessExclusiveLock: "reads",
  ExclusiveLock: "writes",
  ShareRowExclusiveLock: "writes",
  ShareLock: "writes",
};

const stateOf = (tx: Transaction): Promise<State> =>
  one<State>(
    tx,
    sql`
    select
      (select jsonb_object_agg(c.oid, jsonb_build_object('table', coalesce(indrelid, c.oid)::text,
          'name', case nspname when 'public' then '' else quote_ident(nspname) || '.' end || quote_ident(relname),
          'file', relfilenode::text, 'reads', pg_stat_get_xact_numscans(c.oid)))
        from pg_class as c join pg_namespace as n on n.oid = relnamespace left join pg_index on indexrelid = c.oid
        where relkind in ('r', 'p', 'm', 'v', 'i', 'I') and nspname not in ('pg_catalog', 'information_schema', 'pg_toast')) as relations,
      (select jsonb_object_agg(oid, jsonb_build_object('table', of::text, 'kind', kind)) from (
        select oid, conrelid, contype::text from pg_constraint
        union all
        select indexrelid, indrelid, 'i' from pg_index where not exists (select from pg_constraint where conindid = indexrelid)
      ) as part (oid, of, kind)) as parts,
      (select coalesce(jsonb_agg(jsonb_build_array(relation::text, mode)), '[]') from pg_locks
        where locktype = 'relation' and granted and pid = pg_backend_pid()
        and mode = any (${sql.param(Object.keys(HELD_UP))}::text[])) as locks,
      current_setting('lock_timeout') = '0' as "isPatient"`,
  );

interface Step {
  /** What was there before the file, and may be in use. */
  readonly existing: State["relations"];
  readonly before: State;
  readonly after: State;
  /** What reads a table that it has emptied reads nothing. */
  readonly isEmptied: boolean;
}

/** Who waits for a statement: as long as it reads or writes a table, or until it has its lock. */
function waitsFor({ existing, before, after, isEmptied }: Step): CheckResult[] {
  const isOld = ([relation]: State["locks"][number]) => relation in existing;
  const held = after.locks.filter(isOld);
  const taken = held.filter(
    (lock) => !before.locks.some((other) => String(other) === String(lock)),
  );
  const read = Object.keys(existing).filter((oid) => {
    const [was, is] = [before.relations[oid], after.relations[oid]];
    return was !== undefined && is !== undefined && is.table === oid && is.reads > was.reads;
  });
  if (held.length > 0 && read.length > 0 && !isEmptied) {
    const isAnew = read.some((oid) => before.relations[oid]?.file !== after.relations[oid]?.file);
    const names = read.map((oid) => existing[oid]?.name).join(", ");
    const told = `${heldUp(held, existing)} while ${names} is ${isAnew ? "written anew" : "read whole"}`;
    const made = Object.entries(after.parts).flatMap(([oid, { table, kind }]) =>
      oid in before.parts || !(table in existing) ? [] : [kind],
    );
    return [warning(told, isAnew ? ANEW : insteadOf(made))];
  }
  if (taken.length === 0 || !after.isPatient) return [];
  return [
    info(
      `${heldUp(taken, existing)} behind it, for as long as it waits for a transaction that has used the table`,
      "SET lock_timeout = '5s'; before it, and run it again when it is refused.",
    ),
  ];
}

/** `reads and writes of a, b and writes of c wait` */
function heldUp(locks: State["locks"], existing: State["relations"]): string {
  const tables = (what: "reads" | "writes") =>
    new Set(
      locks.flatMap(([relation, mode]) =>
        HELD_UP[mode] === what ? [existing[existing[relation]?.table ?? ""]?.name ?? ""] : [],
      ),
    );
  const closed = tables("reads");
  const readable = new Set([...tables("writes")].filter((name) => !closed.has(name)));
  const held = [
    ...(closed.size > 0 ? [`reads and writes of ${inOrder(closed)}`] : []),
    ...(readable.size > 0 ? [`writes of ${inOrder(readable)}`] : []),
  ];
  return `${held.join(" and ")} wait`;
}

const inOrder = (names: ReadonlySet<string>) => [...names].toSorted().join(", ");

const APART =
  "Put it into a migration that is run by itself, another day or by psql: locks are held to the end of the transaction.";
const ANEW =
  "Add a column without a default that is computed for each row, or of the new type, fill it in batches, and change over to it.";

/** What to write instead, by what was made. */
function insteadOf(made: readonly string[]): string {
  if (made.some((kind) => ["p", "u", "x"].includes(kind))) {
    return "CREATE UNIQUE INDEX CONCURRENTLY, outside of a transaction; then ADD CONSTRAINT … USING INDEX.";
  }
  if (made.includes("i")) return "CREATE INDEX CONCURRENTLY, outside of a transaction.";
  if (made.includes("c") || made.includes("f")) {
    return "ADD CONSTRAINT … NOT VALID; then, in a transaction of its own, VALIDATE CONSTRAINT.";
  }
  return made.includes("n")
    ? "ADD CONSTRAINT … CHECK (… IS NOT NULL) NOT VALID; in a transaction of its own VALIDATE CONSTRAINT; then SET NOT NULL, which reads nothing any more."
    : APART;
}
