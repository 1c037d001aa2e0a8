// Similarity search among 100,000 vectors of 1,536 dimensions, for tenants of 10 to 10,000 rows: time and
// recall@10 against an exact scan of the tenant's rows, in turns, with the index as the migrations make
// it and after the rebuild. `npm run bench:search`
//
// The vectors are unit vectors around 300 centers. What scatters them, and sets the centers apart, lies in
// the same 32 directions: clusters touch each other, and nearest neighbours are really nearer than others.
import { once } from "node:events";
import { sql } from "drizzle-orm";
import postgres from "postgres";
import { type Database, type Transaction, rows } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { rebuildEmbeddingIndexes } from "../src/operate/rebuild.ts";
import { findSimilarExecutions } from "../src/fleet/search.ts";
import { compare, startServer, time } from "./server.ts";

const [ROWS, DIMENSIONS, DIRECTIONS, CENTERS, SCATTER] = [100_000, 1536, 32, 300, 0.7];
const [QUERIES, LIMIT] = [40, 10];

/** Tenants 1 to 4 have a tenth of the rows, a hundredth and so on; 90 others share the rest. */
const TENANTS = [10_000, 1000, 100, 10];
const tenantOf = (n: number) => {
  const tenant = TENANTS.findIndex((size, at) => n % (ROWS / size) === at);
  return tenant < 0 ? 5 + (n % 90) : tenant + 1;
};
const id = (table: number, n: number) =>
  `0000000${table}-0000-4000-8000-${String(n).padStart(12, "0")}`;
const [AGENT, ORGANIZATION, LOG] = [1, 2, 3];

