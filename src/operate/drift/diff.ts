import { sql } from "drizzle-orm";
import { readCatalog } from "./catalog.ts";
import { type Database, type Queryable, type Transaction, one, rows } from "../../client/sql.ts";
import { databaseError, explainRefusal } from "../../client/errors.ts";
import { expectedOf } from "./expected.ts";
import { type CatalogObject, keyOf } from "./facts.ts";
import {
  type Finding,
  type PlannedFinding,
  changedObject,
  extraObject,
  missingObject,
} from "./findings.ts";
import { hybridOf, isHybrid } from "./hybrid.ts";
import { INDEXES, KINDS, comparable, isHarmless, parentOf, placeOf, relocated } from "./kinds.ts";
import { lockMigrators } from "../migrate/lock.ts";
import { MigrationError, pendingMigrations } from "../migrate/migrate.ts";
import { withServersNames, withSettings } from "../../client/settings.ts";
import { confinedTransaction } from "../../client/transaction.ts";

/**
 * What of a database is not as this package's migrations make it, each with the statements that bring it
 * back; nothing when all is well. It reads the system catalogs alone, and takes no
 * rights but to connect. Of a database that is not migrated, what is pending is missing.
 *
 * Not looked at: order and storage of columns, options of tables, the `lists` of the IVFFlat indexes,
 * attributes and memberships of roles, the stand-ins in schema `auth`, publications, partitions of
 * our tables, and whatever others made that does not touch ours. Functions elsewhere that read our tables
 * are not seen: those that are SECURITY DEFINER are looked for by `doctor`.
 */
export async function diff(db: Database): Promise<Finding[]> {
  return (await plannedFindings(db)).map(({ finding }) => finding);
}

/** What a database is compared with: what the migrations make, or what {@link hybridOf} makes of that. */
export type Form = "plain" | "hybrid";

/** What `repair` repairs. */
export interface RepairOptions {
  /** Which findings to repair. Default: the safe ones. */
  readonly only?: (finding: Finding) => boolean;
  /** Seconds to wait for a migrator and for each lock on a table; 0 to fail at once. Default: without limit. */
  readonly lockTimeout?: number | undefined;
  /** Told when a migrator is at work, which is waited for. */
  readonly onWait?: ((what: string) => unknown) | undefined;
}

/** What `repair` did. */
export interface RepairResult {
  readonly repaired: readonly Finding[];
  /** What is found afterwards. */
  readonly remaining: readonly Finding[];
}

/** What could not be repaired. The server's own error is in `cause`. */
export class RepairError extends Error {
  override readonly name = "RepairError";
}

/**
 * Brings back what `diff` finds, in one transaction under the lock of the migrators. A missing index is built
 * in it: writes to that table wait so long.
 * @throws {MigrationError} when migrations are pending, or the journal and the files disagree
 * @throws {RepairError} naming object and statement when the server refuses one; nothing is changed
 * @throws {LockedError} when another migrator is at work for longer than `lockTimeout`
 */
export async function repair(db: Database, options: RepairOptions = {}): Promise<RepairResult> {
  const work = async (tx: Transaction) => {
    const pending = await withServersNames(tx, async () => {
      await lockMigrators(tx, { timeout: options.lockTimeout, onWait: options.onWait });
      return pendingMigrations(tx);
    });
    if (pending.length > 0) {
      throw new MigrationError(
        `${pending.length} ${pending.length === 1 ? "migration is" : "migrations are"} pending: run meta-agent-db migrate, then repair what is left. Nothing was changed.`,
      );
    }
    return applyRepairs(tx, options);
  };
  return confinedTransaction(db, work, { isolationLevel: "read committed" });
}

/** What {@link repair} does inside its transaction, whatever the journal says. */
export async function applyRepairs(
  tx: Transaction,
  { only = ({ safe }) => safe }: RepairOptions = {},
  form?: Form,
): Promise<RepairResult> {
  const chosen = (await plannedFindings(tx, form)).filter(({ finding }) => only(finding));
  const steps = chosen.flatMap(({ finding: { object }, steps: own }) =>
    own.map((step) => ({ ...step, object })),
  );
  // Functions are made before the tables that they read.
  const settings = { check_function_bodies: "off" };
  await withServersNames(tx, async () => {
    const lock = await lockOf(tx, chosen);
    await withSettings(tx, settings, () => carryOut(tx, [...lock, ...steps]));
  });
  return { repaired: chosen.map(({ finding }) => finding), remaining: await diff(tx) };
}

type NamedStep = PlannedFinding["steps"][number] & { readonly object: string };

/** What the scope of a grant on a table begins with. */
const TABLE = "TABLE ";

/**
 * Autovacuum is kept off tables whose grants are repaired: a GRANT takes no lock on its table, so that autovacuum could
 * come to it next, hold the table and wait for this transaction, whose next statement there would wait for autovacuum.
 */
