import { type Ground, guarantee, owner, tenant } from "./attack.ts";
import type { Row } from "./fixture.ts";
import { forEach, placesOf } from "./rows.ts";
import { copyOf, insertOf, isParent, literal, newId, quoted } from "./statements.ts";
import type { Table } from "./survey.ts";
import { counts, refused, touches } from "./verdicts.ts";

/** Those columns of a row. */
const pick = (row: Row, columns: readonly string[]) =>
  Object.fromEntries(columns.map((column) => [column, row[column]]));

/** The row with every flag up, so that it meets the condition of a partial rule. */
const flagged = (row: Row): Row => ({
  ...row,
  ...Object.fromEntries(
    Object.entries(row).flatMap(([column, value]) => (value === false ? [[column, true]] : [])),
  ),
});

// Taken and, where its owner's row may go, free: an agent without a health row must not get one from
// another organization either.
export const slots = guarantee("no organization takes a unique slot of another's", (ground) => {
  const { tables, fixture } = ground;
  return ground.try(
    tables.flatMap((table) =>
      [...table.uniques, ...table.partialUniques]
        .filter((columns) => table.foreignKeys.some(({ column }) => columns.includes(column)))
        .flatMap((columns) => {
          const victim = fixture.row(table.name, fixture.south);
          const own = flagged(fixture.row(table.name, fixture.north));
          const insert = insertOf(table, copyOf(own, newId(), pick(victim, columns)));
          const change = columns.map((column) => `"${column}" = ${literal(victim[column])}`);
          const free = [owner, `delete from ${table.path} where id = '${victim.id}'`] as const;
          const actor = tenant(fixture.north);
          return [
            insert,
            `${insert} on conflict do nothing`,
            `update ${table.path} set ${change.join(", ")}`,
          ].flatMap((statement) =>
            [[], isParent(tables, table) ? [] : [free]].map((before) => ({
              steps: [...before, [actor, statement] as const],
              verdict: refused(`${table.name} (${columns.join(", ")}): a slot of another's`),
            })),
          );
        }),
    ),
  );
});

/** What an upsert of `self` meets: a row of `other` by its id, or by a unique column that names no parent. */
const conflicts = ({ fixture }: Ground, table: Table, self: string, other: string | null) =>
  [["id"], ...table.uniques]
    .filter((columns) => !table.foreignKeys.some(({ column }) => columns.includes(column)))
    .map((columns) => {
      const own = copyOf(fixture.row(table.name, self), newId());
      return {
        columns: quoted(columns),
        insert: insertOf(table, { ...own, ...pick(fixture.row(table.name, other), columns) }),
      };
    });

export const upserts = guarantee(
  "an upsert reaches no row of another organization or of none",
  (ground) =>
    ground.try(
      forEach(ground, (table, self, other) =>
        [other, null].flatMap((organization) =>
          conflicts(ground, table, self, organization).flatMap(({ columns, insert }) => [
            {
              steps: [
                [tenant(self), `${insert} on conflict (${columns}) do update set id = excluded.id`],
              ],
              verdict: refused(`${table.name}: ON CONFLICT (${columns}) DO UPDATE`),
            },
            {
              steps: [[tenant(self), `${insert} on conflict (${columns}) do nothing`]],
              watches: true,
              verdict: touches(`${table.name}: ON CONFLICT (${columns}) DO NOTHING`, []),
            },
          ]),
        ),
      ),
    ),
);

export const ownUpserts = guarantee("an upsert changes the caller's own row", (ground) =>
  ground.try(
    forEach(ground, (table, self) => {
      const own = ground.fixture.row(table.name, self);
      const upsert = `${insertOf(table, own)} on conflict (id) do update set id = excluded.id`;
      return [
        {
          steps: [[tenant(self), upsert]],
          watches: true,
          verdict: touches(`${table.name}: upsert`, [`${table.name} ${own.id}`]),
        },
      ];
    }),
  ),
);

export const merges = guarantee("MERGE writes exactly the caller's rows", (ground) =>
  ground.try(
    forEach(ground, ({ name, path }, self, other) => {
      const victim = ground.fixture.row(name, other);
      const theirs = copyOf(victim, newId());
      const columns = Object.keys(theirs);
      const into = `merge into ${path} as t`;
      const known = `using (select '${victim.id}'::uuid as id) as known on t.id = known.id`;
      const given = `using jsonb_populate_record(null::${path}, ${literal(JSON.stringify(theirs))}) as given on false`;
      const insert = `insert (${quoted(columns)}) values (${columns.map((column) => `given."${column}"`).join(", ")})`;
      return [
        {
          steps: [
            [
              tenant(self),
              `${into} using (select) as one on t.id is not null when matched then update set id = t.id`,
            ],
          ],
          watches: true,
          verdict: touches(`${name}: MERGE over all`, placesOf(ground, name, self)),
        },
        {
          steps: [[tenant(self), `${into} ${known} when matched then delete`]],
          verdict: counts(`${name}: MERGE over another's row`, 0),
        },
        {
          steps: [[tenant(self), `${into} ${given} when not matched then ${insert}`]],
          verdict: refused(`${name}: MERGE that inserts for another`),
        },
      ];
    }),
  ),
);

export const copies = guarantee(
  "INSERT … SELECT copies no row of another organization or of none",
  (ground) =>
    ground.try(
      forEach(ground, ({ name, path }, self, other) =>
        [other, null].map((organization) => {
          const row = ground.fixture.row(name, organization);
          const columns = quoted(Object.keys(row).filter((column) => column !== "id"));
          return {
            steps: [
              [
                tenant(self),
                `insert into ${path} (${columns}) select ${columns} from ${path} where id = '${row.id}'`,
              ],
            ],
            verdict: counts(`${name}: INSERT … SELECT`, 0),
          };
        }),
      ),
    ),
);

export const writeGuarantees = [slots, upserts, ownUpserts, merges, copies];
