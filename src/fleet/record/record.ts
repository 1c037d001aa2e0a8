/** Recording executions: many log rows, and their embeddings, at nearly the speed of COPY. */
import { setImmediate } from "node:timers/promises";
import { DrizzleQueryError, type SQL, is, sql } from "drizzle-orm";
import { PostgresJsSession } from "drizzle-orm/postgres-js";
import { Batch, ID, INLINE_ENTRIES, type NewExecution, TIMESTAMP } from "./batch.ts";
import { type Cell, copyIn } from "./binary-copy.ts";
import {
  type Differing,
  FIELD_LIST,
  INCOMING_TABLE,
  type Inserted,
  NEW_ID,
  REVIEW,
  fromJson,
  fromTable,
  insert,
} from "./statements.ts";
import { type Executor, byKey, one, rows } from "../../client/sql.ts";
import { refuseOtherDrivers } from "../../client/driver.ts";
import { databaseError } from "../../client/errors.ts";
import { queuePerSession } from "../../client/queue.ts";

export type { NewExecution };

/** What became of the entries. */
export interface RecordResult {
  /** Entries that are new rows now. */
  readonly inserted: number;
  /** Entries whose id was taken by a row that holds what they say. */
  readonly repeated: number;
  /** Ids of entries whose id was taken by a row that holds something else. That row was left as it is. */
  readonly conflicting: readonly string[];
}

/** How to record a stream. */
export interface RecordOptions {
  /**
   * Told after each chunk how many entries are recorded so far, repeated ones included. A promise of it is
   * awaited, and what it throws or rejects with is the call's. It must not record in the same transaction.
   */
  readonly onProgress?: (entries: number) => unknown;
}

/**
 * Inserts executions: rows of `agent_execution_logs`, all columns, and of `execution_embeddings`, one a log.
 * `tx` is the transaction of `withOrganization` or `withServiceRole`. What an entry leaves out is as the
 * database's defaults have it; under `withServiceRole` the organization is the agent's. An entry with a
 * `timestamp` and no `id` is given a key of that time.
 *
 * Up to 500 entries are one statement, and one more for embeddings. More go by COPY, where the driver is
 * postgres.js and the role may make temporary tables.
 *
 * Recording the same ids again adds nothing, neither rows nor embeddings; the result says how many were
 * there. Of an entry whose id exists only the columns it gives are compared, not its embeddings.
 *
 * @throws {z.ZodError} for a bad entry, a reference to a row that the caller does not see, or an id of a row
 * that the caller does not see: `path` is the index of the (first such) entry and the column; nothing is
 * written, and the transaction goes on
 * @throws {Error} when PostgreSQL refuses otherwise, with its error as `cause`: of up to 500 entries, the
 * transaction is over; of more, nothing is written and it goes on
 */
export async function recordExecutions(
  tx: Executor,
  entries: readonly NewExecution[],
): Promise<RecordResult> {
  return inTurn(tx._.session, () =>
    entries.length > INLINE_ENTRIES
      ? tx.transaction((inner) => new Recorder(inner).recordAll(entries))
      : new Recorder(tx, { whole: true }).recordAll(entries),
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

interface RecorderOptions extends RecordOptions {
  /** Whether all entries are one chunk. */
  readonly whole?: boolean;
  /** Whether the chunks before one that fails stay. */
  readonly savepoints?: boolean;
}

/** Sends batches, the next while PostgreSQL has the last. */
class Recorder {
  readonly #report = { inserted: 0, repeated: 0, conflicting: new Array<string>() };
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
    let batch = new Batch(0);
    try {
      for await (const entry of entries) {
        batch.add(entry);
        if (batch.length % YIELD_EVERY === 0) await this.#pause(batch);
        if (this.options.whole || !batch.isFull) continue;
        await this.#send(batch);
        batch = new Batch(batch.first + batch.length);
      }
      if (batch.length > 0) await this.#send(batch);
    } finally {
      await this.#settled;
    }
    return this.#report;
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
    await this.#giveIds(batch);
    await this.#encode(batch);
    const encoded = batch.end();
    await this.#settled;
    this.#settled = this.#store(batch, encoded);
    // Whoever awaits it next is told.
    this.#settled.catch(() => {});
  }

  /** Told after the savepoint: what was told of stays, whatever the callback does. */
  async #store(batch: Batch, encoded: Buffer | string): Promise<void> {
    const write = (tx: Executor) => this.#write(tx, batch, encoded);
    await naming(batch, () =>
      this.options.savepoints ? this.tx.transaction(write) : write(this.tx),
    );
    await this.options.onProgress?.(batch.first + batch.length);
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
  async #copyRows({ _: { session } }: Executor, encoded: Buffer): Promise<SQL> {
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
    const incoming =
      typeof encoded === "string" ? fromJson(encoded) : await this.#copyRows(tx, encoded);
    const count = batch.length;
    const result = await one<Inserted>(tx, insert(incoming, batch));
    if (result.dangling) {
      throw batch.refusal(placesOf(result.dangling), "no row that the caller sees has this id");
    }
    const allNew = result.inserted === count;
    const differing = allNew ? [] : await review(tx, { batch, incoming, result });
    if (batch.embeddings.size > 0) await embed(tx, { batch, differing, allNew });
    this.#report.inserted += result.inserted;
    this.#report.repeated += count - result.inserted - differing.length;
    this.#report.conflicting.push(...differing.map(({ id }) => id));
  }
}

