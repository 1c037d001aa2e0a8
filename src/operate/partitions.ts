/** Cuts the log into monthly partitions while it is read and written. The log's definitions are read from the catalog. */
import { setTimeout as sleep } from "node:timers/promises";
import { type SQL, sql } from "drizzle-orm";
import { databaseError } from "../client/errors.ts";
import { withServersNames } from "../client/settings.ts";
import { type Database, type Queryable, type Transaction, one, rows } from "../client/sql.ts";
import { confinedTransaction } from "../client/transaction.ts";
import { LockedError, lockMigrators, tableUsers } from "./migrate/lock.ts";
import {
  ADD_ID_TIME_CHECK,
  CUT_CHECK,
  GAPS,
  ID_TIME_CHECK,
  LOG,
  MISTIMED,
  PARTITIONS,
  PARTITION_SCHEMA,
  monthsOf,
} from "./months.ts";

/** How long to wait, and what to tell meanwhile. */
export interface PartitionOptions {
  /** Months to have ready after the current one. Default 3. */
  readonly ahead?: number | undefined;
  /** Seconds to try for locks, each attempt a quarter of a second; 0 once. Default: without limit. */
  readonly lockTimeout?: number | undefined;
  /** Told before each step what it does. */
  readonly onStep?: ((what: string) => unknown) | undefined;
  /** Told once a step when others hold a lock that it needs. */
  readonly onWait?: ((why: string) => unknown) | undefined;
}

/** What is to be done, from the state that there is. */
export interface PartitionPlan {
  readonly isPartitioned: boolean;
  /** Rows of the log; of a partitioned one they are not counted. */
  readonly rows: number | null;
  /** Where the history ends and the months begin. `null`: it is partitioned. */
  readonly cut: Date | null;
  /** What must be done first, a sentence each with what to do. */
  readonly obstacles: readonly string[];
  readonly steps: readonly PartitionStep[];
}

/** One step of the plan. */
export interface PartitionStep {
  readonly what: string;
  /** The strongest lock and how long it is held. */
  readonly lock: string;
  /** An estimate, from how long it took to read the log just now. */
  readonly seconds: number;
}

/** What was done. */
export interface PartitionResult {
  /** Whether the log was cut just now. */
  readonly converted: boolean;
  /** Names of the partitions that were made. */
  readonly made: readonly string[];
}

/** What keeps the log from being cut, or a month from being dropped. Nothing was changed. */
export class PartitionError extends Error {
  override readonly name = "PartitionError";
}

const HISTORY = `${PARTITION_SCHEMA}.agent_execution_logs_history`;

/** Writers wait at most this long for a lock that others hold, behind whoever asks for it here. */
const PATIENCE = "250ms";

interface State {
  readonly isPartitioned: boolean;
  /** Whether both checks are there; whether they are proved. */
  readonly isHeld: boolean;
  readonly isProved: boolean;
  /** ISO. The end of the history to be. */
  readonly cut: string | null;
  /** Whether rows of the present, or soon, are refused by the end of a conversion that was cut off. */
  readonly isStale: boolean;
  /** Foreign keys to the log that are not proved, as `VALIDATE` names them. */
  readonly unproved: readonly string[];
  readonly isAnalyzed: boolean;
}

const CUT = sql`(date_trunc('month', (clock_timestamp() at time zone 'UTC') + interval '7 days') + interval '1 month') at time zone 'UTC'`;

async function stateOf(db: Queryable): Promise<State> {
  const [state] = rows<State>(await db.execute(STATE));
  if (!state)
    throw new PartitionError("this database has not been migrated: meta-agent-db migrate");
  return state;
}

