import { execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { MIGRATIONS } from "../../src/migrations.ts";
import {
  DRIZZLE_KIT,
  type Outcome,
  cli,
  environment,
  finished,
  mainFile,
  printed,
  start,
} from "../cli.ts";

const run = promisify(execFile);
let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "meta-agent-db-cli-"));
});
afterAll(() => rm(directory, { recursive: true }));

describe("the first minute", () => {
  let second: Outcome;
  test("demo makes, fills and shows a database; a second run finds it", async () => {
    const first = await cli(["demo", "--directory", directory]);
    expect(first).toMatchObject({ code: 0 });
    expect(first.stderr).toContain("migrations applied");
    expect(first.stderr).toContain("demo fleet loaded");
    second = await cli(["demo", "--directory", directory], { NO_COLOR: "", CI: "true" });
    expect(second.stderr).toContain("migrated before");
    expect(second.stderr).toContain("demo fleet found");
    expect(second.stdout).toBe(first.stdout);
  });

  test("the data is on stdout, the progress on stderr, and neither has colours in a pipe", () => {
    const { stdout, stderr } = second;
    expect(stdout).toMatch(/^AGENT +ORGANIZATION +STATUS/);
    expect(stdout).not.toContain("✔");
    expect(stderr).toContain("✔");
    // eslint-disable-next-line no-control-regex
    expect(stdout + stderr).not.toMatch(/\u001b\[/);
  });

  test("each organization counts its own agents, and no organization none", () => {
    const counts = [...second.stdout.matchAll(/^ {2}as (.+): (\d+)$/gm)].map(([, , count]) =>
      Number(count),
    );
    expect(counts).toHaveLength(3);
    expect(counts[0]).toBeGreaterThan(0);
    expect(counts[1]).toBeGreaterThan(0);
    expect(counts[2]).toBe(0);
  });

  test("explain tells why an agent's prompt is live, and what nobody did", async () => {
    const { code, stdout } = await cli(["explain", "lead-qualifier", "--directory", directory]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^lead-qualifier 1\.0\.0 is live, since /);
    expect(stdout).toMatch(/^ {2}A\/B test +“lead-qualifier 1\.1\.0”, as control, running/m);
    expect(stdout).toMatch(/^ {2}missing +no proposal deployed it$/m);
    const unknown = ["explain", "lead-qualifier@9", "--directory", directory];
    expect(await cli(unknown)).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining("no version 9 of an agent lead-qualifier is to be seen"),
    });
  });

  test("demo writes a page beside its database; report writes one where it is told and opens it", async () => {
    const file = join(directory, "meta-agent-report.html");
    expect(second.stderr).toContain(`a page to look at: ${file}`);
    expect(await readFile(file, "utf8")).toContain("invoice-reconciler");
    const [out, opened] = [join(directory, "own.html"), join(directory, "opened")];
    await writeFile(join(directory, "xdg-open"), `#!/bin/sh\nprintf %s "$1" > '${opened}'\n`, {
      mode: 0o755,
    });
    const cobalt = ["--organization", "c4b8e913-05fa-47d2-b6c9-7e1a3f92d805", "--days", "7"];
    const words = ["report", "--directory", directory, "--out", out, "--open", ...cobalt];
    const env = { PATH: `${directory}:${process.env["PATH"]}` };
    expect(await cli([...words, "--title", "Cobalt <3"], env)).toMatchObject({
      code: 0,
      stdout: `${out}\n`,
    });
    const page = await readFile(out, "utf8");
    expect(page).toMatch(
      /<title>Cobalt &#60;3, \d+\s\w{3}(\s\d{4})? to \d+\s\w{3}\s\d{4}<\/title>/,
    );
    expect(page).toContain("shipment-tracker");
    expect(page).not.toContain("invoice-reconciler");
    await expect.poll(() => readFile(opened, "utf8").catch(() => "")).toBe(out);
    expect(await cli([...words, "--days", "0"])).toMatchObject({ code: 64 });
  });

  test("govern does a round; with --every it goes on until it is told to stop", async () => {
    const words = ["govern", "--since", "2026-01-01", "--directory", directory];
    const { code, stdout } = await cli([...words, "--json"]);
    expect(code).toBe(0);
    const result: object = JSON.parse(stdout);
    expect(result).toMatchObject({ health: { written: 5 }, problems: [] });
    const running = start(["govern", "--every", "1", "--directory", directory]);
    await printed(running.stdout, /alerts .*\n[^]*alerts /);
    running.kill("SIGTERM");
    expect(await finished(running)).toMatchObject({ code: 0 });
    expect(await cli(["govern", "--every", "0"])).toMatchObject({ code: 64 });
  });

  test("dev serves it to drizzle-kit until it is told to stop; a taken directory is said", async () => {
    const server = start(["dev", "--port", "0", "--directory", directory]);
    const outcome = finished(server);
    const url = await printed(server.stdout, /postgres:\/\/\S+/);
    const { stdout } = await run(process.execPath, [DRIZZLE_KIT, "migrate"], {
      env: environment({ DATABASE_URL: url }),
    });
    expect(stdout).toContain("migrations applied successfully");
    const taken = await cli(["demo", "--directory", directory]);
    expect(taken).toMatchObject({ code: 1, stdout: "" });
    expect(taken.stderr).toContain("is open in process");
    expect(taken.stderr).toContain(url);
    server.kill("SIGINT");
    expect(await outcome).toMatchObject({ code: 0 });
    expect(await cli(["migrate", "--directory", directory])).toMatchObject({
      code: 0,
      stdout: "up to date\n",
    });
  });
});

