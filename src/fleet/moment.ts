/** The instant that decides, where it is not the database's clock. */
import { type SQL, sql } from "drizzle-orm";

const DAY = 86_400_000;

/**
 * A `now` as it is bound; NULL where none is given, for the database's clock.
 * @throws {TypeError} it is no valid Date, or more than a day ahead
 */
export function momentOf(verb: string, now: Date | undefined): SQL {
  if (now === undefined) return sql`null::timestamptz`;
  const isValid = now instanceof Date && Number.isFinite(now.getTime());
  if (!isValid) throw new TypeError(`${verb}: now must be a valid Date`);
  if (now.getTime() > Date.now() + DAY) {
    throw new TypeError(`${verb}: now is more than a day ahead; leave it out for the present`);
  }
  return sql`${now.toISOString()}::timestamptz`;
}
