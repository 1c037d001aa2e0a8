import { randomUUID } from "node:crypto";
import { eq, sql } from "drizzle-orm";
import * as fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import type { Transaction } from "../src/client/sql.ts";
import { executionLogId } from "../src/client/keys.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import { loadDemo } from "../src/demo/load.ts";
import { databaseError } from "../src/client/errors.ts";
import {
  type CappedSum,
  OTHER_ERRORS,
  type RollUpDays,
  type RollUpResult,
  rollUpMetrics,
} from "../src/fleet/rollup.ts";
import {
  type NewAgentExecutionLog,
  agentExecutionLogs,
  agentPerformanceMetrics,
  agentPrompts,
  agentRegistry,
} from "../src/schema/index.ts";
import { newAgent, newExecutionLog, newPerformanceMetric, newPrompt } from "../src/testing.ts";
import { EXECUTION_STATUSES } from "../src/values.ts";
import { type TestDatabase, suite } from "./engine.ts";
import { explained, fillLogs } from "./explained.ts";
import { type Log, type Metric, dayOf, metricsOf, near } from "./reference.ts";

const RUNS = Number(process.env["PROPERTY_RUNS"] ?? 60);
const SEED = process.env["PROPERTY_SEED"];

const A = "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10";
const B = "0c9d1a52-77aa-4c55-8d2e-5b1b5c1f6e01";
/** NULL is the platform. */
const OWNERS = [A, B, null];

const FIRST = "2026-03-01";
const ALL = { from: FIRST, to: "2026-03-03" };

/** An agent with two prompts. */
interface Member {
  owner: string | null;
  agentId: string;
  prompts: readonly [null, string, string];
}

async function insertMember(tx: Transaction, organizationId: string | null): Promise<Member> {
  const agent = newAgent({ organizationId });
  const { id: agentId } = agent;
  const prompts = [
    newPrompt({ agentId, organizationId }),
    newPrompt({ agentId, organizationId }),
  ] as const;
  await tx.insert(agentRegistry).values(agent);
  await tx.insert(agentPrompts).values([...prompts]);
  return { owner: organizationId, agentId, prompts: [null, prompts[0].id, prompts[1].id] };
}

/** A log as it is stored, and read by the reference. */
type StoredLog = Log & { organizationId: string | null };

const at = (instant: string) => new Date(instant);

/** One log of an agent that has a fresh id, on the first day unless told otherwise. */
const logOf = (member: Member, given: Partial<NewAgentExecutionLog> = {}) =>
  newExecutionLog({
    agentId: member.agentId,
    organizationId: member.owner,
    timestamp: at(`${FIRST}T12:00:00Z`),
    ...given,
  });

/** Rolls up as an organization, or as service role. */
const rollUpAs = ({ db }: TestDatabase, owner: string | null, days: RollUpDays, zone = "UTC") => {
  const work = async (tx: Transaction): Promise<RollUpResult> => {
    await tx.execute(sql`select set_config('TimeZone', ${zone}, true)`);
    return rollUpMetrics(tx, days);
  };
  return owner === null ? withServiceRole(db, work) : withOrganization(db, owner, work);
};

