import { eq, sql } from "drizzle-orm";
import type { PgliteDatabase } from "drizzle-orm/pglite";
import type { PostgresJsDatabase } from "drizzle-orm/postgres-js";
import { expect, expectTypeOf, test, vi } from "vitest";
import { type Database, type Transaction, rows } from "../src/client/sql.ts";
import {
  type Claims,
  type TenantOptions,
  withOrganization,
  withServiceRole,
} from "../src/client/tenancy.ts";
import { databaseError } from "../src/client/errors.ts";
import { currentLsn } from "../src/client/replicas.ts";
import { agentRegistry } from "../src/schema/index.ts";
import { newAgent } from "../src/testing.ts";
import { openMigrated, suite } from "./engine.ts";

const [A, B] = ["7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10", "0c9d1a52-77aa-4c55-8d2e-5b1b5c1f6e01"];

suite("withOrganization and withServiceRole", (database) => {
  /** Counts the statements that reach the database. */
  async function statements(work: (db: Database) => Promise<unknown>): Promise<number> {
    let count = 0;
    const counting: Database = new Proxy(database.db, {
      get(target, key, receiver) {
        if (key === "transaction" || key === "execute") count += 1;
        return Reflect.get(target, key, receiver);
      },
    });
    await work(counting).catch(() => {});
    return count;
  }

  test.each(["", "x", "7a1de0c4", `${A}'`, `${A}\n`, ` ${A}`, `{${A}}`, A.replaceAll("-", "")])(
    "%j is no organization, and no SQL is sent",
    async (organization) => {
      const work = (db: Database) => withOrganization(db, organization, async () => "ran");
      await expect(work(database.db)).rejects.toThrow("must be a uuid");
      expect(await statements(work)).toBe(0);
    },
  );

  test.each([null, undefined, 7, [A]])("%j is neither a uuid nor claims", async (claims) => {
    await expect(
      Reflect.apply(withOrganization, undefined, [database.db, claims, async () => "ran"]),
    ).rejects.toThrow(TypeError);
  });

  test("claims without a usable organization are warned of, once, outside of production", async () => {
    // Once a process: files before this one may have been warned.
    vi.resetModules();
    const fresh = await import("../src/client/tenancy.ts");
    const warnings: Error[] = [];
    const listen = (warning: Error) => warnings.push(warning);
    const environment = process.env["NODE_ENV"];
    process.on("warning", listen);
    const count = async (claims: Claims, options?: TenantOptions) => {
      const seen = await fresh.withOrganization(
        database.db,
        claims,
        async (tx) => rows(await tx.execute(sql`select 1 as n`)).length,
        options,
      );
      // A warning is told in the next tick.
      await new Promise((resolve) => setImmediate(resolve));
      return seen;
    };
    try {
      process.env["NODE_ENV"] = "production";
      await count({ org_id: "org_2abc" });
      process.env["NODE_ENV"] = "development";
      // Usable, nobody on purpose, and a role that has no rows anyhow.
      await count({ organization_id: A });
      await count({ app_metadata: { organization_id: A } });
      await count({});
      await count({ org_id: "org_2abc" }, { role: "anon" });
      expect(warnings).toEqual([]);
      await count({ org_id: "org_2abc", sub: "user_secret" });
      for (const organization_id of [null, "org_2abc", 7]) {
        await count({ organization_id, app_metadata: { organization_id: A } });
      }
      await count({ app_metadata: { organization_id: "org_2abc" } });
    } finally {
      process.off("warning", listen);
      process.env["NODE_ENV"] = environment;
    }
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatchObject({ code: "META_AGENT_DB_NO_ORGANIZATION" });
    expect(warnings[0]?.message).toContain("Expected a uuid as organization_id");
    expect(warnings[0]?.message).not.toMatch(/org_2abc|user_secret/);
  });

  test("only the roles authenticated and anon can be asked for", async () => {
    for (const role of ["service_role", "postgres", "authenticated'; drop table x; --"]) {
      await expect(
        Reflect.apply(withOrganization, undefined, [database.db, A, async () => "ran", { role }]),
      ).rejects.toThrow("the role must be authenticated or anon");
    }
  });

  test("claims are bound, whatever they hold", async () => {
    const name = "'; drop table agent_registry; --\\ \" $1 ünï 𝄞";
    const result = await withOrganization(database.db, { organization_id: A, name }, (tx) =>
      tx.execute(sql`select current_setting('request.jwt.claims')::json ->> 'name' as name`),
    );
    expect(rows(result)).toEqual([{ name }]);
  });

  test("a query made before the switch is not sent before it", async () => {
    await withOrganization(database.db, A, (tx) => tx.insert(agentRegistry).values(newAgent()));
    const seen = await withOrganization(database.db, B, async (tx) => {
      const [first, second] = await Promise.all([
        tx.select().from(agentRegistry),
        tx.$count(agentRegistry),
      ]);
      return [first.length, second];
    });
    expect(seen).toEqual([0, 0]);
  });

  test("neither opens inside another transaction", async () => {
    const inside = (open: (tx: Transaction) => Promise<unknown>) => database.db.transaction(open);
    await expect(inside((tx) => withOrganization(tx, A, async () => {}))).rejects.toThrow(
      "open a transaction of their own",
    );
    await expect(inside((tx) => withServiceRole(tx, async () => {}))).rejects.toThrow(
      "open a transaction of their own",
    );
    await expect(
      withOrganization(database.db, A, (tx) => withOrganization(tx, B, async () => {})),
    ).rejects.toThrow("open a transaction of their own");
  });

  test.each<[string, (db: Database) => PromiseLike<unknown>]>([
    ["withOrganization", (db) => withOrganization(db, B, async () => {})],
    ["withServiceRole", (db) => withServiceRole(db, async () => {})],
    ["db.select", (db) => db.select().from(agentRegistry)],
    ["db.query", (db) => db.query.agentRegistry.findFirst()],
    ["db.$count", (db) => db.$count(agentRegistry)],
    ["db.execute", (db) => db.execute(sql`select 1`)],
    ["db.insert", (db) => db.insert(agentRegistry).values(newAgent())],
    ["db.transaction", (db) => db.transaction(async () => {})],
  ])(
    "%s of the same database inside its transaction is refused, not waited for, and the transaction goes on",
    async (_, ask) => {
      const goesOn = await withOrganization(database.db, A, async (tx) => {
        const refusal: unknown = await (async () => ask(database.db))().catch((error) => error);
        expect(refusal).toBeInstanceOf(TypeError);
        expect(String(refusal)).toContain("use the transaction's tx, not db");
        // Nor from a savepoint.
        await tx.transaction(async () => {
          await expect((async () => ask(database.db))()).rejects.toThrow(TypeError);
        });
        return tx.execute(sql`select 1 as one`);
      });
      expect(rows(goesOn)).toEqual([{ one: 1 }]);
    },
  );

  test("more at once than there are connections, each with another inside: all are refused", async () => {
    const nested = Array.from({ length: 12 }, async () =>
      withOrganization(database.db, A, () => withServiceRole(database.db, async () => {})),
    );
    const outcomes = await Promise.allSettled(nested);
    expect(outcomes.map(({ status }) => status)).toEqual(nested.map(() => "rejected"));
    for (const outcome of outcomes) {
      expect(outcome).toHaveProperty("reason.name", "TypeError");
    }
  });

  test("what was begun inside a transaction may use the database once that is over", async () => {
    const { promise: gate, resolve: open } = withResolvers();
    let later: Promise<unknown> = Promise.resolve();
    await withOrganization(database.db, A, async () => {
      later = gate.then(() => withOrganization(database.db, B, async () => "served"));
    });
    open();
    expect(await later).toBe("served");
  });

  test("inside a transaction of one database another one is open, and its transactions too", async () => {
    const other = await openMigrated();
    try {
      const served = await withOrganization(database.db, A, async () => {
        await other.db.execute(sql`select 1`);
        return withOrganization(other.db, A, async () => {
          await expect((async () => database.db.execute(sql`select 1`))()).rejects.toThrow(
            TypeError,
          );
          return "served";
        });
      });
      expect(served).toBe("served");
    } finally {
      await other.close();
    }
  });

  test("a savepoint inside stays with the organization", async () => {
    const organizations = await withOrganization(database.db, A, async (tx) => {
      const agent = newAgent();
      await tx.transaction((inner) => inner.insert(agentRegistry).values(agent));
      await tx
        .transaction(async (inner) => {
          await inner.insert(agentRegistry).values(newAgent({ id: agent.id }));
        })
        .catch((error: unknown) => expect(databaseError(error)?.code).toBe("23505"));
      return tx.selectDistinct({ id: agentRegistry.organizationId }).from(agentRegistry);
    });
    expect(organizations).toEqual([{ id: A }]);
  });

  test("work that goes on after a failed statement is rejected: nothing of it was committed", async () => {
    const agent = newAgent();
    const done = withOrganization(database.db, A, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      await tx.execute(sql`select 1 / 0`).catch(() => {});
    });
    await expect(done).rejects.toThrow();
    await withOrganization(database.db, A, async (tx) => {
      const found = tx.select().from(agentRegistry).where(eq(agentRegistry.id, agent.id));
      expect(await found).toEqual([]);
    });
  });

  test("a statement that a transaction left behind is refused, not answered from the next one", async () => {
    await withOrganization(database.db, B, (tx) => tx.insert(agentRegistry).values(newAgent()));
    const { promise: gate, resolve: release } = withResolvers();
    let late: Promise<unknown> = Promise.resolve();
    const failed = withOrganization(database.db, A, (tx) => {
      late = gate.then(() => tx.select().from(agentRegistry));
      return Promise.all([tx.execute(sql`select 1 / 0`), late]);
    });
    expect(databaseError(await failed.catch((error: unknown) => error))?.code).toBe("22012");
    await withOrganization(database.db, B, async (tx) => {
      await tx.execute(sql`select 1`);
      release();
      await expect(late).rejects.toThrow("this transaction is over");
    });
    const { promise: after, resolve } = withResolvers<Transaction>();
    await withOrganization(database.db, A, async (tx) => resolve(tx));
    await expect((await after).execute(sql`select 1`)).rejects.toThrow("this transaction is over");
    await expect((await after).transaction(async () => {})).rejects.toThrow("is over");
  });

  test("what work returns is returned, what it throws is thrown, and then nothing is written", async () => {
    expect(await withOrganization(database.db, A, async () => 42)).toBe(42);
    const agent = newAgent();
    const thrown = new Error("on purpose");
    const work = withOrganization(database.db, A, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      throw thrown;
    });
    await expect(work).rejects.toBe(thrown);
    expect(await database.db.$count(agentRegistry, sql`id = ${agent.id}`)).toBe(0);
  });

  test("a read-only transaction refuses writes and cannot be talked out of it", async () => {
    const options = { readOnly: true };
    const write = withOrganization(
      database.db,
      A,
      (tx) => tx.insert(agentRegistry).values(newAgent()),
      options,
    );
    const refused: unknown = await write.catch((error: unknown) => error);
    expect(databaseError(refused)?.code).toBe("25006");
    expect(String(refused)).toContain("in a transaction that is not readOnly");
    const trick = withOrganization(
      database.db,
      A,
      async (tx) => {
        await tx.execute(sql`select count(*) from agent_registry`);
        await tx.execute(sql`set transaction read write`);
      },
      options,
    );
    await expect(trick).rejects.toThrow();
    await withOrganization(database.db, A, (tx) => tx.insert(agentRegistry).values(newAgent()));
  });

  test("who writes and reads on one server is fresh at once, and reads as the tenant", async () => {
    const freshAs = await currentLsn(database.db);
    const work = (tx: Transaction) =>
      tx.execute(sql`select meta_agent.current_organization_id() as organization`);
    const options = { freshAs, freshWithinMs: 0, readOnly: true };
    expect(rows(await withOrganization(database.db, A, work, options))).toEqual([
      { organization: A },
    ]);
  });

  test("work gets the transaction and nothing else", async () => {
    const work = async (...given: unknown[]) => given.length;
    expect(await withServiceRole(database.db, work)).toBe(1);
    expect(await withOrganization(database.db, A, work)).toBe(1);
    const freshAs = await currentLsn(database.db);
    expect(await withOrganization(database.db, A, work, { freshAs })).toBe(1);
  });

  test("nothing is left on the connection afterwards", async () => {
    await withOrganization(database.db, A, async () => {});
    await withServiceRole(database.db, async () => {});
    const result = await database.db.execute(
      sql`select coalesce(current_setting('request.jwt.claims', true), '') as claims, current_user = session_user as own`,
    );
    expect(rows(result)).toEqual([{ claims: "", own: true }]);
  });

  test("the backend carries no claims of whoever was there before", async () => {
    const result = await withServiceRole(database.db, (tx) =>
      tx.execute(
        sql`select current_user::text as role, meta_agent.current_organization_id() as organization`,
      ),
    );
    expect(rows(result)).toEqual([{ role: "service_role", organization: null }]);
  });

  test("a tenant's role that looks past row-level security is refused", async () => {
    const [{ owner } = { owner: "" }] = await database.query<{ owner: string }>(
      "select tableowner::text as owner from pg_tables where tablename = 'agent_registry'",
    );
    await database.query("alter table agent_registry owner to authenticated");
    try {
      await expect(withOrganization(database.db, A, async () => "ran")).rejects.toThrow(
        "row-level security does not apply to authenticated",
      );
    } finally {
      await database.query(`alter table agent_registry owner to "${owner}"`);
    }
  });

  test("a database that was never migrated says so", async () => {
    await database.query("alter table agent_registry rename to elsewhere");
    try {
      await expect(withOrganization(database.db, A, async () => "ran")).rejects.toThrow(
        "run meta-agent-db migrate",
      );
    } finally {
      await database.query("alter table elsewhere rename to agent_registry");
    }
  });

  test("work is given the ordinary transaction of the caller's own Drizzle database", () => {
    type Given<DB extends { transaction: (work: never) => unknown }> = Parameters<
      Parameters<DB["transaction"]>[0]
    >[0];
    type Own = { agentRegistry: typeof agentRegistry };
    const onServer = (db: PostgresJsDatabase<Own>) =>
      withOrganization(db, A, async (tx) => {
        expectTypeOf(tx).toEqualTypeOf<Given<PostgresJsDatabase<Own>>>();
        expectTypeOf(await tx.query.agentRegistry.findFirst()).toEqualTypeOf<
          typeof agentRegistry.$inferSelect | undefined
        >();
        return 7;
      });
    const embedded = (db: PgliteDatabase<Own>) => withServiceRole(db, async (tx) => tx);
    expectTypeOf<Awaited<ReturnType<typeof onServer>>>().toEqualTypeOf<number>();
    expectTypeOf<Awaited<ReturnType<typeof embedded>>>().toEqualTypeOf<
      Given<PgliteDatabase<Own>>
    >();
  });
});

function withResolvers<T = void>() {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
