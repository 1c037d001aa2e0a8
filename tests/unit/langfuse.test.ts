import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import * as z from "zod";
import { documentsOf, elementsOf, problemList } from "../../src/ingest/documents.ts";
import { langfuseExecutions } from "../../src/ingest/langfuse.ts";
import type { SpanExecution } from "../../src/ingest/spans.ts";

function readLangfuse(json: unknown) {
  const { problems, tell } = problemList();
  const executions: SpanExecution[] = [];
  for (const document of documentsOf(json, tell)) {
    for (const element of elementsOf(document)) {
      for (const { agentName, execution } of langfuseExecutions(element, {}, tell)) {
        executions.push({ agentName, execution });
      }
    }
  }
  return { executions, problems };
}

const TRACE = {
  id: "4bf92f3577b34da6a3ce929d0e0e4736",
  name: "support-4bf92f3577b34da6a3ce929d0e0e4736",
  sessionId: "s-1",
  userId: "u-1",
};
const observation = (id: string, type: string, parent: string | null, more: object = {}) => ({
  ...{
    id,
    type,
    traceId: TRACE.id,
    parentObservationId: parent,
    name: `${type} ${id}`,
    level: "DEFAULT",
  },
  ...{ startTime: "2026-01-02T03:04:05.000Z", endTime: "2026-01-02T03:04:06.250Z", ...more },
});
const usage = {
  usageDetails: { input: 100, input_cache_read: 20, output: 7, output_reasoning: 3, total: 130 },
  totalCost: 3.65e-6,
};
const RUN = {
  trace: TRACE,
  observations: [
    observation("tool", "TOOL", "outer", { input: { city: "Paris" }, output: "rain" }),
    observation("inner", "GENERATION", "outer", { model: "gpt-5.1", ...usage }),
    observation("outer", "GENERATION", "span", { model: "gpt-5.1", ...usage }),
    observation("span", "SPAN", "root"),
    observation("lost", "TOOL", "root", {
      level: "ERROR",
      statusMessage: "ValueError: no such city",
    }),
    observation("root", "AGENT", null, usage),
  ],
};

