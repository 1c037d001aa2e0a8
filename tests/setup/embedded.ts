import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PGlite } from "@electric-sql/pglite";
import { vector } from "@electric-sql/pglite-pgvector";
import { drizzle } from "drizzle-orm/pglite";
import type { TestProject } from "vitest/node";
import { schema } from "../../src/client/schema.ts";
import { migrate } from "../../src/operate/migrate/migrate.ts";

/** Migrates one embedded database and keeps its files as the snapshot that each test file loads. */
export default async function setup(project: TestProject) {
  const directory = await mkdtemp(join(tmpdir(), "meta-agent-db-"));
  const client = await PGlite.create({ extensions: { vector } });
  await migrate(drizzle(client, { schema }));
  const snapshot = join(directory, "migrated.tar");
  await writeFile(snapshot, new Uint8Array(await (await client.dumpDataDir("none")).arrayBuffer()));
  await client.close();
  project.provide("snapshot", snapshot);
  return () => rm(directory, { recursive: true });
}

declare module "vitest" {
  interface ProvidedContext {
    snapshot: string;
  }
}
