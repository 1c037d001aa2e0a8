// The traces of the OpenAI Agents SDK as rows. A trace is an execution, a response or a generation the call of a
// model, a function a tool; what the metadata of the trace says is said of each span, such as `user.id`.
//
//   addTraceProcessor(new OpenAiTraces(new AgentSpanProcessor({ db, organization: organizationId })));
import { ROOT_CONTEXT, trace } from "@opentelemetry/api";
import type { AgentSpanProcessor, Attributes, Instant } from "../src/otel.ts";

/** What is used of a span of `@openai/agents`. */
export interface OpenAiSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentId: string | null;
  readonly spanData: Attributes;
  readonly traceMetadata?: Attributes | undefined;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly error: { readonly message: string; readonly data?: { readonly error?: string } } | null;
}

/** A `TracingProcessor` of `@openai/agents`: says its spans in the words that {@link AgentSpanProcessor} reads. */
export class OpenAiTraces {
  readonly #begun = new Map<string, ReturnType<typeof begin>>();
  readonly #groups = new Map<string, string | null>();
  readonly #processor: AgentSpanProcessor;

  constructor(processor: AgentSpanProcessor) {
    this.#processor = processor;
  }
  async onTraceStart(begun: { traceId: string; groupId: string | null }): Promise<void> {
    this.#groups.set(begun.traceId, begun.groupId);
  }
  async onTraceEnd(ended: { traceId: string }): Promise<void> {
    this.#groups.delete(ended.traceId);
  }
  async onSpanStart(span: OpenAiSpan): Promise<void> {
    const outer = this.#begun.get(span.parentId ?? "");
    const own = begin(span, { "gen_ai.conversation.id": this.#groups.get(span.traceId) });
    this.#begun.set(span.spanId, own);
    if (outer && own.attributes["gen_ai.operation.name"] === "chat") outer.hasCall = true;
    this.#processor.onStart(own, outer ? trace.setSpan(ROOT_CONTEXT, outer) : ROOT_CONTEXT);
  }
  async onSpanEnd({ spanId, spanData, error, endedAt }: OpenAiSpan): Promise<void> {
    const own = this.#begun.get(spanId);
    if (!own || !this.#begun.delete(spanId)) return;
    const attributes = { ...own.attributes, ...attributesOf(spanData) };
    // A model of one's own makes no span: what its turn used is known all the same.
    if (spanData["type"] === "turn" && !own.hasCall) attributes["gen_ai.operation.name"] = "chat";
    const message = error?.data?.error ?? error?.message ?? "";
    const status = { code: error ? 2 : 0, message };
    this.#processor.onEnd(Object.assign(own, { attributes, status, endTime: instantOf(endedAt) }));
  }
  readonly forceFlush = () => this.#processor.forceFlush();
  readonly shutdown = () => this.#processor.shutdown();
}

function begin(span: OpenAiSpan, more: Attributes) {
  const { spanId, parentId, spanData, traceMetadata, startedAt } = span;
  const ids = { traceId: span.traceId.replace("trace_", ""), spanId, traceFlags: 1 };
  const attributes: Attributes = { ...more, ...traceMetadata, ...attributesOf(spanData) };
  return Object.assign(trace.wrapSpanContext(ids), {
    name: String(spanData["name"] ?? spanData["type"]),
    attributes,
    resource: { attributes: {} },
    startTime: instantOf(startedAt),
    parentSpanContext: parentId === null ? undefined : { spanId: parentId },
    events: [],
    hasCall: false,
  });
}

const OPERATIONS = new Map<unknown, string>([
  ["agent", "invoke_agent"],
  ["response", "chat"],
  ["generation", "chat"],
  ["function", "execute_tool"],
]);

function attributesOf(data: Attributes): Record<string, unknown> {
  const { type, name, input, output } = data;
  const answer = data["_response"] ?? of(output, "0");
  const usage = data["usage"] ?? of(answer, "usage");
  const details = of(usage, "input_tokens_details", "prompt_tokens_details");
  const cached = of(details, "cached_tokens") ?? of(usage, "cached_input_tokens");
  return {
    "gen_ai.operation.name": OPERATIONS.get(type),
    "gen_ai.agent.name": type === "agent" ? name : undefined,
    "gen_ai.tool.name": type === "function" ? name : undefined,
    "gen_ai.response.model": of(answer, "model") ?? data["model"],
    "gen_ai.usage.input_tokens": of(usage, "input_tokens", "prompt_tokens"),
    "gen_ai.usage.output_tokens": of(usage, "output_tokens", "completion_tokens"),
    "gen_ai.usage.cache_read.input_tokens": cached,
    "gen_ai.input.messages": data["_input"] ?? input,
    "gen_ai.output.messages": of(answer, "output", "choices") ?? output,
  };
}

/** The first of these members that is there. */
function of(value: unknown, ...keys: string[]): unknown {
  const members: object = Object(value);
  return keys.map((key): unknown => Reflect.get(members, key)).find((member) => member != null);
}

function instantOf(time: string | null): Instant {
  const milliseconds = time === null ? Date.now() : Date.parse(time);
  return [Math.floor(milliseconds / 1000), (milliseconds % 1000) * 1e6];
}
