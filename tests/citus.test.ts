import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { CitusError, distributeLogs, planDistribution, takeForm } from "../src/operate/citus.ts";
import { diff, repair } from "../src/operate/drift/diff.ts";
import { partitionLogs } from "../src/operate/partitions.ts";
import { openEmpty, suite } from "./engine.ts";

const [ORGANIZATION, OTHER] = [randomUUID(), randomUUID()];

suite("a database that is to be spread over a cluster", (database) => {
  const plan = () => planDistribution(database.db);

  test("is told what it lacks, and nothing is changed", async () => {
    const { citus, obstacles, steps } = await plan();
    expect(citus).toBeNull();
    expect(steps).toContain("spread agent_execution_logs");
    expect(obstacles).toEqual([
      expect.stringMatching(/^this database has no Citus: .*CREATE EXTENSION citus;$/),
    ]);
    await expect(distributeLogs(database.db)).rejects.toThrow(CitusError);
    expect(await diff(database.db)).toEqual([]);
  });

  test("is told of rows without an organization, and of those that refer to another's", async () => {
    const [agent, log] = [randomUUID(), randomUUID()];
    await database.script(`
      insert into agent_registry (id, agent_name, display_name, category, organization_id) values ('${agent}', 'a', 'A', 'operations', '${ORGANIZATION}');
      insert into agent_execution_logs (id, agent_id, execution_id, action_type, organization_id) values
        ('${log}', '${agent}', gen_random_uuid(), 'x', null), (gen_random_uuid(), '${agent}', gen_random_uuid(), 'x', '${OTHER}');
      insert into execution_embeddings (execution_log_id, organization_id, input_embedding) values ('${log}', null, array_fill(1, array[1536])::vector)`);
    const { obstacles } = await plan();
    expect(obstacles).toContainEqual(expect.stringMatching(/^1 logs have no organization/));
    expect(obstacles).toContainEqual(expect.stringMatching(/^1 embeddings have no organization/));
    expect(obstacles).toContainEqual(
      expect.stringMatching(/^1 logs or embeddings are of another organization/),
    );
    await database.script("delete from execution_embeddings; delete from agent_execution_logs");
  });

  test("is told of what is not as the migrations make it", async () => {
    await database.script("alter table agent_execution_logs disable row level security");
    expect((await plan()).obstacles).toContainEqual(
      expect.stringMatching(
        /row-level security of agent_execution_logs: meta-agent-db diff --repair/,
      ),
    );
    await repair(database.db);
  });

  test("has the form without a cluster, a second time too, and diff names and repairs damage of it", async () => {
    await database.db.transaction((tx) => takeForm(tx));
    await database.db.transaction((tx) => takeForm(tx));
    expect(await diff(database.db)).toEqual([]);
    expect(await database.query("select 1 from meta_agent.agent_keys")).toHaveLength(1);
    await database.script(`
      drop trigger agent_registry_keys on agent_registry;
      alter table agent_execution_logs drop constraint agent_execution_logs_agent_id_fkey;
      alter policy "Users see own org logs" on agent_execution_logs using (true);
      grant select on meta_agent.prompt_keys to anon`);
    expect((await diff(database.db)).map(({ problem, object }) => `${problem} ${object}`)).toEqual([
      "missing foreign key agent_execution_logs_agent_id_fkey on agent_execution_logs",
      "missing trigger agent_registry_keys on agent_registry",
      'changed policy "Users see own org logs" on agent_execution_logs',
      "extra grant on meta_agent.prompt_keys to anon",
    ]);
    expect((await repair(database.db, { only: () => true })).remaining).toEqual([]);
  });
});

suite(
  "an empty database that is to be spread",
  (database) => {
    test("is told to be migrated first", async () => {
      expect((await planDistribution(database.db)).obstacles).toContain(
        "this database has not been migrated: meta-agent-db migrate",
      );
    });
  },
  openEmpty,
);

suite("a log that is cut into months", (database) => {
  test("is not spread", async () => {
    await partitionLogs(database.db, { ahead: 0 });
    expect((await planDistribution(database.db)).obstacles).toContainEqual(
      expect.stringMatching(/is cut into months/),
    );
  });
});
