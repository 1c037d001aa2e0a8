/**
 * Evidence as e-values: what an observation is worth against a hypothesis, as the mean of likelihood ratios.
 * Where the hypothesis holds, one reaches `1 / alpha` with a probability of at most alpha, however often one
 * looks. Scalar SQL over columns of the statement around it, so that one statement judges many.
 */
import { type SQL, sql } from "drizzle-orm";

/** Of canaries that fail as often as the limit allows, one in so many stages reaches this evidence: it is rolled back. */
export const ENOUGH_EVIDENCE = 20;
/** So many executions a stage of a canary needs, unless its caller asks for others. */
export const ENOUGH_EXECUTIONS = 50;

/** The mean over alternatives `of` (named `a`) of `exp(log)`, cut where the squares that avg() sums would leave float8. */
const mean = (of: readonly number[], log: SQL): SQL =>
  sql`(select avg(exp(greatest(-300, least(300, ${log})))) from unnest(${sql.raw(`array[${of.join(", ")}]::float8[]`)}) as a)`;

/** The same of `${count} * ln(ratio)`, where a count of 0 is nothing, whatever the ratio. */
const times = (count: SQL, ratio: SQL): SQL =>
  sql`case when ${count} > 0 then ${count} * ln(${ratio}) else 0 end`;

/** How far rates are apart in the alternatives of {@link EVIDENCE_OF_DIFFERENCE}: small, middling and large effects. */
const EFFECTS = [0.01, 0.03, 0.1];

/**
 * Against "both arms succeed equally often": a mixture sequential probability ratio test (mSPRT), normal effects of
 * three sizes. The variance is that of the pooled rate or that between units, whichever is larger: executions
 * of one user are not independent. 1 where an arm has nothing.
 *
 * Columns: `n_control`, `s_control`, `n_treatment`, `s_treatment`, executions and successes as float8;
 * `spread_control`, `spread_treatment`, the variance of each arm's rate between its units.
 */
export const EVIDENCE_OF_DIFFERENCE: SQL = sql`(
  select case when n_control > 0 and n_treatment > 0 then ${mean(
    EFFECTS,
    sql`0.5 * ln(v / (v + a * a)) + a * a * d * d / (2 * v * (v + a * a))`,
  )} else 1 end
  from (
    select s_treatment / nullif(n_treatment, 0) - s_control / nullif(n_control, 0) as d,
      greatest(p * (1 - p) * (1 / nullif(n_control, 0) + 1 / nullif(n_treatment, 0)), spread_control + spread_treatment) as v
    from (select (s_control + s_treatment + 0.5) / (n_control + n_treatment + 1) as p) as pooled
  ) as seen)`;

/**
 * What {@link EVIDENCE_OF_DIFFERENCE} reads, one row for each `test`.
 * @param unit rows with `test`, `is_treatment`, and the unit's `n` executions and `s` successes
 */
export const armsOf = (unit: SQL): SQL => {
  const arm = (name: string, filter: string) =>
    sql.raw(`coalesce(sum(n) filter (where ${filter}), 0) as n_${name},
      coalesce(sum(s) filter (where ${filter}), 0) as s_${name},
      coalesce(sum(s * s) filter (where ${filter}), 0) as ss_${name},
      coalesce(sum(s * n) filter (where ${filter}), 0) as sn_${name},
      coalesce(sum(n * n) filter (where ${filter}), 0) as nn_${name},
      count(*) filter (where ${filter}) as units_${name}`);
  // Sums of whole numbers are exact, in whatever order: (s - n * rate)² over the units.
  const spread = (name: string) =>
    sql.raw(`coalesce((ss_${name} - 2 * rate_${name} * sn_${name} + rate_${name} * rate_${name} * nn_${name})
      / nullif(n_${name}::float8 * n_${name}, 0), 0) as spread_${name}`);
  return sql`
  select test, units_control, units_treatment, n_control::float8, s_control::float8, n_treatment::float8, s_treatment::float8,
    ${spread("control")}, ${spread("treatment")}
  from (
    select *, s_control / nullif(n_control, 0)::float8 as rate_control, s_treatment / nullif(n_treatment, 0)::float8 as rate_treatment
    from (select test, ${arm("control", "not is_treatment")}, ${arm("treatment", "is_treatment")} from (${unit}) as unit group by test) as summed
  ) as rated`;
};

/**
 * Against "units come to the treatment as often as the split says": likelihood ratios of odds that are off by
 * factors from 1/2 to 2. Columns: `units_control`, `units_treatment`.
 * @param split the treatment's share, 0 to 1
 */
export const evidenceOfMismatch = (split: SQL): SQL => {
  const share = sql`(a * split / (1 - split + a * split))`;
  return sql`(
  select case when split > 0 and split < 1 then ${mean(
    [0.5, 0.8, 0.9, 0.95, 1.05, 1.1, 1.25, 2],
    sql`${times(sql`units_treatment`, sql`${share} / split`)} + ${times(sql`units_control`, sql`(1 - ${share}) / (1 - split)`)}`,
  )} else 1 end
  from (select ${split}::float8 as split) as planned)`;
};

/**
 * Against "at most the limit fails": likelihood ratios of higher rates. 1 without a limit. Columns: `failures`,
 * `successes`.
 * @param limit a rate, 0 to 1, or NULL
 */
export const evidenceOfFailure = (limit: SQL): SQL => {
  const rate = sql`(p + (1 - p) * a)`;
  // greatest(NULL, x) is x: without a limit nothing is computed.
  return sql`(
  select case when most is null then 1 else ${mean(
    [0.1, 0.25, 0.5, 0.9],
    sql`${times(sql`failures`, sql`${rate} / p`)} + ${times(sql`successes`, sql`(1 - ${rate}) / (1 - p)`)}`,
  )} end
  from (select most, least(greatest(most, 0.000001), 0.999999)::float8 as p from (select ${limit}::float8 as most) as given) as limits)`;
};