/** Answers the entries whose id is taken by a row that holds something else. */
async function review(
  tx: Executor,
  { batch, incoming, result }: { batch: Batch; incoming: SQL; result: Inserted },
): Promise<Differing[]> {
  const found = rows<Differing>(await tx.execute(sql`${incoming}${REVIEW}`));
  const hidden = found.filter((row) => row.hidden).map(({ n }) => ({ n, key: "id" }));
  if (hidden.length === 0) return found;
  await tx.execute(
    sql`delete from public.agent_execution_logs where id = any (string_to_array(${result.ids ?? ""}, ',')::uuid[])`,
  );
  throw batch.refusal(hidden, "taken: a row with this id exists, and the caller does not see it");
}

async function embed(
  tx: Executor,
  { batch, differing, allNew }: { batch: Batch; differing: Differing[]; allNew: boolean },
): Promise<void> {
  const conflicting = new Set(differing.map(({ n }) => n));
  const ofLog = new Map<Cell | undefined, string>();
  for (const [n, { cells, json }] of batch.embeddings) {
    const id = cells[ID];
    if (!conflicting.has(n) && !ofLog.has(id)) ofLog.set(id, json);
  }
  if (!allNew) {
    // Two callers that add embeddings to a log that is there take turns.
    const logs = [...ofLog.keys()].join(",");
    await tx.execute(sql`
      select from (
        select id from unnest(string_to_array(${logs}, ',')::uuid[]) as given(id) order by id
      ) as given
      cross join lateral (
        select from public.agent_execution_logs as l where ${byKey("l.id", "given.id")} for no key update
      ) as locked`);
  }
  const json = [...ofLog].map(([id, vectors]) => `{"execution_log_id":"${String(id)}",${vectors}`);
  await tx.execute(sql`
    insert into public.execution_embeddings
      (execution_log_id, organization_id, input_embedding, output_embedding, error_embedding)
    select l.id, l.organization_id, e.input_embedding, e.output_embedding, e.error_embedding
    from json_populate_recordset(null::public.execution_embeddings, ${`[${json.join(",")}]`}::text::json) as e
    cross join lateral (
      select id, organization_id from public.agent_execution_logs where ${byKey("id", "e.execution_log_id")}
    ) as l
    where not exists (select from public.execution_embeddings as x where ${byKey("x.execution_log_id", "l.id")})`);
}

const placesOf = (written: string) =>
  written.split(",").map((place) => {
    const [n, key = ""] = place.split(" ");
    return { n: Number(n), key };
  });

/** An error of PostgreSQL says which entries it was about. */
async function naming<T>({ first, length }: Batch, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const refusal = databaseError(cause);
    if (!refusal) throw cause;
    const said = `entries ${first} to ${first + length - 1}: ${refusal.message}`;
    // Drizzle's own error holds all that was sent: the server's goes on alone.
    // oxlint-disable-next-line preserve-caught-error
    throw new Error(said, { cause: cause instanceof DrizzleQueryError ? cause.cause : cause });
  }
}
