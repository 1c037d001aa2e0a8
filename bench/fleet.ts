// A fleet of 100 organizations that has grown for a while: filled by SQL, the same every time.
import { type SQLWrapper, getTableName, is, sql } from "drizzle-orm";
import { PgTable } from "drizzle-orm/pg-core";
import * as queries from "../examples/queries.ts";
import { schema } from "../src/client/schema.ts";
import type { Database, Transaction } from "../src/client/sql.ts";
import type { Period } from "../src/fleet/outcome.ts";

const [ORGANIZATIONS, LOGS_A_DAY, VERSIONS] = [100, 10_000, 4];
const [START, TODAY] = ["2025-01-01", "2026-11-01"];

/** How large a fleet is. */
export interface FleetSize {
  /** Rows of the log, in whole days of 10,000: more rows are more days. */
  readonly logs: number;
  /** Agents of each organization. */
  readonly agents: number;
}

/** One of 100 organizations alike, and what to ask of it. */
export interface Tenant {
  readonly organizationId: string;
  readonly agentId: string;
  /** The last day of the logs, `YYYY-MM-DD`. */
  readonly day: string;
  /** An execution of that day. */
  readonly executionId: string;
}

/** A documented query, as an application asks it. */
export type Question = (tx: Transaction) => SQLWrapper & {
  toSQL(): { sql: string; params: unknown[] };
};

/** The last three days. */
export const periodOf = ({ day }: Tenant): Period => {
  const end = Date.parse(day) + DAY;
  return { from: new Date(end - 3 * DAY), to: new Date(end) };
};
const DAY = 86_400_000;

/** Each query of `examples/queries.ts`, asked as this tenant, and once more where the answer is rare. */
export function questions(tenant: Tenant) {
  const { agentId, day, executionId } = tenant;
  const period = periodOf(tenant);
  return {
    latestLogsOfAgent: (tx) => queries.latestLogsOfAgent(tx, agentId),
    latestLogs: (tx) => queries.latestLogs(tx),
    failuresOfDay: (tx) => queries.failuresOfDay(tx, day),
    logsOfExecution: (tx) => queries.logsOfExecution(tx, executionId),
    logsBelowQuality: (tx) => queries.logsBelowQuality(tx, agentId, 20),
    openAlerts: (tx) => queries.openAlerts(tx),
    pendingProposals: (tx) => queries.pendingProposals(tx),
    runningAbTests: (tx) => queries.runningAbTests(tx),
    runningShadowTests: (tx) => queries.runningShadowTests(tx),
    runningCanaries: (tx) => queries.runningCanaries(tx),
    latestReports: (tx) => queries.latestReports(tx, agentId),
    metricsOfAgent: (tx) => queries.metricsOfAgent(tx, agentId, "2026-10-03"),
    metricsOfOrganization: (tx) => queries.metricsOfOrganization(tx, "2026-10-26"),
    complianceOfPeriod: (tx) => queries.complianceOfPeriod(tx, "2026-10-15"),
    budgets: (tx) => queries.budgets(tx),
    learningsApplicableTo: (tx) => queries.learningsApplicableTo(tx, "sales"),
    learningsApplicableToRare: (tx) => queries.learningsApplicableTo(tx, "topic 7", 100),
    activePrompt: (tx) => queries.activePrompt(tx, agentId),
    unhealthyAgents: (tx) => queries.unhealthyAgents(tx),
    costByModel: (tx) => queries.costByModel(tx, period),
    tokensByAgent: (tx) => queries.tokensByAgent(tx, period),
    outcomesByDay: (tx) => queries.outcomesByDay(tx, period),
    slowestTools: (tx) => queries.slowestTools(tx, period),
    recentFailures: (tx) => queries.recentFailures(tx, period),
    stepsOfExecution: (tx) => queries.stepsOfExecution(tx, executionId),
  } satisfies Record<keyof typeof queries | "learningsApplicableToRare", Question>;
}

/** Fills all tables of an empty database in proportion: 200,000 alerts for 1,000,000 logs. */
export async function fillFleet(db: Database, size: FleetSize): Promise<Tenant> {
  const tenant = await fillLogs(db, size);
  for (const statement of others(size)) await db.execute(sql.raw(statement));
  await db.execute(sql`vacuum analyze`);
  return tenant;
}

