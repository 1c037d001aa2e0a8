import { describe, expect, test } from "vitest";
import * as z from "zod";
import { insertAgentExecutionLogSchema, insertAgentPromptSchema } from "../../src/zod.ts";

const ID = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736";
const log = (inputData: unknown) =>
  insertAgentExecutionLogSchema.safeParse({
    agentId: ID,
    executionId: ID,
    actionType: "llm_call",
    inputData,
  });

function nested(levels: number): unknown {
  let value: unknown = "bottom";
  for (let level = 0; level < levels; level += 1) value = [value];
  return value;
}

function circular(): unknown {
  const inner: unknown[] = [1];
  inner.push(inner);
  return inner;
}

describe("what is no JSON is told by the rule it breaks and its place inside:", () => {
  const inMessage = (content: unknown) => ({
    messages: Array.from({ length: 200 }, (_, n) => ({
      role: "user",
      content: n === 137 ? content : "x".repeat(5000),
    })),
  });
  test.each([
    ["a\0b", "text with a NUL character at 1"],
    ["x\ud800", "text with half a surrogate pair at 1"],
    [new Date(), "an instance of Date"],
    [new Error("x"), "an instance of Error"],
    [new Map(), "an instance of Map"],
    [7n, "a BigInt"],
    [Number.NaN, "NaN"],
    [-Infinity, "-Infinity"],
    [() => 1, "a function"],
    [Symbol("x"), "a symbol"],
    [Object.create(null), "an object without a prototype"],
    [{ "a\0": 1 }, "a key with a NUL character at 1"],
    [{ "\udc00": 1 }, "a key with half a surrogate pair at 0"],
  ])("%# in message 137 of 200", (content, found) => {
    const { error } = log(inMessage(content));
    expect(error?.issues).toMatchObject([
      {
        path: ["inputData", "messages", 137, "content"],
        message: `expected JSON, got ${found}; asJson() makes any value storable`,
      },
    ]);
    expect(error && z.prettifyError(error)).toContain("→ at inputData.messages[137].content");
  });

  test.each([
    [{ a: circular() }, ["a", 1], "a circular reference"],
    [{ a: nested(600) }, ["a", 0, 0, 0, 0, 0, 0, 0], "more than 500 levels of lists and objects"],
    [[1, undefined], [1], "undefined"],
    // oxlint-disable-next-line no-sparse-arrays -- a hole
    [[1, , 2], [1], "undefined"],
    [new Date(), [], "an instance of Date"],
    [
      {
        a: {
          get b(): never {
            throw new Error("no");
          },
        },
      },
      ["a", "b"],
      "what throws when it is read",
    ],
  ])("%#", (value, path, found) => {
    expect(log(value).error?.issues).toMatchObject([
      {
        path: ["inputData", ...path],
        message: `expected JSON, got ${found}; asJson() makes any value storable`,
      },
    ]);
  });

  test("inside of a document with a shape, too", () => {
    const { error } = insertAgentPromptSchema.safeParse({
      agentId: ID,
      version: "1",
      systemPrompt: "x",
      toolDefinitions: [
        { name: "a" },
        { name: "b", parameters: { type: "object", at: new Date() } },
      ],
      fewShotExamples: [{ input: 1, output: { a: [2n] } }],
    });
    expect(error?.issues.map(({ path }) => path)).toEqual([
      ["toolDefinitions", 1, "parameters", "at"],
      ["fewShotExamples", 0, "output", "a", 0],
    ]);
  });

  test("the value itself is not repeated", () => {
    const { error } = log({ a: `secret\0`, "key\0": 1 });
    expect(JSON.stringify(error?.issues)).not.toContain("secret");
  });
});

describe("toolDefinitions", () => {
  const given = (...toolDefinitions: unknown[]) =>
    insertAgentPromptSchema.safeParse({
      agentId: ID,
      version: "1",
      systemPrompt: "x",
      toolDefinitions,
    });
  const parameters = { type: "object", properties: { city: { type: "string" } } };

  test.each([
    ["ours", { name: "weather", description: "of a city", parameters }],
    [
      "OpenAI's chat completions'",
      { type: "function", function: { name: "weather", parameters, strict: true } },
    ],
    ["OpenAI's custom", { type: "custom", custom: { name: "sql", format: { type: "text" } } }],
    [
      "OpenAI's responses'",
      { type: "function", name: "weather", description: null, parameters: null, strict: null },
    ],
    ["Anthropic's", { name: "weather", description: "of a city", input_schema: parameters }],
    ["Anthropic's own", { type: "web_search_20250305", name: "web_search", max_uses: 5 }],
  ])("are taken in %s form, and stay as they are", (_, tool) => {
    expect(given(tool).data?.toolDefinitions).toEqual([tool]);
  });

  test.each([
    [{}],
    [{ type: "function" }],
    [{ type: "function", function: {} }],
    [{ type: "function", function: { name: "a", parameters: [] } }],
    [{ description: "a" }],
    ["weather"],
    [null],
  ])("of %j are refused with the forms there are", (tool) => {
    expect(given({ name: "a" }, tool).error?.issues).toMatchObject([
      {
        path: ["toolDefinitions", 1],
        message: expect.stringContaining('{ type: "function", function: { name, parameters } }'),
      },
    ]);
  });
});

test("a tool without a name is told at its place", () => {
  const tools = [{ type: "function", function: { name: "" } }];
  const { error } = insertAgentPromptSchema.safeParse({
    agentId: ID,
    version: "1",
    systemPrompt: "x",
    toolDefinitions: tools,
  });
  expect(error?.issues.map(({ path }) => path)).toEqual([
    ["toolDefinitions", 0, "function", "name"],
  ]);
});

describe("a uuid", () => {
  const hex = ID.replaceAll("-", "");
  test.each([ID, ID.toUpperCase(), hex, hex.toUpperCase(), `{${ID}}`, `{${hex}}`])(
    "is taken as %s, and comes out in one form",
    (executionId) => {
      const entry = { agentId: executionId, executionId, actionType: "llm_call" };
      expect(insertAgentExecutionLogSchema.parse(entry)).toMatchObject({
        agentId: ID,
        executionId: ID,
      });
    },
  );

  test.each([
    hex.slice(1),
    `${hex}0`,
    `{${hex}`,
    ` ${ID}`,
    "run_01J9",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "",
  ])("is not %j, and the refusal says what makes one", (executionId) => {
    const { error } = insertAgentExecutionLogSchema.safeParse({
      agentId: ID,
      executionId,
      actionType: "x",
    });
    expect(error?.issues).toMatchObject([
      { path: ["executionId"], message: expect.stringContaining("uuidFor") },
    ]);
  });
});
