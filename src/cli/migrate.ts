import { waitForServer } from "../client/connect.ts";
import { migrate, migrationSql, pendingMigrations } from "../operate/migrate/migrate.ts";
import {
  type TargetOptions,
  jsonOption,
  lockTimeoutOption,
  seconds,
  targetCommand,
  trustPublicOption,
  withTarget,
} from "./command.ts";
import { EXIT } from "./exit.ts";
import { begin, end, print, printJson, progress } from "./print.ts";

interface MigrateCommandOptions extends TargetOptions {
  dryRun?: true;
  wait: number;
  lockTimeout?: number;
  trustPublic?: true;
  json?: true;
}

export const migrateCommand = targetCommand("migrate", {
  description: "Brings a database to the newest migration, all of it or nothing.",
  examples: [
    "MIGRATION_DATABASE_URL=postgres://… meta-agent-db migrate",
    "meta-agent-db migrate --wait 60 --lock-timeout 5",
    "meta-agent-db migrate --dry-run > pending.sql",
    "meta-agent-db migrate --json",
  ],
})
  .option("--dry-run", "print the SQL that would run; exit code 2 if there is any")
  .option("--wait <seconds>", "wait for a server that is not up yet", seconds, 0)
  .addOption(lockTimeoutOption("wait no longer for another migrator or for a table in use"))
  .addOption(trustPublicOption())
  .addOption(jsonOption())
  .action(
    async ({ dryRun, wait, lockTimeout, trustPublic, json, ...target }: MigrateCommandOptions) =>
      withTarget({ ...target, create: true }, async ({ db }) => {
        if (dryRun) {
          await waitForServer(db, { seconds: wait, onWait: progress });
          const pending = await pendingMigrations(db);
          if (json)
            printJson({ pending: pending.map(({ name }) => name), sql: migrationSql(pending) });
          else process.stdout.write(migrationSql(pending));
          progress(
            pending.length > 0 ? `${pending.length} pending; nothing was changed` : "up to date",
          );
          if (pending.length > 0) process.exitCode = EXIT.findings;
          return;
        }
        const result = await migrate(db, {
          wait,
          lockTimeout,
          trustPublic,
          onWait: progress,
          onApply: ({ name }) => begin(`  ${name}`),
          onApplied: (_, took) => end(`  ${took.toFixed(2)} s`),
        });
        if (json) printJson(result);
        else print(inWords(result.applied.length));
      }),
  );

const inWords = (applied: number) =>
  applied > 0 ? `${applied} migration${applied === 1 ? "" : "s"} applied` : "up to date";
