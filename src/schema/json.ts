/** What PostgreSQL can hold as JSON. */

/** What a JSON column holds. */
export type JsonValue = string | number | boolean | null | JsonValue[] | JsonObject;
/** A key whose value is undefined is left out, as by JSON.stringify. */
export type JsonObject = { [key: string]: JsonValue | undefined };

/** The outer form that a CHECK guards. */
export type JsonForm = "object" | "array" | "non-empty array";

/** Text that PostgreSQL stores and gives back as it was: no NUL, no half of a surrogate pair. */
export const isStorable = (text: string): boolean => !text.includes("\0") && text.isWellFormed();

/** What keeps a text from being storable, and where. */
export function brokenText(text: string): string {
  const nul = text.indexOf("\0");
  return nul >= 0
    ? `a NUL character at ${nul}`
    : `half a surrogate pair at ${text.search(/\p{Surrogate}/u)}`;
}

/** PostgreSQL and JSON.parse recurse; nobody nests this deep on purpose. */
export const DEEPEST = 500;

/** What makes a value none that PostgreSQL can hold as JSON. */
export interface JsonFault {
  /** Where inside the value. */
  readonly path: (string | number)[];
  /** What is there, in words: `an instance of Date`. */
  readonly found: string;
}

/** The first fault of a value; undefined for JSON that PostgreSQL can hold. */
export function jsonFault(value: unknown): JsonFault | undefined {
  const fault = faultIn(value, 0);
  fault?.path.reverse();
  if (fault?.found !== TOO_DEEP) return fault;
  return circleOn(value, fault.path) ?? { path: fault.path.slice(0, 8), found: TOO_DEEP };
}

const TOO_DEEP = `more than ${DEEPEST} levels of lists and objects`;

/** On the way up, so that its path is in reverse. */
function faultIn(value: unknown, depth: number): JsonFault | undefined {
  switch (typeof value) {
    case "string":
      return isStorable(value) ? undefined : here(`text with ${brokenText(value)}`);
    case "number":
      return Number.isFinite(value) ? undefined : here(String(value));
    case "boolean":
      return undefined;
    case "object":
      if (value === null) return undefined;
      return depth < DEEPEST ? faultInside(value, depth + 1) : here(TOO_DEEP);
    default:
      return here(kindOf(value));
  }
}

const here = (found: string): JsonFault => ({ path: [], found });

function faultInside(value: object, depth: number): JsonFault | undefined {
  let place: string | number | undefined;
  try {
    if (Array.isArray(value)) {
      // By index: `every` and its like skip the holes.
      for (place = 0; place < value.length; place += 1) {
        const fault = faultIn(value[place], depth);
        if (fault) return below(place, fault);
      }
      return undefined;
    }
    if (!isPlain(value)) return here(kindOf(value));
    for (place of Object.keys(value)) {
      if (!isStorable(place)) return here(`a key with ${brokenText(place)}`);
      const inner = value[place];
      const fault = inner === undefined ? undefined : faultIn(inner, depth);
      if (fault) return below(place, fault);
    }
  } catch {
    return below(place, here("what throws when it is read"));
  }
}

function below(place: string | number | undefined, fault: JsonFault): JsonFault {
  if (place !== undefined) fault.path.push(place);
  return fault;
}

/** Drizzle takes no object without a prototype. */
export const isPlain = (value: object): value is Record<string, unknown> =>
  Object.getPrototypeOf(value) === Object.prototype;

/** Where the way down meets an object again that it came through. */
function circleOn(value: unknown, path: JsonFault["path"]): JsonFault | undefined {
  const above = new Set<unknown>();
  let inner = value;
  for (const [depth, place] of path.entries()) {
    above.add(inner);
    inner = Reflect.get(Object(inner), place);
    if (above.has(inner)) return { path: path.slice(0, depth + 1), found: "a circular reference" };
  }
}

/** What a value is, in words that repeat nothing of it. */
export function kindOf(value: unknown): string {
  switch (typeof value) {
    case "undefined":
      return "undefined";
    case "bigint":
      return "a BigInt";
    case "symbol":
    case "function":
    case "string":
    case "number":
    case "boolean":
      return `a ${typeof value}`;
    case "object":
      return value === null ? "null" : kindOfObject(value);
  }
}

function kindOfObject(value: object): string {
  try {
    if (Array.isArray(value)) return `a list of ${value.length}`;
    if (isPlain(value)) return "an object";
    if (Object.getPrototypeOf(value) === null) return "an object without a prototype";
    const { name } = value.constructor;
    return `an instance of ${name.slice(0, 40)}`;
  } catch {
    return "an object";
  }
}

/** At most so many characters of a text, as PostgreSQL can store it. */
export const storableText = (value: string, most: number): string =>
  value.slice(0, most).replaceAll("\0", "\uFFFD").toWellFormed();
