/**
 * Keys that are made from what a writer knows already, so that retries and importers meet in one row.
 * `drizzle/` has the same functions for SQL, `meta_agent.uuid_for` and `meta_agent.execution_log_id`.
 */
import { hash } from "node:crypto";
import { canonicalUuid, hyphened } from "../schema/uuid.ts";

/**
 * The uuid of an id that others gave: always the same for the same parts, so that it needs no table of
 * its own. One part that is a uuid in any spelling, such as a trace id of 32 hex digits, is itself; all
 * else is the SHA-256 of the parts with their lengths, as a uuid of version 8.
 *
 * ```ts
 * uuidFor("4bf92f3577b34da6a3ce929d0e0e4736"); // 4bf92f35-77b3-4da6-a3ce-929d0e0e4736
 * uuidFor("organization", "org_2abc"); // for withOrganization
 * ```
 */
export function uuidFor(first: string, ...others: string[]): string {
  const given = others.length === 0 ? canonicalUuid(first) : undefined;
  if (given !== undefined) return given;
  const parts = [first, ...others].map((part) => `${Buffer.byteLength(part)}:${part}`);
  return marked(hash("sha256", parts.join("")), "8");
}

/** What 48 bits of milliseconds hold. */
const LAST_INSTANT = 2 ** 48 - 1;

/**
 * The id of a row of `agent_execution_logs` that began at an instant, from the writer's own key for it,
 * such as a span's id: the same row again has the same id. A uuid of version 7, the milliseconds and
 * 74 bits of the key's SHA-256, so that rows lie in the order of time. Instants before 1970 count as 1970.
 *
 * ```ts
 * recordExecutions(tx, [{ id: executionLogId(startedAt, `${traceId}/${spanId}`), timestamp: startedAt, … }]);
 * ```
 *
 * @throws {RangeError} an invalid Date
 */
export function executionLogId(timestamp: Date, key: string): string {
  if (Number.isNaN(timestamp.getTime())) {
    throw new RangeError("executionLogId: the Date is invalid");
  }
  return marked(instantOf(timestamp) + hash("sha256", key), "7");
}

/** The smallest id of an instant, as `meta_agent.uuidv7_floor` makes it. */
export const executionLogIdFloor = (timestamp: Date): string =>
  marked(instantOf(timestamp).padEnd(32, "0"), "7");

/** 48 bits of Unix milliseconds. */
const instantOf = (timestamp: Date): string =>
  Math.min(Math.max(timestamp.getTime(), 0), LAST_INSTANT).toString(16).padStart(12, "0");

/** The first 128 bits, with the version and the variant of RFC 9562 in their places. */
function marked(hex: string, version: "7" | "8"): string {
  const variant = ((Number.parseInt(hex.charAt(16), 16) & 0b0011) | 0b1000).toString(16);
  return hyphened(
    `${hex.slice(0, 12)}${version}${hex.slice(13, 16)}${variant}${hex.slice(17, 32)}`,
  );
}
