import { is, sql } from "drizzle-orm";
import { PgTransaction } from "drizzle-orm/pg-core";
import { databaseError } from "./errors.ts";
import { noteSpread } from "./spread.ts";
import { type Executor, type Transactor, rows } from "./sql.ts";
import { confinedTransaction } from "./transaction.ts";

/** Verified claims of a caller, as in a JSON Web Token. The organization is a top-level `organization_id` or one in `app_metadata`. */
export type Claims = Readonly<Record<string, unknown>>;

/** How to act as an organization. */
export interface TenantOptions {
  /** The database role to act as. Default `authenticated`; `anon` may not read or write any table. */
  readonly role?: "authenticated" | "anon";
  /** Refuse every write in this transaction. Default false. */
  readonly readOnly?: boolean;
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
 * @param organization the organization's uuid, or the caller's verified claims; claims without an
 * organization, or with one that is no uuid, see no rows: outside of production a warning says so, once
 * @throws {TypeError} before any SQL: not a uuid, given a transaction (the switch would outlive the inner
 * block), or a database of a driver that is not supported
 * @throws {Error} when the login may not act as the role, or row-level security would not apply
 */
export async function withOrganization<Tx extends Executor, T>(
  db: Transactor<Tx>,
  organization: string | Claims,
  work: (tx: Tx) => Promise<T>,
  options: TenantOptions = {},
): Promise<T> {
  const { role = "authenticated", readOnly = false } = options;
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
  if (role === "authenticated" && !isNobody && organizationOf(claims) === undefined) warnOfNone();
  const actor = {
    role,
    claims: JSON.stringify(claims),
    readOnly,
    organization: organizationOf(claims),
  };
  return actAs(db, actor, async (tx, secured) => {
    if (secured) return work(tx);
    throw new Error(
      `row-level security does not apply to ${role}: the role owns the tables, is a superuser or has BYPASSRLS; take that from it`,
    );
  });
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
 */
export async function withServiceRole<Tx extends Executor, T>(
  db: Transactor<Tx>,
  work: (tx: Tx) => Promise<T>,
): Promise<T> {
  return actAs(db, { role: "service_role", claims: "", readOnly: false }, work);
}

interface Actor {
  readonly role: "authenticated" | "anon" | "service_role";
  readonly claims: string;
  readonly readOnly: boolean;
  readonly organization?: string | undefined;
}

async function actAs<Tx extends Executor, T>(
  db: Transactor<Tx>,
  { role, claims, readOnly, organization }: Actor,
  work: (tx: Tx, secured: boolean) => Promise<T>,
): Promise<T> {
  if (is(db, PgTransaction)) {
    throw new TypeError(
      "withOrganization and withServiceRole open a transaction of their own: give them the database, not a transaction",
    );
  }
  return confinedTransaction(db, async (tx) => {
    // One statement, and awaited: Drizzle's queries are lazy, and one of `work` could overtake it.
    // Temporary objects come last: of a tenant with SQL of its own they stay on a pooled connection.
    const switched = await tx
      .execute(
        sql`select pg_catalog.set_config('request.jwt.claims', ${claims}, true), pg_catalog.set_config('role', ${role}, true),
          pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', nullif(pg_catalog.current_setting('search_path'), ''), 'pg_temp'), true),
          ${readOnly ? sql`pg_catalog.set_config('transaction_read_only', 'on', true),` : undefined}
          pg_catalog.row_security_active('public.agent_registry') as secured,
          pg_catalog.current_setting('citus.propagate_set_commands', true) = 'local' as "isDistributed"`,
      )
      .then(undefined, (error: unknown) => {
        throw switchRefused(role, error);
      });
    const [state] = rows<{ secured: boolean; isDistributed: boolean | null }>(switched);
    if (state?.isDistributed === true && role !== "anon") {
      // The workers of Citus hear of what SET LOCAL sets, and of set_config nothing.
      await tx.execute(sql`select meta_agent.carry_claims(${claims})`);
      noteSpread(tx, organization);
    }
    return work(tx, state?.secured === true);
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
