// What it costs to import the built root: processor time, user and system, against the first release, which is
// built here from the history. In one run and alternating, so that both meet the same machine; of each the
// least of several, since whatever else runs can only add.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const FIRST_RELEASE = "chore(release): version 0.1.0";
/**
 * drizzle-orm, postgres.js and zod, which the root stands on, are 0.4 of it before any line of ours; and the root
 * has four times the functions of the first release. What is left goes by the number of files.
 */
const MOST = 0.9;
const ROUNDS = 9;

const said = (command, ...words) => execFileSync(command, words, { encoding: "utf8" });

function firstRelease() {
  const log = said("git", "log", "--format=%H %s", "--fixed-strings", `--grep=${FIRST_RELEASE}`);
  const found = log.split("\n").find((line) => line.slice(41) === FIRST_RELEASE);
  return found?.slice(0, 40);
}

function build(commit, directory) {
  const archive = execFileSync(
    "git",
    ["archive", commit, "src", "package.json", "tsconfig*.json"],
    {
      maxBuffer: 1e9,
    },
  );
  execFileSync("tar", ["-x", "-C", directory], { input: archive });
  symlinkSync(resolve("node_modules"), join(directory, "node_modules"));
  const compiler = resolve("node_modules", "typescript", "bin", "tsc");
  const flags = ["-p", "tsconfig.build.json", "--noCheck", "--declaration", "false"];
  const words = [compiler, ...flags, "--declarationMap", "false"];
  const { status, stdout } = spawnSync(process.execPath, words, { cwd: directory });
  if (status !== 0) throw new Error(`the first release does not compile: ${String(stdout)}`);
}

/** Milliseconds of one import in a process of its own. */
function cost(root) {
  const url = pathToFileURL(join(root, "dist", "esm", "index.js")).href;
  const script = `
    const before = process.cpuUsage();
    await import(${JSON.stringify(url)});
    const { user, system } = process.cpuUsage(before);
    console.log((user + system) / 1000);`;
  return Number(said(process.execPath, "--input-type=module", "--eval", script));
}

const commit = firstRelease();
if (commit === undefined) {
  console.log(`SKIPPED: no commit "${FIRST_RELEASE}" here to compare with; is the clone shallow?`);
  process.exit(0);
}
const directory = mkdtempSync(join(tmpdir(), "meta-agent-db-first-"));
try {
  build(commit, directory);
  const costs = Array.from({ length: ROUNDS }, () => [cost(directory), cost(".")]);
  const [first, now] = [0, 1].map((side) => Math.min(...costs.map((pair) => pair[side])));
  const share = now / first;
  console.log(
    `importing the root: ${now.toFixed(0)} ms of processor time, 0.1.0 ${first.toFixed(0)} ms, ` +
      `ratio ${share.toFixed(2)}, at most ${MOST}`,
  );
  if (!(share <= MOST)) {
    console.error(
      `too slow: importing the root costs ${share.toFixed(2)} of what it cost in 0.1.0`,
    );
    process.exitCode = 1;
  }
} finally {
  rmSync(directory, { recursive: true });
}
