import { createHash } from "node:crypto";
import { sql } from "drizzle-orm";
import { type Queryable, rows } from "../../client/sql.ts";

/**
 * The journal of this database's migrations, for `migrations` in a drizzle config. A table of its own:
 * drizzle-kit applies a file only when it is newer than the newest row, so two packages in one journal
 * skip each other's files without a word.
 */
export const JOURNAL = { schema: "drizzle", table: "__meta_agent_migrations" } as const;

/** The journal as SQL names it. */
export const JOURNAL_NAME = `${JOURNAL.schema}.${JOURNAL.table}`;

/** One applied file, as the journal has it. */
export interface JournalRow {
  /** When the file was generated, Unix milliseconds. */
  readonly when: number;
  /** SHA-256 of the file as it was applied. */
  readonly hash: string;
  /** `null` where drizzle-kit applied nothing of ours yet: the first migration adds both columns. */
  readonly appliedAt: Date | null;
  readonly appliedBy: string | null;
}

/** Makes the journal as drizzle-kit does. It looks first: IF NOT EXISTS asks for the right before. */
export const CREATE_JOURNAL = `DO $$ BEGIN
  IF to_regnamespace('${JOURNAL.schema}') IS NULL THEN
    CREATE SCHEMA ${JOURNAL.schema};
  END IF;
  IF to_regclass('${JOURNAL_NAME}') IS NULL THEN
    CREATE TABLE ${JOURNAL_NAME} (id serial PRIMARY KEY, hash text NOT NULL, created_at bigint);
  END IF;
END $$;`;

/** The hash of a file with the line ends of Windows: drizzle-kit records it where it migrates from such a checkout. */
export const windowsHash = ({ statements }: { readonly statements: readonly string[] }): string =>
  createHash("sha256")
    .update(statements.join("--> statement-breakpoint").replaceAll("\n", "\r\n"))
    .digest("hex");

/** The statement that records a file; its hash is hexadecimal. */
export const recordStatement = ({ hash, when }: { hash: string; when: number }) =>
  `INSERT INTO ${JOURNAL_NAME} (hash, created_at) VALUES ('${hash}', ${when});`;

/** This login may not read the journal. */
export class UnreadableJournalError extends Error {
  override readonly name = "UnreadableJournalError";
}

/**
 * The journal in the order of its rows; empty where there is none.
 * @throws {UnreadableJournalError} when this login may not read it, saying who may and which grants are missing
 */
export async function readJournal(db: Queryable): Promise<JournalRow[]> {
  // By the catalog: to_regclass raises where the schema may not be looked into.
  const [journal] = rows<{ readable: boolean; plain: boolean; owner: string; login: string }>(
    await db.execute(sql`
      select pg_catalog.has_schema_privilege(n.oid, 'USAGE') and pg_catalog.has_table_privilege(c.oid, 'SELECT') as readable,
        c.relkind operator(pg_catalog.=) 'r' and not pg_catalog.row_security_active(c.oid) and not exists (
          select from pg_catalog.pg_attribute as a join pg_catalog.pg_type as t on t.oid operator(pg_catalog.=) a.atttypid
          where a.attrelid operator(pg_catalog.=) c.oid
            and t.typnamespace operator(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace) as plain,
        pg_catalog.pg_get_userbyid(c.relowner) as owner, pg_catalog.quote_ident(current_user) as login
      from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid operator(pg_catalog.=) c.relnamespace
      where n.nspname operator(pg_catalog.=) ${JOURNAL.schema} and c.relname operator(pg_catalog.=) ${JOURNAL.table}`),
  );
  if (!journal) return [];
  if (!journal.readable) {
    throw new UnreadableJournalError(
      [
        `${journal.login} may not read the journal ${JOURNAL_NAME}.`,
        `Connect as ${journal.owner}, or have it run: GRANT USAGE ON SCHEMA ${JOURNAL.schema} TO ${journal.login}; GRANT SELECT ON TABLE ${JOURNAL_NAME} TO ${journal.login};`,
      ].join("\n"),
    );
  }
  if (!journal.plain) {
    throw new UnreadableJournalError(
      `${JOURNAL_NAME} of ${journal.owner} is not the table that migrate makes: to read it would run what its owner wrote. Rename or drop it, then try again.`,
    );
  }
  const entries = rows<{ when: string; hash: string; at: string | null; by: string | null }>(
    await db.execute(
      sql.raw(`
        select created_at::pg_catalog.text as "when", hash,
          pg_catalog.to_jsonb(journal) operator(pg_catalog.->>) 'applied_at' as at, pg_catalog.to_jsonb(journal) operator(pg_catalog.->>) 'applied_by' as by
        from ${JOURNAL_NAME} as journal order by id`),
    ),
  );
  return entries.map(({ when, hash, at, by }) => ({
    when: Number(when),
    hash,
    appliedAt: at === null ? null : new Date(at),
    appliedBy: by,
  }));
}
