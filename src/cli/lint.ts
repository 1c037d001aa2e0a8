import { readFileSync } from "node:fs";
import { type LintFinding, type SqlFile, lint } from "../operate/lint.ts";
import { command, jsonOption } from "./command.ts";
import { EXIT } from "./exit.ts";
import { finding, gauged, out, print, printJson } from "./print.ts";

interface LintOptions {
  readonly from?: string;
  readonly json?: true;
}

export const lintCommand = command("lint", {
  description:
    "Says what migrations of your own would do: who waits for the locks that they take and for how long, what they break that the tables of meta-agent-db need, and what PostgreSQL refuses. It runs the files in order in an embedded database in memory, which has all migrations of meta-agent-db and no rows; no other database is touched. Ends with 2 when a finding is more than information.",
  examples: [
    "meta-agent-db lint migrations/*.sql",
    "meta-agent-db lint migrations/*.sql --from migrations/0007_notes.sql    those before it are applied",
  ],
})
  .argument("<files...>", "files of SQL, in the order in which they are applied")
  .option("--from <file>", "the first of them to judge; those before it are only run")
  .addOption(jsonOption())
  .action(async (names: readonly string[], { from, json }: LintOptions) => {
    if (from !== undefined && !names.includes(from)) {
      throw new Error(`--from ${from}: it is none of the files: ${names.join(", ")}`);
    }
    const files = names.map(fileOf);
    const found = await gauged("opening the embedded database", (tell) =>
      lint(files, {
        from,
        onFile: (name, done) => tell(name, { done, total: files.length, unit: "files" }),
      }),
    );
    if (json) printJson(found);
    else
      print(found.length > 0 ? found.map(lines).join("\n") : "nothing waits, and nothing breaks");
    if (found.some(({ level }) => level !== "info")) process.exitCode = EXIT.findings;
  });

function fileOf(name: string): SqlFile {
  const bytes = readFileSync(name);
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (!text.includes("\0")) return { name, text };
  } catch {
    // said below
  }
  throw new Error(`${name} is not in UTF-8: save it as UTF-8`);
}

const lines = ({ level, file, line, statement, message, next }: LintFinding): string =>
  finding(level, `${file}:${line}`, message, out.dim(statement), next);
