import { randomUUID } from "node:crypto";
import { eq, sql } from "drizzle-orm";
import * as fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import type { Transaction } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import { loadDemo } from "../src/demo/load.ts";
import { DEMO_NOW, DEMO_ORGANIZATIONS } from "../src/demo/story.ts";
import { type ErrorBudget, type SlaOptions, errorBudgets, measureSlas } from "../src/fleet/slas.ts";
import {
  type AgentSla,
  type NewAgentExecutionLog,
  type NewAgentSla,
  agentExecutionLogs,
  agentRegistry,
  agentSlas,
  slaCompliance,
} from "../src/schema/index.ts";
import { newAgent, newExecutionLog, newSla } from "../src/testing.ts";
import { EXECUTION_STATUSES } from "../src/values.ts";
import { suite } from "./engine.ts";
import { explained, fillLogs } from "./explained.ts";
import { type Log, dayOf, executionsOf, groupsOf, near } from "./reference.ts";

const RUNS = Number(process.env["PROPERTY_RUNS"] ?? 30);
const SEED = process.env["PROPERTY_SEED"];

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const at = (text: string) => new Date(`${text}Z`);
/** A Wednesday. */
const NOW = at("2026-03-04T12:00:30");
const ago = (milliseconds: number, now = NOW) => new Date(+now - milliseconds);

// ── What an SLA should measure, once more in plain TypeScript ──

interface Span {
  readonly since: number;
  readonly ends: number;
}

/** The period that `now` is in, and of a calendar's the one before: day by day. */
function periodsOf(window: string, now: Date): Span[] {
  const today = Math.floor(+now / DAY) * DAY;
  const rolling = /^rolling_(\d+)d$/.exec(window)?.[1];
  if (rolling !== undefined) {
    return [{ since: today - (Number(rolling) - 1) * DAY, ends: today + DAY }];
  }
  const begins = (day: number) => {
    const date = new Date(day);
    if (window === "calendar_week") return date.getUTCDay() === 1;
    return window === "calendar_month" ? date.getUTCDate() === 1 : true;
  };
  const edge = (from: number, step: number) => {
    let day = from;
    while (!begins(day)) day += step;
    return day;
  };
  const since = edge(today, -DAY);
  return [
    { since: edge(since - DAY, -DAY), ends: since },
    { since, ends: edge(today + DAY, DAY) },
  ];
}

/** The executions that are known at an instant, those of shadow tests left out. */
const knownAt = (logs: readonly Log[], now: Date) =>
  executionsOf(
    logs.filter(({ timestamp, metadata }) => timestamp < now && !("shadow_of" in metadata)),
  );
const isBad = ({ outcome }: { outcome: string }) => outcome === "failure" || outcome === "timeout";
const isGood = ({ outcome }: { outcome: string }) => outcome === "success";

/** The first one that so many of them are not above. */
function discrete(values: readonly number[], share: number): number | null {
  for (const [n, value] of values.entries()) {
    if ((n + 1) / values.length >= share) return value;
  }
  return null;
}

/** A part of a whole against a target, in thousandths, so that nothing is rounded. */
const reaches = (part: number, whole: number, target: number | null) =>
  target === null || whole === 0 ? null : part * 1000 >= Math.round(target * 1000) * whole;

function allOf(kept: readonly (boolean | null)[]): boolean | null {
  const judged = kept.filter((one) => one !== null);
  return judged.length === 0 ? null : judged.every(Boolean);
}

/** The row that an agent's logs make of a period. */
function complianceOf(
  sla: AgentSla,
  { logs, now, since, ends }: Span & { logs: readonly Log[]; now: Date },
) {
  const until = Math.min(ends, +now);
  const executions = knownAt(logs, now).filter(({ start }) => +start >= since && +start < until);
  let [minutes, down, run] = [0, 0, 0];
  const outages: { from: string; minutes: number }[] = [];
  const close = (end: number) => {
    if (run > 0) outages.push({ from: new Date(end - run * MINUTE).toISOString(), minutes: run });
    run = 0;
  };
  const begun = groupsOf(executions, ({ start }) => String(Math.floor(+start / MINUTE)));
  for (let minute = since; minute < until; minute += MINUTE) {
    minutes++;
    const those = begun.get(String(minute / MINUTE)) ?? [];
    if (those.some(isBad) && !those.some(isGood)) {
      down++;
      run++;
    } else close(minute);
  }
  close(since + minutes * MINUTE);
  const count = (outcome: string) =>
    executions.filter((execution) => execution.outcome === outcome).length;
  const [good, failed, timeout] = [count("success"), count("failure"), count("timeout")];
  const latencies = executions
    .flatMap(({ latencyMs }) => latencyMs ?? [])
    .toSorted((a, b) => a - b);
  const scores = executions.flatMap(({ rows }) =>
    rows.flatMap(({ qualityScore }) => qualityScore ?? []),
  );
  const quality =
    scores.length === 0 ? null : scores.reduce((sum, one) => sum + one, 0) / scores.length;
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((share) => discrete(latencies, share));
  const within = (actual: number | null | undefined, target: number | null) =>
    target === null || actual === null || actual === undefined ? null : actual <= target;
  const met = {
    availabilityMet: reaches(minutes - down, minutes, sla.targetAvailability),
    latencyMet: allOf([
      within(p50, sla.targetP50LatencyMs),
      within(p95, sla.targetP95LatencyMs),
      within(p99, sla.targetP99LatencyMs),
    ]),
    successRateMet: reaches(good, good + failed + timeout, sla.targetSuccessRate),
    qualityMet:
      sla.targetQualityScore === null || quality === null
        ? null
        : quality >= sla.targetQualityScore - 1e-9,
  };
  return {
    slaId: sla.id,
    agentId: sla.agentId,
    organizationId: sla.organizationId,
    periodStart: dayOf(new Date(since)),
    periodEnd: dayOf(new Date(ends - DAY)),
    actualAvailability: minutes === 0 ? null : near(1 - down / minutes),
    actualP50LatencyMs: p50,
    actualP95LatencyMs: p95,
    actualP99LatencyMs: p99,
    actualSuccessRate:
      good + failed + timeout === 0 ? null : near(good / (good + failed + timeout)),
    actualQualityScore: quality === null ? null : near(quality),
    ...met,
    overallCompliant: allOf(Object.values(met)),
    breachMinutes: down,
    breachDetails:
      failed + timeout === 0
        ? null
        : {
            failed,
            timeout,
            outages: outages.toSorted((a, b) => b.minutes - a.minutes).slice(0, 20),
          },
    createdAt: now,
  };
}

