#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { Command, Option } from "commander";
import { z } from "zod";
import { EMBEDDED_DIRECTORY, openEmbedded } from "../embedded.ts";
import { explain } from "../errors.ts";
import { migrate } from "../migrate.ts";
import { demo } from "./demo.ts";
import { LOGINS, createLogins, loginStatements } from "../roles.ts";
import { askPassword } from "./password.ts";
import { err, print, progress } from "./print.ts";
import { type TargetOptions, openTarget } from "./target.ts";

// The reader of a pipe may have seen enough.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

const packageJson = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")));

const program = new Command("meta-agent-db")
  .version(packageJson.version)
  .description("The database of an AI agent fleet: migrate it, try it, serve it.")
  .showHelpAfterError()
  .exitOverride();

const urlOption = (description = "a server: postgres://user:password@host:5432/database") =>
  new Option("--url <url>", description).conflicts("directory");
const directoryOption = () =>
  new Option(
    "--directory <path>",
    `the embedded database's directory (default: ${EMBEDDED_DIRECTORY})`,
  );

program
  .command("migrate")
  .summary("bring a database to the newest migration")
  .description(
    "Brings a database to the newest migration, all of it or nothing. Target: --url, else --directory, else MIGRATION_DATABASE_URL, else DATABASE_URL, else the embedded directory.",
  )
  .addOption(urlOption())
  .addOption(directoryOption())
  .addHelpText("after", "\nExample:\n  MIGRATION_DATABASE_URL=postgres://… meta-agent-db migrate")
  .action(async (options: TargetOptions) => {
    const { db, label, close } = await openTarget(options);
    try {
      progress(label);
      const { applied } = await migrate(db, { onApply: ({ name }) => progress(`  ${name}`) });
      print(applied.length > 0 ? `${applied.length} migrations applied` : "up to date");
    } finally {
      await close();
    }
  });

program
  .command("roles")
  .summary("the two logins of a deployment")
  .description(
    "Prints the statements that make the two logins of a deployment, one for the application and one for backend jobs, or makes them with --apply. Passwords come from META_AGENT_APP_PASSWORD and META_AGENT_BACKEND_PASSWORD, or from a prompt.",
  )
  .option("--apply", "make them, or set the passwords of those that exist")
  .addOption(urlOption())
  .addOption(directoryOption())
  .addHelpText("after", "\nExample:\n  meta-agent-db roles --apply --url postgres://admin@host/app")
  .action(async ({ apply, ...target }: TargetOptions & { apply?: true }) => {
    if (!apply) {
      print(loginStatements().join("\n"));
      return;
    }
    const passwords = {
      application: await askPassword("META_AGENT_APP_PASSWORD", LOGINS.application.name),
      backend: await askPassword("META_AGENT_BACKEND_PASSWORD", LOGINS.backend.name),
    };
    const { db, label, close } = await openTarget(target);
    try {
      progress(label);
      await createLogins(db, passwords);
      for (const { name, memberOf } of Object.values(LOGINS)) {
        print(`${name}: member of ${memberOf.join(", ")}`);
      }
    } finally {
      await close();
    }
  });

program
  .command("demo")
  .summary("make a database with a fleet of agents in it, and show it")
  .description(
    "Makes an embedded database, migrates it, loads a fleet of agents of two organizations, and shows it. A second run finds it there.",
  )
  .addOption(urlOption("a server instead, only if its tables are empty"))
  .addOption(directoryOption())
  .addHelpText("after", "\nExample:\n  meta-agent-db demo")
  .action(demo);

program
  .command("dev")
  .summary("serve the embedded database")
  .description(
    "Serves the embedded database on the loopback address until Ctrl-C, migrated. All clients share one session of it.",
  )
  .option("--port <number>", "port to listen on, 0 for any free one", "54329")
  .addOption(directoryOption())
  .addHelpText("after", "\nExample:\n  meta-agent-db dev --port 54329")
  .action(async ({ port, directory }: { port: string; directory?: string }) => {
    if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
      program.error("error: --port takes a number from 0 to 65535");
    }
    const { close, db, serve, label } = await openEmbedded(directory);
    const stop = () => void close().then(() => process.exit(0));
    process.once("SIGINT", stop).once("SIGTERM", stop);
    try {
      await migrate(db);
      const address = await serve(Number(port));
      progress(`${label}, served until Ctrl-C at`);
      print(address);
    } catch (error) {
      await close();
      throw error;
    }
  });

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof Error && "exitCode" in error && typeof error.exitCode === "number") {
    // commander has said what is wrong with the command line: 64 is EX_USAGE.
    process.exitCode = error.exitCode === 0 ? 0 : 64;
  } else {
    progress(`${err.red("error")} ${explain(error)}`);
    process.exitCode = 1;
  }
}
