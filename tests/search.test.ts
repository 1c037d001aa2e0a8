import { randomUUID } from "node:crypto";
import { sql } from "drizzle-orm";
import * as fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import type { Database, Transaction } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import { rebuildEmbeddingIndexes } from "../src/operate/rebuild.ts";
import {
  type AgentExecutionLog,
  type ExecutionEmbedding,
  agentExecutionLogs,
  agentRegistry,
  executionEmbeddings,
} from "../src/schema/index.ts";
import { type SimilaritySearch, findSimilarExecutions } from "../src/fleet/search.ts";
import { newAgent, newEmbedding, newExecutionLog } from "../src/testing.ts";
import { type TestDatabase, suite } from "./engine.ts";

const RUNS = Number(process.env["PROPERTY_RUNS"] ?? 25);

/** 1,536 components, of which these come first and the others are 0. */
const vectorOf = (...components: number[]) =>
  Array.from({ length: 1536 }, (_, i) => components[i] ?? 0);

/** An exact scan, in double precision. */
function cosineDistance(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) =>
    x.reduce((sum, component, i) => sum + component * (y[i] ?? 0), 0);
  return 1 - dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

type Row = ExecutionEmbedding & { log: AgentExecutionLog };

/** A new organization with an agent and one log with embeddings for each entry. */
async function newOrganization(
  db: Database,
  entries: readonly { log?: Partial<AgentExecutionLog>; embeddings: Partial<ExecutionEmbedding> }[],
) {
  const organization = randomUUID();
  const agent = newAgent();
  const logs = entries.map(({ log }) => newExecutionLog({ agentId: agent.id, ...log }));
  await withOrganization(db, organization, async (tx) => {
    await tx.insert(agentRegistry).values(agent);
    await tx.insert(agentExecutionLogs).values(logs);
    await tx
      .insert(executionEmbeddings)
      .values(
        entries.map(({ embeddings }, n) =>
          newEmbedding({ inputEmbedding: null, ...embeddings, executionLogId: logs[n]?.id ?? "" }),
        ),
      );
  });
  return { organization, agentId: agent.id };
}

const inOrganization = <T>(
  { db }: TestDatabase,
  organization: string,
  work: (tx: Transaction) => Promise<T>,
) => withOrganization(db, organization, work);

const component = fc.integer({ min: -8, max: 8 }).map((n) => n / 4);
const direction = fc
  .array(component, { minLength: 6, maxLength: 6 })
  .filter((components) => components.some((value) => value !== 0))
  .map((components) => vectorOf(...components));
const instant = fc.integer({ min: 0, max: 20 }).map((day) => new Date(Date.UTC(2026, 0, 1 + day)));
const status = fc.constantFrom("success" as const, "failure" as const, "timeout" as const);
const action = fc.constantFrom("llm_call", "tool_call");
const errorType = fc.constantFrom("refused", "slow");

const entries = fc.array(
  fc.record({
    log: fc.record({
      status,
      actionType: action,
      timestamp: instant,
      errorType: fc.option(errorType),
    }),
    embeddings: fc
      .record({
        inputEmbedding: fc.option(direction),
        outputEmbedding: fc.option(direction),
        errorEmbedding: fc.option(direction),
      })
      .filter((row) => Object.values(row).some((vector) => vector !== null)),
  }),
  { minLength: 1, maxLength: 30 },
);

const anySearch: fc.Arbitrary<SimilaritySearch> = fc.record(
  {
    vector: direction,
    by: fc.constantFrom("input", "output", "error"),
    limit: fc.integer({ min: 1, max: 12 }),
    // Never a distance that two of these directions have.
    maxDistance: fc.integer({ min: 0, max: 19 }).map((n) => n / 10 + 0.0123),
    filters: fc.record(
      { status, actionType: action, errorType, from: instant, to: instant },
      { requiredKeys: [] },
    ),
  },
  { requiredKeys: ["vector", "by"] },
);

