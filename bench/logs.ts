// Executions of about 1 kB, as bench:record records them.
import { newExecutionLog } from "../src/testing.ts";

export const organization = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
export const ORGANIZATION = organization(42);
const START = Date.UTC(2026, 0, 1);

export interface Parents {
  readonly agentId: string;
  readonly promptVersionId: string;
}

export function newLog(n: number, agents: readonly Parents[]) {
  const parents = agents[n % agents.length];
  if (!parents) throw new Error("no agents");
  return newExecutionLog({
    ...parents,
    timestamp: new Date(START + n * 60),
    actionName: "reply",
    inputData: { messages: [{ role: "user", content: "x".repeat(200) }] },
    outputData: { text: "y".repeat(400), tokens: [1, 2, 3] },
    latencyMs: n % 5000,
    tokenCountInput: n,
    tokenCountOutput: n,
    estimatedCostUsd: "0.004217",
    status: n % 37 === 0 ? "failure" : "success",
    qualityScore: n % 10 === 0 ? n % 100 : null,
    metadata: { region: "eu", attempt: 1 },
  });
}
