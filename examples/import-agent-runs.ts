/**
 * Imports transcripts of agent runs (see transcripts.ts) as one organization: the agent, its system
 * prompts as versions, and a log row for each text reply and each tool call.
 *
 *     npx tsx examples/import-agent-runs.ts FILE [--url postgres://…] [--organization UUID] [--agent NAME]
 *
 * Without --url or DATABASE_URL it fills the embedded database in .meta-agent. A rerun adds nothing.
 */
import { createHash } from "node:crypto";
import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type SQL, eq, sql } from "drizzle-orm";
import {
  type Database,
  type Transaction,
  agentPrompts,
  agentRegistry,
  connect,
  explain,
  migrate,
  openEmbedded,
  recordExecutionStream,
  rows,
  withOrganization,
} from "../src/index.ts";
import { type Run, readRuns } from "./transcripts.ts";

/** Transcripts bear no times: trial n runs on day n from here, tasks a minute, actions a second apart. */
const FIRST_DAY = Date.UTC(2024, 0, 1);
const [SECOND, MINUTE, DAY] = [1_000, 60_000, 86_400_000];
/** Goes into every key: with another text, all runs would be imported anew. */
const NAMESPACE = "meta-agent-db/examples/import-agent-runs";

/** Whose runs. A run is known by these two, its task and its trial. */
export interface AgentScope {
  organizationId: string;
  /** Another experiment with the same tasks needs another name. */
  agentName: string;
}

/**
 * Reads the file as a stream and writes it in one transaction: a bad line leaves nothing behind. (For
 * millions of rows, commit every few thousand runs instead; a rerun then continues.)
 * @returns how many rows are new, and how many the database held already
 */
export async function importAgentRuns(
  db: Database,
  { file, ...scope }: AgentScope & { file: string },
): Promise<{ added: number; repeated: number }> {
  return withOrganization(db, scope.organizationId, async (tx) => {
    const logs = logsOfFile(tx, { file, ...scope });
    const { inserted, repeated, conflicting } = await recordExecutionStream(tx, logs);
    return { added: inserted, repeated: repeated + conflicting.length };
  });
}

/** The log rows in order. Their agent and prompt versions are written on the way, before them. */
async function* logsOfFile(tx: Transaction, { file, ...scope }: AgentScope & { file: string }) {
  // A parent needs a statement of its own: the check that a reference stays in the organization does
  // not see rows of the same statement.
  const agentId = await registerAgent(tx, scope.agentName);
  const stored = new Set<string>();
  for await (const run of readRuns(file)) {
    const promptVersionId = run.systemPrompt
      ? await addPrompt(tx, { agentId, systemPrompt: run.systemPrompt, stored })
      : null;
    for (const log of logsOf(run, scope)) yield { ...log, agentId, promptVersionId };
  }
}

async function registerAgent(tx: Transaction, agentName: string): Promise<string> {
  const { id, agentName: name } = agentRegistry;
  await tx
    .insert(agentRegistry)
    .values({ agentName, displayName: agentName, category: "client_success" })
    .onConflictDoNothing({ target: name });
  const [agent] = await tx.select({ id }).from(agentRegistry).where(eq(name, agentName));
  if (agent) return agent.id;
  // Names are unique in the whole database, and a row of others is not ours to see.
  throw new Error(`agent name "${agentName}" is taken by another organization: choose another`);
}

/** A changed system prompt is a new version, named after its content. */
async function addPrompt(
  tx: Transaction,
  prompt: { agentId: string; systemPrompt: string; stored: Set<string> },
): Promise<string> {
  const { agentId, systemPrompt, stored } = prompt;
  const version = `sha256-${sha256(systemPrompt).toString("hex", 0, 8)}`;
  const id = uuid(sha256(JSON.stringify([NAMESPACE, agentId, version])));
  if (stored.has(id)) return id;
  // The transcripts do not say which model ran, nor how: the columns' defaults would be claims.
  const settings = { modelName: "unknown", temperature: null, maxTokens: null };
  await tx
    .insert(agentPrompts)
    .values({ id, agentId, version, systemPrompt, ...settings })
    .onConflictDoNothing({ target: agentPrompts.id });
  stored.add(id);
  return id;
}

