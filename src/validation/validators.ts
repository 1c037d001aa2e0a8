/**
 * Validators of every table, made from the same column kinds and table rules that make the CHECKs: what
 * they accept PostgreSQL accepts, and for rows in canonical form the other way round too.
 *
 * Uuids may be in any spelling that PostgreSQL takes, and come out as 8-4-4-4-12 lower-case hex digits.
 * Canonical: days as `YYYY-MM-DD`, dollars as plain decimals, Dates of
 * the years 1 to 9999, well-formed text without NUL, vectors within float4.
 */
import { type InferInsertModel, type InferSelectModel, getTableColumns } from "drizzle-orm";
import { type AnyPgColumn, type PgTable, getTableConfig } from "drizzle-orm/pg-core";
import { createInsertSchema, createSelectSchema, createUpdateSchema } from "drizzle-zod";
import * as z from "zod";
import { type JsonValue, brokenText, isStorable, jsonFault, kindOf } from "../schema/json.ts";
import { canonicalUuid } from "../schema/uuid.ts";
import { choiceOf, jsonIssue, shapeOf } from "../schema/shapes.ts";
import {
  type ColumnRule,
  INT4_MAX,
  type RowRule,
  columnRule,
  rowRule,
  rowRuleInWords,
  ruleInWords,
} from "../schema/rules.ts";
import { lazy } from "./lazy.ts";

// ── Types: a validator's output is the table's row, as Drizzle infers it ──

/**
 * A row as callers have it: a JSON column takes any object. Those of other packages are declared without
 * an index signature, so the compiler takes none for a `JsonValue`; that it is JSON the validator sees to.
 */
export type Given<Data> = { [Key in keyof Data]: GivenCell<Data[Key]> };
type GivenCell<T> = [JsonValue] extends [T]
  ? T | object
  : T extends Date | readonly (string | number)[]
    ? T
    : T extends readonly unknown[]
      ? readonly object[]
      : T extends object
        ? object
        : T;

type Shape<Data, Input> = {
  [Key in keyof Data & keyof Input]-?: undefined extends Data[Key]
    ? z.ZodOptional<z.ZodType<Exclude<Data[Key], undefined>, Exclude<Input[Key], undefined>>>
    : z.ZodType<Data[Key], Input[Key]>;
};
type Strict<Data, Input = Data> = z.ZodObject<Shape<Data, Input>, z.core.$strict>;
type Change<Table extends PgTable> = Partial<
  Omit<InferInsertModel<Table>, "id" | "organizationId">
>;

/** The three validators of a table. */
export interface Validators<Table extends PgTable> {
  /** A row as it comes from the database. */
  readonly select: Strict<InferSelectModel<Table>>;
  /** A new row. What the database fills in may be left out; unknown keys are refused. */
  readonly insert: Strict<InferInsertModel<Table>, Given<InferInsertModel<Table>>>;
  /** A change of some columns; neither `id` nor the organization. */
  readonly update: Strict<Change<Table>, Given<Change<Table>>>;
}

// ── One column ──

/**
 * A refusal: what was expected, and the value cut short. What is expected may depend on the value: of a
 * near miss it names the rule that is broken.
 */
const expected = (what: string | ((input: unknown) => string)) => ({
  error: ({
    code,
    expected: type,
    input,
  }: {
    code?: string;
    expected?: string;
    input?: unknown;
  }) => {
    const words = typeof what === "string" ? what : what(input);
    if (input === undefined) return `missing, expected ${words}`;
    return `expected ${words}, got ${code === "invalid_type" ? typed(input, type) : shown(input)}`;
  },
});

/** A value of the wrong type looks right without its type: `"90"` where a number is wanted. */
function typed(input: unknown, type: string | undefined): string {
  if (typeof input === "string") return `the text ${shown(input)}`;
  const isNumber = typeof input === "number" && type !== "number" && type !== "int";
  return isNumber ? `the number ${shown(input)}` : shown(input);
}

/** Characters of a text that a refusal repeats. */
const SHOWN = 40;

function shown(value: unknown): string {
  if (value instanceof Date) {
    return Number.isNaN(value.getTime()) ? "an invalid Date" : `the Date ${value.toISOString()}`;
  }
  switch (typeof value) {
    case "string":
      return shownText(value);
    case "number":
    case "boolean":
      return String(value);
    default:
      return kindOf(value);
  }
}

