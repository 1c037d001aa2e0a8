/** Tables from kinds of columns, with what every table has and the rules between its columns. */
import {
  type BuildColumns,
  type BuildExtraConfigColumns,
  type SQL,
  getTableColumns,
  sql,
} from "drizzle-orm";
import {
  type AnyPgColumn,
  type CheckBuilder,
  type PgColumnBuilderBase,
  type PgTable,
  type PgTableExtraConfigValue,
  type PgTableWithColumns,
  check,
  pgTable,
  uuid,
} from "drizzle-orm/pg-core";
import { type RowRule, checkName, columnRule, keepRowRule, passRule, ruleSql } from "./rules.ts";

/** The key of every table. */
const id = () =>
  uuid("id")
    .primaryKey()
    .default(sql`gen_random_uuid()`);

/** The caller's organization unless given. NULL is a row of the platform, invisible to tenants. */
const organizationId = () =>
  uuid("organization_id").default(sql`meta_agent.current_organization_id()`);

type Columns = Record<string, PgColumnBuilderBase>;
type Extra<Name extends string, C extends Columns> = (
  columns: BuildExtraConfigColumns<Name, C, "pg">,
) => PgTableExtraConfigValue[];

/** A table with these columns, spelled so that their doc comments show where it is used. */
export type OwnedTable<Name extends string, C extends Columns> = Omit<
  PgTableWithColumns<{
    name: Name;
    schema: undefined;
    columns: BuildColumns<Name, { id: ReturnType<typeof id> } & C, "pg">;
    dialect: "pg";
  }>,
  "enableRLS"
>;

type Tenant<C extends Columns> = C & { organizationId: ReturnType<typeof organizationId> };

/** A table with the key `id`, one CHECK for each column that has a rule, and row-level security on. */
export function ownedTable<Name extends string, C extends Columns>(
  tableName: Name,
  columns: C,
  extra: Extra<Name, { id: ReturnType<typeof id> } & C>,
): OwnedTable<Name, C> {
  const builders = { id: id(), ...columns };
  const table = pgTable(tableName, builders, (t): PgTableExtraConfigValue[] => [
    ...columnChecks(table),
    ...extra(t),
  ]);
  for (const [key, column] of Object.entries<AnyPgColumn>(getTableColumns(table))) {
    passRule(builders[key], column);
  }
  return table.enableRLS();
}

/** An {@link ownedTable} whose rows belong to an organization, `organization_id`. */
export function tenantTable<Name extends string, C extends Columns>(
  tableName: Name,
  columns: C,
  extra: Extra<Name, { id: ReturnType<typeof id> } & Tenant<C>>,
): OwnedTable<Name, Tenant<C>> {
  return ownedTable(tableName, { ...columns, organizationId: organizationId() }, extra);
}

function columnChecks(table: PgTable): CheckBuilder[] {
  return Object.values<AnyPgColumn>(getTableColumns(table)).flatMap((column) => {
    const rule = columnRule(column);
    const condition = rule && ruleSql(rule, column);
    return condition ? check(checkName(table, column), condition) : [];
  });
}

// ── Rules between columns: the CHECK, and by its name what a validator must know ──

function between(ruleName: string, kind: RowRule["kind"], columns: AnyPgColumn[], condition: SQL) {
  keepRowRule(ruleName, { kind, columns: columns.map((column) => column.name) });
  return check(ruleName, condition);
}

/** `later` is not before `earlier`, or not less. */
export const notBefore = (ruleName: string, later: AnyPgColumn, earlier: AnyPgColumn) =>
  between(ruleName, "not before", [later, earlier], sql`${later} >= ${earlier}`);

/** `later` is after `earlier`. */
export const after = (ruleName: string, later: AnyPgColumn, earlier: AnyPgColumn) =>
  between(ruleName, "after", [later, earlier], sql`${later} > ${earlier}`);

/** The two columns name different rows. */
export const different = (ruleName: string, left: AnyPgColumn, right: AnyPgColumn) =>
  between(ruleName, "different", [left, right], sql`${left} <> ${right}`);

/** At least one of the columns is not NULL. */
export const some = (ruleName: string, ...columns: AnyPgColumn[]) =>
  between(ruleName, "some", columns, sql`num_nonnulls(${sql.join(columns, sql`, `)}) > 0`);
