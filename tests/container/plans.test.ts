import { sql } from "drizzle-orm";
import { beforeAll, expect, test } from "vitest";
import { type Question, type Tenant, fillFleet, questions } from "../../bench/fleet.ts";
import { rows } from "../../src/client/sql.ts";
import { withOrganization } from "../../src/client/tenancy.ts";
import { suite } from "../engine.ts";

const LOGS = process.env["PLANS"] === "full" ? 1_000_000 : 100_000;
const AGENTS = 5;

/** What serves a documented query, and how many rows it may look at beyond those it returns. */
interface Contract {
  readonly index: string;
  readonly spare?: number;
}

/** Of an agent that has little history the planner would rather read all of it than pick from it. */
const ifShort = (history: number) => (history <= 200 ? history : 0);

const CONTRACTS: Record<keyof ReturnType<typeof questions>, Contract> = {
  latestLogsOfAgent: { index: "idx_logs_agent_timestamp", spare: ifShort(LOGS / 100 / AGENTS) },
  latestLogs: { index: "idx_logs_org_timestamp" },
  failuresOfDay: { index: "idx_agent_execution_logs_organization_id_timestamp_failure" },
  logsOfExecution: { index: "idx_logs_execution" },
  // The lowest 50 are read, those below the quality returned.
  logsBelowQuality: { index: "idx_logs_quality", spare: 50 },
  openAlerts: { index: "idx_alert_history_organization_id_created_at_open" },
  pendingProposals: { index: "idx_improvement_proposals_organization_id_created_at_pending" },
  runningAbTests: { index: "idx_ab_tests_organization_id_running" },
  runningShadowTests: { index: "idx_shadow_tests_organization_id_running" },
  runningCanaries: { index: "idx_canary_deployments_organization_id_running" },
  latestReports: { index: "idx_reports_agent_date", spare: ifShort(LOGS / 5 / 100 / AGENTS) },
  metricsOfAgent: { index: "idx_metrics_agent_date" },
  metricsOfOrganization: { index: "idx_agent_performance_metrics_organization_id_date" },
  complianceOfPeriod: { index: "idx_sla_compliance_organization_id_period_start" },
  budgets: { index: "idx_cost_budgets_org" },
  // The newest are looked through until enough apply: at worst all in force of this one organization.
  learningsApplicableTo: {
    index: "idx_learning_log_organization_id_created_at_active",
    spare: 200,
  },
  learningsApplicableToRare: {
    index: "idx_learning_log_organization_id_created_at_active",
    spare: LOGS / 5 / 100,
  },
  activePrompt: { index: "agent_prompts_one_active" },
  unhealthyAgents: { index: "idx_agent_health_realtime_organization_id", spare: AGENTS },
};

interface PlanNode {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly "Index Name"?: string;
  readonly "Actual Rows": number;
  readonly "Rows Removed by Filter"?: number;
  readonly "Rows Removed by Index Recheck"?: number;
  readonly "Shared Hit Blocks": number;
  readonly "Shared Read Blocks": number;
  readonly Plans?: readonly PlanNode[];
}

suite(`documented queries as a tenant, ${LOGS} logs of 100 organizations`, (database) => {
  let tenant: Tenant;
  let asked: Record<string, Question>;
  beforeAll(async () => {
    tenant = await fillFleet(database.db, { logs: LOGS, agents: AGENTS });
    asked = questions(tenant);
  }, 600_000);

  /** The plan of a query that has run before, with what it really read. */
  async function explain(name: string): Promise<PlanNode> {
    return withOrganization(database.db, tenant.organizationId, async (tx) => {
      const query = asked[name]?.(tx);
      const explained = sql`explain (analyze, buffers, format json) ${query}`;
      await tx.execute(explained);
      const [row] = rows<{ "QUERY PLAN": { Plan: PlanNode }[] }>(await tx.execute(explained));
      const plan = row?.["QUERY PLAN"][0]?.Plan;
      if (!plan) throw new Error(`no plan of ${name}`);
      return plan;
    });
  }

  test.each(Object.entries(CONTRACTS))(
    "%s is served by its index and reads little else than it returns",
    async (name, { index, spare = 0 }) => {
      const plan = await explain(name);
      const nodes = flat(plan);
      expect(nodes.flatMap((node) => node["Index Name"] ?? [])).toContain(index);
      expect(nodes.filter((node) => node["Node Type"].includes("Seq Scan"))).toEqual([]);
      const removed = nodes.map(
        (node) =>
          (node["Rows Removed by Filter"] ?? 0) + (node["Rows Removed by Index Recheck"] ?? 0),
      );
      expect(Math.max(...removed)).toBeLessThanOrEqual(spare);
      // At most a page of the table for each row, and a few of its indexes.
      const returned = plan["Actual Rows"];
      expect(returned).toBeGreaterThan(0);
      const pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"];
      expect(pages).toBeLessThanOrEqual(returned + spare + 20);
    },
  );
});

function flat(node: PlanNode): PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(flat)];
}
