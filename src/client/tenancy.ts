import { is, sql } from "drizzle-orm";
import { PgTransaction } from "drizzle-orm/pg-core";
import { databaseError } from "./errors.ts";
import { type Answer, type Lsn, freshness, isLsn, untilFresh } from "./replicas.ts";
import { noteSpread } from "./spread.ts";
import { type Executor, type Transactor, one } from "./sql.ts";
import { confinedTransaction } from "./transaction.ts";

/** Verified claims of a caller, as in a JSON Web Token. The organization is a top-level `organization_id` or one in `app_metadata`. */
export type Claims = Readonly<Record<string, unknown>>;

/** What a transaction may do. */
export interface AccessOptions {
  /** Refuse every write in this transaction. Default false. */
  readonly readOnly?: boolean;
  /** What `currentLsn` answered after a write: `work` runs when this server, a replica, has it, too. */
  readonly freshAs?: Lsn | undefined;
  /** How long to wait for that, in milliseconds. Default 5000. */
  readonly freshWithinMs?: number | undefined;
}

/** How to act as an organization. */
export interface TenantOptions extends AccessOptions {
  /** The database role to act as. Default `authenticated`; `anon` may not read or write any table. */
  readonly role?: "authenticated" | "anon";
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/**
 * Runs `work` in one transaction as one organization: row-level security shows and accepts that
 * organization's rows alone, and rows inserted without an organization are given it. Claims and role
 * are bound, set for this transaction only, and set before `work` starts, so a pooled connection
 * carries nothing over, transaction poolers included.
 *
 * A reference is checked against rows that an earlier statement wrote: insert parents first, children in
 * the next statement.
 *
 * Not promised: protection from SQL that the same login runs outside of this function. Inside a
 * transaction of the same database it waits for a connection, on the embedded engine for ever.
 *
 * It runs on the database that it is given: give it a replica to read there. Of Drizzle's `withReplicas` that is
 * the primary.
 *
 * @param organization the organization's uuid, or the caller's verified claims; claims without an
 * organization, or with one that is no uuid, see no rows: outside of production a warning says so, once
 * @throws {TypeError} before any SQL: not a uuid, given a transaction (the switch would outlive the inner
 * block), or a database of a driver that is not supported
 * @throws {Error} when the login may not act as the role, or row-level security would not apply
 * @throws {StaleReplicaError} when the server is not as far as `freshAs` in time; `work` has not run
 */
export async function withOrganization<Tx extends Executor, T>(
  db: Transactor<Tx>,
  organization: string | Claims,
  work: (tx: Tx) => Promise<T>,
  options: TenantOptions = {},
): Promise<T> {
  const { role = "authenticated" } = options;
  if (typeof organization === "string" && !UUID.test(organization)) {
    throw new TypeError("withOrganization: the organization must be a uuid");
  }
  if (role !== "authenticated" && role !== "anon") {
    throw new TypeError("withOrganization: the role must be authenticated or anon");
  }
  if (typeof organization !== "string" && !isPlainObject(organization)) {
    throw new TypeError("withOrganization: expected an organization's uuid or an object of claims");
  }
  const claims =
    typeof organization === "string" ? { organization_id: organization, role } : organization;
  // Who gives none at all means it.
  const isNobody = Object.keys(claims).length === 0;
  const named = organizationOf(claims);
  if (role === "authenticated" && !isNobody && named === undefined) warnOfNone();
  return access(db, { role, claims: JSON.stringify(claims), organization: named }, work, options);
}

/**
 * The organization that claims name, as `meta_agent.current_organization_id()` reads them: a key at the
 * top decides, null and malformed ones too.
 */
function organizationOf({
  organization_id: top,
  app_metadata: nested,
}: Claims): string | undefined {
  const inner: unknown =
    typeof nested === "object" && nested !== null && "organization_id" in nested
      ? nested.organization_id
      : undefined;
  const organization = top === undefined ? inner : top;
  return typeof organization === "string" && UUID.test(organization) ? organization : undefined;
}

let hasWarned = false;

/** No rows and no error is how PostgreSQL answers; a developer takes that for an empty database. */
function warnOfNone(): void {
  if (hasWarned || process.env["NODE_ENV"] === "production") return;
  hasWarned = true;
  process.emitWarning(
    "withOrganization: these claims name no organization, so every table looks empty and refuses new rows. Expected a uuid as organization_id, at the top level or in app_metadata: where the identity provider has other keys or ids, look up the organization's uuid and give that. (Said once, and not where NODE_ENV is production.)",
    { type: "MetaAgentDbWarning", code: "META_AGENT_DB_NO_ORGANIZATION" },
  );
}

function isPlainObject(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    [Object.prototype, null].includes(Object.getPrototypeOf(value)) &&
    !("toJSON" in value)
  );
}

