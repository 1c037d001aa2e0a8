import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { inject } from "vitest";

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** The environment of a command: this one's without what would lead it to another database. */
export function environment(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const { DATABASE_URL: _, MIGRATION_DATABASE_URL: __, FORCE_COLOR: ___, ...env } = process.env;
  return { ...env, NO_COLOR: "1", ...extra };
}

/** The file of the command line, as it is installed. */
export const mainFile = (built = inject("built")) => join(built, "dist", "esm", "cli", "main.js");

/** Starts `meta-agent-db …` as a user would. */
export function start(words: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  return spawn(process.execPath, [mainFile(), ...words], { env: environment(env) });
}

/** The file of drizzle-kit: npx takes as long to find it as it takes to start. */
export const DRIZZLE_KIT = "node_modules/drizzle-kit/bin.cjs";

/**
 * Starts a program in a process of its own, which imports this package by its name. It ends before it would pay to
 * optimize an embedded database.
 */
export function startProgram(
  text: string,
  { env = {}, words = [] }: { env?: NodeJS.ProcessEnv; words?: readonly string[] } = {},
): ChildProcess {
  return spawn(
    process.execPath,
    ["--liftoff-only", "--input-type=module", "--eval", text, ...words],
    {
      cwd: inject("built"),
      env: environment(env),
    },
  );
}

/** Runs `meta-agent-db …` to its end. */
export async function cli(words: readonly string[], env?: NodeJS.ProcessEnv): Promise<Outcome> {
  return finished(start(words, env));
}

export async function finished(child: ChildProcess): Promise<Outcome> {
  const [stdout, stderr]: [string[], string[]] = [[], []];
  child.stdout?.on("data", (chunk) => stdout.push(String(chunk)));
  child.stderr?.on("data", (chunk) => stderr.push(String(chunk)));
  const code = await new Promise<number | null>((done) => child.once("close", done));
  return { code, stdout: stdout.join(""), stderr: stderr.join("") };
}

/** Waits until a stream has printed something that matches. */
export function printed(stream: NodeJS.ReadableStream | null, pattern: RegExp): Promise<string> {
  return new Promise((found, failed) => {
    let text = "";
    stream?.on("data", (chunk) => {
      text += String(chunk);
      const match = pattern.exec(text);
      if (match) found(match[0]);
    });
    stream?.once("end", () => failed(new Error(`the output ended without ${pattern}:\n${text}`)));
  });
}

/** What studio answers to a request of its page. */
export async function askStudio(port: number, body: object): Promise<unknown> {
  const response = await fetch(`http://127.0.0.1:${port}/`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return response.json();
}
