/** One call around a model call: may the agent run, may it spend, and what became of it. */
import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { databaseError, isUnreachable } from "../client/errors.ts";
import type { Executor, Transactor } from "../client/sql.ts";
import { type Claims, withOrganization } from "../client/tenancy.ts";
import { storableText } from "../schema/json.ts";
import { fromDatabaseError } from "../validation/refusals.ts";
import { acquireExecution } from "./breaker.ts";
import {
  type BudgetAlert,
  type ExceededBudget,
  type ReservedExecution,
  reserve,
} from "./budgets.ts";
import { type NewExecution, recordExecutions } from "./record/record.ts";

/** What the work is given. */
export interface GuardedWork {
  /** The running row that is its execution's `agent_run`. */
  readonly logId: string;
  /** For the rows of its steps. */
  readonly executionId: string;
  /** Aborted when the time is over, or the caller's signal is. */
  readonly signal: AbortSignal;
}

/** Columns of the row that are known once the work has ended. */
export type GuardedColumns = Partial<
  Pick<
    NewExecution,
    | "estimatedCostUsd"
    | "tokenCountInput"
    | "tokenCountOutput"
    | "modelName"
    | "outputData"
    | "qualityScore"
    | "metadata"
  >
>;

/** Whose execution, what it may cost, and what becomes of it. */
export interface GuardOptions<T> extends Omit<ReservedExecution, "actionType" | "now"> {
  /** As `withOrganization` takes it. */
  readonly organization: string | Claims;
  /** Milliseconds until it is given up: its signal is aborted, and its outcome is `timeout`. Default: never. */
  readonly timeoutMs?: number | undefined;
  /** When it is aborted the work is given up: its outcome is `cancelled`, and moves no breaker. */
  readonly signal?: AbortSignal | undefined;
  /**
   * What the row says of what the work answered, such as its cost. Without a cost the estimate stands.
   * @example
   * columns: ({ usage }) => ({ tokenCountInput: usage.inputTokens, estimatedCostUsd: priceOf(usage) })
   */
  readonly columns?: ((result: T) => GuardedColumns) | undefined;
  /**
   * Told where the end could not be recorded as it was: the row runs on until `expireExecutions` ends it, and
   * a probe's ticket until it lapses; or without the columns that are refused. Default: a warning of the process.
   */
  readonly onUnrecorded?: ((error: UnrecordedExecutionError) => unknown) | undefined;
}

/** An execution that was let through. */
export interface Admitted<T> {
  readonly allowed: true;
  readonly result: T;
  readonly logId: string;
  readonly executionId: string;
  /** Budgets whose early alert the reservation or the end has crossed. */
  readonly alerts: readonly BudgetAlert[];
  /** Budgets that say `downgrade_model` or `alert`, which let it through. */
  readonly exceeded: readonly ExceededBudget[];
}

/** One that was not: nothing ran, and no row was written. */
export interface Refused {
  readonly allowed: false;
  /** What refused it. */
  readonly by: "breaker" | "budget";
  /** When to try again. `null`: not known. */
  readonly retryAt: Date | null;
  /** What it would exceed; empty where the breaker refused. */
  readonly exceeded: readonly ExceededBudget[];
}

/** What became of an execution is not in the database as it was. */
export class UnrecordedExecutionError extends Error {
  override readonly name = "UnrecordedExecutionError";
  readonly logId: string;

  constructor(logId: string, said: string, cause: unknown) {
    super(`guardedExecution: ${said}`, { cause });
    this.logId = logId;
  }
}

/** A guarded execution around the caller, for what records its spans. */
export interface Guard {
  readonly organization: string | Claims;
  readonly agentName: string;
  readonly executionId: string;
  readonly promptVersionId: string | null | undefined;
  /** What a span of the run says of it. Only the first one does. */
  seen: { readonly columns: Partial<NewExecution>; readonly isPriced: boolean } | undefined;
}

const guards = new AsyncLocalStorage<Guard>();

