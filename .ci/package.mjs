// What `npm pack` would publish: the SQL that migrate reads must be in it, nothing private may be. The
// packed command is installed elsewhere and run there, as a user would.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const run = (command, args, options) =>
  execFileSync(command, args, { encoding: "utf8", ...options });
const directory = mkdtempSync(join(tmpdir(), "meta-agent-db-pack-"));
try {
  const [{ filename, files }] = JSON.parse(
    run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", directory]),
  );
  const paths = files.map(({ path }) => path);
  const { entries } = JSON.parse(readFileSync("drizzle/meta/_journal.json", "utf8"));
  const needed = [
    ...entries.map(({ tag }) => `drizzle/${tag}.sql`),
    ...["drizzle/meta/_journal.json", "dist/index.js", "dist/index.d.ts", "dist/cli/main.js"],
    ...["README.md", "LICENSE", ".env.example", "package.json"],
  ];
  const missing = needed.filter((path) => !paths.includes(path));
  const unexpected = paths.filter(
    (path) => !needed.includes(path) && !/^(dist|src)\/[\w/.-]+\.(js|ts|map)$/.test(path),
  );
  if (missing.length > 0 || unexpected.length > 0) {
    throw new Error(`missing: ${missing.join(", ")}; unexpected: ${unexpected.join(", ")}`);
  }

  run("npm", ["init", "--yes"], { cwd: directory });
  run("npm", ["install", "--no-audit", "--no-fund", `./${filename}`, "drizzle-orm@0.45.4"], {
    cwd: directory,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const shown = run("npx", ["meta-agent-db", "demo"], { cwd: directory });
  if (!shown.startsWith("AGENT")) throw new Error(`the packed demo printed:\n${shown}`);
  console.log(`${paths.length} files; the packed demo ran`);
} finally {
  rmSync(directory, { recursive: true });
}
