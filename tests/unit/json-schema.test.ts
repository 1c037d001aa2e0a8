import { getTableColumns, getTableName, is } from "drizzle-orm";
import { PgTable } from "drizzle-orm/pg-core";
import { describe, expect, test } from "vitest";
import * as schema from "../../src/schema/index.ts";
import { insertJsonSchema, jsonInsertSchema } from "../../src/zod.ts";

const tables = Object.values(schema)
  .filter((value) => is(value, PgTable))
  .map((table) => [getTableName(table), table] as const);

const agent = {
  agentName: "clerk",
  displayName: "Clerk",
  category: "sales",
  createdAt: "2026-01-31T13:00:00.250+01:00",
} as const;

describe("JSON Schema", () => {
  test.each(tables)("of %s describes every column and allows no other", (_, table) => {
    const { properties, additionalProperties, type } = insertJsonSchema(table);
    expect(type).toBe("object");
    expect(additionalProperties).toBe(false);
    expect(Object.keys(properties ?? {})).toEqual(Object.keys(getTableColumns(table)));
  });

  test("says types, formats, bounds and values", () => {
    const { properties, required } = insertJsonSchema(schema.agentRegistry);
    expect(required).toEqual(["agentName", "displayName", "category"]);
    expect(properties).toMatchObject({
      id: { type: "string", format: "uuid" },
      agentName: { type: "string", minLength: 1, maxLength: 255 },
      category: { enum: ["client_success", "marketing", "sales", "operations", "internal"] },
      targetSuccessRate: {
        anyOf: [{ type: "number", minimum: 0, maximum: 100 }, { type: "null" }],
      },
      targetCostPerExecution: { anyOf: [{ type: "string", pattern: expect.any(String) }, {}] },
      consecutiveFailures: { type: "integer", minimum: 0, maximum: 2_147_483_647 },
      createdAt: { type: "string", format: "date-time" },
      metadata: { type: "object" },
    });
  });
});

describe("a JSON body", () => {
  test("carries instants as texts, which come out as Dates", () => {
    expect(jsonInsertSchema(schema.agentRegistry).parse(agent)).toEqual({
      ...agent,
      createdAt: new Date("2026-01-31T12:00:00.250Z"),
    });
  });

  test.each([
    "2026-01-31",
    "2026-01-31T12:00:00",
    "2026-02-30T12:00:00Z",
    "0000-01-01T00:00:00Z",
    "x",
    7,
  ])("%j is no instant", (createdAt) => {
    const body: unknown = { ...agent, createdAt };
    expect(jsonInsertSchema(schema.agentRegistry).safeParse(body).success).toBe(false);
  });

  test("is held to the rules between columns", () => {
    const body = {
      agentId: "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10",
      testName: "t",
      hypothesis: "h",
      controlPromptId: "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b11",
      treatmentPromptId: "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b12",
      startDate: "2026-01-31T12:00:00Z",
      endDate: "2026-01-31T13:00:00+01:00",
    };
    const result = jsonInsertSchema(schema.abTests).safeParse(body);
    expect(result.error?.issues).toMatchObject([{ path: ["endDate"] }]);
  });

  test.each([
    ["token_count", 8000, true],
    ["token_count", [1000, 8000], true],
    ["token_count", "8000", false],
    ["language", ["ja", "de"], true],
    ["language", 7, false],
    ["phase_of_the_moon", { full: true }, true],
  ])("a routing rule on %s takes %j: %s", (conditionType, conditionValue, taken) => {
    const body = { conditionType, conditionOperator: "=", conditionValue, targetModel: "m" };
    expect(jsonInsertSchema(schema.modelRoutingRules).safeParse(body).success).toBe(taken);
  });
});
