import type { Outcome } from "./attack.ts";

type Verdict = (outcome: Outcome) => string | undefined;

/** The last statement, and none before it, must raise that error. */
export const refused =
  (attack: string, code = "42501"): Verdict =>
  (outcome) =>
    outcome.code === code && outcome.final
      ? undefined
      : `${attack}: expected ${code}, got ${told(outcome)}`;

/** The last statement must succeed and read or write so many rows. */
export const counts =
  (attack: string, count: number): Verdict =>
  (outcome) =>
    outcome.code === null && outcome.count === count
      ? undefined
      : `${attack}: expected ${count} rows, got ${told(outcome)}`;

/** The last statement must answer rows of these ids and no others. */
export const answers =
  (question: string, ids: readonly string[]): Verdict =>
  (outcome) => {
    const found = outcome.answer.map(({ id }) => String(id));
    const foreign = found.filter((id) => !ids.includes(id));
    return outcome.code === null && found.length === ids.length && foreign.length === 0
      ? undefined
      : `${question}: expected the ${ids.length} own rows, got ${told(outcome)}, ${foreign.length} of them not its own`;
  };

/** The statements must succeed and write or lock none but these rows, "table id" each. */
export const touchesOnly =
  (attack: string, rows: readonly string[]): Verdict =>
  ({ touched, ...outcome }) => {
    if (outcome.code !== null) return `${attack}: ${told(outcome)}`;
    const foreign = touched.filter((row) => !rows.includes(row));
    return foreign.length > 0 ? `${attack}: touched another's ${list(foreign)}` : undefined;
  };

/** The statements must succeed and write or lock exactly these rows. */
export const touches =
  (attack: string, rows: readonly string[]): Verdict =>
  (outcome) => {
    const missed = rows.filter((row) => !outcome.touched.includes(row));
    return (
      touchesOnly(attack, rows)(outcome) ??
      (missed.length > 0 ? `${attack}: did not touch its own ${list(missed)}` : undefined)
    );
  };

/** What came of an attack, in words. */
export const told = ({
  code,
  message,
  count,
}: Pick<Outcome, "code" | "message" | "count">): string =>
  code === null ? `no error and ${count} rows` : `${code} (${message})`;

/** Tables with the number of rows. */
function list(rows: readonly string[]): string {
  const tables = rows.map((row) => row.split(" ")[0]);
  return [...new Set(tables)]
    .map((table) => `${table} (${tables.filter((name) => name === table).length} rows)`)
    .join(", ");
}
