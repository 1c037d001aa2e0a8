/** Traces as Langfuse exports them, `{ trace, observations }`, as executions. */
import { kindOf } from "../schema/json.ts";
import {
  type Document,
  type Members,
  type PlacedExecution,
  type Tell,
  isRecord,
  textOf,
} from "./documents.ts";
import {
  type FinishedSpan,
  type Instant,
  type SpanExecution,
  type SpanOptions,
  type SpanScope,
  NAME_LENGTH,
  bounded,
  executionOf,
  instantOf,
  scopeOf,
} from "./spans.ts";

/** Whether a document is a trace with its observations. */
export const isLangfuse = (value: Members): boolean => Array.isArray(value["observations"]);

/** How traces become rows. */
export interface LangfuseOptions extends Omit<SpanOptions, "cost"> {
  /** Whose the runs are. Default: of the agent that the trace is named after. */
  readonly agent?: string | undefined;
}

/**
 * The rows of a trace that Langfuse exports, with its observations beside it or in it. The innermost generation is
 * an `llm_call` with its tokens and its cost, a root with something below it the `agent_run`, tools, retrievals
 * and embeddings are themselves, all else is an `agent_step`. The generations around one repeat its tokens and
 * its cost, and do not count.
 */
export function langfuseExecutions(
  { value, place }: Document,
  options: LangfuseOptions,
  tell: Tell,
): PlacedExecution[] {
  if (!isRecord(value)) {
    tell(place, `expected an object, got ${kindOf(value)}`);
    return [];
  }
  const given = value["observations"];
  if (!Array.isArray(given)) {
    tell(`${place}observations`, `expected a list, got ${kindOf(given)}`);
    return [];
  }
  const trace = isRecord(value["trace"]) ? value["trace"] : value;
  const found = given.flatMap((one: unknown, index) => {
    const at = `${place}observations.${index}`;
    const observation = observationIn(one, trace, at);
    if (typeof observation !== "string") return [observation];
    tell(at, observation);
    return [];
  });
  const tree = new Tree(trace, found, options.agent);
  return found.flatMap((observation) => {
    const row = tree.executionOf(observation, options);
    return row ? [{ ...row, place: observation.place }] : [];
  });
}

/** What was recorded of one observation. */
interface Observation {
  readonly members: Members;
  readonly place: string;
  readonly id: string;
  readonly traceId: string;
  readonly parent: string;
  readonly startTime: Instant;
  readonly endTime: Instant;
}

/** An observation, or why it is none. */
function observationIn(value: unknown, trace: Members, place: string): Observation | string {
  if (!isRecord(value)) return `expected an object, got ${kindOf(value)}`;
  const [id, traceId] = [textOf(value["id"]), textOf(value["traceId"]) || textOf(trace["id"])];
  if (!id || !traceId) return "expected an id and a traceId";
  const [startTime, endTime] = [instantOf(value["startTime"]), instantOf(value["endTime"])];
  if (!startTime) return "expected startTime, an instant";
  if (!endTime) return "has not ended: expected endTime";
  const parent = textOf(value["parentObservationId"]);
  return { members: value, place, id, traceId, parent, startTime, endTime };
}

/** Observations as spans, each inside its parent. */
class Tree {
  readonly #trace: Members;
  readonly #byId: ReadonlyMap<string, Observation>;
  readonly #agent: string | undefined;
  /** Ids of what has something below it. */
  readonly #enclosing: ReadonlySet<string>;
  /** Ids of what has a generation below it. */
  readonly #outer = new Set<string>();
  readonly #scopes = new Map<string, SpanScope>();

