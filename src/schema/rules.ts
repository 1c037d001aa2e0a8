/** The rules of the tables: as data, as the SQL of a CHECK, and in words as refusals and pages say them. */
import { type SQL, getTableColumns, getTableName, sql } from "drizzle-orm";
import type { AnyPgColumn, PgColumnBuilderBase, PgTable } from "drizzle-orm/pg-core";
import type { JsonForm } from "./json.ts";
import type { ChoiceName, ShapeName } from "./shapes.ts";

/** The largest INTEGER. */
export const INT4_MAX = 2_147_483_647;

/**
 * What a column takes beyond its SQL type. Written once, with the column's kind: the CHECK of the
 * migration and the validators of `zod.ts` are made from it.
 *
 * `range` is inclusive at both ends and always has an upper bound where the type has none, since
 * NaN and Infinity pass `>= 0`; `unit` names what is counted. Of a JSON document the CHECK guards the
 * outer `form`, the validator the whole `shape`.
 */
export type ColumnRule =
  | {
      readonly kind: "range";
      readonly unit: string;
      readonly min: number;
      readonly max?: number;
      /** Takes no fraction. */
      readonly whole?: true;
    }
  | { readonly kind: "oneOf"; readonly values: readonly string[] }
  | { readonly kind: "length"; readonly min: number; readonly max: number }
  | { readonly kind: "elements"; readonly min: number; readonly max?: number }
  | { readonly kind: "instant" }
  | { readonly kind: "day" }
  | {
      readonly kind: "json";
      /** Of an array the shape of its elements. */
      readonly shape: ShapeName;
      readonly form?: JsonForm;
      /** The text of another column decides the shape further; validators alone know. */
      readonly by?: { readonly column: string; readonly choice: ChoiceName };
    };

const rules = new WeakMap<object, ColumnRule>();

/** Gives a column's builder its rule; a table hands it on to the column. */
export function ruled<Builder extends PgColumnBuilderBase>(
  builder: Builder,
  rule: ColumnRule,
): Builder {
  rules.set(builder, rule);
  return builder;
}

/** Gives a table's column the rule of the builder that it was made from. */
export function passRule(builder: object | undefined, column: AnyPgColumn): void {
  const rule = builder && rules.get(builder);
  if (rule) rules.set(column, rule);
}

/** The rule of a table's column, if its kind has one. */
export function columnRule(column: AnyPgColumn): ColumnRule | undefined {
  return rules.get(column) ?? (column.enumValues && { kind: "oneOf", values: column.enumValues });
}

const quoted = (value: string) => `'${value.replaceAll("'", "''")}'`;

/** Only text and columns: a value would become `$1` in the migration. */
export function ruleSql(rule: ColumnRule, column: AnyPgColumn): SQL | undefined {
  switch (rule.kind) {
    case "range": {
      const { min, max } = rule;
      return max === undefined
        ? sql`${column} >= ${sql.raw(String(min))}`
        : sql`${column} BETWEEN ${sql.raw(String(min))} AND ${sql.raw(String(max))}`;
    }
    case "oneOf":
      return sql`${column} IN (${sql.raw(rule.values.map(quoted).join(", "))})`;
    case "length":
      return sql`char_length(${column}) BETWEEN ${sql.raw(String(rule.min))} AND ${sql.raw(String(rule.max))}`;
    case "elements": {
      const present = sql`array_position(${column}, NULL) IS NULL`;
      const nonEmpty = rule.min > 0 ? sql`${present} AND '' <> ALL (${column})` : present;
      // The cast cuts longer elements: the array stays equal only when none was.
      return rule.max === undefined
        ? nonEmpty
        : sql`${nonEmpty} AND ${column}::varchar(${sql.raw(String(rule.max))})[]::text[] = ${column}`;
    }
    case "instant":
    case "day":
      return sql`isfinite(${column})`;
    case "json":
      switch (rule.form) {
        case "object":
          return sql`jsonb_typeof(${column}) = 'object'`;
        case "array":
          return sql`jsonb_typeof(${column}) = 'array'`;
        case "non-empty array":
          return sql`jsonb_typeof(${column}) = 'array' AND ${column} <> '[]'`;
        case undefined:
          return undefined;
      }
  }
}

// ── Rules between columns, known by the name of their CHECK ──

/** A rule that a row keeps when all the columns it names are given. Columns by their SQL names. */
export interface RowRule {
  readonly kind: "not before" | "after" | "different" | "some";
  readonly columns: readonly string[];
}

const rowRules = new Map<string, RowRule>();

/** Keeps the rule behind a CHECK between columns. */
export function keepRowRule(constraint: string, rule: RowRule): void {
  rowRules.set(constraint, rule);
}

/** The rule behind a CHECK between columns, by the constraint's name. */
export const rowRule = (constraint: string): RowRule | undefined => rowRules.get(constraint);

// ── Which rule a CHECK guards ──

/** The name of the CHECK of a column, the one that PostgreSQL itself would give. */
export const checkName = (table: PgTable, column: AnyPgColumn): string =>
  `${getTableName(table)}_${column.name}_check`;

/** The rule of one column, or one between columns. */
export type CheckedRule =
  | { readonly of: "column"; readonly column: AnyPgColumn; readonly rule: ColumnRule }
  | { readonly of: "row"; readonly rule: RowRule };

/** The rule behind a CHECK of a table, by the constraint's name. */
export function ruleOf(table: PgTable, constraint: string): CheckedRule | undefined {
  const between = rowRule(constraint);
  if (between) return { of: "row", rule: between };
  const column = Object.values<AnyPgColumn>(getTableColumns(table)).find(
    (candidate) => checkName(table, candidate) === constraint,
  );
  const rule = column && columnRule(column);
  return rule && { of: "column", column, rule };
}

// ── In words ──

/** The rule in words, as it stands in a refusal: `percent, 0 to 100`. */
export function ruleInWords(rule: ColumnRule): string {
  switch (rule.kind) {
    case "range":
      return inWords(rule);
    case "oneOf":
      return `one of ${rule.values.join(", ")}`;
    case "length":
      return `text of ${rule.min} to ${rule.max} characters`;
    case "elements":
      return rule.max === undefined
        ? "a list of texts"
        : `a list of texts of ${rule.min} to ${rule.max} characters`;
    case "instant":
      return "a Date of the years 1 to 9999";
    case "day":
      return "a day of the calendar, YYYY-MM-DD";
    case "json":
      return rule.form ? `a JSON ${rule.form}` : "JSON";
  }
}

function inWords({ unit, min, max = INT4_MAX, whole }: ColumnRule & { kind: "range" }): string {
  const words = unit.startsWith("US") ? unit : unit.charAt(0).toLowerCase() + unit.slice(1);
  if (whole)
    return `${words.endsWith("s") ? `whole ${words}` : "a whole number"}, ${min} to ${max}`;
  return words.includes(" to ") ? words : `${words}, ${min} to ${max}`;
}

/** A rule between columns in words; the first column is the one to blame. */
export function rowRuleInWords({ kind }: RowRule, [first = "", ...others]: string[]): string {
  switch (kind) {
    case "not before":
      return `${first} must not be before or below ${others.join(", ")}`;
    case "after":
      return `${first} must be after ${others.join(", ")}`;
    case "different":
      return `${first} and ${others.join(", ")} must differ`;
    case "some":
      return `one of ${[first, ...others].join(", ")} must be given`;
  }
}
