/** Alerts of what lasts: raised when it begins, resolved when it has passed. */
import { sql } from "drizzle-orm";
import { type Executor, rows } from "../client/sql.ts";
import { ALERT_SEVERITIES, type AlertSeverity } from "../values.ts";
import { type Incident, raiseAlert, resolveAlerts } from "./alerts.ts";
import { type BudgetState, budgetStatus } from "./budgets.ts";
import { type ErrorBudget, errorBudgets } from "./slas.ts";
import { lockOrganization } from "./steps.ts";

/** An alert that was raised. */
export interface StandingAlert {
  readonly alertType: string;
  readonly severity: AlertSeverity;
  readonly title: string;
  /** `null`: the whole organization. */
  readonly agentId: string | null;
  readonly organizationId: string | null;
}

/** What became of the alerts of what lasts. */
export interface StandingAlerts {
  /** Those that were not open, or less loud. */
  readonly raised: readonly StandingAlert[];
  /** Count. Those whose cause is gone. */
  readonly resolved: number;
}

/** An A/B test as a round has left it. */
export interface JudgedTest {
  readonly id: string;
  readonly agentId: string;
  readonly testName: string;
  readonly isFinished: boolean;
  readonly sampleRatioMismatch: boolean;
}

/** With this their keys begin: no other alert is resolved. */
const OWN = "governance:";

interface Finding extends Omit<Incident, "agentId" | "organizationId" | "now"> {
  readonly agentId: string | null;
  readonly organizationId: string | null;
  readonly dedupKey: string;
}

/**
 * Raises what stands at `now` and has no alert that is as loud, and resolves those whose cause is gone. Whoever does the
 * same waits, so that each looks at what stands after the other.
 */
export async function keepAlerts(
  tx: Executor,
  { now, abTests }: { readonly now: Date; readonly abTests: readonly JudgedTest[] },
): Promise<StandingAlerts> {
  await lockOrganization(tx, "runGovernance", "governance alerts");
  const { budgets } = await errorBudgets(tx, { now });
  const found = [
    ...(await unhealthy(tx)),
    ...(await missedServiceLevels(tx, now)),
    ...budgets.flatMap(burning),
    ...(await budgetStatus(tx, { now })).flatMap(spent),
    ...abTests.flatMap(mismatched),
  ];
  const open = rows<Open>(await tx.execute(OPEN));
  const openOf = new Map(open.map((alert) => [subjectOf(alert), alert]));
  const standing = new Set(found.map(subjectOf));
  const raised = found
    .filter((finding) => {
      const former = openOf.get(subjectOf(finding));
      return !former || loudness(former.severity) < loudness(finding.severity);
    })
    .toSorted((a, b) => (subjectOf(a) < subjectOf(b) ? -1 : 1));
  for (const { agentId, organizationId, ...incident } of raised) {
    const subject =
      agentId === null ? { organizationId: organizationId ?? undefined } : { agentId };
    await raiseAlert(tx, { ...incident, ...subject, now });
  }
  const ids = open.filter((alert) => !standing.has(subjectOf(alert))).map(({ id }) => id);
  const resolved = ids.length === 0 ? 0 : await resolveAlerts(tx, { ids, now });
  return {
    raised: raised.map(({ alertType, severity, title, agentId, organizationId }) => ({
      ...{ alertType, severity, title, agentId, organizationId },
    })),
    resolved,
  };
}

interface Open {
  readonly id: string;
  readonly agentId: string | null;
  readonly organizationId: string | null;
  readonly severity: AlertSeverity;
  readonly dedupKey: string;
}

const OPEN = sql`
  select id, agent_id as "agentId", organization_id as "organizationId", severity, details ->> 'dedup_key' as "dedupKey"
  from public.alert_history where not resolved and details ->> 'dedup_key' like ${`${OWN}%`}`;

/** An agent's alerts are told apart by it alone: its organization may have changed since. */
const subjectOf = ({
  agentId,
  organizationId,
  dedupKey,
}: Pick<Finding, "agentId" | "organizationId" | "dedupKey">) =>
  `${agentId ?? organizationId} ${dedupKey}`;

const loudness = (severity: AlertSeverity) => ALERT_SEVERITIES.indexOf(severity);

async function unhealthy(tx: Executor): Promise<Finding[]> {
  const found = rows<{
    agentId: string;
    organizationId: string | null;
    agentName: string;
    status: "critical" | "degraded";
    circuit: string;
    executions: number;
    failures: number;
  }>(
    await tx.execute(sql`
    select agent_id as "agentId", agent.organization_id as "organizationId", agent_name as "agentName", health.status,
      circuit_state as circuit, executions_1h as executions, failures_1h as failures
    from public.agent_health_realtime as health join public.agent_registry as agent on agent.id = agent_id
    where health.status in ('critical', 'degraded')`),
  );
  return found.map(({ agentName, status, circuit, executions, failures, ...agent }) => ({
    ...agent,
    alertType: "agent_health",
    severity: status === "critical" ? "critical" : "warning",
    title: `${agentName} is ${status}`,
    message: `In the last hour ${failures} of its ${executions} executions failed; its breaker is ${circuit.replace("_", " ")}.`,
    details: { executions, failures, circuit_state: circuit },
    dedupKey: `${OWN}health`,
  }));
}

