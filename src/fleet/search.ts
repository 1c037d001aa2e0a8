import { type SQL, and, eq, gte, isNotNull, lt, sql } from "drizzle-orm";
import { withSettings } from "../client/settings.ts";
import { type Executor, byKey, one } from "../client/sql.ts";
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
  const { organization, probes } = await circumstances(tx, search);
  if (organization === null) return [];
  const distance = sql<number>`${COLUMNS[search.by]} <=> ${direction}::vector`;
  if (probes !== null) {
    const found = await inTurn(tx._.session, () =>
      withSettings(tx, indexOnly(probes), () => nearest(tx, { search, organization, distance })),
    );
    if (found.length === limit) return found;
  }
  // No index orders by a sum.
  return nearest(tx, { search, organization, distance: sql<number>`(${distance}) + 0` });
}

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
  const candidates = tx
    .select({
      id: embeddings.id,
      logId: sql<string>`${embeddings.executionLogId}`.as("log_id"),
      distance: distance.mapWith(Number).as("distance"),
    })
    .from(embeddings)
    .crossJoinLateral(looksUp ? matchingLog(search) : sql`(select) as matching`)
    .where(
      and(sql`${embeddings.organizationId} = ${organization}::uuid`, isNotNull(COLUMNS[search.by])),
    )
    .orderBy(sql`distance`)
    .limit(search.limit)
    .as("nearest");
  const log = tx
    .select()
    .from(logs)
    .where(byKey("agent_execution_logs.id", "nearest.log_id"))
    .as("agent_execution_logs");
  const found = await tx
    .select({ embeddingId: candidates.id, distance: candidates.distance, log: logs })
    .from(candidates)
    .leftJoinLateral(log, sql`true`);
  const seen = found.flatMap(({ log: its, ...of }) => (its === null ? [] : { ...of, log: its }));
  if (seen.length < found.length) {
    return nearest(tx, { search, organization, distance, looksUp: true });
  }
  // IVFFlat goes through its lists in batches; each is in order, all of them are not. NaN passes no bound.
  return seen
    .filter(({ distance: apart }) => apart <= search.maxDistance)
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

/** The log of an embedding, for a lateral join, if the caller sees it and it is as asked for. */
function matchingLog({ filters }: Search): SQL {
  const equal = (["agentId", "promptVersionId", "actionType", "status", "errorType"] as const).map(
    (key) => (filters[key] === undefined ? undefined : eq(logs[key], filters[key])),
  );
  const asked = and(
    sql`true`,
    ...equal,
    filters.from && gte(logs.timestamp, filters.from),
    filters.to && lt(logs.timestamp, filters.to),
  );
  const found = byKey("agent_execution_logs.id", "execution_embeddings.execution_log_id");
  return sql`(select from public.${logs} where ${asked} and ${found}) as matching`;
}

// Measured on 100,000 vectors in clusters: to compare one row takes as long as IVFFlat takes for four, and 99 in
// 100 of its results are right when it comes by 100 rows of the caller's for each.
const [COST, OWN_ROWS] = [4, 100];

/**
 * Whose executions, as a value that the planner can look up in its statistics, and how many lists IVFFlat
 * must look into for this search. `probes` is null where comparing every row costs less, or the index was
 * not built over enough rows. Of n rows that may be results it comes by OWN_ROWS * limit when it reads
 * OWN_ROWS * limit / n of its pages: less work than n rows from n = sqrt(OWN_ROWS * limit * pages / COST) on.
 * Rows are counted up to that n, since statistics may be old or missing.
 *
 * A tenant without an organization sees no rows; whoever sees all rows has forgotten to say whose.
 */
async function circumstances(
  tx: Executor,
  search: Search,
): Promise<{ organization: string | null; probes: number | null }> {
  const { by, limit, organizationId } = search;
  const probes =
    by === "output"
      ? sql`null::int`
      : sql`(
      select least(lists, ceil(greatest(sqrt(lists), ${OWN_ROWS * limit}::float8 * lists / enough)))::int
      from (${indexFacts(EMBEDDING_INDEXES[by].name)}) as facts,
        lateral (select ceil(sqrt(${OWN_ROWS * limit} * pages / ${COST})) as enough) as bound
      where built_over >= ${ENOUGH_ROWS} and enough < (
        select count(*) from (
          select from public.${embeddings} cross join lateral ${hasFilters(search) ? matchingLog(search) : sql`(select) as matching`}
          where ${embeddings.organizationId} = own.organization and ${COLUMNS[by]} is not null
          limit enough::bigint + 1) as candidates))`;
  const { organization, forgotten, ...found } = await one<{
    organization: string | null;
    forgotten: boolean;
    probes: number | null;
  }>(
    tx,
    sql`select organization, ${probes} as probes, organization is null and current_user <> 'authenticated' as forgotten
      from (select ${organizationId === undefined ? sql`meta_agent.current_organization_id()` : sql`${organizationId}::uuid`} as organization offset 0) as own`,
  );
  if (forgotten) {
    throw new Error("findSimilarExecutions: this caller has no organization: name organizationId");
  }
  return { organization, ...found };
}

/** Every other plan has to sort. Compiling the plan would take longer than running it. */
const indexOnly = (probes: number) => ({
  "ivfflat.probes": probes,
  "ivfflat.iterative_scan": "relaxed_order",
  "ivfflat.max_probes": 2 * probes,
  enable_sort: "off",
  jit: "off",
});
