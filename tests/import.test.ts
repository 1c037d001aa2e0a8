import { randomUUID } from "node:crypto";
import { createReadStream, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { eq, sql } from "drizzle-orm";
import { beforeAll, describe, expect, test } from "vitest";
import * as z from "zod";
import { rows } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { OF_LOG, executionsOf, withStart } from "../src/fleet/outcome.ts";
import type { ReadProblem } from "../src/ingest/documents.ts";
import { type ImportOptions, importExecutions } from "../src/ingest/import.ts";
import type { FinishedSpan } from "../src/ingest/spans.ts";
import { agentExecutionLogs, agentRegistry } from "../src/schema/index.ts";
import { suite } from "./engine.ts";
import { DIALECTS, capturedSpans, newSpan, otlpOf } from "./spans.ts";

const FIXTURE = readFileSync(new URL("fixtures/agent-runs.jsonl", import.meta.url), "utf8").trim();
const TRANSCRIPTS = FIXTURE.split("\n");
// Real ones, where the gate finds them.
const REAL_RUNS = process.env["AGENT_RUNS_FILE"] ?? "";
const EXPORTS = process.env["LANGFUSE_EXPORTS"] ?? "";
const exports = EXPORTS ? readdirSync(EXPORTS).filter((name) => name.endsWith(".json")) : [];

const NOTHING = {
  inserted: 0,
  completed: 0,
  repeated: 0,
  conflicting: 0,
  refused: 0,
  skipped: 0,
};

/** Whose a test's rows are. */
const newOwner = () => ({ organization: randomUUID(), agent: `desk-${randomUUID()}` });
type Owner = ReturnType<typeof newOwner>;

const runOf = (...messages: object[]) => JSON.stringify({ reward: 1, messages });
const callOf = (id: string, name = "look_up") => ({
  role: "assistant",
  tool_calls: [{ id, function: { name, arguments: "" } }],
});
const resultOf = (id: string, content: unknown) => ({ role: "tool", tool_call_id: id, content });
const REPLY = { role: "assistant", content: "Hi" };

/** A call of a model, and the run that it is in. */
function newRun(): FinishedSpan[] {
  const run = newSpan({ attributes: { "gen_ai.operation.name": "invoke_agent" } });
  return [newSpan({ within: run }), run];
}

/** A run and a call of a model in it, as Langfuse exports them. */
function newTrace(): string {
  const [id, run] = [randomUUID(), randomUUID()];
  const [startTime, endTime] = ["2026-01-02T03:04:05.000Z", "2026-01-02T03:04:06.000Z"];
  const times = { startTime, endTime, traceId: id };
  const observations = [
    { ...times, id: randomUUID(), type: "GENERATION", name: "answer", parentObservationId: run },
    { ...times, id: run, type: "SPAN", name: "run", parentObservationId: null },
  ];
  return JSON.stringify({ trace: { id, name: `clerk ${id.slice(0, 4)}` }, observations });
}

suite("importing executions", (database) => {
  const load = (content: string | Uint8Array, options: ImportOptions) =>
    importExecutions(database.db, Readable.from([Buffer.from(content)]), options);
  const logsOf = ({ organization }: Pick<Owner, "organization">) =>
    withOrganization(database.db, organization, (tx) =>
      tx.select().from(agentExecutionLogs).orderBy(agentExecutionLogs.timestamp),
    );
  const agentsOf = ({ organization }: Pick<Owner, "organization">) =>
    withOrganization(database.db, organization, (tx) =>
      tx.select().from(agentRegistry).where(eq(agentRegistry.organizationId, organization)),
    );
  const outcomesOf = ({ organization }: Pick<Owner, "organization">) =>
    withOrganization(database.db, organization, async (tx) => {
      const log = withStart(sql`select ${OF_LOG} from agent_execution_logs`);
      const found = await tx.execute(
        sql`select outcome, latency_ms::float8 from (${executionsOf(sql`(${log})`)}) as e order by started`,
      );
      return rows<{ outcome: string; latency_ms: number | null }>(found);
    });

  describe("transcripts", () => {
    const owner = newOwner();
    beforeAll(async () => {
      const result = await load(FIXTURE, { ...owner, success: "reward" });
      expect(result).toEqual({
        ...NOTHING,
        format: "chat",
        inserted: 20,
        actions: { agent_run: 3, llm_call: 9, tool_call: 8 },
        newAgents: [owner.agent],
      });
    });

    test("each is its run, its model's replies and its tool calls, in order", async () => {
      const logs = await logsOf(owner);
      expect(logs.map((log) => [log.actionType, log.actionName, log.status])).toEqual([
        ["agent_run", owner.agent, "success"],
        ["llm_call", null, "success"],
        ["tool_call", "find_loan", "success"],
        ["llm_call", null, "success"],
        ["tool_call", "extend_loan", "success"],
        ["tool_call", "send_receipt", "success"],
        ["llm_call", null, "success"],
        ["agent_run", owner.agent, "failure"],
        ["llm_call", null, "success"],
        ["tool_call", "extend_loan", "failure"],
        ["llm_call", null, "success"],
        ["tool_call", "extend_loan", "failure"],
        ["llm_call", null, "success"],
        ["tool_call", "transfer_to_human", "cancelled"],
        ["agent_run", owner.agent, "success"],
        ["llm_call", null, "success"],
        ["llm_call", null, "success"],
        ["tool_call", "calculate", "success"],
        ["llm_call", null, "success"],
        ["tool_call", "list_fees", "success"],
      ]);
      expect(new Set(logs.map((log) => log.executionId)).size).toBe(3);
      expect(new Set(logs.map((log) => log.organizationId))).toEqual(new Set([owner.organization]));
    });

    test("a call keeps its arguments and its own result", async () => {
      const calls = (await logsOf(owner)).filter((log) => log.actionType === "tool_call");
      expect(calls.map((log) => [log.inputData, log.outputData])).toEqual([
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
        // Neither is JSON that comes back the same.
        ['{"loan_id": L-99}', "Error: loan L-99 not found"],
        ['{"loan_id":12345678901234567890}', "Error: loan L-23 not found"],
        [{ summary: "Two unknown loans" }, null],
        [{ expression: "2 * 2.25" }, 4.5],
        [{}, "null"],
      ]);
    });

    test("a reply of the model keeps the messages since the last one", async () => {
      const [, first, , second] = await logsOf(owner);
      const messages = z
        .object({ messages: z.array(z.json()) })
        .parse(JSON.parse(TRANSCRIPTS[0] ?? ""));
      expect(first).toMatchObject({
        inputData: messages.messages.slice(0, 2),
        outputData: messages.messages[2],
      });
      expect(second).toMatchObject({ inputData: messages.messages.slice(3, 4) });
    });

    test("a failed call says why, and nothing is claimed that the transcript does not say", async () => {
      const logs = await logsOf(owner);
      const failed = logs.filter((log) => log.errorType !== null);
      expect(failed.map((log) => [log.errorType, log.errorMessage])).toEqual([
        ["tool_error", "Error: loan L-99 not found"],
        ["tool_error", "Error: loan L-23 not found"],
      ]);
      for (const log of logs) {
        const { latencyMs, tokenCountInput, tokenCountOutput, estimatedCostUsd } = log;
        expect([latencyMs, tokenCountInput, tokenCountOutput, estimatedCostUsd]).toEqual([
          null,
          null,
          null,
          null,
        ]);
      }
    });

    test("a run has its score and what else its transcript says in a word", async () => {
      const runs = (await logsOf(owner)).filter((log) => log.actionType === "agent_run");
      expect(runs.map((log) => [log.qualityScore, log.metadata])).toEqual([
        [100, { task_id: 0, trial: 0, reward: 1, user_cost_usd: 0.0012000000000000001 }],
        [0, { task_id: 0, trial: 1, reward: 0, user_cost_usd: null }],
        [100, { task_id: 7, trial: 0, reward: 1, user_cost_usd: 0.0005 }],
      ]);
    });

    test("success follows the run, not the tool", async () => {
      const other = newOwner();
      const recovered = [callOf("a"), resultOf("a", "Error: no"), REPLY];
      const content = [true, false].map((solved) =>
        JSON.stringify({ solved, messages: recovered }),
      );
      await load(content.join("\n"), { ...other, success: "solved" });
      expect((await outcomesOf(other)).map(({ outcome }) => outcome)).toEqual([
        "success",
        "failure",
      ]);
      const tools = (await logsOf(other)).filter((log) => log.actionType === "tool_call");
      expect(tools.map((log) => log.status)).toEqual(["failure", "failure"]);
    });

    test("keys are valid uuids, and those of rows begin with their time", async () => {
      const logs = await logsOf(owner);
      for (const log of logs) {
        expect(log.id).toMatch(/^.{14}7.{4}[89ab]/);
        expect(Number.parseInt(log.id.replace("-", "").slice(0, 12), 16)).toBe(
          log.timestamp.getTime(),
        );
      }
      expect(new Set(logs.map((log) => log.id)).size).toBe(20);
    });

    test.each([
      ["the same", FIXTURE],
      ["gzip", gzipSync(FIXTURE)],
      [
        "Windows line ends, a byte order mark and an empty end",
        `\uFEFF${TRANSCRIPTS.join("\r\n")}\r\n \n`,
      ],
      ["one list", `[${TRANSCRIPTS.join(",\n")}]`],
    ])("%s adds nothing", async (_, content) => {
      const organization = owner.organization.toUpperCase();
      const result = await load(content, { ...owner, organization, success: "reward" });
      expect(result).toMatchObject({ ...NOTHING, repeated: 20, newAgents: [] });
    });

    test("an interrupted or longer file is completed", async () => {
      const other = newOwner();
      expect(await load(TRANSCRIPTS[0] ?? "", other)).toMatchObject({ inserted: 7 });
      expect(await load(FIXTURE, other)).toMatchObject({ inserted: 13, repeated: 7 });
    });

    test("two organizations import the same file without meeting", async () => {
      const other = newOwner();
      await load(FIXTURE, { ...other, success: "reward" });
      const keys = [...(await logsOf(owner)), ...(await logsOf(other))].flatMap((log) => [
        log.id,
        log.executionId,
      ]);
      expect(new Set(keys).size).toBe(2 * (20 + 3));
    });

    test("developers' messages and lists of parts are content, and a bare list of messages is a transcript", async () => {
      const other = newOwner();
      const parts = [
        { type: "text", text: "Error: " },
        { type: "text", text: "no such loan" },
      ];
      const messages = [
        { role: "developer", content: [{ type: "text", text: "Be brief." }] },
        { role: "user", content: "Hi" },
        callOf("a"),
        resultOf("a", parts),
      ];
      expect(await load(JSON.stringify(messages), other)).toMatchObject({ inserted: 3 });
      const [, reply, call] = await logsOf(other);
      expect(reply).toMatchObject({ inputData: messages.slice(0, 2) });
      expect(call).toMatchObject({
        status: "failure",
        errorMessage: "Error: no such loan",
        outputData: parts,
      });
    });

    test("a time that is none is left out", async () => {
      const other = newOwner();
      await load(JSON.stringify({ created: 1e18, messages: [REPLY] }), other);
      expect((await logsOf(other))[0]?.timestamp).toEqual(new Date("2024-01-01T00:00:00Z"));
    });

    test("model, tokens and time are taken where a transcript says them", async () => {
      const other = newOwner();
      const usage = { prompt_tokens: 12, completion_tokens: 3 };
      const said = { model: "gpt-5.1", usage, created: 1_760_000_000, messages: [REPLY] };
      await load(JSON.stringify(said), other);
      expect((await logsOf(other))[1]).toMatchObject({
        timestamp: new Date(1_760_000_001_000),
        modelName: "gpt-5.1",
        tokenCountInput: 12,
        tokenCountOutput: 3,
      });
    });

    const bad: [string, string, string][] = [
      ["no JSON", "{", "line 4: expected JSON"],
      ["no object", "7", "line 4: messages: expected a list, got a number"],
      [
        "no reward",
        JSON.stringify({ messages: [REPLY] }),
        "line 4: reward: expected true, false or 0 to 1, got undefined",
      ],
      [
        "a reward above 1",
        JSON.stringify({ reward: 2, messages: [REPLY] }),
        "line 4: reward: expected true, false or 0 to 1, got a number",
      ],
      [
        "an unknown role",
        runOf({ role: "robot", content: "" }),
        "line 4: messages.0.role: expected one of system, developer, user, assistant, tool",
      ],
      [
        "a message that is no text",
        runOf({ role: "user", content: 1 }),
        "line 4: messages.0.content: expected text or a list of parts, got a number",
      ],
      [
        "a result without its call",
        runOf(REPLY, resultOf("x", "1")),
        "line 4: messages.1.tool_call_id: expected a call just before it",
      ],
      [
        "a second result of a call",
        runOf(callOf("x"), resultOf("x", "1"), resultOf("x", "2")),
        "line 4: messages.2.tool_call_id: expected a call just before it",
      ],
      [
        "a run that is nested too deep",
        `{"reward":1,"messages":[${JSON.stringify(REPLY)}],"more":${"[".repeat(50_000)}${"]".repeat(50_000)}}`,
        "line 4: is nested too deep",
      ],
      [
        "a run that did nothing",
        runOf({ role: "user", content: "Hi" }),
        "line 4: messages: expected a reply or a tool call",
      ],
    ];
    test.each(bad)(
      "%s on a line is told with its place, and keeps no other out",
      async (_, line, told) => {
        const other = newOwner();
        const problems: ReadProblem[] = [];
        const onRefused = (problem: ReadProblem) => void problems.push(problem);
        const content = [...TRANSCRIPTS.slice(0, 2), "", line, TRANSCRIPTS[2]].join("\n");
        const result = await load(content, { ...other, success: "reward", onRefused });
        expect(result).toMatchObject({ inserted: 20, refused: 1 });
        expect(problems.map(({ place, message }) => `${place}: ${message}`)).toEqual([told]);
      },
    );

    test("JSON that jsonb cannot hold stays text", async () => {
      const other = newOwner();
      const outputs = ['{"a\\u0000":1}', '["\\ud800"]', "-1e400", "9007199254740993"];
      const messages = outputs.flatMap((content) => [callOf("x"), resultOf("x", content)]);
      await load(runOf(...messages), other);
      const calls = (await logsOf(other)).filter((log) => log.actionType === "tool_call");
      expect(calls.map((log) => log.outputData)).toEqual(outputs);
    });

    test("a result belongs to the call just before it, though an earlier one with its id has none", async () => {
      const other = newOwner();
      await load(runOf(callOf("x"), callOf("x"), resultOf("x", "2")), other);
      const calls = (await logsOf(other)).filter((log) => log.actionType === "tool_call");
      expect(calls.map((log) => [log.status, log.outputData])).toEqual([
        ["cancelled", null],
        ["success", 2],
      ]);
    });

    test("a run larger than a transaction comes in whole", async () => {
      const other = newOwner();
      const messages = Array.from({ length: 1234 }, (_, n) => ({ ...REPLY, content: `${n}` }));
      expect(await load(runOf(...messages), other)).toMatchObject({ inserted: 1235 });
      const [, ...replies] = await logsOf(other);
      expect(replies.map((log) => log.outputData)).toEqual(messages);
    });

    test("without an agent's name nothing is imported", async () => {
      const { organization } = newOwner();
      await expect(load(FIXTURE, { organization })).rejects.toThrow("give the agent's name");
      expect(await logsOf({ organization })).toEqual([]);
    });
  });

  test.each([
    ["broken UTF-8", Buffer.from('{}\n"\xff"', "latin1"), /^line 1, .* no UTF-8: convert/],
    [
      "UTF-8 that is cut off",
      Buffer.from('{"resourceLogs":[]}\n"é').subarray(0, -1),
      /^line 2, .* no UTF-8/,
    ],
    ["half a gzip file", gzipSync(FIXTURE).subarray(0, 300), /gzip is cut off.*unexpected end/],
    [
      "what has no format",
      '{"spans":[]}',
      /line 1: expected resourceSpans .* or messages \(chat\)/,
    ],
  ])("%s is refused", async (_, content, problem) => {
    const owner = newOwner();
    await expect(load(content, owner)).rejects.toThrow(problem);
    expect(await agentsOf(owner)).toEqual([]);
  });

  test("what onRefused and onProgress reject with is the import's", async () => {
    const owner = newOwner();
    const fails = async () => {
      throw new Error("told to the wrong place");
    };
    for (const options of [{ onRefused: fails }, { onProgress: fails }]) {
      await expect(load(`oops\n${FIXTURE}`, { ...owner, ...options })).rejects.toThrow(
        "told to the",
      );
    }
  });

  test("an empty input is nothing", async () => {
    const result = await load("\n", newOwner());
    expect(result).toEqual({ ...NOTHING, format: undefined, actions: {}, newAgents: [] });
  });

  test("a dry run says what would be, and writes nothing", async () => {
    const owner = newOwner();
    const dry = await load(FIXTURE, { ...owner, dryRun: true });
    expect(await agentsOf(owner)).toEqual([]);
    expect(await logsOf(owner)).toEqual([]);
    expect(await load(FIXTURE, owner)).toEqual(dry);
    expect(await load(FIXTURE, { ...owner, dryRun: true })).toMatchObject({
      ...NOTHING,
      repeated: 20,
    });
  });

  test("a row that says something else is left as it is, and counted", async () => {
    const owner = newOwner();
    await load(FIXTURE, owner);
    const before = await logsOf(owner);
    expect(await load(FIXTURE, { ...owner, success: "reward" })).toMatchObject({
      inserted: 0,
      conflicting: 3,
    });
    expect(await logsOf(owner)).toEqual(before);
  });

  describe("spans", () => {
    const linesOf = (spans: readonly FinishedSpan[]) =>
      spans.map((span) => JSON.stringify(otlpOf([span]))).join("\n");

    test.each(DIALECTS)(
      "of %s are the same rows, by lines in any order or in one document",
      async (dialect) => {
        const { organization } = newOwner();
        const spans = capturedSpans(dialect);
        const lines = linesOf(spans.toReversed());
        const first = await load(lines, { organization });
        expect(first).toMatchObject({ format: "otlp", inserted: 12, refused: 0, conflicting: 0 });
        const whole = JSON.stringify(otlpOf(spans), null, 2);
        for (const content of [lines, whole]) {
          const again = await load(content, { organization });
          expect(again).toMatchObject({ inserted: 0, repeated: 12, conflicting: 0, newAgents: [] });
        }
      },
    );

    test("as Phoenix exports them they are the rows that OTLP has", async () => {
      const { organization } = newOwner();
      const attributes = {
        "openinference.span.kind": "AGENT",
        "agent.name": `clerk-${randomUUID().slice(0, 4)}`,
      };
      const startTime = [1_760_000_000, 0] as const;
      const resource = { attributes: {} };
      const run = newSpan({ attributes, resource, startTime, endTime: [1_760_000_002, 0] });
      const call = newSpan({
        within: run,
        resource,
        startTime,
        endTime: [1_760_000_001, 0],
        attributes: {
          "openinference.span.kind": "LLM",
          "llm.model_name": "gpt-5.1",
          "llm.token_count.prompt": 7,
          "llm.token_count.completion": 3,
          "input.value": '{"q":1}',
        },
      });
      const otlp = await load(linesOf([call, run]), { organization });
      expect(otlp).toMatchObject({ inserted: 2 });
      const phoenix = [
        { span: call, parent: run.spanContext().spanId, seconds: 1 },
        { span: run, parent: null, seconds: 2 },
      ].map(({ span, parent, seconds }) => ({
        name: span.name,
        context: {
          trace_id: span.spanContext().traceId,
          span_id: `0x${span.spanContext().spanId}`,
        },
        span_kind: span.attributes["openinference.span.kind"],
        parent_id: parent,
        start_time: new Date(1_760_000_000_000).toISOString(),
        end_time: new Date(1_760_000_000_000 + seconds * 1000).toISOString(),
        status_code: "OK",
        attributes:
          span === run
            ? attributes
            : {
                llm: { model_name: "gpt-5.1", token_count: { prompt: 7, completion: 3 } },
                "input.value": '{"q":1}',
              },
        events: [],
      }));
      const [pages, lines] = [
        JSON.stringify({ data: phoenix }),
        phoenix.map((one) => JSON.stringify(one)).join("\n"),
      ];
      for (const content of [pages, lines]) {
        const again = await load(content, { organization });
        expect(again).toMatchObject({
          format: "openinference",
          inserted: 0,
          repeated: 2,
          conflicting: 0,
        });
      }
    });

    test("a time in other units is refused with its place, and keeps no other out", async () => {
      const { organization, agent } = newOwner();
      const problems: ReadProblem[] = [];
      const onRefused = (problem: ReadProblem) => void problems.push(problem);
      const spans = [newSpan({ startTime: [1_760_000, 0] }), newSpan()];
      const options = { organization, agent, onRefused };
      expect(await load(linesOf(spans), options)).toMatchObject({ inserted: 1, refused: 1 });
      expect(problems).toEqual([
        {
          place: "line 1: resourceSpans.0.scopeSpans.0.spans.0",
          message: expect.stringMatching(/^timestamp: .*got 1970-.*: seconds, not milliseconds\?/),
        },
      ]);
    });

    test.each([
      ["spans", () => linesOf(newRun())],
      ["traces of Langfuse", newTrace],
    ])(
      "%s that another organization has imported are refused, each with its place, and stay as they are",
      async (_, made) => {
        const [one, other] = [newOwner(), newOwner()];
        const content = made();
        const { inserted } = await load(content, one);
        expect(inserted).toBe(2);
        const before = await logsOf(one);
        const problems: ReadProblem[] = [];
        const onRefused = (problem: ReadProblem) => void problems.push(problem);
        const result = await load(content, { ...other, onRefused });
        expect(result).toMatchObject({
          inserted: 0,
          repeated: 0,
          conflicting: 0,
          refused: inserted,
        });
        expect(new Set(problems.map(({ place }) => place)).size).toBe(inserted);
        for (const { message } of problems) expect(message).toMatch(/^id: taken: /);
        expect(await logsOf(other)).toEqual([]);
        expect(await logsOf(one)).toEqual(before);
        expect(await load(content, one)).toMatchObject({ inserted: 0, repeated: inserted });
      },
    );

    test("other spans are skipped, and a collector's metrics are nobody's business", async () => {
      const { organization, agent } = newOwner();
      const http = newSpan({ attributes: { "http.request.method": "GET" } });
      const content = `{"resourceMetrics":[]}\n${linesOf([http, newSpan()])}`;
      expect(await load(content, { organization, agent })).toMatchObject({
        ...NOTHING,
        inserted: 1,
        skipped: 1,
        newAgents: [agent],
      });
    });

    test("names that would be more agents than may be made are refused, and one name for all is not", async () => {
      const { organization, agent } = newOwner();
      const desk = `desk ${organization.slice(0, 4)}`;
      const spans = ["one", "two", "three"].map((name) =>
        newSpan({
          attributes: {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": `${desk} ${name}`,
          },
        }),
      );
      const options = { organization, maxNewAgents: 2 };
      await expect(load(linesOf(spans), options)).rejects.toThrow(
        `more than 2 agents would be made, such as "${desk} one"`,
      );
      expect(await agentsOf({ organization })).toEqual([]);
      expect(await load(linesOf(spans), { ...options, agent })).toMatchObject({
        inserted: 3,
        newAgents: [agent],
      });
    });

    test("an agent's name that another organization has gets the beginning of the organization's id", async () => {
      const [one, other] = [newOwner(), newOwner()];
      await load(FIXTURE, one);
      const { newAgents } = await load(FIXTURE, { ...other, agent: one.agent });
      expect(newAgents).toEqual([`${one.agent}@${other.organization.slice(0, 8)}`]);
    });

    test("content that must not be stored is not", async () => {
      const { organization } = newOwner();
      await load(FIXTURE, { organization, agent: `desk-${organization}`, content: "none" });
      for (const { inputData, outputData } of await logsOf({ organization })) {
        expect([inputData, outputData]).toEqual([null, null]);
      }
    });
  });

  test.runIf(REAL_RUNS !== "")(
    "of the real runs of AGENT_RUNS_FILE the successful are those that were solved",
    async () => {
      const owner = newOwner();
      const options = { ...owner, success: "reward" };
      const file = () => createReadStream(REAL_RUNS);
      expect(await importExecutions(database.db, file(), options)).toMatchObject({
        ...NOTHING,
        inserted: 3818,
        actions: { agent_run: 200, llm_call: 2454, tool_call: 1164 },
      });
      expect(await importExecutions(database.db, file(), options)).toMatchObject({
        ...NOTHING,
        repeated: 3818,
      });
      const outcomes = (await outcomesOf(owner)).map(({ outcome }) => outcome);
      expect(outcomes.filter((outcome) => outcome === "success")).toHaveLength(84);
      expect(outcomes.filter((outcome) => outcome === "failure")).toHaveLength(116);
      const failed = (await logsOf(owner)).filter((log) => log.errorType === "tool_error");
      expect(failed).toHaveLength(73);
    },
  );

  describe.runIf(exports.length > 0)("the exports of Langfuse", () => {
    const exported = z.object({
      observations: z.array(
        z.object({
          id: z.string(),
          parentObservationId: z.string().nullable(),
          type: z.string(),
          inputUsage: z.number(),
          outputUsage: z.number(),
          totalCost: z.number(),
          startTime: z.coerce.date(),
          endTime: z.coerce.date(),
        }),
      ),
    });

    test.each(exports)(
      "%s: tokens, cost and latency are right, and again adds nothing",
      async (name) => {
        const { organization } = newOwner();
        const text = readFileSync(join(EXPORTS, name), "utf8");
        const { observations } = exported.parse(JSON.parse(text));
        const first = await load(text, { organization });
        expect(first).toMatchObject({
          ...NOTHING,
          format: "langfuse",
          inserted: observations.length,
        });
        const again = await load(text, { organization });
        expect(again).toMatchObject({ ...NOTHING, repeated: observations.length, newAgents: [] });

        const byId = new Map(observations.map((one) => [one.id, one]));
        const above = new Set<string>();
        const generations = observations.filter(({ type }) => type === "GENERATION");
        for (const { parentObservationId } of generations) {
          for (
            let at = parentObservationId;
            at !== null;
            at = byId.get(at)?.parentObservationId ?? null
          )
            above.add(at);
        }
        const innermost = generations.filter(({ id }) => !above.has(id));
        const sum = (numbers: readonly unknown[]) =>
          numbers.reduce<number>((total, number) => total + Number(number ?? 0), 0);
        const logs = await logsOf({ organization });
        expect(sum(logs.map((log) => log.tokenCountInput))).toBe(
          sum(innermost.map((one) => one.inputUsage)),
        );
        expect(sum(logs.map((log) => log.tokenCountOutput))).toBe(
          sum(innermost.map((one) => one.outputUsage)),
        );
        expect(sum(logs.map((log) => log.estimatedCostUsd))).toBeCloseTo(
          sum(innermost.map((one) => one.totalCost)),
          11,
        );
        const isParent = new Set(observations.map((one) => one.parentObservationId));
        const roots = observations.filter((one) => one.parentObservationId === null);
        const root = roots.find(({ id }) => isParent.has(id)) ?? roots[0];
        expect(
          (await outcomesOf({ organization })).map((execution) => execution.latency_ms),
        ).toEqual([root ? root.endTime.getTime() - root.startTime.getTime() : undefined]);
      },
    );
  });
});
