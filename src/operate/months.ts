/** The log cut into months: which partitions there are, and how one is made. SQL alone, of the server's own names. */
import { type SQL, sql } from "drizzle-orm";

/** Where the partitions are. No role of ours may look into it: they are read through the log. */
export const PARTITION_SCHEMA = "meta_agent_partitions";

/** Holds each row of a cut log to what its id says: retention and pruning go by the id. */
export const ID_TIME_CHECK = "agent_execution_logs_id_timestamp_check";

/** Of a conversion under way: in the way of rows of later months until the months take them. */
export const CUT_CHECK = "agent_execution_logs_before_cut";

/**
 * As far as an id may be from its row's `timestamp`: a day. The server's own functions alone, and none that asks for a
 * time zone, since it runs for each row. Ids count instants before 1970 as 1970.
 */
const IS_TIMED = `substr(id::text, 15, 1) = '7' AND abs(('x' || substr(id::text, 1, 8) || substr(id::text, 10, 4))::bit(48)::bigint - greatest(date_part('epoch', timestamp), 0) * 1000) <= 86400000`;

/** Rows whose id says another time, or none. */
export const MISTIMED = sql.raw(`not (${IS_TIMED})`);

/** Asks it of new rows alone. */
export const ADD_ID_TIME_CHECK = `ALTER TABLE public.agent_execution_logs ADD CONSTRAINT ${ID_TIME_CHECK} CHECK (${IS_TIMED}) NOT VALID`;

/** The instant in an id of version 7. As `meta_agent.uuidv7_time`, which not everybody may call. */
const timeOf = (id: SQL): SQL =>
  sql`to_timestamp(('x' || substr(${id}::text, 1, 8) || substr(${id}::text, 10, 4))::bit(48)::bigint / 1000.0)`;

/** The smallest id of an instant. As `meta_agent.uuidv7_floor`. */
const floorOf = (instant: SQL): SQL =>
  sql`regexp_replace(lpad(to_hex((extract(epoch from ${instant}) * 1000)::bigint), 12, '0'), '(.{8})(.{4})', '\\1-\\2-7000-8000-000000000000')`;

/** The log, as a row of `oid`, `owner` and `is_partitioned`; none where it is not there. */
export const LOG = sql`(
  select c.oid, c.relowner as owner, c.relkind = 'p' as is_partitioned from pg_class as c
  where c.relnamespace = to_regnamespace('public') and c.relname = 'agent_execution_logs' and c.relkind in ('r', 'p'))`;

/**
 * Its partitions: `oid`, `path` as SQL writes it, `label`, `relname`, `is_default`, and from which instant (NULL: the
 * beginning of time) to which (NULL: its end) their ids are.
 */
export const PARTITIONS = sql`(
  select c.oid, c.relname, c.relrowsecurity, c.relowner, c.relacl, format('%I.%I', n.nspname, c.relname) as path,
    n.nspname || '.' || c.relname as label, bound = 'DEFAULT' as is_default,
    ${timeOf(sql`ends[1]`)} as since, ${timeOf(sql`ends[2]`)} as until, ends[1]::uuid as lower, ends[2]::uuid as upper
  from ${LOG} as log join pg_inherits as i on i.inhparent = log.oid join pg_class as c on c.oid = i.inhrelid
  join pg_namespace as n on n.oid = c.relnamespace
  cross join lateral (select pg_get_expr(c.relpartbound, c.oid) as bound) as printed
  left join lateral (select regexp_match(bound, '^FOR VALUES FROM [(](?:''([-0-9a-f]{36})''|MINVALUE)[)] TO [(](?:''([-0-9a-f]{36})''|MAXVALUE)[)]$') as ends) as read on true
  where c.relispartition)`;

/** Times between partitions that none has: `since`, `until`. */
export const GAPS = sql`(
  select until as since, next as until from (
    select until, lead(since) over (order by since nulls first) as next from ${PARTITIONS} as part where not is_default
  ) as pair where until < next)`;

/**
 * The months, UTC, of a time that no partition has, each with `statements` that make its partition: `since`, `until`
 * and `name`. Born closed, with the statistics of the log and the settings of its newest partition.
 * @param spans rows of `since`, `until`
 */
export const monthsOf = (spans: SQL): SQL => sql`(
  select month.since, month.until, month.name, array_remove(array[
    format('CREATE TABLE ${schema}.%I (LIKE public.agent_execution_logs INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION)', name),
    format('ALTER TABLE ${schema}.%I OWNER TO %I', name, pg_get_userbyid(log.owner)),
    format('ALTER TABLE ${schema}.%I ENABLE ROW LEVEL SECURITY', name),
    format('REVOKE ALL ON TABLE ${schema}.%I FROM PUBLIC, anon, authenticated, service_role', name),
    (select format('ALTER TABLE ${schema}.%I SET (%s)', name, string_agg(format('%I = %L', option_name, option_value), ', '))
      from (select oid from ${PARTITIONS} as part where not is_default order by since desc nulls last limit 1) as newest
      join pg_class as c using (oid) cross join pg_options_to_table(c.reloptions) having count(*) > 0)
  ] || array(
    select ${statisticsOf(sql`s`, sql`format('${schema}.%I', name)`, sql`name`)}
    from pg_statistic_ext as s where s.stxrelid = log.oid order by s.stxname
  ) || array[
    format('ALTER TABLE public.agent_execution_logs ATTACH PARTITION ${schema}.%I FOR VALUES FROM (%L) TO (%L)', name,
      ${floorOf(sql`month.since`)}, ${floorOf(sql`month.until`)})
  ], null) as statements
  from (
    select greatest(start at time zone 'UTC', span.since) as since,
      least((start + interval '1 month') at time zone 'UTC', span.until) as until,
      'agent_execution_logs_' || to_char(start, 'YYYYMM') as name
    from ${spans} as span
    cross join generate_series(date_trunc('month', span.since at time zone 'UTC'),
      (span.until at time zone 'UTC') - interval '1 millisecond', interval '1 month') as start
  ) as month cross join ${LOG} as log)`;

const schema = sql.raw(PARTITION_SCHEMA);

/** The statement that gives a table the statistics that another has. */
export function statisticsOf(statistics: SQL, path: SQL, name: SQL): SQL {
  return sql`format('CREATE STATISTICS ${schema}.%I (%s) ON %s FROM %s',
    left(${name} || regexp_replace(${statistics}.stxname, '^agent_execution_logs', ''), 63),
    (select string_agg(case kind when 'd' then 'ndistinct' when 'f' then 'dependencies' when 'm' then 'mcv' end, ', ')
      from unnest(${statistics}.stxkind::text[]) as kind where kind <> 'e'),
    pg_get_statisticsobjdef_columns(${statistics}.oid), ${path})`;
}
