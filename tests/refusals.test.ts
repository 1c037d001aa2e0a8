import { inspect } from "node:util";
import { eq, sql } from "drizzle-orm";
import { expect, test } from "vitest";
import * as z from "zod";
import { databaseError } from "../src/client/errors.ts";
import type { Transaction } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import { fromDatabaseError } from "../src/validation/refusals.ts";
import {
  abTests,
  agentDependencies,
  agentPrompts,
  agentRegistry,
  evaluationReports,
} from "../src/schema/index.ts";
import {
  newAbTest,
  newAgent,
  newDependency,
  newEvaluationReport,
  newPrompt,
} from "../src/testing.ts";
import { suite } from "./engine.ts";

const [A, B] = ["7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10", "0c9d1a52-77aa-4c55-8d2e-5b1b5c1f6e01"];

suite("PostgreSQL's refusals in a validator's words", (database) => {
  /** What PostgreSQL says to the work, as path and message of the one issue. */
  async function said(work: (tx: Transaction) => Promise<unknown>, organization = A) {
    const thrown: unknown = await withOrganization(database.db, organization, work).catch(
      (error: unknown) => error,
    );
    const error = fromDatabaseError(thrown);
    if (!(error instanceof z.ZodError)) throw error;
    expect(error.issues).toHaveLength(1);
    expect(databaseError(error.cause)).toMatchObject({ code: databaseError(thrown)?.code });
    return error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`)[0];
  }
  const insertAgent = (given: Parameters<typeof newAgent>[0]) => (tx: Transaction) =>
    tx.insert(agentRegistry).values(newAgent(given));

  test("a broken CHECK names column and rule", async () => {
    expect(await said(insertAgent({ targetSuccessRate: 101 }))).toBe(
      "targetSuccessRate: expected percent, 0 to 100",
    );
    expect(await said(insertAgent({ agentName: "" }))).toBe(
      "agentName: expected text of 1 to 255 characters",
    );
    expect(
      await said((tx) =>
        tx.execute(
          sql`insert into agent_registry (agent_name, display_name, category) values ('x', 'x', 'Sales')`,
        ),
      ),
    ).toBe("category: expected one of client_success, marketing, sales, operations, internal");
  });

  test("a broken rule between columns names the column to blame and the other", async () => {
    const agent = newAgent();
    const report = newEvaluationReport({ agentId: agent.id, evaluationPeriodEnd: "2026-01-01" });
    const work = async (tx: Transaction) => {
      await tx.insert(agentRegistry).values(agent);
      await tx.insert(evaluationReports).values(report);
    };
    expect(await said(work)).toBe(
      "evaluationPeriodEnd: evaluationPeriodEnd must not be before or below evaluationPeriodStart",
    );
  });

  test("a missing value, a taken one, one taken together with another", async () => {
    expect(
      await said((tx) =>
        tx.execute(sql`insert into agent_registry (display_name, category) values ('x', 'sales')`),
      ),
    ).toBe("agentName: missing, expected a value");
    const agent = newAgent();
    await withOrganization(database.db, B, (tx) => tx.insert(agentRegistry).values(agent));
    expect(await said(insertAgent({ agentName: agent.agentName }))).toBe(
      "agentName: taken: must be unique",
    );
    expect(await said(insertAgent({ id: agent.id }))).toBe("id: taken: a row with this id exists");
    const prompts = (tx: Transaction) =>
      tx
        .insert(agentPrompts)
        .values([1, 2].map(() => newPrompt({ agentId: agent.id, version: "1" })));
    expect(await said(prompts, B)).toBe("agentId: taken together with version: must be unique");
  });

  test.each([
    [
      "active",
      "isActive",
      "another prompt of this agent is active, and only one may be: promotePrompt moves it",
    ],
    [
      "baseline",
      "isBaseline",
      "another prompt of this agent is the baseline, and only one may be: setBaseline moves it",
    ],
  ])("a second %s prompt, and what moves the flag", async (_, flag, words) => {
    const agent = newAgent();
    const work = async (tx: Transaction) => {
      await tx.insert(agentRegistry).values(agent);
      await tx
        .insert(agentPrompts)
        .values([1, 2].map(() => newPrompt({ agentId: agent.id, [flag]: true })));
    };
    expect(await said(work)).toBe(`${flag}: ${words}`);
  });

  test("a reference to nothing, and a row that others refer to", async () => {
    const dangling = withServiceRole(database.db, (tx) =>
      tx.insert(agentPrompts).values(newPrompt({ agentId: A })),
    );
    expect(fromDatabaseError(await dangling.catch((error: unknown) => error))).toMatchObject({
      issues: [{ path: ["agentId"], message: "no row of agent_registry has this id" }],
    });
    const agent = newAgent();
    const work = async (tx: Transaction) => {
      await tx.insert(agentRegistry).values(agent);
      await tx.insert(agentPrompts).values(newPrompt({ agentId: agent.id }));
      await tx.delete(agentRegistry).where(eq(agentRegistry.id, agent.id));
    };
    expect(await said(work)).toBe("id: still referred to by agent_prompts: agentId");
  });

  test("row-level security names the organization and the references as candidates", async () => {
    const agent = newAgent();
    await withOrganization(database.db, B, (tx) => tx.insert(agentRegistry).values(agent));
    const work = (tx: Transaction) =>
      tx
        .insert(abTests)
        .values(newAbTest({ agentId: agent.id, controlPromptId: A, treatmentPromptId: B }));
    expect(await said(work)).toBe(
      ": row-level security refused a row of ab_tests. Either organizationId is not the caller's organization, or the caller has none; or agentId, improvementProposalId, controlPromptId, treatmentPromptId: the row referred to belongs to another organization or was not there before this statement",
    );
    const dependency = newDependency({ upstreamAgentId: agent.id, downstreamAgentId: A });
    expect(await said((tx) => tx.insert(agentDependencies).values(dependency))).toContain(
      "upstreamAgentId, downstreamAgentId: the row referred to",
    );
  });

  test("SQLSTATE, table and constraint stay readable", async () => {
    const thrown: unknown = await withOrganization(
      database.db,
      A,
      insertAgent({ targetSuccessRate: -1 }),
    ).catch((error: unknown) => error);
    expect(fromDatabaseError(thrown)).toMatchObject({
      issues: [
        {
          code: "custom",
          params: {
            sqlstate: "23514",
            table: "agent_registry",
            constraint: "agent_registry_target_success_rate_check",
          },
        },
      ],
    });
  });

  test("a refusal is an Error with a stack, and is read in words", async () => {
    const thrown: unknown = await withOrganization(
      database.db,
      A,
      insertAgent({ targetSuccessRate: 101 }),
    ).catch((error: unknown) => error);
    const error = fromDatabaseError(thrown);
    if (!(error instanceof Error)) throw new TypeError("not an Error");
    expect(error).toBeInstanceOf(z.ZodError);
    expect(error.message).toBe("✖ expected percent, 0 to 100\n  → at targetSuccessRate");
    expect(error.stack).toMatch(/^ZodError: ✖ expected percent.*\n.*targetSuccessRate\n +at /);
    expect(error.stack).toContain("refusals.test.ts");
    const printed = inspect(error);
    expect(printed).toContain("expected percent, 0 to 100");
    expect(printed).not.toContain("[Getter/Setter]");
  });

  test("anything else passes through untouched", async () => {
    const others: unknown[] = [new Error("x"), "text", undefined, null, { code: "23514" }];
    for (const other of others) expect(fromDatabaseError(other)).toBe(other);
    const missing: unknown = await database.db
      .execute(sql`select * from nowhere`)
      .catch((error: unknown) => error);
    expect(fromDatabaseError(missing)).toBe(missing);
    const foreign: unknown = await database
      .rolledBack(async (query) => {
        await query("create table theirs (a int constraint theirs_a_check check (a > 0))");
        await query("insert into theirs values (0)");
      })
      .catch((error: unknown) => error);
    expect(foreign).toBeInstanceOf(Error);
    expect(fromDatabaseError(foreign)).toBe(foreign);
  });
});
