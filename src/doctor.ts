/**
 * Says what is healthy about a database and what is not. A check is one query and how its rows are judged;
 * the list of them is at the end.
 */
import { type SQL, getTableName, sql } from "drizzle-orm";
import { type Kind, kindOf } from "./catalog.ts";
import { type Database, type Transaction, rows } from "./database.ts";
import { type Finding, diff } from "./diff.ts";
import { JOURNAL } from "./drizzle-kit.ts";
import { ENOUGH_ROWS, embeddingIndexStates, fittedLists } from "./embedding-indexes.ts";
import { databaseError } from "./errors.ts";
import { LOGINS } from "./roles.ts";
import * as schema from "./schema/index.ts";

export interface Diagnosis {
  /** `error`: isolation or data are at risk. `warning`: something will hurt. `info`: worth knowing. */
  readonly level: "error" | "warning" | "info";
  /** The check that says it: `logins`, `indexes`, … */
  readonly check: string;
  /** What is so, a sentence. */
  readonly message: string;
  /** What to do about it: SQL that ends in `;`, a command, or a sentence. */
  readonly next: string;
}

export interface DoctorOptions {
  /** Also read whole tables: references across organizations, counters that are full. Default false. */
  readonly deep?: boolean | undefined;
  /** From which age on an open transaction is a finding. Seconds, default 300. */
  readonly longTransaction?: number | undefined;
}

type Judgement = Omit<Diagnosis, "check">;

/** Who asks, and what of. */
interface Patient {
  /** As `server_version_num`: 170011. */
  readonly server: number;
  /** The embedded PostgreSQL has one session, no autovacuum and no statistics of activity. */
  readonly embedded: boolean;
  /** Version of pgvector, null where it is not installed. */
  readonly vector: string | null;
  /** How many of ours are there. */
  readonly tables: number;
  /** Whether the login owns the tables, or may become who does. */
  readonly isOwner: boolean;
  readonly login: string;
  readonly longTransaction: number;
}

interface Check {
  readonly name: string;
  /** Reads whole tables. */
  readonly deep?: true;
  /** Whether it needs the owner of the tables: it reads rows, or what PostgreSQL shows to owners alone. */
  readonly owner?: true;
  /** Whether the embedded PostgreSQL is left out. */
  readonly server?: true;
  readonly run: (db: Database, patient: Patient) => Promise<Judgement[]>;
}

const error = (message: string, next: string): Judgement => ({ level: "error", message, next });
const warning = (message: string, next: string): Judgement => ({ level: "warning", message, next });
const info = (message: string, next: string): Judgement => ({ level: "info", message, next });

/**
 * Examines a database, in one transaction that may only read. It needs no right beyond connecting, and says
 * as `info` what it could not look at: rows that are not the login's to see, tables that somebody has locked
 * for more than a second. A login that does not own the tables is examined as the application's.
 */
export async function doctor(
  db: Database,
  { deep = false, longTransaction = 300 }: DoctorOptions = {},
): Promise<Diagnosis[]> {
  const examine = async (tx: Transaction): Promise<Diagnosis[]> => {
    await tx.execute(sql`select set_config('lock_timeout', '1s', true)`);
    const patient = { ...(await admit(tx)), longTransaction };
    const found: Diagnosis[] = serverFindings(patient).map((one) => ({ ...one, check: "server" }));
    for (const check of CHECKS.filter((one) => isDue(one, patient, deep))) {
      const judgements = await attempt(tx, check, patient);
      found.push(...judgements.map((judgement) => ({ ...judgement, check: check.name })));
    }
    return found;
  };
  return db.transaction(examine, { accessMode: "read only" });
}

/** Where a table is missing, what depends on it would only be an error of a query. */
function isDue(check: Check, { tables, embedded }: Patient, deep: boolean): boolean {
  if (check === differences) return tables > 0;
  return tables === TABLES.length && (deep || !check.deep) && !(embedded && check.server);
}

