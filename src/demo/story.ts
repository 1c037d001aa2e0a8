/** The demo fleet as data: two organizations, five agents, what each is like. What happens to them stands in `events.ts`. */
import type * as schema from "../schema/index.ts";

/** The instant at which the demo stands still, unless another one is given. */
export const DEMO_NOW = "2026-01-31T12:00:00.000Z";

/** Whose the demo fleet is. */
export const DEMO_ORGANIZATIONS = {
  larkspur: { id: "1f0c7a52-6d3b-4c1e-9a87-2b5e8d40c6f1", name: "Larkspur Foods" },
  cobalt: { id: "c4b8e913-05fa-47d2-b6c9-7e1a3f92d805", name: "Cobalt Freight" },
} as const;

/** US dollars per million tokens, which is millionths of a dollar per token. */
export const PRICES = {
  "claude-opus-4-20250514": { input: 15, output: 75 },
  "claude-sonnet-4-20250514": { input: 3, output: 15 },
  "claude-haiku-4-5-20251001": { input: 1, output: 5 },
} as const;
export type Model = keyof typeof PRICES;

/** One step of an execution: typical milliseconds, and typical tokens where a model is called. */
export interface Step {
  readonly actionType: "llm_call" | "tool_call";
  readonly actionName: string;
  readonly ms: number;
  readonly tokens?: { readonly input: number; readonly output: number };
}
const llm = (actionName: string, ms: number, input: number, output: number): Step => {
  return { actionType: "llm_call", actionName, ms, tokens: { input, output } };
};
const tool = (actionName: string, ms: number): Step => ({
  actionType: "tool_call",
  actionName,
  ms,
});

/** What a prompt version makes of its agent. */
export interface Version {
  readonly reason: string;
  /** Share of its executions that fail. */
  readonly failing: number;
  /** Typical quality score, percent. */
  readonly quality: number;
  /** What its model calls take and cost, in multiples of what the steps say. Default 1. */
  readonly size?: number;
  /** Default: the agent's. */
  readonly model?: Model;
}

/** An agent, before anything happens to it. */
export interface Story extends Pick<
  schema.Agent,
  "agentName" | "displayName" | "description" | "category" | "status"
> {
  readonly organization: keyof typeof DEMO_ORGANIZATIONS;
  readonly owner: string;
  /** Executions a day. */
  readonly pace: number;
  readonly model: Model;
  /** The model of executions about a topic. */
  readonly route: { readonly topic: string; readonly model: Model };
  readonly steps: readonly Step[];
  readonly entity: string;
  readonly topics: readonly string[];
  /** The most common one first. */
  readonly errors: readonly (keyof typeof ERRORS)[];
  /** By their names. The first one is the baseline. */
  readonly versions: Readonly<Record<string, Version>>;
  readonly sla: { readonly p95: number; readonly success: number; readonly window: string };
  /** US dollars. */
  readonly budget: { readonly daily: number; readonly monthly: number };
}

export const ERRORS = {
  context_too_long: "The prompt is longer than the model's context",
  schema_mismatch: "The answer is not of the expected shape",
  rate_limited: "429 Too Many Requests, retry after 20 s",
  upstream_unavailable: "503 Service Unavailable",
  permission_denied: "403 Forbidden: the token has expired",
  upstream_timeout: "No answer within 30 s",
} as const;