suite("rollUpMetrics", (database) => {
  let member: Member;
  beforeAll(async () => {
    member = await withServiceRole(database.db, (tx) => insertMember(tx, A));
  });

  /** What a roll-up makes of these logs, which leave nothing behind. */
  async function rolledUp(logs: NewAgentExecutionLog[], days: RollUpDays = ALL) {
    await database.db.insert(agentExecutionLogs).values(logs);
    const result = await rollUpAs(database, A, days);
    const metrics = await database.db.select().from(agentPerformanceMetrics);
    await empty(database);
    return { ...result, metrics };
  }

  test.each(["2026-3-1", "2026-02-30", "0000-01-01", "", "2026-03-01T00:00:00Z", "infinity", null])(
    "%j is no day, and no SQL is sent",
    async (day) => {
      for (const days of [
        { from: day, to: "2026-03-01" },
        { from: "2026-03-01", to: day },
      ]) {
        await withOrganization(database.db, A, async (tx) => {
          const statements: unknown[] = [];
          const spy = new Proxy(tx, {
            get: (target, key) =>
              key === "execute"
                ? (query: unknown) => statements.push(query)
                : Reflect.get(target, key),
          });
          await expect(Reflect.apply(rollUpMetrics, undefined, [spy, days])).rejects.toThrow(
            /rollUpMetrics: (from|to) must be a day, YYYY-MM-DD/,
          );
          expect(statements).toEqual([]);
        });
      }
    },
  );

  test("a last day before the first is refused", async () => {
    const days = { from: "2026-03-02", to: "2026-03-01" };
    await expect(rollUpAs(database, A, days)).rejects.toThrow("to must not be before from");
  });

  test.each(["0001-01-01", "9999-12-31", "2028-02-29"])("%s is a day like another", async (day) => {
    const timestamp = at(`${day}T23:59:59.999Z`);
    const { metrics, written } = await rolledUp([logOf(member, { timestamp })], {
      from: day,
      to: day,
    });
    expect(written).toBe(1);
    expect(metrics).toMatchObject([{ date: day, totalExecutions: 1, organizationId: A }]);
  });

  test("a row that names every rule: precedence, distinct executions, sums, percentiles, errors", async () => {
    const [first, second, third, fourth] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
    const { metrics, ...result } = await rolledUp([
      logOf(member, {
        executionId: first,
        latencyMs: 100,
        estimatedCostUsd: "0.1",
        tokenCountInput: 5,
      }),
      logOf(member, {
        executionId: first,
        status: "timeout",
        latencyMs: 200,
        estimatedCostUsd: "0.2",
      }),
      logOf(member, { executionId: first, status: "failure", latencyMs: 300, qualityScore: 50 }),
      logOf(member, { executionId: second, status: "timeout", reviewedBy: "somebody" }),
      logOf(member, { executionId: second, status: "running", reviewedBy: "somebody" }),
      logOf(member, { executionId: third, latencyMs: 400, tokenCountOutput: 7, qualityScore: 100 }),
      logOf(member, { status: "running" }),
      logOf(member, { status: "cancelled", errorType: "not counted" }),
      logOf(member, { status: "failure", errorType: "b" }),
      logOf(member, { status: "failure", errorType: "a", executionId: fourth }),
      logOf(member, { status: "failure", errorType: "a", executionId: fourth }),
      logOf(member, { status: "failure", executionId: fourth }),
    ]);
    expect(result).toEqual({ rows: 1, written: 1, removed: 0, capped: [] });
    expect(metrics).toEqual([
      {
        id: expect.any(String),
        organizationId: A,
        agentId: member.agentId,
        promptVersionId: null,
        date: FIRST,
        totalExecutions: 7,
        successfulExecutions: 1,
        failedExecutions: 3,
        timeoutExecutions: 1,
        avgLatencyMs: 500,
        p50LatencyMs: 500,
        p95LatencyMs: 590,
        p99LatencyMs: 598,
        totalCostUsd: "0.3",
        costPerExecution: expect.stringMatching(/^0\.0428571428571428\d*$/),
        totalTokensInput: 5,
        totalTokensOutput: 7,
        avgQualityScore: 75,
        humanInterventions: 1,
        uniqueErrorTypes: 3,
        mostCommonError: "a",
        errorDistribution: { a: 1, b: 1, unknown: 1 },
      },
    ]);
  });

  test("an execution over midnight counts once, on the day of its first row, its tokens on their own", async () => {
    const executionId = randomUUID();
    const { metrics } = await rolledUp([
      logOf(member, {
        executionId,
        timestamp: at("2026-03-01T23:59:59.999Z"),
        promptVersionId: member.prompts[1],
      }),
      logOf(member, {
        executionId,
        timestamp: at("2026-03-02T00:00:00Z"),
        status: "failure",
        tokenCountInput: 7,
        estimatedCostUsd: "0.5",
      }),
    ]);
    const common = { promptVersionId: member.prompts[1] };
    expect(metrics.toSorted((a, b) => (a.date < b.date ? -1 : 1))).toMatchObject([
      {
        ...common,
        date: "2026-03-01",
        totalExecutions: 1,
        failedExecutions: 1,
        totalTokensInput: 0,
      },
      {
        ...common,
        date: "2026-03-02",
        totalExecutions: 0,
        failedExecutions: 0,
        errorDistribution: {},
        totalTokensInput: 7,
        totalCostUsd: "0.5",
        costPerExecution: null,
      },
    ]);
  });

  test("rows that come again after 24 hours are another execution, those of a longer one are its first 24 hours'", async () => {
    const [again, long] = [randomUUID(), randomUUID()];
    const failure = { status: "failure" } as const;
    const { metrics } = await rolledUp([
      logOf(member, { executionId: again, timestamp: at("2026-03-01T08:00:00Z") }),
      logOf(member, { executionId: again, timestamp: at("2026-03-02T08:00:00Z"), ...failure }),
      logOf(member, { executionId: long, timestamp: at("2026-03-01T08:00:00Z"), latencyMs: 1 }),
      logOf(member, {
        executionId: long,
        timestamp: at("2026-03-02T07:59:59.999Z"),
        latencyMs: 2,
      }),
      logOf(member, {
        executionId: long,
        timestamp: at("2026-03-02T08:00:00Z"),
        ...failure,
        tokenCountInput: 3,
      }),
    ]);
    expect(metrics.toSorted((a, b) => (a.date < b.date ? -1 : 1))).toMatchObject([
      { date: "2026-03-01", totalExecutions: 2, successfulExecutions: 2, avgLatencyMs: 3 },
      { date: "2026-03-02", totalExecutions: 1, failedExecutions: 1, totalTokensInput: 3 },
    ]);
  });

  test("a run with a failing tool that recovered is successful, and its tool row still says what failed", async () => {
    const executionId = randomUUID();
    const tool = logOf(member, {
      executionId,
      actionType: "tool_call",
      status: "failure",
      errorType: "not_found",
      timestamp: at(`${FIRST}T12:00:01Z`),
    });
    await database.db
      .insert(agentExecutionLogs)
      .values([logOf(member, { executionId, actionType: "agent_run" }), tool]);
    await rollUpAs(database, A, ALL);
    const metrics = await database.db.select().from(agentPerformanceMetrics);
    const [stored] = await database.query(
      "select status, error_type from agent_execution_logs where action_type = 'tool_call'",
    );
    await empty(database);
    expect(metrics).toMatchObject([
      {
        totalExecutions: 1,
        successfulExecutions: 1,
        failedExecutions: 0,
        uniqueErrorTypes: 0,
        errorDistribution: {},
      },
    ]);
    expect(stored).toEqual({ status: "failure", error_type: "not_found" });
  });

  test("a run takes as long as its agent_run says, not the sum or the median of what it encloses", async () => {
    const executionId = randomUUID();
    const { metrics } = await rolledUp([
      logOf(member, { executionId, actionType: "agent_run", latencyMs: 5290 }),
      ...[1, 2, 3, 2000].map((latencyMs) =>
        logOf(member, {
          executionId,
          latencyMs,
          estimatedCostUsd: "0.01",
          timestamp: at(`${FIRST}T12:00:01Z`),
        }),
      ),
    ]);
    expect(metrics).toMatchObject([
      { totalExecutions: 1, avgLatencyMs: 5290, p50LatencyMs: 5290, totalCostUsd: "0.04" },
    ]);
  });

  test("of several agent_run rows the one that began last decides outcome, latency and version", async () => {
    const executionId = randomUUID();
    const run = { executionId, actionType: "agent_run" };
    const [, first, second] = member.prompts;
    const { metrics } = await rolledUp([
      logOf(member, { ...run, status: "failure", errorType: "x", latencyMs: 10 }),
      logOf(member, {
        ...run,
        promptVersionId: second,
        timestamp: at(`${FIRST}T12:00:02Z`),
        latencyMs: 30,
      }),
      logOf(member, {
        ...run,
        promptVersionId: first,
        status: "timeout",
        timestamp: at(`${FIRST}T12:00:01Z`),
        latencyMs: 20,
      }),
    ]);
    expect(metrics.find(({ totalExecutions }) => totalExecutions === 1)).toMatchObject({
      promptVersionId: second,
      successfulExecutions: 1,
      avgLatencyMs: 30,
    });
  });

  test("a failed run tells the types of its failed rows, each once, and unknown where none has one", async () => {
    const executionId = randomUUID();
    const tool = { executionId, actionType: "tool_call", status: "failure" } as const;
    const { metrics } = await rolledUp([
      logOf(member, { executionId, actionType: "agent_run", status: "failure" }),
      logOf(member, { ...tool, errorType: "a" }),
      logOf(member, { ...tool, errorType: "a" }),
      logOf(member, { ...tool, errorType: "b" }),
      logOf(member, { actionType: "agent_run", status: "failure" }),
    ]);
    expect(metrics).toMatchObject([
      { failedExecutions: 2, uniqueErrorTypes: 3, errorDistribution: { a: 1, b: 1, unknown: 1 } },
    ]);
  });

  test("a running execution has no latency, nor one whose run says none", async () => {
    const [running, silent] = [randomUUID(), randomUUID()];
    const { metrics } = await rolledUp([
      logOf(member, { executionId: running, latencyMs: 100 }),
      logOf(member, { executionId: running, status: "running", latencyMs: 200 }),
      logOf(member, { executionId: silent, latencyMs: 300 }),
      logOf(member, { executionId: silent, actionType: "agent_run" }),
      logOf(member, { latencyMs: 2_147_483_647, executionId: A }),
      logOf(member, { latencyMs: 2_147_483_647, executionId: A }),
    ]);
    expect(metrics).toMatchObject([{ totalExecutions: 3, avgLatencyMs: 2_147_483_647 }]);
  });

  test("a row without a prompt version counts under its execution's", async () => {
    const executionId = randomUUID();
    const [, version] = member.prompts;
    const { metrics } = await rolledUp([
      logOf(member, { executionId, tokenCountInput: 1 }),
      logOf(member, { executionId, tokenCountInput: 2, promptVersionId: version }),
      logOf(member, { executionId, tokenCountInput: 4, actionType: "agent_run" }),
    ]);
    expect(metrics).toMatchObject([
      { promptVersionId: version, totalExecutions: 1, totalTokensInput: 7 },
    ]);
    expect(metrics).toHaveLength(1);
  });

  test("rows of a shadow test count in the metrics of their version", async () => {
    const [, version] = member.prompts;
    const { metrics } = await rolledUp([
      logOf(member, {
        promptVersionId: version,
        metadata: { shadow_of: randomUUID() },
        estimatedCostUsd: "0.25",
      }),
    ]);
    expect(metrics).toMatchObject([
      { promptVersionId: version, totalExecutions: 1, totalCostUsd: "0.25" },
    ]);
  });

  test("of more than 100 error types the most common keep their keys, the others are one sum", async () => {
    const types = Array.from({ length: 130 }, (_, n) => `type ${String(n).padStart(3, "0")}`);
    const { metrics } = await rolledUp(
      // The last ones twice.
      [...types, ...types.slice(100), OTHER_ERRORS, OTHER_ERRORS].map((errorType) =>
        logOf(member, { status: "failure", errorType }),
      ),
    );
    const [{ errorDistribution, ...metric } = { errorDistribution: {} }] = metrics;
    expect(metric).toMatchObject({
      failedExecutions: 162,
      uniqueErrorTypes: 131,
      mostCommonError: OTHER_ERRORS,
    });
    expect(errorDistribution).toEqual({
      ...Object.fromEntries(types.slice(0, 69).map((type) => [type, 1])),
      ...Object.fromEntries(types.slice(100).map((type) => [type, 2])),
      [OTHER_ERRORS]: 2 + 31,
    });
  });

  test("a tenant's tens of thousands of long error types do not end the roll-up of all", async () => {
    const other = await withServiceRole(database.db, (tx) => insertMember(tx, B));
    await database.query(
      `insert into agent_execution_logs (id, agent_id, organization_id, execution_id, timestamp, action_type, status, error_type)
        select meta_agent.uuidv7_at('${FIRST}T12:00Z'), $1::text::uuid, $2::text::uuid, gen_random_uuid(), '${FIRST}T12:00Z', 'llm_call', 'failure', repeat(md5(n::text), 8)
        from generate_series(1, 30000) as n`,
      [member.agentId, A],
    );
    await database.db.insert(agentExecutionLogs).values(logOf(other));
    expect(await rollUpAs(database, null, ALL)).toMatchObject({ rows: 2, written: 2 });
    const [metric] = await database.db
      .select()
      .from(agentPerformanceMetrics)
      .where(eq(agentPerformanceMetrics.agentId, member.agentId));
    await empty(database);
    expect(metric?.uniqueErrorTypes).toBe(30_000);
    const distribution = metric?.errorDistribution ?? {};
    expect(Object.keys(distribution)).toHaveLength(101);
    expect(distribution[OTHER_ERRORS]).toBe(29_900);
  });

  test("a sum that its column cannot hold is stored as the maximum and reported exactly", async () => {
    const huge = {
      tokenCountInput: 2_147_483_647,
      tokenCountOutput: 2_147_483_647,
      estimatedCostUsd: "1000000000000",
      executionId: randomUUID(),
    };
    const { metrics, capped } = await rolledUp([
      logOf(member, huge),
      logOf(member, { ...huge, estimatedCostUsd: "0.000001", tokenCountOutput: 0 }),
    ]);
    const row = { agentId: member.agentId, promptVersionId: null, date: FIRST };
    expect(capped).toEqual([
      {
        ...row,
        column: "costPerExecution",
        value: expect.stringMatching(/^1000000000000\.0000010*$/),
      },
      { ...row, column: "totalCostUsd", value: "1000000000000.000001" },
      { ...row, column: "totalTokensInput", value: "4294967294" },
    ]);
    expect(metrics).toMatchObject([
      {
        totalTokensInput: 2_147_483_647,
        totalTokensOutput: 2_147_483_647,
        totalCostUsd: "1000000000000",
        costPerExecution: "1000000000000",
      },
    ]);
  });

  test("no legal log makes it fail: the largest numbers, the longest texts, every instant of a day", async () => {
    const logs = [0, 2_147_483_647, 2_147_483_646].map((latencyMs) =>
      logOf(member, {
        latencyMs,
        status: "failure",
        errorType: `${"𝄞".repeat(255)}${"x".repeat(100_000)}${latencyMs}`,
        qualityScore: 100,
      }),
    );
    await database.db.insert(agentExecutionLogs).values(logs);
    await database.query(
      "update agent_execution_logs set quality_score = 99.99999999999999999999999999",
    );
    const { rows: count } = await rollUpAs(database, A, ALL);
    const [metric] = await database.db.select().from(agentPerformanceMetrics);
    await empty(database);
    expect(count).toBe(1);
    expect(metric).toMatchObject({
      mostCommonError: "𝄞".repeat(255),
      errorDistribution: { ["𝄞".repeat(255)]: 3 },
      p99LatencyMs: near(2_147_483_646.98),
    });
  });

  test("days that lost all rows disappear; other days, other tenants' and the platform's stay", async () => {
    const stranger = await withServiceRole(database.db, (tx) => insertMember(tx, B));
    const platform = await withServiceRole(database.db, (tx) => insertMember(tx, null));
    const metric = ({ agentId, owner: organizationId }: Member, date: string) =>
      newPerformanceMetric({ agentId, organizationId, date });
    const [gone, before, after, strange, common] = [
      metric(member, FIRST),
      metric(member, "2026-02-28"),
      metric(member, "2026-03-04"),
      metric(stranger, FIRST),
      metric(platform, FIRST),
    ];
    await database.db
      .insert(agentPerformanceMetrics)
      .values([gone, before, after, strange, common]);
    const ids = async () =>
      (await database.db.select().from(agentPerformanceMetrics)).map(({ id }) => id);
    expect(await rollUpAs(database, A, ALL)).toMatchObject({ rows: 0, removed: 1 });
    expect((await ids()).toSorted()).toEqual(
      [before, after, strange, common].map(({ id }) => id).toSorted(),
    );
    expect(await rollUpAs(database, null, ALL)).toMatchObject({ rows: 0, removed: 2 });
    expect((await ids()).toSorted()).toEqual([before.id, after.id].toSorted());
    await empty(database);
  });

  test("what has not changed is not written again", async () => {
    await database.db
      .insert(agentExecutionLogs)
      .values([
        logOf(member, { latencyMs: 1, qualityScore: 1 / 3 }),
        logOf(member, { timestamp: at("2026-03-02T00:00:00Z"), status: "failure" }),
      ]);
    const versions = () =>
      database.query(
        "select xmin::text, ctid::text, date::text from agent_performance_metrics order by date",
      );
    expect(await rollUpAs(database, A, ALL)).toMatchObject({ rows: 2, written: 2 });
    const first = await versions();
    expect(await rollUpAs(database, A, ALL)).toMatchObject({ rows: 2, written: 0 });
    expect(await versions()).toEqual(first);
    await database.db.insert(agentExecutionLogs).values(logOf(member, { latencyMs: 2 }));
    expect(await rollUpAs(database, A, ALL)).toMatchObject({ rows: 2, written: 1 });
    expect((await versions())[1]).toEqual(first[1]);
    await empty(database);
  });

  test("as service role, rows stand under their agent's organization, whoever wrote the logs", async () => {
    await database.db
      .insert(agentExecutionLogs)
      .values([logOf(member, { organizationId: null }), logOf(member, { organizationId: A })]);
    // As a plain insert of the backend leaves it: nobody's.
    await database.db
      .insert(agentPerformanceMetrics)
      .values(newPerformanceMetric({ agentId: member.agentId, date: FIRST, organizationId: null }));
    expect(await rollUpAs(database, null, ALL)).toMatchObject({ rows: 1, written: 1 });
    expect(await database.db.select().from(agentPerformanceMetrics)).toMatchObject([
      { organizationId: A, totalExecutions: 2 },
    ]);
    await empty(database);
  });

  test("a caller without an organization computes nothing and removes nothing", async () => {
    await database.db.insert(agentExecutionLogs).values(logOf(member));
    await rollUpAs(database, A, ALL);
    const result = await withOrganization(database.db, {}, (tx) => rollUpMetrics(tx, ALL));
    expect(result).toEqual({ rows: 0, written: 0, removed: 0, capped: [] });
    expect(await database.db.$count(agentPerformanceMetrics)).toBe(1);
    await empty(database);
  });

  // Those of partitions have names of their own.
  const isPlain = process.env["PARTITIONED"] === undefined;
  test.runIf(isPlain)(
    "a tenant's day is read through its organization's index, all organizations' by an index, too",
    async () => {
      await fillLogs(database.db, at("2026-03-20T00:00:00Z"), {
        agentId: member.agentId,
        organizationId: A,
      });
      // The block ranges of the table's times are worth reading in a larger one.
      const plan = (tx: Transaction) =>
        tx
          .execute(sql`set local enable_seqscan = off`)
          .then(() => explained(tx, (spied) => rollUpMetrics(spied, ALL)));
      expect(await withOrganization(database.db, A, plan)).toMatch(
        /(on|using) idx_logs_org_timestamp.*\n\s+Index Cond: \(\(organization_id = .*\) AND \("timestamp" >= .*\) AND \("timestamp" < /,
      );
      expect(await withServiceRole(database.db, plan)).toMatch(
        /Index Cond: \(\("timestamp" >= .*\) AND \("timestamp" < /,
      );
      await empty(database);
    },
  );

  test.each(["repeatable read", "serializable"] as const)(
    "%s is refused",
    async (isolationLevel) => {
      const work = database.db.transaction((tx) => rollUpMetrics(tx, ALL), { isolationLevel });
      await expect(work).rejects.toThrow(/needs a READ COMMITTED transaction.*ALTER ROLE/);
    },
  );

  test("a read-only transaction is refused by the server", async () => {
    const work = withOrganization(database.db, A, (tx) => rollUpMetrics(tx, ALL), {
      readOnly: true,
    });
    expect(databaseError(await work.catch((error: unknown) => error))?.code).toBe("25006");
  });
});

async function empty({ query }: TestDatabase): Promise<void> {
  await query("delete from agent_execution_logs");
  await query("delete from agent_performance_metrics");
}

suite("the demo fleet, rolled up again,", (database) => {
  test("has the metrics it was made with", async () => {
    await loadDemo(database.db);
    const read = async () => {
      const found = await database.db.select().from(agentPerformanceMetrics);
      return new Map(found.map((metric) => [keyOf(metric), { ...metric, id: undefined }]));
    };
    const made = await read();
    const result = await rollUpAs(database, null, { from: "2025-01-01", to: "2026-12-31" });
    expect(result).toMatchObject({ rows: made.size, written: 0, removed: 0, capped: [] });
    const computed = await read();
    expect(computed).toEqual(made);
  });
});

const keyOf = ({
  agentId,
  promptVersionId,
  date,
}: Pick<Metric, "agentId" | "promptVersionId" | "date">) => `${agentId} ${promptVersionId} ${date}`;

// ── Random histories ──

const DAYS = ["2026-02-28", "2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"] as const;

const range = fc
  .tuple(fc.constantFrom(...DAYS), fc.constantFrom(...DAYS))
  .map(([a, b]): RollUpDays => (a < b ? { from: a, to: b } : { from: b, to: a }));

const orNull = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null, freq: 3 });

/** A log without its names: which agent, prompt and execution, by number. */
const log = fc.record({
  // Few of each, so that rows meet.
  member: fc.constantFrom(0, 0, 1, 2, 3),
  prompt: fc.constantFrom(0, 0, 1, 2),
  execution: fc.nat(3),
  isStray: fc.boolean().chain((maybe) => (maybe ? fc.boolean() : fc.constant(false))),
  day: fc.constantFrom(...DAYS),
  time: fc.constantFrom(
    "00:00:00.000",
    "00:00:00.001",
    "08:30:00.000",
    "15:00:00.000",
    "23:59:59.999",
  ),
  actionType: fc.constantFrom("agent_run", "agent_step", "llm_call", "tool_call"),
  status: fc.constantFrom("success", "success", ...EXECUTION_STATUSES),
  isShadow: fc.boolean(),
  latencyMs: orNull(fc.oneof(fc.nat(1000), fc.constantFrom(0, 2_147_483_647))),
  tokenCountInput: orNull(fc.oneof(fc.nat(1000), fc.constant(2_147_483_647))),
  tokenCountOutput: orNull(fc.oneof(fc.nat(1000), fc.constant(2_147_483_647))),
  estimatedCostUsd: orNull(fc.constantFrom("0", "0.1", "0.000001", "12.345678", "1000000000000")),
  qualityScore: orNull(fc.oneof(fc.nat(100), fc.constantFrom(33.3, 99.99))),
  errorType: orNull(fc.constantFrom("a", "b", "B", "", "unknown", "é", "ｚ", "𝄞")),
  reviewedBy: orNull(fc.constantFrom("", "somebody")),
  reviewedAt: orNull(fc.constant(at("2026-03-05T00:00:00Z"))),
});
type Drawn = typeof log extends fc.Arbitrary<infer T> ? T : never;

/** What happens, one after the other. */
const anyEvent = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("arrive" as const),
      logs: fc.array(log, { minLength: 1, maxLength: 12, size: "max" }),
    }),
  },
  // What arrived before, by number, once more.
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("repeat" as const), which: fc.nat() }) },
  // A day's logs of an owner.
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("remove" as const),
      day: fc.constantFrom(...DAYS),
      owner: fc.constantFrom(...OWNERS),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("roll up" as const),
      owner: fc.constantFrom(...OWNERS),
      days: range,
      zone: fc.constantFrom("UTC", "Asia/Tokyo", "America/New_York"),
    }),
  },
);
type Event = typeof anyEvent extends fc.Arbitrary<infer T> ? T : never;

