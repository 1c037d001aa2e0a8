/** Rows on their way to the database from where nobody waits for them: a queue that loses nothing without telling. */
import { AsyncResource } from "node:async_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import type * as z from "zod";
import { isUnreachable } from "../client/errors.ts";
import type { Database, Executor } from "../client/sql.ts";
import { withOrganization, withServiceRole } from "../client/tenancy.ts";
import type { NamedAgent } from "../fleet/agents.ts";
import { INLINE_ENTRIES, StorableText } from "../fleet/record/batch.ts";
import {
  type RecordAllOptions,
  type RecordResult,
  recordExecutions,
} from "../fleet/record/record.ts";
import { type RowAgent, identify } from "./agent-ids.ts";
import type { SpanExecution } from "./spans.ts";

/** Rows that are not stored and will not be. */
export interface Loss {
  readonly rows: number;
  readonly reason: "queue full" | "refused" | "unreachable" | "no organization" | "shut down";
  /** What the database, the validators or a function of the options said. */
  readonly cause?: unknown;
}

/** What has become of the rows so far. Each is counted once; those that wait are in none. */
export interface DeliveryCounts {
  readonly inserted: number;
  /** Rows that ended one which was recorded as running. */
  readonly completed: number;
  /** Rows that were there already. */
  readonly repeated: number;
  /** Rows whose id is taken by a row that says something else; that one was left as it is. */
  readonly conflicting: number;
  /** Rows that `onLoss` was told of. */
  readonly lost: number;
  /** Attempts that were made again. */
  readonly retries: number;
}

/** An agent that rows name, which may have to be made. */
export interface FoundAgent {
  readonly agentName: string;
  readonly organization: string;
}

/** How rows are delivered. */
export interface DeliveryOptions extends Pick<RecordAllOptions, "charge"> {
  readonly db: Database;
  /** Whether outcomes of runs are told to circuit breakers. Default: false. */
  readonly breaker?: boolean | undefined;
  /**
   * As whom to write. `service` writes those of all organizations in one transaction, for a process that serves
   * many; its login must be a backend's. Default `organization`: one transaction each.
   */
  readonly as?: "organization" | "service" | undefined;
  /** What a new agent is besides its name. Asked once each. Default: of the category `internal`. */
  readonly agent?: ((found: FoundAgent) => Partial<NamedAgent> | undefined) | undefined;
  /** Rows that wait at most; more are lost. Default 10,000. */
  readonly maxQueue?: number | undefined;
  /** Milliseconds that a row waits for others. Default 1,000. */
  readonly delayMs?: number | undefined;
  /** Milliseconds until a batch that cannot be stored is lost. Default 30,000. */
  readonly deadlineMs?: number | undefined;
  /** Told of every row that is lost. Default: a warning of the process, once for each reason. */
  readonly onLoss?: ((loss: Loss) => void) | undefined;
  /** Runs what speaks to the database. */
  readonly around?: (<T>(work: () => Promise<T>) => Promise<T>) | undefined;
}

/** A row that waits. */
interface Item {
  readonly agent: RowAgent;
  readonly execution: SpanExecution["execution"];
  /** The fields that it was refused for, and is without. */
  readonly refused: readonly string[];
}

/** One statement of recordExecutions, which makes no table. */
const BATCH = INLINE_ENTRIES;
const LONGEST_WAIT = 5000;

