import { type SQL, sql } from "drizzle-orm";
import { beforeAll, describe, expect, test } from "vitest";
import {
  type Question,
  type Tenant,
  fillFleet,
  fillSkewed,
  questions,
  type SkewedTenant,
} from "../../bench/fleet.ts";
import { type Transaction, one, rows } from "../../src/client/sql.ts";
import { withOrganization } from "../../src/client/tenancy.ts";
import {
  acknowledgeAlerts,
  claimAlerts,
  markAlertsSent,
  raiseAlert,
  resolveAlerts,
} from "../../src/fleet/alerts.ts";
import { refreshHealth } from "../../src/fleet/health.ts";
import { recordExecutions } from "../../src/fleet/record/record.ts";
import { rollUpMetrics } from "../../src/fleet/rollup.ts";
import { findSimilarExecutions } from "../../src/fleet/search.ts";
import { errorBudgets, measureSlas } from "../../src/fleet/slas.ts";
import { newExecutionLog } from "../../src/testing.ts";
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

/** The rows of an organization on three days, and on the days before that tell what began earlier. */
const [THREE_DAYS, FIVE_DAYS] = [300, 500];

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
  // By the ids that a function finds: it looks through the newest until enough apply,
  learningsApplicableTo: { index: "learning_log_pkey", spare: 200 },
  // or reads the few of a rare subject, and less than a page for each of the organization's.
  learningsApplicableToRare: { index: "learning_log_pkey", spare: LOGS / 5 / 100 / 2 },
  activePrompt: { index: "agent_prompts_one_active" },
  unhealthyAgents: { index: "idx_agent_health_realtime_organization_id", spare: AGENTS },
  // Figures of three days, a row for each day, model, agent or tool.
  costByModel: { index: "idx_logs_org_timestamp", spare: THREE_DAYS },
  tokensByAgent: { index: "idx_logs_org_timestamp", spare: THREE_DAYS },
  outcomesByDay: { index: "idx_logs_org_timestamp", spare: FIVE_DAYS },
  slowestTools: { index: "idx_logs_org_timestamp", spare: THREE_DAYS },
  // And the last row of each one that failed.
  recentFailures: { index: "idx_logs_org_timestamp", spare: FIVE_DAYS + 4 * 14 },
  stepsOfExecution: { index: "idx_logs_execution", spare: AGENTS },
};

