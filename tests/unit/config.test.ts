import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { inspect } from "node:util";
import { parse } from "dotenv";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod";
import {
  type ConfigOptions,
  databaseUrls,
  healthThresholds,
  loadConfig,
} from "../../src/config.ts";

const SEED = process.env["PROPERTY_SEED"];
const PARAMETERS = { numRuns: 300, ...(SEED ? { seed: Number(SEED) } : {}) };

// The first release's settings, copied by hand; null: it has no default.
const FIRST = {
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
const NAMES = [...Object.keys(FIRST), "DATABASE_URL", "MIGRATION_DATABASE_URL"];

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
const DEFAULTS = Object.fromEntries(Object.entries(FIRST).filter(([, value]) => value !== null));

interface Kind {
  readonly names: readonly string[];
  readonly expected: string;
  /** Texts, at least three, and what they are read as. */
  readonly takes: Readonly<Record<string, unknown>>;
  readonly refuses: readonly unknown[];
  /** Of numbers. */
  readonly holds?: (value: number) => boolean;
}
const asItIs = (...texts: readonly string[]) =>
  Object.fromEntries(texts.map((text) => [text, text]));
const spelled = (value: boolean, words: string) =>
  Object.fromEntries(
    words
      .split(" ")
      .flatMap((word) => [word, word.toUpperCase(), word.charAt(0).toUpperCase() + word.slice(1)])
      .map((word) => [word, value]),
  );
const NO_NUMBERS = [
  ...[" ", "0x10", "0b1", "1e999", "12abc", "1,5", "1_000", "--1", "-1", "-0.1", "NaN", "Infinity"],
  ...[".", "1.", "e1", "1 ", "１", -1, Number.NaN, Number.POSITIVE_INFINITY, true, 1n],
];
const KINDS: Readonly<Record<string, Kind>> = {
  "an address on the web": {
    names: ["SUPABASE_URL", "OPENAI_BASE_URL", "SLACK_WEBHOOK_URL"],
    expected: "a URL that starts with https:// or http://",
    takes: asItIs("http://localhost:54321", "http://127.0.0.1:8080/v1", "https://example.com/T/x"),
    refuses: [
      ...["project.example.com", "ftp://example.com", "https://", "https://example.com/a b"],
      ...["https://example.com ", "https:example.com", "#alerts", 1],
    ],
  },
  "a key or a name": {
    names: [
      ...["SUPABASE_KEY", "SUPABASE_SERVICE_KEY", "OPENAI_API_KEY", "CLICKUP_API_KEY"],
      ...["DEFAULT_MODEL", "EVALUATION_MODEL"],
    ],
    expected: "text without spaces",
    takes: asItIs("a", "sk-proj_0/=", "ü"),
    refuses: ["two words", "key\n", "\tkey", 1],
  },
  "a queue": {
    names: ["REDIS_URL"],
    expected: "a URL that starts with redis:// or rediss://",
    takes: asItIs("redis://one", "redis://two:6380", "rediss://:pw@redis.example.com:6380/1"),
    refuses: ["http://localhost:6379", "localhost:6379", 1],
  },
  "an e-mail address": {
    names: ["ALERT_EMAIL"],
    expected: "one e-mail address",
    takes: asItIs("on-call+night@alerts.example.com", "a@example.com", "o'neil@example.com"),
    refuses: ["ops", "a@example.com, b@example.com", "<a@example.com>", "a@example", 1],
  },
  "a ratio or a multiple": {
    names: ["FAILURE_RATE_THRESHOLD", "COST_SPIKE_THRESHOLD", "LATENCY_SPIKE_THRESHOLD"],
    expected: "a number of 0 or more",
    takes: { "0": 0, "0.35": 0.35, ".5": 0.5, "1e2": 100, "3": 3 },
    refuses: NO_NUMBERS,
    holds: Number.isFinite,
  },
  "a count": {
    names: ["FAILURE_COUNT_THRESHOLD"],
    expected: "a whole number of 0 or more",
    takes: { "0": 0, "7": 7, "250": 250, "1e2": 100 },
    refuses: [...NO_NUMBERS, "1.5", 1.5, "9007199254740993"],
    holds: Number.isSafeInteger,
  },
  "a weekday": {
    names: ["EVALUATION_DAY"],
    expected: "a whole number from 0 to 6",
    takes: { "0": 0, "3": 3, "6": 6 },
    refuses: [...NO_NUMBERS, "7", 7, "0.5"],
    holds: (value) => Number.isInteger(value) && value <= 6,
  },
  "an hour": {
    names: ["AGGREGATION_HOUR", "EVALUATION_HOUR"],
    expected: "a whole number from 0 to 23",
    takes: { "00": 0, "12": 12, "23": 23 },
    refuses: [...NO_NUMBERS, "24", 24, "0.5"],
    holds: (value) => Number.isInteger(value) && value <= 23,
  },
  "a switch": {
    names: ["ENABLE_SHADOW_TESTING", "ENABLE_CANARY_DEPLOYMENTS", "ENABLE_AUTO_PROPOSALS"],
    expected: "true or false (or t/f, 1/0, yes/no, y/n, on/off)",
    takes: { ...spelled(true, "true 1 t yes y on"), ...spelled(false, "false 0 f no n off") },
    refuses: [
      ...["maybe", "2", "-1", "enabled", "disabled", "tr", "truefalse", " ", "null", "true "],
      ...[0, 1],
    ],
  },
  "a database": {
    names: ["DATABASE_URL", "MIGRATION_DATABASE_URL"],
    expected:
      "postgres://user:password@host:5432/database (or postgresql://), special characters of the password percent-encoded",
    takes: asItIs(
      ...["postgres://localhost", "postgres://app@[::1]:5432/fleet"],
      "postgresql://app:p%40ss%23@db.example.com:6543/postgres?sslmode=require",
      "postgres://app:a,b@one.example.com:5432,two.example.com:5433/fleet",
      "postgresql:///fleet?host=/var/run/postgresql",
    ),
    refuses: [
      ...[
        "mysql://localhost/fleet",
        "postgres:fleet",
        "postgres://",
        "host=localhost dbname=fleet",
      ],
      ...["postgres://app:p#w@localhost/fleet", "postgres://app:50%off@localhost/fleet"],
      ...["postgres://localhost:port/fleet", " postgres://localhost/fleet", 1],
    ],
  },
};
/** Every setting with its kind. */
const SETTINGS = Object.values(KINDS).flatMap((kind) =>
  kind.names.map((name) => ({ name, ...kind })),
);

const EXAMPLE = fileURLToPath(new URL("../../.env.example", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "config-test-"));
afterAll(() => rmSync(directory, { recursive: true }));

/** SUPABASE_URL → supabaseUrl */
const propertyOf = (name: string) =>
  name.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
const byProperty = (values: object) =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [propertyOf(name), value]));

