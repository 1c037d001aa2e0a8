/** Judges how a transaction ended by who gets its connection next. */
import { sql } from "drizzle-orm";
import { type Database, type Transaction, one } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { agentRegistry } from "../src/schema/index.ts";
import { newAgent } from "../src/testing.ts";
import type { Query } from "./engine.ts";

/** Whoever uses a database after a transaction of `predecessor`. */
export interface Borrower {
  /** The role that the database was opened as. */
  readonly login: string;
  /** Its organization, which has one agent. */
  readonly organization: string;
  readonly predecessor: string;
  /** How many agents the predecessor has committed. */
  readonly committed: number;
  /** As the owner, in another session where there is one. */
  readonly query: Query;
}

/** What the borrower of a single client finds that lost its only connection. */
export const CLOSED = "the connection is closed";

/** How long the borrower tries: a connection that was lost may be noticed by its next user. */
const SECONDS = 10;

interface Session {
  readonly role: string;
  readonly claims: string;
  readonly transaction: string;
}

/** Uses the database as the next one does; answers what is left of the predecessor, in words. */
export async function leftFor(db: Database, borrower: Borrower): Promise<string[]> {
  const findings: string[] = [];
  const found = (isFound: boolean, what: string) => {
    if (isFound) findings.push(what);
  };
  try {
    const [first, second] = [await answered(() => look(db)), await answered(() => look(db))];
    found(first.role !== borrower.login, `it acts as ${first.role}`);
    found(first.claims !== "", "it has claims");
    found(first.transaction === second.transaction, "it is inside a transaction");
    const seen = await answered(() => useAs(db, borrower.organization));
    found(seen.join() !== borrower.organization, `it sees rows of ${seen.join()}`);
    found((await stored(borrower, borrower.organization)) !== 2, "its own row is not committed");
  } catch (error) {
    findings.push(isClosed(error) ? CLOSED : `it is not served: ${told(error)}`);
  }
  const rows = await stored(borrower, borrower.predecessor);
  found(rows > borrower.committed, "a row of the predecessor is committed");
  found(rows < borrower.committed, "a row that the predecessor committed is lost");
  return findings;
}

/** Leaves a transaction that COMMIT refuses, with 23505. */
export async function breakAtCommit(tx: Transaction): Promise<void> {
  await tx.execute(sql`create temp table once (id int unique initially deferred) on commit drop`);
  await tx.execute(sql`insert into once values (1), (1)`);
}

/** Each statement on its own: inside of one transaction both have the same number. */
const look = (db: Database) =>
  one<Session>(
    db,
    sql`select current_user::text as role, coalesce(current_setting('request.jwt.claims', true), '') as claims,
      pg_current_xact_id()::text as transaction`,
  );

/** Reads and commits as an organization; answers whose rows were there. */
async function useAs(db: Database, organization: string): Promise<(string | null)[]> {
  return withOrganization(db, organization, async (tx) => {
    const agents = await tx.select({ owner: agentRegistry.organizationId }).from(agentRegistry);
    await tx.insert(agentRegistry).values(newAgent());
    return agents.map(({ owner }) => owner);
  });
}

async function stored({ query }: Borrower, organization: string): Promise<number> {
  const [row] = await query<{ rows: number }>(
    "select count(*)::int as rows from agent_registry where organization_id = $1",
    [organization],
  );
  return row?.rows ?? 0;
}

/**
 * Tries until it is answered: what is asked once more has done nothing. Whoever is refused since it is in
 * another's failed transaction is not asked again.
 */
async function answered<T>(ask: () => Promise<T>): Promise<T> {
  const end = performance.now() + SECONDS * 1000;
  for (let refused: unknown; ;) {
    try {
      return await within(end - performance.now(), ask());
    } catch (error) {
      if (/not queryable|25P02/.test(told(error))) throw error;
      if (performance.now() > end) throw refused ?? error;
      refused = error;
    }
  }
}

/** Rejects when `work` has not settled in time. */
export async function within<T>(milliseconds: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("no answer in time")), milliseconds);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

const isClosed = (error: unknown) => /not queryable/.test(told(error));

/** Names, codes and messages of an error and of its causes. */
export function told(error: unknown): string {
  const words: string[] = [];
  for (let at = error; at instanceof Error; at = at.cause) {
    words.push(at.name, String(Reflect.get(at, "code") ?? ""), at.message);
  }
  return words.join(" ") || String(error);
}
