import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cli } from "../cli.ts";

test("docs writes page and diagram, says what is stale, and leaves alone what is not", async () => {
  const directory = await mkdtemp(join(tmpdir(), "meta-agent-db-docs-"));
  const page = join(directory, "wiki", "agents.md");
  const diagram = join(directory, "wiki", "agents.svg");
  const stale = await cli(["docs", "--check", "--out", page]);
  expect(stale.code).toBe(2);
  expect(stale.stdout).toContain(`${page} is stale: run meta-agent-db docs`);
  expect(await cli(["docs", "--out", page])).toMatchObject({
    code: 0,
    stdout: `${page}\n${diagram}\n`,
  });
  expect(await readFile(page, "utf8")).toContain("[the diagram](agents.svg)");
  expect(await readFile(diagram, "utf8")).toContain("</svg>");
  await writeFile(diagram, "");
  const half = await cli(["docs", "--check", "--out", page]);
  expect(half).toMatchObject({ code: 2, stdout: `${diagram} is stale: run meta-agent-db docs\n` });
  await rm(directory, { recursive: true });
}, 180_000);
