/** Checks of the log as partitions: whether the months to come are there, and what a conversion has left. */
import { sql } from "drizzle-orm";
import { CUT_CHECK, LOG, MISTIMED, PARTITIONS } from "../months.ts";
import { checkOf, count, error, info, warning } from "./check.ts";

/** Rows of a month without a partition are refused. */
export const months = checkOf<{ until: string | null; days: number; held: string | null }>(
  "partitions",
  () => sql`
    select to_char(part.until at time zone 'UTC', 'YYYY-MM-DD') as until,
      (extract(epoch from part.until - clock_timestamp()) / 86400)::float8 as days,
      (select pg_get_constraintdef(oid) from pg_constraint where conrelid = log.oid and conname = ${CUT_CHECK}) as held
    from ${LOG} as log
    cross join lateral (select max(until) as until, bool_or(until is null) as endless from ${PARTITIONS} as part where not is_default) as part
    where log.is_partitioned and endless is not true
      or exists (select from pg_constraint where conrelid = log.oid and conname = ${CUT_CHECK})`,
  ({ until, days, held }) => {
    if (held !== null) {
      return [
        error(
          "a conversion of the log into partitions was cut off: rows of later months are refused until it is done",
          "meta-agent-db partition --apply",
        ),
      ];
    }
    if (until === null) return [];
    return days > 14
      ? []
      : [
          (days > 1 ? warning : error)(
            `the log has no partition for rows from ${until} on: they are refused`,
            "meta-agent-db partition --ahead 3",
          ),
        ];
  },
);

/** On a log that is not cut they are in nobody's way. */
export const strangeIds = checkOf<{ others: number }>(
  "partitions",
  () => sql`
    select count(*)::float8 as others from public.agent_execution_logs
    where ${MISTIMED} having count(*) > 0`,
  ({ others }) => [
    info(
      `${count(others)} logs have ids that do not say the time of their row: the log cannot be partitioned as it is`,
      "meta-agent-db partition says how to give them others, if it is ever to be.",
    ),
  ],
  { deep: true, owner: true },
);
