/** Kinds of columns: the TypeScript type, the unit and the CHECK in one word. */
import { sql } from "drizzle-orm";
import { customType, date, integer, numeric, text, uuid } from "drizzle-orm/pg-core";
import type { JsonValue } from "./json.ts";
import { type ColumnRule, INT4_MAX, ruled } from "./rules.ts";
import type { ChoiceName, ShapeName, Shaped } from "./shapes.ts";

const range = (unit: string, min: number, max: number): ColumnRule => ({
  kind: "range",
  unit,
  min,
  max,
});

const decimal = (name: string, rule: ColumnRule) => ruled(numeric(name, { mode: "number" }), rule);

/** The type bounds it above. */
const whole = (name: string, unit: string, min = 0) =>
  ruled(integer(name), { kind: "range", unit, min, whole: true });

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
export const position = (columnName: string) => whole(columnName, "Position, from 1", 1);

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
 * A JSON document, stored as jsonb, whose inside is described in `shapes.ts`. Drizzle's own jsonb column
 * parses twice, which turns the JSON string "123" into a number.
 */
const document = <T>(columnName: string, rule: Omit<ColumnRule & { kind: "json" }, "kind">) =>
  ruled(
    customType<{ data: T; driverData: string }>({
      dataType: () => "jsonb",
      toDriver: (value) => JSON.stringify(value),
    })(columnName),
    { kind: "json", ...rule },
  );

/** Any JSON. */
export const json = (columnName: string) => document<JsonValue>(columnName, { shape: "anyJson" });

/** Any JSON, whose shape the text of another column decides where that text is one of the choice's. */
export const jsonBy = (columnName: string, column: string, choice: ChoiceName) =>
  document<JsonValue>(columnName, { shape: "anyJson", by: { column, choice } });

/** A JSON object, any unless its shape is named. */
export const jsonObject = <Name extends ShapeName = "anyJsonObject">(
  columnName: string,
  shape?: Name,
) => document<Shaped<Name>>(columnName, { shape: shape ?? "anyJsonObject", form: "object" });

/** A JSON array, by the shape of its elements. */
export const jsonArray = <Name extends ShapeName>(columnName: string, element: Name) =>
  document<Shaped<Name>[]>(columnName, { shape: element, form: "array" });

/** A JSON array with at least one element. */
export const jsonNonEmptyArray = <Name extends ShapeName>(columnName: string, element: Name) =>
  document<Shaped<Name>[]>(columnName, { shape: element, form: "non-empty array" });

/** A key whose order is the order of time: the newest rows lie together in the index. */
export const timeOrderedId = () =>
  uuid("id")
    .primaryKey()
    .default(sql`meta_agent.uuidv7()`);
