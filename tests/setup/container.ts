import { sql } from "drizzle-orm";
import postgres from "postgres";
import { getContainerRuntimeClient } from "testcontainers";
import type { TestProject } from "vitest/node";
import { connect } from "../../src/client/connect.ts";
import type { Database } from "../../src/client/sql.ts";
import { takeForm } from "../../src/operate/citus.ts";
import { migrate } from "../../src/operate/migrate/migrate.ts";
import { partitionLogs } from "../../src/operate/partitions.ts";
import { startTestPostgres } from "./postgres.ts";
import { administer, siblingUrl } from "./server.ts";

/**
 * One PostgreSQL with pgvector a run, and in it one migrated database that each test file clones.
 * TEST_DATABASE_URL names a server to use instead (as superuser). Without either the container suite is
 * skipped; REQUIRE_CONTAINER=1 makes that a failure. PARTITIONED=1 cuts its log into months, HYBRID=1 gives it the keys
 * and policies that it has on a Citus cluster.
 */
export default async function setup(
  project: TestProject,
): Promise<(() => Promise<void>) | undefined> {
  const server = await findServer();
  project.provide("server", server?.url ?? "");
  project.provide("containerId", server?.containerId ?? "");
  project.provide("version", server ? await majorVersion(server.url) : 0);
  if (!server) return undefined;
  await administer(server.url, "drop database if exists migrated");
  await administer(server.url, "create database migrated");
  const { db, close } = connect(siblingUrl(server.url, "migrated"));
  await migrate(db);
  if (process.env["PARTITIONED"]) await cut(db);
  if (process.env["HYBRID"]) await db.transaction((tx) => takeForm(tx));
  await close();
  return server.stop;
}

/** With one more partition for all later months: tests write rows of any day. */
async function cut(db: Database): Promise<void> {
  await partitionLogs(db);
  await db.execute(sql`
    do $$ declare
      past constant uuid := meta_agent.uuidv7_floor((date_trunc('month', now() at time zone 'UTC') + interval '4 months') at time zone 'UTC');
    begin
      create table meta_agent_partitions.rest (like public.agent_execution_logs including all excluding indexes);
      alter table meta_agent_partitions.rest enable row level security;
      execute format('alter table public.agent_execution_logs attach partition meta_agent_partitions.rest for values from (%L) to (maxvalue)', past);
    end $$`);
}

interface Server {
  url: string;
  containerId: string;
  stop: () => Promise<void>;
}

async function findServer(): Promise<Server | undefined> {
  const url = process.env["TEST_DATABASE_URL"];
  if (url) return { url, containerId: "", stop: async () => {} };
  try {
    await getContainerRuntimeClient();
  } catch (error) {
    if (process.env["REQUIRE_CONTAINER"]) throw error;
    console.warn("\nSKIPPED: the container suite, because no Docker engine runs here.\n");
    return undefined;
  }
  const started = await startTestPostgres({
    max_connections: "300",
    max_prepared_transactions: "10",
  });
  return {
    url: started.url,
    containerId: started.container.getId(),
    stop: async () => {
      await started.container.stop();
    },
  };
}

async function majorVersion(url: string): Promise<number> {
  const client = postgres(url, { max: 1 });
  try {
    const [row] = await client<{ major: number }[]>`
      select current_setting('server_version_num')::int / 10000 as major`;
    return row?.major ?? 0;
  } finally {
    await client.end();
  }
}

declare module "vitest" {
  interface ProvidedContext {
    /** URL of the server as superuser; empty when there is none. */
    server: string;
    /** Empty when the server is not a container of this run. */
    containerId: string;
    /** The server's major version; 0 when there is none. */
    version: number;
  }
}