/** The database's logs and metrics as they should be. */
class Model {
  readonly logs = new Map<string, StoredLog>();
  readonly metrics = new Map<string, Metric & { organizationId: string | null }>();
  readonly members: readonly Member[];
  constructor(members: readonly Member[]) {
    this.members = members;
  }

  /** Logs as they will be stored. */
  logsOf(drawn: readonly Drawn[]): StoredLog[] {
    return drawn.flatMap(
      ({ member: number, prompt, execution, isStray, isShadow, day, time, ...rest }) => {
        const member = this.members[number];
        return member
          ? {
              ...rest,
              id: executionLogId(at(`${day}T${time}Z`), randomUUID()),
              agentId: member.agentId,
              promptVersionId: member.prompts[prompt] ?? null,
              executionId: `00000000-0000-4000-8000-00000000000${execution}`,
              timestamp: at(`${day}T${time}Z`),
              metadata: isShadow ? { shadow_of: "another" } : {},
              organizationId: isStray ? null : member.owner,
            }
          : [];
      },
    );
  }

  /** As an organization, which sees its own logs, or as service role. */
  rollUp(owner: string | null, { from, to }: RollUpDays): Omit<RollUpResult, "written"> {
    const owners = new Map(this.members.map((member) => [member.agentId, member.owner]));
    const isOwn = (organizationId: string | null | undefined) =>
      owner === null || organizationId === owner;
    const known = metricsOf(
      [...this.logs.values()].filter(({ organizationId }) => isOwn(organizationId)),
    );
    const isAsked = ({ date }: { date: string }) => date >= from && date <= to;
    const [metrics, capped] = [known.metrics.filter(isAsked), known.capped.filter(isAsked)];
    const computed = new Set(metrics.map(keyOf));
    const lost = [...this.metrics].filter(
      ([key, { organizationId, date }]) =>
        isOwn(organizationId) && date >= from && date <= to && !computed.has(key),
    );
    for (const [key] of lost) this.metrics.delete(key);
    for (const metric of metrics) {
      const organizationId = owners.get(metric.agentId) ?? null;
      this.metrics.set(keyOf(metric), { ...metric, organizationId });
    }
    return { rows: metrics.length, removed: lost.length, capped };
  }
}

