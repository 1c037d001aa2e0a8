/** The demo fleet as data: two organizations, six agents, two weeks of their life. */
import type * as schema from "../schema/index.ts";
import type { ExecutionStatus } from "../values.ts";

/** The instant at which the demo stands still. */
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

export const ERRORS = {
  rate_limited: "429 Too Many Requests, retry after 20 s",
  schema_mismatch: "The answer is not of the expected shape",
  upstream_unavailable: "503 Service Unavailable",
  permission_denied: "403 Forbidden: the token has expired",
  record_not_found: "404 Not Found: no such record",
  context_too_long: "The prompt is longer than the model's context",
  /** Logged without an error type. */
  unknown: "Unexpected end of input",
} as const;
export const TIMEOUT = { type: "upstream_timeout", message: "No answer within 30 s", ms: 30_000 };

/** One step of an execution: typical milliseconds, and typical tokens where a model is called. */
export interface Action {
  type: "llm_call" | "tool_call";
  name: string;
  ms: number;
  tokens?: { input: number; output: number };
}
const llm = (name: string, ms: number, input: number, output: number): Action => {
  return { type: "llm_call", name, ms, tokens: { input, output } };
};
const tool = (name: string, ms: number): Action => ({ type: "tool_call", name, ms });

/** A prompt version. `live`: since how many days ago it serves all executions, if ever. */
export interface Version {
  version: string;
  live?: number;
  /** Share of its executions that fail. */
  failing: number;
  /** Typical quality score, percent. */
  quality: number;
  reason: string;
}

/** A version tried on a share of the executions; `from` and `until` are days ago. */
interface Trial {
  kind: "ab_test" | "shadow_test" | "canary";
  candidate: string;
  from: number;
  until?: number;
  share: number;
}

export interface Story extends Pick<schema.Agent, "displayName" | "category" | "status"> {
  name: string;
  organization: keyof typeof DEMO_ORGANIZATIONS;
  description: string;
  owner: string;
  model: keyof typeof PRICES;
  /** Rows in the execution log. */
  rows: number;
  actions: Action[];
  entity: string;
  topics: string[];
  /** The most common one first. */
  errors: (keyof typeof ERRORS)[];
  versions: Version[];
  trial: Trial;
  /** Since so many days ago it fails more often and takes longer. */
  decline?: { since: number; failing: number; slower: number };
  /** Its last executions: minutes ago, by outcome. */
  ending?: Partial<Record<ExecutionStatus, number[]>>;
  /** How many minutes ago its last ordinary execution was. */
  idle: number;
  /** US dollars. */
  budget: { daily: number; monthly: number };
  sla: { p95: number; success: number };
  alerts: AlertStory[];
  proposals: ProposalStory[];
  learnings: LearningStory[];
}

/** Acknowledged within the hour; resolved where there is a resolution. */
interface AlertStory extends Pick<schema.Alert, "alertType" | "severity" | "title" | "message"> {
  hoursAgo: number;
  resolution?: string;
}

/** Beside the one that led to the trial. */
export interface ProposalStory extends Pick<
  schema.ImprovementProposal,
  "proposalType" | "status" | "priority" | "title" | "rationale"
> {
  daysAgo: number;
  rejectionReason?: string;
}

interface LearningStory extends Pick<
  schema.Learning,
  "learningType" | "confidenceLevel" | "title" | "description"
> {
  daysAgo: number;
  /** The title of another. */
  supersededBy?: string;
}

