import { randomUUID } from "node:crypto";
import { inspect } from "node:util";
import { asc, eq, inArray, sql } from "drizzle-orm";
import * as fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import * as z from "zod";
import { type Transaction, rows } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import { databaseError } from "../src/client/errors.ts";
import {
  type NewExecution,
  recordExecutionStream,
  recordExecutions,
} from "../src/fleet/record/record.ts";
import {
  type NewAgentExecutionLog,
  agentExecutionLogs,
  agentPrompts,
  agentRegistry,
  executionEmbeddings,
} from "../src/schema/index.ts";
import { newAgent, newExecutionLog, newPrompt } from "../src/testing.ts";
import { validators } from "../src/zod.ts";
import { engine, suite } from "./engine.ts";
import { rolledBack } from "./fuzz/rolled-back.ts";
import { insertLeastRows, rowsOf } from "./fuzz/rows.ts";

const [OURS, THEIRS] = [randomUUID(), randomUUID()];
const agent = newAgent();
const prompt = newPrompt({ agentId: agent.id });
const foreign = newAgent();
const STREAM_CHUNK = 5000;

const execution = (given: Partial<NewAgentExecutionLog> = {}) =>
  newExecutionLog({ agentId: agent.id, ...given });
const executions = (length: number) => Array.from({ length }, () => execution());
const vector = (first: number) => Array.from({ length: 1536 }, (_, i) => (i === 0 ? first : 0.5));

/** Where and why a list was refused. */
async function refusal(
  attempt: Promise<unknown>,
): Promise<{ path: PropertyKey[]; message: string }[]> {
  const error: unknown = await attempt.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof z.ZodError)) throw new Error("expected a ZodError", { cause: error });
  // However it came about, a logger can print it.
  expect(error).toBeInstanceOf(Error);
  expect(error.stack).toMatch(/\n +at /);
  expect(inspect(error)).not.toContain("[Getter/Setter]");
  return error.issues.map(({ path, message }) => ({ path, message }));
}

