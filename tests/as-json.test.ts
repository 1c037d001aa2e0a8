import { isDeepStrictEqual } from "node:util";
import * as fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { asJson } from "../src/validation/as-json.ts";
import { jsonFault } from "../src/schema/json.ts";
import { suite } from "./engine.ts";

const RUNS = 2000;

const units = fc
  .array(fc.oneof(fc.nat(0x7f), fc.nat(0xffff), fc.constantFrom(0, 0xd83d, 0xde00)), {
    maxLength: 12,
  })
  .map((codes) => String.fromCharCode(...codes));

function deep(levels: number): unknown {
  let value: unknown = "bottom";
  for (let level = 0; level < levels; level += 1) value = level % 2 > 0 ? [value] : { a: value };
  return value;
}

function circular(): unknown {
  const list: unknown[] = [1];
  const value = { list, self: {} };
  value.self = value;
  list.push(value, list);
  return value;
}

const revoked = () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
};
const hostile = () => [
  circular(),
  revoked(),
  new Proxy({}, { ownKeys: () => ["a", "a\0"], getOwnPropertyDescriptor: () => undefined }),
  new Proxy(new Date(), {}),
  new Error("outer\0", { cause: new Error("inner", { cause: circular() }) }),
  new AggregateError([new TypeError("a"), 7n, circular()], "both"),
  Object.assign(new Error("refused"), { code: "ECONNREFUSED", cause: revoked() }),
  new Map<unknown, unknown>([
    ["a\0", 1n],
    ["a\uFFFD", new Set([circular()])],
  ]),
  new Map<unknown, unknown>([
    [{}, 1],
    [1n, circular()],
  ]),
  new Uint8Array([0, 255]),
  Buffer.from("buffer"),
  new DataView(new ArrayBuffer(3)),
  new Float64Array([1.5, Number.NaN, -Infinity]),
  new BigInt64Array([1n, -1n]),
  new ArrayBuffer(2),
  new Date(),
  new Date(Number.NaN),
  new URL("https://example.com/?a=b"),
  /x/gu,
  Object("boxed"),
  Object(1n),
  Object(Symbol("boxed")),
  Promise.resolve(),
  new WeakMap(),
  function named() {},
  Symbol("s"),
  Array.from({ length: 3 }, () => undefined),
  // oxlint-disable-next-line unicorn/no-new-array -- with holes
  new Array(5),
  deep(501),
  deep(600),
  {
    get throws(): never {
      throw new Error("no");
    },
    kept: 1,
  },
  { toJSON: () => ({ toJSON: () => 1, inner: "\ud800" }) },
  {
    toJSON() {
      return this;
    },
    a: 1,
  },
  {
    toJSON(): never {
      throw new Error("no");
    },
  },
  { valueOf: 5, toString: 6, constructor: 7, hasOwnProperty: 8 },
  JSON.parse('{"__proto__":{"a":"\\u0000"},"a\\u0000":1,"a\\ufffd":2,"a\\ud800":3}'),
  Object.create({ inherited: 1 }),
  -0,
  5e-324,
  1e308,
  "x".repeat(100_000),
];

const anything = fc.anything({
  maxDepth: 3,
  withBigInt: true,
  withBoxedValues: true,
  withDate: true,
  withMap: true,
  withSet: true,
  withNullPrototype: true,
  withSparseArray: true,
  withTypedArray: true,
  key: units,
  values: [units, fc.anything(), fc.constantFrom(...hostile().map((value) => ({ value })))],
});