export const FLEET: Story[] = [
  {
    name: "invoice-reconciler",
    organization: "larkspur",
    displayName: "Invoice reconciler",
    description: "Matches supplier invoices with purchase orders and posts them to the ledger.",
    category: "operations",
    status: "improving",
    owner: "dana.reyes",
    model: "claude-sonnet-4-20250514",
    rows: 400,
    actions: [
      llm("read_invoice", 2100, 9000, 700),
      tool("find_purchase_order", 380),
      llm("match_lines", 2600, 7000, 900),
      tool("post_to_ledger", 720),
    ],
    entity: "invoice",
    topics: ["freight surcharge", "duplicate invoice", "missing purchase order"],
    errors: ["upstream_unavailable", "schema_mismatch", "rate_limited"],
    versions: [
      { version: "1.0.0", live: 16, failing: 0.03, quality: 87, reason: "First version" },
      { version: "1.1.0", live: 9, failing: 0.02, quality: 91, reason: "Reads credit notes too" },
      { version: "1.2.0", failing: 0.02, quality: 92, reason: "Posts only once a minute" },
    ],
    trial: { kind: "shadow_test", candidate: "1.2.0", from: 2, share: 0.2 },
    // The ledger answers worse and worse, until five executions in a row fail and the breaker opens.
    decline: { since: 4, failing: 0.4, slower: 1.8 },
    ending: { success: [48], failure: [41, 31, 27, 22], timeout: [36] },
    idle: 55,
    budget: { daily: 6, monthly: 40 },
    sla: { p95: 12_000, success: 0.95 },
    alerts: [
      {
        alertType: "failure_rate",
        severity: "warning",
        title: "Failure rate is rising",
        message: "The ledger refuses or delays more and more postings.",
        hoursAgo: 50,
      },
      {
        alertType: "circuit_breaker",
        severity: "critical",
        title: "Circuit breaker open",
        message: "Five executions in a row failed. The agent rests until the ledger answers again.",
        hoursAgo: 0.35,
      },
    ],
    proposals: [
      {
        proposalType: "config_change",
        status: "proposed",
        priority: "critical",
        title: "Post to the ledger in batches",
        rationale: "The ledger slows down with the number of requests, not with their size.",
        daysAgo: 0.2,
      },
      {
        proposalType: "tool_addition",
        status: "approved",
        priority: "high",
        title: "Repeat refused postings after a pause",
        rationale: "Most refused postings succeed when repeated by hand.",
        daysAgo: 1,
      },
    ],
    learnings: [
      {
        learningType: "failure_pattern",
        confidenceLevel: "medium",
        title: "The ledger fails at the end of the month",
        description: "Postings slow down four days before the end of the month, then fail.",
        daysAgo: 1,
      },
    ],
  },
  {
    name: "lead-qualifier",
    organization: "larkspur",
    displayName: "Lead qualifier",
    description: "Scores inbound leads and hands the promising ones to a salesperson.",
    category: "sales",
    status: "testing",
    owner: "sam.okafor",
    model: "claude-sonnet-4-20250514",
    rows: 330,
    actions: [tool("fetch_lead", 260), llm("score_lead", 1800, 5200, 420), tool("update_crm", 340)],
    entity: "lead",
    topics: ["restaurant chain", "wholesale request", "newsletter sign-up"],
    errors: ["rate_limited", "record_not_found", "unknown"],
    versions: [
      { version: "1.0.0", live: 16, failing: 0.08, quality: 81, reason: "First version" },
      { version: "1.1.0", failing: 0.03, quality: 87, reason: "Asks for the buyer's budget" },
    ],
    trial: { kind: "ab_test", candidate: "1.1.0", from: 5, share: 0.5 },
    idle: 3,
    budget: { daily: 4, monthly: 20 },
    sla: { p95: 6000, success: 0.8 },
    alerts: [],
    proposals: [],
    learnings: [],
  },
  {
    name: "campaign-writer",
    organization: "larkspur",
    displayName: "Campaign writer",
    description: "Drafts e-mail campaigns in the brand's voice and checks them against its style.",
    category: "marketing",
    status: "active",
    owner: "sam.okafor",
    model: "claude-sonnet-4-20250514",
    rows: 270,
    actions: [llm("draft_campaign", 5200, 4200, 1900), tool("check_style", 450)],
    entity: "campaign",
    topics: ["spring menu", "loyalty programme", "seasonal recipes"],
    errors: ["schema_mismatch", "rate_limited"],
    versions: [
      { version: "1.0.0", live: 16, failing: 0.02, quality: 84, reason: "First version" },
      { version: "2.0.0", failing: 0.75, quality: 70, reason: "One call drafts all variants" },
    ],
    // Rolled back: it never went live.
    trial: { kind: "canary", candidate: "2.0.0", from: 6.5, until: 4, share: 0.5 },
    idle: 5,
    budget: { daily: 6, monthly: 30 },
    sla: { p95: 15_000, success: 0.8 },
    alerts: [
      {
        alertType: "canary",
        severity: "warning",
        title: "Canary rolled back",
        message: "Version 2.0.0 failed far more often than version 1.0.0.",
        hoursAgo: 96,
        resolution: "One call for all variants overruns the output limit: back to one call each.",
      },
    ],
    proposals: [],
    learnings: [
      {
        learningType: "optimization",
        confidenceLevel: "low",
        title: "One call for all variants is cheaper",
        description: "Drafting five variants in one call halves the input tokens.",
        daysAgo: 7,
        supersededBy: "Long outputs break their format",
      },
      {
        learningType: "anti_pattern",
        confidenceLevel: "high",
        title: "Long outputs break their format",
        description: "Above some 3,000 output tokens the last variants are cut or malformed.",
        daysAgo: 3,
      },
    ],
  },
  {
    name: "shipment-tracker",
    organization: "cobalt",
    displayName: "Shipment tracker",
    description: "Answers where a shipment is and warns customers of delays.",
    category: "operations",
    status: "active",
    owner: "lena.fischer",
    model: "claude-haiku-4-5-20251001",
    rows: 400,
    actions: [
      tool("locate_shipment", 420),
      llm("explain_delay", 1100, 3100, 260),
      llm("write_reply", 1300, 3600, 300),
    ],
    entity: "shipment",
    topics: ["customs hold", "port congestion", "arrival estimate"],
    errors: ["upstream_unavailable", "record_not_found"],
    versions: [
      { version: "1.0.0", live: 16, failing: 0.06, quality: 85, reason: "First version" },
      {
        version: "1.1.0",
        live: 5,
        failing: 0.01,
        quality: 90,
        reason: "Names the next checkpoint",
      },
    ],
    trial: { kind: "canary", candidate: "1.1.0", from: 8, until: 5, share: 0.3 },
    ending: { running: [0.1] },
    idle: 1,
    budget: { daily: 2, monthly: 10 },
    sla: { p95: 7000, success: 0.9 },
    alerts: [],
    proposals: [],
    learnings: [
      {
        learningType: "success_pattern",
        confidenceLevel: "high",
        title: "Name the next checkpoint",
        description: "Customers ask again less often when the answer names the next checkpoint.",
        daysAgo: 5,
      },
    ],
  },
  {
    name: "contract-summarizer",
    organization: "cobalt",
    displayName: "Contract summarizer",
    description: "Summarizes carrier contracts and flags unusual clauses for the legal team.",
    category: "internal",
    status: "active",
    owner: "omar.haddad",
    model: "claude-opus-4-20250514",
    rows: 330,
    actions: [
      tool("load_contract", 520),
      llm("summarize", 9500, 14_000, 1500),
      llm("flag_clauses", 6200, 9000, 800),
    ],
    entity: "contract",
    topics: ["liability cap", "fuel surcharge clause", "termination notice"],
    errors: ["context_too_long", "schema_mismatch"],
    versions: [
      { version: "1.0.0", live: 16, failing: 0.25, quality: 82, reason: "First version" },
      { version: "1.1.0", live: 4, failing: 0.01, quality: 90, reason: "Works clause by clause" },
    ],
    trial: { kind: "ab_test", candidate: "1.1.0", from: 12, until: 4, share: 0.5 },
    idle: 4,
    budget: { daily: 20, monthly: 60 },
    sla: { p95: 40_000, success: 0.7 },
    alerts: [
      {
        alertType: "budget",
        severity: "warning",
        title: "Monthly budget nearly spent",
        message: "At this pace the budget is gone before the month is over.",
        hoursAgo: 5,
      },
    ],
    proposals: [
      {
        proposalType: "config_change",
        status: "proposed",
        priority: "high",
        title: "Give short contracts to a smaller model",
        rationale: "Short contracts score the same with a model at a fifth of the price.",
        daysAgo: 0.3,
      },
    ],
    learnings: [
      {
        learningType: "success_pattern",
        confidenceLevel: "proven",
        title: "Clause by clause beats the whole text",
        description: "Working clause by clause removes most overruns and raises the quality.",
        daysAgo: 3.5,
      },
    ],
  },
  {
    name: "churn-watcher",
    organization: "cobalt",
    displayName: "Churn watcher",
    description: "Looks for shippers about to leave and suggests what to offer them.",
    category: "client_success",
    status: "active",
    owner: "lena.fischer",
    model: "claude-sonnet-4-20250514",
    rows: 270,
    actions: [tool("load_account", 300), llm("assess_risk", 2400, 6100, 520)],
    entity: "account",
    topics: ["fewer bookings", "price complaint", "contract renewal"],
    errors: ["permission_denied", "upstream_unavailable", "unknown"],
    versions: [
      { version: "1.0.0", live: 16, failing: 0.05, quality: 84, reason: "First version" },
      { version: "1.1.0", failing: 0.05, quality: 85, reason: "Weighs the last 90 days" },
    ],
    trial: { kind: "shadow_test", candidate: "1.1.0", from: 9, until: 3, share: 0.25 },
    // An expired token opened the breaker; since it was renewed two executions have come through.
    ending: { failure: [95, 92, 83, 79], timeout: [88], success: [45, 20] },
    idle: 101,
    budget: { daily: 5, monthly: 30 },
    sla: { p95: 7000, success: 0.8 },
    alerts: [
      {
        alertType: "circuit_breaker",
        severity: "critical",
        title: "Circuit breaker open",
        message: "Five executions in a row failed: the account service refuses the token.",
        hoursAgo: 1.3,
        resolution: "Token renewed; the breaker is half open.",
      },
    ],
    proposals: [
      {
        proposalType: "architecture_change",
        status: "rejected",
        priority: "low",
        title: "Split into one agent per region",
        rationale: "Offers differ between regions.",
        daysAgo: 6,
        rejectionReason: "A routing rule gives the same with one agent.",
      },
    ],
    learnings: [],
  },
];

