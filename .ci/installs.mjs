// The packed package where other tools install and load it: pnpm, Yarn's PnP, git, Vitest's pools, Jest, Bun, and
// Neon's driver. `.ci/package.mjs` has npm, the compilers and esbuild. A tool that npm cannot bring is told as skipped.
// Words choose among the rows: `npx tsx .ci/installs.mjs pnpm bun`.
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const TOOLS = {
  pnpm: "pnpm@12.21.0",
  yarn: "@yarnpkg/cli-dist@4.18.1",
  jest: "jest@30.5.2",
  bun: "bun@1.4.5",
  neon: "@neondatabase/serverless@1.2.0",
};
const directory = await mkdtemp(join(tmpdir(), "meta-agent-db-installs-"));
const at = (...path) => join(directory, ...path);
const { devDependencies } = JSON.parse(await readFile("package.json", "utf8"));
const drizzle = `drizzle-orm@${devDependencies["drizzle-orm"]}`;
const pinned = (name) => `${name}@${devDependencies[name]}`;

async function run(command, words, { cwd = directory, env } = {}) {
  try {
    const { stdout } = await promisify(execFile)(command, words, {
      cwd,
      env: {
        ...process.env,
        ...{ NO_COLOR: "1", CI: "1", npm_config_loglevel: "error", NODE_OPTIONS: "" },
        ...{ META_AGENT_DB_CACHE: at("cache"), DATABASE_URL: "" },
        ...env,
      },
      maxBuffer: 1e8,
    });
    return stdout;
  } catch (error) {
    const said = [[command, ...words].join(" "), error.stdout, error.stderr];
    throw new Error(said.join("\n"), { cause: error });
  }
}
const node = (words, options) => run(process.execPath, words, options);
const npm = (words, cwd) =>
  run("npm", [...words, "--prefer-offline", "--no-audit", "--no-fund"], { cwd });
function check(text, expected) {
  if (!text.includes(expected)) throw new Error(`expected ${expected}, got:\n${text}`);
}

/** A folder with a package.json, and files by name. */
async function application(name, files = {}) {
  await mkdir(at(name), { recursive: true });
  const all = { "package.json": JSON.stringify({ name, type: "module" }), ...files };
  for (const [file, text] of Object.entries(all)) await writeFile(at(name, file), text);
  return at(name);
}

/** Uses the package; prints `done`. */
const BODY = `
async function use() {
  const url = process.env.DATABASE_URL || undefined;
  const { db, close } = await openTestDatabase({ url });
  const organization = "6f0d9d6e-36c5-4b8f-9a3e-1f3a5f1c7b2d";
  const [row] = await withOrganization(db, organization, (tx) =>
    tx.insert(agentRegistry).values(newAgent()).returning());
  await close();
  return row.organizationId === organization ? "done" : "not its own";
}`;
const IMPORTED = `
import { agentRegistry, withOrganization } from "meta-agent-db";
import { newAgent, openTestDatabase } from "meta-agent-db/testing";${BODY}`;
const REQUIRED = `
const { agentRegistry, withOrganization } = require("meta-agent-db");
const { newAgent, openTestDatabase } = require("meta-agent-db/testing");${BODY}`;
const SAY = "\nuse().then(console.log);\n";
const TEST = `\ntest("uses it", async () => expect(await use()).toBe("done"), 60_000);\n`;
const PROGRAM = { "use.mjs": IMPORTED + SAY, "use.cjs": REQUIRED + SAY };

async function bothRun(cwd, start = node) {
  for (const file of Object.keys(PROGRAM)) check(await start([file], { cwd }), "done\n");
}

let tarball;
async function pack() {
  const words = ["pack", "--json", "--ignore-scripts", "--pack-destination", directory];
  const [{ filename }] = JSON.parse(await run("npm", words, { cwd: "." }));
  tarball = at(filename);
}

/** The program of a tool, as npm brings it. */
async function tool(name, ...path) {
  await application(`tool-${name}`);
  // Their programs come with install scripts, or by optional packages.
  await npm(["install", TOOLS[name], "--foreground-scripts"], at(`tool-${name}`));
  return at(`tool-${name}`, "node_modules", ...path);
}

/** Built from the commit, since a clone has no dist. */
async function git() {
  const cwd = await application("git", PROGRAM);
  const clone = at("repository");
  await run("git", ["clone", "--quiet", process.cwd(), clone]);
  await npm(["install", `git+file://${clone}`, drizzle], cwd);
  await bothRun(cwd);
  check(await run("npx", ["--no-install", "meta-agent-db", "--help"], { cwd }), "migrate");
}

/** A package of the workspace brings it, another uses that one. */
async function pnpm() {
  const program = await tool("pnpm", ".bin", "pnpm");
  await application("pnpm", { "pnpm-workspace.yaml": "packages: [db, app]\n" });
  const dependencies = {
    "meta-agent-db": `file:${tarball}`,
    "drizzle-orm": devDependencies["drizzle-orm"],
  };
  const database = { name: "db", type: "module", exports: "./use.mjs", dependencies };
  await application("pnpm/db", { ...PROGRAM, "package.json": JSON.stringify(database) });
  const user = { name: "app", type: "module", dependencies: { db: "workspace:*" } };
  await application("pnpm/app", {
    "package.json": JSON.stringify(user),
    "use.mjs": 'import "db";\n',
  });
  await run(program, ["install", "--prefer-offline"], { cwd: at("pnpm") });
  await bothRun(at("pnpm", "db"));
  check(await node(["use.mjs"], { cwd: at("pnpm", "app") }), "done\n");
}

