import {
  type BuildColumns,
  type BuildExtraConfigColumns,
  type SQL,
  getTableColumns,
  getTableName,
  sql,
} from "drizzle-orm";
import {
  type AnyPgColumn,
  type CheckBuilder,
  type PgColumnBuilderBase,
  type PgTable,
  type PgTableExtraConfigValue,
  type PgTableWithColumns,
  check,
  customType,
  date,
  integer,
  numeric,
  pgTable,
  text,
  uuid,
} from "drizzle-orm/pg-core";
import * as z from "zod";
import { anyJson } from "./json.ts";

/**
 * What a column takes beyond its SQL type. Written once, with the column's kind: the CHECK of the
 * migration and the validators of `zod.ts` are made from it.
 *
 * `range` is inclusive at both ends and always has an upper bound where the type has none, since
 * NaN and Infinity pass `>= 0`; `unit` names what is counted. Of a JSON document the CHECK guards the
 * outer `form`, the validator the whole `shape`.
 */
export type ColumnRule =
  | { readonly kind: "range"; readonly unit: string; readonly min: number; readonly max?: number }
  | { readonly kind: "oneOf"; readonly values: readonly string[] }
  | { readonly kind: "length"; readonly min: number; readonly max: number }
  | { readonly kind: "elements"; readonly min: number; readonly max?: number }
  | { readonly kind: "instant" }
  | { readonly kind: "day" }
  | {
      readonly kind: "json";
      readonly shape: z.ZodType;
      readonly form?: JsonForm;
      /** The text of another column decides the shape further; validators alone know. */
      readonly by?: { readonly column: string; readonly shapes: JsonShapes };
    };

type JsonShapes = Readonly<Record<string, z.ZodType>>;

type JsonForm = "object" | "array" | "non-empty array";

const rules = new WeakMap<object, ColumnRule>();

function ruled<Builder extends PgColumnBuilderBase>(builder: Builder, rule: ColumnRule): Builder {
  rules.set(builder, rule);
  return builder;
}

/** The rule of a table's column, if its kind has one. */
export function columnRule(column: AnyPgColumn): ColumnRule | undefined {
  return rules.get(column) ?? (column.enumValues && { kind: "oneOf", values: column.enumValues });
}

const quoted = (value: string) => `'${value.replaceAll("'", "''")}'`;