/** Fills an empty database with agents, their prompts, and logs of about 1 kB in the order of their arrival. */
export async function fillLogs(db: Database, { logs, agents }: FleetSize): Promise<Tenant> {
  const each = `generate_series(0, ${ORGANIZATIONS - 1}) as o, generate_series(0, ${agents - 1}) as a`;
  for (const statement of [
    `insert into agent_registry (id, agent_name, display_name, category, organization_id)
      select ${AGENT}, 'agent ' || o || '/' || a, 'Agent', 'operations', ${ORGANIZATION} from ${each}`,
    `insert into agent_prompts (id, agent_id, version, system_prompt, is_active, organization_id)
      select ${prompt("v")}, ${AGENT}, '1.' || v, repeat('You are helpful. ', 20), v = 0, ${ORGANIZATION}
      from ${each}, generate_series(0, ${VERSIONS - 1}) as v`,
    `insert into agent_execution_logs (id, agent_id, prompt_version_id, execution_id, timestamp, action_type, action_name, model_name,
        input_data, output_data, latency_ms, token_count_input, token_count_output, status, error_type,
        quality_score, estimated_cost_usd, organization_id)
      select meta_agent.uuidv7_at(at), ${AGENT}, ${prompt(`chance % ${VERSIONS}`)}, ${key("b000", "n")}, at,
        case when chance % 4 = 0 then 'tool_call' else 'llm_call' end,
        case when chance % 4 = 0 then 'tool ' || chance % 5 end, case when chance % 4 > 0 then 'model ' || chance % 3 end,
        jsonb_build_object('text', repeat('x', 250)), jsonb_build_object('text', repeat('y', 350)),
        chance % 5000, chance % 900, chance % 300, case when chance % 37 = 0 then 'failure' else 'success' end,
        case when chance % 37 = 0 then 'error ' || chance % 5 end, case when chance % 10 = 0 then chance / 10 % 100 end,
        0.001, ${ORGANIZATION}
      from (
        select n, n % ${ORGANIZATIONS} as o, n / ${ORGANIZATIONS} % ${agents} as a, ${chance("n")} as chance,
          timestamptz '${START}Z' + n * interval '1 day' / ${LOGS_A_DAY} as at
        from generate_series(0, ${logs - 1}) as n
      ) as log`,
    `vacuum analyze agent_registry, agent_prompts, agent_execution_logs`,
  ]) {
    await db.execute(sql.raw(statement));
  }
  const day = logs / LOGS_A_DAY - 1;
  return {
    organizationId: uuid("8000", 42),
    agentId: uuid("9000", 42_000),
    day: new Date(Date.parse(START) + day * 86_400_000).toISOString().slice(0, 10),
    executionId: uuid("b000", day * LOGS_A_DAY + 42),
  };
}

/** How large the large organization of a skewed fleet is. */
export interface LargeOrganization {
  readonly agents: number;
  /** Rows of its log, spread over one day and dealt out to its agents in turn. */
  readonly logs: number;
  /** Its first logs have an embedding each. */
  readonly embeddings: number;
}

/** Organizations alike. */
export interface SmallOrganizations extends LargeOrganization {
  readonly organizations: number;
}

const SMALL: SmallOrganizations = { organizations: 4000, agents: 1, logs: 2, embeddings: 2 };

/** The large organization, and what to ask of it. */
export interface SkewedTenant extends Tenant {
  /** The one prompt of the agent, not active yet. */
  readonly promptId: string;
  /** An embedding that is close to some of its own. */
  readonly vector: number[];
}

/**
 * Fills an empty database with one large organization among small ones, by default 4,000 of one agent, 2 logs
 * and as many embeddings each. Autovacuum keeps off: the caller decides what the planner knows.
 */
export async function fillSkewed(
  db: Database,
  large: LargeOrganization,
  small = SMALL,
): Promise<SkewedTenant> {
  const day = "2026-10-31";
  /** `n` numbers what an organization has, from 0; the large one is 0. */
  const each = (what: keyof LargeOrganization) => `(
      select 0 as o, n from generate_series(0, ${large[what] - 1}) as n union all
      select o, n from generate_series(1, ${small.organizations}) as o, generate_series(0, ${small[what] - 1}) as n
    ) as one`;
  const agent = key(
    "9000",
    `o * 1000000::bigint + n % case o when 0 then ${large.agents} else ${small.agents} end`,
  );
  const log = key("d000", "o * 1000000::bigint + n");
  for (const statement of [
    ...Object.values(schema).flatMap((table) =>
      is(table, PgTable)
        ? `alter table ${getTableName(table)} set (autovacuum_enabled = false)`
        : [],
    ),
    `insert into agent_registry (id, agent_name, display_name, category, organization_id)
      select ${agent}, 'agent ' || o || '/' || n, 'Agent', 'operations', ${ORGANIZATION} from ${each("agents")}`,
    `insert into agent_prompts (id, agent_id, version, system_prompt, organization_id)
      select ('00000000-0000-4000-a000-' || right(id::text, 12))::uuid, id, '1', 'You are helpful.', organization_id
      from agent_registry`,
    `insert into agent_slas (agent_id, organization_id) select id, organization_id from agent_registry`,
    `insert into agent_execution_logs (id, agent_id, execution_id, timestamp, action_type, input_data, latency_ms, status,
        error_type, quality_score, organization_id)
      select ${log}, ${agent}, ${log}, timestamptz '${day}Z' + n * interval '1 day' / ${large.logs}, 'llm_call',
        jsonb_build_object('text', repeat('x', 250)), ${chance("n")} % 5000,
        case when n % 37 = 0 then 'failure' else 'success' end, case when n % 37 = 0 then 'refused' end, n % 100, ${ORGANIZATION}
      from ${each("logs")} order by n, o`,
    `insert into execution_embeddings (execution_log_id, organization_id, input_embedding)
      select ${log}, ${ORGANIZATION}, array_cat(array[cos(n), sin(n)], array_fill(0.01::float8, array[1534]))::vector
      from ${each("embeddings")}`,
  ]) {
    await db.execute(sql.raw(statement));
  }
  return {
    organizationId: uuid("8000", 0),
    agentId: uuid("9000", 0),
    promptId: uuid("a000", 0),
    day,
    executionId: uuid("d000", 0),
    vector: Array.from({ length: 1536 }, (_, n) => [1, 0.3][n] ?? 0.01),
  };
}

