import type { Mutation } from "./breaking.ts";
import * as callers from "./callers.ts";
import * as helpers from "./helpers.ts";
import * as lints from "./lints.ts";
import {
  APP,
  TOP,
  UUID,
  everywhere,
  helper,
  perFunction,
  perOwnRowHelper,
  perTable,
  uuidFrom,
} from "./places.ts";
import * as rows from "./rows.ts";

const OWN_ROW = ["own_agent_prompts_row", "own_learning_log_row"];
const LEARNINGS = "latest_learnings";
const HELPERS = ["current_organization_id", ...OWN_ROW, LEARNINGS];
/** For the owner alone. */
const INTERNAL = ["isolate", "touch_updated_at", "roll_budget", "mirror_circuit"];

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
    kind: "the tenancy helper runs as the owner",
    caughtBy: [lints.definers],
    breaks: perFunction(
      ["current_organization_id", "uuidv7"],
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
