/**
 * The other form of a database, for Citus: the log and its embeddings are distributed by organization, agents and
 * prompts are reference tables, all else stays on the coordinator. What differs from what the migrations make is said
 * here, once, as objects of the catalog: the command makes them, `diff` looks for them.
 */
import { type CatalogObject, type FactsOf, keyOf } from "./facts.ts";

/** Tables that Citus cuts by organization, the second with the rows of the first. */
export const DISTRIBUTED = ["agent_execution_logs", "execution_embeddings"] as const;
/** Tables that every node has whole: what the distributed ones refer to. */
export const REFERENCE = ["agent_registry", "agent_prompts"] as const;

const isDistributed = (table: string | undefined) => DISTRIBUTED.some((name) => name === table);

const CALLER = "meta_agent.current_organization_id()";
const CARRY = "meta_agent.carry_claims(text)";

/** Of a database, whether it has this form: by what only it has. */
export const isHybrid = (objects: readonly CatalogObject[]): boolean =>
  objects.some(
    ({ kind, path, facts }) =>
      (kind === "function" && path[0] === CARRY) ||
      (kind === "primary key" && isDistributed(path[0]) && facts.rule === OWN_KEY),
  );

/** The key of a distributed table. By `id` first, which alone finds a row as it does elsewhere. */
const OWN_KEY = "PRIMARY KEY (id, organization_id)";

/** The objects of this form, from those that the migrations make. */
export function hybridOf(plain: readonly CatalogObject[]): CatalogObject[] {
  const functions = helpersOf(plain);
  return [
    ...plain.map(hybrid),
    ...REFERENCE.map(ownKey),
    ...functions.flatMap((made) => [made, ...grantsOf(made)]),
  ];
}

function hybrid(object: CatalogObject): CatalogObject {
  const [table] = object.path;
  switch (object.kind) {
    case "column":
      return isDistributed(table) && object.path[1] === "organization_id"
        ? { ...object, facts: { ...object.facts, notNull: true } }
        : object;
    case "primary key":
      return isDistributed(table)
        ? { ...object, facts: { ...object.facts, rule: OWN_KEY } }
        : object;
    case "foreign key":
      return isDistributed(table)
        ? { ...object, facts: { ...object.facts, rule: ofOwn(object.facts.rule) } }
        : object;
    case "policy":
      return { ...object, facts: withoutSelects(object.facts, isDistributed(table)) };
    default:
      return object;
  }
}

/** `FOREIGN KEY (a) REFERENCES t(id)`, of rows of one organization. */
const ofOwn = (rule: string) =>
  rule
    .replace("FOREIGN KEY (", "FOREIGN KEY (organization_id, ")
    .replace("(id)", "(organization_id, id)");

/** What a foreign key of a distributed table names. */
const ownKey = (table: string): CatalogObject<"unique constraint"> => {
  const name = `${table}_organization_id_id_key`;
  const facts = { name, rule: "UNIQUE (organization_id, id)", table: `public.${table}` };
  return { kind: "unique constraint", path: [table, name], facts };
};

const SELECTED_CALLER = "( SELECT meta_agent.current_organization_id() AS current_organization_id)";
const OWN_PARENT =
  /\(EXISTS \( SELECT\n {3}FROM public\.(\w+) p\n {2}WHERE \(\(p\.id = \w+\.(\w+)\) AND \(p\.organization_id = (?:\w+\.organization_id|meta_agent\.current_organization_id\(\))\)\)\)\)/g;
const OWN_ROW = `(organization_id = ${CALLER})`;

/** Citus takes no sub-select in a policy. The references of a distributed table are its foreign keys' to check. */
function withoutSelects(policy: FactsOf["policy"], byKeys: boolean): FactsOf["policy"] {
  const plainly = (condition: string) => {
    const whole = condition.replaceAll(SELECTED_CALLER, CALLER);
    return byKeys && whole.startsWith(`(${OWN_ROW} AND `)
      ? OWN_ROW
      : whole.replace(OWN_PARENT, "meta_agent.own_$1_row($2)");
  };
  const { using, check, ...facts } = policy;
  return {
    ...facts,
    ...(using === undefined ? {} : { using: plainly(using) }),
    ...(check === undefined ? {} : { check: plainly(check) }),
  };
}

/** The functions that such policies call, and the one that has Citus tell its workers the caller's claims. */
function helpersOf(plain: readonly CatalogObject[]): CatalogObject<"function">[] {
  const there = new Set(plain.map(({ kind, path }) => keyOf(kind, path)));
  const parents = new Set(
    plain.flatMap(({ kind, facts }) =>
      kind === "policy" && !isDistributed(facts.table.replace("public.", ""))
        ? [
            ...`${facts.using} ${facts.check}`
              .replaceAll(SELECTED_CALLER, CALLER)
              .matchAll(OWN_PARENT),
          ].map(([, parent = ""]) => parent)
        : [],
    ),
  );
  const own = [...parents].toSorted().map((parent) =>
    madeFunction(`own_${parent}_row`, {
      takes: "row_id uuid",
      returns: "boolean",
      head: " LANGUAGE sql\n STABLE PARALLEL SAFE SECURITY DEFINER",
      body: ` SELECT EXISTS (SELECT FROM public.${parent} AS p\n         WHERE p.id = row_id AND p.organization_id = ${CALLER}) `,
    }),
  );
  const carry = madeFunction("carry_claims", {
    takes: "claims text",
    returns: "void",
    head: " LANGUAGE plpgsql",
    body: `
-- Citus passes SET LOCAL on to its workers, and set_config not.
BEGIN
  EXECUTE format('SET LOCAL "request.jwt.claims" TO %L', claims);
END `,
  });
  return [...own, carry].filter(({ kind, path }) => !there.has(keyOf(kind, path)));
}

/** As PostgreSQL prints it. */
function madeFunction(
  name: string,
  { takes, returns, head, body }: { takes: string; returns: string; head: string; body: string },
): CatalogObject<"function"> {
  const path = `meta_agent.${name}(${takes.replace(/^\w+ /, "")})`;
  const definition = `CREATE OR REPLACE FUNCTION meta_agent.${name}(${takes})\n RETURNS ${returns}\n${head}\n SET search_path TO 'pg_catalog', 'pg_temp'\nAS $function$${body}$function$`;
  return {
    kind: "function",
    path: [path],
    facts: { name: path, sort: "f", takes, returns, definition },
  };
}

const grantsOf = ({ facts: { name } }: CatalogObject<"function">): CatalogObject<"grant">[] =>
  ["authenticated", "service_role"].map((grantee) => ({
    kind: "grant",
    path: ["function", name, grantee],
    facts: { scope: `FUNCTION ${name}`, grantee, privileges: "EXECUTE", revoke: "ALL" },
  }));