const STATE = sql`
    select log.is_partitioned as "isPartitioned", c.reltuples >= 0 as "isAnalyzed",
      count(k.oid) = 2 as "isHeld", count(k.oid) filter (where k.convalidated) = 2 as "isProved",
      to_json(coalesce(max(held.at), ${CUT})) #>> '{}' as cut,
      coalesce(max(held.at) < clock_timestamp() + interval '1 day', false) as "isStale",
      array(select format('ALTER TABLE %s VALIDATE CONSTRAINT %I', f.conrelid::regclass, f.conname) from pg_constraint as f
        where f.confrelid = log.oid and f.contype = 'f' and f.conparentid = 0 and not f.convalidated order by 1) as unproved
    from ${LOG} as log join pg_class as c using (oid)
    left join pg_constraint as k on k.conrelid = log.oid and k.conname in (${ID_TIME_CHECK}, ${CUT_CHECK})
    left join lateral (select meta_agent.uuidv7_time((regexp_match(pg_get_constraintdef(k.oid), '[-0-9a-f]{36}'))[1]::uuid) as at
      where k.conname = ${CUT_CHECK}) as held on true
    group by log.oid, log.is_partitioned, c.reltuples`;

/**
 * What {@link partitionLogs} would do, with its locks and estimated times, and what is in its way. It only reads: all
 * ids of the log, where it is not partitioned.
 */
export async function planPartitions(
  db: Database,
  { ahead = 3 }: Pick<PartitionOptions, "ahead"> = {},
): Promise<PartitionPlan> {
  requireMonths("planPartitions", ahead);
  const look = async (tx: Transaction): Promise<PartitionPlan> => {
    const state = await stateOf(tx);
    const months = (await missingMonths(tx, ahead, state)).map(({ name }) => name);
    if (state.isPartitioned) {
      const steps = [...state.unproved.map(proving), ...months.map(making)];
      return { isPartitioned: true, rows: null, cut: null, obstacles: [], steps };
    }
    const facts = await countIds(tx, state);
    return {
      isPartitioned: false,
      rows: facts.rows,
      cut: new Date(state.cut ?? 0),
      obstacles: [...(await standing(tx)), ...misfits(facts)],
      steps: [...stepsOf(state, facts), ...months.map(making)],
    };
  };
  return confinedTransaction(db, (tx) => withServersNames(tx, () => look(tx)), {
    accessMode: "read only",
  });
}

/**
 * Cuts `agent_execution_logs` into partitions by the time in its ids: what there is stays in one partition, the
 * history, and each month after it has its own, in a schema that no role of ours may look into. Reads and writes go
 * on, and wait a quarter of a second at most for a lock; policies, grants, keys, indexes, statistics and comments are
 * as before, and all of it is used under the same name. Interrupted anywhere it goes on the next time; of a log that
 * is partitioned it makes the months that are missing.
 *
 * From then on an id is a UUID of version 7 within a day of its row's `timestamp`, or the row is refused, and so is one
 * of a month that has no partition: call {@link addPartitions} each night. Runs as the owner of the tables.
 *
 * @throws {TypeError} before any SQL: `ahead` is no number of months
 * @throws {PartitionError} before anything is changed: ids that say no time or another, objects of others that would
 * go on with the old table; each with what to do
 * @throws {LockedError} when a lock was not to be had within `lockTimeout`
 */
export async function partitionLogs(
  db: Database,
  { ahead = 3, ...options }: PartitionOptions = {},
): Promise<PartitionResult> {
  requireMonths("partitionLogs", ahead);
  const before = await read(db, stateOf);
  if (!before.isPartitioned) await cut(db, options);
  return { converted: !before.isPartitioned, made: await finish(db, ahead, options) };
}

/**
 * Makes the partitions that are missing, up to `ahead` months after the current one: what a nightly job calls. Each
 * takes a fraction of a second, in which updates of agents and prompts and new embeddings wait.
 * @throws {PartitionError} where the log is not partitioned
 * @throws {LockedError} when a lock was not to be had within `lockTimeout`
 */
export async function addPartitions(
  db: Database,
  { ahead = 3, ...options }: PartitionOptions = {},
): Promise<PartitionResult> {
  requireMonths("addPartitions", ahead);
  if (!(await read(db, stateOf)).isPartitioned) {
    throw new PartitionError("the log is not partitioned: meta-agent-db partition --apply does it");
  }
  return { converted: false, made: await finish(db, ahead, options) };
}

function requireMonths(caller: string, ahead: number): void {
  if (Number.isInteger(ahead) && ahead >= 0 && ahead <= 999) return;
  throw new TypeError(`${caller}: ahead must be a whole number of months, 0 or more`);
}

