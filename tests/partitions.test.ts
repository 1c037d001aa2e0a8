import { describe, expect, test } from "vitest";
import { databaseError, explain } from "../src/client/errors.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { recordExecutions } from "../src/fleet/record/record.ts";
import { MIGRATIONS } from "../src/migrations.ts";
import { doctor } from "../src/operate/doctor/doctor.ts";
import { diff, repair } from "../src/operate/drift/diff.ts";
import { migrate } from "../src/operate/migrate/migrate.ts";
import { addPartitions, partitionLogs, planPartitions } from "../src/operate/partitions.ts";
import { newAgent, newExecutionLog } from "../src/testing.ts";
import { agentRegistry } from "../src/schema/index.ts";
import { catalog } from "./catalog.ts";
import { type TestDatabase, engine, suite } from "./engine.ts";

const ORGANIZATION = "0190a000-0000-7000-8000-00000000000a";

interface Damage {
  readonly damage: readonly string[];
  readonly object: RegExp;
  readonly safe?: boolean;
}

/** MONTH is the last partition, MIDDLE the one before it. */
const DAMAGES: Record<string, Damage> = {
  "row-level security": {
    damage: ["alter table MONTH disable row level security"],
    object: /row-level security of partition meta_agent_partitions\./,
  },
  "a grant": {
    damage: ["grant select on MONTH to authenticated"],
    object: /grant on meta_agent_partitions\.\w+ to authenticated/,
  },
  "a grant of a column": {
    damage: ["grant select (id) on MONTH to anon"],
    object: /grant on meta_agent_partitions\.\w+ to anon/,
  },
  "an open schema": {
    damage: ["grant usage on schema meta_agent_partitions to authenticated"],
    object: /grant on schema meta_agent_partitions to authenticated/,
  },
  "statistics of a month": {
    damage: ["drop statistics MONTH_agent_id_organization_id_stat"],
    object: /statistics of partition meta_agent_partitions\./,
  },
  "an index": {
    damage: ["drop index idx_logs_execution"],
    object: /index idx_logs_execution on agent_execution_logs/,
  },
  "an index that no partition has": {
    damage: [
      "drop index idx_logs_execution",
      "create index idx_logs_execution on only agent_execution_logs (execution_id)",
    ],
    object: /index idx_logs_execution on agent_execution_logs/,
  },
  "a gap between months": {
    damage: ["alter table agent_execution_logs detach partition MIDDLE", "drop table MIDDLE"],
    object: /rows of partition meta_agent_partitions\.agent_execution_logs_\d{6}/,
  },
  "rows of no month": {
    damage: [
      "create table meta_agent_partitions.rest partition of agent_execution_logs default",
      "alter table meta_agent_partitions.rest enable row level security",
      "create statistics meta_agent_partitions.rest_stat (dependencies) on agent_id, organization_id from meta_agent_partitions.rest",
    ],
    object: /rows of no month of partition meta_agent_partitions\.rest/,
    safe: false,
  },
  "no check of ids": {
    damage: [
      "alter table agent_execution_logs drop constraint agent_execution_logs_id_timestamp_check",
    ],
    object: /ids of partition agent_execution_logs/,
    safe: false,
  },
  "a trigger of a month": {
    damage: [
      "create trigger own before update on MONTH for each row execute function suppress_redundant_updates_trigger()",
    ],
    object: /trigger own on meta_agent_partitions\./,
    safe: false,
  },
  "a view of a month": {
    damage: ["create view peek as select id from MONTH"],
    object: /view public\.peek/,
    safe: false,
  },
};

/** Of the statements of a conversion, those that are cut off: all with FAULTS=full, else a fifth on each engine. */
const STRIDE = process.env["FAULTS"] === "full" ? 1 : 5;
const FIRST = engine === "container" || STRIDE === 1 ? 1 : 3;

const VECTOR = Array.from({ length: 1536 }, (_, i) => (i === 0 ? 1 : 0));

const children = (database: TestDatabase) =>
  database.query<{ path: string }>(
    "select inhrelid::regclass::text as path from pg_inherits where inhparent = 'public.agent_execution_logs'::regclass order by inhrelid::regclass::text not like '%history', 1",
  );

const closed = `
  select c.relname::text as name, c.relrowsecurity as rls, coalesce(cardinality(c.relacl), 1) as grants, c.relnamespace::regnamespace::text as home,
    (select count(*)::int from pg_policy where polrelid = c.oid) as policies, (select count(*)::int from pg_statistic_ext where stxrelid = c.oid) as statistics
  from pg_inherits join pg_class c on c.oid = inhrelid where inhparent = 'public.agent_execution_logs'::regclass order by 1`;