/** Writes rows in batches, one batch at a time, again until a deadline where the database is away. */
export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #queue: Item[] = [];
  readonly #agents = new Map<string, RowAgent>();
  /** Where no transaction is open: whoever adds a row may be inside of one, which forbids others. */
  readonly #outside = new AsyncResource("meta-agent-db");
  readonly #counts = {
    inserted: 0,
    completed: 0,
    repeated: 0,
    conflicting: 0,
    lost: 0,
    retries: 0,
  };
  readonly #warned = new Set<string>();
  #working: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** When it must have ended. */
  #end = Infinity;

  constructor(options: DeliveryOptions) {
    this.#options = options;
  }

  get counts(): DeliveryCounts {
    return { ...this.#counts };
  }

  /** Takes a row, and returns at once. */
  add(organization: string, { agentName, execution }: SpanExecution): void {
    if (this.#end < Infinity) return this.lose({ rows: 1, reason: "shut down" });
    const { maxQueue = 10_000, delayMs = 1000 } = this.#options;
    if (this.#queue.length >= maxQueue) return this.lose({ rows: 1, reason: "queue full" });
    const agent = this.#agentOf(organization, agentName);
    this.#queue.push({ agent, execution: asTexts(execution), refused: [] });
    if (this.#queue.length >= BATCH) void this.#start();
    // Keeps the process alive: one that ends by itself has its rows stored.
    else this.#timer ??= setTimeout(() => void this.#start(), delayMs);
  }

  /** Settles once all rows so far are stored or lost; never rejects. Not for inside a transaction, which it may wait for. */
  async flush(): Promise<void> {
    while (this.#working || this.#queue.length > 0) await this.#start();
  }

  /** As flush, within the deadline; takes no more rows. */
  async close(): Promise<void> {
    this.#end = Math.min(this.#end, performance.now() + this.#deadline);
    await this.flush();
  }

  /** Tells of rows that are lost. */
  lose(loss: Loss): void {
    this.#counts.lost += loss.rows;
    const { onLoss = (told: Loss) => this.#warn(told) } = this.#options;
    try {
      onLoss(loss);
    } catch (cause) {
      this.#warn({ ...loss, cause });
    }
  }

  #warn({ reason, rows, cause }: Loss): void {
    if (this.#warned.has(reason)) return;
    this.#warned.add(reason);
    const why = cause instanceof Error ? `: ${cause.message}` : "";
    process.emitWarning(
      `executions are lost (${rows}, ${reason})${why}. Give onLoss to be told of all. (Said once for each reason.)`,
      { type: "MetaAgentDbWarning", code: "META_AGENT_DB_LOSS" },
    );
  }

  get #deadline(): number {
    return this.#options.deadlineMs ?? 30_000;
  }

  #agentOf(organization: string, agentName: string): RowAgent {
    const key = `${organization} ${agentName}`;
    const known = this.#agents.get(key);
    if (known) return known;
    let more: Partial<NamedAgent> | undefined;
    try {
      more = this.#options.agent?.({ agentName, organization });
    } catch (cause) {
      this.lose({ rows: 0, reason: "refused", cause });
    }
    const agent = { organization, agentName, named: { ...more, agentName }, id: undefined };
    this.#agents.set(key, agent);
    return agent;
  }

  #start(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { around = (work) => work() } = this.#options;
    this.#working ??= this.#outside
      .runInAsyncScope(() => around(() => this.#drain()))
      .finally(() => {
        this.#working = undefined;
      });
    return this.#working;
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, BATCH);
      const isService = this.#options.as === "service";
      const groups = isService ? [batch] : byOrganization(batch);
      for (const group of groups) await this.#send(group);
    }
  }

  /** Settles once a group is stored or lost. */
  async #send(group: readonly Item[]): Promise<void> {
    const deadline = performance.now() + this.#deadline;
    let left = group;
    for (let failures = 0; left.length > 0;) {
      try {
        left = await this.#identified(left);
        left = await this.#store(left);
      } catch (cause) {
        const wait = Math.min(200 * 2 ** failures, LONGEST_WAIT) * (0.5 + Math.random() / 2);
        failures += 1;
        if (performance.now() + wait > Math.min(deadline, this.#end)) {
          const reason = isUnreachable(cause) ? "unreachable" : "refused";
          return this.lose({ rows: left.length, reason, cause });
        }
        this.#counts.retries += 1;
        await sleep(wait);
      }
    }
  }

  /**
   * Answers those whose agents have ids, and tells of the others. In a transaction of its own: an id that was
   * rolled back must not be remembered.
   */
  async #identified(group: readonly Item[]): Promise<readonly Item[]> {
    const unknown = group.filter(({ agent }) => agent.id === undefined);
    if (unknown.length === 0) return group;
    const refused = new Map<RowAgent, unknown>();
    for (const items of byOrganization(unknown)) {
      const agents = [...new Set(items.map(({ agent }) => agent))];
      const { organization } = items[0].agent;
      const refusals = await identify(agents, (work) => this.#act(organization, work));
      for (const { agent, cause } of refusals) refused.set(agent, cause);
    }
    for (const [agent, cause] of refused) {
      const rows = agent.id ? 0 : unknown.filter((item) => item.agent === agent).length;
      this.lose({ rows, reason: "refused", cause });
    }
    return group.filter(({ agent }) => agent.id !== undefined);
  }

  /** Stores a group, and answers those of it that were refused and can be stored otherwise. */
  async #store(group: readonly Item[]): Promise<Item[]> {
    const [first] = group;
    if (!first) return [];
    const rows = group.map(({ agent, execution }) => ({ agentId: agent.id ?? "", ...execution }));
    const { charge, breaker } = this.#options;
    const refused: { item: Item; error: z.ZodError }[] = [];
    const onRefused = (index: number, error: z.ZodError) => {
      const item = group[index];
      if (item) refused.push({ item, error });
    };
    const result = await this.#act(first.agent.organization, (tx) =>
      recordExecutions(tx, rows, { onRefused, charge, breaker }),
    );
    this.#count(result);
    return refused.flatMap(({ item, error }) => this.#mended(item, error) ?? []);
  }

  #act<T>(organization: string, work: (tx: Executor) => Promise<T>): Promise<T> {
    const { db, as } = this.#options;
    return as === "service" ? withServiceRole(db, work) : withOrganization(db, organization, work);
  }

  #count({ inserted, completed, repeated, conflicting }: RecordResult): void {
    this.#counts.inserted += inserted;
    this.#counts.completed += completed;
    this.#counts.repeated += repeated;
    this.#counts.conflicting += conflicting.length;
  }

  /** A row without the fields it was refused for; undefined, and told, if that does not help. */
  #mended(item: Item, cause: z.ZodError): Item | undefined {
    const fields = [...new Set(cause.issues.map(({ path }) => String(path[1] ?? "id")))];
    if (fields.some((field) => REQUIRED.has(field) || item.refused.includes(field))) {
      this.lose({ rows: 1, reason: "refused", cause });
      return undefined;
    }
    // Somebody has deleted the agent.
    if (fields.includes("agentId")) item.agent.id = undefined;
    const refused = [...item.refused, ...fields];
    return { ...item, refused, execution: without(refused, item.execution) };
  }
}

/** What waits is no tree of objects that every collection of garbage walks; `executionOf` has made it storable. */
function asTexts({ inputData, outputData, ...others }: Item["execution"]): Item["execution"] {
  return { ...others, inputData: asText(inputData), outputData: asText(outputData) };
}

const asText = (value: Item["execution"]["inputData"]) =>
  value === undefined || value === null ? value : new StorableText(value);

/** What a row is not without. */
const REQUIRED = new Set(["id", "executionId", "timestamp", "actionType", "metadata"]);

/** Leaves out fields, and says so. */
function without(refused: readonly string[], execution: Item["execution"]): Item["execution"] {
  const fields = refused.filter((field) => field !== "agentId");
  if (fields.length === 0) return execution;
  const nothing = Object.fromEntries(fields.map((field) => [field, undefined]));
  return { ...execution, ...nothing, metadata: { ...execution.metadata, refused: fields } };
}

function byOrganization(items: readonly Item[]): [Item, ...Item[]][] {
  const groups = new Map<string, [Item, ...Item[]]>();
  for (const item of items) {
    const group = groups.get(item.agent.organization);
    if (group) group.push(item);
    else groups.set(item.agent.organization, [item]);
  }
  return [...groups.values()];
}
