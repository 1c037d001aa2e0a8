/** Executions on their way: validated, and as fields that travel as JSON or by COPY alike. */
import { getTableColumns } from "drizzle-orm";
import type { AnyPgColumn } from "drizzle-orm/pg-core";
import * as z from "zod";
import { type Cell, CopyRows } from "./binary-copy.ts";
import { executionEmbeddings } from "../../schema/embeddings.ts";
import type { JsonValue } from "../../schema/json.ts";
import { type NewAgentExecutionLog, agentExecutionLogs } from "../../schema/governance.ts";
import { lazy } from "../../validation/lazy.ts";
import { refused } from "../../validation/refused.ts";
import { type Given, validators } from "../../validation/validators.ts";

/**
 * A row of `agent_execution_logs` to record, with its vectors of 1536 numbers each, if it has any. JSON
 * columns take any object; what PostgreSQL cannot store of one is refused, and `asJson` mends it.
 */
export interface NewExecution extends Given<NewAgentExecutionLog> {
  readonly embeddings?:
    | { readonly input?: number[]; readonly output?: number[]; readonly error?: number[] }
    | undefined;
}

/**
 * What `asJson` has made, as its text: what waits for long is no tree that each collection of garbage walks, and is
 * not looked at again. For columns that take any JSON.
 */
export class StorableText {
  readonly text: string;

  constructor(value: object | JsonValue) {
    this.text = JSON.stringify(value);
  }
}

/** Anything that a column of JSON takes, or its text. */
const orText = (json: z.ZodType) =>
  z
    .unknown()
    .superRefine((value, context) => {
      if (value instanceof StorableText) return;
      for (const issue of json.safeParse(value).error?.issues ?? []) context.addIssue({ ...issue });
    })
    .optional();

/** Built when the first entry comes: whoever imports the package may never record. */
const newExecution = lazy(() => {
  const { shape } = validators(executionEmbeddings).insert;
  const embeddings = z
    .strictObject({
      input: shape.inputEmbedding,
      output: shape.outputEmbedding,
      error: shape.errorEmbedding,
    })
    .refine((given) => Object.values(given).some(Array.isArray), "expected at least one embedding");
  const { insert } = validators(agentExecutionLogs);
  return insert.extend({
    inputData: orText(insert.shape.inputData),
    outputData: orText(insert.shape.outputData),
    timestamp: insert.shape.timestamp.superRefine(refuseOtherUnits),
    embeddings: embeddings.optional(),
  });
});

const DAY = 86_400_000;
const EARLIEST = Date.UTC(2000, 0, 1);

/** An instant long ago or to come was meant in other units: stored, it would be in no window ever. */
function refuseOtherUnits(at: Date | undefined, context: z.core.$RefinementCtx): void {
  if (at === undefined) return;
  const isEarly = at.getTime() < EARLIEST;
  if (!isEarly && at.getTime() <= Date.now() + DAY) return;
  const hint = isEarly ? ": seconds, not milliseconds?" : "";
  const message = `expected an instant from the year 2000 to a day from now, got ${at.toISOString()}${hint}`;
  context.addIssue({ code: "custom", message });
}

/** Up to so many entries one statement is as fast as COPY, and makes no table. */
export const INLINE_ENTRIES = 500;
/** Entries of a chunk at most; and fewer, once they have so many characters. */
export const CHUNK_ENTRIES = 5000;
const CHUNK_CHARACTERS = 8_000_000;

/** The columns of a log row, each with its bit in `given`. */
export const COLUMNS = Object.entries<AnyPgColumn>(getTableColumns(agentExecutionLogs)).map(
  ([key, column], index) => ({
    key,
    name: column.name,
    type: column.getSQLType(),
    bit: 1 << index,
  }),
);

/** `n` is the place in the chunk, `given` has a bit for each column that the entry names. */
export const FIELDS = [
  { key: "n", type: "integer" },
  { key: "given", type: "integer" },
  ...COLUMNS,
];
const TYPES = FIELDS.map(({ type }) => type);
export const ID = FIELDS.findIndex(({ key }) => key === "id");
export const TIMESTAMP = FIELDS.findIndex(({ key }) => key === "timestamp");

