/**
 * For tests: migrated databases that are gone when they are closed, and rows. Each factory makes one
 * valid row with a fresh id, complete but for its parents and for what the database fills in; pass what
 * the test is about.
 */
import { createHash, randomUUID } from "node:crypto";
import type { PgTable } from "drizzle-orm/pg-core";
import type { Sql } from "postgres";
import { type Connection, connect } from "./client/connect.ts";
import { migrate } from "./operate/migrate/migrate.ts";
import { openSnapshot } from "./operate/snapshot.ts";
import { executionLogId } from "./client/keys.ts";
import { MIGRATIONS } from "./migrations.ts";
import {
  type NewAbTest,
  type NewAgent,
  type NewAgentDependency,
  type NewAgentExecutionLog,
  type NewAgentHealth,
  type NewAgentPerformanceMetric,
  type NewAgentPrompt,
  type NewAgentSla,
  type NewAlert,
  type NewCanaryDeployment,
  type NewCircuitBreaker,
  type NewCostBudget,
  type NewEvaluationReport,
  type NewExecutionEmbedding,
  type NewImprovementProposal,
  type NewLearning,
  type NewModelRoutingRule,
  type NewPromptComponent,
  type NewPromptLibraryUse,
  type NewShadowTest,
  type NewSlaCompliance,
  abTests,
  agentDependencies,
  agentExecutionLogs,
  agentHealthRealtime,
  agentPerformanceMetrics,
  agentPrompts,
  agentRegistry,
  agentSlas,
  alertHistory,
  canaryDeployments,
  circuitBreakerState,
  costBudgets,
  evaluationReports,
  executionEmbeddings,
  improvementProposals,
  learningLog,
  modelRoutingRules,
  promptLibrary,
  promptLibraryUsage,
  shadowTests,
  slaCompliance,
} from "./schema/index.ts";
import { administer } from "./client/server.ts";
import { siblingUrl } from "./client/url.ts";

/**
 * A migrated database of its own for a test file: embedded and in memory, or with `url` on a server, such
 * as a pgvector container of yours. The first one is migrated, later ones are copies of it. The login of
 * `url` is its owner and needs CREATEDB. Close it when done.
 *
 * What embedded ones are copies of, 5 MB without any row, is kept for other processes in the user's cache, such as
 * `~/.cache/meta-agent-db`; `META_AGENT_DB_CACHE` names another directory, or is `off`.
 * @throws {Error} when the optional packages of the embedded database are not installed or cannot be loaded
 * @example
 * const { db, close } = await openTestDatabase();
 */
export async function openTestDatabase({ url }: { url?: string } = {}): Promise<Connection> {
  return url === undefined ? openInMemory() : openCopy(url);
}

async function openInMemory(): Promise<Connection> {
  const { client, db } = await openSnapshot();
  return {
    db,
    label: "embedded PostgreSQL in memory",
    close: () => client.close(),
  };
}

async function openCopy(url: string): Promise<Connection> {
  const name = `meta_agent_test_${randomUUID().replaceAll("-", "")}`;
  await administer(url, async (admin) => {
    const template = await migratedTemplate(url, admin);
    await admin`create database ${admin(name)} template ${admin(template)}`;
  });
  const connection = connect(siblingUrl(url, name));
  return {
    ...connection,
    close: async () => {
      await connection.close();
      await administer(url, (admin) => admin`drop database if exists ${admin(name)} with (force)`);
    },
  };
}

