import { type Connection, connect } from "../src/client/connect.ts";
import { migrate } from "../src/operate/migrate/migrate.ts";
import { startPostgres } from "../tests/setup/postgres.ts";
import { administer, siblingUrl } from "../tests/setup/server.ts";

/** An open database, and another, empty and migrated one on the same server. */
export interface BenchServer extends Connection {
  /** Its superuser's. */
  readonly url: string;
  readonly another: (name: string) => Promise<Connection>;
}

/** A migrated PostgreSQL 17 in a container of its own, opened as owner; BENCH_DATABASE_URL names another, empty one. */
export async function startServer(): Promise<BenchServer> {
  const given = process.env["BENCH_DATABASE_URL"];
  const started = given
    ? { url: given, container: undefined }
    : await startPostgres({ shared_buffers: "1GB", max_wal_size: "8GB" });
  const connection = await openMigrated(started.url);
  return {
    ...connection,
    url: started.url,
    another: async (name) => {
      await administer(started.url, `create database ${name}`);
      return openMigrated(siblingUrl(started.url, name));
    },
    close: async () => {
      await connection.close();
      await started.container?.stop();
    },
  };
}

async function openMigrated(url: string): Promise<Connection> {
  const connection = connect(url);
  await migrate(connection.db);
  return connection;
}

export const median = (values: number[]) =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

/** Milliseconds of one call. */
export async function time(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Medians of two works that take turns, so that a noisy machine disturbs both alike. */
export async function compare(
  rounds: number,
  baseline: () => Promise<number>,
  candidate: () => Promise<number>,
): Promise<{ baseline: number; candidate: number; ratio: number }> {
  const [before, after]: [number[], number[]] = [[], []];
  await baseline();
  await candidate();
  for (let round = 0; round < rounds; round += 1) {
    before.push(await baseline());
    after.push(await candidate());
  }
  const [a, b] = [median(before), median(after)];
  return { baseline: a, candidate: b, ratio: b / a };
}
