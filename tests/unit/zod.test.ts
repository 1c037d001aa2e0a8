import { randomUUID } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { getTableColumns, getTableName, is } from "drizzle-orm";
import { PgTable, type PgUpdateSetSource } from "drizzle-orm/pg-core";
import { describe, expect, expectTypeOf, test } from "vitest";
import * as z from "zod";
import type { NewExecution } from "../../src/fleet/record/record.ts";
import * as schema from "../../src/schema/index.ts";
import { newSla } from "../../src/testing.ts";
import type { Given } from "../../src/validation/validators.ts";
import * as zod from "../../src/zod.ts";
import { oneOfEach } from "../rows.ts";

type Tables = typeof schema;
type Table = keyof Tables;
type Kind = "select" | "insert" | "update";
/** What the validators of a table are called after: `selectAgentSchema`. */
type NameOf<T extends Table> = {
  [K in keyof typeof zod]: K extends `select${infer Name}Schema`
    ? z.output<(typeof zod)[K]> extends Tables[T]["$inferSelect"]
      ? Tables[T]["$inferSelect"] extends z.output<(typeof zod)[K]>
        ? Name
        : never
      : never
    : never;
}[keyof typeof zod];
type Schema<T extends Table, K extends Kind> = (typeof zod)[`${K}${NameOf<T>}Schema` &
  keyof typeof zod];
type Inputs<K extends Kind> = { [T in Table]: z.input<Schema<T, K>> };
type Outputs<K extends Kind> = { [T in Table]: z.output<Schema<T, K>> };

const validators = new Map<string, unknown>(Object.entries(zod));
/** As its row type is: `export type Agent = Row<typeof agentRegistry>`. */
const names = new Map(
  readdirSync("src/schema")
    .map((file) => readFileSync(`src/schema/${file}`, "utf8"))
    .flatMap((text) => [...text.matchAll(/^export type (\w+) = Row<typeof (\w+)>;/gm)])
    .map(([, name = "", table = ""]) => [table, name] as const),
);

function validatorOf(kind: Kind, table: string): z.ZodObject {
  const name = `${kind}${names.get(table)}Schema`;
  const validator = validators.get(name);
  if (validator instanceof z.ZodObject) return validator;
  throw new Error(`${name} is no validator: add it to src/zod.ts`);
}

const cases = Object.entries(schema)
  .filter(([, value]) => is(value, PgTable))
  .map(([key, table]) => ({
    key,
    table,
    columns: Object.keys(getTableColumns(table)),
    select: validatorOf("select", key),
    insert: validatorOf("insert", key),
    update: validatorOf("update", key),
  }));

describe("types", () => {
  test("of a selected row are Drizzle's", () => {
    type Rows = { [T in Table]: Tables[T]["$inferSelect"] };
    expectTypeOf<Outputs<"select">>().toEqualTypeOf<Rows>();
    expectTypeOf<Inputs<"select">>().toEqualTypeOf<Rows>();
  });

  test("of a new row are Drizzle's: what may be left out stays optional", () => {
    type Rows = { [T in Table]: Tables[T]["$inferInsert"] };
    expectTypeOf<Outputs<"insert">>().toEqualTypeOf<Rows>();
    expectTypeOf<Inputs<"insert">>().toEqualTypeOf<{ [T in Table]: Given<Rows[T]> }>();
  });

  test("of a change are Drizzle's, all optional, without id and organization", () => {
    type Changeable<T extends Table> = Omit<Tables[T]["$inferInsert"], "id" | "organizationId">;
    type Rows = {
      [T in Table]: { [Key in keyof Changeable<T>]?: Changeable<T>[Key] | undefined };
    };
    expectTypeOf<Outputs<"update">>().toEqualTypeOf<Rows>();
    expectTypeOf<Inputs<"update">>().toEqualTypeOf<{ [T in Table]: Given<Rows[T]> }>();
    type Changes = { [T in Table]: PgUpdateSetSource<Tables[T]> };
    expectTypeOf<Outputs<"update">>().toExtend<Changes>();
  });

  test("of what JSON columns are given are any object, of all other columns Drizzle's", () => {
    interface Foreign {
      role: "user";
      content?: string | undefined;
    }
    type Log = z.input<typeof zod.insertAgentExecutionLogSchema>;
    expectTypeOf<Foreign>().toExtend<Log["inputData"]>();
    expectTypeOf<Foreign[]>().toExtend<Log["outputData"]>();
    expectTypeOf<Foreign>().toExtend<Log["metadata"]>();
    expectTypeOf<string>().toExtend<Log["inputData"]>();
    expectTypeOf<Foreign>().toExtend<NewExecution["inputData"]>();
    // @ts-expect-error -- as a column holds it, it is JSON
    expectTypeOf<Foreign>().toExtend<Tables["agentExecutionLogs"]["$inferInsert"]["inputData"]>();
    type Prompt = z.input<typeof zod.insertAgentPromptSchema>;
    expectTypeOf<readonly Foreign[]>().toExtend<Prompt["toolDefinitions"]>();
    type Plain = Exclude<keyof Log, "inputData" | "outputData" | "metadata">;
    expectTypeOf<Pick<Log, Plain>>().toEqualTypeOf<
      Pick<Tables["agentExecutionLogs"]["$inferInsert"], Plain>
    >();
    type Embedding = Tables["executionEmbeddings"]["$inferInsert"];
    expectTypeOf<z.input<typeof zod.insertExecutionEmbeddingSchema>>().toEqualTypeOf<Embedding>();
  });
});