/** What the search must answer: the distances, nearest first. */
function exactScan(rows: readonly Row[], { vector, by, limit = 10, ...rest }: SimilaritySearch) {
  const { maxDistance = 2, filters = {} } = rest;
  const { from, to, ...equal } = filters;
  return rows
    .filter(
      ({ log }) =>
        Object.entries(equal).every(([key, value]) => Reflect.get(log, key) === value) &&
        (!from || log.timestamp >= from) &&
        (!to || log.timestamp < to),
    )
    .map((row) => row[`${by}Embedding`])
    .filter((stored) => stored !== null)
    .map((stored) => cosineDistance(vector, stored))
    .filter((distance) => distance <= maxDistance)
    .toSorted((a, b) => a - b)
    .slice(0, limit);
}

suite("similar executions", (database) => {
  test("are those of an exact scan, whatever is stored and asked", async () => {
    await fc.assert(
      fc.asyncProperty(entries, fc.array(anySearch, { minLength: 4 }), async (stored, searches) => {
        const { organization } = await newOrganization(database.db, stored);
        await inOrganization(database, organization, async (tx) => {
          const all: Row[] = await tx.query.executionEmbeddings
            .findMany({ with: { executionLog: true } })
            .then((found) =>
              found.map(({ executionLog, ...row }) => ({ ...row, log: executionLog })),
            );
          for (const one of searches) {
            const found = await findSimilarExecutions(tx, one);
            const distances = exactScan(all, one);
            expect(found).toHaveLength(distances.length);
            for (const [n, { embeddingId, distance, log }] of found.entries()) {
              expect(Math.abs(distance - (distances[n] ?? Infinity))).toBeLessThan(1e-6);
              const row = all.find(({ id }) => id === embeddingId);
              expect(log).toEqual(row?.log);
              expect(
                Math.abs(distance - cosineDistance(one.vector, row?.[`${one.by}Embedding`] ?? [])),
              ).toBeLessThan(1e-6);
            }
          }
        });
      }),
      { numRuns: RUNS },
    );
  });

  test("are the caller's own, whoever else is nearer", async () => {
    const near = { embeddings: { inputEmbedding: vectorOf(1) } };
    const [one, other] = [
      await newOrganization(database.db, [{ embeddings: { inputEmbedding: vectorOf(1, 1) } }]),
      await newOrganization(database.db, [near, near]),
    ];
    const asked = { vector: vectorOf(1), by: "input" } as const;
    await inOrganization(database, one.organization, async (tx) => {
      expect(await findSimilarExecutions(tx, asked)).toMatchObject([
        { log: { agentId: one.agentId, organizationId: one.organization } },
      ]);
      const others = await findSimilarExecutions(tx, {
        ...asked,
        organizationId: other.organization,
      });
      expect(others).toEqual([]);
    });
    await withServiceRole(database.db, async (tx) => {
      const named = { ...asked, organizationId: other.organization };
      expect(await findSimilarExecutions(tx, named)).toHaveLength(2);
      await expect(findSimilarExecutions(tx, asked)).rejects.toThrow("name organizationId");
    });
    const nobody = await withOrganization(database.db, {}, (tx) =>
      findSimilarExecutions(tx, asked),
    );
    expect(nobody).toEqual([]);
  });

  test("are as many as asked for where the log of a nearer embedding is another organization's", async () => {
    const nearest = { embeddings: { inputEmbedding: vectorOf(1, 0.1) } };
    const own = await newOrganization(database.db, [nearest, nearest]);
    const other = await newOrganization(database.db, [nearest]);
    // As only a backend can: the owner's embedding of a log that the tenant does not see.
    await database.query(
      `insert into execution_embeddings (execution_log_id, organization_id, input_embedding)
       select id, $1::uuid, $2::vector from agent_execution_logs where organization_id = $3::uuid`,
      [own.organization, JSON.stringify(vectorOf(1)), other.organization],
    );
    const asked = { vector: vectorOf(1), by: "input", limit: 2 } as const;
    const found = await inOrganization(database, own.organization, (tx) =>
      findSimilarExecutions(tx, asked),
    );
    expect(found.map(({ log }) => log.organizationId)).toEqual([
      own.organization,
      own.organization,
    ]);
    const backend = await withServiceRole(database.db, (tx) =>
      findSimilarExecutions(tx, { ...asked, organizationId: own.organization }),
    );
    expect(backend.map(({ log }) => log.organizationId)).toContain(other.organization);
  });

  test("are not those of a vector of length zero, and compare very long and very short ones", async () => {
    const { organization } = await newOrganization(
      database.db,
      [vectorOf(0), vectorOf(1, 1), vectorOf(1)].map((inputEmbedding) => ({
        embeddings: { inputEmbedding },
      })),
    );
    for (const vector of [vectorOf(1e-300), vectorOf(1, 1e-60), vectorOf(1e300)]) {
      const found = await inOrganization(database, organization, (tx) =>
        findSimilarExecutions(tx, { vector, by: "input" }),
      );
      expect(found.map(({ distance }) => distance.toFixed(6))).toEqual(["0.000000", "0.292893"]);
    }
  });

  test("are not looked for with a search that makes no sense; all that is wrong is said, before any SQL", async () => {
    const { organization } = await newOrganization(database.db, [
      { embeddings: { inputEmbedding: vectorOf(1) } },
    ]);
    await inOrganization(database, organization, async (tx) => {
      const good = { vector: vectorOf(1), by: "input" } as const;
      const refused = async (search: SimilaritySearch, message: RegExp) =>
        expect(findSimilarExecutions(tx, search)).rejects.toThrow(message);
      await refused({ ...good, vector: [1, 2] }, /vector: expected 1536 numbers, got 2$/);
      await refused({ ...good, vector: vectorOf(0) }, /vector: .*no direction$/);
      await refused({ ...good, vector: vectorOf(NaN) }, /vector: .*no direction$/);
      await refused({ ...good, vector: vectorOf(Infinity) }, /vector: .*no direction$/);
      await refused({ ...good, limit: 0 }, /limit: expected a whole number from 1, got 0$/);
      await refused({ ...good, limit: 1.5 }, /limit: .* got 1.5$/);
      await refused({ ...good, maxDistance: NaN }, /maxDistance: expected 0 to 2, got NaN$/);
      await refused(
        { vector: [], by: "input", limit: -1, maxDistance: 3 },
        /vector.*limit.*maxDistance/,
      );
      // Had one of them reached PostgreSQL, the transaction would be lost.
      expect(await findSimilarExecutions(tx, good)).toHaveLength(1);
    });
  });
});

