import { randomUUID } from "node:crypto";
import { eq } from "drizzle-orm";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { Transaction } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import {
  type Outcome,
  acquireExecution,
  foldOutcomes,
  recordOutcome,
  resetCircuit,
} from "../src/fleet/breaker.ts";
import {
  type CircuitBreaker,
  agentHealthRealtime,
  agentRegistry,
  circuitBreakerState,
} from "../src/schema/index.ts";
import { newAgent, newCircuitBreaker, newHealth } from "../src/testing.ts";
import { BreakerModel } from "./breaker-model.ts";
import { suite } from "./engine.ts";

const RUNS = Number(process.env["PROPERTY_RUNS"] ?? 200);
const SEED = process.env["PROPERTY_SEED"];

const START = new Date("2026-03-01T12:00:00.000Z");
const SECOND = 1000;
const after = (milliseconds: number) => new Date(+START + milliseconds);

const anyOutcome = fc.constantFrom<Outcome[]>("success", "failure");
/** With no ticket, with the current one, or with one from before. */
const anyTicket = fc.constantFrom(-1, 0, 0, 1, 2);
const step = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(0, 1, 400, 1000, 5000).map((wait) => ({ wait })) },
  { weight: 3, arbitrary: fc.constant({ acquire: true } as const) },
  { weight: 4, arbitrary: fc.record({ outcome: anyOutcome, ticket: anyTicket }) },
  {
    weight: 3,
    arbitrary: fc
      .array(
        fc.record({
          outcome: anyOutcome,
          ticket: anyTicket,
          at: fc.integer({ min: -3000, max: 1000 }),
        }),
        {
          minLength: 1,
          maxLength: 4,
        },
      )
      .map((batch) => ({ batch })),
  },
  {
    weight: 1,
    arbitrary: fc
      .record({ failures: fc.nat(3), successes: fc.nat(3), cooldown: fc.constantFrom(0, 1, 5) })
      .map((thresholds) => ({ thresholds })),
  },
  { weight: 1, arbitrary: fc.constant({ reset: true } as const) },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