suite("recordExecutions", (database) => {
  const asUs = <T>(work: (tx: Transaction) => Promise<T>) =>
    withOrganization(database.db, OURS, work);
  const logs = (tx: Transaction, ids: string[]) =>
    tx.select().from(agentExecutionLogs).where(inArray(agentExecutionLogs.id, ids));
  const countOf = async (tx: Transaction) =>
    rows<{ n: number }>(
      await tx.execute(sql`select count(*)::int as n from agent_execution_logs`),
    )[0]?.n;

  beforeAll(async () => {
    await asUs(async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      await tx.insert(agentPrompts).values(prompt);
    });
    await withOrganization(database.db, THEIRS, (tx) => tx.insert(agentRegistry).values(foreign));
  });

  /** Two ways on a server, one on the embedded engine; the result is the same. */
  const SIZES = [3, 1500];

  test.each(SIZES)("%i executions are as Drizzle would insert them", async (size) => {
    const given = Array.from({ length: size }, (_, n) =>
      execution({
        promptVersionId: prompt.id,
        timestamp: new Date(Date.UTC(2020, 0, 1, 0, 0, 0, n)),
        estimatedCostUsd: "123456789.000000000000000001",
        inputData: n,
        outputData: { text: 'quote " backslash \\ tab \t line \n\r end \\. \\N', n: null },
        errorMessage: "",
        actionName: "\\N",
        qualityScore: 33.3,
        reviewedAt: new Date("0044-03-15T12:00:00.123Z"),
        metadata: { ünï: "𝄞\u2028" },
      }),
    );
    await rolledBack(database.db, async (owner) => {
      await owner.insert(agentExecutionLogs).values(given.slice(0, 3));
      const expected = await logs(
        owner,
        given.slice(0, 3).map(({ id }) => id),
      );
      await owner.execute(sql`delete from agent_execution_logs`);
      expect(await recordExecutions(owner, given)).toEqual({
        inserted: size,
        completed: 0,
        repeated: 0,
        conflicting: [],
        alerts: [],
      });
      const stored = await logs(
        owner,
        given.slice(0, 3).map(({ id }) => id),
      );
      expect(new Set(stored)).toEqual(
        new Set(expected.map((row) => ({ ...row, organizationId: OURS }))),
      );
      expect(await countOf(owner)).toBe(size);
    });
  });

  test("a small batch is one statement, and two with embeddings", async () => {
    await asUs(async (tx) => {
      const { session } = tx._;
      const prepare = session.prepareQuery.bind(session);
      let statements = 0;
      session.prepareQuery = (...query) => {
        statements += 1;
        return prepare(...query);
      };
      await recordExecutions(tx, executions(500));
      expect(statements).toBe(1);
      await recordExecutions(tx, []);
      expect(statements).toBe(1);
      await recordExecutions(tx, [{ ...execution(), embeddings: { input: vector(1) } }]);
      expect(statements).toBe(3);
      // What it wrote is not this suite's business.
      await tx.delete(executionEmbeddings);
    });
  });

  test.runIf(engine === "container")(
    "many go by COPY into a table that the commit drops",
    async () => {
      const made = (tx: Transaction) =>
        tx.execute(
          sql`select to_regclass('pg_temp.meta_agent_incoming_executions') is not null as made`,
        );
      await asUs(async (tx) => {
        await recordExecutions(tx, executions(500));
        expect(rows(await made(tx))).toEqual([{ made: false }]);
        await recordExecutions(tx, executions(501));
        expect(rows(await made(tx))).toEqual([{ made: true }]);
      });
      expect(
        await database.query("select from pg_class where relname like 'meta_agent_incoming%'"),
      ).toEqual([]);
    },
  );

  test("what is left out is the database's: organization, time, status, metadata", async () => {
    const { id: _, ...bare } = execution();
    const before = Date.now();
    await asUs(async (tx) => {
      expect(await recordExecutions(tx, [bare])).toMatchObject({ inserted: 1 });
      const [log] = await tx
        .select()
        .from(agentExecutionLogs)
        .where(eq(agentExecutionLogs.executionId, bare.executionId));
      expect(log).toMatchObject({
        organizationId: OURS,
        status: "success",
        metadata: {},
        latencyMs: null,
      });
      expect(log?.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
      expect(
        Math.abs(Number.parseInt(log?.id.replace("-", "").slice(0, 12) ?? "", 16) - before),
      ).toBeLessThan(60_000);
    });
  });

  test.each(SIZES)("with a time and no id, the key is of that time (%i)", async (size) => {
    const timestamp = new Date("2021-02-03T04:05:06.789Z");
    const entries = executions(size).map((entry) => ({ ...entry, id: undefined, timestamp }));
    await rolledBack(database.db, async (tx) => {
      await recordExecutions(tx, entries);
      const keys = await tx.execute(
        sql`select distinct meta_agent.uuidv7_time(id) = ${timestamp.toISOString()}::timestamptz as same
          from agent_execution_logs where execution_id in ${entries.slice(0, 500).map((entry) => entry.executionId)}`,
      );
      expect(rows(keys)).toEqual([{ same: true }]);
    });
  });

  test.each(SIZES)("a retry adds nothing (%i)", async (size) => {
    const entries = executions(size);
    await asUs(async (tx) => {
      expect(await recordExecutions(tx, entries)).toMatchObject({ inserted: size });
    });
    await asUs(async (tx) => {
      const before = await countOf(tx);
      const again = [...entries, execution()];
      expect(await recordExecutions(tx, again)).toEqual({
        inserted: 1,
        completed: 0,
        repeated: size,
        conflicting: [],
        alerts: [],
      });
      expect(await countOf(tx)).toBe(Number(before) + 1);
    });
  });

  test.each(SIZES)("another content under a known id is left out and named (%i)", async (size) => {
    const entries = executions(size);
    const [first, second] = entries;
    await asUs(async (tx) => {
      await recordExecutions(tx, entries);
      const changed = entries.map((entry) =>
        entry === first
          ? { ...entry, outputData: { n: 1 } }
          : entry === second
            ? { ...entry, latencyMs: 0 }
            : entry,
      );
      expect(await recordExecutions(tx, changed)).toEqual({
        inserted: 0,
        completed: 0,
        repeated: size - 2,
        conflicting: [first?.id, second?.id],
        alerts: [],
      });
      const [stored] = await logs(tx, [first?.id ?? ""]);
      expect(stored?.outputData).toBeNull();
    });
  });

  test("of a known id only the columns given are compared, a NULL that is given too", async () => {
    const { status: _, ...entry } = execution({ latencyMs: 5, qualityScore: 1 });
    await asUs(async (tx) => {
      await recordExecutions(tx, [entry]);
      await tx
        .update(agentExecutionLogs)
        .set({ qualityScore: 90, status: "failure" })
        .where(eq(agentExecutionLogs.id, entry.id));
      const { qualityScore: __, ...unscored } = entry;
      expect(await recordExecutions(tx, [unscored])).toMatchObject({
        repeated: 1,
        conflicting: [],
        alerts: [],
      });
      expect(await recordExecutions(tx, [{ ...unscored, latencyMs: null }])).toMatchObject({
        repeated: 0,
        conflicting: [entry.id],
        alerts: [],
      });
    });
  });

  test.each([0, 1500])("one id twice in a call is one row (beside %i others)", async (others) => {
    const twice = execution({ latencyMs: 1 });
    const entries = [twice, ...executions(others), { ...twice }, { ...twice, latencyMs: 2 }];
    await asUs(async (tx) => {
      expect(await recordExecutions(tx, entries)).toEqual({
        inserted: 1 + others,
        completed: 0,
        repeated: 1,
        conflicting: [twice.id],
        alerts: [],
      });
      expect(await logs(tx, [twice.id])).toMatchObject([{ latencyMs: 1 }]);
    });
  });

  test.each(SIZES)(
    "an id of another organization's row is named, and nothing is written (%i)",
    async (size) => {
      const taken = newExecutionLog({ agentId: foreign.id });
      await withOrganization(database.db, THEIRS, (tx) => recordExecutions(tx, [taken]));
      await asUs(async (tx) => {
        const before = await countOf(tx);
        const kept = execution();
        await recordExecutions(tx, [kept]);
        const entries = [...executions(size - 1), execution({ id: taken.id })];
        expect(await refusal(recordExecutions(tx, entries))).toEqual([
          {
            path: [size - 1, "id"],
            message: "taken: a row with this id exists, and the caller does not see it",
          },
        ]);
        expect(await countOf(tx)).toBe(Number(before) + 1);
        // The transaction goes on.
        expect(await recordExecutions(tx, [kept, execution()])).toMatchObject({
          inserted: 1,
          repeated: 1,
        });
      });
    },
  );

  test.each(SIZES)(
    "a reference to a row that the caller does not see is named (%i)",
    async (size) => {
      await asUs(async (tx) => {
        const before = await countOf(tx);
        const entries = executions(size);
        entries.splice(1, 1, execution({ agentId: foreign.id }));
        entries.splice(2, 1, execution({ promptVersionId: randomUUID() }));
        const message = "no row that the caller sees has this id";
        expect(await refusal(recordExecutions(tx, entries))).toEqual([
          { path: [1, "agentId"], message },
          { path: [2, "promptVersionId"], message },
        ]);
        expect(await countOf(tx)).toBe(before);
      });
    },
  );

  test.each([3, 1500, STREAM_CHUNK + 2])(
    "a bad entry among %i is named, and nothing is written",
    async (size) => {
      await asUs(async (tx) => {
        const before = await countOf(tx);
        const entries = executions(size);
        entries.splice(-1, 1, execution({ latencyMs: -1, errorType: "a\0b" }));
        expect(await refusal(recordExecutions(tx, entries))).toEqual([
          {
            path: [size - 1, "latencyMs"],
            message: "expected whole milliseconds, 0 to 2147483647, got -1",
          },
          { path: [size - 1, "errorType"], message: expect.stringContaining("without NUL") },
        ]);
        expect(await countOf(tx)).toBe(before);
      });
    },
  );

  test.each(SIZES)(
    "all bad entries of a chunk are told, 20 at most, and the others counted (%i)",
    async (size) => {
      await asUs(async (tx) => {
        const before = await countOf(tx);
        const told = async (bad: number, part: Partial<NewAgentExecutionLog>) =>
          refusal(
            recordExecutions(tx, [
              ...Array.from({ length: bad }, () => execution(part)),
              ...executions(size),
            ]),
          );
        for (const part of [{ latencyMs: -1 }, { agentId: randomUUID() }]) {
          const key = Object.keys(part)[0];
          expect((await told(20, part)).map(({ path }) => path)).toEqual(
            Array.from({ length: 20 }, (_, n) => [n, key]),
          );
          const many = await told(23, part);
          expect(many).toHaveLength(21);
          expect(many.at(-1)).toEqual({ path: [], message: "and 3 more bad entries" });
        }
        expect(await countOf(tx)).toBe(before);
      });
    },
  );

  test.each(SIZES)(
    "with onRefused the good entries are recorded and the others told (%i)",
    async (size) => {
      const taken = newExecutionLog({ agentId: foreign.id });
      await withOrganization(database.db, THEIRS, (tx) => recordExecutions(tx, [taken]));
      const known = execution();
      const entries = [
        execution({ qualityScore: 101 }),
        ...executions(size),
        execution({ agentId: foreign.id }),
        execution({ id: taken.id }),
        execution({ agentId: foreign.id, promptVersionId: randomUUID() }),
        known,
        { ...execution({ promptVersionId: randomUUID() }), embeddings: { input: vector(9) } },
        { ...execution(), embeddings: { input: vector(8) } },
      ];
      await asUs(async (tx) => {
        await recordExecutions(tx, [known]);
        const before = Number(await countOf(tx));
        const embedded = await tx.$count(executionEmbeddings);
        const told: [number, PropertyKey[][]][] = [];
        const onRefused = async (index: number, error: z.ZodError) => {
          expect(error).toBeInstanceOf(Error);
          told.push([index, error.issues.map(({ path }) => path)]);
        };
        expect(await recordExecutions(tx, entries, { onRefused })).toEqual({
          inserted: size + 1,
          completed: 0,
          repeated: 1,
          conflicting: [],
          alerts: [],
        });
        expect(told).toEqual([
          [0, [[0, "qualityScore"]]],
          [size + 1, [[size + 1, "agentId"]]],
          [size + 2, [[size + 2, "id"]]],
          [
            size + 3,
            [
              [size + 3, "agentId"],
              [size + 3, "promptVersionId"],
            ],
          ],
          [size + 5, [[size + 5, "promptVersionId"]]],
        ]);
        expect(await countOf(tx)).toBe(before + size + 1);
        expect(await tx.$count(executionEmbeddings)).toBe(embedded + 1);
        // What it wrote is not this suite's business.
        await tx.delete(executionEmbeddings);
        expect(await recordExecutions(tx, [execution({ latencyMs: -1 })], { onRefused })).toEqual({
          inserted: 0,
          completed: 0,
          repeated: 0,
          conflicting: [],
          alerts: [],
        });
        await expect(
          recordExecutions(tx, [execution({ latencyMs: -1 })], {
            onRefused: async () => {
              throw new Error("the dead letter queue is full");
            },
          }),
        ).rejects.toThrow(/^the dead letter queue is full$/);
      });
    },
  );

  test("a time before 2000 or more than a day ahead is refused, as of other units", async () => {
    const seconds = Math.floor(Date.now() / 1000);
    const soon = new Date(Date.now() + 86_000_000);
    await rolledBack(database.db, async (tx) => {
      const attempt = (timestamp: Date) => recordExecutions(tx, [execution({ timestamp })]);
      expect(await refusal(attempt(new Date(seconds)))).toEqual([
        {
          path: [0, "timestamp"],
          message: `expected an instant from the year 2000 to a day from now, got ${new Date(seconds).toISOString()}: seconds, not milliseconds?`,
        },
      ]);
      for (const at of [new Date("2100-01-01"), new Date(Date.now() + 86_500_000)]) {
        expect((await refusal(attempt(at)))[0]?.path).toEqual([0, "timestamp"]);
      }
      for (const at of [new Date("2000-01-01"), soon, new Date()]) await attempt(at);
    });
  });

  test("what is no JSON is told with its place inside the entry", async () => {
    const messages = Array.from({ length: 200 }, (_, n) => ({
      role: "user",
      content: n === 137 ? "a\0b" : "x".repeat(5000),
    }));
    await asUs(async (tx) => {
      const attempt = recordExecutions(tx, [execution(), execution({ inputData: { messages } })]);
      expect(await refusal(attempt)).toEqual([
        {
          path: [1, "inputData", "messages", 137, "content"],
          message: expect.stringContaining("got text with a NUL character at 1;"),
        },
      ]);
    });
  });

  test.each([1, 1500])(
    "the ids of %i entries may be spelled as others do, and are the same row",
    async (size) => {
      await asUs(async (tx) => {
        const entries = executions(size);
        const spelled = entries.map((entry) => ({
          ...entry,
          id: `{${entry.id?.replaceAll("-", "").toUpperCase()}}`,
          executionId: entry.executionId.replaceAll("-", ""),
        }));
        expect(await recordExecutions(tx, spelled)).toMatchObject({ inserted: size });
        expect(await recordExecutions(tx, entries)).toMatchObject({
          inserted: 0,
          repeated: size,
          conflicting: [],
          alerts: [],
        });
      });
    },
  );

  test("an instant before Christ, half a character, an unknown key and a Date in JSON are refused", async () => {
    const bad: object[] = [
      { timestamp: new Date("-000043-03-15T00:00:00Z") },
      { errorMessage: "\uD83D" },
      { inputData: { at: new Date() } },
      { latency: 1 },
    ];
    await asUs(async (tx) => {
      for (const part of bad) {
        const attempt = recordExecutions(tx, [Object.assign(execution(), part)]);
        expect((await refusal(attempt))[0]?.path[0]).toBe(0);
      }
    });
  });

  test.each(SIZES)(
    "PostgreSQL's own refusal says which entries it was about (%i)",
    async (size) => {
      const named = asUs((tx) =>
        recordExecutions(
          tx,
          executions(size).map((entry) => ({ ...entry, organizationId: THEIRS })),
        ),
      );
      await expect(named).rejects.toThrow(
        `entries 0 to ${size - 1}: new row violates row-level security`,
      );
      expect(databaseError(await named.catch((error: unknown) => error))?.code).toBe("42501");
    },
  );

  test("after a refusal of many the transaction goes on, on both engines", async () => {
    const good = execution();
    await asUs(async (tx) => {
      const bad = executions(1500).map((entry) => ({ ...entry, organizationId: THEIRS }));
      await expect(recordExecutions(tx, bad)).rejects.toThrow("row-level security");
      await recordExecutions(tx, [good]);
    });
    expect(await asUs((tx) => logs(tx, [good.id]))).toHaveLength(1);
  });

  test.each(SIZES)(
    "the service role's rows belong to the agent's organization unless they name one (%i)",
    async (size) => {
      const entries = [
        execution(),
        newExecutionLog({ agentId: foreign.id }),
        execution({ organizationId: null }),
        execution({ organizationId: THEIRS }),
        ...executions(size),
      ];
      await withServiceRole(database.db, async (tx) => {
        await recordExecutions(tx, entries);
        const stored = await logs(
          tx,
          entries.slice(0, 4).map(({ id }) => id),
        );
        const owner = (id = "") => stored.find((log) => log.id === id)?.organizationId;
        expect(entries.slice(0, 4).map(({ id }) => owner(id))).toEqual([
          OURS,
          THEIRS,
          null,
          THEIRS,
        ]);
      });
    },
  );

  test("embeddings come with their log, once, whatever the retries", async () => {
    const { id: _, ...nameless } = execution();
    const second = execution();
    const entries: NewExecution[] = [
      { ...execution(), embeddings: { input: vector(1), error: vector(-2.5) } },
      second,
      { ...nameless, timestamp: new Date("2021-01-01"), embeddings: { output: vector(3) } },
    ];
    await asUs(async (tx) => {
      await recordExecutions(tx, entries);
      const stored = await tx
        .select()
        .from(executionEmbeddings)
        .innerJoin(
          agentExecutionLogs,
          eq(agentExecutionLogs.id, executionEmbeddings.executionLogId),
        )
        .orderBy(asc(agentExecutionLogs.timestamp));
      expect(
        stored.map((row) => [row.agent_execution_logs.executionId, row.execution_embeddings]),
      ).toMatchObject([
        [
          nameless.executionId,
          { organizationId: OURS, inputEmbedding: null, outputEmbedding: vector(3) },
        ],
        [
          entries[0]?.executionId,
          {
            organizationId: OURS,
            inputEmbedding: vector(1),
            errorEmbedding: vector(-2.5),
          },
        ],
      ]);
      const first = entries.slice(0, 1);
      expect(await recordExecutions(tx, [...first, ...first])).toMatchObject({ repeated: 2 });
      expect(await tx.select().from(executionEmbeddings)).toHaveLength(2);
      // Of an entry that conflicts nothing is written; a log that has none yet is given its own.
      const late = { ...second, embeddings: { input: vector(7) } };
      await recordExecutions(tx, [{ ...late, latencyMs: 1 }]);
      expect(await tx.select().from(executionEmbeddings)).toHaveLength(2);
      await recordExecutions(tx, [late]);
      expect(await tx.select().from(executionEmbeddings)).toHaveLength(3);
    });
  });

  test("a bad embedding is named, and no embedding at all is one", async () => {
    const bad = { ...execution(), embeddings: { output: [1, 2, 3] } };
    const none = { ...execution(), embeddings: {} };
    await asUs(async (tx) => {
      expect(await refusal(recordExecutions(tx, [execution(), bad]))).toMatchObject([
        {
          path: [1, "embeddings", "output"],
          message: expect.stringContaining("1536 finite numbers"),
        },
      ]);
      expect(await refusal(recordExecutions(tx, [none]))).toEqual([
        { path: [0, "embeddings"], message: "expected at least one embedding" },
      ]);
    });
  });

  test("what policies are told to look up for many is forgotten with them, and refused like any other", async () => {
    const told = sql`select current_setting('meta_agent.log_references', true) as pairs`;
    await asUs(async (tx) => {
      await recordExecutions(tx, executions(600));
      expect(rows<{ pairs: string | null }>(await tx.execute(told))[0]?.pairs || "").toBe("");
      const strange = [...executions(600), execution({ agentId: foreign.id })];
      expect(await refusal(recordExecutions(tx, strange))).toEqual([
        { path: [600, "agentId"], message: expect.stringContaining("no row that the caller sees") },
      ]);
      expect(rows<{ pairs: string | null }>(await tx.execute(told))[0]?.pairs || "").toBe("");
      expect((await recordExecutions(tx, executions(600))).inserted).toBe(600);
    });
  });

  test("calls in one transaction take turns, and a savepoint between them may be undone", async () => {
    await asUs(async (tx) => {
      const before = Number(await countOf(tx));
      const lists = [1500, 3, 1200, 1100].map(executions);
      const results = await Promise.all(lists.map((list) => recordExecutions(tx, list)));
      expect(results.map(({ inserted }) => inserted)).toEqual([1500, 3, 1200, 1100]);
      await tx
        .transaction(async (inner) => {
          await recordExecutions(inner, executions(1500));
          throw new Error("undone");
        })
        .catch(() => {});
      await recordExecutions(tx, executions(1500));
      expect(await countOf(tx)).toBe(before + 3803 + 1500);
    });
  });

  test("after its transaction nothing is recorded", async () => {
    let late: Promise<unknown> = Promise.resolve();
    const entries = executions(1500);
    await asUs(async (tx) => {
      late = new Promise((resolve) => setImmediate(resolve)).then(() =>
        recordExecutions(tx, entries),
      );
      late.catch(() => {});
    });
    await expect(late).rejects.toThrow("this transaction is over");
    expect(
      await asUs((tx) =>
        logs(
          tx,
          entries.slice(0, 9).map(({ id }) => id),
        ),
      ),
    ).toEqual([]);
  });

  // Where the log is cut, most of these ids say another time than their rows.
  test.skipIf(process.env["PARTITIONED"])(
    "whatever the rows, they are stored as by Drizzle's insert",
    async () => {
      const ids = await insertLeastRows(database.db);
      const { insert } = validators(agentExecutionLogs);
      const { probes, random } = rowsOf(agentExecutionLogs, "insert", ids);
      const known = new Set([...ids.values()].flat());
      const valid = (row: unknown) => {
        const { data } = insert.safeParse(row);
        // What is recorded took place.
        const at = (data?.timestamp ?? new Date()).getTime();
        const exist =
          at >= Date.UTC(2000, 0, 1) &&
          at <= Date.now() &&
          known.has(data?.agentId ?? "") &&
          known.has(data?.promptVersionId ?? data?.agentId ?? "");
        return data && exist && !JSON.stringify(data).includes("\ufeff")
          ? [{ ...data, id: undefined, executionId: randomUUID() }]
          : [];
      };
      const entries = [...probes, ...fc.sample(random, { numRuns: 400, seed: 1 })].flatMap(valid);
      expect(entries.length).toBeGreaterThan(300);
      const filler = newExecutionLog({ agentId: entries[0]?.agentId ?? "" });
      await rolledBack(database.db, async (tx) => {
        const written = async (write: () => Promise<unknown>) => {
          await tx.execute(sql`delete from agent_execution_logs`);
          await write();
          const all = await tx
            .select()
            .from(agentExecutionLogs)
            .where(
              inArray(
                agentExecutionLogs.executionId,
                entries.map((entry) => entry.executionId),
              ),
            )
            .orderBy(asc(agentExecutionLogs.executionId));
          return all.map((log) => ({ ...log, id: "", organizationId: "" }));
        };
        // As the owner, whose rows would else belong to nobody: the organization is tested above.
        const expected = await written(async () => {
          for (const entry of entries) await tx.insert(agentExecutionLogs).values(entry);
        });
        expect(expected).toHaveLength(entries.length);
        const small = await written(async () => {
          for (let from = 0; from < entries.length; from += 100) {
            await recordExecutions(tx, entries.slice(from, from + 100));
          }
        });
        expect(small).toEqual(expected);
        const others = Array.from({ length: 501 }, () => ({ ...filler, id: randomUUID() }));
        expect(await written(() => recordExecutions(tx, [...others, ...entries]))).toEqual(
          expected,
        );
      });
    },
  );
});

