import type { Transaction } from "../../src/client/sql.ts";
import { factsOf, queryIn } from "../catalog.ts";

/** A table of this package as the catalog describes it. */
export interface Table {
  readonly name: string;
  /** For SQL: with its schema, quoted where needed. */
  readonly path: string;
  readonly hasOrganization: boolean;
  readonly foreignKeys: readonly ForeignKey[];
  /** The columns of each unique index but the primary key. */
  readonly uniques: readonly (readonly string[])[];
  /** The columns of those that hold for some rows only. */
  readonly partialUniques: readonly (readonly string[])[];
}

export interface ForeignKey {
  readonly column: string;
  readonly parent: string;
}

/** Every table of the schema public, from the catalog. */
export async function survey(tx: Transaction): Promise<Table[]> {
  const found = await factsOf(queryIn(tx), ["table", "constraint", "index"]);
  const parts = found.filter(({ schema }) => schema === "public");
  return parts.flatMap((part) => {
    if (part.kind !== "table") return [];
    const own = parts.filter(({ table }) => table === part.table);
    const { columns } = part;
    const uniques = own.flatMap((one) =>
      one.kind === "index" && one.isUnique && !one.isPrimary ? [one] : [],
    );
    return {
      name: part.table,
      path: part.path,
      hasOrganization: columns.includes("organization_id"),
      foreignKeys: own
        .flatMap((key) =>
          key.kind === "constraint" && key.parent !== null
            ? key.columns.map((column) => ({ column, parent: key.parent ?? "" }))
            : [],
        )
        .toSorted((a, b) => columns.indexOf(a.column) - columns.indexOf(b.column)),
      uniques: uniques.filter((index) => !index.isPartial).map((index) => index.columns),
      partialUniques: uniques.filter((index) => index.isPartial).map((index) => index.columns),
    };
  });
}
