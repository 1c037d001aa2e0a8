// A worker: records executions from a queue, keeps the agents' health fresh, rolls up finished days. It logs
// in as meta_agent_backend and acts for all organizations: a log is its agent's organization's.
import type * as z from "zod";
import {
  type Database,
  type NewExecution,
  recordExecutions,
  refreshHealth,
  rollUpMetrics,
  withServiceRole,
} from "../src/index.ts";

/** What a queue delivers, at least once. Each entry has an `id`, so a second delivery adds nothing, and the end of a run finds its beginning. */
export interface Delivery {
  readonly entries: readonly (NewExecution & { id: string })[];
  /** Tells the queue that all of it is dealt with. */
  readonly acknowledge: () => Promise<void>;
}

/** What became of the deliveries so far. */
export interface Totals {
  inserted: number;
  completed: number;
  repeated: number;
}

/**
 * Records deliveries until the queue ends, each in a transaction. Entries that cannot be recorded, and those
 * whose id another content has, go to `reject` with the reason; the others are recorded. Any other failure
 * ends it before the delivery is acknowledged.
 */
export async function recordDeliveries(
  db: Database,
  queue: AsyncIterable<Delivery>,
  reject: (entry: Partial<NewExecution>, reason: string) => Promise<void>,
): Promise<Totals> {
  const totals = { inserted: 0, completed: 0, repeated: 0 };
  for await (const { entries, acknowledge } of queue) {
    const { refused, result } = await record(db, entries);
    for (const [index, reason] of refused) await reject(entries[index] ?? {}, reason);
    for (const id of result.conflicting) {
      await reject(entries.find((entry) => entry.id === id) ?? { id }, "another row has this id");
    }
    totals.inserted += result.inserted;
    totals.completed += result.completed;
    totals.repeated += result.repeated;
    await acknowledge();
  }
  return totals;
}

/** Records what can be; what was refused is told once the others are committed. */
async function record(db: Database, entries: readonly NewExecution[]) {
  const refused = new Map<number, string>();
  const onRefused = (index: number, { issues }: z.ZodError) =>
    refused.set(index, issues.map(({ message }) => message).join("; "));
  const result = await withServiceRole(db, (tx) => recordExecutions(tx, entries, { onRefused }));
  return { refused, result };
}

/** To run once a minute. */
export const everyMinute = (db: Database) => withServiceRole(db, (tx) => refreshHealth(tx));

/** To run once a night, UTC: yesterday, and the day before for what came late. */
export function everyNight(db: Database, now = new Date()) {
  const day = (ago: number) => new Date(now.getTime() - ago * 86_400_000).toISOString();
  const days = { from: day(2).slice(0, 10), to: day(1).slice(0, 10) };
  return withServiceRole(db, (tx) => rollUpMetrics(tx, days));
}
