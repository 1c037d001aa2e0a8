/**
 * Databases as others prepare them before our migrations arrive. Roles belong to a whole server, so each
 * has a server of its own, gone with `close`.
 */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import postgres from "postgres";
import { adopt } from "../../src/operate/adopt/adopt.ts";
import { connect } from "../../src/client/connect.ts";
import { MigrationError, migrate } from "../../src/operate/migrate/migrate.ts";
import { ejectSupabase } from "../../src/operate/migrate/install-script.ts";
import { DRIZZLE_KIT, environment } from "../cli.ts";
import { type Query, type TestDatabase, openUrl, queryOf } from "../engine.ts";
import { makeSeed } from "../made-by-seed.ts";
import { startTestPostgres } from "../setup/postgres.ts";
import { administer } from "../setup/server.ts";

/** A migrated database; `db`, `query` and `url` are those of the login that migrated it. */
export interface Environment extends TestDatabase {
  /** As the server's superuser. */
  readonly admin: Query;
  /** Where another login reaches the database. */
  urlAs(login: string): string;
  /** What others had made before the migrations, one line an object: see `inventory`. */
  readonly before: readonly string[];
}

export type Migrator = (url: string) => Promise<void>;

const ours: Migrator = async (url) => {
  const { db, close } = connect(url);
  try {
    await migrate(db);
  } finally {
    await close();
  }
};

export const drizzleKit: Migrator = async (url) => {
  await promisify(execFile)(process.execPath, [DRIZZLE_KIT, "migrate"], {
    env: environment({ DATABASE_URL: url }),
  });
};

/** What a project has that ran the seed's files by hand. */
export const seedThenAdopt: Migrator = async (url) => {
  const { close, ...database } = openUrl(url);
  try {
    await makeSeed(database, { onSupabase: true });
    await adopt(database.db);
  } finally {
    await close();
  }
};

/** What Supabase's command line does with the files of eject. */
export const ejected: Migrator = async (url) => {
  const directory = await mkdtemp(join(tmpdir(), "meta-agent-db-supabase-"));
  for (const file of ejectSupabase(directory).written) {
    await administer(url, await readFile(join(directory, file), "utf8"));
  }
  await rm(directory, { recursive: true });
};

/**
 * A Supabase project: `postgres` owns the database but is no superuser; the three roles, schema `auth`
 * and its functions belong to `supabase_admin`. An "old" project has vector enabled and grants new
 * tables, functions and sequences to the three roles; in a "new" one nothing is granted by default, and
 * the first migration enables vector.
 */
export async function openSupabaseLike(
  project: "old" | "new" = "old",
  apply: Migrator = ours,
): Promise<Environment> {
  return prepared({ superuser: "supabase_admin", login: "postgres" }, async (server) => {
    // Supabase lets `postgres` create this extension, by means of its own.
    await server.shell("echo 'trusted = true' >> $(pg_config --sharedir)/extension/vector.control");
    await server.admin(SUPABASE_PROJECT);
    if (project === "old") await server.admin(OLD_PROJECT);
    const before = await inventory(server.admin);
    await apply(server.url);
    return { before };
  });
}

// As in supabase/postgres and supabase/auth; passwords but for the two logins used here are left out.
const SUPABASE_PROJECT = `
  create role postgres login password 'test' createdb createrole replication bypassrls;
  create role anon nologin;
  create role authenticated nologin;
  create role service_role nologin bypassrls;
  create role authenticator login noinherit password 'test';
  grant anon, authenticated, service_role to authenticator;
  grant anon, authenticated, service_role to postgres with admin option;
  alter role postgres set search_path = "$user", public, extensions;
  alter role anon set statement_timeout = '3s';
  alter role authenticated set statement_timeout = '8s';
  alter database postgres owner to postgres;
  grant usage on schema public to postgres, anon, authenticated, service_role;

  create schema extensions;
  grant all on schema extensions to postgres;
  grant usage on schema extensions to anon, authenticated, service_role;

  create schema auth;
  grant usage on schema auth to postgres, anon, authenticated, service_role;
  create function auth.uid() returns uuid language sql stable as $$
    select coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
      (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'))::uuid
  $$;
  create function auth.role() returns text language sql stable as $$
    select coalesce(nullif(current_setting('request.jwt.claim.role', true), ''),
      (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'))::text
  $$;
  create function auth.jwt() returns jsonb language sql stable as $$
    select coalesce(nullif(current_setting('request.jwt.claim', true), ''),
      nullif(current_setting('request.jwt.claims', true), ''))::jsonb
  $$;
  grant all on all routines in schema auth to postgres;`;

