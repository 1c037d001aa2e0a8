import { type CitusPlan, distributeLogs, planDistribution } from "../operate/citus.ts";
import {
  type TargetOptions,
  jsonOption,
  lockTimeoutOption,
  targetCommand,
  withTarget,
} from "./command.ts";
import { EXIT } from "./exit.ts";
import { gauged, print, printJson, tellingSteps } from "./print.ts";

interface CitusCommandOptions extends TargetOptions {
  readonly apply?: true;
  readonly lockTimeout?: number;
  readonly json?: true;
}

export const citusCommand = targetCommand("citus", {
  description:
    "Spreads agent_execution_logs and execution_embeddings over the workers of a Citus cluster by organization, with agents and prompts on every node. Without --apply it says what it would do and what is in the way; it reads both tables for that. Experimental: docs/citus.md says what differs. Runs on the coordinator as a superuser, while nothing else does.",
  examples: ["meta-agent-db citus            the plan", "meta-agent-db citus --apply"],
})
  .option("--apply", "spread the log")
  .addOption(lockTimeoutOption("try no longer for a migrator or for a table in use"))
  .addOption(jsonOption())
  .action(({ apply, lockTimeout, json, ...target }: CitusCommandOptions) =>
    withTarget(target, async ({ db }) => {
      if (!apply) {
        const plan = await gauged("reading the log", () => planDistribution(db));
        if (json) printJson(plan);
        else print(inWords(plan));
        if (plan.obstacles.length > 0) process.exitCode = EXIT.findings;
        return;
      }
      const { distributed } = await gauged("spreading", (tell) =>
        distributeLogs(db, { lockTimeout, ...tellingSteps(tell) }),
      );
      if (json) printJson({ distributed });
      else print(distributed ? "the log is spread over the workers" : "nothing to do");
    }),
  );

function inWords({ citus, workers, isDistributed, rows, obstacles, steps }: CitusPlan): string {
  const nodes = `Citus ${citus}, ${workers} ${workers === 1 ? "node" : "nodes"} with shards`;
  const head = isDistributed
    ? [`the log is spread: ${nodes}`]
    : citus === null
      ? []
      : [
          `${nodes}; about ${rows.toLocaleString("en-US")} rows move, and nobody reads or writes meanwhile`,
        ];
  const next =
    obstacles.length > 0
      ? ["In the way:", ...obstacles]
      : steps.length > 0
        ? [...steps.map((step) => `  ${step}`), "To do it: meta-agent-db citus --apply"]
        : ["nothing to do"];
  return [...head, ...next].join("\n");
}
