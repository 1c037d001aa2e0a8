export * from "./governance.ts";
export * from "./monitoring.ts";
export * from "./evaluation.ts";
export * from "./safety.ts";
export * from "./learning-cost.ts";
export * from "./embeddings.ts";
export type { JsonObject, JsonValue } from "./json.ts";
