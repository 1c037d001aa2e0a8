import { type MigrationRecord, migrationStatus } from "../migrate.ts";
import { EXIT, type TargetOptions, jsonOption, targetCommand, withTarget } from "./command.ts";
import { print, table } from "./print.ts";

export const statusCommand = targetCommand("status", {
  summary: "what is applied, pending or in disorder",
  description:
    "Shows every migration: applied, by whom and when, or pending, edited, skipped, out of order, unknown. It only reads. Exit code 2 unless all are applied.",
  examples: ["meta-agent-db status", "meta-agent-db status --json"],
})
  .addOption(jsonOption())
  .action(async ({ json, ...target }: TargetOptions & { json?: true }) =>
    withTarget(target, async ({ db }) => {
      const status = await migrationStatus(db);
      if (!status.upToDate) process.exitCode = EXIT.findings;
      if (json) {
        print(JSON.stringify(status, null, 2));
        return;
      }
      print(table(["MIGRATION", "STATE", "APPLIED AT", "BY"], status.migrations.map(cells)));
      print();
      print(summary(status.migrations));
    }),
  );

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
