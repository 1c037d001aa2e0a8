import { sql } from "drizzle-orm";
import { type Transaction, rows } from "../../src/client/sql.ts";

/** A table of this package as the catalog describes it. */
export interface Table {
  readonly name: string;
  /** For SQL: with its schema, quoted where needed. */
  readonly path: string;
  readonly hasOrganization: boolean;
  readonly foreignKeys: readonly ForeignKey[];
  /** The columns of each unique index but the primary key. */
  readonly uniques: readonly (readonly string[])[];
  /** The columns of those that hold for some rows only, and of exclusion constraints. */
  readonly partialUniques: readonly (readonly string[])[];
}

export interface ForeignKey {
  readonly column: string;
  readonly parent: string;
}

const SURVEY = sql`
with uniques as (
  select i.indrelid, i.indisunique and i.indpred is null as whole, (
    select jsonb_agg(a.attname order by a.attnum) from pg_attribute a
    where a.attrelid = i.indrelid and a.attnum = any (i.indkey)) as columns
  from pg_index i where (i.indisunique or i.indisexclusion) and not i.indisprimary
)
select jsonb_build_object(
  'name', c.relname,
  'path', format('%I.%I', n.nspname, c.relname),
  'hasOrganization', exists (
    select from pg_attribute a where a.attrelid = c.oid and a.attname = 'organization_id'),
  'foreignKeys', (
    select coalesce(jsonb_agg(jsonb_build_object(
      'column', a.attname,
      'parent', (select relname from pg_class where oid = k.confrelid)) order by a.attnum, k.oid), '[]')
    from pg_constraint k join pg_attribute a on a.attrelid = c.oid and a.attnum = any (k.conkey)
    where k.conrelid = c.oid and k.contype = 'f'),
  'uniques', (
    select coalesce(jsonb_agg(columns order by columns), '[]') from uniques where indrelid = c.oid and whole),
  'partialUniques', (
    select coalesce(jsonb_agg(columns order by columns), '[]') from uniques where indrelid = c.oid and not whole)
)::text as json
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'public' and c.relkind in ('r', 'p')
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by c.relname`;

/** Every table of the schema public, from the catalog. */
export async function survey(tx: Transaction): Promise<Table[]> {
  return rows<{ json: string }>(await tx.execute(SURVEY)).map(({ json }) => {
    const table: Table = JSON.parse(json);
    return table;
  });
}
