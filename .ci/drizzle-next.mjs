// What of the package works on the newest drizzle-orm 1.x, and whether docs/drizzle-1.md still says so: an
// entry point that begins or ceases to load is an error, to be answered by that page and the list here.
// Needs a build. Run by hand, or each week by .github/workflows/drizzle-next.yml.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The entry points that load. */
const WORKING = new Set(
  "./schema ./governance ./monitoring ./evaluation ./safety ./learning-cost ./embeddings ./values ./zod ./config ./migrations ./drizzle-kit".split(
    " ",
  ),
);

const directory = mkdtempSync(join(tmpdir(), "meta-agent-db-drizzle-"));
const run = (command, words, cwd = directory) =>
  execFileSync(command, words, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
try {
  const versions = JSON.parse(run("npm", ["view", "drizzle-orm", "versions", "--json"]));
  const version = versions.findLast((one) => one.startsWith("1."));
  const words = ["pack", "--json", "--ignore-scripts", "--pack-destination", directory];
  const [{ filename }] = JSON.parse(run("npm", words, "."));
  writeFileSync(join(directory, "package.json"), '{"type":"module"}');
  const install = ["install", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund"];
  run("npm", [...install, `./${filename}`, `drizzle-orm@${version}`, "@opentelemetry/api@1"]);
  const entries = Object.keys(JSON.parse(readFileSync("package.json", "utf8")).exports).filter(
    (entry) => !/[*]|package\.json$/.test(entry),
  );
  const changed = entries.filter((entry) => {
    const works = loads(entry.replace(".", "meta-agent-db"));
    console.log(`${works ? "loads" : "fails"}  ${entry}`);
    return works !== WORKING.has(entry);
  });
  console.log(`drizzle-orm ${version}`);
  if (changed.length > 0) {
    console.error(`not as docs/drizzle-1.md says: ${changed.join(", ")}`);
    process.exitCode = 1;
  }
} finally {
  rmSync(directory, { recursive: true });
}

function loads(name) {
  try {
    run("node", ["-e", `import(${JSON.stringify(name)})`]);
    return true;
  } catch {
    return false;
  }
}
