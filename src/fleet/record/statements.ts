/** The statements of recording. Names are the schema's own; values are in `incoming`. */
import { type SQL, sql } from "drizzle-orm";
import { EMBEDDINGS, LISTED, LOG, ofOwn, ownOr } from "../../client/spread.ts";
import { byKey, isKey, textArray } from "../../client/sql.ts";
import { type Batch, CHUNK_ENTRIES, COLUMNS, FIELDS, REFERENCES } from "./batch.ts";
import { copyType } from "./binary-copy.ts";
import type { Charge } from "../budgets.ts";
import { IS_SHADOW, isFailure } from "../outcome.ts";

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

type Column = (typeof COLUMNS)[number];

const given = ({ bit }: Column) => `r.given & ${bit} <> 0`;
const value = ({ key, type }: Column) => `r."${key}"::${type}`;

/** What is stored of a new row. */
function valueOf(column: Column): string {
  const { key } = column;
  if (key === "organizationId") {
    return `case when ${given(column)} then ${value(column)} else coalesce(
      (select meta_agent.current_organization_id()),
      (select a.organization_id from public.agent_registry as a where a.id = r."agentId")) end`;
  }
  return key in DEFAULTS ? `coalesce(${value(column)}, ${DEFAULTS[key]})` : value(column);
}

export const FIELD_LIST = FIELDS.map(({ key, type }) => `"${key}" ${copyType(type)}`).join(", ");
/** What a COPY fills, for the length of the transaction. */
export const INCOMING_TABLE = `pg_temp.meta_agent_incoming_executions`;

/** The entries as `incoming`, but for those at some places. */
export type Incoming = (except: readonly number[]) => SQL;

const without = (except: readonly number[]) =>
  except.length > 0 ? sql`where r.n <> all (${textArray(except.map(String))}::int[])` : undefined;

/** The entries, as JSON. */
export const fromJson =
  (json: string): Incoming =>
  (except) =>
    sql`with incoming as ${LISTED}
    (select * from json_to_recordset(${json}::text::json) as r(${sql.raw(FIELD_LIST)}) ${without(except)})`;
/**
 * The entries, from the table that a COPY filled. The limit is for the planner, which expects more rows than there are and would compile the statement.
 */
export const fromTable: Incoming = (except) =>
  sql`with incoming as ${LISTED}
    (select * from ${sql.raw(INCOMING_TABLE)} as r ${without(except)} limit ${sql.raw(String(CHUNK_ENTRIES))})`;