describe("traces of Langfuse", () => {
  test("the innermost generation has tokens and cost, and the root is the agent's run", () => {
    const { executions, problems } = readLangfuse(JSON.stringify(RUN, null, 2));
    expect(problems).toEqual([]);
    expect(new Set(executions.map(({ agentName }) => agentName))).toEqual(new Set(["support"]));
    const told = executions.map(({ execution }) => execution);
    expect(told.map(({ actionType, actionName }) => [actionType, actionName])).toEqual([
      ["tool_call", "TOOL tool"],
      ["llm_call", "gpt-5.1"],
      ["agent_step", "GENERATION outer"],
      ["agent_step", "SPAN span"],
      ["tool_call", "TOOL lost"],
      ["agent_run", "support"],
    ]);
    expect(told.map(({ tokenCountInput }) => tokenCountInput)).toEqual([
      undefined,
      120,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    expect(told[1]).toMatchObject({
      ...{ tokenCountOutput: 10, estimatedCostUsd: "0.000003650000", modelName: "gpt-5.1" },
      ...{ latencyMs: 1250, timestamp: new Date("2026-01-02T03:04:05.000Z") },
      executionId: "4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
      metadata: { span_id: "inner", parent_span_id: "outer", conversation: "s-1", user: "u-1" },
    });
    expect(told[0]).toMatchObject({ inputData: { city: "Paris" }, outputData: "rain" });
    expect(told[4]).toMatchObject({ status: "failure", errorType: "ValueError" });
  });

  test("what stands beside the runs is a step, and its trace may hold it", () => {
    const beside = {
      ...TRACE,
      observations: [...RUN.observations, observation("note", "EVENT", null)],
    };
    const { executions } = readLangfuse(beside);
    expect(executions.slice(0, 6)).toEqual(readLangfuse(RUN).executions);
    expect(executions[6]?.execution).toMatchObject({
      actionType: "agent_step",
      actionName: "EVENT note",
    });
  });

  test("one, a list and lines are the same rows, and again the same", () => {
    const { executions } = readLangfuse(RUN);
    expect(readLangfuse([RUN]).executions).toEqual(executions);
    expect(readLangfuse(`${JSON.stringify(RUN)}\n${JSON.stringify(RUN)}`).executions).toEqual([
      ...executions,
      ...executions,
    ]);
    expect(new Set(executions.map(({ execution }) => execution.id)).size).toBe(6);
  });

  test("what cannot be read is told with its place, and keeps nothing else out", () => {
    const bad = [
      7,
      observation("", "SPAN", null),
      observation("a", "SPAN", null, { startTime: "yesterday" }),
      observation("b", "SPAN", null, { endTime: null }),
      observation("c", "SPAN", "c"),
    ];
    const lines = [{ trace: TRACE, observations: bad }, { trace: TRACE }, [3]];
    const text = [...lines.map((line) => JSON.stringify(line)), "{"].join("\n");
    const { executions, problems } = readLangfuse(text);
    expect(executions).toHaveLength(1);
    expect(problems.map(({ place, message }) => `${place}: ${message}`)).toEqual([
      "line 1: observations.0: expected an object, got a number",
      "line 1: observations.1: expected an id and a traceId",
      "line 1: observations.2: expected startTime, an instant",
      "line 1: observations.3: has not ended: expected endTime",
      "line 2: observations: expected a list, got undefined",
      "line 3: 0: expected an object, got a number",
      "line 4: expected JSON",
    ]);
  });
});

// Exports of a dozen frameworks, where the gate finds them.
const EXPORTS = process.env["LANGFUSE_EXPORTS"] ?? "";
const files = EXPORTS ? readdirSync(EXPORTS).filter((name) => name.endsWith(".json")) : [];
const exported = z.object({
  observations: z.array(
    z.object({
      ...{ id: z.string(), parentObservationId: z.string().nullable(), type: z.string() },
      ...{ inputUsage: z.number(), outputUsage: z.number(), totalCost: z.number() },
      ...{ startTime: z.coerce.date(), endTime: z.coerce.date() },
    }),
  ),
});

test.runIf(files.length > 0).each(files)(
  "tokens and cost of %s are those of its innermost generations, its latency the root's",
  (file) => {
    const text = readFileSync(join(EXPORTS, file), "utf8");
    const { observations } = exported.parse(JSON.parse(text));
    const isAbove = (outer: string, id: string): boolean => {
      const parent = observations.find((one) => one.id === id)?.parentObservationId ?? "";
      return parent !== "" && (parent === outer || isAbove(outer, parent));
    };
    const generations = observations.filter(({ type }) => type === "GENERATION");
    const innermost = generations.filter(
      ({ id }) => !generations.some((other) => isAbove(id, other.id)),
    );
    const { executions, problems } = readLangfuse(text);
    const rows = executions.map(({ execution }) => execution);
    const sum = (numbers: unknown[]) =>
      numbers.reduce<number>((total, number) => total + Number(number ?? 0), 0);
    expect(problems).toEqual([]);
    expect(rows).toHaveLength(observations.length);
    expect(sum(rows.map((row) => row.tokenCountInput))).toBe(
      sum(innermost.map(({ inputUsage }) => inputUsage)),
    );
    expect(sum(rows.map((row) => row.tokenCountOutput))).toBe(
      sum(innermost.map(({ outputUsage }) => outputUsage)),
    );
    expect(sum(rows.map((row) => row.estimatedCostUsd))).toBeCloseTo(
      sum(innermost.map(({ totalCost }) => totalCost)),
      11,
    );
    const runs = rows.filter(({ actionType }) => actionType === "agent_run");
    const roots = observations.filter(
      ({ id, parentObservationId }) =>
        parentObservationId === null && observations.some((one) => one.parentObservationId === id),
    );
    expect(runs.map(({ latencyMs }) => latencyMs)).toEqual(
      roots.map(({ startTime, endTime }) => endTime.getTime() - startTime.getTime()),
    );
  },
);