async function attempt(tx: Transaction, check: Check, patient: Patient): Promise<Judgement[]> {
  if (check.owner && !patient.isOwner) {
    return [
      info(
        "not checked: needs the owner of the tables",
        "Run doctor with MIGRATION_DATABASE_URL too.",
      ),
    ];
  }
  try {
    return await tx.transaction((savepoint) => check.run(savepoint, patient));
  } catch (cause) {
    if (databaseError(cause)?.code !== "55P03") throw cause;
    return [
      info(
        "not checked: another session holds a lock on a table",
        "Run doctor again when it is released.",
      ),
    ];
  }
}

// ── The patient ──

const TABLES = Object.values(schema).map(getTableName);

/** Our tables that are there: `oid`, `relname`, `name` as SQL may write it, `relowner`. */
const ours = sql`(
  select oid, relname, relowner, reltuples, reloptions, oid::regclass::text as name from pg_class
  where relnamespace = to_regnamespace('public') and relkind in ('r', 'p') and relname = any (${sql.param(TABLES)}::text[]))`;

async function admit(db: Database): Promise<Omit<Patient, "longTransaction">> {
  const [patient] = rows<Omit<Patient, "longTransaction"> & Record<string, unknown>>(
    await db.execute(sql`
      select current_setting('server_version_num')::int as server, version() like '%emscripten%' as embedded,
        (select extversion from pg_extension where extname = 'vector') as vector,
        count(*)::int as tables, coalesce(bool_and(pg_has_role(relowner, 'USAGE')), false) as "isOwner",
        current_user::text as login
      from ${ours} as ours`),
  );
  if (!patient) throw new TypeError("an aggregate has one row");
  return patient;
}

function serverFindings({ server, vector, tables }: Patient): Judgement[] {
  const [major = 0, minor = 0] = (vector ?? "").split(".").map(Number);
  return [
    server < 150_000 &&
      error(
        `the server is PostgreSQL ${Math.floor(server / 10_000)}, it must be 15 or newer`,
        "Upgrade the server.",
      ),
    vector === null && error("pgvector is not installed", "CREATE EXTENSION vector;"),
    vector !== null &&
      major === 0 &&
      minor < 8 &&
      error(`pgvector is ${vector}, it must be 0.8 or newer`, "ALTER EXTENSION vector UPDATE;"),
    tables === 0 && error("the database is not migrated", "meta-agent-db migrate"),
  ].filter((judgement) => judgement !== false);
}

// ── Checks ──

/** A check of one query; each row is judged by itself. */
function checkOf<Row extends Record<string, unknown>>(
  name: string,
  facts: (patient: Patient) => SQL,
  judge: (row: Row, patient: Patient) => Judgement[],
  traits: Pick<Check, "deep" | "owner" | "server"> = {},
): Check {
  const run: Check["run"] = async (db, patient) =>
    rows<Row>(await db.execute(facts(patient))).flatMap((row) => judge(row, patient));
  return { name, run, ...traits };
}

/** What of the schema is not as the migrations make it. */
const differences: Check = {
  name: "schema",
  run: async (db) =>
    (await diff(db))
      // Of an invalid index there is more to say than that it is one.
      .filter(({ found }) => !found?.endsWith("-- invalid"))
      .map(({ object, problem, why, repair, safe }) =>
        (isMinor(kindOf({ object }), problem) ? warning : error)(
          `${object} is ${problem === "extra" ? "not of the migrations" : problem}. ${why}`,
          safe
            ? "meta-agent-db diff --repair"
            : repair.map((statement) => `${statement};`).join(" "),
        ),
      ),
};

/** What serves speed and understanding, not isolation or the sense of rows. */
const isMinor = (kind: Kind, problem: Finding["problem"]): boolean =>
  ["index", "statistics", "comment"].includes(kind) || (kind === "column" && problem === "extra");

const OUR_ROLES = ["anon", "authenticated", "service_role"];
const KNOWN_LOGINS = Object.values(LOGINS).map(({ name }) => name);
const textArray = (values: readonly string[]) => sql`${sql.param([...values])}::text[]`;

/** Every role and those it is made a member of, directly or not. Server versions before 16 have no options. */
const reach = sql`reach (member, role) as (
  select member, roleid from pg_auth_members as m
  where coalesce((to_jsonb(m) ->> 'set_option')::boolean, true) or (to_jsonb(m) ->> 'inherit_option')::boolean
  union select reach.member, m.roleid from reach join pg_auth_members as m on m.member = reach.role)`;

