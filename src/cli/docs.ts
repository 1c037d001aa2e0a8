import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { drawDiagram } from "../diagram.ts";
import { schemaReference, tableFacts } from "../docs.ts";
import { openEmbedded } from "../embedded.ts";
import { migrate } from "../operate/migrate/migrate.ts";
import { EXIT, command } from "./command.ts";
import { print, progress } from "./print.ts";

export const docsCommand = command("docs", {
  summary: "write the reference of the tables, and a diagram",
  description:
    "Migrates a scratch database, embedded, and writes what its catalog says of the tables: a page in Markdown, and beside it an SVG if @viz-js/viz is installed. Ends with 2 when --check finds a file that would change.",
  examples: ["meta-agent-db docs", "meta-agent-db docs --out wiki/agents.md --check"],
})
  .option("--out <file>", "the page; the diagram has its name with .svg", "docs/schema.md")
  .option("--check", "write nothing, say which files are stale")
  .action(async ({ out: page, check }: { out: string; check?: true }) => {
    const files = await generate(page);
    const stale: string[] = [];
    for (const [file, text] of files) {
      if ((await readFile(file, "utf8").catch(() => undefined)) === text) continue;
      stale.push(file);
      if (check) continue;
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, text);
    }
    for (const file of stale) print(check ? `${file} is stale: run meta-agent-db docs` : file);
    if (stale.length === 0) print("up to date");
    if (check && stale.length > 0) process.exitCode = EXIT.findings;
  });

async function generate(page: string): Promise<Map<string, string>> {
  const scratch = await mkdtemp(join(tmpdir(), "meta-agent-db-docs-"));
  const { db, close } = await openEmbedded(scratch);
  try {
    await migrate(db);
    const diagram = await drawDiagram(await tableFacts(db));
    if (diagram === undefined) progress("no diagram: npm install --save-dev @viz-js/viz");
    const image = page.replace(/(\.\w+)?$/, ".svg");
    return new Map([
      [page, await schemaReference(db, basename(image))],
      ...(diagram === undefined ? [] : [[image, diagram] as const]),
    ]);
  } finally {
    await close();
    await rm(scratch, { recursive: true });
  }
}