/** The guarded execution that the caller is inside of. */
export const currentGuard = (): Guard | undefined => guards.getStore();

/**
 * Runs `work`, such as a call of a model, as an execution of an agent, if its circuit breaker lets it run and its
 * budgets have room for what it may cost: `acquireExecution` and `reserveExecution` in a transaction that commits
 * before, and the end of the running row, its settlement and the breaker's outcome in another one after. No
 * transaction is open while `work` runs.
 *
 * Refused, nothing runs and nothing is thrown. What `work` throws is recorded (`failure`, `timeout`, or
 * `cancelled` if the signal was aborted) and thrown on. Where the process dies, the row runs on until
 * `expireExecutions` gives back what it reserved, and a probe's ticket lapses after the cooldown. Spans of the
 * work that an `AgentSpanProcessor` records are of this execution, and that of the run itself completes this row.
 * @example
 * const call = await guardedExecution(
 *   db,
 *   { organization, agentId, usd: "0.05", timeoutMs: 60_000, columns: ({ usd }) => ({ estimatedCostUsd: usd }) },
 *   ({ signal }) => answer(question, signal),
 * );
 * if (!call.allowed) return later(call.retryAt);
 * return call.result;
 * @throws {z.ZodError} before the work, for values that are none
 * @throws {Error} before the work, when there is no such agent, or the caller does not see it
 */
export async function guardedExecution<Tx extends Executor, T>(
  db: Transactor<Tx>,
  { organization, timeoutMs, signal, columns, onUnrecorded, ...execution }: GuardOptions<T>,
  work: (given: GuardedWork) => T | PromiseLike<T>,
): Promise<Admitted<T> | Refused> {
  signal?.throwIfAborted();
  const admission = await admit(db, organization, execution);
  if (!admission.allowed) return admission;
  const { logId, executionId, agentName, probe } = admission;
  const { promptVersionId } = execution;
  const guard: Guard = { organization, agentName, executionId, promptVersionId, seen: undefined };
  const time = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs);
  const either = AbortSignal.any([signal, time].filter((one) => one !== undefined));
  const begun = performance.now();
  const run = { id: logId, agentId: execution.agentId, executionId, actionType: "agent_run" };
  const end = async (status: Status, said: () => Partial<NewExecution>) => {
    const entry = { ...run, status, latencyMs: Math.round(performance.now() - begun) };
    const tell = (message: string, cause: unknown) =>
      (onUnrecorded ?? warn)(new UnrecordedExecutionError(logId, message, cause));
    const saying = () => ({ ...seenOf(guard, execution.metadata), ...said() });
    return recordEnd({ db, organization, probe }, { entry, saying, tell });
  };
  let result: T;
  try {
    const given = { logId, executionId, signal: either };
    result = await guards.run(guard, () => unlessAborted(either, () => work(given)));
  } catch (error) {
    const status = time?.aborted ? "timeout" : signal?.aborted ? "cancelled" : statusOf(error);
    await end(status, () => failureOf(error));
    throw error;
  }
  const alerts = await end("success", () => columns?.(result) ?? {});
  const { exceeded } = admission;
  return {
    allowed: true,
    result,
    logId,
    executionId,
    alerts: [...admission.alerts, ...alerts],
    exceeded,
  };
}

type Status = NonNullable<NewExecution["status"]>;

interface Admission {
  readonly allowed: true;
  readonly logId: string;
  readonly executionId: string;
  readonly agentName: string;
  readonly probe: Date | null;
  readonly alerts: readonly BudgetAlert[];
  readonly exceeded: readonly ExceededBudget[];
}

/** Undoes a transaction, and is what it answers. */
class Undone extends Error {
  readonly refused: Refused;

  constructor(refused: Refused) {
    super("a budget refuses what the breaker let through");
    this.refused = refused;
  }
}