interface PlanNode {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly "Index Name"?: string;
  readonly "Actual Rows": number;
  readonly "Rows Removed by Filter"?: number;
  readonly "Rows Removed by Index Recheck"?: number;
  readonly "Rows Removed by Join Filter"?: number;
  readonly "Actual Loops": number;
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

const LARGE = { agents: 3000, logs: 6000, embeddings: 1000 };

suite("one large organization among 4,000 small ones", (database) => {
  let tenant: SkewedTenant;
  beforeAll(async () => {
    tenant = await fillSkewed(database.db, LARGE);
  }, 600_000);

  /** In a transaction of the large organization that is rolled back. */
  async function asLarge<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    const rollback = new Error("rolled back");
    let result: T[] = [];
    await withOrganization(database.db, tenant.organizationId, async (tx) => {
      result = [await work(tx)];
      throw rollback;
    }).catch((error: unknown) => {
      if (error !== rollback) throw error;
    });
    const [only] = result;
    if (only === undefined) throw new Error("the work has a result");
    return only;
  }

  /** How many rows `work` looks at, found by an index or not. */
  const rowsRead = (work: (tx: Transaction) => Promise<unknown>) =>
    asLarge(async (tx) => {
      const before = await counters(tx);
      await work(tx);
      const after = await counters(tx);
      return { logs: after.logs - before.logs, all: after.all - before.all };
    });

  describe.each(["no statistics", "fresh statistics"])("%s", (statistics) => {
    beforeAll(async () => {
      if (statistics === "fresh statistics") await database.db.execute(sql`vacuum analyze`);
    }, 120_000);

    test("a search reads each embedding once, and the logs that it returns", async () => {
      const { vector } = tenant;
      const read = await rowsRead(async (tx) =>
        expect(await findSimilarExecutions(tx, { vector, by: "input" })).toHaveLength(10),
      );
      expect(read.logs).toBe(10);
    });

    test("a search with a filter reads the log of each embedding once", async () => {
      const filters = { status: "success" } as const;
      const { vector } = tenant;
      const read = await rowsRead(async (tx) =>
        expect(await findSimilarExecutions(tx, { vector, by: "input", filters })).toHaveLength(10),
      );
      expect(read.logs).toBeLessThanOrEqual(LARGE.embeddings + 10);
    });

    test("a first refresh of health, and the next, read each agent's own rows of the log", async () => {
      const now = new Date(`${tenant.day}T24:00:00Z`);
      const first = await rowsRead(async (tx) =>
        expect(await refreshHealth(tx, { now })).toEqual({ written: LARGE.agents }),
      );
      // To find where an agent's log begins, to judge, and to know of each execution whether it began before.
      expect(first.logs).toBe(3 * LARGE.logs);
      expect(first.all).toBeLessThan(8 * (LARGE.agents + LARGE.logs));
      const both = await rowsRead(async (tx) => {
        await refreshHealth(tx, { now });
        await refreshHealth(tx, { now });
      });
      expect(both.logs).toBeLessThanOrEqual(5 * LARGE.logs);
      expect(both.all).toBeLessThan(16 * (LARGE.agents + LARGE.logs));
    });

    test("service levels and their budgets are measured by each agent's own rows of the log, each read once", async () => {
      const now = new Date(`${tenant.day}T24:00:00Z`);
      const measured = await rowsRead(async (tx) =>
        expect((await measureSlas(tx, { now })).written).toHaveLength(LARGE.agents),
      );
      expect(measured.logs).toBe(LARGE.logs);
      expect(measured.all).toBeLessThan(8 * (LARGE.agents + LARGE.logs));
      const again = await rowsRead(async (tx) => {
        await measureSlas(tx, { now });
        expect((await measureSlas(tx, { now })).unchanged).toHaveLength(LARGE.agents);
      });
      expect(again.logs).toBe(2 * LARGE.logs);
      expect(again.all).toBeLessThan(16 * (LARGE.agents + LARGE.logs));
      const read = await rowsRead(async (tx) =>
        expect((await errorBudgets(tx, { now })).budgets).toHaveLength(LARGE.agents),
      );
      expect(read.logs).toBe(LARGE.logs);
      const ofOne = await rowsRead((tx) => measureSlas(tx, { now, agentId: tenant.agentId }));
      expect(ofOne.all).toBeLessThan(50);
    });

    test("recording reads what the entries name, however large the organization", async () => {
      const entries = Array.from({ length: 100 }, () => ({
        ...newExecutionLog({ agentId: tenant.agentId }),
        embeddings: { input: [...tenant.vector] },
      }));
      const first = await rowsRead((tx) => recordExecutions(tx, entries));
      expect(first.all).toBeLessThan(10 * entries.length);
      const both = await rowsRead(async (tx) => {
        await recordExecutions(tx, entries);
        await recordExecutions(tx, entries);
      });
      expect(both.all).toBeLessThan(20 * entries.length);
    });

    test("recording many looks up what they refer to once, but for each row's two foreign keys", async () => {
      const { agentId, promptId: promptVersionId } = tenant;
      const entries = Array.from({ length: 1000 }, () =>
        newExecutionLog({ agentId, promptVersionId }),
      );
      const read = await rowsRead((tx) => recordExecutions(tx, entries));
      expect(read.all).toBeLessThan(2 * entries.length + 50);
    });

    test("alerts are raised, claimed, sent and resolved by their own rows, however many were resolved before", async () => {
      const { agentId } = tenant;
      const incident = {
        agentId,
        alertType: "x",
        severity: "info",
        title: "x",
        message: "x",
      } as const;
      const read = await rowsRead(async (tx) => {
        await tx.execute(sql`
          insert into public.alert_history (agent_id, alert_type, severity, title, message, resolved, details)
          select ${agentId}::uuid, 'x', 'info', 'x', 'x', n > 20, jsonb_build_object('dedup_key', n::text)
          from generate_series(1, 3000) as n`);
        const before = await counters(tx);
        const { id } = await raiseAlert(tx, incident);
        await raiseAlert(tx, incident);
        const alerts = await claimAlerts(tx, { channel: "slack", limit: 10 });
        expect(alerts).toHaveLength(10);
        expect(await markAlertsSent(tx, { channel: "slack", alerts })).toBe(10);
        expect(await resolveAlerts(tx, { agentId, dedupKey: "7" })).toBe(1);
        expect(await acknowledgeAlerts(tx, { ids: [id], by: "x" })).toBe(1);
        expect((await counters(tx)).all - before.all).toBeLessThan(200);
      });
      expect(read.logs).toBe(0);
    });

    test("a roll-up that repeats another compares no row with every other", async () => {
      const days = { from: tenant.day, to: tenant.day };
      const compared = await asLarge(async (tx) => {
        await rollUpMetrics(tx, days);
        const plans = await plansOf(tx, (spied) => rollUpMetrics(spied, days));
        const removed = plans
          .flatMap(flat)
          .map((node) => (node["Rows Removed by Join Filter"] ?? 0) * node["Actual Loops"]);
        return Math.max(...removed);
      });
      expect(compared).toBeLessThan(LARGE.agents);
    });
  });
});

/** Rows that this session has looked at and not reported yet: it does so between transactions. */
const counters = (tx: Transaction) =>
  one<{ logs: number; all: number }>(
    tx,
    sql`select coalesce(sum(read) filter (where relname = 'agent_execution_logs'), 0)::int as logs,
        coalesce(sum(read), 0)::int as all
      from pg_stat_xact_user_tables, lateral (select seq_tup_read + coalesce(idx_tup_fetch, 0) as read) as counted
      where schemaname = 'public'`,
  );

/** The plans of the statements that `work` sends, with what they read, each as it is sent. */
async function plansOf(
  tx: Transaction,
  work: (spied: Transaction) => Promise<unknown>,
): Promise<PlanNode[]> {
  const plans: PlanNode[] = [];
  const explained = async (statement: SQL) => {
    const undone = new Error("undone");
    await tx
      .transaction(async (inner) => {
        const [row] = rows<{ "QUERY PLAN": { Plan: PlanNode }[] }>(
          await inner.execute(sql`explain (analyze, buffers, format json) ${statement}`),
        );
        plans.push(...(row?.["QUERY PLAN"].map(({ Plan }) => Plan) ?? []));
        throw undone;
      })
      .catch((error: unknown) => {
        if (error !== undone) throw error;
      });
    return tx.execute(statement);
  };
  await work(
    new Proxy(tx, {
      get: (target, key) => (key === "execute" ? explained : Reflect.get(target, key)),
    }),
  );
  return plans;
}

function flat(node: PlanNode): PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(flat)];
}