suite("a log that is cut into months", (database) => {
  test("has a history and months, each closed to every role of ours", async () => {
    const agent = newAgent();
    await withOrganization(database.db, ORGANIZATION, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      await recordExecutions(tx, [
        { ...newExecutionLog({ agentId: agent.id }), embeddings: { input: VECTOR } },
      ]);
    });
    expect((await planPartitions(database.db)).obstacles).toEqual([]);
    const { converted, made } = await partitionLogs(database.db, { ahead: 2 });
    expect(converted).toBe(true);
    expect(made.length).toBeGreaterThan(0);
    const found = await database.query<{ name: string }>(closed);
    expect(found.map(({ name }) => name).toSorted()).toEqual(
      ["agent_execution_logs_history", ...made].toSorted(),
    );
    for (const child of found) {
      expect(child).toMatchObject({
        rls: true,
        grants: 1,
        home: "meta_agent_partitions",
        policies: 0,
        statistics: 1,
      });
    }
    // What was written before is there, and more can be.
    await withOrganization(database.db, ORGANIZATION, async (tx) => {
      expect(await tx.query.executionEmbeddings.findMany()).toHaveLength(1);
      await recordExecutions(tx, [
        { ...newExecutionLog({ agentId: agent.id }), embeddings: { input: VECTOR } },
      ]);
      expect(await tx.query.agentExecutionLogs.findMany()).toHaveLength(2);
    });
  });

  test.each(["authenticated", "anon", "service_role"])("%s reaches no partition", async (role) => {
    for (const { path } of await children(database)) {
      for (const attack of [
        `select * from ${path}`,
        `insert into ${path} default values`,
        `update ${path} set status = 'failure'`,
        `delete from ${path}`,
        `truncate ${path}`,
        `create table pg_temp.x (id uuid references ${path})`,
        `alter table ${path} disable row level security`,
      ]) {
        await database.rolledBack(async (query) => {
          await query(`set local role ${role}`);
          await expect(query(attack), attack).rejects.toMatchObject({ code: "42501" });
        });
      }
    }
  });

  test("is no finding of diff, and nothing that doctor minds", async () => {
    expect(await diff(database.db)).toEqual([]);
    const found = await doctor(database.db, { deep: true });
    expect(found.filter(({ level, check }) => level !== "info" && check !== "logins")).toEqual([]);
  });

  test("is left as it is by all hand-written patches run again, in order", async () => {
    const all = async () => [
      await catalog(database.query),
      await database.query(closed),
      await database.query(
        "select relname::text, pg_get_expr(relpartbound, oid) as bound from pg_class where relispartition order by 1",
      ),
    ];
    const before = await all();
    for (const { statements } of MIGRATIONS) {
      if (!statements[0]?.startsWith("--")) continue;
      for (const statement of statements) {
        if (statement.includes("ADD CONSTRAINT agent_prompts_one_active")) continue;
        await database.query(statement);
      }
    }
    expect(await all()).toEqual(before);
    expect((await migrate(database.db)).applied).toEqual([]);
  });

  test("has the months ahead made again and again, and no more than are asked for", async () => {
    const { made } = await addPartitions(database.db, { ahead: 4 });
    expect(made.length).toBe(2);
    expect(await addPartitions(database.db, { ahead: 4 })).toEqual({ converted: false, made: [] });
    expect(await partitionLogs(database.db, { ahead: 4 })).toEqual({ converted: false, made: [] });
    expect(await diff(database.db)).toEqual([]);
  });

  test("refuses ids that say no time, or another than the row, and months that are not there", async () => {
    const [agent] = await database.query<{ id: string }>("select id from agent_registry limit 1");
    const insert = (id: string, timestamp: string) =>
      database.query(
        `insert into agent_execution_logs (id, agent_id, execution_id, action_type, timestamp)
         values (${id}, '${agent?.id}', gen_random_uuid(), 'x', ${timestamp})`,
      );
    // A random one, early enough for the history.
    await expect(insert("'00000000-0000-4000-8000-000000000000'", "now()")).rejects.toMatchObject({
      code: "23514",
    });
    await expect(
      insert("meta_agent.uuidv7()", "now() - interval '25 hours'"),
    ).rejects.toMatchObject({ code: "23514" });
    await insert("meta_agent.uuidv7()", "now() - interval '23 hours'");
    const later = "now() + interval '1 year'";
    const missing = await insert(`meta_agent.uuidv7_at(${later})`, later).catch(
      (error: unknown) => error,
    );
    expect(explain(missing)).toMatch(/no partition of relation .*[^]*partition --ahead 3/);
  });

  describe.each(Object.entries(DAMAGES))("damaged: %s", (_, { damage, object, safe = true }) => {
    test("is named, and its repair runs", async () => {
      const month = (await children(database)).at(-1)?.path ?? "";
      const middle = (await children(database)).at(-2)?.path ?? "";
      for (const statement of damage)
        await database.query(statement.replaceAll("MONTH", month).replaceAll("MIDDLE", middle));
      const found = await diff(database.db);
      expect(found.map((finding) => finding.object)).toEqual([expect.stringMatching(object)]);
      expect(found.map((finding) => finding.safe)).toEqual([safe]);
      const { remaining } = await repair(database.db, { only: () => true });
      expect(remaining).toEqual([]);
    });
  });
});

