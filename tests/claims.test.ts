import { randomUUID } from "node:crypto";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { suite } from "./engine.ts";
import { notJson, openingClaims, powerlessClaims } from "./isolation/claims.ts";

const SEED = process.env["PROPERTY_SEED"];
const SAMPLES = 4000;

/** As 0.1.0 had it: the rule that every later form must follow. */
const FIRST_HELPER = `
  create function pg_temp.first_helper() returns uuid language sql stable set search_path = pg_catalog, pg_temp as $first$
    select substring(
      coalesce(claims -> 'organization_id', claims -> 'app_metadata' -> 'organization_id')::text
      from '^"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"$'
    )::uuid
    from (select nullif(current_setting('request.jwt.claims', true), '')::json as claims) as setting $first$`;

/** What both say to each text: a uuid, nothing, or the code of an error. Those where they differ. */
const COMPARE = `
  create function pg_temp.compare(texts json, out outcome text, out was text, out text text)
  returns setof record language plpgsql as $compare$
  begin
    for text in select json_array_elements_text(texts) loop
      perform set_config('request.jwt.claims', text, true);
      begin was := coalesce(pg_temp.first_helper()::text, 'nothing');
      exception when others then was := sqlstate; end;
      begin outcome := coalesce(meta_agent.current_organization_id()::text, 'nothing');
      exception when others then outcome := sqlstate; end;
      return next;
    end loop;
  end $compare$`;

// ── Claims as a careless identity provider or an attacker might write them ──

/** Characters that are nearly a uuid's, or mean something to JSON, to a pattern or to translate. */
const STRANGE = [
  ...`gGxX-_%.*+?^$(){}[]|\\/"' 0\n\t٣３Ａéſ`.split(""),
  "😀",
  "\\u0030",
  "\\u002d",
  "\\n",
  '\\"',
  "",
];

const uuid = fc.uuid().chain((text) => fc.constantFrom(text, text.toUpperCase()));

/** A uuid with one place changed, left out or filled twice. */
const nearlyUuid = fc
  .tuple(uuid, fc.nat({ max: 36 }), fc.nat({ max: 2 }), fc.constantFrom(...STRANGE))
  .map(([text, at, removed, strange]) => text.slice(0, at) + strange + text.slice(at + removed));

/** Its hyphens elsewhere, or as many characters of any kind. */
const shuffledUuid = uuid.chain((text) =>
  fc
    .shuffledSubarray(text.split(""), { minLength: 36, maxLength: 36 })
    .map((characters) => characters.join("")),
);

const member = fc.oneof(
  { weight: 6, arbitrary: uuid.map((text) => `"${text}"`) },
  { weight: 6, arbitrary: nearlyUuid.map((text) => `"${text}"`) },
  shuffledUuid.map((text) => `"${text}"`),
  uuid,
  uuid.map((text) => `["${text}"]`),
  fc.jsonValue({ maxDepth: 1 }).map((value) => JSON.stringify(value)),
);

const READ = ["organization_id", "app_metadata"];
const KEYS = [...READ, ...READ, ...READ, "user_metadata", "Organization_id", "role"];
const space = fc.constantFrom("", "", "", " ", "\n", "\t");

/** Keys may come twice, and objects stand in objects. */
const claimsOf = (value: fc.Arbitrary<string>) =>
  fc
    .array(fc.tuple(fc.constantFrom(...KEYS), space, value), { minLength: 1, maxLength: 3 })
    .map((list) => `{${list.map(([key, gap, json]) => `"${key}"${gap}:${gap}${json}`).join()}}`);

const texts = fc
  .oneof(
    { weight: 8, arbitrary: claimsOf(fc.oneof(member, claimsOf(member))) },
    member,
    claimsOf(member).map((text) => text.slice(1)),
    fc.string({ unit: "grapheme" }),
  )
  // What no text of PostgreSQL can hold.
  .filter((text) => text.isWellFormed() && !text.includes("\0"));

suite("the caller's organization", (database) => {
  test("is what it always was, for thousands of claims, most of them malformed", async () => {
    const organization = randomUUID();
    const known = { ...openingClaims(organization), ...powerlessClaims(organization) };
    const all = [
      ...Object.values(known).filter((text) => text !== undefined),
      ...Object.values(notJson(organization)),
      ...fc.sample(texts, { numRuns: SAMPLES, ...(SEED && { seed: Number(SEED) }) }),
    ];
    await database.rolledBack(async (query) => {
      await query(FIRST_HELPER);
      await query(COMPARE);
      const answers = await query<{ outcome: string; was: string; text: string }>(
        "select * from pg_temp.compare($1::text::json)",
        [JSON.stringify(all)],
      );
      expect(answers.filter(({ outcome, was }) => outcome !== was)).toEqual([]);
      // Many of each kind, or the comparison would say little.
      const count = (kind: RegExp) => answers.filter(({ was }) => kind.test(was)).length;
      for (const kind of [/^.{36}$/, /^nothing$/, /^.{5}$/]) {
        expect(count(kind), String(kind)).toBeGreaterThan(SAMPLES / 20);
      }
    });
  });

  // Without a search_path of its own, its text is read by that of whoever calls.
  test("is found by the system's own functions, operators and types, whatever comes first", async () => {
    const organization = randomUUID();
    await database.rolledBack(async (query) => {
      for (const statement of PLANTS) await query(statement);
      await query("set local role authenticated");
      for (const statement of OWN_PLANTS) await query(statement);
      await query("set local search_path = pg_temp, planted, pg_catalog");
      const claims = JSON.stringify({ app_metadata: { organization_id: organization } });
      await query("select pg_catalog.set_config('request.jwt.claims', $1::pg_catalog.text, true)", [
        claims,
      ]);
      // The plants are in the way of who does not look out.
      await query("savepoint careless");
      await expect(query("select nullif('a'::pg_catalog.text, 'b')")).rejects.toThrow("planted");
      await query("rollback to careless");
      const [found] = await query<{ id: string }>(
        `insert into public.agent_registry (agent_name, display_name, category) values ('planted', 'Planted', 'operations')
         returning meta_agent.current_organization_id()::pg_catalog.text as id`,
      );
      expect(found).toEqual({ id: organization });
    });
  });
});

const raising = (signature: string, result: string) =>
  `create function planted.${signature} returns ${result} language plpgsql as
     $planted$ begin raise exception 'planted'; end $planted$`;

/** Everything that the helper's text names, in a schema of somebody else. */
const PLANTS = [
  "create schema planted",
  "grant usage on schema planted to authenticated",
  raising("current_setting(pg_catalog.text, pg_catalog.bool)", "pg_catalog.text"),
  raising("translate(pg_catalog.text, pg_catalog.text, pg_catalog.text)", "pg_catalog.text"),
  raising("btrim(pg_catalog.text, pg_catalog.text)", "pg_catalog.text"),
  raising("same(pg_catalog.text, pg_catalog.text)", "pg_catalog.bool"),
  raising("member(pg_catalog.json, pg_catalog.text)", "pg_catalog.json"),
  "create operator planted.= (function = planted.same, leftarg = pg_catalog.text, rightarg = pg_catalog.text)",
  "create operator planted.-> (function = planted.member, leftarg = pg_catalog.json, rightarg = pg_catalog.text)",
];

/** And its types, which any caller may make. */
const OWN_PLANTS = ["uuid", "json", "text"].map(
  (type) => `create type pg_temp.${type} as (value pg_catalog.text)`,
);