export const FLEET = {
  invoices: {
    agentName: "invoice-reconciler",
    organization: "larkspur",
    displayName: "Invoice reconciler",
    description: "Matches supplier invoices with purchase orders and posts them to the ledger.",
    category: "operations",
    status: "improving",
    owner: "dana.reyes",
    pace: 8,
    model: "claude-sonnet-4-20250514",
    route: { topic: "duplicate", model: "claude-haiku-4-5-20251001" },
    steps: [llm("match_invoice", 3900, 12_000, 1300), tool("post_to_ledger", 720)],
    entity: "invoice",
    topics: ["freight surcharge", "duplicate invoice", "missing purchase order"],
    errors: ["context_too_long", "upstream_unavailable"],
    versions: {
      "1.0.0": { failing: 0.1, quality: 84, reason: "First version" },
      "1.1.0": { failing: 0.02, quality: 91, reason: "Reads credit notes too" },
      "1.2.0": {
        failing: 0.45,
        quality: 74,
        size: 2.8,
        reason: "Sends the supplier's history along",
      },
    },
    sla: { p95: 12_000, success: 0.9, window: "rolling_7d" },
    budget: { daily: 1.6, monthly: 30 },
  },
  leads: {
    agentName: "lead-qualifier",
    organization: "larkspur",
    displayName: "Lead qualifier",
    description: "Scores inbound leads and hands the promising ones to a salesperson.",
    category: "sales",
    status: "testing",
    owner: "sam.okafor",
    pace: 9,
    model: "claude-sonnet-4-20250514",
    route: { topic: "newsletter", model: "claude-haiku-4-5-20251001" },
    steps: [llm("score_lead", 1900, 5200, 420)],
    entity: "lead",
    topics: ["restaurant chain", "wholesale request", "newsletter sign-up"],
    errors: ["schema_mismatch", "rate_limited"],
    versions: {
      "1.0.0": { failing: 0.27, quality: 81, reason: "First version" },
      "1.1.0": {
        failing: 0.03,
        quality: 87,
        model: "claude-haiku-4-5-20251001",
        reason: "A smaller model, with six examples",
      },
    },
    sla: { p95: 6000, success: 0.7, window: "rolling_30d" },
    budget: { daily: 0.5, monthly: 10 },
  },
  contracts: {
    agentName: "contract-summarizer",
    organization: "cobalt",
    displayName: "Contract summarizer",
    description: "Summarizes carrier contracts and flags unusual clauses for the legal team.",
    category: "internal",
    status: "active",
    owner: "omar.haddad",
    pace: 8,
    model: "claude-opus-4-20250514",
    route: { topic: "termination notice", model: "claude-sonnet-4-20250514" },
    steps: [llm("summarize", 9500, 13_000, 1500)],
    entity: "contract",
    topics: ["liability cap", "fuel surcharge clause", "termination notice"],
    errors: ["context_too_long", "schema_mismatch"],
    versions: {
      "1.0.0": { failing: 0.4, quality: 80, reason: "First version" },
      "1.1.0": { failing: 0.02, quality: 90, reason: "Works clause by clause" },
    },
    sla: { p95: 32_000, success: 0.7, window: "rolling_30d" },
    budget: { daily: 2.4, monthly: 110 },
  },
  shipments: {
    agentName: "shipment-tracker",
    organization: "cobalt",
    displayName: "Shipment tracker",
    description: "Answers where a shipment is and warns customers of delays.",
    category: "operations",
    status: "active",
    owner: "lena.fischer",
    pace: 8,
    model: "claude-haiku-4-5-20251001",
    route: { topic: "customs in Japanese", model: "claude-sonnet-4-20250514" },
    steps: [tool("locate_shipment", 420), llm("write_reply", 1300, 3600, 300)],
    entity: "shipment",
    topics: ["customs hold", "port congestion", "arrival estimate"],
    errors: ["upstream_unavailable", "schema_mismatch"],
    versions: {
      "1.0.0": { failing: 0.05, quality: 85, reason: "First version" },
      "1.1.0": { failing: 0.02, quality: 91, reason: "Names the next checkpoint" },
    },
    sla: { p95: 5000, success: 0.9, window: "rolling_30d" },
    budget: { daily: 0.2, monthly: 4 },
  },
  churn: {
    agentName: "churn-watcher",
    organization: "cobalt",
    displayName: "Churn watcher",
    description: "Looks for shippers about to leave and suggests what to offer them.",
    category: "client_success",
    status: "active",
    owner: "lena.fischer",
    pace: 6,
    model: "claude-sonnet-4-20250514",
    route: { topic: "renewal within a week", model: "claude-opus-4-20250514" },
    steps: [llm("assess_risk", 2400, 6100, 520)],
    entity: "account",
    topics: ["fewer bookings", "price complaint", "contract renewal"],
    errors: ["permission_denied"],
    versions: {
      "1.0.0": { failing: 0.05, quality: 84, reason: "First version" },
      "1.1.0": { failing: 0.06, quality: 86, reason: "Weighs the last 90 days" },
    },
    sla: { p95: 7000, success: 0.85, window: "rolling_30d" },
    budget: { daily: 0.6, monthly: 12 },
  },
} as const satisfies Readonly<Record<string, Story>>;
