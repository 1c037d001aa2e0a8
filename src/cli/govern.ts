import { setTimeout as sleep } from "node:timers/promises";
import { InvalidArgumentError, Option } from "commander";
import { explain } from "../client/errors.ts";
import type { Database } from "../client/sql.ts";
import { healthThresholds } from "../config.ts";
import { type GovernanceResult, runGovernance } from "../fleet/governance.ts";
import { type TargetOptions, jsonOption, targetCommand, withTarget } from "./command.ts";
import { EXIT } from "./exit.ts";
import { err, print, printJson, progress, table } from "./print.ts";

interface Options extends TargetOptions {
  readonly every?: number;
  readonly since?: string;
  readonly json?: true;
}

export const governCommand = targetCommand("govern", {
  description:
    "Takes health, rolls up yesterday and today, steps canaries, judges tests, measures service levels, sets budgets right, and raises and resolves the alerts of what it found, over all organizations, as service role. It may run in two places at once. Thresholds are read from the environment. With --every it goes on until Ctrl-C or SIGTERM, which let a round end; a second one ends it at once. For a fleet of machines use a scheduler that is there already: docs/operating.md has a cron line and two jobs. Exit code 2 when a step could not be done.",
  examples: [
    "meta-agent-db govern",
    "meta-agent-db govern --every 60",
    "meta-agent-db govern --since 2026-11-01 --json",
  ],
})
  .addOption(
    new Option("--every <seconds>", "begin a round each so many seconds, 1 or more").argParser(
      period,
    ),
  )
  .option("--since <day>", "the first day to roll up, YYYY-MM-DD (default: yesterday)")
  .addOption(jsonOption())
  .action(async ({ every, since, json, ...target }: Options) => {
    const stop = new AbortController();
    const interrupted = every === undefined ? undefined : () => stop.abort();
    await withTarget({ ...target, interrupted }, async ({ db }) => {
      const thresholds = healthThresholds({}, {});
      const round = () => govern(db, { ...thresholds, since }, json === true);
      if (every === undefined) {
        if (!(await round())) process.exitCode = EXIT.findings;
        return;
      }
      while (!stop.signal.aborted) {
        const next = performance.now() + every * 1000;
        // The server may be back for the next one.
        await round().catch((error: unknown) => progress(`${err.red("error")} ${explain(error)}`));
        const left = Math.max(0, next - performance.now());
        await sleep(left, undefined, { signal: stop.signal }).catch(() => undefined);
      }
      progress("stopped");
    });
  });

function period(text: string): number {
  if (/^[1-9]\d{0,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It takes a whole number of seconds, 1 or more.");
}

/** @returns whether all of it could be done */
async function govern(
  db: Database,
  options: Parameters<typeof runGovernance>[1],
  json: boolean,
): Promise<boolean> {
  const result = await runGovernance(db, options);
  if (json) printJson(result);
  else print(table([result.now.toISOString(), ""], [...linesOf(result)]));
  for (const { step, id, message } of result.problems) {
    progress(`${err.red("error")} ${[step, id].filter(Boolean).join(" ")}: ${message}`);
  }
  return result.problems.length === 0;
}

function* linesOf(result: GovernanceResult): Generator<[string, string]> {
  const { health, rollUp, slas, budgets, alerts } = result;
  if (health) yield ["health", counted(health.written, "snapshot")];
  if (rollUp) {
    const { from, to, rows, written, removed } = rollUp;
    yield [
      "roll-up",
      `${from} to ${to}: ${counted(rows, "row")}, ${written} written, ${removed} removed`,
    ];
  }
  for (const { id, action, stage, reason } of result.canaries) {
    yield [
      "canary",
      `${id} ${action.replace("_", " ")} at stage ${stage}${reason ? `: ${reason}` : ""}`,
    ];
  }
  for (const { testName, winner, isFinished, sampleRatioMismatch } of result.abTests) {
    const shares = sampleRatioMismatch ? ", units come in other shares than planned" : "";
    const state = isFinished ? "finished, " : "";
    yield [
      "A/B test",
      `${testName}: ${state}${winner === null ? "no winner yet" : `winner ${winner}`}${shares}`,
    ];
  }
  for (const { id, isFinished } of result.shadowTests) {
    yield ["shadow test", `${id} ${isFinished ? "finished" : "computed"}`];
  }
  if (slas) {
    const missed = slas.written.filter(({ overallCompliant }) => overallCompliant === false).length;
    const periods = counted(slas.written.length + slas.unchanged.length, "period");
    yield [
      "service levels",
      `${periods}, ${slas.written.length} written, ${missed} of them missed`,
    ];
    for (const { slaId, measurementWindow } of slas.notUnderstood) {
      yield [
        "service level",
        `${slaId} is not measured: its window ${measurementWindow} is not understood`,
      ];
    }
    for (const { slaId, heldBy, periodStart } of slas.conflicts) {
      yield [
        "service level",
        `${slaId} is not measured from ${periodStart} on: ${heldBy} reports that period`,
      ];
    }
  }
  if (budgets) yield ["budgets", `${counted(budgets.length, "counter")} corrected`];
  for (const { severity, title } of alerts?.raised ?? []) yield ["alert", `${severity}: ${title}`];
  if (alerts) yield ["alerts", `${alerts.raised.length} raised, ${alerts.resolved} resolved`];
}

const counted = (n: number, noun: string) => `${n} ${noun}${n === 1 ? "" : "s"}`;
