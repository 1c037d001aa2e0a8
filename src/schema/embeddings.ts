/** Embeddings: executions as vectors, to find similar ones. */
import { vector } from "drizzle-orm/pg-core";
import { agentExecutionLogs } from "./governance.ts";
import { createdAt } from "./columns.ts";
import { type NewRow, type Row, references, some, tenantTable } from "./table.ts";

/** The vectors of one log row, at least one of the three. They go with their log. */
export const executionEmbeddings = tenantTable(
  "execution_embeddings",
  {
    /** The row of `agent_execution_logs` that the vectors are of. They go with it. */
    executionLogId: references("execution_log_id", agentExecutionLogs)
      .onDelete("cascade")
      .notNull(),
    /**
     * 1,536 numbers: the action's input as a vector, for `findSimilarExecutions`. NULL: not
     * embedded.
     */
    inputEmbedding: vector("input_embedding", { dimensions: 1536 }),
    /**
     * 1,536 numbers: the action's output as a vector, for `findSimilarExecutions`; no index serves
     * it. NULL: not embedded.
     */
    outputEmbedding: vector("output_embedding", { dimensions: 1536 }),
    /**
     * 1,536 numbers: the action's error as a vector, for `findSimilarExecutions`. NULL: not
     * embedded.
     */
    errorEmbedding: vector("error_embedding", { dimensions: 1536 }),
    /** When the vectors were stored. */
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
export type ExecutionEmbedding = Row<typeof executionEmbeddings>;
/** A row to insert into `execution_embeddings`. */
export type NewExecutionEmbedding = NewRow<typeof executionEmbeddings>;