async function happen(
  database: TestDatabase,
  model: Model,
  events: readonly Event[],
): Promise<void> {
  const batches: StoredLog[][] = [];
  for (const event of events) {
    switch (event.kind) {
      case "arrive":
        batches.push(model.logsOf(event.logs));
        await arrive(database, model, batches.at(-1));
        break;
      case "repeat":
        await arrive(database, model, batches[event.which % batches.length]);
        break;
      case "remove":
        await remove(database, model, event);
        break;
      case "roll up":
        await rollUp(database, model, event);
    }
  }
}

async function arrive({ db }: TestDatabase, model: Model, logs: readonly StoredLog[] = []) {
  if (logs.length === 0) return;
  for (const one of logs) model.logs.set(one.id, one);
  await db
    .insert(agentExecutionLogs)
    .values([...logs])
    .onConflictDoNothing();
}

async function remove(
  { query }: TestDatabase,
  model: Model,
  gone: { day: string; owner: string | null },
) {
  const { day, owner } = gone;
  for (const { id, timestamp, organizationId } of model.logs.values()) {
    if (dayOf(timestamp) === day && organizationId === owner) model.logs.delete(id);
  }
  await query(
    `delete from agent_execution_logs
      where (timestamp at time zone 'UTC')::date = $1::text::date and organization_id is not distinct from $2::text::uuid`,
    [day, owner],
  );
}

