/** Monitoring: how each agent is right now. */
import { sql } from "drizzle-orm";
import { index, text } from "drizzle-orm/pg-core";
import { CIRCUIT_STATES, HEALTH_STATUSES } from "../values.ts";
import { agentRegistry } from "./governance.ts";
import { averageMilliseconds, count, ratio, seconds, timestamptz } from "./columns.ts";
import { type NewRow, type Row, references, tenantTable } from "./table.ts";

/** The latest health snapshot of an agent, one row each; windows of 5 minutes and 1 hour. */
export const agentHealthRealtime = tenantTable(
  "agent_health_realtime",
  {
    /** The agent whose health this is. The snapshot goes with it. */
    agentId: references("agent_id", agentRegistry)
      .onDelete("cascade")
      .notNull()
      .unique("agent_health_realtime_agent_id_key"),
    /**
     * When the snapshot was taken: the end of both windows. `refreshHealth` keeps the newer one.
     */
    timestamp: timestamptz("timestamp")
      .notNull()
      .default(sql`now()`),
    /** Count. Executions that began in the 5 minutes up to `timestamp`. */
    executions5m: count("executions_5m").notNull().default(0),
    /** Count. Those of `executions_5m` that failed or timed out. */
    failures5m: count("failures_5m").notNull().default(0),
    /** Milliseconds. The mean over the executions of the 5 minutes. NULL: none has a latency yet. */
    avgLatency5m: averageMilliseconds("avg_latency_5m"),
    /**
     * Ratio, 0 to 1. Failures ÷ (failures + successes) of the 5 minutes. NULL: there were neither.
     */
    errorRate5m: ratio("error_rate_5m"),
    /** Count. Executions that began in the hour up to `timestamp`. */
    executions1h: count("executions_1h").notNull().default(0),
    /** Count. Those of `executions_1h` that failed or timed out. */
    failures1h: count("failures_1h").notNull().default(0),
    /** Milliseconds. The mean over the executions of the hour. NULL: none has a latency yet. */
    avgLatency1h: averageMilliseconds("avg_latency_1h"),
    /** Ratio, 0 to 1. Failures ÷ (failures + successes) of the hour. NULL: there were neither. */
    errorRate1h: ratio("error_rate_1h"),
    /** How the agent is, as `refreshHealth` judges. `offline`: no rows in the hour. */
    status: text("status", { enum: HEALTH_STATUSES }).notNull().default("healthy"),
    /** When an execution that succeeded had its last row. NULL: none was seen. */
    lastSuccessfulExecution: timestamptz("last_successful_execution"),
    /** When an execution that failed or timed out had its last row. NULL: none was seen. */
    lastFailedExecution: timestamptz("last_failed_execution"),
    /**
     * A copy of the breaker's state, which moves with it; `closed` where the agent has no breaker.
     */
    circuitState: text("circuit_state", { enum: CIRCUIT_STATES }).notNull().default("closed"),
    /** A copy of the breaker's `opened_at`, kept likewise. NULL: it never opened, or there is no breaker. */
    circuitOpenedAt: timestamptz("circuit_opened_at"),
  },
  (t) => [
    // Repeats the unique index on agent_id: kept for compatibility with the first schema.
    index("idx_health_realtime_agent").on(t.agentId),
  ],
);
/** A row of `agent_health_realtime`. */
export type AgentHealth = Row<typeof agentHealthRealtime>;
/** A row to insert into `agent_health_realtime`. */
export type NewAgentHealth = NewRow<typeof agentHealthRealtime>;

/**
 * The circuit breaker of an agent, one row each. After `failure_threshold` failures in a row it opens, after
 * `cooldown_seconds` it lets one probe through at a time (half open), after `success_threshold` probes that
 * succeed in a row it closes. `acquireExecution` and `recordOutcome` move it.
 */
export const circuitBreakerState = tenantTable("circuit_breaker_state", {
  /** The agent whose breaker this is. The breaker goes with it. */
  agentId: references("agent_id", agentRegistry)
    .onDelete("cascade")
    .notNull()
    .unique("circuit_breaker_state_agent_id_key"),
  /**
   * `closed` lets executions through, `open` stops them, `half_open` tries one at a time. `refreshHealth`
   * reads it: an agent whose breaker is open is critical or offline.
   */
  state: text("state", { enum: CIRCUIT_STATES }).notNull().default("closed"),
  /** Count. Failures in a row while it was last closed. */
  failureCount: count("failure_count").notNull().default(0),
  /** Count. Probes that succeeded in a row since it is half open. */
  successCount: count("success_count").notNull().default(0),
  /** When an execution last failed, of those that count. NULL: never. */
  lastFailureAt: timestamptz("last_failure_at"),
  /** When an execution last succeeded, of those that count; of several within a second one of them. NULL: never. */
  lastSuccessAt: timestamptz("last_success_at"),
  /** When the breaker last opened. NULL: never. */
  openedAt: timestamptz("opened_at"),
  /** When the last probe was let out, in milliseconds, which is its ticket. NULL: never. */
  halfOpenAt: timestamptz("half_open_at"),
  /** Count. At so many failures in a row a closed breaker opens; 0 counts as 1. */
  failureThreshold: count("failure_threshold").notNull().default(5),
  /** Count. At so many successes in a row a half open breaker closes; 0 counts as 1. */
  successThreshold: count("success_threshold").notNull().default(3),
  /** Seconds. How long an open breaker rests before it is half open, and after which a probe that has not reported lapses. */
  cooldownSeconds: seconds("cooldown_seconds").notNull().default(60),
});
/** A row of `circuit_breaker_state`. */
export type CircuitBreaker = Row<typeof circuitBreakerState>;
/** A row to insert into `circuit_breaker_state`. */
export type NewCircuitBreaker = NewRow<typeof circuitBreakerState>;
