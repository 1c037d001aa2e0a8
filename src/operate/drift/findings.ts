import { type CatalogObject, type Kind, keyOf } from "./facts.ts";
import {
  type Change,
  KINDS,
  KIND_RECORDS,
  OURS,
  definitionOf,
  nameOf,
  parentOf,
  printed,
} from "./kinds.ts";

/** One difference between a database and what the migrations make. */
export interface Finding {
  /** The object, as a person names it: `policy "Users see own org agents" on agent_registry`. */
  readonly object: string;
  readonly problem: "missing" | "changed" | "extra";
  /** Why it matters, a sentence or two. */
  readonly why: string;
  /** The statement that makes it as the migrations do. */
  readonly expected?: string | undefined;
  /** The statement that makes it as it is. What no statement says stands behind it: ` -- disabled`. */
  readonly found?: string | undefined;
  /** Statements that bring it back, in order. */
  readonly repair: readonly string[];
  /**
   * Whether `repair` applies it unasked: it changes and loses no row, cannot be refused because of the
   * rows there are, hides no loss of rows, and undoes nothing that somebody else added, except what PUBLIC,
   * anon, authenticated and service_role may do, and what our tables were made to inherit from.
   */
  readonly safe: boolean;
}

/** A finding with what it is about, and its statements with their place among those of others. */
export interface PlannedFinding {
  readonly finding: Finding;
  /** As it should be, or as it is where none should be. */
  readonly object: CatalogObject;
  /** As it is, if it is there. */
  readonly live?: CatalogObject;
  readonly steps: readonly Step[];
}

interface Step {
  /** Objects are taken away in the reverse order of `KINDS` (negative), then made in its order. */
  readonly phase: number;
  readonly statement: string;
}

/** Keys of tables and columns that are missing. */
type Gone = ReadonlySet<string>;

/** @param parts what went with it, and comes back with it */
export function missingObject(
  [object, ...parts]: readonly [CatalogObject, ...CatalogObject[]],
  gone: Gone,
): PlannedFinding {
  const { holdsRows, refusable } = KIND_RECORDS[object.kind];
  return planned("missing", {
    object,
    expected: printed(object),
    safe: !holdsRows && !refusable && ![object, ...parts].some((part) => waitsFor(part, gone)),
    steps: [object, ...parts].flatMap((part) => made(part, parts)),
  });
}

export function changedObject(
  expected: CatalogObject,
  live: CatalogObject,
  gone: Gone,
): PlannedFinding {
  const { refusable, dropIsRisky = false } = KIND_RECORDS[expected.kind];
  const changes = changesOf(expected, live);
  // What another kind of object refuses may be what somebody wants refused.
  const isOther = expected.kind !== live.kind;
  const isRisky = changes ? changes.some(({ risky }) => risky) : dropIsRisky || isOther;
  return planned("changed", {
    object: expected,
    live,
    expected: printed(expected),
    found: printed(live),
    safe: !refusable && !isRisky && !waitsFor(expected, gone),
    steps: changes
      ? changes.map(({ statement }) => ({ phase: phaseOf(expected), statement }))
      : [...takenAway(live), ...made(expected, [])],
  });
}

export function extraObject(live: CatalogObject): PlannedFinding {
  const steps = takenAway(live);
  const facts = { object: live, live, found: printed(live), safe: opensToOurs(live), steps };
  const [instead] = steps;
  // The kinds that say what is wrong, whose statements say what should be.
  if (live.kind === "partition") return planned(live.facts.missing ? "missing" : "changed", facts);
  return live.kind === "owner"
    ? planned("changed", { expected: instead?.statement, ...facts })
    : planned("extra", facts);
}

function planned(
  problem: Finding["problem"],
  {
    object,
    live,
    steps,
    ...rest
  }: Pick<Finding, "expected" | "found" | "safe"> & Omit<PlannedFinding, "finding">,
): PlannedFinding {
  const { why } = KIND_RECORDS[object.kind];
  const inOrder = steps.toSorted((a, b) => a.phase - b.phase);
  return {
    finding: {
      object: nameOf(object),
      problem,
      why: (problem === "missing" ? undefined : why[problem]) ?? why.always,
      ...rest,
      repair: inOrder.map(({ statement }) => statement),
    },
    object,
    ...(live ? { live } : {}),
    steps,
  };
}

const phaseOf = ({ kind }: CatalogObject) => KINDS.indexOf(kind) + 1;

/** How an object is made; a table with its columns, and closed to all whom default privileges let in. */
function made(object: CatalogObject, parts: readonly CatalogObject[]): Step[] {
  // Made with its table.
  if (object.kind === "column" && parts.includes(object)) return [];
  const key = keyOf(object.kind, object.path);
  const columns = parts.flatMap((part) =>
    part.kind === "column" && parentOf(part) === key ? [part.facts] : [],
  );
  const opened = openedBy(object);
  return [
    { phase: phaseOf(object), statement: definitionOf(object, columns) },
    ...(opened === undefined
      ? []
      : [
          {
            phase: KINDS.indexOf("grant") + 1,
            statement: `REVOKE ALL ON ${opened} FROM ${OURS.join(", ")}`,
          },
        ]),
  ];
}

function openedBy<K extends Kind>({ kind, facts }: CatalogObject<K>): string | undefined {
  return KIND_RECORDS[kind].opened?.(facts);
}

function takenAway(live: CatalogObject): Step[] {
  return dropOf(live).map((statement) => ({ phase: -phaseOf(live), statement }));
}

function dropOf<K extends Kind>({ kind, facts }: CatalogObject<K>): readonly string[] {
  return [KIND_RECORDS[kind].drop?.(facts) ?? []].flat();
}

/** How to alter what is there, if it can be. */
function changesOf<K extends Kind>(
  { kind, facts }: CatalogObject<K>,
  live: CatalogObject<K>,
): readonly Change[] | undefined {
  return kind === live.kind ? KIND_RECORDS[kind].change?.(facts, live.facts) : undefined;
}

function opensToOurs<K extends Kind>({ kind, facts }: CatalogObject<K>): boolean {
  return KIND_RECORDS[kind].opens?.(facts) ?? false;
}

/** Whether it stands on a table, or a column of it, that is not there. */
function waitsFor({ facts }: CatalogObject, gone: Gone): boolean {
  const needs = "needs" in facts ? (facts.needs ?? []) : [];
  return needs.some(
    ([table, column]) =>
      gone.has(keyOf("table", [table])) ||
      (column !== null && gone.has(keyOf("column", [table, column]))),
  );
}
