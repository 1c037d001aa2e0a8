/** The statements of recording. Names are the schema's own; values are in `incoming`. */
import { type SQL, sql } from "drizzle-orm";
import { byKey } from "../../client/sql.ts";
import { type Batch, CHUNK_ENTRIES, COLUMNS, FIELDS, REFERENCES, bitOf } from "./batch.ts";
import { copyType } from "./binary-copy.ts";

/** The key of an entry without one: of its own time, if it names one. */
export const NEW_ID =
  "case when r.timestamp is null then meta_agent.uuidv7() else meta_agent.uuidv7_at(r.timestamp) end";

/** What a column holds where the entry leaves it out; elsewhere NULL. */
const DEFAULTS: Readonly<Record<string, string>> = {
  id: NEW_ID,
  timestamp: "now()",
  status: "'success'",
  metadata: "'{}'",
};

function valueOf({ key, type }: { key: string; type: string }): string {
  const value = `r."${key}"::${type}`;
  if (key === "organizationId") {
    return `case when r.given & ${bitOf(key)} <> 0 then ${value} else coalesce(
      (select meta_agent.current_organization_id()),
      (select a.organization_id from public.agent_registry as a where a.id = r."agentId")) end`;
  }
  return key in DEFAULTS ? `coalesce(${value}, ${DEFAULTS[key]})` : value;
}

export const FIELD_LIST = FIELDS.map(({ key, type }) => `"${key}" ${copyType(type)}`).join(", ");
/** What a COPY fills, for the length of the transaction. */
export const INCOMING_TABLE = `pg_temp.meta_agent_incoming_executions`;

/** The entries, as JSON. */
export const fromJson = (json: string): SQL =>
  sql`with incoming as not materialized
    (select * from json_to_recordset(${json}::text::json) as r(${sql.raw(FIELD_LIST)}))`;
/**
 * The entries, from the table that a COPY filled. The limit is for the planner, which expects more rows than there are and would compile the statement.
 */
export const fromTable = sql.raw(
  `with incoming as not materialized (select * from ${INCOMING_TABLE} limit ${CHUNK_ENTRIES})`,
);

const DANGLING = sql.join(
  REFERENCES.map(
    ({ key, parent }) => sql`
  select r.n, r.key from parents as r
  where r.key = ${sql.raw(`'${key}'`)} and not exists (
    select from public.${sql.identifier(parent)} as p where ${byKey("p.id", "r.id")})`,
  ),
  sql` union all `,
);
const INSERT = sql.raw(`
  insert into public.agent_execution_logs (${COLUMNS.map(({ name }) => name).join(", ")})
  select ${COLUMNS.map(valueOf).join(", ")} from incoming as r
  where not exists (select from dangling)`);
/** Of two callers with the same ids one waits; in different orders each would wait for the other. */
const ORDER = sql.raw("order by r.id, r.n");

/** Inserts nothing where a reference leads nowhere, and says which. */
export const insert = (incoming: SQL, batch: Batch): SQL => sql`${incoming},
  parents as materialized (
    select * from json_to_recordset(${batch.parents()}::text::json) as r(n integer, key text, id uuid)
  ),
  dangling as (${DANGLING}),
  new as (${INSERT} ${batch.ascends ? undefined : ORDER} on conflict (id) do nothing returning id)
  select count(*)::int as inserted, (select string_agg(n || ' ' || key, ',' order by n) from dangling) as dangling,
    case when count(*) < ${batch.length}::int then string_agg(id::text, ',') end as ids
  from new`;

/** Of the ids that exist: whose row the caller does not see, and whose holds something else. */
export const REVIEW = sql`
  select r.n, r.id::text as id, l.id is null as hidden from incoming as r
  left join lateral (select * from public.agent_execution_logs as l where ${byKey("l.id", "r.id")}) as l on true
  where r.id is not null and (l.id is null or ${sql.raw(
    COLUMNS.map(
      ({ key, name, type, bit }) =>
        `r.given & ${bit} <> 0 and r."${key}"::${type} is distinct from l.${name}`,
    ).join(" or "),
  )})
  order by r.n`;

/** What {@link insert} answers. */
export interface Inserted {
  inserted: number;
  /** Places and columns, `3 agentId,5 promptVersionId`. */
  dangling: string | null;
  /** Ids of the new rows, where not all are new. */
  ids: string | null;
}

/** What {@link REVIEW} answers. */
export interface Differing {
  n: number;
  id: string;
  hidden: boolean;
}