/** Only text and columns: a value would become `$1` in the migration. */
function ruleSql(rule: ColumnRule, column: AnyPgColumn): SQL | undefined {
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

// ── Column kinds: the TypeScript type, the unit and the CHECK in one word ──

/** The largest INTEGER. */
export const INT4_MAX = 2_147_483_647;

const range = (unit: string, min: number, max?: number): ColumnRule => ({
  kind: "range",
  unit,
  min,
  ...(max === undefined ? {} : { max }),
});

const decimal = (name: string, rule: ColumnRule) => ruled(numeric(name, { mode: "number" }), rule);

const whole = (name: string, unit: string) => ruled(integer(name), range(unit, 0));

/** A score or rate in percent, 0 to 100. */
export const percent = (name: string) => decimal(name, range("Percent, 0 to 100", 0, 100));

/** A difference of two percent scores: percentage points, -100 to 100. */
export const percentagePoints = (name: string) =>
  decimal(name, range("Percentage points, -100 to 100", -100, 100));

/** A share of a whole, 0 to 1. */
export const ratio = (name: string) => decimal(name, range("Ratio, 0 to 1", 0, 1));

/** An increase relative to the value before: 0.5 is half as much again, 1 is twice as much. */
export const relativeIncrease = (name: string) =>
  decimal(name, range("Relative increase, 0 to 1000", 0, 1000));

/** The randomness of a model's answers, 0 to 2. */
export const temperature = (name: string) =>
  decimal(name, range("Sampling temperature, 0 to 2", 0, 2));

/**
 * US dollars, an exact decimal string, 0 to 1e12; never a float. But Drizzle carries the rows of a nested
 * `with` as JSON: there more than 15 digits are rounded.
 */
export const usd = (name: string) =>
  ruled(numeric(name), range("US dollars", 0, 1_000_000_000_000));

/** Whole milliseconds, not negative. */
export const milliseconds = (name: string) => whole(name, "Milliseconds");

/** Milliseconds with a fraction: averages and percentiles. */
export const averageMilliseconds = (name: string) =>
  decimal(name, range("Milliseconds", 0, INT4_MAX));

/** Whole seconds, not negative. */
export const seconds = (name: string) => whole(name, "Seconds");

/** Whole minutes, not negative. */
export const minutes = (name: string) => whole(name, "Minutes");

/** Tokens of a language model, not negative. */
export const tokens = (name: string) => whole(name, "Tokens");

/** A place in a list; the first is 1. */
export const position = (columnName: string) =>
  ruled(integer(columnName), range("Position, from 1", 1));

/** How many, not negative. */
export const count = (name: string) => whole(name, "Count");

/** Text that an index holds, 1 to 255 characters: an index row takes no more than 8 kB. */
export const name = (columnName: string) =>
  ruled(text(columnName), { kind: "length", min: 1, max: 255 });

/** A list of texts, none of them NULL. */
export const textList = (columnName: string) =>
  ruled(text(columnName).array(), { kind: "elements", min: 0 });

/** A list of texts that an index holds, each 1 to 255 characters. */
export const nameList = (columnName: string) =>
  ruled(text(columnName).array(), { kind: "elements", min: 1, max: 255 });

/**
 * An instant, a `Date` in TypeScript, to the millisecond; never infinity. Drizzle's own column gives the
 * server's text to `new Date`, which reads years before 100 as of this century and not at all the
 * offsets with seconds that old instants have in many time zones.
 */
export const timestamptz = (columnName: string) =>
  ruled(
    customType<{ data: Date; driverData: string }>({
      dataType: () => "timestamp with time zone",
      toDriver: (value) => value.toISOString(),
      fromDriver: parseInstant,
    })(columnName),
    { kind: "instant" },
  );

const INSTANT =
  /^(\d{4,})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(\.\d+)?([+-]\d\d)(?::(\d\d))?(?::(\d\d))?( BC)?$/;

/** `2026-01-31 12:00:00.5+01`, or the same in a JSON document with a T. */
function parseInstant(written: string): Date {
  const parts = INSTANT.exec(written);
  if (!parts) {
    throw new TypeError(`expected an instant as DateStyle ISO writes it, got ${written}`);
  }
  const [year = 0, month = 0, dayOfMonth = 0, hour = 0, minute = 0, second = 0, fraction = 0] =
    parts.slice(1, 8).map((part) => Number(part ?? 0));
  const [offsetHour = 0, offsetMinute = 0, offsetSecond = 0] = parts
    .slice(8, 11)
    .map((part) => Math.abs(Number(part ?? 0)));
  const offset = (offsetHour * 60 + offsetMinute) * 60 + offsetSecond;
  const east = parts[8]?.startsWith("-") ? -1 : 1;
  const instant = new Date(0);
  instant.setUTCFullYear(parts[11] ? 1 - year : year, month - 1, dayOfMonth);
  instant.setUTCHours(hour, minute, second - east * offset, Math.floor(fraction * 1000 + 1e-6));
  return instant;
}

/** A calendar day, `YYYY-MM-DD`; a `Date` would shift it in some time zones. Never infinity. */
export const day = (columnName: string) =>
  ruled(date(columnName, { mode: "string" }), { kind: "day" });

export const createdAt = () =>
  timestamptz("created_at")
    .notNull()
    .default(sql`now()`);

/** Kept by a trigger of the database, whoever writes. */
export const updatedAt = () =>
  timestamptz("updated_at")
    .notNull()
    .default(sql`now()`);

/**
 * A JSON document of a shape, stored as jsonb. Drizzle's own jsonb column parses twice, which turns the
 * JSON string "123" into a number.
 */
const document = <T>(columnName: string, shape: z.ZodType<T>, form?: JsonForm) =>
  ruled(
    customType<{ data: T; driverData: string }>({
      dataType: () => "jsonb",
      toDriver: (value) => JSON.stringify(value),
    })(columnName),
    { kind: "json", shape, ...(form ? { form } : {}) },
  );

/** Any JSON. */
export const json = (columnName: string) => document(columnName, anyJson);

/** Any JSON, whose shape the text of another column decides where that text is one of `shapes`. */
export const jsonBy = (columnName: string, column: string, shapes: JsonShapes) =>
  ruled(json(columnName), { kind: "json", shape: anyJson, by: { column, shapes } });

/** A JSON object. */
export const jsonObject = <T>(columnName: string, shape: z.ZodType<T>) =>
  document(columnName, shape, "object");

/** A JSON array. */
export const jsonArray = <T>(columnName: string, element: z.ZodType<T>) =>
  document(columnName, z.array(element), "array");

/** A JSON array with at least one element. */
export const jsonNonEmptyArray = <T>(columnName: string, element: z.ZodType<T>) =>
  document(columnName, z.array(element).min(1), "non-empty array");

/** The key of every table. */
const id = () =>
  uuid("id")
    .primaryKey()
    .default(sql`gen_random_uuid()`);

/** A key whose order is the order of time: the newest rows lie together in the index. */
export const timeOrderedId = () =>
  uuid("id")
    .primaryKey()
    .default(sql`meta_agent.uuidv7()`);

/** The caller's organization unless given. NULL is a row of the platform, invisible to tenants. */
const organizationId = () =>
  uuid("organization_id").default(sql`meta_agent.current_organization_id()`);

// ── Tables ──

type Columns = Record<string, PgColumnBuilderBase>;
type Extra<Name extends string, C extends Columns> = (
  columns: BuildExtraConfigColumns<Name, C, "pg">,
) => PgTableExtraConfigValue[];

/** A table with these columns, spelled so that their doc comments show where it is used. */
export type OwnedTable<Name extends string, C extends Columns> = Omit<
  PgTableWithColumns<{
    name: Name;
    schema: undefined;
    columns: BuildColumns<Name, { id: ReturnType<typeof id> } & C, "pg">;
    dialect: "pg";
  }>,
  "enableRLS"
>;

type Tenant<C extends Columns> = C & { organizationId: ReturnType<typeof organizationId> };

/** A table with the key `id`, one CHECK for each column that has a rule, and row-level security on. */
export function ownedTable<Name extends string, C extends Columns>(
  tableName: Name,
  columns: C,
  extra: Extra<Name, { id: ReturnType<typeof id> } & C>,
): OwnedTable<Name, C> {
  const builders = { id: id(), ...columns };
  const table = pgTable(tableName, builders, (t): PgTableExtraConfigValue[] => [
    ...columnChecks(table),
    ...extra(t),
  ]);
  for (const [key, column] of Object.entries<AnyPgColumn>(getTableColumns(table))) {
    const rule = rules.get(builders[key] ?? column);
    if (rule) rules.set(column, rule);
  }
  return table.enableRLS();
}

/** An {@link ownedTable} whose rows belong to an organization, `organization_id`. */
export function tenantTable<Name extends string, C extends Columns>(
  tableName: Name,
  columns: C,
  extra: Extra<Name, { id: ReturnType<typeof id> } & Tenant<C>>,
): OwnedTable<Name, Tenant<C>> {
  return ownedTable(tableName, { ...columns, organizationId: organizationId() }, extra);
}

function columnChecks(table: PgTable): CheckBuilder[] {
  return Object.values<AnyPgColumn>(getTableColumns(table)).flatMap((column) => {
    const rule = columnRule(column);
    const condition = rule && ruleSql(rule, column);
    return condition ? check(`${getTableName(table)}_${column.name}_check`, condition) : [];
  });
}

// ── Rules between columns: the CHECK, and by its name what a validator must know ──

/** A rule that a row keeps when all the columns it names are given. Columns by their SQL names. */
export interface RowRule {
  readonly kind: "not before" | "after" | "different" | "some";
  readonly columns: readonly string[];
}

const rowRules = new Map<string, RowRule>();

/** The rule behind a CHECK between columns, by the constraint's name. */
export const rowRule = (constraint: string): RowRule | undefined => rowRules.get(constraint);

function between(ruleName: string, kind: RowRule["kind"], columns: AnyPgColumn[], condition: SQL) {
  rowRules.set(ruleName, { kind, columns: columns.map((column) => column.name) });
  return check(ruleName, condition);
}

/** `later` is not before `earlier`, or not less. */
export const notBefore = (ruleName: string, later: AnyPgColumn, earlier: AnyPgColumn) =>
  between(ruleName, "not before", [later, earlier], sql`${later} >= ${earlier}`);

/** `later` is after `earlier`. */
export const after = (ruleName: string, later: AnyPgColumn, earlier: AnyPgColumn) =>
  between(ruleName, "after", [later, earlier], sql`${later} > ${earlier}`);

/** The two columns name different rows. */
export const different = (ruleName: string, left: AnyPgColumn, right: AnyPgColumn) =>
  between(ruleName, "different", [left, right], sql`${left} <> ${right}`);

/** At least one of the columns is not NULL. */
export const some = (ruleName: string, ...columns: AnyPgColumn[]) =>
  between(ruleName, "some", columns, sql`num_nonnulls(${sql.join(columns, sql`, `)}) > 0`);
