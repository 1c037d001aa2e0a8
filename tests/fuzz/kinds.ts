import { isDeepStrictEqual } from "node:util";
import type { AnyPgColumn } from "drizzle-orm/pg-core";
import * as fc from "fast-check";
import type * as z from "zod";
import { columnRule } from "../../src/schema/rules.ts";
import { shapeOf } from "../../src/schema/shapes.ts";
import { valuesOf } from "./shapes.ts";

/** What the fuzz knows of a kind of column. */
export interface Kind {
  /** Values that the column takes. */
  readonly valid: fc.Arbitrary<unknown>;
  /** Values of which it takes some. */
  readonly near: fc.Arbitrary<unknown>;
  /** Boundaries, what lies just beyond, and what only looks like a value. */
  readonly edges: readonly unknown[];
  /** A few valid values, near or equal to each other: for rules between columns. */
  readonly close: readonly unknown[];
  /** Whether both verdicts must be equal; of other values only those that Zod accepts are compared. */
  readonly isCanonical: (value: unknown) => boolean;
}

/** The kind of a column; `ids` are those of the rows that it may refer to. */
export function kindOf(column: AnyPgColumn, ids: readonly string[] = []): Kind {
  const rule = columnRule(column);
  switch (rule?.kind) {
    case "range":
      return inRange(column.columnType, rule.min, rule.max ?? INT4_MAX);
    case "oneOf":
      return choices(rule.values);
    case "length":
      return names(rule.min, rule.max);
    case "elements":
      return lists(rule.min, rule.max ?? 255);
    case "instant":
      return instants;
    case "day":
      return days;
    case "json":
      return documents(shapeOf(rule.shape, rule.form));
    case undefined:
      return plain(column, ids);
  }
}

function plain(column: AnyPgColumn, ids: readonly string[]): Kind {
  switch (column.columnType) {
    case "PgUUID":
      return uuids(ids);
    case "PgText":
      return texts;
    case "PgInteger":
      return wholes(-INT4_MAX - 1, INT4_MAX);
    case "PgBoolean":
      return booleans;
    case "PgVector":
      return vectors;
    default:
      throw new Error(`${column.name}: the fuzz has no values of type ${column.columnType}`);
  }
}

function inRange(columnType: string, min: number, max: number): Kind {
  switch (columnType) {
    case "PgInteger":
      return wholes(min, max);
    case "PgNumericNumber":
      return numbers(min, max);
    default:
      return dollars(max);
  }
}

// ── Numbers ──

const INT4_MAX = 2_147_483_647;
const { MIN_VALUE, EPSILON } = Number;
const NO_NUMBERS = [NaN, Infinity, -Infinity, 1e21, 1e308, 2 ** 53, "7", "", true, 7n, [7]];
const isNumber = (value: unknown) => typeof value === "number";

const wholes = (min: number, max: number): Kind => ({
  valid: fc.integer({ min, max }),
  near: fc.oneof(fc.integer({ min: min - 9, max: min + 9 }), fc.maxSafeInteger(), fc.double()),
  edges: [min, min - 1, max, max + 1, min + 0.5, 1e-7, -0, ...NO_NUMBERS],
  close: [1, 2, 3],
  isCanonical: isNumber,
});

const numbers = (min: number, max: number): Kind => ({
  valid: fc.double({ min, max, noNaN: true }),
  near: fc.oneof(fc.double({ min: min - 1, max: max + 1 }), fc.double()),
  edges: [min, max, max * (1 + EPSILON), min * (1 + EPSILON) - MIN_VALUE, ...SMALL, ...NO_NUMBERS],
  close: [min, (min + max) / 2, max],
  isCanonical: isNumber,
});
const SMALL = [-0, MIN_VALUE, -MIN_VALUE, -1e-7, 0.1 + 0.2];

// Made once: fast-check needs a tenth of a second to make texts of a pattern.
const FRACTION = fc.stringMatching(/^[0-9]{0,30}$/);
const NEARLY_DOLLARS = fc.stringMatching(/^-?[01]?[0-9]{0,13}(\.[0-9]{0,3})?(e[0-9])?$/);

