import { sql } from "drizzle-orm";
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { type Connection, connect } from "../../src/client/connect.ts";
import { rows } from "../../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../../src/client/tenancy.ts";
import { databaseError } from "../../src/client/errors.ts";
import { LOGINS, createLogins, loginStatements } from "../../src/operate/logins.ts";
import { agentRegistry } from "../../src/schema/index.ts";
import { newAgent } from "../../src/testing.ts";
import { cli } from "../cli.ts";
import { type TestDatabase, openMigrated } from "../engine.ts";
import { planted } from "../planted.ts";

const ORGANIZATION = "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10";
const PASSWORDS = { application: "correct horse 'battery'", backend: 'staple \\ $$ "' };

describe.skipIf(inject("server") === "")("the logins of a deployment", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await openMigrated();
  });
  const dropLogins = async () => {
    for (const { name } of Object.values(LOGINS)) {
      await database.query(`drop role if exists ${name}`);
    }
  };
  beforeEach(dropLogins);
  afterAll(async () => {
    await dropLogins();
    await database.close();
  });

  async function as<T>(
    purpose: keyof typeof LOGINS,
    work: (db: Connection["db"]) => Promise<T>,
  ): Promise<T> {
    const url = new URL(database.url);
    url.username = LOGINS[purpose].name;
    url.password = encodeURIComponent(PASSWORDS[purpose]);
    const { db, close } = connect(url.href);
    try {
      return await work(db);
    } finally {
      await close();
    }
  }
  const refusal = async (work: Promise<unknown>) =>
    databaseError(await work.catch((error: unknown) => error))?.code;

  test("the application acts as organizations, and as nothing else", async () => {
    await createLogins(database.db, PASSWORDS);
    await as("application", async (db) => {
      const count = await withOrganization(db, ORGANIZATION, async (tx) => {
        await tx.insert(agentRegistry).values(newAgent());
        return tx.$count(agentRegistry);
      });
      expect(count).toBe(1);
      expect(await refusal(db.select().from(agentRegistry).execute())).toBe("42501");
      await expect(withServiceRole(db, (tx) => tx.$count(agentRegistry))).rejects.toThrow(
        "this login may not act as service_role",
      );
      const anonymous = withOrganization(db, ORGANIZATION, (tx) => tx.$count(agentRegistry), {
        role: "anon",
      });
      expect(await refusal(anonymous)).toBe("42501");
    });
  });

  test("the backend acts as service_role, and not as a tenant", async () => {
    await createLogins(database.db, PASSWORDS);
    await as("backend", async (db) => {
      expect(await withServiceRole(db, (tx) => tx.$count(agentRegistry))).toBeGreaterThan(0);
      expect(await refusal(db.select().from(agentRegistry).execute())).toBe("42501");
      await expect(
        withOrganization(db, ORGANIZATION, (tx) => tx.$count(agentRegistry)),
      ).rejects.toThrow("this login may not act as authenticated");
    });
  });

  test("a membership that was inherited no longer is", async () => {
    await database.query("create role meta_agent_app login inherit");
    await database.query("grant authenticated to meta_agent_app");
    await createLogins(database.db, PASSWORDS);
    await as("application", async (db) => {
      expect(await refusal(db.select().from(agentRegistry).execute())).toBe("42501");
    });
  });

  test("making them again sets the passwords and changes nothing else", async () => {
    await createLogins(database.db, { application: "first password", backend: "first password" });
    await createLogins(database.db, PASSWORDS);
    await as("application", (db) => withOrganization(db, ORGANIZATION, async () => {}));
    const logins = await database.query(
      `select rolname::text as name, rolinherit or rolsuper or rolcreaterole or rolcreatedb or rolbypassrls as mighty
       from pg_roles where rolname like 'meta\\_agent\\_%' order by 1`,
    );
    expect(logins).toEqual([
      { name: "meta_agent_app", mighty: false },
      { name: "meta_agent_backend", mighty: false },
    ]);
  });

  test.each([
    ["is a superuser", "alter role meta_agent_app superuser"],
    ["has CREATEROLE", "alter role meta_agent_app createrole"],
    ["owns objects", "create schema theirs authorization meta_agent_app"],
    ["may pass on its memberships", "grant authenticated to meta_agent_app with admin option"],
    ["has BYPASSRLS", "alter role meta_agent_app bypassrls"],
    ["is also a member of service_role", "grant service_role to meta_agent_app"],
  ])("a login that %s is refused, and nothing is changed", async (why, statement) => {
    await database.query("create role meta_agent_app");
    await database.query(statement);
    await expect(createLogins(database.db, PASSWORDS)).rejects.toThrow(
      `meta_agent_app exists and ${why}`,
    );
    const [backend] = await database.query(
      "select from pg_roles where rolname = 'meta_agent_backend'",
    );
    expect(backend).toBeUndefined();
    await database.query("drop schema if exists theirs");
  });

  test("the logins find the vector type wherever it lives", async () => {
    await database.query("create schema extensions");
    await database.query("grant usage on schema extensions to public");
    await database.query("alter extension vector set schema extensions");
    try {
      await createLogins(database.db, PASSWORDS);
      const distance = await as("application", (db) =>
        withOrganization(db, ORGANIZATION, (tx) =>
          tx.execute(sql`select '[1,0]'::vector <=> '[0,1]'::vector as distance`),
        ),
      );
      expect(rows(distance)).toEqual([{ distance: 1 }]);
    } finally {
      await database.query("alter extension vector set schema public");
      await database.query("drop schema extensions");
    }
  });

  test("no password reaches the server's statements or its catalog", async () => {
    await createLogins(database.db, PASSWORDS);
    const stored = await database.query<{ verifier: string }>(
      "select rolpassword::text as verifier from pg_authid where rolname like 'meta\\_agent\\_%'",
    );
    expect(stored).toHaveLength(2);
    for (const { verifier } of stored) expect(verifier).toMatch(/^SCRAM-SHA-256\$4096:/);
  });

  test("nothing that others planted in schema public is called", async () => {
    const undo = new Error("undone");
    const attempt = database.db.transaction(async (tx) => {
      // It exists, so that it is asked why it could be unsafe.
      await tx.execute(sql`create role meta_agent_app login noinherit`);
      const plants = planted(["operate/logins.ts", "client/settings.ts"]).split(/(?<=end \$\$);/);
      for (const statement of plants) await tx.execute(sql.raw(statement));
      await createLogins(tx, PASSWORDS);
      throw undo;
    });
    await expect(attempt).rejects.toBe(undo);
  });

  test("the printed statements are those that work", async () => {
    for (const statement of loginStatements()) await database.query(statement);
    await createLogins(database.db, PASSWORDS);
    await as("backend", (db) => db.execute(sql`select 1`));
    expect((await cli(["roles"])).stdout).toBe(`${loginStatements().join("\n")}\n`);
  });

  test("the command takes passwords from the environment and prints none", async () => {
    const words = ["roles", "--apply", "--url", database.url];
    const missing = await cli(words);
    expect(missing).toMatchObject({ code: 1, stdout: "" });
    expect(missing.stderr).toContain("META_AGENT_APP_PASSWORD is not set");
    const made = await cli(words, {
      META_AGENT_APP_PASSWORD: PASSWORDS.application,
      META_AGENT_BACKEND_PASSWORD: PASSWORDS.backend,
    });
    expect(made).toMatchObject({
      code: 0,
      stdout:
        "meta_agent_app: member of authenticated, anon\nmeta_agent_backend: member of service_role\n",
    });
    expect(made.stdout + made.stderr).not.toContain("battery");
    await as("application", (db) => withOrganization(db, ORGANIZATION, async () => {}));
    const weak = await cli(words, {
      META_AGENT_APP_PASSWORD: "s3cret",
      META_AGENT_BACKEND_PASSWORD: PASSWORDS.backend,
    });
    expect(weak.code).toBe(1);
    expect(weak.stderr).toContain("at least 8 characters");
    expect(weak.stderr).not.toContain("s3cret");
  });
});
