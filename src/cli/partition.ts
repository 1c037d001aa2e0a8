import { InvalidArgumentError } from "commander";
import {
  type PartitionPlan,
  addPartitions,
  partitionLogs,
  planPartitions,
} from "../operate/partitions.ts";
import { pruneLogs } from "../operate/retention.ts";
import {
  type TargetOptions,
  jsonOption,
  lockTimeoutOption,
  targetCommand,
  withTarget,
} from "./command.ts";
import { EXIT } from "./exit.ts";
import { gauged, print, printJson, table, tellingSteps } from "./print.ts";

interface PartitionCommandOptions extends TargetOptions {
  readonly apply?: true;
  readonly ahead?: number;
  readonly dropBefore?: string;
  readonly lockTimeout?: number;
  readonly json?: true;
}

export const partitionCommand = targetCommand("partition", {
  description:
    "Cuts agent_execution_logs into partitions by month, so that old months are dropped instead of deleted. Without an option it says what it would do, with locks and times, and what is in the way; it reads all ids for that. With --apply it does it while reads and writes go on; interrupted, it goes on the next time. --ahead makes the months that are missing: have a job call it each night. --drop-before drops old months. Runs as the owner.",
  examples: [
    "meta-agent-db partition                the plan",
    "meta-agent-db partition --apply",
    "meta-agent-db partition --ahead 3      each night",
    "meta-agent-db partition --drop-before 2026-01",
  ],
})
  .option("--apply", "cut the log, or what is left of it")
  .option("--ahead <months>", "have so many months ready after this one (default: 3)", months)
  .option(
    "--drop-before <month>",
    "drop what is older, with its embeddings: 2026-01; of what is rolled up and not needed",
    month,
  )
  .addOption(lockTimeoutOption("try no longer for a migrator or for a table in use"))
  .addOption(jsonOption())
  .action(({ apply, ahead, dropBefore, lockTimeout, json, ...target }: PartitionCommandOptions) =>
    withTarget(target, async ({ db }) => {
      if (!apply && ahead === undefined && dropBefore === undefined) {
        const plan = await gauged("reading the log", () => planPartitions(db));
        if (json) printJson(plan);
        else print(inWords(plan));
        if (plan.obstacles.length > 0) process.exitCode = EXIT.findings;
        return;
      }
      const { converted, made } = await gauged("cutting", (tell) =>
        (apply ? partitionLogs : addPartitions)(db, { ahead, lockTimeout, ...tellingSteps(tell) }),
      );
      const prune = (before: string) =>
        gauged("removing", (tell) => pruneLogs(db, { before, lockTimeout, ...tellingSteps(tell) }));
      const { dropped, deleted } =
        dropBefore === undefined ? { dropped: [], deleted: 0 } : await prune(dropBefore);
      if (json) {
        printJson({ converted, made, dropped, deleted });
        return;
      }
      const lines = [
        converted ? "the log is partitioned" : "",
        ...made.map((name) => `made ${name}`),
        ...dropped.map((name) => `dropped ${name}`),
        deleted > 0 ? `${deleted.toLocaleString("en-US")} logs deleted` : "",
      ].filter(Boolean);
      print(lines.length > 0 ? lines.join("\n") : "nothing to do");
    }),
  );

function inWords({ isPartitioned, rows, cut, obstacles, steps }: PartitionPlan): string {
  const head = isPartitioned
    ? "the log is partitioned"
    : `${rows?.toLocaleString("en-US")} logs stay in one partition; from ${cut?.toISOString().slice(0, 10)} on each month has its own`;
  const list = table(
    ["STEP", "SECONDS", "LOCKS"],
    steps.map(({ what, seconds, lock }) => [what, seconds.toFixed(1), lock]),
  );
  const next =
    obstacles.length > 0
      ? ["In the way:", ...obstacles]
      : [
          steps.length > 0
            ? `To do it: meta-agent-db partition ${isPartitioned ? "--ahead 3" : "--apply"}`
            : "nothing to do",
        ];
  return [head, ...(steps.length > 0 ? [list] : []), ...next].join("\n");
}

function months(text: string): number {
  if (/^\d{1,3}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It takes a number of months, 0 or more.");
}

/** Its first day. */
function month(text: string): string {
  if (/^\d{4}-(0[1-9]|1[0-2])$/.test(text)) return `${text}-01`;
  throw new InvalidArgumentError("It takes a month, such as 2026-01.");
}