type LoginRow = {
  login: string;
  superuser: boolean;
  bypass: boolean;
  mighty: string | null;
  owner: string | null;
  owns: boolean;
  inherits: string[];
  may: string[];
  /** From 16 on each membership is inherited or not; before, all are. */
  inheritances: string[];
};

/** A login is the application's unless it owns the tables; of Supabase's only `authenticator` is like one, and meant so. */
const logins = checkOf<LoginRow>(
  "logins",
  ({ isOwner, server }) => sql`
    with recursive ${reach}, operator as (select distinct relowner as oid from ${ours} as ours)
    select quote_ident(rolname) as login, rolsuper as superuser, rolbypassrls as bypass,
      case when rolcreaterole then 'CREATEROLE' when rolreplication then 'REPLICATION' end as mighty,
      (select quote_ident(o.rolname) from operator join pg_roles as o using (oid)
        where role.oid = o.oid or exists (select from reach where member = role.oid and reach.role = o.oid) limit 1) as owner,
      exists (select from pg_shdepend where refclassid = 'pg_authid'::regclass and refobjid = role.oid and deptype = 'o'
        and dbid in (0, (select oid from pg_database where datname = current_database()))) as owns,
      array(select ours from unnest(${textArray(OUR_ROLES)}) as ours where pg_has_role(role.oid, ours, 'USAGE')) as inherits,
      array(select ours from unnest(${textArray(OUR_ROLES)}) as ours
        where pg_has_role(role.oid, ours, ${server >= 160_000 ? "SET" : "MEMBER"})) as may,
      array(select format('GRANT %I TO %I WITH INHERIT FALSE;', r.rolname, role.rolname)
        from pg_auth_members as m join pg_roles as r on r.oid = m.roleid
        where m.member = role.oid and (to_jsonb(m) ->> 'inherit_option')::boolean) as inheritances
    from pg_roles as role
    where rolcanlogin and rolname <> 'authenticator' and case
      when rolname = any (${textArray(KNOWN_LOGINS)}) then true
      when role.oid = (select mode() within group (order by relowner) from ${ours} as ours) then false
      when rolname = current_user then not ${isOwner}::boolean
      else exists (select from reach join pg_roles as r on r.oid = reach.role
        where member = role.oid and r.rolname = any (${textArray(OUR_ROLES)})) end`,
  ({ login, superuser, bypass, mighty, owner, owns, inherits, may, inheritances }) => {
    const disinherit = [...inheritances, `ALTER ROLE ${login} NOINHERIT;`].join(" ");
    // A superuser is a member of everything; the rest of what could be said follows from it.
    if (superuser) {
      return [
        error(
          `the login ${login} is a superuser: row-level security does not apply to it`,
          `ALTER ROLE ${login} NOSUPERUSER;`,
        ),
      ];
    }
    return [
      bypass &&
        error(
          `the login ${login} has BYPASSRLS: row-level security does not apply to it`,
          `ALTER ROLE ${login} NOBYPASSRLS;`,
        ),
      owner !== null &&
        error(
          `the login ${login} ${owner === login ? "owns the tables" : `is a member of ${owner}, who owns the tables`}: row-level security does not apply to their owner`,
          owner === login
            ? `REASSIGN OWNED BY ${login} TO CURRENT_USER;`
            : `REVOKE ${owner} FROM ${login};`,
        ),
      owner !== login &&
        owns &&
        warning(
          `the login ${login} owns objects: no policy holds for their owner`,
          `REASSIGN OWNED BY ${login} TO CURRENT_USER;`,
        ),
      mighty !== null &&
        warning(
          `the login ${login} has ${mighty}, with which it can get past its own limits`,
          `ALTER ROLE ${login} NO${mighty};`,
        ),
      inherits.includes("service_role") &&
        error(
          `the login ${login} inherits service_role: without a switch of role it sees every organization`,
          disinherit,
        ),
      inherits.includes("authenticated") &&
        warning(
          `the login ${login} inherits authenticated: a statement outside of withOrganization finds no rows instead of failing`,
          disinherit,
        ),
      may.includes("service_role") &&
        may.includes("authenticated") &&
        warning(
          `the login ${login} may act as authenticated and as service_role: a hole in the application opens every organization`,
          `REVOKE service_role FROM ${login};`,
        ),
      may.length === 0 &&
        warning(
          `the login ${login} may act neither as authenticated nor as service_role`,
          `ALTER ROLE ${login} NOINHERIT; GRANT authenticated, anon TO ${login};`,
        ),
    ].filter((judgement) => judgement !== false);
  },
);