function logsOf({ actions, ...run }: Run, { organizationId, agentName }: AgentScope) {
  const { task_id, trial } = run;
  const key = [NAMESPACE, organizationId.toLowerCase(), agentName, task_id, trial];
  const start = FIRST_DAY + trial * DAY + task_id * MINUTE;
  return actions.map(({ toolCallId: tool_call_id, ...action }, position) => {
    const isLast = position === actions.length - 1;
    const timestamp = new Date(start + position * SECOND);
    const user_cost_usd = isLast ? run.user_cost_usd : undefined;
    return Object.assign(action, {
      id: uuid(sha256(JSON.stringify([...key, position])), timestamp),
      executionId: uuid(sha256(JSON.stringify(key))),
      timestamp,
      qualityScore: isLast ? 100 * run.reward : null,
      metadata: { task_id, trial, tool_call_id, user_cost_usd },
    });
  });
}

const sha256 = (content: string) => createHash("sha256").update(content).digest();

/** A hash as a uuid of RFC 9562: version 8, or with a time version 7, which sorts by it. */
function uuid(bytes: Buffer, time?: Date): string {
  if (time) bytes.writeUIntBE(time.getTime(), 0, 6);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | (time ? 0x70 : 0x80), 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString("hex", 0, 16).replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

// ── Three questions, one query each ──

type Question<Row> = (db: Database, scope: AgentScope) => Promise<Row[]>;

const question =
  <Row extends Record<string, unknown>>(ask: (logs: SQL) => SQL): Question<Row> =>
  (db, { organizationId, agentName }) =>
    withOrganization(db, organizationId, async (tx) => {
      const agent = sql`(select id from agent_registry where agent_name = ${agentName})`;
      const logs = sql`agent_execution_logs where agent_id = ${agent}`;
      return rows<Row>(await tx.execute(ask(logs)));
    });

/** A run is solved when its last row, the one that is scored, has 100. */
export const successRate = question<{ runs: number; solved: number; percent: number | null }>(
  (logs) => sql`
    select count(*)::int as runs, count(*) filter (where score = 100)::int as solved,
      round(100.0 * count(*) filter (where score = 100) / nullif(count(*), 0), 1)::float8 as percent
    from (select max(quality_score) as score from ${logs} group by execution_id) as run`,
);

export const toolUse = question<{ tool: string; calls: number; failures: number }>(
  (logs) => sql`
    select action_name as tool, count(*)::int as calls,
      count(*) filter (where status = 'failure')::int as failures
    from ${logs} and action_type = 'tool_call' group by tool order by calls desc, tool`,
);

/** Words with a digit (ids, dates, amounts) are left out, so that like errors count together. */
export const commonErrors = question<{ tool: string; error: string; count: number }>(
  (logs) => sql`
    select action_name as tool, count(*)::int as count,
      regexp_replace(error_message, '\\S*\\d\\S*', '…', 'g') as error
    from ${logs} and status = 'failure'
    group by tool, error order by count desc, tool, error limit 10`,
);

// ── The command ──

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      url: { type: "string" },
      organization: { type: "string", default: "a1b2c3d4-0000-4000-8000-000000000001" },
      agent: { type: "string", default: "imported-agent" },
    },
  });
  const [file] = positionals;
  if (!file || positionals.length > 1)
    throw new Error("expected one FILE, transcripts as JSON lines");
  const scope = { organizationId: values.organization, agentName: values.agent };
  const url = values.url ?? (process.env["DATABASE_URL"] || undefined);
  const connection = url === undefined ? await openEmbedded() : connect(url);
  const { db } = connection;
  try {
    if (url === undefined) await migrate(db);
    console.error(`Importing ${file} as ${scope.agentName} into ${connection.label}`);
    const { added, repeated } = await importAgentRuns(db, { file, ...scope });
    // The embedded server has no autovacuum that would gather statistics.
    if (url === undefined && added > 0) await db.execute(sql`analyze`);
    console.error(`${added} rows added, ${repeated} were there already`);
    console.table(await successRate(db, scope));
    console.table(await toolUse(db, scope));
    console.table(await commonErrors(db, scope));
  } finally {
    await connection.close();
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  main().catch((error: unknown) => {
    console.error(explain(error));
    process.exitCode = 1;
  });
}
