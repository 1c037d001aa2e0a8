import { type CatalogObject, KINDS, type Kind, type LiveObject, kindOf } from "./catalog.ts";
import { OUR_ROLES } from "../logins.ts";

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
   * anon, authenticated and service_role may do.
   */
  readonly safe: boolean;
}

/** A finding, and its statements with their place among those of others. */
export interface Difference {
  readonly finding: Finding;
  readonly steps: readonly Step[];
}

interface Step {
  /** Objects are taken away in the reverse order of `KINDS` (negative), then made in its order. */
  readonly phase: number;
  readonly statement: string;
}

/** @param parts what went with it, and comes back with it */
export function missingObject([object, ...parts]: [CatalogObject, ...CatalogObject[]]): Difference {
  const kind = kindOf(object);
  return difference(object, "missing", {
    expected: object.definition,
    safe: !["table", "column"].includes(kind) && !MAY_BE_REFUSED.has(kind),
    steps: [object, ...parts].flatMap((part) => made(part, parts)),
  });
}

export function changedObject(expected: CatalogObject, live: LiveObject): Difference {
  const steps = changes(expected, live);
  const kind = kindOf(expected);
  return difference(expected, "changed", {
    expected: expected.definition,
    found: live.definition,
    safe: !MAY_BE_REFUSED.has(kind) && !steps.some(({ statement }) => RISKY.test(statement)),
    steps,
  });
}

export function extraObject(live: LiveObject): Difference {
  const kind = kindOf(live);
  const steps = [takenAway(live)];
  // The one kind whose statement says what should be.
  if (kind === "owner") {
    const { definition: found, undo: expected } = live;
    return difference(live, "changed", { expected, found, safe: opensToOurs(found), steps });
  }
  return difference(live, "extra", {
    found: live.definition,
    safe: ["policy", "grant"].includes(kind) && opensToOurs(live.definition),
    steps,
  });
}

function difference(
  { object }: CatalogObject,
  problem: Finding["problem"],
  { steps, ...rest }: Pick<Finding, "expected" | "found" | "safe"> & Pick<Difference, "steps">,
): Difference {
  const why = WHY[kindOf({ object })];
  const inOrder = steps.toSorted((a, b) => a.phase - b.phase);
  return {
    finding: {
      object,
      problem,
      why: (problem === "missing" ? undefined : why[problem]) ?? why.any,
      ...rest,
      repair: inOrder.map(({ statement }) => statement),
    },
    steps,
  };
}

/** Parts of changes that rows or what stands on it may refuse. */
const RISKY = /^DROP ROUTINE | (TYPE|DROP COLUMN) | SET NOT NULL$/;

/** Rows that are there may refuse these. */
const MAY_BE_REFUSED: ReadonlySet<Kind> = new Set<Kind>([
  "primary key",
  "unique constraint",
  "check",
  "exclusion constraint",
  "foreign key",
]);

const phaseOf = (object: CatalogObject) => KINDS.indexOf(kindOf(object)) + 1;
const making = (object: CatalogObject, statement = object.definition): Step => ({
  phase: phaseOf(object),
  statement,
});
const takenAway = (live: LiveObject): Step => ({ phase: -phaseOf(live), statement: live.undo });

/** How an object is made; a table with its columns, and closed to all whom default privileges let in. */
function made(object: CatalogObject, parts: readonly CatalogObject[]): Step[] {
  const kind = kindOf(object);
  const grants = KINDS.indexOf("grant") + 1;
  const closed = (what: string) => ({
    phase: grants,
    statement: `REVOKE ALL ON ${what} FROM ${OURS.join(", ")}`,
  });
  if (kind === "table") {
    const columns = parts.flatMap((part) =>
      part.parent === object.object && kindOf(part) === "column"
        ? [`\n  ${part.definition.split(" ADD COLUMN ")[1]}`]
        : [],
    );
    const statement = object.definition.replace("()", `(${columns.join(",")}\n)`);
    return [making(object, statement), closed(statement.split(" ")[2] ?? "")];
  }
  // Made with its table.
  if (kind === "column" && parts.includes(object)) return [];
  if (kind === "function" || kind === "schema") {
    return [making(object), closed(object.object)];
  }
  return [making(object)];
}

/** From what is there to what should be, without dropping what can be altered. */
function changes(expected: CatalogObject, live: LiveObject): Step[] {
  const { definition } = expected;
  const remade = [takenAway(live), making(expected)];
  switch (kindOf(expected)) {
    case "table":
      return [making(expected, definition.replace(/CREATE (TABLE \S+) .*/, "ALTER $1 SET LOGGED"))];
    case "column":
      return columnChanges(expected, live);
    case "row-level security":
    case "comment":
      return [making(expected)];
    case "function": {
      // CREATE OR REPLACE keeps the privileges, and cannot change what it takes and returns.
      const [signature, found] = [definition, live.definition].map(
        (text) => text.split("\n LANGUAGE")[0],
      );
      return signature === found ? [making(expected)] : [takenAway(live), ...made(expected, [])];
    }
    default:
      return live.definition === `${definition} NOT VALID`
        ? [making(expected, definition.replace(/ADD (CONSTRAINT \S+) .*/s, "VALIDATE $1"))]
        : remade;
  }
}

const COLUMN =
  /^(?<table>ALTER TABLE .+?) ADD COLUMN (?<name>\S+) (?<type>.+?)(?<made> GENERATED .+?)?(?: DEFAULT (?<value>.+?))?(?<filled> NOT NULL(?: -- not validated)?)?$/s;

