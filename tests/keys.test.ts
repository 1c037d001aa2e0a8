import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import * as fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { executionLogId, uuidFor } from "../src/client/keys.ts";
import { newExecutionLog } from "../src/testing.ts";
import { suite } from "./engine.ts";

const RUNS = 1000;
const CANONICAL = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const UUID = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736";
const BARE = UUID.replaceAll("-", "");

/** Text that PostgreSQL stores. */
const texts = fc.oneof(
  fc.constantFrom(
    "",
    " ",
    "1:a",
    "é",
    "e\u0301",
    "😀",
    "\n",
    UUID,
    BARE,
    `{${BARE}}`,
    `{{${BARE}}}`,
  ),
  fc.string({ maxLength: 12 }),
  fc.string({ unit: "binary", maxLength: 12 }).map((text) => text.replaceAll("\0", "0")),
  fc.uuid(),
  fc.stringMatching(/^\{?([0-9a-fA-F]{4}-?){7}[0-9a-fA-F]{3,5}\}?$/),
);

suite("keys of TypeScript and of PostgreSQL", (database) => {
  beforeAll(async () => database.script(await readFile("tests/fixtures/keys.sql", "utf8")));

  test("uuidFor and meta_agent.uuid_for agree on any parts", async () => {
    const given = fc.sample(fc.array(texts, { minLength: 1, maxLength: 4 }), RUNS);
    const rows = await database.query<{ made: string }>(
      `select meta_agent.uuid_for(variadic array(select jsonb_array_elements_text(parts)))::text as made
       from jsonb_array_elements($1::text::jsonb) with ordinality as given(parts, n) order by n`,
      [JSON.stringify(given)],
    );
    expect(rows).toHaveLength(RUNS);
    for (const [n, { made }] of rows.entries()) {
      const [first = "", ...others] = given[n] ?? [];
      expect(uuidFor(first, ...others), JSON.stringify(given[n])).toBe(made);
    }
  });

  test("executionLogId and meta_agent.execution_log_id agree on any instant and key", async () => {
    const years = { min: Date.UTC(2000), max: Date.UTC(2101) };
    const given = fc.sample(
      fc.record({
        at: fc.integer(years),
        microseconds: fc.integer({ min: 0, max: 999 }),
        key: texts,
      }),
      RUNS,
    );
    const rows = await database.query<{ made: string; at: string }>(
      `select meta_agent.execution_log_id(instant, key)::text as made,
         (extract(epoch from meta_agent.uuidv7_time(meta_agent.execution_log_id(instant, key))) * 1000)::bigint::text as at
       from rows from (jsonb_to_recordset($1::text::jsonb) as (instant timestamptz, key text)) with ordinality
         as given(instant, key, n) order by n`,
      [
        JSON.stringify(
          given.map(({ at, microseconds, key }) => ({
            key,
            instant: new Date(at)
              .toISOString()
              .replace("Z", `${String(microseconds).padStart(3, "0")}Z`),
          })),
        ),
      ],
    );
    expect(rows).toHaveLength(RUNS);
    for (const [n, { made, at }] of rows.entries()) {
      const { at: instant = 0, key = "" } = given[n] ?? {};
      expect(executionLogId(new Date(instant), key), JSON.stringify(given[n])).toBe(made);
      expect(Number(at)).toBe(instant);
    }
  });

  test("in whatever time zone, and before 1970, too", async () => {
    await database.rolledBack(async (query) => {
      await query("set local timezone = 'Asia/Kolkata'");
      const [row] = await query<{ late: string; early: string }>(
        `select meta_agent.execution_log_id('1963-05-05', 'k')::text as early,
           meta_agent.execution_log_id('2026-11-29 12:00:00+00', 'k')::text as late`,
      );
      expect(row).toEqual({
        early: executionLogId(new Date("1963-05-05"), "k"),
        late: executionLogId(new Date("2026-11-29T12:00:00Z"), "k"),
      });
      expect(row?.early).toMatch(/^00000000-0000-7/);
    });
  });

  test("nothing is made of NULL or of no parts", async () => {
    const [row] = await database.query(
      `select meta_agent.uuid_for('a', null) as a, meta_agent.uuid_for(variadic '{}') as b,
         meta_agent.uuid_for(variadic null) as c, meta_agent.execution_log_id(null, 'k') as d,
         meta_agent.execution_log_id(now(), null) as e`,
    );
    expect(row).toEqual({ a: null, b: null, c: null, d: null, e: null });
  });

  test("are immutable, safe in parallel, and search no caller's schema", async () => {
    const found = await database.query(
      `select proname, provolatile::text, proparallel::text, proconfig::text from pg_proc
       where pronamespace = 'meta_agent'::regnamespace and proname in ('uuid_for', 'execution_log_id')`,
    );
    expect(found).toHaveLength(2);
    for (const row of found) {
      expect(row).toMatchObject({
        provolatile: "i",
        proparallel: "s",
        proconfig: '{"search_path=pg_catalog, pg_temp"}',
      });
    }
  });

  test("the two roles may make them, nobody else", async () => {
    const rows = await database.query(
      `select role, bool_and(has_function_privilege(role, oid, 'EXECUTE')) as may
       from pg_proc, unnest(array['authenticated', 'service_role', 'anon']) as role
       where pronamespace = 'meta_agent'::regnamespace and proname in ('uuid_for', 'execution_log_id')
       group by role order by role`,
    );
    expect(rows).toEqual([
      { role: "anon", may: false },
      { role: "authenticated", may: true },
      { role: "service_role", may: true },
    ]);
  });
});