const DANGLING = sql.join(
  REFERENCES.map(
    ({ key, parent }) => sql`
  select r.key, r.id from parents as r
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

/** Whose entries they are. */
export const ofOrganizations = (incoming: SQL): SQL => sql`${incoming}
  select coalesce(json_agg(distinct coalesce(r."organizationId"::uuid, a.organization_id)), '[]') as organizations
  from incoming as r left join public.agent_registry as a on a.id = r."agentId"`;

/** What is asked of rows that are written, besides. */
export interface Asked {
  /** What they cost. */
  readonly charges: boolean;
  /** How runs of agents ended. */
  readonly outcomes: boolean;
}

/** When each run ended, and how. */
const OUTCOMES = sql`coalesce(json_agg(json_build_object('agentId', agent_id,
    'at', to_json(timestamp + coalesce(latency_ms, 0) * interval '1 millisecond') #>> '{}',
    'outcome', case when ${isFailure(sql`status`)} then 'failure' else status end
  )) filter (where action_type = 'agent_run' and (status = 'success' or ${isFailure(sql`status`)}) and not ${IS_SHADOW}), '[]')`;
const NO_LIST = sql.raw("'[]'::json");

/** What new rows cost, by agent and day. */
const CHARGES = sql.raw(`(select coalesce(json_agg(spent), '[]') from (
    select agent_id as agent, organization_id as organization, date_trunc('day', timestamp, 'UTC') as at, sum(estimated_cost_usd)::text as usd
    from new where estimated_cost_usd > 0 group by 1, 2, 3) as spent)`);
const OF_NEW = sql.raw(
  "id, agent_id, organization_id, timestamp, estimated_cost_usd, action_type, status, latency_ms, metadata",
);

/** Tells the policy of new rows what to look up once: see `meta_agent.own_log_references`. */
const tell = (pairs: string): SQL =>
  sql`pg_catalog.set_config('meta_agent.log_references', ${pairs}::text, true)`;

/** Inserts nothing where a reference leads nowhere. What the policy is told in `pairs` is so for this statement alone. */
export const insert = (
  incoming: SQL,
  batch: Batch,
  { charges, outcomes, pairs }: Asked & { readonly pairs: string },
): SQL => sql`${incoming},
  parents as materialized (
    select * from json_to_recordset(${batch.parents()}::text::json) as r(n integer, key text, id uuid)
  ),
  dangling as (${DANGLING}),
  new as (${INSERT} ${pairs ? sql`and (select ${tell(pairs)}) is not null` : undefined} ${batch.ascends ? undefined : ORDER} on conflict do nothing returning ${charges || outcomes ? OF_NEW : sql.raw("id")})
  select count(*)::int as inserted, exists (select from dangling) as dangling,
    case when count(*) < ${batch.length}::int then string_agg(id::text, ',') end as ids,
    ${charges ? CHARGES : NO_LIST} as charges, ${outcomes ? OUTCOMES : NO_LIST} as outcomes${pairs ? sql`, ${tell("")}` : undefined}
  from new`;

/** Every entry with a reference that leads nowhere: {@link insert} names the first of each. */
export const dangling = (incoming: SQL, batch: Batch): SQL => sql`${incoming},
  parents as materialized (
    select * from json_to_recordset(${batch.parents()}::text::json) as r(n integer, key text, id uuid)
  ),
  dangling as materialized (${DANGLING})
  select r.n, d.key from incoming as r
  join dangling as d on d.id = case d.key ${sql.raw(REFERENCES.map(({ key }) => `when '${key}' then r."${key}"`).join(" "))} end
  order by r.n, d.key`;

/** What completing leaves as it was, and must agree with. */
const FIXED = new Set(["id", "agentId", "organizationId", "executionId", "timestamp"]);

/** A row that is not final. */
const OPEN = "(l.status = 'running' or (l.status = 'timeout' and l.error_type = 'expired'))";
const AGREES = COLUMNS.filter(({ key }) => FIXED.has(key))
  .map(
    (column) => `(not ${given(column)} or ${value(column)} is not distinct from l.${column.name})`,
  )
  .join(" and ");

/** What of the time when it expired a completed row does not keep. */
const EXPIRY = new Set(["errorType", "errorMessage"]);

function completed(column: Column): string {
  const { key, name } = column;
  // None given is success.
  if (key === "status") return `${name} = coalesce(r.status, 'success')`;
  const kept = EXPIRY.has(key) ? `case when l.status = 'running' then l.${name} end` : `l.${name}`;
  return `${name} = case when ${given(column)} then ${valueOf(column)} else ${kept} end`;
}

const SET = COLUMNS.filter(({ key }) => !FIXED.has(key))
  .map(completed)
  .join(", ");

/**
 * Of the ids that exist: whose row the caller does not see, and whose is completed now. A statement of its own,
 * and locks first: an insert that does nothing and an update in one would lose what another caller completes.
 * @param isTolerant whether the others are completed where the caller does not see a row
 */
export const complete = (
  incoming: SQL,
  isTolerant: boolean,
  { charges, outcomes }: Asked,
): SQL => sql`${incoming},
  hidden as materialized (
    select r.n from incoming as r
    where r.id is not null and not exists (select from ${LOG} as l where ${byKey("l.id", "r.id")})
  ), final as materialized (
    select distinct on (r.id) r.* from incoming as r
    where r.id is not null and r.status is distinct from 'running' ${isTolerant ? undefined : sql`and not exists (select from hidden)`}
    order by r.id, r.n
  ), locked as materialized (
    select l.* from final cross join lateral (
      select l.id, l.estimated_cost_usd as usd, l.metadata ? 'reserved_usd' as is_reserved
      from ${LOG} as l
      where ${isKey("l.id", "final.id")} and ${sql.raw(OPEN)} order by l.id for no key update
    ) as l
  ), completed as (
    update public.agent_execution_logs as l set ${sql.raw(SET)}
    from locked join final as r on r.id = locked.id
    where l.id = locked.id and ${sql.raw(OPEN)} and ${sql.raw(AGREES)}${ofOwn("l")}
    returning r.n, l.id, l.agent_id, l.organization_id, l.timestamp, coalesce(l.estimated_cost_usd, 0) - coalesce(locked.usd, 0) as usd,
      locked.is_reserved, l.action_type, l.status, l.latency_ms, l.metadata
  )
  select (select coalesce(json_agg(n order by n), '[]') from hidden) as hidden,
    (select coalesce(json_agg(json_build_object('n', n, 'id', id) order by n), '[]') from completed) as completed,
    (select coalesce(json_agg(json_build_object('agent', agent_id, 'organization', organization_id, 'at', timestamp, 'usd', usd::text)), '[]')
      from completed where usd <> 0 and (is_reserved or ${charges}::boolean)) as charges,
    ${outcomes ? sql`(select ${OUTCOMES} from completed)` : NO_LIST} as outcomes`;

/** What {@link complete} answers, by places. */
export interface Completed {
  hidden: number[];
  completed: { n: number; id: string }[];
  /** What they cost more or less than was charged: where it was reserved, or is asked for. */
  charges: Charge[];
  /** How runs ended, where it is asked for. */
  outcomes: Ended[];
}

/** Where the entry says another thing than the row. That it runs was true once. */
const DIFFERS = sql.raw(
  COLUMNS.map((column) =>
    [
      given(column),
      column.key === "status" ? "r.status <> 'running'" : undefined,
      `${value(column)} is distinct from l.${column.name}`,
    ]
      .filter(Boolean)
      .join(" and "),
  ).join(" or "),
);

/** Of the ids that exist, but for those completed now: whose row holds something else. */
export const differing = (incoming: SQL, done: Completed["completed"]): SQL => sql`${incoming}
  select r.n, r.id::text as id from incoming as r
  cross join lateral (select * from ${LOG} as l where ${byKey("l.id", "r.id")}) as l
  where r.n <> all (${textArray(done.map(({ n }) => String(n)))}::int[])
    and not (r.status is not distinct from 'running'
      and r.id = any (${textArray(done.map(({ id }) => id))}::uuid[]))
    and (${DIFFERS})
  order by r.n`;

/** Two callers that add embeddings to a log that is there take turns. */
export const lockLogs = (logs: readonly string[]): SQL => sql`
  select from (select id from unnest(${textArray(logs)}::uuid[]) as given(id) order by id) as given
  cross join lateral (
    select from ${LOG} as l where ${byKey("l.id", "given.id")} for no key update
  ) as locked`;

const VECTORS = ["input_embedding", "output_embedding", "error_embedding"];
const vectors = (write: (vector: string) => string, between = ", ") =>
  sql.raw(VECTORS.map(write).join(between));

/** Embeddings on their way, one a log that the caller sees. */
const arriving = (embeddings: readonly string[]): SQL => sql`
  with e as materialized (
    select l.id, l.organization_id, ${vectors((vector) => `e.${vector}`)}
    from json_populate_recordset(null::public.execution_embeddings, ${`[${embeddings.join(",")}]`}::text::json) as e
    cross join lateral (
      select id, organization_id from ${LOG} as l where ${byKey("id", "e.execution_log_id")}
    ) as l
  )`;

/** Adds embeddings to logs that have none, and answers of the others how they are not what is given. */
export const addEmbeddings = (embeddings: readonly string[]): SQL => sql`${arriving(embeddings)},
  added as (
    insert into public.execution_embeddings (execution_log_id, organization_id, ${vectors((vector) => vector)})
    select e.id, ${ownOr("e.organization_id")}, ${vectors((vector) => `e.${vector}`)} from e
    where not exists (select from ${EMBEDDINGS} as x where ${byKey("x.execution_log_id", "e.id")})
    returning id -- without it Citus would COPY, which row-level security refuses
  )
  select e.id::text as id,
    (${vectors((vector) => `e.${vector} is not null and x.${vector} is null`, " or ")}) as lacks,
    coalesce(${vectors((vector) => `e.${vector} <> x.${vector}`, " or ")}, false) as differs
  from e cross join lateral (
    select * from ${EMBEDDINGS} as x where ${byKey("x.execution_log_id", "e.id")}
  ) as x`;

/** What {@link addEmbeddings} answers. */
export interface StoredEmbedding {
  readonly id: string;
  /** Whether one that is given was NULL. */
  readonly lacks: boolean;
  /** Whether one that is given was another. */
  readonly differs: boolean;
}

/**
 * Fills in embeddings that were NULL.
 * @param replacing ids whose stored ones give way
 */
export const fillEmbeddings = (
  embeddings: readonly string[],
  replacing: readonly string[],
): SQL => sql`${arriving(embeddings)}
  update public.execution_embeddings as x
  set ${vectors((vector) => `${vector} = case when e.replaces then coalesce(e.${vector}, x.${vector}) else coalesce(x.${vector}, e.${vector}) end`)}
  from (select *, id = any (${textArray(replacing)}::uuid[]) as replaces from e) as e
  where x.execution_log_id = e.id${ofOwn("x")}`;

/** What {@link insert} answers. */
export interface Inserted {
  inserted: number;
  /** Whether a reference leads nowhere; then nothing was inserted. */
  dangling: boolean;
  /** Ids of the new rows, where not all are new. */
  ids: string | null;
  /** What they cost, where it is asked for. */
  charges: Charge[];
  /** How runs ended, where it is asked for. */
  outcomes: Ended[];
}

/** How a run ended, and when in ISO form. */
export interface Ended {
  agentId: string;
  at: string;
  outcome: "success" | "failure";
}

/** An entry whose row holds something else. */
export interface Differing {
  n: number;
  id: string;
}
