/** What a search must know of the two IVFFlat indexes, and the rebuild keeps true. */
import { type SQL, sql } from "drizzle-orm";
import { executionEmbeddings } from "../schema/embeddings.ts";

/** The two IVFFlat indexes, by the embedding they hold. Migrations create them empty: no row to learn lists from. */
export const EMBEDDING_INDEXES = {
  input: { name: "idx_input_embedding", column: executionEmbeddings.inputEmbedding },
  error: { name: "idx_error_embedding", column: executionEmbeddings.errorEmbedding },
} as const;

export type EmbeddingIndex = (typeof EMBEDDING_INDEXES)[keyof typeof EMBEDDING_INDEXES];

/** Components of a vector. */
export const DIMENSIONS = 1536;

/** pgvector learns the lists from a sample of at least so many rows. Below, an exact search reads all of them in some 50 ms. */
export const ENOUGH_ROWS = 10_000;

/**
 * One row about an index, none where it is missing or invalid: its `lists`, its `pages` (of vectors of 1,536
 * dimensions a page holds one), and over how many rows the rebuild built it, `built_over`. PostgreSQL does
 * not keep that, so the rebuild writes it into the index's comment with the number of the file it means:
 * TRUNCATE, REINDEX and a restored dump make another file, and the comment is void.
 */
export function indexFacts(name: EmbeddingIndex["name"]): SQL {
  return sql`
    select (select option_value::int from pg_options_to_table(c.reloptions) where option_name = 'lists') as lists,
      (pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::int)::float8 as pages,
      substring(pg_catalog.obj_description(c.oid, 'pg_class')
        from '^Built over (\\d+) rows, file ' || pg_catalog.pg_relation_filenode(c.oid)::text || '\\.$')::int as built_over
    from pg_class as c join pg_index as i on i.indexrelid = c.oid
    where c.oid = to_regclass(${`public.${name}`})::oid and i.indisvalid`;
}