/** What docs/using.md says to add. */
async function yarn() {
  const program = await tool("yarn", "@yarnpkg", "cli-dist", "bin", "yarn.js");
  const { optionalDependencies } = JSON.parse(await readFile("package.json", "utf8"));
  const dependencies = {
    "meta-agent-db": `file:${tarball}`,
    "drizzle-orm": devDependencies["drizzle-orm"],
    postgres: "^3.4.9",
    "@electric-sql/pglite": optionalDependencies["@electric-sql/pglite"],
  };
  const cwd = await application("yarn", {
    ...PROGRAM,
    "package.json": JSON.stringify({ name: "yarn-app", type: "module", dependencies }),
    ".yarnrc.yml": "nodeLinker: pnp\nenableTelemetry: false\nenableImmutableInstalls: false\n",
    "yarn.lock": "",
  });
  const words = [program, "install"];
  await node(words, { cwd });
  await bothRun(cwd, ([file]) => node([program, "node", file], { cwd }));
}

async function vitest() {
  const cwd = await application("vitest", { "use.test.mjs": IMPORTED + TEST });
  await npm(["install", tarball, drizzle, pinned("vitest")], cwd);
  const inPool = (pool) =>
    node(["node_modules/vitest/vitest.mjs", "run", "--globals", `--pool=${pool}`], { cwd });
  for (const pool of ["threads", "forks"]) check(await inPool(pool), "1 passed");
  for (const pool of ["vmThreads", "vmForks"]) {
    const said = await inPool(pool).then(String, (error) => error.message);
    // Where the pool has import(), it works.
    if (!said.includes("1 passed")) check(said, 'Vitest: use pool "forks" or "threads"');
  }
}

async function jest() {
  const cwd = await application("jest", { "use.test.cjs": REQUIRED + TEST });
  await npm(["install", tarball, drizzle, TOOLS.jest], cwd);
  const words = ["node_modules/jest/bin/jest.js", "--ci"];
  await node(words, { cwd, env: { NODE_OPTIONS: "--experimental-vm-modules" } });
  const said = await node(words, { cwd }).then(String, (error) => error.message);
  // The test fails with it: a rejected promise, not a process that has died.
  check(said, "Jest: set NODE_OPTIONS=--experimental-vm-modules");
  check(said, "1 failed, 1 total");
}

async function bun() {
  const program = await tool("bun", ".bin", "bun");
  const cwd = await application("bun", {
    ...PROGRAM,
    "refused.mjs": `
      import { SQL } from "bun";
      import { drizzle } from "drizzle-orm/bun-sql";
      import { withServiceRole } from "meta-agent-db";
      const db = drizzle(new SQL("postgres://nobody@127.0.0.1:1/none"));
      await withServiceRole(db, async () => {}).catch(({ message }) => console.log(message));`,
  });
  await run(program, ["add", tarball, drizzle], { cwd });
  await bothRun(cwd, ([file]) => run(program, [file], { cwd }));
  await withServer((env) => bothRun(cwd, ([file]) => run(program, [file], { cwd, env })));
  check(await run(program, ["refused.mjs"], { cwd }), "does not support the driver");
}

async function neon() {
  const cwd = await application("neon");
  await npm(["install", tarball, drizzle, TOOLS.neon], cwd);
  await cp(".ci/consumers/neon.mjs", join(cwd, "neon.mjs"));
  await withServer(async (env) => check(await node(["neon.mjs"], { cwd, env }), "done\n"));
}

/** What no embedded database takes; needs tsx. */
async function withServer(work) {
  const { startPostgres } = await import("../tests/setup/postgres.ts");
  const { url, container } = await startPostgres({ fsync: "off" });
  try {
    await work({ DATABASE_URL: url });
  } finally {
    await container.stop();
  }
}

/** npm's own words for no network, and for no such package. */
const isMissing = ({ message }) =>
  message.startsWith("npm install") && /E404|ENOTFOUND|EAI_AGAIN|ENOTCACHED/.test(message);

async function outcomeOf(row) {
  const start = performance.now();
  try {
    await row();
    return `${((performance.now() - start) / 1000).toFixed(1)} s`;
  } catch (error) {
    if (isMissing(error)) return "SKIPPED: npm cannot bring it here";
    process.exitCode = 1;
    return `FAILED: ${error.message}`;
  }
}

const rows = { git, pnpm, yarn, vitest, jest, bun, neon };
const chosen = process.argv.slice(2);
try {
  await pack();
  for (const [name, row] of Object.entries(rows)) {
    if (chosen.length === 0 || chosen.includes(name))
      console.log(`${name}: ${await outcomeOf(row)}`);
  }
} finally {
  await rm(directory, { recursive: true });
}
