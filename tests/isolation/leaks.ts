import { type Ground, type Outcome, type Trial, guarantee, owner, tenant } from "./attack.ts";
import { forEach } from "./rows.ts";
import { anotherRow, copyOf, insertOf, newId } from "./statements.ts";
import type { Table } from "./survey.ts";
import { counts, refused, told } from "./verdicts.ts";

export const noStatistics = guarantee(
  "pg_stats is empty for tenants",
  ({ tables, fixture, ...ground }) =>
    ground.try(
      tables.flatMap(({ name, path }) =>
        ["pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"].map((view) => ({
          steps: [
            [owner, `analyze ${path}`],
            [tenant(fixture.north), `select from ${view} where tablename = '${name}'`],
          ],
          verdict: counts(`${name}: ${view}`, 0),
        })),
      ),
    ),
);

// Statements carry values. A session's are shown to who has the rights of its login.
export const noStatements = guarantee(
  "the statements of running sessions are hidden from callers",
  ({ fixture, ...ground }) =>
    ground.try(
      [tenant(fixture.north), { role: "anon", claims: "" } as const].map((actor) => ({
        steps: [
          [
            actor,
            `select from pg_stat_activity where datname = current_database()
             and query <> '<insufficient privilege>'`,
          ],
        ],
        verdict: counts(`${actor.role}: pg_stat_activity`, 0),
      })),
    ),
);

// ── What is not promised. These say what a caller can learn, so that a change of it is noticed. ──

/** Refused as taken, by the name of the constraint alone: no value of the other row is told. */
const taken = (what: string, constraint: string) => (outcome: Outcome) =>
  outcome.code === "23505" && outcome.message?.includes(constraint) && outcome.detail === null
    ? undefined
    : `${what}: expected 23505 for ${constraint} without a detail, got ${told(outcome)} and ${String(outcome.detail)}`;

/** Unique across organizations: kept for compatibility with the first schema. */
const GLOBAL_NAMES = ["agent_registry.agent_name", "prompt_library.name"];

export const takenNames = guarantee(
  "known: a name that another organization has taken can be noticed, of agents and components alone",
  async (ground) => {
    const unique = ground.tables.flatMap((table) =>
      [...table.uniques, ...table.partialUniques]
        .filter((columns) => !table.foreignKeys.some(({ column }) => columns.includes(column)))
        .map((columns) => ({ table, column: columns.join(", ") })),
    );
    const found = unique.map(({ table, column }) => `${table.name}.${column}`);
    return [
      ...GLOBAL_NAMES.filter((name) => !found.includes(name)).map((name) => `${name}: not unique`),
      ...found
        .filter((name) => !GLOBAL_NAMES.includes(name))
        .map((name) => `${name}: unique for all`),
      ...(await ground.try(unique.flatMap(({ table, column }) => takeName(ground, table, column)))),
    ];
  },
);

function takeName({ fixture }: Ground, table: Table, column: string): Trial[] {
  const name = fixture.row(table.name, fixture.south)[column];
  const own = fixture.row(table.name, fixture.north);
  const insert = insertOf(table, copyOf(own, newId(), { [column]: name }));
  const what = `${table.name}.${column}`;
  return [
    {
      steps: [[tenant(fixture.north), insert]],
      verdict: taken(what, `"${table.name}_${column}_key"`),
    },
    {
      steps: [[tenant(fixture.north), `${insert} on conflict do nothing`]],
      verdict: counts(`${what}: ON CONFLICT DO NOTHING`, 0),
    },
  ];
}

export const takenIds = guarantee(
  "known: an id that another organization uses can be noticed by who knows it",
  (ground) =>
    ground.try(
      forEach(ground, (table, self, other) => {
        const { id } = ground.fixture.row(table.name, other);
        const insert = insertOf(table, copyOf(ground.fixture.row(table.name, self), id));
        return [
          {
            steps: [[tenant(self), insert]],
            verdict: taken(`${table.name}.id`, `"${table.name}_pkey"`),
          },
        ];
      }),
    ),
);