function shownText(text: string): string {
  const said =
    text.length > SHOWN
      ? `${JSON.stringify(`${text.slice(0, SHOWN)}…`)} of ${Array.from(text).length} characters`
      : JSON.stringify(text);
  return isStorable(text) ? said : `${said} with ${brokenText(text)}`;
}

/** Where a text must be more than storable, `type` says so when there is none at all. */
const storableText = (type = expected("text without NUL or broken Unicode")) =>
  z.string(type).refine(isStorable, expected("text without NUL or broken Unicode"));

/** The validator of a column's value, but for NULL and being left out. */
function cell(column: AnyPgColumn): z.ZodType {
  const rule = columnRule(column);
  return rule ? ruled(column, rule) : plain(column);
}

/** As {@link cell}, of what is stored: others than Drizzle may write a JSON null into a NOT NULL column. */
function storedCell(column: AnyPgColumn): z.ZodType {
  const rule = columnRule(column);
  return rule?.kind === "json" ? shapeOf(rule.shape, rule.form) : cell(column);
}

function ruled(column: AnyPgColumn, rule: ColumnRule): z.ZodType {
  const message = expected(ruleInWords(rule));
  switch (rule.kind) {
    case "range":
      return inRange(column, rule, message);
    case "oneOf":
      return z.enum(rule.values, expected(choice(rule.values, ruleInWords(rule))));
    case "length":
      return textOf(rule.min, rule.max);
    case "elements":
      return z.array(rule.max === undefined ? storableText() : textOf(rule.min, rule.max), message);
    case "instant":
      return z
        .date(message)
        .min(new Date("0001-01-01T00:00:00.000Z"), message)
        .max(new Date("9999-12-31T23:59:59.999Z"), message);
    case "day":
      return z.iso.date(message).refine((day) => !day.startsWith("0000"), message);
    case "json": {
      const document = jsonOf(shapeOf(rule.shape, rule.form));
      // NULL is sent for a JSON null.
      return column.notNull ? document.refine((value) => value !== null, message) : document;
    }
  }
}

function textOf(min: number, max: number): z.ZodType {
  const message = expected(ruleInWords({ kind: "length", min, max }));
  return storableText(message)
    .refine((text) => hasCharacters(text, min, max), message)
    .meta({ minLength: min, maxLength: max });
}

/** PostgreSQL counts characters, JavaScript's length counts halves of some: twice as many at most. */
function hasCharacters(text: string, min: number, max: number): boolean {
  if (text.length >= 2 * min && text.length <= max) return true;
  const characters = Array.from(text).length;
  return characters >= min && characters <= max;
}

/** Names the value of a closed set that was meant. */
const choice = (values: readonly string[], words: string) => (input: unknown) => {
  const meant = values.find(
    (value) => typeof input === "string" && folded(value) === folded(input),
  );
  return meant === undefined ? words : `${words} (${JSON.stringify(meant)}?)`;
};
const folded = (text: string) => text.toLowerCase().replaceAll(/[^a-z0-9]/g, "");

/** A shape, and JSON at all: a shape alone takes a Date for an object and overlooks the key `__proto__`. */
function jsonOf(shape: z.ZodType): z.ZodType {
  if (shape instanceof z.ZodCustom) return shape;
  const { $schema: _, ...described } = z.toJSONSchema(shape, { unrepresentable: "any" });
  return z
    .preprocess((value, context) => {
      const fault = jsonFault(value);
      // What the shape refuses too it says better.
      if (fault && shape.safeParse(value).success) context.addIssue(jsonIssue(fault));
      return value;
    }, shape)
    .meta(described);
}

function inRange(
  column: AnyPgColumn,
  { min, max = INT4_MAX }: ColumnRule & { kind: "range" },
  message: ReturnType<typeof expected>,
): z.ZodType {
  switch (column.columnType) {
    case "PgInteger":
      return z.int(message).min(min, message).max(max, message);
    case "PgNumericNumber":
      return z.number(message).min(min, message).max(max, message);
    default:
      return dollars(BigInt(max), message);
  }
}

