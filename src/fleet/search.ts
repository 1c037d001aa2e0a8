import { type SQL, and, eq, gte, isNotNull, lt, sql } from "drizzle-orm";
import { withSettings } from "../client/settings.ts";
import { spreadOf } from "../client/spread.ts";
import { type Executor, byKey, rows } from "../client/sql.ts";
import { DIMENSIONS, EMBEDDING_INDEXES, ENOUGH_ROWS, indexFacts } from "./embedding-index.ts";
import {
  type AgentExecutionLog,
  agentExecutionLogs as logs,
  executionEmbeddings as embeddings,
} from "../schema/index.ts";
import { queuePerSession } from "../client/queue.ts";
import type { ExecutionStatus } from "../values.ts";

/** What the log of a result must be; all that are given. */
export interface SimilarityFilters {
  readonly agentId?: string;
  readonly promptVersionId?: string;
  readonly actionType?: string;
  readonly status?: ExecutionStatus;
  readonly errorType?: string;
  /** Its `timestamp`, inclusive. */
  readonly from?: Date;
  /** Its `timestamp`, exclusive. */
  readonly to?: Date;
}

/** What to look for. */
export interface SimilaritySearch {
  /** 1,536 numbers of any length that is not zero: only the direction counts. */
  readonly vector: readonly number[];
  /** Which embedding is compared. */
  readonly by: "input" | "output" | "error";
  /** How many results. Default 10. */
  readonly limit?: number;
  /** Cosine distance, 0 (the same direction) to 2 (the opposite). Default 2. */
  readonly maxDistance?: number;
  readonly filters?: SimilarityFilters;
  /** Whose executions. Default the caller's own; service_role, which has none, must name one. */
  readonly organizationId?: string;
}

/** One execution that was found. */
export interface SimilarExecution {
  readonly embeddingId: string;
  /** Cosine distance, 0 to 2. */
  readonly distance: number;
  readonly log: AgentExecutionLog;
}

/**
 * The executions of one organization whose embedding is nearest, nearest first, each with its log. Always
 * as many as `limit`, or all there are. A stored vector of length zero has no direction and is never one.
 *
 * Up to `5 * sqrt(limit * rows of the index)` rows that the search could return, every one of them is
 * compared. Above, IVFFlat is asked, whose answer is nearly always the same and takes less; if its answer
 * is short, for the index or for `maxDistance`, every row is compared after all. Without an index of
 * that embedding (`output`), or before `rebuildEmbeddingIndexes` has built it over at least 10,000 rows,
 * every row is compared. What PostgreSQL was set to stays as it was.
 *
 * @throws {TypeError} before any SQL, listing all that is wrong with the search
 * @throws {Error} when the caller is no tenant and names no organization
 */
export async function findSimilarExecutions(
  tx: Executor,
  asked: SimilaritySearch,
): Promise<SimilarExecution[]> {
  const { limit = 10, maxDistance = 2, filters = {} } = asked;
  const search = { ...asked, limit, maxDistance, filters };
  const direction = directionOf(search);
  const cluster = spreadOf(tx);
  if (cluster) return amongAll(tx, search, cluster.organization);
  const distance = sql<number>`${COLUMNS[search.by]} <=> ${direction}::vector`;
  // No index orders by a sum.
  const everyRow = sql<number>`(${distance}) + 0`;
  const { organization, found: ofFew } = await amongFew(tx, search, everyRow);
  if (ofFew !== null || organization === null) return ofFew ?? [];
  const probes = await probesFor(tx, search, organization);
  if (probes !== null) {
    const found = await inTurn(tx._.session, () =>
      withSettings(tx, indexOnly(probes), () => nearest(tx, { search, organization, distance })),
    );
    if (found.length === limit) return found;
  }
  return nearest(tx, { search, organization, distance: everyRow });
}

/** On a cluster every embedding of the organization is compared, on the shard where all of them lie. */
async function amongAll(
  tx: Executor,
  search: Search,
  caller: string | undefined,
): Promise<SimilarExecution[]> {
  const organization = search.organizationId ?? caller;
  if (organization === undefined) {
    const [role] = rows<{ name: string }>(await tx.execute(sql`select current_user as name`));
    if (role?.name === "authenticated") return [];
    throw new Error(FORGOTTEN);
  }
  const distance = sql<number>`${COLUMNS[search.by]} <=> ${directionOf(search)}::vector`;
  const found = await tx
    .select({ embeddingId: embeddings.id, distance: distance.mapWith(Number), log: logs })
    .from(embeddings)
    .innerJoin(
      logs,
      and(
        eq(logs.id, embeddings.executionLogId),
        eq(logs.organizationId, embeddings.organizationId),
      ),
    )
    .where(
      and(
        eq(embeddings.organizationId, organization),
        isNotNull(COLUMNS[search.by]),
        askedOf(search),
      ),
    )
    .orderBy(distance)
    .limit(search.limit);
  return inOrder(found, search) ?? [];
}