/** The operator's own login cannot be told from an application that wrongly uses it: both are said. */
const operator = checkOf<{ application: boolean }>(
  "logins",
  () => sql`
    with recursive ${reach}
    select exists (select from reach join pg_roles as l on l.oid = member join pg_roles as r on r.oid = reach.role
      where l.rolcanlogin and r.rolname = 'authenticated' and not l.rolsuper) as application`,
  ({ application }, { isOwner, login }) => [
    ...(isOwner
      ? [
          info(
            `${login} owns the tables, so row-level security does not apply to it: it is for migrations, not for the application`,
            "Run doctor with the application's DATABASE_URL too.",
          ),
        ]
      : []),
    ...(application
      ? []
      : [info("no login may act as authenticated", "meta-agent-db roles --apply")]),
  ],
  { server: true },
);

const roles = checkOf<{ role: string; trait: string; grave: boolean; repair: string }>(
  "roles",
  () => sql`
    with recursive ${reach}, tenant as (select * from pg_roles where rolname = any (${textArray(OUR_ROLES)}))
    select distinct member.rolname as role, 'is a member of ' || role.rolname as trait,
      member.rolname <> 'service_role' and (role.rolname = 'service_role' or role.rolsuper or role.rolbypassrls
        or role.oid in (select relowner from ${ours} as ours)) as grave,
      format('REVOKE %I FROM %I;', role.rolname, member.rolname) as repair
    from reach join tenant as member on member.oid = reach.member join pg_roles as role on role.oid = reach.role
    union all
    select rolname, 'is a superuser', true, format('ALTER ROLE %I NOSUPERUSER;', rolname) from tenant where rolsuper
    union all
    select rolname, 'has BYPASSRLS', true, format('ALTER ROLE %I NOBYPASSRLS;', rolname) from tenant
      where rolbypassrls and rolname <> 'service_role'
    union all
    select rolname, 'may log in', false, format('ALTER ROLE %I NOLOGIN;', rolname) from tenant where rolcanlogin
    order by 1, 2`,
  ({ role, trait, grave, repair }) => [
    (grave ? error : warning)(`the role ${role} ${trait}, and so everybody who acts as it`, repair),
  ],
);

const references = checkOf<{ reference: string; table: string; columns: string }>(
  "references",
  () => sql`
    select c.conname as reference, c.conrelid::regclass::text as table, string_agg(quote_ident(a.attname), ', ' order by k.position) as columns
    from pg_constraint as c cross join unnest(c.conkey) with ordinality as k (attnum, position)
    join pg_attribute as a on a.attrelid = c.conrelid and a.attnum = k.attnum
    where c.contype = 'f' and c.conparentid = 0
      and (c.conrelid in (select oid from ${ours} as ours) or c.confrelid in (select oid from ${ours} as ours))
      and not exists (
        select from pg_index as i join pg_class as index on index.oid = i.indexrelid join pg_am on pg_am.oid = index.relam
        where i.indrelid = c.conrelid and i.indisvalid and pg_am.amname in ('btree', 'hash')
          and (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey
          and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) in (
            select format('(%I IS NOT NULL)', attname) from pg_attribute where attrelid = c.conrelid and attnum = any (c.conkey))))
    group by c.oid, c.conname, c.conrelid order by 2, 1`,
  ({ reference, table, columns }) => [
    warning(
      `the reference ${reference} of ${table} has no index: each delete and change of a key on the other side reads the whole table`,
      `CREATE INDEX CONCURRENTLY ON ${table} (${columns});`,
    ),
  ],
);