describe("validators", () => {
  test("are exported for every table, three each, and no others", () => {
    const exported = [...validators].filter(([, value]) => value instanceof z.ZodObject);
    const expected = cases.flatMap(({ key }) =>
      ["select", "insert", "update"].map((kind) => `${kind}${names.get(key)}Schema`),
    );
    expect(exported.map(([name]) => name).toSorted()).toEqual(expected.toSorted());
  });

  test.each(cases)("of $key have its columns", ({ columns, select, insert, update }) => {
    expect(Object.keys(select.shape)).toEqual(columns);
    expect(Object.keys(insert.shape)).toEqual(columns);
    const changeable = columns.filter((key) => key !== "id" && key !== "organizationId");
    expect(Object.keys(update.shape)).toEqual(changeable);
  });

  test.each(cases)("of $key refuse keys that are no column", ({ select, insert, update }) => {
    for (const validator of [select, insert, update]) {
      expect(unknownKeys(validator, { shoe_size: 44 })).toEqual(["shoe_size"]);
    }
    expect(unknownKeys(update, { id: randomUUID(), organizationId: null })).toEqual([
      "id",
      "organizationId",
    ]);
    expect(update.safeParse({}).success).toBe(true);
  });

  test.each(oneOfEach().map((made) => [getTableName(made.table), made] as const))(
    "of %s take the row of its factory",
    (_, { table, values }) => {
      const insert = cases.find((other) => other.table === table)?.insert;
      expect(insert?.parse(values)).toEqual(values);
    },
  );
});

function unknownKeys(validator: z.ZodType, value: unknown): string[] {
  const issues = validator.safeParse(value).error?.issues ?? [];
  return issues.flatMap((issue) => (issue.code === "unrecognized_keys" ? issue.keys : []));
}

