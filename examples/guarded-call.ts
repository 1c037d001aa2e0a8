// A model call behind its agent's circuit breaker: asked before, told after, each in a short transaction of its own,
// so that nothing is held open while the model thinks.
import { type Database, acquireExecution, recordOutcome, withOrganization } from "../src/index.ts";

/** What became of a call: its answer, or from when on to try again. */
export type Guarded<T> =
  | { readonly allowed: true; readonly answer: T }
  | { readonly allowed: false; readonly retryAt: Date | null };

/** Calls a model for an agent, unless the agent's breaker is open. What the call throws is thrown on. */
export async function behindBreaker<T>(
  db: Database,
  { organization, agentId }: { readonly organization: string; readonly agentId: string },
  call: () => Promise<T>,
): Promise<Guarded<T>> {
  const { allowed, probe, retryAt } = await withOrganization(db, organization, (tx) =>
    acquireExecution(tx, { agentId }),
  );
  if (!allowed) return { allowed, retryAt };
  const report = (outcome: "success" | "failure") =>
    withOrganization(db, organization, (tx) => recordOutcome(tx, { agentId, outcome, probe }));
  let answer: T;
  try {
    answer = await call();
  } catch (error) {
    await report("failure");
    throw error;
  }
  const { state, changed } = await report("success");
  if (changed) console.log(`agent ${agentId}: the circuit breaker is ${state}`);
  return { allowed, answer };
}
