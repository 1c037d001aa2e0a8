import { sql } from "drizzle-orm";
import postgres from "postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { rows } from "../../src/client/sql.ts";
import { withOrganization } from "../../src/client/tenancy.ts";
import { loadDemo } from "../../src/demo/load.ts";
import { DEMO_NOW, DEMO_ORGANIZATIONS } from "../../src/demo/story.ts";
import { QUESTIONS, blocksBelow, withValues } from "../dashboards.ts";
import { type Query, queryOf, suite } from "../engine.ts";

const [ORGANIZATION = "", OTHER = ""] = Object.values(DEMO_ORGANIZATIONS).map(({ id }) => id);
const LOGINS = ["dashboard_acme", "dashboard_all"];

suite("the logins of docs/dashboards.md", (database) => {
  const dropLogins = () =>
    database.script(LOGINS.map((name) => `drop role if exists ${name};`).join(""));
  beforeAll(async () => {
    await loadDemo(database.db);
    await dropLogins();
    const written = blocksBelow("The login").join("\n");
    const named = written.match(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g);
    expect(named).toHaveLength(1);
    await database.script(written.replace(named?.[0] ?? "", ORGANIZATION));
  });
  afterAll(dropLogins);

  /** As a tool does: text by text, in no transaction of its own. */
  async function as<T>(login: string, work: (query: Query) => Promise<T>): Promise<T> {
    const url = new URL(database.url);
    [url.username, url.password] = [login, "choose%20one"];
    const client = postgres(url.href, { max: 1 });
    try {
      return await work(queryOf(client));
    } finally {
      await client.end();
    }
  }
  const COUNT =
    "select count(*)::int as rows, count(distinct organization_id)::int as organizations from agent_execution_logs";
  const INSERT =
    "insert into agent_registry (agent_name, display_name, category) values ('x', 'X', 'internal')";

  test("an organization's login gets what its application gets, by the plain text", async () => {
    const [log] = await database.query<{ id: string }>(
      "select execution_id as id from agent_execution_logs where organization_id = $1 limit 1",
      [ORGANIZATION],
    );
    const to = new Date(DEMO_NOW);
    const from = new Date(to.getTime() - 20 * 86_400_000);
    const asked = { from, to, execution: log?.id ?? "" };
    for (const heading of Object.keys(QUESTIONS)) {
      const text = withValues(blocksBelow(heading)[0] ?? "", asked);
      const expected = await withOrganization(database.db, ORGANIZATION, async (tx) =>
        rows(await tx.execute(sql.raw(`select count(*)::int as rows from (${text}) as answer`))),
      );
      const answer = await as("dashboard_acme", (query) => query(text));
      expect([{ rows: answer.length }], heading).toEqual(expected);
      expect(answer.length, heading).toBeGreaterThan(0);
    }
  });

  test("an organization's login sees no other's rows, and writes none", async () => {
    const [all] = await database.query<{ rows: number; organizations: number }>(COUNT);
    const [own] = await as("dashboard_acme", (query) => query<typeof all & object>(COUNT));
    expect(own?.organizations).toBe(1);
    expect(own?.rows).toBeLessThan(all?.rows ?? 0);
    await expect(as("dashboard_acme", (query) => query(INSERT))).rejects.toMatchObject({
      code: "25006",
    });
  });

  test("as the page says, who writes SQL there may name another organization", async () => {
    const claims = JSON.stringify({ organization_id: OTHER });
    const found = await as("dashboard_acme", async (query) => {
      await query("select set_config('request.jwt.claims', $1, false)", [claims]);
      return query("select distinct organization_id from agent_execution_logs");
    });
    expect(found).toEqual([{ organization_id: OTHER }]);
  });

  test("the staff's login reads all organizations and cannot write, whatever it sets", async () => {
    expect(await as("dashboard_all", (query) => query(COUNT))).toEqual(await database.query(COUNT));
    for (const attempt of [INSERT, "set role service_role", "set role authenticated"]) {
      await expect(as("dashboard_all", (query) => query(attempt))).rejects.toMatchObject({
        code: "42501",
      });
    }
  });
});