suite("anything made JSON", (database) => {
  beforeAll(() =>
    database.script("create table documents (n int primary key, document jsonb not null)"),
  );

  test("is stored and comes back, is refused by no validator, and is made no other the second time", async () => {
    const values = [...hostile(), ...fc.sample(anything, RUNS)];
    const limits = [undefined, 64, 100, 1000, 20_000];
    const made = values.flatMap((value, n) => {
      const maxCharacters = limits[n % limits.length];
      const options = maxCharacters === undefined ? {} : { maxCharacters };
      const first = asJson(value, options);
      const text = JSON.stringify(first.value);
      expect(jsonFault(first.value), text).toBeUndefined();
      expect(text.length).toBeLessThanOrEqual(maxCharacters ?? Infinity);
      expect(first.changes.length).toBe(Math.min(first.changed, 20));
      const again = asJson(first.value, options);
      expect(again, text).toEqual({ value: first.value, changes: [], changed: 0 });
      return { n, text };
    });
    for (let from = 0; from < made.length; from += 100) {
      await database.query(
        `insert into documents select n, text::jsonb
         from json_to_recordset($1::text::json) as made(n int, text text)`,
        [JSON.stringify(made.slice(from, from + 100))],
      );
    }
    const stored = await database.query<{ n: number; text: string }>(
      "select n, document::text as text from documents order by n",
    );
    expect(stored).toHaveLength(values.length);
    for (const { n, text } of stored) {
      const given: unknown = JSON.parse(made[n]?.text ?? "");
      if (!isDeepStrictEqual(JSON.parse(text), given)) expect(JSON.parse(text)).toEqual(given);
    }
  });
});

