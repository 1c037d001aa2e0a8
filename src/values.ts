/**
 * Every closed set of values, once. The TypeScript union, the CHECK in the migration and the
 * validator of a column all follow from its set here. The order is that of the first schema.
 */

/** What an agent works for. */
export const AGENT_CATEGORIES = [
  "client_success",
  "marketing",
  "sales",
  "operations",
  "internal",
] as const;
/** One of AGENT_CATEGORIES. */
export type AgentCategory = (typeof AGENT_CATEGORIES)[number];

/** Whether an agent works; one with history is deprecated, not deleted. */
export const AGENT_STATUSES = ["active", "paused", "deprecated", "testing", "improving"] as const;
/** One of AGENT_STATUSES. */
export type AgentStatus = (typeof AGENT_STATUSES)[number];

/** The failure index and the metrics depend on the spelling. */
export const EXECUTION_STATUSES = [
  "success",
  "failure",
  "timeout",
  "cancelled",
  "running",
] as const;
/** One of EXECUTION_STATUSES. */
export type ExecutionStatus = (typeof EXECUTION_STATUSES)[number];

/**
 * What a row of the log may say of its action. Suggestions: the column takes any word. `agent_run` is one
 * agent's whole run and decides how its execution ended; `agent_step` a part of a run that encloses others,
 * or a run of the same agent inside its own.
 */
export const ACTION_TYPES = [
  "agent_run",
  "agent_step",
  "llm_call",
  "tool_call",
  "retrieval",
  "embedding",
] as const;
/** One of ACTION_TYPES. */
export type ActionType = (typeof ACTION_TYPES)[number];

/** How an agent is now. */
export const HEALTH_STATUSES = ["healthy", "degraded", "critical", "offline"] as const;
/** One of HEALTH_STATUSES. */
export type HealthStatus = (typeof HEALTH_STATUSES)[number];

/** Closed lets executions through, open stops them, half open tries one. */
export const CIRCUIT_STATES = ["closed", "open", "half_open"] as const;
/** One of CIRCUIT_STATES. */
export type CircuitState = (typeof CIRCUIT_STATES)[number];

/** How much an evaluation worries. */
export const RISK_LEVELS = ["low", "medium", "high", "critical"] as const;
/** One of RISK_LEVELS. */
export type RiskLevel = (typeof RISK_LEVELS)[number];

/** What a proposal would change. */
export const PROPOSAL_TYPES = [
  "prompt_change",
  "tool_addition",
  "tool_removal",
  "config_change",
  "architecture_change",
] as const;
/** One of PROPOSAL_TYPES. */
export type ProposalType = (typeof PROPOSAL_TYPES)[number];

/** How far a proposal has come. */
export const PROPOSAL_STATUSES = [
  "proposed",
  "approved",
  "rejected",
  "testing",
  "deployed",
  "rolled_back",
] as const;
/** One of PROPOSAL_STATUSES. */
export type ProposalStatus = (typeof PROPOSAL_STATUSES)[number];

/** How soon a proposal should be looked at. */
export const PROPOSAL_PRIORITIES = ["low", "medium", "high", "critical"] as const;
/** One of PROPOSAL_PRIORITIES. */
export type ProposalPriority = (typeof PROPOSAL_PRIORITIES)[number];

/** A/B tests and shadow tests. */
export const TEST_STATUSES = ["pending", "running", "completed", "stopped"] as const;
/** One of TEST_STATUSES. */
export type TestStatus = (typeof TEST_STATUSES)[number];

/** Which side of an A/B test did better. */
export const TEST_WINNERS = ["control", "treatment", "inconclusive"] as const;
/** One of TEST_WINNERS. */
export type TestWinner = (typeof TEST_WINNERS)[number];

/** How far a rollout has come. */
export const CANARY_STATUSES = [
  "pending",
  "running",
  "completed",
  "rolled_back",
  "paused",
] as const;
/** One of CANARY_STATUSES. */
export type CanaryStatus = (typeof CANARY_STATUSES)[number];

/** How loud an alert is, the loudest last. */
export const ALERT_SEVERITIES = ["info", "warning", "critical", "emergency"] as const;
/** One of ALERT_SEVERITIES. */
export type AlertSeverity = (typeof ALERT_SEVERITIES)[number];

/** By what alerts are sent; each has its columns in `alert_history`. */
export const ALERT_CHANNELS = ["slack", "email"] as const;
/** One of ALERT_CHANNELS. */
export type AlertChannel = (typeof ALERT_CHANNELS)[number];

/** What kind of thing was learnt. */
export const LEARNING_TYPES = [
  "success_pattern",
  "failure_pattern",
  "optimization",
  "anti_pattern",
] as const;
/** One of LEARNING_TYPES. */
export type LearningType = (typeof LEARNING_TYPES)[number];

/** How sure a learning is. */
export const CONFIDENCE_LEVELS = ["low", "medium", "high", "proven"] as const;
/** One of CONFIDENCE_LEVELS. */
export type ConfidenceLevel = (typeof CONFIDENCE_LEVELS)[number];

/** What a part of a prompt is for. */
export const LIBRARY_CATEGORIES = [
  "system_instruction",
  "output_format",
  "error_handling",
  "tool_usage",
  "persona",
] as const;
/** One of LIBRARY_CATEGORIES. */
export type LibraryCategory = (typeof LIBRARY_CATEGORIES)[number];

/** What happens when a budget is exceeded. */
export const BUDGET_ACTIONS = ["alert", "throttle", "pause", "downgrade_model"] as const;
/** One of BUDGET_ACTIONS. */
export type BudgetAction = (typeof BUDGET_ACTIONS)[number];

/** What the downstream agent needs of the upstream one. */
export const DEPENDENCY_TYPES = ["data", "trigger", "approval", "context"] as const;
/** One of DEPENDENCY_TYPES. */
export type DependencyType = (typeof DEPENDENCY_TYPES)[number];

/** How `routeModel` compares. Suggestions: the column takes any word, and a rule of another one never applies. */
export const ROUTING_OPERATORS = [
  "=",
  "!=",
  "<",
  "<=",
  ">",
  ">=",
  "in",
  "not_in",
  "between",
] as const;
/** One of ROUTING_OPERATORS. */
export type RoutingOperator = (typeof ROUTING_OPERATORS)[number];
