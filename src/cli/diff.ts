import type { Database } from "../client/sql.ts";
import { diff, repair } from "../operate/drift/diff.ts";
import type { Finding } from "../operate/drift/findings.ts";
import { pendingMigrations } from "../operate/migrate/migrate.ts";
import {
  type TargetOptions,
  jsonOption,
  lockTimeoutOption,
  targetCommand,
  withTarget,
} from "./command.ts";
import { EXIT } from "./exit.ts";
import { gauged, out, printJson, printSql, progress } from "./print.ts";

interface DiffOptions extends TargetOptions {
  readonly json?: true;
  readonly repair?: true;
  readonly lockTimeout?: number;
}

export const diffCommand = targetCommand("diff", {
  description:
    "Compares the tables, constraints, indexes, policies, grants and functions of a database with what the migrations make, and prints the SQL that brings each back. Reads the system catalogs alone. With --repair it applies what loses no row and cannot be refused because of the rows there are, all of it or nothing, and prints the rest.",
  examples: [
    "meta-agent-db diff --url postgres://…",
    "meta-agent-db diff --json",
    "meta-agent-db diff --repair --lock-timeout 5",
  ],
})
  .addOption(jsonOption())
  .option("--repair", "apply what is safe, in one transaction; writes wait while an index is built")
  .addOption(
    lockTimeoutOption("with --repair, wait no longer for a migrator or for a table in use"),
  )
  .action(({ json, repair: mend, lockTimeout, ...target }: DiffOptions) =>
    withTarget(target, async ({ db }) => {
      const { repaired, remaining } = mend
        ? await gauged("repairing", () => repair(db, { lockTimeout, onWait: progress }))
        : { repaired: [], remaining: await diff(db) };
      if (json) {
        printJson({ repaired, remaining });
      } else {
        for (const { object, problem } of repaired) {
          printSql(comment(`repaired: ${object} (${problem})`));
        }
        for (const finding of remaining) printSql(asSql(finding));
        progress(summary(repaired, remaining));
      }
      const pending = remaining.length > 0 ? await pendingFiles(db) : 0;
      if (pending > 0) progress(`pending migrations: ${pending}; run meta-agent-db migrate first`);
      if (remaining.length > 0) process.exitCode = EXIT.findings;
    }),
  );

/** What is pending is missing. Without the right to read the journal nobody knows. */
const pendingFiles = (db: Database) =>
  pendingMigrations(db).then(
    ({ length }) => length,
    () => 0,
  );

const comment = (text: string) => text.replaceAll(/^/gm, "-- ");

/** A finding as SQL to paste: what a person reads is comment. */
function asSql({ object, problem, why, found, repair: statements, safe }: Finding): string {
  return [
    out.bold(comment(`${object}: ${problem}${safe ? "" : ", to be repaired by hand"}`)),
    comment(why),
    ...(found === undefined ? [] : [out.dim(comment(`found: ${found}`))]),
    ...statements.map((statement) => `${statement};`),
    "",
  ].join("\n");
}

function summary(repaired: readonly Finding[], remaining: readonly Finding[]): string {
  if (remaining.length === 0) return repaired.length > 0 ? "nothing is left" : "no differences";
  const safe = remaining.filter((finding) => finding.safe).length;
  const count = remaining.length === 1 ? "1 difference" : `${remaining.length} differences`;
  return `${count}, ${safe} of them for --repair`;
}
