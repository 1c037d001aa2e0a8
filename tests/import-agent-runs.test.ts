import { execFile } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { eq } from "drizzle-orm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type AgentScope,
  commonErrors,
  importAgentRuns,
  successRate,
  toolUse,
} from "../examples/import-agent-runs.ts";
import type { Database } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { agentExecutionLogs, agentPrompts, agentRegistry } from "../src/schema/index.ts";
import { engine, suite } from "./engine.ts";

const FIXTURE = fileURLToPath(new URL("fixtures/agent-runs.jsonl", import.meta.url));
const REAL_FILE = process.env["AGENT_RUNS_FILE"];

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "agent-runs-"));
});
afterAll(() => rm(directory, { recursive: true }));

async function fileOf(content: string | Uint8Array): Promise<string> {
  const file = join(directory, randomUUID());
  await writeFile(file, content);
  return file;
}

const newScope = (): AgentScope => ({
  organizationId: randomUUID(),
  agentName: `desk-${randomUUID()}`,
});

/** The agent's log as its organization reads it. */
const logsOf = (db: Database, { organizationId, agentName }: AgentScope) =>
  withOrganization(db, organizationId, async (tx) => {
    const rows = await tx
      .select({ log: agentExecutionLogs, prompt: agentPrompts })
      .from(agentExecutionLogs)
      .innerJoin(agentRegistry, eq(agentRegistry.id, agentExecutionLogs.agentId))
      .leftJoin(agentPrompts, eq(agentPrompts.id, agentExecutionLogs.promptVersionId))
      .where(eq(agentRegistry.agentName, agentName))
      .orderBy(agentExecutionLogs.timestamp);
    return rows.map(({ log, prompt }) => Object.assign(log, { prompt }));
  });

// ── A line of a file ──

const run = { task_id: 1, trial: 0, reward: 1, messages: [{ role: "assistant", content: "Hi" }] };
const withMessages = (...messages: object[]) => JSON.stringify({ ...run, messages });
const callOf = (id: string) => ({
  role: "assistant",
  tool_calls: [{ id, function: { name: "look_up", arguments: "" } }],
});
const resultOf = (id: string, content: string) => ({ role: "tool", tool_call_id: id, content });