/** The error budget of an SLA; thousandths again. */
function budgetOf(
  sla: AgentSla,
  { logs, now, minFailures = 5 }: { logs: readonly Log[]; now: Date; minFailures?: number },
) {
  const span = periodsOf(sla.measurementWindow, now).at(-1);
  if (!span || sla.targetSuccessRate === null) throw new Error("it has no budget");
  const thousandths = 1000 - Math.round(sla.targetSuccessRate * 1000);
  const ended = knownAt(logs, now).filter((one) => isBad(one) || isGood(one));
  const countSince = (since: number) => {
    const begun = ended.filter(({ start }) => +start >= since);
    return { executions: begun.length, failures: begun.filter(isBad).length };
  };
  const burn = (minutes: number) => {
    const counted = countSince(+now - minutes * MINUTE);
    const { executions, failures } = counted;
    const allowed = (executions * thousandths) / 1000;
    return { minutes, ...counted, burnRate: allowed === 0 ? null : near(failures / allowed) };
  };
  const pair = (severity: string, factor: number, long: number, short: number) => {
    const burns = [burn(long), burn(short)] as const;
    const exceeds = burns.every(
      ({ executions, failures }) =>
        failures * 10_000 > Math.round(factor * 10) * thousandths * executions,
    );
    const isFiring = exceeds && burns[0].failures >= minFailures;
    return { severity, factor, long: burns[0], short: burns[1], isFiring };
  };
  const { executions, failures } = countSince(span.since);
  const allowed = (executions * thousandths) / 1000;
  return {
    slaId: sla.id,
    agentId: sla.agentId,
    periodStart: dayOf(new Date(span.since)),
    periodEnd: dayOf(new Date(span.ends - DAY)),
    targetSuccessRate: sla.targetSuccessRate,
    executions,
    failures,
    allowedFailures: near(allowed),
    remainingFailures: near(allowed - failures),
    usedShare: allowed === 0 ? null : near(failures / allowed),
    burns: [pair("page", 14.4, 60, 5), pair("page", 6, 360, 30), pair("ticket", 1, 4320, 360)],
  };
}

const UNKNOWN = [
  "",
  "rolling_0d",
  "rolling_30",
  "rolling_-1d",
  "rolling_99999d",
  "Rolling_30d",
  "rolling_30d ",
  "calendar_year",
  "last month\nrolling_30d",
];