async function rollUp(
  database: TestDatabase,
  model: Model,
  { owner, days, zone }: { owner: string | null; days: RollUpDays; zone?: string },
): Promise<void> {
  const { written, capped, ...counts } = await rollUpAs(database, owner, days, zone);
  const expected = model.rollUp(owner, days);
  expect({ ...counts, capped: inOrder(capped) }).toEqual({
    ...expected,
    capped: inOrder(expected.capped).map((sum) => ({ ...sum, value: near(sum.value) })),
  });
  expect(written).toBeLessThanOrEqual(counts.rows);
  await expectStored(database, model);
}

const inOrder = (capped: readonly CappedSum[]) =>
  capped.toSorted((a, b) => (keyOf(a) + a.column < keyOf(b) + b.column ? -1 : 1));

async function expectStored(database: TestDatabase, model: Model): Promise<void> {
  const stored = await database.db.select().from(agentPerformanceMetrics);
  const found = Object.fromEntries(
    stored.map((metric) => [keyOf(metric), { ...metric, id: undefined }]),
  );
  const expected = [...model.metrics].map(([key, metric]) => [
    key,
    Object.fromEntries(
      Object.entries(metric).map(([name, value]) => [
        name,
        /Ms$|Usd$|^cost|^avg/.test(name) ? near(value) : value,
      ]),
    ),
  ]);
  expect(found).toEqual(Object.fromEntries(expected));
}

