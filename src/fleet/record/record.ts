/** Recording executions: many log rows, and their embeddings, at nearly the speed of COPY. */
import { setImmediate } from "node:timers/promises";
import { DrizzleQueryError, type SQL, is, sql } from "drizzle-orm";
import { PostgresJsSession } from "drizzle-orm/postgres-js";
import type * as z from "zod";
import { Batch, ID, INLINE_ENTRIES, type NewExecution, type Place, TIMESTAMP } from "./batch.ts";
import { copyIn } from "./binary-copy.ts";
import {
  type Asked,
  type Completed,
  type Differing,
  type Ended,
  FIELD_LIST,
  INCOMING_TABLE,
  type Incoming,
  type Inserted,
  type StoredEmbedding,
  NEW_ID,
  addEmbeddings,
  complete,
  dangling,
  differing,
  fillEmbeddings,
  fromJson,
  fromTable,
  insert,
  lockLogs,
  ofOrganizations,
} from "./statements.ts";
import { ofOwn, onShard, spreadOf } from "../../client/spread.ts";
import { type Executor, one, rows } from "../../client/sql.ts";
import { refuseOtherDrivers } from "../../client/driver.ts";
import { databaseError } from "../../client/errors.ts";
import { foldOutcomes } from "../breaker.ts";
import { type BudgetAlert, type Charge, charge } from "../budgets.ts";
import { momentOf } from "../steps.ts";
import { queuePerSession } from "../../client/queue.ts";

export type { NewExecution };

/** What became of the entries. Those that were not refused are in one of these. */
export interface RecordResult {
  /** Entries that are new rows now. */
  readonly inserted: number;
  /** Entries that ended a row which ran, or had expired. */
  readonly completed: number;
  /** Entries whose id was taken by a row that holds what they say. */
  readonly repeated: number;
  /** Ids of entries whose id was taken by a row that holds something else. That row was left as it is. */
  readonly conflicting: readonly string[];
  /** Budgets whose early alert this has crossed, where it charged or settled a reservation. */
  readonly alerts: readonly BudgetAlert[];
}

/** How to record. What the callbacks return is awaited, and what they throw or reject with is the call's. */
export interface RecordOptions {
  /**
   * Told of each bad entry, once the others of its chunk are recorded: its index among all, and what is wrong
   * with it. Without this a bad entry keeps its whole chunk out. It must not record in the same transaction.
   */
  readonly onRefused?: (index: number, error: z.ZodError) => unknown;
  /**
   * Told after each chunk of a stream how many entries are dealt with so far. It must not record in the same
   * transaction.
   */
  readonly onProgress?: (entries: number) => unknown;
}

/** How {@link recordExecutions} records. */
export interface RecordAllOptions extends Pick<RecordOptions, "onRefused"> {
  /**
   * Whether what new rows cost, and completed ones more or less than before, is added to the budgets that bind
   * their agents. They stay locked until the transaction ends, so that those who charge one organization's
   * budget take turns from here to there. Reservations are settled without it. Default: false;
   * `refreshBudgets` counts what was not charged.
   */
  readonly charge?: boolean | undefined;
  /**
   * Whether the outcome of each new or completed `agent_run` is told to its agent's circuit breaker, once; or the
   * ticket of the probe that the one execution was, by `acquireExecution`. What fails inside a run, and is
   * handled there, moves nothing, nor do shadow rows. Default: false.
   */
  readonly breaker?: boolean | { readonly probe: Date | null } | undefined;
  /** When it is charged and told: the windows of that instant are. Default: the database's clock. */
  readonly now?: Date | undefined;
}

