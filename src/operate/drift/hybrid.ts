/**
 * The other form of a database, for Citus: the log and its embeddings are cut by organization and lie on the workers,
 * all else stays on the coordinator as it is. What differs from what the migrations make is said here, once, as
 * objects of the catalog: the command makes them, `diff` looks for them.
 *
 * A row on a worker refers to nothing on the coordinator. So the keys of agents and prompts lie beside the log, with
 * the organization of each, kept there by triggers; the log's foreign keys name them.
 */
import type { CatalogObject, FactsOf } from "./facts.ts";

/** Which keys lie beside the log: by the tables that they are of. */
export const KEYS = {
  agent_registry: "meta_agent.agent_keys",
  agent_prompts: "meta_agent.prompt_keys",
} as const;

/** Tables that are cut by organization, all in the same way: what others refer to comes first. */
export const DISTRIBUTED = [
  ...Object.values(KEYS),
  "agent_execution_logs",
  "execution_embeddings",
] as const;

const isDistributed = (table: string | undefined) => DISTRIBUTED.some((name) => name === table);

const CALLER = "meta_agent.current_organization_id()";
const OWN_ROW = `(organization_id = ${CALLER})`;
const CARRY = "meta_agent.carry_claims(text)";

/** The key of a table that is cut. By `id` first, which alone finds a row as it does elsewhere. */
const KEY = "PRIMARY KEY (id, organization_id)";

/** Whether a database has this form: by what only it has. */
export const isHybrid = (objects: readonly CatalogObject[]): boolean =>
  objects.some(
    ({ kind, path, facts }) =>
      (kind === "function" && path[0] === CARRY) || (kind === "primary key" && facts.rule === KEY),
  );

/** The objects of this form, from those that the migrations make. */
export const hybridOf = (plain: readonly CatalogObject[]): CatalogObject[] => [
  ...plain.map(hybrid),
  ...Object.entries(KEYS).flatMap(([table, keys]) => keysOf(table, keys)),
  ...functionOf("carry_claims(claims text)", {
    returns: "void",
    // Citus hands on what SET LOCAL sets; set_config is none.
    body: `
BEGIN
  EXECUTE format('SET LOCAL "request.jwt.claims" TO %L', claims);
END `,
    grantees: ["authenticated", "service_role"],
  }),
];

function hybrid(object: CatalogObject): CatalogObject {
  if (!isDistributed(object.path[0])) return object;
  switch (object.kind) {
    case "column":
      return object.path[1] === "organization_id"
        ? { ...object, facts: { ...object.facts, notNull: true } }
        : object;
    case "primary key":
      return { ...object, facts: { ...object.facts, rule: KEY } };
    case "foreign key":
      return { ...object, facts: { ...object.facts, rule: ofOwn(object.facts.rule) } };
    case "policy":
      return { ...object, facts: byOrganization(object.facts) };
    default:
      return object;
  }
}

/** `FOREIGN KEY (a) REFERENCES public.t(id)`, of rows of one organization. */
const ofOwn = (rule: string) =>
  rule.replace(
    /^FOREIGN KEY \((\w+)\) REFERENCES public\.(\w+)\(id\)/,
    (_, column: string, parent: string) =>
      `FOREIGN KEY (${column}, organization_id) REFERENCES ${Object.entries(KEYS).find(([table]) => table === parent)?.[1] ?? `public.${parent}`}(id, organization_id)`,
  );

/** Citus takes no sub-select in a policy. What a row refers to is for its foreign keys to check. */
function byOrganization({ using, check, ...facts }: FactsOf["policy"]): FactsOf["policy"] {
  const own = (condition: string) => (condition === "true" ? condition : OWN_ROW);
  return {
    ...facts,
    ...(using === undefined ? {} : { using: own(using) }),
    ...(check === undefined ? {} : { check: own(check) }),
  };
}

