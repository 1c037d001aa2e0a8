/** What agents may spend: reserved before a call, settled after it, and always what the log says. */
import { randomUUID } from "node:crypto";
import { type SQL, sql } from "drizzle-orm";
import { executionLogId } from "../client/keys.ts";
import { LOG, ofOwn, onShard } from "../client/spread.ts";
import { type Executor, one, rows } from "../client/sql.ts";
import { type AgentExecutionLog, agentExecutionLogs } from "../schema/index.ts";
import { answered } from "../validation/refusals.ts";
import { refused } from "../validation/refused.ts";
import { type Given, validators } from "../validation/validators.ts";
import type { BudgetAction } from "../values.ts";
import { agentIdOf, isoOf, momentOf } from "./steps.ts";

/** A window of a budget: the day, the ISO week (from Monday) or the month, in UTC. */
export type BudgetWindow = "daily" | "weekly" | "monthly";

/** A window that a reservation would not fit into, or did not. */
export interface ExceededBudget {
  readonly budgetId: string;
  /** `null`: the budget of the whole organization. */
  readonly agentId: string | null;
  readonly window: BudgetWindow;
  /** What the budget says to do; `null`: nothing. */
  readonly action: BudgetAction | null;
  /** US dollars, exact. */
  readonly limitUsd: string;
  /** US dollars, exact. Spent and reserved before. */
  readonly spentUsd: string;
}

/** A window whose spending has reached `alert_at_percentage` now: told once, to the caller who crossed it. */
export interface BudgetAlert {
  readonly budgetId: string;
  /** `null`: the budget of the whole organization. */
  readonly agentId: string | null;
  readonly window: BudgetWindow;
  /** The budget's `alert_at_percentage`. */
  readonly percentage: string;
  /** US dollars, exact. */
  readonly limitUsd: string;
  /** US dollars, exact. With what crossed it. */
  readonly spentUsd: string;
}

/** What an agent's budgets say of a reservation. */
export interface Reservation {
  /** Whether it was made. `pause` and `throttle` refuse it; `downgrade_model` and `alert` do not. */
  readonly allowed: boolean;
  /** The strictest action of what it exceeds: `pause`, `throttle`, `downgrade_model`, `alert`. `null`: none. */
  readonly action: BudgetAction | null;
  readonly exceeded: readonly ExceededBudget[];
  readonly alerts: readonly BudgetAlert[];
  /** When all windows that refuse it are over. `null`: none does. */
  readonly resetsAt: Date | null;
  /** The running row. `null`: not allowed, and no row was written. */
  readonly logId: string | null;
  /** Its execution, for the rows of its steps. */
  readonly executionId: string | null;
}

type Log = Given<AgentExecutionLog>;

/** An execution that may cost something. */
export interface ReservedExecution extends Partial<
  Pick<
    Log,
    | "id"
    | "executionId"
    | "promptVersionId"
    | "actionType"
    | "actionName"
    | "modelName"
    | "userId"
    | "inputData"
    | "metadata"
  >
> {
  readonly agentId: string;
  /** US dollars, exact: what it may cost. */
  readonly usd: string;
  /** Default: the database's clock. */
  readonly now?: Date | undefined;
}

/**
 * Begins an execution if all budgets that bind its agent have room for what it may cost, its own and those of
 * its organization: a `running` row of `agent_execution_logs` with the estimate as its cost, which `metadata`
 * says as `reserved_usd`, and the counters moved, at once. Else it writes nothing and says which budget
 * refuses. Whoever completes the row settles the difference; without a cost the estimate stands.
 *
 * The budgets stay locked until the transaction ends: **commit before the model is called**. The same `id` again
 * answers the same reservation and charges nothing. `actionType` is by default `agent_run`.
 * @example
 * const { allowed, logId, resetsAt } = await withOrganization(db, organization, (tx) =>
 *   reserveExecution(tx, { agentId, usd: "0.05" }));
 * // … call the model, and then
 * await recordExecutions(tx, [{ id: logId, agentId, executionId, actionType: "agent_run", estimatedCostUsd: "0.031" }]);
 * @throws {z.ZodError} for values that are none, references to rows that the caller does not see, and an `id`
 * of a row that is another agent's or has ended
 * @throws {TypeError} `now` is no valid Date, or more than a day ahead
 * @throws {Error} when there is no such agent, or the caller does not see it
 */
export async function reserveExecution(
  tx: Executor,
  execution: ReservedExecution,
): Promise<Reservation> {
  const { agentName: _, ...reservation } = await reserve(tx, execution);
  return reservation;
}

