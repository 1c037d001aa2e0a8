import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect as dial, createServer } from "node:net";
import { type SQL, is, sql } from "drizzle-orm";
import { PostgresJsSession } from "drizzle-orm/postgres-js";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { databaseError } from "../../src/client/errors.ts";
import { copyIn } from "../../src/fleet/record/binary-copy.ts";
import { connect } from "../../src/client/connect.ts";
import { type Transaction, rows } from "../../src/client/sql.ts";
import { withOrganization } from "../../src/client/tenancy.ts";
import { refreshHealth } from "../../src/fleet/health.ts";
import { recordExecutionStream, recordExecutions } from "../../src/fleet/record/record.ts";
import { rollUpMetrics } from "../../src/fleet/rollup.ts";
import { agentRegistry } from "../../src/schema/index.ts";
import { newAgent, newExecutionLog } from "../../src/testing.ts";
import { suite } from "../engine.ts";
import { pgbouncer, startPooler } from "./pgbouncer.ts";

const ORGANIZATION = randomUUID();
const agent = newAgent();
const executions = (length: number) =>
  Array.from({ length }, () => newExecutionLog({ agentId: agent.id }));
const vector = Array.from({ length: 1536 }, () => 0.5);

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** The name of the table that COPY fills, where there is one. */
const copied = async (tx: Transaction) =>
  rows(
    await tx.execute(
      sql`select to_regclass('pg_temp.meta_agent_incoming_executions')::text as name`,
    ),
  )[0]?.["name"];

