import { sql } from "drizzle-orm";
import type { Transaction } from "../../src/client/sql.ts";
import { diff } from "../../src/operate/drift/diff.ts";
import { catalog, queryIn } from "../catalog.ts";
import type { TestDatabase } from "../engine.ts";
import { type Anatomy, dissect } from "./anatomy.ts";

/** One way to damage a migrated database. */
export interface Damage {
  readonly kind: string;
  /** Every place where it can be done. */
  readonly places: (anatomy: Anatomy) => readonly Place[];
}

export interface Place {
  readonly statements: readonly string[];
  /** What `diff` must say, all of it and nothing else: `missing index idx_logs_quality on agent_execution_logs`. */
  readonly findings: readonly string[];
}

export interface Outcome {
  readonly statements: readonly string[];
  readonly expected: readonly string[];
  readonly found: readonly string[];
  /** Lines that the repair left out of the catalog, or added to it. */
  readonly leftover: readonly string[];
  /** What `diff` still says. */
  readonly remaining: readonly string[];
}

const ROLLBACK = new Error("rolled back");

/** Runs `work` in a transaction that leaves nothing. */
export async function undone(
  db: TestDatabase["db"],
  work: (tx: Transaction) => Promise<void>,
): Promise<void> {
  await db
    .transaction(async (tx) => {
      await work(tx);
      throw ROLLBACK;
    })
    .catch((error: unknown) => {
      if (error !== ROLLBACK) throw error;
    });
}

/** A database before it is damaged. */
export interface Intact {
  readonly anatomy: Anatomy;
  readonly before: readonly string[];
}

export async function intact(db: TestDatabase["db"]): Promise<Intact> {
  return db.transaction(async (tx) => ({ anatomy: await dissect(tx), before: await lines(tx) }));
}

/**
 * Damages a database at each place, one at a time, asks `diff`, pastes the repair of
 * every finding in the order in which they are printed, and compares the catalog with what it was.
 */
export async function damageAt(
  db: TestDatabase["db"],
  { before }: Intact,
  places: readonly Place[],
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const place of places) {
    await undone(db, async (tx) => {
      outcomes.push(await damageOnce(tx, place, before));
    });
  }
  return outcomes;
}

async function damageOnce(
  tx: Transaction,
  { statements, findings }: Place,
  before: readonly string[],
): Promise<Outcome> {
  await run(tx, statements);
  const found = await diff(tx);
  await run(
    tx,
    found.flatMap(({ repair }) => repair),
  );
  const after = await lines(tx);
  return {
    statements,
    expected: findings.toSorted(),
    found: found.map(({ problem, object }) => `${problem} ${object}`).toSorted(),
    leftover: [
      ...before.filter((line) => !after.includes(line)).map((line) => `- ${line}`),
      ...after.filter((line) => !before.includes(line)).map((line) => `+ ${line}`),
    ],
    remaining: (await diff(tx)).map(({ problem, object }) => `${problem} ${object}`),
  };
}

export async function run(tx: Transaction, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await tx.execute(sql.raw(statement));
}

/**
 * The catalog as the other tests read it, but for the order of columns, since one that comes back comes
 * last, and for the views that a damage adds: they are the user's, and stay.
 */
export async function lines(tx: Transaction): Promise<string[]> {
  const found = await catalog(queryIn(tx));
  return found.flatMap((line) =>
    /^grant .* on (all|fair|copy_of)_/.test(line)
      ? []
      : [
          line
            .replace(/^(column \S+) #\d+/, "$1")
            .replace(
              /^(statistics .* ON) organization_id, agent_id /,
              "$1 agent_id, organization_id ",
            ),
        ],
  );
}
