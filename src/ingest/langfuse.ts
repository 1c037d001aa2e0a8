/** Traces as Langfuse exports them, `{ trace, observations }`, as executions. */
import { kindOf, storableText } from "../schema/json.ts";
import {
  type Document,
  type Members,
  type PlacedExecution,
  type Tell,
  instantIn,
  isRecord,
  readEach,
  textOf,
} from "./documents.ts";
import {
  type FinishedSpan,
  type Instant,
  type SpanExecution,
  type SpanOptions,
  NAME_LENGTH,
  executionOf,
  scopesOf,
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
  const trace = isRecord(value["trace"]) ? value["trace"] : value;
  const observations = readEach(
    value["observations"],
    { place: `${place}observations`, tell },
    (one, at) => observationIn(one, { trace, place: at }),
  );
  return new Tree(trace, observations, options).rows();
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
function observationIn(
  members: Members,
  { trace, place }: { readonly trace: Members; readonly place: string },
): Observation | string {
  const id = textOf(members["id"]);
  const traceId = textOf(members["traceId"]) || textOf(trace["id"]);
  if (!id || !traceId) return "expected an id and a traceId";
  const [startTime, endTime] = [instantIn(members["startTime"]), instantIn(members["endTime"])];
  if (!startTime) return "expected startTime, an instant";
  if (!endTime) return "has not ended: expected endTime";
  const parent = textOf(members["parentObservationId"]);
  return { members, place, id, traceId, parent, startTime, endTime };
}

/** Observations as spans, each inside its parent. */
class Tree {
  readonly #trace: Members;
  readonly #observations: readonly Observation[];
  readonly #options: LangfuseOptions;
  readonly #byId: ReadonlyMap<string, Observation>;
  /** Ids of what has something below it. */
  readonly #enclosing: ReadonlySet<string>;
  /** Ids of what has a generation below it. */
  readonly #outer = new Set<string>();

  constructor(trace: Members, observations: readonly Observation[], options: LangfuseOptions) {
    this.#trace = trace;
    this.#observations = observations;
    this.#options = options;
    this.#byId = new Map(observations.map((one) => [one.id, one]));
    this.#enclosing = new Set(observations.map(({ parent }) => parent));
    for (const one of observations) {
      if (one.members["type"] === "GENERATION") this.#markAbove(one);
    }
  }

  rows(): PlacedExecution[] {
    const spans = this.#observations.map((one) => ({ one, span: this.#spanOf(one) }));
    const arounds = scopesOf(spans.map(({ span }) => span));
    return spans.flatMap(({ one, span }) => {
      const options = { ...this.#options, cost: () => costOf(one.members) };
      const row = executionOf(span, options, arounds.get(span));
      if (!row) return [];
      const execution = { ...row.execution, ...this.#stepOf(one, row) };
      return [{ ...row, execution, place: one.place }];
    });
  }

  /** Steps have names of their own. What stands beside the runs is a step: it would decide how they ended. */
  #stepOf({ id, members }: Observation, { execution }: SpanExecution) {
    const isRun = this.#enclosing.has(id) || members["type"] === "AGENT";
    const isStep =
      execution.actionType === "agent_step" || (execution.actionType === "agent_run" && !isRun);
    const actionName = storableText(textOf(members["name"]), NAME_LENGTH) || undefined;
    return isStep && { actionType: "agent_step", actionName };
  }

  /** What is marked has its own marked. */
  #markAbove(one: Observation): void {
    for (let at = this.#byId.get(one.parent); at && at !== one && !this.#outer.has(at.id);) {
      this.#outer.add(at.id);
      at = this.#byId.get(at.parent);
    }
  }

  #spanOf(one: Observation): FinishedSpan {
    const { members, id, traceId, parent, startTime, endTime } = one;
    const kind = members["type"];
    const isOuter = this.#outer.has(id);
    const operation = (isOuter ? undefined : OPERATIONS.get(textOf(kind))) ?? "invoke_agent";
    const name = textOf(members["name"]);
    const isRoot = !this.#byId.has(parent);
    const agent = this.#options.agent ?? (textOf(this.#trace["name"]) || name);
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