/** As {@link reserveExecution}, with the name of the agent. */
export async function reserve(
  tx: Executor,
  { usd, now, ...given }: ReservedExecution,
): Promise<Reservation & { readonly agentName: string }> {
  const moment = momentOf("reserveExecution", now);
  const { success, data, error } = validators(agentExecutionLogs).insert.safeParse({
    id: executionLogId(now ?? new Date(), randomUUID()),
    executionId: randomUUID(),
    actionType: "agent_run",
    ...given,
    estimatedCostUsd: usd,
  });
  if (!success) throw refused(error.issues.map(asUsd));
  const entry = JSON.stringify({
    id: data.id,
    agent_id: data.agentId,
    execution_id: data.executionId,
    prompt_version_id: data.promptVersionId,
    action_type: data.actionType,
    action_name: data.actionName,
    model_name: data.modelName,
    user_id: data.userId,
    input_data: data.inputData,
    metadata: data.metadata,
    estimated_cost_usd: data.estimatedCostUsd,
  });
  const [{ verdict } = { verdict: null }] = await answered<{ verdict: Verdict | null }>(
    tx,
    sql`select meta_agent.reserve_execution(${entry}::text::jsonb, ${moment}) as verdict`,
  );
  if (!verdict) {
    throw new Error(
      `reserveExecution: no agent ${data.agentId}, or it is not this caller's. Nothing was reserved.`,
    );
  }
  const { isTaken, resetsAt, ...reservation } = verdict;
  if (isTaken) throw refused([{ code: "custom", input: undefined, path: ["id"], message: TAKEN }]);
  return { ...reservation, resetsAt: dateOf(resetsAt) };
}

interface Verdict extends Omit<Reservation, "resetsAt"> {
  agentName: string;
  isTaken: boolean;
  resetsAt: string | null;
}

const TAKEN =
  "taken: a row has this id that is another agent's or has ended. Leave id out, or give one of a new execution.";

const asUsd = <Issue extends { path: PropertyKey[] }>(issue: Issue): Issue => ({
  ...issue,
  path: issue.path.map((key) => (key === "estimatedCostUsd" ? "usd" : key)),
});

const dateOf = (text: string | null): Date | null => (text === null ? null : new Date(text));

/** A window of a budget as it stands. */
export interface BudgetState {
  readonly budgetId: string;
  /** `null`: the budget of the whole organization. */
  readonly agentId: string | null;
  readonly organizationId: string | null;
  readonly window: BudgetWindow;
  /** US dollars, exact. `null`: no limit. */
  readonly limitUsd: string | null;
  /** US dollars, exact. Spent and reserved, as far as it was charged. */
  readonly spentUsd: string;
  /** US dollars, exact, never below 0. `null`: no limit. */
  readonly remainingUsd: string | null;
  /** Whether something is spent, and nothing of the limit is left. */
  readonly isSpent: boolean;
  /** Whether something is spent, and as much as `alert_at_percentage` of the limit. */
  readonly isAlertDue: boolean;
  /** What happens beyond the limit; `null`: nothing. */
  readonly action: BudgetAction | null;
  /** The first instant after the window. */
  readonly resetsAt: Date;
}

/** Whose budgets. */
export interface BudgetOptions {
  /** Those that bind this agent, its organization's too. Default: all that the caller sees. */
  readonly agentId?: string | undefined;
  /** Default: the database's clock. */
  readonly now?: Date | undefined;
}

/**
 * The three windows of each budget as they stand; of a window that has passed nothing is spent. It only reads.
 * @throws {TypeError} `agentId` is no uuid, `now` no valid Date or more than a day ahead
 */
export async function budgetStatus(
  tx: Executor,
  { agentId, now }: BudgetOptions = {},
): Promise<BudgetState[]> {
  const agent = agentOf("budgetStatus", agentId);
  const moment = momentOf("budgetStatus", now);
  const states = rows<Omit<BudgetState, "resetsAt"> & { resetsAt: string }>(
    await tx.execute(sql`
      select b.id as "budgetId", b.agent_id as "agentId", b.organization_id as "organizationId", w.span as "window",
        w.limit_usd::text as "limitUsd", w.spent_usd::text as "spentUsd",
        greatest(w.limit_usd - w.spent_usd, case when w.limit_usd is not null then 0 end)::text as "remainingUsd",
        w.spent_usd > 0 and coalesce(w.spent_usd >= w.limit_usd, false) as "isSpent",
        w.spent_usd > 0 and coalesce(w.spent_usd >= w.limit_usd * b.alert_at_percentage / 100, false) as "isAlertDue",
        w.action, to_json(w.ends_at) #>> '{}' as "resetsAt"
      from public.cost_budgets as b
      cross join lateral meta_agent.budget_windows(b, coalesce(${moment}, statement_timestamp())) as w
      where ${agent}::uuid is null or b.agent_id = ${agent}::uuid or (b.agent_id is null and b.organization_id is not distinct from
        (select organization_id from public.agent_registry where id = ${agent}::uuid))
      order by b.organization_id, b.agent_id nulls first, b.id, w.ends_at - w.starts_at`),
  );
  return states.map((state) => ({ ...state, resetsAt: new Date(state.resetsAt) }));
}

