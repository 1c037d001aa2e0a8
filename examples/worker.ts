// A worker: records executions from a queue, keeps the agents' health fresh, rolls up finished days. It logs
// in as meta_agent_backend and acts for all organizations: a log is its agent's organization's.
import * as z from "zod";
import {
  type Database,
  type NewExecution,
  recordExecutions,
  refreshHealth,
  rollUpMetrics,
  withServiceRole,
} from "../src/index.ts";

/** What a queue delivers, at least once. Each entry has an `id`, so a second delivery adds nothing. */
export interface Delivery {
  readonly entries: readonly (NewExecution & { id: string })[];
  /** Tells the queue that all of it is dealt with. */
  readonly acknowledge: () => Promise<void>;
}

/**
 * Records deliveries until the queue ends, each in a transaction. Bad entries go to `reject` with the
 * reason, the others are recorded. Any other failure ends it before the delivery is acknowledged.
 */
export async function recordDeliveries(
  db: Database,
  queue: AsyncIterable<Delivery>,
  reject: (entry: Partial<NewExecution>, reason: string) => Promise<void>,
): Promise<void> {
  for await (const { entries, acknowledge } of queue) {
    let left = [...entries];
    for (let bad = await record(db, left); bad.size > 0; bad = await record(db, left)) {
      for (const [index, reason] of bad) await reject(left[index] ?? {}, reason);
      left = left.filter((_, index) => !bad.has(index));
    }
    await acknowledge();
  }
}

/** Answers which entries are bad, by index, and why; then nothing was written. */
async function record(db: Database, entries: readonly NewExecution[]) {
  try {
    await withServiceRole(db, (tx) => recordExecutions(tx, entries));
    return new Map<number, string>();
  } catch (error) {
    if (!(error instanceof z.ZodError)) throw error;
    return new Map(error.issues.map(({ path: [index], message }) => [Number(index), message]));
  }
}

/** To run once a minute. */
export const everyMinute = (db: Database) => withServiceRole(db, (tx) => refreshHealth(tx));

/** To run once a night, UTC: yesterday, and the day before for what came late. */
export function everyNight(db: Database, now = new Date()) {
  const day = (ago: number) => new Date(now.getTime() - ago * 86_400_000).toISOString();
  const days = { from: day(2).slice(0, 10), to: day(1).slice(0, 10) };
  return withServiceRole(db, (tx) => rollUpMetrics(tx, days));
}
