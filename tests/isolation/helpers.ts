import { randomUUID } from "node:crypto";
import { type Trial, guarantee, owner, tenant } from "./attack.ts";
import { powerlessClaims } from "./claims.ts";
import { literal } from "./statements.ts";
import type { Table } from "./survey.ts";
import { counts, refused, told } from "./verdicts.ts";

/** The helper that answers for the self references of a table. */
const helperOf = (table: string) => `meta_agent.own_${table}_row`;

const refersToItself = ({ name, foreignKeys }: Table) =>
  foreignKeys.some(({ parent }) => parent === name);

export const ownRowHelpers = guarantee(
  "the helpers that run as the owner answer about the caller's own rows alone",
  ({ tables, fixture, try: attempt }) => {
    const { north, south } = fixture;
    return attempt(
      tables.filter(refersToItself).flatMap(({ name }) => {
        const own = fixture.row(name, north).id;
        const ask = (id: string | null) =>
          `select from (values (${literal(id)}::uuid)) as v (id) where ${helperOf(name)}(id)`;
        const strange = [
          fixture.row(name, south).id,
          fixture.row(name, null).id,
          randomUUID(),
          null,
        ];
        return [
          {
            steps: [[tenant(north), ask(own)]],
            verdict: counts(`${name}: its helper about an own row`, 1),
          },
          ...strange.map((id): Trial => ({
            steps: [[tenant(north), ask(id)]],
            verdict: counts(`${name}: its helper about a strange row`, 0),
          })),
          ...Object.entries(powerlessClaims(north)).flatMap(([what, claims]) =>
            [own, fixture.row(name, null).id].map((id): Trial => ({
              steps: [[{ role: "authenticated", claims }, ask(id)]],
              verdict: counts(`${name}: its helper with claims: ${what}`, 0),
            })),
          ),
          {
            steps: [[{ role: "anon", claims: "" }, ask(own)]],
            verdict: refused(`${name}: its helper called by anon`),
          },
        ];
      }),
    );
  },
);

const SUBJECT = "of all organizations";
const learningsOf = "select meta_agent.latest_learnings";

export const learningsBySubject = guarantee(
  "the function that finds learnings by their subject answers the caller's own alone",
  ({ fixture, try: attempt }) => {
    const { north, south } = fixture;
    const [own, theirs, nobodys] = [north, south, null].map(
      (organization) => fixture.row("learning_log", organization).id,
    );
    // In force and on one subject, whoever they are.
    const ready = [
      owner,
      `update public.learning_log set is_active = true, applicable_to = array[${literal(SUBJECT)}]`,
    ] as const;
    const ask = `select id from (${learningsOf}(${literal(SUBJECT)}, 1000000)) as found (id)`;
    return attempt([
      {
        steps: [ready, [tenant(north), `${ask} where id = ${literal(own ?? "")}`]],
        verdict: counts("its own learning", 1),
      },
      ...[theirs, nobodys].map((id): Trial => ({
        steps: [ready, [tenant(north), `${ask} where id = ${literal(id ?? "")}`]],
        verdict: counts("a learning of another or of nobody", 0),
      })),
      ...Object.entries(powerlessClaims(north)).map(([what, claims]): Trial => ({
        steps: [ready, [{ role: "authenticated", claims }, ask]],
        verdict: counts(`learnings with claims: ${what}`, 0),
      })),
      ...(["service_role", "anon"] as const).map((role): Trial => ({
        steps: [ready, [{ role, claims: "" }, ask]],
        verdict: refused(`latest_learnings called by ${role}`),
      })),
    ]);
  },
);

/** Types that a function's text may name without a schema, and what it may turn into them. */
const TYPES = ["uuid", "text", "json", "jsonb", "name"];
const SOURCES = ["text", "json", "jsonb", "uuid"];

/** A type of the caller's own in front of the system's: whoever casts to it runs the caller's code. */
const trap = (type: string, source: string) => [
  `create type pg_temp.${type} as (value pg_catalog.text)`,
  `create function pg_temp.spring(pg_catalog.${source}) returns pg_temp.${type} language plpgsql as $spring$
     begin
       if current_user <> 'authenticated' then
         raise exception 'the code of the caller ran as %', current_user using errcode = 'TRAP0';
       end if;
       return row($1::pg_catalog.text)::pg_temp.${type};
     end $spring$`,
  `create function pg_temp.back(pg_temp.${type}) returns pg_catalog.${type} language sql as
     'select ($1).value::pg_catalog.${type}'`,
  `create cast (pg_catalog.${source} as pg_temp.${type}) with function pg_temp.spring(pg_catalog.${source}) as implicit`,
  `create cast (pg_temp.${type} as pg_catalog.${type}) with function pg_temp.back(pg_temp.${type}) as implicit`,
];

export const traps = guarantee(
  "a helper that runs as the owner runs none of the caller's code",
  ({ tables, fixture, try: attempt }) => {
    const ownRows = tables
      .filter(refersToItself)
      .map(({ name }) => [name, helperOf(name), literal(fixture.row(name, fixture.north).id)]);
    const called = [...ownRows, ["learning_log", "meta_agent.latest_learnings", "'any', 1"]];
    return attempt(
      called.flatMap(([table, helper, given]) =>
        TYPES.flatMap((type) =>
          SOURCES.map((source): Trial => {
            const statements = [...trap(type, source), `select ${helper}(${given})`];
            return {
              steps: [
                // PostgreSQL 18 keeps the plans of functions: as if they were called for the first time.
                [owner, "discard plans"],
                ...statements.map((statement) => [tenant(fixture.north), statement] as const),
              ],
              // That the caller's own cast breaks the caller's own call is nobody's harm.
              verdict: (outcome) =>
                outcome.final && outcome.code !== "TRAP0"
                  ? undefined
                  : `${table}: ${helper} with pg_temp.${type} from ${source}: ${told(outcome)}`,
            };
          }),
        ),
      ),
    );
  },
);

export const helperGuarantees = [ownRowHelpers, learningsBySubject, traps];
