/** Anything at all as JSON that PostgreSQL stores. */
import {
  DEEPEST,
  type JsonObject,
  type JsonValue,
  brokenText,
  isPlain,
  isStorable,
  kindOf,
} from "../schema/json.ts";

/** How to make a value storable. */
export interface AsJsonOptions {
  /** What the JSON text may have at most, from 64; default 10 million. Long texts are cut first. */
  readonly maxCharacters?: number;
}

/** Something of the value that is otherwise in the JSON. */
export interface JsonChange {
  /** Where inside the value. */
  readonly path: readonly (string | number)[];
  /** What was there, in words: `an instance of Date`. */
  readonly was: string;
}

/** A value as JSON, and what that took. */
export interface Storable {
  /** What a JSON column stores. */
  readonly value: JsonValue;
  /** What is otherwise than it was, the first 20. */
  readonly changes: readonly JsonChange[];
  /** How many changes there were in all. */
  readonly changed: number;
}

const MOST_CHARACTERS = 10_000_000;
/** Room for any number, true, false, null and the marks. */
const LEAST_ROOM = 24;
const LEAST_CHARACTERS = 64;
/** Texts are cut down to this before anything else is left out. */
const SHORTEST = 64;
const TOLD = 20;

/**
 * Makes anything storable in a JSON column, and says what it changed: a Date becomes its ISO text, a
 * BigInt its digits, an Error its name, message, code and cause, a Map an object (or a list of pairs,
 * unless its keys are texts), a Set a list, bytes base64, an instance what its `toJSON`, its `valueOf` or
 * its own keys give. NaN and infinities become null; NUL and halves of surrogate pairs U+FFFD; circular references,
 * what is nested deeper than 500 and what throws a mark in brackets; functions and symbols are left out.
 * What is storable JSON comes back equal, without changes. It never throws because of the value.
 *
 * ```ts
 * const { value, changes } = asJson(response, { maxCharacters: 16_384 });
 * await recordExecutions(tx, [{ agentId, executionId, actionType: "llm_call", outputData: value }]);
 * ```
 *
 * @throws {RangeError} `maxCharacters` is no whole number from 64
 */
export function asJson(value: unknown, options: AsJsonOptions = {}): Storable {
  const { maxCharacters = MOST_CHARACTERS } = options;
  if (!Number.isSafeInteger(maxCharacters) || maxCharacters < LEAST_CHARACTERS) {
    throw new RangeError(
      `asJson: maxCharacters must be a whole number from ${LEAST_CHARACTERS}, got ${maxCharacters}`,
    );
  }
  const copy = new Copier(maxCharacters).copy(value);
  if (copy !== undefined) return { value: copy, changes: [], changed: 0 };
  const changes: JsonChange[] = [];
  let changed = 0;
  const note: Note = (path, was) => {
    changed += 1;
    if (changes.length < TOLD) changes.push({ path: [...path], was });
  };
  const whole = new Writer({ note, room: maxCharacters + LEAST_ROOM });
  let storable = whole.write(value);
  if (whole.characters > maxCharacters) {
    const excess = whole.characters - (maxCharacters - LEAST_ROOM);
    const longest = longestText(whole.texts, excess);
    storable = new Writer({ note, room: maxCharacters, longest }).write(storable);
  }
  return { value: storable, changes, changed };
}

/** To what length the longest texts are cut, so that all together lose the excess. */
function longestText(lengths: readonly number[], excess: number): number {
  const descending = lengths.toSorted((a, b) => b - a);
  let left = excess;
  for (const [index, length] of descending.entries()) {
    const next = Math.max(descending[index + 1] ?? 0, SHORTEST);
    const gained = (index + 1) * (length - next);
    if (gained >= left) return length - Math.ceil(left / (index + 1));
    if (next === SHORTEST) break;
    left -= gained;
  }
  return SHORTEST;
}

/** What a character may be in JSON: `\u0000`. */
const WIDEST = 6;

/**
 * Copies what is storable JSON already and has room however its texts are escaped: most of what is stored, in an
 * eighth of the time that the {@link Writer} takes.
 */
class Copier {
  #room: number;

  constructor(room: number) {
    this.#room = room;
  }

  /** Undefined for what the writer has to look at. */
  copy(value: unknown): JsonValue | undefined {
    try {
      return this.#copied(value, 0);
    } catch {
      return undefined;
    }
  }

