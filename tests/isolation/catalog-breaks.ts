import type { Mutation } from "./breaking.ts";
import * as callers from "./callers.ts";
import * as leaks from "./leaks.ts";
import * as lints from "./lints.ts";
import { everywhere, grant, perTable } from "./places.ts";
import * as privileges from "./privileges.ts";
import * as rows from "./rows.ts";

export const privilegeBreaks: Mutation[] = [
  ...["TRUNCATE", "TRIGGER", "REFERENCES"].map((privilege) => ({
    kind: `${privilege} for tenants`,
    caughtBy: [privileges.nothingElse, lints.grants],
    breaks: grant(privilege, "authenticated"),
  })),
  {
    kind: "TRUNCATE for service_role",
    caughtBy: [privileges.nothingElse, lints.grants],
    breaks: grant("truncate", "service_role"),
  },
  {
    kind: "SELECT for anon",
    caughtBy: [callers.anon, lints.grants],
    breaks: grant("select", "anon"),
  },
  {
    kind: "INSERT for everyone",
    caughtBy: [lints.grants],
    breaks: grant("insert", "public"),
  },
  {
    kind: "a column for anon",
    caughtBy: [callers.anon, lints.grants],
    breaks: grant("select (id)", "anon"),
  },
  {
    kind: "a privilege to be passed on",
    caughtBy: [lints.grants],
    breaks: perTable(({ path }) => [`grant select on ${path} to authenticated with grant option`]),
  },
  {
    kind: "SELECT taken from tenants",
    caughtBy: [rows.seesOwn, leaks.rowCounts, lints.grants],
    breaks: perTable(({ path }) => [`revoke select on ${path} from authenticated`]),
  },
  {
    kind: "UPDATE and DELETE taken from tenants",
    caughtBy: [rows.updatesOwn, rows.removesOwn, leaks.tableLocks, lints.grants],
    breaks: perTable(({ path }) => [`revoke update, delete on ${path} from authenticated`]),
  },
  {
    kind: "INSERT taken from service_role",
    caughtBy: [callers.serviceRole, lints.grants],
    breaks: perTable(({ path }) => [`revoke insert on ${path} from service_role`]),
  },
  {
    kind: "schemas open to create in",
    caughtBy: [privileges.nothingElse, lints.schemas],
    breaks: () =>
      ["public", "meta_agent"].map((target) => ({
        targets: [target],
        statements: [`grant create on schema ${target} to authenticated`],
      })),
  },
  {
    kind: "schemas open to use",
    caughtBy: [lints.schemas],
    breaks: () => [
      { targets: ["meta_agent"], statements: ["grant usage on schema meta_agent to anon"] },
      { targets: ["meta_agent"], statements: ["grant usage on schema meta_agent to public"] },
      { targets: ["drizzle"], statements: ["grant usage on schema drizzle to service_role"] },
    ],
  },
];

export const roleBreaks: Mutation[] = [
  {
    kind: "a tenant that bypasses row-level security",
    caughtBy: [rows.seesOwn, rows.updatesOwn, callers.powerless],
    breaks: everywhere("alter role authenticated bypassrls"),
  },
  {
    kind: "a tenant that is a member of service_role",
    caughtBy: [rows.seesOwn, rows.updatesOwn],
    breaks: everywhere("alter role authenticated inherit", "grant service_role to authenticated"),
  },
  {
    kind: "a caller that may read all statistics",
    caughtBy: [leaks.noStatements, lints.roles],
    breaks: () =>
      ["authenticated", "anon"].map((role) => ({
        targets: [role],
        statements: [`alter role ${role} inherit`, `grant pg_read_all_stats to ${role}`],
      })),
  },
  {
    kind: "a role with more than it needs",
    caughtBy: [lints.roles],
    breaks: () => [
      { targets: ["authenticated"], statements: ["alter role authenticated bypassrls"] },
      { targets: ["service_role"], statements: ["alter role service_role bypassrls"] },
      { targets: ["anon"], statements: ["alter role anon superuser"] },
      { targets: ["authenticated"], statements: ["alter role authenticated login"] },
      { targets: ["anon"], statements: ["grant service_role to anon with inherit false"] },
      { targets: ["anon"], statements: ["grant authenticated to anon"] },
      {
        targets: ["service_role"],
        statements: ["grant postgres to service_role"],
      },
    ],
  },
  {
    kind: "a table that a caller owns",
    caughtBy: [lints.roles],
    breaks: perTable(({ path }) => [`alter table ${path} owner to service_role`]),
  },
];