/** The server's migrated database for these migrations. Its name is there only when it is finished. */
async function migratedTemplate(url: string, admin: Sql): Promise<string> {
  const hashes = MIGRATIONS.map(({ hash }) => hash);
  const template = `meta_agent_template_${createHash("sha256").update(hashes.join()).digest("hex").slice(0, 16)}`;
  const unfinished = `${template}_unfinished`;
  // Test files start together: one makes it, the others wait.
  await admin`select pg_advisory_lock(hashtextextended(${template}, 0))`;
  const [found] = await admin`select from pg_database where datname = ${template}`;
  if (found) return template;
  await admin`drop database if exists ${admin(unfinished)} with (force)`;
  await admin`create database ${admin(unfinished)} template template0`;
  const { db, close } = connect(siblingUrl(url, unfinished));
  try {
    await migrate(db);
  } finally {
    await close();
  }
  await admin`alter database ${admin(unfinished)} rename to ${admin(template)}`;
  return template;
}

/** What a test gives: the parents it must, the rest it may. */
type Given<Row, Parents extends keyof Row = never> = Partial<Row> & Required<Pick<Row, Parents>>;

/** The row with an id, a fresh one unless given. */
const withId = <Row extends { id?: string | undefined }>(row: Row): Row & { id: string } => ({
  ...row,
  id: row.id ?? randomUUID(),
});

/** Says at a factory, as `table`, for which table it makes rows. */
const factory = <Row, Make extends (...given: never[]) => Row>(
  table: PgTable & { readonly $inferInsert: Row },
  make: Make,
): Make & { readonly table: PgTable } => Object.assign(make, { table });

const START = new Date("2026-01-05T00:00:00.000Z");

/** A row to insert into `agent_registry`. */
export const newAgent = factory(agentRegistry, (given: Given<NewAgent> = {}) =>
  withId<NewAgent>({
    agentName: `agent-${randomUUID()}`,
    displayName: "Agent",
    category: "operations",
    ...given,
  }),
);

/** A row to insert into `agent_prompts`. */
export const newPrompt = factory(agentPrompts, (given: Given<NewAgentPrompt, "agentId">) =>
  withId<NewAgentPrompt>({
    version: `v-${randomUUID()}`,
    systemPrompt: "You are helpful.",
    ...given,
  }),
);

/** A row to insert into `agent_execution_logs`. */
export const newExecutionLog = factory(
  agentExecutionLogs,
  (given: Given<NewAgentExecutionLog, "agentId">) =>
    withId<NewAgentExecutionLog>({
      id: executionLogId(given.timestamp ?? new Date(), randomUUID()),
      executionId: randomUUID(),
      actionType: "llm_call",
      ...given,
    }),
);

/** A row to insert into `agent_performance_metrics`. */
export const newPerformanceMetric = factory(
  agentPerformanceMetrics,
  (given: Given<NewAgentPerformanceMetric, "agentId">) =>
    withId<NewAgentPerformanceMetric>({
      date: "2026-01-05",
      ...given,
    }),
);

/** A row to insert into `agent_health_realtime`. */
export const newHealth = factory(agentHealthRealtime, (given: Given<NewAgentHealth, "agentId">) =>
  withId<NewAgentHealth>({ ...given }),
);

/** A row to insert into `circuit_breaker_state`. */
export const newCircuitBreaker = factory(
  circuitBreakerState,
  (given: Given<NewCircuitBreaker, "agentId">) => withId<NewCircuitBreaker>({ ...given }),
);

/** A row to insert into `evaluation_reports`. */
export const newEvaluationReport = factory(
  evaluationReports,
  (given: Given<NewEvaluationReport, "agentId">) =>
    withId<NewEvaluationReport>({
      reportDate: "2026-01-12",
      evaluationPeriodStart: "2026-01-05",
      evaluationPeriodEnd: "2026-01-11",
      ...given,
    }),
);

/** A row to insert into `improvement_proposals`. */
export const newProposal = factory(
  improvementProposals,
  (given: Given<NewImprovementProposal, "agentId">) =>
    withId<NewImprovementProposal>({
      proposalType: "prompt_change",
      title: "Shorter answers",
      description: "Ask for one paragraph.",
      rationale: "Readers skip the second.",
      ...given,
    }),
);

