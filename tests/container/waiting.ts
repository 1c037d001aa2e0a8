import { expect, vi } from "vitest";
import type { Query } from "../engine.ts";

/** Returns once so many sessions of this database wait for a lock. */
export const waiting = (query: Query, count = 1): Promise<void> =>
  vi.waitFor(
    async () => {
      const sessions = await query(
        "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
      );
      expect(sessions.length).toBeGreaterThanOrEqual(count);
    },
    { timeout: 60_000, interval: 5 },
  );
