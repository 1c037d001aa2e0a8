/** A primary and its replica, by streaming replication: two servers, which share a container. */
import { randomUUID } from "node:crypto";
import { sql } from "drizzle-orm";
import { drizzle as drizzlePg } from "drizzle-orm/node-postgres";
import { withReplicas } from "drizzle-orm/pg-core";
import { Pool } from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { questions } from "../../bench/fleet.ts";
import { type Connection, connect } from "../../src/client/connect.ts";
import { databaseError, explain } from "../../src/client/errors.ts";
import { StaleReplicaError, currentLsn } from "../../src/client/replicas.ts";
import { schema } from "../../src/client/schema.ts";
import { type Database, type Transaction, one, rows } from "../../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../../src/client/tenancy.ts";
import { acquireExecution, recordOutcome } from "../../src/fleet/breaker.ts";
import { ensureAgents } from "../../src/fleet/agents.ts";
import { raiseAlert } from "../../src/fleet/alerts.ts";
import { budgetStatus, expireExecutions, reserveExecution } from "../../src/fleet/budgets.ts";
import { explainPrompt } from "../../src/fleet/explain.ts";
import { runGovernance } from "../../src/fleet/governance.ts";
import { guardedExecution } from "../../src/fleet/guard.ts";
import { refreshHealth } from "../../src/fleet/health.ts";
import { promotePrompt } from "../../src/fleet/prompts.ts";
import { recordExecutions } from "../../src/fleet/record/record.ts";
import { rollUpMetrics } from "../../src/fleet/rollup.ts";
import { findSimilarExecutions } from "../../src/fleet/search.ts";
import { doctor } from "../../src/operate/doctor/doctor.ts";
import { diff } from "../../src/operate/drift/diff.ts";
import { createLogins } from "../../src/operate/logins.ts";
import { migrate, migrationStatus } from "../../src/operate/migrate/migrate.ts";
import { partitionLogs } from "../../src/operate/partitions.ts";
import { TABLES } from "../../src/schema/all.ts";
import { agentExecutionLogs, agentPrompts } from "../../src/schema/index.ts";
import { newExecutionLog } from "../../src/testing.ts";
import { fromDatabaseError } from "../../src/validation/refusals.ts";
import { oneOfEach } from "../rows.ts";
import { startPostgres } from "../setup/postgres.ts";

const [OURS, OTHERS, STRANGER] = [randomUUID(), randomUUID(), randomUUID()];
const PASSWORDS = { application: "a-password-of-some-length", backend: "another-of-some-length" };
const ELSEWHERE = "write on the primary";