/**
 * Records executions: rows of `agent_execution_logs`, all columns, and of `execution_embeddings`, one a log.
 * `tx` is the transaction of `withOrganization` or `withServiceRole`. What an entry leaves out is as the
 * database's defaults have it; under `withServiceRole` the organization is the agent's. An entry with a
 * `timestamp` and no `id` is given a key of that time.
 *
 * **A row can be finished.** An entry that names the id of a row that is `running`, or that expired, and is not
 * `running` itself (no status is `success`) completes it: the columns it gives replace what was there, its
 * embeddings, too. Agent, organization, execution and time must agree where they are given. Nothing else
 * changes a row: the same again is a repeat, in whatever order entries come and however many callers bring
 * them; a `running` that comes late is one if its other columns agree. Of a row that is there embeddings are
 * filled in where they were NULL. Only what an entry gives is compared.
 *
 * Up to 500 entries are one statement, one more for embeddings, and two more where ids are there already.
 * More go by COPY, where the driver is postgres.js and the role may make temporary tables.
 * @example
 * const id = executionLogId(startedAt, runId);
 * await recordExecutions(tx, [{ id, agentId, executionId, actionType: "agent_run", timestamp: startedAt, status: "running" }]);
 * // … and when it has ended:
 * await recordExecutions(tx, [{ id, agentId, executionId, actionType: "agent_run", status: "success", latencyMs: 5290 }]);
 * @throws {z.ZodError} without `onRefused`, for bad entries (a time before 2000 or more than a day ahead is
 * one), references to rows that the caller does not see, and ids of rows that the caller does not see: a
 * `path` is the index of the entry and the column; the first 20 are told and the others counted; nothing is
 * written, and the transaction goes on
 * @throws {Error} when PostgreSQL refuses otherwise, with its error as `cause`: of up to 500 entries, the
 * transaction is over; of more, nothing is written and it goes on
 */
export async function recordExecutions(
  tx: Executor,
  entries: readonly NewExecution[],
  { onRefused, charge: charges = false, breaker = false, now }: RecordAllOptions = {},
): Promise<RecordResult> {
  const asked = { charges, outcomes: breaker !== false };
  const probe = typeof breaker === "object" ? breaker.probe : null;
  const options = { onRefused, asked, probe, now, moment: momentOf("recordExecutions", now) };
  return inTurn(tx._.session, () =>
    entries.length > INLINE_ENTRIES
      ? tx.transaction((inner) => new Recorder(inner, options).recordAll(entries))
      : new Recorder(tx, { ...options, whole: true }).recordAll(entries),
  );
}

/**
 * As {@link recordExecutions}, of any number of entries in bounded memory: takes up to 5,000 at a time, or
 * fewer of large ones, and those of the next chunk while PostgreSQL has the last.
 *
 * Each chunk has a savepoint. When it throws, the chunk of that entry is not written, the chunks before it are:
 * they stay if the caller catches, and commits. The source is closed. Indexes count from 0 over the whole
 * stream. The source must not record in the same transaction: it would wait for itself.
 */
export async function recordExecutionStream(
  tx: Executor,
  entries: AsyncIterable<NewExecution> | Iterable<NewExecution>,
  options: RecordOptions = {},
): Promise<RecordResult> {
  return inTurn(tx._.session, () =>
    new Recorder(tx, { ...options, savepoints: true }).recordAll(entries),
  );
}

/** Entries between pauses, in which the event loop has its turn. */
const YIELD_EVERY = 100;

/** Calls in one transaction wait for each other: they share its temporary table. */
const inTurn = queuePerSession();

interface RecorderOptions {
  readonly onRefused?: RecordOptions["onRefused"] | undefined;
  readonly onProgress?: RecordOptions["onProgress"] | undefined;
  /** Whether all entries are one chunk. */
  readonly whole?: boolean;
  /** Whether the chunks before one that fails stay. */
  readonly savepoints?: boolean;
  /** What is charged besides completed reservations, and told to breakers. */
  readonly asked?: Asked;
  readonly probe?: Date | null;
  readonly now?: Date | undefined;
  readonly moment?: SQL;
}

