/** How often a tenant's transaction waits for the server, and what becomes of it when its first message is refused. */
import { randomUUID } from "node:crypto";
import { eq, sql } from "drizzle-orm";
import { drizzle as drizzlePg } from "drizzle-orm/node-postgres";
import { Client, Pool, Query } from "pg";
import { expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { schema } from "../../src/client/schema.ts";
import { type Database, type Transaction, one } from "../../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../../src/client/tenancy.ts";
import { agentRegistry } from "../../src/schema/index.ts";
import { newAgent } from "../../src/testing.ts";
import { told } from "../borrower.ts";
import { suite } from "../engine.ts";
import { layDistance } from "./distance.ts";
import { layWire } from "./wire.ts";

const ORGANIZATION = randomUUID();

interface Opened {
  readonly db: Database;
  readonly close: () => Promise<unknown>;
}
const openPool = async (url: string): Promise<Opened> => {
  const pool = new Pool({ connectionString: url, max: 1 });
  return { db: drizzlePg(pool, { schema }), close: () => pool.end() };
};
const openClient = async (url: string): Promise<Opened> => {
  const client = new Client({ connectionString: url });
  await client.connect();
  return { db: drizzlePg(client, { schema }), close: () => client.end() };
};
const openPostgresJs = async (url: string): Promise<Opened> => connect(url, { max: 1 });

suite("a tenant's transaction", (database) => {
  test.each([
    ["a pool of pg", openPool, 3, 3],
    ["a client of pg", openClient, 3, 3],
    // Statements with parameters are two: postgres.js asks for their types first.
    ["postgres.js", openPostgresJs, 4, 6],
  ] as const)(
    "on %s takes so many round trips for one read by key",
    async (_, open, plain, tenant) => {
      const line = await layDistance(database.url);
      const { db, close } = await open(line.url);
      const trips = async (work: () => Promise<unknown>) => {
        const before = line.trips();
        await work();
        return line.trips() - before;
      };
      const read = (tx: Transaction) =>
        tx.select().from(agentRegistry).where(eq(agentRegistry.id, ORGANIZATION));
      try {
        await db.transaction(read);
        expect(await trips(() => db.transaction(read))).toBe(plain);
        expect(await trips(() => withOrganization(db, ORGANIZATION, read))).toBe(tenant);
        expect(await trips(() => withServiceRole(db, read))).toBe(tenant);
      } finally {
        await close();
        line.close();
      }
    },
  );

  test.each([
    ["a pool of pg", openPool],
    ["a client of pg", openClient],
    ["postgres.js", openPostgresJs],
  ] as const)(
    "on %s whose BEGIN or switch is refused runs no work, and the next one is its own",
    async (_, open) => {
      const wire = await layWire(database.url);
      const { db, close } = await open(wire.url);
      let worked = 0;
      const act = (organization: string) =>
        withOrganization(db, organization, async (tx) => {
          worked += 1;
          return tx.insert(agentRegistry).values(newAgent());
        });
      try {
        for (const word of ["begin", "set_config"]) {
          await db.$count(agentRegistry);
          wire.arm("garble", word);
          const error: unknown = await act(ORGANIZATION).catch((refusal: unknown) => refusal);
          expect(wire.isDone()).toBe(true);
          expect(told(error)).toMatch(/42601|42883/);
          expect(worked).toBe(0);
        }
        const next = randomUUID();
        await act(next);
        const organizations = await database.query<{ id: string }>(
          "select organization_id::text as id from agent_registry",
        );
        expect(organizations).toEqual([{ id: next }]);
      } finally {
        await close();
        wire.close();
        await database.query("delete from agent_registry");
      }
    },
  );

  test.each([
    ["copies", (config: object) => ({ ...config })],
    [
      "copies in part",
      (config: object) => ({
        text: Reflect.get(config, "text"),
        values: Reflect.get(config, "values"),
        rowMode: Reflect.get(config, "rowMode"),
      }),
    ],
    ["derives", (config: object) => Object.create(config)],
    [
      "derives with a way of its own to send",
      (config: object) =>
        Object.create(config, { prepare: { value: Reflect.get(Query.prototype, "prepare") } }),
    ],
  ] as const)(
    "on a pool of pg whose queries a tracer %s begins all the same, and acts as the tenant",
    async (_, trace) => {
      const pool = new Pool({ connectionString: database.url, max: 1 });
      pool.on("connect", (client) => {
        const query: (...words: unknown[]) => unknown = client.query.bind(client);
        Object.defineProperty(client, "query", {
          value: (config: unknown, ...rest: unknown[]) =>
            query(typeof config === "object" && config !== null ? trace(config) : config, ...rest),
        });
      });
      try {
        const db = drizzlePg(pool, { schema });
        const own = new Error("rolled back");
        const work = withOrganization(db, ORGANIZATION, async (tx) => {
          expect(
            await one(
              tx,
              sql`select current_user::text as role, now() = statement_timestamp() as is_first`,
            ),
          ).toEqual({ role: "authenticated", is_first: false });
          await tx.insert(agentRegistry).values(newAgent());
          throw own;
        });
        await expect(work).rejects.toBe(own);
        expect(await db.$count(agentRegistry)).toBe(0);
      } finally {
        await pool.end();
      }
    },
  );

  test("sent as statements of their own, without waiting for BEGIN, writes as the login when that is refused", async () => {
    const wire = await layWire(database.url);
    const client = new Client({ connectionString: wire.url });
    await client.connect();
    wire.arm("garble", "begin");
    try {
      await Promise.allSettled([
        client.query("begin"),
        client.query("select set_config('role', 'authenticated', true)"),
        client.query(
          "insert into agent_registry (agent_name, display_name, category, organization_id) values ('x', 'x', 'internal', $1)",
          [ORGANIZATION],
        ),
        client.query("commit"),
      ]);
      expect(await database.query("select from agent_registry")).toHaveLength(1);
    } finally {
      await client.end();
      wire.close();
    }
  });
});
