import { setTimeout as sleep } from "node:timers/promises";
import { is, sql } from "drizzle-orm";
import { PgTransaction } from "drizzle-orm/pg-core";
import { drizzle } from "drizzle-orm/postgres-js";
import type { Sql } from "postgres";
import { schema } from "../client/schema.ts";
import { type Database, type Queryable, one, rows } from "../client/sql.ts";
import { isConnectionLoss } from "../client/transaction.ts";
import {
  DIMENSIONS,
  EMBEDDING_INDEXES,
  ENOUGH_ROWS,
  type EmbeddingIndex,
  indexFacts,
} from "../fleet/embedding-index.ts";
import { executionEmbeddings } from "../schema/index.ts";

/** The lists pgvector advises for this many rows, and no fewer than the 100 that the migrations set. */
export function fittedLists(rowCount: number): number {
  return Math.max(
    100,
    Math.ceil(rowCount <= 1_000_000 ? rowCount / 1000 : Math.min(Math.sqrt(rowCount), 32_768)),
  );
}

/** What there is to say about one of the two indexes. */
export interface EmbeddingIndexState {
  readonly index: string;
  /** Rows that have this embedding. */
  readonly rows: number;
  /** `null`: the index is missing or invalid. */
  readonly lists: number | null;
  /** Rows the rebuild built it over. `null`: it was never rebuilt, and searches do without it. */
  readonly builtOver: number | null;
  /** Why a rebuild would help, in words; `undefined` when it would not. */
  readonly problem: string | undefined;
}

/** The state of the two indexes, for whoever sees all rows: the owner, or service_role. Counts the rows. */
export async function embeddingIndexStates(db: Queryable): Promise<EmbeddingIndexState[]> {
  const states: EmbeddingIndexState[] = [];
  for (const index of Object.values(EMBEDDING_INDEXES)) states.push(await stateOf(db, index));
  return states;
}

async function stateOf(
  db: Queryable,
  { name, column }: EmbeddingIndex,
): Promise<EmbeddingIndexState> {
  const found = await one<{ rows: number; lists: number | null; built_over: number | null }>(
    db,
    sql`select (select pg_catalog.count(${column})::int from public.${executionEmbeddings}) as rows, lists, built_over
        from (select) as one left join (${indexFacts(name)}) as facts on true`,
  );
  const facts = { rows: found.rows, lists: found.lists, builtOver: found.built_over };
  return { index: name, ...facts, problem: problemOf(facts) };
}

/** Why a rebuild would help. */
export function problemOf({
  rows: count,
  lists,
  builtOver,
}: Pick<EmbeddingIndexState, "rows" | "lists" | "builtOver">) {
  if (lists === null) return "missing or invalid";
  if (count < ENOUGH_ROWS) return undefined;
  if (builtOver === null) return `never built over its rows, now ${count}: every search is exact`;
  return builtOver < ENOUGH_ROWS || count > 2 * builtOver
    ? `built over ${builtOver} rows, now ${count}`
    : undefined;
}

/** Which indexes `rebuildEmbeddingIndexes` rebuilds. */
export interface RebuildOptions {
  /** Rebuild both, needed or not. */
  readonly force?: boolean;
  /** Told when a build begins and, on a server, twice a second how far it is, as another connection of `db` sees it. */
  readonly onProgress?: ((progress: RebuildProgress) => unknown) | undefined;
}

/** How far a rebuild is. */
export interface RebuildProgress {
  readonly index: string;
  /** Which of the indexes it is, from 1, and of how many. */
  readonly number: number;
  readonly of: number;
  /** What PostgreSQL does: `building index: loading tuples`. The embedded one does not say, nor one that begins. */
  readonly phase?: string;
  /** How much of the phase is done, where it counts something. */
  readonly extent?: { readonly done: number; readonly total: number; readonly unit: string } | null;
}

/** What became of one index. */
export interface EmbeddingIndexRebuild {
  readonly index: string;
  /** Rows that have this embedding. */
  readonly rows: number;
  /** `null`: the index was missing or invalid. */
  readonly listsBefore: number | null;
  readonly lists: number;
  /** `kept`: a rebuild would not help. */
  readonly action: "rebuilt" | "kept";
  /** Why it needed a rebuild, if it did. */
  readonly problem: string | undefined;
}