suite("recording executions, between sessions", (database) => {
  const asTenant = <T>(work: (tx: Transaction) => Promise<T>, db = database.db) =>
    withOrganization(db, ORGANIZATION, work);
  const stored = () =>
    database.query<{ n: number }>("select count(*)::int as n from agent_execution_logs");

  beforeAll(() => asTenant((tx) => tx.insert(agentRegistry).values(agent)));

  test.each([10, 1500])(
    "of two callers with the same %i ids each row is written once",
    async (size) => {
      const entries = executions(size);
      const mine = entries.map((entry) =>
        size > 500 ? entry : { ...entry, embeddings: { input: vector } },
      );
      const [before] = await stored();
      const results = await Promise.all(
        [1, 2, 3].map(() => asTenant((tx) => recordExecutions(tx, mine))),
      );
      expect(results.map(({ inserted }) => inserted).toSorted((a, b) => a - b)).toEqual([
        0,
        0,
        size,
      ]);
      expect(results.reduce((sum, { repeated }) => sum + repeated, 0)).toBe(2 * size);
      expect(await stored()).toEqual([{ n: Number(before?.n) + size }]);
    },
  );

  test.each([100, 1500])(
    "two callers with the same %i ids in opposite orders do not wait for each other for ever",
    async (size) => {
      for (let round = 0; round < 8; round += 1) {
        const entries = executions(size);
        const results = await Promise.all(
          [entries, entries.toReversed()].map((mine) =>
            asTenant((tx) => recordExecutions(tx, mine)),
          ),
        );
        expect(results.reduce((sum, { inserted }) => sum + inserted, 0)).toBe(size);
      }
    },
  );

  test("two callers that add an embedding to a log that is there add one", async () => {
    const entries = executions(20);
    await asTenant((tx) => recordExecutions(tx, entries));
    const embedded = entries.map((entry) => ({ ...entry, embeddings: { input: vector } }));
    await Promise.all(
      [embedded, embedded.toReversed(), embedded].map((list) =>
        asTenant((tx) => recordExecutions(tx, list)),
      ),
    );
    const [{ n } = { n: 0 }] = await database.query<{ n: number }>(
      "select count(*)::int as n from execution_embeddings where execution_log_id = any ($1::text::uuid[])",
      [`{${entries.map(({ id }) => id).join(",")}}`],
    );
    expect(n).toBe(20);
  });

  test("an agent that is made while its reference is looked into is no bad reference", async () => {
    const [late, organization] = [newAgent(), randomUUID()];
    const { db: beside, close } = connect(database.url, { max: 1 });
    await withOrganization(database.db, organization, async (tx) => {
      const execute = tx.execute.bind(tx);
      let statements = 0;
      // After the insert that found nobody, and before it is asked which entries name nobody.
      Reflect.set(tx, "execute", async (query: SQL) => {
        statements += 1;
        if (statements === 2)
          await withOrganization(beside, organization, (other) =>
            other.insert(agentRegistry).values(late),
          );
        return execute(query);
      });
      const entries = [newExecutionLog({ agentId: late.id })];
      expect(await recordExecutions(tx, entries)).toMatchObject({ inserted: 1 });
    });
    await close();
  });

  test("without the right to temporary tables the rows go as JSON", async () => {
    const [name] = await database.query<{ name: string }>("select current_database() as name");
    await database.query(`revoke temporary on database ${name?.name} from public`);
    onTestFinished(async () => {
      await database.query(`grant temporary on database ${name?.name} to public`);
    });
    await asTenant(async (tx) => {
      expect(await recordExecutions(tx, executions(6000))).toMatchObject({ inserted: 6000 });
      expect(await copied(tx)).toBeNull();
    });
  });

  /** Starts a COPY of many numbers. */
  async function startCopy(tx: Transaction): Promise<{ copy: Promise<void> }> {
    const { session } = tx._;
    if (!is(session, PostgresJsSession)) throw new Error("expected postgres.js");
    await tx.execute(sql`create temporary table number (n int) on commit drop`);
    const statement = "copy pg_temp.number from stdin";
    return { copy: copyIn(session, { statement, rows: Buffer.alloc(4_000_000, "1\n") }) };
  }

  test("statements sent before and beside a COPY do not meet it", async () => {
    await asTenant(async (tx) => {
      const ask = async () => rows(await tx.execute(sql`select 7 as n`));
      const asked = [ask(), ask()];
      const { copy } = await startCopy(tx);
      for (let turn = 0; turn < 30; turn += 1) {
        asked.push(ask());
        await nextTurn();
      }
      await copy;
      expect(await Promise.all(asked)).toEqual(asked.map(() => [{ n: 7 }]));
      expect(rows(await tx.execute(sql`select count(*)::int as n from number`))).toEqual([
        { n: 2_000_000 },
      ]);
    });
  });

  test("a transaction that ends beside a COPY waits for it", async () => {
    const { db, close } = connect(`${database.url}?max=1`);
    onTestFinished(close);
    const copies = await asTenant(startCopy, db);
    await copies.copy;
    expect(await asTenant((tx) => recordExecutions(tx, executions(5)), db)).toMatchObject({
      inserted: 5,
    });
  });

  test("a COPY of a transaction that is over is refused", async () => {
    const [over] = await asTenant(async (tx) => [tx]);
    const { session } = over?._ ?? {};
    if (!is(session, PostgresJsSession)) throw new Error("expected postgres.js");
    const copy = copyIn(session, {
      statement: "copy agent_registry from stdin",
      rows: Buffer.alloc(0),
    });
    await expect(copy).rejects.toThrow("this transaction is over");
  });

  test("recording that its transaction does not await leaves the next one alone", async () => {
    const { db, close } = connect(`${database.url}?max=1`);
    onTestFinished(close);
    let recorded: Promise<unknown> = Promise.resolve();
    for (const delay of [0, 1, 2, 3, 5, 8, 13]) {
      await asTenant(async (tx) => {
        recorded = recordExecutions(tx, executions(5000));
        recorded.catch(() => {});
        for (let turn = 0; turn < delay; turn += 1) {
          await nextTurn();
        }
      }, db);
      expect(await asTenant((tx) => recordExecutions(tx, executions(5)), db)).toMatchObject({
        inserted: 5,
      });
      await expect(recorded).rejects.toThrow("this transaction is over");
    }
  });

  test("a connection that is lost in the middle of a COPY rejects the call, and the pool goes on", async () => {
    const line = await openLine(database.url);
    const { db, close } = connect(line.url);
    onTestFinished(async () => {
      await close();
      line.close();
    });
    for (const bytes of [100_000, 800_000, 2_500_000]) {
      line.cutAfter(bytes);
      const attempt = asTenant((tx) => recordExecutionStream(tx, executions(12_000).values()), db);
      await expect(attempt).rejects.toThrow(
        /CONNECTION_CLOSED|ECONNRESET|EPIPE|lost its connection/,
      );
      line.cutAfter(Infinity);
      expect(await asTenant((tx) => recordExecutions(tx, executions(2000)), db)).toMatchObject({
        inserted: 2000,
      });
    }
  });

  test("a COPY that the server refuses rejects the call, and the transaction goes on", async () => {
    await asTenant(async (tx) => {
      const refused = tx.transaction(async (inner) => {
        await inner.execute(sql`set local statement_timeout = '5ms'`);
        await recordExecutions(inner, executions(6000));
      });
      // On a machine that is busy, a statement before it.
      await expect(refused).rejects.toSatisfy((error) => databaseError(error)?.code === "57014");
      expect(await recordExecutions(tx, executions(6000))).toMatchObject({ inserted: 6000 });
    });
  });

  test("nothing that a tenant left on the connection is used by the next one", async () => {
    const { db, close } = connect(`${database.url}?max=1`);
    onTestFinished(close);
    await withOrganization(db, randomUUID(), async (tx) => {
      await tx.execute(sql`create temporary table meta_agent_incoming_executions (n int)`);
      await tx.execute(
        sql`create function pg_temp.spy() returns trigger language plpgsql as 'begin raise exception ''planted''; end'`,
      );
      await tx.execute(sql`create trigger spy before insert or truncate on pg_temp.meta_agent_incoming_executions
        for each statement execute function pg_temp.spy()`);
      for (const table of ["agent_execution_logs", "agent_registry", "agent_prompts"]) {
        await tx.execute(sql.raw(`create temporary table ${table} (id int)`));
      }
    });
    const log = newExecutionLog({ agentId: agent.id, timestamp: new Date("2026-02-03T12:00:00Z") });
    await asTenant(async (tx) => {
      expect(await recordExecutions(tx, [log, ...executions(2000)])).toMatchObject({
        inserted: 2001,
      });
      expect(await tx.select().from(agentRegistry)).toMatchObject([{ id: agent.id }]);
      const day = { from: "2026-02-03", to: "2026-02-03" };
      expect(await rollUpMetrics(tx, day)).toMatchObject({ rows: 1, written: 1 });
      expect(await refreshHealth(tx)).toEqual({ written: 1 });
    }, db);
  });

  test("a session that the server ends rejects the call", async () => {
    const { db, close } = connect(`${database.url}?max=1`);
    onTestFinished(close);
    const attempt = asTenant(async (tx) => {
      const asked = await tx.execute(sql`select pg_backend_pid() as pid`);
      const [{ pid } = { pid: 0 }] = rows<{ pid: number }>(asked);
      const endless = function* () {
        for (let n = 0; ; n += 1) {
          yield newExecutionLog({ agentId: agent.id });
          if (n === 12_000) void database.query("select pg_terminate_backend($1)", [pid]);
        }
      };
      await recordExecutionStream(tx, endless());
    }, db);
    await expect(attempt).rejects.toThrow(
      /terminating|CONNECTION_CLOSED|ECONNRESET|lost its connection/,
    );
    // postgres.js repeats the error of a lost session to whoever comes next, and only then forgets it.
    await asTenant((tx) => tx.execute(sql`select 1`), db).catch(() => {});
  });

  test.skipIf(!pgbouncer)(
    "behind a transaction pooler nothing is left on the shared session",
    async () => {
      const pooler = await startPooler(database.url, 1);
      const clients = ["one", "two"].map((name) => connect(pooler.url(name)));
      onTestFinished(async () => {
        await Promise.all(clients.map(({ close }) => close()));
        await pooler.stop();
      });
      for (let round = 0; round < 3; round += 1) {
        const results = await Promise.all(
          clients.map(({ db }) =>
            asTenant(async (tx) => {
              expect(await copied(tx)).toBeNull();
              const result = await recordExecutions(tx, executions(6000));
              expect(await copied(tx)).not.toBeNull();
              return result;
            }, db),
          ),
        );
        expect(results.map(({ inserted }) => inserted)).toEqual([6000, 6000]);
      }
    },
  );
});

/** A way to the database that breaks after so many bytes were sent on a connection. */
async function openLine(url: string) {
  let limit = Infinity;
  const server = createServer((client) => {
    let sent = 0;
    const { hostname, port } = new URL(url);
    const database = dial(Number(port), hostname);
    client.on("data", (bytes) => {
      sent += bytes.length;
      if (sent > limit) client.resetAndDestroy();
      else database.write(bytes);
    });
    database.pipe(client);
    for (const [end, other] of [
      [client, database],
      [database, client],
    ] as const) {
      end.on("error", () => {});
      end.on("close", () => other.destroy());
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address !== "object" || !address) throw new Error("the line does not listen");
  const line = new URL(url);
  [line.hostname, line.port] = ["127.0.0.1", String(address.port)];
  return {
    url: `${line.href}?max=1`,
    cutAfter: (bytes: number) => {
      limit = bytes;
    },
    close: () => server.close(),
  };
}