  #copied(value: unknown, depth: number): JsonValue | undefined {
    switch (typeof value) {
      case "string":
        return this.#takes(value) ? value : undefined;
      case "number":
        return Number.isFinite(value) && this.#fits(LEAST_ROOM) ? value : undefined;
      case "boolean":
        return this.#fits(LEAST_ROOM) ? value : undefined;
      case "object":
        if (value === null) return this.#fits(LEAST_ROOM) ? value : undefined;
        return depth < DEEPEST && !("toJSON" in value) ? this.#inside(value, depth + 1) : undefined;
      default:
        return undefined;
    }
  }

  #inside(value: object, depth: number): JsonValue | undefined {
    const prototype: unknown = Object.getPrototypeOf(value);
    if (Array.isArray(value) && prototype === Array.prototype) return this.#list(value, depth);
    return isPlain(value) ? this.#object(value, depth) : undefined;
  }

  #list(elements: readonly unknown[], depth: number): JsonValue[] | undefined {
    const list: JsonValue[] = [];
    for (const element of elements) {
      const copy = this.#copied(element, depth);
      if (copy === undefined) return undefined;
      list.push(copy);
    }
    return this.#fits(elements.length + 2) ? list : undefined;
  }

  #object(members: Readonly<Record<string, unknown>>, depth: number): JsonObject | undefined {
    const object: JsonObject = {};
    for (const key of Object.keys(members)) {
      if (key === "__proto__" || !this.#takes(key)) return undefined;
      const copy = this.#copied(members[key], depth);
      if (copy === undefined) return undefined;
      object[key] = copy;
    }
    return this.#fits(2) ? object : undefined;
  }

  /** A text, with its quotes and what parts it from the next. */
  #takes(text: string): boolean {
    return this.#fits(text.length * WIDEST + 4) && isStorable(text);
  }

  #fits(characters: number): boolean {
    this.#room -= characters;
    return this.#room >= 0;
  }
}

type Note = (path: readonly (string | number)[], was: string) => void;

interface Limits {
  /** What the JSON may have. */
  readonly room: number;
  /** What a text in it may have. None: texts stay whole, and count as if they were cut to the shortest. */
  readonly longest?: number;
}

/** Copies a value as JSON within limits. */
class Writer {
  /** How long the JSON of each text is. */
  readonly texts: number[] = [];
  /** Of the JSON so far. */
  characters = 0;
  readonly #note: Note;
  readonly #longest: number | undefined;
  readonly #most: number;
  #room: number;
  readonly #path: (string | number)[] = [];
  /** What the value lies in. */
  readonly #above = new Set<object>();

  constructor({ note, room, longest }: Limits & { note: Note }) {
    this.#note = note;
    this.#room = room;
    this.#longest = longest;
    this.#most = Math.max(room, MOST_CHARACTERS);
  }

  /** Needs room for the shortest; the caller has seen to it. */
  write(value: unknown): JsonValue {
    switch (typeof value) {
      case "string":
        return this.#text(value);
      case "number":
        return Number.isFinite(value) ? this.#literal(value) : this.#nothing(String(value));
      case "boolean":
        return this.#literal(value);
      case "bigint":
        this.#tell(kindOf(value));
        return this.#text(String(value));
      case "object":
        return value === null ? this.#literal(null) : this.#inside(value);
      default:
        return this.#nothing(kindOf(value));
    }
  }