/** A table of keys: what its rows are of tells it of each change. */
function keysOf(of: string, keys: string): CatalogObject[] {
  const at = { table: keys };
  const noun = of === "agent_registry" ? "agent keys" : "prompt keys";
  const name = keys.replace("meta_agent.", "");
  const column = (columnName: string): CatalogObject => ({
    kind: "column",
    path: [keys, columnName],
    facts: { ...at, name: columnName, type: "uuid", notNull: true },
  });
  const policy = (
    title: string,
    facts: Pick<FactsOf["policy"], "command" | "roles" | "using" | "check">,
  ): CatalogObject => ({
    kind: "policy",
    path: [keys, title],
    facts: { ...at, name: `"${title}"`, permissive: true, ...facts },
  });
  const roles = ["authenticated"];
  const trigger = `${of}_keys`;
  return [
    { kind: "table", path: [keys], facts: { name: keys } },
    column("id"),
    column("organization_id"),
    {
      kind: "primary key",
      path: [keys, `${name}_pkey`],
      facts: { ...at, name: `${name}_pkey`, rule: KEY },
    },
    { kind: "row-level security", path: [keys], facts: { ...at, enabled: true } },
    policy(`Users see own org ${noun}`, { command: "SELECT", roles, using: OWN_ROW }),
    policy(`Users add own org ${noun}`, { command: "INSERT", roles, check: OWN_ROW }),
    policy(`Users remove own org ${noun}`, { command: "DELETE", roles, using: OWN_ROW }),
    policy("Service role full access", {
      command: "ALL",
      roles: ["service_role"],
      using: "true",
      check: "true",
    }),
    ...["authenticated", "service_role"].map((grantee): CatalogObject => ({
      kind: "grant",
      path: ["table", keys, grantee],
      facts: {
        scope: `TABLE ${keys}`,
        grantee,
        privileges: "DELETE, INSERT, SELECT",
        revoke: "ALL",
      },
    })),
    ...functionOf(`keep_${name}()`, {
      returns: "trigger",
      body: `
BEGIN
  IF TG_OP = 'UPDATE' AND (OLD.id, OLD.organization_id) IS NOT DISTINCT FROM (NEW.id, NEW.organization_id) THEN
    RETURN NULL;
  END IF;
  IF TG_OP <> 'INSERT' THEN
    DELETE FROM ${keys} WHERE id = OLD.id AND organization_id = OLD.organization_id;
  END IF;
  IF TG_OP <> 'DELETE' AND NEW.organization_id IS NOT NULL THEN
    INSERT INTO ${keys} (id, organization_id) VALUES (NEW.id, NEW.organization_id);
  END IF;
  RETURN NULL;
END `,
      grantees: [],
    }),
    {
      kind: "trigger",
      path: [of, trigger],
      facts: {
        table: `public.${of}`,
        name: trigger,
        definition: `CREATE TRIGGER ${trigger} AFTER INSERT OR DELETE OR UPDATE OF id, organization_id ON public.${of} FOR EACH ROW EXECUTE FUNCTION meta_agent.keep_${name}()`,
      },
    },
  ];
}

/** A function of PL/pgSQL as PostgreSQL prints it, with who may call it. */
function functionOf(
  signature: string,
  { returns, body, grantees }: { returns: string; body: string; grantees: readonly string[] },
): CatalogObject[] {
  const [, name = "", takes = ""] = /^(\w+)\((.*)\)$/.exec(signature) ?? [];
  const path = `meta_agent.${name}(${takes.replace(/^\w+ /, "")})`;
  const definition = `CREATE OR REPLACE FUNCTION meta_agent.${signature}\n RETURNS ${returns}\n LANGUAGE plpgsql\n SET search_path TO 'pg_catalog', 'pg_temp'\nAS $function$${body}$function$`;
  return [
    {
      kind: "function",
      path: [path],
      facts: { name: path, sort: "f", takes, returns, definition },
    },
    ...grantees.map((grantee): CatalogObject => ({
      kind: "grant",
      path: ["function", path, grantee],
      facts: { scope: `FUNCTION ${path}`, grantee, privileges: "EXECUTE", revoke: "ALL" },
    })),
  ];
}
