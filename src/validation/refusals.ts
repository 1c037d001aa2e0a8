/** PostgreSQL's refusals as validators say them: which column, which rule, in words. */
import { type SQL, getTableColumns, getTableName } from "drizzle-orm";
import { type AnyPgColumn, type PgTable, getTableConfig } from "drizzle-orm/pg-core";
import {
  type DatabaseError,
  carriesValues,
  databaseError,
  sayingWhereToWrite,
  withoutParameters,
} from "../client/errors.ts";
import { type Queryable, rows } from "../client/sql.ts";
import { TABLES } from "../schema/all.ts";
import { rowRuleInWords, ruleInWords, ruleOf } from "../schema/rules.ts";
import { refused } from "./refused.ts";

const tables = new Map(TABLES.map((table) => [getTableName(table), table]));

/**
 * The refusal of a row by PostgreSQL, as the `ZodError` that a validator would have thrown: its issue
 * names the column as TypeScript does and the rule in words; `params` hold SQLSTATE, table and
 * constraint. Of another error of Drizzle that repeats the parameters of its statement it answers what the
 * server said: a malformed value may be a megabyte, and PostgreSQL does not say which column's it was.
 * Whatever else it is given comes back untouched. Row-level security is recognized on servers that speak
 * English.
 *
 * Nothing it answers holds what was sent, in a `cause` neither, unless the error given is the driver's own.
 */
export function fromDatabaseError(error: unknown): unknown {
  const refusal = databaseError(error);
  const issue = refusal && explained(refusal);
  const cause = carriesValues(error) ? (withoutParameters(error) ?? error) : error;
  if (!issue) return sayingWhereToWrite(cause);
  const { code: sqlstate, table, constraint } = refusal;
  return Object.assign(
    refused([
      {
        code: "custom",
        input: undefined,
        params: { sqlstate, table, constraint },
        path: issue.path,
        message: issue.message,
      },
    ]),
    { cause },
  );
}

/**
 * The rows that a statement answers. `T` is what it selects.
 * @throws what {@link fromDatabaseError} makes of PostgreSQL's refusal
 */
export async function answered<T extends object>(db: Queryable, query: SQL): Promise<T[]> {
  try {
    return rows<T>(await db.execute(query));
  } catch (error) {
    throw fromDatabaseError(error);
  }
}

interface Explanation {
  path: string[];
  message: string;
}

function explained(refusal: DatabaseError): Explanation | undefined {
  if (refusal.code !== "42501") return ofTable(refusal);
  return hiddenRow(
    /row-level security policy(?: .+)? for table "(\w+)"/.exec(refusal.message)?.[1],
  );
}

function ofTable(refusal: DatabaseError): Explanation | undefined {
  const { code, table: tableName = "", column = "", constraint = "" } = refusal;
  const table = tables.get(tableName);
  if (!table) return undefined;
  switch (code) {
    case "23502":
      return { path: [keyOf(table, column)], message: "missing, expected a value" };
    case "23514":
      return brokenRule(table, constraint);
    case "23505":
      return taken(table, constraint);
    case "23503":
      return danglingReference(table, refusal);
    default:
      return undefined;
  }
}

function fieldsOf(table: PgTable): [key: string, column: AnyPgColumn][] {
  return Object.entries<AnyPgColumn>(getTableColumns(table));
}

function keyOf(table: PgTable, name: string): string {
  return fieldsOf(table).find(([, column]) => column.name === name)?.[0] ?? name;
}

function brokenRule(table: PgTable, constraint: string): Explanation | undefined {
  const broken = ruleOf(table, constraint);
  if (!broken) return undefined;
  if (broken.of === "row") {
    const keys = broken.rule.columns.map((name) => keyOf(table, name));
    return { path: keys.slice(0, 1), message: rowRuleInWords(broken.rule, keys) };
  }
  return {
    path: [keyOf(table, broken.column.name)],
    message: `expected ${ruleInWords(broken.rule)}`,
  };
}

/** What only one row may have, by the index that holds it, and what to use instead of an INSERT or UPDATE. */
const ONLY_ONE: Readonly<Record<string, { readonly key: string; readonly message: string }>> = {
  agent_prompts_one_active: {
    key: "isActive",
    message: "another prompt of this agent is active, and only one may be: promotePrompt moves it",
  },
  agent_prompts_one_baseline: {
    key: "isBaseline",
    message:
      "another prompt of this agent is the baseline, and only one may be: setBaseline moves it",
  },
  alert_history_open_key: {
    key: "details",
    message:
      "another alert with this dedup_key is open, of the same agent or organization: raiseAlert counts it there",
  },
};

function taken(table: PgTable, constraint: string): Explanation | undefined {
  const held = ONLY_ONE[constraint];
  if (held) return { path: [held.key], message: held.message };
  if (constraint === `${getTableName(table)}_pkey`) {
    return { path: ["id"], message: "taken: a row with this id exists" };
  }
  const unique = getTableConfig(table).uniqueConstraints.find(
    ({ name }) => name === constraint,
  )?.columns;
  // A unique column says so itself, several columns in a constraint of the table.
  const single = fieldsOf(table).filter(([, column]) => column.uniqueName === constraint);
  const keys = unique?.map(({ name }) => keyOf(table, name)) ?? single.map(([key]) => key);
  if (keys.length === 0) return undefined;
  const said = keys.length === 1 ? "taken" : `taken together with ${keys.slice(1).join(", ")}`;
  return { path: keys.slice(0, 1), message: `${said}: must be unique` };
}

function danglingReference(
  table: PgTable,
  { constraint, message }: DatabaseError,
): Explanation | undefined {
  const broken = getTableConfig(table).foreignKeys.find((key) => key.getName() === constraint);
  if (!broken) return undefined;
  const { columns, foreignTable } = broken.reference();
  const keys = columns.map(({ name }) => keyOf(table, name));
  if (message.startsWith("update or delete")) {
    return {
      path: ["id"],
      message: `still referred to by ${getTableName(table)}: ${keys.join(", ")}`,
    };
  }
  return message.startsWith("insert or update")
    ? { path: keys, message: `no row of ${getTableName(foreignTable)} has this id` }
    : { path: keys, message }; // a server that speaks another language
}

/** The error that tenants meet first: says what may be wrong, for the database does not. */
function hiddenRow(tableName = ""): Explanation | undefined {
  const table = tables.get(tableName);
  if (!table) return undefined;
  const references = getTableConfig(table).foreignKeys.flatMap((foreignKey) =>
    foreignKey.reference().columns.map(({ name }) => keyOf(table, name)),
  );
  const own = "organizationId" in getTableColumns(table) ? ["organizationId"] : [];
  const causes = [
    ...own.map((key) => `${key} is not the caller's organization, or the caller has none`),
    ...(references.length > 0
      ? [
          `${references.join(", ")}: the row referred to belongs to another organization or was not there before this statement`,
        ]
      : []),
  ];
  return {
    path: [],
    message: `row-level security refused a row of ${tableName}. Either ${causes.join("; or ")}`,
  };
}