const read = <T>(db: Database, look: (tx: Queryable) => Promise<T>): Promise<T> =>
  confinedTransaction(db, (tx) => withServersNames(tx, () => look(tx)));

async function cut(db: Database, options: PartitionOptions): Promise<void> {
  const { onStep } = options;
  await read(db, async (tx) => {
    const state = await stateOf(tx);
    if (state.isProved) return;
    await onStep?.("reading the ids");
    const obstacles = [...(await standing(tx)), ...misfits(await countIds(tx, state))];
    if (obstacles.length > 0) throw new PartitionError(obstacles.join("\n"));
  });
  await onStep?.("holding new rows to their ids");
  await briefly(db, options, async (tx) => {
    const { isPartitioned, isHeld, isStale } = await stateOf(tx);
    if (isPartitioned || (isHeld && !isStale)) return;
    await run(tx, [
      ...[ID_TIME_CHECK, CUT_CHECK].map(
        (name) => `ALTER TABLE public.agent_execution_logs DROP CONSTRAINT IF EXISTS ${name}`,
      ),
      ADD_ID_TIME_CHECK,
    ]);
    await tx.execute(sql`select set_config('meta_agent.cut', (${CUT})::text, true)`);
    await run(tx, [ADD_CUT_CHECK]);
  });
  await onStep?.("proving it of all rows");
  await prove(db, options, async (tx) => {
    const { isPartitioned, isProved } = await stateOf(tx);
    return isPartitioned || isProved
      ? []
      : [ID_TIME_CHECK, CUT_CHECK].map(
          (name) => `ALTER TABLE public.agent_execution_logs VALIDATE CONSTRAINT ${name}`,
        );
  });
  await onStep?.("putting the partitioned log in its place");
  await briefly(db, options, async (tx) => {
    const state = await stateOf(tx);
    if (state.isPartitioned) return;
    // Objects that others have made since.
    const obstacles = await standing(tx);
    if (obstacles.length > 0) throw new PartitionError(obstacles.join("\n"));
    await lockAll(tx, "ACCESS EXCLUSIVE");
    await run(tx, [SWAP]);
  });
}

async function finish(db: Database, ahead: number, options: PartitionOptions): Promise<string[]> {
  const { onStep } = options;
  const made: string[] = [];
  for (;;) {
    const [month] = await read(db, async (tx) => missingMonths(tx, ahead, await stateOf(tx)));
    if (!month) break;
    await onStep?.(`making ${month.name}`);
    await briefly(db, options, async (tx) => {
      await lockAll(tx, "SHARE ROW EXCLUSIVE");
      const due = await missingMonths(tx, ahead, await stateOf(tx));
      if (due.some(({ name }) => name === month.name)) await run(tx, month.statements);
    });
    made.push(month.name);
  }
  const { unproved, isAnalyzed } = await read(db, stateOf);
  if (unproved.length > 0) {
    await onStep?.("proving the references to the log");
    await prove(db, options, async (tx) => (await stateOf(tx)).unproved);
  }
  // Autovacuum analyzes partitions, not what is partitioned.
  if (!isAnalyzed || made.length > 0) {
    await onStep?.("analyzing the log");
    await prove(db, options, async () => ["ANALYZE public.agent_execution_logs"]);
  }
  return made;
}

/** The locks of all that a partition stands in, in the order in which writers take theirs. */
export const lockAll = (tx: Queryable, mode: "ACCESS EXCLUSIVE" | "SHARE ROW EXCLUSIVE") =>
  tx.execute(
    sql.raw(
      `LOCK TABLE public.agent_registry, public.agent_prompts, public.agent_execution_logs, public.execution_embeddings IN ${mode} MODE`,
    ),
  );

export async function run(tx: Queryable, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await tx.execute(sql.raw(statement));
}

/**
 * Runs `work`, which takes locks that hold others up, in a transaction that gives up soon when it has to wait for one,
 * and again. Vacuum is made to let go first, by a lock that is in nobody's way.
 */
