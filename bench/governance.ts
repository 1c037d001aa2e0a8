// One round of governance over 1,000 agents, each with a budget and a service level, of which 50 have a canary and 50
// an A/B test, as a ratio to the roll-up of the same two days, in turns; and each of its steps. The first round
// writes everything, the others what differs: nothing. `npm run bench:governance [LOGS]`
import { sql } from "drizzle-orm";
import { withServiceRole } from "../src/client/tenancy.ts";
import { refreshBudgets } from "../src/fleet/budgets.ts";
import { runGovernance } from "../src/fleet/governance.ts";
import { refreshHealth } from "../src/fleet/health.ts";
import { rollUpMetrics } from "../src/fleet/rollup.ts";
import { errorBudgets, measureSlas } from "../src/fleet/slas.ts";
import { fillLogs } from "./fleet.ts";
import { compare, startServer, time } from "./server.ts";

const LOGS = Number(process.argv[2] ?? 1_000_000);
const ROUNDS = 5;

const server = await startServer();
const { db } = server;
const { day } = await fillLogs(db, { logs: LOGS, agents: 10 });
const now = new Date(`${day}T18:00:00Z`);
const since = new Date(now.getTime() - 3 * 86_400_000).toISOString();
for (const statement of [
  sql`insert into cost_budgets (agent_id, organization_id, monthly_budget_usd, updated_at)
    select id, organization_id, 1000000, ${since}::timestamptz from agent_registry`,
  sql`insert into agent_slas (agent_id, organization_id, target_success_rate, target_p95_latency_ms, measurement_window)
    select id, organization_id, 0.99, 5000, 'rolling_30d' from agent_registry`,
  sql`insert into canary_deployments (agent_id, organization_id, canary_prompt_id, current_prompt_id, stages, started_at,
      rollback_on_error_rate, rollback_on_latency_increase, rollback_on_quality_decrease, status)
    select v0.agent_id, v0.organization_id, v1.id, v0.id, '[{"traffic": 0.5, "duration_minutes": 1000000}]', ${since}::timestamptz,
      null, null, null, 'running'
    from agent_prompts as v0 join agent_prompts as v1 on v1.agent_id = v0.agent_id and v1.version = '1.1'
    where v0.version = '1.0' order by v0.agent_id limit 50`,
  sql`insert into ab_tests (agent_id, organization_id, test_name, hypothesis, control_prompt_id, treatment_prompt_id, start_date)
    select v0.agent_id, v0.organization_id, 't', 'h', v0.id, v1.id, ${since}::timestamptz
    from agent_prompts as v0 join agent_prompts as v1 on v1.agent_id = v0.agent_id and v1.version = '1.1'
    where v0.version = '1.0' order by v0.agent_id desc limit 50`,
  sql`vacuum analyze`,
]) {
  await db.execute(statement);
}

const days = { from: new Date(now.getTime() - 86_400_000).toISOString().slice(0, 10), to: day };
const round = async () => {
  const { problems } = await runGovernance(db, { now });
  if (problems.length > 0) throw new Error(JSON.stringify(problems[0]));
};
const rollUp = () => withServiceRole(db, (tx) => rollUpMetrics(tx, days));

const first = await time(round);
const { baseline, candidate, ratio } = await compare(
  ROUNDS,
  () => time(rollUp),
  () => time(round),
);
console.log(`${LOGS} logs, 1,000 agents: the first round ${(first / 1000).toFixed(1)} s`);
console.log(
  `a round ${candidate.toFixed(0)} ms, the roll-up of its days ${baseline.toFixed(0)} ms: ratio ${ratio.toFixed(1)}`,
);
for (const [name, work] of Object.entries({
  health: () => withServiceRole(db, (tx) => refreshHealth(tx, { now })),
  "service levels": () => withServiceRole(db, (tx) => measureSlas(tx, { now })),
  "error budgets": () => withServiceRole(db, (tx) => errorBudgets(tx, { now })),
  budgets: () => withServiceRole(db, (tx) => refreshBudgets(tx, { now })),
})) {
  await work();
  console.log(`${name.padEnd(16)}${((await time(work)) / baseline).toFixed(2)} of the roll-up`);
}
await server.close();