const FORGOTTEN = "findSimilarExecutions: this caller has no organization: name organizationId";

interface Step {
  readonly search: Search;
  readonly organization: string;
  readonly distance: SQL<number>;
  /** Whether an embedding counts only if its log is seen and as asked for. */
  readonly looksUp?: boolean;
}

/**
 * The nearest embeddings come first, in a step of their own: a plan over them and the log together goes by
 * the average organization. Logs are looked up before only where there is something to ask of them, or
 * where one was hidden.
 */
async function nearest(
  tx: Executor,
  { search, organization, distance, looksUp = hasFilters(search) }: Step,
): Promise<SimilarExecution[]> {
  const candidates = candidatesOf(tx, {
    search,
    distance,
    looksUp,
    of: sql`${organization}::uuid`,
  });
  const found = await tx
    .select({ embeddingId: candidates.id, distance: candidates.distance, log: logs })
    .from(candidates)
    .leftJoinLateral(logOfCandidate(tx), sql`true`);
  return inOrder(found, search) ?? nearest(tx, { search, organization, distance, looksUp: true });
}

/**
 * The nearest of an organization that has so few rows that no index would be asked, in the statement that looks
 * up whose they are: `found` is null where it has more, or where a log was hidden. Rows are counted whatever the
 * filters ask, so that no log is looked up twice.
 *
 * A tenant without an organization sees no rows; whoever sees all rows has forgotten to say whose.
 */
async function amongFew(
  tx: Executor,
  search: Search,
  distance: SQL<number>,
): Promise<{ organization: string | null; found: SimilarExecution[] | null }> {
  const few = Math.floor(enoughRows(search.limit, ENOUGH_ROWS));
  const caller =
    search.organizationId === undefined
      ? sql`meta_agent.current_organization_id()`
      : sql`${search.organizationId}::uuid`;
  const candidates = candidatesOf(tx, {
    search,
    distance,
    looksUp: hasFilters(search),
    of: sql`own.organization`,
    unless: sql`own.has_many`,
  });
  const answer = await tx
    .select({
      organization: sql<string | null>`own.organization`,
      isForgotten: sql<boolean>`own.organization is null and current_user <> 'authenticated'`,
      hasMany: sql<boolean>`own.has_many`,
      embeddingId: candidates.id,
      distance: candidates.distance,
      log: logs,
    })
    .from(
      sql`(select organization, (${countUpTo(search.by, ANY_LOG, sql`${few + 1}`)}) > ${few} as has_many
        from (select ${caller} as organization offset 0) as own offset 0) as own`,
    )
    .leftJoinLateral(candidates, sql`true`)
    .leftJoinLateral(logOfCandidate(tx), sql`true`);
  const [own] = answer;
  if (own === undefined || own.isForgotten) {
    throw new Error(FORGOTTEN);
  }
  const found = answer.flatMap(({ embeddingId, distance: apart, log }) =>
    embeddingId === null || apart === null ? [] : { embeddingId, distance: apart, log },
  );
  return { organization: own.organization, found: own.hasMany ? null : inOrder(found, search) };
}

interface Candidates {
  readonly search: Search;
  readonly distance: SQL<number>;
  readonly looksUp: boolean;
  /** Whose embeddings. */
  readonly of: SQL;
  /** None at all where this is true. */
  readonly unless?: SQL;
}

/** The nearest embeddings, as a part of a statement. */
const candidatesOf = (tx: Executor, { search, distance, looksUp, of, unless }: Candidates) =>
  tx
    .select({
      id: embeddings.id,
      logId: sql<string>`${embeddings.executionLogId}`.as("log_id"),
      distance: distance.mapWith(Number).as("distance"),
    })
    .from(embeddings)
    .crossJoinLateral(looksUp ? matchingLog(search) : ANY_LOG)
    .where(
      and(
        unless && sql`not ${unless}`,
        sql`${embeddings.organizationId} = ${of}`,
        isNotNull(COLUMNS[search.by]),
      ),
    )
    .orderBy(sql`distance`)
    .limit(search.limit)
    .as("nearest");

/** The log of each of them. */
const logOfCandidate = (tx: Executor) =>
  tx
    .select()
    .from(logs)
    .where(byKey("agent_execution_logs.id", "nearest.log_id"))
    .as("agent_execution_logs");

/**
 * What was found, nearest first; null where a log is hidden. IVFFlat goes through its lists in batches; each is
 * in order, all of them are not. NaN passes no bound.
 */
function inOrder(
  found: readonly (Omit<SimilarExecution, "log"> & { readonly log: AgentExecutionLog | null })[],
  { maxDistance }: Search,
): SimilarExecution[] | null {
  const seen = found.flatMap(({ log, ...of }) => (log === null ? [] : { ...of, log }));
  if (seen.length < found.length) return null;
  return seen
    .filter(({ distance }) => distance <= maxDistance)
    .toSorted((a, b) => a.distance - b.distance);
}

