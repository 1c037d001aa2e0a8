import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { InvalidArgumentError, Option } from "commander";
import { explain } from "../client/errors.ts";
import type { Database } from "../client/sql.ts";
import { type ReadProblem, timeIn } from "../ingest/documents.ts";
import {
  IMPORT_FORMATS,
  type ImportFormat,
  type ImportOptions,
  type ImportResult,
  importExecutions,
} from "../ingest/import.ts";
import { type TargetOptions, jsonOption, targetCommand, uuid, withTarget } from "./command.ts";
import { EXIT } from "./exit.ts";
import { type Tell, err, gauged, print, printJson, progress, table } from "./print.ts";

interface Options extends TargetOptions {
  readonly organization: string;
  readonly format?: ImportFormat;
  readonly agent?: string;
  readonly start?: Date;
  readonly success?: string;
  readonly content: boolean;
  readonly dryRun?: boolean;
  readonly json?: true;
}

export const importCommand = targetCommand("import", {
  description: `Reads spans as OTLP/JSON (otlp) or as Phoenix exports them (openinference), traces of Langfuse (langfuse) and chat-completions transcripts (chat): JSON lines, or one JSON document of at most 64 million characters; plain or gzip; - is stdin. Makes the agents that are missing. The same again adds nothing, so that an import that was interrupted is typed again. Exit code 2 when entries were refused; the others are stored.`,
  examples: [
    "meta-agent-db import traces.jsonl.gz --organization a1b2c3d4-0000-4000-8000-000000000001",
    "meta-agent-db import langfuse/*.json --dry-run --organization a1b2c3d4-0000-4000-8000-000000000001",
    "meta-agent-db import runs.jsonl --agent booking --success reward --organization a1b2c3d4-0000-4000-8000-000000000001",
  ],
})
  .argument("<files...>", "files, or - for stdin")
  .addOption(
    new Option("--organization <uuid>", "whose the executions are")
      .argParser(uuid)
      .makeOptionMandatory(),
  )
  .addOption(
    new Option("--format <format>", "what the files are (default: guessed from each)").choices(
      IMPORT_FORMATS,
    ),
  )
  .option("--agent <name>", "the agent of all of it; needed for chat (default: as the files say)")
  .addOption(
    new Option(
      "--start <instant>",
      "chat: when the first run began, if the file does not say (default: 2024-01-01T00:00:00Z)",
    ).argParser(instant),
  )
  .option("--success <field>", "chat: the field that says how a run ended: true, false or 0 to 1")
  .option("--no-content", "leave out what was asked and answered")
  .option("--dry-run", "write nothing, and show what would be written")
  .addOption(jsonOption())
  .action(async (files: readonly string[], { json, ...options }: Options) => {
    const inputs = await Promise.all(files.map(inputOf));
    await withTarget(options, async ({ db }) => {
      const summaries: FileSummary[] = [];
      try {
        await gauged("reading", async (tell) => {
          for (const input of inputs) summaries.push(await imported(db, input, options, tell));
        });
      } finally {
        // Of the files before one that cannot be read, too: they are stored.
        if (summaries.length > 0) {
          if (json) printJson(summaries);
          else show(summaries, options);
        }
      }
      if (summaries.some(({ refused }) => refused > 0)) process.exitCode = EXIT.findings;
    });
  });

interface Input {
  readonly file: string;
  /** Unknown of stdin. */
  readonly bytes: number | undefined;
}

/** Looks at a file, before any is imported: a mistyped name keeps all of them out. */
async function inputOf(file: string): Promise<Input> {
  if (file === "-") return { file, bytes: undefined };
  const found = await stat(file);
  if (found.isDirectory()) throw new Error(`${file} is a directory: name the files in it`);
  return { file, bytes: found.size };
}

interface FileSummary extends ImportResult {
  readonly file: string;
  readonly dryRun: boolean;
  /** The first of what was refused. */
  readonly problems: readonly ReadProblem[];
}