const OLD_PROJECT = `
  create extension vector schema extensions;
  alter default privileges for role postgres in schema public
    grant all on tables to anon, authenticated, service_role;
  alter default privileges for role postgres in schema public
    grant all on functions to anon, authenticated, service_role;
  alter default privileges for role postgres in schema public
    grant all on sequences to anon, authenticated, service_role;`;

/**
 * A plain database that a login owns who may create neither roles nor extensions. Its superuser runs
 * what the first, refused migration asks for (`asked`), no statement more, and lets the owner act as
 * the three roles.
 */
export async function openAsOwner(): Promise<Environment & { readonly asked: string }> {
  return prepared({ superuser: "postgres", login: "fleet_owner" }, async (server) => {
    await server.admin(`
      create role fleet_owner login password 'test';
      alter database postgres owner to fleet_owner`);
    const asked = await missingStatements(server.url);
    await server.admin(asked);
    await server.admin("grant anon, authenticated, service_role to fleet_owner");
    const before = await inventory(server.admin);
    await ours(server.url);
    return { before, asked };
  });
}

/** The statements that a refused migration says a superuser must run first. */
async function missingStatements(url: string): Promise<string> {
  const error: unknown = await ours(url).catch((reason: unknown) => reason);
  const message = error instanceof MigrationError ? error.message : "";
  const [, statements] = /does the same\.\n([^]+;)\nNothing was applied/.exec(message) ?? [];
  if (statements === undefined) throw new Error(`no statements were asked for`, { cause: error });
  return statements;
}

interface Server {
  /** Several statements at once are possible when there are no parameters. */
  readonly admin: Query;
  /** The database, for the login that migrates. */
  readonly url: string;
  urlAs(login: string): string;
  shell(command: string): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a server, has it prepared and migrated, and opens it; on failure nothing stays behind. */
async function prepared<Extra extends object>(
  { superuser, login }: { superuser: string; login: string },
  prepare: (server: Server) => Promise<Extra>,
): Promise<TestDatabase & Pick<Environment, "admin" | "urlAs"> & Extra> {
  const server = await startServer(superuser, login);
  try {
    const extra = await prepare(server);
    const { close, ...database } = openUrl(server.url);
    return {
      ...database,
      ...extra,
      admin: server.admin,
      urlAs: (other) => server.urlAs(other),
      close: () => close().finally(() => server.stop()),
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

async function startServer(superuser: string, login: string): Promise<Server> {
  const { container } = await startTestPostgres({}, superuser);
  const urlAs = (user: string) =>
    `postgres://${user}:test@${container.getHost()}:${container.getMappedPort(5432)}/postgres`;
  const client = postgres(urlAs(superuser), { max: 2, onnotice: () => {} });
  return {
    admin: queryOf(client),
    url: urlAs(login),
    urlAs,
    shell: async (command) => {
      const { exitCode, output } = await container.exec(["sh", "-c", command]);
      if (exitCode !== 0) throw new Error(output);
    },
    stop: async () => {
      await container.stop();
      await client.end();
    },
  };
}

/**
 * What a database prepared by others holds: roles with their attributes, settings and memberships, default
 * privileges, databases, schemas, extensions, and the functions of schema auth with their text; each with
 * owner and privileges.
 */
export async function inventory(query: Query): Promise<string[]> {
  const rows = await query<{ line: string }>(`
    select format('role %s', to_jsonb(r) - 'oid') as line from pg_roles r
    union all
    select format('membership of %s in %s by %s %s', member::regrole, roleid::regrole, grantor::regrole,
      to_jsonb(m) - 'oid' - 'member' - 'roleid' - 'grantor') from pg_auth_members m
    union all
    select format('default privileges of %s in %s on %s: %s', defaclrole::regrole, defaclnamespace::regnamespace,
      defaclobjtype, defaclacl) from pg_default_acl
    union all
    select format('database %s of %s: %s', datname, datdba::regrole, datacl) from pg_database
    union all
    select format('schema %s of %s: %s', nspname, nspowner::regrole, nspacl) from pg_namespace
      where nspname !~ '^pg_(toast|temp)'
    union all
    select format('extension %s of %s in %s', extname, extowner::regrole, extnamespace::regnamespace) from pg_extension
    union all
    select format('function %s of %s: %s %s', oid::regprocedure, proowner::regrole, proacl, pg_get_functiondef(oid))
      from pg_proc where pronamespace = to_regnamespace('auth')`);
  return rows.map(({ line }) => line).toSorted();
}
