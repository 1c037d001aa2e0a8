import { migrate } from "../migrate.ts";
import { type TargetOptions, targetCommand, withTarget } from "./command.ts";
import { print, progress } from "./print.ts";

export const migrateCommand = targetCommand("migrate", {
  summary: "bring a database to the newest migration",
  description: "Brings a database to the newest migration, all of it or nothing.",
  examples: ["MIGRATION_DATABASE_URL=postgres://… meta-agent-db migrate"],
}).action((options: TargetOptions) =>
  withTarget(options, async ({ db }) => {
    const { applied } = await migrate(db, { onApply: ({ name }) => progress(`  ${name}`) });
    print(applied.length > 0 ? `${applied.length} migrations applied` : "up to date");
  }),
);