/**
 * Runs `work` in one transaction as the backend: every organization's rows, past and for all. A row
 * inserted without an organization is a row of the platform, invisible to every tenant.
 *
 * @throws {TypeError} when called inside another transaction
 * @throws {Error} when the login may not act as service_role
 * @throws {StaleReplicaError} when the server is not as far as `freshAs` in time; `work` has not run
 */
export async function withServiceRole<Tx extends Executor, T>(
  db: Transactor<Tx>,
  work: (tx: Tx) => Promise<T>,
  options: AccessOptions = {},
): Promise<T> {
  return access(db, { role: "service_role", claims: "" }, work, options);
}

/** Runs `work` as somebody, on a server that is as far as asked for. */
async function access<Tx extends Executor, T>(
  db: Transactor<Tx>,
  who: Pick<Actor, "role" | "claims" | "organization">,
  work: (tx: Tx) => Promise<T>,
  { readOnly = false, freshAs, freshWithinMs = 5000 }: AccessOptions,
): Promise<T> {
  if (freshAs !== undefined && !isLsn(freshAs)) {
    throw new TypeError("freshAs must be what currentLsn answered");
  }
  if (!(freshWithinMs >= 0)) {
    throw new TypeError("freshWithinMs must be a number of 0 or more");
  }
  const actor = { ...who, readOnly, freshAs };
  if (freshAs === undefined) return actAs(db, actor, (tx) => work(tx));
  const ask = (): Promise<Answer<T>> =>
    actAs(db, actor, async (tx, { fresh, position }) =>
      fresh === true ? { result: await work(tx) } : { staleAt: position },
    );
  return untilFresh(ask, { freshAs, freshWithinMs });
}

interface Actor {
  readonly role: "authenticated" | "anon" | "service_role";
  readonly claims: string;
  readonly readOnly: boolean;
  readonly organization?: string | undefined;
  readonly freshAs?: Lsn | undefined;
}

/** What the server says of a switch. */
interface Switched {
  /** Whether row-level security applies: true or false, as the driver reads them. */
  readonly secured: unknown;
  /** Whether the log lies on the workers of a Citus cluster. Null: no Citus. */
  readonly isDistributed: unknown;
  /** Where `freshAs` was asked for: whether the server is as far, null where it never replays, and how far it is. */
  readonly fresh?: unknown;
  readonly position?: string | null;
}

async function actAs<Tx extends Executor, T>(
  db: Transactor<Tx>,
  { role, claims, readOnly, organization, freshAs }: Actor,
  work: (tx: Tx, switched: Switched) => Promise<T>,
): Promise<T> {
  if (is(db, PgTransaction)) {
    throw new TypeError(
      "withOrganization and withServiceRole open a transaction of their own: give them the database, not a transaction",
    );
  }
  const switchAndWork = async (tx: Tx): Promise<T> => {
    // One statement, and awaited: Drizzle's queries are lazy, and one of `work` could overtake it.
    // Temporary objects come last: of a tenant with SQL of its own they stay on a pooled connection.
    const switched = await one<Switched>(
      tx,
      sql`select pg_catalog.set_config('request.jwt.claims', ${claims}, true), pg_catalog.set_config('role', ${role}, true),
          pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', nullif(pg_catalog.current_setting('search_path'), ''), 'pg_temp'), true),
          ${readOnly ? sql`pg_catalog.set_config('transaction_read_only', 'on', true),` : undefined}
          ${freshAs === undefined ? undefined : sql`${freshness(freshAs)},`}
          pg_catalog.row_security_active('public.agent_registry') as secured,
          pg_catalog.current_setting('citus.propagate_set_commands', true) = 'local' as "isDistributed"`,
    ).catch((error: unknown) => {
      throw switchRefused(role, error);
    });
    if (role !== "service_role" && switched.secured !== true) {
      throw new Error(
        `row-level security does not apply to ${role}: the role owns the tables, is a superuser or has BYPASSRLS; take that from it`,
      );
    }
    if (switched.isDistributed === true && role !== "anon") {
      // The workers of Citus hear of what SET LOCAL sets, and of set_config nothing.
      await tx.execute(sql`select meta_agent.carry_claims(${claims})`);
      noteSpread(tx, organization);
    }
    return work(tx, switched);
  };
  // A snapshot that the whole transaction keeps is older than the answer how fresh the server is.
  return confinedTransaction(db, switchAndWork, {
    awaitsFirst: true,
    ...(freshAs === undefined ? {} : { isolationLevel: "read committed" }),
  });
}

function switchRefused(role: string, error: unknown): unknown {
  switch (databaseError(error)?.code ?? "") {
    case "42501":
      return databaseError(error)?.message.includes("set role")
        ? new Error(
            `this login may not act as ${role}: as the administrator, run GRANT ${role} TO the login`,
            { cause: error },
          )
        : error;
    case "22023":
    case "42P01":
      return new Error("this database has not been migrated: run meta-agent-db migrate", {
        cause: error,
      });
    default:
      return error;
  }
}
