/** An agent with two weeks of everything that the page shows. */
import { startAbTest } from "../src/fleet/ab-tests.ts";
import { raiseAlert } from "../src/fleet/alerts.ts";
import { recordOutcome } from "../src/fleet/breaker.ts";
import { startCanary, stepCanary } from "../src/fleet/canaries.ts";
import { refreshHealth } from "../src/fleet/health.ts";
import { agentSlas, costBudgets } from "../src/schema/index.ts";
import { newBudget, newSla } from "../src/testing.ts";
import type { TestDatabase } from "./engine.ts";
import { type Fleet, newFleet } from "./fleet.ts";

export const FIRST = new Date("2026-03-01T00:00:00Z");
export const END = new Date("2026-03-14T12:00:00Z");
/** Noon of a day of that March. */
const noon = (day: number) => new Date(Date.UTC(2026, 2, day, 12));

/**
 * @param tries what of the second prompt version runs from the seventh day on
 */
export async function busyFleet(
  database: TestDatabase,
  tries: "A/B test" | "canary",
): Promise<Fleet & { readonly testId: string }> {
  const fleet = await newFleet(database.db);
  const { agentId, organization, ids } = fleet;
  await database.query(
    `insert into agent_execution_logs (id, agent_id, organization_id, prompt_version_id, execution_id, action_type, timestamp, status,
       latency_ms, estimated_cost_usd, model_name)
     select meta_agent.uuidv7_at(at), $1, $2, case when d >= 7 and i % 2 = 0 then $4::uuid else $3::uuid end, gen_random_uuid(), 'agent_run', at,
       case when (i * 7 + d) % 11 = 0 then 'failure' when (i * 5 + d) % 29 = 0 then 'timeout' when i % 23 = 0 then 'cancelled' else 'success' end,
       900 + i * 37 + d * 11, 0.001 * (i % 5 + d), case i % 3 when 0 then 'large' when 1 then 'small' end
     from generate_series(0, 13) as d, generate_series(1, 20 + d) as i,
       lateral (select $5::timestamptz + d * interval '1 day' + i * interval '21 minutes' as at) as begun`,
    [agentId, organization, ids[0], ids[1], FIRST],
  );
  const testId = await fleet.as(async (tx) => {
    await tx.insert(costBudgets).values([
      newBudget({
        agentId,
        dailyBudgetUsd: "0.5",
        weeklyBudgetUsd: "2",
        monthlyBudgetUsd: "2.5",
        currentDailySpend: "0.51",
        currentWeeklySpend: "1.7",
        currentMonthlySpend: "2",
        updatedAt: END,
      }),
      newBudget({ agentId: null, dailyBudgetUsd: null, monthlyBudgetUsd: "100" }),
    ]);
    await tx
      .insert(agentSlas)
      .values(newSla({ agentId, targetSuccessRate: 0.8, measurementWindow: "rolling_7d" }));
    const alert = { agentId, alertType: "failure_rate", severity: "critical" as const };
    await raiseAlert(tx, {
      ...alert,
      title: "Failure rate",
      message: "One in ten fails.",
      now: END,
    });
    for (let n = 0; n < 5; n++) await recordOutcome(tx, { agentId, outcome: "failure", now: END });
    await refreshHealth(tx, { now: END });
    const beginning = { agentId, now: noon(7) };
    if (tries === "A/B test") {
      const words = { testName: "clerk 1.2", hypothesis: "Reads dates", minSampleSize: 40 };
      return (await startAbTest(tx, { ...beginning, ...words, treatmentPromptId: ids[1] })).id;
    }
    const stages = [
      { traffic: 0.05, duration_minutes: 60 },
      { traffic: 0.5, duration_minutes: 600_000 },
    ];
    const limits = { rollbackOnErrorRate: 0.5, rollbackOnLatencyIncrease: null };
    const { id } = await startCanary(tx, {
      ...beginning,
      ...limits,
      canaryPromptId: ids[1],
      stages,
    });
    for (const now of [noon(9), END]) await stepCanary(tx, { id, minExecutions: 10, now });
    return id;
  });
  return { ...fleet, testId };
}

/** As text it is harmless: markup, quotes, a control character, a mark that turns what follows, and no place to break. */
export const HOSTILE = `"><img src=x onerror=alert(1)><script>alert(2)</script></style>&amp;\u202Egnp.exe\u0007'${"ab".repeat(40)}`;
/** As the page writes it for people. */
export const SHOWN = HOSTILE.replace("\u202E", String.raw`\u202e`).replace(
  "\u0007",
  String.raw`\u0007`,
);

const NAMED = {
  agent_registry: ["agent_name"],
  agent_prompts: ["version", "change_reason"],
  agent_execution_logs: ["model_name"],
  ab_tests: ["test_name", "hypothesis"],
  canary_deployments: ["rollback_reason"],
  alert_history: ["title", "message"],
};

/** Gives whatever of a fleet is shown a hostile name; some are unique. */
export async function renameAll({ query }: TestDatabase, { agentId }: Fleet): Promise<void> {
  for (const [table, columns] of Object.entries(NAMED)) {
    const set = columns.map((column) => `${column} = $2::text || left(id::text, 4)`).join(", ");
    const key = table === "agent_registry" ? "id" : "agent_id";
    await query(`update ${table} set ${set} where ${key} = $1`, [agentId, HOSTILE]);
  }
}
