/** Rows that the rules of this schema would refuse, found before the rules are put upon them. */
import { SQL, getTableName, is, sql } from "drizzle-orm";
import { type AnyPgColumn, PgColumn, type PgTable, getTableConfig } from "drizzle-orm/pg-core";
import { type Queryable, rows } from "../../client/sql.ts";
import { IS_OPEN_AND_KEYED } from "../../fleet/alerts.ts";
import { TABLES, TABLE_NAMES, columnsOf } from "../../schema/all.ts";
import { alertHistory } from "../../schema/index.ts";
import { type ColumnRule, rowRuleInWords, ruleInWords, ruleOf } from "../../schema/rules.ts";

/** Rows that one rule refuses. */
export interface Violation {
  readonly table: string;
  /** The constraint's name, or of a column that must not be NULL its name. */
  readonly rule: string;
  /** What the rule demands: `status: one of active, paused`. */
  readonly demands: string;
  /** How many rows break it. */
  readonly count: number;
  /** The ids of the first of them, at most three. */
  readonly ids: readonly string[];
  /** The rows hold NULL in a column that has a default to put in its place. */
  readonly hasDefault: boolean;
}

const path = ({ table, name }: AnyPgColumn) => `${getTableName(table)}.${name}`;

/** Types by `table.column`, as PostgreSQL prints them, an enum as `enum mood`. */
export type LiveTypes = ReadonlyMap<string, string>;

/** The columns that the tables of ours really have. */
export async function liveTypes(db: Queryable): Promise<LiveTypes> {
  const found = await db.execute(sql`
    select c.relname || '.' || a.attname as path,
      case t.typtype when 'e' then 'enum ' else '' end || case
        when a.atttypid in (select objid from pg_depend join pg_extension as x on x.oid = refobjid
          where classid = 'pg_type'::regclass and refclassid = 'pg_extension'::regclass and extname = 'vector')
        then regexp_replace(format_type(a.atttypid, a.atttypmod), '^.*\\.', '')
        else format_type(a.atttypid, a.atttypmod) end as type
    from pg_class as c join pg_attribute as a on a.attrelid = c.oid join pg_type as t on t.oid = a.atttypid
    where c.relnamespace = to_regnamespace('public') and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
      and c.relname = any(${TABLE_NAMES})`);
  return new Map(
    rows<{ path: string; type: string }>(found).map(({ path: name, type }) => [name, type]),
  );
}

/** Whether these columns are there. */
export const hasAll = (live: LiveTypes, columns: readonly AnyPgColumn[]): boolean =>
  columns.every((column) => live.has(path(column)));

/**
 * What the rules of this schema refuse among the rows of a database, whether or not the database has the
 * rules. Rules about columns that are not there are silent, but for a required column without default.
 */
export async function findViolations(tx: Queryable, live: LiveTypes): Promise<Violation[]> {
  const violations: Violation[] = [];
  for (const table of TABLES.filter((candidate) => live.has(`${getTableName(candidate)}.id`))) {
    const rules = rulesOf(table, live).filter(({ reads }) => hasAll(live, reads));
    const counts = rules.map(
      ({ broken }, index) => sql`
        select ${index}::int as rule, count(*)::int as count,
          array_agg(id::text order by id) filter (where place <= 3) as ids
        from (select id, row_number() over (order by id) as place from (${broken}) as violation) as placed
        having count(*) > 0`,
    );
    const found = await tx.execute(sql`${sql.join(counts, sql` union all `)} order by rule`);
    type Counted = { rule: number; count: number; ids: string[] };
    for (const { rule: index, count, ids } of rows<Counted>(found)) {
      const rule = rules[index];
      if (!rule) continue;
      const { name, demands, hasDefault = false } = rule;
      violations.push({ table: getTableName(table), rule: name, demands, count, ids, hasDefault });
    }
  }
  return violations;
}

// ── The rules of a table, each with the query for the ids of the rows that break it ──

interface Rule {
  readonly name: string;
  readonly demands: string;
  /** Without these columns it cannot be asked. */
  readonly reads: readonly AnyPgColumn[];
  readonly broken: SQL;
  /** NULL alone breaks it, and the column has a default. */
  readonly hasDefault?: boolean;
}

