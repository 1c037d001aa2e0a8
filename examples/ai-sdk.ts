// An agent on the Vercel AI SDK: its runs, the calls of its models with their price, and its tools as rows.
//
//   npm install @opentelemetry/api @opentelemetry/sdk-trace-node @pydantic/genai-prices
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { calcPrice } from "@pydantic/genai-prices";
import { type LanguageModel, generateText, stepCountIs, tool } from "ai";
import * as z from "zod";
import type { Database } from "../src/index.ts";
import { AgentSpanProcessor, type ModelUsage } from "../src/otel.ts";

/** To call once, where the process starts. Before the process ends, await `shutdown()` of the answer. */
export function recordAgents(db: Database, organizationId: string): AgentSpanProcessor {
  const processor = new AgentSpanProcessor({ db, organization: organizationId, cost });
  new NodeTracerProvider({ spanProcessors: [processor] }).register();
  return processor;
}

/** What a call of a model cost, in US dollars by the prices of its day; undefined for models without one. */
export function cost({ provider, model, at, ...tokens }: ModelUsage): string | undefined {
  const usage = {
    input_tokens: tokens.input,
    output_tokens: tokens.output,
    cache_read_tokens: tokens.cacheRead,
    cache_write_tokens: tokens.cacheWrite,
  };
  const named = provider === undefined ? {} : { providerId: provider };
  // Prices are whole numbers of a millionth of a dollar for a million tokens.
  return calcPrice(usage, model, { ...named, timestamp: at })?.total_price.toFixed(12);
}

const weather = tool({
  description: "The weather in a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    if (city === "") throw new TypeError("no city is named");
    return { city, sky: "rain" };
  },
});

/** Answers a question. The agent is known by `functionId`; `userId` and `sessionId` say whose question it is. */
export async function askWeather(
  model: LanguageModel,
  question: string,
  who: { userId: string; sessionId: string },
): Promise<string> {
  const { text } = await generateText({
    model,
    prompt: question,
    tools: { weather },
    stopWhen: stepCountIs(5),
    experimental_telemetry: { isEnabled: true, functionId: "weather-clerk", metadata: { ...who } },
  });
  return text;
}