suite("recordExecutionStream", (database) => {
  const asUs = <T>(work: (tx: Transaction) => Promise<T>) =>
    withOrganization(database.db, OURS, work);
  const countOf = async (tx: Transaction) =>
    rows<{ n: number }>(
      await tx.execute(sql`select count(*)::int as n from agent_execution_logs`),
    )[0]?.n;

  beforeAll(() => asUs((tx) => tx.insert(agentRegistry).values(agent)));

  test("reports progress, takes no more than a chunk ahead, and sums up", async () => {
    const size = 2 * STREAM_CHUNK + 10;
    let taken = 0;
    let ahead = 0;
    let recorded = 0;
    async function* source() {
      for (; taken < size; taken += 1) {
        ahead = Math.max(ahead, taken - recorded);
        yield execution();
      }
    }
    const progress: number[] = [];
    const onProgress = (entries: number) => {
      recorded = entries;
      progress.push(entries);
    };
    await asUs(async (tx) => {
      expect(await recordExecutionStream(tx, source(), { onProgress })).toEqual({
        inserted: size,
        completed: 0,
        repeated: 0,
        conflicting: [],
        alerts: [],
      });
      expect(await countOf(tx)).toBe(size);
    });
    expect(progress).toEqual([STREAM_CHUNK, 2 * STREAM_CHUNK, size]);
    expect(ahead).toBeLessThanOrEqual(2 * STREAM_CHUNK);
  });

  test("what onProgress throws or rejects with is the call's, and the chunks told of stay", async () => {
    const callbacks = [
      () => {
        throw new Error("progress bar fell over");
      },
      async () => {
        await new Promise((resolve) => setImmediate(resolve));
        throw new Error("progress bar fell over");
      },
    ];
    await rolledBack(database.db, async (tx) => {
      const before = (await countOf(tx)) ?? 0;
      for (const onProgress of callbacks) {
        await expect(recordExecutionStream(tx, executions(2), { onProgress })).rejects.toThrow(
          /^progress bar fell over$/,
        );
      }
      expect(await countOf(tx)).toBe(before + 4);
    });
  });

  test("a bad entry is named by its place, its chunk is left out, and the source is closed", async () => {
    const bad = STREAM_CHUNK + 7;
    let closed = false;
    function* source() {
      try {
        for (let n = 0; ; n += 1) yield n === bad ? execution({ qualityScore: 101 }) : execution();
      } finally {
        closed = true;
      }
    }
    await asUs(async (tx) => {
      const before = Number(await countOf(tx));
      expect(await refusal(recordExecutionStream(tx, source()))).toMatchObject([
        { path: [bad, "qualityScore"] },
      ]);
      expect(closed).toBe(true);
      // The chunk before it stays, if the caller wants that.
      expect(await countOf(tx)).toBe(before + STREAM_CHUNK);
    });
  });

  test("with onRefused bad entries are told by their place in the stream, and do not end it", async () => {
    const size = 2 * STREAM_CHUNK;
    const bad = new Set([3, STREAM_CHUNK - 1, STREAM_CHUNK, size - 1]);
    const entries = Array.from({ length: size }, (_, n) =>
      bad.has(n)
        ? execution(n % 2 === 0 ? { agentId: randomUUID() } : { latencyMs: -1 })
        : execution(),
    );
    const told: number[] = [];
    const progress: number[] = [];
    await asUs(async (tx) => {
      const result = await recordExecutionStream(tx, entries, {
        onRefused: (index) => told.push(index),
        onProgress: (count) => progress.push(count),
      });
      expect(result).toMatchObject({ inserted: size - bad.size });
    });
    expect(told).toEqual([...bad]);
    expect(progress).toEqual([STREAM_CHUNK, size]);
  });

  test("what a chunk is refused for ends the stream", async () => {
    let closed = false;
    function* source() {
      try {
        for (;;) yield execution({ agentId: randomUUID() });
      } finally {
        closed = true;
      }
    }
    const attempt = asUs((tx) => recordExecutionStream(tx, source()));
    expect((await refusal(attempt)).at(-1)?.message).toBe(
      `and ${STREAM_CHUNK - 20} more bad entries`,
    );
    expect(closed).toBe(true);
  });

  test("what PostgreSQL itself refuses leaves the chunks before it, and its error holds no entries", async () => {
    function* source() {
      for (let n = 0; n < STREAM_CHUNK; n += 1) yield execution();
      yield execution({ organizationId: randomUUID(), outputData: "a secret" });
    }
    await asUs(async (tx) => {
      const before = Number(await countOf(tx));
      const error = await recordExecutionStream(tx, source()).catch((cause: unknown) => cause);
      expect(inspect(error)).toMatch(/entries 5000 to 5000: .*row-level security/);
      // PGlite's own error holds what was sent.
      if (engine === "container") expect(inspect(error)).not.toContain("a secret");
      expect(await countOf(tx)).toBe(before + STREAM_CHUNK);
    });
  });

  test("a source that fails fails the call", async () => {
    async function* source() {
      yield execution();
      throw new Error("the file ends early");
    }
    await expect(asUs((tx) => recordExecutionStream(tx, source()))).rejects.toThrow(
      "the file ends early",
    );
  });

  test("large entries come in smaller chunks", async () => {
    const progress: number[] = [];
    const outputData = "x".repeat(1_000_000);
    const entries = Array.from({ length: 20 }, () => execution({ outputData }));
    await asUs((tx) =>
      recordExecutionStream(tx, entries, { onProgress: (count) => progress.push(count) }),
    );
    expect(progress).toEqual([8, 16, 20]);
  });
});