/** mulberry32: the same numbers on every run. */
let state = 42;
function random(): number {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
const normals = (count: number) => Float32Array.from({ length: count }, normal);

const directions = Array.from({ length: DIRECTIONS }, () => normals(DIMENSIONS));
const centers = Array.from({ length: CENTERS }, () => normals(DIRECTIONS));

function vector(): Float32Array {
  const center = centers[Math.floor(random() * CENTERS)] ?? [];
  const sum = new Float32Array(DIMENSIONS);
  for (const [j, direction] of directions.entries()) {
    const weight = (center[j] ?? 0) + SCATTER * normal();
    for (let i = 0; i < DIMENSIONS; i += 1) sum[i] = (sum[i] ?? 0) + weight * (direction[i] ?? 0);
  }
  const length = Math.hypot(...sum);
  return sum.map((component) => component / length);
}

async function fill(db: Database, url: string): Promise<void> {
  const tenants = Array.from({ length: ROWS }, (_, n) => tenantOf(n));
  await db.execute(sql`
    insert into agent_registry (id, agent_name, display_name, category, organization_id)
    select replace(${id(AGENT, 0)}, '000000000000', lpad(o::text, 12, '0'))::uuid, 'agent ' || o, 'Agent', 'operations',
      replace(${id(ORGANIZATION, 0)}, '000000000000', lpad(o::text, 12, '0'))::uuid
    from generate_series(1, 94) as o`);
  await db.execute(sql`
    insert into agent_execution_logs (id, agent_id, execution_id, action_type, organization_id)
    select replace(${id(LOG, 0)}, '000000000000', lpad((n - 1)::text, 12, '0'))::uuid,
      replace(${id(AGENT, 0)}, '000000000000', lpad(o::text, 12, '0'))::uuid, gen_random_uuid(), 'llm_call',
      replace(${id(ORGANIZATION, 0)}, '000000000000', lpad(o::text, 12, '0'))::uuid
    from unnest(${sql.param(`{${tenants.join(",")}}`)}::int[]) with ordinality as list (o, n)`);
  const client = postgres(url, { max: 1, onnotice: () => {} });
  const copy = await client`
    copy execution_embeddings (execution_log_id, organization_id, input_embedding) from stdin (format binary)`.writable();
  copy.write(Buffer.concat([Buffer.from("PGCOPY\n\xff\r\n\0", "latin1"), Buffer.alloc(8)]));
  for (const [n, tenant] of tenants.entries()) {
    if (!copy.write(copyRow(id(LOG, n), id(ORGANIZATION, tenant), vector()))) {
      await once(copy, "drain");
    }
  }
  copy.end(Buffer.from([0xff, 0xff]));
  await once(copy, "finish");
  await client.end();
  await db.execute(sql`vacuum analyze`);
}

/** Two uuids and a vector, as COPY and pgvector write them in binary. */
function copyRow(log: string, organization: string, embedding: Float32Array): Buffer {
  const row = Buffer.alloc(50 + 4 * DIMENSIONS);
  row.writeInt16BE(3, 0);
  for (const [at, uuid] of [log, organization].entries()) {
    row.writeInt32BE(16, 2 + 20 * at);
    row.write(uuid.replaceAll("-", ""), 6 + 20 * at, "hex");
  }
  row.writeInt32BE(4 + 4 * DIMENSIONS, 42);
  row.writeInt16BE(DIMENSIONS, 46);
  for (const [i, component] of embedding.entries()) row.writeFloatBE(component, 50 + 4 * i);
  return row;
}

/** What a tenant would write: its policy alone, and no index on the order. */
async function exactIds(tx: Transaction, asked: number[]): Promise<string[]> {
  const found = await tx.execute(sql`
    select l.*, (e.input_embedding <=> ${JSON.stringify(asked)}::vector) + 0 as distance
    from execution_embeddings as e join agent_execution_logs as l on l.id = e.execution_log_id
    order by distance limit ${LIMIT}`);
  return rows<{ id: string }>(found).map((row) => row.id);
}

async function searchIds(tx: Transaction, asked: number[]): Promise<string[]> {
  const found = await findSimilarExecutions(tx, { vector: asked, by: "input", limit: LIMIT });
  return found.map(({ log }) => log.id);
}

const queries = Array.from({ length: QUERIES }, () => [...vector()]);

/** One line: medians of the pairs, the share of the exact answers that the search gave, and its shortest answer. */
async function measure(db: Database, tenant: number): Promise<string> {
  const [exact, searched]: string[][][] = [[], []];
  const { baseline, candidate, ratio } = await withOrganization(
    db,
    id(ORGANIZATION, tenant),
    (tx) => {
      const turn = (answers: string[][] = [], ids = exactIds) => {
        const asked = queries[answers.length % QUERIES] ?? [];
        return time(async () => answers.push(await ids(tx, asked)));
      };
      return compare(
        QUERIES - 1,
        () => turn(exact),
        () => turn(searched, searchIds),
      );
    },
  );
  const hits = exact?.map((ids, n) => ids.filter((one) => searched?.[n]?.includes(one)).length);
  const [found = 0, wanted = 0] = [hits, exact?.map((ids) => ids.length)].map((counts) =>
    counts?.reduce((sum, count) => sum + count, 0),
  );
  const fewest = Math.min(...(searched ?? []).map((ids) => ids.length));
  return [
    baseline.toFixed(1).padStart(10),
    candidate.toFixed(1).padStart(10),
    ratio.toFixed(2).padStart(8),
    (found / wanted).toFixed(3).padStart(8),
    String(fewest).padStart(8),
  ].join("");
}

async function report(db: Database, title: string): Promise<void> {
  console.log(`\n${title}`);
  console.log("rows of tenant  exact ms search ms   ratio  recall  fewest");
  for (const [at, size] of TENANTS.entries()) {
    console.log(`${String(size).padStart(14)}${await measure(db, at + 1)}`);
  }
}

const server = await startServer();
try {
  const loading = await time(() => fill(server.db, server.url));
  console.log(
    `${ROWS} vectors of ${DIMENSIONS} dimensions, filled in ${(loading / 1000).toFixed(0)} s; ${QUERIES} queries`,
  );
  await report(server.db, "the index as the migrations make it");
  const building = await time(() => rebuildEmbeddingIndexes(server.db));
  await report(server.db, `after rebuildEmbeddingIndexes (${(building / 1000).toFixed(0)} s)`);
} finally {
  await server.close();
}
