/** Files of what others have recorded, into the log of an organization. */
import * as z from "zod";
import type { Database, Executor } from "../client/sql.ts";
import { withOrganization } from "../client/tenancy.ts";
import { type NewExecution, type RecordResult, recordExecutions } from "../fleet/record/record.ts";
import { type RowAgent, identify } from "./agent-ids.ts";
import { chatExecutions, isChat } from "./chat.ts";
import {
  type Document,
  type DocumentReader,
  type PlacedExecution,
  type ReadProblem,
  type Tell,
  elementsOf,
  isRecord,
  placeOf,
} from "./documents.ts";
import { isLangfuse, langfuseExecutions } from "./langfuse.ts";
import { isOpenInference, openInferenceSpans } from "./openinference.ts";
import { isOtherSignal, isOtlp, otlpSpans } from "./otlp.ts";
import { SpanWindow } from "./span-window.ts";
import type { SpanOptions } from "./spans.ts";
import { documentsIn } from "./stream.ts";

/** What {@link importExecutions} reads. */
export const IMPORT_FORMATS = ["otlp", "openinference", "langfuse", "chat"] as const;
/** What an input is: spans as OTLP/JSON or as Phoenix exports them, traces of Langfuse, chat-completions transcripts. */
export type ImportFormat = (typeof IMPORT_FORMATS)[number];

/**
 * How to import. Content is stored, masked and cut as for spans; `cost` is asked for spans alone. What `onRefused`
 * and `onProgress` return is awaited, and what they throw or reject with is the call's.
 */
export interface ImportOptions extends SpanOptions {
  /** Whose the rows are. */
  readonly organization: string;
  /** Default: guessed from the first document. */
  readonly format?: ImportFormat | undefined;
  /** The agent of all rows. Needed for `chat`. Default: as the input says. */
  readonly agent?: string | undefined;
  /** For `chat`: when the first transcript began, where they do not say it. Default 2024-01-01. */
  readonly start?: Date | undefined;
  /** For `chat`: the member that says whether a run did what it should: true or false, or 0 to 1. */
  readonly success?: string | undefined;
  /** Rolls everything back: the answer is what would be. */
  readonly dryRun?: boolean | undefined;
  /** Agents that may be made. A name with an id in it would be an agent for each run. Default 100. */
  readonly maxNewAgents?: number | undefined;
  /** Told of each entry that is not stored, and where it stands. */
  readonly onRefused?: ((problem: ReadProblem) => unknown) | undefined;
  /** Told after each batch. */
  readonly onProgress?: ((progress: ImportProgress) => unknown) | undefined;
}

/** How far an import is. */
export interface ImportProgress {
  /** Of the input, as it is stored. */
  readonly bytes: number;
  /** Dealt with so far. */
  readonly rows: number;
}

/** What became of an input. */
export interface ImportResult {
  /** None for an empty input. */
  readonly format: ImportFormat | undefined;
  /** New rows. */
  readonly inserted: number;
  /** Rows that ended one which was recorded as running. */
  readonly completed: number;
  /** Rows that were there already. */
  readonly repeated: number;
  /** Rows whose id is taken by a row that says something else; that one was left as it is. */
  readonly conflicting: number;
  /** Entries that `onRefused` was told of. */
  readonly refused: number;
  /** Spans that are no action of an agent. */
  readonly skipped: number;
  /** Rows that were read, by `action_type`. */
  readonly actions: Readonly<Record<string, number>>;
  /** Agents that were made. */
  readonly newAgents: readonly string[];
}

const FIRST_START = Date.UTC(2024, 0, 1);
const MOST_NEW_AGENTS = 100;
/** Rows of a transaction. */
const BATCH = 1000;

/**
 * Imports executions from the bytes of a file or a stream: JSON lines, or one JSON document of at most 64 million
 * characters, plain or gzip. Ids are made from what is read, so that the same again adds nothing. Each 1,000 rows
 * are a transaction: what is stored stays when a later one fails, and the same call goes on from there. Memory
 * does not grow with the input.
 *
 * What is refused, and what cannot be read, is told with its place and keeps nothing else out.
 * @example
 * const file = createReadStream("traces.jsonl.gz");
 * const { inserted, repeated, refused } = await importExecutions(db, file, { organization });
 * @throws {Error} for an input of no format that is known, for more new agents than `maxNewAgents`, for chat without
 * an agent, for bytes that are no UTF-8 or a broken gzip, and when the database cannot go on
 */
