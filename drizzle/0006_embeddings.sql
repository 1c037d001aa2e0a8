CREATE TABLE "execution_embeddings" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"execution_log_id" uuid NOT NULL,
	"input_embedding" vector(1536),
	"output_embedding" vector(1536),
	"error_embedding" vector(1536),
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id(),
	CONSTRAINT "execution_embeddings_created_at_check" CHECK (isfinite("execution_embeddings"."created_at")),
	CONSTRAINT "execution_embeddings_some_embedding_check" CHECK (num_nonnulls("execution_embeddings"."input_embedding", "execution_embeddings"."output_embedding", "execution_embeddings"."error_embedding") > 0)
);
--> statement-breakpoint
ALTER TABLE "execution_embeddings" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
ALTER TABLE "execution_embeddings" ADD CONSTRAINT "execution_embeddings_execution_log_id_fkey" FOREIGN KEY ("execution_log_id") REFERENCES "public"."agent_execution_logs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idx_execution_embeddings_execution_log_id" ON "execution_embeddings" USING btree ("execution_log_id");--> statement-breakpoint
CREATE INDEX "idx_execution_embeddings_organization_id" ON "execution_embeddings" USING btree ("organization_id");