suite("the circuit breaker", (database) => {
  /** An agent of a tenant, with a breaker if one is given, and what callers do with it. */
  async function subject(
    given?: Partial<CircuitBreaker>,
    organizationId: string | null = randomUUID(),
  ) {
    const { id: agentId, ...agent } = newAgent({ organizationId });
    await database.db.insert(agentRegistry).values({ id: agentId, ...agent });
    if (given) {
      await database.db
        .insert(circuitBreakerState)
        .values(newCircuitBreaker({ agentId, organizationId, ...given }));
    }
    const act = <T>(work: (tx: Transaction) => Promise<T>): Promise<T> =>
      organizationId === null
        ? withServiceRole(database.db, work)
        : withOrganization(database.db, organizationId, work);
    return {
      agentId,
      organizationId,
      act,
      acquire: (now = START) => act((tx) => acquireExecution(tx, { agentId, now })),
      report: (outcome: Outcome, now = START, probe: Date | null = null) =>
        act((tx) => recordOutcome(tx, { agentId, outcome, probe, now })),
      fold: (now: Date, ...outcomes: [outcome: Outcome, at: Date, probe?: Date | null][]) =>
        act((tx) =>
          foldOutcomes(
            tx,
            outcomes.map(([outcome, at, probe]) => ({ agentId, outcome, at, probe })),
            { now },
          ),
        ),
      reset: () => act((tx) => resetCircuit(tx, { agentId })),
      set: (values: Partial<CircuitBreaker>) =>
        database.db
          .update(circuitBreakerState)
          .set(values)
          .where(eq(circuitBreakerState.agentId, agentId)),
      breaker: async () => {
        const of = eq(circuitBreakerState.agentId, agentId);
        return (await database.db.select().from(circuitBreakerState).where(of))[0];
      },
      health: async () => {
        const { circuitState, circuitOpenedAt } = agentHealthRealtime;
        const found = await database.db
          .select({ circuitState, circuitOpenedAt })
          .from(agentHealthRealtime)
          .where(eq(agentHealthRealtime.agentId, agentId));
        return found[0];
      },
      /** Where the row is, and who wrote or locked it last. */
      version: () =>
        database.query<{ ctid: string }>(
          "select ctid::text, xmin::text, xmax::text from circuit_breaker_state where agent_id = $1::text::uuid",
          [agentId],
        ),
    };
  }
  type Subject = Awaited<ReturnType<typeof subject>>;

  const OPEN = { state: "open", openedAt: START, failureCount: 5, cooldownSeconds: 60 } as const;
  const refusedUntil = (state: "open" | "half_open", milliseconds: number) => ({
    allowed: false,
    state,
    probe: null,
    retryAt: after(milliseconds),
  });
  const CLOSED = { allowed: true, state: "closed", probe: null, retryAt: null };
  /** The ticket of the probe that is let out now. */
  async function probeOf({ acquire }: Subject, now: Date): Promise<Date> {
    const { allowed, state, probe, retryAt } = await acquire(now);
    expect({ allowed, state, retryAt }).toEqual({
      allowed: true,
      state: "half_open",
      retryAt: null,
    });
    if (!probe) throw new Error("a probe without a ticket");
    return probe;
  }

  test("an agent without one may run, and to ask makes none; the first report makes it, for the agent's organization", async () => {
    for (const agent of [await subject(), await subject(undefined, null)]) {
      expect(await agent.acquire()).toEqual(CLOSED);
      expect(await agent.breaker()).toBeUndefined();
      expect(await agent.report("success")).toEqual({ state: "closed", changed: false });
      expect(await agent.breaker()).toMatchObject({
        organizationId: agent.organizationId,
        state: "closed",
        failureCount: 0,
        lastFailureAt: null,
        lastSuccessAt: START,
        openedAt: null,
      });
    }
    const tenants = await subject();
    await withServiceRole(database.db, (tx) =>
      recordOutcome(tx, { agentId: tenants.agentId, outcome: "failure" }),
    );
    expect(await tenants.breaker()).toMatchObject({
      organizationId: tenants.organizationId,
      failureCount: 1,
    });
  });

  test("it opens at the threshold of failures in a row, which a success sets back, and tells one caller so", async () => {
    const agent = await subject({ failureThreshold: 3 });
    const outcomes = ["failure", "failure", "success", "failure", "failure", "failure"] as const;
    const told = [];
    for (const [second, outcome] of outcomes.entries()) {
      told.push(await agent.report(outcome, after(second * SECOND)));
    }
    expect(told).toEqual([
      ...Array.from({ length: 5 }, () => ({ state: "closed", changed: false })),
      { state: "open", changed: true },
    ]);
    expect(await agent.report("failure", after(6 * SECOND))).toEqual({
      state: "open",
      changed: false,
    });
    expect(await agent.breaker()).toMatchObject({
      failureCount: 3,
      openedAt: after(5 * SECOND),
      lastFailureAt: after(5 * SECOND),
      lastSuccessAt: after(2 * SECOND),
    });
  });

  test("open, it rests for the cooldown; then one probe is out at a time, and so many successes close it", async () => {
    const agent = await subject({ ...OPEN, successThreshold: 2 });
    expect(await agent.acquire(after(59_999))).toEqual(refusedUntil("open", 60_000));
    const first = await probeOf(agent, after(60_000));
    expect(first).toEqual(after(60_000));
    expect(await agent.acquire(after(61_000))).toEqual(refusedUntil("half_open", 120_000));
    const half = { state: "half_open", changed: false };
    expect(await agent.report("success", after(62_000), first)).toEqual(half);
    // The same ticket once more, and executions that began before it opened.
    expect(await agent.report("success", after(62_001), first)).toEqual(half);
    expect(await agent.report("success", after(62_002))).toEqual(half);
    expect(await agent.report("failure", after(62_003))).toEqual(half);
    const second = await probeOf(agent, after(63_000));
    expect(await agent.report("success", after(64_000), second)).toEqual({
      state: "closed",
      changed: true,
    });
    expect(await agent.acquire(after(64_001))).toEqual(CLOSED);
    expect(await agent.breaker()).toMatchObject({
      failureCount: 0,
      successCount: 0,
      openedAt: START,
      lastSuccessAt: after(64_000),
    });
  });

  test("a probe that fails opens it again, the rest begins anew and successes before count no more", async () => {
    const agent = await subject({ ...OPEN, successThreshold: 2 });
    const first = await probeOf(agent, after(60_000));
    await agent.report("success", after(61_000), first);
    const second = await probeOf(agent, after(62_000));
    expect(await agent.report("failure", after(70_000), second)).toEqual({
      state: "open",
      changed: true,
    });
    expect(await agent.acquire(after(129_999))).toEqual(refusedUntil("open", 130_000));
    const third = await probeOf(agent, after(130_000));
    expect(await agent.report("success", after(131_000), third)).toMatchObject({
      state: "half_open",
    });
    expect(await agent.breaker()).toMatchObject({ successCount: 1 });
  });

  test("a probe that does not report lapses after the cooldown; its ticket is good until the next is let out, and moves nothing after", async () => {
    const agent = await subject({ ...OPEN, successThreshold: 1 });
    const lost = await probeOf(agent, after(60_000));
    expect(await agent.acquire(after(119_999))).toEqual(refusedUntil("half_open", 120_000));
    const next = await probeOf(agent, after(120_000));
    const before = await agent.version();
    for (const outcome of ["success", "failure"] as const) {
      expect(await agent.report(outcome, after(121_000), lost)).toEqual({
        state: "half_open",
        changed: false,
      });
    }
    expect(await agent.version()).toEqual(before);
    // Lapsed, but nobody else was let out.
    expect(await agent.report("success", after(999_000), next)).toEqual({
      state: "closed",
      changed: true,
    });
    // Nor does a stale ticket count among a closed one's failures.
    await agent.report("failure", after(999_001), lost);
    expect(await agent.breaker()).toMatchObject({ state: "closed", failureCount: 0 });
  });

  test("without a cooldown it lets a probe out at once, still one at a time: each has a second", async () => {
    const agent = await subject({ ...OPEN, cooldownSeconds: 0, successThreshold: 1 });
    const first = await probeOf(agent, START);
    expect(await agent.acquire(START)).toEqual(refusedUntil("half_open", SECOND));
    await agent.report("failure", START, first);
    // In the same millisecond, and yet another ticket.
    const second = await probeOf(agent, START);
    expect(second).toEqual(after(1));
    expect(await agent.report("success", START, first)).toMatchObject({ state: "half_open" });
    expect(await agent.report("success", START, second)).toMatchObject({ state: "closed" });
  });

  test("thresholds that change meanwhile count from then on, and 0 counts as 1", async () => {
    const agent = await subject({ failureThreshold: 9, successThreshold: 9, cooldownSeconds: 60 });
    for (let n = 0; n < 4; n += 1) await agent.report("failure", after(n));
    await agent.set({ failureThreshold: 2 });
    expect(await agent.acquire(after(4))).toEqual(CLOSED);
    expect(await agent.report("failure", after(4))).toMatchObject({ state: "open", changed: true });
    expect(await agent.acquire(after(5))).toEqual(refusedUntil("open", 60_004));
    await agent.set({ cooldownSeconds: 1 });
    for (const [second, last] of [false, false, true].entries()) {
      const probe = await probeOf(agent, after((second + 2) * SECOND));
      if (last) await agent.set({ successThreshold: 2 });
      await agent.report("success", after((second + 2) * SECOND + 1), probe);
    }
    expect(await agent.breaker()).toMatchObject({ state: "closed" });
    await agent.set({ failureThreshold: 0, successThreshold: 0 });
    expect(await agent.acquire(after(10 * SECOND))).toEqual(CLOSED);
    await agent.report("failure", after(10 * SECOND));
    const probe = await probeOf(agent, after(11 * SECOND));
    expect(await agent.report("success", after(11 * SECOND), probe)).toMatchObject({
      state: "closed",
    });
  });

  test("a row by hand without instants lets a probe out at once, and reports of no ticket leave it", async () => {
    for (const state of ["open", "half_open"] as const) {
      const agent = await subject({ state, successThreshold: 1 });
      expect(await agent.report("success")).toEqual({ state, changed: false });
      const probe = await probeOf(agent, START);
      expect(await agent.report("success", START, probe)).toMatchObject({ state: "closed" });
    }
  });

  test("what comes late moves nothing that is newer, in one batch as in several", async () => {
    const agent = await subject({ failureThreshold: 9 });
    const counted = async () => (await agent.breaker())?.failureCount;
    const now = after(100_000);
    await agent.fold(
      now,
      ["failure", after(30_000)],
      ["success", after(10_000)],
      ["failure", after(20_000)],
      ["failure", after(5000)],
    );
    expect(await counted()).toBe(2);
    await agent.fold(now, ["success", after(25_000)]);
    expect(await counted()).toBe(2);
    await agent.fold(now, ["failure", after(9000)], ["failure", after(10_000)]);
    expect(await counted()).toBe(2);
    await agent.fold(now, ["failure", after(15_000)]);
    expect(await counted()).toBe(3);
    await agent.fold(now, ["success", after(30_000)]);
    expect(await counted()).toBe(0);
    // A writer whose clock is ahead does not silence what comes after.
    await agent.fold(now, ["success", after(900_000)], ["failure", after(901_000)]);
    expect(await counted()).toBe(1);
    await agent.fold(after(100_001), ["failure", after(100_001)]);
    expect(await counted()).toBe(2);
    expect(await agent.breaker()).toMatchObject({ lastFailureAt: after(100_001) });
  });

  test("a batch opens each agent's at exactly its threshold, answers for each, and takes tickets", async () => {
    const organization = randomUUID();
    const [one, two, three] = [
      await subject(undefined, organization),
      await subject({ failureThreshold: 2 }, organization),
      await subject({ ...OPEN, successThreshold: 1 }, organization),
    ];
    const probe = await probeOf(three, after(60_000));
    const at = after(60_001);
    const outcomes = [one, two].flatMap(({ agentId }) =>
      Array.from({ length: 7 }, () => ({ agentId, at, outcome: "failure" as const })),
    );
    const [ticketed, stranger] = [{ agentId: three.agentId, probe }, { agentId: randomUUID() }].map(
      (given) => ({ ...given, at, outcome: "success" as const }),
    );
    if (!ticketed || !stranger) throw new Error("two of them");
    const told = await one.act((tx) => foldOutcomes(tx, [...outcomes, stranger, ticketed]));
    expect(told).toEqual(
      [
        { agentId: one.agentId, state: "open", changed: true },
        { agentId: two.agentId, state: "open", changed: true },
        { agentId: three.agentId, state: "closed", changed: true },
      ].toSorted((a, b) => (a.agentId < b.agentId ? -1 : 1)),
    );
    expect([await one.breaker(), await two.breaker()]).toMatchObject([
      { failureCount: 5 },
      { failureCount: 2 },
    ]);
    expect(await one.act((tx) => foldOutcomes(tx, []))).toEqual([]);
  });

  test("every move is in the snapshot of health, by hand too", async () => {
    const agent = await subject({ failureThreshold: 1, successThreshold: 1 });
    const { agentId, organizationId } = agent;
    await database.db.insert(agentHealthRealtime).values(newHealth({ agentId, organizationId }));
    await agent.report("failure");
    expect(await agent.health()).toEqual({ circuitState: "open", circuitOpenedAt: START });
    const probe = await probeOf(agent, after(60_000));
    expect(await agent.health()).toEqual({ circuitState: "half_open", circuitOpenedAt: START });
    await agent.report("success", after(60_000), probe);
    expect(await agent.health()).toEqual({ circuitState: "closed", circuitOpenedAt: START });
    await agent.set({ state: "open", openedAt: after(1) });
    expect(await agent.health()).toEqual({ circuitState: "open", circuitOpenedAt: after(1) });
    expect(await agent.reset()).toEqual({ state: "closed", changed: true });
    expect(await agent.health()).toEqual({ circuitState: "closed", circuitOpenedAt: after(1) });
    const late = await subject();
    await database.db.insert(agentHealthRealtime).values(newHealth(late));
    const failures = Array.from({ length: 5 }, (): [Outcome, Date] => ["failure", START]);
    await late.fold(START, ...failures);
    expect(await late.health()).toEqual({ circuitState: "open", circuitOpenedAt: START });
  });

  test("resetCircuit closes it and counts anew; a probe that is out counts no more, and again it changes nothing", async () => {
    const agent = await subject({ ...OPEN, failureThreshold: 2 });
    const probe = await probeOf(agent, after(60_000));
    expect(await agent.reset()).toEqual({ state: "closed", changed: true });
    const before = await agent.version();
    expect(await agent.reset()).toEqual({ state: "closed", changed: false });
    expect(await agent.version()).toMatchObject([{ ctid: before[0]?.ctid }]);
    await agent.report("failure", after(61_000), probe);
    await agent.report("failure", after(62_000));
    expect(await agent.breaker()).toMatchObject({ state: "closed", failureCount: 1 });
    expect(await (await subject()).reset()).toEqual({ state: "closed", changed: false });
  });

  test("a healthy agent's successes write once a second, and what is refused or stale never: the row is not even locked", async () => {
    const agent = await subject({});
    await agent.report("success");
    const before = await agent.version();
    for (const at of [0, 1, 500, 999]) {
      await agent.report("success", after(at));
      await agent.fold(after(at), ["success", after(at)]);
      expect(await agent.acquire(after(at))).toEqual(CLOSED);
    }
    expect(await agent.version()).toEqual(before);
    await agent.report("success", after(SECOND));
    expect(await agent.version()).not.toEqual(before);

    await agent.set(OPEN);
    const open = await agent.version();
    await agent.acquire(after(1));
    await agent.report("success", after(1));
    await agent.report("failure", after(1));
    expect(await agent.version()).toEqual(open);
  });

  test("the database's clock decides where no instant is given", async () => {
    const agent = await subject({ failureThreshold: 1 });
    const { agentId } = agent;
    const begin = Date.now() - 5000;
    await agent.act((tx) => recordOutcome(tx, { agentId, outcome: "failure" }));
    const { allowed, retryAt } = await agent.act((tx) => acquireExecution(tx, { agentId }));
    expect(allowed).toBe(false);
    expect(+(retryAt ?? 0)).toBeGreaterThan(begin + 60_000);
    expect(+(retryAt ?? 0)).toBeLessThan(Date.now() + 65_000);
    // Who waits until then has waited long enough, although a Date has no microseconds; nor has the ticket.
    await agent.set({ successThreshold: 1 });
    await probeOf(agent, retryAt ?? START);
    await agent.set({ halfOpenAt: START });
    const { probe } = await agent.act((tx) => acquireExecution(tx, { agentId }));
    expect(
      await agent.act((tx) => recordOutcome(tx, { agentId, outcome: "success", probe })),
    ).toEqual({ state: "closed", changed: true });
  });

  test("an agent of another organization, a deleted one and one that never was are answered alike", async () => {
    const other = await subject(OPEN);
    const deleted = await subject(OPEN);
    await database.db.delete(agentRegistry).where(eq(agentRegistry.id, deleted.agentId));
    const before = await other.version();
    const { act } = await subject();
    const asTenant = [other.agentId, deleted.agentId, randomUUID()].map(
      (agentId) => [act, agentId] as const,
    );
    const asService = [deleted.agentId, randomUUID()].map(
      (agentId) =>
        [
          <T>(work: (tx: Transaction) => Promise<T>) => withServiceRole(database.db, work),
          agentId,
        ] as const,
    );
    for (const [as, agentId] of [...asTenant, ...asService]) {
      const message = (by: string) => `${by}: no agent ${agentId}, or it is not this caller's`;
      await expect(as((tx) => acquireExecution(tx, { agentId }))).rejects.toThrow(
        message("acquireExecution"),
      );
      await expect(as((tx) => recordOutcome(tx, { agentId, outcome: "failure" }))).rejects.toThrow(
        message("recordOutcome"),
      );
      await expect(as((tx) => resetCircuit(tx, { agentId }))).rejects.toThrow(
        message("resetCircuit"),
      );
      const outcome = { agentId, at: START, outcome: "failure" } as const;
      expect(await as((tx) => foldOutcomes(tx, [outcome]))).toEqual([]);
    }
    expect(await other.version()).toEqual(before);
  });

  test.each(["a tenant", "service role"])(
    "as %s, any sequence of calls does what the model does: tickets that lapse or are stale, late rows, other thresholds",
    async (role) => {
      const seen = new Set<string>();
      const organizationId = randomUUID();
      const act = <T>(work: (tx: Transaction) => Promise<T>): Promise<T> =>
        role === "a tenant"
          ? withOrganization(database.db, organizationId, work)
          : withServiceRole(database.db, work);
      const agents: string[] = [];
      /** A fresh agent with a breaker. */
      const nextAgent = async () => {
        if (agents.length === 0) {
          const made = Array.from({ length: 250 }, () => newAgent({ organizationId }));
          await database.db.insert(agentRegistry).values(made);
          await database.db
            .insert(circuitBreakerState)
            .values(
              made.map(({ id: agentId }) =>
                newCircuitBreaker({ agentId, organizationId, ...thresholdsOf(2, 2, 5) }),
              ),
            );
          agents.push(...made.map(({ id }) => id));
        }
        return agents.pop() ?? "";
      };
      const check = async (tx: Transaction, agentId: string, steps: readonly Step[]) => {
        const model = new BreakerModel();
        Object.assign(model, { failureThreshold: 2, successThreshold: 2, cooldown: 5_000_000 });
        const tickets: Date[] = [];
        let now = START;
        for (const taken of steps) {
          const was = model.state;
          if ("wait" in taken) now = new Date(+now + taken.wait);
          else if ("acquire" in taken) {
            const permit = await acquireExecution(tx, { agentId, now });
            const { probe, retryAt, ...expected } = model.acquire(micros(now));
            expect(permit).toEqual({
              ...expected,
              probe: instantOf(probe),
              retryAt: instantOf(retryAt),
            });
            if (permit.probe) tickets.unshift(permit.probe);
          } else if ("outcome" in taken) {
            const probe = tickets[taken.ticket] ?? null;
            const told = { agentId, outcome: taken.outcome, probe, now };
            expect(await recordOutcome(tx, told)).toEqual(
              model.tell(micros(now), [{ ...told, probe: probe && micros(probe) }]),
            );
          } else if ("batch" in taken) {
            const batch = taken.batch.map((told) => ({
              agentId,
              outcome: told.outcome,
              at: new Date(+now + told.at),
              probe: tickets[told.ticket] ?? null,
            }));
            expect(await foldOutcomes(tx, batch, { now })).toEqual([
              {
                agentId,
                ...model.tell(
                  micros(now),
                  batch.map(({ at, probe, ...told }) => ({
                    ...told,
                    at: micros(at),
                    probe: probe && micros(probe),
                  })),
                ),
              },
            ]);
          } else if ("thresholds" in taken) {
            const { failures, successes, cooldown } = taken.thresholds;
            await tx
              .update(circuitBreakerState)
              .set(thresholdsOf(failures, successes, cooldown))
              .where(eq(circuitBreakerState.agentId, agentId));
            Object.assign(model, {
              failureThreshold: failures,
              successThreshold: successes,
              cooldown: cooldown * 1_000_000,
            });
          } else {
            expect(await resetCircuit(tx, { agentId })).toEqual(model.reset());
          }
          seen.add(`${was} to ${model.state}`);
        }
        const [row] = await tx
          .select()
          .from(circuitBreakerState)
          .where(eq(circuitBreakerState.agentId, agentId));
        expect(row).toMatchObject({
          state: model.state,
          failureCount: model.failures,
          successCount: model.successes,
          lastFailureAt: stored(model.lastFailure),
          lastSuccessAt: stored(model.lastSuccess),
          openedAt: stored(model.opened),
          halfOpenAt: stored(model.ticket),
        });
      };
      const property = fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 14, size: "max" }),
        async (steps) => {
          const agentId = await nextAgent();
          await act((tx) => check(tx, agentId, steps));
        },
      );
      await fc.assert(property, {
        numRuns: RUNS / 2,
        ...(SEED ? { seed: Number(SEED) } : {}),
      });
      if (RUNS < 1000) return;
      expect([...seen].toSorted()).toEqual([
        "closed to closed",
        "closed to open",
        "half_open to closed",
        "half_open to half_open",
        "half_open to open",
        "open to closed",
        "open to half_open",
        "open to open",
      ]);
    },
  );

  test("what is no uuid, outcome or Date is refused before any SQL", async () => {
    const { act, agentId } = await subject();
    const refusal = (work: (...given: never[]) => unknown, given: object) =>
      act(async (tx) => Reflect.apply(work, undefined, [tx, { agentId, ...given }]));
    for (const bad of ["x", null, 7, undefined]) {
      for (const work of [acquireExecution, recordOutcome, resetCircuit]) {
        await expect(refusal(work, { agentId: bad })).rejects.toThrow(
          new TypeError(`${work.name}: agentId must be a uuid`),
        );
      }
    }
    await expect(refusal(recordOutcome, { outcome: "running" })).rejects.toThrow(
      new TypeError("recordOutcome: outcome must be success or failure"),
    );
    for (const now of [new Date(Number.NaN), "2026-03-01", 1]) {
      await expect(refusal(acquireExecution, { now })).rejects.toThrow(
        new TypeError("acquireExecution: now must be a valid Date"),
      );
      for (const given of [{ now }, { probe: now }]) {
        await expect(refusal(recordOutcome, { outcome: "success", ...given })).rejects.toThrow(
          new TypeError(`recordOutcome: ${Object.keys(given)[0]} must be a valid Date`),
        );
      }
    }
  });
});

/** Microseconds since the start, as the model counts. */
const micros = (instant: Date) => (+instant - +START) * 1000;
/** An instant of the model as a Date that is waited for. */
const instantOf = (microseconds: number | null) =>
  microseconds === null ? null : after(Math.ceil(microseconds / 1000));
/** As a Date that is read. */
const stored = (microseconds: number) =>
  microseconds === -Infinity ? null : after(Math.floor(microseconds / 1000));

const thresholdsOf = (
  failureThreshold: number,
  successThreshold: number,
  cooldownSeconds: number,
) => ({
  failureThreshold,
  successThreshold,
  cooldownSeconds,
});