/** The columns that name a row of another table. */
export const REFERENCES = [
  { key: "agentId", parent: "agent_registry" },
  { key: "promptVersionId", parent: "agent_prompts" },
] as const;

/** Pairs of an agent and a prompt of which it is worth to tell the policy. */
const PAIRS = 500;

/** Bad entries that a refusal tells; the others it counts. */
const TOLD = 20;

/** Validated entries on their way. */
export class Batch {
  /** The index of its first entry among all. */
  readonly first: number;
  /** What is wrong with entries, by their places. */
  readonly bad = new Map<number, z.core.$ZodIssue[]>();
  /** Embeddings by the row's place, with the row; their JSON lacks what names the log. */
  readonly embeddings = new Map<number, { readonly cells: Cell[]; readonly json: string }>();
  #size = 0;
  #characters = 0;
  /** Rows that are not encoded yet. */
  #rows: Cell[][] = [];
  #copy: CopyRows | undefined;
  /** The first place of each row referred to. */
  readonly #parents = REFERENCES.map(({ key }) => ({ key, places: new Map<Cell, number>() }));
  /** The prompts of each agent, and how many pairs they are. */
  readonly #prompts = new Map<string, Set<string>>();
  #pairs = 0;
  #lastId = "";
  #ascends = true;

  constructor(first: number) {
    this.first = first;
  }

  /** Entries that were added, the bad ones too. */
  get size(): number {
    return this.#size;
  }

  /** Entries to write. */
  get length(): number {
    return this.#size - this.bad.size;
  }

  /** Whether the ids that were given come in ascending order. */
  get ascends(): boolean {
    return this.#ascends;
  }

  get isLarge(): boolean {
    return this.#size > INLINE_ENTRIES || this.#characters > CHUNK_CHARACTERS;
  }

  get isFull(): boolean {
    return this.#size >= CHUNK_ENTRIES || this.#characters > CHUNK_CHARACTERS;
  }

  add(entry: NewExecution): void {
    const n = this.#size++;
    const { data, error } = newExecution.safeParse(entry);
    if (error) {
      this.bad.set(n, error.issues);
      return;
    }
    let given = 0;
    const cells: Cell[] = [n, 0];
    for (const { key, type, bit } of COLUMNS) {
      const value: unknown = Reflect.get(data, key);
      if (value !== undefined) given |= bit;
      const cell = cellOf(type, value);
      if (typeof cell === "string") this.#characters += cell.length;
      cells.push(cell);
    }
    cells[1] = given;
    this.#rows.push(cells);
    for (const { key, places } of this.#parents) {
      const id = data[key];
      if (id && !places.has(id)) places.set(id, n);
    }
    this.#pair(data.agentId, data.promptVersionId ?? "");
    if (data.id) this.#follow(data.id.toLowerCase());
    if (data.embeddings) this.#embed(n, cells, data.embeddings);
  }

