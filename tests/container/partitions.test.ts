import { randomUUID } from "node:crypto";
import { desc, sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { databaseError } from "../../src/client/errors.ts";
import { type Database, rows } from "../../src/client/sql.ts";
import { withOrganization } from "../../src/client/tenancy.ts";
import { logIdBounds } from "../../src/fleet/log-bounds.ts";
import { promotePrompt } from "../../src/fleet/prompts.ts";
import { recordExecutions } from "../../src/fleet/record/record.ts";
import { diff } from "../../src/operate/drift/diff.ts";
import { partitionLogs } from "../../src/operate/partitions.ts";
import { agentExecutionLogs, agentPrompts, agentRegistry } from "../../src/schema/index.ts";
import { newAgent, newExecutionLog, newPrompt } from "../../src/testing.ts";
import { suite } from "../engine.ts";
import { waiting } from "./waiting.ts";

const VECTOR = Array.from({ length: 1536 }, (_, i) => (i === 0 ? 1 : 0));
const ORGANIZATION = randomUUID();

suite("a conversion beside clients", (database) => {
  const agent = newAgent();
  const prompts = [newPrompt({ agentId: agent.id }), newPrompt({ agentId: agent.id })];

  // With the log and its embeddings alone locked first, two of three are ended by 40P01.
  test("fails no statement of three that read and write meanwhile, and loses no row", async () => {
    await withOrganization(database.db, ORGANIZATION, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      await tx.insert(agentPrompts).values(prompts);
    });
    await database.query(
      `insert into agent_execution_logs (agent_id, organization_id, execution_id, action_type)
       select $1::text::uuid, $2::text::uuid, gen_random_uuid(), 'x' from generate_series(1, 20000)`,
      [agent.id, ORGANIZATION],
    );
    const written: string[] = [];
    let turns = 0;
    const work: ((db: Database) => Promise<unknown>)[] = [
      async (db) => {
        const entries = [1, 2, 3].map(() => ({
          ...newExecutionLog({ agentId: agent.id, promptVersionId: prompts[0]?.id }),
          embeddings: { input: VECTOR },
        }));
        await withOrganization(db, ORGANIZATION, (tx) => recordExecutions(tx, entries));
        written.push(...entries.map(({ id }) => id));
      },
      (db) =>
        withOrganization(db, ORGANIZATION, async (tx) => {
          await promotePrompt(tx, prompts[++turns % 2]?.id ?? "");
          await tx.insert(agentExecutionLogs).values(newExecutionLog({ agentId: agent.id }));
        }),
      (db) =>
        withOrganization(db, ORGANIZATION, async (tx) => {
          await tx.query.executionEmbeddings.findMany({ limit: 5, with: { executionLog: true } });
          await tx
            .select()
            .from(agentExecutionLogs)
            .orderBy(desc(agentExecutionLogs.timestamp))
            .limit(50);
        }),
    ];
    const over = new AbortController();
    let done = 0;
    const clients = work.map(async (turn) => {
      const { db, close } = connect(database.url);
      try {
        while (!over.signal.aborted) {
          await turn(db);
          done++;
        }
      } finally {
        await close();
      }
    });
    try {
      await partitionLogs(database.db);
      const before = done;
      await expect.poll(() => done, { timeout: 60_000 }).toBeGreaterThan(before + 30);
    } finally {
      over.abort();
      await Promise.all(clients);
    }
    const [found] = await database.query<{ count: number }>(
      `select count(*)::int from agent_execution_logs l join execution_embeddings on execution_log_id = l.id where l.id = any ($1::uuid[])`,
      [written],
    );
    expect(found?.count).toBe(written.length);
    expect(await diff(database.db)).toEqual([]);
  });

  test("a query of a day reads one month, and by the index that serves it", async () => {
    const day = { from: new Date("2026-01-10T00:00Z"), to: new Date("2026-01-11T00:00Z") };
    const plan = await withOrganization(database.db, ORGANIZATION, async (tx) =>
      JSON.stringify(
        rows(
          await tx.execute(sql`explain (format json) select * from public.agent_execution_logs
            where status = 'failure' and timestamp >= ${day.from.toISOString()}::timestamptz and timestamp < ${day.to.toISOString()}::timestamptz
              and ${logIdBounds(day)} order by timestamp desc limit 50`),
        ),
      ),
    );
    expect(plan.match(/"Relation Name":"\w+"/g)).toEqual([
      `"Relation Name":"agent_execution_logs_history"`,
    ]);
    expect(plan).not.toContain("_pkey");
  });
});

suite("a conversion that has to wait", (database) => {
  test("lets writers through meanwhile, and comes to its end when it can; two at once convert once", async () => {
    const agent = newAgent();
    await database.db.insert(agentRegistry).values(agent);
    const insert = () =>
      database.db.insert(agentExecutionLogs).values(newExecutionLog({ agentId: agent.id }));
    const reader = connect(database.url);
    const told: string[] = [];
    let converting: ReturnType<typeof partitionLogs>[] = [];
    await reader.db.transaction(async (tx) => {
      await tx.execute(sql`select from public.agent_execution_logs`);
      converting = [1, 2].map(() =>
        partitionLogs(database.db, { onWait: (why) => told.push(why) }),
      );
      await waiting(database.query);
      for (let n = 0; n < 20; n++) await insert();
    });
    const results = await Promise.all(converting);
    await reader.close();
    expect(results.flatMap(({ made }) => made).length).toBeGreaterThan(0);
    await insert();
    expect(await diff(database.db)).toEqual([]);
  });

  test("gives up after the time it is given, says who is in the way, and leaves what was", async () => {
    const reader = connect(database.url);
    await reader.db.transaction(async (tx) => {
      await tx.execute(sql`update public.agent_registry set display_name = 'B'`);
      await expect(partitionLogs(database.db, { ahead: 9, lockTimeout: 1 })).rejects.toThrow(
        /pid \d+/,
      );
    });
    await reader.close();
    expect(await diff(database.db)).toEqual([]);
  });
});

suite("a conversion whose session is killed", (database) => {
  test("wherever it is leaves a sound database, and the next one goes on", async () => {
    const agent = newAgent();
    await database.db.insert(agentRegistry).values(agent);
    await database.script(`
      create sequence ddl; create sequence dies;
      create function die() returns event_trigger language plpgsql as $$ begin
        if nextval('public.ddl') = (select last_value from public.dies) then perform pg_terminate_backend(pg_backend_pid()); end if; end $$;
      create event trigger die on ddl_command_end execute function die()`);
    let deaths = 0;
    for (let isDone = false; !isDone; deaths++) {
      // Not each one: where it raises at each is tested beside.
      await database.query("select setval('dies', $1::int), setval('ddl', 1, false)", [
        1 + 13 * deaths,
      ]);
      const { db, close } = connect(database.url);
      isDone = await partitionLogs(db).then(
        () => true,
        (error: unknown) => {
          expect(databaseError(error)?.code ?? "57P01").toBe("57P01");
          return false;
        },
      );
      await close();
      await database.db.insert(agentExecutionLogs).values(newExecutionLog({ agentId: agent.id }));
    }
    expect(deaths).toBeGreaterThan(3);
    await database.script("drop event trigger die; drop function die; drop sequence ddl, dies");
    expect(await diff(database.db)).toEqual([]);
    const [logs] = await database.query<{ count: number }>(
      "select count(*)::int from agent_execution_logs",
    );
    expect(logs?.count).toBe(deaths);
  });
});
