import { randomUUID } from "node:crypto";
import { type Ground, type Trial, guarantee, owner, tenant } from "./attack.ts";
import { forEach, placesOf } from "./rows.ts";
import { blindUpdate, uuids } from "./statements.ts";
import { answers, refused, touchesOnly } from "./verdicts.ts";

/** Every shape of query that we know to answer ids; each may be several statements. */
/** PostgreSQL 15 has the other name. */
const FORCE_PARALLEL = `select set_config(name, 'on', true) from pg_settings
  where name in ('debug_parallel_query', 'force_parallel_mode')`;

const shapes = (t: string): string[][] => [
  [`table ${t}`],
  [`select id from only ${t}`],
  [`select (x).id from ${t} as x`],
  [`select distinct on (id) id from ${t} order by id`],
  [`select id from ${t} tablesample system (100)`],
  [`select id from (select * from ${t} offset 0) as x`],
  [`select id from ${t} union select id from ${t}`],
  [`select id from ${t} group by id having count(*) > 0`],
  [`select id from (select id, row_number() over () from ${t}) as x`],
  [`select unnest(array_agg(id)) as id from ${t}`],
  [`select (jsonb_array_elements(jsonb_agg(to_jsonb(x))) ->> 'id')::uuid as id from ${t} as x`],
  [`select (select i.id from ${t} as i where i.id = o.id) as id from ${t} as o`],
  [
    `select i.id from ${t} as o cross join lateral (select * from ${t} as i where i.id = o.id) as i`,
  ],
  [`select coalesce(a.id, b.id) as id from ${t} as a full join ${t} as b on a.id = b.id`],
  [`select id from ${t} as a where exists (select from ${t} as b where b.id = a.id)`],
  [`select id from ${t} where id in (select id from ${t})`],
  [`select id from ${t} where not (id is null) or true`],
  [`with x as materialized (select * from ${t}) select id from x`],
  [`with x as not materialized (select * from ${t}) select id from x`],
  [`with recursive x as (select id from ${t} union select ${t}.id from ${t}, x) select id from x`],
  [`with x as (update ${t} set id = id returning id) select id from x`],
  [`with x as (update ${t} set id = id) select id from ${t}`],
  [`update ${t} as a set id = b.id from ${t} as b where a.id = b.id returning b.id`],
  [`create temp table copy on commit drop as select * from ${t}`, "table copy"],
  [`create temp view copy as select * from ${t}`, "table copy"],
  [
    `create function pg_temp.copy() returns setof ${t} language sql security definer as 'table ${t}'`,
    "select id from pg_temp.copy()",
  ],
  [`declare copy scroll cursor for select id from ${t}`, "fetch all from copy"],
  ["set local enable_seqscan = off", `select id from ${t} order by id`],
  ["set local enable_indexscan = off", "set local enable_bitmapscan = off", `table ${t}`],
  [FORCE_PARALLEL, `select id from ${t}`],
  ["set constraints all deferred", `select id from ${t}`],
];

export const everyShape = guarantee(
  "every shape of query answers the caller's rows alone",
  (ground) =>
    ground.try(
      forEach(ground, ({ name, path }, self) =>
        shapes(path).map((statements) => ({
          steps: statements.map((statement) => [tenant(self), statement]),
          reads: true,
          verdict: answers(`${name}: ${statements.join("; ")}`, ground.fixture.ids(name, self)),
        })),
      ),
    ),
);

export const locks = guarantee("a row lock takes the caller's rows alone", (ground) =>
  ground.try(
    forEach(ground, ({ name, path }, self) =>
      ["update", "no key update", "share", "key share"].map((strength) => ({
        steps: [[tenant(self), `select id from ${path} for ${strength}`]],
        reads: true,
        watches: true,
        verdict: (outcome) =>
          answers(`${name}: FOR ${strength}`, ground.fixture.ids(name, self))(outcome) ??
          touchesOnly(`${name}: FOR ${strength}`, placesOf(ground, name, self))(outcome),
      })),
    ),
  ),
);

