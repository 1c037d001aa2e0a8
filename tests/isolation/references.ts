import { randomUUID } from "node:crypto";
import {
  type Ground,
  type Outcome,
  type Step,
  type Trial,
  guarantee,
  owner,
  tenant,
} from "./attack.ts";
import {
  anotherRow,
  copyOf,
  insertOf,
  literal,
  newId,
  isParent,
  parentOf,
  uuids,
} from "./statements.ts";
import type { ForeignKey, Table } from "./survey.ts";
import { counts, refused, told } from "./verdicts.ts";

/** Trials for every foreign key. */
const forEachKey = (
  { tables }: Ground,
  trials: (table: Table, key: ForeignKey) => Trial[],
): Trial[] => tables.flatMap((table) => table.foreignKeys.flatMap((key) => trials(table, key)));

/** An INSERT of one more row, pointing at `parent`, with no other row in its unique slots. */
function insertPointing(ground: Ground, table: Table, key: ForeignKey, parent: string): Step[] {
  const { fixture, tables } = ground;
  const row = { ...anotherRow(ground, table, fixture.north), [key.column]: parent };
  const insert: Step = [tenant(fixture.north), insertOf(table, row)];
  if (isParent(tables, table)) return [insert];
  return [
    [
      owner,
      `delete from ${table.path} where id = any (${uuids(fixture.ids(table.name, fixture.north))})`,
    ],
    insert,
  ];
}

/** An UPDATE of all the caller's rows; it reads no column, so that no SELECT policy helps. */
const updatePointing = (
  { fixture }: Ground,
  table: Table,
  key: ForeignKey,
  parent: string,
): Step[] => [[tenant(fixture.north), `update ${table.path} set "${key.column}" = '${parent}'`]];

const strangers = ({ fixture }: Ground, key: ForeignKey) => [
  { whose: "another organization's", id: parentOf(fixture, key, fixture.south) },
  { whose: "the platform's", id: parentOf(fixture, key, null) },
];

export const newRows = guarantee(
  "no new row points at a row of another organization or of none",
  (ground) =>
    ground.try(
      forEachKey(ground, (table, key) =>
        strangers(ground, key).map(({ whose, id }) => ({
          steps: insertPointing(ground, table, key, id),
          verdict: refused(`${table.name}.${key.column} at ${whose} row by INSERT`),
        })),
      ),
    ),
);

export const changedRows = guarantee(
  "no row is pointed at a row of another organization or of none",
  (ground) =>
    ground.try(
      forEachKey(ground, (table, key) =>
        strangers(ground, key).map(({ whose, id }) => ({
          steps: updatePointing(ground, table, key, id),
          verdict: refused(`${table.name}.${key.column} at ${whose} row by UPDATE`),
        })),
      ),
    ),
);

// Without this the two above could be refused for a reason of their own making.
export const ownParents = guarantee(
  "every reference may point at a row of its own organization",
  (ground) =>
    ground.try(
      forEachKey(ground, (table, key) => {
        const parent = ground.fixture.ids(key.parent, ground.fixture.north)[0] ?? "";
        return [insertPointing, updatePointing].map((pointing) => ({
          steps: pointing(ground, table, key, parent),
          // Two columns that must differ are no matter of tenancy.
          verdict: (outcome) =>
            outcome.code === "23514" || (outcome.code === null && outcome.count > 0)
              ? undefined
              : `${table.name}.${key.column} at its own organization's row: ${told(outcome)}`,
        }));
      }),
    ),
);

export const hiddenIsMissing = guarantee(
  "a hidden parent cannot be told from a missing one",
  (ground) => {
    const said = ({ code, message, detail }: Outcome) => `${code} ${message} ${detail}`;
    return ground.try(
      forEachKey(ground, (table, key) =>
        [insertPointing, updatePointing].flatMap((pointing): Trial[] => {
          let missing = "";
          return [
            {
              steps: pointing(ground, table, key, randomUUID()),
              verdict: (outcome) => {
                missing = said(outcome);
                return undefined;
              },
            },
            {
              steps: pointing(
                ground,
                table,
                key,
                parentOf(ground.fixture, key, ground.fixture.south),
              ),
              verdict: (outcome) =>
                said(outcome) === missing
                  ? undefined
                  : `${table.name}.${key.column}: missing says "${missing}", hidden says "${said(outcome)}"`,
            },
          ];
        }),
      ),
    );
  },
);