export async function importExecutions(
  db: Database,
  bytes: AsyncIterable<Uint8Array>,
  options: ImportOptions,
): Promise<ImportResult> {
  return new Import(db, options).run(bytes);
}

class Import {
  readonly #db: Database;
  readonly #options: ImportOptions;
  readonly #counts = {
    inserted: 0,
    completed: 0,
    repeated: 0,
    conflicting: 0,
    refused: 0,
    skipped: 0,
  };
  readonly #actions: Record<string, number> = {};
  readonly #newAgents = new Set<string>();
  /** What is to be told: readers do not wait. */
  #problems: ReadProblem[] = [];
  #format: ImportFormat | undefined;
  #bytes = 0;
  #rows = 0;

  constructor(db: Database, options: ImportOptions) {
    this.#db = db;
    this.#options = { ...options, organization: options.organization.toLowerCase() };
    this.#format = options.format;
  }

  async run(bytes: AsyncIterable<Uint8Array>): Promise<ImportResult> {
    try {
      await this.#storeAll(bytes);
    } finally {
      await this.#tellOthers();
    }
    const newAgents = [...this.#newAgents].toSorted();
    return { format: this.#format, ...this.#counts, actions: this.#actions, newAgents };
  }

  async #storeAll(bytes: AsyncIterable<Uint8Array>): Promise<void> {
    let batch: PlacedExecution[] = [];
    const { agent } = this.#options;
    for await (const row of this.#read(bytes)) {
      // Readers cut ids out of names; one that is given is taken as it is.
      batch.push(agent === undefined ? row : { ...row, agentName: agent });
      if (batch.length < BATCH) continue;
      await this.#store(batch);
      batch = [];
    }
    if (batch.length > 0) await this.#store(batch);
  }

  // ── Reading ──

  async *#read(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<PlacedExecution> {
    let reader: DocumentReader | undefined;
    for await (const document of documentsIn(this.#counted(bytes), this.#tell)) {
      for (const element of elementsOf(document)) {
        reader ??= this.#reader((this.#format ??= formatOf(element)));
        yield* reader.read(element);
      }
    }
    if (reader) yield* reader.end();
  }

  async *#counted(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of bytes) {
      this.#bytes += chunk.length;
      yield chunk;
      await this.#tellOthers();
    }
  }

  readonly #tell: Tell = (place, message) => {
    this.#counts.refused += 1;
    this.#problems.push({ place: placeOf(place), message });
  };

  async #tellOthers(): Promise<void> {
    const problems = this.#problems;
    this.#problems = [];
    for (const problem of problems) await this.#options.onRefused?.(problem);
  }

  #reader(format: ImportFormat): DocumentReader {
    switch (format) {
      case "otlp":
        return this.#spanReader((document) =>
          isOtherSignal(document.value) ? [] : otlpSpans(document, this.#tell),
        );
      case "openinference":
        return this.#spanReader((document) => openInferenceSpans(document, this.#tell));
      case "langfuse":
        return each((document) => langfuseExecutions(document, this.#options, this.#tell));
      case "chat":
        return this.#chatReader();
    }
  }

  #spanReader(spansOf: ConstructorParameters<typeof SpanWindow>[0]): DocumentReader {
    const onSkipped = () => {
      this.#counts.skipped += 1;
    };
    return new SpanWindow(spansOf, { ...this.#options, onSkipped });
  }

  #chatReader(): DocumentReader {
    const { agent, start = new Date(FIRST_START) } = this.#options;
    if (agent === undefined) {
      throw new Error("transcripts do not say whose they are: give the agent's name (--agent)");
    }
    const options = { ...this.#options, agent, start };
    return each((document) => chatExecutions(document, options, this.#tell));
  }

  // ── Writing ──

  async #store(batch: readonly PlacedExecution[]): Promise<void> {
    const { organization, dryRun = false } = this.#options;
    const stored = await outcomeOf(dryRun, (finish) =>
      withOrganization(this.#db, organization, async (tx) => finish(await this.#write(tx, batch))),
    );
    this.#count(stored.result);
    for (const name of stored.newAgents) this.#newAgents.add(name);
    for (const { place, message } of stored.refused) this.#tell(place, message);
    for (const { execution } of batch) {
      const { actionType } = execution;
      this.#actions[actionType] = (this.#actions[actionType] ?? 0) + 1;
    }
    this.#rows += batch.length;
    await this.#tellOthers();
    await this.#options.onProgress?.({ bytes: this.#bytes, rows: this.#rows });
  }

  async #write(tx: Executor, batch: readonly PlacedExecution[]): Promise<Stored> {
    const refused: ReadProblem[] = [];
    const { agents, refusals } = await this.#identified(tx, batch);
    const entries: NewExecution[] = [];
    const places: string[] = [];
    for (const { agentName, execution, place } of batch) {
      const agentId = agents.get(agentName)?.id;
      if (agentId === undefined) {
        refused.push({ place, message: refusals.get(agentName) ?? "has no agent" });
        continue;
      }
      entries.push({ ...execution, agentId });
      places.push(place);
    }
    const onRefused = (index: number, error: z.ZodError) => {
      refused.push({ place: places[index] ?? "", message: inWords(error) });
    };
    const result = await recordExecutions(tx, entries, { onRefused });
    const made = [...agents.values()].filter(({ isNew }) => isNew);
    return { result, refused, newAgents: made.map(({ named }) => named.agentName) };
  }

  /** The agents of a batch by the names that its rows have. */
  async #identified(tx: Executor, batch: readonly PlacedExecution[]) {
    const { organization, maxNewAgents = MOST_NEW_AGENTS } = this.#options;
    const names = [...new Set(batch.map(({ agentName }) => agentName))];
    const agents = names.map((agentName): RowAgent => {
      return { organization, agentName, named: { agentName }, id: undefined };
    });
    const refusals = await identify(agents, (work) => work(tx));
    const made = agents.flatMap(({ isNew, named }) => (isNew ? [named.agentName] : []));
    const all = new Set([...this.#newAgents, ...made]);
    if (all.size > maxNewAgents) throw tooMany(all, maxNewAgents);
    return {
      agents: new Map(agents.map((agent) => [agent.agentName, agent])),
      refusals: new Map(refusals.map(({ agent, cause }) => [agent.agentName, inWords(cause)])),
    };
  }

  #count({ inserted, completed, repeated, conflicting }: RecordResult): void {
    this.#counts.inserted += inserted;
    this.#counts.completed += completed;
    this.#counts.repeated += repeated;
    this.#counts.conflicting += conflicting.length;
  }
}

/** What became of a batch. */
interface Stored {
  readonly result: RecordResult;
  readonly refused: readonly ReadProblem[];
  readonly newAgents: readonly string[];
}

/** Carries what would be stored out of a transaction that must not commit. */
class DryRun extends Error {
  readonly stored: Stored;

  constructor(stored: Stored) {
    super("a dry run is rolled back");
    this.stored = stored;
  }
}

async function outcomeOf(
  dryRun: boolean,
  act: (finish: (stored: Stored) => Stored) => Promise<Stored>,
): Promise<Stored> {
  try {
    return await act((stored) => {
      if (dryRun) throw new DryRun(stored);
      return stored;
    });
  } catch (error) {
    if (error instanceof DryRun) return error.stored;
    throw error;
  }
}

/** A reader of documents that need no others. */
const each = (rowsOf: (document: Document) => Iterable<PlacedExecution>): DocumentReader => ({
  read: rowsOf,
  end: () => [],
});

/** What a document is, by the members that only it has. */
function formatOf({ value, place }: Document): ImportFormat {
  if (isRecord(value)) {
    if (isOtlp(value)) return "otlp";
    if (isLangfuse(value)) return "langfuse";
    if (isOpenInference(value)) return "openinference";
  }
  if (isChat(value)) return "chat";
  const where = placeOf(place);
  throw new Error(
    `${where}${where && ": "}expected resourceSpans (otlp), context with a trace_id (openinference), observations (langfuse) or messages (chat): give the format (--format), or make it one of these`,
  );
}

function inWords(cause: unknown): string {
  if (!(cause instanceof z.ZodError)) return cause instanceof Error ? cause.message : String(cause);
  return cause.issues
    .map(({ path, message }) => [path.slice(1).join("."), message].filter(Boolean).join(": "))
    .join("; ");
}

function tooMany(names: ReadonlySet<string>, maxNewAgents: number) {
  const some = [...names].slice(0, 3).map((name) => JSON.stringify(name));
  return new Error(
    `more than ${maxNewAgents} agents would be made, such as ${some.join(", ")}: give one name for all (--agent), or allow more (maxNewAgents of importExecutions)`,
  );
}
