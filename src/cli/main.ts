#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { Command, CommanderError } from "commander";
import { EXIT } from "./exit.ts";
import { err, progress, visible } from "./print.ts";

interface Entry {
  /** Its line in the help, which is all that is read of commands that are not asked for. */
  summary: string;
  load: () => Promise<Command>;
  /** It has an embedded database open for seconds only. */
  isBrief?: true;
}

const COMMANDS: Record<string, Entry> = {
  init: {
    summary: "prepare your application for tables of its own beside these",
    load: async () => (await import("./init.ts")).initCommand,
  },
  migrate: {
    summary: "bring a database to the newest migration",
    load: async () => (await import("./migrate.ts")).migrateCommand,
    isBrief: true,
  },
  status: {
    summary: "what is applied, pending or in disorder",
    load: async () => (await import("./status.ts")).statusCommand,
    isBrief: true,
  },
  diff: {
    summary: "what of a database is not as the migrations make it",
    load: async () => (await import("./diff.ts")).diffCommand,
    isBrief: true,
  },
  doctor: {
    summary: "say what is healthy about a database and what is not",
    load: async () => (await import("./doctor.ts")).doctorCommand,
    isBrief: true,
  },
  lint: {
    summary: "what migrations of yours would hold up or break",
    load: async () => (await import("./lint.ts")).lintCommand,
    isBrief: true,
  },
  adopt: {
    summary: "take over a database made by hand or by another migrator",
    load: async () => (await import("./adopt.ts")).adoptCommand,
  },
  sql: {
    summary: "the whole installation as one script",
    load: async () => (await import("./sql.ts")).sqlCommand,
  },
  eject: {
    summary: "write the migrations as files of another tool",
    load: async () => (await import("./eject.ts")).ejectCommand,
  },
  import: {
    summary: "put what other tools have recorded into the log",
    load: async () => (await import("./import.ts")).importCommand,
  },
  explain: {
    summary: "why a prompt version is live",
    load: async () => (await import("./explain.ts")).explainCommand,
    isBrief: true,
  },
  report: {
    summary: "one page about the fleet, to look at",
    load: async () => (await import("./report.ts")).reportCommand,
    isBrief: true,
  },
  govern: {
    summary: "one round of the jobs that keep the fleet",
    load: async () => (await import("./govern.ts")).governCommand,
  },
  rebuild: {
    summary: "build the similarity indexes over the rows there are",
    load: async () => (await import("./rebuild.ts")).rebuildCommand,
  },
  partition: {
    summary: "cut the log into monthly partitions",
    load: async () => (await import("./partition.ts")).partitionCommand,
  },
  citus: {
    summary: "spread the log over a Citus cluster",
    load: async () => (await import("./citus.ts")).citusCommand,
  },
  purge: {
    summary: "remove old logs and their embeddings",
    load: async () => (await import("./purge.ts")).purgeCommand,
  },
  roles: {
    summary: "the two logins of a deployment",
    load: async () => (await import("./roles.ts")).rolesCommand,
  },
  demo: {
    summary: "make a database with a fleet of agents in it, and show it",
    load: async () => (await import("./demo.ts")).demoCommand,
    isBrief: true,
  },
  dev: {
    summary: "serve the embedded database",
    load: async () => (await import("./dev.ts")).devCommand,
  },
  studio: {
    summary: "browse a database with drizzle-kit studio",
    load: async () => (await import("./studio.ts")).studioCommand,
  },
  completion: {
    summary: "what completes these commands in bash, zsh or fish",
    load: async () => (await import("./completion.ts")).completionCommand,
  },
};

// The reader of a pipe may have seen enough.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(EXIT.ok);
  throw error;
});

const program = new Command("meta-agent-db")
  .version(version())
  .description("The database of an AI agent fleet: migrate it, check it, try it, serve it.")
  .addHelpText(
    "after",
    "\nExit codes: 0 done, 1 error, 2 findings or something pending, 3 another migrator holds the lock, 64 usage.",
  );
for (const [name, { summary, load, isBrief }] of Object.entries(COMMANDS)) {
  if (isBrief && name === process.argv[2]) optimizeNothing();
  const subcommand = isAsked(name) ? await load() : new Command(name);
  program.addCommand(saysLittle(subcommand.summary(summary), ` ${name}`));
}
saysLittle(program);

try {
  await program.parseAsync();
} catch (error) {
  // commander has said what is wrong with a command line.
  process.exitCode = error instanceof CommanderError ? codeOf(error) : await say(error);
}

/**
 * In a few seconds the compiler takes more processor time to optimize PostgreSQL's WebAssembly than that wins: a third
 * of what `explain` and `demo` take.
 */
function optimizeNothing(): void {
  try {
    setFlagsFromString("--liftoff-only");
  } catch {
    // Bun has no such compiler.
  }
}

/** What completes them needs the options of all. */
function isAsked(name: string): boolean {
  return process.argv.includes(name) || process.argv[2] === "completion";
}

function version(): string {
  const path = new URL(import.meta.resolve("meta-agent-db/package.json"));
  return /"version": "([^"]+)"/.exec(readFileSync(path, "utf8"))?.[1] ?? "unknown";
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

/** To be asked for help is no error. */
function codeOf({ exitCode }: CommanderError): number {
  return exitCode === 0 ? EXIT.ok : EXIT.usage;
}

/** Says what went wrong, and answers how the process ends. What knows a database's errors takes time to load. */
async function say(problem: unknown): Promise<number> {
  const { databaseError, explain } = await import("../client/errors.ts");
  const { LockedError } = await import("../operate/migrate/lock.ts");
  progress(`${err.red("error")} ${explain(problem)}`);
  const isLocked = problem instanceof LockedError || databaseError(problem)?.code === "55P03";
  return isLocked ? EXIT.locked : EXIT.error;
}