suite("agent runs from a transcript", (database) => {
  const scope = newScope();
  const load = (file: string, into: AgentScope) => importAgentRuns(database.db, { file, ...into });
  const agentsNamed = (name: string) =>
    database.query("select from agent_registry where agent_name = $1", [name]);

  const contentOf = async (of: AgentScope) =>
    (await logsOf(database.db, of)).map((log) => [
      log.timestamp,
      log.inputData,
      log.outputData,
      log.metadata,
    ]);

  beforeAll(async () => {
    expect(await load(FIXTURE, scope)).toEqual({ added: 11, repeated: 0 });
  });

  test("each reply and each tool call is one row, in order", async () => {
    const logs = await logsOf(database.db, scope);
    expect(
      logs.map((log) => [
        log.metadata["task_id"],
        log.metadata["trial"],
        log.actionType,
        log.actionName,
        log.status,
      ]),
    ).toEqual([
      [0, 0, "reply", null, "success"],
      [0, 0, "tool_call", "find_loan", "success"],
      [0, 0, "tool_call", "extend_loan", "success"],
      [0, 0, "tool_call", "send_receipt", "success"],
      [0, 0, "reply", null, "success"],
      [7, 0, "reply", null, "success"],
      [7, 0, "tool_call", "calculate", "success"],
      [7, 0, "tool_call", "list_fees", "success"],
      [0, 1, "tool_call", "extend_loan", "failure"],
      [0, 1, "tool_call", "extend_loan", "failure"],
      [0, 1, "tool_call", "transfer_to_human", "cancelled"],
    ]);
    expect(new Set(logs.map((log) => log.executionId)).size).toBe(3);
    expect(new Set(logs.map((log) => log.organizationId))).toEqual(new Set([scope.organizationId]));
  });

  test("a reply keeps the message it answers, a call its arguments and its own result", async () => {
    const logs = await logsOf(database.db, scope);
    expect(logs.map((log) => [log.inputData, log.outputData])).toEqual([
      ["Hallo! Kann ich „Die Wand“ verlängern? 📚", "Ich sehe nach."],
      [
        { title: "Die Wand", filters: { open: true, branches: ["Süd", "Łódź"] } },
        {
          loan: { id: "L-17", due: "2024-05-17", reader: "山田 花子" },
          fees: [0, 0.30000000000000004],
          holds: null,
        },
      ],
      // The results come in the other order, one of them for an id used before.
      [{ loan_id: "L-17", days: 14 }, { due: "2024-05-31" }],
      [{ to: { email: "hanako@example.com" } }, "sent"],
      ["Hallo! Kann ich „Die Wand“ verlängern? 📚", "Verlängert bis 31. Mai.\u2028Viel Freude!"],
      [null, "Good morning! 🌻"],
      [{ expression: "2 * 2.25" }, 4.5],
      [{}, "null"],
      // Neither is JSON that comes back the same.
      ['{"loan_id": L-99}', "Error: loan L-99 not found"],
      ['{"loan_id":12345678901234567890}', "Error: loan L-23 not found"],
      [{ summary: "Two unknown loans" }, null],
    ]);
  });

  test("a failed call says why, and nothing is claimed that the transcript does not say", async () => {
    const logs = await logsOf(database.db, scope);
    const failed = logs.filter((log) => log.status === "failure");
    expect(failed.map((log) => [log.errorType, log.errorMessage])).toEqual([
      ["tool_error", "Error: loan L-99 not found"],
      ["tool_error", "Error: loan L-23 not found"],
    ]);
    for (const log of logs) {
      if (log.status !== "failure") expect([log.errorType, log.errorMessage]).toEqual([null, null]);
      const { latencyMs, tokenCountInput, tokenCountOutput, estimatedCostUsd } = log;
      expect([latencyMs, tokenCountInput, tokenCountOutput, estimatedCostUsd]).toEqual([
        null,
        null,
        null,
        null,
      ]);
    }
  });

  test("the last row of a run carries its score and what the customer cost", async () => {
    const logs = await logsOf(database.db, scope);
    const last = logs.filter((log) => log.qualityScore !== null);
    expect(
      last.map((log) => [log.actionName, log.qualityScore, log.metadata["user_cost_usd"]]),
    ).toEqual([
      [null, 100, 0.0012000000000000001],
      ["list_fees", 100, 0.0005],
      ["transfer_to_human", 0, null],
    ]);
    expect(logs.filter((log) => "user_cost_usd" in log.metadata)).toEqual(last);
  });

  test("a changed system prompt is a version of its own, named after its content", async () => {
    const prompts = (await logsOf(database.db, scope)).map((log) => log.prompt);
    for (const prompt of prompts) {
      const hash = createHash("sha256")
        .update(prompt?.systemPrompt ?? "")
        .digest("hex");
      expect(prompt?.version).toBe(`sha256-${hash.slice(0, 16)}`);
      expect(prompt).toMatchObject({ modelName: "unknown", temperature: null, maxTokens: null });
    }
    expect(prompts.map((prompt) => prompt?.systemPrompt.endsWith("Greet first."))).toEqual([
      false,
      false,
      false,
      false,
      false,
      true,
      true,
      true,
      false,
      false,
      false,
    ]);
    expect(new Set(prompts.map((prompt) => prompt?.id)).size).toBe(2);
  });

  test("keys are valid uuids, and those of rows begin with their time", async () => {
    const logs = await logsOf(database.db, scope);
    for (const log of logs) {
      expect(log.id).toMatch(
        /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
      );
      expect(log.executionId).toMatch(
        /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
      );
      expect(Number.parseInt(log.id.replace("-", "").slice(0, 12), 16)).toBe(
        log.timestamp.getTime(),
      );
    }
    expect(new Set(logs.map((log) => log.id)).size).toBe(11);
  });

  test("a rerun adds nothing, from wherever the file lies and however the organization is spelled", async () => {
    const before = await logsOf(database.db, scope);
    const copy = await fileOf(await readFile(FIXTURE));
    const shouted = { ...scope, organizationId: scope.organizationId.toUpperCase() };
    expect(await load(FIXTURE, scope)).toEqual({ added: 0, repeated: 11 });
    expect(await load(copy, shouted)).toEqual({ added: 0, repeated: 11 });
    expect(await logsOf(database.db, scope)).toEqual(before);
    expect(await agentsNamed(scope.agentName)).toHaveLength(1);
  });

  test("an interrupted or longer file is completed", async () => {
    const other = newScope();
    const [first = ""] = (await readFile(FIXTURE, "utf8")).split("\n");
    expect(await load(await fileOf(first), other)).toEqual({ added: 5, repeated: 0 });
    expect(await load(FIXTURE, other)).toEqual({ added: 6, repeated: 5 });
  });

  test("gzip, Windows line ends, a byte order mark and empty lines make no difference", async () => {
    const plain = await readFile(FIXTURE, "utf8");
    const files = [gzipSync(plain), `\uFEFF${plain.replaceAll("\n", "\r\n")}\r\n \n`];
    for (const bytes of files) {
      const other = newScope();
      // oxlint-disable-next-line no-await-in-loop
      await load(await fileOf(bytes), other);
      // oxlint-disable-next-line no-await-in-loop
      expect(await contentOf(other)).toEqual(await contentOf(scope));
    }
  });

  test("another organization sees nothing of it", async () => {
    const stranger = { ...scope, organizationId: randomUUID() };
    expect(await logsOf(database.db, stranger)).toEqual([]);
    expect(await successRate(database.db, stranger)).toEqual([
      { runs: 0, solved: 0, percent: null },
    ]);
    expect(await toolUse(database.db, stranger)).toEqual([]);
    expect(await commonErrors(database.db, stranger)).toEqual([]);
  });

  test("two organizations import the same file without meeting", async () => {
    const other = newScope();
    expect(await load(FIXTURE, other)).toEqual({ added: 11, repeated: 0 });
    const [ours, theirs] = await Promise.all([
      logsOf(database.db, scope),
      logsOf(database.db, other),
    ]);
    const keys = [...ours, ...theirs].flatMap((log) => [log.id, log.executionId]);
    expect(new Set(keys).size).toBe(2 * (11 + 3));
  });

  test("an agent name that another organization has is refused with the reason", async () => {
    const late = { ...scope, organizationId: randomUUID() };
    await expect(load(FIXTURE, late)).rejects.toThrow(
      `agent name "${scope.agentName}" is taken by another organization: choose another`,
    );
    expect(
      await database.query("select from agent_execution_logs where organization_id = $1", [
        late.organizationId,
      ]),
    ).toEqual([]);
  });

  test("each question is answered by one query", async () => {
    expect(await successRate(database.db, scope)).toEqual([{ runs: 3, solved: 2, percent: 66.7 }]);
    expect(await toolUse(database.db, scope)).toEqual([
      { tool: "extend_loan", calls: 3, failures: 2 },
      { tool: "calculate", calls: 1, failures: 0 },
      { tool: "find_loan", calls: 1, failures: 0 },
      { tool: "list_fees", calls: 1, failures: 0 },
      { tool: "send_receipt", calls: 1, failures: 0 },
      { tool: "transfer_to_human", calls: 1, failures: 0 },
    ]);
    expect(await commonErrors(database.db, scope)).toEqual([
      { tool: "extend_loan", error: "Error: loan … not found", count: 2 },
    ]);
  });

  const bad: [string, string, RegExp][] = [
    ["no JSON", "{", /expected a JSON object/],
    ["no object", "[]", /expected object, received array/],
    [
      "a task without number",
      JSON.stringify({ ...run, task_id: "one" }),
      /expected number[^]*task_id/,
    ],
    [
      "a reward above 1",
      JSON.stringify({ ...run, reward: 2 }),
      /expected number to be <=1[^]*reward/,
    ],
    ["no reward", JSON.stringify({ ...run, reward: undefined }), /expected number[^]*reward/],
    ["an unknown role", withMessages({ role: "robot", content: "" }), /messages\[0\]\.role/],
    [
      "a message that is no text",
      withMessages({ role: "user", content: 1 }),
      /expected string[^]*messages\[0\]\.content/,
    ],
    [
      "NUL",
      withMessages({ role: "user", content: "a\0b" }),
      /expected text without NUL[^]*messages\[0\]\.content/,
    ],
    [
      "half a character",
      withMessages({ role: "user", content: "\uD83D" }),
      /lone surrogates[^]*messages\[0\]\.content/,
    ],
    [
      "a result without its call",
      withMessages(...run.messages, resultOf("x", "1")),
      /messages\[1\]\.tool_call_id: expected a call/,
    ],
    [
      "a second result of a call",
      withMessages(callOf("x"), resultOf("x", "1"), resultOf("x", "2")),
      /messages\[2\]\.tool_call_id: expected a call/,
    ],
    [
      "a run that did nothing",
      withMessages({ role: "user", content: "Hi" }),
      /expected a reply or a tool call/,
    ],
    [
      "a run that came before",
      JSON.stringify({ ...run, task_id: 7 }),
      /task 7, trial 0 is on line 3 already/,
    ],
  ];
  test.each(bad)(
    "%s on a line stops the import: it names the line, and nothing is written",
    async (_, line, problem) => {
      const other = newScope();
      const file = await fileOf(`${await readFile(FIXTURE, "utf8")}\n${line}\n`);
      const attempt = load(file, other);
      await expect(attempt).rejects.toThrow(`${file}, line 5: `);
      await expect(attempt).rejects.toThrow(problem);
      expect(await agentsNamed(other.agentName)).toEqual([]);
      expect(await logsOf(database.db, other)).toEqual([]);
    },
  );

  test.each([
    ["an empty file", async () => "", /expected one JSON object a line, found none/],
    ["broken UTF-8", async () => Buffer.from([0x22, 0xff, 0x22]), /not valid for encoding utf-8/],
    [
      "half a gzip file",
      async () => gzipSync(await readFile(FIXTURE)).subarray(0, 300),
      /unexpected end of file/,
    ],
  ])("%s is refused", async (_, content, problem) => {
    const other = newScope();
    await expect(load(await fileOf(await content()), other)).rejects.toThrow(problem);
    expect(await agentsNamed(other.agentName)).toEqual([]);
  });

  test("JSON that jsonb cannot hold stays text", async () => {
    const other = newScope();
    const outputs = ['{"a\\u0000":1}', '["\\ud800"]', "-1e400", "9007199254740993"];
    const messages = outputs.flatMap((content) => [callOf("x"), resultOf("x", content)]);
    await load(await fileOf(withMessages(...messages)), other);
    expect((await logsOf(database.db, other)).map((log) => log.outputData)).toEqual(outputs);
  });

  test("a result belongs to the call just before it, though an earlier one with its id has none", async () => {
    const other = newScope();
    const file = await fileOf(withMessages(callOf("x"), callOf("x"), resultOf("x", "2")));
    await load(file, other);
    const logs = await logsOf(database.db, other);
    expect(logs.map((log) => [log.status, log.outputData])).toEqual([
      ["cancelled", null],
      ["success", 2],
    ]);
  });

  test("a run larger than a statement comes in whole", async () => {
    const other = newScope();
    const messages = Array.from({ length: 1_234 }, (_, n) => ({
      role: "assistant",
      content: `${n}`,
    }));
    const file = await fileOf(withMessages(...messages));
    expect(await load(file, other)).toEqual({ added: 1_234, repeated: 0 });
    const logs = await logsOf(database.db, other);
    expect(logs.map((log) => log.outputData)).toEqual(messages.map(({ content }) => content));
    expect(logs.findIndex((log) => log.qualityScore !== null)).toBe(1_233);
  });

  test.skipIf(!REAL_FILE)("the 200 real runs of AGENT_RUNS_FILE go in and come out", async () => {
    const real = newScope();
    const file = REAL_FILE ?? "";
    expect(await load(file, real)).toEqual({ added: 2_544, repeated: 0 });
    expect(await load(file, real)).toEqual({ added: 0, repeated: 2_544 });
    const figures = await database.query(
      `select count(*)::int as rows, count(distinct execution_id)::int as executions,
         (count(*) filter (where action_type = 'reply'))::int as replies,
         (count(*) filter (where action_type = 'tool_call'))::int as tool_calls,
         (count(*) filter (where quality_score = 100))::int as solved,
         (count(*) filter (where quality_score = 0))::int as unsolved,
         (count(*) filter (where output_data #>> '{}' like 'Error%' and action_type = 'tool_call'))::int as errors,
         (count(*) filter (where status = 'failure' and error_message like 'Error%'))::int as failures,
         (count(*) filter (where status not in ('success', 'failure')))::int as others,
         (count(*) filter (where metadata -> 'user_cost_usd' = 'null'))::int as costs_unknown,
         count(estimated_cost_usd)::int as costs
       from agent_execution_logs where organization_id = $1`,
      [real.organizationId],
    );
    expect(figures).toEqual([
      {
        rows: 2_544,
        executions: 200,
        replies: 1_380,
        tool_calls: 1_164,
        solved: 84,
        unsolved: 116,
        errors: 73,
        failures: 73,
        others: 0,
        costs_unknown: 5,
        costs: 0,
      },
    ]);
    expect(await successRate(database.db, real)).toEqual([{ runs: 200, solved: 84, percent: 42 }]);
    const tools = await toolUse(database.db, real);
    expect(tools[0]).toEqual({ tool: "get_reservation_details", calls: 377, failures: 0 });
    expect(tools.reduce((sum, { failures }) => sum + failures, 0)).toBe(73);
  });
});