/**
 * Builds the two IVFFlat indexes over the rows there are, with lists fitted to their number, where that
 * helps searches: from 10,000 rows on, and again whenever the rows have doubled. Reads and writes go on:
 * the new index is built beside the old one, takes its name at once, and only then the old one is dropped.
 * What a rebuild that was cut off left behind is dropped first.
 *
 * Runs as the owner, on one connection of `db` and not through a transaction pooler. It waits for
 * transactions that are open. PostgreSQL is given the memory that learning the lists takes: 70 MB for
 * 100 lists, 0.6 GB for 1,000 (a million rows), 3.4 GB for 3,163 (ten million).
 *
 * @throws {TypeError} when given a transaction
 * @throws {Error} when another rebuild of this database is running
 */
export async function rebuildEmbeddingIndexes(
  db: Database,
  { force = false, onProgress }: RebuildOptions = {},
): Promise<EmbeddingIndexRebuild[]> {
  if (is(db, PgTransaction)) {
    throw new TypeError(
      "rebuildEmbeddingIndexes: an index cannot be built beside others in a transaction: give it the database",
    );
  }
  return onOneConnection(db, async (session) => {
    const rebuilt: EmbeddingIndexRebuild[] = [];
    const indexes = Object.values(EMBEDDING_INDEXES);
    for (const [at, index] of indexes.entries()) {
      await dropLeftovers(session, index);
      const place = { index: index.name, number: at + 1, of: indexes.length };
      const watched: Watched = (work) =>
        onProgress ? watching(db, session, place, onProgress, work) : work();
      rebuilt.push(await rebuildOne(session, index, { force, watched }));
    }
    return rebuilt;
  });
}

/** Runs a build, and tells how far it is. */
type Watched = (build: () => Promise<void>) => Promise<void>;

const LOCK = sql`pg_catalog.hashtextextended('meta-agent-db rebuild', 0)`;

/** One session for all statements, and the only one that rebuilds: of postgres.js's pool a reserved connection; PGlite has but one. */
async function onOneConnection<T>(
  db: Database,
  work: (session: Queryable) => Promise<T>,
): Promise<T> {
  const pool: unknown = Reflect.get(db, "$client");
  if (!isPool(pool)) return alone(db, work);
  const reserved = await pool.reserve();
  const session = drizzle(Object.assign(reserved, { options: pool.options }), { schema });
  try {
    const result = await alone(session, work);
    reserved.release();
    return result;
  } catch (error) {
    // The pool would hand out a lost connection again.
    if (!isConnectionLoss(error)) reserved.release();
    throw error;
  }
}

async function alone<T>(session: Queryable, work: (session: Queryable) => Promise<T>): Promise<T> {
  const { former } = await one<{ former: string }>(
    session,
    sql`select pg_catalog.current_setting('search_path') as former`,
  );
  const { locked } = await one<{ locked: boolean }>(
    session,
    sql`select pg_catalog.pg_try_advisory_lock(${LOCK}) as locked`,
  );
  if (!locked) {
    throw new Error("another rebuild of the embedding indexes is running: wait for it");
  }
  const end = () =>
    session.execute(
      sql`select pg_catalog.pg_advisory_unlock(${LOCK}), pg_catalog.set_config('maintenance_work_mem', null, false),
        pg_catalog.set_config('client_connection_check_interval', null, false),
        pg_catalog.set_config('search_path', ${former}, false)`,
    );
  try {
    // As `withServersNames`, but beside transactions: nothing is called that others made in public.
    await session.execute(
      sql`select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false)`,
    );
    // Else a build, and its lock, outlive a process that is interrupted. Not every platform can look.
    await session
      .execute(sql`select set_config('client_connection_check_interval', '1s', false)`)
      .then(undefined, () => {});
    const result = await work(session);
    await end();
    return result;
  } catch (error) {
    if (!isConnectionLoss(error)) await end();
    throw error;
  }
}

const isPool = (client: unknown): client is Sql =>
  typeof client === "function" && "reserve" in client;

/** What a rebuild leaves behind when it is cut off: the new index half made, or the old one under another name. */
async function dropLeftovers(session: Queryable, { name }: EmbeddingIndex): Promise<void> {
  for (const leftover of [`${name}_new`, `${name}_old`]) {
    await session.execute(sql.raw(`drop index concurrently if exists public.${leftover}`));
  }
}

