import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { inspect } from "node:util";
import { afterAll, describe, expect, test } from "vitest";
import { type ConfigOptions, databaseUrls, loadConfig } from "../../src/config.ts";

// The seed's settings, task 1.10, copied by hand; null: it has no default.
const SEED = {
  SUPABASE_URL: null,
  SUPABASE_KEY: null,
  SUPABASE_SERVICE_KEY: null,
  OPENAI_API_KEY: null,
  OPENAI_BASE_URL: "https://api.anthropic.com/v1",
  DEFAULT_MODEL: "claude-sonnet-4-20250514",
  EVALUATION_MODEL: "claude-sonnet-4-20250514",
  REDIS_URL: "redis://localhost:6379",
  SLACK_WEBHOOK_URL: null,
  ALERT_EMAIL: null,
  CLICKUP_API_KEY: null,
  FAILURE_RATE_THRESHOLD: 0.2,
  FAILURE_COUNT_THRESHOLD: 10,
  COST_SPIKE_THRESHOLD: 1.5,
  LATENCY_SPIKE_THRESHOLD: 2.0,
  EVALUATION_DAY: 0,
  AGGREGATION_HOUR: 2,
  EVALUATION_HOUR: 3,
  ENABLE_SHADOW_TESTING: true,
  ENABLE_CANARY_DEPLOYMENTS: true,
  ENABLE_AUTO_PROPOSALS: true,
};
const NAMES = [...Object.keys(SEED), "DATABASE_URL", "MIGRATION_DATABASE_URL"];
const NUMBERS = NAMES.filter((name) => /_(THRESHOLD|DAY|HOUR)$/.test(name));
const FLAGS = NAMES.filter((name) => name.startsWith("ENABLE_"));

const REQUIRED = {
  SUPABASE_URL: "https://project.example.com",
  SUPABASE_KEY: "public-key",
  SUPABASE_SERVICE_KEY: "service-key",
  OPENAI_API_KEY: "model-key",
};
const OPTIONAL = {
  SLACK_WEBHOOK_URL: "https://hooks.example.com/services/1",
  ALERT_EMAIL: "ops@example.com",
  CLICKUP_API_KEY: "task-key",
  DATABASE_URL: "postgres://app:pw@localhost:5432/fleet",
  MIGRATION_DATABASE_URL: "postgresql://owner:pw@localhost/fleet?sslmode=disable",
};
const DEFAULTS = Object.fromEntries(Object.entries(SEED).filter(([, value]) => value !== null));

const EXAMPLE = fileURLToPath(new URL("../../.env.example", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "config-test-"));
afterAll(() => rmSync(directory, { recursive: true }));

/** SUPABASE_URL → supabaseUrl */
const propertyOf = (name: string) =>
  name.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
const byProperty = (values: object) =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [propertyOf(name), value]));

type Env = NonNullable<ConfigOptions["env"]>;
const isolated = (env: Env): ConfigOptions => ({ env, envFile: false });
const load = (env: Env): Record<string, unknown> =>
  loadConfig({}, isolated({ ...REQUIRED, ...env }));

function envFile(lines: string): string {
  const path = join(mkdtempSync(join(directory, "file-")), "settings.env");
  writeFileSync(path, lines);
  return path;
}