suite("similar executions among many", (database) => {
  const organizations = { large: randomUUID(), small: randomUUID(), far: randomUUID() };

  /** Rows of random directions in the first six components, or near to the eleventh. */
  const fill = async (organization: string, count: number, far = false) => {
    const agent = newAgent();
    const log = newExecutionLog({ agentId: agent.id });
    await withOrganization(database.db, organization, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      await tx.insert(agentExecutionLogs).values(log);
      await tx.execute(sql`
        insert into execution_embeddings (execution_log_id, input_embedding)
        select ${log.id}, cast('[' || (random() - 0.5) * ${far ? 0.01 : 1} || ',' || concat_ws(',',
          random() - 0.5, random() - 0.5, random() - 0.5, random() - 0.5, random() - 0.5)
          || repeat(',0', 4) || ',' || ${far ? 1000 : 0} || repeat(',0', 1525) || ']' as vector)
        from generate_series(1, ${count}::int)`);
    });
  };

  beforeAll(async () => {
    await fill(organizations.large, 1600);
    await fill(organizations.small, 20);
    await fill(organizations.far, 520, true);
    await fill(randomUUID(), 600);
  });

  const exact = (tx: Transaction, vector: readonly number[], limit: number) =>
    tx
      .select({
        id: executionEmbeddings.id,
        distance:
          sql<number>`(${executionEmbeddings.inputEmbedding} <=> ${JSON.stringify(vector)}::vector) + 0`.as(
            "distance",
          ),
      })
      .from(executionEmbeddings)
      .orderBy(sql`distance`)
      .limit(limit);

  /** What the search answers, and how often it asked the index. */
  const asked = (organization: string, search: Omit<SimilaritySearch, "by">) =>
    inOrganization(database, organization, async (tx) => {
      const scans = async () => {
        const [count] = await tx
          .select({
            scans: sql<string>`pg_stat_get_xact_numscans('public.idx_input_embedding'::regclass)`,
          })
          .from(sql`(select) as one`);
        return Number(count?.scans);
      };
      const before = await scans();
      const found = await findSimilarExecutions(tx, { ...search, by: "input" });
      const asks = (await scans()) - before;
      const truth = await exact(tx, search.vector, search.limit ?? 10);
      return {
        found: found.map(({ embeddingId }) => embeddingId),
        scans: asks,
        expected: truth.map(({ id }) => id),
        distances: truth.map(({ distance }) => distance),
      };
    });

  const QUERIES = [vectorOf(1, 2, 3), vectorOf(-1, 0.5, 0, 2), vectorOf(0.1, -3)];

  test("an index as the migrations make it loses rows; the search does not", async () => {
    for (const vector of QUERIES) {
      const { found, scans, expected } = await asked(organizations.small, { vector });
      expect(found).toEqual(expected);
      expect(found).toHaveLength(10);
      expect(scans).toBe(0);
      const naive = await inOrganization(database, organizations.small, async (tx) => {
        await tx.execute(sql`set local enable_sort = off`);
        return tx
          .select({ id: executionEmbeddings.id })
          .from(executionEmbeddings)
          .orderBy(sql`${executionEmbeddings.inputEmbedding} <=> ${JSON.stringify(vector)}::vector`)
          .limit(10);
      });
      expect(naive.length).toBeLessThan(10);
      expect(await asked(organizations.large, { vector })).toMatchObject({ scans: 0 });
    }
  });

  describe("once the index is built over enough rows", () => {
    beforeAll(async () => {
      await rebuildEmbeddingIndexes(database.db, { force: true });
      // As if over enough: to build it over so many takes the embedded engine minutes.
      await database.query(`do $$ begin execute format('comment on index idx_input_embedding is %L',
        'Built over 10000 rows, file ' || pg_relation_filenode('idx_input_embedding') || '.'); end $$`);
    });

    test.each(QUERIES.map((vector) => ({ vector })))(
      "a large organization's search asks it, and answers the same (%#)",
      async ({ vector }) => {
        const { found, scans, expected } = await asked(organizations.large, { vector });
        expect(scans).toBe(1);
        expect(found).toEqual(expected);
      },
    );

    test("a small organization's search compares every row", async () => {
      const { found, scans, expected } = await asked(organizations.small, {
        vector: vectorOf(1),
        limit: 15,
      });
      expect(scans).toBe(0);
      expect(found).toEqual(expected);
      expect(found).toHaveLength(15);
    });

    test("the search compares every row when the index ends early", async () => {
      const vector = vectorOf(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1);
      const { found, scans } = await asked(organizations.far, { vector, limit: 1 });
      expect(scans).toBe(1);
      expect(found).toHaveLength(1);
    });

    test("the search compares every row when few are near enough", async () => {
      const vector = vectorOf(1, 2, 3);
      const { expected, distances } = await asked(organizations.large, { vector });
      const maxDistance = ((distances[2] ?? 0) + (distances[3] ?? 0)) / 2;
      const near = await asked(organizations.large, { vector, maxDistance });
      expect(near.scans).toBe(1);
      expect(near.found).toEqual(expected.slice(0, 3));
    });

    test("filters of the log decide who is large", async () => {
      const none = await asked(organizations.large, {
        vector: vectorOf(1),
        filters: { status: "failure" },
      });
      expect(none).toMatchObject({ found: [], scans: 0 });
      const all = await asked(organizations.large, {
        vector: vectorOf(1),
        filters: { status: "success" },
      });
      expect(all).toMatchObject({ found: all.expected, scans: 1 });
    });

    test("settings of the transaction are as before, after searches side by side too", async () => {
      await inOrganization(database, organizations.large, async (tx) => {
        const settings = () =>
          tx.execute(sql`
            select current_setting('enable_sort') as sort, current_setting('jit') as jit,
              current_setting('ivfflat.probes') as probes, current_setting('ivfflat.max_probes') as most,
              current_setting('ivfflat.iterative_scan') as scan`);
        await tx.execute(sql`select '[1]'::vector, set_config('ivfflat.probes', '7', true)`);
        const before = await settings();
        await Promise.all(
          [1, 2, 3].map((n) => findSimilarExecutions(tx, { vector: vectorOf(n), by: "input" })),
        );
        expect(await settings()).toEqual(before);
      });
    });
  });
});
