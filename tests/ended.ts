import { inArray } from "drizzle-orm";
import { expect } from "vitest";
import type { Executor } from "../src/client/sql.ts";
import { agentExecutionLogs } from "../src/schema/index.ts";

/** What the ends of these tests say of each row. */
export const END = { status: "success", latencyMs: 5290 } as const;

/** Each of these rows is there once, and has ended as {@link END}. */
export async function expectEnded(db: Pick<Executor, "select">, ids: readonly string[]) {
  const stored = await db
    .select()
    .from(agentExecutionLogs)
    .where(inArray(agentExecutionLogs.id, [...ids]));
  expect(stored).toHaveLength(ids.length);
  expect(new Set(stored.map(({ status, latencyMs }) => `${status} ${latencyMs}`))).toEqual(
    new Set([`${END.status} ${END.latencyMs}`]),
  );
}
