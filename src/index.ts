// What several files share and users need not is left out, by naming what is given.
export { type AdoptOptions, type AdoptResult, adopt } from "./operate/adopt/adopt.ts";
export {
  type Config,
  type ConfigOptions,
  type DatabaseUrls,
  type HealthThresholds,
  databaseUrls,
  healthThresholds,
  loadConfig,
} from "./config.ts";
export { type ConnectOptions, type Connection, connect, waitForServer } from "./client/connect.ts";
export { executionLogId, uuidFor } from "./client/keys.ts";
export { type Lsn, StaleReplicaError, currentLsn } from "./client/replicas.ts";
export { type Schema, schema } from "./client/schema.ts";
export {
  type Database,
  type Executor,
  type Queryable,
  type Transaction,
  type Transactor,
  rows,
} from "./client/sql.ts";
export * from "./client/tenancy.ts";
export { type DemoOptions, type DemoResult, loadDemo } from "./demo/load.ts";
export { DEMO_NOW, DEMO_ORGANIZATIONS } from "./demo/story.ts";
export {
  RepairError,
  type RepairOptions,
  type RepairResult,
  diff,
  repair,
} from "./operate/drift/diff.ts";
export { type DoctorOptions, doctor } from "./operate/doctor/doctor.ts";
export type { Diagnosis } from "./operate/doctor/check.ts";
export * from "./drizzle-kit.ts";
export * from "./embedded.ts";
export {
  type EmbeddingIndexRebuild,
  type EmbeddingIndexState,
  type RebuildOptions,
  type RebuildProgress,
  embeddingIndexStates,
  rebuildEmbeddingIndexes,
} from "./operate/rebuild.ts";
export { type DatabaseError, databaseError, explain, isUnreachable } from "./client/errors.ts";
export type { Finding } from "./operate/drift/findings.ts";
export {
  PartitionError,
  type PartitionOptions,
  type PartitionPlan,
  type PartitionResult,
  type PartitionStep,
  addPartitions,
  partitionLogs,
  planPartitions,
} from "./operate/partitions.ts";
export {
  CitusError,
  type CitusOptions,
  type CitusPlan,
  type CitusResult,
  distributeLogs,
  planDistribution,
} from "./operate/citus.ts";
export { type PruneOptions, type PruneResult, pruneLogs } from "./operate/retention.ts";
export * from "./fleet/ab-tests.ts";
export * from "./fleet/agents.ts";
export {
  type BudgetAlert,
  type BudgetCorrection,
  type BudgetOptions,
  type BudgetState,
  type BudgetWindow,
  type ExceededBudget,
  type ExpireOptions,
  type ExpireResult,
  type Reservation,
  type ReservedExecution,
  budgetStatus,
  expireExecutions,
  refreshBudgets,
  reserveExecution,
} from "./fleet/budgets.ts";
export {
  type Admitted,
  type GuardOptions,
  type GuardedColumns,
  type GuardedWork,
  type Refused,
  UnrecordedExecutionError,
  guardedExecution,
} from "./fleet/guard.ts";
export {
  type AcquireOptions,
  type CircuitChange,
  type CircuitOf,
  type ExecutionPermit,
  type Outcome,
  type OutcomeReport,
  acquireExecution,
  recordOutcome,
  resetCircuit,
} from "./fleet/breaker.ts";
export {
  IMPORT_FORMATS,
  type ImportFormat,
  type ImportOptions,
  type ImportProgress,
  type ImportResult,
  importExecutions,
} from "./ingest/import.ts";
export type { ReadProblem } from "./ingest/documents.ts";
export type { ContentPlace, ModelUsage, SpanOptions } from "./ingest/spans.ts";
export {
  type AlertChoice,
  type AlertClaim,
  type AlertSubject,
  type ClaimedAlert,
  type ClaimedAlerts,
  type Incident,
  type RaisedAlert,
  acknowledgeAlerts,
  claimAlerts,
  markAlertsSent,
  raiseAlert,
  releaseAlerts,
  resolveAlerts,
} from "./fleet/alerts.ts";
export * from "./fleet/dependencies.ts";
export * from "./fleet/governance.ts";
export type { StandingAlert, StandingAlerts } from "./fleet/governance-alerts.ts";
export * from "./fleet/health.ts";
export { logIdBounds } from "./fleet/log-bounds.ts";
export { type Period, executionsBetween } from "./fleet/outcome.ts";
export * from "./fleet/assignment.ts";
export * from "./fleet/canaries.ts";
export * from "./fleet/evaluation.ts";
export * from "./fleet/explain.ts";
export * from "./fleet/learnings.ts";
export { type LockHolder, LockedError } from "./operate/migrate/lock.ts";
export * from "./operate/migrate/migrate.ts";
export { type TrustOptions, UntrustedSchemaError } from "./operate/migrate/public-schema.ts";
export * from "./migrations.ts";
export type { Violation } from "./operate/adopt/violations.ts";
export * from "./fleet/prompt-counters.ts";
export * from "./fleet/prompts.ts";
export * from "./fleet/proposals.ts";
export * from "./fleet/record/record.ts";
export * from "./validation/as-json.ts";
export { fromDatabaseError } from "./validation/refusals.ts";
export * from "./relations.ts";
export { LOGINS, type LoginPurpose, createLogins, loginStatements } from "./operate/logins.ts";
export * from "./fleet/rollup.ts";
export * from "./fleet/routing.ts";
export * from "./schema/index.ts";
export * from "./operate/migrate/install-script.ts";
export * from "./fleet/search.ts";
export * from "./fleet/shadow-tests.ts";
export * from "./fleet/slas.ts";
export * from "./values.ts";
export * from "./zod.ts";
