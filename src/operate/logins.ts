import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";
import { sql } from "drizzle-orm";
import { withServersNames } from "../client/settings.ts";
import { type Database, type Transaction, rows, textArray } from "../client/sql.ts";
import { confinedTransaction } from "../client/transaction.ts";

/** The roles that people and backends act as, and that policies name. */
export const OUR_ROLES = ["anon", "authenticated", "service_role"] as const;

/** The two logins of a deployment. Both are NOINHERIT: they can do nothing until they switch role. */
export const LOGINS = {
  /** What the application connects as; `withOrganization` acts through it. */
  application: { name: "meta_agent_app", memberOf: ["authenticated", "anon"] },
  /** What backend jobs connect as; `withServiceRole` acts through it. */
  backend: { name: "meta_agent_backend", memberOf: ["service_role"] },
} as const;

/** Whom a login is for: the application as its tenants, or a backend job. */
export type LoginPurpose = keyof typeof LOGINS;

/** The statements that make the logins, without passwords: set those with `\password` in psql. */
export function loginStatements(): string[] {
  return Object.values(LOGINS).flatMap(({ name, memberOf }) => [
    `CREATE ROLE ${name} LOGIN NOINHERIT;`,
    `GRANT ${memberOf.join(", ")} TO ${name};`,
  ]);
}

/**
 * Makes the two logins, or sets the passwords of those that exist, all in one transaction. The server
 * is sent SCRAM-SHA-256 verifiers, never a password, so that none can end up in its log. Where the vector
 * type lives outside of public, their search_path in this database is set to find it.
 *
 * @throws {Error} when a login exists that could look past row-level security: a superuser, one with
 * BYPASSRLS or the like, the owner of anything, or a member of further roles
 */
export async function createLogins(
  db: Database,
  passwords: Readonly<Record<LoginPurpose, string>>,
): Promise<void> {
  await confinedTransaction(db, (tx) => withServersNames(tx, () => makeLogins(tx, passwords)));
}

async function makeLogins(
  tx: Transaction,
  passwords: Readonly<Record<LoginPurpose, string>>,
): Promise<void> {
  for (const [purpose, { name, memberOf }] of Object.entries(LOGINS)) {
    const [existing] = rows<{ why: string | null }>(await tx.execute(whyUnsafe(name, memberOf)));
    if (existing?.why) {
      throw new Error(
        `the role ${name} exists and ${existing.why}: drop or rename it, then try again. Nothing was changed.`,
      );
    }
    const password = purpose === "application" ? passwords.application : passwords.backend;
    const verifier = scramVerifier(password);
    // A role statement takes no parameters: the verifier is bound to a setting and read from there.
    await tx.execute(sql`select set_config('meta_agent.verifier', ${verifier}, true)`);
    await tx.execute(
      sql.raw(`DO $$ BEGIN
          EXECUTE format('${existing ? "ALTER" : "CREATE"} ROLE ${name} LOGIN NOINHERIT PASSWORD %L',
            current_setting('meta_agent.verifier'));
          -- From 16 on a membership has its own INHERIT, and an older one may have it on.
          EXECUTE 'GRANT ${memberOf.join(", ")} TO ${name}' || CASE
            WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END;
        END $$`),
    );
    await tx.execute(sql.raw(reachVector(name)));
  }
}

/** Where the vector type is not in public, as on Supabase, the login must find it and its operators. */
const reachVector = (name: string) => `DO $$
  DECLARE home text := (SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'vector');
  BEGIN
    IF home <> 'public' THEN
      EXECUTE format('ALTER ROLE ${name} IN DATABASE %I SET search_path = "$user", public, %s', current_database(), home);
    END IF;
  END $$`;

/** One row if the role exists, with the reason why it must not be used, or null. */
function whyUnsafe(name: string, memberOf: readonly string[]) {
  return sql`
    select case
      when rolsuper then 'is a superuser'
      when rolbypassrls then 'has BYPASSRLS'
      when rolcreaterole then 'has CREATEROLE'
      when rolcreatedb then 'has CREATEDB'
      when rolreplication then 'has REPLICATION'
      when exists (
        select from pg_shdepend where refclassid = 'pg_authid'::regclass and refobjid = role.oid and deptype = 'o'
      ) then 'owns objects'
      when exists (
        select from pg_auth_members where member = role.oid and admin_option
      ) then 'may pass on its memberships'
      else (
        select 'is also a member of ' || string_agg(parent.rolname, ', ' order by parent.rolname)
        from pg_auth_members as member join pg_roles as parent on parent.oid = member.roleid
        where member.member = role.oid and parent.rolname <> all (${textArray(memberOf)})
      )
    end as why
    from pg_roles as role where rolname = ${name}`;
}

/** What PostgreSQL stores for a password (RFC 5803), as psql's \password makes it. */
function scramVerifier(password: string): string {
  if (!/^[\x20-\x7e]{8,}$/.test(password)) {
    throw new TypeError("a password has at least 8 characters, all of them printable ASCII");
  }
  const [iterations, salt] = [4096, randomBytes(16)];
  const salted = pbkdf2Sync(password, salt, iterations, 32, "sha256");
  const keyed = (text: string) => createHmac("sha256", salted).update(text).digest();
  const storedKey = createHash("sha256").update(keyed("Client Key")).digest("base64");
  const serverKey = keyed("Server Key").toString("base64");
  return `SCRAM-SHA-256$${iterations}:${salt.toString("base64")}$${storedKey}:${serverKey}`;
}
