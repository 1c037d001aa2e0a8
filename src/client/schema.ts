import * as relations from "../relations.ts";
import * as tables from "../schema/index.ts";

/**
 * All tables and their relations, for `drizzle(client, { schema })`: `db.query.agentRegistry.findMany({ with: … })`.
 * Drizzle carries nested rows as JSON, whose numbers are floats: dollars of more than 15 digits are exact
 * only in rows that are selected themselves, not in those of a `with`.
 */
export const schema = { ...tables, ...relations };
/** The type of {@link schema}. */
export type Schema = typeof schema;
