import { randomUUID } from "node:crypto";
import { context, trace } from "@opentelemetry/api";
import { MockLanguageModelV3 } from "ai/test";
import { afterAll, beforeAll, expect, test } from "vitest";
import { askWeather, cost, recordAgents } from "../examples/ai-sdk.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { rollUpMetrics } from "../src/fleet/rollup.ts";
import type { AgentSpanProcessor } from "../src/ingest/span-processor.ts";
import { suite } from "./engine.ts";

type Answer = Awaited<ReturnType<MockLanguageModelV3["doGenerate"]>>;

const usage = (total: number, cacheRead: number, output: number): Answer["usage"] => ({
  inputTokens: { total, noCache: total - cacheRead, cacheRead, cacheWrite: 0 },
  outputTokens: { total: output, text: output, reasoning: 0 },
});

/** A model that asks the tool for a city first, and answers then. */
const modelThatAsks = (city: string) =>
  new MockLanguageModelV3({
    provider: "openai.responses",
    modelId: "gpt-5.1",
    doGenerate: [
      {
        content: [
          { type: "tool-call", toolCallId: "1", toolName: "weather", input: `{"city":"${city}"}` },
        ],
        finishReason: { unified: "tool-calls", raw: undefined },
        usage: usage(100, 60, 20),
        warnings: [],
      },
      {
        content: [{ type: "text", text: "It rains." }],
        finishReason: { unified: "stop", raw: undefined },
        usage: usage(150, 100, 10),
        warnings: [],
      },
    ],
  });

suite("examples/ai-sdk.ts", (database) => {
  const us = randomUUID();
  const who = { userId: randomUUID(), sessionId: "s-1" };
  let processor: AgentSpanProcessor;
  beforeAll(() => {
    processor = recordAgents(database.db, us);
  });
  afterAll(() => {
    trace.disable();
    context.disable();
  });

  /** Asks, and answers what is stored of it. */
  async function asked(city: string) {
    expect(await askWeather(modelThatAsks(city), `Weather in "${city}"?`, who)).toBe("It rains.");
    await processor.forceFlush();
    return withOrganization(database.db, us, async (tx) => {
      const logs = await tx.query.agentExecutionLogs.findMany({
        with: { agent: true },
        orderBy: ({ timestamp, id }) => [timestamp, id],
      });
      return logs.filter(({ executionId }) => executionId === logs.at(-1)?.executionId);
    });
  }

  test("a run, its calls with model, tokens and price, and its tool are rows of one execution", async () => {
    const logs = await asked("Paris");
    const told = logs.map(({ agent, actionType, actionName, modelName, ...log }) =>
      [agent.agentName, actionType, actionName, modelName, log.status].join(" "),
    );
    expect(told.toSorted()).toEqual([
      "weather-clerk agent_run weather-clerk  success",
      "weather-clerk llm_call gpt-5.1 gpt-5.1 success",
      "weather-clerk llm_call gpt-5.1 gpt-5.1 success",
      "weather-clerk tool_call weather  success",
    ]);
    const used = logs.map(
      ({ actionType, tokenCountInput, tokenCountOutput, estimatedCostUsd }) => ({
        actionType,
        tokens: [tokenCountInput, tokenCountOutput],
        estimatedCostUsd,
      }),
    );
    expect(used).toEqual(
      expect.arrayContaining([
        { actionType: "agent_run", tokens: [null, null], estimatedCostUsd: null },
        // 40 · $1.25 + 60 · $0.125 + 20 · $10, and 50 · $1.25 + 100 · $0.125 + 10 · $10, a million.
        { actionType: "llm_call", tokens: [100, 20], estimatedCostUsd: "0.000257500000" },
        { actionType: "llm_call", tokens: [150, 10], estimatedCostUsd: "0.000175000000" },
      ]),
    );
    expect(logs.every(({ userId }) => userId === who.userId)).toBe(true);
    expect(logs.map(({ metadata }) => metadata)).toEqual(
      logs.map(() => expect.objectContaining({ conversation: "s-1" })),
    );
    expect(logs.find(({ actionType }) => actionType === "tool_call")).toMatchObject({
      inputData: { city: "Paris" },
      outputData: { city: "Paris", sky: "rain" },
    });
  });

  test("a tool that fails under a run that goes on is a failed row of a successful execution", async () => {
    const logs = await asked("");
    expect(logs.find(({ actionType }) => actionType === "tool_call")).toMatchObject({
      status: "failure",
      errorType: "TypeError",
      errorMessage: "no city is named",
    });
    const [from, to] = [-1, 0].map((days) =>
      new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10),
    );
    const metrics = await withOrganization(database.db, us, async (tx) => {
      await rollUpMetrics(tx, { from: from ?? "", to: to ?? "" });
      return tx.query.agentPerformanceMetrics.findMany();
    });
    const sum = (of: (metric: (typeof metrics)[number]) => unknown) =>
      metrics.reduce((total, metric) => total + Number(of(metric)), 0);
    expect(sum(({ totalExecutions }) => totalExecutions)).toBe(2);
    expect(sum(({ successfulExecutions }) => successfulExecutions)).toBe(2);
    expect(sum(({ totalTokensInput }) => totalTokensInput)).toBe(500);
    expect(sum(({ totalCostUsd }) => totalCostUsd)).toBeCloseTo(0.000865, 12);
    expect(processor.counts).toMatchObject({ inserted: 8, lost: 0 });
  });

  test("a model without a price costs nothing that is known", () => {
    const call = { provider: "openai", model: "gpt-5.1", input: 1_000_000, output: 0 };
    const rest = { cacheRead: 0, cacheWrite: 0, reasoning: 0, at: new Date("2026-06-01") };
    expect(cost({ ...call, ...rest })).toBe("1.250000000000");
    expect(cost({ ...call, ...rest, model: "weather-9000" })).toBeUndefined();
    expect(cost({ ...call, ...rest, provider: undefined })).toBe("1.250000000000");
  });
});
