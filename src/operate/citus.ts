/** Spreads the log over the workers of a Citus cluster. The form that the database takes is in `drift/hybrid.ts`. */
import { sql } from "drizzle-orm";
import { withServersNames } from "../client/settings.ts";
import { type Database, type Transaction, one } from "../client/sql.ts";
import { confinedTransaction } from "../client/transaction.ts";
import { applyRepairs, plannedFindings } from "./drift/diff.ts";
import { DISTRIBUTED, KEYS } from "./drift/hybrid.ts";
import { lockMigrators } from "./migrate/lock.ts";
import { pendingMigrations } from "./migrate/migrate.ts";

/** How long to wait, and what to tell meanwhile. */
export interface CitusOptions {
  /** Seconds to wait for a migrator and for each lock on a table; 0 to fail at once. Default: without limit. */
  readonly lockTimeout?: number | undefined;
  /** Told before each step what it does. */
  readonly onStep?: ((what: string) => unknown) | undefined;
  /** Told when a migrator is at work, which is waited for. */
  readonly onWait?: ((why: string) => unknown) | undefined;
}

/** What is to be done, from the state that there is. */
export interface CitusPlan {
  /** Version of Citus; `null`: this database has none. */
  readonly citus: string | null;
  /** Nodes that hold shards. */
  readonly workers: number;
  /** Whether agents, prompts, log and embeddings are spread, and workers can be asked as our roles. */
  readonly isDistributed: boolean;
  /** Rows of the log and its embeddings, by the statistics. */
  readonly rows: number;
  /** What must be done first, a sentence each with what to do. */
  readonly obstacles: readonly string[];
  /** In order, in one transaction that locks all tables: nobody else reads or writes meanwhile. */
  readonly steps: readonly string[];
}

/** What was done. */
export interface CitusResult {
  /** Whether there was something to do. */
  readonly distributed: boolean;
}

/** What keeps a database from being distributed. Nothing was changed. */
export class CitusError extends Error {
  override readonly name = "CitusError";
}

/** What {@link distributeLogs} would do, and what is in its way. It only reads: the log and its embeddings, whole. */
export async function planDistribution(db: Database): Promise<CitusPlan> {
  const look = async (tx: Transaction) => inWords(await situationOf(tx));
  return confinedTransaction(db, (tx) => withServersNames(tx, () => look(tx)), {
    accessMode: "read only",
  });
}

/**
 * Makes the database of a Citus coordinator a hybrid: `agent_execution_logs` and `execution_embeddings` are cut by
 * organization and spread over the workers, `agent_registry` and `agent_prompts` are on every node, all else stays
 * on the coordinator. The keys of the first two become `(id, organization_id)`, no policy has a sub-select any more, and
 * `authenticated` and `service_role` may log in, since Citus asks its workers as them. In one transaction, in which
 * nobody else reads or writes; of what is done already, nothing is done again.
 *
 * Runs as a superuser.
 *
 * @throws {CitusError} before anything is changed: what is in the way, each with what to do
 * @throws {LockedError} when a lock was not to be had within `lockTimeout`
 */
export async function distributeLogs(
  db: Database,
  { lockTimeout, onStep, onWait }: CitusOptions = {},
): Promise<CitusResult> {
  const work = async (tx: Transaction): Promise<CitusResult> => {
    await lockMigrators(tx, { timeout: lockTimeout, onWait });
    const situation = await situationOf(tx);
    const { obstacles, isDistributed } = inWords(situation);
    if (obstacles.length > 0) throw new CitusError(obstacles.join("\n"));
    if (isDistributed) return { distributed: false };
    await tx.execute(sql.raw("SET LOCAL citus.multi_shard_modify_mode TO 'sequential'"));
    await onStep?.("giving keys and policies their form");
    await takeForm(tx, async () => {
      for (const table of situation.missing) {
        await onStep?.(`spreading ${table}`);
        await tx.execute(
          sql`select create_distributed_table(${place(table)}, 'organization_id', colocate_with => ${table === DISTRIBUTED[0] ? "default" : place(DISTRIBUTED[0])})`,
        );
      }
      await onStep?.("bringing back foreign keys and comments");
    });
    await tx.execute(sql.raw(OPEN_WORKERS));
    return { distributed: true };
  };
  return confinedTransaction(db, (tx) => withServersNames(tx, () => work(tx)), {
    isolationLevel: "read committed",
  });
}