/** Sends batches, the next while PostgreSQL has the last. */
class Recorder {
  readonly #report = {
    inserted: 0,
    completed: 0,
    repeated: 0,
    conflicting: new Array<string>(),
    alerts: new Array<BudgetAlert>(),
  };
  readonly #charges: Charge[] = [];
  readonly #outcomes: Ended[] = [];
  #batch = new Batch(0);
  #settled: Promise<void> = Promise.resolve();
  #copied: Promise<void> = Promise.resolve();
  /** Whether COPY is possible; unknown until it is needed. */
  #copies: boolean | undefined;
  /** Whether this recorder has made its table. One that it finds may be anybody's, with triggers. */
  #made = false;
  /** What chunks were sent from; large buffers are dear to make and to collect. */
  readonly #spares: Buffer[] = [];
  readonly tx: Executor;
  readonly options: RecorderOptions;

  constructor(tx: Executor, options: RecorderOptions = {}) {
    refuseOtherDrivers(tx._.session);
    this.tx = tx;
    this.options = options;
  }

  async recordAll(
    entries: AsyncIterable<NewExecution> | Iterable<NewExecution>,
  ): Promise<RecordResult> {
    try {
      await this.#sendAll(entries);
    } catch (error) {
      // What stays has cost what it has.
      if (this.options.savepoints) await this.#settleUp();
      throw error;
    }
    await this.#settleUp();
    return this.#report;
  }

  async #sendAll(entries: AsyncIterable<NewExecution> | Iterable<NewExecution>): Promise<void> {
    try {
      // Without a promise for each entry, where there is none to wait for.
      if (Symbol.iterator in entries) {
        for (const entry of entries) if (this.#isDue(entry)) await this.#proceed();
      } else {
        for await (const entry of entries) if (this.#isDue(entry)) await this.#proceed();
      }
      if (this.#batch.size > 0) await this.#send(this.#batch);
    } finally {
      await this.#settled;
    }
  }

  /** Takes an entry, and answers whether something else has its turn before the next. */
  #isDue(entry: NewExecution): boolean {
    this.#batch.add(entry);
    return this.#batch.size % YIELD_EVERY === 0 || this.#isChunk();
  }

  #isChunk(): boolean {
    return !this.options.whole && this.#batch.isFull;
  }

  async #proceed(): Promise<void> {
    const batch = this.#batch;
    if (batch.size % YIELD_EVERY === 0) await this.#pause(batch);
    if (!this.#isChunk()) return;
    await this.#send(batch);
    this.#batch = new Batch(batch.first + batch.size);
  }

  /** Last of all, breakers before budgets: these are locked until the transaction ends. */
  async #settleUp(): Promise<void> {
    const { probe = null, now } = this.options;
    const outcomes = this.#outcomes.map(({ at, ...ended }) => ({
      ...ended,
      at: new Date(at),
      probe,
    }));
    await foldOutcomes(this.tx, outcomes, { now });
    this.#report.alerts.push(...(await charge(this.tx, this.#charges, this.options.moment)));
  }

  /** Validating takes the thread: a COPY goes first, for PostgreSQL has nothing else to do; then it is the answers' turn. */
  async #pause(batch: Batch): Promise<void> {
    await setImmediate();
    await this.#copied.catch(() => {});
    await this.#encode(batch);
  }

  /** For COPY, where the chunk is worth it and it is possible. */
  async #encode(batch: Batch): Promise<void> {
    if ((batch.isLarge || this.#made) && (await this.#mayCopy())) batch.encode(this.#spares);
  }

  async #send(batch: Batch): Promise<void> {
    if (batch.bad.size > 0 && !this.options.onRefused) throw batch.refusal();
    await this.#giveIds(batch);
    await this.#encode(batch);
    const encoded = batch.end();
    await this.#settled;
    this.#settled = this.#store(batch, encoded);
    // Whoever awaits it next is told.
    this.#settled.catch(() => {});
  }

  /** Told after the savepoint: what was told of stays, whatever the callbacks do. */
  async #store(batch: Batch, encoded: Buffer | string): Promise<void> {
    const write = (tx: Executor) => this.#write(tx, batch, encoded);
    if (batch.length > 0) {
      await naming(batch, () =>
        this.options.savepoints ? this.tx.transaction(write) : write(this.tx),
      );
    }
    for (const { index, error } of batch.refusals()) await this.options.onRefused?.(index, error);
    await this.options.onProgress?.(batch.first + batch.size);
  }

  /** Embeddings name their log, so its id cannot wait for the insert. */
  async #giveIds(batch: Batch): Promise<void> {
    const nameless = batch.nameless();
    if (nameless.length === 0) return;
    await this.#settled;
    const instants = JSON.stringify(nameless.map((cells) => cells[TIMESTAMP]));
    const made = await naming(batch, async () =>
      this.tx.execute(sql`
      select ${sql.raw(NEW_ID)} as id
      from (select at::timestamptz as timestamp, n
        from json_array_elements_text(${instants}::text::json) with ordinality as t(at, n)) as r order by n`),
    );
    for (const [n, { id }] of rows<{ id: string }>(made).entries()) nameless[n]?.splice(ID, 1, id);
  }

  /** Whether a COPY is possible. */
  async #mayCopy(): Promise<boolean> {
    if (!is(this.tx._.session, PostgresJsSession)) return false;
    this.#copies ??= await this.#mayMakeTable();
    return this.#copies;
  }

  /** Copies rows into the temporary table. */
  async #copyRows({ _: { session } }: Executor, encoded: Buffer): Promise<Incoming> {
    if (!is(session, PostgresJsSession)) throw new TypeError("COPY needs postgres.js");
    const emptied = this.#made
      ? `truncate ${INCOMING_TABLE}`
      : `drop table if exists ${INCOMING_TABLE} cascade; create temporary table ${INCOMING_TABLE} (${FIELD_LIST}) on commit drop`;
    const statement = `${emptied}; copy ${INCOMING_TABLE} from stdin (format binary)`;
    this.#copied = copyIn(session, { statement, rows: encoded });
    await this.#copied;
    this.#made = true;
    this.#spares.push(Buffer.from(encoded.buffer));
    return fromTable;
  }

  /**
   * Where another role has left a table of that name on the connection, it could not be replaced. The
   * embedded engine, which says what compiled it, takes no COPY.
   */
  async #mayMakeTable(): Promise<boolean> {
    await this.#settled;
    const { may } = await one<{ may: boolean }>(
      this.tx,
      sql`select has_database_privilege(current_database(), 'TEMP')
        and strpos(pg_catalog.version(), 'emscripten') = 0 and not exists (select from pg_class
        where oid = to_regclass(${INCOMING_TABLE}) and relowner <> current_user::regrole) as may`,
    );
    return may;
  }

  async #write(tx: Executor, batch: Batch, encoded: Buffer | string): Promise<void> {
    const source =
      typeof encoded === "string" ? fromJson(encoded) : await this.#copyRows(tx, encoded);
    const incoming = () => source([...batch.bad.keys()]);
    const { asked = NOTHING_ASKED, onRefused } = this.options;
    const { inserted, ids, charges, outcomes } = await this.#insert(tx, batch, incoming);
    const isNew = inserted === batch.length;
    const review = { batch, incoming, ids, isTolerant: onRefused !== undefined, asked };
    const finish = async () => {
      const there = isNew ? NOTHING_THERE : await reviewed(tx, review);
      if (!isNew && batch.embeddings.size > 0)
        await tx.execute(lockLogs([...batch.embeddings].map(logOf)));
      return { there, changed: [...there.others, ...(await embed(tx, batch, there))] };
    };
    const { there, changed } = await onShard(tx, finish, await onlyOrganization(tx, incoming()));
    this.#report.inserted += inserted;
    this.#report.completed += there.completed.length;
    this.#report.repeated += batch.length - inserted - there.completed.length - changed.length;
    this.#report.conflicting.push(...changed.toSorted((a, b) => a.n - b.n).map(({ id }) => id));
    this.#charges.push(...charges, ...there.charges);
    this.#outcomes.push(...outcomes, ...there.outcomes);
  }

  async #insert(tx: Executor, batch: Batch, incoming: () => SQL): Promise<Inserted> {
    // Again, until a reference that was bad leads somewhere or its entries are refused: others come and go meanwhile.
    const { asked = NOTHING_ASKED } = this.options;
    // On a cluster the policy has no reference to look up.
    const pairs = spreadOf(tx) ? "" : batch.pairs();
    for (;;) {
      const result = await one<Inserted>(tx, insert(incoming(), batch, { ...asked, pairs }));
      if (!result.dangling) return result;
      const bad = rows<Place>(await tx.execute(dangling(incoming(), batch)));
      batch.refuse(bad, "no row that the caller sees has this id");
      if (bad.length > 0 && !this.options.onRefused) throw batch.refusal();
    }
  }
}

