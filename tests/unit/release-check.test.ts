import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

// A repository that is ready but for what each test does to it. In place of npx and npm stands a command that
// fails, so that what is not refused ends there.
let directory = "";
const inside = (path: string) => join(directory, path);
const git = (...words: string[]) =>
  execFileSync("git", ["-c", "user.name=test", "-c", "user.email=test@example.com", ...words], {
    cwd: directory,
    stdio: "pipe",
  });
const commit = () => {
  git("add", "--all");
  git("commit", "--quiet", "--message", "a commit");
};

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "meta-agent-db-release-"));
  for (const folder of [".ci", "drizzle"]) mkdirSync(inside(folder));
  cpSync(".ci/release-check", inside(".ci/release-check"));
  writeFileSync(inside("package.json"), JSON.stringify({ version: "0.2.0" }));
  writeFileSync(inside("CHANGELOG.md"), "# Changelog\n\n## 0.2.0\n\n- New. **To do:** nothing.\n");
  writeFileSync(inside("drizzle/0000_first.sql"), "SELECT 1;\n");
  mkdirSync(inside("bin"));
  writeFileSync(inside("bin/npx"), "#!/bin/sh\necho went on >&2\nexit 1\n", { mode: 0o755 });
  git("init", "--quiet");
  commit();
  git("tag", "v0.1.0");
});
afterEach(() => rmSync(directory, { recursive: true }));

/** What it refuses; with nothing to refuse, that it went on. */
function refusals(): string[] {
  const env = { ...process.env, PATH: `${inside("bin")}:${process.env["PATH"] ?? ""}` };
  const { stderr, status } = spawnSync(inside(".ci/release-check"), { encoding: "utf8", env });
  expect(status).not.toBe(0);
  return stderr
    .trim()
    .split("\n")
    .map((line) => line.replace("not ready to publish: ", ""));
}

test("a release that is ready goes on to the tests", () => {
  expect(refusals()).toEqual(["went on"]);
});

test("all that is not ready is said at once", () => {
  mkdirSync(inside(".changeset"));
  writeFileSync(inside(".changeset/one.md"), "");
  writeFileSync(inside("CHANGELOG.md"), "# Changelog\n\n## 0.2.0\n\n## 0.1.0\n\n- Old.\n");
  expect(refusals()).toEqual([
    "the tree is dirty: commit or remove what git status shows",
    "changesets are pending: run .ci/version",
    'CHANGELOG.md has no entry under "## 0.2.0"',
  ]);
});

test("a migration that was released is neither changed nor removed; new ones may come", () => {
  writeFileSync(inside("drizzle/0001_second.sql"), "SELECT 2;\n");
  commit();
  expect(refusals()).toEqual(["went on"]);
  writeFileSync(inside("drizzle/0000_first.sql"), "SELECT 3;\n");
  commit();
  const why =
    "drizzle/0000_first.sql was changed since v0.1.0, which databases out there have applied";
  expect(refusals()).toEqual([why]);
  rmSync(inside("drizzle/0000_first.sql"));
  commit();
  // With its own tag on it, too.
  git("tag", "v0.2.0");
  expect(refusals()).toEqual([why]);
});

test("a version is released once", () => {
  git("tag", "v0.2.0");
  expect(refusals()).toEqual(["went on"]);
  writeFileSync(inside("package.json"), JSON.stringify({ version: "0.2.0", private: false }));
  commit();
  expect(refusals()).toEqual(["v0.2.0 is another commit: this version has been released"]);
});
