import {
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
  check,
  customType,
  date,
  integer,
  numeric,
  pgTable,
  text,
  timestamp,
  uuid,
} from "drizzle-orm/pg-core";

/**
 * What a column takes beyond its SQL type. Written once, with the column's kind: the CHECK of the
 * migration is made from it, and so can a validator be.
 *
 * `range` is inclusive at both ends and always has an upper bound where the type has none, since
 * NaN and Infinity pass `>= 0`; `unit` names what is counted.
 */
export type ColumnRule =
  | { readonly kind: "range"; readonly unit: string; readonly min: number; readonly max?: number }
  | { readonly kind: "oneOf"; readonly values: readonly string[] }
  | { readonly kind: "length"; readonly min: number; readonly max: number }
  | { readonly kind: "elements"; readonly min: number; readonly max?: number }
  | { readonly kind: "finite" }
  | { readonly kind: "nonEmptyArray" };

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
function ruleSql(rule: ColumnRule, column: AnyPgColumn): SQL {
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
    case "finite":
      return sql`isfinite(${column})`;
    case "nonEmptyArray":
      return sql`jsonb_typeof(${column}) = 'array' AND ${column} <> '[]'`;
  }
}

// ── Column kinds: the TypeScript type, the unit and the CHECK in one word ──

const INT4_MAX = 2_147_483_647;

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

/** US dollars, an exact decimal string, 0 to 1e12; never a float. */
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

/** An instant, a `Date` in TypeScript; never infinity. */
export const timestamptz = (columnName: string) =>
  ruled(timestamp(columnName, { withTimezone: true, mode: "date" }), { kind: "finite" });

/** A calendar day, `YYYY-MM-DD`; a `Date` would shift it in some time zones. Never infinity. */
export const day = (columnName: string) =>
  ruled(date(columnName, { mode: "string" }), { kind: "finite" });

export const createdAt = () => timestamptz("created_at").notNull().defaultNow();

/** Kept by a trigger of the database, whoever writes. */
export const updatedAt = () => timestamptz("updated_at").notNull().defaultNow();

export type JsonValue = string | number | boolean | null | JsonValue[] | JsonObject;
export type JsonObject = { [key: string]: JsonValue | undefined };

/**
 * A JSON document of type `T`, stored as jsonb. Drizzle's own jsonb column parses twice, which
 * turns the JSON string "123" into a number.
 */
export const json = <T>(columnName: string) =>
  customType<{ data: T; driverData: string }>({
    dataType: () => "jsonb",
    toDriver: (value) => JSON.stringify(value),
  })(columnName);

/** A JSON array of `T` with at least one element. */
export const jsonList = <T>(columnName: string) =>
  ruled(json<T[]>(columnName), { kind: "nonEmptyArray" });

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

/** A table with the key `id`, one CHECK for each column that has a rule, and row-level security on. */
export function ownedTable<Name extends string, C extends Columns>(
  tableName: Name,
  columns: C,
  extra: Extra<Name, { id: ReturnType<typeof id> } & C>,
) {
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
  extra: Extra<
    Name,
    { id: ReturnType<typeof id> } & C & { organizationId: ReturnType<typeof organizationId> }
  >,
) {
  return ownedTable(tableName, { ...columns, organizationId: organizationId() }, extra);
}

function columnChecks(table: PgTable): CheckBuilder[] {
  return Object.values<AnyPgColumn>(getTableColumns(table)).flatMap((column) => {
    const rule = columnRule(column);
    if (!rule) return [];
    return check(`${getTableName(table)}_${column.name}_check`, ruleSql(rule, column));
  });
}

// ── Rules between columns ──

/** `later` is not before `earlier`. */
export const notBefore = (ruleName: string, later: AnyPgColumn, earlier: AnyPgColumn) =>
  check(ruleName, sql`${later} >= ${earlier}`);

/** `later` is after `earlier`. */
export const after = (ruleName: string, later: AnyPgColumn, earlier: AnyPgColumn) =>
  check(ruleName, sql`${later} > ${earlier}`);

/** The two columns name different rows. */
export const different = (ruleName: string, left: AnyPgColumn, right: AnyPgColumn) =>
  check(ruleName, sql`${left} <> ${right}`);
