import { readFile } from "node:fs/promises";
import postgres from "postgres";
import { afterAll, beforeAll, describe, inject } from "vitest";
import { connect } from "../src/client/connect.ts";
import { createPglite } from "../src/client/pglite.ts";
import type { Database } from "../src/client/sql.ts";
import { openSnapshot } from "../src/operate/snapshot.ts";
import { administer, siblingUrl } from "./setup/server.ts";

/** Runs SQL with `$1` parameters and returns plain rows. Cast in SQL: drivers read types differently. */
export type Query = <T extends object>(text: string, parameters?: unknown[]) => Promise<T[]>;

/** A throw-away database, opened as its owner. */
export interface TestDatabase {
  readonly db: Database;
  readonly query: Query;
  /** Runs any number of statements, none of which takes parameters. */
  readonly script: (text: string) => Promise<void>;
  /** What `work` does is rolled back, whether it throws or not. */
  rolledBack(work: (query: Query) => Promise<void>): Promise<void>;
  /** Where others reach it; empty on the embedded engine. */
  readonly url: string;
  readonly close: () => Promise<void>;
}

export const engine = process.env["TEST_ENGINE"] === "container" ? "container" : "embedded";

/** A database with every migration applied. Where nothing is synced, to copy files takes a third of the WAL's work. */
export const openMigrated = () =>
  engine === "container"
    ? openOnServer("template migrated strategy file_copy")
    : openInProcess(openSnapshot());

/** A database with nothing in it. */
export const openEmpty = () =>
  engine === "container" ? openOnServer("template template0") : openInProcess(startEmpty());

/** To unpack an empty database takes a third of the time that initdb does. */
async function startEmpty() {
  const packed = await readFile(process.env["EMPTY_DATABASE"] ?? "");
  return createPglite({ loadDataDir: new Blob([packed], { type: "application/x-tar" }) });
}

/**
 * A suite with a migrated database of its own, or the one that `open` makes. It runs on both engines;
 * without a Docker engine the container's half is skipped.
 */
export function suite(
  title: string,
  tests: (database: TestDatabase) => void,
  open: () => Promise<TestDatabase> = openMigrated,
): void {
  describe.skipIf(engine === "container" && inject("server") === "")(title, () => {
    let opened: TestDatabase | undefined;
    const current = (): TestDatabase => {
      if (!opened) throw new Error("the database opens before the first test");
      return opened;
    };
    beforeAll(async () => {
      opened = await open();
    });
    afterAll(() => opened?.close());
    tests({
      get db() {
        return current().db;
      },
      get url() {
        return current().url;
      },
      query: (text, parameters) => current().query(text, parameters),
      script: (text) => current().script(text),
      rolledBack: (work) => current().rolledBack(work),
      close: () => current().close(),
    });
  });
}

async function openInProcess(opening: ReturnType<typeof createPglite>): Promise<TestDatabase> {
  const { client, db } = await opening;
  return {
    db,
    url: "",
    query: async (text, parameters) => (await client.query<never>(text, parameters)).rows,
    script: async (text) => {
      await client.exec(text);
    },
    rolledBack: (work) =>
      client.transaction(async (tx) => {
        try {
          await work(async (text, parameters) => (await tx.query<never>(text, parameters)).rows);
        } finally {
          await tx.rollback();
        }
      }),
    close: () => client.close(),
  };
}

let databases = 0;

async function openOnServer(origin: string): Promise<TestDatabase> {
  const server = inject("server");
  const name = `test_${process.pid}_${++databases}`;
  await administer(server, `create database ${name} ${origin}`);
  const opened = openUrl(siblingUrl(server, name));
  return {
    ...opened,
    close: async () => {
      await opened.close();
      await administer(server, `drop database ${name} with (force)`);
    },
  };
}

/** A database of a server, as the login of its URL. */
export function openUrl(url: string): TestDatabase {
  const { db, close } = connect(url);
  // A client of its own: Drizzle changes the parsers of the one it is given.
  const client = postgres(url, { max: 4, onnotice: () => {} });
  const rollback = new Error("rolled back");
  return {
    db,
    url,
    query: queryOf(client),
    script: async (text) => {
      await client.unsafe(text).simple();
    },
    rolledBack: async (work) => {
      await client
        .begin(async (tx) => {
          await work(queryOf(tx));
          throw rollback;
        })
        .catch((error: unknown) => {
          if (error !== rollback) throw error;
        });
    },
    close: async () => {
      await Promise.all([close(), client.end()]);
    },
  };
}

/** Queries of a client of postgres.js that is not Drizzle's. */
export function queryOf(client: postgres.ISql): Query {
  return async (text, parameters = []) => [
    ...(await client.unsafe<never[]>(text, parameters.map(parameter))),
  ];
}

function parameter(value: unknown): postgres.ParameterOrJSON<never> {
  if (
    value === null ||
    typeof value === "string" ||
    typeof value === "number" ||
    typeof value === "boolean" ||
    value instanceof Date ||
    Array.isArray(value)
  ) {
    return value;
  }
  throw new TypeError("a query parameter is null, a string, a number, a boolean, a Date or a list");
}
