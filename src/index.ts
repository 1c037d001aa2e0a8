// What several files share and users need not is left out, by naming what is given.
export { type AdoptOptions, type AdoptResult, adopt } from "./adopt.ts";
export {
  type Config,
  type ConfigOptions,
  type DatabaseUrls,
  type HealthThresholds,
  databaseUrls,
  healthThresholds,
  loadConfig,
} from "./config.ts";
export * from "./database.ts";
export { type DemoResult, loadDemo } from "./demo.ts";
export { DEMO_NOW, DEMO_ORGANIZATIONS } from "./demo/story.ts";
export { RepairError, type RepairOptions, type RepairResult, diff, repair } from "./diff.ts";
export { type DoctorOptions, doctor } from "./doctor.ts";
export type { Diagnosis } from "./doctor/check.ts";
export * from "./drizzle-kit.ts";
export * from "./embedded.ts";
export {
  type EmbeddingIndexRebuild,
  type EmbeddingIndexState,
  type RebuildOptions,
  embeddingIndexStates,
  rebuildEmbeddingIndexes,
} from "./embedding-indexes.ts";
export { type DatabaseError, databaseError, explain, isUnreachable } from "./errors.ts";
export type { Finding } from "./findings.ts";
export * from "./health.ts";
export { type LockHolder, LockedError } from "./lock.ts";
export * from "./migrate.ts";
export * from "./migrations.ts";
export type { Offence } from "./offences.ts";
export * from "./promote.ts";
export * from "./record.ts";
export * from "./refusals.ts";
export * from "./relations.ts";
export { LOGINS, type LoginPurpose, createLogins, loginStatements } from "./roles.ts";
export * from "./rollup.ts";
export * from "./schema/index.ts";
export * from "./script.ts";
export * from "./search.ts";
export * from "./values.ts";
export * from "./zod.ts";
