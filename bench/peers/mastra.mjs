// Inserts spans in batches as @mastra/pg does, of about the size of the log rows; prints milliseconds.
// node mastra.mjs URL ROWS BATCH
import { randomUUID } from "node:crypto";
import { ObservabilityPG } from "@mastra/pg";

const [url = "", rows = "100000", batch = "1000"] = process.argv.slice(2);
const store = new ObservabilityPG({ connectionString: url, id: "bench" });
await store.init();
await store.dangerouslyClearAll();
const spans = Array.from({ length: Number(rows) }, (_, n) => {
  const startedAt = new Date(Date.UTC(2026, 0, 1) + n * 60);
  return {
    traceId: randomUUID(),
    spanId: randomUUID(),
    parentSpanId: null,
    name: "reply",
    spanType: "model_generation",
    entityType: "agent",
    entityId: `agent-${n % 10}`,
    isEvent: false,
    organizationId: "00000000-0000-4000-8000-000000000042",
    input: { messages: [{ role: "user", content: "x".repeat(200) }] },
    output: { text: "y".repeat(400), tokens: [1, 2, 3] },
    attributes: { latencyMs: n % 5000, inputTokens: n, outputTokens: n, cost: "0.004217" },
    metadata: { region: "eu", attempt: 1 },
    startedAt,
    endedAt: startedAt,
  };
});
const start = performance.now();
for (let from = 0; from < spans.length; from += Number(batch)) {
  await store.batchCreateSpans({ records: spans.slice(from, from + Number(batch)) });
}
console.log(performance.now() - start);
await store.dangerouslyClearAll();
process.exit(0);