function failure(work: () => unknown): Error {
  try {
    work();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error("expected an error");
}
const refusal = (env: Env) => failure(() => load(env)).message;
/** The line of a message that speaks of one variable. */
const lineOf = (message: string, name: string) =>
  message.split("\n").find((line) => line.startsWith(`  ${name} `)) ?? `nothing about ${name}`;
const listed = (message: string) =>
  Array.from(message.matchAll(/^ {2}(\w+) (?:is missing|from)/gm), ([, name]) => name);

describe("defaults and names", () => {
  test("the defaults are the seed's", () => {
    expect(load({})).toEqual(byProperty({ ...REQUIRED, ...DEFAULTS }));
  });

  test("every setting has the seed's name, in the seed's order, then the two databases", () => {
    expect(Object.keys(load(OPTIONAL))).toEqual(NAMES.map(propertyOf));
  });

  test("what is not set is absent, not undefined", () => {
    expect(Object.keys(load({}))).not.toContain("slackWebhookUrl");
  });

  test(".env.example has the same names in the same order, each explained by a comment", () => {
    const lines = readFileSync(EXAMPLE, "utf8").split("\n");
    const settings = lines.flatMap((line, i) => {
      const name = /^(\w+)=/.exec(line)?.[1];
      return name === undefined ? [] : [{ name, comment: lines[i - 1] ?? "" }];
    });
    expect(settings.map(({ name }) => name)).toEqual(NAMES);
    for (const { name, comment } of settings) {
      expect(comment, name).toMatch(/^# \w/);
      expect(comment.startsWith("# REQUIRED"), name).toBe(name in REQUIRED);
    }
  });

  test(".env.example gives the defaults and leaves all else empty", () => {
    const options = { env: REQUIRED, envFile: EXAMPLE };
    expect(loadConfig({}, options)).toEqual(load({}));
    expect(databaseUrls({}, { ...options, env: {} })).toEqual({});
    expect(listed(failure(() => loadConfig({}, { ...options, env: {} })).message)).toEqual(
      Object.keys(REQUIRED),
    );
  });

  test.each(Object.entries(DEFAULTS))(".env.example says %s=%s", (name, value) => {
    expect(readFileSync(EXAMPLE, "utf8").split("\n")).toContain(`${name}=${String(value)}`);
  });
});

describe("sources", () => {
  const file = envFile("DEFAULT_MODEL=file\nEVALUATION_MODEL=file\nREDIS_URL=redis://file\n");
  const env = { ...REQUIRED, DEFAULT_MODEL: "env", EVALUATION_MODEL: "env" };

  test("the object passed wins over the environment, that over the file, that over the default", () => {
    expect(loadConfig({ defaultModel: "passed" }, { env, envFile: file })).toMatchObject({
      defaultModel: "passed",
      evaluationModel: "env",
      redisUrl: "redis://file",
      openaiBaseUrl: SEED.OPENAI_BASE_URL,
    });
  });

  test.each(["", undefined])(
    "%j counts as unset, in the object passed and the environment",
    (none) => {
      const options = { env, envFile: file };
      expect(loadConfig({ defaultModel: none }, options).defaultModel).toBe("env");
      const silent = { ...options, env: { ...env, DEFAULT_MODEL: none } };
      expect(loadConfig({}, silent).defaultModel).toBe("file");
    },
  );

  test("an empty value counts as unset: every variable, environment and file", () => {
    const empty = Object.fromEntries(NAMES.map((name) => [name, ""]));
    const blank = envFile(NAMES.map((name) => `${name}=\n`).join(""));
    expect(loadConfig({}, { env: { ...empty, ...REQUIRED }, envFile: blank })).toEqual(load({}));
    expect(listed(failure(() => loadConfig({}, isolated(empty))).message)).toEqual(
      Object.keys(REQUIRED),
    );
  });

  test("false and 0 passed are values, not absences", () => {
    const config = loadConfig(
      { enableAutoProposals: false, aggregationHour: 0 },
      isolated({ ...REQUIRED, ENABLE_AUTO_PROPOSALS: "true", AGGREGATION_HOUR: "5" }),
    );
    expect(config).toMatchObject({ enableAutoProposals: false, aggregationHour: 0 });
  });

  test("the object passed can be everything", () => {
    const all = {
      supabaseUrl: "http://localhost:54321",
      supabaseKey: "a",
      supabaseServiceKey: "b",
      openaiApiKey: "c",
      failureRateThreshold: 0,
      failureCountThreshold: 0,
      evaluationDay: 6,
      enableShadowTesting: false,
      alertEmail: "a@example.com",
    };
    expect(loadConfig(all, isolated({}))).toMatchObject(all);
  });

  test("the types of the object passed are checked", () => {
    // @ts-expect-error a number, not text
    loadConfig({ evaluationDay: "1" }, isolated(REQUIRED));
    // @ts-expect-error no such setting
    loadConfig({ evaluationDays: 1 }, isolated(REQUIRED));
  });

  test("names are read in any letter case, from the environment and from a file", () => {
    const lower = Object.fromEntries(
      Object.entries({ ...REQUIRED, ...OPTIONAL }).map(([k, v]) => [k.toLowerCase(), v]),
    );
    const lines = Object.entries(lower).map(([k, v]) => `${k}=${v}\n`);
    const mixed = { Evaluation_Day: "4" };
    expect(loadConfig({}, isolated({ ...lower, ...mixed }))).toEqual(
      load({ ...OPTIONAL, EVALUATION_DAY: "4" }),
    );
    expect(loadConfig({}, { env: mixed, envFile: envFile(lines.join("")) })).toEqual(
      load({ ...OPTIONAL, EVALUATION_DAY: "4" }),
    );
  });

  test.each([
    [{ DEFAULT_MODEL: "upper", default_model: "lower", Default_Model: "mixed" }],
    [{ default_model: "lower", Default_Model: "mixed", DEFAULT_MODEL: "upper" }],
  ])("of names that differ in case only, the upper-case one wins: %o", (names) => {
    expect(load(names)["defaultModel"]).toBe("upper");
  });

  test("an empty upper-case name does not hide a lower-case one, nor the file a variable", () => {
    expect(load({ DEFAULT_MODEL: "", default_model: "lower" })["defaultModel"]).toBe("lower");
    const options = { env: { ...REQUIRED, default_model: "env" }, envFile: file };
    expect(loadConfig({}, options).defaultModel).toBe("env");
  });

  test("quotes, comments, `export` and Windows line ends in a file are understood", () => {
    const path = envFile(
      '\uFEFFexport DEFAULT_MODEL="a#b" # why\r\n# note\r\nEVALUATION_DAY=5 # Saturday\r\n',
    );
    expect(loadConfig({}, { env: REQUIRED, envFile: path })).toMatchObject({
      defaultModel: "a#b",
      evaluationDay: 5,
    });
  });

  test("unknown names are ignored", () => {
    expect(load({ PATH: "/bin", ENABLE_NOTHING: "maybe", constructor: "x" })).toEqual(load({}));
    const path = envFile("OTHER=1\nconstructor=2\n__proto__=3\n");
    expect(loadConfig({}, { env: REQUIRED, envFile: path })).toEqual(load({}));
  });

  test("a named file that cannot be read is an error that names it", () => {
    const path = join(directory, "absent.env");
    expect(() => databaseUrls({}, { env: {}, envFile: path })).toThrow(`${path}: cannot read`);
    expect(() => databaseUrls({}, { env: {}, envFile: directory })).toThrow("EISDIR");
    expect(() => databaseUrls({}, { env: {}, envFile: "" })).toThrow("ENOENT");
  });
});

describe("booleans", () => {
  const spellings = { true: "true 1 t yes y on", false: "false 0 f no n off" };
  const cases = Object.entries(spellings).flatMap(([value, words]) =>
    words
      .split(" ")
      .flatMap((word) => [word, word.toUpperCase(), word.charAt(0).toUpperCase() + word.slice(1)])
      .map((word) => [word, value === "true"] as const),
  );

  test.each(cases)("%s is %s", (word, expected) => {
    const config = load(Object.fromEntries(FLAGS.map((name) => [name, word])));
    expect(FLAGS.map((name) => config[propertyOf(name)])).toEqual(FLAGS.map(() => expected));
  });

  test.each(["maybe", "2", "-1", "enabled", "disabled", "tr", "truefalse", " ", "null", "true "])(
    "%j is refused",
    (word) => {
      const message = refusal(Object.fromEntries(FLAGS.map((name) => [name, word])));
      expect(listed(message)).toEqual(FLAGS);
      expect(message).toContain("expected true or false");
    },
  );
});

describe("numbers", () => {
  test.each([
    " ",
    "0x10",
    "0b1",
    "1e999",
    "12abc",
    "1,5",
    "1_000",
    "--1",
    "-1",
    "NaN",
    "Infinity",
    ".",
    "1.",
    "e1",
    "1 ",
    "１",
  ])("%j is refused everywhere", (text) => {
    expect(listed(refusal(Object.fromEntries(NUMBERS.map((name) => [name, text]))))).toEqual(
      NUMBERS,
    );
  });

  test.each([
    ["FAILURE_RATE_THRESHOLD", "0", 0],
    ["FAILURE_RATE_THRESHOLD", "0.35", 0.35],
    ["COST_SPIKE_THRESHOLD", ".5", 0.5],
    ["COST_SPIKE_THRESHOLD", "1e2", 100],
    ["LATENCY_SPIKE_THRESHOLD", "3", 3],
    ["FAILURE_COUNT_THRESHOLD", "0", 0],
    ["FAILURE_COUNT_THRESHOLD", "250", 250],
    ["EVALUATION_DAY", "0", 0],
    ["EVALUATION_DAY", "6", 6],
    ["AGGREGATION_HOUR", "23", 23],
    ["EVALUATION_HOUR", "00", 0],
  ])("%s=%s is %d", (name, text, expected) => {
    expect(load({ [name]: text })[propertyOf(name)]).toBe(expected);
  });

  test.each([
    ["FAILURE_COUNT_THRESHOLD", "1.5", "a whole number of 0 or more"],
    ["FAILURE_COUNT_THRESHOLD", "9007199254740993", "a whole number of 0 or more"],
    ["FAILURE_RATE_THRESHOLD", "-0.1", "a number of 0 or more"],
    ["EVALUATION_DAY", "7", "a whole number from 0 to 6"],
    ["EVALUATION_DAY", "0.5", "a whole number from 0 to 6"],
    ["AGGREGATION_HOUR", "24", "a whole number from 0 to 23"],
    ["EVALUATION_HOUR", "24", "a whole number from 0 to 23"],
  ])("%s=%s is refused: expected %s", (name, text, expected) => {
    expect(lineOf(refusal({ [name]: text }), name)).toBe(
      `  ${name} from the environment: expected ${expected}`,
    );
  });

  test.each([
    { failureRateThreshold: -0.1 },
    { costSpikeThreshold: Number.NaN },
    { latencySpikeThreshold: Number.POSITIVE_INFINITY },
    { failureCountThreshold: 1.5 },
    { evaluationDay: 7 },
    { aggregationHour: -1 },
    { evaluationHour: 24 },
  ])("the object passed obeys the same rules: %o", (overrides) => {
    expect(() => loadConfig(overrides, isolated(REQUIRED))).toThrow("from the object passed");
  });

  test("spaces around a value are pointed out, since the message does not show them", () => {
    expect(refusal({ EVALUATION_DAY: "1 " })).toContain("spaces around");
    expect(refusal({ EVALUATION_DAY: "9" })).not.toContain("spaces around");
  });
});

describe("texts", () => {
  test.each([
    ["SUPABASE_URL", "http://localhost:54321"],
    ["OPENAI_BASE_URL", "http://127.0.0.1:8080/v1"],
    ["REDIS_URL", "rediss://:pw@redis.example.com:6380/1"],
    ["SLACK_WEBHOOK_URL", "https://hooks.example.com/services/T/B/x"],
    ["ALERT_EMAIL", "on-call+night@alerts.example.com"],
    ["DATABASE_URL", "postgres://localhost"],
    ["DATABASE_URL", "postgresql://app:p%40ss%23@db.example.com:6543/postgres?sslmode=require"],
    ["DATABASE_URL", "postgres://app:a,b@one.example.com:5432,two.example.com:5433/fleet"],
    ["DATABASE_URL", "postgres://app@[::1]:5432/fleet"],
    ["MIGRATION_DATABASE_URL", "postgresql:///fleet?host=/var/run/postgresql"],
  ])("%s takes %s as it is", (name, text) => {
    expect(load({ [name]: text })[propertyOf(name)]).toBe(text);
  });

  test.each([
    ["SUPABASE_URL", "project.example.com", "https:// or http://"],
    ["SUPABASE_URL", "ftp://example.com", "https:// or http://"],
    ["SUPABASE_URL", "https://", "https:// or http://"],
    ["SUPABASE_URL", "https://example.com/a b", "https:// or http://"],
    ["SUPABASE_URL", "https://example.com ", "https:// or http://"],
    ["SUPABASE_KEY", "two words", "text without spaces"],
    ["OPENAI_API_KEY", "key\n", "text without spaces"],
    ["OPENAI_BASE_URL", "https:example.com", "https:// or http://"],
    ["REDIS_URL", "http://localhost:6379", "redis:// or rediss://"],
    ["SLACK_WEBHOOK_URL", "#alerts", "https:// or http://"],
    ["ALERT_EMAIL", "ops", "one e-mail address"],
    ["ALERT_EMAIL", "a@example.com, b@example.com", "one e-mail address"],
    ["DATABASE_URL", "mysql://localhost/fleet", "postgres://user:password@host"],
    ["DATABASE_URL", "postgres:fleet", "postgres://user:password@host"],
    ["DATABASE_URL", "postgres://", "postgres://user:password@host"],
    ["DATABASE_URL", "host=localhost dbname=fleet", "postgres://user:password@host"],
    ["DATABASE_URL", "postgres://app:p#w@localhost/fleet", "percent-encoded"],
    ["DATABASE_URL", "postgres://app:50%off@localhost/fleet", "percent-encoded"],
    ["DATABASE_URL", "postgres://localhost:port/fleet", "postgres://user:password@host"],
    ["MIGRATION_DATABASE_URL", " postgres://localhost/fleet", "postgres://user:password@host"],
  ])("%s refuses %j", (name, text, expected) => {
    const message = refusal({ [name]: text });
    expect(listed(message)).toEqual([name]);
    expect(lineOf(message, name)).toContain(expected);
  });
});

describe("problems", () => {
  const CANARY = "cAnArY7f3";
  const MALFORMED = ["# x", "", " x", "\n", "@"].map((end) => ` ${CANARY}${end}`);

  test("all are listed at once, with their source and what to do next", () => {
    const path = envFile("EVALUATION_DAY=9\nALERT_EMAIL=nobody\n");
    const { message } = failure(() =>
      loadConfig(
        { evaluationHour: 99 },
        { env: { SUPABASE_KEY: "k", REDIS_URL: "localhost" }, envFile: path },
      ),
    );
    expect(message).toBe(
      [
        "Settings are missing or wrong:",
        "  SUPABASE_URL is missing: expected a URL that starts with https:// or http://",
        "  SUPABASE_SERVICE_KEY is missing: expected text without spaces",
        "  OPENAI_API_KEY is missing: expected text without spaces",
        "  REDIS_URL from the environment: expected a URL that starts with redis:// or rediss://",
        `  ALERT_EMAIL from ${path}: expected one e-mail address`,
        `  EVALUATION_DAY from ${path}: expected a whole number from 0 to 6`,
        "  EVALUATION_HOUR from the object passed: expected a whole number from 0 to 23",
        "Set them in the environment or in .env; .env.example explains each of them.",
      ].join("\n"),
    );
  });

  test.each(MALFORMED)(
    "no value is ever printed, whichever is malformed and wherever: %j",
    (text) => {
      const env = Object.fromEntries(NAMES.map((name) => [name, text]));
      const file = envFile(NAMES.map((name) => `${name}="${text}"\n`).join(""));
      for (const work of [
        () => loadConfig({}, isolated(env)),
        () => loadConfig({}, { env: {}, envFile: file }),
        () => loadConfig(byProperty(env), isolated({})),
        () => databaseUrls({}, isolated(env)),
      ]) {
        const error = failure(work);
        expect(listed(error.message)).toEqual(
          error.message.includes("SUPABASE") ? NAMES : NAMES.slice(-2),
        );
        expect(inspect(error, { depth: null, showHidden: true })).not.toContain(CANARY);
      }
    },
  );

  test.each(NAMES)("no value is printed when %s alone is malformed", (name) => {
    for (const text of MALFORMED) {
      const error = failure(() => load({ ...OPTIONAL, [name]: text }));
      expect(listed(error.message)).toEqual([name]);
      const printed = inspect(error, { depth: null, showHidden: true });
      for (const secret of [CANARY, ...Object.values({ ...REQUIRED, ...OPTIONAL })])
        expect(printed).not.toContain(secret);
    }
  });

  test.each([
    ["SUPABASE_URL", "SUPABASE_URI"],
    ["SUPABASE_URL", "SUPBASE_URL"],
    ["SUPABASE_KEY", "SUPABASE_ANON_KEY"],
    ["SUPABASE_KEY", "supabaseKey"],
    ["SUPABASE_SERVICE_KEY", "SUPABASE_SERVICE_ROLE_KEY"],
    ["OPENAI_API_KEY", "OPENAI_APIKEY"],
    ["OPENAI_API_KEY", "openai-api-key"],
    ["OPENAI_API_KEY", "OPENAI_KEY"],
  ])("a missing %s is told of %s", (missing, typed) => {
    const hinted = `(misspelt? found ${typed.toUpperCase()})`;
    for (const options of [
      isolated({ ...REQUIRED, [missing]: undefined, [typed]: "x" }),
      { env: { ...REQUIRED, [missing]: "" }, envFile: envFile(`${typed}=x\n`) },
    ]) {
      const { message } = failure(() => loadConfig({}, options));
      expect(listed(message)).toEqual([missing]);
      expect(lineOf(message, missing)).toContain(hinted);
    }
  });

  test("only names that are set, unknown and similar are hinted at", () => {
    const env = { SUPABASE_KEY: "k", SUPABASE_URI: "", ANTHROPIC_API_KEY: "k", PATH: "/", _: "x" };
    expect(failure(() => loadConfig({}, isolated(env))).message).not.toContain("misspelt");
    expect(() => loadConfig({}, isolated({ ...REQUIRED, SUPABASE_URI: "x" }))).not.toThrow();
  });
});

describe("databases", () => {
  const { DATABASE_URL: app, MIGRATION_DATABASE_URL: owner } = OPTIONAL;

  test.each<[string, Env, ReturnType<typeof databaseUrls>]>([
    ["neither", {}, {}],
    [
      "one, which serves both",
      { DATABASE_URL: app },
      { databaseUrl: app, migrationDatabaseUrl: app },
    ],
    [
      "both",
      { DATABASE_URL: app, MIGRATION_DATABASE_URL: owner },
      { databaseUrl: app, migrationDatabaseUrl: owner },
    ],
    ["that of migrations", { MIGRATION_DATABASE_URL: owner }, { migrationDatabaseUrl: owner }],
    [
      "one beside an empty one",
      { DATABASE_URL: app, MIGRATION_DATABASE_URL: "" },
      { databaseUrl: app, migrationDatabaseUrl: app },
    ],
  ])("%s: both functions agree, and one needs no other setting", (_, env, expected) => {
    expect(databaseUrls({}, isolated(env))).toStrictEqual(expected);
    expect(loadConfig({}, isolated({ ...REQUIRED, ...env }))).toStrictEqual({
      ...load({}),
      ...expected,
    });
  });

  test("the same sources in the same order", () => {
    const envFile_ = envFile(`database_url=${app}\nMIGRATION_DATABASE_URL=${owner}\n`);
    const url = "postgres://localhost/passed";
    expect(databaseUrls({}, { env: { DATABASE_URL: url }, envFile: envFile_ })).toEqual({
      databaseUrl: url,
      migrationDatabaseUrl: owner,
    });
    expect(
      databaseUrls({ databaseUrl: url }, { env: { DATABASE_URL: owner }, envFile: false }),
    ).toEqual({ databaseUrl: url, migrationDatabaseUrl: url });
  });

  test("a wrong URL is reported once, under the name that was set; other settings are not looked at", () => {
    const env = { DATABASE_URL: "mysql://localhost", EVALUATION_DAY: "9" };
    expect(listed(failure(() => databaseUrls({}, isolated(env))).message)).toEqual([
      "DATABASE_URL",
    ]);
  });
});

describe("a process of its own", () => {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  const config = new URL("../../src/config.ts", import.meta.url).href;

  /** Runs a script in a directory; gives back what it reports, having printed nothing else. */
  function run(cwd: string, script: string, env: Record<string, string> = {}): unknown {
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ["--import", tsx, "--input-type=module", "--eval", script],
      { cwd, env, encoding: "utf8" },
    );
    expect(stderr).toBe("");
    return JSON.parse(stdout);
  }
  function workingDirectory(lines?: string): string {
    const path = mkdtempSync(join(directory, "cwd-"));
    if (lines !== undefined) writeFileSync(join(path, ".env"), lines);
    return path;
  }
  const lines = Object.entries({ ...REQUIRED, ALERT_EMAIL: "file@example.com" })
    .map(([name, value]) => `${name}=${value}\n`)
    .join("");

  test("importing reads no file of settings and no variable; loading leaves the environment alone", () => {
    const script = `
      import fs from "node:fs";
      import { syncBuiltinESMExports } from "node:module";
      const files = [], variables = [];
      for (const name of ["accessSync", "existsSync", "openSync", "readFileSync", "statSync"]) {
        const real = fs[name];
        fs[name] = (path, ...rest) => (files.push(String(path)), real(path, ...rest));
      }
      syncBuiltinESMExports();
      process.env = new Proxy(process.env, {
        get: (env, name) => (variables.push(name), env[name]),
        ownKeys: (env) => (variables.push("all"), Reflect.ownKeys(env)),
      });
      const seen = () => ({
        files: files.splice(0).filter((path) => path.endsWith(".env")),
        variables: variables.splice(0).filter((name) => /^(all|EVALUATION_DAY)$/.test(name)),
      });
      const { loadConfig } = await import(${JSON.stringify(config)});
      const imported = seen();
      const before = JSON.stringify(process.env);
      seen();
      const { alertEmail, evaluationDay } = loadConfig();
      const loaded = seen();
      const unchanged = JSON.stringify(process.env) === before;
      console.log(JSON.stringify({ imported, loaded, unchanged, alertEmail, evaluationDay }));`;
    expect(run(workingDirectory(lines), script, { EVALUATION_DAY: "3" })).toEqual({
      imported: { files: [], variables: [] },
      loaded: { files: [".env"], variables: ["all", "EVALUATION_DAY"] },
      unchanged: true,
      alertEmail: "file@example.com",
      evaluationDay: 3,
    });
  });

  test("a default .env that is absent, or a directory, is no error; a malformed one is", () => {
    const script = `
      const { databaseUrls } = await import(${JSON.stringify(config)});
      let result;
      try { result = databaseUrls(); } catch (error) { result = error.message; }
      console.log(JSON.stringify(result));`;
    const python = workingDirectory();
    mkdirSync(join(python, ".env"));
    expect(run(workingDirectory(), script)).toEqual({});
    expect(run(python, script)).toEqual({});
    expect(run(workingDirectory("DATABASE_URL=mysql://x"), script)).toContain(
      "DATABASE_URL from .env: expected postgres://",
    );
  });
});
