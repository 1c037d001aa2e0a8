/** Embeddings: executions as vectors, to find similar ones. */
import { vector } from "drizzle-orm/pg-core";
import { agentExecutionLogs } from "./governance.ts";
import { createdAt } from "./columns.ts";
import { references, some, tenantTable } from "./table.ts";

/** The vectors of one log row, at least one of the three. They go with their log. */
export const executionEmbeddings = tenantTable(
  "execution_embeddings",
  {
    executionLogId: references("execution_log_id", agentExecutionLogs)
      .onDelete("cascade")
      .notNull(),
    inputEmbedding: vector("input_embedding", { dimensions: 1536 }),
    outputEmbedding: vector("output_embedding", { dimensions: 1536 }),
    errorEmbedding: vector("error_embedding", { dimensions: 1536 }),
    createdAt: createdAt(),
  },
  (t) => [
    some(
      "execution_embeddings_some_embedding_check",
      t.inputEmbedding,
      t.outputEmbedding,
      t.errorEmbedding,
    ),
  ],
);
/** A row of `execution_embeddings`. */
export type ExecutionEmbedding = typeof executionEmbeddings.$inferSelect;
/** A row to insert into `execution_embeddings`. */
export type NewExecutionEmbedding = typeof executionEmbeddings.$inferInsert;
