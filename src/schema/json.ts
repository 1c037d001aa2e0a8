/** What PostgreSQL can hold as JSON. */

/** What a JSON column holds. */
export type JsonValue = string | number | boolean | null | JsonValue[] | JsonObject;
/** A key whose value is undefined is left out, as by JSON.stringify. */
export type JsonObject = { [key: string]: JsonValue | undefined };

/** The outer form that a CHECK guards. */
export type JsonForm = "object" | "array" | "non-empty array";

/** Text that PostgreSQL stores and gives back as it was: no NUL, no half of a surrogate pair. */
export const isStorable = (text: string): boolean => !text.includes("\0") && text.isWellFormed();

/** PostgreSQL and JSON.parse recurse; nobody nests this deep on purpose. */
const DEEPEST = 500;

/** Any JSON that PostgreSQL can hold. */
export function isJson(value: unknown, depth = 0): value is JsonValue {
  switch (typeof value) {
    case "string":
      return isStorable(value);
    case "number":
      return Number.isFinite(value);
    case "boolean":
      return true;
    case "object":
      if (value === null) return true;
      if (depth >= DEEPEST) return false;
      if (Array.isArray(value)) return isJsonArray(value, depth);
      return isJsonObject(value, depth);
    default:
      return false;
  }
}

/** `every` alone skips the holes of an array, which `includes` sees. */
const isJsonArray = (value: readonly unknown[], depth: number): boolean =>
  !value.includes(undefined) && value.every((element) => isJson(element, depth + 1));

/** Drizzle takes no object without a prototype. */
export function isJsonObject(value: unknown, depth = 0): value is JsonObject {
  return (
    typeof value === "object" &&
    value !== null &&
    Object.getPrototypeOf(value) === Object.prototype &&
    Object.entries(value).every(
      ([key, inner]) => isStorable(key) && (inner === undefined || isJson(inner, depth + 1)),
    )
  );
}