const valueOf = (name: string, config: object): unknown =>
  new Map(Object.entries(config)).get(propertyOf(name));

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
/** The names that a message speaks of. */
const listed = (message: string) =>
  Array.from(message.matchAll(/^ {2}(\w+) (?:is missing|from)/gm), ([, name]) => name);

describe("defaults and names", () => {
  test("the defaults are the first release's", () => {
    expect(load({})).toEqual(byProperty({ ...REQUIRED, ...DEFAULTS }));
    expect(healthThresholds()).toEqual({
      failureRateThreshold: FIRST.FAILURE_RATE_THRESHOLD,
      failureCountThreshold: FIRST.FAILURE_COUNT_THRESHOLD,
      latencySpikeThreshold: FIRST.LATENCY_SPIKE_THRESHOLD,
    });
  });

  test("every setting has the first release's name, in its order, then the two databases", () => {
    expect(Object.keys(load(OPTIONAL))).toEqual(NAMES.map(propertyOf));
    expect(SETTINGS.map(({ name }) => name).toSorted()).toEqual(NAMES.toSorted());
  });

  test("what is not set is absent, not undefined", () => {
    expect(Object.keys(load({}))).not.toContain("slackWebhookUrl");
  });

  test(".env.example has the two databases, then the other names in the same order, each explained by a comment", () => {
    const lines = readFileSync(EXAMPLE, "utf8").split("\n");
    const settings = lines.flatMap((line, i) => {
      const name = /^(\w+)=/.exec(line)?.[1];
      return name === undefined ? [] : [{ name, comment: lines[i - 1] ?? "" }];
    });
    const databases = ["DATABASE_URL", "MIGRATION_DATABASE_URL"];
    const others = NAMES.filter((name) => !databases.includes(name));
    expect(settings.map(({ name }) => name)).toEqual([...databases, ...others]);
    for (const { name, comment } of settings) {
      expect(comment, name).toMatch(/^# \w/);
      expect(comment.startsWith("# loadConfig() asks for it."), name).toBe(name in REQUIRED);
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

  test(".env.example says every default as it is", () => {
    const lines = readFileSync(EXAMPLE, "utf8").split("\n");
    for (const [name, value] of Object.entries(DEFAULTS)) {
      expect(lines).toContain(`${name}=${String(value)}`);
    }
  });
});

describe("sources", () => {
  test.each(SETTINGS)(
    "of the object passed, the environment and the file the first that is not empty sets $name, else its default",
    ({ name, takes }) => {
      const [inFile, inEnv, inObject] = Object.entries(takes);
      if (!inFile || !inEnv || !inObject) throw new Error(`three texts that ${name} takes`);
      const others = Object.entries(REQUIRED).filter(([required]) => required !== name);
      const byDefault = DEFAULTS[name];
      for (const fromFile of [inFile, undefined]) {
        const path = envFile(`${name}=${fromFile?.[0] ?? ""}\n`);
        for (const variable of [inEnv[0], "", undefined]) {
          const env = { ...Object.fromEntries(others), [name]: variable };
          for (const value of [inObject[1], "", undefined]) {
            const overrides = { [propertyOf(name)]: value };
            const read = () => valueOf(name, loadConfig(overrides, { env, envFile: path }));
            const first = value === inObject[1] ? inObject : variable ? inEnv : fromFile;
            if (first || !(name in REQUIRED)) expect(read()).toBe(first ? first[1] : byDefault);
            else expect(listed(failure(read).message)).toEqual([name]);
          }
        }
      }
    },
  );

  test("false and 0 passed are values, not absences", () => {
    const config = loadConfig(
      { enableAutoProposals: false, aggregationHour: 0 },
      isolated({ ...REQUIRED, ENABLE_AUTO_PROPOSALS: "true", AGGREGATION_HOUR: "5" }),
    );
    expect(config).toMatchObject({ enableAutoProposals: false, aggregationHour: 0 });
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
    const file = envFile("DEFAULT_MODEL=file\n");
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

  test("a file means what dotenv reads in it", () => {
    const names = ["DEFAULT_MODEL", "REDIS_URL", "EVALUATION_DAY", "ENABLE_AUTO_PROPOSALS"];
    const value = fc.constantFrom(..."a redis://h/1?x=y 5 true a#b \\n $a".split(" "), "a b", "");
    const space = fc.constantFrom("", "", " ", "\t", "\u00a0");
    const lineEnd = fc.constantFrom("\n", "\r\n", "\r", " \n", "");
    const quote = fc.constantFrom("", "", "'", '"', "`");
    const piece = fc.constantFrom(..."# = : ' \" ` \\ export \n \r\n it's \uFEFF".split(" "), " ");
    const entry = fc
      .tuple(
        ...[fc.constantFrom("", "", "export ", "export\t", "# ", "x ", "\uFEFF"), space],
        ...[fc.constantFrom(...names), space, fc.constantFrom("=", "=", "=", ": ", ":"), space],
        ...[quote, value, fc.oneof({ weight: 4, arbitrary: fc.constant("") }, piece), value, quote],
        ...[fc.constantFrom("", "", " # why", " # it's", "# c"), lineEnd],
      )
      .map((parts) => parts.join(""));
    const file = fc
      .array(fc.oneof({ weight: 5, arbitrary: entry }, piece), { maxLength: 6 })
      .map((lines) => lines.join(""));
    const path = envFile("");
    const outcome = (env: Env, from: string, source: string | false) => {
      try {
        return loadConfig({}, { env: { ...env, ...REQUIRED }, envFile: source });
      } catch (error) {
        return error instanceof Error ? error.message.replaceAll(` ${from}:`, " it:") : error;
      }
    };
    const same = fc.property(file, (lines) => {
      writeFileSync(path, lines);
      expect(outcome({}, `from ${path}`, path)).toEqual(
        outcome(parse(lines), "from the environment", false),
      );
    });
    fc.assert(same, PARAMETERS);
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

describe("kinds", () => {
  test.each(Object.entries(KINDS))("what %s takes is read as it says", (_, { names, takes }) => {
    for (const name of names) {
      for (const [written, value] of Object.entries(takes)) {
        expect(load({ [name]: written })[propertyOf(name)], written).toBe(value);
        const overrides = { [propertyOf(name)]: value };
        expect(valueOf(name, loadConfig(overrides, isolated(REQUIRED))), written).toBe(value);
      }
    }
  });

  test.each(Object.entries(KINDS))(
    "what %s does not take is refused in one sentence, from a variable and from the object passed",
    (_, { names, expected, refuses }) => {
      for (const name of names) {
        for (const value of refuses) {
          const hint =
            typeof value === "string" && value.trim() !== value
              ? " (there are spaces around the value)"
              : "";
          const overrides = { [propertyOf(name)]: value };
          const line = (source: string) => `  ${name} from ${source}: expected ${expected}${hint}`;
          const said = failure(() => loadConfig(overrides, isolated(REQUIRED))).message;
          expect(said.split("\n").slice(1, -1)).toEqual([line("the object passed")]);
          if (typeof value === "string") {
            expect(refusal({ [name]: value }).split("\n")).toContain(line("the environment"));
          }
        }
      }
    },
  );

  test("a number is read as it is written in decimals, within its range, or refused", () => {
    const written = fc.oneof(
      fc.double({ noNaN: true }).map(String),
      fc.integer({ min: -3, max: 30 }).map(String),
      fc.stringMatching(/^[0-9.eE+xX_ ,-]+$/),
    );
    const reading = fc.property(written, (text) => {
      const isDecimal = /^(\d+|\d*\.\d+)(e[+-]?\d+)?$/i.test(text);
      for (const { names, holds } of Object.values(KINDS)) {
        const [name = ""] = names;
        if (!holds) continue;
        if (isDecimal && holds(Number(text))) {
          expect(load({ [name]: text })[propertyOf(name)]).toBe(Number(text));
        } else {
          expect(listed(refusal({ [name]: text }))).toEqual([name]);
        }
      }
    });
    fc.assert(reading, PARAMETERS);
  });

  test.each([
    [
      "ENABLE_AUTO_PROPOSALS",
      z.stringbool({
        truthy: ["true", "1", "t", "yes", "y", "on"],
        falsy: ["false", "0", "f", "no", "n", "off"],
      }),
      fc.mixedCase(fc.constantFrom(..."true 1 t yes y on false 0 f no n off onn fa ".split(" "))),
    ],
    [
      "ALERT_EMAIL",
      z.email(),
      fc.oneof(
        fc.emailAddress(),
        fc.stringMatching(/^[a._'+-]{1,3}[a.]{1,3}@a\.de$/),
        fc.stringMatching(/^a@[aB1.é\n-]{1,5}\.d[eé1]$/),
      ),
    ],
  ])("%s takes what Zod takes", (name, schema, texts) => {
    const reading = fc.property(texts, (text) => {
      const { success, data } = schema.safeParse(text);
      if (text === "") return;
      if (success) expect(load({ [name]: text })[propertyOf(name)]).toBe(data);
      else expect(listed(refusal({ [name]: text }))).toEqual([name]);
    });
    fc.assert(reading, PARAMETERS);
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
    "no value is ever printed, whichever are malformed and wherever: %j",
    (text) => {
      for (const malformed of [NAMES, ...NAMES.map((name) => [name])]) {
        const wrong = Object.fromEntries(malformed.map((name) => [name, text]));
        const env = { ...REQUIRED, ...OPTIONAL, ...wrong };
        const file = envFile(malformed.map((name) => `${name}="${text}"\n`).join(""));
        const right = Object.fromEntries(Object.entries(env).filter(([name]) => !(name in wrong)));
        const urls = malformed.filter((name) => name.endsWith("DATABASE_URL"));
        const attempts: (readonly [readonly string[], () => unknown])[] = [
          [malformed, () => loadConfig({}, isolated(env))],
          [malformed, () => loadConfig({}, { env: right, envFile: file })],
          [malformed, () => loadConfig(byProperty(env), isolated({}))],
          ...(urls.length > 0 ? [[urls, () => databaseUrls({}, isolated(env))] as const] : []),
        ];
        for (const [names, work] of attempts) {
          const error = failure(work);
          expect(listed(error.message)).toEqual(names);
          const printed = inspect(error, { depth: null, showHidden: true });
          for (const secret of [CANARY, ...Object.values({ ...REQUIRED, ...OPTIONAL })]) {
            expect(printed).not.toContain(secret);
          }
        }
      }
    },
  );
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
  const lines = Object.entries({ ...REQUIRED, ALERT_EMAIL: "file@example.com" });
  const seen: Record<string, unknown> = {};

  beforeAll(() => {
    const directories = Object.fromEntries(
      ["full", "absent", "python", "malformed"].map((name) => [
        name,
        mkdtempSync(join(directory, name)),
      ]),
    );
    const { full = "", python = "", malformed = "" } = directories;
    writeFileSync(join(full, ".env"), lines.map(([name, value]) => `${name}=${value}\n`).join(""));
    mkdirSync(join(python, ".env"));
    writeFileSync(join(malformed, ".env"), "DATABASE_URL=mysql://x");
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
      const { databaseUrls, healthThresholds, loadConfig } = await import(${JSON.stringify(config)});
      healthThresholds({ failureRateThreshold: 1 });
      const imported = seen();
      const before = JSON.stringify(process.env);
      seen();
      const { alertEmail, evaluationDay } = loadConfig();
      const loaded = seen();
      const unchanged = JSON.stringify(process.env) === before;
      const urls = {};
      for (const [name, directory] of Object.entries(${JSON.stringify(directories)})) {
        process.chdir(directory);
        try { urls[name] = databaseUrls(); } catch (error) { urls[name] = error.message; }
      }
      console.log(JSON.stringify({ imported, loaded, unchanged, alertEmail, evaluationDay, urls }));`;
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ["--import", tsx, "--input-type=module", "--eval", script],
      { cwd: full, env: { EVALUATION_DAY: "3" }, encoding: "utf8" },
    );
    expect(stderr).toBe("");
    Object.assign(seen, JSON.parse(stdout));
  });

  test("importing and healthThresholds read no file of settings and no variable; loading leaves the environment alone", () => {
    expect(seen).toMatchObject({
      imported: { files: [], variables: [] },
      loaded: { files: [".env"], variables: ["all", "EVALUATION_DAY"] },
      unchanged: true,
      alertEmail: "file@example.com",
      evaluationDay: 3,
    });
  });

  test("a default .env that is absent, or a directory, is no error; a malformed one is", () => {
    expect(seen["urls"]).toEqual({
      full: {},
      absent: {},
      python: {},
      malformed: expect.stringContaining("DATABASE_URL from .env: expected postgres://"),
    });
  });
});
