/** Tables from kinds of columns, with what every table has and the rules between its columns. */
import {
  type BuildColumns,
  type BuildExtraConfigColumns,
  type SQL,
  type Simplify,
  getTableColumns,
  getTableName,
  sql,
} from "drizzle-orm";
import {
  type AnyPgColumn,
  type CheckBuilder,
  type ExtraConfigColumn,
  type ForeignKeyBuilder,
  type IndexBuilder,
  type PgColumnBuilderBase,
  type PgTable,
  type PgTableExtraConfigValue,
  type PgTableWithColumns,
  PgUUIDBuilder,
  type UpdateDeleteAction,
  check,
  foreignKey,
  getTableConfig,
  index,
  pgTable,
  uuid,
} from "drizzle-orm/pg-core";
import { type RowRule, checkName, columnRule, keepRowRule, passRule, ruleSql } from "./rules.ts";

// ── References ──

type Target = PgTable & { readonly id: AnyPgColumn };

/** The builder of a column that names a row: a uuid with its foreign key. */
export class ReferenceBuilder<Name extends string> extends PgUUIDBuilder<
  ReturnType<typeof uuid<Name>>["_"]
> {
  readonly #target: Target | "self";
  #onDelete: UpdateDeleteAction = "no action";

  constructor(columnName: Name, target: Target | "self") {
    super(columnName);
    this.#target = target;
  }

  /** What happens to the row when the one that it names is deleted; unless told, that is refused. */
  onDelete(action: UpdateDeleteAction): this {
    this.#onDelete = action;
    return this;
  }

  /** The key of a column made by this builder, under the name that PostgreSQL itself would give. */
  foreignKey(column: AnyPgColumn, ownId: AnyPgColumn): ForeignKeyBuilder {
    return foreignKey({
      name: `${getTableName(column.table)}_${column.name}_fkey`,
      columns: [column],
      foreignColumns: [this.#target === "self" ? ownId : this.#target.id],
    }).onDelete(this.#onDelete);
  }
}

/**
 * A uuid that names a row of another table, or of the same one. It brings its foreign key,
 * `<table>_<column>_fkey`, and its index, `idx_<table>_<column>`.
 */
export const references = <Name extends string>(
  columnName: Name,
  target: Target | "self",
): ReferenceBuilder<Name> => new ReferenceBuilder(columnName, target);

// ── Tables ──

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

/** What every table has. Interfaces, since an inlined type literal would lose its doc comments. */
export interface Keyed {
  /** The row's key, made by the database unless given. */
  id: ReturnType<typeof id>;
}

/** What the tables of tenants have. */
export interface Owned {
  /** Who owns the row, by default the caller's organization. NULL: the platform, unseen by tenants. */
  organizationId: ReturnType<typeof organizationId>;
}

/** A table with these columns, spelled so that their doc comments show where it is used. */
export type OwnedTable<Name extends string, C extends Columns> = Omit<
  PgTableWithColumns<{
    name: Name;
    schema: undefined;
    columns: BuildColumns<Name, Keyed & C, "pg">;
    dialect: "pg";
  }>,
  "enableRLS"
>;

/** The same row with the doc comments of its columns, which Drizzle's own types of rows drop. */
type Documented<Values, Table extends PgTable> = Simplify<
  Values & { [Key in keyof Table["_"]["columns"]]?: unknown }
>;

/** A row of a table: its `$inferSelect`, documented. */
export type Row<Table extends PgTable> = Documented<Table["$inferSelect"], Table>;

/** A row to insert into a table: its `$inferInsert`, documented. */
export type NewRow<Table extends PgTable> = Documented<Table["$inferInsert"], Table>;

/**
 * A table with the key `id`, one CHECK for each column that has a rule, the foreign keys of its references
 * and row-level security on. A reference and the organization have an index each, unless the table has one
 * that begins with the column.
 */
export function ownedTable<Name extends string, C extends Columns>(
  tableName: Name,
  columns: C,
  extra: Extra<Name, Keyed & C> = () => [],
): OwnedTable<Name, C> {
  const builders = { id: id(), ...columns };
  const table = pgTable(tableName, builders, (t): PgTableExtraConfigValue[] => {
    const given = extra(t);
    return [
      ...columnChecks(table),
      ...foreignKeys(table, builders),
      ...given,
      ...missingIndexes(table, builders, t, given),
    ];
  });
  for (const [key, column] of columnsOf(table)) {
    passRule(builders[key], column);
  }
  return table.enableRLS();
}

/** An {@link ownedTable} whose rows belong to an organization, `organization_id`. */
export function tenantTable<Name extends string, C extends Columns>(
  tableName: Name,
  columns: C,
  extra?: Extra<Name, Keyed & C & Owned>,
): OwnedTable<Name, C & Owned> {
  return ownedTable(tableName, { ...columns, organizationId: organizationId() }, extra);
}

const columnsOf = (table: PgTable) => Object.entries<AnyPgColumn>(getTableColumns(table));

function columnChecks(table: PgTable): CheckBuilder[] {
  return columnsOf(table).flatMap(([, column]) => {
    const rule = columnRule(column);
    const condition = rule && ruleSql(rule, column);
    return condition ? check(checkName(table, column), condition) : [];
  });
}

function foreignKeys(table: Target, builders: Columns): ForeignKeyBuilder[] {
  return columnsOf(table).flatMap(([key, column]) => {
    const builder = builders[key];
    return builder instanceof ReferenceBuilder ? builder.foreignKey(column, table.id) : [];
  });
}

/** An index for each reference and for the organization, where none of the table begins with it. */
function missingIndexes(
  table: PgTable,
  builders: Columns,
  columns: Record<string, ExtraConfigColumn>,
  given: PgTableExtraConfigValue[],
): IndexBuilder[] {
  const served = firstColumns(table, given);
  return Object.entries(columns).flatMap(([key, column]) => {
    const { name, isUnique } = column;
    const isSearched = builders[key] instanceof ReferenceBuilder || name === "organization_id";
    return isSearched && !isUnique && !served.has(name)
      ? index(`idx_${getTableName(table)}_${name}`).on(column)
      : [];
  });
}

/** The names of the columns with which an index of all rows or a unique begins. */
function firstColumns(table: PgTable, given: PgTableExtraConfigValue[]): Set<string | undefined> {
  // A table of the same name reads them: the real one is still being made.
  const { indexes, uniqueConstraints } = getTableConfig(
    pgTable(getTableName(table), {}, () => given),
  );
  const firsts = indexes.flatMap(({ config: { columns, method, where } }) =>
    method === "btree" && !where ? columns.slice(0, 1) : [],
  );
  return new Set([
    ...firsts.map((column) => ("name" in column ? column.name : undefined)),
    ...uniqueConstraints.map(({ columns: [first] }) => first?.name),
  ]);
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
