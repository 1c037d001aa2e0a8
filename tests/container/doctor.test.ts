import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { doctor } from "../../src/operate/doctor/doctor.ts";
import type { Diagnosis } from "../../src/operate/doctor/check.ts";
import { cli } from "../cli.ts";
import { type TestDatabase, openMigrated } from "../engine.ts";

describe.skipIf(inject("server") === "")("doctor, of a server at work", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await openMigrated();
    await database.query(
      "insert into agent_registry (agent_name, display_name, category) values ('a', 'A', 'sales')",
    );
  });
  afterAll(() => database.close());

  const found = async (check: string, longTransaction?: number): Promise<Diagnosis[]> =>
    (await doctor(database.db, { longTransaction })).filter((one) => one.check === check);
  /** Outside of a transaction, as a person types them. */
  const follow = async (list: readonly Diagnosis[]) => {
    for (const statement of list.flatMap(({ next }) => next.split(/(?<=;) /))) {
      await database.query(statement);
    }
  };

  test("a transaction left open is found with who waits for it, and its next step ends it", async () => {
    const open = postgres(database.url, { max: 1, onnotice: () => {} });
    await open.unsafe("begin; lock table agent_slas");
    const waiting = database.query("select from agent_slas");
    await database.query(
      `do $$ begin while not exists (select from pg_locks where not granted and relation = 'agent_slas'::regclass)
       loop perform pg_sleep(0.01); end loop; end $$`,
    );
    const all = await doctor(database.db, { longTransaction: 0 });
    // The lock keeps doctor itself from looking; it says so instead of waiting.
    expect(all.map(({ message }) => message)).toContain(
      "not checked: another session holds a lock on a table",
    );
    const idle = all.filter(({ message }) => message.includes("is idle"));
    expect(idle).toEqual([
      {
        level: "warning",
        check: "sessions",
        message: expect.stringMatching(
          /^session \d+ of postgres has a transaction open for \d+ seconds and is idle in transaction: vacuum must keep .+, and 1 other sessions wait/,
        ),
        next: expect.stringMatching(/^SELECT pg_terminate_backend\(\d+\);$/),
      },
    ]);
    await follow(idle);
    await waiting;
    const left = (await found("sessions", 0)).map(({ message }) => message);
    expect(left.filter((message) => message.includes("is idle"))).toEqual([]);
    await open.end().catch(() => {});
  });

  test("a transaction that is not old is none of doctor's business", async () => {
    const open = postgres(database.url, { max: 1, onnotice: () => {} });
    await open.unsafe("begin; select 1");
    expect(await found("sessions")).toEqual([]);
    const told = async (seconds: string) =>
      (await cli(["doctor", "--long-transaction", seconds, "--url", database.url])).stdout;
    expect(await told("600")).not.toContain("has a transaction open");
    expect(await told("0")).toContain("has a transaction open");
    await open.end();
  });

  test("a prepared transaction that nobody ends is found, and its next step ends it", async () => {
    const client = postgres(database.url, { max: 1, onnotice: () => {} });
    await client.unsafe(
      "begin; update agent_registry set version = '2'; prepare transaction 'it''s';",
    );
    const prepared = (await found("sessions", 0)).filter(({ message }) =>
      message.includes("prepared"),
    );
    expect(prepared).toMatchObject([{ level: "warning", next: "ROLLBACK PREPARED 'it''s';" }]);
    await follow(prepared);
    expect(await client`select from pg_prepared_xacts where database = current_database()`).toEqual(
      [],
    );
    await client.end();
  });

  test("an index whose building failed is found, and its next steps rebuild it", async () => {
    await database.query(
      "insert into cost_budgets (agent_id, daily_budget_usd) select id, 1 from agent_registry, generate_series(1, 2)",
    );
    const built = database.query(
      "create unique index concurrently once on cost_budgets (daily_budget_usd)",
    );
    await expect(built).rejects.toThrow("could not create unique index");
    const invalid = await found("indexes");
    expect(invalid).toMatchObject([
      {
        level: "warning",
        message: expect.stringMatching(
          /^the index public.once of public.cost_budgets is not valid.+remove the duplicates/,
        ),
      },
    ]);
    await expect(follow(invalid)).rejects.toThrow("could not create unique index");
    const leftover = (await found("indexes")).filter(({ message }) =>
      message.includes("left over"),
    );
    expect(leftover).toMatchObject([{ next: "DROP INDEX CONCURRENTLY public.once_ccnew;" }]);
    await follow(leftover);
    await database.query("delete from cost_budgets");
    await follow(await found("indexes"));
    expect(await found("indexes")).toEqual([]);
    await database.query("drop index once");
  });

  test("dead rows, and autovacuum that is off for a table, are found until their next steps are done", async () => {
    await database.query("alter table cost_budgets set (autovacuum_enabled = off)");
    // One transaction: sessions report what they counted in any order.
    await database.query(`do $$ begin
      insert into cost_budgets (agent_id) select id from agent_registry, generate_series(1, 12000);
      delete from cost_budgets;
    end $$`);
    const counted = () =>
      database.query(
        `do $$ begin perform pg_stat_clear_snapshot(); while (select n_dead_tup from pg_stat_user_tables where relname = 'cost_budgets') < 12000 loop
           perform pg_sleep(0.01), pg_stat_clear_snapshot(); end loop; end $$`,
      );
    await counted();
    const behind = await found("autovacuum");
    expect(behind.map(({ message }) => message)).toEqual([
      "autovacuum is switched off for public.cost_budgets",
      expect.stringMatching(
        /^public.cost_budgets holds 12,00\d dead rows beside 0 live ones; last vacuum: never/,
      ),
    ]);
    await follow(behind);
    expect(await found("autovacuum")).toEqual([]);
  });

  test("an index that kept its size when its rows went is found, and its next step shrinks it; a full one is not", async () => {
    await database.query(
      "insert into prompt_library (name, category, content) select repeat(md5(n::text), 7), 'system_instruction', '' from generate_series(1, 40000) n",
    );
    await database.query("vacuum (analyze) prompt_library");
    const [size] = await database.query<{ large: boolean }>(
      "select pg_relation_size('prompt_library_name_key') > 8 * 1024 ^ 2 as large",
    );
    expect(size?.large).toBe(true);
    expect(await found("bloat")).toEqual([]);
    await database.query("delete from prompt_library where get_byte(uuid_send(id), 0) > 20");
    await database.query("vacuum (analyze) prompt_library");
    const bloated = await found("bloat");
    expect(bloated.map(({ message }) => message)).toEqual([
      expect.stringMatching(
        /^the index public.prompt_library_name_key takes \d+ MB, of which its entries need about \d %/,
      ),
    ]);
    await follow(bloated);
    expect(await found("bloat")).toEqual([]);
  });

  test("the journal's sequence near its end is found, and its next step widens it", async () => {
    await database.query("select setval('drizzle.__meta_agent_migrations_id_seq', 2000000000)");
    const full = await found("overflow");
    expect(full).toMatchObject([
      { level: "error", message: expect.stringContaining("__meta_agent_migrations_id_seq: 93 %") },
    ]);
    await follow(full);
    expect(await found("overflow")).toEqual([]);
  });

  test("the command ends with 0 when all is well, with 2 when not, and prints JSON on demand", async () => {
    const fresh = await openMigrated();
    const login = `doctor_${process.pid}`;
    await fresh.query(`create role ${login} login noinherit password 'x' in role authenticated`);
    const url = new URL(fresh.url);
    [url.username, url.password] = [login, "x"];
    const well = await cli(["doctor", "--deep", "--json", "--url", url.href]);
    expect(well).toMatchObject({ code: 0 });
    const report: Diagnosis[] = JSON.parse(well.stdout);
    expect(report.map(({ level }) => level)).toEqual(report.map(() => "info"));
    expect(report.some(({ message }) => message.includes("needs pg_read_all_stats"))).toBe(true);
    expect(report.some(({ message }) => message.includes("needs the owner"))).toBe(true);

    await fresh.query(`alter role ${login} bypassrls`);
    const ill = await cli(["doctor", "--url", url.href]);
    expect(ill.code).toBe(2);
    expect(ill.stdout).toContain(
      `error    logins: the login ${login} has BYPASSRLS: row-level security does not apply to it\n         ALTER ROLE ${login} NOBYPASSRLS;`,
    );
    await fresh.query(`drop role ${login}`);
    await fresh.close();
  });
});
