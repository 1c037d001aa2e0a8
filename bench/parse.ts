// What validation costs: parsing 10,000 log rows against inserting the same rows as a tenant, in turns.
// `npm run bench:parse`
import { withOrganization } from "../src/client/tenancy.ts";
import { agentExecutionLogs, agentRegistry } from "../src/schema/index.ts";
import { newAgent, newExecutionLog } from "../src/testing.ts";
import { insertAgentExecutionLogSchema } from "../src/zod.ts";
import { compare, startServer, time } from "./server.ts";

const [ROWS, CHUNK] = [10_000, 1_000];
const ORGANIZATION = "00000000-0000-4000-8000-000000000042";
const agent = newAgent();
const logs = () =>
  Array.from({ length: ROWS }, (_, n) =>
    newExecutionLog({
      agentId: agent.id,
      organizationId: ORGANIZATION,
      timestamp: new Date(),
      inputData: { messages: [{ role: "user", content: "x".repeat(200) }] },
      outputData: { text: "y".repeat(400), tokens: [1, 2, 3] },
      latencyMs: n % 5000,
      tokenCountInput: n,
      tokenCountOutput: n,
      estimatedCostUsd: "0.004217",
      qualityScore: n % 100,
      metadata: { region: "eu", attempt: 1 },
    }),
  );

const { db, close } = await startServer();
try {
  await withOrganization(db, ORGANIZATION, (tx) => tx.insert(agentRegistry).values(agent));
  const parse = () => {
    const rows = logs();
    return time(async () => rows.map((row) => insertAgentExecutionLogSchema.parse(row)));
  };
  const insert = () =>
    withOrganization(db, ORGANIZATION, async (tx) => {
      const rows = logs();
      return time(async () => {
        for (let from = 0; from < ROWS; from += CHUNK) {
          await tx.insert(agentExecutionLogs).values(rows.slice(from, from + CHUNK));
        }
      });
    });
  const { baseline, candidate, ratio } = await compare(11, insert, parse);
  console.log(`insert ${ROWS} rows of about 1 kB  ${baseline.toFixed(0)} ms`);
  console.log(
    `parse them first            ${candidate.toFixed(1)} ms, ${((candidate * 1000) / ROWS).toFixed(1)} µs a row`,
  );
  console.log(`parse / insert              ${ratio.toFixed(3)}`);
} finally {
  await close();
}
