/** A client of other people that docs/dashboards.md names, on the database as it is. */
import { once } from "node:events";
import { type Server, createServer } from "node:http";
import { sql } from "drizzle-orm";
import { Pool } from "pg";
import { postgraphile } from "postgraphile";
import { afterAll, beforeAll, expect, test } from "vitest";
import { rows } from "../../src/client/sql.ts";
import { withOrganization } from "../../src/client/tenancy.ts";
import { loadDemo } from "../../src/demo/load.ts";
import { DEMO_ORGANIZATIONS } from "../../src/demo/story.ts";
import { TABLES } from "../../src/schema/all.ts";
import { suite } from "../engine.ts";

const [OWN = "", OTHER = ""] = Object.values(DEMO_ORGANIZATIONS).map(({ id }) => id);

interface Answer<T> {
  readonly data: T;
  readonly errors?: readonly { readonly message: string }[];
}

const idsOf = (found: readonly { id: string }[]) =>
  found.map(({ id }) => id).toSorted((a, b) => (a < b ? -1 : 1));

suite("PostGraphile as docs/dashboards.md sets it up", (database) => {
  let login: URL;
  let pool: Pool;
  let server: Server;
  let url: string;
  let lists: readonly string[];
  beforeAll(async () => {
    await loadDemo(database.db);
    login = new URL(database.url);
    [login.username, login.password] = [`${login.pathname.slice(1)}_graphql`, "test"];
    await database.query(
      `create role ${login.username} login noinherit password 'test' in role authenticated`,
    );
    pool = new Pool({ connectionString: login.href, max: 2 });
    const middleware = postgraphile(pool, "public", {
      disableQueryLog: true,
      pgSettings: async ({ headers }) => ({
        role: "authenticated",
        "request.jwt.claims": String(headers["x-claims"]),
      }),
    });
    server = createServer((request, response) => void middleware(request, response)).listen(0);
    await once(server, "listening");
    const address = server.address();
    if (typeof address !== "object" || !address) throw new Error("the server does not listen");
    url = `http://127.0.0.1:${address.port}/graphql`;
    const { data } = await ask<{ __type: { fields: { name: string }[] } }>(
      {},
      '{ __type(name: "Query") { fields { name } } }',
    );
    lists = data.__type.fields.map(({ name }) => name).filter((name) => /^all[A-Z]/.test(name));
  });
  afterAll(async () => {
    server.close();
    await pool.end();
    await database.query(`drop role ${login.username}`);
  });

  /** One request of somebody who has these claims. */
  async function ask<T>(claims: object, query: string): Promise<Answer<T>> {
    const answer = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", "x-claims": JSON.stringify(claims) },
      body: JSON.stringify({ query }),
    });
    return JSON.parse(await answer.text());
  }

  /** The ids of all rows that somebody sees, table by table. */
  async function seen(claims: object): Promise<string[]> {
    const fields = lists.map((list) => `${list} { nodes { id } }`);
    const { data, errors } = await ask<Record<string, { nodes: { id: string }[] }>>(
      claims,
      `{ ${fields.join(" ")} }`,
    );
    expect(errors).toBeUndefined();
    return idsOf(Object.values(data).flatMap(({ nodes }) => nodes));
  }

  test("it lists every table", () => {
    expect(lists).toHaveLength(TABLES.length);
  });

  test("an organization sees all of its own rows and no others, nobody none", async () => {
    for (const organization of [OWN, OTHER]) {
      const own = await withOrganization(database.db, organization, async (tx) => {
        const ids = TABLES.map((table) => sql`select id from ${table}`);
        return rows<{ id: string }>(await tx.execute(sql.join(ids, sql` union all `)));
      });
      expect(own.length).toBeGreaterThan(100);
      expect(await seen({ organization_id: organization })).toEqual(idsOf(own));
    }
    expect(await seen({})).toEqual([]);
  });

  const create = (more: string) => `mutation {
    createAgentRegistry(input: { agentRegistry: { agentName: "made elsewhere", displayName: "x", category: "internal" ${more} } }) {
      agentRegistry { organizationId status }
    }
  }`;

  test("a row that it makes has the caller's organization and the defaults", async () => {
    expect(await ask({ organization_id: OWN }, create(""))).toEqual({
      data: {
        createAgentRegistry: { agentRegistry: { organizationId: OWN, status: "active" } },
      },
    });
  });

  test("it writes nothing under another organization, and changes no row of it", async () => {
    const [agent] = await database.query<{ id: string }>(
      "select id from agent_registry where organization_id = $1 limit 1",
      [OTHER],
    );
    const change = `mutation {
      updateAgentRegistryById(input: { id: "${agent?.id}", agentRegistryPatch: { displayName: "taken" } }) { clientMutationId }
    }`;
    const before = await seen({ organization_id: OTHER });
    for (const [document, says] of [
      [create(`organizationId: "${OTHER}"`), "row-level security"],
      [change, "No values were updated"],
    ] as const) {
      const { errors } = await ask({ organization_id: OWN }, document);
      expect(errors?.map(({ message }) => message).join()).toContain(says);
    }
    expect(await seen({ organization_id: OTHER })).toEqual(before);
    const taken = "select from agent_registry where display_name = 'taken'";
    expect(await database.query(taken)).toEqual([]);
  });
});
