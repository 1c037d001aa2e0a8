/** What a step begins with: its input checked, what it must be alone with locked, the clock read. */
import { type SQL, sql } from "drizzle-orm";
import { type Executor, one } from "../client/sql.ts";
import { canonicalUuid } from "../schema/uuid.ts";
import { answered } from "../validation/refusals.ts";

/** The server's clock to the millisecond, as a Date has it. */
export const CLOCK: SQL<Date> = sql<Date>`date_trunc('milliseconds', clock_timestamp())`;

/** One row, `now`: the given instant, else the server's clock. */
export const clock = (now: Date | undefined): SQL =>
  sql`(select coalesce(${now?.toISOString() ?? null}::timestamptz, ${CLOCK}) as now)`;

/** As JSON has an instant, whatever the session's time zone. */
export const written = (instant: SQL): SQL =>
  sql`to_char(${instant} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

/**
 * An instant in ISO form.
 * @param name as the message has it, `refreshHealth: now`
 * @throws {TypeError} it is no valid Date
 */
export function isoOf(name: string, instant: Date): string {
  if (!(instant instanceof Date && Number.isFinite(instant.getTime()))) {
    throw new TypeError(`${name} must be a valid Date`);
  }
  return instant.toISOString();
}

/** The instant at which a day of UTC begins, or one so many days after it. */
export const midnight = (day: string | SQL, after = 0): SQL =>
  sql`((${day}::date + ${after}::int)::timestamp at time zone 'UTC')`;

const DAY = 86_400_000;

/**
 * A `now` as it is bound; NULL where none is given, for the database's clock.
 * @throws {TypeError} it is no valid Date, or more than a day ahead
 */
export function momentOf(caller: string, now: Date | undefined): SQL {
  if (now === undefined) return sql`null::timestamptz`;
  const instant = isoOf(`${caller}: now`, now);
  if (now.getTime() > Date.now() + DAY) {
    throw new TypeError(`${caller}: now is more than a day ahead; leave it out for the present`);
  }
  return sql`${instant}::timestamptz`;
}

/**
 * An agent's id in its canonical form.
 * @throws {TypeError} it is no uuid
 */
export function agentIdOf(caller: string, agentId: unknown): string {
  const canonical = typeof agentId === "string" ? canonicalUuid(agentId) : undefined;
  if (canonical === undefined) throw new TypeError(`${caller}: agentId must be a uuid`);
  return canonical;
}

/**
 * Locks an agent until the transaction ends, in a statement of its own: what follows sees what whoever held it
 * before has done. Keys to the agent (new prompts, new logs) are not held up.
 * @param agentId a sub-select of the agent's id
 * @returns the agent's id; null where the caller sees none
 */
export async function lockAgent(
  tx: Executor,
  caller: string,
  agentId: SQL,
): Promise<string | null> {
  const [locked] = await answered<{ isolation: string; id: string | null }>(
    tx,
    sql`with agent as materialized (
      select id from public.agent_registry where id = (${agentId}) for no key update
    )
    select ${ISOLATION}, (select id from agent) as id`,
  );
  requireReadCommitted(caller, locked?.isolation);
  return locked?.id ?? null;
}

/**
 * Waits for whoever computes the same for this organization until its transaction ends; as service role, for
 * everybody. In a statement of its own, as {@link lockAgent}.
 */
export async function lockOrganization(
  tx: Executor,
  caller: string,
  subject: string,
): Promise<void> {
  const { isolation } = await one<{ isolation: string }>(
    tx,
    sql`select ${ISOLATION},
      case when is_tenant then pg_advisory_xact_lock_shared(everyone) else pg_advisory_xact_lock(everyone) end,
      case when is_tenant then pg_advisory_xact_lock(own) end
    from (select current_user = 'authenticated' as is_tenant,
      hashtextextended(concat('meta-agent-db ', ${subject}::text), 0) as everyone,
      hashtextextended(concat('meta-agent-db ', ${subject}::text, ' ', meta_agent.current_organization_id()), 0) as own) as lock`,
  );
  requireReadCommitted(caller, isolation);
}

/** For {@link requireReadCommitted}. */
export const ISOLATION = sql`current_setting('transaction_isolation') as isolation`;

/** Elsewhere the snapshot may be older than what was done by whoever held the lock before. */
export function requireReadCommitted(caller: string, isolation: string | undefined): void {
  if (isolation === "read committed") return;
  throw new Error(
    `${caller} needs a READ COMMITTED transaction: where that is not the default, run ALTER ROLE … SET default_transaction_isolation = 'read committed' for the login`,
  );
}
