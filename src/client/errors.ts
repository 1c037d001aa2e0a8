import { DrizzleQueryError, getTableName } from "drizzle-orm";
import { TABLES } from "../schema/all.ts";

/** What PostgreSQL said, whichever driver carried it. */
export interface DatabaseError {
  /** SQLSTATE, five characters. */
  readonly code: string;
  readonly message: string;
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
  readonly table?: string | undefined;
  readonly column?: string | undefined;
  readonly constraint?: string | undefined;
}

/** PostgreSQL's own error inside `error` or its causes, on postgres.js, PGlite and wrapped by Drizzle. */
export function databaseError(error: unknown): DatabaseError | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    const code = textOf(at, "code");
    if (code !== undefined && /^[0-9A-Z]{5}$/.test(code) && "severity" in at) {
      return {
        code,
        message: at.message,
        detail: textOf(at, "detail"),
        hint: textOf(at, "hint"),
        // postgres.js, and the others
        table: textOf(at, "table_name") ?? textOf(at, "table"),
        column: textOf(at, "column_name") ?? textOf(at, "column"),
        constraint: textOf(at, "constraint_name") ?? textOf(at, "constraint"),
      };
    }
  }
  return undefined;
}

function textOf(error: Error, key: string): string | undefined {
  const value: unknown = Reflect.get(error, key);
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** What to do next, by SQLSTATE or the code of a failed connection. */
const NEXT_STEPS: Readonly<Record<string, string>> = {
  "28P01": "Check user and password of the database URL.",
  "28000": "Check the user of the database URL and the server's pg_hba.conf.",
  "3D000": "Create the database, or name an existing one in the database URL.",
  "42501":
    "Connect as the owner of the database (MIGRATION_DATABASE_URL) or have it grant the missing right.",
  "42P07":
    "The database has objects of these names that the journal does not know. Where they are meant to be these, take them over with meta-agent-db adopt. Else use an empty database, or drop or rename them after a backup.",
  "42710":
    "The database has objects of these names that the journal does not know. Where they are meant to be these, take them over with meta-agent-db adopt. Else use an empty database, or drop or rename them after a backup.",
  "25006": "The server is read-only, perhaps a replica: name the primary in the database URL.",
  "55P03": "Another session holds a lock: wait for it or end it, then try again.",
  "57P01": "An administrator or the server's shutdown ended the session: try again.",
  "57P02": "The server has crashed: see its log, then try again.",
  "57P03": "The server is starting or stopping: try again, or let migrate wait for it with --wait.",
  "57014": "Give this login a longer statement_timeout, or end who cancels it, then try again.",
  "25P03": "Give this login a longer idle_in_transaction_session_timeout, then try again.",
  "40P01": "Two sessions waited for each other: try again.",
  "53300": "The server has no free connection: close some, then try again.",
  "53100": "The server's disk is full: make room, then try again.",
  "42704":
    "The server does not know this name: correct it; where it is a setting in the database URL, leave it out.",
  EADDRINUSE: "Another process listens on this port: name another one, --port 0 for any.",
  EACCES: "Name a directory that this user may write, with --directory.",
  EROFS: "Name a directory that can be written, with --directory.",
  EEXIST: "A file is in the way: move it, or name another directory with --directory.",
  ENOTDIR: "A file is in the way: move it, or name another directory with --directory.",
  ECONNREFUSED: "Start the server, or check host and port of the database URL.",
  ENOTFOUND: "Check the host of the database URL.",
  EAI_AGAIN: "Check the host of the database URL and the network.",
  ECONNRESET: "The server closed the connection; see its log, then try again.",
  EPIPE: "The server closed the connection; see its log, then try again.",
  ETIMEDOUT: "Check host and port of the database URL and the firewall between.",
  CONNECT_TIMEOUT: "Check host and port of the database URL and the firewall between.",
  CONNECTION_CLOSED: "The server closed the connection; see its log, then try again.",
  CONNECTION_ENDED: "The connection was closed; try again.",
};

/**
 * The next step of who may not do a thing. The owner may use tables, so to be told to connect as the owner
 * would help whoever forgot withOrganization, and turn row-level security off.
 */
function stepOfDenied(message: string): string | undefined {
  const table = /permission denied for (?:table|view|sequence) "?(\w+)/.exec(message)?.[1];
  if (table === undefined) return NEXT_STEPS["42501"];
  return TABLES.some((ours) => getTableName(ours) === table)
    ? "Run it inside withOrganization(db, organization, (tx) => …) and use its tx, not db; a backend job inside withServiceRole. The role anon may not read or write any table."
    : "Have the owner of the table grant the missing right. A table that meta_agent.isolate gave to tenants is used inside withOrganization(db, organization, (tx) => …), through its tx, not db.";
}

/** Codes of a server that is not there, or not yet. */
const UNREACHABLE =
  /^(ECONNREFUSED|ECONNRESET|EPIPE|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|CONNECT_TIMEOUT|CONNECTION_CLOSED|57P0[123])$/;

/** Whether an error says that the server cannot be reached, or is starting or stopping. */
export function isUnreachable(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (UNREACHABLE.test(textOf(at, "code") ?? "")) return true;
  }
  return false;
}

