// What it costs to guard an execution, as ratios to the plain statements of the same run: an agent of an organization
// of 2,500 among 4,000 of one, each with a breaker. Works take turns, in transactions of many calls and in one
// for each call. `npm run bench:guard`
import { sql } from "drizzle-orm";
import { type Database, type Transaction, one } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import { acquireExecution, recordOutcome } from "../src/fleet/breaker.ts";
import { reserveExecution } from "../src/fleet/budgets.ts";
import { guardedExecution } from "../src/fleet/guard.ts";
import { recordExecutions } from "../src/fleet/record/record.ts";
import { newExecutionLog } from "../src/testing.ts";
import { compare, startServer, time } from "./server.ts";

const ORGANIZATION = "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10";
/** Rounds, and calls in a transaction. */
const [ROUNDS, CALLS] = [Number(process.argv[2] ?? 40), 25];

type Work = (tx: Transaction) => Promise<unknown>;

/** A work beside the plain statement that it takes the place of. */
interface Comparison {
  readonly plain: Work;
  readonly guarded: Work;
}

const comparisons = (agentId: string): Readonly<Record<string, Comparison>> => ({
  "acquireExecution / select by key": {
    plain: selectBreaker(agentId),
    guarded: (tx) => acquireExecution(tx, { agentId }),
  },
  "recordOutcome, healthy success / update": {
    plain: updateBreaker(agentId),
    guarded: (tx) => recordOutcome(tx, { agentId, outcome: "success" }),
  },
  "recordOutcome, failure / update": {
    plain: updateBreaker(agentId),
    guarded: (tx) => recordOutcome(tx, { agentId, outcome: "failure" }),
  },
  "reserveExecution / insert and update": {
    plain: reservePlainly(agentId),
    guarded: (tx) => reserveExecution(tx, { agentId, usd: COST }),
  },
  "recordExecutions, charged / not charged": {
    plain: (tx) => recordExecutions(tx, [entryOf(agentId)]),
    guarded: (tx) => recordExecutions(tx, [entryOf(agentId)], { charge: true }),
  },
});

const COST = "0.0001";
const entryOf = (agentId: string) => newExecutionLog({ agentId, estimatedCostUsd: COST });

/** What a user would write, which lets through whatever others reserve meanwhile. */
const reservePlainly =
  (agentId: string): Work =>
  async (tx) => {
    await tx.execute(sql`
      insert into public.agent_execution_logs (agent_id, execution_id, action_type, status, estimated_cost_usd)
      values (${agentId}, gen_random_uuid(), 'agent_run', 'running', ${COST})`);
    await tx.execute(sql`
      update public.cost_budgets set current_daily_spend = current_daily_spend + ${COST}
      where agent_id = ${agentId} or (agent_id is null and organization_id = ${ORGANIZATION})`);
  };

/** A row when it begins and its end, each in a transaction. */
const runPlainly = async (db: Database, agentId: string) => {
  const { id, executionId } = entryOf(agentId);
  await withOrganization(db, ORGANIZATION, (tx) =>
    tx.execute(sql`
      insert into public.agent_execution_logs (id, agent_id, execution_id, action_type, status, estimated_cost_usd)
      values (${id}, ${agentId}, ${executionId}, 'agent_run', 'running', ${COST})`),
  );
  await withOrganization(db, ORGANIZATION, (tx) =>
    tx.execute(sql`
      update public.agent_execution_logs set status = 'success', latency_ms = 7 where id = ${id}`),
  );
};

const selectBreaker =
  (agentId: string): Work =>
  (tx) =>
    tx.execute(
      sql`select state, opened_at from public.circuit_breaker_state where agent_id = ${agentId}`,
    );
const updateBreaker =
  (agentId: string): Work =>
  (tx) =>
    tx.execute(
      sql`update public.circuit_breaker_state set failure_count = failure_count + 1, last_failure_at = clock_timestamp()
        where agent_id = ${agentId}`,
    );

const ROLES: Readonly<Record<string, (db: Database, work: Work) => Promise<unknown>>> = {
  "as tenant": (db, work) => withOrganization(db, ORGANIZATION, work),
  "as service role": (db, work) => withServiceRole(db, work),
};

const server = await startServer();
try {
  const agentId = await fill(server.db);
  console.log("".padEnd(66), "plain, ms".padStart(10), "guarded".padStart(10), "ratio".padStart(8));
  for (const [name, { plain, guarded }] of Object.entries(comparisons(agentId))) {
    for (const [role, act] of Object.entries(ROLES)) {
      const inOne = (work: Work) => async () => {
        let taken = 0;
        await act(server.db, async (tx) => {
          await work(tx);
          taken = await time(() => repeated(() => work(tx)));
        });
        return taken / CALLS;
      };
      const inEach = (work: Work) => async () =>
        (await time(() => repeated(() => act(server.db, work)))) / CALLS;
      for (const [how, timed] of Object.entries({ "": inOne, ", a transaction each": inEach })) {
        const { baseline, candidate, ratio } = await compare(ROUNDS, timed(plain), timed(guarded));
        console.log(
          `${name}, ${role}${how}`.padEnd(76),
          ...[baseline, candidate, ratio].map((value) => value.toFixed(2).padStart(8)),
        );
      }
    }
  }
  const guarded = () =>
    guardedExecution(server.db, { organization: ORGANIZATION, agentId, usd: COST }, () => 7);
  const { baseline, candidate, ratio } = await compare(
    ROUNDS,
    async () => (await time(() => repeated(() => runPlainly(server.db, agentId)))) / CALLS,
    async () => (await time(() => repeated(guarded))) / CALLS,
  );
  console.log(
    "guardedExecution / insert, and update of its end, as tenant".padEnd(76),
    ...[baseline, candidate, ratio].map((value) => value.toFixed(2).padStart(8)),
  );
} finally {
  await server.close();
}

async function repeated(work: () => Promise<unknown>): Promise<void> {
  for (let call = 0; call < CALLS; call += 1) await work();
}

/** Answers an agent of the large organization. */
async function fill(db: Database): Promise<string> {
  await db.execute(sql`
    insert into agent_registry (id, agent_name, display_name, category, organization_id)
    select md5('agent ' || n)::uuid, 'agent ' || n, 'Agent', 'operations',
      case when n <= 2500 then ${ORGANIZATION} else md5(n::text) end::uuid
    from generate_series(1, 6500) as n`);
  // A breaker that never opens, with room for the counts of any number of rounds.
  await db.execute(sql`
    insert into circuit_breaker_state (agent_id, organization_id, failure_threshold)
    select id, organization_id, 2147483647 from agent_registry`);
  await db.execute(sql`
    insert into agent_health_realtime (agent_id, organization_id) select id, organization_id from agent_registry`);
  await db.execute(sql`
    insert into cost_budgets (agent_id, organization_id, daily_budget_usd, on_daily_exceeded)
    select id, organization_id, 1000000, 'pause' from agent_registry
    union all select null, ${ORGANIZATION}, 1000000, 'pause'`);
  await db.execute(
    sql`vacuum analyze agent_registry, circuit_breaker_state, agent_health_realtime`,
  );
  return (await one<{ id: string }>(db, sql`select md5('agent 42')::uuid::text as id`)).id;
}