const dollars = (max: number): Kind => ({
  valid: fc
    .tuple(fc.oneof(fc.nat(100), fc.nat(max - 1)), FRACTION)
    .map(([whole, fraction]) => (fraction ? `${whole}.${fraction}` : String(whole))),
  near: NEARLY_DOLLARS,
  edges: [
    ...["0", "0.00", "0.10", `${max}`, `${max}.000`, `${max - 1}.99999999999999999999`],
    ...[`${max}.${"0".repeat(40)}1`, `${max + 1}`, "-1", "-0.01", "-0", "-0.00", "9".repeat(16)],
    ...[`0.${"1".repeat(16_383)}`, `0.${"1".repeat(16_384)}`, "9".repeat(131_073)],
    ...["", " 5", "5 ", "5\n", "+5", ".5", "5.", "00", "007", "1e3", "1E-3", "1e-17000", "0x10"],
    ...["1_000", "1,5", "$5", "5.5.5", "NaN", "Infinity", "-Infinity", "inf", "hello", "٣", "5\0"],
    ...[5, 0.1, -1, NaN, 5n, true, ["5"], {}],
  ],
  close: ["0", "0.00", "1"],
  isCanonical: (value) =>
    typeof value === "string" && /^-?(0|[1-9]\d*)(\.\d+)?$/.test(value) && !/^-[0.]+$/.test(value),
});

const booleans: Kind = {
  valid: fc.boolean(),
  near: fc.constantFrom("t", "FALSE", "no", "on", "of", "2"),
  edges: [true, false, "true", "f", "", 0, 1, "maybe", [true], {}],
  close: [true, false],
  isCanonical: (value) => typeof value === "boolean",
};

// ── Texts ──

const isStorable = (value: unknown) =>
  typeof value === "string" && value.isWellFormed() && !value.includes("\0");

const BROKEN_TEXTS = ["\0", "a\0b", "\ud800", "\udc00x", "x\ud83d", "\ude00\ud83d"];
const NO_TEXTS = [5, NaN, true, 7n, ["x"], {}, new Date(0)];

/** Whatever Unicode has. Made once: fast-check maps a million characters for it. */
const CHARACTER = fc.string({ unit: "binary", minLength: 1, maxLength: 1 });

/** Letters, and whatever Unicode has. */
const characters = (minLength: number, maxLength: number) =>
  fc.oneof(
    fc.string({ minLength, maxLength }),
    fc.string({ unit: CHARACTER, minLength, maxLength }).map((text) => text.replaceAll("\0", "0")),
  );

/** With NUL and halves of surrogate pairs. */
const units = fc
  .array(fc.oneof(fc.nat(0x7f), fc.nat(0xffff)), { maxLength: 6 })
  .map((codes) => String.fromCharCode(...codes));

/** As many characters as a text may have and one more; characters of one to four bytes. */
const atMost = (max: number) =>
  ["x", "é", "😀", " "].flatMap((character) => [character.repeat(max), character.repeat(max + 1)]);

const texts: Kind = {
  valid: characters(0, 20),
  near: units,
  edges: [
    ...["", " ", "\n", "\u200b", "\ufeff", "\u{10ffff}", "\uffff", "\\", "'", "\\0", "null"],
    ...["constructor", "__proto__", "x".repeat(10_000), ...BROKEN_TEXTS, ...NO_TEXTS],
  ],
  close: ["a", "b", "c", "d"],
  isCanonical: isStorable,
};

const names = (min: number, max: number): Kind => ({
  ...texts,
  valid: characters(min, 20),
  near: fc.oneof(units, characters(max - 2, max + 2)),
  edges: [...texts.edges, ...atMost(max), "e\u0301".repeat(128)],
});

function choices(values: readonly string[]): Kind {
  const [first = ""] = values;
  return {
    valid: fc.constantFrom(...values),
    near: fc.mixedCase(fc.constantFrom(...values)),
    edges: [
      ...[...values, first.toUpperCase(), first.slice(1), `${first} `, ` ${first}`, `${first}\n`],
      ...[`${first}\0`, "", "nonsense", "constructor", "__proto__", "null", 0, true, [first], {}],
    ],
    close: values.slice(0, 2),
    isCanonical: isStorable,
  };
}

const lists = (min: number, max: number): Kind => ({
  valid: fc.array(characters(min, 20), { maxLength: 4 }),
  near: fc.array(fc.oneof(units, fc.constant(null), characters(max - 2, max + 2)), {
    maxLength: 3,
  }),
  edges: [
    ...[[], ["a"], ["a", "a"], [""], [" "], ["a", ""], ...atMost(max).map((text) => ["a", text])],
    ...[[null], ["a", null], ["null", "NULL"], [undefined], [["a"]], [["a"], ["b"]], [[]]],
    ...[
      ["{}", ",", '"', "\\", "\\\\", "{a,b}", '"q"', "\n"],
      ...BROKEN_TEXTS.map((text) => [text]),
    ],
    ...[[1], [true], [{}], [NaN], Array(2), "a", "{}", "{a,b}", "", 5, {}, { 0: "a", length: 1 }],
  ],
  close: [["a"], ["b"]],
  isCanonical: (value) =>
    Array.isArray(value) && [...value].every((element) => element === null || isStorable(element)),
});