async function missedServiceLevels(tx: Executor, now: Date): Promise<Finding[]> {
  const found = rows<{
    slaId: string;
    agentId: string;
    organizationId: string | null;
    agentName: string;
    from: string;
    to: string;
    missed: Missed[];
  }>(
    await tx.execute(sql`
    select sla.id as "slaId", sla.agent_id as "agentId", agent.organization_id as "organizationId", agent_name as "agentName",
      period_start::text as from, period_end::text as to,
      (select coalesce(json_agg(json_build_object('promise', promise, 'actual', actual::float8, 'target', target::float8, 'unit', unit)
          order by n) filter (where case unit when ' ms' then actual > target else actual < target end), '[]')
        from (values (1, 'availability', period.actual_availability * 100, sla.target_availability * 100, '%'),
          (2, 'success', period.actual_success_rate * 100, sla.target_success_rate * 100, '%'),
          (3, 'p50', period.actual_p50_latency_ms, sla.target_p50_latency_ms, ' ms'),
          (4, 'p95', period.actual_p95_latency_ms, sla.target_p95_latency_ms, ' ms'),
          (5, 'p99', period.actual_p99_latency_ms, sla.target_p99_latency_ms, ' ms'),
          (6, 'quality', period.actual_quality_score, sla.target_quality_score, '')
        ) as promised (n, promise, actual, target, unit)) as missed
    from public.sla_compliance as period
    join public.agent_slas as sla on sla.id = period.sla_id and is_active
    join public.agent_registry as agent on agent.id = sla.agent_id
    where not overall_compliant
      and (${now.toISOString()}::timestamptz at time zone 'UTC')::date between period_start and period_end`),
  );
  return found.map(({ slaId, agentName, from, to, missed, ...agent }) => ({
    ...agent,
    alertType: "service_level",
    severity: "warning",
    title: `${agentName} misses its service level`,
    message: `From ${from} to ${to}: ${missed.map(told).join(", ") || "sla_compliance says in what, and no number"}.`,
    details: { sla_id: slaId, missed },
    dedupKey: `${OWN}sla:${slaId}`,
  }));
}

/** A promise that a period has not kept: percent, milliseconds, or a score. */
interface Missed {
  readonly promise: string;
  readonly actual: number;
  readonly target: number;
  readonly unit: "%" | " ms" | "";
}

/** With as many digits as tell a number from the one it must be compared with. */
function told({ promise, actual, target, unit }: Missed): string {
  const written = (digits: number) =>
    [actual, target].map((value) => `${Number(value.toFixed(digits))}${unit}`);
  const [measured, promised] = [1, 2, 4].map(written).find(([a, b]) => a !== b) ?? written(4);
  return `${promise} ${measured} where ${promised} is promised`;
}

/** The loudest pair of windows that fires. */
function burning(budget: ErrorBudget): Finding[] {
  const { slaId, agentId, burns } = budget;
  const firing = burns.find(({ isFiring }) => isFiring);
  if (!firing) return [];
  const { severity, long } = firing;
  return [
    {
      agentId,
      organizationId: null,
      alertType: "error_budget",
      severity: severity === "page" ? "critical" : "warning",
      title: "An error budget burns",
      message: `In the last ${span(long.minutes)} ${long.failures} of ${long.executions} executions failed, ${long.burnRate?.toFixed(1)} times what the service level allows.`,
      details: { sla_id: slaId, burn_rate: long.burnRate, minutes: long.minutes },
      dedupKey: `${OWN}error_budget:${slaId}`,
    },
  ];
}

/** A window of some hours or days, in words. */
function span(minutes: number): string {
  const hours = minutes / 60;
  if (hours === 1) return "hour";
  return hours % 24 === 0 ? `${hours / 24} days` : `${hours} hours`;
}

/** The budget of the platform itself is nobody's alert. */
function spent(state: BudgetState): Finding[] {
  const { budgetId, agentId, organizationId, window, limitUsd, spentUsd } = state;
  const isNobodys = agentId === null && organizationId === null;
  if (isNobodys || !(state.isSpent || state.isAlertDue)) return [];
  return [
    {
      agentId,
      organizationId,
      alertType: "budget",
      severity: state.isSpent ? "critical" : "warning",
      title: `${agentId === null ? "The organization's" : "An agent's"} ${window} budget is ${state.isSpent ? "spent" : "nearly spent"}`,
      message: `${cents(spentUsd)} of ${cents(limitUsd ?? "0")} US dollars; the window ends on ${state.resetsAt.toISOString().slice(0, 16).replace("T", " at ")} UTC.`,
      details: { budget_id: budgetId, limit_usd: limitUsd, spent_usd: spentUsd },
      dedupKey: `${OWN}budget:${budgetId}:${window}`,
    },
  ];
}

/** Exact dollars to the cent; of less than one all there is. */
const cents = (usd: string): string => {
  const amount = Number(usd);
  return amount > 0 && amount < 0.01 ? usd : amount.toFixed(2);
};

function mismatched({ id, agentId, testName, ...test }: JudgedTest): Finding[] {
  if (!test.sampleRatioMismatch || test.isFinished) return [];
  return [
    {
      agentId,
      organizationId: null,
      alertType: "ab_test",
      severity: "warning",
      title: "An A/B test is not shared as planned",
      message: `Units come to the arms of “${testName}” in other shares than its traffic_split: something assigns, loses or repeats executions by arm. It will have no winner.`,
      details: { ab_test_id: id },
      dedupKey: `${OWN}ab_test:${id}`,
    },
  ];
}
