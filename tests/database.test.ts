import { and, eq, sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { type Transaction, rows } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import { databaseError } from "../src/client/errors.ts";
import {
  type NewAgentPrompt,
  agentExecutionLogs,
  agentPerformanceMetrics,
  agentPrompts,
  agentRegistry,
  canaryDeployments,
  modelRoutingRules,
} from "../src/schema/index.ts";
import {
  newAgent,
  newCanary,
  newExecutionLog,
  newPerformanceMetric,
  newPrompt,
  newRoutingRule,
} from "../src/testing.ts";
import { suite } from "./engine.ts";

const ORGANIZATION = "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10";

async function refusal(work: Promise<unknown>) {
  return databaseError(await work.catch((error: unknown) => error));
}

suite("the database keeps its own rules", (database) => {
  test.each([
    ["isActive", "agent_prompts_one_active"],
    ["isBaseline", "agent_prompts_one_baseline"],
  ] as const)(
    "%s moves to another prompt in two statements, and two prompts of an agent never have it",
    async (flag, constraint) => {
      const agent = newAgent();
      const [a, b] = [
        newPrompt({ agentId: agent.id, [flag]: true }),
        newPrompt({ agentId: agent.id }),
      ];
      const raise = (tx: Transaction, id: string) =>
        tx
          .update(agentPrompts)
          .set({ [flag]: true })
          .where(eq(agentPrompts.id, id));
      await withOrganization(database.db, ORGANIZATION, async (tx) => {
        await tx.insert(agentRegistry).values(agent);
        await tx.insert(agentPrompts).values([a, b]);
        for (const chosen of [b, a, b]) {
          await tx
            .update(agentPrompts)
            .set({ [flag]: false })
            .where(and(eq(agentPrompts.agentId, agent.id), eq(agentPrompts[flag], true)));
          await raise(tx, chosen.id);
          const having = await tx
            .select({ id: agentPrompts.id })
            .from(agentPrompts)
            .where(and(eq(agentPrompts.agentId, agent.id), agentPrompts[flag]));
          expect(having).toEqual([{ id: chosen.id }]);
        }
      });
      const second = withOrganization(database.db, ORGANIZATION, (tx) => raise(tx, a.id));
      expect(await refusal(second)).toMatchObject({ code: "23505", constraint });
    },
  );

  test("ON CONFLICT works on prompts: without a target, by a key, and by the one active version", async () => {
    const agent = newAgent();
    const first = newPrompt({ agentId: agent.id, version: "1", isActive: true, isBaseline: true });
    await withOrganization(database.db, ORGANIZATION, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      const versions = () =>
        tx
          .select({ id: agentPrompts.id, changeReason: agentPrompts.changeReason })
          .from(agentPrompts)
          .where(eq(agentPrompts.agentId, agent.id));
      const insert = (values: NewAgentPrompt) => tx.insert(agentPrompts).values(values);
      // The id, the version, the active one, the baseline: whichever is taken.
      const { id, version, isActive, isBaseline } = first;
      for (const taken of [{ id }, { version }, { isActive }, { isBaseline }]) {
        await insert(first).onConflictDoNothing();
        await insert(newPrompt({ agentId: agent.id, ...taken })).onConflictDoNothing();
        expect(await versions()).toEqual([{ id, changeReason: null }]);
      }
      const { agentId } = agentPrompts;
      for (const [changeReason, taken, conflict] of [
        ["by id", { id }, { target: agentPrompts.id }],
        ["by version", { version }, { target: [agentId, agentPrompts.version] }],
        [
          "by active",
          { isActive },
          { target: agentId, targetWhere: sql`${agentPrompts.isActive}` },
        ],
        [
          "by baseline",
          { isBaseline },
          { target: agentId, targetWhere: sql`${agentPrompts.isBaseline}` },
        ],
      ] as const) {
        await insert(newPrompt({ agentId: agent.id, ...taken })).onConflictDoUpdate({
          ...conflict,
          target: [conflict.target].flat(),
          set: { changeReason },
        });
        expect(await versions()).toEqual([{ id, changeReason }]);
      }
    });
  });

  test("a day without a prompt version is stored once", async () => {
    const agent = newAgent();
    const day = newPerformanceMetric({ agentId: agent.id });
    const again = withOrganization(database.db, ORGANIZATION, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      await tx.insert(agentPerformanceMetrics).values(day);
      await tx.insert(agentPerformanceMetrics).values(newPerformanceMetric({ agentId: agent.id }));
    });
    expect((await refusal(again))?.code).toBe("23505");
  });

  test("the four tables with updated_at have its trigger, the breakers' those of their mirror, and no table another", async () => {
    const triggers = await database.query<{ name: string }>(
      "select tgrelid::regclass::text || ': ' || tgname as name from pg_trigger where not tgisinternal order by 1",
    );
    expect(triggers.map(({ name }) => name)).toEqual([
      "ab_tests: ab_tests_updated_at",
      "agent_registry: agent_registry_updated_at",
      "circuit_breaker_state: circuit_breaker_state_mirrored",
      "circuit_breaker_state: circuit_breaker_state_mirrored_new",
      "cost_budgets: cost_budgets_updated_at",
      "improvement_proposals: improvement_proposals_updated_at",
    ]);
  });

  test("updated_at moves with an update and created_at stays", async () => {
    const agent = newAgent({
      updatedAt: new Date("2020-01-01"),
      createdAt: new Date("2020-01-01"),
    });
    await withOrganization(database.db, ORGANIZATION, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      const [updated] = await tx
        .update(agentRegistry)
        .set({ status: "paused", updatedAt: new Date("2020-01-02") })
        .where(eq(agentRegistry.id, agent.id))
        .returning();
      expect(updated?.createdAt).toEqual(new Date("2020-01-01"));
      expect(updated?.updatedAt.getTime()).toBeGreaterThan(Date.parse("2026-01-01"));
    });
  });

  test("rows come back as they went in: dollars exact, dates and JSON unchanged", async () => {
    const agent = newAgent({
      targetCostPerExecution: "123456789012.123456789012345678",
      targetSuccessRate: 99.95,
      metadata: { text: "ünï 𝄞 \\ \" '", list: [1, null, "2"], deep: { yes: true } },
    });
    const conditions = ["123", 123, true, null, [], { a: 1 }, "null", ""];
    await withOrganization(database.db, ORGANIZATION, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      const [stored] = await tx.select().from(agentRegistry).where(eq(agentRegistry.id, agent.id));
      expect(stored).toMatchObject({ ...agent, organizationId: ORGANIZATION });
      for (const conditionValue of conditions.filter((value) => value !== null)) {
        const rule = newRoutingRule({ agentId: agent.id, conditionValue });
        const [kept] = await tx.insert(modelRoutingRules).values(rule).returning();
        expect(kept?.conditionValue).toStrictEqual(conditionValue);
      }
      const day = newPerformanceMetric({
        agentId: agent.id,
        date: "2026-02-28",
        totalCostUsd: "0.0000004",
      });
      const [metric] = await tx.insert(agentPerformanceMetrics).values(day).returning();
      expect(metric).toMatchObject({ date: "2026-02-28", totalCostUsd: "0.0000004" });
      const [control, treatment] = [
        newPrompt({ agentId: agent.id }),
        newPrompt({ agentId: agent.id }),
      ];
      await tx.insert(agentPrompts).values([control, treatment]);
      const canary = newCanary({
        agentId: agent.id,
        currentPromptId: control.id,
        canaryPromptId: treatment.id,
      });
      const [deployed] = await tx.insert(canaryDeployments).values(canary).returning();
      expect(deployed?.stages).toEqual([{ traffic: 0.1 }, { traffic: 1 }]);
    });
  });

  test("dollars are exact, but for nested rows of relational queries, which are rounded", async () => {
    const cost = "123456789.123456789012345678";
    const agent = newAgent();
    await withOrganization(database.db, ORGANIZATION, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      await tx
        .insert(agentExecutionLogs)
        .values(newExecutionLog({ agentId: agent.id, estimatedCostUsd: cost }));
      const [log] = await tx
        .select()
        .from(agentExecutionLogs)
        .where(eq(agentExecutionLogs.agentId, agent.id));
      expect(log?.estimatedCostUsd).toBe(cost);
      const found = await tx.query.agentRegistry.findFirst({
        where: eq(agentRegistry.id, agent.id),
        with: { executionLogs: true },
      });
      expect(Number(found?.executionLogs[0]?.estimatedCostUsd)).toBeCloseTo(Number(cost), 6);
    });
  });

  test("a backend's row without an organization is the platform's, and no tenant sees it", async () => {
    const agent = newAgent();
    const [stored] = await withServiceRole(database.db, (tx) =>
      tx.insert(agentRegistry).values(agent).returning(),
    );
    expect(stored?.organizationId).toBeNull();
    const seen = await withOrganization(database.db, ORGANIZATION, (tx) =>
      tx.select().from(agentRegistry).where(eq(agentRegistry.id, agent.id)),
    );
    expect(seen).toEqual([]);
  });

  test("instants are read as they were written, in old time zones and far years too", async () => {
    const instants = [
      "0001-01-01T00:00:00.000Z",
      "0049-06-01T12:00:00.001Z",
      "1850-01-01T00:00:00.999Z",
      "9999-12-31T23:59:59.999Z",
    ].map((text) => new Date(text));
    await withOrganization(database.db, ORGANIZATION, async (tx) => {
      for (const zone of ["UTC", "Europe/Amsterdam", "America/St_Johns", "Asia/Kathmandu"]) {
        await tx.execute(sql.raw(`set local time zone '${zone}'`));
        for (const createdAt of instants) {
          const [agent] = await tx
            .insert(agentRegistry)
            .values(newAgent({ createdAt }))
            .returning();
          expect(agent?.createdAt, zone).toEqual(createdAt);
        }
      }
      await tx.execute(sql`set local datestyle = 'SQL, DMY'`);
      await expect(tx.select().from(agentRegistry)).rejects.toThrow("as DateStyle ISO writes it");
    });
  });

  test("log keys are time-ordered version 7 uuids", async () => {
    const agent = newAgent();
    await withOrganization(database.db, ORGANIZATION, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      const { id: _, ...log } = newExecutionLog({ agentId: agent.id });
      const [first] = await tx.insert(agentExecutionLogs).values(log).returning();
      await tx.execute(sql`select pg_sleep(0.002)`);
      const [second] = await tx.insert(agentExecutionLogs).values(log).returning();
      for (const row of [first, second]) {
        expect(row?.id).toMatch(
          /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
        );
      }
      expect((first?.id ?? "") < (second?.id ?? "")).toBe(true);
    });
  });

  test("uuidv7_at, _floor and _time agree to the millisecond, and are marked as what they are", async () => {
    const [row] = await database.query<Record<string, string | null>>(
      `select meta_agent.uuidv7_time(meta_agent.uuidv7_at(t))::text as at,
         meta_agent.uuidv7_time(meta_agent.uuidv7_floor(t))::text as floor,
         (meta_agent.uuidv7_floor(t) <= meta_agent.uuidv7_at(t))::text as below,
         (meta_agent.uuidv7_at(t) < meta_agent.uuidv7_floor(t + interval '1 ms'))::text as above,
         (meta_agent.uuidv7_at(t) <> meta_agent.uuidv7_at(t))::text as random,
         meta_agent.uuidv7_floor('1969-01-01')::text as early,
         meta_agent.uuidv7_time('00000000-0000-4000-8000-000000000000')::text as other
       from (select timestamptz '2024-02-29 23:59:59.123456+00' as t) as instant`,
    );
    expect(row).toEqual({
      at: expect.stringContaining("59.123"),
      floor: expect.stringContaining("59.123"),
      below: "true",
      above: "true",
      random: "true",
      early: "00000000-0000-7000-8000-000000000000",
      other: null,
    });
    const marks = await database.query(
      "select proname::text as name, provolatile::text as volatility from pg_proc where pronamespace = 'meta_agent'::regnamespace and proname like 'uuidv7%' order by 1",
    );
    expect(marks).toEqual([
      { name: "uuidv7", volatility: "v" },
      { name: "uuidv7_at", volatility: "v" },
      { name: "uuidv7_floor", volatility: "i" },
      { name: "uuidv7_time", volatility: "i" },
    ]);
  });

  test("the seed's own queries find auth.jwt(), auth.uid() and auth.role()", async () => {
    const claims = { sub: ORGANIZATION, role: "authenticated", organization_id: ORGANIZATION };
    const result = await withOrganization(database.db, claims, (tx) =>
      tx.execute(
        sql`select auth.jwt() ->> 'organization_id' as organization, auth.uid()::text as uid, auth.role() as role`,
      ),
    );
    expect(rows(result)).toEqual([
      { organization: ORGANIZATION, uid: ORGANIZATION, role: "authenticated" },
    ]);
  });

  test("relations answer nested queries", async () => {
    const agent = newAgent();
    const parent = newPrompt({ agentId: agent.id });
    const child = newPrompt({ agentId: agent.id, parentVersionId: parent.id });
    await withOrganization(database.db, ORGANIZATION, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      await tx.insert(agentPrompts).values(parent);
      await tx.insert(agentPrompts).values(child);
      const found = await tx.query.agentRegistry.findFirst({
        where: eq(agentRegistry.id, agent.id),
        with: { prompts: { with: { parentVersion: true, childVersions: true } }, health: true },
      });
      expect(found?.health).toBeNull();
      expect(found?.prompts.find(({ id }) => id === child.id)?.parentVersion?.id).toBe(parent.id);
      expect(found?.prompts.find(({ id }) => id === parent.id)?.childVersions).toMatchObject([
        { id: child.id },
      ]);
    });
  });
});
