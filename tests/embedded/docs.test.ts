import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

test("npm run docs writes what is stale, and leaves alone what is not", async () => {
  const cwd = await mkdtemp(join(tmpdir(), "meta-agent-db-docs-"));
  await mkdir(join(cwd, "docs"));
  const [page, diagram] = [join(cwd, "docs/schema.md"), join(cwd, "docs/schema.svg")];
  await copyFile("docs/schema.md", page);
  await writeFile(diagram, "");
  const { mtimeMs } = await stat(page);
  const words = ["--import", import.meta.resolve("tsx"), resolve("scripts/docs/main.ts")];
  const { stdout } = await promisify(execFile)(process.execPath, words, { cwd });
  expect(stdout).toBe("docs/schema.md is up to date\ndocs/schema.svg written\n");
  expect((await stat(page)).mtimeMs).toBe(mtimeMs);
  expect(await readFile(diagram, "utf8")).toBe(await readFile("docs/schema.svg", "utf8"));
  await rm(cwd, { recursive: true });
}, 180_000);