// ── Keys ──

const NIL = "00000000-0000-0000-0000-000000000000";
const SOME = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
const NEARLY_UUID = fc.oneof(
  fc.stringMatching(/^[0-9a-fA-F]{8}-?([0-9a-f]{4}-){3}[0-9a-fg]{12}$/),
  fc.stringMatching(/^\{?([0-9a-fA-F]{4}-?){7}-?[0-9a-f]{3,5}-?\}?$/),
);

function uuids(ids: readonly string[]): Kind {
  const [one = SOME, two = NIL] = ids;
  const bare = one.replaceAll("-", "");
  return {
    valid: ids.length > 0 ? fc.constantFrom(...ids) : fc.uuid(),
    near: NEARLY_UUID,
    edges: [
      ...[one, one.toUpperCase(), NIL, NIL.replaceAll("0", "f"), NIL.replaceAll("0", "1")],
      ...[`{${one}}`, bare, bare.toUpperCase(), bare.replaceAll(/(.{4})(?=.)/g, "$1-")],
      ...[` ${one}`, `${one} `, `${one}\n`, `${one}\0`, `urn:uuid:${one}`, one.slice(1), `${one}0`],
      ...[one.replace(/^./, "g"), one.replaceAll("-", "_"), "", "hello", 5, true, [one], {}],
    ],
    close: [one, two, one.toUpperCase()],
    isCanonical: (value) => typeof value === "string",
  };
}

// ── Time ──

const FIRST = Date.parse("0001-01-01T00:00:00.000Z");
const LAST = Date.parse("9999-12-31T23:59:59.999Z");
const NOON = Date.parse("2026-01-05T12:00:00.000Z");
const DAY = 86_400_000;

const instants: Kind = {
  valid: fc.date({ min: new Date(FIRST), max: new Date(LAST), noInvalidDate: true }),
  near: fc.date(),
  edges: [
    ...[FIRST, FIRST - 1, LAST, LAST + 1, 0, -1, 8.64e15, -8.64e15, NaN].map((ms) => new Date(ms)),
    ...["2026-01-05T12:00:00.000Z", "2026-01-05", "now", "infinity", "", 0, NOON, true, [], {}],
  ],
  close: [NOON, NOON - 1, NOON + 1].map((ms) => new Date(ms)),
  isCanonical: (value) =>
    value instanceof Date && value.getTime() >= FIRST && value.getTime() <= LAST,
};

const days: Kind = {
  valid: fc
    .integer({ min: FIRST / DAY, max: Math.floor(LAST / DAY) })
    .map((day) => new Date(day * DAY).toISOString().slice(0, 10)),
  near: fc.stringMatching(/^[012]?[0-9]{3}-[01][0-9]-[0-3][0-9]$/),
  edges: [
    ...["0001-01-01", "9999-12-31", "0000-01-01", "0000-12-31", "10000-01-01", "+010000-01-01"],
    ...["2024-02-29", "2023-02-29", "2000-02-29", "1900-02-29", "0004-02-29", "0100-02-29"],
    ...["2026-02-30", "2026-02-31", "2026-04-31", "2026-13-01", "2026-00-10", "2026-01-00"],
    ...["2026-01-32", "2026-1-5", "20260105", "2026/01/05", "01/05/2026", "2026-01-05T00:00:00Z"],
    ...[" 2026-01-05", "2026-01-05 ", "2026-01-05\n", "-0001-01-01", "2026-01-05 BC", "J2451187"],
    ...[
      "infinity",
      "-infinity",
      "today",
      "now",
      "epoch",
      "",
      "hello",
      "２０２６-01-05",
      "1582-10-10",
    ],
    ...[new Date(NOON), new Date(NaN), 20_260_105, 0, true, ["2026-01-05"], {}],
  ],
  close: ["2026-01-04", "2026-01-05", "2026-01-06"],
  isCanonical: (value) => typeof value === "string" && /^\d{4}-\d\d-\d\d$/.test(value),
};

// ── JSON ──

const DEEPEST = 500;

function nested(levels: number): unknown {
  let value: unknown = [];
  for (let level = 1; level < levels; level += 1) value = [value];
  return value;
}