/**
 * An error as sentences for a person: what PostgreSQL or the network said, and the next step. An error of
 * this package says both itself. What the parameters of a statement held is not repeated.
 */
export function explain(error: unknown): string {
  const said = error instanceof DrizzleQueryError ? error.cause : error;
  if (!(said instanceof Error)) return String(said);
  const code = textOf(said, "code") ?? "";
  const refusal = "severity" in said ? databaseError(said) : undefined;
  return refusal
    ? explainRefusal(carriesValues(error) ? withoutValues(refusal) : refusal)
    : [said.message || code, NEXT_STEPS[code]].filter(Boolean).join("\n");
}

/** PostgreSQL's message, detail and hint; without a hint of its own, ours. */
export function explainRefusal({ code, message, detail, hint }: DatabaseError): string {
  return [`${cut(message)} (${code})`, detail && cut(detail), hint ?? nextStep(code, message)]
    .filter((line) => line !== undefined)
    .join("\n");
}

/** Of rows that a log in months does not take. */
function stepOfPartitions(message: string): string | undefined {
  if (message.includes('no partition of relation "agent_execution_logs"')) {
    return "The log is partitioned: have its months made each night with meta-agent-db partition --ahead 3. Rows of months that were dropped stay out, and so do ids that are not of version 7.";
  }
  return message.includes("agent_execution_logs_id_timestamp_check")
    ? "The log is partitioned: an id is a UUID of version 7 within a day of its row's timestamp. Leave ids to recordExecutions, or make them with executionLogId(timestamp, key)."
    : undefined;
}

function nextStep(code: string, message: string): string | undefined {
  if (message.includes("row-level security")) return undefined;
  if (code === "23514") return stepOfPartitions(message);
  return code === "42501" ? stepOfDenied(message) : NEXT_STEPS[code];
}

/** PostgreSQL repeats a malformed value, whatever its size. */
const SAID_LENGTH = 500;

const cut = (text: string) =>
  text.length > SAID_LENGTH ? `${text.slice(0, SAID_LENGTH)}… (${text.length} characters)` : text;

/** Whether an error is Drizzle's, whose message repeats the parameters of the statement. */
export const carriesValues = (error: unknown): error is DrizzleQueryError =>
  error instanceof DrizzleQueryError && error.params.length > 0;

/**
 * Drizzle's error without what was sent: what the server said, or else the driver. It can be logged, and
 * {@link databaseError} reads it.
 */
export function withoutParameters(error: DrizzleQueryError): Error | undefined {
  const refusal = databaseError(error);
  return refusal ? refusalOf(withoutValues(refusal)) : error.cause;
}

/** An error that {@link databaseError} reads. */
function refusalOf({ message, ...said }: DatabaseError): Error {
  const known = Object.entries(said).filter(([, value]) => value !== undefined);
  return Object.assign(new Error(message), { severity: "ERROR", ...Object.fromEntries(known) });
}

const ELSEWHERE = "write on the primary, in a transaction that is not readOnly";

/** Of a write that was refused because nothing can be written here: says where, and repeats no parameters. Other errors as they are. */
export function sayingWhereToWrite(error: unknown): unknown {
  const refusal = databaseError(error);
  return refusal?.code === "25006" && !refusal.message.endsWith(ELSEWHERE)
    ? refusalOf({ ...refusal, message: `${refusal.message}: ${ELSEWHERE}` })
    : error;
}

/** What PostgreSQL said, but for values and rows that it repeats. */
export function withoutValues(refusal: DatabaseError): DatabaseError {
  const { code, message, detail } = refusal;
  // A malformed value (class 22) stands in quotes at the end, or is the value that is out of range.
  const unquoted = code.startsWith("22") ? message.replace(/(: |^value )"[^]*"/, '$1"…"') : message;
  return { ...refusal, message: cut(unquoted), detail: detail && detailOf(code, detail) };
}

function detailOf(code: string, detail: string): string | undefined {
  // "Failing row contains (…)."
  if (code === "23502" || code === "23514" || code === "44000") return undefined;
  // "Key (agent_name)=(x) already exists."
  const keyed = detail.replace(/\)=\([^]*$/, ")=(…)");
  return cut(code.startsWith("22") ? keyed.replace(/"[^]*"/, '"…"') : keyed);
}
