/** Which months of a partitioned log a time is in. */
import { type AnyColumn, type SQL, sql } from "drizzle-orm";
import { executionLogIdFloor } from "../client/keys.ts";
import { agentExecutionLogs } from "../schema/index.ts";
import type { Period } from "./outcome.ts";
import { isoOf } from "./steps.ts";

const DAY = 86_400_000;

/**
 * A condition on ids by which PostgreSQL leaves out the months of a partitioned log that a time does not touch. To be
 * set beside a condition on `timestamp`, which decides: it is rounded outward to whole months, since an id may be a
 * day from its row's `timestamp`, and since a narrower range draws the planner to the key's index instead of the one
 * that serves the query. For queries of a time; "the latest" ones are better without.
 *
 * Only where the log is partitioned: elsewhere ids may say no time, and rows would be missed.
 *
 * ```ts
 * const { from, to } = day;
 * tx.select().from(agentExecutionLogs).where(
 *   and(eq(status, "failure"), gte(timestamp, from), lt(timestamp, to), logIdBounds({ from, to })),
 * );
 * ```
 *
 * @param period without `from` or `to` it is open on that side
 * @param id the column, if the table has another name in the query
 * @throws {TypeError} before any SQL: an instant that is no valid Date
 */
export function logIdBounds(
  { from, to }: Partial<Period>,
  id: SQL | AnyColumn = agentExecutionLogs.id,
): SQL {
  const bounds: SQL[] = [];
  if (from) {
    isoOf("logIdBounds: from", from);
    bounds.push(sql`${id} >= ${executionLogIdFloor(monthOf(from, -DAY, 0))}::uuid`);
  }
  if (to) {
    isoOf("logIdBounds: to", to);
    bounds.push(sql`${id} < ${executionLogIdFloor(monthOf(to, DAY, 1))}::uuid`);
  }
  return bounds.length > 0 ? sql.join(bounds, sql` and `) : sql`true`;
}

/** The beginning of the month, UTC, that an instant is in when it is moved so far, or of one after it; ids begin in 1970. */
function monthOf(instant: Date, moved: number, after: number): Date {
  const at = new Date(Math.max(instant.getTime() + moved, 0));
  at.setUTCDate(1);
  at.setUTCHours(0, 0, 0, 0);
  at.setUTCMonth(at.getUTCMonth() + after);
  return at;
}

/** Whether the log is cut into months: only then ids say the time of their rows. */
export const IS_CUT = sql<boolean>`(select relkind = 'p' from pg_catalog.pg_class where oid = 'public.agent_execution_logs'::pg_catalog.regclass)`;