  #tell(was: string): void {
    this.#note(this.#path, was);
  }

  #take(characters: number, counted = characters): void {
    this.characters += characters;
    this.#room -= counted;
  }

  #literal<T extends number | boolean | null>(value: T): T {
    this.#take(String(value).length);
    return value;
  }

  #nothing(was: string): null {
    this.#tell(was);
    return this.#literal(null);
  }

  #mark(mark: string, was: string): string {
    this.#tell(was);
    this.#take(mark.length + 2);
    return mark;
  }

  #text(given: string): string {
    const limit = this.#longest === undefined ? this.#left() : Math.min(this.#room, this.#longest);
    // JSON is never shorter than the text.
    const head = given.length > limit ? beforeHalf(given.slice(0, limit)) : given;
    if (!isStorable(head)) this.#tell(`text with ${brokenText(head)}`);
    let text = storableText(head);
    if (head.length < given.length || jsonLength(text) > limit) {
      this.#tell(`text of ${given.length} characters`);
      text = cutTo(text, limit);
    }
    const length = jsonLength(text);
    this.texts.push(length);
    this.#take(length, this.#longest === undefined ? Math.min(length, SHORTEST) : length);
    return text;
  }

  #inside(value: object): JsonValue {
    if (this.#above.has(value)) return this.#mark("[circular]", "a circular reference");
    if (this.#above.size >= DEEPEST) {
      return this.#mark("[too deep]", `more than ${DEEPEST} levels of lists and objects`);
    }
    const [characters, room] = [this.characters, this.#room];
    const [texts, depth] = [this.texts.length, this.#path.length];
    this.#above.add(value);
    try {
      return this.#opened(value);
    } catch {
      this.characters = characters;
      this.#room = room;
      this.texts.length = texts;
      this.#path.length = depth;
      return this.#mark("[unreadable]", "what throws when it is read");
    } finally {
      this.#above.delete(value);
    }
  }

  #opened(value: object): JsonValue {
    if (value instanceof Error) return this.#error(value);
    const bytes = bytesOf(value);
    if (bytes) return this.#bytes(bytes, kindOf(value));
    const toJson: unknown = Reflect.get(value, "toJSON");
    if (typeof toJson === "function") {
      const made: unknown = Reflect.apply(toJson, value, [String(this.#path.at(-1) ?? "")]);
      this.#tell(kindOf(value));
      // Once, as JSON.stringify.
      return typeof made === "object" && made !== null ? this.#unfolded(made) : this.write(made);
    }
    if (Array.isArray(value) || isPlain(value)) return this.#unfolded(value);
    this.#tell(kindOf(value));
    const primitive: unknown = "valueOf" in value ? value.valueOf() : value;
    return typeof primitive === "object" ? this.#unfolded(value) : this.write(primitive);
  }

  #unfolded(value: object): JsonValue {
    if (value instanceof Map) {
      const keys = [...value.keys()];
      return keys.every((key) => typeof key === "string")
        ? this.#object(keys, (key) => value.get(key))
        : this.#list(value);
    }
    if (Array.isArray(value) || value instanceof Set || ArrayBuffer.isView(value)) {
      return this.#list(isIterable(value) ? value : []);
    }
    return this.#object(Object.keys(value), (key): unknown => Reflect.get(value, key));
  }

  /** Without its stack, which names files of the machine, and without what clients add: headers have secrets. */
  #error(error: Error): JsonObject {
    this.#tell(kindOf(error));
    const keys = ["name", "message", "code", "errors", "cause"];
    return this.#object(keys, (key): unknown => Reflect.get(error, key));
  }

  #bytes(bytes: Buffer, was: string): string {
    this.#tell(was);
    return this.#text(bytes.subarray(0, this.#left()).toString("base64"));
  }

  #list(elements: Iterable<unknown>): JsonValue[] {
    const list: JsonValue[] = [];
    this.#take(2);
    for (const element of elements) {
      const comma = list.length > 0 ? 1 : 0;
      if (!this.#fits(comma)) break;
      this.#path.push(list.length);
      list.push(this.write(element));
      this.#path.pop();
    }
    return list;
  }

  #object(keys: readonly string[], read: (key: string) => unknown): JsonObject {
    const members = new Map<string, JsonValue>();
    this.#take(2);
    for (const key of keys) {
      const inner = attempted(() => read(key));
      // As JSON.stringify; the rule for JSON columns takes it, too.
      if (inner === undefined) continue;
      const name = this.#free(key, members);
      const isData = typeof inner !== "function" && typeof inner !== "symbol";
      if (isData && !this.#fits(jsonLength(name) + (members.size > 0 ? 2 : 1))) break;
      this.#path.push(name);
      if (isData) members.set(name, this.write(inner));
      else this.#tell(kindOf(inner));
      this.#path.pop();
    }
    return Object.fromEntries(members);
  }

  /** A key that is storable, and that no other key has become. */
  #free(key: string, members: ReadonlyMap<string, JsonValue>): string {
    let name = storableText(key);
    while (members.has(name)) name += REPLACEMENT;
    if (name !== key)
      this.#tell(isStorable(key) ? "a key that another became" : `a key with ${brokenText(key)}`);
    return name;
  }

  /** However small the limit, a text is looked at whole, but not without end. */
  #left(): number {
    return this.#most - this.characters;
  }

  #fits(characters: number): boolean {
    const fits = Math.min(this.#room, this.#left()) >= characters + LEAST_ROOM;
    if (fits) this.#take(characters);
    else this.#tell("more than there is room for");
    return fits;
  }
}

/** What throws when it is read, as the writer finds out once more. */
const UNREADABLE = {
  get toJSON(): never {
    throw new TypeError("unreadable");
  },
};

function attempted(read: () => unknown): unknown {
  try {
    return read();
  } catch {
    return UNREADABLE;
  }
}

const REPLACEMENT = "\uFFFD";

const storableText = (text: string): string =>
  isStorable(text) ? text : text.replaceAll("\0", REPLACEMENT).toWellFormed();

const jsonLength = (text: string): number => JSON.stringify(text).length;

/** The longest beginning, and a mark, whose JSON has at most so many characters. */
function cutTo(text: string, limit: number): string {
  const room = limit - '"…"'.length;
  let cut = text.slice(0, room);
  for (;;) {
    const length = jsonLength(cut) - '""'.length;
    if (length <= room) return `${beforeHalf(cut)}…`;
    cut = cut.slice(0, Math.floor((cut.length * room) / length));
  }
}

/** Without the first half of a character that was cut in two. */
function beforeHalf(text: string): string {
  const last = text.charCodeAt(text.length - 1);
  return last >= 0xd800 && last <= 0xdbff ? text.slice(0, -1) : text;
}

function bytesOf(value: object): Buffer | undefined {
  if (value instanceof ArrayBuffer) return Buffer.from(value);
  return value instanceof Uint8Array ||
    value instanceof Uint8ClampedArray ||
    value instanceof DataView
    ? Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    : undefined;
}

const isIterable = (value: object): value is Iterable<unknown> => Symbol.iterator in value;
