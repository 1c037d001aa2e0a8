import { diff } from "../operate/drift/diff.ts";
import type { Finding } from "../operate/drift/findings.ts";
import { type MigrationRecord, migrationStatus } from "../operate/migrate/migrate.ts";
import { type TargetOptions, jsonOption, targetCommand, withTarget } from "./command.ts";
import { EXIT } from "./exit.ts";
import { print, printJson, table } from "./print.ts";

export const statusCommand = targetCommand("status", {
  description:
    "Shows every migration: applied, by whom and when, or pending, edited, skipped, out of order, unknown. Where all are applied it verifies that policies, grants and the rest are still as they were made: a restored backup may lack them. It only reads. Exit code 2 unless all is well.",
  examples: ["meta-agent-db status", "meta-agent-db status --json"],
})
  .addOption(jsonOption())
  .action(async ({ json, ...target }: TargetOptions & { json?: true }) =>
    withTarget(target, async ({ db }) => {
      const status = await migrationStatus(db);
      const findings = status.upToDate ? await diff(db) : null;
      if (findings?.length !== 0) process.exitCode = EXIT.findings;
      if (json) {
        printJson({ ...status, findings });
        return;
      }
      print(table(["MIGRATION", "STATE", "APPLIED AT", "BY"], status.migrations.map(cells)));
      print();
      print(summary(status.migrations));
      print(`policies, grants and the rest: ${verdict(findings)}`);
    }),
  );

function verdict(findings: readonly Finding[] | null): string {
  if (findings === null) return "not looked at before all migrations are applied";
  return findings.length === 0
    ? "as they should be"
    : `${findings.length} found changed: run meta-agent-db diff`;
}

const cells = ({ name, when, state, appliedAt, appliedBy }: MigrationRecord) => [
  name ?? `generated ${new Date(when).toISOString()}`,
  state,
  appliedAt?.toISOString() ?? "",
  appliedBy ?? "",
];

const NEXT: Partial<Record<MigrationRecord["state"], string>> = {
  pending: "run meta-agent-db migrate",
  edited: "restore the file as it was released: what is applied is not what it says",
  skipped: "later files are applied: see which version migrated this database",
  unknown: "another version of meta-agent-db migrated this database: update",
};

/** One line a state, with what to do about it. */
function summary(migrations: readonly MigrationRecord[]): string {
  const states = [...new Set(migrations.map(({ state }) => state))];
  return states
    .map((state) => {
      const count = migrations.filter((migration) => migration.state === state).length;
      return [`${count} ${state}`, NEXT[state]].filter(Boolean).join(": ");
    })
    .join("\n");
}
