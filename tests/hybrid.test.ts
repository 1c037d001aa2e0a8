import { randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { type SQL, eq, sql } from "drizzle-orm";
import { beforeAll, expect, test } from "vitest";
import { databaseError } from "../src/client/errors.ts";
import { executionLogId } from "../src/client/keys.ts";
import { type Transaction, rows } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import { foldOutcomes } from "../src/fleet/breaker.ts";
import * as fleet from "../src/index.ts";
import { takeForm } from "../src/operate/citus.ts";
import { diff } from "../src/operate/drift/diff.ts";
import {
  newAgent,
  newBudget,
  newLearning,
  newPrompt,
  newProposal,
  newRoutingRule,
  newSla,
} from "../src/testing.ts";
import { type TestDatabase, engine, openMigrated, openUrl, suite } from "./engine.ts";
import { type Fleet, newFleet } from "./fleet.ts";

/** A coordinator whose log is spread; without one, a PostgreSQL with its keys, policies and functions. */
const CITUS_URL = engine === "container" ? process.env["CITUS_URL"] : undefined;

async function openHybrid(): Promise<TestDatabase> {
  if (CITUS_URL) return openUrl(CITUS_URL);
  const database = await openMigrated();
  await database.db.transaction((tx) => takeForm(tx));
  return database;
}

const vector = (seed: number) => Array.from({ length: 1536 }, (_, i) => Math.sin(i * seed + seed));
const NOW = new Date();
const DAY = NOW.toISOString().slice(0, 10);
const ago = (minutes: number) => new Date(NOW.getTime() - minutes * 60_000);

suite(
  "on the hybrid",
  (database) => {
    let own: Fleet;
    let stranger: Fleet;
    beforeAll(async () => {
      own = await newFleet(database.db);
      stranger = await newFleet(database.db);
    });
    const as = <T>(work: (tx: Transaction) => Promise<T>): Promise<T> => own.as(work);
    const served = <T>(work: (tx: Transaction) => Promise<T>): Promise<T> =>
      withServiceRole(database.db, work);
    const entry = (more: Partial<fleet.NewExecution> = {}): fleet.NewExecution => ({
      id: executionLogId(ago(10), randomUUID()),
      agentId: own.agentId,
      promptVersionId: own.ids[0],
      executionId: randomUUID(),
      actionType: "agent_run",
      timestamp: ago(10),
      latencyMs: 5,
      inputData: { a: 1 },
      ...more,
    });
    const many = (n: number, more: Partial<fleet.NewExecution> = {}) =>
      Array.from({ length: n }, () => entry(more));
    let few: fleet.NewExecution[] = [];
    const idOf = (n: number) => few[n]?.id ?? "";

    test("diff finds nothing", async () => {
      expect(await diff(database.db)).toEqual([]);
    });

    test("a tenant's own SQL writes and reads a log, its agent and prompts", async () => {
      await as((tx) =>
        tx
          .insert(fleet.agentPrompts)
          .values(newPrompt({ agentId: own.agentId, parentVersionId: own.ids[0] })),
      );
      const [log] = await as((tx) =>
        tx
          .insert(fleet.agentExecutionLogs)
          .values({ agentId: own.agentId, executionId: randomUUID(), actionType: "own" })
          .returning(),
      );
      expect(log?.organizationId).toBe(own.organization);
      const joined = as((tx) =>
        tx.query.agentExecutionLogs.findMany({
          where: eq(fleet.agentExecutionLogs.organizationId, own.organization),
          with: { agent: true },
          limit: 1,
        }),
      );
      // The one thing that the cluster does not do.
      if (CITUS_URL) await expect(joined).rejects.toThrow(/agent_registry/);
      else expect((await joined)[0]?.agent.id).toBe(own.agentId);
    });

    test("recordExecutions takes a list, the same again, and one that says something else", async () => {
      few = many(100);
      expect(await as((tx) => fleet.recordExecutions(tx, few))).toMatchObject({ inserted: 100 });
      expect(await as((tx) => fleet.recordExecutions(tx, few))).toMatchObject({ repeated: 100 });
      const changed = few.map((each, n) => (n === 0 ? { ...each, latencyMs: 9 } : each));
      const result = await as((tx) => fleet.recordExecutions(tx, changed));
      expect(result.conflicting).toEqual([idOf(0)]);
    });

    test("recordExecutions completes a row that runs", async () => {
      const { latencyMs: _, ...running } = entry({ status: "running" });
      await as((tx) => fleet.recordExecutions(tx, [running]));
      const ended = { ...running, status: "failure" as const, latencyMs: 7 };
      expect(await as((tx) => fleet.recordExecutions(tx, [ended]))).toMatchObject({ completed: 1 });
    });

    test("recordExecutions writes embeddings, fills them in, and leaves others", async () => {
      const logs = Array.from({ length: 20 }, (_, i) =>
        entry({ embeddings: { input: vector(i + 1) } }),
      );
      await as((tx) => fleet.recordExecutions(tx, logs));
      const fuller = logs.map((log, i) => ({
        ...log,
        embeddings: { input: vector(i + 1), output: vector(i + 2) },
      }));
      expect(await as((tx) => fleet.recordExecutions(tx, fuller))).toMatchObject({ repeated: 20 });
      const [first] = fuller;
      const other = await as((tx) =>
        fleet.recordExecutions(tx, [{ ...entry(), ...first, embeddings: { input: vector(99) } }]),
      );
      expect(other.conflicting).toHaveLength(1);
    });

    test("recordExecutions takes more than a statement holds, twice", async () => {
      const more = many(1500);
      expect(await as((tx) => fleet.recordExecutions(tx, more))).toMatchObject({ inserted: 1500 });
      expect(await as((tx) => fleet.recordExecutions(tx, more))).toMatchObject({ repeated: 1500 });
    });

    test("recordExecutionStream", async () => {
      expect(await as((tx) => fleet.recordExecutionStream(tx, many(6000)))).toMatchObject({
        inserted: 6000,
      });
    });

    test("recordExecutions refuses references to rows of others, and ids of theirs", async () => {
      const dangling = [entry(), entry({ agentId: stranger.agentId })];
      await expect(as((tx) => fleet.recordExecutions(tx, dangling))).rejects.toThrow(
        /no row that the caller sees/,
      );
    });

    test("recordExecutions as service role takes the agent's organization", async () => {
      const logs = many(10);
      expect(await served((tx) => fleet.recordExecutions(tx, logs))).toMatchObject({
        inserted: 10,
      });
      const [stored] = await as((tx) =>
        tx
          .select()
          .from(fleet.agentExecutionLogs)
          .where(eq(fleet.agentExecutionLogs.id, logs[0]?.id ?? "")),
      );
      expect(stored?.organizationId).toBe(own.organization);
    });

    test("rollUpMetrics", async () => {
      const days = { from: DAY, to: DAY };
      const rolledUp = await as((tx) => fleet.rollUpMetrics(tx, days));
      expect(rolledUp.rows).toBeGreaterThan(0);
      expect(await as((tx) => fleet.rollUpMetrics(tx, days))).toMatchObject({ written: 0 });
      await served((tx) => fleet.rollUpMetrics(tx, days));
    });

    test("refreshHealth", async () => {
      expect(await as((tx) => fleet.refreshHealth(tx))).toMatchObject({ written: 1 });
      const [health] = await as((tx) => tx.select().from(fleet.agentHealthRealtime));
      expect(health?.executions1h).toBeGreaterThan(7000);
      await served((tx) => fleet.refreshHealth(tx));
    });

    test("findSimilarExecutions", async () => {
      const search = { vector: vector(3), by: "input" as const, limit: 5 };
      const nearest = await as((tx) => fleet.findSimilarExecutions(tx, search));
      expect(nearest).toHaveLength(5);
      expect(nearest[0]?.distance).toBeCloseTo(0);
      const filters = { agentId: own.agentId, status: "success" as const };
      expect(
        await as((tx) => fleet.findSimilarExecutions(tx, { ...search, filters })),
      ).toHaveLength(5);
      const organizationId = own.organization;
      expect(
        await served((tx) => fleet.findSimilarExecutions(tx, { ...search, organizationId })),
      ).toHaveLength(5);
      const strangers = await stranger.as((tx) => fleet.findSimilarExecutions(tx, search));
      expect(new Set(strangers.map(({ log }) => log.organizationId))).toEqual(
        new Set([stranger.organization]),
      );
    });

    test("promotePrompt, setBaseline, rollBackPrompt", async () => {
      await as((tx) => fleet.promotePrompt(tx, own.ids[1]));
      expect(await own.active()).toEqual([own.ids[1]]);
      await as((tx) => fleet.setBaseline(tx, own.ids[0]));
      await as((tx) => fleet.rollBackPrompt(tx, { agentId: own.agentId }));
      expect(await own.active()).toEqual([own.ids[0]]);
    });

    test("refreshPromptCounters", async () => {
      expect((await as((tx) => fleet.refreshPromptCounters(tx))).prompts).toBeGreaterThan(0);
      expect(
        await as((tx) => fleet.refreshPromptCounters(tx, { agentId: own.agentId })),
      ).toMatchObject({ prompts: 0 });
    });

    test("ensureAgents", async () => {
      const agentName = `named-${randomUUID()}`;
      const [made] = await as((tx) =>
        fleet.ensureAgents(tx, [{ agentName, displayName: "x", category: "operations" }]),
      );
      expect(made?.isNew).toBe(true);
    });

    test("reserveExecution, budgetStatus, refreshBudgets, expireExecutions", async () => {
      await as((tx) =>
        tx
          .insert(fleet.costBudgets)
          .values(
            newBudget({ agentId: own.agentId, dailyBudgetUsd: "10", onDailyExceeded: "pause" }),
          ),
      );
      const reserved = await as((tx) =>
        fleet.reserveExecution(tx, { agentId: own.agentId, actionType: "agent_run", usd: "2" }),
      );
      expect(reserved).toMatchObject({ allowed: true });
      const refused = await as((tx) =>
        fleet.reserveExecution(tx, { agentId: own.agentId, actionType: "agent_run", usd: "9" }),
      );
      expect(refused).toMatchObject({ allowed: false });
      const spent = async () =>
        (await as((tx) => fleet.budgetStatus(tx, { agentId: own.agentId }))).find(
          ({ window }) => window === "daily",
        )?.spentUsd;
      expect(Number(await spent())).toBe(2);
      expect(await as((tx) => fleet.refreshBudgets(tx))).toEqual([]);
      const { expired } = await as((tx) =>
        fleet.expireExecutions(tx, { olderThan: new Date(Date.now() + 60_000) }),
      );
      expect(expired).toBe(1);
      expect(Number(await spent())).toBe(0);
    });

    test("recordExecutions charges, and tells the breaker", async () => {
      const result = await as((tx) =>
        fleet.recordExecutions(tx, many(3, { estimatedCostUsd: "0.5" }), {
          charge: true,
          breaker: true,
        }),
      );
      expect(result.inserted).toBe(3);
    });

    test("acquireExecution, recordOutcome, foldOutcomes, resetCircuit", async () => {
      const { agentId } = own;
      expect(await as((tx) => fleet.acquireExecution(tx, { agentId }))).toMatchObject({
        allowed: true,
      });
      for (let n = 0; n < 5; n++)
        await as((tx) => fleet.recordOutcome(tx, { agentId, outcome: "failure" }));
      expect(await as((tx) => fleet.acquireExecution(tx, { agentId }))).toMatchObject({
        allowed: false,
      });
      await as((tx) => foldOutcomes(tx, [{ agentId, at: new Date(), outcome: "success" }]));
      expect(await as((tx) => fleet.resetCircuit(tx, { agentId }))).toMatchObject({
        state: "closed",
      });
    });

    test("guardedExecution", async () => {
      const { organization, agentId } = own;
      const call = await fleet.guardedExecution(
        database.db,
        { organization, agentId, usd: "0.5", columns: () => ({ estimatedCostUsd: "0.4" }) },
        async () => "done",
      );
      expect(call).toMatchObject({ allowed: true, result: "done" });
    });

    test("raiseAlert, claimAlerts, markAlertsSent, acknowledgeAlerts, resolveAlerts", async () => {
      const incident = {
        agentId: own.agentId,
        alertType: "x",
        severity: "critical" as const,
        title: "x",
        message: "x",
        dedupKey: "x",
      };
      const { id } = await as((tx) => fleet.raiseAlert(tx, incident));
      expect(await as((tx) => fleet.raiseAlert(tx, incident))).toMatchObject({ id, isNew: false });
      const alerts = await as((tx) => fleet.claimAlerts(tx, { channel: "slack" }));
      expect(await as((tx) => fleet.markAlertsSent(tx, { channel: "slack", alerts }))).toBe(
        alerts.length,
      );
      await as((tx) => fleet.acknowledgeAlerts(tx, { ids: [id], by: "me" }));
      await as((tx) => fleet.resolveAlerts(tx, { ids: [id] }));
    });

    test("measureSlas, errorBudgets", async () => {
      await as((tx) => tx.insert(fleet.agentSlas).values(newSla({ agentId: own.agentId })));
      const { written } = await as((tx) => fleet.measureSlas(tx));
      expect(written).toHaveLength(1);
      expect((await as((tx) => fleet.errorBudgets(tx))).budgets).toHaveLength(1);
    });

    test("addDependency, blastRadius", async () => {
      const other = newAgent();
      await as((tx) => tx.insert(fleet.agentRegistry).values(other));
      await as((tx) =>
        fleet.addDependency(tx, {
          upstreamAgentId: own.agentId,
          downstreamAgentId: other.id,
          dependencyType: "data",
        }),
      );
      expect(await as((tx) => fleet.blastRadius(tx, { agentId: own.agentId }))).toHaveLength(1);
    });

    test("routeModel", async () => {
      await as((tx) =>
        tx.insert(fleet.modelRoutingRules).values(newRoutingRule({ agentId: own.agentId })),
      );
      await as((tx) => fleet.routeModel(tx, { agentId: own.agentId, context: { tokens: 5 } }));
    });

    test("startAbTest, choosePrompt, refreshAbTest, finishAbTest", async () => {
      const { id } = await as((tx) =>
        fleet.startAbTest(tx, {
          agentId: own.agentId,
          testName: "t",
          hypothesis: "h",
          treatmentPromptId: own.ids[1],
        }),
      );
      const chosen = await as((tx) => fleet.choosePrompt(tx, { agentId: own.agentId, unit: "u" }));
      expect(chosen.experimentId).toBe(id);
      await as((tx) =>
        fleet.recordExecutions(
          tx,
          many(5, { timestamp: new Date(), id: executionLogId(new Date(), randomUUID()) }).map(
            (each) => ({ ...each, id: executionLogId(new Date(), randomUUID()) }),
          ),
        ),
      );
      const state = await as((tx) => fleet.refreshAbTest(tx, { id }));
      expect(state.test.controlExecutions).toBe(5);
      await as((tx) => fleet.finishAbTest(tx, { id }));
    });

    test("startShadowTest, refreshShadowTest, finishShadowTest", async () => {
      const { id } = await as((tx) =>
        fleet.startShadowTest(tx, {
          agentId: own.agentId,
          shadowPromptId: own.ids[1],
          sampleRate: 1,
        }),
      );
      const production = {
        ...entry({ timestamp: new Date(), embeddings: { output: vector(1) } }),
        id: executionLogId(new Date(), randomUUID()),
      };
      const shadow = {
        ...entry({
          timestamp: new Date(),
          promptVersionId: own.ids[1],
          metadata: { shadow_of: production.executionId },
          embeddings: { output: vector(1) },
        }),
        id: executionLogId(new Date(), randomUUID()),
      };
      await as((tx) => fleet.recordExecutions(tx, [production, shadow]));
      const state = await as((tx) =>
        fleet.refreshShadowTest(tx, { id, now: new Date(Date.now() + 1000) }),
      );
      expect(state).toMatchObject({ pairs: 1, compared: 1 });
      await as((tx) => fleet.finishShadowTest(tx, { id }));
    });

    test("startCanary, stepCanary, pauseCanary, resumeCanary, rollBackCanary", async () => {
      const { id } = await as((tx) =>
        fleet.startCanary(tx, {
          agentId: own.agentId,
          canaryPromptId: own.ids[1],
          stages: [{ traffic: 0.5, duration_minutes: 1 }],
        }),
      );
      const runs = many(3, { promptVersionId: own.ids[1], timestamp: new Date() }).map((each) => ({
        ...each,
        id: executionLogId(new Date(), randomUUID()),
      }));
      await as((tx) => fleet.recordExecutions(tx, runs));
      const step = await as((tx) => fleet.stepCanary(tx, { id, now: new Date(Date.now() + 1000) }));
      expect(step.canary.executions).toBe(3);
      await as((tx) => fleet.pauseCanary(tx, { id }));
      await as((tx) => fleet.resumeCanary(tx, { id }));
      await as((tx) => fleet.rollBackCanary(tx, { id, reason: "x" }));
    });

    test("draftEvaluation, moveProposal, explainPrompt", async () => {
      const { comparisonDetails } = await as((tx) =>
        fleet.draftEvaluation(tx, { agentId: own.agentId, from: DAY, to: DAY }),
      );
      expect(comparisonDetails.period.executions).toBeGreaterThan(7000);
      const proposal = newProposal({ agentId: own.agentId });
      await as((tx) => tx.insert(fleet.improvementProposals).values(proposal));
      await as((tx) => fleet.moveProposal(tx, { id: proposal.id, to: "approved", by: "me" }));
      expect((await as((tx) => fleet.explainPrompt(tx, { promptId: own.ids[0] }))).since?.by).toBe(
        "first execution",
      );
      await as((tx) => fleet.explainPrompt(tx, { logId: idOf(0) }));
    });

    test("supersedeLearning", async () => {
      const [old, successor] = [
        newLearning({ agentId: own.agentId }),
        newLearning({ agentId: own.agentId }),
      ];
      await as((tx) => tx.insert(fleet.learningLog).values([old, successor]));
      expect(await as((tx) => fleet.supersedeLearning(tx, { id: old.id, by: successor.id }))).toBe(
        true,
      );
    });

    test("executionsBetween", async () => {
      const ended = fleet.executionsBetween({ from: ago(60), to: new Date() });
      const counted = await as((tx) =>
        tx.execute(sql`select count(*)::int as n from (${ended}) as execution`),
      );
      expect(JSON.stringify(counted)).toMatch(/"n":\d{4}/);
    });

    test("importExecutions", async () => {
      const result = await fleet.importExecutions(
        database.db,
        createReadStream("tests/fixtures/ai-sdk-6-otlp.jsonl"),
        { organization: own.organization },
      );
      expect(result.inserted).toBeGreaterThan(0);
    });

    test("runGovernance", async () => {
      const { problems } = await fleet.runGovernance(database.db);
      expect(problems).toEqual([]);
    });

    test("a log is changed, and deleted with its embedding", async () => {
      const changed = await as((tx) =>
        tx
          .update(fleet.agentExecutionLogs)
          .set({ qualityScore: 50 })
          .where(eq(fleet.agentExecutionLogs.id, idOf(0)))
          .returning(),
      );
      expect(changed).toHaveLength(1);
      const [{ executionLogId: log } = { executionLogId: "" }] = await as((tx) =>
        tx.select().from(fleet.executionEmbeddings).limit(1),
      );
      await as((tx) =>
        tx.delete(fleet.agentExecutionLogs).where(eq(fleet.agentExecutionLogs.id, log)),
      );
      expect(
        await as((tx) =>
          tx
            .select()
            .from(fleet.executionEmbeddings)
            .where(eq(fleet.executionEmbeddings.executionLogId, log)),
        ),
      ).toEqual([]);
    });

    test("readOnly refuses writes", async () => {
      const write = (tx: Transaction) => fleet.recordExecutions(tx, [entry()]);
      await expect(
        withOrganization(database.db, own.organization, write, { readOnly: true }),
      ).rejects.toThrow(/read-only/);
    });

    // ── Isolation: of the tables that are cut. All others are as the isolation suite finds them: see diff. ──

    const CUT = [
      "public.agent_execution_logs",
      "public.execution_embeddings",
      "meta_agent.agent_keys",
      "meta_agent.prompt_keys",
    ];
    const rowsOf = (table: string) =>
      database.query<{ id: string; row: string }>(
        `select id::text, t::text as row from ${table} as t where organization_id = $1::uuid order by id limit 20`,
        [stranger.organization],
      );
    /** What became of a statement of a tenant: how many rows it answered, or the code of its refusal. */
    const attempt = async (statement: string, whose: string | fleet.Claims = own.organization) =>
      withOrganization(database.db, whose, (tx) => tx.execute(sql.raw(statement))).then(
        (result) => rows(result).length,
        (error: unknown) => databaseError(error)?.code ?? String(error),
      );

    beforeAll(async () => {
      const logs = Array.from({ length: 5 }, (_, i) => ({
        ...entry({
          agentId: stranger.agentId,
          promptVersionId: stranger.ids[0],
          embeddings: { input: vector(i + 40) },
        }),
      }));
      await stranger.as((tx) => fleet.recordExecutions(tx, logs));
      await as((tx) => fleet.recordExecutions(tx, [entry({ embeddings: { input: vector(7) } })]));
    });

    test.each(CUT)(
      "no tenant sees, changes, removes, adds or takes rows of another in %s",
      async (table) => {
        const before = await rowsOf(table);
        expect(before.length).toBeGreaterThan(0);
        const [own1, other, id] = [own.organization, stranger.organization, before[0]?.id ?? ""];
        const isKeys = table.startsWith("meta_agent.");
        expect(await attempt(`select 1 from ${table} where organization_id <> '${own1}'`)).toBe(0);
        expect(await attempt(`select 1 from ${table} limit 1`)).toBe(1);
        for (const whose of [
          `organization_id = '${other}'`,
          `id = '${id}'`,
          `organization_id = '${other}' and id = '${id}'`,
        ]) {
          expect(await attempt(`select 1 from ${table} where ${whose}`)).toBe(0);
          expect(await attempt(`delete from ${table} where ${whose} returning 1`)).toBe(0);
          // Keys are not changed by anybody.
          expect(await attempt(`update ${table} set id = id where ${whose} returning 1`)).toBe(
            isKeys ? "42501" : 0,
          );
        }
        expect(
          await attempt(`update ${table} set organization_id = '${other}' returning 1`),
        ).toMatch(/^(42501|0A000)$/);
        expect(await attempt(`truncate ${table}`)).toBe("42501");
        expect(
          await attempt(
            `create table pg_temp.x (id uuid, o uuid, foreign key (id, o) references ${table} (id, organization_id))`,
          ),
        ).not.toBe(0);
        expect(await rowsOf(table)).toEqual(before);
      },
    );

    test("no tenant adds rows to another, nor rows that refer to rows of another", async () => {
      const [log] = await rowsOf("public.agent_execution_logs");
      const values = (organization: string, agent: string, prompt: string) =>
        `insert into agent_execution_logs (organization_id, agent_id, prompt_version_id, execution_id, action_type)
         values ('${organization}', '${agent}', '${prompt}', gen_random_uuid(), 'x') returning id`;
      const embedding = (organization: string, of: string) =>
        `insert into execution_embeddings (organization_id, execution_log_id, input_embedding)
         values ('${organization}', '${of}', array_fill(1, array[1536])::vector) returning id`;
      const [a, b] = [own, stranger];
      expect(await attempt(values(a.organization, a.agentId, a.ids[0]))).toBe(1);
      expect(await attempt(values(b.organization, b.agentId, b.ids[0]))).toBe("42501");
      expect(await attempt(values(a.organization, b.agentId, a.ids[0]))).toBe("23503");
      expect(await attempt(values(a.organization, a.agentId, b.ids[0]))).toBe("23503");
      expect(await attempt(embedding(b.organization, log?.id ?? ""))).toBe("42501");
      expect(await attempt(embedding(a.organization, log?.id ?? ""))).toBe("23503");
      for (const keys of ["agent_keys", "prompt_keys"]) {
        expect(
          await attempt(
            `insert into meta_agent.${keys} (id, organization_id) values (gen_random_uuid(), '${b.organization}')`,
          ),
        ).toBe("42501");
      }
      // A missing row and one of another answer alike.
      expect(await attempt(values(a.organization, randomUUID(), a.ids[0]))).toBe("23503");
    });

    test.each<[string, fleet.Claims]>([
      ["none", {}],
      ["null", { organization_id: null }],
      ["no uuid", { organization_id: "x" }],
      ["a list", { organization_id: [] }],
      ["a number", { organization_id: 1 }],
      ["a quote", { organization_id: "x\"'\\; select 1 --" }],
      ["one in user_metadata", { user_metadata: { organization_id: "OTHER" } }],
      [
        "one below a key at the top",
        { organization_id: null, app_metadata: { organization_id: "OTHER" } },
      ],
    ])("claims with %s open nothing", async (_, claims) => {
      const forged: fleet.Claims = JSON.parse(
        JSON.stringify(claims).replaceAll("OTHER", stranger.organization),
      );
      for (const table of CUT) expect(await attempt(`select 1 from ${table}`, forged)).toBe(0);
    });

    test("anon reaches none of them", async () => {
      for (const table of CUT) {
        const reading = withOrganization(
          database.db,
          own.organization,
          (tx) => tx.execute(sql.raw(`select 1 from ${table}`)),
          { role: "anon" },
        );
        expect(databaseError(await reading.catch((error: unknown) => error))?.code).toBe("42501");
      }
    });

    test("transactions of two tenants side by side each see their own", async () => {
      const seen = await Promise.all(
        Array.from({ length: 40 }, async (_, n) => {
          const whose = n % 2 === 0 ? own : stranger;
          const found = await whose.as((tx) =>
            tx
              .selectDistinct({ of: fleet.agentExecutionLogs.organizationId })
              .from(fleet.agentExecutionLogs),
          );
          return found.length === 1 && found[0]?.of === whose.organization;
        }),
      );
      expect(seen.every(Boolean)).toBe(true);
    });

    test("an agent or a prompt that a log names is not removed, and one that none names is", async () => {
      const spare = newAgent();
      await as((tx) => tx.insert(fleet.agentRegistry).values(spare));
      expect(await attempt(`delete from agent_registry where id = '${own.agentId}'`)).toBe("23503");
      expect(await attempt(`delete from agent_registry where id = '${spare.id}' returning 1`)).toBe(
        1,
      );
      expect(await attempt(`select 1 from meta_agent.agent_keys where id = '${spare.id}'`)).toBe(0);
      expect(
        await attempt(`update agent_registry set id = id where id = '${own.agentId}' returning 1`),
      ).toBe(1);
    });

    // ── What a statement of ours on the two tables must be like ──

    test.skipIf(!CITUS_URL)(
      "one shard answers a tenant's queries that name the organization",
      async () => {
        const { agentExecutionLogs: logs } = fleet;
        const isOwn = eq(logs.organizationId, own.organization);
        const tasks = (asked: SQL) =>
          as(
            async (tx) =>
              JSON.stringify(await tx.execute(sql`explain ${asked}`)).match(
                /Task Count: (\d+)/,
              )?.[1],
          );
        const latest = sql`order by timestamp desc limit 50`;
        for (const asked of [
          sql`select * from ${logs} where ${isOwn} ${latest}`,
          sql`select * from ${logs} where ${isOwn} and ${eq(logs.agentId, own.agentId)} ${latest}`,
          sql`select * from ${logs} where ${isOwn} and status = 'failure' and timestamp >= now() - interval '1 day' ${latest}`,
          sql`select * from ${logs} where ${isOwn} and ${eq(logs.executionId, randomUUID())} ${latest}`,
          sql`select * from ${logs} where ${isOwn} and ${eq(logs.agentId, own.agentId)} and quality_score < 50 ${latest}`,
          sql`select * from ${logs} where ${isOwn} and ${eq(logs.id, idOf(0))}`,
          sql`select * from ${logs} join ${fleet.executionEmbeddings} on ${eq(logs.id, fleet.executionEmbeddings.executionLogId)}
          and ${eq(logs.organizationId, fleet.executionEmbeddings.organizationId)} where ${isOwn}`,
        ]) {
          expect(await tasks(asked)).toBe("1");
        }
        // Without it, all of them.
        expect(Number(await tasks(sql`select * from ${logs} ${latest}`))).toBeGreaterThan(1);
      },
    );

    test("its policies have no sub-select, and its keys the organization", async () => {
      const tables =
        "('public.agent_execution_logs', 'public.execution_embeddings', 'meta_agent.agent_keys', 'meta_agent.prompt_keys')";
      const found = await database.query(`
        select 'policy ' || polname as what from pg_policy
          where polrelid = any (select t::regclass from unnest(array[${tables.slice(1, -1)}]) as t) and concat(polqual, polwithcheck) ~ 'SUBLINK'
        union all
        select 'unique ' || indexrelid::regclass from pg_index as i
          where indisunique and indrelid = any (select t::regclass from unnest(array[${tables.slice(1, -1)}]) as t) and not exists (
            select from pg_attribute where attrelid = indrelid and attname = 'organization_id' and attnum = any (i.indkey::int2[]))
        union all
        select 'reference ' || conname from pg_constraint as c
          where contype = 'f' and conrelid = any (select t::regclass from unnest(array[${tables.slice(1, -1)}]) as t) and not exists (
            select from pg_attribute where attrelid = conrelid and attname = 'organization_id' and attnum = any (c.conkey))`);
      expect(found).toEqual([]);
    });
  },
  openHybrid,
);
