import { InvalidArgumentError } from "commander";
import { pruneLogs } from "../operate/retention.ts";
import {
  type TargetOptions,
  jsonOption,
  lockTimeoutOption,
  targetCommand,
  withTarget,
} from "./command.ts";
import { gauged, print, printJson, tellingSteps } from "./print.ts";

interface PurgeOptions extends TargetOptions {
  readonly before: string;
  readonly lockTimeout?: number;
  readonly json?: true;
}

export const purgeCommand = targetCommand("purge", {
  description:
    "Removes the logs of all organizations before a day, once they are rolled up and nothing needs them any more: in short transactions, or, of a partitioned log, whole months at once. Their metrics stay, and rollUpMetrics leaves them alone. Interrupted, it goes on the next time. Runs as the owner.",
  examples: ["meta-agent-db purge --before 2026-01-01"],
})
  .requiredOption("--before <day>", "the first day that stays, UTC: 2026-01-01", day)
  .addOption(lockTimeoutOption("try no longer for a table in use"))
  .addOption(jsonOption())
  .action(({ before, lockTimeout, json, ...target }: PurgeOptions) =>
    withTarget(target, async ({ db }) => {
      const removed = await gauged("removing", (tell) =>
        pruneLogs(db, { before, lockTimeout, ...tellingSteps(tell) }),
      );
      if (json) printJson(removed);
      else {
        for (const name of removed.dropped) print(`dropped ${name}`);
        print(`${removed.deleted.toLocaleString("en-US")} logs deleted`);
      }
    }),
  );

function day(text: string): string {
  if (/^\d{4}-\d{2}-\d{2}$/.test(text)) return text;
  throw new InvalidArgumentError("It takes a day, such as 2026-01-01.");
}
