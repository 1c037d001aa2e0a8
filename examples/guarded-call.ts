// A model call that its agent's circuit breaker and budgets let through, recorded and charged as it ended. No
// transaction is open while the model thinks.
import {
  type Database,
  type Refused,
  guardedExecution,
  raiseAlert,
  withOrganization,
} from "../src/index.ts";

/** What a model answers, and what that cost in US dollars. */
export interface Answer {
  readonly text: string;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly usd: string;
}

/** Who asks for whom. */
export interface Asking {
  readonly organization: string;
  readonly agentId: string;
  readonly question: string;
}

/**
 * Asks a model for an agent. Refused, it says by what and from when on to try again; what the model throws is
 * thrown on. Whoever crosses a budget's early alert raises it: one row, however often it is crossed while open.
 */
export async function ask(
  db: Database,
  { organization, agentId, question }: Asking,
  model: (question: string, signal: AbortSignal) => Promise<Answer>,
): Promise<Answer | Refused> {
  const call = await guardedExecution(
    db,
    {
      organization,
      agentId,
      usd: "0.05",
      timeoutMs: 60_000,
      inputData: { question },
      columns: ({ text, inputTokens, outputTokens, usd }: Answer) => ({
        outputData: { text },
        tokenCountInput: inputTokens,
        tokenCountOutput: outputTokens,
        estimatedCostUsd: usd,
      }),
    },
    ({ signal }) => model(question, signal),
  );
  if (!call.allowed) return call;
  for (const { budgetId, window, spentUsd, limitUsd } of call.alerts) {
    const incident = {
      agentId,
      alertType: "budget",
      severity: "warning",
      title: `${window} budget: ${spentUsd} of ${limitUsd} US dollars`,
      message: `Budget ${budgetId} has reached its early alert.`,
      dedupKey: `budget ${budgetId} ${window}`,
    } as const;
    await withOrganization(db, organization, (tx) => raiseAlert(tx, incident));
  }
  return call.result;
}