const JSON_FORMS: readonly unknown[] = [
  ...[{}, [], null, 0, 1, -0, 1e308, MIN_VALUE, true, false, "", "123", "x", "[]", "{}", [1]],
  ...[
    [null],
    [[]],
    { a: 1 },
    { "": "" },
    { a: null },
    JSON.parse('{"__proto__":1}'),
    { length: 1 },
  ],
  ...[{ constructor: 1, toString: 1 }, Object.create(null), "x".repeat(10_000), "\u{10ffff}\uffff"],
  ...[nested(DEEPEST), nested(DEEPEST + 1), { a: nested(DEEPEST - 1) }, { a: nested(DEEPEST) }],
];
const NO_JSON: readonly unknown[] = [
  ...[
    { a: undefined },
    [undefined],
    Array(1),
    NaN,
    Infinity,
    { a: NaN },
    [-Infinity],
    7n,
    { a: 7n },
  ],
  ...[new Date(0), new Date(NaN), { a: new Date(0) }, new Map(), new Set([1]), /x/, new Error("x")],
  ...[new Uint8Array(2), Object(1), Object("x"), Symbol("x"), () => 1, { a: () => 1 }],
  ...[{ a: Symbol("x") }, { toJSON: () => "x" }, { a: { toJSON: () => "\0" } }],
];
const BROKEN_JSON: readonly unknown[] = ["a\0b", "\ud800"].flatMap((text) => [
  ...[text, [text], { a: text }, { [text]: 1 }, { a: [{ [text]: 1 }] }],
  JSON.parse(`{"__proto__":${JSON.stringify(text)}}`),
]);

function documents(shape: z.ZodType): Kind {
  const valid = valuesOf(shape);
  return {
    valid,
    near: fc.oneof(fc.jsonValue({ stringUnit: "binary" }), fc.object({ withNullPrototype: true })),
    edges: [...JSON_FORMS, ...NO_JSON, ...BROKEN_JSON],
    close: fc.sample(valid, { seed: 1, numRuns: 3 }),
    isCanonical: isJson,
  };
}

/** What comes out of its text as it went in, not too deep, and with texts that PostgreSQL stores. */
export function isJson(value: unknown): boolean {
  if (levels(value) > DEEPEST) return false;
  try {
    const text = JSON.stringify(value);
    return isDeepStrictEqual(JSON.parse(text), value) && !/\\u(0000|d[89ab])/.test(text);
  } catch {
    return false;
  }
}

const levels = (value: unknown): number =>
  typeof value === "object" && value !== null
    ? 1 + Math.max(0, ...Object.values(value).map(levels))
    : 0;

// ── Vectors ──

const DIMENSIONS = 1536;
const FLOAT4_MAX = 3.4028234663852886e38;
/** Halfway from the greatest float4 to where the next would be. */
const BEYOND = 3.4028235677973366e38;

const ones = (first: unknown = 1): unknown[] => [first, ...Array.from({ length: 1535 }, () => 1)];

/** A few numbers over and over: quick to make and to shrink. */
const repeated = (element: fc.Arbitrary<unknown>, length: fc.Arbitrary<number>) =>
  fc
    .tuple(fc.array(element, { minLength: 1, maxLength: 3 }), length)
    .map(([some, dimensions]) =>
      Array.from({ length: dimensions }, (_, index) => some[index % some.length]),
    );

const vectors: Kind = {
  valid: repeated(fc.float({ noNaN: true, noDefaultInfinity: true }), fc.constant(DIMENSIONS)),
  near: repeated(fc.double(), fc.constantFrom(DIMENSIONS, DIMENSIONS - 1, DIMENSIONS + 1)),
  edges: [
    ...[0, -0, 0.1, FLOAT4_MAX, -FLOAT4_MAX, 1e-45, 1e-46, BEYOND, BEYOND * (1 - EPSILON)].map(
      ones,
    ),
    ...[3.5e38, 1e308, NaN, Infinity, null, "1", [1], true, 7n].map(ones),
    ...[ones().fill(0), ones().slice(1), [...ones(), 1], [], [1], Array(DIMENSIONS)],
    ...[new Float32Array(DIMENSIONS), JSON.stringify(ones()), "", 1, {}],
  ],
  close: [ones(), ones(2)],
  isCanonical: (value) => Array.isArray(value) && [...value].every(isFloat4),
};

/** A float4, or what no float4 comes near. */
const isFloat4 = (value: unknown) =>
  typeof value === "number" && (Math.fround(value) === value || !(Math.abs(value) < 2 ** 128));

/** Values of every kind, for columns of any other. */
export const ANYTHING = fc.oneof(
  fc.constantFrom(
    ...[wholes(0, 9), dollars(9), booleans, texts, lists(0, 9), uuids([]), instants, days].flatMap(
      ({ edges }) => edges,
    ),
  ),
  fc.anything({
    maxDepth: 2,
    withBigInt: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withSparseArray: true,
    withTypedArray: true,
  }),
);