// A condition that is tried on a row before the policy tells of it by an error or a side effect.
export const conditions = guarantee(
  "a caller's condition is never tried on another's row",
  (ground) =>
    ground.try(
      forEach(ground, ({ name, path }, self, other) => {
        const hidden = uuids([other, null].flatMap((whose) => ground.fixture.ids(name, whose)));
        const divides = `1 / (case when id = any (${hidden}) then 0 else 1 end) = 1`;
        return [
          `select id from ${path} where ${divides}`,
          `update ${path} set id = id where ${divides} returning id`,
          `select a.id from ${path} as a join ${path} as b on a.id = b.id and ${divides.replace("id", "b.id")}`,
        ].map((statement) => ({
          steps: [[tenant(self), statement]],
          reads: true,
          verdict: answers(`${name}: ${statement.slice(0, 60)}`, ground.fixture.ids(name, self)),
        }));
      }),
    ),
);

export const rowSecurityOff = guarantee(
  "switching row_security off is refused, not obeyed",
  (ground) =>
    ground.try(
      ground.tables.flatMap((table) => {
        const { name, path } = table;
        const actor = tenant(ground.fixture.north);
        const own = ground.fixture.row(name, ground.fixture.north);
        return [`table ${path}`, blindUpdate(table, own), `delete from ${path}`].map(
          (statement) => ({
            steps: [
              [actor, "set local row_security = off"],
              [actor, statement],
            ],
            verdict: refused(`${name}: ${statement.slice(0, 40)} with row_security off`),
          }),
        );
      }),
    ),
);

/** What `self` gets from a statement that others kept and ran before, in the same session. */
function kept(
  ground: Ground,
  what: string,
  keep: (path: string, name: string) => readonly [string, string, string],
) {
  const { fixture } = ground;
  return ground.try(
    forEach(ground, ({ name, path }, self, other) =>
      [owner, tenant(other), tenant(self)].map((first): Trial => {
        const [prepare, run, drop] = keep(path, `kept_${randomUUID().replaceAll("-", "")}`);
        return {
          steps: [
            [first, prepare],
            [first, `create temp table first on commit drop as ${run}`],
            [tenant(other), `create temp table second on commit drop as ${run}`],
            [tenant(self), `create temp table third on commit drop as ${run}`],
            [owner, drop],
            [owner, "table third"],
          ],
          reads: true,
          verdict: answers(`${name}: ${what}`, fixture.ids(name, self)),
        };
      }),
    ),
  );
}

export const prepared = guarantee(
  "a prepared statement answers each organization its own rows",
  async (ground) => [
    ...(await kept(ground, "PREPARE", (path, name) => [
      `prepare ${name} as select id from ${path}`,
      `execute ${name}`,
      `deallocate ${name}`,
    ])),
    ...(await kept(ground, "the plan kept in a function", (path, name) => [
      `create function pg_temp.${name}() returns setof uuid language plpgsql as
      'begin return query select id from ${path}; end'`,
      `select id from pg_temp.${name}() as id`,
      `drop function pg_temp.${name}()`,
    ])),
  ],
);

export const secondClaims = guarantee("of claims set twice the later ones alone count", (ground) =>
  ground.try(
    forEach(ground, ({ name, path }, self, other) => {
      const read = `select id from ${path}`;
      const earlier = [tenant(other), read] as const;
      return [
        {
          steps: [earlier, [tenant(self), read]],
          reads: true,
          verdict: answers(`${name}: claims set twice`, ground.fixture.ids(name, self)),
        },
        {
          steps: [earlier, [{ role: "authenticated", claims: "" }, read]],
          reads: true,
          verdict: answers(`${name}: claims taken back`, []),
        },
      ];
    }),
  ),
);

export const queryGuarantees = [
  everyShape,
  locks,
  conditions,
  rowSecurityOff,
  prepared,
  secondClaims,
];
