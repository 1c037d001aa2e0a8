import { randomUUID } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli, finished, start } from "../cli.ts";

const FIXTURE = "tests/fixtures/agent-runs.jsonl";

describe("import", () => {
  let home = "";
  const target = () => ["--directory", join(home, "database")];
  const agent = ["--agent", "library-desk", "--success", "reward"];
  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), "meta-agent-db-import-"));
    expect(await cli(["migrate", ...target()])).toMatchObject({ code: 0 });
  });
  afterAll(() => rm(home, { recursive: true }));

  const organization = ["--organization", randomUUID()];
  const run = (...words: string[]) => cli(["import", ...words, ...organization, ...target()]);

  test("shows what it would write, writes it, and again adds nothing", async () => {
    const dry = await run(FIXTURE, ...agent, "--dry-run");
    expect(dry).toMatchObject({ code: 0 });
    expect(dry.stdout).toMatch(/FILE +FORMAT +NEW[^]*agent-runs\.jsonl +chat +20 +0 +0 +0 +0 +0/);
    expect(dry.stdout).toContain(
      "rows: 3 agent_run, 9 llm_call, 8 tool_call\nnew agents: library-desk\n",
    );
    expect(dry.stdout).toContain("not stored of chat: lists and objects beside the messages");
    expect(dry.stdout).toContain("nothing was written");
    const first = await run(FIXTURE, ...agent, "--json");
    expect(JSON.parse(first.stdout)).toMatchObject([
      { file: FIXTURE, inserted: 20, dryRun: false },
    ]);
    const again = await run(FIXTURE, ...agent);
    expect(again.stdout).toMatch(/agent-runs\.jsonl +chat +0 +0 +20 +0 +0 +0/);
    expect(again.stdout).toContain("new agents: none");
  });

  test("lists what was refused with its file and line, stores the rest, and ends with 2", async () => {
    const bad = join(home, "bad.jsonl");
    await writeFile(bad, '{"messages":[{"role":"assistant","content":"Hi"}]}\n{"messages":[]}\n');
    const outcome = await run(bad, FIXTURE, "--agent", "other-desk");
    expect(outcome).toMatchObject({ code: 2 });
    expect(outcome.stderr).toContain(
      `refused ${bad}, line 2: messages: expected a reply or a tool call`,
    );
    expect(outcome.stdout).toMatch(/bad\.jsonl +chat +2 +0 +0 +0 +1 +0/);
    expect(outcome.stdout).toMatch(/agent-runs\.jsonl +chat +20 /);
  });

  test("a mistyped name keeps all files out; of the files before one that fails inside it says what became of them", async () => {
    const mistyped = await run(FIXTURE, "nowhere.jsonl", "--agent", "third-desk");
    expect(mistyped).toMatchObject({ code: 1, stdout: "" });
    expect(mistyped.stderr).toMatch(/error .*no such file.*nowhere\.jsonl/);
    const other = join(home, "other.jsonl");
    await writeFile(other, '{"spans":[]}\n');
    const failing = await run(FIXTURE, other, "--agent", "third-desk");
    expect(failing).toMatchObject({ code: 1 });
    expect(failing.stdout).toMatch(/agent-runs\.jsonl +chat +20 /);
    expect(failing.stderr).toContain(`error ${other}: line 1: expected resourceSpans (otlp)`);
  });

  test("reads stdin", async () => {
    const child = start(["import", "-", "--agent", "piped-desk", ...organization, ...target()]);
    child.stdin?.end('{"messages":[{"role":"assistant","content":"Hi"}]}');
    const { code, stdout } = await finished(child);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^- +chat +2 /m);
  });

  test.each([
    ["an unknown format", [FIXTURE, "--format", "csv"], 64, "otlp, openinference, langfuse, chat"],
    ["a start that is no instant", [FIXTURE, "--start", "soon"], 64, "It takes an instant"],
  ])("%s is one clear message", async (_, words, code, problem) => {
    const outcome = await run(...words);
    expect(outcome).toMatchObject({ code, stdout: "" });
    expect(outcome.stderr).toContain(problem);
    expect(outcome.stderr).not.toMatch(/^ +at /m);
  });

  test("an organization is asked for, and must be a uuid", async () => {
    expect(await cli(["import", FIXTURE, ...target()])).toMatchObject({ code: 64 });
    const outcome = await cli(["import", FIXTURE, "--organization", "us", ...target()]);
    expect(outcome).toMatchObject({ code: 64 });
    expect(outcome.stderr).toContain("It takes a uuid");
  });
});