/**
 * Gives keys, policies and functions the form of the hybrid, on any PostgreSQL.
 * @param between what to do when all is there but for the foreign keys, which Citus takes when their tables are spread
 */
export async function takeForm(tx: Transaction, between?: () => Promise<void>): Promise<void> {
  for (const statement of UNTIED) await tx.execute(sql.raw(statement));
  await applyRepairs(tx, { only: ({ object }) => !object.startsWith("foreign key ") }, "hybrid");
  for (const [table, keys] of Object.entries(KEYS)) {
    await tx.execute(
      sql.raw(
        `INSERT INTO ${keys} (id, organization_id) SELECT id, organization_id FROM public.${table} WHERE organization_id IS NOT NULL ON CONFLICT DO NOTHING`,
      ),
    );
  }
  await between?.();
  await applyRepairs(tx, { only: () => true }, "hybrid");
}

const place = (table: string) => (table.includes(".") ? table : `public.${table}`);

const UNTIED = [
  "ALTER TABLE public.execution_embeddings DROP CONSTRAINT IF EXISTS execution_embeddings_execution_log_id_fkey",
  "ALTER TABLE public.agent_execution_logs DROP CONSTRAINT IF EXISTS agent_execution_logs_agent_id_fkey, DROP CONSTRAINT IF EXISTS agent_execution_logs_prompt_version_id_fkey",
];

/** Citus asks its workers as the role of a transaction, and hands on the claims that SET LOCAL has set. */
const OPEN_WORKERS = `DO $$ BEGIN
  ALTER ROLE authenticated LOGIN;
  ALTER ROLE service_role LOGIN;
  EXECUTE format('ALTER DATABASE %I SET citus.propagate_set_commands TO ''local''', current_database());
END $$`;

interface Situation {
  readonly citus: string | null;
  readonly isSuperuser: boolean;
  readonly isPartitioned: boolean;
  readonly isOpen: boolean;
  readonly rows: number;
  readonly pending: number;
  readonly cluster: Cluster;
  readonly missing: readonly (typeof DISTRIBUTED)[number][];
  /** What of the catalog or of the rows is in the way. */
  readonly unfit: readonly string[];
}

async function situationOf(tx: Transaction): Promise<Situation> {
  const server = await one<
    Pick<Situation, "citus" | "isSuperuser" | "isPartitioned" | "isOpen" | "rows">
  >(tx, SERVER);
  const pending = (await pendingMigrations(tx)).length;
  const cluster = server.citus === null ? NO_CLUSTER : await one<Cluster>(tx, CLUSTER);
  const missing = DISTRIBUTED.filter((table) => !cluster.tables.includes(table));
  const isReady = pending === 0 && !server.isPartitioned && missing.length > 0;
  const unfit = isReady ? [...(await differences(tx)), ...(await strays(tx))] : [];
  return { ...server, pending, cluster, missing, unfit };
}

const SERVER = sql`
  select (select extversion from pg_extension where extname = 'citus') as citus,
    (select rolsuper from pg_roles where rolname = current_user) as "isSuperuser",
    coalesce((select relkind = 'p' from pg_class where oid = to_regclass('public.agent_execution_logs')), false) as "isPartitioned",
    coalesce((select bool_and(rolcanlogin) from pg_roles where rolname in ('authenticated', 'service_role')), false)
      and exists (select from pg_db_role_setting where setrole = 0 and 'citus.propagate_set_commands=local' = any (setconfig)
        and setdatabase = (select oid from pg_database where datname = current_database())) as "isOpen",
    (select coalesce(sum(greatest(reltuples, 0)), 0) from pg_class
      where oid in (to_regclass('public.agent_execution_logs'), to_regclass('public.execution_embeddings')))::float8 as rows`;