/**
 * On a cluster, whose entries a service role's are: one shard is asked about what is there already.
 * @throws {Error} they are of several
 */
async function onlyOrganization(tx: Executor, incoming: SQL): Promise<string | undefined> {
  const cluster = spreadOf(tx);
  if (!cluster || cluster.organization !== undefined) return undefined;
  const { organizations } = await one<{ organizations: string[] }>(tx, ofOrganizations(incoming));
  if (organizations.length < 2) return organizations[0];
  throw new Error(
    "recordExecutions: on a Citus cluster give entries of one organization at a time, or record as that organization",
  );
}

const NOTHING_ASKED: Asked = { charges: false, outcomes: false };
const NOTHING_THERE: Reviewed = { completed: [], charges: [], outcomes: [], others: [] };

interface Reviewed extends Omit<Completed, "hidden"> {
  readonly others: Differing[];
}

interface Review {
  readonly batch: Batch;
  readonly incoming: () => SQL;
  /** Of the rows that are new. */
  readonly ids: string | null;
  /** Whether the others are dealt with where an entry is refused. */
  readonly isTolerant: boolean;
  readonly asked: Asked;
}

/** Completes rows, and answers the entries whose id is taken by a row that holds something else. */
async function reviewed(
  tx: Executor,
  { batch, incoming, ids, isTolerant, asked }: Review,
): Promise<Reviewed> {
  const { hidden, ...written } = await one<Completed>(tx, complete(incoming(), isTolerant, asked));
  if (hidden.length > 0) {
    const places = hidden.map((n) => ({ n, key: "id" }));
    batch.refuse(places, "taken: a row with this id exists, and the caller does not see it");
    if (!isTolerant) {
      await tx.execute(
        sql`delete from public.agent_execution_logs as l where id = any (string_to_array(${ids ?? ""}, ',')::uuid[])${ofOwn("l")}`,
      );
      throw batch.refusal();
    }
  }
  const others = rows<Differing>(await tx.execute(differing(incoming(), written.completed)));
  return { ...written, others };
}

