import type { Mutation } from "./breaking.ts";
import * as callers from "./callers.ts";
import * as copy from "./copy.ts";
import * as helpers from "./helpers.ts";
import * as leaks from "./leaks.ts";
import * as lints from "./lints.ts";
import { CALLER, perOwnRowHelper, perPolicy, perTable, unchecked } from "./places.ts";
import * as queries from "./queries.ts";
import * as references from "./references.ts";
import * as rows from "./rows.ts";
import * as writes from "./writes.ts";

export const policyBreaks: Mutation[] = [
  {
    kind: "no SELECT policy",
    caughtBy: [rows.seesOwn, lints.fivePolicies],
    breaks: perPolicy("SELECT", (policy) => `drop policy ${policy}`),
  },
  {
    kind: "no INSERT policy",
    caughtBy: [rows.ownInserts, lints.fivePolicies],
    breaks: perPolicy("INSERT", (policy) => `drop policy ${policy}`),
  },
  {
    kind: "no UPDATE policy",
    caughtBy: [rows.updatesOwn, writes.ownUpserts, lints.fivePolicies],
    breaks: perPolicy("UPDATE", (policy) => `drop policy ${policy}`),
  },
  {
    kind: "no DELETE policy",
    caughtBy: [rows.removesOwn, lints.fivePolicies],
    breaks: perPolicy("DELETE", (policy) => `drop policy ${policy}`),
  },
  {
    kind: "no policy for service_role",
    caughtBy: [callers.serviceRole, lints.fivePolicies],
    breaks: perPolicy("ALL", (policy) => `drop policy ${policy}`),
  },
  {
    kind: "SELECT USING (true)",
    caughtBy: [
      rows.seesOwn,
      rows.knownIds,
      callers.powerless,
      callers.noJson,
      queries.everyShape,
      queries.conditions,
      queries.prepared,
      queries.secondClaims,
      writes.copies,
      copy.copyTo,
      lints.sameCondition,
    ],
    breaks: perPolicy("SELECT", (policy) => `alter policy ${policy} using (true)`),
  },
  {
    kind: "UPDATE USING (true)",
    caughtBy: [rows.updatesOwn, lints.sameCondition],
    breaks: perPolicy("UPDATE", (policy) => `alter policy ${policy} using (true)`),
  },
  {
    kind: "DELETE USING (true)",
    caughtBy: [rows.removesOwn, lints.sameCondition],
    breaks: perPolicy("DELETE", (policy) => `alter policy ${policy} using (true)`),
  },
  {
    kind: "INSERT WITH CHECK (true)",
    caughtBy: [rows.addsToOwn, lints.sameCondition],
    breaks: perPolicy("INSERT", (policy) => `alter policy ${policy} with check (true)`),
  },
  {
    kind: "UPDATE WITH CHECK (true)",
    caughtBy: [rows.moves, lints.sameCondition],
    breaks: perPolicy("UPDATE", (policy) => `alter policy ${policy} with check (true)`),
  },
  {
    kind: "the helper not in a sub-select",
    caughtBy: [lints.wrapped],
    breaks: perTable((table, { policy }) => {
      const { place, using } = policy(table, "SELECT");
      const bare = using.replace(/\( SELECT (\S+\(\)) AS \w+\)/, "$1");
      return [`alter policy ${place} using (${bare})`];
    }),
  },
  {
    kind: "a policy for everyone",
    caughtBy: [lints.fivePolicies],
    breaks: perPolicy("SELECT", (policy) => `alter policy ${policy} to public`),
  },
  {
    kind: "service_role's policy for tenants too",
    caughtBy: [rows.seesOwn, lints.fivePolicies],
    breaks: perPolicy("ALL", (policy) => `alter policy ${policy} to service_role, authenticated`),
  },
  {
    kind: "one more permissive policy",
    caughtBy: [rows.knownIds, lints.fivePolicies],
    breaks: perTable(({ path, hasOrganization }) =>
      hasOrganization
        ? [`create policy more on ${path} to authenticated using (organization_id is null)`]
        : [],
    ),
  },
  {
    kind: "one more restrictive policy",
    caughtBy: [rows.seesOwn, lints.fivePolicies],
    breaks: perTable(({ path }) => [
      `create policy less on ${path} as restrictive to authenticated using (false)`,
    ]),
  },
  {
    kind: "a policy that trusts a role claim",
    caughtBy: [callers.powerless, lints.sources],
    breaks: perTable((table, { policy }) => {
      const { place, using } = policy(table, "SELECT");
      const role = "nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'";
      return [`alter policy ${place} using (${using} or ${role} = 'service_role')`];
    }),
  },
  {
    kind: "a policy that opens to callers without claims",
    caughtBy: [callers.powerless],
    breaks: perTable((table, { policy }) => {
      const { place, using } = policy(table, "SELECT");
      return [`alter policy ${place} using (${using} or ${CALLER} is null)`];
    }),
  },
  {
    kind: "platform rows for all",
    caughtBy: [rows.knownIds],
    breaks: perTable((table, { policy }) =>
      table.hasOrganization
        ? [
            `alter policy ${policy(table, "SELECT").place}
             using (organization_id = ${CALLER} or organization_id is null)`,
          ]
        : [],
    ),
  },
  {
    kind: "row-level security off",
    caughtBy: [
      rows.seesOwn,
      rows.updatesOwn,
      rows.removesOwn,
      rows.addsToOwn,
      rows.moves,
      queries.locks,
      queries.rowSecurityOff,
      writes.upserts,
      writes.merges,
      copy.copyFrom,
      leaks.noStatistics,
      leaks.blindMerge,
      lints.rowSecurity,
    ],
    breaks: perTable(({ path }) => [`alter table ${path} disable row level security`]),
  },
  {
    kind: "row-level security forced on the owner",
    caughtBy: [lints.rowSecurity],
    breaks: perTable(({ path }) => [`alter table ${path} force row level security`]),
  },
];