interface ComponentStory extends Pick<schema.PromptComponent, "name" | "category" | "content"> {
  usedBy: string[];
}

export const LIBRARY: ComponentStory[] = [
  {
    name: "larkspur-brand-voice",
    category: "persona",
    content: "Warm, brief, no exclamation marks. Speak of growers by name.",
    usedBy: ["campaign-writer"],
  },
  {
    name: "larkspur-json-only",
    category: "output_format",
    content: "Answer with one JSON object of the given shape and nothing else.",
    usedBy: ["invoice-reconciler", "lead-qualifier"],
  },
  {
    name: "cobalt-cite-records",
    category: "system_instruction",
    content: "State only what a record says, and name the record.",
    usedBy: ["shipment-tracker", "contract-summarizer", "churn-watcher"],
  },
];

/** What goes to another model than the agent's own. */
export const ROUTING: {
  agent: string;
  when: [string, string, schema.JsonValue];
  model: Story["model"];
}[] = [
  { agent: "campaign-writer", when: ["budget_used", ">=", 90], model: "claude-haiku-4-5-20251001" },
  { agent: "contract-summarizer", when: ["pages", "<", 10], model: "claude-sonnet-4-20250514" },
  {
    agent: "shipment-tracker",
    when: ["language", "in", ["ja"]],
    model: "claude-sonnet-4-20250514",
  },
];

export const DEPENDENCIES: {
  from: string;
  to: string;
  type: schema.AgentDependency["dependencyType"];
}[] = [
  { from: "lead-qualifier", to: "campaign-writer", type: "data" },
  { from: "invoice-reconciler", to: "campaign-writer", type: "context" },
  { from: "contract-summarizer", to: "shipment-tracker", type: "approval" },
  { from: "shipment-tracker", to: "churn-watcher", type: "context" },
];

/** What all agents of an organization may spend together. */
export const ORGANIZATION_BUDGET = { daily: 40, monthly: 200 };

/** What reports and SLA periods cover: first and last day. */
export const WEEKS = [
  { start: "2026-01-17", end: "2026-01-23" },
  { start: "2026-01-24", end: "2026-01-30" },
] as const;
export type Week = (typeof WEEKS)[number];

/** Failed and successful executions with an embedding, per organization. */
export const EMBEDDED = { failure: 14, success: 36 };