export async function briefly<T>(
  db: Database,
  { lockTimeout, onWait }: PartitionOptions,
  work: (tx: Transaction) => Promise<T>,
): Promise<T> {
  const deadline = performance.now() + (lockTimeout ?? Number.POSITIVE_INFINITY) * 1000;
  for (let attempt = 1; ; attempt++) {
    try {
      return await alone(db, { lockTimeout, onWait }, async (tx) => {
        await tx.execute(
          sql`lock table public.agent_registry, public.agent_prompts, public.agent_execution_logs, public.execution_embeddings in share update exclusive mode`,
        );
        await tx.execute(sql`select set_config('lock_timeout', ${PATIENCE}, true)`);
        return work(tx);
      });
    } catch (error) {
      if (error instanceof LockedError || !/^(55P03|40P01)$/.test(databaseError(error)?.code ?? ""))
        throw error;
      const holders = await tableUsers(db);
      const locked = new LockedError("others use the tables all the time", holders, error);
      if (performance.now() > deadline) throw locked;
      if (attempt === 10) await onWait?.(locked.message);
      await sleep(200 + Math.random() * 800);
    }
  }
}

/** Runs statements that take long and hold nobody up. */
async function prove(
  db: Database,
  options: PartitionOptions,
  due: (tx: Transaction) => Promise<readonly string[]>,
): Promise<void> {
  await alone(db, options, async (tx) => run(tx, await due(tx)));
}

/** One transaction behind the lock of the migrators. */
const alone = <T>(
  db: Database,
  { lockTimeout, onWait }: Pick<PartitionOptions, "lockTimeout" | "onWait">,
  work: (tx: Transaction) => Promise<T>,
): Promise<T> =>
  confinedTransaction(
    db,
    (tx) =>
      withServersNames(tx, async () => {
        await lockMigrators(tx, { timeout: lockTimeout, onWait });
        return work(tx);
      }),
    { isolationLevel: "read committed" },
  );

// ── What there is ──

interface Month {
  readonly name: string;
  readonly statements: string[];
}

/** From the end of what there is to the last month wanted, and what is missing between. */
async function missingMonths(tx: Queryable, ahead: number, state: State): Promise<Month[]> {
  const end = sql`(date_trunc('month', clock_timestamp() at time zone 'UTC') + (${ahead}::int + 1) * interval '1 month') at time zone 'UTC'`;
  const begin = state.isPartitioned
    ? sql`(select max(until) from ${PARTITIONS} as part where not is_default)`
    : sql`${state.cut}::timestamptz`;
  const spans = sql`(select since, until from ${GAPS} as gap union all
    select since, until from (select ${begin} as since, ${end} as until) as ahead where since < until)`;
  return rows<Month>(
    await tx.execute(sql`select name, statements from ${monthsOf(spans)} as month order by since`),
  );
}

interface IdFacts {
  readonly rows: number;
  readonly others: number;
  readonly newestOther: string | null;
  readonly mistimed: number;
  readonly newestMistimed: string | null;
  readonly beyond: number;
  readonly embeddings: number;
  /** How long it took to read them. */
  readonly seconds: number;
}

async function countIds(tx: Queryable, { cut: end }: State): Promise<IdFacts> {
  const start = performance.now();
  const isOther = sql`substr(id::text, 15, 1) <> '7'`;
  const isMistimed = sql`${MISTIMED} and substr(id::text, 15, 1) = '7'`;
  const newest = (which: SQL) => sql`to_json(max(timestamp) filter (where ${which})) #>> '{}'`;
  const facts = await one<Omit<IdFacts, "seconds">>(
    tx,
    sql`
    select count(*)::float8 as rows, count(*) filter (where ${isOther})::float8 as others, ${newest(isOther)} as "newestOther",
      count(*) filter (where ${isMistimed})::float8 as mistimed, ${newest(isMistimed)} as "newestMistimed",
      count(*) filter (where id >= meta_agent.uuidv7_floor(${end}::timestamptz) and not (${isOther}))::float8 as beyond,
      (select greatest(reltuples, 0) from pg_class where oid = to_regclass('public.execution_embeddings'))::float8 as embeddings
    from public.agent_execution_logs`,
  );
  return { ...facts, seconds: (performance.now() - start) / 1000 };
}