/** A row to insert into `ab_tests`. */
export const newAbTest = factory(
  abTests,
  (given: Given<NewAbTest, "agentId" | "controlPromptId" | "treatmentPromptId">) =>
    withId<NewAbTest>({
      testName: "Shorter answers",
      hypothesis: "Quality rises.",
      startDate: START,
      ...given,
    }),
);

/** A row to insert into `shadow_tests`. */
export const newShadowTest = factory(
  shadowTests,
  (given: Given<NewShadowTest, "agentId" | "productionPromptId" | "shadowPromptId">) =>
    withId<NewShadowTest>({ startDate: START, ...given }),
);

/** A row to insert into `canary_deployments`. */
export const newCanary = factory(
  canaryDeployments,
  (given: Given<NewCanaryDeployment, "agentId" | "currentPromptId" | "canaryPromptId">) =>
    withId<NewCanaryDeployment>({
      stages: [{ traffic: 0.1 }, { traffic: 1 }],
      ...given,
    }),
);

/** A row to insert into `alert_history`. */
export const newAlert = factory(alertHistory, (given: Given<NewAlert> = {}) =>
  withId<NewAlert>({
    alertType: "failure_rate",
    severity: "warning",
    title: "Failure rate",
    message: "One in four executions fails.",
    ...given,
  }),
);

/** A row to insert into `learning_log`. */
export const newLearning = factory(learningLog, (given: Given<NewLearning> = {}) =>
  withId<NewLearning>({
    learningType: "success_pattern",
    title: "Examples help",
    description: "Two examples are enough.",
    ...given,
  }),
);

/** A row to insert into `prompt_library`. */
export const newPromptComponent = factory(promptLibrary, (given: Given<NewPromptComponent> = {}) =>
  withId<NewPromptComponent>({
    name: `component-${randomUUID()}`,
    category: "persona",
    content: "You are patient.",
    ...given,
  }),
);

/** A row to insert into `prompt_library_usage`. */
export const newPromptLibraryUse = factory(
  promptLibraryUsage,
  (given: Given<NewPromptLibraryUse, "promptId" | "libraryComponentId">) =>
    withId<NewPromptLibraryUse>({
      ...given,
    }),
);

/** A row to insert into `agent_slas`. */
export const newSla = factory(agentSlas, (given: Given<NewAgentSla, "agentId">) =>
  withId<NewAgentSla>({
    ...given,
  }),
);

/** A row to insert into `sla_compliance`. */
export const newSlaCompliance = factory(
  slaCompliance,
  (given: Given<NewSlaCompliance, "agentId" | "slaId">) =>
    withId<NewSlaCompliance>({
      periodStart: "2026-01-01",
      periodEnd: "2026-01-31",
      ...given,
    }),
);

/** A row to insert into `cost_budgets`. */
export const newBudget = factory(costBudgets, (given: Given<NewCostBudget> = {}) =>
  withId<NewCostBudget>({ ...given }),
);

/** A row to insert into `model_routing_rules`. */
export const newRoutingRule = factory(modelRoutingRules, (given: Given<NewModelRoutingRule> = {}) =>
  withId<NewModelRoutingRule>({
    conditionType: "token_count",
    conditionOperator: ">",
    conditionValue: 8000,
    targetModel: "claude-sonnet-4-20250514",
    ...given,
  }),
);

/** A row to insert into `agent_dependencies`. */
export const newDependency = factory(
  agentDependencies,
  (given: Given<NewAgentDependency, "upstreamAgentId" | "downstreamAgentId">) =>
    withId<NewAgentDependency>({ dependencyType: "data", ...given }),
);

/** A row to insert into `execution_embeddings`. */
export const newEmbedding = factory(
  executionEmbeddings,
  (given: Given<NewExecutionEmbedding, "executionLogId">) =>
    withId<NewExecutionEmbedding>({
      inputEmbedding: Array.from({ length: 1536 }, (_, i) => (i === 0 ? 1 : 0)),
      ...given,
    }),
);
