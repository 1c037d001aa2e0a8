import { readFileSync } from "node:fs";
import { parse } from "dotenv";
import * as z from "zod";

// A kind of setting is what it accepts and one sentence that says so. It takes both the text of
// a variable and the typed value of a caller; its message never contains the value.

const word = z.stringFormat("word", /^\S+$/, "text without spaces");

const url = (...schemes: [string, ...string[]]) => {
  const starts = schemes.map((scheme) => `${scheme}://`);
  return z.stringFormat(
    "url",
    (text) =>
      starts.some((start) => text.startsWith(start)) && /^\S+$/.test(text) && URL.canParse(text),
    `a URL that starts with ${starts.join(" or ")}`,
  );
};

/**
 * Scheme, user, password, hosts and database of a PostgreSQL URL. A password with an `@` or a `/` of its own
 * does not match: nobody could say where it ends. A list of hosts does: postgres.js takes one.
 */
export const POSTGRES_URL =
  /^(postgres(?:ql)?:\/\/)(?=[^?#])(?:([^:@/?#\s]*)(?::([^@/?#\s]*))?@)?([^@/?#\s]*)(\/[^@?#\s]*)?(?:\?[^@#\s]*)?$/;

const postgresUrl = z.stringFormat(
  "postgres_url",
  (text) =>
    POSTGRES_URL.test(text) &&
    !/%(?![\da-f]{2})/i.test(text) &&
    URL.canParse(text.replace(/,[^@/?]*(?=[/?]|$)/, "")),
  "postgres://user:password@host:5432/database (or postgresql://), special characters of the password percent-encoded",
);

const number = (expected: string, holds: (value: number) => boolean) =>
  z.preprocess(
    // Number() alone would read "" as 0 and "0x10" as 16.
    (value) =>
      typeof value === "string" && /^\d*\.?\d+(e[+-]?\d+)?$/i.test(value) ? Number(value) : value,
    z.custom<number>((value) => typeof value === "number" && holds(value), expected),
  );
const amount = number("a number of 0 or more", (value) => value >= 0 && Number.isFinite(value));
const count = number(
  "a whole number of 0 or more",
  (value) => value >= 0 && Number.isSafeInteger(value),
);
const whole = (least: number, most: number) =>
  number(
    `a whole number from ${least} to ${most}`,
    (value) => Number.isInteger(value) && value >= least && value <= most,
  );

const flag = z.union(
  [
    z.boolean(),
    z.stringbool({
      truthy: ["true", "t", "1", "yes", "y", "on"],
      falsy: ["false", "f", "0", "no", "n", "off"],
    }),
  ],
  "true or false (or t/f, 1/0, yes/no, y/n, on/off)",
);

/** The settings, in the order of `.env.example`. `supabaseUrl` is read from SUPABASE_URL, and so on. */
const settings = {
  /** Address of the Supabase project. Required. */
  supabaseUrl: url("https", "http"),
  /** Supabase's public (anon or publishable) key. Required, secret. */
  supabaseKey: word,
  /** Supabase's service role key: it passes row-level security. Required, secret. */
  supabaseServiceKey: word,

  /** Key of the OpenAI-compatible API. Required, secret. */
  openaiApiKey: word,
  /** Address of the OpenAI-compatible API. Default: Anthropic's. */
  openaiBaseUrl: url("https", "http").default("https://api.anthropic.com/v1"),
  /** Model that agents use unless told otherwise. Default: claude-sonnet-4-20250514. */
  defaultModel: word.default("claude-sonnet-4-20250514"),
  /** Model that judges the work of agents. Default: claude-sonnet-4-20250514. */
  evaluationModel: word.default("claude-sonnet-4-20250514"),

  /** The job queue. Default: redis://localhost:6379. */
  redisUrl: url("redis", "rediss").default("redis://localhost:6379"),

  /** Slack webhook that alerts are sent to. Absent: no alerts by Slack. Secret. */
  slackWebhookUrl: url("https", "http").exactOptional(),
  /** Address that alerts are sent to. Absent: no alerts by e-mail. */
  alertEmail: z.email("one e-mail address").exactOptional(),
  /** ClickUp key to open tasks with. Absent: no tasks. Secret. */
  clickupApiKey: word.exactOptional(),

  /** Share of failed executions that raises an alert. Ratio, 0 or more; default 0.2 (20 %). */
  failureRateThreshold: amount.default(0.2),
  /** Failed executions that raise an alert. Count, 0 or more; default 10. */
  failureCountThreshold: count.default(10),
  /** Cost that raises an alert, in multiples of the usual cost. 0 or more; default 1.5. */
  costSpikeThreshold: amount.default(1.5),
  /** Latency that raises an alert, in multiples of the usual latency. 0 or more; default 2. */
  latencySpikeThreshold: amount.default(2),

  /** Weekday of the evaluation, 0 to 6. 0 is Monday, unlike JavaScript's getDay(); default 0. */
  evaluationDay: whole(0, 6).default(0),
  /** Hour of the daily aggregation, 0 to 23; default 2. */
  aggregationHour: whole(0, 23).default(2),
  /** Hour of the evaluation, 0 to 23; default 3. */
  evaluationHour: whole(0, 23).default(3),

  /** Run new prompts beside the current ones without using their answers. Default true. */
  enableShadowTesting: flag.default(true),
  /** Give new prompts a growing share of the executions. Default true. */
  enableCanaryDeployments: flag.default(true),
  /** Let evaluations propose better prompts. Default true. */
  enableAutoProposals: flag.default(true),

  /** The database as the application uses it. Absent: the embedded one. Secret. */
  databaseUrl: postgresUrl.exactOptional(),
  /** The database as its owner, for migrations. Default: `databaseUrl`. Secret. */
  migrationDatabaseUrl: postgresUrl.exactOptional(),
};
const allSettings = z.object(settings);
const databaseSettings = allSettings.pick({ databaseUrl: true, migrationDatabaseUrl: true });
const healthSettings = allSettings.pick({
  failureRateThreshold: true,
  failureCountThreshold: true,
  latencySpikeThreshold: true,
});

// Derived from the literal, not from `allSettings`: only so do its comments reach whoever uses the types.
/** What `loadConfig` returns. */
export type Config = z.output<z.ZodObject<typeof settings>>;
/** What `databaseUrls` returns. */
export type DatabaseUrls = Pick<Config, keyof typeof databaseSettings.shape>;
/** What `refreshHealth` judges by. */
export type HealthThresholds = Pick<Config, keyof typeof healthSettings.shape>;

/** Values that win over the environment. `undefined` and `""` count as not given. */
type Overrides<Settings> = {
  readonly [Name in keyof Settings]?: Settings[Name] | undefined;
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
  return withMigrationUrl(read(allSettings, overrides, options));
}

/**
 * Where the database is, by the rules of `loadConfig`, but asking for nothing else. Pass both to
 * redirect both: a `migrationDatabaseUrl` of the environment outlives a `databaseUrl` passed alone.
 */
export function databaseUrls(
  overrides: Overrides<DatabaseUrls> = {},
  options: ConfigOptions = {},
): DatabaseUrls {
  return withMigrationUrl(read(databaseSettings, overrides, options));
}

/** The thresholds passed, the rest by default; by the rules of `loadConfig`, but reading nothing else. */
export function healthThresholds(overrides: Overrides<HealthThresholds> = {}): HealthThresholds {
  return read(healthSettings, overrides, { env: {}, envFile: false });
}

function withMigrationUrl<Urls extends DatabaseUrls>(urls: Urls): Urls {
  if (urls.databaseUrl === undefined || urls.migrationDatabaseUrl !== undefined) return urls;
  return { ...urls, migrationDatabaseUrl: urls.databaseUrl };
}

function read<Schema extends z.ZodObject>(
  schema: Schema,
  overrides: Readonly<Record<string, unknown>>,
  { env = process.env, envFile }: ConfigOptions,
): z.output<Schema> {
  const passed = Object.fromEntries(
    Object.entries(overrides).map(([name, value]) => [variableOf(name), value]),
  );
  const found = new Map([
    ...given(envFile || ".env", readEnvFile(envFile)),
    ...given("the environment", env),
    ...given("the object passed", passed),
  ]);

  const input: Record<string, unknown> = {};
  for (const name of Object.keys(schema.shape)) {
    const hit = found.get(variableOf(name));
    if (hit) input[name] = hit.value;
  }
  const result = schema.safeParse(input);
  if (result.success) return result.data;

  const problems = result.error.issues.map(({ path, message }) => {
    const variable = variableOf(String(path[0]));
    const hit = found.get(variable);
    if (!hit) return `  ${variable} is missing: expected ${message}${hint(variable, found.keys())}`;
    const padded = typeof hit.value === "string" && hit.value.trim() !== hit.value;
    return `  ${variable} from ${hit.source}: expected ${message}${padded ? " (there are spaces around the value)" : ""}`;
  });
  throw new Error(
    `Settings are missing or wrong:\n${problems.join("\n")}\n` +
      "Set them in the environment or in .env; .env.example explains each of them.",
  );
}

/** `supabaseUrl` → `SUPABASE_URL`. */
function variableOf(name: string): string {
  return name.replace(/[A-Z]/g, "_$&").toUpperCase();
}

interface Given {
  readonly source: string;
  readonly value: unknown;
}

/** What a source sets, by upper-case name. The last of a name wins in a Map, hence `exact` behind. */
function given(source: string, values: Readonly<Record<string, unknown>>): [string, Given][] {
  const set = Object.entries(values).filter(([, value]) => value !== undefined && value !== "");
  const exact = set.filter(([name]) => name === name.toUpperCase());
  return [...set, ...exact].map(([name, value]) => [name.toUpperCase(), { source, value }]);
}

function readEnvFile(path: ConfigOptions["envFile"]): Record<string, string> {
  if (path === false) return {};
  try {
    return parse(readFileSync(path ?? ".env", "utf8"));
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

/** Names a variable that is set, means nothing, and looks like the one that is missing. */
function hint(missing: string, names: Iterable<string>): string {
  const known = new Set(Object.keys(settings).map(variableOf));
  const similar = [...names].filter((name) => !known.has(name) && similarity(name, missing) >= 0.7);
  return similar.length === 0 ? "" : ` (misspelt? found ${similar.join(", ")})`;
}

/** Share of letter pairs that two names have in common (Sørensen and Dice), 0 to 1. */
function similarity(a: string, b: string): number {
  const [ofA, ofB] = [letterPairs(a), letterPairs(b)];
  return (2 * [...ofA].filter((pair) => ofB.has(pair)).length) / (ofA.size + ofB.size);
}

function letterPairs(name: string): Set<string> {
  const letters = name.replace(/[^A-Z]/g, "");
  return new Set(Array.from(letters.slice(1), (letter, i) => letters.charAt(i) + letter));
}