/** Gives rows ids of their own time, and their embeddings with them, 10,000 at a time. */
const NEW_IDS = `WITH renamed AS MATERIALIZED (SELECT id, meta_agent.uuidv7_at(timestamp) AS new_id FROM agent_execution_logs WHERE substr(id::text, 15, 1) <> '7' OR abs(extract(epoch FROM meta_agent.uuidv7_time(id) - greatest(timestamp, to_timestamp(0)))) > 86400 LIMIT 10000), moved AS (UPDATE execution_embeddings AS e SET execution_log_id = r.new_id FROM renamed AS r WHERE e.execution_log_id = r.id) UPDATE agent_execution_logs AS l SET id = r.new_id FROM renamed AS r WHERE l.id = r.id;`;

function misfits(facts: IdFacts): string[] {
  const count = (value: number) => value.toLocaleString("en-US");
  const found = [
    facts.others > 0 &&
      `${count(facts.others)} of ${count(facts.rows)} logs have ids that are not of version 7, which say no time; the newest is of ${facts.newestOther}`,
    facts.mistimed > 0 &&
      `${count(facts.mistimed)} of ${count(facts.rows)} logs have ids of a time more than a day from their timestamp; the newest is of ${facts.newestMistimed}`,
  ].filter((line) => line !== false);
  return [
    ...(found.length === 0
      ? []
      : [
          ...found,
          `Have whoever writes them make ids with executionLogId, or leave them to recordExecutions. Then, as the owner, until it updates nothing, unless ids are kept elsewhere: ${NEW_IDS}`,
        ]),
    ...(facts.beyond > 0
      ? [`${count(facts.beyond)} logs are dated in months to come: correct or delete them`]
      : []),
  ];
}

/** What others have made on the log that would go on with the old table, or cannot stand on a partitioned one. */
async function standing(tx: Queryable): Promise<string[]> {
  const found = rows<{ what: string }>(
    await tx.execute(sql`
    select distinct what from (
      select 'view ' || r.ev_class::regclass as what from pg_depend as d join pg_rewrite as r on r.oid = d.objid
        where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = ${OID} and r.ev_class <> ${OID}
      union all select 'rule ' || rulename from pg_rewrite where ev_class = ${OID}
      union all select 'trigger ' || tgname from pg_trigger where tgrelid = ${OID} and not tgisinternal
      union all select 'function ' || p.oid::regprocedure from pg_depend as d join pg_proc as p on p.oid = d.objid
        where d.classid = 'pg_proc'::regclass and (d.refclassid, d.refobjid) in (
          select 'pg_class'::regclass::oid, ${OID} union all
          select 'pg_type'::regclass::oid, t.oid from pg_type as t left join pg_type as e on e.oid = t.typelem where ${OID} in (t.typrelid, e.typrelid))
      union all select 'publication ' || pubname from pg_publication_rel as r join pg_publication as p on p.oid = r.prpubid where r.prrelid = ${OID}
      union all select 'inheritance of ' || inhrelid::regclass || ' from ' || inhparent::regclass from pg_inherits where ${OID} in (inhrelid, inhparent)
      union all select 'unique index ' || indexrelid::regclass from pg_index where indrelid = ${OID} and indisunique and not indisprimary
      union all select 'invalid index ' || indexrelid::regclass from pg_index where indrelid = ${OID} and not indisvalid
      union all select 'constraint ' || conname || ', which is not validated' from pg_constraint
        where conrelid = ${OID} and not convalidated and conname not in (${ID_TIME_CHECK}, ${CUT_CHECK})
    ) as found order by what`),
  );
  return found.length === 0
    ? []
    : [
        `objects that stand on agent_execution_logs would go on with the old table, or cannot be on a partitioned one: ${found.map(({ what }) => what).join(", ")}. Drop or mend them, and make them again afterwards.`,
      ];
}

const OID = sql`(select oid from ${LOG} as log)`;

// ── The plan in words ──