/** Asks breaker and budgets, and commits: their locks are not held while the work runs. */
async function admit<Tx extends Executor>(
  db: Transactor<Tx>,
  organization: string | Claims,
  execution: Omit<ReservedExecution, "actionType" | "now">,
): Promise<Admission | Refused> {
  try {
    return await withOrganization(db, organization, async (tx) => {
      const { allowed, probe, retryAt } = await acquireExecution(tx, execution);
      if (!allowed) return { allowed, by: "breaker", retryAt, exceeded: [] };
      const { logId, executionId, agentName, alerts, exceeded, resetsAt } = await reserve(
        tx,
        execution,
      );
      if (logId !== null && executionId !== null) {
        return { allowed, logId, executionId, agentName, probe, alerts, exceeded };
      }
      const refused: Refused = { allowed: false, by: "budget", retryAt: resetsAt, exceeded };
      // The ticket goes back: nobody will report what became of it.
      if (probe) throw new Undone(refused);
      return refused;
    });
  } catch (error) {
    if (error instanceof Undone) return error.refused;
    throw fromDatabaseError(error);
  }
}

async function unlessAborted<T>(
  signal: AbortSignal,
  work: () => T | PromiseLike<T>,
): Promise<Awaited<T>> {
  signal.throwIfAborted();
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  return Promise.race([work(), aborted]);
}

const statusOf = (error: unknown): Status =>
  error instanceof Error && error.name === "TimeoutError" ? "timeout" : "failure";

function failureOf(error: unknown): Partial<NewExecution> {
  if (!(error instanceof Error)) return { errorMessage: storableText(String(error), 4096) };
  return {
    errorType: storableText(error.name, 255) || "Error",
    errorMessage: storableText(error.message, 4096),
    errorStackTrace: error.stack && storableText(error.stack, 16_384),
  };
}

/** What a span has said of the run. Its steps have told what they cost, if their prices were known. */
function seenOf({ seen }: Guard, metadata: GuardOptions<never>["metadata"]): Partial<NewExecution> {
  if (!seen) return {};
  const { columns, isPriced } = seen;
  return {
    ...columns,
    metadata: { ...metadata, ...columns.metadata },
    ...(isPriced ? { estimatedCostUsd: "0" } : {}),
  };
}

interface Ending<Tx extends Executor> {
  readonly db: Transactor<Tx>;
  readonly organization: string | Claims;
  readonly probe: Date | null;
}

interface Ended {
  readonly entry: NewExecution;
  /** The other columns; those who tell them may throw, or tell what no row can hold. */
  readonly saying: () => Partial<NewExecution>;
  readonly tell: (message: string, cause: unknown) => unknown;
}

/** Milliseconds before each try: a lost answer, a deadlock or a restart is no reason to lose what was done. */
const WAITS = [0, 100, 1000];

/** Never throws: what the work answered or threw is the caller's. */
async function recordEnd<Tx extends Executor>(
  { db, organization, probe }: Ending<Tx>,
  { entry, saying, tell }: Ended,
): Promise<readonly BudgetAlert[]> {
  const store = async (end: NewExecution) =>
    withOrganization(db, organization, (tx) => recordExecutions(tx, [end], { breaker: { probe } }));
  let cause: unknown;
  for (const wait of WAITS) {
    if (wait > 0) await sleep(wait);
    try {
      const end = cause === undefined || isTransient(cause) ? { ...entry, ...saying() } : entry;
      const { alerts } = await store(end);
      if (end === entry)
        await tell("it was recorded without its columns, which are refused", cause);
      return alerts;
    } catch (error) {
      cause = fromDatabaseError(error);
    }
  }
  await tell(
    "its end was not recorded: it runs on until expireExecutions, or recording its id, ends it",
    cause,
  );
  return [];
}

const isTransient = (error: unknown) =>
  isUnreachable(error) || /^40(001|P01)$/.test(databaseError(error)?.code ?? "");

function warn(error: UnrecordedExecutionError): void {
  const said =
    error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
  process.emitWarning(said, { type: "MetaAgentDbWarning", code: "META_AGENT_DB_UNRECORDED" });
}
