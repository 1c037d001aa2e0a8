import { type AdoptResult, adopt } from "../operate/adopt/adopt.ts";
import {
  type TargetOptions,
  jsonOption,
  lockTimeoutOption,
  targetCommand,
  trustPublicOption,
  withTarget,
} from "./command.ts";
import { EXIT } from "./exit.ts";
import { gauged, print, printJson, progress, table } from "./print.ts";

interface AdoptCommandOptions extends TargetOptions {
  readonly dryRun?: true;
  readonly fillDefaults?: true;
  readonly lockTimeout?: number;
  readonly trustPublic?: true;
  readonly json?: true;
}

export const adoptCommand = targetCommand("adopt", {
  description:
    "Makes what is missing, mends what differs, replaces foreign policies and grants, and writes the journal, all of it or nothing. Every row is kept. Rows that the rules refuse are listed with exit code 2, and nothing is changed.",
  examples: ["meta-agent-db adopt --dry-run", "meta-agent-db adopt --fill-defaults"],
})
  .option("--dry-run", "only read: show the differences, and the rows in the way; exit code 2")
  .option("--fill-defaults", "put a column's default where it holds NULL and must not")
  .addOption(lockTimeoutOption())
  .addOption(trustPublicOption())
  .addOption(jsonOption())
  .action(
    async ({
      json,
      dryRun,
      fillDefaults,
      lockTimeout,
      trustPublic,
      ...target
    }: AdoptCommandOptions) =>
      withTarget(target, async ({ db }) => {
        const result = await gauged(dryRun ? "reading" : "taking over", () =>
          adopt(db, { dryRun, fillDefaults, lockTimeout, trustPublic, onWait: progress }),
        );
        if (!result.adopted) process.exitCode = EXIT.findings;
        if (json) printJson(result);
        else show(result, dryRun === true);
      }),
  );

function show(result: AdoptResult, isDryRun: boolean): void {
  const { adopted, findings, offences, filled, platformRows } = result;
  if (isDryRun) for (const { object, problem } of findings) print(`${problem}: ${object}`);
  print(summary(findings));
  const others = findings.filter(({ problem, safe }) => problem === "extra" && !safe);
  if (others.length > 0) {
    print("left as they are, for you to look at with meta-agent-db diff:");
    for (const { object } of others) print(`  ${object}`);
  }
  if (platformRows.length > 0) {
    print(`rows of no organization, which no tenant sees: ${counted(platformRows)}`);
  }
  if (filled.length > 0) {
    const gaps = filled.map((gap) => ({ table: `${gap.table}.${gap.column}`, count: gap.count }));
    print(`NULLs ${adopted ? "replaced" : "to replace"} by defaults: ${counted(gaps)}`);
  }
  if (offences.length > 0) {
    print();
    print(table(["TABLE", "RULE", "ROWS", "DEMANDED", "IDS"], offences.map(cells)));
  }
  print();
  print(outcome(result));
}

function summary(findings: AdoptResult["findings"]): string {
  const counts = (["missing", "changed", "extra"] as const).map(
    (problem) => `${findings.filter((finding) => finding.problem === problem).length} ${problem}`,
  );
  return `${findings.length} differences: ${counts.join(", ")}`;
}

const counted = (list: readonly { table: string; count: number }[]) =>
  list.map(({ table: name, count }) => `${name} ${count}`).join(", ");

const cells = ({ table: name, rule, count, demands, ids }: AdoptResult["offences"][number]) => [
  name,
  rule,
  String(count),
  demands,
  ids.join(" ") + (count > ids.length ? " …" : ""),
];

function outcome({ adopted, offences }: AdoptResult): string {
  if (adopted) return "adopted: from now on run meta-agent-db migrate";
  if (offences.length === 0) return "nothing was changed, and no row is in the way";
  const lines = ["nothing was changed: mend these rows, then try again"];
  if (offences.some(({ hasDefault }) => hasDefault)) {
    lines.push("--fill-defaults puts the default where NULL is in the way and a column has one");
  }
  return lines.join("\n");
}