const proving = (statement: string): PartitionStep => ({
  what: statement,
  lock: "holds up no reads and no writes",
  seconds: 1,
});
const making = (name: string): PartitionStep => ({
  what: `make ${name}`,
  lock: "updates of agents and prompts and new embeddings wait",
  seconds: 0.3,
});

function stepsOf(
  { isHeld, isProved, isStale }: State,
  { seconds, embeddings }: IdFacts,
): PartitionStep[] {
  const steps: (PartitionStep | false)[] = [
    (!isHeld || isStale) && {
      what: "hold new rows to their ids, by two checks",
      lock: "ACCESS EXCLUSIVE on agent_execution_logs, for an instant",
      seconds: 0.02,
    },
    (!isProved || isStale) && {
      what: "prove it of all rows",
      lock: "holds up no reads and no writes",
      seconds: 2 * seconds,
    },
    {
      what: "put the partitioned log in its place, with what there is as its history",
      lock: "ACCESS EXCLUSIVE on agent_registry, agent_prompts, agent_execution_logs, execution_embeddings",
      seconds: 0.2,
    },
    {
      what: "prove the references to the log, and analyze it",
      lock: "holds up no reads and no writes",
      seconds: 1 + embeddings * 3e-5,
    },
  ];
  return steps.filter((step) => step !== false);
}

// ── Statements ──

/** Where the history will end; the month after next where this one is nearly over, since what comes later is refused until the months take it. */
const ADD_CUT_CHECK = `DO $$ BEGIN
  EXECUTE format('ALTER TABLE public.agent_execution_logs ADD CONSTRAINT ${CUT_CHECK} CHECK (id < %L::uuid) NOT VALID',
    meta_agent.uuidv7_floor(current_setting('meta_agent.cut')::timestamptz));
END $$`;

/**
 * Puts a partitioned table in the place of the log, which becomes its first partition. One statement, so that the
 * locks are held no longer than the server takes. What is made again is made from its text: it would follow the
 * old table else, policies of other tables and keys to the log too.
 */