/** An entry's place, and its row with embeddings. */
type Embedded = Batch["embeddings"] extends Map<infer N, infer Row> ? readonly [N, Row] : never;

const logOf = ([, { cells }]: Embedded) => String(cells[ID]).toLowerCase();

/**
 * Writes the embeddings of entries that are not in conflict, and answers which of them name others than are
 * there. An id that comes twice has two turns.
 */
async function embed(
  tx: Executor,
  batch: Batch,
  { completed, others }: { completed: Completed["completed"]; others: readonly Differing[] },
): Promise<Differing[]> {
  const left = new Set(others.map(({ n }) => n));
  const found: Differing[] = [];
  let waiting = [...batch.embeddings].filter(([n]) => !left.has(n));
  while (waiting.length > 0) {
    const turn = new Map(waiting.toReversed().map((entry) => [logOf(entry), entry]));
    found.push(...(await embedEach(tx, turn, new Set(completed.map(({ n }) => n)))));
    waiting = waiting.filter((entry) => turn.get(logOf(entry)) !== entry);
  }
  return found;
}

/** What completed a row replaces its embeddings; what repeats it fills in those that were NULL. */
async function embedEach(
  tx: Executor,
  ofLog: ReadonlyMap<string, Embedded>,
  completing: ReadonlySet<number>,
): Promise<Differing[]> {
  const json = (logs: ReadonlyMap<string, Embedded>) =>
    Array.from(logs, ([id, [, row]]) => `{"execution_log_id":"${id}",${row.json}`);
  const replacing = new Set([...ofLog].flatMap(([id, [n]]) => (completing.has(n) ? [id] : [])));
  const stored = rows<StoredEmbedding>(await tx.execute(addEmbeddings(json(ofLog))));
  const others = stored.filter(({ id, differs }) => differs && !replacing.has(id));
  const changing = stored.filter(
    ({ id, lacks, differs }) => (lacks && !differs) || (replacing.has(id) && (lacks || differs)),
  );
  if (changing.length > 0) {
    const changed = new Set(changing.map(({ id }) => id));
    const left = new Map([...ofLog].filter(([id]) => changed.has(id)));
    await tx.execute(fillEmbeddings(json(left), [...replacing]));
  }
  return others.flatMap(({ id }) => {
    const [n] = ofLog.get(id) ?? [];
    return n === undefined ? [] : [{ n, id }];
  });
}

/** An error of PostgreSQL says which entries it was about. */
async function naming<T>({ first, size }: Batch, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const refusal = databaseError(cause);
    if (!refusal) throw cause;
    const said = `entries ${first} to ${first + size - 1}: ${refusal.message}`;
    // Drizzle's own error holds all that was sent: the server's goes on alone.
    // oxlint-disable-next-line preserve-caught-error
    throw new Error(said, { cause: cause instanceof DrizzleQueryError ? cause.cause : cause });
  }
}