export const tableBreaks: Mutation[] = [
  {
    kind: "no index leads with the organization",
    caughtBy: [lints.organizationIndex],
    breaks: perTable((table, { indexes }) =>
      indexes(table, "organization_id").map((index) => `drop index ${index}`),
    ),
  },
  {
    kind: "only part of the rows is indexed by organization",
    caughtBy: [lints.organizationIndex],
    breaks: perTable((table, { indexes }) =>
      table.hasOrganization
        ? [
            ...indexes(table, "organization_id").map((index) => `drop index ${index}`),
            `create index on ${table.path} (organization_id) where id is not null`,
          ]
        : [],
    ),
  },
  {
    kind: "no index leads with a foreign key",
    caughtBy: [lints.referenceIndex],
    breaks: perTable((table, { indexes }) => {
      const key = table.foreignKeys.find(
        ({ column }) => !table.uniques.some(([first]) => first === column),
      );
      return key ? indexes(table, key.column).map((index) => `drop index ${index}`) : [];
    }),
  },
  {
    kind: "an index twice",
    caughtBy: [lints.duplicateIndex],
    breaks: perTable(({ path }) => [`create unique index on ${path} (id)`]),
  },
  {
    kind: "no statistics on agent and organization",
    caughtBy: [lints.statistics],
    breaks: perTable(({ name, hasOrganization, foreignKeys }) =>
      hasOrganization && foreignKeys.some(({ column }) => column === "agent_id")
        ? [`drop statistics public.${name}_agent_id_organization_id_stat`]
        : [],
    ),
  },
  {
    kind: "no default organization",
    caughtBy: [rows.ownInserts, lints.organizationDefault],
    breaks: perTable(({ path, hasOrganization }) =>
      hasOrganization ? [`alter table ${path} alter organization_id drop default`] : [],
    ),
  },
  {
    kind: "no primary key",
    caughtBy: [leaks.takenIds, lints.primaryKey],
    breaks: perTable(({ name, path }) => [
      `alter table ${path} drop constraint ${name}_pkey cascade`,
    ]),
  },
  {
    kind: "a name unique in its organization only",
    caughtBy: [leaks.takenNames],
    breaks: perTable(({ name, path, uniques, foreignKeys }) =>
      uniques
        .filter((columns) => !foreignKeys.some(({ column }) => columns.includes(column)))
        .map((columns) => `alter table ${path} drop constraint ${name}_${columns.join("_")}_key`),
    ),
  },
  {
    kind: "one more name unique for all",
    caughtBy: [leaks.takenNames],
    breaks: () => [
      {
        targets: ["agent_registry.display_name"],
        statements: ["create unique index on agent_registry (display_name) where category is null"],
      },
      {
        targets: ["alert_history.title"],
        statements: ["create unique index on alert_history (title) where agent_id is null"],
      },
    ],
  },
  {
    kind: "a new table, forgotten",
    caughtBy: [
      lints.coverage,
      lints.rowSecurity,
      lints.fivePolicies,
      lints.grants,
      lints.organizationIndex,
    ],
    breaks: () =>
      ["agent_notes", "agent_tags"].map((target) => ({
        targets: [target],
        statements: [
          `create table public.${target} (id uuid primary key, organization_id uuid)`,
          `grant select on public.${target} to anon`,
        ],
      })),
  },
  {
    kind: "a new table, isolated but not attacked",
    caughtBy: [lints.coverage],
    breaks: () =>
      ["agent_notes", "agent_tags"].map((target) => ({
        targets: [target],
        statements: [
          `create table public.${target} (id uuid primary key, organization_id uuid)`,
          `select meta_agent.isolate('${target}', 'notes')`,
        ],
      })),
  },
  {
    kind: "a view that reads as its owner",
    caughtBy: [lints.coverage],
    breaks: ({ tables }) =>
      tables.map(({ name, path }) => ({
        targets: [`all_${name}`],
        statements: [`create view public.all_${name} as table ${path}`],
      })),
  },
];
