import { sql } from "drizzle-orm";
import { type Transaction, rows } from "../../src/client/sql.ts";
import type { TestDatabase } from "../engine.ts";
import { type Guarantee, openGround } from "./attack.ts";
import { type Fixture, fill } from "./fixture.ts";
import { type Table, survey } from "./survey.ts";

/** One way to break a database, and the guarantees that must notice. */
export interface Mutation {
  readonly kind: string;
  /** Each must turn red, and name what was broken. */
  readonly caughtBy: readonly Guarantee[];
  /** Every place where it can be done. */
  readonly breaks: (catalog: Catalog) => readonly Break[];
}

export interface Break {
  /** What the violations must name, all of it: tables, mostly. */
  readonly targets: readonly string[];
  readonly statements: readonly string[];
}

/** The database as it is, before it is broken. */
export interface Catalog {
  readonly tables: readonly Table[];
  readonly policy: (table: Table, command: Command) => Policy;
  /** Indexes of a table that lead with a column, and serve no constraint. */
  readonly indexes: (table: Table, column: string) => readonly string[];
}

export type Command = "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "ALL";

interface Policy {
  /** `"name" on table`, as ALTER POLICY and DROP POLICY want it. */
  readonly place: string;
  readonly using: string;
}

export async function readCatalog(tx: Transaction): Promise<Catalog> {
  const tables = await survey(tx);
  const policies = rows<{ table: string; command: string; name: string; using: string }>(
    await tx.execute(sql`
      select tablename::text as "table", cmd as command, policyname::text as name,
        coalesce(qual, '') as "using"
      from pg_policies where schemaname = 'public'`),
  );
  const indexes = rows<{ table: string; name: string; column: string }>(
    await tx.execute(sql`
      select i.indrelid::regclass::text as "table", i.indexrelid::regclass::text as name, a.attname::text as "column"
      from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
      where i.indrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)
        and not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.contype <> 'f')`),
  );
  return {
    tables,
    policy({ name, path }, command) {
      const found = policies.find((policy) => policy.table === name && policy.command === command);
      if (!found) throw new Error(`${name} has no policy for ${command}`);
      return { place: `"${found.name}" on ${path}`, using: found.using };
    },
    indexes: (table, column) =>
      indexes.flatMap((index) =>
        index.table === table.name && index.column === column ? [index.name] : [],
      ),
  };
}

/** What became of one break. */
export interface Verdict {
  readonly kind: string;
  readonly target: string;
  readonly title: string;
  /** The guarantee turned red and named the target. */
  readonly caught: boolean;
}

/**
 * Breaks a database in one way at up to `places` places, one at a time, and asks the guarantees named for
 * it. Everything happens in one transaction that is rolled back, changes of roles included.
 */
export async function breakAt(
  { db }: Pick<TestDatabase, "db">,
  mutation: Mutation,
  places: number,
): Promise<Verdict[]> {
  const rollback = new Error("rolled back");
  const verdicts: Verdict[] = [];
  await db
    .transaction(async (tx) => {
      const fixture = await fill(tx);
      for (const place of spread(mutation.breaks(await readCatalog(tx)), places)) {
        verdicts.push(...(await breakOnce(tx, fixture, mutation, place)));
      }
      throw rollback;
    })
    .catch((error: unknown) => {
      if (error !== rollback) throw error;
    });
  return verdicts;
}

async function breakOnce(
  tx: Transaction,
  fixture: Fixture,
  { kind, caughtBy }: Mutation,
  { targets, statements }: Break,
): Promise<Verdict[]> {
  const rollback = new Error("rolled back");
  const verdicts: Verdict[] = [];
  await tx
    .transaction(async (inner) => {
      for (const statement of statements) await inner.execute(sql.raw(statement));
      const ground = await openGround(inner, fixture);
      for (const { title, attack } of caughtBy) {
        const violations = await attack(ground);
        for (const target of targets) {
          const caught = violations.some((violation) => names(violation, target));
          verdicts.push({ kind, target, title, caught });
        }
      }
      throw rollback;
    })
    .catch((error: unknown) => {
      if (error !== rollback) throw error;
    });
  return verdicts;
}

/** As a word of its own: `agent_prompts` is not in `own_agent_prompts_row`. */
const names = (violation: string, target: string) => new RegExp(`\\b${target}\\b`).test(violation);

/** Up to so many of a list, the first and the last among them. */
export function spread<T>(list: readonly T[], count: number): T[] {
  const step = Math.max(1, (list.length - 1) / Math.max(1, count - 1));
  const chosen = new Set(Array.from({ length: count }, (_, place) => Math.round(place * step)));
  return list.filter((_, index) => chosen.has(index));
}
