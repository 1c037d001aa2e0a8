/**
 * What the instrumentations of agents call what a row holds: OpenTelemetry's `gen_ai.*` of every age, `ai.*`
 * of the Vercel AI SDK 5 to 7, OpenInference, traceloop. Data: to read one more spelling, add it here.
 */

import type { ActionType } from "../values.ts";

/** What a span is, before it is known what it is in. */
export type SpanKind = Exclude<ActionType, "agent_step">;

/** A chain is a run where it is in none, else a part of one. */
type Meaning = SpanKind | "chain";

/** Which attribute says what a span is, and by which values. The first that says one of them decides. */
export const KINDS: readonly {
  readonly key: string;
  readonly meanings: ReadonlyMap<string, Meaning>;
  /** Whether a run's span is named by whoever wrote the agent, not after what it does. */
  readonly isNamedByUser?: boolean;
}[] = [
  {
    key: "gen_ai.operation.name",
    meanings: new Map<string, Meaning>([
      ["invoke_agent", "agent_run"],
      ["invoke_workflow", "agent_run"],
      ["chat", "llm_call"],
      ["text_completion", "llm_call"],
      ["generate_content", "llm_call"],
      ["execute_tool", "tool_call"],
      ["retrieval", "retrieval"],
      ["embeddings", "embedding"],
    ]),
  },
  {
    key: "openinference.span.kind",
    meanings: new Map<string, Meaning>([
      ["AGENT", "agent_run"],
      ["CHAIN", "chain"],
      ["LLM", "llm_call"],
      ["TOOL", "tool_call"],
      ["RETRIEVER", "retrieval"],
      ["EMBEDDING", "embedding"],
    ]),
    isNamedByUser: true,
  },
  {
    key: "ai.operationId",
    meanings: new Map<string, Meaning>([
      ["ai.generateText", "agent_run"],
      ["ai.streamText", "agent_run"],
      ["ai.generateObject", "agent_run"],
      ["ai.streamObject", "agent_run"],
      ["ai.generateText.doGenerate", "llm_call"],
      ["ai.streamText.doStream", "llm_call"],
      ["ai.generateObject.doGenerate", "llm_call"],
      ["ai.streamObject.doStream", "llm_call"],
      ["ai.toolCall", "tool_call"],
      ["ai.embed.doEmbed", "embedding"],
      ["ai.embedMany.doEmbed", "embedding"],
    ]),
  },
  {
    key: "traceloop.span.kind",
    meanings: new Map<string, Meaning>([
      ["agent", "agent_run"],
      ["workflow", "agent_run"],
      ["tool", "tool_call"],
    ]),
    isNamedByUser: true,
  },
  {
    key: "llm.request.type",
    meanings: new Map<string, Meaning>([
      ["chat", "llm_call"],
      ["completion", "llm_call"],
      ["embedding", "embedding"],
    ]),
  },
];

/** Texts, by the attributes that hold them; the first that is not empty counts. */
export const TEXTS = {
  agent: ["gen_ai.agent.name", "agent.name", "ai.telemetry.functionId"],
  /** On the span of a run; on others they name something else. */
  run: ["gen_ai.workflow.name", "traceloop.entity.name"],
  conversation: [
    "gen_ai.conversation.id",
    "session.id",
    "ai.telemetry.metadata.sessionId",
    "traceloop.association.properties.session_id",
  ],
  user: ["user.id", "enduser.id", "ai.telemetry.metadata.userId"],
  promptVersion: ["meta_agent.prompt_version_id", "ai.telemetry.metadata.promptVersionId"],
  tool: ["gen_ai.tool.name", "tool.name", "ai.toolCall.name", "traceloop.entity.name"],
  model: [
    "gen_ai.response.model",
    "ai.response.model",
    "llm.model_name",
    "embedding.model_name",
    "gen_ai.request.model",
    "ai.model.id",
  ],
  provider: ["gen_ai.provider.name", "gen_ai.system", "llm.provider", "ai.model.provider"],
  finishReason: ["gen_ai.response.finish_reasons", "ai.response.finishReason"],
  errorType: ["error.type"],
} as const;

/**
 * Tokens of an inference. Those that were read from a cache or written to it are part of the input, those of
 * reasoning part of the output.
 */
export const TOKENS = {
  input: [
    "gen_ai.usage.input_tokens",
    "llm.token_count.prompt",
    "gen_ai.usage.prompt_tokens",
    "ai.usage.inputTokens",
    "ai.usage.promptTokens",
    "ai.usage.tokens",
  ],
  output: [
    "gen_ai.usage.output_tokens",
    "llm.token_count.completion",
    "gen_ai.usage.completion_tokens",
    "ai.usage.outputTokens",
    "ai.usage.completionTokens",
  ],
  cacheRead: [
    "gen_ai.usage.cache_read.input_tokens",
    "llm.token_count.prompt_details.cache_read",
    "ai.usage.inputTokenDetails.cacheReadTokens",
    "ai.usage.cachedInputTokens",
    "gen_ai.usage.cache_read_input_tokens",
  ],
  cacheWrite: [
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "llm.token_count.prompt_details.cache_write",
    "ai.usage.inputTokenDetails.cacheWriteTokens",
    "gen_ai.usage.cache_creation_input_tokens",
  ],
  reasoning: [
    "gen_ai.usage.reasoning.output_tokens",
    "llm.token_count.completion_details.reasoning",
    "ai.usage.outputTokenDetails.reasoningTokens",
    "ai.usage.reasoningTokens",
  ],
} as const;

/** What an action was given and what it answered. */
export const CONTENT = {
  inputData: [
    "gen_ai.tool.call.arguments",
    "ai.toolCall.args",
    "gen_ai.input.messages",
    "ai.prompt.messages",
    "ai.prompt",
    "ai.value",
    "ai.values",
    "input.value",
    "traceloop.entity.input",
  ],
  outputData: [
    "gen_ai.tool.call.result",
    "ai.toolCall.result",
    "gen_ai.output.messages",
    "ai.response.text",
    "ai.response.object",
    "ai.response.toolCalls",
    "output.value",
    "traceloop.entity.output",
  ],
} as const;
