import type { Mutation } from "./breaking.ts";
import * as callers from "./callers.ts";
import * as helpers from "./helpers.ts";
import * as lints from "./lints.ts";
import {
  APP,
  CALLER,
  TOP,
  UUID,
  everywhere,
  helper,
  perFunction,
  perOwnRowHelper,
  perTable,
  uuidFrom,
} from "./places.ts";
import * as references from "./references.ts";
import * as rows from "./rows.ts";

const OWN_ROW = ["own_agent_prompts_row", "own_learning_log_row"];
const LEARNINGS = "latest_learnings";
const REFERENCES = "own_log_references";
const HELPERS = ["current_organization_id", ...OWN_ROW, LEARNINGS, REFERENCES];
/** For the owner alone. */
const INTERNAL = ["isolate", "touch_updated_at", "roll_budget", "mirror_circuit"];

const foundBy = (parent: string, id: string) =>
  `select r.id from public.${parent} as r where r.id = ${id}`;

/** The function that looks up what new logs name, with another way to do it. */
const logReferences =
  (find: (parent: string, id: string) => string, as = ""): Mutation["breaks"] =>
  () => [
    {
      targets: ["agent_execution_logs"],
      statements: [
        `create or replace function meta_agent.own_log_references()
         returns table (agent_id uuid, has_prompt boolean, prompt_or_agent uuid)
         language sql stable parallel safe ${as} set search_path = pg_catalog, pg_temp as $$
           select a.id, p.id is not null, coalesce(p.id, a.id)
           from string_to_table(nullif(current_setting('meta_agent.log_references', true), ''), ',') as pair
           cross join lateral (${find("agent_registry", "split_part(pair, '/', 1)::uuid")}) as a (id)
           left join lateral (${find("agent_prompts", "nullif(split_part(pair, '/', 2), '')::uuid")}) as p (id) on true $$`,
      ],
    },
  ];

export const claimBreaks: Mutation[] = [
  {
    kind: "the helper reads user_metadata",
    caughtBy: [callers.powerless],
    breaks: everywhere(
      helper(uuidFrom(`coalesce(${TOP}, ${APP}, claims -> 'user_metadata' -> 'organization_id')`)),
    ),
  },
  {
    kind: "the helper does not read app_metadata",
    caughtBy: [callers.opening],
    breaks: everywhere(helper(uuidFrom(TOP))),
  },
  {
    kind: "the helper prefers app_metadata",
    caughtBy: [callers.opening],
    breaks: everywhere(helper(uuidFrom(`coalesce(${APP}, ${TOP})`))),
  },
  {
    kind: "the helper falls back to app_metadata when the top-level is malformed",
    caughtBy: [callers.powerless],
    breaks: everywhere(helper(`coalesce(${uuidFrom(TOP)}, ${uuidFrom(APP)})`)),
  },
  {
    kind: "the helper takes a null at the top-level for an absent key",
    caughtBy: [callers.powerless],
    breaks: everywhere(helper(uuidFrom(`coalesce(nullif((${TOP})::text, 'null')::json, ${APP})`))),
  },
  {
    kind: "the helper raises on what is no uuid",
    caughtBy: [callers.powerless],
    breaks: everywhere(
      helper(
        `coalesce(claims ->> 'organization_id', claims -> 'app_metadata' ->> 'organization_id')::uuid`,
      ),
    ),
  },
  {
    kind: "the helper finds a uuid anywhere in the claim",
    caughtBy: [callers.powerless],
    breaks: everywhere(helper(uuidFrom(`coalesce(${TOP}, ${APP})`, UUID))),
  },
  {
    kind: "the helper knows one organization only",
    caughtBy: [rows.seesOwn, callers.opening],
    breaks: everywhere(helper("'00000000-0000-0000-0000-000000000000'::uuid")),
  },
  {
    kind: "the helper is VOLATILE",
    caughtBy: [lints.volatility],
    breaks: everywhere("alter function meta_agent.current_organization_id() volatile"),
  },
  {
    kind: "the helper is not parallel safe",
    caughtBy: [lints.volatility],
    breaks: everywhere("alter function meta_agent.current_organization_id() parallel unsafe"),
  },
];

