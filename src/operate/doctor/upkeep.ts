/** Checks of what a server must do, and not run out of, while it works. */
import { sql } from "drizzle-orm";
import { JOURNAL } from "../migrate/journal.ts";
import { checkOf, count, error, info, ours, stored, warning } from "./check.ts";

export const autovacuum = checkOf<{
  table: string | null;
  off: boolean;
  dead: number | null;
  live: number;
  vacuumed: string | null;
}>(
  "autovacuum",
  () => sql`
    select null as table, true as off, null::float8 as dead, 0::float8 as live, null as vacuumed
      where not (current_setting('autovacuum')::boolean and current_setting('track_counts')::boolean)
    union all
    select name, exists (select from pg_options_to_table(reloptions) where option_name = 'autovacuum_enabled' and not option_value::boolean),
      s.n_dead_tup, s.n_live_tup, to_char(greatest(s.last_autovacuum, s.last_vacuum) at time zone 'UTC', 'YYYY-MM-DD HH24:MI UTC')
    from ${stored} as ours join pg_stat_user_tables as s on s.relid = ours.oid order by 1 nulls first`,
  ({ table, off, dead, live, vacuumed }) => {
    if (table === null) {
      return [
        warning(
          "autovacuum is switched off for the whole server: tables grow, statistics age, and in the end the server refuses writes",
          "ALTER SYSTEM RESET autovacuum; ALTER SYSTEM RESET track_counts; SELECT pg_reload_conf();",
        ),
      ];
    }
    return [
      ...(off
        ? [
            warning(
              `autovacuum is switched off for ${table}`,
              `ALTER TABLE ${table} RESET (autovacuum_enabled);`,
            ),
          ]
        : []),
      ...(dead !== null && dead > 10_000 && dead > live / 4
        ? [
            warning(
              `${table} holds ${count(dead)} dead rows beside ${count(live)} live ones; last vacuum: ${vacuumed ?? "never"}`,
              `VACUUM (ANALYZE) ${table};`,
            ),
          ]
        : []),
    ];
  },
  { server: true },
);

export const sessions = checkOf<{
  pid: number | null;
  login: string;
  state: string | null;
  seconds: number;
  blocked: number;
  gid: string | null;
}>(
  "sessions",
  ({ longTransaction }) => sql`
    select pid, quote_ident(usename) as login, state, extract(epoch from now() - xact_start)::float8 as seconds, null as gid,
      (select count(*)::int from pg_stat_activity as other where activity.pid = any (pg_blocking_pids(other.pid))) as blocked
    from pg_stat_activity as activity
    where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
      and xact_start < clock_timestamp() - make_interval(secs => ${longTransaction}::float8)
    union all
    select null, quote_ident(owner), 'prepared', extract(epoch from now() - prepared)::float8, quote_literal(gid), 0 from pg_prepared_xacts
    where database = current_database() and prepared < clock_timestamp() - make_interval(secs => ${longTransaction}::float8)
    union all
    select null, min(quote_ident(usename)), null, 0, null, count(*)::int from pg_stat_activity
    where datname = current_database() and query = '<insufficient privilege>' having count(*) > 0
    order by seconds desc`,
  ({ pid, login, state, seconds, blocked, gid }) => {
    if (state === null) {
      return [
        info(
          `${blocked} sessions of other logins are hidden, and what they do not checked: needs pg_read_all_stats`,
          "GRANT pg_read_all_stats TO CURRENT_USER;",
        ),
      ];
    }
    const consequence = `vacuum must keep all that was deleted since${blocked > 0 ? `, and ${blocked} other sessions wait for its locks` : ""}`;
    return gid === null
      ? [
          warning(
            `session ${pid} of ${login} has a transaction open for ${duration(seconds)} and is ${state}: ${consequence}`,
            `SELECT pg_terminate_backend(${pid});`,
          ),
        ]
      : [
          warning(
            `the prepared transaction ${gid} of ${login} is open for ${duration(seconds)}: it holds its locks, and ${consequence}`,
            `ROLLBACK PREPARED ${gid};`,
          ),
        ];
  },
  { server: true },
);

/** Half of what there is is time enough to act. */
export const wraparound = checkOf<{ subject: string; used: number; next: string }>(
  "overflow",
  () => sql`
    select 'the transaction ids of ' || name as subject, age(c.relfrozenxid) / 2147483647.0 as used,
      'VACUUM (FREEZE) ' || name || ';' as next
    from ${stored} as ours join pg_class as c using (oid) where age(c.relfrozenxid) > 2147483647 / 2
    union all
    select 'the multixact ids of ' || name, mxid_age(c.relminmxid) / 2147483647.0, 'VACUUM (FREEZE) ' || name || ';'
    from ${stored} as ours join pg_class as c using (oid) where mxid_age(c.relminmxid) > 2147483647 / 2
    union all
    select 'the transaction ids of the database', age(datfrozenxid) / 2147483647.0, 'VACUUM (FREEZE);'
    from pg_database where datname = current_database() and age(datfrozenxid) > 2147483647 / 2
    union all
    select format('the sequence %I.%I', s.schemaname, s.sequencename), s.last_value::numeric / s.max_value,
      format('ALTER TABLE %I.%I ALTER COLUMN %I TYPE bigint; ALTER SEQUENCE %I.%I AS bigint;', n.nspname, t.relname, a.attname, s.schemaname, s.sequencename)
    from pg_depend as d join pg_class as q on q.oid = d.objid and q.relkind = 'S' join pg_class as t on t.oid = d.refobjid
    join pg_namespace as n on n.oid = t.relnamespace join pg_attribute as a on a.attrelid = t.oid and a.attnum = d.refobjsubid
    join pg_namespace as home on home.oid = q.relnamespace
    join pg_sequences as s on s.sequencename = q.relname and s.schemaname = home.nspname
    where d.deptype in ('a', 'i') and s.last_value > s.max_value / 2
      and (t.oid in (select oid from ${ours} as ours) or (n.nspname = ${JOURNAL.schema} and t.relname = ${JOURNAL.table}))`,
  ({ subject, used, next }) => [
    (used > 0.75 ? error : warning)(
      `${subject}: ${Math.floor(100 * used)} % are used up; at 100 % the server refuses writes`,
      next,
    ),
  ],
);

function duration(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} seconds`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} minutes`;
  return seconds < 172_800
    ? `${Math.round(seconds / 3600)} hours`
    : `${Math.round(seconds / 86_400)} days`;
}
