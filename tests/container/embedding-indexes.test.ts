import { randomUUID } from "node:crypto";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/postgres-js";
import postgres from "postgres";
import { expect, test, vi } from "vitest";
import { schema } from "../../src/client/schema.ts";
import { withOrganization, withServiceRole } from "../../src/client/tenancy.ts";
import {
  type RebuildProgress,
  embeddingIndexStates,
  rebuildEmbeddingIndexes,
} from "../../src/operate/rebuild.ts";
import { databaseError } from "../../src/client/errors.ts";
import { agentExecutionLogs, agentRegistry } from "../../src/schema/index.ts";
import { findSimilarExecutions } from "../../src/fleet/search.ts";
import { newAgent, newExecutionLog } from "../../src/testing.ts";
import { type TestDatabase, suite } from "../engine.ts";
import { openSupabaseLike } from "./environments.ts";

const ORGANIZATION = randomUUID();
const vector = Array.from({ length: 1536 }, (_, i) => (i < 2 ? 1 : 0));

/** A log with so many embeddings, of its input and perhaps of its error, all of different directions. */
async function fill({ db }: TestDatabase, count: number, error = true): Promise<void> {
  const agent = newAgent();
  const log = newExecutionLog({ agentId: agent.id });
  await withOrganization(db, ORGANIZATION, async (tx) => {
    await tx.insert(agentRegistry).values(agent);
    await tx.insert(agentExecutionLogs).values(log);
  });
  await db.execute(sql`
    insert into execution_embeddings (execution_log_id, organization_id, input_embedding, error_embedding)
    select ${log.id}, ${ORGANIZATION}, v, case when ${error} then v end from generate_series(1, ${count}::int) as n,
      cast('[' || n % 97 || ',' || n % 89 || repeat(',0', 1533) || ',' || n || ']' as vector) as v`);
}

const search = ({ db }: TestDatabase) =>
  withOrganization(db, ORGANIZATION, (tx) =>
    findSimilarExecutions(tx, { vector, by: "input", limit: 3 }),
  );

const indexes = ({ query }: TestDatabase) =>
  query<{ name: string; valid: boolean; definition: string; oid: string }>(
    `select c.relname as name, i.indisvalid as valid, pg_get_indexdef(c.oid) as definition, c.oid::text
     from pg_index as i join pg_class as c on c.oid = i.indexrelid
     where i.indrelid = 'execution_embeddings'::regclass and c.relname ~ '^idx_(input|error)' order by 1`,
  );

/** Those in use. While one is dropped its definition cannot be asked for. */
const used = ({ query }: TestDatabase) =>
  query<{ name: string; oid: string }>(
    `select c.relname as name, c.oid::text from pg_index as i join pg_class as c on c.oid = i.indexrelid
     where i.indrelid = 'execution_embeddings'::regclass and c.relname ~ '^idx_(input|error)' and i.indisvalid`,
  );

const NAMES = ["idx_error_embedding", "idx_input_embedding"];

/** A transaction that has written embeddings and is open: an index cannot be finished beside it. */
async function withWriter(database: TestDatabase, work: () => Promise<void>): Promise<void> {
  await database.rolledBack(async (query) => {
    await query("update execution_embeddings set created_at = now() where false");
    await query("lock table execution_embeddings in row exclusive mode");
    await work();
  });
}

/** The process id of a rebuild that waits with its new index half made. */
const halfway = ({ query }: TestDatabase) =>
  vi.waitFor(
    async () => {
      const [builder] = await query<{ pid: number }>(
        `select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
         and query ~ '^create index concurrently'`,
      );
      if (!builder) throw new Error("the rebuild has not got so far");
      return builder.pid;
    },
    { timeout: 30_000, interval: 5 },
  );