async function rebuildOne(
  session: Queryable,
  index: EmbeddingIndex,
  { force, watched }: { force: boolean; watched: Watched },
): Promise<EmbeddingIndexRebuild> {
  const { rows: count, lists: listsBefore, problem } = await stateOf(session, index);
  const facts = { index: index.name, rows: count, listsBefore, problem };
  if (problem === undefined && !force) {
    return { ...facts, lists: listsBefore ?? 0, action: "kept" };
  }
  const lists = fittedLists(count);
  await watched(() => build(session, index, lists));
  await takePlace(session, index, count);
  await dropLeftovers(session, index);
  return { ...facts, lists, action: "rebuilt" };
}

/** @param place which index it is */
async function watching(
  db: Database,
  session: Queryable,
  place: Pick<RebuildProgress, "index" | "number" | "of">,
  tell: (progress: RebuildProgress) => unknown,
  work: () => Promise<void>,
): Promise<void> {
  await tell(place);
  // The embedded database has one session, which builds.
  if (!isPool(Reflect.get(db, "$client"))) return work();
  const { pid } = await one<{ pid: number }>(
    session,
    sql`select pg_catalog.pg_backend_pid() as pid`,
  );
  const over = new AbortController();
  const watch = async () => {
    for (;;) {
      await sleep(500, undefined, { signal: over.signal });
      const [seen] = rows<Pick<RebuildProgress, "phase" | "extent">>(
        await db.execute(progressOf(pid)),
      );
      if (seen && !over.signal.aborted) await tell({ ...place, ...seen });
    }
  };
  // Not awaited at the end: a pool of one connection answers only when the build has given it back. What it cannot
  // see is not the build's failure.
  void watch().catch(() => {});
  try {
    await work();
  } finally {
    over.abort();
  }
}

/** What a session that builds an index is at: it reads blocks, or puts rows in. While it waits, nothing counts. */
const progressOf = (pid: number) => sql`
  select phase, case when total > 0 and phase not like 'waiting%'
    then pg_catalog.json_build_object('done', done, 'total', total, 'unit', unit) end as extent
  from pg_catalog.pg_stat_progress_create_index
  cross join lateral (select tuples_done, tuples_total, 'rows' where tuples_total > 0
    union all select blocks_done, blocks_total, 'blocks' where tuples_total = 0) as counted (done, total, unit)
  where pid = ${pid}`;

async function build(
  session: Queryable,
  { name, column }: EmbeddingIndex,
  lists: number,
): Promise<void> {
  await session.execute(sql`
    select set_config('maintenance_work_mem', greatest(${learningMemory(lists)}::bigint,
      pg_size_bytes(current_setting('maintenance_work_mem')) / 1024)::text || 'kB', false)`);
  const { home } = await one<{ home: string }>(
    session,
    sql`select pg_catalog.quote_ident(n.nspname) as home
        from pg_extension as e join pg_namespace as n on n.oid = e.extnamespace where e.extname = 'vector'`,
  );
  await session.execute(
    sql.raw(
      `create index concurrently ${name}_new on public.execution_embeddings using ivfflat (${column.name} ${home}.vector_cosine_ops) with (lists = ${lists})`,
    ),
  );
}

/** Kilobytes that pgvector asks of maintenance_work_mem to learn the lists, and a tenth more. */
function learningMemory(lists: number): number {
  const samples = Math.max(10_000, 50 * lists);
  const itemSize = 8 + 4 * DIMENSIONS;
  const bytes = samples * (itemSize + 4 * lists + 8) + lists * (3 * itemSize + 4 * lists + 12);
  return Math.ceil((1.1 * bytes) / 1024);
}

/** One statement: at no moment is there no valid index of that name. Renaming an index blocks no query. */
async function takePlace(
  session: Queryable,
  { name }: EmbeddingIndex,
  count: number,
): Promise<void> {
  await session.execute(
    sql.raw(`DO $$ BEGIN
      ALTER INDEX IF EXISTS public.${name} RENAME TO ${name}_old;
      ALTER INDEX public.${name}_new RENAME TO ${name};
      EXECUTE pg_catalog.format('COMMENT ON INDEX public.${name} IS %L',
        'Built over ${count} rows, file ' || pg_catalog.pg_relation_filenode('public.${name}')::text || '.');
    END $$`),
  );
}
