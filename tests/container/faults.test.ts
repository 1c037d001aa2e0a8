import postgres from "postgres";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { tableNames } from "../../src/drizzle-kit.ts";
import { MIGRATIONS } from "../../src/migrations.ts";
import { catalog } from "../catalog.ts";
import { type Outcome, cli, finished, printed, start } from "../cli.ts";
import { type Query, type TestDatabase, openEmpty, openUrl, queryOf } from "../engine.ts";
import { startTestPostgres } from "../setup/postgres.ts";
import { administer, siblingUrl } from "../setup/server.ts";

const names = MIGRATIONS.map(({ name }) => name);
const all = `${names.length} migrations applied\n`;
/** One in the middle and the last. */
const some = names.filter((_, index) => [names.length >> 1, names.length - 1].includes(index));
/** Each file by FAULTS=full. */
const killed = process.env["FAULTS"] === "full" ? names : some;

const migrateOn = (url: string, ...words: string[]) => cli(["migrate", "--url", url, ...words]);

/**
 * Makes every migrator of a database stop inside the file whose place `hold` names: at that file's first
 * DDL it waits for a lock that the test has.
 */
interface Gate {
  /** Closes it at a file, by its place in the order. */
  closeAt(file: number): Promise<void>;
  /** Waits until a migrator stands at it, and returns its session's pid. */
  reached(): Promise<number>;
  /** Lets whoever stands there go on. */
  open(): Promise<void>;
}

async function gateOf(query: Query): Promise<Gate> {
  await query("create schema gate");
  await query("create table gate.place (file int)");
  await query(`
    create function gate.hold() returns event_trigger language plpgsql as $$
    declare done int := 0;
    begin
      if to_regclass('drizzle.__meta_agent_migrations') is not null then
        execute 'select count(*) from drizzle.__meta_agent_migrations' into done;
      end if;
      if to_regclass('drizzle.__meta_agent_migrations') is not null and done = (select file from gate.place) then
        perform pg_advisory_xact_lock_shared(4711);
      end if;
    end $$`);
  await query("create event trigger hold on ddl_command_start execute function gate.hold()");
  return {
    closeAt: async (file) => {
      await query("select pg_advisory_lock(4711)");
      await query("truncate gate.place");
      await query("insert into gate.place values ($1)", [file]);
    },
    reached: async () => {
      for (;;) {
        const [waiting] = await query<{ pid: number }>(
          "select pid from pg_locks where locktype = 'advisory' and objid = 4711 and not granted",
        );
        if (waiting) return waiting.pid;
        await query("select pg_sleep(0.05)");
      }
    },
    open: async () => {
      await query("delete from gate.place");
      await query("select pg_advisory_unlock(4711)");
    },
  };
}

/** Returns when no migrator is at work any more: then its transaction is over as well. */
async function untilNobodyMigrates(query: Query): Promise<void> {
  await query("select pg_advisory_lock(hashtextextended('meta-agent-db migrate', 0))");
  await query("select pg_advisory_unlock(hashtextextended('meta-agent-db migrate', 0))");
}

