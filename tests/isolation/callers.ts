import { type Actor, type Ground, type Trial, guarantee } from "./attack.ts";
import { notJson, openingClaims, powerlessClaims } from "./claims.ts";
import { forEach } from "./rows.ts";
import { blindUpdate, copyOf, insertOf, newId } from "./statements.ts";
import type { Table } from "./survey.ts";
import { answers, refused, told } from "./verdicts.ts";

/** Every way to reach a table as someone who must not: nothing may be read or written. */
function reachesNothing(
  { fixture }: Ground,
  table: Table,
  actor: Actor,
  what: string,
  raises: RegExp,
): Trial[] {
  const own = fixture.row(table.name, fixture.north);
  const blind = [
    `select from ${table.path}`,
    blindUpdate(table, own),
    `delete from ${table.path}`,
  ].map((statement): Trial => ({
    steps: [[actor, statement]],
    verdict: (outcome) =>
      (outcome.code === null ? outcome.count === 0 : raises.test(outcome.code))
        ? undefined
        : `${table.name}: ${what}: ${statement}: ${told(outcome)}`,
  }));
  const inserts = [own, fixture.row(table.name, null)].map((row): Trial => ({
    steps: [[actor, insertOf(table, copyOf(row, newId()))]],
    verdict: (outcome) =>
      outcome.code === "42501" || raises.test(outcome.code ?? "")
        ? undefined
        : `${table.name}: ${what}: INSERT: ${told(outcome)}`,
  }));
  return [...blind, ...inserts];
}

export const powerless = guarantee(
  "claims that do not name an organization open nothing and raise no error",
  (ground) =>
    ground.try(
      Object.entries(powerlessClaims(ground.fixture.north)).flatMap(([what, claims]) =>
        ground.tables.flatMap((table) =>
          reachesNothing(ground, table, { role: "authenticated", claims }, what, /^$/),
        ),
      ),
    ),
);

export const noJson = guarantee("claims that are no JSON open nothing", (ground) =>
  ground.try(
    Object.entries(notJson(ground.fixture.north)).flatMap(([what, claims]) =>
      ground.tables.flatMap((table) =>
        reachesNothing(ground, table, { role: "authenticated", claims }, what, /^22P02$/),
      ),
    ),
  ),
);

export const opening = guarantee("claims open the organization they name and no other", (ground) =>
  ground.try(
    forEach(ground, ({ name, path }, self) =>
      Object.entries(openingClaims(self)).map(([what, claims]) => ({
        steps: [[{ role: "authenticated", claims }, `select id from ${path}`]],
        reads: true,
        verdict: answers(`${name}: ${what}: SELECT`, ground.fixture.ids(name, self)),
      })),
    ),
  ),
);

export const anon = guarantee("anon reaches no table, whatever it claims", (ground) => {
  const { fixture, tables } = ground;
  const claims = [undefined, ...Object.values(openingClaims(fixture.north))];
  return ground.try(
    tables.flatMap((table) => {
      const own = fixture.row(table.name, fixture.north);
      return claims.flatMap((text) =>
        [
          `select id from ${table.path}`,
          `select from ${table.path}`,
          blindUpdate(table, own),
          `delete from ${table.path}`,
          insertOf(table, copyOf(own, newId())),
        ].map((statement) => ({
          steps: [[{ role: "anon", claims: text }, statement]],
          verdict: refused(`${table.name}: ${statement.slice(0, 40)} of anon`),
        })),
      );
    }),
  );
});

// That a row cannot go for another reason (it is referred to, its slot is taken) is no refusal.
export const serviceRole = guarantee(
  "service_role reads and writes every organization's rows, whatever it claims",
  (ground) => {
    const { fixture, tables } = ground;
    const claims = [undefined, ...Object.values(openingClaims(fixture.north))];
    return ground.try(
      tables.flatMap((table) =>
        [fixture.south, null].flatMap((organization) => {
          const row = fixture.row(table.name, organization);
          return [
            `select from ${table.path} where id = '${row.id}'`,
            `update ${table.path} set id = id where id = '${row.id}'`,
            `delete from ${table.path} where id = '${row.id}'`,
            insertOf(table, copyOf(row, newId())),
          ].flatMap((statement) =>
            claims.map((text): Trial => ({
              steps: [[{ role: "service_role", claims: text }, statement]],
              verdict: (outcome) =>
                outcome.code?.startsWith("23") || (outcome.code === null && outcome.count === 1)
                  ? undefined
                  : `${table.name}: ${statement.slice(0, 40)} of service_role: ${told(outcome)}`,
            })),
          );
        }),
      ),
    );
  },
);

export const callerGuarantees = [powerless, noJson, opening, anon, serviceRole];
