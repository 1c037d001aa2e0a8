import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import * as z from "zod";
import { command } from "./command.ts";
import { print, progress } from "./print.ts";

export const initCommand = command("init", {
  description:
    "Writes drizzle.config.ts, a schema file with a first table that refers to ours, isolate.mjs, which writes the migration that gives a table of yours our policies, and .env.example. Nothing is overwritten.",
  examples: ["meta-agent-db init", "meta-agent-db init --directory packages/api"],
})
  .option("--directory <path>", "the folder of your application's package.json", ".")
  .action(({ directory }: { directory: string }) => {
    const { home, written, left, missing } = initialize(directory);
    for (const file of written) print(file);
    for (const file of left) progress(`${file}: is there already, left as it is`);
    progress("Next");
    if (missing.length > 0) progress(`  install ${missing.join(", ")}`);
    progress("  set DATABASE_URL in .env        as in .env.example");
    progress("  npx meta-agent-db migrate       our tables");
    progress("  npx drizzle-kit generate        the migrations of yours");
    progress(`  node ${home}/isolate.mjs agent_notes notes`);
    progress("                                  the migration that opens it to its organization");
    progress("  npx drizzle-kit migrate");
  });

/** What `init` did; paths are relative to the package's folder. */
interface Initialized {
  /** The folder of the schema file. */
  readonly home: string;
  readonly written: readonly string[];
  /** They were there, and were left as they are. */
  readonly left: readonly string[];
  /** Packages that the written files import and package.json does not name. */
  readonly missing: readonly string[];
}

/**
 * Prepares the package of an application for tables of its own beside ours: a drizzle config, a schema
 * file with a first table, a script that isolates tables, and `.env.example`. It overwrites nothing.
 * @param directory the folder with the application's package.json
 * @throws {Error} when there is no package.json
 */
function initialize(directory: string): Initialized {
  const dependencies = readDependencies(directory);
  const home = existsSync(join(directory, "src")) ? "src/db" : "db";
  const schema = `${home}/schema.ts`;
  const files = {
    "drizzle.config.ts": drizzleConfig(schema),
    [schema]: schemaFile(home),
    [`${home}/isolate.mjs`]: isolateScript(home),
    ".env.example": readFileSync(
      new URL(".env.example", import.meta.resolve("meta-agent-db/package.json")),
      "utf8",
    ),
  };
  const left = Object.keys(files).filter((file) => existsSync(join(directory, file)));
  const written = Object.keys(files).filter((file) => !left.includes(file));
  for (const file of written) {
    const path = join(directory, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, files[file] ?? "", { flag: "wx" });
  }
  const missing = ["meta-agent-db", "drizzle-orm", "drizzle-kit"].filter(
    (name) => !dependencies.has(name),
  );
  return { home, written, left, missing };
}

const named = z.record(z.string(), z.unknown()).default({});
const packageFile = z.object({
  dependencies: named,
  devDependencies: named,
  peerDependencies: named,
});

function readDependencies(directory: string): Set<string> {
  const path = join(directory, "package.json");
  if (!existsSync(path)) {
    throw new Error(
      `${path} does not exist: run it in the folder of your application's package, or name that with --directory`,
    );
  }
  const sections = packageFile.parse(JSON.parse(readFileSync(path, "utf8")));
  return new Set(Object.values(sections).flatMap((section) => Object.keys(section)));
}

const drizzleConfig = (schema: string) => `import { defineConfig } from "drizzle-kit";
import { databaseUrls } from "meta-agent-db/config";
import { tablesFilter } from "meta-agent-db/drizzle-kit";

// Your own tables only. Those of meta-agent-db come from "npx meta-agent-db migrate", which runs first;
// its journal is another one, so neither skips files of the other. Use generate and migrate: "drizzle-kit
// push" drops what only a migration says, such as the policies of your tables.
export default defineConfig({
  dialect: "postgresql",
  schema: "./${schema}",
  out: "./migrations",
  tablesFilter,
  dbCredentials: { url: databaseUrls().migrationDatabaseUrl ?? "" },
});
`;

// An empty custom migration that is applied before somebody writes into it isolates nothing, and is not applied
// again: the script writes both.
const isolateScript = (
  home: string,
) => `// Writes the migration that gives a table of yours the policies and grants that the tables of meta-agent-db
// have. Run it after "npx drizzle-kit generate" made the table's own migration, and again when the table gets
// another reference:
//   node ${home}/isolate.mjs agent_notes notes
import { execSync } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";

const out = "migrations"; // as in drizzle.config.ts
const [table = "", noun = table.replaceAll("_", " ")] = process.argv.slice(2);
if (!/^[a-z_][a-z0-9_]*$/.test(table) || !/^[\\w /-]+$/.test(noun)) {
  console.error("usage: node ${home}/isolate.mjs <table> [what its rows are called, in plain words]");
  process.exit(64);
}

execSync(\`npx drizzle-kit generate --custom --name isolate_\${table}\`, { stdio: "inherit" });
const file = readdirSync(out, { recursive: true })
  .map(String)
  .filter((name) => name.endsWith(".sql") && name.includes(\`_isolate_\${table}\`))
  .sort()
  .at(-1);
if (file === undefined) throw new Error(\`drizzle-kit wrote no migration into \${out}\`);
const statement = \`SELECT meta_agent.isolate('\${table}', '\${noun}');\\n\`;
writeFileSync(\`\${out}/\${file}\`, statement); // instead of a comment without a line end
console.log(\`\${out}/\${file}: \${statement.trim()}\`);
`;

const schemaFile = (home: string) => `import { sql } from "drizzle-orm";
import { index, pgTable, text, timestamp, uuid } from "drizzle-orm/pg-core";
import { agentRegistry } from "meta-agent-db/governance";

// Your own tables. Refer to those of meta-agent-db, but do not export them from here: drizzle-kit makes
// migrations of what this file exports.

/**
 * An example: a note about an agent. Row-level security keeps it closed until a migration opens it to its
 * organization, which this writes: node ${home}/isolate.mjs agent_notes notes
 */
export const agentNotes = pgTable(
  "agent_notes",
  {
    id: uuid("id").primaryKey().defaultRandom(),
    agentId: uuid("agent_id")
      .notNull()
      .references(() => agentRegistry.id, { onDelete: "cascade" }),
    note: text("note").notNull(),
    createdAt: timestamp("created_at", { withTimezone: true }).notNull().defaultNow(),
    organizationId: uuid("organization_id").default(sql\`meta_agent.current_organization_id()\`),
  },
  (t) => [
    index("idx_agent_notes_agent_id").on(t.agentId),
    index("idx_agent_notes_organization_id").on(t.organizationId),
  ],
).enableRLS();
`;