describe("a refusal reads as a sentence:", () => {
  const said = (validator: z.ZodType, value: unknown) => {
    const { error } = validator.safeParse(value);
    return error && z.prettifyError(error);
  };
  const agentId = randomUUID();
  const promptId = randomUUID();

  test("a mistake of each kind of column", () => {
    const agent = {
      id: "7",
      agentName: "",
      category: "Sales",
      version: "v".repeat(256),
      description: "a\0b",
      targetSuccessRate: 100.5,
      targetAvgLatencyMs: 0.5,
      targetCostPerExecution: "1e-3",
      currentHealthScore: Number.NaN,
      lastHealthCheck: new Date(Number.NaN),
      consecutiveFailures: -1,
      createdAt: "yesterday",
      metadata: [],
      organizationId: 7,
    };
    expect(said(zod.insertAgentSchema, agent)).toMatchInlineSnapshot(`
      "✖ expected a uuid of 32 hex digits (uuidFor makes one of any id), got "7"
        → at id
      ✖ expected text of 1 to 255 characters, got ""
        → at agentName
      ✖ missing, expected text without NUL or broken Unicode
        → at displayName
      ✖ expected text without NUL or broken Unicode, got "a\\u0000b" with a NUL character at 1
        → at description
      ✖ expected one of client_success, marketing, sales, operations, internal ("sales"?), got "Sales"
        → at category
      ✖ expected text of 1 to 255 characters, got "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv…" of 256 characters
        → at version
      ✖ expected percent, 0 to 100, got 100.5
        → at targetSuccessRate
      ✖ expected whole milliseconds, 0 to 2147483647, got 0.5
        → at targetAvgLatencyMs
      ✖ expected US dollars as decimal text such as "0.10", got "1e-3"
        → at targetCostPerExecution
      ✖ expected percent, 0 to 100, got NaN
        → at currentHealthScore
      ✖ expected a Date of the years 1 to 9999, got an invalid Date
        → at lastHealthCheck
      ✖ expected a whole number, 0 to 2147483647, got -1
        → at consecutiveFailures
      ✖ expected a Date of the years 1 to 9999, got the text "yesterday"
        → at createdAt
      ✖ expected a JSON object, got a list of 0
        → at metadata
      ✖ expected a uuid of 32 hex digits (uuidFor makes one of any id), got the number 7
        → at organizationId"
    `);
  });

  const { shape: log } = zod.insertAgentExecutionLogSchema;
  const { shape: metrics } = zod.insertAgentPerformanceMetricSchema;
  const { shape: embeddings } = zod.insertExecutionEmbeddingSchema;
  const long = "x".repeat(300);
  test.each([
    [log.latencyMs, 840.5, "whole milliseconds, 0 to 2147483647, got 840.5"],
    [log.latencyMs, "840", 'whole milliseconds, 0 to 2147483647, got the text "840"'],
    [log.latencyMs, 840n, "whole milliseconds, 0 to 2147483647, got a BigInt"],
    [log.latencyMs, 2 ** 31, "whole milliseconds, 0 to 2147483647, got 2147483648"],
    [log.tokenCountInput, 7.5, "whole tokens, 0 to 2147483647, got 7.5"],
    [metrics.totalExecutions, 0.5, "a whole number, 0 to 2147483647, got 0.5"],
    [log.estimatedCostUsd, 0.1, 'US dollars as decimal text such as "0.10", got the number 0.1'],
    [log.estimatedCostUsd, "3e-7", 'US dollars as decimal text such as "0.10", got "3e-7"'],
    [log.estimatedCostUsd, ".5", 'US dollars as decimal text such as "0.10", got ".5"'],
    [log.estimatedCostUsd, "-0.10", 'US dollars, 0 to 1000000000000, got "-0.10"'],
    [log.qualityScore, "90", 'percent, 0 to 100, got the text "90"'],
    [log.qualityScore, 100.5, "percent, 0 to 100, got 100.5"],
    [log.timestamp, 1_764_374_400, "a Date of the years 1 to 9999, got the number 1764374400"],
    [metrics.date, "2026-02-30", 'a day of the calendar, YYYY-MM-DD, got "2026-02-30"'],
    [
      metrics.date,
      new Date(0),
      "a day of the calendar, YYYY-MM-DD, got the Date 1970-01-01T00:00:00.000Z",
    ],
    [
      log.status,
      "Success",
      'one of success, failure, timeout, cancelled, running ("success"?), got "Success"',
    ],
    [
      log.status,
      "succeeded",
      'one of success, failure, timeout, cancelled, running, got "succeeded"',
    ],
    [
      log.status,
      Object.create(null),
      "one of success, failure, timeout, cancelled, running, got an object without a prototype",
    ],
    [
      log.executionId,
      "run_01J9",
      'a uuid of 32 hex digits (uuidFor makes one of any id), got "run_01J9"',
    ],
    [
      zod.insertAgentPromptSchema.shape.version,
      long,
      `text of 1 to 255 characters, got "${long.slice(0, 40)}…" of 300 characters`,
    ],
    [
      log.actionType,
      "a\0b",
      'text without NUL or broken Unicode, got "a\\u0000b" with a NUL character at 1',
    ],
    [
      log.errorMessage,
      `${long}\ud800`,
      `text without NUL or broken Unicode, got "${long.slice(0, 40)}…" of 301 characters with half a surrogate pair at 300`,
    ],
    [
      zod.insertLearningSchema.shape.applicableTo,
      ["sales", ""],
      'text of 1 to 255 characters, got ""',
    ],
    [
      zod.insertLearningSchema.shape.applicableTo,
      "sales",
      'a list of texts of 1 to 255 characters, got the text "sales"',
    ],
    [
      embeddings.inputEmbedding,
      Array(1536).fill(0).fill(1e39, 1535),
      "a finite number within float4, got 1e+39",
    ],
    [log.metadata, [], "a JSON object, got a list of 0"],
    [log.metadata, null, "a JSON object, got null"],
  ])("of a near miss, what it misses: %#", (validator, value, message) => {
    expect(validator.safeParse(value).error?.issues.map((issue) => issue.message)).toEqual([
      `expected ${message}`,
    ]);
  });

  test("days, lists and documents", () => {
    const report = {
      agentId,
      reportDate: "2026-02-30",
      evaluationPeriodStart: "5.1.2026",
      evaluationPeriodEnd: new Date(0),
      strengths: ["fast", null],
      weaknesses: "none",
      recommendations: [{ title: "" }, { description: "no title" }],
      comparisonDetails: { ratio: Number.NaN },
      riskLevel: null,
      overallScore: "90",
    };
    expect(said(zod.insertEvaluationReportSchema, report)).toMatchInlineSnapshot(`
      "✖ expected a day of the calendar, YYYY-MM-DD, got "2026-02-30"
        → at reportDate
      ✖ expected a day of the calendar, YYYY-MM-DD, got "5.1.2026"
        → at evaluationPeriodStart
      ✖ expected a day of the calendar, YYYY-MM-DD, got the Date 1970-01-01T00:00:00.000Z
        → at evaluationPeriodEnd
      ✖ expected percent, 0 to 100, got the text "90"
        → at overallScore
      ✖ expected a list of texts, got the text "none"
        → at weaknesses
      ✖ expected text without NUL or broken Unicode, got null
        → at strengths[1]
      ✖ expected JSON, got NaN; asJson() makes any value storable
        → at comparisonDetails.ratio
      ✖ Too small: expected string to have >=1 characters
        → at recommendations[0].title
      ✖ Invalid input: expected string, received undefined
        → at recommendations[1].title"
    `);
  });

  test("vectors, booleans, elements and missing columns", () => {
    const embedding = { inputEmbedding: [1, 2, 3], outputEmbedding: Array(1536).fill(1e39) };
    expect(said(zod.insertExecutionEmbeddingSchema, embedding)).toMatchInlineSnapshot(`
      "✖ missing, expected a uuid of 32 hex digits (uuidFor makes one of any id)
        → at executionLogId
      ✖ expected 1536 finite numbers within float4, got a list of 3
        → at inputEmbedding
      ✖ expected a finite number within float4, got 1e+39
        → at outputEmbedding[0]"
    `);
    const learning = { isActive: "yes", applicableTo: ["sales", ""] };
    expect(said(zod.insertLearningSchema, learning)).toMatchInlineSnapshot(`
      "✖ missing, expected one of success_pattern, failure_pattern, optimization, anti_pattern
        → at learningType
      ✖ missing, expected text without NUL or broken Unicode
        → at title
      ✖ missing, expected text without NUL or broken Unicode
        → at description
      ✖ expected true or false, got the text "yes"
        → at isActive
      ✖ expected text of 1 to 255 characters, got ""
        → at applicableTo[1]"
    `);
  });

  test("rules between columns", () => {
    const prompts = { controlPromptId: promptId, treatmentPromptId: promptId.toUpperCase() };
    const dates = { startDate: new Date(0), endDate: new Date(0) };
    const abTest = { agentId, testName: "t", hypothesis: "h", ...prompts, ...dates };
    expect(said(zod.insertAbTestSchema, abTest)).toMatchInlineSnapshot(`
      "✖ controlPromptId and treatmentPromptId must differ
        → at controlPromptId
      ✖ endDate must be after startDate
        → at endDate"
    `);
    const sla = newSla({ agentId, targetP50LatencyMs: 3, targetP95LatencyMs: 2 });
    expect(said(zod.insertAgentSlaSchema, sla)).toMatchInlineSnapshot(`
      "✖ targetP95LatencyMs must not be before or below targetP50LatencyMs
        → at targetP95LatencyMs"
    `);
    expect(said(zod.insertExecutionEmbeddingSchema, { executionLogId: agentId }))
      .toMatchInlineSnapshot(`
      "✖ one of inputEmbedding, outputEmbedding, errorEmbedding must be given
        → at inputEmbedding"
    `);
    expect(said(zod.updateAgentSchema, { id: agentId, shoeSize: 44 })).toMatchInlineSnapshot(
      `"✖ Unrecognized keys: "id", "shoeSize""`,
    );
  });
});
