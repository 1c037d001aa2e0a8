/**
 * What the statistics promise, by simulations through the SQL that the functions send. SIMULATIONS=full
 * tries 2,000 tests and canaries, else a part of them, from fixed seeds.
 */
import { type SQL, sql } from "drizzle-orm";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { rows } from "../src/client/sql.ts";
import {
  EVIDENCE_OF_DIFFERENCE,
  armsOf,
  evidenceOfFailure,
  evidenceOfMismatch,
} from "../src/fleet/evidence.ts";
import { suite } from "./engine.ts";
import * as reference from "./evidence.ts";

const FULL = process.env["SIMULATIONS"] === "full";
/** Tests a statement. */
const TESTS = 100;
const DAYS = 30;
/** A winner at alpha 0.05, and what rolls a canary back. */
const ENOUGH = 20;

suite("evidence", (database) => {
  async function seeded<T extends object>(seed: number, query: SQL): Promise<T[]> {
    return database.db.transaction(async (tx) => {
      await tx.execute(sql`select setseed(${seed}::float8)`);
      return rows<T>(await tx.execute(query));
    });
  }

  interface False {
    /** By the evidence. */
    readonly ours: number;
    /** By the evidence, had it not heard of units. */
    readonly unitless: number;
    /** By a z-test of each day. */
    readonly naive: number;
  }
  /** Of how many of all tests some day of the thirty would have named a winner. There is none. */
  async function falseWinners(statements: number, arms: SQL): Promise<False> {
    const total = { ours: 0, unitless: 0, naive: 0 };
    for (let n = 0; n < statements; n += 1) {
      const [found] = await seeded<False>(
        (n + 1) / 1000,
        sql`with arms as materialized (select *, random() from (${arms}) as arms where least(n_control, n_treatment) >= 100),
          judged as (
            select test, ${EVIDENCE_OF_DIFFERENCE} as ours,
              (select ${EVIDENCE_OF_DIFFERENCE} from (select 0 as spread_control, 0 as spread_treatment) as none) as unitless,
              (select abs(s_treatment / n_treatment - s_control / n_control) / sqrt(p * (1 - p) * (1 / n_control + 1 / n_treatment))
                from (select (s_control + s_treatment + 0.5) / (n_control + n_treatment + 1) as p) as pooled) as z
            from arms)
          select count(distinct test / ${DAYS}) filter (where ours >= ${ENOUGH})::int as ours,
            count(distinct test / ${DAYS}) filter (where unitless >= ${ENOUGH})::int as unitless,
            count(distinct test / ${DAYS}) filter (where z > 1.96)::int as naive from judged`,
      );
      total.ours += found?.ours ?? Number.NaN;
      total.unitless += found?.unitless ?? Number.NaN;
      total.naive += found?.naive ?? Number.NaN;
    }
    const share = (count: number) => count / (statements * TESTS);
    return {
      ours: share(total.ours),
      unitless: share(total.unitless),
      naive: share(total.naive),
    };
  }

  test("equals a reference to 1e-9, of any units, and is 1 where an arm has none", async () => {
    const unit = fc
      .integer({ min: 1, max: 40 })
      .chain((n) => fc.record({ n: fc.constant(n), s: fc.integer({ min: 0, max: n }) }));
    const arm = fc.array(unit, { maxLength: 30 });
    const cases = fc.sample(fc.record({ control: arm, treatment: arm }), { numRuns: 300, seed: 1 });
    const units = cases.flatMap(({ control, treatment }, n) =>
      [
        ...control.map((one) => [n, false, one] as const),
        ...treatment.map((one) => [n, true, one] as const),
      ].map(([at, isTreatment, one]) => ({ test: at, is_treatment: isTreatment, ...one })),
    );
    const found = rows<{ test: number; evidence: number; mismatch: number }>(
      await database.db.execute(sql`
        select test, ${EVIDENCE_OF_DIFFERENCE} as evidence, ${evidenceOfMismatch(sql`0.3`)} as mismatch
        from (${armsOf(sql`select * from json_to_recordset(${JSON.stringify(units)}::text::json)
          as unit(test int, is_treatment boolean, n int, s int)`)}) as arms`),
    );
    expect(found.length).toBeGreaterThan(250);
    for (const { test: at, evidence, mismatch } of found) {
      const { control = [], treatment = [] } = cases[at] ?? {};
      const expected = reference.evidenceOfDifference(control, treatment);
      expect(Math.abs(evidence / expected - 1), `case ${at}`).toBeLessThan(1e-9);
      const shares = reference.evidenceOfMismatch(control.length, treatment.length, 0.3);
      expect(Math.abs(mismatch / shares - 1), `case ${at}`).toBeLessThan(1e-9);
    }
  });

  test("of failures equals a reference to 1e-9, is 1 without a limit, and leaves no float8", async () => {
    const found = rows<{
      failures: number;
      successes: number;
      evidence: number;
      unlimited: number;
    }>(
      await database.db.execute(sql`
        select failures, successes, ${evidenceOfFailure(sql`0.1`)} as evidence, ${evidenceOfFailure(sql`null`)} as unlimited,
          ${evidenceOfFailure(sql`0`)} as strict, ${evidenceOfFailure(sql`1`)} as lenient
        from (values (0, 0), (0, 1), (1, 0), (6, 0), (12, 88), (40, 60), (100000, 0), (0, 100000), (7, 100000)) as seen(failures, successes)`),
    );
    for (const { failures, successes, evidence, unlimited } of found) {
      const expected = reference.evidenceOfFailure(failures, successes, 0.1);
      expect(Math.abs(evidence / expected - 1)).toBeLessThan(1e-9);
      expect(unlimited).toBe(1);
    }
    expect(found.find(({ failures }) => failures === 6)?.evidence).toBeCloseTo(149_194, 0);
  });

  test("of no difference names a winner in at most 5 of 100 tests that are looked at daily", async () => {
    // 200 executions a day, 95 of 100 good. Each is a unit, so that the spread is that of a coin.
    const share = await falseWinners(
      FULL ? 20 : 2,
      sql`select *, r_control * (1 - r_control) / n_control as spread_control, r_treatment * (1 - r_treatment) / n_treatment as spread_treatment
      from (
        select *, s_control / n_control as r_control, s_treatment / n_treatment as r_treatment
        from (
          select test,
            (sum(n - t) over so_far)::float8 as n_control, (sum(s - st) over so_far)::float8 as s_control,
            (sum(t) over so_far)::float8 as n_treatment, (sum(st) over so_far)::float8 as s_treatment
          from (
            select i / 200 as test, count(*) as n, count(*) filter (where is_good) as s,
              count(*) filter (where is_treatment) as t, count(*) filter (where is_treatment and is_good) as st
            from (
              select i, random() < 0.5 as is_treatment, random() < 0.95 as is_good
              from generate_series(0, ${TESTS * DAYS * 200 - 1}::int) as i
            ) as execution group by 1
          ) as daily
          window so_far as (partition by test / ${DAYS} order by test)
        ) as counted
      ) as rated`,
    );
    expect(share.ours).toBeLessThanOrEqual(0.05);
    expect(share.naive).toBeGreaterThan(0.1);
  });

  test("of no difference names a winner in at most 5 of 100 tests whose users differ and stay with one arm", async () => {
    // 200 users with a success rate of their own, 9 of 10 in the mean, and none to four executions a day.
    const share = await falseWinners(
      FULL ? 20 : 1,
      armsOf(sql`
        select user_of_test / 200 * ${DAYS} + day as test, is_treatment, user_of_test,
          (sum(n) over so_far)::int as n, (sum(s) over so_far)::int as s
        from (
          select *, (n > 0 and random() < rate)::int + (n > 1 and random() < rate)::int
            + (n > 2 and random() < rate)::int + (n > 3 and random() < rate)::int as s
          from (
            select *, floor(random() * 5)::int as n
            from (
              select user_of_test, random() < 0.5 as is_treatment, power(random(), 1 / 9.0) as rate
              from generate_series(0, ${TESTS * 200 - 1}::int) as user_of_test offset 0
            ) as member cross join generate_series(0, ${DAYS - 1}::int) as day offset 0
          ) as busy offset 0
        ) as daily
        window so_far as (partition by user_of_test order by day)`),
    );
    expect(share.ours).toBeLessThanOrEqual(0.05);
    expect(share.unitless).toBeGreaterThan(0.05);
    expect(share.naive).toBeGreaterThan(0.3);
  });

  /** Canaries looked at after each of 500 executions, at a limit of 0.1. */
  const canaries = (seed: number, count: number, rate: number) =>
    seeded<{ caught: number | null; naive: boolean }>(
      seed,
      sql`select min(n) filter (where evidence >= ${ENOUGH})::int as caught, bool_or(n >= 10 and failures > 0.1 * n) as naive
        from (
          select run, n, failures, ${evidenceOfFailure(sql`0.1`)} as evidence
          from (
            select run, n, failures, n - failures as successes
            from (
              select run, n, sum(failed) over (partition by run order by n) as failures
              from (
                select run, n, (random() < ${rate}::float8)::int as failed
                from generate_series(1, ${count}::int) as run cross join generate_series(1, 500) as n offset 0
              ) as execution
            ) as counted
          ) as seen
        ) as judged
        group by run`,
    );

  test("rolls back fewer than 1 of 100 canaries at half the limit, looked at after each execution", async () => {
    const runs = await canaries(0.5, FULL ? 2000 : 200, 0.05);
    const share = runs.filter(({ caught }) => caught !== null).length / runs.length;
    expect(share).toBeLessThan(0.01);
    // "The rate is above the limit, from ten executions on" rolls back a third.
    expect(runs.filter(({ naive }) => naive).length / runs.length).toBeGreaterThan(0.2);
  });

  test("catches a canary of which half fails within 10 executions in the median, and each", async () => {
    const runs = await canaries(0.25, FULL ? 2000 : 100, 0.5);
    const caught = runs.map(({ caught: at }) => at ?? Infinity).toSorted((a, b) => a - b);
    expect(caught[Math.floor(caught.length / 2)]).toBeLessThanOrEqual(10);
    expect(caught.at(-1)).toBeLessThan(500);
  });

  test("of a split finds traffic of 45 instead of 50 in 100, and suspects almost none that is as planned", async () => {
    const suspected = async (seed: number, share: number) => {
      const [found] = await seeded<{ share: number }>(
        seed,
        sql`select avg((worst >= 1000)::int)::float8 as share from (
          select run, max(evidence) as worst from (
            select run, ${evidenceOfMismatch(sql`0.5`)} as evidence from (
              select run, n - units_treatment as units_control, units_treatment from (
                select run, n, sum(is_treatment) over (partition by run order by n) as units_treatment from (
                  select run, n, (random() < ${share}::float8)::int as is_treatment
                  from generate_series(1, ${FULL ? 400 : 30}::int) as run cross join generate_series(1, 4000) as n offset 0
                ) as unit
              ) as counted where n % 100 = 0
            ) as seen
          ) as judged group by run
        ) as runs`,
      );
      return found?.share ?? Number.NaN;
    };
    expect(await suspected(0.3, 0.45)).toBeGreaterThan(0.8);
    expect(await suspected(0.6, 0.5)).toBeLessThan(0.01);
  });
});
