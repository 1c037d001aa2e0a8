import { sql } from "drizzle-orm";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { diff, repair } from "../../src/operate/drift/diff.ts";
import { catalog } from "../catalog.ts";
import { cli } from "../cli.ts";
import { type TestDatabase, openEmpty, openMigrated, openUrl } from "../engine.ts";

describe.skipIf(inject("server") === "")("diff on a server", () => {
  let database: TestDatabase;
  let whole: string[];
  beforeAll(async () => {
    database = await openMigrated();
    whole = await catalog(database.query);
  });
  afterAll(() => database.close());
  afterEach(async () => {
    await repair(database.db, { only: () => true });
    expect(await catalog(database.query)).toEqual(whole);
  });

  const weaken = () =>
    database.query(`do $$ begin
      alter table agent_registry disable row level security;
      drop policy "Users see own org budgets" on cost_budgets;
      alter table agent_slas drop constraint agent_slas_target_availability_check;
    end $$`);
  const check = "check agent_slas_target_availability_check on agent_slas";

  test("a login of nobody's sees every difference", async () => {
    const login = `nobody_${process.pid}`;
    await database.query(`create role ${login} login password 'x'`);
    await weaken();
    const url = new URL(database.url);
    [url.username, url.password] = [login, "x"];
    const { db, close } = connect(url.href);
    try {
      expect(await diff(db)).toEqual(await diff(database.db));
      await expect(repair(db)).rejects.toThrow();
    } finally {
      await close();
      await database.query(`drop role ${login}`);
    }
  });

  test("repair waits for a migrator, and mends what that one left", async () => {
    const other = connect(database.url);
    const waits: string[] = [];
    let repairing: ReturnType<typeof repair> | undefined;
    await other.db.transaction(async (tx) => {
      await tx.execute(
        sql`select pg_advisory_xact_lock(hashtextextended('meta-agent-db migrate', 0))`,
      );
      const waiting = new Promise<void>((said) => {
        repairing = repair(database.db, { onWait: (text) => said(void waits.push(text)) });
      });
      await waiting;
      await tx.execute(sql`drop index idx_logs_quality`);
    });
    await other.close();
    const { repaired } = (await repairing) ?? {};
    expect(repaired?.map(({ object }) => object)).toEqual([
      "index idx_logs_quality on agent_execution_logs",
    ]);
    expect(waits[0]).toContain("waiting for another migrator");
  });

  test("autovacuum that comes to a table between its grants and its policies is no deadlock", async () => {
    const other = openUrl(database.url);
    // Long enough for it to come.
    await database.script(`
      create function linger() returns event_trigger language plpgsql as 'begin perform pg_sleep(0.2); end';
      create event trigger linger on ddl_command_end when tag in ('GRANT', 'REVOKE') execute function linger();
      revoke select on cost_budgets from service_role; drop policy "Users see own org budgets" on cost_budgets`);
    const over = new AbortController();
    const vacuuming = (async () => {
      while (!over.signal.aborted) await other.query("analyze cost_budgets");
    })();
    try {
      const { remaining } = await repair(database.db);
      expect(remaining).toEqual([]);
    } finally {
      over.abort();
      await vacuuming;
      await other.close();
      await database.script("drop event trigger linger; drop function linger()");
    }
  });

  test("what onWait rejects with while another migrator is at work is the call's", async () => {
    const other = connect(database.url);
    await other.db.transaction(async (tx) => {
      await tx.execute(
        sql`select pg_advisory_xact_lock(hashtextextended('meta-agent-db migrate', 0))`,
      );
      const fallen = new Error("progress bar fell over");
      const onWait = async () => {
        throw fallen;
      };
      await expect(repair(database.db, { onWait })).rejects.toBe(fallen);
    });
    await other.close();
  });

  test("a repair whose connection the server ends is rejected, and the process lives on", async () => {
    const other = connect(database.url);
    const mender = connect(database.url);
    await weaken();
    let repairing: Promise<unknown> | undefined;
    await other.db.transaction(async (tx) => {
      await tx.execute(
        sql`select pg_advisory_xact_lock(hashtextextended('meta-agent-db migrate', 0))`,
      );
      await new Promise<void>((waiting) => {
        repairing = repair(mender.db, { onWait: () => waiting() }).catch((error: unknown) => error);
      });
      let ended = 0;
      while (ended === 0) {
        const sessions = await database.query(
          "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())",
        );
        ended = sessions.length;
      }
    });
    expect(await repairing).toBeInstanceOf(Error);
    expect(await diff(mender.db)).toHaveLength(3);
    await Promise.all([other.close(), mender.close()]);
  });

  test("two repairs at once: one finds it all, the other nothing", async () => {
    await weaken();
    const connections = [connect(database.url), connect(database.url)];
    const results = await Promise.all(connections.map(({ db }) => repair(db)));
    await Promise.all(connections.map(({ close }) => close()));
    const counts = results.map(({ repaired }) => repaired.length);
    expect(new Set(counts)).toEqual(new Set([0, 2]));
  });

  test("the command prints SQL that psql takes, as JSON the findings, and exits with 2", async () => {
    await weaken();
    const shown = await cli(["diff", "--url", database.url]);
    expect(shown).toMatchObject({ code: 2 });
    expect(shown.stdout).toContain(`-- ${check}: missing, to be repaired by hand\n`);
    expect(shown.stderr).toContain("3 differences, 2 of them for --repair");
    const json = await cli(["diff", "--json", "--url", database.url]);
    expect(json).toMatchObject({ code: 2 });
    expect(JSON.parse(json.stdout)).toEqual(
      JSON.parse(JSON.stringify({ repaired: [], remaining: await diff(database.db) })),
    );
    await database.query(shown.stdout);
    expect(await cli(["diff", "--url", database.url])).toMatchObject({ code: 0, stdout: "" });
  });

  test("the command repairs what is safe, and says what is left", async () => {
    await weaken();
    const repaired = await cli(["diff", "--repair", "--url", database.url]);
    expect(repaired).toMatchObject({ code: 2 });
    expect(repaired.stdout).toContain(
      "-- repaired: row-level security of agent_registry (changed)\n",
    );
    expect((await diff(database.db)).map(({ object }) => object)).toEqual([check]);
    await repair(database.db, { only: () => true });
    expect(await cli(["diff", "--repair", "--url", database.url])).toMatchObject({ code: 0 });
  });

  test("what cannot be repaired is said with its object, and nothing is changed", async () => {
    await weaken();
    await database.query("drop statistics agent_execution_logs_agent_id_organization_id_stat");
    await database.query("create table notes (a int, b int)");
    await database.query(
      "create statistics agent_execution_logs_agent_id_organization_id_stat on a, b from notes",
    );
    const { code, stderr } = await cli(["diff", "--repair", "--url", database.url]);
    expect(code).toBe(1);
    expect(stderr).toContain(
      "error statistics agent_execution_logs_agent_id_organization_id_stat on agent_execution_logs: statistics",
    );
    expect(stderr).toContain("Nothing was changed.");
    expect(await diff(database.db)).toHaveLength(4);
    await database.query("drop table notes");
  });

  test("a database that is not migrated is told to migrate", async () => {
    const empty = await openEmpty();
    try {
      const { code, stderr } = await cli(["diff", "--url", empty.url]);
      expect(code).toBe(2);
      expect(stderr).toContain("run meta-agent-db migrate first");
    } finally {
      await empty.close();
    }
  });
});