  constructor(trace: Members, observations: readonly Observation[], agent: string | undefined) {
    this.#trace = trace;
    this.#agent = agent;
    this.#enclosing = new Set(observations.map(({ parent }) => parent));
    this.#byId = new Map(observations.map((one) => [one.id, one]));
    for (const one of observations) {
      if (one.members["type"] !== "GENERATION") continue;
      for (const { id } of this.#above(one)) this.#outer.add(id);
    }
  }

  executionOf(one: Observation, options: SpanOptions): SpanExecution | undefined {
    const cost = () => costOf(one.members);
    const row = executionOf(this.#spanOf(one), { ...options, cost }, this.#around(one));
    return row && { ...row, execution: { ...row.execution, ...this.#stepOf(one, row) } };
  }

  /** Steps have names of their own. What stands beside the runs is a step: it would decide how they ended. */
  #stepOf({ id, members }: Observation, { execution }: SpanExecution) {
    const isRun = this.#enclosing.has(id) || members["type"] === "AGENT";
    const isStep =
      execution.actionType === "agent_step" || (execution.actionType === "agent_run" && !isRun);
    const actionName = bounded(textOf(members["name"]), NAME_LENGTH) || undefined;
    return isStep && { actionType: "agent_step", actionName };
  }

  /** What it is inside of, from the inside; nothing twice. */
  #above(one: Observation): Set<Observation> {
    const above = new Set<Observation>();
    for (let at = this.#byId.get(one.parent); at && at !== one && !above.has(at);) {
      above.add(at);
      at = this.#byId.get(at.parent);
    }
    return above;
  }

  #around(one: Observation): SpanScope | undefined {
    let around: SpanScope | undefined;
    for (const outer of [...this.#above(one)].toReversed()) {
      around = this.#scopes.get(outer.id) ?? scopeOf(this.#spanOf(outer), around);
      this.#scopes.set(outer.id, around);
    }
    return around;
  }

  #spanOf(one: Observation): FinishedSpan {
    const { members, id, traceId, parent, startTime, endTime } = one;
    const kind = members["type"];
    const isOuter = this.#outer.has(id);
    const operation = (isOuter ? undefined : OPERATIONS.get(textOf(kind))) ?? "invoke_agent";
    const name = textOf(members["name"]);
    const isRoot = !this.#byId.has(parent);
    const agent = this.#agent ?? (textOf(this.#trace["name"]) || name);
    return {
      name,
      attributes: {
        "gen_ai.operation.name": operation,
        ...(isRoot && { "gen_ai.agent.name": agent }),
        "gen_ai.tool.name": name,
        "gen_ai.response.model": members["model"],
        "gen_ai.usage.input_tokens": tokensOf(members, "input"),
        "gen_ai.usage.output_tokens": tokensOf(members, "output"),
        "input.value": members["input"] ?? undefined,
        "output.value": members["output"] ?? undefined,
        "session.id": this.#trace["sessionId"],
        "user.id": this.#trace["userId"],
      },
      resource: { attributes: {} },
      startTime,
      endTime,
      status: {
        code: members["level"] === "ERROR" ? 2 : 0,
        message: textOf(members["statusMessage"]),
      },
      events: [],
      parentSpanContext: parent ? { spanId: parent } : undefined,
      spanContext: () => ({ traceId, spanId: id }),
    };
  }
}

/** What types of observations are, where no generation is below them. All others are parts of a run. */
const OPERATIONS: ReadonlyMap<string, string> = new Map([
  ["GENERATION", "chat"],
  ["EMBEDDING", "embeddings"],
  ["TOOL", "execute_tool"],
  ["RETRIEVER", "retrieval"],
]);

/** Langfuse counts tokens of a cache and of reasoning beside the others: `input_cache_read`, `output_reasoning`. */
function tokensOf(members: Members, side: "input" | "output"): number | undefined {
  const counted = members[`${side}Usage`];
  if (typeof counted === "number") return counted;
  const details = isRecord(members["usageDetails"]) ? members["usageDetails"] : {};
  const counts = Object.entries(details).flatMap(([key, count]) =>
    key.startsWith(side) && typeof count === "number" ? [count] : [],
  );
  return counts.length === 0 ? undefined : counts.reduce((sum, count) => sum + count, 0);
}

/** Dollars as Langfuse has them, a binary number, in decimals that it can hold. */
function costOf(members: Members): string | undefined {
  const details = isRecord(members["costDetails"]) ? members["costDetails"] : {};
  const total = members["totalCost"] ?? details["total"] ?? members["calculatedTotalCost"];
  return typeof total === "number" && total > 0 ? total.toFixed(12) : undefined;
}
