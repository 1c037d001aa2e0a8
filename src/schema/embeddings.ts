/** Embeddings: executions as vectors, to find similar ones. */
import { foreignKey, index, uuid, vector } from "drizzle-orm/pg-core";
import { agentExecutionLogs } from "./governance.ts";
import { createdAt } from "./columns.ts";
import { some, tenantTable } from "./table.ts";

/** The vectors of one log row, at least one of the three. They go with their log. */
export const executionEmbeddings = tenantTable(
  "execution_embeddings",
  {
    executionLogId: uuid("execution_log_id").notNull(),
    inputEmbedding: vector("input_embedding", { dimensions: 1536 }),
    outputEmbedding: vector("output_embedding", { dimensions: 1536 }),
    errorEmbedding: vector("error_embedding", { dimensions: 1536 }),
    createdAt: createdAt(),
  },
  (t) => [
    foreignKey({
      name: "execution_embeddings_execution_log_id_fkey",
      columns: [t.executionLogId],
      foreignColumns: [agentExecutionLogs.id],
    }).onDelete("cascade"),
    some(
      "execution_embeddings_some_embedding_check",
      t.inputEmbedding,
      t.outputEmbedding,
      t.errorEmbedding,
    ),
    index("idx_execution_embeddings_execution_log_id").on(t.executionLogId),
    index("idx_execution_embeddings_organization_id").on(t.organizationId),
  ],
);
/** A row of `execution_embeddings`. */
export type ExecutionEmbedding = typeof executionEmbeddings.$inferSelect;
/** A row to insert into `execution_embeddings`. */
export type NewExecutionEmbedding = typeof executionEmbeddings.$inferInsert;