// A key says what it is of (8000 an organization, 9000 an agent, a000 a prompt, b000 an execution,
// c000 an SLA, d000 a log and its execution) and its number. In SQL `o` numbers the organization, `a` the agent in it.
const uuid = (kind: string, n: number) =>
  `00000000-0000-4000-${kind}-${String(n).padStart(12, "0")}`;
const key = (kind: string, n: string) =>
  `('00000000-0000-4000-${kind}-' || lpad((${n})::text, 12, '0'))::uuid`;
const ORGANIZATION = key("8000", "o");
const AGENT = key("9000", "o * 1000 + a");
const SLA = key("c000", "o * 1000 + a");
const prompt = (version: string) => key("a000", `(o * 1000 + a) * 10 + ${version}`);

/** A number that has nothing to do with `n` but is the same every time. */
const chance = (n: string) => `(hashint4(${n}) & 1073741823)`;

function others({ logs, agents }: FleetSize): string[] {
  /** So many rows in the order of their arrival, the same number for each agent, one a day. */
  const of = (rows: number) => `from (
      select o, a, ${AGENT} as agent, ${ORGANIZATION} as organization, ${chance("o * 1000000 + a * 100000 + k")} as chance,
        timestamptz '${TODAY}Z' - k * interval '1 day' as at, date '${TODAY}' - k as day
      from generate_series(0, ${ORGANIZATIONS - 1}) as o, generate_series(0, ${agents - 1}) as a,
        generate_series(0, ${rows / ORGANIZATIONS / agents - 1}) as k
      order by k desc
    ) as row`;
  const [one, some, many] = [ORGANIZATIONS * agents, logs / 50, logs / 5];
  const prompts = `${prompt("0")}, ${prompt("1")}`;
  const running = "case when chance % 20 = 0 then 'running' else 'completed' end";
  return [
    `insert into agent_performance_metrics (agent_id, date, total_executions, organization_id)
      select agent, day, 100, organization ${of(many)}`,
    `insert into agent_health_realtime (agent_id, status, organization_id)
      select agent, case when a = 0 then 'critical' else 'healthy' end, organization ${of(one)}`,
    `insert into evaluation_reports (agent_id, report_date, evaluation_period_start, evaluation_period_end,
        full_report_text, organization_id)
      select agent, day, day - 7, day - 1, repeat('Better. ', 100), organization ${of(many)}`,
    `insert into improvement_proposals (agent_id, proposal_type, title, description, rationale, status, created_at,
        organization_id)
      select agent, 'prompt_change', 'Shorter', repeat('Ask. ', 50), 'Readers skip.',
        case when chance % 20 = 0 then 'proposed' else 'deployed' end, at, organization ${of(many)}`,
    `insert into ab_tests (agent_id, test_name, hypothesis, control_prompt_id, treatment_prompt_id, start_date,
        status, organization_id)
      select agent, 'Shorter', 'Quality rises.', ${prompts}, at, ${running}, organization ${of(some)}`,
    `insert into shadow_tests (agent_id, production_prompt_id, shadow_prompt_id, start_date, status, organization_id)
      select agent, ${prompts}, at, ${running}, organization ${of(some)}`,
    `insert into canary_deployments (agent_id, current_prompt_id, canary_prompt_id, stages, started_at, status,
        organization_id)
      select agent, ${prompts}, '[{"traffic": 0.1}]', at, ${running}, organization ${of(some)}`,
    `insert into alert_history (agent_id, alert_type, severity, title, message, resolved, created_at, organization_id)
      select agent, 'failure_rate', 'warning', 'Failures', repeat('Too many. ', 20), chance % 20 > 0, at,
        organization ${of(many)}`,
    `insert into learning_log (agent_id, learning_type, title, description, applicable_to, is_active, created_at,
        organization_id)
      select agent, 'optimization', 'Examples help', repeat('Two are enough. ', 20),
        array[(array['sales', 'marketing', 'operations', 'internal', 'client_success'])[1 + chance % 5],
          'topic ' || chance / 5 % 50],
        chance % 3 > 0, at, organization ${of(many)}`,
    `insert into agent_slas (id, agent_id, organization_id) select ${SLA}, agent, organization ${of(one)}`,
    `insert into sla_compliance (agent_id, sla_id, period_start, period_end, overall_compliant, organization_id)
      select agent, ${SLA}, day, day, chance % 10 > 0, organization ${of(many)}`,
    `insert into cost_budgets (agent_id, monthly_budget_usd, organization_id) select agent, 100, organization ${of(one)}`,
  ];
}
