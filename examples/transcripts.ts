/**
 * Reads transcripts of agent runs in chat-completions format, one JSON object a line, plain or gzip,
 * and says what the agent did in each: its text replies and its tool calls with their results.
 */
import { open } from "node:fs/promises";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import * as z from "zod";
import type { JsonValue, NewAgentExecutionLog } from "../src/index.ts";

/** PostgreSQL stores neither NUL nor half a surrogate pair. */
const storable = (value: string) => !value.includes("\0") && !/\p{Surrogate}/u.test(value);
const text = z.string().refine(storable, "expected text without NUL or lone surrogates");
const toolCall = z.object({ id: text, function: z.object({ name: text, arguments: text }) });
const toolCalls = z.array(toolCall).nullish();
const message = z.discriminatedUnion("role", [
  z.object({ role: z.literal("system"), content: text }),
  z.object({ role: z.literal("user"), content: text }),
  z.object({ role: z.literal("assistant"), content: text.nullish(), tool_calls: toolCalls }),
  z.object({ role: z.literal("tool"), content: text, tool_call_id: text }),
]);
const transcript = z.object({
  task_id: z.int().min(0).max(100_000),
  trial: z.int().min(0).max(100_000),
  /** How well the task was solved: 1 entirely, 0 not. */
  reward: z.number().min(0).max(1),
  /** What the simulated customer cost, not the agent. */
  user_cost_usd: z.number().min(0).nullish(),
  messages: z.array(message),
});
type Message = z.output<typeof message>;

/** One attempt at one task. Its actions are not empty. */
export interface Run extends Omit<z.output<typeof transcript>, "messages"> {
  systemPrompt: string | undefined;
  actions: Action[];
}

/** The columns of a log row that a transcript fills. */
export type Action = Pick<
  NewAgentExecutionLog,
  "actionName" | "inputData" | "outputData" | "status" | "errorType" | "errorMessage"
> & { actionType: "reply" | "tool_call"; toolCallId?: string };

/**
 * The runs of a file, one at a time: the file may be larger than the memory.
 * @throws {Error} at the first bad line, with its number, the field and what was expected
 */
export async function* readRuns(file: string): AsyncGenerator<Run> {
  const lineOf = new Map<string, number>();
  let line = 0;
  for await (const content of readLines(file)) {
    line += 1;
    if (content.trim() === "") continue;
    try {
      const { messages, ...run } = transcript.parse(JSON.parse(content));
      const name = `task ${run.task_id}, trial ${run.trial}`;
      const earlier = lineOf.get(name);
      if (earlier) throw new Error(`expected each run once, ${name} is on line ${earlier} already`);
      lineOf.set(name, line);
      yield { ...run, systemPrompt: systemPromptOf(messages), actions: actionsOf(messages) };
    } catch (cause) {
      throw new Error(`${file}, line ${line}: ${describe(cause)}`, { cause });
    }
  }
  if (lineOf.size === 0) throw new Error(`${file}: expected one JSON object a line, found none`);
}

function describe(problem: unknown): string {
  if (problem instanceof z.ZodError) return z.prettifyError(problem);
  if (problem instanceof SyntaxError) return `expected a JSON object, ${problem.message}`;
  return problem instanceof Error ? problem.message : String(problem);
}

/** Not readline: from Node 24 on it splits at U+2028 too, and it repairs broken UTF-8 in silence. */
async function* readLines(file: string): AsyncGenerator<string> {
  const handle = await open(file);
  const { buffer: start } = await handle.read(Buffer.alloc(2), 0, 2, 0);
  const stored = handle.createReadStream({ start: 0 });
  const isGzip = start.equals(Buffer.from([0x1f, 0x8b]));
  // The loop throws what either stream reports.
  const bytes: AsyncIterable<Buffer> = isGzip ? pipeline(stored, createGunzip(), () => {}) : stored;
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let rest = "";
  for await (const chunk of bytes) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  yield rest + decoder.decode();
}

function systemPromptOf(messages: Message[]): string | undefined {
  const parts = messages.filter((entry) => entry.role === "system").map((entry) => entry.content);
  return parts.length > 0 ? parts.join("\n\n") : undefined;
}

function actionsOf(messages: Message[]): Action[] {
  const actions: Action[] = [];
  let question: string | null = null;
  // Of the latest message with calls only: real transcripts use an id twice.
  let waiting: Action[] = [];
  for (const [index, entry] of messages.entries()) {
    if (entry.role === "user") question = entry.content;
    if (entry.role === "assistant") {
      if (entry.content) {
        actions.push({ actionType: "reply", inputData: question, outputData: entry.content });
      }
      waiting = (entry.tool_calls ?? []).map(unanswered);
      actions.push(...waiting);
    }
    if (entry.role === "tool") {
      const call = waiting.find(({ toolCallId }) => toolCallId === entry.tool_call_id);
      if (!call) throw new Error(`messages[${index}].tool_call_id: expected a call just before it`);
      waiting = waiting.filter((other) => other !== call);
      Object.assign(call, resultOf(entry.content));
    }
  }
  // Without a row the run's reward would be lost in silence.
  if (actions.length === 0) throw new Error("messages: expected a reply or a tool call");
  return actions;
}

/** Cancelled unless a result follows: in a finished run nobody waits for it any more. */
const unanswered = ({ id, function: call }: z.output<typeof toolCall>): Action => ({
  actionType: "tool_call",
  actionName: call.name,
  inputData: parsed(call.arguments),
  status: "cancelled",
  toolCallId: id,
});

const resultOf = (content: string): Partial<Action> =>
  content.startsWith("Error")
    ? { outputData: content, status: "failure", errorType: "tool_error", errorMessage: content }
    : { outputData: parsed(content), status: "success" };

/** The JSON that a text holds, where jsonb gives back the same; else the text. */
function parsed(content: string): JsonValue {
  try {
    // A bare null would become SQL's NULL, which says: no result.
    return JSON.parse(content, exact) ?? content;
  } catch {
    return content;
  }
}

function exact(key: string, value: JsonValue): JsonValue {
  const lossy = typeof value === "number" && Math.abs(value) > Number.MAX_SAFE_INTEGER;
  if (lossy || !storable(typeof value === "string" ? key + value : key)) throw new RangeError();
  return value;
}