export const rowCounts = guarantee(
  "known: how many rows a table has in all can be read from plans and statistics",
  (ground) =>
    ground.try(
      ground.tables.flatMap(({ name, path }) => {
        const caller = tenant(ground.fixture.north);
        const all = [ground.fixture.north, ground.fixture.south, null].flatMap((whose) =>
          ground.fixture.ids(name, whose),
        );
        const own = ground.fixture.ids(name, ground.fixture.north);
        return [
          {
            steps: [
              [owner, `analyze ${path}`],
              [
                caller,
                `select from pg_class where oid = '${path}'::regclass and reltuples >= ${all.length}`,
              ],
            ],
            verdict: counts(`${name}: reltuples`, 1),
          },
          {
            steps: [
              [caller, "set local enable_indexscan = off"],
              [caller, "set local enable_bitmapscan = off"],
              [caller, `explain (analyze, format json) table ${path}`],
            ],
            reads: true,
            verdict: (outcome) => {
              const plan = JSON.stringify(outcome.answer);
              const removed = /"Rows Removed by Filter":(\d+)/.exec(plan);
              return Number(removed?.[1]) >= all.length - own.length
                ? undefined
                : `${name}: EXPLAIN ANALYZE: ${told(outcome)}`;
            },
          },
        ];
      }),
    ),
);

// MERGE is the one statement that meets rows of others when it reads no column; it is refused, but only
// where there are such rows.
export const blindMerge = guarantee(
  "known: a MERGE that reads no column notices that others have rows",
  (ground) =>
    ground.try(
      forEach(ground, ({ name, path }, self) =>
        ["delete", "update set id = default"].map((action) => ({
          steps: [
            [
              tenant(self),
              `merge into ${path} using (select) as one on true when matched then ${action}`,
            ],
          ],
          verdict: refused(`${name}: MERGE with ${action}`),
        })),
      ),
    ),
);

export const tableLocks = guarantee(
  "known: who may send any statement can lock a whole table",
  ({ tables, fixture, ...ground }) =>
    ground.try(
      tables.map(({ name, path }) => ({
        steps: [[tenant(fixture.north), `lock table ${path} in access exclusive mode`]],
        verdict: (outcome) =>
          outcome.code === null ? undefined : `${name}: LOCK TABLE: ${told(outcome)}`,
      })),
    ),
);

// The check of a reference does not see rows of its own statement.
export const oneStatement = guarantee(
  "known: a row and its parent are added by two statements, not by one",
  (ground) => {
    const { tables, fixture } = ground;
    const caller = tenant(fixture.north);
    return ground.try(
      tables.flatMap((child) =>
        child.foreignKeys.flatMap(({ column, parent }) => {
          const table = tables.find(({ name }) => name === parent);
          if (!table) return [];
          const row = anotherRow(ground, table, fixture.north);
          const first = insertOf(table, row);
          const own = fixture.row(child.name, fixture.north);
          const then = insertOf(child, copyOf(own, newId(), { [column]: row.id }));
          const what = `${child.name}.${column}`;
          return [
            {
              steps: [[caller, `with parent as (${first}) ${then}`]],
              verdict: refused(`${what}: with its parent in one statement`),
            },
            {
              steps: [
                [caller, first],
                [caller, then],
              ],
              verdict: (outcome: Outcome) =>
                // A unique slot may be taken: that is no matter of references.
                outcome.final && (outcome.code === null || outcome.code === "23505")
                  ? undefined
                  : `${what}: after its parent: ${told(outcome)}`,
            },
          ];
        }),
      ),
    );
  },
);

export const leaks = [
  noStatistics,
  noStatements,
  takenNames,
  takenIds,
  rowCounts,
  blindMerge,
  tableLocks,
  oneStatement,
];
