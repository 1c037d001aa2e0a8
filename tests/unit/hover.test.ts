import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { getTableColumns, getTableName } from "drizzle-orm";
import type { AnyPgColumn } from "drizzle-orm/pg-core";
import { beforeAll, describe, expect, expectTypeOf, inject, test } from "vitest";
import { MIGRATIONS } from "../../src/migrations.ts";
import { TABLES } from "../../src/schema/all.ts";
import * as schema from "../../src/schema/index.ts";
import type { NewRow, Row } from "../../src/schema/table.ts";

type Schema = typeof schema;
/** Comments by the names that they stand before. */
type Comments = ReadonlyMap<string, string>;

interface Column {
  /** The table's and its own in SQL. */
  name: string;
  /** In the declarations. */
  comment: string;
  inDatabase: string;
}

const COMMENT = String.raw`\/\*\*((?:(?!\*\/)[^])*)\*\/`;
const MEMBER = new RegExp(String.raw`^ {4}(?:${COMMENT}\s+)?(\w+)\??: `, "gm");
const TABLE = /OwnedTable<"(\w+)", (\{\n[^]*?\n\})(?: & import\("[^"]+"\)\.(\w+))?>;/g;
const INTERFACE = /^export interface (\w+) \{\n[^]*?\n\}/gm;
const ON_COLUMN = /COMMENT ON COLUMN (?:public\.)?(\w+\.\w+) IS '((?:[^']|'')*)'/g;

// What an editor shows is what the compiler emits. It shows a comment at a column of a table and at a
// property of a row; the language server of TypeScript 7.0 at neither, since they are mapped types.
describe("the doc comment of a column", () => {
  const directory = join(inject("built"), "dist", "esm");
  let declarations: string;
  let columns: Column[];
  beforeAll(async () => {
    const files = await readdir(join(directory, "schema"));
    const texts = files
      .filter((file) => file.endsWith(".d.ts"))
      .map((file) => readFile(join(directory, "schema", file), "utf8"));
    declarations = (await Promise.all(texts)).join("\n");
    columns = columnsIn(declarations);
  });

  test("is there, for every column of every table", () => {
    const undocumented = columns.filter(({ comment }) => comment === "");
    expect(undocumented.map(({ name }) => name)).toEqual([]);
  });

  test("begins with its COMMENT ON COLUMN, the unit first; only then it says more", () => {
    const commented = columns.filter(({ inDatabase }) => inDatabase !== "");
    const names = commented.map(({ name }) => name);
    expect(names.toSorted()).toEqual([...IN_DATABASE.keys()].toSorted());
    const others = commented.filter((column) => !beginsWith(column.comment, column.inDatabase));
    expect(others).toEqual([]);
  });

  test("is at the properties of the row types, too, which are those that Drizzle infers", () => {
    expectTypeOf<{ [Name in keyof Schema]: Row<Schema[Name]> }>().toEqualTypeOf<{
      [Name in keyof Schema]: Schema[Name]["$inferSelect"];
    }>();
    expectTypeOf<{ [Name in keyof Schema]: NewRow<Schema[Name]> }>().toEqualTypeOf<{
      [Name in keyof Schema]: Schema[Name]["$inferInsert"];
    }>();
    const tables = Object.keys(schema).toSorted();
    for (const kind of ["Row", "NewRow"]) {
      const named = new RegExp(String.raw`^export type \w+ = ${kind}<typeof (\w+)>;$`, "gm");
      const documented = [...declarations.matchAll(named)].map(([, table = ""]) => table);
      expect(documented.toSorted(), kind).toEqual(tables);
    }
  });
});

const commentsBefore = (members: string): Comments =>
  new Map(
    [...members.matchAll(MEMBER)].flatMap(([, comment, key = ""]) =>
      comment === undefined ? [] : [[key, comment.replaceAll(/\s+(?:\* )?/g, " ").trim()]],
    ),
  );

/** The comments of each table's columns, those of `id` and `organizationId` among them. */
function commentsByTable(declarations: string): ReadonlyMap<string, Comments> {
  const interfaces = new Map(
    [...declarations.matchAll(INTERFACE)].map(([text, name = ""]) => [name, commentsBefore(text)]),
  );
  return new Map(
    [...declarations.matchAll(TABLE)].map(([, table = "", own = "", owned = ""]) => {
      const parts = [interfaces.get("Keyed"), interfaces.get(owned), commentsBefore(own)];
      return [table, new Map(parts.flatMap((part) => [...(part ?? [])]))];
    }),
  );
}

/** The comments of columns in the migrations, by table and column; the last one of a column holds. */
const IN_DATABASE: Comments = new Map(
  MIGRATIONS.flatMap(({ statements }) => statements)
    .flatMap((statement) => [...statement.matchAll(ON_COLUMN)])
    .map(([, name = "", comment = ""]) => [name, comment.replaceAll("''", "'")]),
);

function columnsIn(declarations: string): Column[] {
  const comments = commentsByTable(declarations);
  return TABLES.flatMap((table) =>
    Object.entries<AnyPgColumn>(getTableColumns(table)).map(([key, column]) => {
      const name = `${getTableName(table)}.${column.name}`;
      return {
        name,
        comment: comments.get(getTableName(table))?.get(key) ?? "",
        inDatabase: IN_DATABASE.get(name) ?? "",
      };
    }),
  );
}

const beginsWith = (comment: string, inDatabase: string) =>
  comment === inDatabase || comment.startsWith(`${inDatabase} `);
