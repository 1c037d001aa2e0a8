import { eq, getTableName, sql } from "drizzle-orm";
import type { PgTable } from "drizzle-orm/pg-core";
import * as fc from "fast-check";
import * as z from "zod";
import type { Transaction } from "../../src/client/sql.ts";
import { databaseError, explain } from "../../src/client/errors.ts";
import { columnRule } from "../../src/schema/rules.ts";
import { isJson } from "./kinds.ts";
import {
  type Ids,
  type Row,
  type Rows,
  type Statement,
  columnOf,
  rowsOf,
  rulesOf,
} from "./rows.ts";

/** What the comparison leaves out, and why. */
export const OUT_OF_COMPARISON = {
  references: "only the database knows which rows exist; it looks after everything else",
  uniques: "only the database knows what is taken; it looks after everything else",
  "inner JSON": "a CHECK guards the outer form of a document, the validator its whole shape",
  "part of a rule": "the validator of an update knows only the columns that the update names",
  "empty update": "Drizzle makes no statement of it",
  "unknown keys": "validators refuse them, Drizzle drops them",
  "id and organization": "an update schema refuses them, in the database that is for policies",
  updated_at: "whatever an update says, a trigger writes it",
} as const;

/** One judge's verdict on a row. */
interface Verdict {
  /** Undefined: it broke down, which is a disagreement with any other. */
  readonly accepts: boolean | undefined;
  /** Why it refused, or what of its refusal is out of the comparison. */
  readonly says: string;
  /** The refusal as a whole is out of the comparison. */
  readonly out?: keyof typeof OUT_OF_COMPARISON;
}

/** A table under comparison, inside a transaction that is rolled back. */
export interface Subject {
  readonly tx: Transaction;
  readonly table: PgTable;
  readonly statement: Statement;
  readonly schema: z.ZodType;
  readonly ids: Ids;
}

/** How often what happened, and the smallest row that the two judges disagree on. */
export interface Outcome {
  readonly compared: number;
  /** Accepted by both, and no reference or unique in the way. */
  readonly stored: number;
  /** Refused by both. */
  readonly refused: number;
  readonly disagreement?: string;
}

/** Lets both judge the probes of a table and as many random rows; stops at the first disagreement. */
export async function fuzz(subject: Subject, random: number, seed: number): Promise<Outcome> {
  const rows = rowsOf(subject.table, subject.statement, subject.ids);
  const count = { compared: 0, stored: 0, refused: 0 };
  await subject.tx.execute(sql`savepoint row`);
  const property = fc.asyncProperty(rows.random, async (row) => {
    const { zod, postgres, agree } = await compare(subject, rows, row);
    if (zod.out ?? postgres.out) return true;
    count.compared += 1;
    count.stored += zod.accepts && postgres.says === "" ? 1 : 0;
    count.refused += zod.accepts || postgres.accepts ? 0 : 1;
    return agree;
  });
  const { probes } = rows;
  const { counterexample } = await fc.check(property, {
    seed,
    examples: probes.map((row) => [row]),
    numRuns: probes.length + random,
  });
  if (!counterexample) return count;
  const [row] = counterexample;
  return { ...count, disagreement: report(subject, row, await compare(subject, rows, row)) };
}

async function compare(subject: Subject, rows: Rows, row: Row) {
  const zod = judgedByZod(subject, row);
  const postgres = await judgedByPostgres(subject, row);
  const agree =
    zod.accepts === postgres.accepts ||
    (zod.accepts === false && postgres.accepts === true && !rows.isCanonical(row));
  return { zod, postgres, agree };
}

function judgedByZod({ schema, table }: Subject, row: Row): Verdict {
  try {
    const { error } = schema.safeParse(row);
    return error ? refusalOfZod(table, row, error) : { accepts: true, says: "" };
  } catch (error) {
    return { accepts: undefined, says: `throws ${String(error)}` };
  }
}

function refusalOfZod(table: PgTable, row: Row, error: z.ZodError): Verdict {
  const inner = error.issues.every(({ path: [key, ...rest] }) => {
    const rule = columnRule(columnOf(table, String(key)));
    const value = row[String(key)];
    // What is no JSON at all the database refuses, too, however deep it lies.
    if (rule?.kind !== "json" || !isJson(value)) return false;
    return rest.length > 0 || (rule.by && value != null);
  });
  return { accepts: false, says: z.prettifyError(error), ...(inner ? { out: "inner JSON" } : {}) };
}

async function judgedByPostgres(subject: Subject, row: Row): Promise<Verdict> {
  try {
    await run(subject, row);
    return { accepts: true, says: "" };
  } catch (error) {
    return refusal(subject, row, error);
  } finally {
    // Fails when the row broke more than a rule: the connection.
    await subject.tx.execute(sql`rollback to savepoint row`);
  }
}

async function run({ tx, table, statement, ids }: Subject, row: Row): Promise<void> {
  if (statement === "insert") {
    await tx.insert(table).values(row);
  } else {
    const [id] = ids.get(getTableName(table)) ?? [];
    if (!id) throw new Error(`${getTableName(table)} has no row to update`);
    await tx
      .update(table)
      .set(row)
      .where(eq(columnOf(table, "id"), id));
  }
}

/** Drizzle's own errors are refusals too: an invalid Date has no text to send. */
function refusal({ table, statement }: Subject, row: Row, error: unknown): Verdict {
  // Around what the driver itself threw Drizzle puts the whole statement.
  const says = explain(error instanceof Error ? (error.cause ?? error) : error);
  const { code, constraint } = databaseError(error) ?? {};
  switch (code) {
    case "23503": // no such parent
    case "23505": // taken; another active or baseline prompt
      return { accepts: true, says };
    case "23514": {
      const rule = rulesOf(table).find(({ name }) => name === constraint);
      const partial = statement === "update" && rule?.keys.some((key) => row[key] === undefined);
      return { accepts: false, says, ...(partial ? { out: "part of a rule" } : {}) };
    }
    default:
      return { accepts: false, says };
  }
}

type Comparison = Awaited<ReturnType<typeof compare>>;

function report({ table, statement }: Subject, row: Row, { zod, postgres }: Comparison): string {
  const verdict = ({ accepts, says }: Verdict) =>
    accepts ? "accepts" : accepts === false ? `refuses: ${says}` : says;
  return [
    `${statement} of ${getTableName(table)}`,
    ...Object.entries(row).map(([key, value]) => `  ${key}: ${shortened(value)}`),
    `Zod ${verdict(zod)}`,
    `PostgreSQL ${verdict(postgres)}`,
  ].join("\n");
}

function shortened(value: unknown): string {
  const text = fc.stringify(value);
  return text.length > 100 ? `${text.slice(0, 80)}… (${text.length} characters)` : text;
}