const agentOf = (caller: string, agentId: string | undefined): string | null =>
  agentId === undefined ? null : agentIdOf(caller, agentId);

/** A counter that was not what the log says. */
export interface BudgetCorrection {
  readonly budgetId: string;
  /** `null`: the budget of the whole organization. */
  readonly agentId: string | null;
  readonly window: BudgetWindow;
  /** US dollars, exact: what the log says, and the counter now. */
  readonly spentUsd: string;
  /** US dollars, exact: what the counter said. */
  readonly countedUsd: string;
}

/**
 * Sets the counters of budgets to what the log says: the costs of rows in the current day, ISO week and month of
 * UTC, running ones by their estimate. For those who record without `charge`, each minute is enough for alerts;
 * limits are kept by charging and reserving. Chargers wait for it, and lose nothing.
 * @example
 * const corrected = await withServiceRole(db, (tx) => refreshBudgets(tx));
 * @returns what was corrected; nothing the second time
 * @throws {TypeError} `agentId` is no uuid, `now` no valid Date or more than a day ahead
 */
export async function refreshBudgets(
  tx: Executor,
  { agentId, now }: BudgetOptions = {},
): Promise<BudgetCorrection[]> {
  const agent = agentOf("refreshBudgets", agentId);
  const moment = momentOf("refreshBudgets", now);
  const [{ corrected } = { corrected: [] }] = await answered<{ corrected: BudgetCorrection[] }>(
    tx,
    sql`select meta_agent.refresh_budgets(${agent}::uuid, ${moment}) as corrected`,
  );
  return corrected;
}

/** What moves the counters: what an agent has spent at an instant, or has not after all. */
export interface Charge {
  readonly agent: string;
  readonly organization: string | null;
  readonly at: string;
  readonly usd: number | string;
}

/** Adds to the budgets that bind the agents, which stay locked until the transaction ends. */
export async function charge(
  tx: Executor,
  charges: readonly Charge[],
  moment: SQL = sql`null::timestamptz`,
): Promise<readonly BudgetAlert[]> {
  if (charges.length === 0) return [];
  const [{ alerts } = { alerts: [] }] = await answered<{ alerts: BudgetAlert[] }>(
    tx,
    sql`select meta_agent.charge_budgets(${JSON.stringify(charges)}::text::json, ${moment}) as alerts`,
  );
  return alerts;
}

/** Which executions have run too long. */
export interface ExpireOptions {
  /** Rows that began before this. */
  readonly olderThan: Date;
  /** Whether the estimates of reservations stand, since the call may have cost. Default: they are given back. */
  readonly keepEstimates?: boolean | undefined;
  /** When they are given back. Default: the database's clock. */
  readonly now?: Date | undefined;
}

/** What {@link expireExecutions} did. */
export interface ExpireResult {
  /** Rows that had run too long. */
  readonly expired: number;
}

/**
 * Ends rows that have run too long, whose process has died or forgotten them: status `timeout`, `error_type`
 * `expired`, and what was reserved is given back to the budgets. One that ends after all completes its row like a
 * running one, and is charged then.
 * @example
 * await withServiceRole(db, (tx) =>
 *   expireExecutions(tx, { olderThan: new Date(Date.now() - 3_600_000) }));
 * @throws {TypeError} `olderThan` or `now` is no valid Date, or `now` more than a day ahead
 */
export async function expireExecutions(
  tx: Executor,
  { olderThan, keepEstimates = false, now }: ExpireOptions,
): Promise<ExpireResult> {
  const moment = momentOf("expireExecutions", now);
  const before = isoOf("expireExecutions: olderThan", olderThan);
  const { expired, charges } = await onShard(tx, () =>
    one<{ expired: number; charges: Charge[] }>(
      tx,
      sql`
    with running as materialized (
      select id, agent_id, organization_id, timestamp, estimated_cost_usd as usd, metadata ? 'reserved_usd' as is_reserved
      from ${LOG} as l
      where status = 'running' and timestamp < ${before}::timestamptz
      order by id for no key update
    ), expired as (
      update public.agent_execution_logs as l set status = 'timeout', error_type = 'expired',
        error_message = 'it was still running when its time was over',
        estimated_cost_usd = case when running.is_reserved and not ${keepEstimates}::boolean then 0 else running.usd end
      from running where l.id = running.id${ofOwn("l")}
      returning running.*
    )
    select count(*)::int as expired, coalesce(json_agg(json_build_object(
        'agent', agent_id, 'organization', organization_id, 'at', timestamp, 'usd', -usd
      )) filter (where is_reserved and usd <> 0 and not ${keepEstimates}::boolean), '[]') as charges
    from expired`,
    ),
  );
  await charge(tx, charges, moment);
  return { expired };
}