suite("random histories", (database) => {
  let members: Member[];
  beforeAll(async () => {
    members = await withServiceRole(database.db, async (tx) => {
      const made: Member[] = [];
      for (const owner of [...OWNERS, A]) made.push(await insertMember(tx, owner));
      return made;
    });
  });

  const history = fc.tuple(
    fc.array(anyEvent, { minLength: 1, maxLength: 12, size: "max" }),
    // In the end every day once, in any order.
    fc.shuffledSubarray([...DAYS], { minLength: DAYS.length }),
  );

  test(
    "rolled up in any order and any number of times, by tenants and service role, end as computed once from scratch",
    { timeout: 60_000 + 500 * RUNS },
    async () => {
      const property = fc.asyncProperty(history, async ([events, days]) => {
        const model = new Model(members);
        await happen(database, model, events);
        for (const day of days)
          await rollUp(database, model, { owner: null, days: { from: day, to: day } });
        const scratch = metricsOf([...model.logs.values()]).metrics.map(keyOf);
        expect([...model.metrics.keys()].toSorted()).toEqual(scratch.toSorted());
      });
      await fc.assert(
        property.beforeEach(() => empty(database)),
        { numRuns: RUNS, ...(SEED === undefined ? {} : { seed: Number(SEED) }) },
      );
    },
  );
});