const indexes = checkOf<{
  index: string;
  table: string;
  unique: boolean;
  building: boolean;
  leftover: boolean;
}>(
  "indexes",
  () => sql`
    select i.indexrelid::regclass::text as index, i.indrelid::regclass::text as table, i.indisunique as unique,
      exists (select from pg_stat_progress_create_index as p where p.relid = i.indrelid) as building,
      c.relname ~ '_cc(new|old)\\d*$' as leftover
    from pg_index as i join pg_class as c on c.oid = i.indexrelid
    where not (i.indisvalid and i.indisready) and i.indrelid in (select oid from ${ours} as ours) order by 1`,
  ({ index, table, unique, building, leftover }) => {
    if (building) {
      return [info(`the index ${index} of ${table} is not valid, and one is being built`, "Wait.")];
    }
    if (leftover) {
      return [
        warning(
          `the index ${index} of ${table} is left over from a REINDEX that failed; it costs every write`,
          `DROP INDEX CONCURRENTLY ${index};`,
        ),
      ];
    }
    return [
      warning(
        `the index ${index} of ${table} is not valid: it costs every write and serves no query${unique ? "; remove the duplicates first, it is unique" : ""}`,
        `REINDEX INDEX CONCURRENTLY ${index};`,
      ),
    ];
  },
);

/**
 * A B-tree is compared with what its entries need: widths from the statistics, 8 bytes an entry and 4 a
 * pointer, pages nine tenths full. Equal keys need less than that, so nothing is said too early. Other
 * kinds of indexes and the insides of tables are not estimated.
 */
const bloat = checkOf<{ index: string; bytes: string; share: number }>(
  "bloat",
  () => sql`
    select index, pg_size_pretty(size) as bytes, round(100 * expected / size)::int as share
    from (
      select i.indexrelid::regclass::text as index, pg_relation_size(i.indexrelid) as size,
        greatest(c.reltuples, 0) * (12 + ceil(sum(s.avg_width * (1 - s.null_frac)) / 8) * 8) / 0.9 as expected,
        count(*) = i.indnatts and count(*) = count(s.avg_width) as known
      from pg_index as i join pg_class as c on c.oid = i.indexrelid join pg_am on pg_am.oid = c.relam
      join ${ours} as ours on ours.oid = i.indrelid cross join unnest(i.indkey) as k (attnum)
      left join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.attnum
      left join pg_stats as s on s.schemaname = 'public' and s.tablename = ours.relname and s.attname = a.attname
      where pg_am.amname = 'btree' and i.indisvalid and pg_relation_size(i.indexrelid) > 8 * 1024 ^ 2
      group by i.indexrelid, i.indnatts, c.reltuples
    ) as estimate
    where known and size > 3 * expected order by size desc`,
  ({ index, bytes, share }) => [
    warning(
      `the index ${index} takes ${bytes}, of which its entries need about ${share} %`,
      `REINDEX INDEX CONCURRENTLY ${index};`,
    ),
  ],
  { owner: true },
);

/** What searches go by; an index that is missing or invalid is told by others. Counts the rows. */
const embeddings: Check = {
  name: "embeddings",
  owner: true,
  run: async (db) =>
    (await embeddingIndexStates(db)).flatMap(({ index, rows: indexed, lists, problem }) => {
      if (lists === null || indexed < ENOUGH_ROWS) return [];
      const fitted = fittedLists(indexed);
      const unfit = lists > 4 * fitted || fitted > 4 * lists;
      return problem === undefined && !unfit
        ? []
        : [
            warning(
              `the index ${index} ${problem ? `was ${problem}` : `has ${lists} lists for ${count(indexed)} rows, ${fitted} would fit`}`,
              `rebuildEmbeddingIndexes(db${problem ? "" : ", { force: true }"}), as the owner on a direct connection`,
            ),
          ];
    }),
};