describe.skipIf(inject("server") === "")("a migrator that is interrupted", () => {
  let database: TestDatabase;
  let gate: Gate;
  let session: postgres.Sql;
  /** Of one session, which holds the gate's lock. */
  let query: Query;
  beforeAll(async () => {
    database = await openEmpty();
    session = postgres(database.url, { max: 1, onnotice: () => {} });
    query = queryOf(session);
    gate = await gateOf(query);
  });
  afterAll(async () => {
    await session.end();
    await database.close();
  });

  /** Starts a migrator, has `fault` happen inside a file, and checks that nothing is left of it. */
  async function interrupted(
    name: string,
    fault: (migrator: ReturnType<typeof start>, pid: number) => unknown,
  ): Promise<Outcome> {
    await gate.closeAt(names.indexOf(name));
    const migrator = start(["migrate", "--url", database.url]);
    const outcome = finished(migrator);
    await fault(migrator, await gate.reached());
    const result = await outcome;
    await gate.open();
    await untilNobodyMigrates(query);
    expect(result.stderr).toContain(name);
    expect(await catalog(query)).toEqual([]);
    return result;
  }

  test.each(killed)(
    "killed inside %s it leaves nothing, and the next one can start",
    async (name) => {
      const { code } = await interrupted(name, (migrator) => migrator.kill("SIGKILL"));
      expect(code).toBe(null);
    },
  );

  test.each(some)("cut off by the server inside %s it says so and leaves nothing", async (name) => {
    const { code, stdout, stderr } = await interrupted(name, (_, pid) =>
      query("select pg_terminate_backend($1)", [pid]),
    );
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(new RegExp(`${name}.sql, statement \\d+ of \\d+: .*CONNECTION_CLOSED`));
    expect(stderr).toContain("The server closed the connection; see its log, then try again.");
    expect(stderr).toContain("Nothing was applied.");
  });

  test.each(["SIGINT", "SIGTERM"] as const)(
    "%s ends it with 130, and nothing is half-done",
    async (signal) => {
      const { code, stderr } = await interrupted(names.at(-1) ?? "", (migrator) =>
        migrator.kill(signal),
      );
      expect(code).toBe(130);
      expect(stderr).toContain("interrupted");
    },
  );

  test("after all that the next one migrates the database", async () => {
    expect(await migrateOn(database.url)).toMatchObject({ code: 0, stdout: all });
  });
});

describe.skipIf(inject("server") === "")("several migrators", () => {
  let database: TestDatabase;
  beforeEach(async () => {
    database = await openEmpty();
  });
  afterEach(() => database.close());

  /** A session that says who it is, and does `statements` in a transaction that stays open during `work`. */
  async function during(statements: readonly string[], work: () => Promise<void>): Promise<void> {
    const session = postgres(database.url, {
      max: 1,
      onnotice: () => {},
      connection: { application_name: "nightly-deploy" },
    });
    try {
      await session.begin(async (tx) => {
        for (const statement of statements) await tx.unsafe(statement);
        await work();
      });
    } finally {
      await session.end();
    }
  }
  const holdLock = ["select pg_advisory_xact_lock(hashtextextended('meta-agent-db migrate', 0))"];

  test("ten processes at once apply each file once, and all end well", async () => {
    const outcomes = await Promise.all(Array.from({ length: 10 }, () => migrateOn(database.url)));
    expect(outcomes.map(({ code }) => code)).toEqual(Array.from({ length: 10 }, () => 0));
    const said = outcomes.map(({ stdout }) => stdout).toSorted();
    expect(said).toEqual([all, ...Array.from({ length: 9 }, () => "up to date\n")]);
    const [journal] = await database.query<{ rows: number; files: number }>(
      "select count(*)::int as rows, count(distinct hash)::int as files from drizzle.__meta_agent_migrations",
    );
    expect(journal).toEqual({ rows: names.length, files: names.length });
  });

  test.each(["0", "0.2"])(
    "a lock held by another session ends it with 3 after %s seconds, and the holder is named",
    async (timeout) => {
      await during(holdLock, async () => {
        const outcome = await migrateOn(database.url, "--lock-timeout", timeout);
        expect(outcome).toMatchObject({ code: 3, stdout: "" });
        expect(outcome.stderr).toContain("another migrator holds the lock");
        expect(outcome.stderr).toMatch(
          /pid \d+, nightly-deploy, as postgres, since \d{4}-\d\d-\d\dT/,
        );
        expect(outcome.stderr).toMatch(/SELECT pg_terminate_backend\(\d+\);/);
      });
      expect(await catalog(database.query)).toEqual([]);
      expect(await migrateOn(database.url, "--lock-timeout", timeout)).toMatchObject({ code: 0 });
    },
  );

  test("a login that may not see the other's activity is told what it may know", async () => {
    const login = `watcher_${process.pid}`;
    await database.query(`create role ${login} login password 'x'`);
    const url = new URL(database.url);
    [url.username, url.password] = [login, "x"];
    try {
      await during(holdLock, async () => {
        const { code, stderr } = await migrateOn(url.href, "--lock-timeout", "0");
        expect(code).toBe(3);
        expect(stderr).toMatch(
          /pid \d+, nightly-deploy, as postgres, since a time that this login may/,
        );
      });
    } finally {
      await database.query(`drop role ${login}`);
    }
  });

  test("without a limit it says whom it waits for, and goes on when the lock is free", async () => {
    let outcome: Promise<Outcome> | undefined;
    await during(holdLock, async () => {
      const migrator = start(["migrate", "--url", database.url]);
      outcome = finished(migrator);
      await printed(migrator.stderr, /waiting for another migrator\n {2}pid \d+, nightly-deploy/);
    });
    expect(await outcome).toMatchObject({ code: 0, stdout: all });
  });

  test("a table in use ends it with 3 as well: nobody queues behind a migration that waits", async () => {
    await migrateOn(database.url);
    // The last one that alters a table; it may run again.
    const place = MIGRATIONS.findLastIndex(({ statements }) =>
      statements.some((statement) => statement.includes("ALTER TABLE")),
    );
    const { name, when } = MIGRATIONS[place] ?? { name: "", when: 0 };
    await database.query(`delete from drizzle.__meta_agent_migrations where created_at >= ${when}`);
    const before = await catalog(database.query);
    const lockTables = tableNames.map((table) => `lock table ${table} in access exclusive mode`);
    await during(lockTables, async () => {
      const outcome = await migrateOn(database.url, "--lock-timeout", "0.2");
      expect(outcome).toMatchObject({ code: 3, stdout: "" });
      expect(outcome.stderr).toContain(`${name}.sql, statement`);
      expect(outcome.stderr).toContain("due to lock timeout (55P03)");
      expect(outcome.stderr).toMatch(/pid \d+, nightly-deploy/);
    });
    expect(await catalog(database.query)).toEqual(before);
    expect(await migrateOn(database.url)).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        new RegExp(`^${MIGRATIONS.length - place} migrations? applied\n$`),
      ),
    });
  });
});