export const functionBreaks: Mutation[] = [
  {
    kind: "a search path is not pinned",
    caughtBy: [lints.searchPaths],
    breaks: perFunction(HELPERS, (path) => `alter ${path} reset search_path`),
  },
  {
    kind: "a search path is empty, so that pg_temp comes first",
    caughtBy: [lints.searchPaths],
    breaks: perFunction(HELPERS, (path) => `alter ${path} set search_path = ''`),
  },
  {
    kind: "a search path leads through public",
    caughtBy: [lints.searchPaths],
    breaks: perFunction(HELPERS, (path) => `alter ${path} set search_path = public`),
  },
  {
    kind: "a helper finds types in pg_temp first",
    caughtBy: [helpers.traps],
    breaks: perOwnRowHelper(() => helper(uuidFrom(`coalesce(${TOP}, ${APP})`))),
  },
  {
    kind: "a helper that reads user_metadata or a role claim",
    caughtBy: [lints.sources],
    breaks: () =>
      ["user_metadata", "role"].map((key) => ({
        targets: ["current_organization_id"],
        statements: [helper(uuidFrom(`coalesce(${TOP}, ${APP}, claims -> '${key}')`))],
      })),
  },
  {
    kind: "EXECUTE for everyone",
    caughtBy: [lints.execution],
    breaks: perFunction([...HELPERS, ...INTERNAL], (path) => `grant execute on ${path} to public`),
  },
  {
    kind: "EXECUTE of what is nobody's for tenants",
    caughtBy: [lints.execution],
    breaks: perFunction(INTERNAL, (path) => `grant execute on ${path} to authenticated`),
  },
  {
    kind: "EXECUTE of the owner's helpers for anon",
    caughtBy: [lints.execution, lints.definers],
    breaks: perFunction([...OWN_ROW, LEARNINGS], (path) => `grant execute on ${path} to anon`),
  },
  {
    kind: "EXECUTE taken from tenants",
    caughtBy: [lints.execution],
    breaks: perFunction(HELPERS, (path) => `revoke execute on ${path} from authenticated`),
  },
  {
    kind: "a helper is LEAKPROOF",
    caughtBy: [lints.definers],
    breaks: perFunction(HELPERS, (path) => `alter ${path} leakproof`),
  },
  {
    kind: "the function that finds learnings forgets the organization",
    caughtBy: [helpers.learningsBySubject],
    breaks: () => [
      {
        targets: ["learning"],
        statements: [
          `create or replace function meta_agent.latest_learnings(subject text, most integer) returns setof uuid
           language sql stable parallel safe strict security definer set search_path = pg_catalog, pg_temp as
           'select id from public.learning_log where is_active and applicable_to @> array[subject] limit most'`,
        ],
      },
    ],
  },
  {
    kind: "what new logs refer to is believed as it is named",
    caughtBy: [references.namedReferences],
    breaks: logReferences((_, id) => `select ${id}`),
  },
  {
    kind: "the prompts that new logs name are believed",
    caughtBy: [references.namedReferences],
    breaks: logReferences((parent, id) =>
      parent === "agent_registry" ? foundBy(parent, id) : `select ${id}`,
    ),
  },
  {
    kind: "what new logs name is looked up among the rows of all",
    caughtBy: [references.namedReferences],
    breaks: logReferences(foundBy, "security definer"),
  },
  {
    kind: "a name that is no uuid stops the insert",
    caughtBy: [references.namedReferences],
    breaks: logReferences(foundBy),
  },
  {
    kind: "the policy of new logs does not ask whether the pair has a prompt",
    caughtBy: [references.namedReferences],
    breaks: () => [
      {
        targets: ["agent_execution_logs"],
        statements: [
          `alter policy "Users add own org logs" on public.agent_execution_logs with check (
            organization_id = ${CALLER} and (agent_id, coalesce(prompt_version_id, agent_id))
              in (select agent_id, prompt_or_agent from meta_agent.own_log_references()))`,
        ],
      },
    ],
  },
  {
    kind: "EXECUTE of what answers an organization for service_role, which has none",
    caughtBy: [lints.execution, helpers.learningsBySubject],
    breaks: () => [
      {
        targets: [LEARNINGS],
        statements: ["grant execute on function meta_agent.latest_learnings to service_role"],
      },
    ],
  },
  {
    kind: "a helper that runs as its caller runs as the owner",
    caughtBy: [lints.definers],
    breaks: perFunction(
      ["current_organization_id", "uuidv7", REFERENCES],
      (path) => `alter ${path} security definer`,
    ),
  },
  {
    kind: "one more function runs as the owner",
    caughtBy: [lints.definers, lints.execution],
    breaks: perTable(({ name, path }) => [
      `create function meta_agent.${name}() returns setof ${path} language sql stable
       security definer set search_path = '' as 'table ${path}'`,
    ]),
  },
];
