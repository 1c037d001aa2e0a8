import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import * as z from "zod";
import { cost } from "../examples/ai-sdk.ts";
import { OpenAiTraces } from "../examples/openai-agents.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { AgentSpanProcessor } from "../src/ingest/span-processor.ts";
import { suite } from "./engine.ts";

const attributes = z.record(z.string(), z.unknown());
/** What a processor of `@openai/agents` 0.20.0 was told of three traces: models by responses, by chat, and one of the user's. */
const EVENTS = z
  .array(
    z.object({
      event: z.enum(["traceStart", "start", "end", "traceEnd"]),
      traceId: z.string(),
      groupId: z.string().nullable().default(null),
      spanId: z.string().default(""),
      parentId: z.string().nullable().default(null),
      spanData: attributes.default({}),
      traceMetadata: attributes.optional(),
      startedAt: z.string().nullable().default(null),
      endedAt: z.string().nullable().default(null),
      error: z
        .object({ message: z.string(), data: z.looseObject({ error: z.string() }) })
        .nullable()
        .default(null),
    }),
  )
  .parse(JSON.parse(readFileSync("tests/fixtures/openai-agents.json", "utf8")));

/** As the SDK has them: members of a class, which spreading leaves out. */
const inherited = <T extends object>(span: T): T => Object.create(span);

suite("examples/openai-agents.ts", (database) => {
  const us = randomUUID();

  /** Tells all that happened to a processor of its own; answers what became of its rows. */
  async function told() {
    const processor = new AgentSpanProcessor({ db: database.db, organization: us, cost });
    const traces = new OpenAiTraces(processor);
    for (const { event, ...members } of EVENTS) {
      const span = inherited(members);
      if (event === "traceStart") await traces.onTraceStart(span);
      if (event === "start") await traces.onSpanStart(span);
      if (event === "end") await traces.onSpanEnd(span);
      if (event === "traceEnd") await traces.onTraceEnd(span);
    }
    await traces.shutdown();
    return processor.counts;
  }
  const logsOf = (agentName: string) =>
    withOrganization(database.db, us, async (tx) => {
      const logs = await tx.query.agentExecutionLogs.findMany({ with: { agent: true } });
      return logs.filter(({ agent }) => agent.agentName === agentName);
    });

  test("a trace is an execution of its agent, and told again adds nothing", async () => {
    expect(await told()).toMatchObject({ inserted: 12, lost: 0, conflicting: 0 });
    expect(await told()).toMatchObject({ inserted: 0, repeated: 12, lost: 0, conflicting: 0 });
    for (const name of ["responses clerk", "chat clerk", "fake clerk"]) {
      const logs = await logsOf(name);
      expect(new Set(logs.map(({ executionId }) => executionId)).size).toBe(1);
      expect(logs.map(({ actionType }) => actionType).toSorted()).toEqual([
        "agent_run",
        "llm_call",
        "llm_call",
        "tool_call",
      ]);
      expect(logs.find(({ actionType }) => actionType === "agent_run")?.status).toBe("success");
      expect(logs.map(({ metadata }) => metadata)).toEqual(
        logs.map(() => expect.objectContaining({ conversation: "g-1", user: "u-1" })),
      );
    }
    const trace = EVENTS[0]?.traceId.replace("trace_", "");
    const [first] = await logsOf("responses clerk");
    expect(first?.executionId.replaceAll("-", "")).toBe(trace);
  });

  test.each([
    ["responses clerk", "gpt-5.1-2025-11-13", [100, 150], "0.000257500000"],
    ["chat clerk", "gpt-5.1-2025-11-13", [100, 150], "0.000257500000"],
    ["fake clerk", null, [7, 8], null],
  ])(
    "tokens are each counted once, under the model that answered: %s",
    async (name, model, tokens, price) => {
      await told();
      const logs = await logsOf(name);
      const used = logs.filter(({ tokenCountInput }) => tokenCountInput !== null);
      expect(
        used
          .map(({ tokenCountInput }) => tokenCountInput)
          .toSorted((a, b) => Number(a) - Number(b)),
      ).toEqual(tokens);
      expect(used.map(({ modelName }) => modelName)).toEqual([model, model]);
      expect(used.map(({ estimatedCostUsd }) => estimatedCostUsd)).toContain(price);
    },
  );

  test("a failing tool is a failed row that says what the SDK tells", async () => {
    await told();
    const tool = (await logsOf("chat clerk")).find(({ actionType }) => actionType === "tool_call");
    expect(tool).toMatchObject({
      actionName: "weather",
      status: "failure",
      inputData: { city: "Paris" },
      errorMessage: "Tool execution failed. Error details are redacted.",
    });
  });
});