/** Refusals that are listed of a file. */
const LISTED = 100;

async function imported(
  db: Database,
  input: Input,
  { organization, format, agent, start, success, content, dryRun = false }: Options,
  tell: Tell,
): Promise<FileSummary> {
  const { file, bytes: size = 0 } = input;
  const problems: ReadProblem[] = [];
  let stored = 0;
  const importing: ImportOptions = {
    ...{ organization, format, agent, start, success, dryRun },
    content: content ? "all" : "none",
    onRefused(problem) {
      if (problems.length >= LISTED) return;
      problems.push(problem);
      const place = [file, problem.place].filter(Boolean).join(", ");
      progress(`${err.yellow("refused")} ${place}: ${problem.message}`);
    },
    onProgress(so) {
      stored = so.rows;
      const rowCount = `${so.rows.toLocaleString("en-US")} rows of ${file}`;
      tell(rowCount, size > 0 ? { done: so.bytes, total: size, unit: "bytes" } : undefined);
    },
  };
  try {
    const bytes = file === "-" ? process.stdin : createReadStream(file);
    const result = await importExecutions(db, bytes, importing);
    const more = result.refused - problems.length;
    if (more > 0) progress(`${err.yellow("refused")} ${file}: ${more} more`);
    return { file, dryRun, ...result, problems };
  } catch (cause) {
    const isPartial = stored > 0 && !dryRun;
    const again = isPartial
      ? `\n${stored} rows are stored; the same command goes on from there`
      : "";
    throw new Error(`${file}: ${explain(cause)}${again}`, { cause });
  }
}

function show(summaries: readonly FileSummary[], { dryRun }: Pick<Options, "dryRun">): void {
  const head = ["FILE", "FORMAT", "NEW", "COMPLETED", "THERE", "CONFLICTING", "REFUSED", "SKIPPED"];
  print(table(head, summaries.map(cells)));
  const actions = new Map<string, number>();
  for (const [action, rows] of summaries.flatMap((summary) => Object.entries(summary.actions))) {
    actions.set(action, (actions.get(action) ?? 0) + rows);
  }
  const agents = new Set(summaries.flatMap(({ newAgents }) => newAgents));
  print();
  print(`rows: ${[...actions].map(([action, rows]) => `${rows} ${action}`).join(", ") || "none"}`);
  print(`new agents: ${[...agents].join(", ") || "none"}`);
  if (summaries.some(({ skipped }) => skipped > 0)) {
    print("skipped: spans that are no action of an agent");
  }
  if (summaries.some(({ conflicting }) => conflicting > 0)) {
    print("conflicting: the row that is there says something else, and was left as it is");
  }
  if (!dryRun) return;
  for (const format of new Set(summaries.flatMap((summary) => summary.format ?? []))) {
    print(`not stored of ${format}: ${NOT_STORED[format]}`);
  }
  print("not stored of any: inputs and outputs beyond 16,384 characters");
  print("nothing was written: this is what would be");
}

/** What no row has, of files that are read without fault. */
const NOT_STORED: Record<ImportFormat, string> = {
  otlp: "links, events other than exceptions, attributes without a column, nanoseconds",
  openinference: "links, events other than exceptions, attributes without a column",
  langfuse: "scores, comments, names of prompts, what enclosing generations repeat",
  chat: "lists and objects beside the messages, such as definitions of tools",
};

const cells = (summary: FileSummary) => [
  summary.file,
  summary.format ?? (summary.refused > 0 ? "unknown" : "empty"),
  String(summary.inserted),
  String(summary.completed),
  String(summary.repeated),
  String(summary.conflicting),
  String(summary.refused),
  String(summary.skipped),
];

/** Parses `--start`. */
function instant(text: string): Date {
  const at = new Date(timeIn(text));
  if (!Number.isNaN(at.getTime())) return at;
  throw new InvalidArgumentError("It takes an instant, such as 2026-01-31T12:00:00Z.");
}