const statistics = checkOf<{ table: string; extended: string | null }>(
  "statistics",
  () => sql`
    select name as table, null as extended from ${ours} as ours where reltuples < 0 and pg_relation_size(oid) > 65536
    union all
    select name, stxname from ${ours} as ours join pg_statistic_ext on stxrelid = ours.oid
    where reltuples > 0 and pg_relation_size(ours.oid) > 65536 and not exists (select from pg_stats_ext as filled
      where filled.statistics_schemaname::regnamespace = stxnamespace and filled.statistics_name = stxname)
    order by 1, 2`,
  ({ table, extended }) => [
    warning(
      extended === null
        ? `the table ${table} was never analyzed: the planner guesses`
        : `the statistics ${extended} of ${table} are empty: the planner underestimates what a tenant's query finds`,
      `ANALYZE ${table};`,
    ),
  ],
  { owner: true },
);

const autovacuum = checkOf<{
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
    from ${ours} as ours join pg_stat_user_tables as s on s.relid = ours.oid order by 1 nulls first`,
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

const sessions = checkOf<{
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
const wraparound = checkOf<{ subject: string; used: number; next: string }>(
  "overflow",
  () => sql`
    select 'the transaction ids of ' || name as subject, age(c.relfrozenxid) / 2147483647.0 as used,
      'VACUUM (FREEZE) ' || name || ';' as next
    from ${ours} as ours join pg_class as c using (oid) where age(c.relfrozenxid) > 2147483647 / 2
    union all
    select 'the multixact ids of ' || name, mxid_age(c.relminmxid) / 2147483647.0, 'VACUUM (FREEZE) ' || name || ';'
    from ${ours} as ours join pg_class as c using (oid) where mxid_age(c.relminmxid) > 2147483647 / 2
    union all
    select 'the transaction ids of the database', age(datfrozenxid) / 2147483647.0, 'VACUUM (FREEZE);'
    from pg_database where datname = current_database() and age(datfrozenxid) > 2147483647 / 2
    union all
    select format('the sequence %I.%I', s.schemaname, s.sequencename), s.last_value::numeric / s.max_value,
      format('ALTER TABLE %I.%I ALTER COLUMN %I TYPE bigint; ALTER SEQUENCE %I.%I AS bigint;', n.nspname, t.relname, a.attname, s.schemaname, s.sequencename)
    from pg_depend as d join pg_class as q on q.oid = d.objid and q.relkind = 'S' join pg_class as t on t.oid = d.refobjid
    join pg_namespace as n on n.oid = t.relnamespace join pg_attribute as a on a.attrelid = t.oid and a.attnum = d.refobjsubid
    join pg_sequences as s on s.sequencename = q.relname and s.schemaname::regnamespace = q.relnamespace
    where d.deptype in ('a', 'i') and s.last_value > s.max_value / 2
      and (t.oid in (select oid from ${ours} as ours) or (n.nspname = ${JOURNAL.schema} and t.relname = ${JOURNAL.table}))`,
  ({ subject, used, next }) => [
    (used > 0.75 ? error : warning)(
      `${subject}: ${Math.floor(100 * used)} % are used up; at 100 % the server refuses writes`,
      next,
    ),
  ],
);

const platform = checkOf<{ counts: string[] }>(
  "platform rows",
  () => sql`select array(
    select name || ' ' || least(rows, 10000) || case when rows > 10000 then ' or more' else '' end
    from (${eachTable(
      (table) => sql`select ${table}::text as name, (select count(*) from (
      select from ${sql.identifier(table)} where organization_id is null limit 10001) as capped) as rows`,
    )}) as counted
    where rows > 0 order by rows desc, name) as counts`,
  ({ counts }) =>
    counts.length === 0
      ? []
      : [
          info(
            `rows of no organization, which no tenant sees: ${counts.join(", ")}`,
            "Nothing, if they are the platform's. A backend that inserts names the organization: withServiceRole has none of its own.",
          ),
        ],
  { owner: true },
);

/** One query over every table that has an organization. */
function eachTable(query: (table: string) => SQL): SQL {
  const tenant = Object.values(schema).filter((table) => "organizationId" in table);
  return sql.join(
    tenant.map((table) => query(getTableName(table))),
    sql` union all `,
  );
}

// ── Deep checks: generated from the catalog, they read whole tables ──

type CrossedRow = { reference: string; crossed: number; half: number; query: string };

/** Every reference between two tables that have an organization, and the two parents of a table that has none. */
const crossed: Check = {
  name: "tenancy",
  deep: true,
  owner: true,
  run: async (db) => {
    const found = await db.execute(sql`
      with tenant as (
        select ours.oid, name, exists (select from pg_attribute where attrelid = ours.oid and attname = 'organization_id') as owned
        from ${ours} as ours
      ), reference as (
        select c.conname, child.name as child, parent.name as parent, child.owned, quote_ident(a.attname) as key,
          row_number() over (partition by child.oid order by c.conname) as place
        from pg_constraint as c join tenant as child on child.oid = c.conrelid join tenant as parent on parent.oid = c.confrelid
        join pg_attribute as a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
        where c.contype = 'f' and cardinality(c.conkey) = 1 and parent.owned
      )
      select conname::text as name, format('from %s as child join %s as parent on parent.id = child.%s', child, parent, key) as source,
        'child.organization_id' as own
      from reference where owned
      union all
      select a.conname::text || ' and ' || b.conname,
        format('from %s as child join %s as parent on parent.id = child.%s join %s as other on other.id = child.%s', a.child, a.parent, a.key, b.parent, b.key),
        'other.organization_id'
      from reference as a join reference as b on b.child = a.child and b.place > a.place where not a.owned
      order by 1`);
    const links = rows<{ name: string; source: string; own: string }>(found);
    const counts = links.map(
      ({ name, source, own }) => sql`
        select ${name}::text as reference,
          count(*) filter (where ${sql.raw(own)} <> parent.organization_id)::int as crossed,
          count(*) filter (where (${sql.raw(own)} is null) <> (parent.organization_id is null))::int as half,
          ${`SELECT child.* ${source} WHERE ${own} IS DISTINCT FROM parent.organization_id;`}::text as query
        ${sql.raw(source)} where ${sql.raw(own)} is distinct from parent.organization_id`,
    );
    return rows<CrossedRow>(await db.execute(sql.join(counts, sql` union all `))).flatMap(
      ({ reference, crossed: across, half, query }) => [
        ...(across > 0
          ? [
              error(
                `rows that refer to another organization's, by ${reference}: ${count(across)}`,
                query,
              ),
            ]
          : []),
        ...(half > 0
          ? [
              warning(
                `rows between the platform and an organization, by ${reference}: ${count(half)}`,
                query,
              ),
            ]
          : []),
      ],
    );
  },
};

