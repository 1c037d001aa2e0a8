import { spawn } from "node:child_process";
import { once } from "node:events";
import { progress } from "./print.ts";

/** What opens a file in the program that the system has for it; `explorer` and its like take no shell. */
const OPENERS: Partial<Record<NodeJS.Platform, readonly [string, ...string[]]>> = {
  darwin: ["open"],
  win32: ["rundll32", "url.dll,FileProtocolHandler"],
};

/** Opens a file, and says so where nothing does; it waits for no more than the beginning. */
export async function openFile(file: string): Promise<void> {
  const [program, ...words] = OPENERS[process.platform] ?? ["xdg-open"];
  const opener = spawn(program, [...words, file], { detached: true, stdio: "ignore" });
  const begun = await once(opener, "spawn").catch(() => undefined);
  opener.unref();
  if (begun === undefined) progress(`${program} is not there to open it`);
}
