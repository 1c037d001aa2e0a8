/**
 * What is inside the JSON columns, for validators. The tables name a shape and import its type alone, so
 * that they do without zod.
 */
import * as z from "zod";
import {
  type JsonFault,
  type JsonForm,
  type JsonObject,
  type JsonValue,
  isStorable,
  jsonFault,
  kindOf,
} from "./json.ts";

/** Names the place inside the document, for one of a megabyte is not searched by hand. */
export const jsonIssue = ({ path, found }: JsonFault) => ({
  code: "custom" as const,
  path,
  message:
    path.length === 0 && found === "undefined"
      ? "missing, expected JSON"
      : `expected JSON, got ${found}; asJson() makes any value storable`,
});

/** Any JSON that PostgreSQL can hold. */
export const anyJson = z.custom<JsonValue>().superRefine((value, context) => {
  const fault = jsonFault(value);
  if (fault) context.addIssue(jsonIssue(fault));
});

/** Any JSON object. */
export const anyJsonObject = z
  .custom<JsonObject>()
  .superRefine((value, context) => {
    const fault = jsonFault(value);
    if (fault) {
      context.addIssue(jsonIssue(fault));
    } else if (typeof value !== "object" || value === null || Array.isArray(value)) {
      context.addIssue(`expected a JSON object, got ${kindOf(value)}`);
    }
  })
  .meta({ type: "object" });

/** A text inside a JSON document. */
const jsonText = z.string().refine(isStorable, "expected text without NUL or broken Unicode");

/** A JSON object with these keys; further keys are the user's. */
const open = <Shape extends z.ZodRawShape>(shape: Shape) =>
  z.object(shape).catchall(anyJson.optional());

const named = {
  name: jsonText.min(1),
  description: jsonText.nullish(),
};
/** A tool as a model is told of it, in the form of whoever serves the model; it stays as it is given. */
const toolDefinition = z.union(
  [
    open({ ...named, parameters: anyJsonObject.nullish() }),
    open({
      type: z.literal("function"),
      function: open({ ...named, parameters: anyJsonObject.nullish() }),
    }),
    open({ type: z.literal("custom"), custom: open(named) }),
  ],
  'expected a tool with a name, as { name, parameters }, { name, input_schema } or { type: "function", function: { name, parameters } }',
);
/**
 * A tool as a model is told of it: with a JSON Schema as `parameters`, or in the form of OpenAI's chat
 * completions, within `function` or `custom`; OpenAI's responses and Anthropic's `input_schema` are the
 * first form with keys of their own. Further keys are the user's.
 */
export type ToolDefinition = z.infer<typeof toolDefinition>;

const fewShotExample = open({ input: anyJson, output: anyJson });
/** What a model is shown as a good answer. Further keys are the user's. */
export type FewShotExample = z.infer<typeof fewShotExample>;

const errorDistribution = z.record(jsonText, z.int().min(0));
/** How many failed rows a day had of each error type. */
export type ErrorDistribution = z.infer<typeof errorDistribution>;

const recommendation = open({ title: jsonText.min(1), description: jsonText.optional() });
/** One piece of advice of a report. Further keys are the user's. */
export type Recommendation = z.infer<typeof recommendation>;

const expectedMetricsChange = z.record(jsonText, z.number());
/** Metric name to expected change, in the metric's own unit. */
export type ExpectedMetricsChange = z.infer<typeof expectedMetricsChange>;

const canaryStage = open({
  traffic: z.number().min(0).max(1),
  duration_minutes: z.number().min(0).optional(),
});
/** One step of a rollout. `traffic` is a ratio, 0 to 1. Further keys are the user's. */
export type CanaryStage = z.infer<typeof canaryStage>;

const usageExample = open({ input: anyJson, output: anyJson });
/** How a component is used. Further keys are the user's. */
export type UsageExample = z.infer<typeof usageExample>;

const breachDetails = open({
  reason: jsonText.optional(),
  started_at: z.iso.datetime({ offset: true }).optional(),
  ended_at: z.iso.datetime({ offset: true }).optional(),
});
/** What went wrong in a period. Further keys are the user's. */
export type BreachDetails = z.infer<typeof breachDetails>;

const amount = z.number();
const amounts = z.union([amount, z.array(amount).min(1)], "expected a number or a list of numbers");
const words = z.union([jsonText, z.array(jsonText).min(1)], "expected a text or a list of texts");

/**
 * What a routing rule compares with, by the type of its condition: one value, or a list for operators
 * that take several. The list of types is open: of others any JSON will do. Only validators know this.
 */
const routingConditionValue = {
  token_count: amounts,
  cost_usd: amounts,
  latency_ms: amounts,
  quality_score: amounts,
  budget_used: amounts,
  task_type: words,
  action_type: words,
  language: words,
};

/** The shapes by the names that columns give: of a whole document, or of each element of an array. */
const shapes = {
  anyJson,
  anyJsonObject,
  toolDefinition,
  fewShotExample,
  errorDistribution,
  recommendation,
  expectedMetricsChange,
  canaryStage,
  usageExample,
  breachDetails,
};
export type ShapeName = keyof typeof shapes;

/** What is in a document of a shape, or in an element of one. */
export type Shaped<Name extends ShapeName> = z.infer<(typeof shapes)[Name]>;

/** The shape of a column's whole document. */
export function shapeOf(name: ShapeName, form?: JsonForm): z.ZodType {
  const shape: z.ZodType = shapes[name];
  switch (form) {
    case "array":
      return z.array(shape);
    case "non-empty array":
      return z.array(shape).min(1);
    case "object":
    case undefined:
      return shape;
  }
}

/** Where the text of another column decides further, the shapes by that text. */
const choices = { routingConditionValue };
export type ChoiceName = keyof typeof choices;
export const choiceOf = (name: ChoiceName): Readonly<Record<string, z.ZodType>> => choices[name];