describe("completion", () => {
  /** What bash offers for the last of some words. */
  async function offered(script: string, ...words: string[]): Promise<string[]> {
    const typed = ["meta-agent-db", ...words].map((word) => `"${word}"`).join(" ");
    const asking = `${script}
COMP_WORDS=(${typed}); COMP_CWORD=${words.length}; _meta_agent_db; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout } = await run("bash", ["--norc", "-c", asking]);
    return stdout.split("\n").filter(Boolean);
  }

  test("in bash it offers commands, the options of one, and nothing for what is none", async () => {
    const { code, stdout: script } = await cli(["completion", "bash"]);
    expect(code).toBe(0);
    expect(await offered(script, "mi")).toEqual(["migrate"]);
    expect(await offered(script, "d")).toEqual(["diff", "doctor", "demo", "dev"]);
    expect(await offered(script, "migrate", "--lo")).toEqual(["--lock-timeout"]);
    expect(await offered(script, "completion", "")).toEqual(
      expect.arrayContaining(["bash", "zsh", "fish", "--help"]),
    );
    expect(await offered(script, "nonsense", "--")).toEqual([]);
  });

  test.each(["bash", "zsh", "fish"])("for %s it names each command and option", async (shell) => {
    const { stdout } = await cli(["completion", shell]);
    const help = await cli(["help"]);
    const commands = [...help.stdout.matchAll(/^ {2}([a-z]+) /gm)].map(([, word = ""]) => word);
    expect(commands.length).toBeGreaterThan(15);
    for (const word of [...commands, "lock-timeout", "trust-public"]) {
      expect(stdout).toContain(word);
    }
  });

  test("a shell that it does not know is refused with those it does", async () => {
    const refused = await cli(["completion", "tcsh"]);
    expect(refused).toMatchObject({ code: 64, stdout: "" });
    expect(refused.stderr).toContain("Allowed choices are bash, zsh, fish");
  });
});

describe("an embedded database whose migrator is killed", () => {
  const names = MIGRATIONS.map(({ name }) => name);
  test.each([names[0], names.at(-1)])(
    "when it comes to %s it has all of the migrations or none, and the next run goes through",
    async (name = "") => {
      const home = join(directory, name);
      const migrator = start(["migrate", "--directory", home]);
      const outcome = finished(migrator);
      await printed(migrator.stderr, new RegExp(name));
      migrator.kill("SIGKILL");
      expect(await outcome).toMatchObject({ code: null });
      const next = await cli(["migrate", "--json", "--directory", home]);
      expect(next).toMatchObject({ code: 0 });
      expect([{ applied: names }, { applied: [] }]).toContainEqual(JSON.parse(next.stdout));
    },
  );
});

describe("a command that is told no database", () => {
  const none = {
    MIGRATION_DATABASE_URL: undefined,
    DATABASE_URL: undefined,
    POSTGRES_URL: undefined,
    PGHOST: undefined,
  };
  let folder: string;
  let parent: string;
  beforeEach(async () => {
    parent = await mkdtemp(join(tmpdir(), "meta-agent-db-bare-"));
    folder = join(parent, "app");
    await mkdir(folder);
  });
  afterEach(() => rm(parent, { recursive: true }));
  const bare = (words: readonly string[], env: NodeJS.ProcessEnv = {}) =>
    finished(
      spawn(process.execPath, [mainFile(), ...words], {
        cwd: folder,
        env: environment({
          ...none,
          META_AGENT_APP_PASSWORD: "a",
          META_AGENT_BACKEND_PASSWORD: "b",
          ...env,
        }),
      }),
    );

  test.each([
    [["migrate", "--wait", "60"]],
    [["migrate", "--dry-run"]],
    [["adopt"]],
    [["rebuild"]],
    [["roles", "--apply"]],
    [["diff", "--repair"]],
    [["status"]],
    [["studio"]],
  ])("%j refuses, and makes nothing", async (words) => {
    const outcome = await bare(words, { CI: "true", MIGRATION_DATABASE_URL: "" });
    expect(outcome).toMatchObject({ code: 1, stdout: "" });
    expect(outcome.stderr).toContain("no database is named, and none is made unasked");
    expect(outcome.stderr).toContain("MIGRATION_DATABASE_URL: empty, which counts as not set");
    expect(outcome.stderr).toContain("  DATABASE_URL: not set");
    expect(outcome.stderr).toContain(".env in this folder: not there");
    expect(outcome.stderr).toContain("--url postgres://");
    expect(outcome.stderr).toContain("--directory .meta-agent");
    expect(await readdir(folder)).toEqual([]);
  });

  const url = "postgres://me:s3cret@127.0.0.1:1/app";
  test("it says which other names and files are there, and no value", async () => {
    await writeFile(join(folder, ".env.local"), `DATABASE_URL=${url}\n`);
    await writeFile(join(folder, ".env"), `SUPABASE_DB_URL=${url}\nDATABASE_URL=\n`);
    await writeFile(join(parent, ".env"), `export DATABASE_URL=${url}\n`);
    const { stderr } = await bare(["migrate"], { POSTGRES_URL: url, PGHOST: "s3cret" });
    for (const name of ["POSTGRES_URL", "PGHOST", "SUPABASE_DB_URL", ".env.local", "../.env"]) {
      expect(stderr).toContain(`  ${name}: is there, and is not read`);
    }
    expect(stderr).toContain("  DATABASE_URL: empty, which counts as not set");
    expect(stderr).toContain(".env in this folder: read");
    expect(stderr).not.toContain("s3cret");
  });

  test("a .env that is not UTF-8 is named", async () => {
    await writeFile(join(folder, ".env"), `\uFEFFDATABASE_URL=${url}\n`, "utf16le");
    const { code, stderr } = await bare(["migrate"]);
    expect(code).toBe(1);
    expect(stderr).toContain("save it as UTF-8");
    expect(stderr).not.toContain("s3cret");
  });
});

describe("a wrong command line or setting", () => {
  test.each([
    [["nonsense"], "unknown command 'nonsense'"],
    [["migrate", "--nonsense"], "unknown option '--nonsense'"],
    [["dev", "--port", "http"], "It takes a number from 0 to 65535"],
    [["migrate", "--lock-timeout", "soon"], "It takes a number of seconds, 0 or more."],
    [["migrate", "--wait", "-1"], "It takes a number of seconds, 0 or more."],
    [["eject"], "required option '--supabase' not specified"],
    [["migrate", "--url", "postgres://h/d", "--directory", "d"], "cannot be used with"],
  ])("%j is a usage error, 64", async (words, said) => {
    const outcome = await cli(words);
    expect(outcome).toMatchObject({ code: 64, stdout: "" });
    expect(outcome.stderr).toContain(said);
  });

  test.each([
    [["migarte"], "error: unknown command 'migarte'\n(Did you mean migrate?)\n"],
    [["migrate", "--wiat", "1"], "error: unknown option '--wiat'\n(Did you mean --wait?)\n"],
    [["nonsense"], "error: unknown command 'nonsense'\nmeta-agent-db help says what there is\n"],
    [
      ["dev", "--nonsense"],
      "error: unknown option '--nonsense'\nmeta-agent-db help dev says what there is\n",
    ],
  ])(
    "%j is answered by what is wrong and what was meant, and no page of help",
    async (words, said) => {
      expect(await cli(words)).toEqual({ code: 64, stdout: "", stderr: said });
    },
  );

  test("help is no error", async () => {
    const { code, stdout } = await cli(["--help"]);
    expect(code).toBe(0);
    for (const command of ["init", "migrate", "status", "sql", "eject", "demo", "dev"])
      expect(stdout).toContain(command);
  });

  test.each(["DATABASE_URL", "MIGRATION_DATABASE_URL"])(
    "a malformed %s is named, not repeated",
    async (name) => {
      const outcome = await cli(["migrate"], { [name]: "mysql://root:s3cret@db/app" });
      expect(outcome).toMatchObject({ code: 1, stdout: "" });
      expect(outcome.stderr).toContain(name);
      expect(outcome.stderr).toContain("expected postgres://");
      expect(outcome.stderr).not.toContain("s3cret");
    },
  );

  test.each([
    "s3cret",
    "postgres://me:p@s3cret@127.0.0.1:1/app",
    "postgres://me:12/s3cret@127.0.0.1:1/app",
    "postgres://me:12?s3cret@127.0.0.1:1/app",
  ])("a malformed --url is named, not repeated: %s", async (url) => {
    const outcome = await cli(["migrate", "--url", url]);
    expect(outcome).toMatchObject({ code: 1, stdout: "" });
    expect(outcome.stderr).toContain("expected postgres://");
    expect(outcome.stderr).not.toContain("s3cret");
  });

  test("--wait ends with what was wrong all the time", async () => {
    const outcome = await cli(["migrate", "--wait", "0.1", "--url", "postgres://127.0.0.1:1/app"]);
    expect(outcome).toMatchObject({ code: 1, stdout: "" });
    expect(outcome.stderr).toMatch(/waiting for the server\nerror connect ECONNREFUSED/);
  });

  test("a server that is not there is said with what to check", async () => {
    const outcome = await cli(["migrate", "--url", "postgres://me:s3cret@127.0.0.1:1/app"]);
    expect(outcome).toMatchObject({ code: 1, stdout: "" });
    expect(outcome.stderr).toContain("ECONNREFUSED");
    expect(outcome.stderr).toContain("Start the server, or check host and port");
    expect(outcome.stderr).not.toContain("s3cret");
  });
});
