import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { ModelUsage, SpanExecution } from "../../src/ingest/spans.ts";
import { executionOf, scopeOf } from "../../src/ingest/spans.ts";
import { DIALECTS, capturedSpans, executionsOf, newSpan } from "../spans.ts";

const rowsOf = (rows: readonly SpanExecution[], agent: string) =>
  rows.flatMap(({ agentName, execution }) => (agentName === agent ? [execution] : []));
const sum = (numbers: readonly (number | null | undefined)[]) =>
  numbers.reduce<number>((total, number) => total + (number ?? 0), 0);
const one = (attributes: Record<string, unknown>, more: Parameters<typeof newSpan>[0] = {}) =>
  executionOf(newSpan({ attributes, ...more }));

describe.each(DIALECTS)("spans of the AI SDK, %s", (dialect) => {
  const rows = executionsOf(capturedSpans(dialect));
  // 5 tells nothing of what came from a cache.
  const cached = dialect === "ai-sdk-5-otlp" ? { all: 0, last: 0 } : { all: 160, last: 100 };
  const row = (agent: string, type: string) =>
    rowsOf(rows, agent).find(({ actionType }) => actionType === type);

  test("are rows of their agents, and steps and requests are none", () => {
    const told = rows.map(({ agentName, execution: { actionType, actionName, status } }) =>
      [agentName, actionType, actionName, status].join(" "),
    );
    expect(told.toSorted()).toEqual([
      "bad-agent agent_run bad-agent success",
      "bad-agent llm_call gpt-5.1 success",
      "bad-agent llm_call gpt-5.1 success",
      "bad-agent tool_call bad failure",
      "failing agent_run failing failure",
      "failing llm_call gpt-5.1 failure",
      "slow agent_run slow cancelled",
      "slow llm_call gpt-5.1 cancelled",
      "weather-agent agent_run weather-agent success",
      "weather-agent llm_call gpt-5.1 success",
      "weather-agent llm_call gpt-5.1-2026-01-01 success",
      "weather-agent tool_call weather success",
    ]);
  });

  test("count tokens once, on the calls of models", () => {
    const run = rowsOf(rows, "weather-agent");
    expect(sum(run.map(({ tokenCountInput }) => tokenCountInput))).toBe(250);
    expect(sum(run.map(({ tokenCountOutput }) => tokenCountOutput))).toBe(30);
    expect(row("weather-agent", "agent_run")).not.toHaveProperty("tokenCountInput");
    expect(new Set(run.map(({ modelName }) => modelName))).toEqual(
      new Set([undefined, "gpt-5.1", "gpt-5.1-2026-01-01"]),
    );
    expect(
      sum(
        run.map(({ metadata }) => Number(Reflect.get(Object(metadata), "cache_read_tokens") ?? 0)),
      ),
    ).toBe(cached.all);
  });

  test("are priced with what the provider is called, and with the cache", () => {
    const used: ModelUsage[] = [];
    const cost = (usage: ModelUsage) => {
      used.push(usage);
      return "0.0004325";
    };
    const priced = rowsOf(executionsOf(capturedSpans(dialect), { cost }), "weather-agent");
    expect(
      priced.map(({ actionType, estimatedCostUsd }) => [actionType, estimatedCostUsd]),
    ).toEqual(
      expect.arrayContaining([
        ["llm_call", "0.0004325"],
        ["agent_run", undefined],
        ["tool_call", undefined],
      ]),
    );
    expect(used.find(({ input }) => input === 150)).toMatchObject({
      provider: "openai",
      model: "gpt-5.1",
      output: 10,
      cacheRead: cached.last,
      cacheWrite: 0,
      at: expect.any(Date),
    });
  });

  test("say what went wrong, and of which type", () => {
    expect(row("bad-agent", "tool_call")).toMatchObject({
      errorType: "TypeError",
      errorMessage: "tool broke",
      errorStackTrace: expect.stringContaining("at Object.execute"),
    });
    expect(row("bad-agent", "agent_run")).not.toHaveProperty("errorType");
    expect(row("failing", "llm_call")).toMatchObject({ errorMessage: "429 rate limited" });
  });

  test("have the trace for execution, their start for time, and keep what was said", () => {
    const first = capturedSpans(dialect).find(({ name }) => /chat|doGenerate/.test(name));
    const { traceId } = first?.spanContext() ?? { traceId: "" };
    const call = rowsOf(rows, "weather-agent").find(
      ({ tokenCountInput }) => tokenCountInput === 100,
    );
    expect(call?.executionId.replaceAll("-", "")).toBe(traceId);
    expect(call?.timestamp?.getTime()).toBe(
      (first?.startTime[0] ?? 0) * 1000 + (first?.startTime[1] ?? 0) / 1e6,
    );
    expect(row("weather-agent", "tool_call")).toMatchObject({
      inputData: { city: "Paris" },
      outputData: { city: "Paris", sky: "rain" },
    });
    expect(JSON.stringify(call?.inputData)).toContain("Weather in Paris?");
    expect(JSON.stringify(call?.outputData)).toContain("weather");
  });
});

