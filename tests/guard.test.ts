import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { context, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { BasicTracerProvider } from "@opentelemetry/sdk-trace-base";
import { and, asc, eq } from "drizzle-orm";
import { expect, onTestFinished, test } from "vitest";
import { executionLogId } from "../src/client/keys.ts";
import type { Transaction } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { acquireExecution, recordOutcome } from "../src/fleet/breaker.ts";
import { budgetStatus, expireExecutions } from "../src/fleet/budgets.ts";
import {
  type GuardOptions,
  type GuardedWork,
  UnrecordedExecutionError,
  guardedExecution,
} from "../src/fleet/guard.ts";
import { AgentSpanProcessor } from "../src/otel.ts";
import {
  type NewCircuitBreaker,
  agentExecutionLogs,
  agentRegistry,
  circuitBreakerState,
  costBudgets,
} from "../src/schema/index.ts";
import { newAgent } from "../src/testing.ts";
import { suite } from "./engine.ts";

suite("guardedExecution", (database) => {
  async function newFleet(limit = "1", breaker: Partial<NewCircuitBreaker> = {}) {
    const [organization, agent] = [randomUUID(), newAgent()];
    const as = <T>(work: (tx: Transaction) => Promise<T>) =>
      withOrganization(database.db, organization, work);
    await as(async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      await tx
        .insert(costBudgets)
        .values({ agentId: agent.id, dailyBudgetUsd: limit, onDailyExceeded: "throttle" });
      await tx.insert(circuitBreakerState).values({ agentId: agent.id, ...breaker });
    });
    const guarded = <T>(
      work: (given: GuardedWork) => T | PromiseLike<T>,
      given: Partial<GuardOptions<T>> = {},
    ) =>
      guardedExecution(
        database.db,
        { organization, agentId: agent.id, usd: "0.4", ...given },
        work,
      );
    const logs = () =>
      as((tx) =>
        tx
          .select()
          .from(agentExecutionLogs)
          .where(eq(agentExecutionLogs.agentId, agent.id))
          .orderBy(asc(agentExecutionLogs.id)),
      );
    const spent = async () => {
      const [daily] = await as((tx) => budgetStatus(tx, { agentId: agent.id }));
      return Number(daily?.spentUsd);
    };
    const circuit = async () => {
      const [state] = await as((tx) =>
        tx.select().from(circuitBreakerState).where(eq(circuitBreakerState.agentId, agent.id)),
      );
      return state;
    };
    return { organization, agent, as, guarded, logs, spent, circuit };
  }

  test("what ran is a row with its columns, and the budget has what it cost", async () => {
    const { guarded, logs, spent } = await newFleet();
    const seen: unknown[] = [];
    const call = await guarded(
      async (given) => {
        const [running] = await logs();
        seen.push(given, running?.status, await spent());
        return { text: "because", usd: "0.25" };
      },
      {
        actionName: "answer",
        inputData: { question: "why?" },
        columns: ({ text, usd }) => ({ outputData: { text }, estimatedCostUsd: usd }),
      },
    );
    if (!call.allowed) throw new Error("refused");
    const { logId, executionId, result } = call;
    expect(result.text).toBe("because");
    expect(seen).toEqual([{ logId, executionId, signal: expect.any(AbortSignal) }, "running", 0.4]);
    expect(await logs()).toMatchObject([
      {
        id: logId,
        executionId,
        status: "success",
        actionType: "agent_run",
        actionName: "answer",
        inputData: { question: "why?" },
        outputData: { text: "because" },
        estimatedCostUsd: "0.25",
        latencyMs: expect.any(Number),
      },
    ]);
    expect(await spent()).toBe(0.25);
  });

  test("a budget that has no room refuses: nothing runs, no row is written, nothing is thrown", async () => {
    const { guarded, logs, spent, agent } = await newFleet("0.3");
    let ran = false;
    const call = await guarded(() => (ran = true));
    const midnight = new Date(new Date().setUTCHours(24, 0, 0, 0));
    expect(call).toMatchObject({
      allowed: false,
      by: "budget",
      retryAt: midnight,
      exceeded: [{ agentId: agent.id, window: "daily", action: "throttle" }],
    });
    expect([ran, await logs(), await spent()]).toEqual([false, [], 0]);
  });

  test("an open breaker refuses, and says when to try again", async () => {
    const { guarded, logs, spent } = await newFleet("1", {
      state: "open",
      openedAt: new Date(),
      cooldownSeconds: 600,
    });
    const call = await guarded(() => 1);
    expect(call).toMatchObject({ allowed: false, by: "breaker", exceeded: [] });
    if (call.allowed || !call.retryAt) throw new Error("it says when");
    expect(call.retryAt.getTime()).toBeGreaterThan(Date.now() + 500_000);
    expect([await logs(), await spent()]).toEqual([[], 0]);
  });

  test("a probe that the budget refuses gives its ticket back", async () => {
    const { guarded, circuit, as, agent } = await newFleet("0.3", {
      state: "open",
      openedAt: new Date(Date.now() - 60_000),
      cooldownSeconds: 1,
    });
    expect(await guarded(() => 1)).toMatchObject({ allowed: false, by: "budget" });
    expect(await circuit()).toMatchObject({ state: "open", halfOpenAt: null });
    const { allowed } = await as((tx) => acquireExecution(tx, { agentId: agent.id }));
    expect(allowed).toBe(true);
  });

  test("a probe closes the breaker, and one that fails opens it again", async () => {
    const open = {
      state: "open",
      openedAt: new Date(Date.now() - 60_000),
      successThreshold: 1,
    } as const;
    const well = await newFleet("1", open);
    expect(await well.guarded(() => 1)).toMatchObject({ allowed: true });
    expect(await well.circuit()).toMatchObject({ state: "closed", failureCount: 0 });
    const ill = await newFleet("1", open);
    await expect(ill.guarded(() => Promise.reject(new Error("down")))).rejects.toThrow("down");
    expect((await ill.circuit())?.state).toBe("open");
    expect(await ill.guarded(() => 1)).toMatchObject({ allowed: false, by: "breaker" });
  });

  test.each<[string, (signal: AbortSignal, abort: () => void) => Promise<never>, object, object]>([
    [
      "an error",
      () => Promise.reject(new RangeError("no\0such page")),
      { status: "failure", errorType: "RangeError", errorMessage: "no\uFFFDsuch page" },
      { failureCount: 1 },
    ],
    [
      "a time-out, heard",
      async (signal) => {
        await sleep(20_000, undefined, { signal });
        throw new Error("never");
      },
      { status: "timeout" },
      { failureCount: 1 },
    ],
    [
      "a time-out, not heard",
      async () => new Promise<never>(() => {}),
      { status: "timeout", errorType: "TimeoutError" },
      { failureCount: 1 },
    ],
    [
      "an abort",
      async (_, abort) => {
        abort();
        return new Promise<never>(() => {});
      },
      { status: "cancelled", errorType: "AbortError" },
      { failureCount: 0 },
    ],
  ])("%s is recorded, told to the breaker, and thrown on", async (_, work, row, breaker) => {
    const { guarded, logs, spent, circuit } = await newFleet();
    const controller = new AbortController();
    const call = guarded(({ signal }) => work(signal, () => controller.abort()), {
      signal: controller.signal,
      timeoutMs: 500,
    });
    await expect(call).rejects.toBeInstanceOf(Object);
    expect(await logs()).toMatchObject([{ ...row, estimatedCostUsd: "0.4" }]);
    expect(await circuit()).toMatchObject({ state: "closed", ...breaker });
    // Without a cost the estimate stands: the call may have cost.
    expect(await spent()).toBe(0.4);
  });

  test("an outcome opens the breaker, once a run", async () => {
    const { guarded, circuit } = await newFleet("100", { failureThreshold: 3 });
    for (let n = 0; n < 3; n += 1)
      await expect(guarded(() => Promise.reject(new Error("down")))).rejects.toThrow("down");
    expect(await circuit()).toMatchObject({ state: "open", failureCount: 3 });
  });

  test("columns that no row can hold are left out, and told; the result is the caller's", async () => {
    const { guarded, logs } = await newFleet();
    for (const columns of [
      () => ({ tokenCountInput: -1 }),
      () => {
        throw new Error("no usage");
      },
    ]) {
      const told: UnrecordedExecutionError[] = [];
      const call = await guarded(() => "kept", {
        id: executionLogId(new Date(), randomUUID()),
        usd: "0.01",
        columns,
        onUnrecorded: (error) => told.push(error),
      });
      expect(call).toMatchObject({ allowed: true, result: "kept" });
      expect(told).toHaveLength(1);
      expect(told[0]).toBeInstanceOf(UnrecordedExecutionError);
      expect(told[0]?.message).toMatch(/recorded without its columns/);
    }
    expect((await logs()).map(({ status }) => status)).toEqual(["success", "success"]);
  });

  test("an end that cannot be recorded is told; the row runs on, until it expires", async () => {
    const { guarded, logs, as, spent } = await newFleet();
    const told: UnrecordedExecutionError[] = [];
    const rights = (verb: string) =>
      database.query(
        `${verb} update on agent_execution_logs ${verb === "revoke" ? "from" : "to"} authenticated`,
      );
    onTestFinished(async () => {
      await rights("grant");
    });
    const call = await guarded(
      async () => {
        await rights("revoke");
        return "kept";
      },
      { onUnrecorded: (error) => told.push(error) },
    );
    await rights("grant");
    expect(call).toMatchObject({ allowed: true, result: "kept" });
    expect(told.map(({ message }) => message)).toEqual([
      "guardedExecution: its end was not recorded: it runs on until expireExecutions, or recording its id, ends it",
    ]);
    expect(await logs()).toMatchObject([{ status: "running" }]);
    expect(await spent()).toBe(0.4);
    await as((tx) => expireExecutions(tx, { olderThan: new Date(Date.now() + 1000) }));
    expect(await logs()).toMatchObject([{ status: "timeout", errorType: "expired" }]);
    expect(await spent()).toBe(0);
  });

  test("an aborted signal lets nothing begin", async () => {
    const { guarded, logs } = await newFleet();
    await expect(guarded(() => 1, { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
    expect(await logs()).toEqual([]);
  });

  test("no transaction is open while the work runs", async () => {
    const { guarded, as, agent } = await newFleet();
    const call = await guarded(async () =>
      as((tx) => recordOutcome(tx, { agentId: agent.id, outcome: "success" })),
    );
    expect(call).toMatchObject({ allowed: true, result: { state: "closed" } });
  });

  test("another organization's agent is as a missing one", async () => {
    const [ours, theirs] = [await newFleet(), await newFleet()];
    await expect(ours.guarded(() => 1, { agentId: theirs.agent.id })).rejects.toThrow(
      `no agent ${theirs.agent.id}`,
    );
  });

  test("spans inside of it are of its execution, and the outermost run completes its row", async () => {
    const { guarded, logs, agent, as } = await newFleet();
    const manager = new AsyncLocalStorageContextManager().enable();
    context.setGlobalContextManager(manager);
    const processor = new AgentSpanProcessor({
      db: database.db,
      organization: randomUUID(),
      cost: () => "0.02",
      charge: true,
    });
    const provider = new BasicTracerProvider({ spanProcessors: [processor] });
    onTestFinished(async () => {
      await provider.shutdown();
      context.disable();
      manager.disable();
    });
    const tracer = provider.getTracer("test");
    const span = async (
      name: string,
      attributes: Record<string, string | number>,
      inside?: () => Promise<unknown>,
    ) =>
      tracer.startActiveSpan(name, { attributes }, async (active) => {
        await inside?.();
        active.end();
      });
    const run = (name: string, inside?: () => Promise<unknown>) =>
      span(
        `invoke_agent ${name}`,
        {
          "gen_ai.operation.name": "invoke_agent",
          "gen_ai.agent.name": name,
          "input.value": `ask ${name}`,
        },
        inside,
      );
    const call = () =>
      span("chat gpt", {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt",
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 7,
      });
    const outcome = await guarded(async () => {
      await run("whoever", async () => {
        await call();
        await run("helper", call);
      });
      await run("again");
    });
    expect(trace.getActiveSpan()).toBeUndefined();
    if (!outcome.allowed) throw new Error("refused");
    await processor.forceFlush();
    expect(processor.counts).toMatchObject({ inserted: 4, lost: 0 });
    const ours = await logs();
    expect(
      ours.map((row) => [row.actionType, row.actionName, row.executionId, row.estimatedCostUsd]),
    ).toEqual(
      expect.arrayContaining([
        ["agent_run", agent.agentName, outcome.executionId, "0"],
        ["llm_call", "gpt", outcome.executionId, "0.02"],
        ["agent_step", agent.agentName, outcome.executionId, null],
      ]),
    );
    expect(ours).toHaveLength(3);
    expect(ours.find(({ id }) => id === outcome.logId)?.inputData).toBe("ask whoever");
    const all = await as((tx) =>
      tx
        .select({ agentId: agentExecutionLogs.agentId, actionType: agentExecutionLogs.actionType })
        .from(agentExecutionLogs)
        .where(and(eq(agentExecutionLogs.executionId, outcome.executionId))),
    );
    expect(all).toHaveLength(5);
    expect(
      all
        .filter(({ agentId }) => agentId !== agent.id)
        .map(({ actionType }) => actionType)
        .toSorted((a, b) => (a < b ? -1 : 1)),
    ).toEqual(["agent_run", "llm_call"]);
    // What the run reserved is given back: its calls cost what they cost.
    const [daily] = await as((tx) => budgetStatus(tx, { agentId: agent.id }));
    expect(Number(daily?.spentUsd)).toBe(0.02);
  });
});
