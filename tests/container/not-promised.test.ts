import { randomUUID } from "node:crypto";
import { sql } from "drizzle-orm";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { databaseError } from "../../src/client/errors.ts";
import { withOrganization } from "../../src/client/tenancy.ts";
import { rollUpMetrics } from "../../src/fleet/rollup.ts";
import { type TestDatabase, openMigrated } from "../engine.ts";
import { administer } from "../setup/server.ts";

const LOGIN = `tenant_${process.pid}`;
const [OURS, THEIRS] = [randomUUID(), randomUUID()];

/** What SECURITY.md lists as not promised, and needs sessions of their own to be seen. */
describe.skipIf(inject("server") === "")("known: a tenant with SQL of its own", () => {
  let database: TestDatabase;
  let sessions: postgres.Sql[] = [];
  beforeAll(async () => {
    database = await openMigrated();
    await administer(
      inject("server"),
      `create role ${LOGIN} login noinherit password 'test' in role authenticated`,
    );
  });
  afterAll(async () => {
    await Promise.all(sessions.map((session) => session.end({ timeout: 1 })));
    await database.query(`drop owned by ${LOGIN}`);
    await database.close();
    await administer(inject("server"), `drop role ${LOGIN}`);
  });

  const session = () => {
    const url = new URL(database.url);
    url.username = LOGIN;
    const opened = postgres(url.href, { max: 1, onnotice: () => {} });
    sessions = [...sessions, opened];
    return opened;
  };

  /** A transaction as a tenant; the caller decides when it ends. */
  const asTenant = <T>(
    client: postgres.Sql,
    organization: string,
    work: (tx: postgres.TransactionSql) => Promise<T>,
  ) =>
    client.begin(async (tx) => {
      const claims = JSON.stringify({ organization_id: organization });
      await tx`select set_config('role', 'authenticated', true),
        set_config('request.jwt.claims', ${claims}, true), set_config('lock_timeout', '200ms', true)`;
      return work(tx);
    });

  const code = (work: Promise<unknown>) =>
    work.then(
      () => "done",
      (error: unknown) => databaseError(error)?.code,
    );

  const newAgent = (tx: postgres.TransactionSql, name: string) =>
    tx<{ id: string }[]>`
      insert into agent_registry (agent_name, display_name, category) values (${name}, ${name}, 'sales') returning id`;

  test("holds any advisory lock, the roll-up's too, on its session after its transaction", async () => {
    const key = "hashtextextended('meta-agent-db roll-up', 0)";
    // As service_role's roll-up takes it: no tenant's gets past.
    await asTenant(session(), OURS, (tx) => tx.unsafe(`select pg_advisory_lock(${key})`));
    const url = new URL(database.url);
    url.username = LOGIN;
    const { db, close } = connect(url.href);
    const other = withOrganization(db, THEIRS, async (tx) => {
      await tx.execute(sql`set local lock_timeout = '200ms'`);
      return rollUpMetrics(tx, { from: "2026-01-01", to: "2026-01-01" });
    });
    expect(await code(other.finally(close))).toBe("55P03");
  });

  test("holds up others that take a name which it has not committed yet", async () => {
    await asTenant(session(), OURS, async (tx) => {
      await newAgent(tx, "wanted by both");
      const other = asTenant(session(), THEIRS, (rival) => newAgent(rival, "wanted by both"));
      expect(await code(other)).toBe("55P03");
    });
  });

  test("ends other sessions of the same login, once it is that login again", async () => {
    const victim = session();
    const [running] = await victim<{ pid: number }[]>`select pg_backend_pid() as pid`;
    const ended = await session()<{ done: boolean }[]>`
      select pg_terminate_backend(${running?.pid ?? 0}, 5000) as done`;
    expect([...ended]).toEqual([{ done: true }]);
  });

  test("changes settings and password of the login", async () => {
    const client = session();
    await client.unsafe(`alter role ${LOGIN} set statement_timeout = '1h'`);
    await client.unsafe(`alter role ${LOGIN} password 'test'`);
    const [role] = await database.query<{ config: string[] }>(
      `select rolconfig as config from pg_roles where rolname = '${LOGIN}'`,
    );
    expect(role?.config).toEqual(["statement_timeout=1h"]);
  });

  test("stores large objects, which other tenants read: they know no organization", async () => {
    const [made] = await asTenant(
      session(),
      OURS,
      (tx) => tx<{ id: number }[]>`select lo_from_bytea(0, 'ours'::bytea) as id`,
    );
    const [read] = await asTenant(
      session(),
      THEIRS,
      (tx) => tx<{ text: string }[]>`
        select convert_from(lo_get(${made?.id ?? 0}::oid), 'UTF8') as text`,
    );
    expect(read).toEqual({ text: "ours" });
    await database.query(`select lo_unlink(${made?.id})`);
  });

  test("that removes its agent removes the platform's rows of it, of no organization", async () => {
    const client = session();
    const [agent] = await asTenant(client, OURS, (tx) => newAgent(tx, "with rows of the platform"));
    await database.query("insert into agent_slas (agent_id) values ($1::uuid)", [agent?.id]);
    const platformRows = () =>
      database.query(
        "select from agent_slas where organization_id is null and agent_id = $1::uuid",
        [agent?.id],
      );
    expect(await platformRows()).toHaveLength(1);
    await asTenant(client, OURS, async (tx) => {
      expect(await tx`select from agent_slas where agent_id = ${agent?.id ?? ""}`).toEqual([]);
      await tx`delete from agent_registry where id = ${agent?.id ?? ""}`;
    });
    expect(await platformRows()).toEqual([]);
  });
});
