import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { diagramSource, drawDiagram } from "../scripts/docs/diagram.ts";
import { type IndexFacts, tableFacts } from "../scripts/docs/facts.ts";
import { schemaReference, servedQuery } from "../scripts/docs/reference.ts";
import { type Query, suite } from "./engine.ts";

suite("the reference of the tables", (database) => {
  test("is what the migrations make, on every server alike (update it with npm run docs)", async () => {
    expect(await schemaReference(database.db)).toBe(readFileSync("docs/schema.md", "utf8"));
  });

  test("every table has a purpose, and every column is there", async () => {
    const facts = [...(await tableFacts(database.db)).values()];
    const columns = await database.query<{ name: string }>(
      `select table_name || '.' || column_name as name from information_schema.columns
       where table_schema = 'public'`,
    );
    expect(
      facts.flatMap((table) => table.columns.map(({ name }) => `${table.name}.${name}`)).toSorted(),
    ).toEqual(columns.map(({ name }) => name).toSorted());
    for (const { name, purpose } of facts) expect(purpose, name).toMatch(/^[A-Z].+\.$/);
  });

  test("every index serves the query that the page says", async () => {
    const facts = [...(await tableFacts(database.db)).values()];
    const plans = facts.flatMap(({ name, indexes }) =>
      indexes.map((index) => [name, index] as const),
    );
    expect(plans.length).toBeGreaterThan(50);
    for (const [table, index] of plans) {
      await database.rolledBack(async (query) => {
        // Alone on an empty table: what is left to the planner is whether it can serve the query.
        await query("set local allow_system_table_mods = on");
        await query(
          "update pg_index set indisvalid = false where indrelid = $1::regclass and indexrelid <> $2::regclass",
          [table, index.name],
        );
        await query("set local enable_seqscan = off");
        await query("set local enable_sort = off");
        const plan = await explain(query, `select * from ${table} ${withValues(index)}`);
        expect(plan, servedQuery(index)).toMatch(
          new RegExp(`(Index (Only )?Scan using|Bitmap Index Scan on) ${index.name}\\b`),
        );
        expect(plan, servedQuery(index)).not.toMatch(/Sort|Filter: (?!\(quality_score)/);
      });
    }
  });

  test("docs/schema.svg is drawn from it (update it with npm run docs)", async () => {
    const drawn = await drawDiagram(await tableFacts(database.db));
    expect(drawn).toBe(readFileSync("docs/schema.svg", "utf8"));
  });

  test("the diagram has every table and every reference", async () => {
    const facts = await tableFacts(database.db);
    const source = diagramSource(facts);
    const references = await database.query<{ is_loop: string }>(
      "select (conrelid = confrelid)::text as is_loop from pg_constraint where contype = 'f'",
    );
    const loops = references.filter((reference) => reference.is_loop === "true");
    expect(source.match(/↺ itself/g)).toHaveLength(loops.length);
    expect(source.match(/:head -> /g)).toHaveLength(references.length - loops.length);
    for (const name of facts.keys()) expect(source).toContain(`<B>${name}</B>`);
  });
});

async function explain(query: Query, statement: string): Promise<string> {
  const lines = await query<{ "QUERY PLAN": string }>(`explain (costs off) ${statement}`);
  return lines.map((line) => line["QUERY PLAN"]).join("\n");
}

/** The query with values that the planner does not know. */
function withValues(index: IndexFacts): string {
  const types = index.columns.map(({ type }) => type);
  return servedQuery(index).replaceAll(/\$(\d)/g, (_, place: string) => {
    const type = types[Number(place) - 1] ?? types.at(-1) ?? "text";
    return `(select null::${type})`;
  });
}