describe.skipIf(inject("server") === "")("a server in trouble", () => {
  let server: Awaited<ReturnType<typeof startTestPostgres>>;
  beforeAll(async () => {
    server = await startTestPostgres();
  });
  afterAll(() => server.container.stop());

  async function shell(command: string, user = "postgres"): Promise<void> {
    const { exitCode, output } = await server.container.exec(["sh", "-c", command], { user });
    if (exitCode !== 0) throw new Error(output);
  }
  async function create(name: string, options = ""): Promise<string> {
    await administer(server.url, `create database ${name} template template0 ${options}`);
    return siblingUrl(server.url, name);
  }
  async function catalogOf(url: string): Promise<string[]> {
    const database = openUrl(url);
    return catalog(database.query).finally(() => database.close());
  }

  test("a full disk: nothing is half-applied, and with room again it goes through", async () => {
    await shell("mkdir /dev/shm/small");
    await administer(server.url, "create tablespace small location '/dev/shm/small'");
    const url = await create("narrow", "tablespace small");
    const free = "$(df --output=avail --block-size=1K /dev/shm | tail -1)";
    await shell(`fallocate --length $((${free} - 1000))K /dev/shm/filling`);
    const outcome = await migrateOn(url);
    await shell("rm /dev/shm/filling");
    expect(outcome).toMatchObject({ code: 1, stdout: "" });
    expect(outcome.stderr).toMatch(
      /\d{4}_\w+\.sql, statement \d+ of \d+: .*No space left on device \(53100\)/,
    );
    expect(outcome.stderr).toContain("Check free disk space");
    expect(await catalogOf(url)).toEqual([]);
    expect(await migrateOn(url)).toMatchObject({ code: 0, stdout: all });
  });

  test("no pgvector: said with what to install, and once it is there it goes through", async () => {
    const url = await create("plain");
    const control = "$(pg_config --sharedir)/extension/vector.control";
    await shell(`mv ${control} /tmp/`, "root");
    const outcome = await migrateOn(url);
    await shell(`mv /tmp/vector.control ${control}`, "root");
    expect(outcome).toMatchObject({ code: 1, stdout: "" });
    expect(outcome.stderr).toContain("this server does not have pgvector");
    expect(outcome.stderr).toContain("Install pgvector 0.8 or newer");
    expect(await catalogOf(url)).toEqual([]);
    expect(await migrateOn(url)).toMatchObject({ code: 0, stdout: all });
  });

  test("another application's database with a table of our name is left as it was", async () => {
    const url = await create("foreign_app");
    const foreign = openUrl(url);
    await foreign.query("create table alert_history (id int primary key, said text)");
    await foreign.query("insert into alert_history values (1, 'keep me')");
    const before = await catalog(foreign.query);
    const outcome = await migrateOn(url);
    expect(outcome).toMatchObject({ code: 1, stdout: "" });
    expect(outcome.stderr).toMatch(
      /error \d{4}_\w+\.sql, statement \d+ of \d+: relation "alert_history" already exists \(42P07\)/,
    );
    expect(outcome.stderr).toContain(
      "use an empty database, or drop or rename them after a backup",
    );
    expect(await catalog(foreign.query)).toEqual(before);
    expect(await foreign.query("select said from alert_history")).toEqual([{ said: "keep me" }]);
    await foreign.query("alter table alert_history rename to our_alert_history");
    await foreign.query("alter index alert_history_pkey rename to our_alert_history_pkey");
    await foreign.close();
    expect(await migrateOn(url)).toMatchObject({ code: 0, stdout: all });
  });

  describe("a replica", () => {
    const control = (words: string) =>
      shell(
        `pg_ctl -D /tmp/replica -o '-p 5433 -c listen_addresses=*' -l /tmp/replica.log -w ${words}`,
      );
    let url: string;
    beforeAll(async () => {
      const address = new URL(await create("copied"));
      address.port = String(server.container.getMappedPort(5433));
      url = address.href;
      await shell(
        "pg_basebackup -D /tmp/replica -R -h /var/run/postgresql -U postgres --checkpoint=fast -T /dev/shm/small=/tmp/replica_small",
      );
      await control("start");
    });
    afterAll(() => control("-m immediate stop"));

    test("is not migrated: the message says to name the primary", async () => {
      const outcome = await migrateOn(url);
      expect(outcome).toMatchObject({ code: 1, stdout: "" });
      expect(outcome.stderr).toContain("(25006)");
      expect(outcome.stderr).toContain("name the primary");
      expect(await catalogOf(url)).toEqual([]);
    });

    test("answers what is pending, and with which SQL", async () => {
      const status = await cli(["status", "--url", url]);
      expect(status).toMatchObject({ code: 2 });
      expect(status.stdout).toContain(`${names.length} pending`);
      const dryRun = await migrateOn(url, "--dry-run");
      expect(dryRun).toMatchObject({ code: 2 });
      for (const name of names) expect(dryRun.stdout).toContain(`\n-- ${name}\n`);
    });

    test("made a primary and crashing inside a file, it has nothing half-applied afterwards", async () => {
      await control("promote");
      const session = postgres(url, { max: 1, onnotice: () => {} });
      const gate = await gateOf(queryOf(session));
      await gate.closeAt(Math.floor(names.length / 2));
      const migrator = start(["migrate", "--url", url]);
      const outcome = finished(migrator);
      await gate.reached();
      await control("-m immediate stop");
      expect(await outcome).toMatchObject({ code: 1, stdout: "" });
      expect((await outcome).stderr).toMatch(
        /\.sql, statement \d+ of \d+: .*\nThe server closed the connection/,
      );
      expect((await outcome).stderr).toContain("Nothing was applied.");
      await session.end({ timeout: 0 });
      await control("start");
      expect(await catalogOf(url)).toEqual([]);
    });

    test("stopped, it is an error at once, or is waited for with --wait", async () => {
      await control("-m fast stop");
      const outcome = await migrateOn(url);
      expect(outcome).toMatchObject({ code: 1, stdout: "" });
      expect(outcome.stderr).toMatch(/ECONNREFUSED|ECONNRESET|CONNECTION_CLOSED/);
      expect(outcome.stderr).toMatch(/Start the server|The server closed the connection/);
      const patient = start(["migrate", "--url", url, "--wait", "60"]);
      const waited = finished(patient);
      await printed(patient.stderr, /waiting for the server/);
      await control("start");
      expect(await waited).toMatchObject({ code: 0, stdout: all });
    });
  });
});