/** Of a number, or of text that is no plain decimal, the form is wrong and not the amount. */
function dollars(max: bigint, message: ReturnType<typeof expected>): z.ZodType {
  const form = expected('US dollars as decimal text such as "0.10"');
  return z
    .string(form)
    .refine((text) => isDecimalUpTo(text, max), {
      error: (issue) =>
        (/^-?(0|[1-9]\d*)(\.\d+)?$/.test(String(issue.input)) ? message : form).error(issue),
    })
    .meta({ pattern: DECIMAL.source });
}

/** An exact decimal with no more fraction digits than numeric keeps. */
const DECIMAL = /^(0|[1-9]\d{0,15})(\.\d{1,16383})?$/;

/** Compared digit by digit, never through a float. */
function isDecimalUpTo(text: string, max: bigint): boolean {
  if (!DECIMAL.test(text)) return false;
  const [whole = "", fraction = ""] = text.split(".");
  return BigInt(whole) < max || (BigInt(whole) === max && /^0*$/.test(fraction));
}

function plain(column: AnyPgColumn): z.ZodType {
  switch (column.columnType) {
    case "PgUUID":
      return uuid();
    case "PgText":
      return storableText();
    case "PgInteger":
      return z.int32(expected("a whole number of 32 bits"));
    case "PgBoolean":
      return z.boolean(expected("true or false"));
    case "PgVector":
      return vectorOf(1536);
    default:
      throw new Error(`${column.name}: no validator for a column of type ${column.columnType}`);
  }
}

/** In any spelling that PostgreSQL takes; comes out as it gives it back. */
function uuid(): z.ZodType {
  const message = expected("a uuid of 32 hex digits (uuidFor makes one of any id)");
  return z
    .string(message)
    .overwrite((text) => canonicalUuid(text) ?? text)
    .check(z.guid(message));
}

/** What comes out is rounded to float4, as the database stores it. */
function vectorOf(dimensions: number): z.ZodType {
  const message = expected(`${dimensions} finite numbers within float4`);
  const element = expected("a finite number within float4");
  return z
    .array(z.number(element), message)
    .length(dimensions, message)
    .superRefine((values, context) => {
      const place = values.findIndex((value) => !Number.isFinite(Math.fround(value)));
      if (place >= 0) {
        context.addIssue({
          code: "custom",
          path: [place],
          message: element.error({ input: values[place] }),
        });
      }
    })
    .overwrite((values) => values.map(Math.fround));
}

// ── Rules between columns ──

type Row = Record<string, unknown>;

/** What a row breaks: the column to blame, by its name in TypeScript, and why. */
type RowCheck = (row: Row) => { key: string; message: string } | undefined;

/** A table's rules between columns; of a change only those apply whose columns are all in it. */
function rowChecks(table: PgTable): { keys: string[]; check: RowCheck }[] {
  const columns = Object.entries<AnyPgColumn>(getTableColumns(table));
  const keyOf = (name: string) => columns.find(([, column]) => column.name === name)?.[0] ?? name;
  const ordered = getTableConfig(table).checks.flatMap(({ name }) => {
    const rule = rowRule(name);
    return rule ? orderCheck(rule, rule.columns.map(keyOf)) : [];
  });
  const shaped = columns.flatMap(([key, column]) => {
    const rule = columnRule(column);
    return rule?.kind === "json" && rule.by
      ? shapeCheck(key, keyOf(rule.by.column), choiceOf(rule.by.choice))
      : [];
  });
  return [...ordered, ...shaped];
}

function orderCheck(rule: RowRule, keys: string[]): { keys: string[]; check: RowCheck } {
  const [key = ""] = keys;
  const message = rowRuleInWords(rule, keys);
  return { keys, check: (row) => (keeps(rule.kind, keys, row) ? undefined : { key, message }) };
}

function shapeCheck(key: string, by: string, shapes: Readonly<Record<string, z.ZodType>>) {
  const check: RowCheck = (row) => {
    const type = String(row[by]);
    const shape = Object.hasOwn(shapes, type) ? shapes[type] : undefined;
    const result = shape?.safeParse(row[key]);
    return result?.success === false
      ? {
          key,
          message: `not a value for ${by} ${type}: ${z.prettifyError(result.error)}`,
        }
      : undefined;
  };
  return { keys: [key, by], check };
}

