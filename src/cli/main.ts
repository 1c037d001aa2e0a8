#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { Command } from "commander";
import * as z from "zod";
import { databaseError, explain } from "../client/errors.ts";
import { LockedError } from "../operate/migrate/lock.ts";
import { adoptCommand } from "./adopt.ts";
import { EXIT } from "./command.ts";
import { demoCommand } from "./demo.ts";
import { devCommand } from "./dev.ts";
import { diffCommand } from "./diff.ts";
import { doctorCommand } from "./doctor.ts";
import { ejectCommand } from "./eject.ts";
import { importCommand } from "./import.ts";
import { initCommand } from "./init.ts";
import { migrateCommand } from "./migrate.ts";
import { partitionCommand } from "./partition.ts";
import { err, progress, visible } from "./print.ts";
import { purgeCommand } from "./purge.ts";
import { rebuildCommand } from "./rebuild.ts";
import { rolesCommand } from "./roles.ts";
import { sqlCommand } from "./sql.ts";
import { statusCommand } from "./status.ts";
import { studioCommand } from "./studio.ts";

// The reader of a pipe may have seen enough.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(EXIT.ok);
  throw error;
});

const packageJson = z
  .object({ version: z.string() })
  .parse(
    JSON.parse(readFileSync(new URL(import.meta.resolve("meta-agent-db/package.json")), "utf8")),
  );

const program = new Command("meta-agent-db")
  .version(packageJson.version)
  .description("The database of an AI agent fleet: migrate it, check it, try it, serve it.")
  .addHelpText(
    "after",
    "\nExit codes: 0 done, 1 error, 2 findings or something pending, 3 another migrator holds the lock, 64 usage.",
  );
for (const subcommand of [
  initCommand,
  migrateCommand,
  statusCommand,
  diffCommand,
  doctorCommand,
  adoptCommand,
  sqlCommand,
  ejectCommand,
  importCommand,
  rebuildCommand,
  partitionCommand,
  purgeCommand,
  rolesCommand,
  demoCommand,
  devCommand,
  studioCommand,
]) {
  program.addCommand(saysLittle(subcommand, ` ${subcommand.name()}`));
}
saysLittle(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
  // commander has said what is wrong with a command line.
  if (process.exitCode === EXIT.error || process.exitCode === EXIT.locked) {
    progress(`${err.red("error")} ${explain(error)}`);
  }
}

/** A wrong command line is answered by what is wrong and the guess, which a page of help would push away. */
function saysLittle(of: Command, name = ""): Command {
  const outputError = (text: string, write: (text: string) => void) => {
    const isGuessed = text.includes("(Did you mean");
    const said = isGuessed ? text : `${text}meta-agent-db help${name} says what there is\n`;
    write(visible(said, err));
  };
  return of.configureOutput({ outputError }).exitOverride();
}

function exitCodeOf(error: unknown): number {
  if (error instanceof Error && "exitCode" in error && typeof error.exitCode === "number") {
    return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  }
  return error instanceof LockedError || databaseError(error)?.code === "55P03"
    ? EXIT.locked
    : EXIT.error;
}