  #pair(agent: string, prompt: string): void {
    const prompts = this.#prompts.get(agent);
    if (prompts?.has(prompt)) return;
    this.#pairs += 1;
    if (prompts) prompts.add(prompt);
    else this.#prompts.set(agent, new Set([prompt]));
  }

  #follow(id: string): void {
    if (id < this.#lastId) this.#ascends = false;
    this.#lastId = id;
  }

  #embed(
    n: number,
    cells: Cell[],
    { input, output, error }: NonNullable<z.output<typeof newExecution>["embeddings"]>,
  ): void {
    const json = JSON.stringify({
      input_embedding: input,
      output_embedding: output,
      error_embedding: error,
    });
    this.embeddings.set(n, { cells, json: json.slice(1) });
    this.#characters += json.length;
  }

  /** Rows with embeddings and without an id. */
  nameless(): Cell[][] {
    return [...this.embeddings.values()].flatMap(({ cells }) =>
      cells[ID] === null ? [cells] : [],
    );
  }

  /** Encodes the rows so far for COPY, into a spare buffer, and lets go of them; nameless ones wait. */
  encode(spares: Buffer[]): void {
    this.#copy ??= new CopyRows(TYPES, spares.pop());
    const nameless = new Set(this.nameless());
    for (const cells of this.#rows) if (!nameless.has(cells)) this.#copy.add(cells);
    this.#rows = [...nameless];
  }

  /** All rows: for COPY if they were encoded for it, else as JSON. */
  end(): Buffer | string {
    if (this.#copy) return this.#copy.end();
    // Added up, not joined: V8 copies it once, when it is sent.
    let json = "";
    for (const cells of this.#rows) json += `${json && ","}${jsonRow(cells)}`;
    return `[${json}]`;
  }

  /** JSON of the distinct references, each with the place it comes at first. */
  parents(): string {
    return JSON.stringify(
      this.#parents.flatMap(({ key, places }) =>
        [...places].flatMap(([id, n]) => (this.bad.has(n) ? [] : [{ n, key, id }])),
      ),
    );
  }

  /**
   * What the policy of new rows is told to look up once, where rows share it: `agent/prompt,agent/,…`, for
   * `meta_agent.own_log_references`. Of few rows each is looked up sooner than that is planned.
   */
  pairs(): string {
    const areShared = this.isLarge && this.#pairs <= Math.min(PAIRS, this.#size / 4);
    if (!areShared) return "";
    return [...this.#prompts]
      .flatMap(([agent, prompts]) => Array.from(prompts, (prompt) => `${agent}/${prompt}`))
      .join(",");
  }

  /** Entries that turned out to be bad are not written any more. */
  refuse(places: readonly Place[], message: string): void {
    for (const { n, key } of places) {
      this.bad.set(n, [...(this.bad.get(n) ?? []), custom([key], message)]);
      this.embeddings.delete(n);
    }
  }

  /** Each bad entry with its index among all, in order. */
  refusals(): { index: number; error: z.ZodError }[] {
    return this.#sortedBad().map(([n, issues]) => ({
      index: this.first + n,
      error: refused(this.#located(n, issues)),
    }));
  }

  /** What all bad entries are refused for. */
  refusal(): z.ZodError {
    const bad = this.#sortedBad();
    const told = bad.slice(0, TOLD).flatMap(([n, issues]) => this.#located(n, issues));
    const more = bad.length - TOLD;
    if (more > 0) told.push(custom([], `and ${more} more bad ${more === 1 ? "entry" : "entries"}`));
    return refused(told);
  }

  #sortedBad() {
    return [...this.bad].toSorted(([a], [b]) => a - b);
  }

  #located(n: number, issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue[] {
    return issues.map((issue) => ({ ...issue, path: [this.first + n, ...issue.path] }));
  }
}

const custom = (path: string[], message: string): z.core.$ZodIssue => ({
  code: "custom",
  input: undefined,
  path,
  message,
});

/** An entry, by its place in the chunk, and a column of it. */
export interface Place {
  readonly n: number;
  readonly key: string;
}

function cellOf(type: string, value: unknown): Cell {
  if (value === undefined || value === null) return null;
  if (value instanceof StorableText) return value.text;
  const plain = typeof value === "string" || typeof value === "number" || value instanceof Date;
  return plain && type !== "jsonb" ? value : JSON.stringify(value);
}

/** What has a cell's value as JSON: texts of JSON as they are. */
function jsonCell(type: string, cell: Exclude<Cell, null>): string {
  if (typeof cell === "number" || type === "jsonb") return String(cell);
  // What Date's own toJSON does, in a third of the time; a uuid has nothing to escape.
  if (typeof cell === "object") return `"${cell.toISOString()}"`;
  return type === "uuid" ? `"${cell}"` : JSON.stringify(cell);
}

function jsonRow(cells: readonly Cell[]): string {
  let members = "";
  FIELDS.forEach(({ key, type }, index) => {
    const cell = cells[index] ?? null;
    if (cell !== null) members += `${members && ","}"${key}":${jsonCell(type, cell)}`;
  });
  return `{${members}}`;
}
