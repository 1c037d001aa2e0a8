/** Traces as Langfuse exports them, `{ trace, observations }`, as executions. */
import { kindOf } from "../schema/json.ts";
import {
  type Members,
  type ReadProblem,
  type Tell,
  documentsOf,
  isRecord,
  problemList,
  textOf,
} from "./documents.ts";
import {
  type FinishedSpan,
  type Instant,
  type SpanExecution,
  type SpanOptions,
  type SpanScope,
  executionOf,
  scopeOf,
} from "./spans.ts";

/** What a file of traces holds. */
interface LangfuseContent {
  readonly executions: readonly SpanExecution[];
  readonly problems: readonly ReadProblem[];
}

/**
 * Reads traces that Langfuse exports, as text or parsed: one, a list, or JSON lines. The innermost generation is an
 * `llm_call` with its tokens and its cost, a root the `agent_run` of the agent that the trace is named after,
 * tools, retrievals and embeddings are themselves, all else is an `agent_step`. The generations around one
 * repeat its tokens and its cost, and do not count.
 * @param options as for spans; `cost` is not asked, since the export knows it
 */
export function readLangfuse(
  json: unknown,
  options: Omit<SpanOptions, "cost"> = {},
): LangfuseContent {
  const { problems, tell } = problemList();
  const executions: SpanExecution[] = [];
  for (const { value, place } of documentsOf(json, tell)) {
    const traces: unknown[] = Array.isArray(value) ? value : [value];
    for (const [index, trace] of traces.entries()) {
      const at = Array.isArray(value) ? `${place}${index}.` : place;
      executions.push(...traceOf(trace, options, (inner, message) => tell(at + inner, message)));
    }
  }
  return { executions, problems };
}

function traceOf(value: unknown, options: SpanOptions, tell: Tell): SpanExecution[] {
  if (!isRecord(value)) {
    tell("", `expected an object, got ${kindOf(value)}`);
    return [];
  }
  const trace = isRecord(value["trace"]) ? value["trace"] : {};
  const given = value["observations"];
  if (!Array.isArray(given)) {
    tell("observations", `expected a list, got ${kindOf(given)}`);
    return [];
  }
  const found = given.flatMap((one: unknown, index) => {
    const observation = observationIn(one, trace);
    if (typeof observation !== "string") return [observation];
    tell(`observations.${index}`, observation);
    return [];
  });
  const tree = new Tree(trace, found);
  return found.flatMap((observation) => tree.executionOf(observation, options) ?? []);
}

/** What was recorded of one observation. */
interface Observation {
  readonly members: Members;
  readonly id: string;
  readonly traceId: string;
  readonly parent: string;
  readonly startTime: Instant;
  readonly endTime: Instant;
}

/** An observation, or why it is none. */
function observationIn(value: unknown, trace: Members): Observation | string {
  if (!isRecord(value)) return `expected an object, got ${kindOf(value)}`;
  const [id, traceId] = [textOf(value["id"]), textOf(value["traceId"]) || textOf(trace["id"])];
  if (!id || !traceId) return "expected an id and a traceId";
  const [startTime, endTime] = [instantOf(value["startTime"]), instantOf(value["endTime"])];
  if (!startTime) return "expected startTime, an instant";
  if (!endTime) return "has not ended: expected endTime";
  const parent = textOf(value["parentObservationId"]);
  return { members: value, id, traceId, parent, startTime, endTime };
}

function instantOf(value: unknown): Instant | undefined {
  const milliseconds = typeof value === "string" ? Date.parse(value) : NaN;
  if (Number.isNaN(milliseconds)) return undefined;
  return [Math.floor(milliseconds / 1000), (((milliseconds % 1000) + 1000) % 1000) * 1e6];
}

/** Observations as spans, each inside its parent. */
class Tree {
  readonly #trace: Members;
  readonly #byId: ReadonlyMap<string, Observation>;
  /** Ids of what has a generation below it. */
  readonly #outer = new Set<string>();
  readonly #scopes = new Map<string, SpanScope>();

  constructor(trace: Members, observations: readonly Observation[]) {
    this.#trace = trace;
    this.#byId = new Map(observations.map((one) => [one.id, one]));
    for (const one of observations) {
      if (one.members["type"] !== "GENERATION") continue;
      for (const { id } of this.#above(one)) this.#outer.add(id);
    }
  }

  executionOf(one: Observation, options: SpanOptions): SpanExecution | undefined {
    const cost = () => costOf(one.members);
    return executionOf(this.#spanOf(one), { ...options, cost }, this.#around(one));
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
    return {
      name,
      attributes: {
        "gen_ai.operation.name": operation,
        ...(isRoot && { "gen_ai.agent.name": textOf(this.#trace["name"]) || name }),
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