describe("uuidFor", () => {
  test.each([
    UUID,
    BARE,
    UUID.toUpperCase(),
    `{${UUID}}`,
    `{${BARE}}`,
    BARE.replaceAll(/(.{4})(?=.)/g, "$1-"),
  ])("%s is itself", (spelled) => {
    expect(uuidFor(spelled)).toBe(UUID);
  });

  test.each([
    `${UUID} `,
    `${UUID}\n`,
    `{${UUID}`,
    `${UUID}}`,
    `${UUID}-`,
    `{{${UUID}}}`,
    BARE.slice(1),
    `urn:uuid:${UUID}`,
    "run_01J9",
    "",
  ])("%j is none: what is made of it is of version 8", (text) => {
    const made = uuidFor(text);
    expect(made).toMatch(CANONICAL);
    expect(made).toMatch(/^.{14}8.{4}[89ab]/);
  });

  test("parts with their lengths: moving a character between two makes another", () => {
    const made = [["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], ["1:a"], ["a", "1:b"]].map(
      ([first = "", ...others]) => uuidFor(first, ...others),
    );
    expect(new Set(made).size).toBe(made.length);
    expect(uuidFor(UUID, "x")).not.toContain(UUID.slice(0, 8));
  });

  test("stays as it is: ids that were stored must be found again", () => {
    expect(uuidFor("organization", "org_2abc")).toBe("4a97cbe9-e77a-8b97-b82c-6eabc8d2472e");
    expect(executionLogId(new Date("2026-11-29T12:00:00.123Z"), "span-1")).toBe(
      "01a2272d-267b-7ada-893a-7bf38e94c4b6",
    );
  });
});

describe("executionLogId", () => {
  test("the same key at the same instant is the same row; another key is another", () => {
    const at = new Date();
    expect(executionLogId(at, "a")).toBe(executionLogId(new Date(at), "a"));
    expect(executionLogId(at, "a")).not.toBe(executionLogId(at, "b"));
    expect(executionLogId(at, "a")).toMatch(/^.{14}7.{4}[89ab]/);
  });

  test("no id is made of an invalid Date", () => {
    expect(() => executionLogId(new Date(Number.NaN), "a")).toThrow(RangeError);
  });

  test("rows of the factory have a key of their time, and a fresh one each", () => {
    const timestamp = new Date("2026-01-05T12:00:00.000Z");
    const made = [1, 2].map(() => newExecutionLog({ agentId: randomUUID(), timestamp }).id);
    const start = executionLogId(timestamp, "").slice(0, 15);
    expect(made.map((id) => id.slice(0, 15))).toEqual([start, start]);
    expect(new Set(made).size).toBe(2);
  });
});
