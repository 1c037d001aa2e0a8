/** What a live catalog says of this package's tables. */
import { getTableName, is, sql } from "drizzle-orm";
import { PgTable, getTableConfig } from "drizzle-orm/pg-core";
import { type Database, rows } from "../../src/client/sql.ts";
import * as embeddings from "../../src/schema/embeddings.ts";
import * as evaluation from "../../src/schema/evaluation.ts";
import * as governance from "../../src/schema/governance.ts";
import * as learningCost from "../../src/schema/learning-cost.ts";
import * as monitoring from "../../src/schema/monitoring.ts";
import * as safety from "../../src/schema/safety.ts";

/** A group's tables, those first that others refer to; a module lists its exports by name. */
const tablesOf = (group: object): PgTable[] =>
  Object.values(group)
    .filter((value) => is(value, PgTable))
    .toSorted((a, b) => depth(a) - depth(b) || (getTableName(a) < getTableName(b) ? -1 : 1));

/** How many references in a row lead from a table to one that has none. */
function depth(table: PgTable): number {
  const parents = getTableConfig(table).foreignKeys.map((key) => key.reference().foreignTable);
  return Math.max(0, ...parents.filter((parent) => parent !== table).map((one) => 1 + depth(one)));
}

/** The tables in their groups, the groups in the order of the migrations. */
export const TABLE_GROUPS: readonly { readonly title: string; readonly tables: PgTable[] }[] = [
  { title: "Governance", tables: tablesOf(governance) },
  { title: "Monitoring", tables: tablesOf(monitoring) },
  { title: "Evaluation", tables: tablesOf(evaluation) },
  { title: "Safety", tables: tablesOf(safety) },
  { title: "Learning and cost", tables: tablesOf(learningCost) },
  { title: "Embeddings", tables: tablesOf(embeddings) },
];

/** What the catalog says of a table. */
export interface TableFacts {
  readonly name: string;
  readonly purpose: string | null;
  readonly columns: readonly {
    readonly name: string;
    readonly type: string;
    readonly nullable: boolean;
    readonly default: string | null;
    readonly comment: string | null;
  }[];
  readonly constraints: readonly { readonly kind: string; readonly definition: string }[];
  readonly references: readonly {
    readonly column: string;
    readonly table: string;
    /** The delete rule as `pg_constraint.confdeltype`. */
    readonly onDelete: string;
  }[];
  readonly indexes: readonly IndexFacts[];
  readonly policies: readonly {
    readonly name: string;
    readonly command: string;
    readonly role: string;
    readonly shows: string | null;
    readonly accepts: string | null;
  }[];
  readonly triggers: readonly { readonly definition: string }[];
}

export interface IndexFacts {
  readonly name: string;
  readonly method: string;
  readonly unique: boolean;
  readonly predicate: string | null;
  readonly columns: readonly {
    readonly name: string;
    readonly type: string;
    readonly descending: boolean;
    /** The table that a reference of this column alone names. */
    readonly refersTo: string | null;
  }[];
}

/** The facts of this package's tables, by name. It reads the system catalogs alone. */
export async function tableFacts(db: Database): Promise<Map<string, TableFacts>> {
  const names = TABLE_GROUPS.flatMap(({ tables }) => tables.map(getTableName));
  const found = await db.execute(sql`
    select t.relname::text as name, obj_description(t.oid, 'pg_class') as purpose,
      (select jsonb_agg(jsonb_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
          'nullable', not a.attnotnull, 'default', pg_get_expr(d.adbin, d.adrelid), 'comment', col_description(t.oid, a.attnum)) order by a.attnum)
        from pg_attribute as a left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped) as columns,
      (select coalesce(jsonb_agg(jsonb_build_object('kind', contype, 'definition', pg_get_constraintdef(oid)) order by contype desc, conname), '[]')
        from pg_constraint where conrelid = t.oid
          and (contype in ('u', 'x') or contype = 'c' and cardinality(conkey) > 1)) as constraints,
      (select coalesce(jsonb_agg(jsonb_build_object('column', a.attname, 'table', c.confrelid::regclass::text, 'onDelete', c.confdeltype) order by a.attnum), '[]')
        from pg_constraint as c join pg_attribute as a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
        where c.conrelid = t.oid and c.contype = 'f') as references,
      (select coalesce(jsonb_agg(jsonb_build_object('name', i.relname, 'method', am.amname, 'unique', x.indisunique,
          'predicate', pg_get_expr(x.indpred, x.indrelid), 'columns', (
            select jsonb_agg(jsonb_build_object('name', pg_get_indexdef(x.indexrelid, k.position::int, true), 'type', format_type(coalesce(a.atttypid, e.atttypid), null),
                'descending', coalesce(x.indoption[k.position - 1] & 1, 0) = 1, 'refersTo', (
                  select min(c.confrelid::regclass::text) from pg_constraint as c
                  where c.conrelid = t.oid and c.contype = 'f' and c.conkey = array[k.attnum])) order by k.position)
            from unnest(x.indkey) with ordinality as k (attnum, position) left join pg_attribute as a on a.attrelid = t.oid and a.attnum = k.attnum
            -- Of an expression.
            left join pg_attribute as e on e.attrelid = x.indexrelid and e.attnum = k.position
            where k.position <= x.indnkeyatts)) order by i.relname), '[]')
        from pg_index as x join pg_class as i on i.oid = x.indexrelid join pg_am as am on am.oid = i.relam
        where x.indrelid = t.oid and not exists (select from pg_constraint where conindid = i.oid and contype in ('p', 'u', 'x'))) as indexes,
      (select coalesce(jsonb_agg(jsonb_build_object('name', policyname, 'command', cmd, 'role', array_to_string(roles, ', '), 'shows', qual, 'accepts', with_check)
          order by array_position('{SELECT,INSERT,UPDATE,DELETE,ALL}', cmd), policyname), '[]')
        from pg_policies where schemaname = 'public' and tablename = t.relname) as policies,
      (select coalesce(jsonb_agg(jsonb_build_object('definition', pg_get_triggerdef(oid)) order by tgname), '[]')
        from pg_trigger where tgrelid = t.oid and not tgisinternal) as triggers
    from pg_class as t where t.relnamespace = 'public'::regnamespace and t.relname = any (${sql.param(names)}::text[])
    order by array_position(${sql.param(names)}::text[], t.relname::text)`);
  return new Map(
    rows<TableFacts & Record<string, unknown>>(found).map((facts) => [facts.name, facts]),
  );
}