suite("a conversion", (database) => {
  const before = () => catalog(database.query);
  const log = (id: string, timestamp = "now()") => `
    with agent as (insert into agent_registry (agent_name, display_name, category) values (gen_random_uuid(), 'A', 'sales') returning id)
    , log as (insert into agent_execution_logs (id, agent_id, execution_id, action_type, timestamp)
      select ${id}, id, gen_random_uuid(), 'x', ${timestamp} from agent returning id)
    insert into execution_embeddings (execution_log_id, input_embedding)
    select id, array_fill(1::real, array[1536])::vector from log`;

  test("is refused while ids say no time, or another, and says how many and which statement mends them", async () => {
    await database.query(log("gen_random_uuid()", "'2026-02-03T00:00:00Z'"));
    await database.query(log("meta_agent.uuidv7_at('2026-01-01Z')", "'2026-01-03T00:00:00Z'"));
    await database.query(log("meta_agent.uuidv7()"));
    const made = await before();
    const { obstacles, rows } = await planPartitions(database.db);
    expect(rows).toBe(3);
    expect(obstacles.slice(0, 2)).toEqual([
      "1 of 3 logs have ids that are not of version 7, which say no time; the newest is of 2026-02-03T00:00:00+00:00",
      "1 of 3 logs have ids of a time more than a day from their timestamp; the newest is of 2026-01-03T00:00:00+00:00",
    ]);
    await expect(partitionLogs(database.db)).rejects.toThrow(/not of version 7/);
    expect(await before()).toEqual(made);
    await database.query(/WITH .*;/.exec(obstacles[2] ?? "")?.[0] ?? "");
    expect((await planPartitions(database.db)).obstacles).toEqual([]);
  });

  test("is refused where objects of others would go on with the old table, and names them", async () => {
    await database.script(`
      create view recent as select id from agent_execution_logs;
      create function whole(agent_execution_logs) returns int language sql return 1;
      create trigger own before update on agent_execution_logs for each row execute function suppress_redundant_updates_trigger();
      create unique index once on agent_execution_logs (execution_id);`);
    const made = await before();
    await expect(partitionLogs(database.db)).rejects.toThrow(
      /function public\.whole\(public\.agent_execution_logs\), trigger own, unique index public\.once, view public\.recent\. Drop or mend them/,
    );
    expect(await before()).toEqual(made);
    await database.script(
      "drop view recent; drop function whole; drop trigger own on agent_execution_logs; drop index once",
    );
  });

  test("cut off at any of its statements leaves what was, and the next one goes on from there", async () => {
    // Keys, policies, grants, indexes, settings and columns of the user's own come along.
    await database.script(`
      create table agent_notes (id uuid primary key default gen_random_uuid(), organization_id uuid,
        log_id uuid not null references agent_execution_logs (id) on delete cascade);
      select meta_agent.isolate('agent_notes', 'notes');
      insert into agent_notes (log_id) select id from agent_execution_logs limit 1;
      alter table agent_execution_logs add column shade text default 'grey';
      create index shades on agent_execution_logs (shade) where shade <> 'grey';
      grant select (shade) on agent_execution_logs to anon;
      create policy shades on agent_execution_logs as restrictive for delete to authenticated using (shade <> 'black');
      alter table agent_execution_logs set (autovacuum_vacuum_scale_factor = 0.02);
      create sequence ddl; create sequence fails start 1;
      create function cut_off() returns event_trigger language plpgsql as $$ begin
        if nextval('public.ddl') = (select last_value from public.fails) then raise exception 'cut off'; end if; end $$;
      create event trigger cut_off on ddl_command_end execute function cut_off()`);
    const flat = await before();
    const findings = await diff(database.db);
    let failures = 0;
    for (let done = false; !done;) {
      await database.query("select setval('fails', $1::int), setval('ddl', 1, false)", [
        FIRST + STRIDE * failures,
      ]);
      try {
        await partitionLogs(database.db, { ahead: 2 });
        done = true;
      } catch (error) {
        expect(databaseError(error)?.message).toBe("cut off");
        failures++;
        // Rows go in as before, whatever is there, and tenants reach no partition.
        await database.query(log("meta_agent.uuidv7()"));
      }
    }
    expect(failures).toBeGreaterThan(30 / STRIDE);
    await database.script(
      "drop event trigger cut_off; drop function cut_off; drop sequence ddl, fails",
    );
    expect(await diff(database.db)).toEqual(findings);
    const gone = (line: string) => !/cut_off|ddl|fails/.test(line);
    const kept = (line: string) =>
      gone(line) && !/^grant|triggers of constraint|id_timestamp_check/.test(line);
    const spelled = (line: string) => line.replace(" ON ONLY ", " ON ");
    const now = (await before()).map(spelled).filter(kept);
    expect(now.filter((line) => !line.includes("agent_execution_logs_id_fkey"))).toEqual(
      expect.arrayContaining(flat.filter(kept).filter((line) => !line.includes("constraint"))),
    );
    expect(
      await database.query(
        "select reloptions::text as settings from pg_class where relname like 'agent_execution_logs_2%' and relkind = 'r' group by 1",
      ),
    ).toEqual([{ settings: "{autovacuum_vacuum_scale_factor=0.02}" }]);
    const notes = await database.query(
      "select from agent_notes join agent_execution_logs l on l.id = log_id",
    );
    expect(notes).toHaveLength(1);
  });
});