// As service_role may make it by mistake: the first parent is one organization's, the second another's.
export const throughParents = guarantee(
  "a row without an organization is its first parent's, and is written only where all parents are",
  (ground) => {
    const { north, south } = ground.fixture;
    return ground.try(
      ground.tables
        .filter(({ hasOrganization }) => !hasOrganization)
        .flatMap((table) => {
          const [first, second] = table.foreignKeys;
          if (!first || !second) return [];
          const mixed = copyOf(ground.fixture.row(table.name, north), newId(), {
            [second.column]: parentOf(ground.fixture, second, south),
          });
          const insert = [owner, insertOf(table, mixed)] as const;
          const where = `where id = '${mixed.id}'`;
          const trial = (self: string, statement: string, verdict: Trial["verdict"]): Trial => ({
            steps: [insert, [tenant(self), statement]],
            verdict,
          });
          const what = `${table.name} of ${first.column}'s organization alone`;
          return [
            trial(north, `select from ${table.path} ${where}`, counts(`${what}: SELECT`, 1)),
            trial(north, `delete from ${table.path} ${where}`, counts(`${what}: DELETE`, 1)),
            trial(north, `update ${table.path} set id = id ${where}`, refused(`${what}: UPDATE`)),
            trial(north, insertOf(table, copyOf(mixed, newId())), refused(`${what}: INSERT`)),
            trial(
              south,
              `select from ${table.path} ${where}`,
              counts(`${what}: SELECT of other`, 0),
            ),
            trial(
              south,
              `delete from ${table.path} ${where}`,
              counts(`${what}: DELETE of other`, 0),
            ),
            trial(
              south,
              `update ${table.path} set "${second.column}" = '${parentOf(ground.fixture, second, south)}'`,
              (outcome) =>
                outcome.code === null ? undefined : `${what}: UPDATE of other: ${told(outcome)}`,
            ),
          ];
        }),
    );
  },
);

const LOGS = "agent_execution_logs";

// The recorder says what its rows refer to, for it to be looked up once. So may anybody, and anything.
export const namedReferences = guarantee(
  "naming what new logs refer to opens no row of another organization and closes none of its own",
  (ground) => {
    const { fixture, tables } = ground;
    const table = tables.find(({ name }) => name === LOGS);
    if (!table) throw new Error(`no table ${LOGS}`);
    const { north, south } = fixture;
    const ids = (parent: string) =>
      [north, south, null].map((organization) => fixture.row(parent, organization).id);
    const [agents, prompts] = [ids("agent_registry"), ids("agent_prompts")];
    const [agent = "", theirAgent = ""] = agents;
    const [prompt = "", theirPrompt = ""] = prompts;
    const pairs = agents.flatMap((a) => ["", a, ...prompts].map((p) => `${a}/${p}`)).join(",");
    const refer = (named: string, agentId: string, promptId: string | null): Step[] => [
      // A prompt of another organization may have any id that is not taken, an agent's of the caller too.
      [
        owner,
        `insert into public.agent_prompts (id, agent_id, version, system_prompt, organization_id)
         select '${agent}', agent_id, 'trap', system_prompt, organization_id from public.agent_prompts where id = '${theirPrompt}'`,
      ],
      [tenant(north), `select set_config('meta_agent.log_references', ${literal(named)}, true)`],
      [
        tenant(north),
        insertOf(table, {
          ...anotherRow(ground, table, north),
          agent_id: agentId,
          prompt_version_id: promptId,
        }),
      ],
    ];
    const lists = {
      "all pairs": pairs,
      "all pairs in capitals": pairs.toUpperCase(),
      "what is no pair": `,/,//,x,${agent},${agent}/x,/${prompt},{},${agent}/${prompt}0,NULL`,
      "more than is read": `${pairs},`.repeat(1000),
    };
    return ground.try(
      Object.entries(lists).flatMap(([what, named]) => [
        ...[
          [theirAgent, null],
          [agents[2] ?? "", null],
          [theirAgent, theirPrompt],
          [theirAgent, prompt],
          [agent, theirPrompt],
          [agent, prompts[2] ?? ""],
          [agent, agent],
          [randomUUID(), null],
        ].map(([agentId = "", promptId]): Trial => ({
          steps: refer(named ?? "", agentId ?? "", promptId ?? null),
          verdict: refused(`${LOGS} at ${agentId} and ${promptId}, naming ${what}`),
        })),
        ...[null, prompt].map((promptId): Trial => ({
          steps: refer(named ?? "", agent, promptId),
          verdict: counts(`${LOGS} at its own, naming ${what}`, 1),
        })),
      ]),
    );
  },
);

export const referenceGuarantees = [
  newRows,
  changedRows,
  ownParents,
  hiddenIsMissing,
  throughParents,
  namedReferences,
];
