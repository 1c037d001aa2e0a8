/** What a command says where nothing tells it which database to work on. */
import { existsSync, readFileSync } from "node:fs";
import { EMBEDDED_DIRECTORY } from "../embedded.ts";

const VARIABLES = ["MIGRATION_DATABASE_URL", "DATABASE_URL"];
/** What other tools and providers call it. */
const OTHER_NAMES = [
  "POSTGRES_URL",
  "POSTGRES_URL_NON_POOLING",
  "POSTGRES_PRISMA_URL",
  "POSTGRESQL_URL",
  "DATABASE_URI",
  "DATABASE_URL_UNPOOLED",
  "DB_URL",
  "DIRECT_URL",
  "NEON_DATABASE_URL",
  "SUPABASE_DB_URL",
  "PGHOST",
  "PGDATABASE",
];
const OTHER_FILES = [
  ".env.local",
  ".env.development",
  ".env.development.local",
  ".env.production",
  ".env.production.local",
  "../.env",
  "../../.env",
];

/**
 * The refusal of a command that would have to guess: which variables it looked at, what it found in their
 * place, and what to do. It names names, never a value.
 */
export function noTarget(): Error {
  const file = readText(".env");
  const inFile = namesIn(file ?? "");
  const others = OTHER_NAMES.filter((name) => isGiven(name) || inFile.includes(name));
  const files = OTHER_FILES.filter((path) => {
    const names = namesIn(readText(path) ?? "");
    return [...VARIABLES, ...OTHER_NAMES].some((name) => names.includes(name));
  });
  return new Error(
    [
      "no database is named, and none is made unasked",
      ...VARIABLES.map((name) => `  ${name}: ${stateOf(name, inFile)}`),
      `  .env in this folder: ${stateOfFile(file)}`,
      `  ${EMBEDDED_DIRECTORY} in this folder: holds no embedded database`,
      ...[...others, ...files].map((name) => `  ${name}: is there, and is not read`),
      "For a server set DATABASE_URL, in the environment or in .env, or pass --url postgres://…",
      `For an embedded database run meta-agent-db demo or dev, or migrate --directory ${EMBEDDED_DIRECTORY}`,
    ].join("\n"),
  );
}

function stateOf(name: string, inFile: readonly string[]): string {
  const isEmpty = process.env[name] !== undefined || inFile.includes(name);
  return isEmpty ? "empty, which counts as not set" : "not set";
}

function stateOfFile(text: string | undefined): string {
  if (text === undefined) return "not there";
  // UTF-16, which PowerShell writes, read as UTF-8.
  if (text.includes("\0")) return "not in UTF-8, so nothing in it was understood: save it as UTF-8";
  return "read";
}

const isGiven = (name: string) => (process.env[name] ?? "") !== "";

/** The names that a file of settings has, those without a value too. */
function namesIn(text: string): string[] {
  const entries = text.replaceAll("\0", "").matchAll(/^[^\w#]*(?:export\s+)?(\w+)\s*[=:]/gm);
  return Array.from(entries, ([, name = ""]) => name.toUpperCase());
}

function readText(path: string): string | undefined {
  try {
    return existsSync(path) ? readFileSync(path, "utf8") : undefined;
  } catch {
    return undefined; // a directory, or not ours to read
  }
}