suite("service levels", (database) => {
  /** An organization with one agent and its SLAs, each a second older than the one before it is. */
  async function newFleet(...given: Partial<NewAgentSla>[]) {
    const [organizationId, agent] = [randomUUID(), newAgent()];
    const as = <T>(work: (tx: Transaction) => Promise<T>) =>
      withOrganization(database.db, organizationId, work);
    const agentId = agent.id;
    const slas = given.map((sla, n) =>
      newSla({
        agentId,
        measurementWindow: "calendar_day",
        createdAt: new Date(Date.UTC(2026, 0, 1) + n * SECOND),
        ...sla,
      }),
    );
    await as(async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      if (slas.length > 0) await tx.insert(agentSlas).values(slas);
    });
    return {
      organizationId,
      agentId,
      as,
      slaIds: slas.map(({ id }) => id),
      measure: (options: SlaOptions = { now: NOW }) => as((tx) => measureSlas(tx, options)),
      log: (...logs: Partial<NewAgentExecutionLog>[]) =>
        as((tx) =>
          tx
            .insert(agentExecutionLogs)
            .values(logs.map((log) => newExecutionLog({ agentId, timestamp: ago(HOUR), ...log }))),
        ),
      slas: () => as((tx) => tx.select().from(agentSlas).orderBy(agentSlas.createdAt)),
      logs: () => as((tx) => tx.select().from(agentExecutionLogs)),
      stored: () => as((tx) => tx.select().from(slaCompliance).orderBy(slaCompliance.periodStart)),
      /** Each row, and the transaction that wrote it. */
      versions: () =>
        database.query(
          "select xmin::text, ctid::text, s::text from sla_compliance as s where agent_id = $1::text::uuid order by 3",
          [agentId],
        ),
    };
  }
  type Fleet = Awaited<ReturnType<typeof newFleet>>;

  /** The row of the period that {@link NOW} is in. */
  async function measured(fleet: Fleet, now = NOW) {
    await fleet.measure({ now });
    return (await fleet.stored()).findLast(({ periodStart }) => periodStart <= dayOf(now));
  }

  /** Every row that the reference makes of the fleet. */
  async function expected({ slas, logs }: Pick<Fleet, "slas" | "logs">, now: Date) {
    const [promised, all] = [await slas(), await logs()];
    return promised.flatMap((sla) => {
      const own = all.filter(({ agentId }) => agentId === sla.agentId);
      return periodsOf(sla.measurementWindow, now).map((span) =>
        complianceOf(sla, { logs: own, now, ...span }),
      );
    });
  }

  test("an outage of 26 minutes is 26 minutes, named with its beginning, and failures beside successes are none", async () => {
    const fleet = await newFleet({ measurementWindow: "rolling_1d", targetAvailability: 0.98 });
    await fleet.as((tx) =>
      tx.execute(sql`insert into ${agentExecutionLogs} (id, agent_id, execution_id, timestamp, action_type, status, latency_ms)
        select meta_agent.uuidv7_at(at), ${fleet.agentId}, gen_random_uuid(), at, 'agent_run',
          case when at >= '2026-03-04T03:17Z' and at < '2026-03-04T03:43Z' or n % 100 = 0 then 'failure' else 'success' end, 100
        from generate_series(0, 2879) as n, lateral (select timestamptz '2026-03-04T00:00Z' + n * interval '30 s' as at) as of
        where n % 2 = 0 or n % 100 = 1`),
    );
    const row = await measured(fleet, at("2026-03-04T23:59:59"));
    expect(row).toMatchObject({
      periodStart: "2026-03-04",
      periodEnd: "2026-03-04",
      breachMinutes: 26,
      actualAvailability: near(1 - 26 / 1440),
      availabilityMet: true,
      breachDetails: {
        timeout: 0,
        outages: [{ from: "2026-03-04T03:17:00.000Z", minutes: 26 }],
      },
    });
  });

  test("an agent without a row was up, and what it has nothing to be judged by is NULL; of a period's first instant nothing is known", async () => {
    const fleet = await newFleet({ measurementWindow: "rolling_7d", targetP95LatencyMs: 100 });
    const row = await measured(fleet);
    expect(row).toMatchObject({
      periodStart: "2026-02-26",
      periodEnd: "2026-03-04",
      actualAvailability: 1,
      actualP50LatencyMs: null,
      actualP95LatencyMs: null,
      actualP99LatencyMs: null,
      actualSuccessRate: null,
      actualQualityScore: null,
      availabilityMet: true,
      latencyMet: null,
      successRateMet: null,
      qualityMet: null,
      overallCompliant: true,
      breachMinutes: 0,
      breachDetails: null,
      organizationId: fleet.organizationId,
      createdAt: NOW,
    });
    const midnight = await newFleet({ measurementWindow: "rolling_1d" });
    expect(await measured(midnight, at("2026-03-04T00:00:00"))).toMatchObject({
      actualAvailability: null,
      availabilityMet: null,
      overallCompliant: null,
      breachMinutes: 0,
    });
    const [budget] = (await midnight.as((tx) => errorBudgets(tx, { now: NOW }))).budgets;
    expect(budget).toMatchObject({ executions: 0, allowedFailures: 0, usedShare: null });
    expect(budget?.burns.map(({ isFiring, long }) => [isFiring, long.burnRate])).toEqual(
      Array.from({ length: 3 }, () => [false, null]),
    );
  });

  test.each([
    ["rolling_1d", "2026-03-04T00:00:00", [["2026-03-04", "2026-03-04"]]],
    ["rolling_30d", "2026-03-01T23:59:59.999", [["2026-01-31", "2026-03-01"]]],
    ["rolling_366d", "2028-03-01T00:00:00", [["2027-03-02", "2028-03-01"]]],
    [
      "calendar_day",
      "2026-03-01T00:00:00",
      [
        ["2026-02-28", "2026-02-28"],
        ["2026-03-01", "2026-03-01"],
      ],
    ],
    [
      "calendar_week",
      "2027-01-03T23:59:59.999",
      [
        ["2026-12-21", "2026-12-27"],
        ["2026-12-28", "2027-01-03"],
      ],
    ],
    [
      "calendar_week",
      "2027-01-04T00:00:00",
      [
        ["2026-12-28", "2027-01-03"],
        ["2027-01-04", "2027-01-10"],
      ],
    ],
    [
      "calendar_month",
      "2028-03-01T00:00:00",
      [
        ["2028-02-01", "2028-02-29"],
        ["2028-03-01", "2028-03-31"],
      ],
    ],
    [
      "calendar_month",
      "2026-01-31T23:59:59",
      [
        ["2025-12-01", "2025-12-31"],
        ["2026-01-01", "2026-01-31"],
      ],
    ],
  ])("%s at %s is measured over %j", async (measurementWindow, now, periods) => {
    const fleet = await newFleet({ measurementWindow });
    const [slaId] = fleet.slaIds;
    const { written } = await fleet.measure({ now: at(now) });
    expect(written).toEqual(
      periods.map(([periodStart, periodEnd]) => ({
        slaId,
        agentId: fleet.agentId,
        periodStart,
        periodEnd,
        overallCompliant:
          now.endsWith("00:00:00") && periodStart === now.slice(0, 10) ? null : true,
      })),
    );
    const { budgets } = await fleet.as((tx) => errorBudgets(tx, { now: at(now) }));
    const [periodStart, periodEnd] = periods.at(-1) ?? [];
    expect(budgets).toMatchObject([{ slaId, periodStart, periodEnd }]);
  });

  test("a row at the edge of a period is in the one that it begins in, and each promise is judged at its limit", async () => {
    const fleet = await newFleet({
      targetAvailability: 0.5,
      targetSuccessRate: 0.75,
      targetQualityScore: 60,
      targetP50LatencyMs: 20,
      targetP95LatencyMs: 40,
      targetP99LatencyMs: 40,
    });
    const [from, to] = [at("2026-03-03T00:00:00"), at("2026-03-04T00:00:00")];
    await fleet.log(
      { timestamp: ago(1, from), status: "failure", latencyMs: 9999, qualityScore: 0 },
      { timestamp: from, latencyMs: 10, qualityScore: 50 },
      { timestamp: ago(-HOUR, from), latencyMs: 20, qualityScore: 70 },
      { timestamp: ago(-HOUR, from), latencyMs: 30 },
      { timestamp: ago(1, to), status: "timeout", latencyMs: 40 },
      { timestamp: to, status: "failure", latencyMs: 9999, qualityScore: 0 },
    );
    await fleet.measure();
    const [row] = await fleet.stored();
    expect(row).toMatchObject({
      periodStart: "2026-03-03",
      periodEnd: "2026-03-03",
      actualAvailability: near(1 - 1 / 1440),
      actualP50LatencyMs: 20,
      actualP95LatencyMs: 40,
      actualP99LatencyMs: 40,
      actualSuccessRate: 0.75,
      actualQualityScore: 60,
      availabilityMet: true,
      latencyMet: true,
      successRateMet: true,
      qualityMet: true,
      overallCompliant: true,
      breachMinutes: 1,
      breachDetails: {
        failed: 0,
        timeout: 1,
        outages: [{ from: "2026-03-03T23:59:00.000Z", minutes: 1 }],
      },
    });
    const stricter = [
      { targetP50LatencyMs: 19 },
      { targetP95LatencyMs: 39 },
      { targetAvailability: 0.9994 },
      { targetSuccessRate: 0.7501 },
      { targetQualityScore: 60.01 },
    ];
    const lenient = {
      targetAvailability: null,
      targetP50LatencyMs: null,
      targetP95LatencyMs: null,
      targetP99LatencyMs: null,
      targetSuccessRate: null,
      targetQualityScore: null,
    };
    const verdicts = [];
    for (const target of [{}, ...stricter]) {
      await fleet.as((tx) => tx.update(agentSlas).set({ ...lenient, ...target }));
      await fleet.measure();
      const [judged] = await fleet.stored();
      verdicts.push(
        [
          judged?.availabilityMet,
          judged?.latencyMet,
          judged?.successRateMet,
          judged?.qualityMet,
          judged?.overallCompliant,
        ].map(String),
      );
    }
    const [none, broken] = ["null", "false"];
    expect(verdicts).toEqual([
      [none, none, none, none, none],
      [none, broken, none, none, broken],
      [none, broken, none, none, broken],
      [broken, none, none, none, broken],
      [none, none, broken, none, broken],
      [none, none, none, broken, broken],
    ]);
  });

  test("executions count, not rows: what a run says of itself, no shadow, and nobody who is still at work", async () => {
    const fleet = await newFleet({});
    const executionId = randomUUID();
    const [begun, later] = [ago(HOUR), ago(HOUR - 90 * SECOND)];
    await fleet.log(
      // A failing tool inside a run that went on, in another minute.
      { executionId, actionType: "agent_run", timestamp: begun, latencyMs: 500 },
      { executionId, actionType: "tool_call", timestamp: later, latencyMs: 9, status: "failure" },
      { status: "failure", timestamp: later, metadata: { shadow_of: executionId } },
      { status: "running", timestamp: ago(2 * HOUR) },
      { status: "cancelled", timestamp: ago(2 * HOUR), latencyMs: 700 },
    );
    expect(await measured(fleet)).toMatchObject({
      breachMinutes: 0,
      actualSuccessRate: 1,
      actualP50LatencyMs: 500,
      actualP99LatencyMs: 700,
      breachDetails: null,
    });
    const { budgets } = await fleet.as((tx) => errorBudgets(tx, { now: NOW }));
    expect(budgets).toMatchObject([{ executions: 1, failures: 0 }]);
  });

  test("a calendar's last period becomes final: what began in it may end the day after", async () => {
    const fleet = await newFleet({});
    const executionId = randomUUID();
    const timestamp = at("2026-03-03T23:59:00");
    await fleet.log({ executionId, timestamp, actionType: "llm_call", status: "running" });
    await fleet.measure({ now: at("2026-03-03T23:59:30") });
    expect(await fleet.stored()).toMatchObject([
      { periodStart: "2026-03-02" },
      { periodStart: "2026-03-03", actualSuccessRate: null },
    ]);
    await fleet.log({
      executionId,
      timestamp: at("2026-03-04T00:10:00"),
      actionType: "agent_run",
      status: "failure",
    });
    const { written } = await fleet.measure();
    expect(written.map(({ periodStart }) => periodStart)).toEqual(["2026-03-03", "2026-03-04"]);
    expect((await fleet.stored())[1]).toMatchObject({
      actualSuccessRate: 0,
      breachMinutes: 1,
      createdAt: NOW,
    });
  });

  test("neither the session's time zone nor its styles of dates matter", async () => {
    const fleet = await newFleet(
      { measurementWindow: "calendar_week", targetSuccessRate: 0.9 },
      { measurementWindow: "rolling_3d", targetSuccessRate: 0.9 },
    );
    // Clocks went forward in Berlin at 01:00 UTC, and there it is Monday already.
    const now = at("2026-03-29T23:30:00");
    await fleet.log(
      ...Array.from({ length: 40 }, (_, n) => ({
        timestamp: ago(n * 90 * MINUTE + 20 * SECOND, now),
        status: n % 3 === 0 ? ("failure" as const) : ("success" as const),
        latencyMs: n,
      })),
    );
    await fleet.measure({ now });
    const [rows, expectedRows] = [await fleet.stored(), await expected(fleet, now)];
    expect(rows).toHaveLength(3);
    for (const row of expectedRows) expect(rows).toContainEqual({ id: expect.any(String), ...row });
    const budgets = await fleet.as((tx) => errorBudgets(tx, { now }));
    for (const zone of ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Africa/Monrovia"]) {
      const again = await fleet.as(async (tx) => {
        await tx.execute(sql`select set_config('timezone', ${zone}, true), set_config('datestyle', 'German', true),
          set_config('intervalstyle', 'sql_standard', true)`);
        return { result: await measureSlas(tx, { now }), budgets: await errorBudgets(tx, { now }) };
      });
      expect(again.result).toMatchObject({ written: [], conflicts: [], notUnderstood: [] });
      expect(again.result.unchanged.map(({ periodStart }) => periodStart)).toEqual([
        "2026-03-16",
        "2026-03-23",
        "2026-03-27",
      ]);
      expect(again.budgets).toEqual(budgets);
    }
  });

  test("a window that it does not understand is named, and the others are measured", async () => {
    const fleet = await newFleet(
      ...UNKNOWN.map((measurementWindow) => ({ measurementWindow })),
      { measurementWindow: "rolling_30d" },
      { measurementWindow: "calendar_decade", isActive: false },
    );
    const named = UNKNOWN.map((measurementWindow, n) => ({
      slaId: fleet.slaIds[n],
      agentId: fleet.agentId,
      measurementWindow,
    })).toSorted((a, b) => (String(a.slaId) < String(b.slaId) ? -1 : 1));
    const result = await fleet.measure();
    expect(result.notUnderstood).toEqual(named);
    expect(result).toMatchObject({ written: [{ slaId: fleet.slaIds.at(-2) }], conflicts: [] });
    const read = await fleet.as((tx) => errorBudgets(tx, { now: NOW }));
    expect(read.notUnderstood).toEqual(named);
    expect(read.budgets).toMatchObject([{ slaId: fleet.slaIds.at(-2) }]);
  });

  test("of two SLAs with one period the oldest reports it, a row stays its own, and the other is told who has it", async () => {
    const fleet = await newFleet(
      { targetSuccessRate: 0.5, createdAt: at("2026-01-02T00:00:00") },
      { targetSuccessRate: 0.9, createdAt: at("2026-01-01T00:00:00") },
      { measurementWindow: "rolling_2d" },
    );
    const [younger, older, other] = fleet.slaIds;
    await fleet.log({ timestamp: ago(DAY) });
    const taken = (periodStart: string, slaId: unknown, heldBy: unknown) => ({
      slaId,
      agentId: fleet.agentId,
      periodStart,
      periodEnd: periodStart,
      heldBy,
    });
    const first = await fleet.measure();
    expect(first.written.map(({ slaId, periodStart }) => [slaId, periodStart])).toEqual([
      [older, "2026-03-03"],
      [other, "2026-03-03"],
      [older, "2026-03-04"],
    ]);
    expect(first.conflicts).toEqual([
      taken("2026-03-03", younger, older),
      taken("2026-03-04", younger, older),
    ]);
    // The promise is replaced in the middle of a day: the day's row stays the old one's.
    await fleet.as((tx) =>
      tx
        .update(agentSlas)
        .set({ isActive: false })
        .where(eq(agentSlas.id, String(older))),
    );
    const versions = await fleet.versions();
    const second = await fleet.measure({ now: ago(-HOUR) });
    expect(second).toMatchObject({ written: [], conflicts: first.conflicts });
    expect(await fleet.versions()).toEqual(versions);
    const third = await fleet.measure({ now: ago(-DAY) });
    expect(third.conflicts).toEqual([taken("2026-03-04", younger, older)]);
    expect(third.written).toContainEqual(
      expect.objectContaining({ slaId: younger, periodStart: "2026-03-05" }),
    );
    const { budgets } = await fleet.as((tx) => errorBudgets(tx, { now: NOW }));
    expect(new Set(budgets.map(({ slaId }) => slaId))).toEqual(new Set([younger, other]));
  });

  test("a second measurement writes nothing, as tenant and as service role, nor does one of an earlier instant; one that differs writes its row alone", async () => {
    const fleet = await newFleet(
      { measurementWindow: "calendar_week" },
      { measurementWindow: "rolling_10d" },
    );
    await fleet.log(
      { latencyMs: 7, qualityScore: 100 / 3, status: "failure" },
      { latencyMs: 8, qualityScore: 99.99, timestamp: ago(5 * DAY) },
    );
    expect((await fleet.measure()).written).toHaveLength(3);
    const versions = await fleet.versions();
    expect(await fleet.measure()).toMatchObject({
      written: [],
      unchanged: [
        { periodStart: "2026-02-23", overallCompliant: true },
        { periodStart: "2026-02-23", overallCompliant: false },
        { periodStart: "2026-03-02", overallCompliant: false },
      ],
    });
    await withServiceRole(database.db, async (tx) => {
      const { written } = await measureSlas(tx, { agentId: fleet.agentId, now: NOW });
      expect(written).toEqual([]);
    });
    const earlier = await fleet.measure({ now: ago(2 * HOUR) });
    expect(earlier.written).toEqual([]);
    expect(earlier.unchanged.map(({ overallCompliant }) => overallCompliant)).toEqual([
      true,
      false,
      false,
    ]);
    expect(await fleet.versions()).toEqual(versions);
    await fleet.log({ latencyMs: 8, timestamp: at("2026-02-23T01:00:00") });
    expect((await fleet.measure()).written).toMatchObject([
      { periodStart: "2026-02-23", periodEnd: "2026-03-04" },
    ]);
    expect(
      (await fleet.versions()).filter((row) => versions.some((old) => isSame(old, row))),
    ).toHaveLength(2);
  });
  const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

  test("another organization's agent answers as a missing one, and its logs do not count; the service role measures all under their agent's organization", async () => {
    const [own, other] = [await newFleet({}), await newFleet({})];
    const nothing = { written: [], unchanged: [], conflicts: [], notUnderstood: [] };
    for (const agentId of [other.agentId, randomUUID()]) {
      expect(await own.measure({ agentId, now: NOW })).toEqual(nothing);
      expect(await own.as((tx) => errorBudgets(tx, { agentId, now: NOW }))).toEqual({
        budgets: [],
        notUnderstood: [],
      });
    }
    // What the platform writes about an agent counts for the service role, which sees it.
    await database.db.insert(agentExecutionLogs).values(
      newExecutionLog({
        agentId: own.agentId,
        organizationId: null,
        status: "failure",
        timestamp: ago(HOUR),
      }),
    );
    expect(await measured(own)).toMatchObject({ breachMinutes: 0 });
    const none = await withOrganization(database.db, {}, (tx) => measureSlas(tx, { now: NOW }));
    expect(none).toEqual(nothing);
    expect(await other.stored()).toEqual([]);
    await withServiceRole(database.db, (tx) => measureSlas(tx, { now: ago(-SECOND) }));
    expect((await own.stored()).at(-1)).toMatchObject({
      breachMinutes: 1,
      organizationId: own.organizationId,
    });
    expect(await other.stored()).toMatchObject([
      { organizationId: other.organizationId },
      { organizationId: other.organizationId },
    ]);
  });

  test("it needs READ COMMITTED; to read budgets does not", async () => {
    const fleet = await newFleet({});
    const work = database.db.transaction(
      async (tx) => {
        await tx.execute(sql`set local role service_role`);
        await errorBudgets(tx, { agentId: fleet.agentId });
        await measureSlas(tx, { agentId: fleet.agentId });
      },
      { isolationLevel: "repeatable read" },
    );
    await expect(work).rejects.toThrow("measureSlas needs a READ COMMITTED transaction");
    expect(await fleet.stored()).toEqual([]);
  });

  test("without an instant it is the database's clock", async () => {
    const fleet = await newFleet({});
    const before = new Date();
    await fleet.measure({});
    const [row] = (await fleet.stored()).slice(-1);
    expect(row?.periodEnd).toBe(dayOf(row?.createdAt ?? before));
    expect(Math.abs(+(row?.createdAt ?? 0) - +before)).toBeLessThan(10 * MINUTE);
    const { budgets } = await fleet.as((tx) => errorBudgets(tx));
    expect(budgets).toHaveLength(1);
  });

  test("as a tenant both read the log through its index on agent and time, for one agent or all", async () => {
    const fleet = await newFleet({});
    await fillLogs(database.db, NOW, fleet);
    for (const options of [{ now: NOW }, { now: NOW, agentId: fleet.agentId }]) {
      const plan = await fleet.as((tx) =>
        explained(tx, async (spied) => {
          await measureSlas(spied, options);
          await errorBudgets(spied, options);
        }),
      );
      expect(
        plan.match(
          /Index Scan using idx_logs_agent_timestamp.*\n\s+Index Cond: \(\(agent_id = .*\) AND \("timestamp" >= .*\) AND \("timestamp" < /g,
        ),
      ).toHaveLength(2);
    }
  });

  // ── Error budgets ──

  const failing = (
    count: number,
    of: number,
    { over, from = 0 }: { over: number; from?: number },
  ) =>
    Array.from({ length: of }, (_, n) => ({
      timestamp: ago(from + 1 + Math.floor((n * over) / of)),
      status: n % of < count ? ("failure" as const) : ("success" as const),
    }));
  const firing = ({ budgets }: { budgets: readonly ErrorBudget[] }) =>
    budgets.flatMap(({ burns }) => burns.map(({ isFiring }) => isFiring));

  test("a budget says what may fail, what did and what is left, and burns fire when both of their windows exceed the factor", async () => {
    const fleet = await newFleet({ measurementWindow: "rolling_30d", targetSuccessRate: 0.99 });
    const read = (options = {}) => fleet.as((tx) => errorBudgets(tx, { now: NOW, ...options }));
    // 3 of 100 an hour for a long time: the ticket alone.
    await fleet.log(
      ...failing(3, 100, { over: 5 * MINUTE }),
      ...failing(27, 900, { over: 2 * DAY, from: HOUR }),
    );
    const [budget] = (await read()).budgets;
    expect(budget).toMatchObject({
      targetSuccessRate: 0.99,
      executions: 1000,
      failures: 30,
      allowedFailures: 10,
      remainingFailures: -20,
      usedShare: 3,
    });
    expect(budget?.burns).toMatchObject([
      {
        severity: "page",
        factor: 14.4,
        isFiring: false,
        long: { minutes: 60, executions: 100, failures: 3, burnRate: 3 },
        short: { minutes: 5, burnRate: 3 },
      },
      {
        severity: "page",
        factor: 6,
        isFiring: false,
        long: { minutes: 360 },
        short: { minutes: 30, failures: 3 },
      },
      {
        severity: "ticket",
        factor: 1,
        isFiring: true,
        long: { minutes: 4320, executions: 1000 },
        short: { minutes: 360 },
      },
    ]);
    expect(firing(await read({ minFailures: 30 }))).toEqual([false, false, true]);
    expect(firing(await read({ minFailures: 31 }))).toEqual([false, false, false]);
  });

  test.each([
    // Of 100 at 99 %: 14.4 times are 14.4 failures, 6 times are 6.
    [15, [true, true, true]],
    [14, [false, true, true]],
    [7, [false, true, true]],
    [6, [false, false, true]],
    [1, [false, false, false]],
  ])("%i of 100 failures of these minutes fire %j", async (failures, expectedFiring) => {
    const fleet = await newFleet({ targetSuccessRate: 0.99 });
    await fleet.log(...failing(failures, 100, { over: 4 * MINUTE }));
    expect(firing(await fleet.as((tx) => errorBudgets(tx, { now: NOW })))).toEqual(expectedFiring);
  });

  test("what is over fires no more, and few failures of few executions do not", async () => {
    const fleet = await newFleet({ targetSuccessRate: 0.999 });
    const read = async () => firing(await fleet.as((tx) => errorBudgets(tx, { now: NOW })));
    await fleet.log(...failing(4, 4, { over: MINUTE }));
    expect(await read()).toEqual([false, false, false]);
    await fleet.log({ timestamp: ago(SECOND), status: "timeout" });
    expect(await read()).toEqual([true, true, true]);
    const past = await newFleet({ targetSuccessRate: 0.999 });
    await past.log(...failing(50, 50, { over: MINUTE, from: 31 * MINUTE }));
    expect(firing(await past.as((tx) => errorBudgets(tx, { now: NOW })))).toEqual([
      false,
      false,
      true,
    ]);
  });

  test("where nothing may fail there is no share, and five failures fire", async () => {
    const fleet = await newFleet(
      { targetSuccessRate: 1 },
      { measurementWindow: "rolling_9d", targetSuccessRate: null },
    );
    await fleet.log(...failing(5, 50, { over: MINUTE }));
    const { budgets } = await fleet.as((tx) => errorBudgets(tx, { now: NOW }));
    expect(budgets).toMatchObject([
      { slaId: fleet.slaIds[0], allowedFailures: 0, remainingFailures: -5, usedShare: null },
    ]);
    expect(budgets[0]?.burns.map(({ isFiring, long }) => [isFiring, long.burnRate])).toEqual(
      Array.from({ length: 3 }, () => [true, null]),
    );
  });

  // ── Random logs against the reference ──

  const thousandths = (...values: number[]) =>
    fc.constantFrom(null, ...values.map((value) => value / 1000));
  const promise = fc.record({
    measurementWindow: fc.constantFrom(
      ...[
        "rolling_1d",
        "rolling_3d",
        "rolling_30d",
        "calendar_day",
        "calendar_week",
        "calendar_month",
      ],
    ),
    targetAvailability: thousandths(500, 990, 999, 1000),
    targetSuccessRate: thousandths(0, 500, 900, 950, 1000),
    targetQualityScore: fc.constantFrom(null, 0, 40.5, 75, 100),
    targetP50LatencyMs: fc.constantFrom(null, 0, 300),
    targetP95LatencyMs: fc.constantFrom(null, 500, 1000),
    targetP99LatencyMs: fc.constantFrom(null, 1000, 2_147_483_647),
  });
  const log = fc.record({
    execution: fc.nat(30),
    age: fc.oneof(
      fc.nat(6 * MINUTE),
      fc.nat(HOUR + MINUTE),
      fc.nat(7 * HOUR),
      fc.nat(4 * DAY),
      fc.nat(70 * DAY),
      fc.constantFrom(-1, 0, 1, 5 * MINUTE, 30 * MINUTE, HOUR, 6 * HOUR, 12 * HOUR, DAY, 3 * DAY),
    ),
    actionType: fc.constantFrom("agent_run", "agent_step", "llm_call", "tool_call"),
    isShadow: fc.nat(4).map((n) => n === 0),
    status: fc.constantFrom("success", "failure", ...EXECUTION_STATUSES),
    latencyMs: fc.option(fc.oneof(fc.nat(1000), fc.constant(2_147_483_647)), {
      nil: null,
      freq: 4,
    }),
    qualityScore: fc.option(fc.nat(100), { nil: null }),
  });
  const situation = fc.record({
    promise,
    logs: fc.array(log, { maxLength: 60, size: "max" }),
    now: fc.constantFrom(
      NOW,
      at("2026-03-01T00:00:00"),
      at("2026-03-02T00:00:00.001"),
      at("2026-01-04T23:59:59.999"),
      at("2028-02-29T11:00:00"),
    ),
    minFailures: fc.constantFrom(1, 2, 5),
  });

  test(
    "random logs: each row and each budget is the reference's, and the second time nothing is written",
    { timeout: 60_000 + 2000 * RUNS },
    async () => {
      const property = fc.asyncProperty(
        situation,
        async ({ promise: promised, logs, now, minFailures }) => {
          const fleet = await newFleet(promised);
          const rows = logs.map(({ execution, age, isShadow, ...given }) => ({
            ...given,
            executionId: `00000000-0000-4000-8000-0000000000${String(execution).padStart(2, "0")}`,
            timestamp: ago(age, now),
            metadata: isShadow ? { shadow_of: "another" } : {},
          }));
          if (rows.length > 0) await fleet.log(...rows);
          const { written } = await fleet.measure({ now });
          const [stored, wanted] = [await fleet.stored(), await expected(fleet, now)];
          expect(written).toHaveLength(wanted.length);
          expect(stored).toEqual(wanted.map((row) => ({ id: expect.any(String), ...row })));
          const versions = await fleet.versions();
          expect(await fleet.measure({ now })).toMatchObject({ written: [], unchanged: written });
          expect(await fleet.versions()).toEqual(versions);
          const { budgets } = await fleet.as((tx) => errorBudgets(tx, { now, minFailures }));
          const [sla] = await fleet.slas();
          const hasBudget = sla && sla.targetSuccessRate !== null;
          const options = { logs: await fleet.logs(), now, minFailures };
          expect(budgets).toEqual(hasBudget ? [budgetOf(sla, options)] : []);
        },
      );
      await fc.assert(property, {
        numRuns: RUNS,
        ...(SEED === undefined ? {} : { seed: Number(SEED) }),
      });
    },
  );
});

suite("service levels of the demo", (database) => {
  const now = new Date(DEMO_NOW);
  beforeAll(() => loadDemo(database.db), 600_000);

  test.each(["calendar_week", "rolling_30d", "calendar_month", "rolling_1d"])(
    "in windows of %s each row and each budget is the reference's",
    async (measurementWindow) => {
      await database.db.delete(slaCompliance);
      await database.db.update(agentSlas).set({ measurementWindow });
      const { larkspur, cobalt } = DEMO_ORGANIZATIONS;
      const read: ErrorBudget[] = [];
      for (const { id } of [larkspur, cobalt]) {
        await withOrganization(database.db, id, async (tx) => {
          await measureSlas(tx, { now });
          read.push(...(await errorBudgets(tx, { now })).budgets);
        });
      }
      const [slas, logs, rows] = await Promise.all([
        database.db.select().from(agentSlas),
        database.db.select().from(agentExecutionLogs),
        database.db.select().from(slaCompliance),
      ]);
      expect(rows.some(({ breachMinutes }) => breachMinutes > 0)).toBe(true);
      const count = slas.reduce((sum) => sum + periodsOf(measurementWindow, now).length, 0);
      expect(rows).toHaveLength(count);
      for (const sla of slas) {
        const own = logs.filter(({ agentId }) => agentId === sla.agentId);
        for (const span of periodsOf(measurementWindow, now)) {
          const wanted = complianceOf(sla, { logs: own, now, ...span });
          expect(rows).toContainEqual({ id: expect.any(String), ...wanted });
        }
        expect(read).toContainEqual(budgetOf(sla, { logs: own, now }));
      }
      await withServiceRole(database.db, async (tx) => {
        expect(await measureSlas(tx, { now })).toMatchObject({ written: [], conflicts: [] });
      });
    },
  );
});
