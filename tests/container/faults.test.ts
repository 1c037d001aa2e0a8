import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { readMigrations } from "../../src/migrate.ts";
import { catalog } from "../catalog.ts";
import { type Outcome, cli, finished, start } from "../cli.ts";
import { type Query, type TestDatabase, openEmpty, queryOf } from "../engine.ts";

const names = readMigrations().map(({ name }) => name);
const all = `${names.length} migrations applied\n`;
/** First, middle and last. */
const some = names.filter((_, index) => index % 5 === 0 || index === names.length - 1);

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

  test.each(names)(
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