export const referenceBreaks: Mutation[] = [
  {
    kind: "a reference not checked by INSERT",
    caughtBy: [references.newRows, references.hiddenIsMissing, lints.checkedReferences],
    breaks: unchecked("INSERT"),
  },
  {
    kind: "a reference not checked by UPDATE",
    caughtBy: [references.changedRows, references.hiddenIsMissing, lints.checkedReferences],
    breaks: unchecked("UPDATE"),
  },
  {
    kind: "no reference checked by INSERT",
    caughtBy: [references.newRows, leaks.oneStatement],
    breaks: perTable((table, { policy }) =>
      table.foreignKeys.length > 0 && table.hasOrganization
        ? [
            `alter policy ${policy(table, "INSERT").place}
             with check (organization_id = ${CALLER})`,
          ]
        : [],
    ),
  },
  {
    kind: "the slots of unique constraints not checked",
    caughtBy: [writes.slots],
    breaks: perTable((table, { policy }) =>
      [...table.uniques, ...table.partialUniques].some((columns) =>
        table.foreignKeys.some(({ column }) => columns.includes(column)),
      )
        ? [`alter policy ${policy(table, "INSERT").place} with check (true)`]
        : [],
    ),
  },
  {
    kind: "references refused even to own rows",
    caughtBy: [references.ownParents],
    breaks: perTable((table, { policy }) =>
      table.foreignKeys.length > 0
        ? [`alter policy ${policy(table, "UPDATE").place} with check (false)`]
        : [],
    ),
  },
  {
    kind: "a table without organization, open by its other parent",
    caughtBy: [references.throughParents, lints.sameCondition],
    breaks: perTable((table, { policy }) => {
      const [, second] = table.foreignKeys;
      if (table.hasOrganization || !second) return [];
      const { place, using } = policy(table, "SELECT");
      const other = `exists (select from public.${second.parent} as p
        where p.id = ${second.column} and p.organization_id = ${CALLER})`;
      return [`alter policy ${place} using (${using} or ${other})`];
    }),
  },
  {
    kind: "the helper for self references answers about all",
    caughtBy: [references.newRows, references.changedRows, helpers.ownRowHelpers],
    breaks: perOwnRowHelper(
      (name, { path }) => `create or replace function ${name}(row_id uuid) returns boolean
       language sql stable parallel safe security definer set search_path = ''
       as $$ select exists (select from ${path} as p where p.id = row_id) $$`,
    ),
  },
  {
    kind: "the helper for self references answers about the platform's",
    caughtBy: [references.newRows, references.changedRows, helpers.ownRowHelpers],
    breaks: perOwnRowHelper(
      (name, { path }) => `create or replace function ${name}(row_id uuid) returns boolean
       language sql stable parallel safe security definer set search_path = ''
       as $$ select exists (select from ${path} as p where p.id = row_id
         and p.organization_id is not distinct from meta_agent.current_organization_id())
         or exists (select from ${path} as p where p.id = row_id and p.organization_id is null) $$`,
    ),
  },
];
