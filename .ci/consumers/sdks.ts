// What the SDKs of models hand over, recorded as it is: their types have no index signature, and compile
// without a cast. Nothing of this runs.
import type Anthropic from "@anthropic-ai/sdk";
import type { LanguageModelUsage, ModelMessage } from "ai";
import type { LanguageModelUsage as NewerUsage, ModelMessage as NewerMessage } from "ai-7";
import { type NewAgentExecutionLog, type NewExecution, asJson } from "meta-agent-db";
import type { insertAgentPromptSchema, updateAgentExecutionLogSchema } from "meta-agent-db/zod";
import type OpenAI from "openai";
import type * as z from "zod";

declare const openai: {
  completion: OpenAI.ChatCompletion;
  messages: OpenAI.ChatCompletionMessageParam[];
  tools: OpenAI.ChatCompletionTool[];
  response: OpenAI.Responses.Response;
  functionTools: OpenAI.Responses.FunctionTool[];
};
declare const anthropic: { message: Anthropic.Message; tools: Anthropic.Tool[] };
declare const sdk: {
  messages: ModelMessage[];
  usage: LanguageModelUsage;
  newerMessages: NewerMessage[];
  newerUsage: NewerUsage;
};

const id = "6f0d9d6e-36c5-4b8f-9a3e-1f3a5f1c7b2d";
const call = { agentId: id, executionId: id, actionType: "llm_call" };

export const executions: NewExecution[] = [
  { ...call, inputData: openai.messages, outputData: openai.completion },
  { ...call, inputData: "text", outputData: openai.response },
  { ...call, inputData: null, outputData: anthropic.message },
  { ...call, inputData: sdk.messages, metadata: sdk.usage },
  { ...call, inputData: sdk.newerMessages, metadata: sdk.newerUsage },
  { ...call, inputData: { messages: sdk.messages }, metadata: { usage: sdk.usage } },
];

export const change: z.input<typeof updateAgentExecutionLogSchema> = {
  outputData: openai.completion,
};

const prompt = { agentId: id, version: "1", systemPrompt: "You are helpful." };
export const prompts: z.input<typeof insertAgentPromptSchema>[] = [
  { ...prompt, toolDefinitions: openai.tools },
  { ...prompt, toolDefinitions: openai.functionTools },
  { ...prompt, toolDefinitions: anthropic.tools },
];

// A column holds JSON and says so; what makes JSON of anything fits it.
export const row: NewAgentExecutionLog = {
  ...call,
  outputData: asJson(openai.completion, { maxCharacters: 16_384 }).value,
};
// @ts-expect-error -- nothing has made JSON of it
export const unsure: NewAgentExecutionLog = { ...call, outputData: openai.completion };
// @ts-expect-error -- other columns are as strict as ever
export const late: NewExecution = { ...call, timestamp: { seconds: 1 } };