function columnChanges(expected: CatalogObject, live: LiveObject): Step[] {
  const [to, from] = [expected, live].map(
    ({ definition }) => COLUMN.exec(definition)?.groups ?? {},
  );
  if (!to || !from) return [];
  const alter = (action: string) =>
    making(expected, `${to["table"]} ALTER COLUMN ${to["name"]} ${action}`);
  if (from["made"]?.endsWith("VIRTUAL")) return [takenAway(live), making(expected)];
  const retyped = to["type"] !== from["type"];
  return [
    ...(from["made"]?.endsWith("STORED") ? [alter("DROP EXPRESSION")] : []),
    ...(from["made"]?.endsWith("IDENTITY") ? [alter("DROP IDENTITY")] : []),
    ...(from["value"] !== undefined && (retyped || to["value"] === undefined)
      ? [alter("DROP DEFAULT")]
      : []),
    ...(retyped ? [alter(`TYPE ${to["type"]} USING ${to["name"]}::${to["type"]}`)] : []),
    ...(to["value"] !== undefined && (retyped || to["value"] !== from["value"])
      ? [alter(`SET DEFAULT ${to["value"]}`)]
      : []),
    ...(to["filled"] === from["filled"]
      ? []
      : [alter(`${to["filled"] ? "SET" : "DROP"} NOT NULL`)]),
  ];
}

const OURS: readonly string[] = ["PUBLIC", ...OUR_ROLES];
const OPENS =
  /(?:^GRANT .+| ON \S+ AS PERMISSIVE FOR \w+|^ALTER .+ OWNER) TO ((?:\S+, )*\S+)(?: (?:USING|WITH CHECK) \(.*)?$/s;

/** Whether a policy, a grant or an owner opens something to nobody but the roles that this package governs. */
function opensToOurs(definition: string): boolean {
  // Logins of the user's own may live by that.
  if (definition === "GRANT CREATE ON SCHEMA public TO PUBLIC") return false;
  const roles = OPENS.exec(definition)?.[1]?.split(", ") ?? [""];
  return roles.every((role) => OURS.includes(role));
}

/** Why an object matters; `changed` and `extra` where that is another matter. */
const WHY: Readonly<Record<Kind, { any: string; changed?: string; extra?: string }>> = {
  role: {
    any: "Policies and grants name this role: without it nobody can act as it, and none of them can be made.",
  },
  schema: { any: "The tenancy helper and the key generators live in it." },
  extension: { any: "The embeddings are of its type, and similarity search is by its operators." },
  function: {
    any: "Policies, column defaults and triggers call it: what it answers decides whose rows are shown and written.",
    extra:
      "Tenants may use this schema, and a function in it may run as the owner, who sees every organization. Nothing but ours belongs here.",
  },
  table: {
    any: "Its rows are gone or elsewhere: look for a backup, or for the table under another name, before you make an empty one.",
    changed: "An unlogged table is empty after a crash, and is not on replicas.",
    extra:
      "Tenants may use this schema. Nothing but ours belongs here; drop it when you know what it holds.",
  },
  column: {
    any: "What it held is gone or elsewhere: look for a backup, or for the column under another name, before you make an empty one.",
    changed: "Rows may come to hold what the program does not expect, or lack what it relies on.",
    extra: "Not ours: the program neither reads nor writes it. Dropping it loses what it holds.",
  },
  "row-level security": {
    any: "Off, whoever may read the table reads the rows of every organization. Forced, it hides rows from the owner: from pg_dump, from migrations, and from the helpers of the policies.",
  },
  "primary key": { any: "Rows can be stored twice, and nothing can refer to them." },
  "unique constraint": {
    any: "What must be there once can be stored twice, and upserts that name it fail.",
    extra:
      "Not ours: it refuses rows that the program may write, and tells one organization what another one has.",
  },
  check: {
    any: "Rows that the program refuses can be stored by others, and break what reads them.",
    extra: "Not ours: it refuses rows that the program may write.",
  },
  "exclusion constraint": {
    any: "An agent can have two active or two baseline prompts at once.",
    extra: "Not ours: it refuses rows that the program may write.",
  },
  "foreign key": {
    any: "Rows can refer to what does not exist, and deletes no longer carry on or stop where they must.",
    extra: "Not ours: it refuses rows that the program may write.",
  },
  index: {
    any: "The queries that it serves read the whole table, and so do deletes of what the table refers to.",
    extra:
      "Not ours, and unique: it refuses rows that the program may write, and tells one organization what another one has.",
  },
  statistics: {
    any: "Without it the planner expects next to no rows of an agent, and leaves the index for its latest logs.",
  },
  trigger: {
    any: "It keeps `updated_at` true, whoever writes.",
    extra:
      "Not ours: it runs as whoever writes, service_role included, and may change what is written.",
  },
  rule: {
    any: "Not ours: it rewrites what is read or written, with the rights of the table's owner.",
  },
  policy: {
    any: "It decides which rows a role may see and write: without it nobody but the owner can do what it allows.",
    changed:
      "It decides which rows a role may see and write: another condition may show or take rows of other organizations, or hide own ones.",
    extra:
      "Policies add up: a permissive one shows or takes rows that ours do not, a restrictive one hides rows that ours show.",
  },
  view: {
    any: "Not ours: it reads as its owner, so row-level security does not apply, and whoever may read it sees every organization.",
  },
  owner: {
    any: "The owner is not subject to row-level security and can switch it off; all of this package's objects belong to one.",
  },
  comment: { any: "It says what the rows are, or the unit of a column." },
  grant: {
    any: "Tenants and backend jobs work through these privileges alone; without them their statements fail.",
    changed:
      "TRUNCATE looks past row-level security, a trigger runs as whoever fires it, and REFERENCES tells which ids exist; where a privilege is missing, statements fail.",
    extra:
      "Nobody was meant to have this: TRUNCATE, TRIGGER and REFERENCES look past row-level security, the journal decides what migrates, and anon has no business here.",
  },
};