const SWAP = `DO $$
DECLARE
  log CONSTANT oid := 'public.agent_execution_logs'::regclass;
  history CONSTANT text := '${HISTORY}';
  cut CONSTANT text := (SELECT (regexp_match(pg_get_constraintdef(oid), '[-0-9a-f]{36}'))[1] FROM pg_constraint
    WHERE conrelid = log AND conname = '${CUT_CHECK}');
  owner CONSTANT text := (SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class WHERE oid = log);
  away text[];
  own text[];
  others text[];
  statement text;
BEGIN
  SELECT array_agg(def ORDER BY step, n) INTO away FROM (
    SELECT 1 AS step, oid AS n, format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS def FROM pg_constraint
      WHERE confrelid = log AND contype = 'f'
    UNION ALL
    SELECT 2, p.oid, format('DROP POLICY %I ON %s', p.polname, p.polrelid::regclass) FROM pg_policy AS p
      WHERE p.polrelid = log OR EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = log)
    UNION ALL
    SELECT 3, oid, format('ALTER STATISTICS %s.%I SET SCHEMA ${PARTITION_SCHEMA}', stxnamespace::regnamespace, stxname)
      FROM pg_statistic_ext WHERE stxrelid = log
  ) AS list;
  SELECT array_agg(def ORDER BY step, n) INTO own FROM (
    SELECT 1 AS step, indexrelid AS n, pg_get_indexdef(indexrelid) AS def FROM pg_index AS i
      WHERE indrelid = log AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
    UNION ALL
    SELECT 2, oid, format('ALTER TABLE public.agent_execution_logs ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
      WHERE conrelid = log AND contype IN ('p', 'f')
    UNION ALL
    SELECT 3, oid, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxrelid = log
    UNION ALL
    SELECT 4, 0, format('COMMENT ON TABLE public.agent_execution_logs IS %L', obj_description(log, 'pg_class')) WHERE obj_description(log, 'pg_class') IS NOT NULL
    UNION ALL
    SELECT 5, 0, format('GRANT %s ON TABLE public.agent_execution_logs TO %s%s', a.privilege_type, coalesce(quote_ident(r.rolname), 'PUBLIC'),
        CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END)
      FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
      WHERE c.oid = log AND a.grantee <> c.relowner
    UNION ALL
    SELECT 6, 0, format('GRANT %s (%I) ON TABLE public.agent_execution_logs TO %s%s', a.privilege_type, t.attname, coalesce(quote_ident(r.rolname), 'PUBLIC'),
        CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END)
      FROM pg_attribute AS t CROSS JOIN aclexplode(t.attacl) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
      WHERE t.attrelid = log AND NOT t.attisdropped
  ) AS list;
  SELECT array_agg(def ORDER BY step, n) INTO others FROM (
    SELECT 1 AS step, p.oid AS n, format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', p.polname,
      CASE p.polrelid WHEN log THEN 'public.agent_execution_logs' ELSE p.polrelid::regclass::text END,
      CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
      CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
      (SELECT string_agg(coalesce(quote_ident(r.rolname), 'PUBLIC'), ', ') FROM unnest(p.polroles) AS role LEFT JOIN pg_roles AS r ON r.oid = role),
      ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')') AS def
      FROM pg_policy AS p
      WHERE p.polrelid = log OR EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = log)
    UNION ALL
    SELECT 2, oid, format('ALTER TABLE %s ADD CONSTRAINT %I %s%s', conrelid::regclass, conname, pg_get_constraintdef(oid),
        CASE WHEN convalidated THEN ' NOT VALID' END)
      FROM pg_constraint WHERE confrelid = log AND contype = 'f'
  ) AS list;

  CREATE SCHEMA IF NOT EXISTS ${PARTITION_SCHEMA};
  EXECUTE format('ALTER SCHEMA ${PARTITION_SCHEMA} OWNER TO %s', owner);
  REVOKE ALL ON SCHEMA ${PARTITION_SCHEMA} FROM PUBLIC, anon, authenticated, service_role;
  COMMENT ON SCHEMA ${PARTITION_SCHEMA} IS 'Partitions of agent_execution_logs, which is what reads and writes go to. Not to be opened to any role.';
  FOREACH statement IN ARRAY coalesce(away, '{}') LOOP EXECUTE statement; END LOOP;
  ALTER TABLE public.agent_execution_logs SET SCHEMA ${PARTITION_SCHEMA};
  ALTER TABLE ${PARTITION_SCHEMA}.agent_execution_logs RENAME TO agent_execution_logs_history;
  EXECUTE format('CREATE TABLE public.agent_execution_logs (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING COMMENTS) PARTITION BY RANGE (id)', history);
  EXECUTE format('ALTER TABLE public.agent_execution_logs OWNER TO %s', owner);
  ALTER TABLE public.agent_execution_logs DROP CONSTRAINT ${CUT_CHECK};
  ALTER TABLE public.agent_execution_logs ENABLE ROW LEVEL SECURITY;
  -- What default privileges have opened, and what was granted on the old one.
  FOR statement IN
    SELECT DISTINCT format('REVOKE ALL ON TABLE %s FROM %s CASCADE', c.oid::regclass, coalesce(quote_ident(r.rolname), 'PUBLIC'))
    FROM pg_class AS c CROSS JOIN LATERAL (
      SELECT grantee FROM aclexplode(c.relacl) UNION
      SELECT a.grantee FROM pg_attribute AS t CROSS JOIN aclexplode(t.attacl) AS a WHERE t.attrelid = c.oid) AS a
    LEFT JOIN pg_roles AS r ON r.oid = a.grantee
    WHERE c.oid IN (log, 'public.agent_execution_logs'::regclass) AND a.grantee <> c.relowner
  LOOP EXECUTE statement; END LOOP;
  FOREACH statement IN ARRAY own LOOP EXECUTE statement; END LOOP;
  EXECUTE format('ALTER TABLE public.agent_execution_logs ATTACH PARTITION %s FOR VALUES FROM (MINVALUE) TO (%L)', history, cut);
  EXECUTE format('ALTER TABLE %s DROP CONSTRAINT ${CUT_CHECK}', history);
  FOREACH statement IN ARRAY coalesce(others, '{}') LOOP EXECUTE statement; END LOOP;
END $$`;