async function lockOf(tx: Transaction, chosen: readonly PlannedFinding[]): Promise<NamedStep[]> {
  const granted = chosen.flatMap(({ object: { kind, facts } }) =>
    kind === "grant" && facts.scope.startsWith(TABLE) ? [facts.scope.slice(TABLE.length)] : [],
  );
  // One that is missing is made here, and nobody's before that.
  const { tables } = await one<{ tables: string | null }>(
    tx,
    sql`select string_agg(distinct name, ', ') as tables from unnest(${sql.param(granted)}::text[]) as name
      where to_regclass(name) is not null`,
  );
  if (tables === null) return [];
  const statement = `LOCK TABLE ${tables} IN SHARE UPDATE EXCLUSIVE MODE`;
  return [{ object: "tables with other grants", phase: Number.NEGATIVE_INFINITY, statement }];
}

async function carryOut(tx: Transaction, steps: readonly NamedStep[]): Promise<void> {
  for (const { object, statement } of steps.toSorted((a, b) => a.phase - b.phase)) {
    try {
      await tx.execute(sql.raw(statement));
    } catch (error) {
      throw refused(object, statement, error);
    }
  }
}

function refused(object: string, statement: string, error: unknown): unknown {
  const refusal = databaseError(error);
  if (!refusal) return error;
  const head = statement.split("\n").slice(0, 3);
  return new RepairError(
    [
      `${object}: ${explainRefusal(refusal)}`,
      ...head.map((line) => `  | ${line}`),
      "Nothing was changed.",
    ].join("\n"),
    { cause: error },
  );
}

/** Names of relations that ours are to have in schema public and that others hold, with who does. */
export async function takenNames(db: Queryable): Promise<ReadonlyMap<string, string>> {
  const wanted = INDEXES.flatMap((kind) => expectedOf(kind)).map(
    ({ path: [table = "", name = ""] }) => ({ table, name }),
  );
  const found = await db.execute(sql`
    select c.relname::text as name, c.relkind in ('i', 'I') as "isIndex",
      c.oid::regclass::text as path, i.indrelid::regclass::text as table
    from pg_catalog.jsonb_to_recordset(${JSON.stringify(wanted)}::jsonb) as wanted ("table" text, name text)
    join pg_class as c on c.relnamespace = to_regnamespace('public') and c.relname = wanted.name
    left join pg_index as i on i.indexrelid = c.oid left join pg_class as t on t.oid = i.indrelid
    where c.relkind not in ('i', 'I') or t.relnamespace <> c.relnamespace or t.relname <> wanted.table
    order by 1`);
  return new Map(
    rows<{ name: string; isIndex: boolean; path: string; table: string | null }>(found).map(
      ({ name, isIndex, path, table }) => [
        name,
        isIndex
          ? `${name} is taken by an index of ${table}: ALTER INDEX ${path} RENAME TO …;`
          : `${name} is taken by another object: rename ${path}`,
      ],
    ),
  );
}

/**
 * What {@link diff} finds, with what each finding is about.
 * @param form default: the one that the database has
 */
export async function plannedFindings(db: Database, form?: Form): Promise<PlannedFinding[]> {
  const tables = expectedOf("table").flatMap(({ path }) => path);
  const { objects, vectorSchema } = await readCatalog(db, tables);
  const plain = KINDS.flatMap((kind) => expectedOf(kind));
  const wanted = (form ?? (isHybrid(objects) ? "hybrid" : "plain")) === "hybrid";
  const expected = (wanted ? hybridOf(plain) : plain).map((object) =>
    relocated(object, vectorSchema),
  );
  const live = new Map(objects.map((object) => [placeOf(object), object]));
  const known = new Set(expected.map(placeOf));

  const missing = expected.filter((object) => !live.has(placeOf(object)));
  const extra = objects.filter((object) => !known.has(placeOf(object)) && !isHarmless(object));
  const gone = new Set(missing.map(placeOf));
  const found = [
    ...whole(missing).map((group) => missingObject(group, gone)),
    ...expected.flatMap((object) => {
      const there = live.get(placeOf(object));
      return there && (object.kind !== there.kind || comparable(object) !== comparable(there))
        ? [changedObject(object, there, gone)]
        : [];
    }),
    ...whole(extra).map(([object]) => extraObject(object)),
  ];
  const taken = missing.length === 0 ? new Map<string, string>() : await takenBy(db);
  return found
    .map((planned) => withHolder(planned, taken))
    .toSorted((a, b) => KINDS.indexOf(a.object.kind) - KINDS.indexOf(b.object.kind));
}

const takenBy = (db: Database) =>
  confinedTransaction(db, (tx) => withServersNames(tx, () => takenNames(tx)));

/** What is missing cannot be made while another object has its name. */
function withHolder(planned: PlannedFinding, taken: ReadonlyMap<string, string>): PlannedFinding {
  const { finding, object } = planned;
  const holder = taken.get(object.path.at(-1) ?? "");
  if (finding.problem !== "missing" || object.path.length < 2 || holder === undefined)
    return planned;
  const why = `${finding.why} Its name ${holder} Then make it.`;
  return { ...planned, finding: { ...finding, why, safe: false } };
}

/** Objects with what goes with them: a missing table is not also twenty missing columns. */
function whole(objects: readonly CatalogObject[]): [CatalogObject, ...CatalogObject[]][] {
  const groups = new Map<string, [CatalogObject, ...CatalogObject[]]>();
  for (const object of objects) {
    const parent = parentOf(object);
    const group = parent === undefined ? undefined : groups.get(parent);
    group?.push(object);
    groups.set(keyOf(object.kind, object.path), group ?? [object]);
  }
  return [...new Set(groups.values())];
}