type Search = SimilaritySearch &
  Required<Pick<SimilaritySearch, "limit" | "maxDistance" | "filters">>;

/** Searches of one transaction wait for each other: each would take the settings of another for the former ones. */
const inTurn = queuePerSession();

const COLUMNS = {
  input: embeddings.inputEmbedding,
  output: embeddings.outputEmbedding,
  error: embeddings.errorEmbedding,
} as const;

/** The vector scaled to length 1, as pgvector reads it: of very long and very short ones the squares leave the range of its floats. */
function directionOf({ vector, by, limit, maxDistance }: Search): string {
  const length = vector.length === DIMENSIONS ? Math.hypot(...vector) : 1;
  const problems = [
    vector.length === DIMENSIONS || `vector: expected ${DIMENSIONS} numbers, got ${vector.length}`,
    (length > 0 && length < Infinity) ||
      `vector: expected finite numbers, not all zero: it has no direction`,
    Object.hasOwn(COLUMNS, by) || `by: expected one of ${Object.keys(COLUMNS).join(", ")}`,
    (Number.isSafeInteger(limit) && limit > 0) ||
      `limit: expected a whole number from 1, got ${limit}`,
    (maxDistance >= 0 && maxDistance <= 2) || `maxDistance: expected 0 to 2, got ${maxDistance}`,
  ].filter((problem) => problem !== true);
  if (problems.length > 0) {
    throw new TypeError(`findSimilarExecutions: ${problems.join("; ")}`);
  }
  return JSON.stringify(vector.map((component) => Math.fround(component / length)));
}

const hasFilters = ({ filters }: Search) => Object.keys(filters).length > 0;

/** In the place of a log of which nothing is asked. */
const ANY_LOG = sql`(select) as matching`;

/** What is asked of a log. */
function askedOf({ filters }: Search): SQL | undefined {
  const equal = (["agentId", "promptVersionId", "actionType", "status", "errorType"] as const).map(
    (key) => (filters[key] === undefined ? undefined : eq(logs[key], filters[key])),
  );
  return and(
    sql`true`,
    ...equal,
    filters.from && gte(logs.timestamp, filters.from),
    filters.to && lt(logs.timestamp, filters.to),
  );
}

/** The log of an embedding, for a lateral join, if the caller sees it and it is as asked for. */
function matchingLog(search: Search): SQL {
  const found = byKey("agent_execution_logs.id", "execution_embeddings.execution_log_id");
  return sql`(select from public.${logs} where ${askedOf(search)} and ${found}) as matching`;
}

// Measured on 100,000 vectors in clusters: to compare one row takes as long as IVFFlat takes for four, and 99 in
// 100 of its results are right when it comes by 100 rows of the caller's for each.
const [COST, OWN_ROWS] = [4, 100];

/**
 * From how many rows on that may be results IVFFlat takes less work than comparing every one. Of n it comes by
 * OWN_ROWS * limit when it reads OWN_ROWS * limit / n of its pages: less than n from
 * n = sqrt(OWN_ROWS * limit * pages / COST) on. A page holds one vector.
 */
const enoughRows = (limit: number, pages: number) => Math.sqrt((OWN_ROWS * limit * pages) / COST);

/** Counts the rows of `own.organization` that may be results, no further than asked. Statistics may be old or missing. */
const countUpTo = (by: Search["by"], matching: SQL, most: SQL): SQL => sql`
  select count(*) from (
    select from public.${embeddings} cross join lateral ${matching}
    where ${embeddings.organizationId} = own.organization and ${COLUMNS[by]} is not null
    limit ${most}) as candidates`;

/**
 * How many lists IVFFlat must look into for this search: null where comparing every row costs less, or the index
 * was not built over enough rows.
 */
async function probesFor(
  tx: Executor,
  search: Search,
  organization: string,
): Promise<number | null> {
  const { by, limit } = search;
  if (by === "output") return null;
  const wanted = OWN_ROWS * limit;
  const matching = hasFilters(search) ? matchingLog(search) : ANY_LOG;
  const [row] = rows<{ probes: number }>(
    await tx.execute(sql`
      select least(lists, ceil(greatest(sqrt(lists), ${wanted}::float8 * lists / enough)))::int as probes
      from (select ${organization}::uuid as organization) as own,
        (${indexFacts(EMBEDDING_INDEXES[by].name)}) as facts,
        lateral (select ceil(sqrt(${wanted} * pages / ${COST})) as enough) as bound
      where built_over >= ${ENOUGH_ROWS} and enough < (${countUpTo(by, matching, sql`enough::bigint + 1`)})`),
  );
  return row?.probes ?? null;
}

/** Every other plan has to sort. Compiling the plan would take longer than running it. */
const indexOnly = (probes: number) => ({
  "ivfflat.probes": probes,
  "ivfflat.iterative_scan": "relaxed_order",
  "ivfflat.max_probes": 2 * probes,
  enable_sort: "off",
  jit: "off",
});
