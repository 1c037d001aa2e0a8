import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { InvalidArgumentError, Option } from "commander";
import type { Database } from "../client/sql.ts";
import { type Asked, figuresOf } from "../report/figures.ts";
import { pageOf } from "../report/page.ts";
import { type Plots, PlotsMissing, loadPlots } from "../report/plots.ts";
import { type TargetOptions, targetCommand, uuid, withTarget } from "./command.ts";
import { openFile } from "./open-file.ts";
import { gauged, print } from "./print.ts";

/** What to write, and where. */
interface ReportOptions extends Asked {
  readonly title?: string | undefined;
  readonly out: string;
}

interface Options extends TargetOptions, ReportOptions {
  readonly open?: true;
}

const REPORT_FILE = "meta-agent-report.html";
const DAYS = 14;
/** For who tried the demo by npx, whose packages are nowhere to be added to. */
const TO_DRAW =
  "npx -p meta-agent-db -p @observablehq/plot -p linkedom meta-agent-db report --open";

export const reportCommand = targetCommand("report", {
  description:
    "Writes one page about the fleet, or one organization: agents with their health, executions, success, latency and cost by day, budgets and error budgets, running experiments and canaries, open alerts, and why each prompt is live. One file that opens from disk, with no script, and asks nobody for anything. It only reads, as service role unless an organization is named. Where nothing was recorded in the days it stands at the end of the log. Needs the packages @observablehq/plot and linkedom.",
  examples: [
    "meta-agent-db report --open",
    "meta-agent-db report --organization 018f3a52-6d3b-7c1e-9a87-2b5e8d40c6f1 --days 30 --title 'Larkspur Foods'",
  ],
})
  .addOption(new Option("--organization <uuid>", "see what this organization sees").argParser(uuid))
  .addOption(
    new Option("--days <n>", "days of UTC, with today, 1 to 92").argParser(dayCount).default(DAYS),
  )
  .option("--title <text>", "the page's title")
  .option("--out <file>", "the file, which is overwritten", REPORT_FILE)
  .option("--open", "open it")
  .action(async ({ organization, days, title, out, open, ...target }: Options) => {
    // Whoever misses a package is told before anything is read.
    const plots = await loadPlots();
    const asked = { organization, days, title, out };
    const file = await withTarget(target, ({ db }) =>
      gauged("reading", () => writeReport(db, plots, asked)),
    );
    print(file);
    if (open) await openFile(file);
  });

/**
 * Writes the page.
 * @returns where it is
 */
export async function writeReport(
  db: Database,
  plots: Plots,
  { out, title, ...asked }: ReportOptions,
): Promise<string> {
  const figures = await figuresOf(db, asked);
  const file = resolve(out);
  writeFileSync(file, pageOf(figures, plots, { title }));
  return file;
}

/**
 * The page of the demo, beside its database; without the packages that draw, how to get it.
 * @returns what became of it, in a line
 */
export async function demoPage(db: Database, directory: string): Promise<string> {
  try {
    const asked = { days: DAYS, title: "The demo's fleet", out: join(directory, REPORT_FILE) };
    await writeReport(db, await loadPlots(), asked);
    return `a page to look at: ${asked.out}`;
  } catch (error) {
    if (!(error instanceof PlotsMissing)) throw error;
    return `no page to look at without what draws: ${TO_DRAW}`;
  }
}

function dayCount(text: string): number {
  if (/^[1-9]\d?$/.test(text) && Number(text) <= 92) return Number(text);
  throw new InvalidArgumentError("It takes a number of days from 1 to 92.");
}