interface Cluster {
  readonly isCoordinator: boolean;
  readonly knowsItself: boolean;
  readonly workers: number;
  /** Tables that are cut. */
  readonly tables: readonly string[];
}

const NO_CLUSTER: Cluster = { isCoordinator: true, knowsItself: true, workers: 0, tables: [] };
const CLUSTER = sql`
  select (select groupid = 0 from pg_dist_local_group) as "isCoordinator",
    exists (select from pg_dist_node where groupid = 0) as "knowsItself",
    (select count(*)::int from pg_dist_node where shouldhaveshards) as workers,
    array(select case c.relnamespace when 'meta_agent'::regnamespace then 'meta_agent.' else '' end || c.relname
      from pg_dist_partition as p join pg_class as c on c.oid = p.logicalrelid where p.partmethod = 'h') as tables`;

/** What `diff` finds: a form is given to what is as the migrations made it. */
async function differences(tx: Transaction): Promise<string[]> {
  const found = await plannedFindings(tx);
  return found.length === 0
    ? []
    : [
        `${found.length === 1 ? "one object is" : `${found.length} objects are`} not as the migrations make them, such as ${found[0]?.finding.object}: meta-agent-db diff --repair`,
      ];
}

/** Rows that the keys of the hybrid would refuse. */
async function strays(tx: Transaction): Promise<string[]> {
  const { logs, embeddings, crossed } = await one<
    Record<"logs" | "embeddings" | "crossed", number>
  >(
    tx,
    sql`
    select (select count(*) from public.agent_execution_logs where organization_id is null)::float8 as logs,
      (select count(*) from public.execution_embeddings where organization_id is null)::float8 as embeddings,
      (select count(*) from public.agent_execution_logs as l
        left join public.agent_registry as a on a.id = l.agent_id left join public.agent_prompts as p on p.id = l.prompt_version_id
        where a.organization_id <> l.organization_id or p.organization_id <> l.organization_id
          or (l.organization_id is not null and (a.organization_id is null or (p.id is not null and p.organization_id is null))))::float8
      + (select count(*) from public.execution_embeddings as e join public.agent_execution_logs as l on l.id = e.execution_log_id
        where l.organization_id <> e.organization_id)::float8 as crossed`,
  );
  const count = (value: number, noun: string) => `${value.toLocaleString("en-US")} ${noun}`;
  return [
    logs > 0 &&
      `${count(logs, "logs")} have no organization, which says where a row is kept: give them their agent's, or delete them`,
    embeddings > 0 &&
      `${count(embeddings, "embeddings")} have no organization: give them their log's, or delete them`,
    crossed > 0 &&
      `${count(crossed, "logs or embeddings")} are of another organization than what they refer to: doctor --deep tells of what`,
  ].filter((line) => line !== false);
}

function inWords(situation: Situation): CitusPlan {
  const { citus, isOpen, isPartitioned, isSuperuser, rows, pending, cluster, missing, unfit } =
    situation;
  const isDistributed = missing.length === 0 && isOpen;
  const obstacles = [
    pending > 0 && "this database has not been migrated: meta-agent-db migrate",
    citus === null &&
      "this database has no Citus: on every node put citus into shared_preload_libraries, then CREATE EXTENSION citus;",
    !cluster.isCoordinator && "this node is a worker: name the coordinator's database",
    !cluster.knowsItself &&
      "the coordinator is not a node of its own: SELECT citus_set_coordinator_host('its host', 5432);",
    citus !== null &&
      cluster.workers === 0 &&
      "no node holds shards: SELECT citus_add_node('a worker', 5432);",
    isPartitioned &&
      "the log is cut into months, which cannot be spread: there is no way back from that but a new database",
    !isSuperuser && "only a superuser can spread tables: name one in the URL",
    ...unfit,
  ].filter((line) => line !== false);
  const steps = isDistributed
    ? []
    : [
        "give keys and policies their form, and make the functions that they call",
        ...missing.map((table) => `spread ${table}`),
        "bring back a foreign key and comments, let authenticated and service_role log in",
      ];
  return { citus, workers: cluster.workers, isDistributed, rows, obstacles, steps };
}
