import { existsSync } from "node:fs";
import { join } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { databaseUrls } from "../config.ts";
import { type Connection, connect } from "../client/connect.ts";
import { EMBEDDED_DIRECTORY, openEmbedded } from "../embedded.ts";
import { EXIT } from "./exit.ts";
import { noTarget } from "./no-target.ts";
import { progress } from "./print.ts";

/** A subcommand with its help; each example is a line to type after `meta-agent-db`. */
export function command(
  name: string,
  help: { description: string; examples: readonly string[] },
): Command {
  const lines = help.examples.map((example) => `  ${example}`);
  return new Command(name)
    .description(help.description)
    .addHelpText("after", ["\nExamples:", ...lines].join("\n"));
}

/** A server in the place of the environment's. */
export const urlOption = (description = "a server: postgres://user:password@host:5432/database") =>
  new Option("--url <url>", description).conflicts("directory");

export const directoryOption = () =>
  new Option(
    "--directory <path>",
    `the embedded database's directory (default: ${EMBEDDED_DIRECTORY})`,
  );

export const jsonOption = () => new Option("--json", "print JSON, for programs");

/** Goes on as `description` says where the time is over. */
export const lockTimeoutOption = (
  description = "wait no longer for a migrator or for a table in use",
) =>
  new Option(
    "--lock-timeout <seconds>",
    `${description}, 0 not at all; then exit code 3 (default: no limit)`,
  ).argParser(seconds);

export const trustPublicOption = () =>
  new Option(
    "--trust-public",
    "go on although others may create in schema public, and could so run what they write as this login",
  );

/** Parses an option that takes seconds. */
export function seconds(text: string): number {
  if (/^\d{1,7}(\.\d+)?$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It takes a number of seconds, 0 or more.");
}

/** Parses an option that takes an organization. */
export function uuid(text: string): string {
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) return text;
  throw new InvalidArgumentError("It takes a uuid.");
}

export interface TargetOptions {
  readonly url?: string;
  readonly directory?: string;
}

const TARGET =
  "Target: --url, else --directory, else MIGRATION_DATABASE_URL, else DATABASE_URL, else the embedded database in .meta-agent, if there is one.";

/** A subcommand that works on a database, and says in its help which. */
export function targetCommand(...[name, help]: Parameters<typeof command>): Command {
  return command(name, { ...help, description: `${help.description}\n\n${TARGET}` })
    .addOption(urlOption())
    .addOption(directoryOption());
}

/** How {@link withTarget} opens it. */
interface TargetUse extends TargetOptions {
  readonly create?: boolean;
  /** What an interrupt does. Default: it ends the process at once; what is open is rolled back by the server. */
  readonly interrupted?: (() => void) | undefined;
}

/**
 * Opens the target, says on stderr which it is, and closes it after `work`. Only with `create`
 * is an embedded database made, and only in a directory that was named.
 */
export async function withTarget<T>(
  { create = false, interrupted = endAtOnce, ...options }: TargetUse,
  work: (connection: Connection) => Promise<T>,
): Promise<T> {
  if (!create || options.directory === undefined) demandTarget(options);
  const connection = await openTarget(options);
  const forget = untilInterrupted(interrupted);
  try {
    progress(connection.label);
    return await work(connection);
  } finally {
    forget();
    await connection.close();
  }
}

function endAtOnce(): never {
  progress("interrupted");
  process.exit(EXIT.interrupted);
}

/** Calls `stop` once at Ctrl-C, or when the process is told to end; what it returns takes that back. */
export function untilInterrupted(stop: () => void): () => void {
  process.once("SIGINT", stop).once("SIGTERM", stop);
  return () => process.off("SIGINT", stop).off("SIGTERM", stop);
}

/** Throws where an embedded database would have to be made: who means a server does not want a new, empty one. */
export function demandTarget(options: TargetOptions): void {
  const { directory } = options;
  if (targetUrl(options) !== undefined) return;
  if (existsSync(join(directory ?? EMBEDDED_DIRECTORY, "pgdata"))) return;
  if (directory === undefined) throw noTarget();
  throw new Error(
    `there is no embedded database in ${directory}: make one with meta-agent-db migrate --directory or demo, or name a server with --url or DATABASE_URL`,
  );
}

async function openTarget(options: TargetOptions): Promise<Connection> {
  const url = targetUrl(options);
  return url === undefined ? openEmbedded(options.directory) : connect(url);
}

/** The server that is the target, `undefined` where it is the embedded database. */
export function targetUrl({ url, directory }: TargetOptions): string | undefined {
  return url ?? (directory === undefined ? databaseUrls().migrationDatabaseUrl : undefined);
}

/** Parses `--port`. */
export function portNumber(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return Number(text);
  throw new InvalidArgumentError("It takes a number from 0 to 65535.");
}
