/** Transcripts in chat-completions format, an object with `messages` or a list of messages each, as executions. */
import { createHash } from "node:crypto";
import { executionLogId, uuidFor } from "../client/keys.ts";
import {
  type JsonObject,
  type JsonValue,
  isStorable,
  kindOf,
  storableText,
} from "../schema/json.ts";
import { INT4_MAX } from "../schema/rules.ts";
import { asJson } from "../validation/as-json.ts";
import {
  type Document,
  type Members,
  type PlacedExecution,
  type Tell,
  isRecord,
  listOf,
  textOf,
  timeIn,
} from "./documents.ts";
import {
  type ContentPlace,
  type SpanOptions,
  MESSAGE_LENGTH,
  NAME_LENGTH,
  maskedText,
  storedContent,
} from "./spans.ts";

/** Whether a document is a transcript. */
export const isChat = (value: unknown): boolean =>
  Array.isArray(isRecord(value) ? value["messages"] : value);

/** How transcripts become rows. */
export interface ChatOptions extends Omit<SpanOptions, "cost"> {
  /** They do not say it. */
  readonly agent: string;
  readonly organization: string;
  /** When the first began, where they do not say it. */
  readonly start: Date;
  /** Which member says whether the run did what it should, with dots between names. Default: all did. */
  readonly success?: string | undefined;
}

const [SECOND, MINUTE] = [1000, 60_000];

/**
 * The rows of a transcript: its `agent_run`, an `llm_call` for each reply of the model with the messages since
 * the last one, a `tool_call` for each call with its result. Where it has no time, that of line n begins n minutes
 * after the start, its rows are a second apart. Its ids are made of its content and its place, the agent and the
 * organization.
 */
export function chatExecutions(
  { value, place, index }: Document,
  options: ChatOptions,
  tell: Tell,
): PlacedExecution[] {
  const transcript: Members = isRecord(value) ? value : { messages: value };
  try {
    return new Transcript(transcript, index, options).rows(place);
  } catch (problem) {
    if (problem instanceof Unreadable) tell(place + problem.place, problem.message);
    else if (problem instanceof RangeError) tell(place, "is nested too deep");
    else throw problem;
    return [];
  }
}

type Execution = PlacedExecution["execution"];
/** A row without its place. */
type Row = Partial<Execution> & Pick<Execution, "actionType">;

/** Why a transcript is none. */
class Unreadable extends Error {
  readonly place: string;

  constructor(place: string, message: string) {
    super(message);
    this.place = place;
  }
}

class Transcript {
  readonly #members: Members;
  readonly #options: ChatOptions;
  readonly #executionId: string;
  readonly #start: number;
  readonly #messages: readonly Members[];
  readonly #rows: Row[] = [];

  constructor(members: Members, index: number, options: ChatOptions) {
    this.#members = members;
    this.#options = options;
    this.#messages = messagesOf(members["messages"]);
    this.#start = timeOf(members) ?? options.start.getTime() + index * MINUTE;
    const content = createHash("sha256").update(JSON.stringify(members)).digest("hex");
    const owner = [options.organization.toLowerCase(), options.agent];
    this.#executionId = uuidFor("chat", ...owner, String(index), content);
  }

