import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";

/** A password from the environment variable, else typed at a prompt that shows nothing. */
export async function askPassword(variable: string, whose: string): Promise<string> {
  const given = process.env[variable];
  if (given) return given;
  if (!process.stdin.isTTY) {
    throw new Error(
      `${variable} is not set, and there is no terminal to ask for the password of ${whose}`,
    );
  }
  process.stderr.write(`Password of ${whose}: `);
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const prompt = createInterface({ input: process.stdin, output: silent, terminal: true });
  const password = await prompt.question("");
  prompt.close();
  process.stderr.write("\n");
  return password;
}
