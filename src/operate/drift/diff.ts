import { sql } from "drizzle-orm";
import { type CatalogObject, KINDS, type LiveObject, kindOf, readCatalog } from "./catalog.ts";
import type { Database, Transaction } from "../../client/sql.ts";
import { databaseError, explainRefusal } from "../../client/errors.ts";
import { EXPECTED } from "./expected.ts";
import {
  type Difference,
  type Finding,
  changedObject,
  extraObject,
  missingObject,
} from "./findings.ts";
import { lockMigrators } from "../migrate/lock.ts";
import { MigrationError, pendingMigrations } from "../migrate/migrate.ts";
import { withServersNames } from "../../client/settings.ts";
import { confinedTransaction } from "../../client/transaction.ts";

/**
 * What of a database is not as this package's migrations make it, each with the statements that bring it
 * back; nothing when all is well. It reads the system catalogs alone, and takes no
 * rights but to connect. Of a database that is not migrated, what is pending is missing.
 *
 * Not looked at: order and storage of columns, options of tables, the `lists` of the IVFFlat indexes,
 * attributes and memberships of roles, the stand-ins in schema `auth`, publications, and whatever others
 * made that does not touch ours. A SECURITY DEFINER function elsewhere that reads our tables is not seen.
 */
export async function diff(db: Database): Promise<Finding[]> {
  return (await differences(db)).map(({ finding }) => finding);
}

/** What `repair` repairs. */
export interface RepairOptions {
  /** Which findings to repair. Default: the safe ones. */
  readonly only?: (finding: Finding) => boolean;
  /** Seconds to wait for a migrator and for each lock on a table; 0 to fail at once. Default: without limit. */
  readonly lockTimeout?: number | undefined;
  /** Told when a migrator is at work, which is waited for. */
  readonly onWait?: ((what: string) => void) | undefined;
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
    await lockMigrators(tx, { timeout: options.lockTimeout, onWait: options.onWait });
    const pending = await pendingMigrations(tx);
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
): Promise<RepairResult> {
  const chosen = (await differences(tx)).filter(({ finding }) => only(finding));
  const steps = chosen.flatMap(({ finding: { object }, steps: own }) =>
    own.map((step) => ({ ...step, object })),
  );
  await withServersNames(tx, () => carryOut(tx, steps));
  return { repaired: chosen.map(({ finding }) => finding), remaining: await diff(tx) };
}

async function carryOut(
  tx: Transaction,
  steps: readonly (Difference["steps"][number] & { object: string })[],
): Promise<void> {
  // Functions are made before the tables that they read.
  await tx.execute(sql`select pg_catalog.set_config('check_function_bodies', 'off', true)`);
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

async function differences(db: Database): Promise<Difference[]> {
  const tables = EXPECTED.flatMap(({ object }) =>
    object.startsWith("table ") ? [object.slice("table ".length)] : [],
  );
  const { objects, vectorSchema } = await readCatalog(db, tables);
  const expected = EXPECTED.map((object) => ({
    ...object,
    definition: inSchema(object.definition, vectorSchema),
  }));
  const live = new Map(objects.map((object) => [object.object, object]));
  const known = new Set(expected.map(({ object }) => object));

  const missing = expected.filter(({ object }) => !live.has(object));
  const extra = objects.filter((object) => !known.has(object.object) && touchesOurs(object));
  const found = [
    ...whole(missing).map(missingObject),
    ...expected.flatMap((object) => {
      const there = live.get(object.object);
      return there && comparable(object) !== comparable(there)
        ? [changedObject(object, there)]
        : [];
    }),
    ...whole(extra).map(([object]) => extraObject(object)),
  ];
  const gone = missing.filter((object) => ["table", "column"].includes(kindOf(object)));
  return inOrder(found).map(({ finding, steps }) => ({
    finding: {
      ...finding,
      safe: finding.safe && !finding.repair.some((text) => standsOn(text, gone)),
    },
    steps,
  }));
}

const inOrder = (list: Difference[]) =>
  list.toSorted((a, b) => KINDS.indexOf(kindOf(a.finding)) - KINDS.indexOf(kindOf(b.finding)));

/** The manifest was made where the extension is in public. */
function inSchema(definition: string, vectorSchema: string): string {
  return definition === "CREATE EXTENSION vector"
    ? `CREATE EXTENSION vector SCHEMA ${vectorSchema}`
    : definition.replaceAll("public.vector", `${vectorSchema}.vector`);
}

/**
 * A definition without what may differ: where the extension is, into how many lists an index is cut, and
 * the columns of statistics, which PostgreSQL lists in their table's order.
 */
function comparable({ object, definition }: CatalogObject): string {
  if (object === "extension vector") return object;
  return definition
    .replace(/(USING ivfflat .*) WITH \(lists='\d+'\)/, "$1")
    .replace(/(?<=^CREATE STATISTICS .* ON ).*(?= FROM )/, (columns) =>
      columns.split(", ").toSorted().join(", "),
    );
}

/** Objects with what goes with them: a missing table is not also twenty missing columns. */
function whole<T extends CatalogObject>(objects: readonly T[]): [T, ...T[]][] {
  const groups = new Map<string, [T, ...T[]]>();
  for (const object of objects) {
    const group = groups.get(object.parent);
    group?.push(object);
    groups.set(object.object, group ?? [object]);
  }
  return [...new Set(groups.values())];
}

const touchesOurs = (object: LiveObject): boolean => {
  switch (kindOf(object)) {
    case "comment":
    case "statistics":
      return false;
    case "index":
      return object.definition.startsWith("CREATE UNIQUE ");
    default:
      return true;
  }
};

/** Whether a statement names a table, or a column of it, that is not there. */
function standsOn(statement: string, gone: readonly CatalogObject[]): boolean {
  return gone.some(({ definition }) => {
    const [, table = "", column = ""] = /TABLE (\S+) (?:ADD COLUMN (\S+))?/.exec(definition) ?? [];
    return [table, column].every((word) => new RegExp(`\\b${word}\\b`).test(statement));
  });
}
