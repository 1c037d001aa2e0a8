import type { Break, Catalog, Command, Mutation } from "./breaking.ts";
import type { Table } from "./survey.ts";

// ── Where a break is made ──

/** The same break at each table where it can be done. */
export const perTable =
  (statements: (table: Table, catalog: Catalog) => readonly string[]): Mutation["breaks"] =>
  (catalog) =>
    catalog.tables.flatMap((table) => {
      const list = statements(table, catalog);
      return list.length > 0 ? [{ targets: [table.name], statements: list }] : [];
    });

/** The same change of each table's policy for a command; `"name" on table` is left to name. */
export const perPolicy = (command: Command, change: (policy: string) => string) =>
  perTable((table, { policy }) => [change(policy(table, command).place)]);

/** One break that concerns every table, to be noticed at each. */
export const everywhere =
  (...statements: string[]): Mutation["breaks"] =>
  ({ tables }) => [{ targets: tables.map(({ name }) => name), statements }];

/** The same break at each of these functions of meta_agent. */
export const perFunction = (names: readonly string[], change: (path: string) => string) => () =>
  names.map((name): Break => ({
    targets: [name],
    statements: [change(`function meta_agent.${name}`)],
  }));

export const grant = (privilege: string, role: string) =>
  perTable(({ path }) => [`grant ${privilege} on ${path} to ${role}`]);

// ── What is put in place of what ──

export const CALLER = "(select meta_agent.current_organization_id())";
export const TOP = "claims -> 'organization_id'";
export const APP = "claims -> 'app_metadata' -> 'organization_id'";
export const UUID = "([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})";
export const uuidFrom = (json: string, pattern = `^"${UUID}"$`) =>
  `substring((${json})::text from '${pattern}')::uuid`;

/** The helper with another body. */
export const helper = (organization: string) => `
  create or replace function meta_agent.current_organization_id() returns uuid
  language sql stable parallel safe set search_path = '' as $$
    select ${organization}
    from (select nullif(current_setting('request.jwt.claims', true), '')::json as claims) as setting $$`;

/** A table's check of new rows as the migration makes it, but for that of one foreign key. */
function checkWithout({ path, name, hasOrganization, foreignKeys }: Table, left: string): string {
  const organization = hasOrganization ? `${path}.organization_id` : CALLER;
  const checks = foreignKeys
    .filter(({ column }) => column !== left)
    .map(({ column, parent }) =>
      parent === name
        ? `(${column} is null or meta_agent.own_${name}_row(${column}))`
        : `(${path}.${column} is null or exists (select from public.${parent} as p
            where p.id = ${path}.${column} and p.organization_id = ${organization}))`,
    );
  return [hasOrganization ? `organization_id = ${CALLER}` : "true", ...checks].join(" and ");
}

/** Every foreign key, unchecked for one command. */
export const unchecked =
  (command: "INSERT" | "UPDATE"): Mutation["breaks"] =>
  ({ tables, policy }) =>
    tables.flatMap((table) =>
      table.foreignKeys.map(({ column }) => ({
        targets: [`${table.name}.${column}`],
        statements: [
          `alter policy ${policy(table, command).place} with check (${checkWithout(table, column)})`,
        ],
      })),
    );

/** The helper of each table that refers to itself. */
export const perOwnRowHelper = (statement: (helper: string, table: Table) => string) =>
  perTable((table) =>
    table.foreignKeys.some(({ parent }) => parent === table.name)
      ? [statement(`meta_agent.own_${table.name}_row`, table)]
      : [],
  );
