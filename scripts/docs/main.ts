/** Writes docs/schema.md and docs/schema.svg from what the migrations make of an empty database. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createPglite } from "../../src/client/pglite.ts";
import { migrate } from "../../src/operate/migrate/migrate.ts";
import { drawDiagram } from "./diagram.ts";
import { tableFacts } from "./facts.ts";
import { schemaReference } from "./reference.ts";

const { client, db } = await createPglite();
await migrate(db);
const files = {
  "docs/schema.md": await schemaReference(db),
  "docs/schema.svg": await drawDiagram(await tableFacts(db)),
};
await client.close();

await mkdir("docs", { recursive: true });
for (const [file, text] of Object.entries(files)) {
  const isUpToDate = (await readFile(file, "utf8").catch(() => undefined)) === text;
  if (!isUpToDate) await writeFile(file, text);
  console.log(`${file} ${isUpToDate ? "is up to date" : "written"}`);
}
