import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CREATE_JOURNAL, JOURNAL_NAME, recordStatement, windowsHash } from "./journal.ts";
import { unixLines } from "../line-ends.ts";
import { LOCK_KEY } from "./lock.ts";
import { afterLook } from "./public-schema.ts";
import { MIGRATIONS, type Migration } from "../../migrations.ts";

/**
 * The whole installation as one script, for psql or an SQL editor. It is a single statement, so it is all
 * or nothing however it is sent, and it may be run on any state: it takes the migrators' lock, applies
 * the files that the journal lacks and records them there. Where the journal and the files disagree it
 * raises what `migrate` would.
 */
export function installSql(): string {
  return [
    "-- The database of meta-agent-db, or what is missing of it. May be run again at any time.",
    asStatement(afterLook(`${guarded(MIGRATIONS, "FULL JOIN")};`)),
  ].join("\n");
}

/** What `ejectSupabase` did: names of files, in order. */
export interface Ejected {
  readonly written: readonly string[];
  /** They were there already, with the same content, whatever their line ends. */
  readonly unchanged: readonly string[];
  /** They were there with other content, and were left as they are. */
  readonly left: readonly string[];
}

/**
 * Writes the migrations for Supabase's command line, a file each, named by the time they were generated: a
 * later version adds files and renames none. Each is guarded and keeps our journal, so that `migrate` and
 * `status` know what Supabase applied and the other way round.
 */
export function ejectSupabase(directory: string): Ejected {
  mkdirSync(directory, { recursive: true });
  const result = {
    written: new Array<string>(),
    unchanged: new Array<string>(),
    left: new Array<string>(),
  };
  for (const { file, text, former } of supabaseFiles(MIGRATIONS)) {
    const path = join(directory, file);
    if (!existsSync(path)) {
      writeFileSync(path, text, { flag: "wx" });
      result.written.push(file);
    } else {
      const isSame = [text, former].includes(unixLines(readFileSync(path, "utf8")));
      (isSame ? result.unchanged : result.left).push(file);
    }
  }
  return result;
}

interface SupabaseFile {
  readonly file: string;
  readonly text: string;
  /** As 0.1.0 wrote it, which does not look for plants first. Whoever has it need not have it anew. */
  readonly former: string;
}

/** Supabase tells migrations apart by the second; those of one second move to the next free ones. */
function supabaseFiles(migrations: readonly Migration[]): SupabaseFile[] {
  let last = 0;
  return migrations.map((migration) => {
    last = Math.max(last + 1, Math.floor(migration.when / 1000));
    const time = new Date(last * 1000).toISOString().replace(/\D/g, "").slice(0, 14);
    const head = `-- ${migration.name} of meta-agent-db. Not to be edited: a change is a migration of its own.\n`;
    const block = guarded([migration], "LEFT JOIN");
    return {
      file: `${time}_meta_agent_${migration.name.replace(/^\d+_/, "")}.sql`,
      text: head + asStatement(afterLook(`${block};`)),
      former: head + asStatement(block),
    };
  });
}

/** One block that applies what is pending; with FULL JOIN it refuses a journal that knows of more. */
function guarded(migrations: readonly Migration[], kind: "FULL JOIN" | "LEFT JOIN"): string {
  const files = migrations.map(({ name, when, hash }) => `    ('${name}', ${when}, '${hash}')`);
  // The text of the files that were ejected stays as it was.
  const isOther =
    kind === "LEFT JOIN"
      ? "file.hash <> journal.hash"
      : `journal.hash NOT IN (file.hash, ${alternatives(migrations)})`;
  return `DECLARE
  problems text;
BEGIN
  PERFORM pg_advisory_xact_lock(${LOCK_KEY});
  EXECUTE ${quoted(CREATE_JOURNAL)};

  SELECT string_agg('  ' || problem, E'\\n' ORDER BY created_at) INTO problems FROM (
    SELECT created_at, CASE
      WHEN file.name IS NULL THEN 'the journal has a migration that this script does not have: use the script of a newer meta-agent-db'
      WHEN ${isOther} THEN file.name || '.sql was edited after it was applied'
      WHEN journal.hash IS NULL AND created_at < (SELECT max(created_at) FROM ${JOURNAL_NAME})
        THEN file.name || '.sql was skipped: later files are applied'
    END AS problem
    FROM (VALUES
${files.join(",\n")}
    ) AS file (name, created_at, hash) ${kind} ${JOURNAL_NAME} AS journal USING (created_at)
  ) AS found WHERE problem IS NOT NULL;
  IF problems IS NOT NULL THEN
    RAISE EXCEPTION E'the journal ${JOURNAL_NAME} and this script disagree:\\n%', problems
      USING HINT = 'Nothing was applied. Run meta-agent-db status to see more.';
  END IF;
${migrations.map(guardedFile).join("")}END `;
}

/** A block of PL/pgSQL as a statement. */
function asStatement(body: string): string {
  const tag = tagFor(body);
  return `DO ${tag}\n${body}${tag};\n`;
}

/** By file, its hash with the line ends of Windows, as drizzle-kit records it from such a checkout. */
const alternatives = (migrations: readonly Migration[]) =>
  [
    "CASE file.name",
    ...migrations.map((migration) => ` WHEN '${migration.name}' THEN '${windowsHash(migration)}'`),
    " END",
  ].join("");

function guardedFile(migration: Migration): string {
  const { name, when, statements } = migration;
  return `
  IF NOT EXISTS (SELECT FROM ${JOURNAL_NAME} WHERE created_at = ${when}) THEN
    RAISE INFO '${name}';
${statements.map((statement) => `    EXECUTE ${quoted(statement.trim())};\n`).join("")}    ${recordStatement(migration)}
  END IF;
`;
}

const quoted = (text: string) => `${tagFor(text)}${text}${tagFor(text)}`;

/** Dollar quotes that the text does not hold. */
function tagFor(text: string): string {
  for (let count = 0; ; count++) {
    const tag = `$meta_agent${count === 0 ? "" : count}$`;
    if (!text.includes(tag)) return tag;
  }
}

/** What a superuser must run first where the owner of the database may create neither roles nor extensions. */
export const PREREQUISITES_SQL = `-- Run as superuser, in the database, before its owner runs "meta-agent-db migrate". Only needed where the
-- owner may create neither roles nor extensions; Supabase has the roles, and lets the owner do the rest.
-- May be run again. pgvector 0.8 or newer must be installed on the server.
DO $$
DECLARE
  role_name pg_catalog.text;
  former pg_catalog.text := pg_catalog.current_setting('search_path');
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  FOREACH role_name IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', role_name);
    END IF;
  END LOOP;
  IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') THEN
    EXECUTE 'CREATE EXTENSION vector SCHEMA ' || CASE
      WHEN to_regnamespace('extensions') IS NULL THEN 'public' ELSE 'extensions' END;
  END IF;
  PERFORM set_config('search_path', former, true);
END $$;
-- A login that migrates without owning the database needs two grants; put in the names:
--   GRANT CREATE ON DATABASE app TO deploy;
--   GRANT CREATE ON SCHEMA public TO deploy;
`;
