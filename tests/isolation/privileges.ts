import { type Actor, type Trial, guarantee, owner, tenant } from "./attack.ts";
import { refused } from "./verdicts.ts";

/** What no caller may do to a table, each naming a privilege or ownership that it must not have. */
const onTable = (t: string): string[] => [
  `truncate ${t}`,
  `truncate ${t} cascade`,
  `create trigger spy after insert on ${t} for each row execute function suppress_redundant_updates_trigger()`,
  `create rule spy as on insert to ${t} do also notify spy`,
  `create policy spy on ${t} using (true)`,
  `create index on ${t} (id)`,
  `create statistics public.spy on id, ctid from ${t}`,
  `create temp table spy () inherits (${t})`,
  `alter table ${t} disable row level security`,
  `alter table ${t} no force row level security`,
  `alter table ${t} add column spy text`,
  `alter table ${t} owner to current_user`,
  `alter table ${t} disable trigger all`,
  `drop table ${t} cascade`,
  `comment on table ${t} is 'spy'`,
  `create view public.spy as select * from ${t}`,
  `create view meta_agent.spy as select * from ${t}`,
  `create materialized view public.spy as select * from ${t}`,
  `create function public.spy() returns setof ${t} language sql as 'table ${t}'`,
  `create function meta_agent.spy() returns setof ${t} language sql as 'table ${t}'`,
  `copy ${t} to '/tmp/spy'`,
  `copy ${t} from '/tmp/spy'`,
  `copy ${t} to program 'cat'`,
];

/** What no caller may do at all. */
const anywhere = [
  "create table public.spy ()",
  "create table meta_agent.spy ()",
  "create schema spy",
  "create role spy",
  "alter role authenticated bypassrls",
  "alter role authenticated superuser",
  "grant service_role to authenticated",
  "set session_replication_role = replica",
  "alter function meta_agent.current_organization_id() owner to current_user",
  "alter function meta_agent.current_organization_id() reset all",
  "drop function meta_agent.current_organization_id() cascade",
  `create or replace function meta_agent.current_organization_id() returns uuid language sql as 'select null::uuid'`,
  "select meta_agent.isolate('agent_registry', 'agents')",
  "select from drizzle.__meta_agent_migrations",
  "delete from drizzle.__meta_agent_migrations",
  "select from pg_statistic",
  "select from pg_authid",
  "select pg_read_file('/etc/passwd')",
];

export const nothingElse = guarantee(
  "no caller truncates, attaches, refers, creates or alters anything",
  ({ tables, fixture, try: attempt }) => {
    const callers: Actor[] = [
      tenant(fixture.north),
      { role: "anon", claims: "" },
      { role: "service_role", claims: "" },
    ];
    const trials = (name: string, statements: string[]): Trial[] =>
      callers.flatMap((actor) =>
        statements.map((statement) => ({
          steps: [[actor, statement]],
          verdict: refused(`${name}: ${statement} as ${actor.role}`),
        })),
      );
    return attempt([
      ...tables.flatMap(({ name, path }) => [
        ...trials(name, onTable(path)),
        // With a schema of its own, only the privilege REFERENCES is between a caller and a key.
        {
          steps: [
            [owner, "create schema spy authorization authenticated"],
            [tenant(fixture.north), `create table spy.child (id uuid references ${path})`],
          ],
          verdict: refused(`${name}: REFERENCES`),
        } as const,
      ]),
      ...trials("database", anywhere),
    ]);
  },
);
export const privilegeGuarantees = [nothingElse];
