/** OpenTelemetry's spans of agents as executions. Needs the package `@opentelemetry/api`. */
export { type OtlpContent, type OtlpSpan, readOtlp } from "./ingest/otlp.ts";
export type { ReadProblem } from "./ingest/documents.ts";
export type { DeliveryCounts, DeliveryOptions, FoundAgent, Loss } from "./ingest/delivery.ts";
export { AgentSpanProcessor, type AgentSpanProcessorOptions } from "./ingest/span-processor.ts";
export {
  type Attributes,
  type ContentPlace,
  type FinishedSpan,
  type Instant,
  type ModelUsage,
  type SpanExecution,
  type SpanOptions,
  type SpanScope,
  type StartedSpan,
  executionOf,
  scopeOf,
} from "./ingest/spans.ts";