suite("rebuild of the embedding indexes", (database) => {
  test("is not needed below 10,000 rows", async () => {
    const { db } = database;
    await fill(database, 300);
    const before = await indexes(database);
    const kept = { rows: 300, listsBefore: 100, lists: 100, action: "kept", problem: undefined };
    expect(await rebuildEmbeddingIndexes(db)).toEqual([
      { index: "idx_input_embedding", ...kept },
      { index: "idx_error_embedding", ...kept },
    ]);
    expect(await indexes(database)).toEqual(before);
  });

  test("makes new indexes of the same names and definitions, and says over how many rows", async () => {
    const { db, query } = database;
    const before = await indexes(database);
    const memory = () =>
      query("select setting from pg_settings where name = 'maintenance_work_mem'");
    const setting = await memory();
    expect(await rebuildEmbeddingIndexes(db, { force: true })).toMatchObject([
      { rows: 300, listsBefore: 100, lists: 100, action: "rebuilt" },
      { rows: 300, listsBefore: 100, lists: 100, action: "rebuilt" },
    ]);
    const after = await indexes(database);
    const shape = ({ name, valid, definition }: (typeof after)[number]) => ({
      name,
      valid,
      definition,
    });
    expect(after.map(shape)).toEqual(before.map(shape));
    expect(after.map(({ oid }) => oid)).not.toEqual(before.map(({ oid }) => oid));
    expect(await embeddingIndexStates(db)).toMatchObject([{ builtOver: 300 }, { builtOver: 300 }]);
    expect(await memory()).toEqual(setting);
    expect(
      await query(
        "select from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())",
      ),
    ).toEqual([]);
  });

  test("lets searches and writes go on, and is not run twice at once", async () => {
    const { db, query } = database;
    const nearest = await search(database);
    let rebuilt: Promise<unknown> = Promise.resolve();
    await withWriter(database, async () => {
      rebuilt = rebuildEmbeddingIndexes(db, { force: true });
      await halfway(database);
      expect(await indexes(database)).toMatchObject([
        { name: NAMES[0], valid: true },
        { name: NAMES[1], valid: true },
        { name: "idx_input_embedding_new", valid: false },
      ]);
      expect(await search(database)).toEqual(nearest);
      await fill(database, 20);
      await expect(rebuildEmbeddingIndexes(db)).rejects.toThrow("another rebuild");
    });
    const going = { on: true };
    const finished = rebuilt.finally(() => (going.on = false));
    const seen: string[] = [];
    while (going.on) {
      const valid = await used(database);
      expect(valid.map(({ name }) => name)).toEqual(expect.arrayContaining(NAMES));
      seen.push(...valid.map(({ oid }) => oid));
      await search(database);
    }
    await finished;
    expect(new Set(seen).size).toBeGreaterThan(2);
    expect((await indexes(database)).map(({ name }) => name)).toEqual(NAMES);
    expect(await query("select from execution_embeddings")).toHaveLength(320);
  });

  test("that is killed leaves the old index in use, and the next one clears up", async () => {
    const { db, query } = database;
    const before = await indexes(database);
    await withWriter(database, async () => {
      // A pool of its own: postgres.js waits for ever for the end of one that lost a connection.
      const pool = postgres(database.url, { onnotice: () => {} });
      const killed = expect(
        rebuildEmbeddingIndexes(drizzle(pool, { schema }), { force: true }),
      ).rejects.toThrow();
      await query("select pg_terminate_backend($1)", [await halfway(database)]);
      await killed;
      expect(await pool`select 1 as still`).toEqual([{ still: 1 }]);
      await pool.end({ timeout: 0 });
    });
    expect(await indexes(database)).toEqual([
      ...before,
      expect.objectContaining({ name: "idx_input_embedding_new", valid: false }),
    ]);
    expect(await search(database)).toHaveLength(3);
    // And as if another had been killed after its index had taken the name.
    await query(
      `create index idx_error_embedding_old on execution_embeddings using ivfflat (error_embedding vector_cosine_ops) with (lists = 1)`,
    );
    await rebuildEmbeddingIndexes(db);
    expect(await indexes(database)).toEqual(before);
  });

  test("makes an index that is missing", async () => {
    const { db, query } = database;
    await query("drop index idx_error_embedding");
    expect((await embeddingIndexStates(db))[1]).toMatchObject({
      lists: null,
      problem: "missing or invalid",
    });
    expect((await rebuildEmbeddingIndexes(db))[1]).toMatchObject({
      listsBefore: null,
      action: "rebuilt",
    });
    expect((await indexes(database)).map(({ name }) => name)).toEqual(NAMES);
  });

  test("is the owner's, and not for a transaction", async () => {
    const { db } = database;
    const refusal = withServiceRole(db, async (tx) => {
      await expect(rebuildEmbeddingIndexes(tx)).rejects.toThrow("give it the database");
      await tx.execute(sql`create index concurrently x on execution_embeddings (created_at)`);
    }).catch((error: unknown) => databaseError(error)?.code);
    expect(await refusal).toBe("25001");
  });

  test("is needed from 10,000 rows on, and again when the file is another; how far it is can be told", async () => {
    const { db, query } = database;
    const input = async () => (await embeddingIndexStates(db))[0];
    const comment = (text: string) =>
      query(`do $$ begin execute format('comment on index idx_input_embedding is %L',
        replace('${text}', '?', pg_relation_filenode('idx_input_embedding')::text)); end $$`);
    await query("truncate execution_embeddings");
    expect(await input()).toMatchObject({ rows: 0, builtOver: null, problem: undefined });
    await query("drop index idx_input_embedding");
    await fill(database, 10_000, false);
    expect(await rebuildEmbeddingIndexes(db)).toMatchObject([
      { rows: 10_000, lists: 100, action: "rebuilt" },
      { rows: 0, action: "kept" },
    ]);
    expect(await input()).toMatchObject({ builtOver: 10_000, problem: undefined });
    const told: RebuildProgress[] = [];
    // A build may be over before anybody looks.
    for (let tries = 0; tries < 5 && !told.some(({ extent }) => extent); tries++) {
      await rebuildEmbeddingIndexes(db, { force: true, onProgress: (so) => told.push(so) });
    }
    expect(told[0]).toEqual({ index: "idx_input_embedding", number: 1, of: 2 });
    expect(told).toContainEqual({ index: "idx_error_embedding", number: 2, of: 2 });
    const counted = told.flatMap(({ phase, extent }) => (extent ? [{ phase, ...extent }] : []));
    expect(counted.length).toBeGreaterThan(0);
    for (const { phase, done, total, unit } of counted) {
      expect(phase).toMatch(/^(building index|index validation)/);
      expect(["rows", "blocks"]).toContain(unit);
      expect(done).toBeLessThanOrEqual(total);
    }
    await comment("Built over 9999 rows, file ?.");
    expect(await input()).toMatchObject({ problem: "built over 9999 rows, now 10000" });
    await comment("Somebody''s own words.");
    expect(await input()).toMatchObject({ problem: expect.stringContaining("never built") });
    await comment("Built over 10000 rows, file ?.");
    await query("truncate execution_embeddings");
    expect(await input()).toMatchObject({ builtOver: null });
  });
});

suite(
  "in a project laid out like Supabase's",
  (database) => {
    test("the indexes are rebuilt and searched", async () => {
      await fill(database, 150);
      expect(await rebuildEmbeddingIndexes(database.db, { force: true })).toMatchObject([
        { action: "rebuilt" },
        { action: "rebuilt" },
      ]);
      expect(await search(database)).toHaveLength(3);
    });
  },
  openSupabaseLike,
);