describe("a span", () => {
  test.each([
    [{ "gen_ai.operation.name": "invoke_workflow" }, "agent_run"],
    [{ "gen_ai.operation.name": "embeddings" }, "embedding"],
    [{ "gen_ai.operation.name": "retrieval" }, "retrieval"],
    [{ "openinference.span.kind": "LLM" }, "llm_call"],
    [{ "openinference.span.kind": "TOOL" }, "tool_call"],
    [{ "openinference.span.kind": "RETRIEVER" }, "retrieval"],
    [{ "openinference.span.kind": "CHAIN" }, "agent_run"],
    [{ "ai.operationId": "ai.streamText.doStream" }, "llm_call"],
    [{ "ai.operationId": "ai.streamObject" }, "agent_run"],
    [{ "ai.operationId": "ai.embedMany.doEmbed" }, "embedding"],
    [{ "traceloop.span.kind": "workflow" }, "agent_run"],
    [{ "traceloop.span.kind": "tool" }, "tool_call"],
    [{ "llm.request.type": "chat" }, "llm_call"],
  ])("%o is a row of type %s", (attributes, type) => {
    expect(one(attributes)?.execution.actionType).toBe(type);
  });

  test.each([
    {},
    { "http.request.method": "POST" },
    { "gen_ai.operation.name": "agent_step" },
    { "gen_ai.operation.name": "constructor" },
    { "gen_ai.operation.name": 7 },
    { "traceloop.span.kind": "task" },
    { "ai.operationId": "ai.embed" },
  ])("%o is no row", (attributes) => {
    expect(one(attributes)).toBeUndefined();
  });

  test.each([
    [{ "gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3 }],
    [{ "gen_ai.usage.prompt_tokens": 7, "gen_ai.usage.completion_tokens": 3 }],
    [{ "llm.token_count.prompt": 7, "llm.token_count.completion": 3 }],
    [{ "ai.usage.promptTokens": 7, "ai.usage.completionTokens": 3 }],
    [{ "ai.usage.inputTokens": "7", "ai.usage.outputTokens": "3" }],
  ])("%o is 7 tokens read and 3 written", (usage) => {
    expect(one({ "llm.request.type": "chat", ...usage })?.execution).toMatchObject({
      tokenCountInput: 7,
      tokenCountOutput: 3,
    });
  });

  test("that is of no model's call has no tokens, whatever it says", () => {
    const usage = { "gen_ai.usage.input_tokens": 7, "llm.token_count.prompt": 7 };
    for (const kind of ["AGENT", "TOOL", "CHAIN", "RETRIEVER"]) {
      const row = one({ "openinference.span.kind": kind, ...usage });
      expect(row?.execution).not.toHaveProperty("tokenCountInput");
    }
  });

  test("of a model's call inside one is the same call, and is no row; a tool's own call is one", () => {
    const outer = newSpan();
    const around = scopeOf(outer);
    const request = newSpan({ attributes: { "http.request.method": "POST" }, within: outer });
    const inside = scopeOf(request, around);
    expect(executionOf(newSpan({ within: request }), {}, inside)).toBeUndefined();
    const tool = newSpan({ attributes: { "ai.operationId": "ai.toolCall" }, within: outer });
    expect(executionOf(tool, {}, around)?.execution.actionType).toBe("tool_call");
    const inTool = scopeOf(tool, around);
    expect(executionOf(newSpan({ within: tool }), {}, inTool)?.execution.actionType).toBe(
      "llm_call",
    );
  });

  test("of a run inside a run of the same agent is a step, of another agent a run", () => {
    const run = (name: string, within?: ReturnType<typeof newSpan>) =>
      newSpan({
        attributes: { "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name },
        ...(within && { within }),
      });
    const planner = run("planner");
    const writer = run("writer", planner);
    const again = run("planner", writer);
    const unnamed = newSpan({ attributes: { "ai.operationId": "ai.generateText" }, within: again });
    const rows = executionsOf([unnamed, again, writer, planner]);
    expect(rows.map(({ agentName, execution }) => [agentName, execution.actionType])).toEqual([
      ["planner", "agent_step"],
      ["planner", "agent_step"],
      ["writer", "agent_run"],
      ["planner", "agent_run"],
    ]);
  });

  test("of a chain is a run only where it is in none", () => {
    const chain = { attributes: { "openinference.span.kind": "CHAIN" }, name: "support-graph" };
    const root = newSpan(chain);
    const node = newSpan({ ...chain, name: "model", within: root });
    const call = newSpan({ attributes: { "openinference.span.kind": "LLM" }, within: node });
    const rows = executionsOf([call, node, root]);
    expect(rows.map(({ agentName, execution }) => [agentName, execution.actionType])).toEqual([
      ["support-graph", "llm_call"],
      ["support-graph", "agent_run"],
    ]);
  });

  test("has its agent from the nearest that names one, then from the service", () => {
    const named = (attributes: object, more: Parameters<typeof newSpan>[0] = {}) =>
      one({ "gen_ai.operation.name": "chat", ...attributes }, more)?.agentName;
    expect(named({ "gen_ai.agent.name": "a", "agent.name": "b" })).toBe("a");
    expect(named({ "ai.telemetry.functionId": "c" })).toBe("c");
    expect(named({})).toBe("shop");
    const unknown = { resource: { attributes: { "service.name": "unknown_service:node" } } };
    expect(named({}, unknown)).toBe("chat gpt-5.1");
    expect(named({}, { ...unknown, name: "" })).toBe("llm_call");
    const flow = { "traceloop.span.kind": "workflow", "traceloop.entity.name": "refunds" };
    expect(one(flow)?.agentName).toBe("refunds");
    expect(one({ ...flow, "traceloop.span.kind": "tool" })?.agentName).toBe("shop");
  });

  test.each([
    [`agent-${randomUUID()}`, "agent"],
    ["support_4bf92f3577b34da6a3ce929d0e0e4736", "support"],
    ["run 01JDXK2V9M4T6Q8R0S1W3Y5Z7B of clerk", "run of clerk"],
    ["clerk#1795883850211", "clerk"],
    ["gpt-5.1 helper 2", "gpt-5.1 helper 2"],
    ["internationalization-administrator", "internationalization-administrator"],
    ["4bf92f3577b34da6a3ce929d0e0e4736", "shop"],
    ["a\0b\ud800", "a\uFFFDb\uFFFD"],
    ["n".repeat(5000), "n".repeat(255)],
  ])("whose agent is called %j is of %j: an id would make an agent a run", (found, name) => {
    expect(one({ "gen_ai.operation.name": "chat", "gen_ai.agent.name": found })?.agentName).toBe(
      name,
    );
  });

  test("hands on conversation, user and prompt version, the version to its own agent alone", () => {
    const [user, version] = [randomUUID(), randomUUID()];
    const run = newSpan({
      attributes: {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "clerk",
        "gen_ai.conversation.id": "c-1",
        "user.id": user,
        "meta_agent.prompt_version_id": version,
      },
    });
    const call = newSpan({ within: run });
    const other = newSpan({
      attributes: { "gen_ai.operation.name": "chat", "gen_ai.agent.name": "other" },
      within: run,
    });
    const [own, others] = executionsOf([call, other, run]);
    expect(own?.execution).toMatchObject({
      promptVersionId: version,
      userId: user,
      metadata: { conversation: "c-1", parent_span_id: run.spanContext().spanId, service: "shop" },
    });
    expect(others?.execution).toMatchObject({ userId: user, promptVersionId: undefined });
    const guest = one({ "gen_ai.operation.name": "chat", "user.id": "guest-7" });
    expect(guest?.execution).toMatchObject({ userId: undefined, metadata: { user: "guest-7" } });
  });

  test.each([
    [{ "error.type": "TimeoutError" }, "", "timeout", "TimeoutError"],
    [{}, "APITimeoutError: Request timed out.", "timeout", "APITimeoutError"],
    [{}, "ValueError: no such city\n  at graph", "failure", "ValueError"],
    [{}, "it broke", "failure", undefined],
    [{ "error.type": "CancelledError" }, "", "cancelled", "CancelledError"],
  ])("with %o and message %j has failed as %s", (attributes, message, status, errorType) => {
    const row = one(
      { "gen_ai.operation.name": "chat", ...attributes },
      { status: { code: 2, message } },
    );
    expect(row?.execution).toMatchObject({ status });
    expect(row?.execution.errorType).toBe(errorType);
  });
});

describe("content", () => {
  const call = newSpan({
    attributes: {
      "gen_ai.operation.name": "execute_tool",
      "gen_ai.tool.name": "pay",
      "gen_ai.tool.call.arguments": JSON.stringify({ card: "4111 1111", amount: 5 }),
      "gen_ai.tool.call.result": "paid",
    },
    status: { code: 2, message: "card 4111 1111 refused" },
  });

  test("none: what was given and answered is left out", () => {
    const row = executionOf(call, { content: "none" })?.execution;
    expect(row).toMatchObject({ inputData: undefined, outputData: undefined, actionName: "pay" });
  });

  test("mask: sees what is in the JSON, and where it goes, errors included", () => {
    const mask = (value: unknown) =>
      typeof value === "string"
        ? value.replaceAll("4111 1111", "****")
        : { ...Object(value), card: undefined };
    const row = executionOf(call, { mask })?.execution;
    expect(row).toMatchObject({ inputData: { amount: 5 }, errorMessage: "card **** refused" });
    expect(JSON.stringify(row)).not.toContain("4111 1111");
  });

  test("mask: where it throws, nothing of the value is stored", () => {
    const row = executionOf(call, {
      mask: () => {
        throw new Error("no");
      },
    })?.execution;
    expect(row).toMatchObject({ inputData: "[mask threw]", errorMessage: "[mask threw]" });
    expect(JSON.stringify(row)).not.toContain("4111 1111");
  });

  test("maxCharacters: large values are cut", () => {
    const attributes = { "openinference.span.kind": "LLM", "input.value": "x".repeat(3_000_000) };
    const row = executionOf(newSpan({ attributes }), { maxCharacters: 1000 })?.execution;
    expect(JSON.stringify(row?.inputData).length).toBeLessThanOrEqual(1000);
  });

  test("a cost that throws is not known", () => {
    const attributes = {
      "gen_ai.operation.name": "chat",
      "gen_ai.request.model": "m",
      "gen_ai.usage.input_tokens": 1,
    };
    const cost = () => {
      throw new Error("unknown model");
    };
    expect(executionOf(newSpan({ attributes }), { cost })?.execution).toMatchObject({
      tokenCountInput: 1,
      estimatedCostUsd: undefined,
    });
  });
});

test("the same span is the same row, whichever SDK gives it", () => {
  const span = newSpan({
    ids: ["4BF92F3577B34DA6A3CE929D0E0E4736".toLowerCase(), "00f067aa0ba902b7", "00f067aa0ba902b6"],
  });
  const { parentSpanContext, ...rest } = span;
  const older = { ...rest, parentSpanId: parentSpanContext?.spanId };
  expect(executionOf(older)).toEqual(executionOf(span));
  expect(executionsOf([span])).toEqual([executionOf(span)]);
  expect(executionOf(span)?.execution.executionId).toBe("4bf92f35-77b3-4da6-a3ce-929d0e0e4736");
});
