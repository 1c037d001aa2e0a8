import { type Ground, type Step, type Trial, guarantee, owner, tenant } from "./attack.ts";
import {
  belongsBy,
  blindUpdate,
  copyOf,
  newId,
  freshRows,
  insertOf,
  literal,
  uuids,
} from "./statements.ts";
import type { Table } from "./survey.ts";
import { answers, counts, refused, told, touches, touchesOnly } from "./verdicts.ts";

/** Trials for every table and each of the two organizations. */
export const forEach = (
  { tables, fixture }: Ground,
  trials: (table: Table, self: string, other: string) => Trial[],
): Trial[] =>
  tables.flatMap((table) => [
    ...trials(table, fixture.north, fixture.south),
    ...trials(table, fixture.south, fixture.north),
  ]);

/** The rows of an organization as {@link touches} names them. */
export const placesOf = ({ fixture }: Ground, table: string, organization: string) =>
  fixture.ids(table, organization).map((id) => `${table} ${id}`);

export const seesOwn = guarantee("an organization sees exactly its own rows", (ground) =>
  ground.try(
    forEach(ground, ({ name, path }, self) => [
      {
        steps: [[tenant(self), `select id from ${path}`]],
        reads: true,
        verdict: answers(`${name}: SELECT`, ground.fixture.ids(name, self)),
      },
    ]),
  ),
);

export const updatesOwn = guarantee(
  "an UPDATE without WHERE writes exactly the caller's rows",
  (ground) =>
    ground.try(
      forEach(ground, (table, self) => [
        {
          steps: [[tenant(self), blindUpdate(table, ground.fixture.row(table.name, self))]],
          watches: true,
          verdict: touches(`${table.name}: UPDATE`, placesOf(ground, table.name, self)),
        },
      ]),
    ),
);

// The owner takes the rows away that would hold a parent, or go with it without being asked for.
export const removesOwn = guarantee(
  "a DELETE without WHERE removes exactly the caller's rows",
  (ground) => {
    const { fixture, tables } = ground;
    const clear = (self: string, { name, path }: Table): Step => [
      owner,
      `delete from ${path} where id = any (${uuids(fixture.ids(name, self))})`,
    ];
    const place = ({ name }: Table) => fixture.order.indexOf(name);
    return ground.try(
      forEach(ground, (table, self) => {
        const later = tables
          .filter((other) => place(other) > place(table))
          .toSorted((one, other) => place(other) - place(one));
        return [
          {
            steps: [
              ...later.map((other) => clear(self, other)),
              [tenant(self), `delete from ${table.path}`],
            ],
            watches: true,
            verdict: (outcome) =>
              counts(`${table.name}: DELETE`, fixture.ids(table.name, self).length)(outcome) ??
              touchesOnly(
                `${table.name}: DELETE`,
                tables.flatMap(({ name }) => placesOf(ground, name, self)),
              )(outcome),
          },
        ];
      }),
    );
  },
);

export const knownIds = guarantee(
  "a known id opens no row of another organization or of none",
  (ground) =>
    ground.try(
      forEach(ground, ({ name, path }, self, other) =>
        [other, null].flatMap((organization) => {
          const { id } = ground.fixture.row(name, organization);
          return [
            `select from ${path} where id = '${id}'`,
            `update ${path} set id = id where id = '${id}'`,
            `delete from ${path} where id = '${id}'`,
          ].map((statement) => ({
            steps: [[tenant(self), statement]],
            verdict: counts(`${name}: ${statement}`, 0),
          }));
        }),
      ),
    ),
);

export const addsToOwn = guarantee("no row is added to another organization or to none", (ground) =>
  ground.try(
    forEach(ground, (table, self, other) =>
      [other, null].map((organization) => {
        const row = copyOf(ground.fixture.row(table.name, organization), newId());
        return {
          steps: [[tenant(self), insertOf(table, row)]],
          verdict: refused(`${table.name}: INSERT for ${organization ? "another" : "none"}`),
        };
      }),
    ),
  ),
);

// Once for all rows, without a word that would bring the SELECT policy in, and once for a known one.
export const moves = guarantee("no row is moved to another organization or to none", (ground) =>
  ground.try(
    forEach(ground, (table, self, other) =>
      [other, null].flatMap((organization) => {
        const column = belongsBy(table);
        const target = ground.fixture.row(table.name, organization)[column];
        const update = `update ${table.path} set "${column}" = ${literal(target)}`;
        const where = `where id = '${ground.fixture.row(table.name, self).id}'`;
        return [update, `${update} ${where}`].map((statement) => ({
          steps: [[tenant(self), statement]],
          verdict: refused(`${table.name}: ${column} of ${organization ? "another" : "none"}`),
        }));
      }),
    ),
  ),
);

export const ownInserts = guarantee(
  "rows inserted without an organization are the caller's",
  (ground) => {
    const { tables, fixture } = ground;
    const rows = freshRows(ground, fixture.north);
    const strays = tables
      .filter(({ hasOrganization }) => hasOrganization)
      .map(({ name, path }) => {
        const ids = rows.flatMap(({ table, row }) => (table.name === name ? [row.id] : []));
        return `select ${literal(name)} as "table" from ${path}
        where id = any ('{${ids.join(",")}}') and organization_id is distinct from '${fixture.north}'`;
      });
    return ground.try([
      {
        steps: [
          ...rows.map(({ table, row }) => [tenant(fixture.north), insertOf(table, row)] as const),
          [owner, strays.join(" union all ")],
        ],
        reads: true,
        verdict: (outcome) =>
          outcome.code === null && outcome.count === 0
            ? undefined
            : `${rows[outcome.step]?.table.name ?? JSON.stringify(outcome.answer)}: INSERT without organization: ${told(outcome)}`,
      },
    ]);
  },
);

export const rowGuarantees = [
  seesOwn,
  updatesOwn,
  removesOwn,
  knownIds,
  addsToOwn,
  moves,
  ownInserts,
];