/** A sum that no longer fits is stored as the largest INTEGER. */
const counters: Check = {
  name: "overflow",
  deep: true,
  owner: true,
  run: async (db) => {
    const found = await db.execute(sql`
      select name as table, array_agg(quote_ident(attname) order by attnum) as columns
      from ${ours} as ours join pg_attribute as a on a.attrelid = ours.oid
      where atttypid = 'int4'::regtype and attnum > 0 and not attisdropped group by name order by name`);
    const tables = rows<{ table: string; columns: string[] }>(found);
    const full = tables.map(({ table, columns }) => {
      const condition = columns.map((column) => `${column} = 2147483647`).join(" OR ");
      return sql`select count(*)::int as full, ${table}::text as table,
        ${`SELECT * FROM ${table} WHERE ${condition};`}::text as query
        from ${sql.raw(table)} where ${sql.raw(condition)}`;
    });
    const counted = await db.execute(sql.join(full, sql` union all `));
    return rows<{ full: number; table: string; query: string }>(counted).flatMap((row) =>
      row.full > 0
        ? [
            warning(
              `rows of ${row.table} that hold the largest INTEGER, so that the true value may be larger: ${count(row.full)}`,
              row.query,
            ),
          ]
        : [],
    );
  },
};

const CHECKS: readonly Check[] = [
  differences,
  logins,
  operator,
  roles,
  references,
  indexes,
  bloat,
  embeddings,
  statistics,
  autovacuum,
  sessions,
  wraparound,
  platform,
  crossed,
  counters,
];

// ── Words ──

const count = (value: number) => value.toLocaleString("en-US");

function duration(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} seconds`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} minutes`;
  return seconds < 172_800
    ? `${Math.round(seconds / 3600)} hours`
    : `${Math.round(seconds / 86_400)} days`;
}
