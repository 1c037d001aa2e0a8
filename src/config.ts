import { readFileSync } from "node:fs";

/**
 * What a setting accepts: the text of a variable, or the typed value of a caller. `expected` says it in one
 * sentence, without the value; `read` answers `undefined` to anything else.
 */
interface Kind<T> {
  readonly expected: string;
  readonly read: (value: unknown) => T | undefined;
}

const text = (expected: string, holds: (value: string) => boolean): Kind<string> => ({
  expected,
  read: (value) => (typeof value === "string" && holds(value) ? value : undefined),
});

const url = (...schemes: [string, ...string[]]) => {
  const starts = schemes.map((scheme) => `${scheme}://`);
  return text(
    `a URL that starts with ${starts.join(" or ")}`,
    (value) =>
      starts.some((start) => value.startsWith(start)) && /^\S+$/.test(value) && URL.canParse(value),
  );
};

/**
 * Scheme, user, password, hosts and database of a PostgreSQL URL. A password with an `@` or a `/` of its own
 * does not match: nobody could say where it ends. A list of hosts does: postgres.js takes one.
 */
const DATABASE_URL =
  /^(postgres(?:ql)?:\/\/)(?=[^?#])(?:([^:@/?#\s]*)(?::([^@/?#\s]*))?@)?([^@/?#\s]*)(\/[^@?#\s]*)?(?:\?[^@#\s]*)?$/;

/**
 * Those parts of a URL that the drivers can read as well; `null` of any other. The drivers' own errors hold the
 * URL, password and all.
 */
export function partsOfDatabaseUrl(value: string): RegExpExecArray | null {
  try {
    decodeURIComponent(value);
  } catch {
    return null;
  }
  // URL knows no list of hosts.
  const first = value.replace(/,[^@/?]*(?=[/?]|$)/, "");
  return value.isWellFormed() && URL.canParse(first) ? DATABASE_URL.exec(value) : null;
}

const number = (expected: string, holds: (value: number) => boolean): Kind<number> => ({
  expected,
  read(value) {
    // Number() alone would read "" as 0 and "0x10" as 16.
    const isText = typeof value === "string" && /^\d*\.?\d+(e[+-]?\d+)?$/i.test(value);
    const given = isText ? Number(value) : value;
    return typeof given === "number" && holds(given) ? given : undefined;
  },
});

const whole = (least: number, most: number) =>
  number(
    `a whole number from ${least} to ${most}`,
    (value) => Number.isInteger(value) && value >= least && value <= most,
  );

// Marked pure: whoever bundles one name of this file carries no setting that it does not read.
const word = /* @__PURE__ */ text("text without spaces", (value) => /^\S+$/.test(value));
const webUrl = /* @__PURE__ */ url("https", "http");
const redisUrl = /* @__PURE__ */ url("redis", "rediss");
const postgresUrl = /* @__PURE__ */ text(
  "postgres://user:password@host:5432/database (or postgresql://), special characters of the password percent-encoded",
  (value) => partsOfDatabaseUrl(value) !== null,
);
/** What `z.email()` takes, a test says so; Zod itself would be most of a bundle that reads settings. */
const email = /* @__PURE__ */ text("one e-mail address", (value) =>
  /^(?!\.|.*\.\.)[\w'+.-]*[\w+-]@([a-z\d][a-z\d-]*\.)+[a-z]{2,}$/i.test(value),
);
const amount = /* @__PURE__ */ number(
  "a number of 0 or more",
  (value) => value >= 0 && Number.isFinite(value),
);
const count = /* @__PURE__ */ number(
  "a whole number of 0 or more",
  (value) => value >= 0 && Number.isSafeInteger(value),
);
const weekday = /* @__PURE__ */ whole(0, 6);
const hour = /* @__PURE__ */ whole(0, 23);

const flag: Kind<boolean> = {
  expected: "true or false (or t/f, 1/0, yes/no, y/n, on/off)",
  read(value) {
    if (typeof value !== "string") return typeof value === "boolean" ? value : undefined;
    if (/^(true|t|1|yes|y|on)$/i.test(value)) return true;
    return /^(false|f|0|no|n|off)$/i.test(value) ? false : undefined;
  },
};

/** A setting that has no default and is not optional must be given. */
interface Setting<T> {
  readonly kind: Kind<T>;
  readonly default?: T;
  readonly optional?: true;
}

/** The settings; `.env.example` has the two databases first. `supabaseUrl` is read from SUPABASE_URL, and so on. */
const SETTINGS = {
  /** Address of the Supabase project. Required. */
  supabaseUrl: { kind: webUrl },
  /** Supabase's public (anon or publishable) key. Required, secret. */
  supabaseKey: { kind: word },
  /** Supabase's service role key: it passes row-level security. Required, secret. */
  supabaseServiceKey: { kind: word },

  /** Key of the OpenAI-compatible API. Required, secret. */
  openaiApiKey: { kind: word },
  /** Address of the OpenAI-compatible API. Default: Anthropic's. */
  openaiBaseUrl: { kind: webUrl, default: "https://api.anthropic.com/v1" },
  /** Model that agents use unless told otherwise. Default: claude-sonnet-4-20250514. */
  defaultModel: { kind: word, default: "claude-sonnet-4-20250514" },
  /** Model that judges the work of agents. Default: claude-sonnet-4-20250514. */
  evaluationModel: { kind: word, default: "claude-sonnet-4-20250514" },

  /** The job queue. Default: redis://localhost:6379. */
  redisUrl: { kind: redisUrl, default: "redis://localhost:6379" },

  /** Slack webhook that alerts are sent to. Absent: no alerts by Slack. Secret. */
  slackWebhookUrl: { kind: webUrl, optional: true },
  /** Address that alerts are sent to. Absent: no alerts by e-mail. */
  alertEmail: { kind: email, optional: true },
  /** ClickUp key to open tasks with. Absent: no tasks. Secret. */
  clickupApiKey: { kind: word, optional: true },

  /** Share of failed executions that raises an alert. Ratio, 0 or more; default 0.2 (20 %). */
  failureRateThreshold: { kind: amount, default: 0.2 },
  /** Failed executions that raise an alert. Count, 0 or more; default 10. */
  failureCountThreshold: { kind: count, default: 10 },
  /** Cost that raises an alert, in multiples of the usual cost. 0 or more; default 1.5. */
  costSpikeThreshold: { kind: amount, default: 1.5 },
  /** Latency that raises an alert, in multiples of the usual latency. 0 or more; default 2. */
  latencySpikeThreshold: { kind: amount, default: 2 },

  /** Weekday of the evaluation, 0 to 6. 0 is Monday, unlike JavaScript's getDay(); default 0. */
  evaluationDay: { kind: weekday, default: 0 },
  /** Hour of the daily aggregation, 0 to 23; default 2. */
  aggregationHour: { kind: hour, default: 2 },
  /** Hour of the evaluation, 0 to 23; default 3. */
  evaluationHour: { kind: hour, default: 3 },

  /** Run new prompts beside the current ones without using their answers. Default true. */
  enableShadowTesting: { kind: flag, default: true },
  /** Give new prompts a growing share of the executions. Default true. */
  enableCanaryDeployments: { kind: flag, default: true },
  /** Let evaluations propose better prompts. Default true. */
  enableAutoProposals: { kind: flag, default: true },

  /** The database as the application uses it. Absent: the embedded one. Secret. */
  databaseUrl: { kind: postgresUrl, optional: true },
  /** The database as its owner, for migrations. Default: `databaseUrl`. Secret. */
  migrationDatabaseUrl: { kind: postgresUrl, optional: true },
} satisfies Record<string, Setting<string> | Setting<number> | Setting<boolean>>;

type Settings = typeof SETTINGS;
type Value<Of> = Of extends { kind: Kind<infer T> } ? T : never;
type Optional = { readonly optional: true };
// By `keyof` and `as`: only so do the comments of the members reach whoever uses the type.
type Read = {
  [Name in keyof Settings as Settings[Name] extends Optional ? never : Name]: Value<Settings[Name]>;
} & {
  [Name in keyof Settings as Settings[Name] extends Optional ? Name : never]?: Value<
    Settings[Name]
  >;
};

/** What `loadConfig` returns. */
export type Config = { [Name in keyof Read]: Read[Name] };
const databaseNames = ["databaseUrl", "migrationDatabaseUrl"] as const;
/** What `databaseUrls` returns. */
export type DatabaseUrls = Pick<Config, (typeof databaseNames)[number]>;
const healthNames = [
  "failureRateThreshold",
  "failureCountThreshold",
  "latencySpikeThreshold",
] as const;
/** What `refreshHealth` judges by. */
export type HealthThresholds = Pick<Config, (typeof healthNames)[number]>;

/** Values that win over the environment. `undefined` and `""` count as not given. */
type Overrides<Of> = {
  readonly [Name in keyof Of]?: Of[Name] | undefined;
};

/** Where settings are read from. */
export interface ConfigOptions {
  /** Read instead of `process.env`. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** A file that must exist, relative to the working directory; `false` for none. Default: `.env`, if there is one. */
  readonly envFile?: string | false | undefined;
}

/**
 * All settings: from the object passed, else the environment, else the `.env` file, else their
 * defaults. Throws one error that lists every problem and no value.
 */
export function loadConfig(overrides: Overrides<Config> = {}, options: ConfigOptions = {}): Config {
  const names = Object.keys(SETTINGS).filter((name) => isSetting(name));
  return withMigrationUrl(settle(names, found(overrides, options)));
}

/**
 * Where the database is, by the rules of `loadConfig`, but asking for nothing else. Pass both to
 * redirect both: a `migrationDatabaseUrl` of the environment outlives a `databaseUrl` passed alone.
 */
export function databaseUrls(
  overrides: Overrides<DatabaseUrls> = {},
  options: ConfigOptions = {},
): DatabaseUrls {
  return withMigrationUrl(settle(databaseNames, found(overrides, options)));
}

/**
 * The thresholds passed, the rest by default; by the rules of `loadConfig`, but reading nothing else. With `options`,
 * which may be `{}`, those of the environment come before the defaults.
 */
export function healthThresholds(
  overrides: Overrides<HealthThresholds> = {},
  options?: ConfigOptions,
): HealthThresholds {
  return settle(healthNames, options ? found(overrides, options) : new Map(passed(overrides)));
}

function withMigrationUrl<Urls extends DatabaseUrls>(urls: Urls): Urls {
  if (urls.databaseUrl === undefined || urls.migrationDatabaseUrl !== undefined) return urls;
  return { ...urls, migrationDatabaseUrl: urls.databaseUrl };
}

const isSetting = (name: string): name is keyof Settings => Object.hasOwn(SETTINGS, name);

interface Given {
  readonly source: string;
  readonly value: unknown;
}

/** The settings of these names, of what was found by the names of variables. */
function settle<Name extends keyof Settings>(
  names: readonly Name[],
  all: ReadonlyMap<string, Given>,
): Pick<Config, Name> {
  const settled: Record<string, unknown> = {};
  const problems: string[] = [];
  for (const name of names) {
    const setting: Setting<unknown> = SETTINGS[name];
    const given = all.get(variableOf(name));
    const value = given ? setting.kind.read(given.value) : setting.default;
    if (value !== undefined) settled[name] = value;
    else if (given || !setting.optional) problems.push(problem(name, setting.kind.expected, given));
  }
  if (problems.length > 0) {
    throw new Error(
      `Settings are missing or wrong:\n${problems.join("\n")}\n` +
        "Set them in the environment or in .env; .env.example explains each of them.",
    );
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- each was read by its own kind
  return settled as Pick<Config, Name>;
}

function problem(name: string, expected: string, given: Given | undefined): string {
  const from = given ? `from ${given.source}` : "is missing";
  const isPadded = typeof given?.value === "string" && given.value.trim() !== given.value;
  const hint = isPadded ? " (there are spaces around the value)" : "";
  return `  ${variableOf(name)} ${from}: expected ${expected}${hint}`;
}

/** `supabaseUrl` → `SUPABASE_URL`. */
function variableOf(name: string): string {
  return name.replace(/[A-Z]/g, "_$&").toUpperCase();
}

/** What all sources set, the last of them first. */
function found(overrides: object, { env = process.env, envFile }: ConfigOptions) {
  return new Map([
    ...set(envFile || ".env", readEnvFile(envFile)),
    ...set("the environment", env),
    ...passed(overrides),
  ]);
}

const passed = (overrides: object) =>
  set(
    "the object passed",
    Object.fromEntries(Object.entries(overrides).map(([name, value]) => [variableOf(name), value])),
  );

/** What a source sets, by upper-case name. The last of a name wins in a Map, hence `exact` behind. */
function set(source: string, values: Readonly<Record<string, unknown>>): [string, Given][] {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== "");
  const exact = given.filter(([name]) => name === name.toUpperCase());
  return [...given, ...exact].map(([name, value]) => [name.toUpperCase(), { source, value }]);
}

function readEnvFile(path: ConfigOptions["envFile"]): Record<string, string> {
  if (path === false) return {};
  try {
    return parseEnvFile(readFileSync(path ?? ".env", "utf8"));
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    // A directory of that name is somebody's Python environment.
    if (path === undefined && (code === "ENOENT" || code === "EISDIR")) return {};
    throw new Error(
      `${path ?? ".env"}: cannot read this file of settings (${String(code)}); check its path`,
      { cause },
    );
  }
}

/** A name and its value, which may be quoted and then take several lines, and a comment. */
const ENTRY =
  /^\s*(?:export\s+)?([\w.-]+)(?:\s*=\s*?|:\s+?)(\s*'(?:\\'|[^'])*'|\s*"(?:\\"|[^"])*"|\s*`(?:\\`|[^`])*`|[^#\n]+)?\s*(?:#.*)?$/gm;

/**
 * A `.env` file as the package dotenv reads it, which a test compares. dotenv itself is CommonJS that
 * requires `fs`, so that an ES module bundle of it does not start; `util.parseEnv` lets an empty value or a
 * stray line swallow the next one, each in other versions of Node.
 */
function parseEnvFile(file: string): Record<string, string> {
  const entries = file.replaceAll(/\r\n?/g, "\n").matchAll(ENTRY);
  return Object.fromEntries(
    Array.from(entries, ([, name = "", written = ""]) => [name, unquoted(written.trim())]),
  );
}

function unquoted(value: string): string {
  const inner = value.replaceAll(/^(['"`])([^]*)\1$/gm, "$2");
  return value.startsWith('"') ? inner.replaceAll("\\n", "\n").replaceAll("\\r", "\r") : inner;
}