describe.runIf(engine === "embedded")("the command", () => {
  const script = fileURLToPath(new URL("../examples/import-agent-runs.ts", import.meta.url));
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  const env = { ...process.env, DATABASE_URL: "" };
  const command = (...parameters: string[]) =>
    promisify(execFile)(process.execPath, ["--import", tsx, script, ...parameters], {
      cwd: directory,
      env,
    });

  test("fills the embedded database: answers on stdout, progress on stderr", async () => {
    const first = await command(FIXTURE);
    expect(first.stderr).toContain("11 rows added, 0 were there already");
    expect(first.stdout).toMatch(/runs.*solved[^]*66\.7[^]*extend_loan[^]*Error: loan … not found/);
    const second = await command(FIXTURE);
    expect(second.stderr).toContain("0 rows added, 11 were there already");
    expect(second.stdout).toBe(first.stdout);
  });

  test.each([
    ["no file", [], "expected one FILE"],
    ["a file that does not exist", ["nowhere.jsonl"], "nowhere.jsonl"],
    ["an organization that is no uuid", [FIXTURE, "--organization", "us"], "uuid"],
    ["an empty address", [FIXTURE, "--url", ""], "expected postgres://"],
    ["an unknown option", [FIXTURE, "--urls", "x"], "--urls"],
  ])("%s is one clear message and exit code 1", async (_, parameters, problem) => {
    const failure = command(...parameters);
    await expect(failure).rejects.toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining(problem),
    });
    await expect(failure).rejects.not.toMatchObject({ stderr: expect.stringMatching(/^ +at /m) });
  });
});
