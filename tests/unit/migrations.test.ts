import { existsSync, readFileSync, readdirSync } from "node:fs";
import {
  type AnyColumn,
  createTableRelationsHelpers,
  extractTablesRelationalConfig,
  getTableName,
  is,
  normalizeRelation,
} from "drizzle-orm";
import { readMigrationFiles } from "drizzle-orm/migrator";
import { PgTable, getTableConfig } from "drizzle-orm/pg-core";
import { generateDrizzleJson, generateMigration } from "drizzle-kit/api";
import { describe, expect, test } from "vitest";
import config from "../../drizzle.config.ts";
import { JOURNAL } from "../../src/drizzle-kit.ts";
import { MIGRATIONS } from "../../src/migrations.ts";
import * as relations from "../../src/relations.ts";
import * as schema from "../../src/schema/index.ts";

interface Journal {
  entries: { idx: number; when: number; tag: string; breakpoints: boolean }[];
}
type Snapshot = Parameters<typeof generateMigration>[0];

const read = <T>(path: string): T => JSON.parse(readFileSync(path, "utf8"));
const { entries } = read<Journal>("drizzle/meta/_journal.json");
const number = (idx: number) => String(idx).padStart(4, "0");
const snapshots = entries.map(({ idx }) =>
  read<Snapshot>(`drizzle/meta/${number(idx)}_snapshot.json`),
);
const tables = Object.values(schema).filter((value) => is(value, PgTable));

const pathsOf = (from: AnyColumn[], to: AnyColumn[]) =>
  [from, to]
    .map((columns) => columns.map(({ table, name }) => `${getTableName(table)}.${name}`).join())
    .join(" to ");

/** From which columns to which `db.query` can go. */
function related(): Set<string> {
  const { tables: known, tableNamesMap } = extractTablesRelationalConfig(
    { ...schema, ...relations },
    createTableRelationsHelpers,
  );
  const each = Object.values(known).flatMap((table) => Object.values(table.relations));
  return new Set(
    each.map((relation) => {
      const { fields, references } = normalizeRelation(known, tableNamesMap, relation);
      return pathsOf(fields, references);
    }),
  );
}

describe("the journal", () => {
  test("numbers its files in order, each with its SQL and its snapshot, and no others exist", () => {
    expect(entries.map(({ idx }) => idx)).toEqual(entries.map((_, index) => index));
    expect(entries.map(({ tag }) => tag)).toEqual(
      entries.map(({ idx, tag }) => `${number(idx)}_${tag.slice(5)}`),
    );
    const files = readdirSync("drizzle").filter((file) => file.endsWith(".sql"));
    expect(files.toSorted()).toEqual(entries.map(({ tag }) => `${tag}.sql`));
    for (const { idx } of entries) {
      expect(existsSync(`drizzle/meta/${number(idx)}_snapshot.json`)).toBe(true);
    }
  });

  test("is strictly increasing in time and not ahead of it", () => {
    const times = entries.map(({ when }) => when);
    expect(times).toEqual([...new Set(times)].toSorted((a, b) => a - b));
    expect(Math.max(...times)).toBeLessThanOrEqual(Date.now());
  });

  test("chains its snapshots", () => {
    expect(snapshots.slice(1).map(({ prevId }) => prevId)).toEqual(
      snapshots.slice(0, -1).map(({ id }) => id),
    );
  });

  test("splits every file at breakpoints", () => {
    expect(entries.every(({ breakpoints }) => breakpoints)).toBe(true);
    for (const { name, statements } of MIGRATIONS) {
      expect(
        statements.filter((text) => text.trim() === ""),
        name,
      ).toEqual([]);
    }
  });

  test("and its files are src/migrations.ts, as drizzle-kit reads them (update it with vitest -u)", async () => {
    const files = readMigrationFiles({ migrationsFolder: "drizzle" }).map(
      ({ folderMillis, hash, sql }, index) =>
        JSON.stringify({ name: entries[index]?.tag, when: folderMillis, hash, statements: sql }),
    );
    await expect(`// The files of drizzle/, so that migrate reads none and a bundle carries them. Never edited by hand:
// npx vitest run --project unit tests/unit/migrations.test.ts -u

/** One migration file, as drizzle-kit numbers, hashes and splits it. */
export interface Migration {
  /** File name without .sql: 0003_evaluation. */
  readonly name: string;
  /** When it was generated, Unix milliseconds: its place in the order and its key in the journal. */
  readonly when: number;
  /** SHA-256 of the file. */
  readonly hash: string;
  readonly statements: readonly string[];
}

/** The migration files in order, each with the SQL of its statements. */
export const MIGRATIONS: readonly Migration[] = [
${files.map((file) => `  ${file},\n`).join("")}];
`).toMatchFileSnapshot("../../src/migrations.ts");
  });

  test("is the one that drizzle-kit is told of", () => {
    expect(config).toMatchObject({ out: "./drizzle", migrations: JOURNAL });
  });
});

describe("the schema files", () => {
  test("are what the last snapshot says: drizzle-kit has nothing to generate", async () => {
    const last = snapshots.at(-1);
    if (!last) throw new Error("no snapshot");
    expect(await generateMigration(last, generateDrizzleJson({ ...schema }, last.id))).toEqual([]);
  });

  test("name each table once, each with row-level security from birth", () => {
    expect(tables.length).toBeGreaterThan(20);
    expect(new Set(tables.map((table) => getTableName(table))).size).toBe(tables.length);
    expect(tables.filter((table) => !getTableConfig(table).enableRLS)).toEqual([]);
  });

  test("are all that drizzle-kit is told of", () => {
    const group = (path: string) => `./src/schema/${path}`;
    const groups = readFileSync("src/schema/index.ts", "utf8").matchAll(
      /export \* from "\.\/(.+)"/g,
    );
    expect(config.schema).toEqual([
      ...Array.from(groups, ([, path = ""]) => group(path)),
      "./src/relations.ts",
    ]);
  });

  test("relate every foreign key both ways (what is missing belongs in src/relations.ts)", () => {
    const keys = tables.flatMap((table) =>
      getTableConfig(table).foreignKeys.flatMap((key) => {
        const { columns, foreignColumns } = key.reference();
        return [pathsOf(columns, foreignColumns), pathsOf(foreignColumns, columns)];
      }),
    );
    expect(keys.filter((key) => !related().has(key))).toEqual([]);
  });

  test("hold no parameter and no name that PostgreSQL would cut", () => {
    for (const { name, statements } of MIGRATIONS) {
      if (!/^000[1-6]_/.test(name)) continue;
      for (const statement of statements) {
        expect(statement, name).not.toMatch(/\$\d/);
        for (const [, identifier = ""] of statement.matchAll(/"([^"]+)"/g)) {
          expect(Buffer.byteLength(identifier), identifier).toBeLessThanOrEqual(63);
        }
      }
    }
  });
});

describe("the repository", () => {
  test("names no host in its lockfile and pins what was measured together", () => {
    const lock = readFileSync("package-lock.json", "utf8");
    expect(lock).not.toContain('"resolved"');
    const { devDependencies, optionalDependencies } =
      read<Record<string, Record<string, string>>>("package.json");
    expect(devDependencies).toMatchObject({
      "drizzle-orm": "0.45.4",
      "drizzle-kit": "0.31.11",
      typescript: "7.0.2",
      vitest: "4.1.12",
    });
    expect(optionalDependencies).toEqual({
      "@electric-sql/pglite": "0.5.14",
      "@electric-sql/pglite-pgvector": "0.0.15",
      "@electric-sql/pglite-socket": "0.2.17",
    });
  });
});
