import { type SQL, and, eq, gte, isNotNull, lt, sql } from "drizzle-orm";
import { withSettings } from "../client/settings.ts";
import { type Executor, one, rows } from "../client/sql.ts";
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
  const column = COLUMNS[search.by];
  const scope = scopeOf(search);
  const nearest = async (expression: SQL<number>) => {
    const distance = expression.mapWith(Number).as("distance");
    const found = await tx
      .select({ embeddingId: embeddings.id, distance, log: logs })
      .from(embeddings)
      .innerJoin(logs, eq(logs.id, embeddings.executionLogId))
      .where(scope)
      .orderBy(distance)
      .limit(limit);
    // IVFFlat goes through its lists in batches; each is in order, all of them are not. NaN passes no bound.
    return found
      .filter(({ distance: apart }) => apart <= maxDistance)
      .toSorted((a, b) => a.distance - b.distance);
  };
  const probes = await worthwhileProbes(tx, search, scope);
  if (probes !== undefined) {
    const found = await inTurn(tx._.session, () =>
      withSettings(tx, indexOnly(probes), () =>
        nearest(sql<number>`${column} <=> ${direction}::vector`),
      ),
    );
    if (found.length === limit) return found;
  }
  // No index orders by a sum.
  const found = await nearest(sql<number>`(${column} <=> ${direction}::vector) + 0`);
  if (found.length === 0 && asked.organizationId === undefined) await demandOrganization(tx);
  return found;
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

/** The rows that may be results. The organization stands beside the policy, which lets service_role see all of them. */
function scopeOf({ by, filters, organizationId }: Search): SQL | undefined {
  const equal = (["agentId", "promptVersionId", "actionType", "status", "errorType"] as const).map(
    (key) => (filters[key] === undefined ? undefined : eq(logs[key], filters[key])),
  );
  return and(
    sql`${embeddings.organizationId} = (select ${organizationId === undefined ? sql`meta_agent.current_organization_id()` : sql`${organizationId}::uuid`})`,
    isNotNull(COLUMNS[by]),
    ...equal,
    filters.from && gte(logs.timestamp, filters.from),
    filters.to && lt(logs.timestamp, filters.to),
  );
}

// Measured on 100,000 vectors in clusters: to compare one row takes as long as IVFFlat takes for four, and 99 in
// 100 of its results are right when it comes by 100 rows of the caller's for each.
const [COST, OWN_ROWS] = [4, 100];

/**
 * How many lists IVFFlat must look into for this search; `undefined` where comparing every row costs less, or
 * the index was not built over enough rows. Of n rows that may be results it comes by OWN_ROWS * limit when
 * it reads OWN_ROWS * limit / n of its pages: less work than n rows from n = sqrt(OWN_ROWS * limit * pages / COST) on.
 * Rows are counted up to that n, since the planner expects of every organization the average.
 */
async function worthwhileProbes(
  tx: Executor,
  { by, limit, filters }: Search,
  scope: SQL | undefined,
): Promise<number | undefined> {
  if (by === "output") return undefined;
  const joined = Object.keys(filters).length > 0;
  const [worthwhile] = rows<{ probes: number }>(
    await tx.execute(sql`
      select least(lists, ceil(greatest(sqrt(lists), ${OWN_ROWS * limit}::float8 * lists / enough)))::int as probes
      from (${indexFacts(EMBEDDING_INDEXES[by].name)}) as facts,
        lateral (select ceil(sqrt(${OWN_ROWS * limit} * pages / ${COST})) as enough) as bound
      where built_over >= ${ENOUGH_ROWS} and enough < (
        select count(*) from (
          select from public.${embeddings} ${joined ? sql`join public.${logs} on ${logs.id} = ${embeddings.executionLogId}` : undefined}
          where ${scope} limit enough::bigint + 1) as candidates)`),
  );
  return worthwhile?.probes;
}

/** Every other plan has to sort. Compiling the plan would take longer than running it. */
const indexOnly = (probes: number) => ({
  "ivfflat.probes": probes,
  "ivfflat.iterative_scan": "relaxed_order",
  "ivfflat.max_probes": 2 * probes,
  enable_sort: "off",
  jit: "off",
});

/** A tenant without an organization sees no rows; whoever sees all rows has forgotten to say whose. */
async function demandOrganization(tx: Executor): Promise<void> {
  const { forgotten } = await one<{ forgotten: boolean }>(
    tx,
    sql`select current_user <> 'authenticated' and meta_agent.current_organization_id() is null as forgotten`,
  );
  if (forgotten) {
    throw new Error("findSimilarExecutions: this caller has no organization: name organizationId");
  }
}