/** Exported for the test that every constraint of the catalog is among them. */
export function rulesOf(table: PgTable, live: LiveTypes): Rule[] {
  return [
    ...required(table, live),
    ...checks(table, live),
    ...uniques(table, live),
    ...openKeys(table, live),
    ...references(table, live),
  ];
}

/** The rows of a table, each column as the type that it is to have. */
function rowsOf(table: PgTable, live: LiveTypes): SQL {
  const present = columnsOf(table).filter((column) => live.has(path(column)));
  const isAsItIsToBe = (column: AnyPgColumn) => live.get(path(column)) === column.getSQLType();
  if (present.every(isAsItIsToBe)) return sql`public.${table}`;
  const cast = present.map((column) => {
    const name = sql.identifier(column.name);
    return isAsItIsToBe(column)
      ? sql`${name}`
      : sql`${name}::${sql.raw(column.getSQLType())} as ${name}`;
  });
  return sql`(select ${sql.join(cast, sql`, `)} from public.${table}) as ${table}`;
}

function required(table: PgTable, live: LiveTypes): Rule[] {
  return columnsOf(table)
    .filter(({ notNull }) => notNull)
    .flatMap((column): Rule[] => {
      const { name, hasDefault } = column;
      if (live.has(path(column))) {
        return [
          {
            name,
            demands: `${name}: not NULL`,
            reads: [column],
            broken: sql`select id from public.${table} where ${column} is null`,
            hasDefault,
          },
        ];
      }
      const demands = `${name}: a value, but the column is missing and has no default`;
      return hasDefault
        ? []
        : [{ name, demands, reads: [], broken: sql`select id from public.${table}` }];
    });
}

function checks(table: PgTable, live: LiveTypes): Rule[] {
  return getTableConfig(table).checks.map(({ name, value }) => ({
    name,
    demands: checkInWords(table, name),
    reads: columnsIn(value),
    broken: sql`select id from ${rowsOf(table, live)} where not (${value})`,
  }));
}

function columnsIn(value: SQL): AnyPgColumn[] {
  return value.queryChunks.flatMap((chunk) =>
    is(chunk, PgColumn) ? [chunk] : is(chunk, SQL) ? columnsIn(chunk) : [],
  );
}

function checkInWords(table: PgTable, constraint: string): string {
  const checked = ruleOf(table, constraint);
  if (!checked) return constraint;
  return checked.of === "row"
    ? rowRuleInWords(checked.rule, [...checked.rule.columns])
    : `${checked.column.name}: ${valueInWords(checked.rule)}`;
}

/** The database takes more instants and days than a validator. */
const valueInWords = (rule: ColumnRule) =>
  rule.kind === "instant" || rule.kind === "day" ? "finite" : ruleInWords(rule);

function uniques(table: PgTable, live: LiveTypes): Rule[] {
  return uniquesOf(table).map(({ name, columns, nullsNotDistinct, where }) => {
    const flags = where ? columnsIn(where) : [];
    const conditions = [
      ...(nullsNotDistinct ? [] : columns.map((column) => sql`${column} is not null`)),
      ...(where ? [sql`(${where})`] : []),
    ];
    return {
      name,
      demands: `${namesOf(columns)}: taken once${where ? ` where ${namesOf(flags)}` : ""}`,
      reads: [...columns, ...flags],
      broken: repeated(rowsOf(table, live), columns, conditions),
    };
  });
}

/** The unique index that only SQL can say. */
function openKeys(table: PgTable, live: LiveTypes): Rule[] {
  if (table !== alertHistory) return [];
  const { agentId, organizationId, details, resolved } = alertHistory;
  const key = [agentId, sql`${details} ->> 'dedup_key'`, organizationId];
  return [
    {
      name: "alert_history_open_key",
      demands: "details.dedup_key: taken once among the open alerts of an agent or organization",
      reads: [agentId, organizationId, details, resolved],
      broken: repeated(rowsOf(table, live), key, [IS_OPEN_AND_KEYED]),
    },
  ];
}

const namesOf = (columns: readonly AnyPgColumn[]) => columns.map(({ name }) => name).join(", ");

interface Unique {
  readonly name: string;
  readonly columns: readonly AnyPgColumn[];
  readonly nullsNotDistinct: boolean;
  /** Of which rows, where not of all. */
  readonly where?: SQL | undefined;
}