describe.skipIf(inject("server") === "")("on a replica", () => {
  let server: Awaited<ReturnType<typeof startPostgres>>;
  /** As the owner. */
  let primary: Connection;
  let replica: Connection;
  /** As the application. */
  let writer: Connection;
  let reader: Connection;
  let agentId: string;

  async function shell(command: string): Promise<void> {
    const { exitCode, output } = await server.container.exec(["sh", "-c", command], {
      user: "postgres",
    });
    if (exitCode !== 0) throw new Error(output);
  }
  function urlOf(port: number, login?: string): string {
    const url = new URL(server.url);
    url.port = String(server.container.getMappedPort(port));
    if (login !== undefined) [url.username, url.password] = [login, PASSWORDS.application];
    return url.href;
  }

  beforeAll(async () => {
    server = await startPostgres({ fsync: "off" });
    primary = connect(server.url);
    await migrate(primary.db);
    await createLogins(primary.db, PASSWORDS);
    writer = connect(urlOf(5432, "meta_agent_app"));
    for (const organization of [OURS, OTHERS]) {
      await withOrganization(writer.db, organization, async (tx) => {
        for (const { table, values } of oneOfEach()) await tx.insert(table).values(values);
      });
    }

    await shell("pg_basebackup -D /tmp/replica -R -h /var/run/postgresql -U postgres -c fast -N");
    await shell(
      "pg_ctl -D /tmp/replica -o '-p 5433 -c listen_addresses=* -c fsync=off' -l /tmp/replica.log -w start",
    );
    replica = connect(urlOf(5433));
    reader = connect(urlOf(5433, "meta_agent_app"));
    ({ id: agentId } = await one<{ id: string }>(
      primary.db,
      sql`select agent_id as id from agent_execution_logs where organization_id = ${OURS}`,
    ));
  });
  afterEach(resume);
  afterAll(async () => {
    await Promise.all([primary, replica, writer, reader].map((opened) => opened?.close()));
    await server?.container.stop();
  });

  const pause = () =>
    vi.waitFor(async () => {
      await replica.db.execute(sql`select pg_wal_replay_pause()`);
      const { state } = await one<{ state: string }>(
        replica.db,
        sql`select pg_get_wal_replay_pause_state() as state`,
      );
      expect(state).toBe("paused");
    });
  async function resume(): Promise<void> {
    await replica.db.execute(sql`select pg_wal_replay_resume()`);
  }

  /** A log that was recorded on the primary. */
  async function recorded(): Promise<string> {
    const log = newExecutionLog({ agentId, id: undefined });
    await withOrganization(writer.db, OURS, (tx) => recordExecutions(tx, [log]));
    return log.executionId;
  }
  const finds = (executionId: string) => async (tx: Transaction) =>
    (await tx.$count(agentExecutionLogs, sql`execution_id = ${executionId}`)) === 1;

  /** Rows of each table, and of how many organizations, as a tenant sees them. */
  async function seen(db: Database, organization: string): Promise<unknown[]> {
    return withOrganization(db, organization, async (tx) => {
      const counts: unknown[] = [];
      for (const table of TABLES) {
        const organizations =
          "organizationId" in table
            ? sql`count(distinct organization_id)::int, min(organization_id::text)`
            : sql`null::int, null::text`;
        counts.push(
          ...rows(await tx.execute(sql`select count(*)::int, ${organizations} from ${table}`)),
        );
      }
      return counts;
    });
  }

  test("each organization sees its own rows of every table, and a stranger none", async () => {
    for (const id of [OURS, OTHERS]) {
      const own = await seen(reader.db, id);
      expect(own).toEqual(await seen(writer.db, id));
      expect(JSON.stringify(own)).toContain(id);
    }
    for (const counts of await seen(reader.db, STRANGER))
      expect(counts).toMatchObject({ count: 0 });
    const own = withOrganization(reader.db, OURS, (tx) =>
      tx.execute(sql`select from agent_registry where organization_id = ${OTHERS}`),
    );
    expect(rows(await own)).toEqual([]);
    await expect(reader.db.select().from(agentExecutionLogs)).rejects.toThrow();
  });

  test("documented queries, the search and the budgets answer what the primary answers", async () => {
    const { execution_id: executionId, day } = await one<{ execution_id: string; day: string }>(
      primary.db,
      sql`select execution_id, ("timestamp" at time zone 'UTC')::date::text as day from agent_execution_logs where agent_id = ${agentId} limit 1`,
    );
    const { id: promptId } = await one<{ id: string }>(
      primary.db,
      sql`select id from agent_prompts where agent_id = ${agentId} limit 1`,
    );
    const asked = questions({ organizationId: OURS, agentId, day, executionId });
    const answers = (db: Database) =>
      withOrganization(
        db,
        OURS,
        async (tx) => {
          const found: Record<string, unknown> = {
            search: await findSimilarExecutions(tx, { vector: Array(1536).fill(0.1), by: "input" }),
            budgets: await budgetStatus(tx),
            explained: await explainPrompt(tx, { promptId }),
          };
          for (const [name, ask] of Object.entries(asked)) {
            found[name] = rows(await tx.execute(ask(tx).getSQL()));
          }
          return found;
        },
        { readOnly: true },
      );
    const answered = await answers(reader.db);
    expect(answered).toEqual(await answers(writer.db));
    expect(answered).toMatchObject({ search: { length: 1 }, latestLogs: { length: 1 } });
  });

  test("status, diff and doctor find what they find on the primary", async () => {
    expect((await migrationStatus(replica.db)).upToDate).toBe(true);
    expect(await diff(replica.db)).toEqual([]);
    expect((await doctor(replica.db)).filter(({ level }) => level === "error")).toEqual([]);
  });

  /** What writes, as a tenant. */
  const WRITES: Readonly<Record<string, (tx: Transaction) => Promise<unknown>>> = {
    "an INSERT of one's own": (tx) =>
      tx.insert(agentExecutionLogs).values(newExecutionLog({ agentId })),
    "a write in a nested transaction": (tx) =>
      tx.transaction((inner) =>
        inner.insert(agentExecutionLogs).values(newExecutionLog({ agentId })),
      ),
    recordExecutions: (tx) => recordExecutions(tx, [newExecutionLog({ agentId })]),
    "recordExecutions by COPY": (tx) =>
      recordExecutions(
        tx,
        Array.from({ length: 501 }, () => newExecutionLog({ agentId })),
      ),
    ensureAgents: (tx) => ensureAgents(tx, [{ agentName: "newcomer" }]),
    raiseAlert: (tx) =>
      raiseAlert(tx, { agentId, alertType: "x", severity: "info", title: "x", message: "x" }),
    recordOutcome: (tx) => recordOutcome(tx, { agentId, outcome: "failure" }),
    reserveExecution: (tx) => reserveExecution(tx, { agentId, usd: "0.01" }),
    expireExecutions: (tx) => expireExecutions(tx, { olderThan: new Date() }),
    refreshHealth: (tx) => refreshHealth(tx),
    rollUpMetrics: (tx) => rollUpMetrics(tx, { from: "2026-01-01", to: "2026-01-31" }),
    promotePrompt: async (tx) => {
      const [prompt] = await tx
        .select()
        .from(agentPrompts)
        .where(sql`agent_id = ${agentId} and not is_active`)
        .limit(1);
      return promotePrompt(tx, prompt?.id ?? randomUUID());
    },
  };

  test.each(Object.entries(WRITES))("%s says to write on the primary", async (_, write) => {
    const error: unknown = await withOrganization(reader.db, OURS, write).catch(
      (refusal: unknown) => refusal,
    );
    expect(databaseError(error)?.code).toBe("25006");
    for (const said of [error, fromDatabaseError(error)]) {
      expect(said).toBeInstanceOf(Error);
      expect(String(said)).toContain(ELSEWHERE);
      expect(String(said).length).toBeLessThan(300);
    }
    expect(explain(error).split(ELSEWHERE)).toHaveLength(2);
  });

  test("what opens transactions of its own says so too", async () => {
    const guarded = guardedExecution(
      reader.db,
      { organization: OURS, agentId, usd: "0.01" },
      async () => 1,
    );
    await expect(guarded).rejects.toThrow(ELSEWHERE);
    expect(await migrate(replica.db)).toEqual({ applied: [] });
    await expect(createLogins(replica.db, PASSWORDS)).rejects.toThrow(ELSEWHERE);
    await expect(partitionLogs(replica.db)).rejects.toThrow(ELSEWHERE);
    const { problems } = await runGovernance(replica.db);
    expect(problems.length).toBeGreaterThan(0);
    for (const { message } of problems) expect(message).toContain(ELSEWHERE);
    const plain = replica.db.transaction((tx) =>
      raiseAlert(tx, { agentId, alertType: "x", severity: "info", title: "x", message: "x" }),
    );
    await expect(plain).rejects.toThrow(ELSEWHERE);
  });

  test("asking whether an agent may run needs no write while its breaker is closed", async () => {
    const asked = withOrganization(reader.db, OURS, (tx) => acquireExecution(tx, { agentId }));
    expect(await asked).toMatchObject({ allowed: true });
  });

  test("while replay is paused a read is stale; one that is fresh as the write waits, gives up, and finds it when replay goes on", async () => {
    await pause();
    const executionId = await recorded();
    const freshAs = await currentLsn(writer.db);
    const read = (options: { freshWithinMs?: number; freshAs?: typeof freshAs }) =>
      withOrganization(reader.db, OURS, finds(executionId), options);
    // The naive.
    expect(await read({})).toBe(false);
    let worked = 0;
    const early = await withOrganization(
      reader.db,
      OURS,
      async () => {
        worked += 1;
      },
      { freshAs, freshWithinMs: 50 },
    ).catch((error: unknown) => error);
    expect(early).toBeInstanceOf(StaleReplicaError);
    expect(String(early)).toMatch(
      /after 50 ms this server has not replayed \S+: it is at [0-9A-F]+\/[0-9A-F]+\. Read from the primary/,
    );
    expect(worked).toBe(0);
    const patient = read({ freshAs, freshWithinMs: 60_000 });
    expect(await read({})).toBe(false);
    await resume();
    expect(await patient).toBe(true);
    expect(await read({ freshAs })).toBe(true);
  });

  test("waiting holds no connection and no lock", async () => {
    await pause();
    const executionId = await recorded();
    const freshAs = await currentLsn(writer.db);
    const single = connect(urlOf(5433, "meta_agent_app"), { max: 1 });
    try {
      const patient = withOrganization(single.db, OURS, finds(executionId), {
        freshAs,
        freshWithinMs: 60_000,
      });
      expect(await withOrganization(single.db, OURS, finds(executionId))).toBe(false);
      await resume();
      expect(await patient).toBe(true);
    } finally {
      await single.close();
    }
  });

  test("it is as fresh for node-postgres, and where the login defaults to repeatable read", async () => {
    const pool = new Pool({
      connectionString: urlOf(5433, "meta_agent_app"),
      max: 1,
      options: "-c default_transaction_isolation=repeatable\\ read",
    });
    try {
      const executionId = await recorded();
      const freshAs = await currentLsn(writer.db);
      const found = await withOrganization(
        drizzlePg(pool, { schema }),
        OURS,
        async (tx) => [
          await finds(executionId)(tx),
          rows(await tx.execute(sql`show transaction_isolation`)),
        ],
        { freshAs, readOnly: true },
      );
      expect(found).toEqual([true, [{ transaction_isolation: "read committed" }]]);
    } finally {
      await pool.end();
    }
  });

  test("who asks a replica how far the primary is, is told to ask the primary", async () => {
    await expect(currentLsn(reader.db)).rejects.toThrow("ask the primary");
  });

  test("the primary itself is fresh, and not as something that it never wrote", async () => {
    const freshAs = await currentLsn(writer.db);
    expect(await withOrganization(writer.db, OURS, async () => "read", { freshAs })).toBe("read");
    const never = withOrganization(writer.db, OURS, async () => "read", {
      freshAs: "FFFFFFFF/0",
      freshWithinMs: 0,
    });
    await expect(never).rejects.toThrow(StaleReplicaError);
  });

  test("of Drizzle's withReplicas transactions run on the primary, queries outside of them on a replica", async () => {
    const both = withReplicas(writer.db, [reader.db]);
    const isReplica = (db: Pick<Database, "execute">) =>
      one<{ is: boolean }>(db, sql`select pg_is_in_recovery() as is`);
    for (const readOnly of [false, true]) {
      const asked = withOrganization(both, OURS, (tx) => isReplica(tx), { readOnly });
      expect(await asked).toEqual({ is: false });
    }
    expect(await withServiceRole(withReplicas(primary.db, [replica.db]), isReplica)).toEqual({
      is: false,
    });
    expect(await withOrganization(reader.db, OURS, (tx) => isReplica(tx))).toEqual({
      is: true,
    });
    await pause();
    const executionId = await recorded();
    expect(await withOrganization(both, OURS, finds(executionId))).toBe(true);
    expect(await currentLsn(both)).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
    // Without a transaction there is no organization: the replica refuses the login.
    await expect(both.select().from(agentExecutionLogs)).rejects.toThrow();
  });
});
