export * from "./adopt.ts";
export * from "./config.ts";
export * from "./database.ts";
export * from "./demo.ts";
export * from "./diff.ts";
export { schemaReference } from "./docs.ts";
export * from "./doctor.ts";
export * from "./drizzle-kit.ts";
export * from "./embedded.ts";
export {
  type EmbeddingIndexRebuild,
  type EmbeddingIndexState,
  type RebuildOptions,
  embeddingIndexStates,
  rebuildEmbeddingIndexes,
} from "./embedding-indexes.ts";
export * from "./errors.ts";
export { type LockHolder, LockedError } from "./lock.ts";
export * from "./health.ts";
export * from "./migrate.ts";
export * from "./migrations.ts";
export * from "./promote.ts";
export * from "./record.ts";
export * from "./refusals.ts";
export * from "./relations.ts";
export * from "./roles.ts";
export * from "./rollup.ts";
export * from "./schema/index.ts";
export * from "./script.ts";
export * from "./search.ts";
export * from "./values.ts";
export * from "./zod.ts";