describe("asJson", () => {
  /** Places and what was there. */
  const said = (value: unknown, maxCharacters?: number) => {
    const made = asJson(value, maxCharacters === undefined ? {} : { maxCharacters });
    return [made.value, ...made.changes.map(({ path, was }) => `${path.join(".")}: ${was}`)];
  };
  const at = new Date("2026-11-29T12:00:00.000Z");

  test("leaves storable JSON as it is, and says nothing", () => {
    const value = { a: [1, null, true, "é😀", { "": [] }], b: 1e308, c: { d: "x".repeat(10_000) } };
    expect(asJson(value)).toEqual({ value, changes: [], changed: 0 });
    expect(said({ a: undefined, b: 1 })).toEqual([{ b: 1 }]);
  });

  test.each([
    [at, at.toISOString(), ": an instance of Date"],
    [new Date(Number.NaN), null, ": an instance of Date"],
    [{ n: 12345678901234567890n }, { n: "12345678901234567890" }, "n: a BigInt"],
    [{ a: [Number.NaN, -Infinity] }, { a: [null, null] }, "a.0: NaN", "a.1: -Infinity"],
    ["a\0b", "a\uFFFDb", ": text with a NUL character at 1"],
    ["\ud800x", "\uFFFDx", ": text with half a surrogate pair at 0"],
    [{ "a\0": 1 }, { "a\uFFFD": 1 }, ": a key with a NUL character at 1"],
    [
      { "a\0": 1, "a\uFFFD": 2 },
      { "a\uFFFD": 1, "a\uFFFD\uFFFD": 2 },
      ": a key with a NUL character at 1",
      ": a key that another became",
    ],
    [new Map([["a", 1]]), { a: 1 }, ": an instance of Map"],
    [new Map([[1, "a"]]), [[1, "a"]], ": an instance of Map"],
    [new Set(["a"]), ["a"], ": an instance of Set"],
    [Buffer.from("hi"), "aGk=", ": an instance of Buffer"],
    [new Uint8Array([255]), "/w==", ": an instance of Uint8Array"],
    [new Float32Array([0.5]), [0.5], ": an instance of Float32Array"],
    [new URL("https://example.com"), "https://example.com/", ": an instance of URL"],
    [Object("x"), "x", ": an instance of String"],
    [{ f: () => 1, s: Symbol("s") }, {}, "f: a function", "s: a symbol"],
    [[() => 1, undefined], [null, null], "0: a function", "1: undefined"],
    [undefined, null, ": undefined"],
    [
      {
        get a(): never {
          throw new Error("no");
        },
        b: 1,
      },
      { a: "[unreadable]", b: 1 },
      "a: what throws when it is read",
    ],
  ])("%#", (value, made, ...changes) => {
    expect(said(value)).toEqual([made, ...changes]);
  });

  test("an error is its name, message, code and cause; not its stack, nor what a client added", () => {
    const headers = { authorization: "Bearer secret" };
    const cause = Object.assign(new TypeError("refused"), { code: "ECONNREFUSED" });
    const error = Object.assign(new Error("fetch failed", { cause }), {
      config: { headers },
      toJSON: () => ({ headers }),
    });
    expect(said({ error })).toEqual([
      {
        error: {
          name: "Error",
          message: "fetch failed",
          cause: { name: "TypeError", message: "refused", code: "ECONNREFUSED" },
        },
      },
      "error: an instance of Error",
      "error.cause: an instance of TypeError",
    ]);
  });

  test("a circle is marked where it closes; what is there twice is there twice", () => {
    const shared = { a: 1 };
    const value: Record<string, unknown> = { x: shared, y: shared };
    value["self"] = { value };
    expect(said(value)).toEqual([
      { x: shared, y: shared, self: { value: "[circular]" } },
      "self.value: a circular reference",
    ]);
  });

  test("what is nested deeper than PostgreSQL may read is marked", () => {
    const { value, changes } = asJson(deep(600));
    expect(jsonFault(value)).toBeUndefined();
    expect(JSON.stringify(value)).toContain("[too deep]");
    expect(changes).toHaveLength(1);
    expect(asJson(deep(500)).changed).toBe(0);
  });

  test("tells the first changes, and how many there were", () => {
    const { changes, changed } = asJson(Array.from({ length: 50 }, () => at));
    expect([changes.length, changed]).toEqual([20, 50]);
  });

  describe("with a limit", () => {
    const length = (value: unknown) => JSON.stringify(value).length;

    test("the longest texts are cut, evenly; the shorter ones, numbers and keys stay", () => {
      const message = (content: string) => ({ role: "user", content, n: 1 });
      const value = [message("short"), message("a".repeat(90_000)), message("b".repeat(50_000))];
      const made = asJson(value, { maxCharacters: 2000 });
      expect(length(made.value)).toBeLessThanOrEqual(2000);
      expect(length(made.value)).toBeGreaterThan(1900);
      expect(made.value).toMatchObject([
        { content: "short", n: 1 },
        { content: expect.stringMatching(/^a{900,}…$/), n: 1 },
        { content: expect.stringMatching(/^b{900,}…$/), n: 1 },
      ]);
      expect(made.changes).toEqual([
        { path: [1, "content"], was: "text of 90000 characters" },
        { path: [2, "content"], was: "text of 50000 characters" },
      ]);
    });

    test("where that does not do, the end is left out", () => {
      const made = asJson(
        Array.from({ length: 1000 }, (_, n) => ({ n })),
        { maxCharacters: 200 },
      );
      expect(length(made.value)).toBeLessThanOrEqual(200);
      expect(made.value).toMatchObject({ 0: { n: 0 }, 15: { n: 15 } });
      expect(made.changes).toContainEqual({ path: [], was: "more than there is room for" });
    });

    test("what just fits stays as it is", () => {
      const value = { a: "x".repeat(100), b: [1, 2, 3], c: 7 };
      expect(asJson(value, { maxCharacters: length(value) })).toMatchObject({ value, changed: 0 });
      const shorter = asJson(value, { maxCharacters: length(value) - 1 });
      expect(shorter).toMatchObject({ value: { b: [1, 2, 3], c: 7 }, changed: 1 });
    });

    test("no character is cut in two, and escapes count as they are written", () => {
      for (const character of ["😀", "\n", "\u0001", '"', "é"]) {
        const made = asJson(character.repeat(5000), { maxCharacters: 301 });
        expect(length(made.value)).toBeLessThanOrEqual(301);
        expect(length(made.value)).toBeGreaterThan(260);
        expect(
          JSON.stringify(made.value).replaceAll(JSON.stringify(character).slice(1, -1), ""),
        ).toBe('"…"');
      }
    });

    test("shared objects do not grow without end", () => {
      let value: unknown = ["x"];
      for (let level = 0; level < 60; level += 1) value = [value, value];
      expect(length(asJson(value, { maxCharacters: 1000 }).value)).toBeLessThanOrEqual(1000);
    });

    test.each([0, 63, 100.5, Number.NaN, Infinity])("%d is none", (maxCharacters) => {
      expect(() => asJson("x", { maxCharacters })).toThrow(RangeError);
    });
  });
});
