/** Monitoring: how each agent is right now. */
import { sql } from "drizzle-orm";
import { index, text } from "drizzle-orm/pg-core";
import { CIRCUIT_STATES, HEALTH_STATUSES } from "../values.ts";
import { agentRegistry } from "./governance.ts";
import { averageMilliseconds, count, ratio, seconds, timestamptz } from "./columns.ts";
import { references, tenantTable } from "./table.ts";

/** The latest health snapshot of an agent, one row each; windows of 5 minutes and 1 hour. */
export const agentHealthRealtime = tenantTable(
  "agent_health_realtime",
  {
    agentId: references("agent_id", agentRegistry)
      .onDelete("cascade")
      .notNull()
      .unique("agent_health_realtime_agent_id_key"),
    /** When the snapshot was taken. */
    timestamp: timestamptz("timestamp")
      .notNull()
      .default(sql`now()`),
    executions5m: count("executions_5m").notNull().default(0),
    failures5m: count("failures_5m").notNull().default(0),
    /** Milliseconds. NULL: no executions. */
    avgLatency5m: averageMilliseconds("avg_latency_5m"),
    /** Ratio, 0 to 1. NULL: no executions. */
    errorRate5m: ratio("error_rate_5m"),
    executions1h: count("executions_1h").notNull().default(0),
    failures1h: count("failures_1h").notNull().default(0),
    /** Milliseconds. NULL: no executions. */
    avgLatency1h: averageMilliseconds("avg_latency_1h"),
    /** Ratio, 0 to 1. NULL: no executions. */
    errorRate1h: ratio("error_rate_1h"),
    status: text("status", { enum: HEALTH_STATUSES }).notNull().default("healthy"),
    lastSuccessfulExecution: timestamptz("last_successful_execution"),
    lastFailedExecution: timestamptz("last_failed_execution"),
    /** A copy of the breaker's state at the time of the snapshot. */
    circuitState: text("circuit_state", { enum: CIRCUIT_STATES }).notNull().default("closed"),
    circuitOpenedAt: timestamptz("circuit_opened_at"),
  },
  (t) => [
    // Repeats the unique index on agent_id: kept for compatibility with the first schema.
    index("idx_health_realtime_agent").on(t.agentId),
  ],
);
/** A row of `agent_health_realtime`. */
export type AgentHealth = typeof agentHealthRealtime.$inferSelect;
/** A row to insert into `agent_health_realtime`. */
export type NewAgentHealth = typeof agentHealthRealtime.$inferInsert;

/**
 * The circuit breaker of an agent, one row each. After `failure_threshold` failures it opens, after
 * `cooldown_seconds` it lets a trial through (half open), after `success_threshold` successes it closes.
 */
export const circuitBreakerState = tenantTable("circuit_breaker_state", {
  agentId: references("agent_id", agentRegistry)
    .onDelete("cascade")
    .notNull()
    .unique("circuit_breaker_state_agent_id_key"),
  state: text("state", { enum: CIRCUIT_STATES }).notNull().default("closed"),
  failureCount: count("failure_count").notNull().default(0),
  successCount: count("success_count").notNull().default(0),
  lastFailureAt: timestamptz("last_failure_at"),
  lastSuccessAt: timestamptz("last_success_at"),
  openedAt: timestamptz("opened_at"),
  halfOpenAt: timestamptz("half_open_at"),
  failureThreshold: count("failure_threshold").notNull().default(5),
  successThreshold: count("success_threshold").notNull().default(3),
  cooldownSeconds: seconds("cooldown_seconds").notNull().default(60),
});
/** A row of `circuit_breaker_state`. */
export type CircuitBreaker = typeof circuitBreakerState.$inferSelect;
/** A row to insert into `circuit_breaker_state`. */
export type NewCircuitBreaker = typeof circuitBreakerState.$inferInsert;