/** What a table's rows must have but once: by a column's own word, by a constraint, by an index. */
function uniquesOf(table: PgTable): Unique[] {
  const { uniqueConstraints, indexes } = getTableConfig(table);
  const all = columnsOf(table);
  return [
    ...all
      .filter(({ isUnique, primary }) => isUnique || primary)
      .map((column) => ({
        name: column.primary ? `${getTableName(table)}_pkey` : (column.uniqueName ?? ""),
        columns: [column],
        nullsNotDistinct: column.uniqueType === "not distinct",
      })),
    ...uniqueConstraints.map(({ name = "", columns, nullsNotDistinct }) => ({
      name,
      columns,
      nullsNotDistinct,
    })),
    ...indexes
      .filter(({ config }) => config.unique)
      .map(({ config: { name = "", columns, where } }) => ({
        name,
        columns: columns.flatMap((indexed) =>
          "name" in indexed ? all.filter((column) => column.name === indexed.name) : [],
        ),
        nullsNotDistinct: false,
        where,
      })),
  ];
}

/** Rows that share the columns with another one that the conditions hold for; NULLs count as equal. */
const repeated = (
  from: SQL,
  columns: readonly (AnyPgColumn | SQL)[],
  conditions: readonly SQL[],
) => sql`
  select id from (
    select id, count(*) over (partition by ${sql.join([...columns], sql`, `)}) as sharing
    from ${from} where ${sql.join([sql`true`, ...conditions], sql` and `)}
  ) as counted where sharing > 1`;

/** What a row refers to is there, and of the row's own organization. */
function references(table: PgTable, live: LiveTypes): Rule[] {
  const from = rowsOf(table, live);
  const id = sql`${table}.id`;
  const dangling = foreignKeysOf(table).map(({ name, child, parent }): Rule => ({
    name,
    demands: `${child.name}: a row of ${getTableName(parent.table)}`,
    reads: [child],
    broken: sql`select ${id} from ${from} where ${child} is not null ${
      live.has(path(parent))
        ? sql`and not exists (select from public.${parent.table} as parent where parent.id = ${child})`
        : undefined
    }`,
  }));
  const crossTenant = tenantReferencesOf(table).map(
    ({ name, column, reads, joins, organization }): Rule => ({
      name,
      demands: `${column}: a row of the same organization`,
      reads,
      broken: sql`select ${id} from ${from} ${sql.raw(joins)}
        where parent.organization_id <> ${sql.raw(organization)}`,
    }),
  );
  return [...dangling, ...crossTenant];
}

/** A reference whose row and `parent` must be of one organization. */
export interface TenantReference {
  readonly name: string;
  readonly table: string;
  readonly column: string;
  readonly reads: readonly AnyPgColumn[];
  /** From the table, under its own name, to `parent`. */
  readonly joins: string;
  /** The row's organization. */
  readonly organization: string;
}

export function tenantReferencesOf(table: PgTable): TenantReference[] {
  const keys = foreignKeysOf(table);
  // A table without organization belongs to that of the row its first key names.
  const [owner] = organizationOf(table) ? [] : keys;
  const tableName = getTableName(table);
  return keys
    .filter((key) => key !== owner)
    .map(({ name, child, parent }) => ({
      name,
      table: tableName,
      column: child.name,
      reads: [child, parent, owner?.child, owner?.parent]
        .concat(organizationOf(parent.table), organizationOf(owner?.parent.table ?? table))
        .filter((column) => column !== undefined),
      joins: [{ as: "parent", child, parent }, ...(owner ? [{ ...owner, as: "owner" }] : [])]
        .map(
          (one) =>
            `join public.${getTableName(one.parent.table)} as ${one.as} on ${one.as}.id = ${tableName}.${one.child.name}`,
        )
        .join(" "),
      organization: `${owner ? "owner" : tableName}.organization_id`,
    }));
}

interface ForeignKey {
  readonly name: string;
  readonly child: AnyPgColumn;
  readonly parent: AnyPgColumn;
}

const foreignKeysOf = (table: PgTable): ForeignKey[] =>
  getTableConfig(table).foreignKeys.flatMap((key) => {
    const { columns, foreignColumns } = key.reference();
    const [child, parent] = [columns[0], foreignColumns[0]];
    return child && parent ? [{ name: key.getName(), child, parent }] : [];
  });

const organizationOf = (table: PgTable): AnyPgColumn | undefined =>
  columnsOf(table).find(({ name }) => name === "organization_id");