  rows(place: string): PlacedExecution[] {
    this.#rows.push(this.#run());
    this.#readMessages();
    return this.#rows.map((row, position) => {
      const timestamp = new Date(this.#start + position * SECOND);
      const id = executionLogId(timestamp, `${this.#executionId}/${position}`);
      const execution = { ...row, id, executionId: this.#executionId, timestamp };
      return { agentName: this.#options.agent, execution, place };
    });
  }

  #run(): Row {
    const asked = this.#messages.find(({ role }) => role === "user");
    const answered = this.#messages.findLast(({ role }) => role === "assistant");
    return {
      actionType: "agent_run",
      actionName: storableText(this.#options.agent, NAME_LENGTH),
      ...this.#outcome(),
      inputData: this.#stored("inputData", asked?.["content"]),
      outputData: this.#stored("outputData", answered?.["content"]),
      metadata: this.#more(),
    };
  }

  /** What else the transcript says, in one word each. */
  #more(): JsonObject {
    if (this.#options.content === "none") return {};
    const words = Object.entries(this.#members).filter(([, value]) => Object(value) !== value);
    const { value } = asJson(Object.fromEntries(words), { maxCharacters: MESSAGE_LENGTH });
    return isRecord(value) ? value : {};
  }

  /** What the transcript's own field says; the score, if that is a number. */
  #outcome(): Partial<Execution> {
    const { success } = this.#options;
    if (success === undefined) return { status: "success" };
    const value = success
      .split(".")
      .reduce<unknown>((at, key) => (isRecord(at) ? at[key] : undefined), this.#members);
    if (typeof value === "boolean") return { status: value ? "success" : "failure" };
    if (typeof value !== "number" || !(value >= 0 && value <= 1)) {
      throw new Unreadable(success, `expected true, false or 0 to 1, got ${kindOf(value)}`);
    }
    return { status: value === 1 ? "success" : "failure", qualityScore: Math.round(100 * value) };
  }

  #readMessages(): void {
    let given: Members[] = [];
    // Of the latest message with calls only: real transcripts use an id twice.
    let waiting: Call[] = [];
    for (const [index, message] of this.#messages.entries()) {
      if (message["role"] === "assistant") {
        this.#rows.push(this.#reply(message, given));
        given = [];
        waiting = callsOf(message, `messages.${index}`).map((call) => this.#call(call));
        continue;
      }
      given.push(message);
      if (message["role"] !== "tool") continue;
      const call = waiting.find(({ id }) => id === message["tool_call_id"]);
      if (!call) {
        throw new Unreadable(`messages.${index}.tool_call_id`, "expected a call just before it");
      }
      waiting = waiting.filter((other) => other !== call);
      Object.assign(call.row, this.#result(message["content"]));
    }
  }

  #reply(message: Members, given: readonly Members[]): Row {
    const model = textOf(message["model"]) || textOf(this.#members["model"]);
    const replies = this.#messages.filter(({ role }) => role === "assistant");
    // What all replies used together cannot be told apart.
    const usage = message["usage"] ?? (replies.length === 1 ? this.#members["usage"] : undefined);
    return {
      actionType: "llm_call",
      actionName: storableText(model, NAME_LENGTH) || undefined,
      modelName: storableText(model, NAME_LENGTH) || undefined,
      tokenCountInput: countOf(usage, "prompt_tokens", "input_tokens"),
      tokenCountOutput: countOf(usage, "completion_tokens", "output_tokens"),
      inputData: this.#stored("inputData", given),
      outputData: this.#stored("outputData", message),
    };
  }

  /** Cancelled unless a result follows: in a finished run nobody waits for it any more. */
  #call({ id, name, input }: FoundCall): Call {
    const row: Row = {
      actionType: "tool_call",
      actionName: storableText(name, NAME_LENGTH),
      inputData: this.#stored("inputData", parsedExactly(input)),
      status: "cancelled",
      metadata: { tool_call_id: storableText(id, NAME_LENGTH) },
    };
    this.#rows.push(row);
    return { id, row };
  }

  #result(content: unknown): Partial<Execution> {
    const text = textIn(content);
    const outputData = this.#stored("outputData", parsedExactly(content));
    if (!text.startsWith("Error")) return { outputData, status: "success" };
    const place = this.#placeOf("errorMessage");
    const errorMessage = maskedText(text, place, this.#options, MESSAGE_LENGTH);
    return { outputData, status: "failure", errorType: "tool_error", errorMessage };
  }

  #stored(column: "inputData" | "outputData", value: unknown): JsonValue | undefined {
    if (value === undefined || value === null) return undefined;
    return storedContent(value, this.#placeOf(column), this.#options);
  }

  #placeOf<Column extends ContentPlace["column"]>(column: Column) {
    return { column, agentName: this.#options.agent };
  }
}

// ── Messages ──

const ROLES = ["system", "developer", "user", "assistant", "tool"];

function messagesOf(value: unknown): Members[] {
  if (!Array.isArray(value))
    throw new Unreadable("messages", `expected a list, got ${kindOf(value)}`);
  const messages = listOf(value);
  for (const [index, message] of value.entries()) {
    const place = `messages.${index}`;
    if (!isRecord(message))
      throw new Unreadable(place, `expected an object, got ${kindOf(message)}`);
    if (!ROLES.includes(textOf(message["role"]))) {
      throw new Unreadable(`${place}.role`, `expected one of ${ROLES.join(", ")}`);
    }
    const content = message["content"] ?? "";
    if (typeof content !== "string" && !Array.isArray(content)) {
      throw new Unreadable(
        `${place}.content`,
        `expected text or a list of parts, got ${kindOf(content)}`,
      );
    }
  }
  if (!messages.some(({ role }) => role === "assistant")) {
    throw new Unreadable("messages", "expected a reply or a tool call");
  }
  return messages;
}

interface FoundCall {
  readonly id: string;
  readonly name: string;
  readonly input: unknown;
}

interface Call {
  readonly id: string;
  readonly row: Row;
}

function callsOf(message: Members, place: string): FoundCall[] {
  const calls = message["tool_calls"] ?? [];
  if (!Array.isArray(calls)) {
    throw new Unreadable(`${place}.tool_calls`, `expected a list, got ${kindOf(calls)}`);
  }
  return calls.map((call: unknown, index) => {
    const members = isRecord(call) ? call : {};
    const called = members["function"] ?? members["custom"];
    const id = textOf(members["id"]);
    const name = isRecord(called) ? textOf(called["name"]) : "";
    if (!isRecord(called) || !id || !name) {
      throw new Unreadable(`${place}.tool_calls.${index}`, "expected an id and a function's name");
    }
    return { id, name, input: called["arguments"] ?? called["input"] };
  });
}

/** The text of content, which may be a list of parts. */
const textIn = (content: unknown): string =>
  Array.isArray(content)
    ? listOf(content)
        .map(({ text }) => textOf(text))
        .join("")
    : textOf(content);

/** The JSON that a text holds, where jsonb gives back the same; else the text. */
function parsedExactly(content: unknown): unknown {
  if (typeof content !== "string") return content;
  try {
    // A bare null would become SQL's NULL, which says: no result.
    return (JSON.parse(content, exact) as unknown) ?? content;
  } catch {
    return content;
  }
}

function exact(key: string, value: unknown): unknown {
  const isLossy = typeof value === "number" && Math.abs(value) > Number.MAX_SAFE_INTEGER;
  const isBroken = !isStorable(key) || (typeof value === "string" && !isStorable(value));
  if (isLossy || isBroken) throw new RangeError("not as it was");
  return value;
}

// ── Numbers ──

function countOf(usage: unknown, ...keys: readonly string[]): number | undefined {
  if (!isRecord(usage)) return undefined;
  const count = keys.map((key) => usage[key]).find((value) => typeof value === "number");
  const isCount = count !== undefined && Number.isInteger(count) && count >= 0 && count <= INT4_MAX;
  return isCount ? count : undefined;
}

/** What a Date holds. */
const LAST_INSTANT = 8.64e15;

/** When it began, if it says so: ISO text, or seconds since 1970 as `created`. */
function timeOf(members: Members): number | undefined {
  const { timestamp, created_at: createdAt, created } = members;
  const text = textOf(timestamp) || textOf(createdAt);
  const at = text ? timeIn(text) : typeof created === "number" ? created * 1000 : NaN;
  return Math.abs(at) <= LAST_INSTANT ? at : undefined;
}