function keeps(kind: RowRule["kind"], keys: string[], row: Row): boolean {
  if (kind === "some") return keys.some((key) => row[key] !== null && row[key] !== undefined);
  const [a, b] = keys.map((key) => comparable(row[key]));
  if (a === undefined || b === undefined) return true;
  if (kind === "different") return a !== b;
  return kind === "after" ? a > b : a >= b;
}

/** NULL and left out: the rule is silent. Days compare as text, uuids as validators leave them. */
function comparable(value: unknown): number | string | undefined {
  if (value instanceof Date) return value.getTime();
  return typeof value === "number" || typeof value === "string" ? value : undefined;
}

function withRowChecks<Schema extends z.ZodObject>(
  schema: Schema,
  table: PgTable,
  change = false,
): Schema {
  const checks = rowChecks(table);
  if (checks.length === 0) return schema;
  return schema.superRefine((row, context) => {
    for (const { keys, check } of checks) {
      if (change && keys.some((key) => row[key] === undefined)) continue;
      const broken = check(row);
      if (broken) context.addIssue({ code: "custom", path: [broken.key], message: broken.message });
    }
  });
}

// ── Tables ──

/**
 * The validators of a table, from its columns' kinds and its rules between columns. Each is built when
 * first something of it is read.
 */
export function validators<Table extends PgTable>(table: Table): Validators<Table> {
  const made: unknown = {
    select: lazy(() => z.strictObject(createSelectSchema(...generic(table, storedCell)).shape)),
    insert: lazy(() => withRowChecks(z.strictObject(insertShape(table, cell)), table)),
    update: lazy(() => withRowChecks(z.strictObject(updateShape(table)), table, true)),
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the shape is the table's, by its columns
  return made as Validators<Table>;
}

function updateShape(table: PgTable): z.ZodRawShape {
  const shape: z.ZodRawShape = createUpdateSchema(...generic(table, cell)).shape;
  const { id: _, organizationId: __, ...changeable } = shape;
  return changeable;
}

const insertShape = (table: PgTable, cellOf: typeof cell): z.ZodRawShape =>
  createInsertSchema(...generic(table, cellOf)).shape;

/**
 * What drizzle-zod is given: it knows which columns may be NULL or left out, and is told what a value
 * must be.
 */
function generic(table: PgTable, cellOf: typeof cell) {
  const cells = Object.entries<AnyPgColumn>(getTableColumns(table)).map(([key, column]) => {
    const value = cellOf(column);
    return [key, () => value];
  });
  // oxlint-disable-next-line typescript/no-generated-empty-object-type -- what drizzle-zod takes for any table
  const refinements: NonNullable<unknown> = Object.fromEntries(cells);
  return [table, refinements] as const;
}

/** A row as JSON carries it: instants are texts. */
type Wire<Data> = {
  [Key in keyof Data]: Data[Key] extends infer T ? (T extends Date ? string : T) : never;
};

/**
 * The insert validator for a JSON body: instants are ISO 8601 texts with a zone, and come out as Dates.
 * All else is as in `insert`.
 */
export function jsonInsertSchema<Table extends PgTable>(
  table: Table,
): z.ZodType<InferInsertModel<Table>, Wire<InferInsertModel<Table>>> {
  const made: unknown = withRowChecks(z.strictObject(insertShape(table, wireCell)), table);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as above, with texts for Dates
  return made as z.ZodType<InferInsertModel<Table>, Wire<InferInsertModel<Table>>>;
}

function wireCell(column: AnyPgColumn): z.ZodType {
  const value = cell(column);
  if (columnRule(column)?.kind !== "instant") return value;
  return z.codec(
    z.iso.datetime({ offset: true, ...expected("an instant, 2026-01-31T12:00:00Z") }),
    value,
    {
      decode: (text) => new Date(text),
      encode: (instant) => (instant instanceof Date ? instant.toISOString() : String(instant)),
    },
  );
}

/** JSON Schema (draft 2020-12) of a new row in a JSON body, for validators in other languages. */
export const insertJsonSchema = <Table extends PgTable>(table: Table) =>
  z.toJSONSchema(jsonInsertSchema(table), { io: "input", unrepresentable: "any" });
