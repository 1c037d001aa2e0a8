import { getTableName } from "drizzle-orm";
import { beforeAll, expect, test } from "vitest";
import { TABLES } from "../src/schema/all.ts";
import { type Part, partsOf } from "./catalog.ts";
import { type Query, openEmpty, suite } from "./engine.ts";
import { makeSeed } from "./made-by-seed.ts";
import { type ClosedList, SEED_INDEXES, SEED_LISTS, SEED_TABLES } from "./seed.ts";

// The database that the migrations make is the one that the seed's SQL makes, but for what is decided otherwise:
// all of that stands here, so that a change of mind shows.

const ADDED_DEFAULTS: Record<string, string> = {
  id: "gen_random_uuid()",
  organization_id: "meta_agent.current_organization_id()",
  created_at: "now()",
  updated_at: "now()",
  "agent_execution_logs.id": "meta_agent.uuidv7()",
};

/** Columns that the seed does not have, after its own. */
const ADDED_COLUMNS: Readonly<Record<string, readonly (readonly [name: string, type: string])[]>> =
  {
    agent_execution_logs: [["model_name", "text"]],
  };

/** Columns whose DEFAULT may be overwritten with NULL: "no such limit". */
const NULL_MEANS_NO_LIMIT = new Set([
  "agent_registry.target_success_rate",
  "agent_registry.target_avg_latency_ms",
  "agent_registry.target_cost_per_execution",
  "agent_prompts.temperature",
  "agent_prompts.max_tokens",
  "canary_deployments.rollback_on_error_rate",
  "canary_deployments.rollback_on_latency_increase",
  "canary_deployments.rollback_on_quality_decrease",
  "agent_slas.target_availability",
  "agent_slas.target_success_rate",
  "agent_slas.target_quality_score",
  "cost_budgets.alert_at_percentage",
]);

/** Tables whose row may belong to no agent. */
const AGENT_IS_OPTIONAL = new Set([
  "alert_history",
  "learning_log",
  "cost_budgets",
  "model_routing_rules",
]);

/** References without which a row means nothing, beyond `agent_id` and the seed's own NOT NULL. */
const REQUIRED_REFERENCES = new Set([
  "shadow_tests.production_prompt_id",
  "shadow_tests.shadow_prompt_id",
  "canary_deployments.current_prompt_id",
  "canary_deployments.canary_prompt_id",
  "prompt_library_usage.prompt_id",
  "prompt_library_usage.library_component_id",
  "sla_compliance.sla_id",
  "agent_dependencies.upstream_agent_id",
  "agent_dependencies.downstream_agent_id",
  "execution_embeddings.execution_log_id",
]);

/** Uniques in which two NULLs are the same. */
const NULLS_NOT_DISTINCT = new Set([
  "agent_performance_metrics_agent_id_prompt_version_id_date_key",
]);

/** What else must be there but once, by table. */
const ADDED_UNIQUES: Readonly<Record<string, readonly string[]>> = {
  agent_prompts: [
    "CREATE UNIQUE INDEX agent_prompts_one_active ON public.agent_prompts USING btree (agent_id) WHERE is_active",
    "CREATE UNIQUE INDEX agent_prompts_one_baseline ON public.agent_prompts USING btree (agent_id) WHERE is_baseline",
  ],
  alert_history: [
    "CREATE UNIQUE INDEX alert_history_open_key ON public.alert_history USING btree (agent_id, ((details ->> 'dedup_key'::text)), organization_id) NULLS NOT DISTINCT WHERE ((NOT resolved) AND (char_length((details ->> 'dedup_key'::text)) <= 255))",
  ],
};

/** What happens to a row when the one is deleted that this column names; where nothing is said, that is refused. */
const ON_DELETE: Readonly<Record<string, "CASCADE" | "SET NULL">> = {
  "agent_prompts.parent_version_id": "SET NULL",
  "agent_health_realtime.agent_id": "CASCADE",
  "circuit_breaker_state.agent_id": "CASCADE",
  "improvement_proposals.evaluation_report_id": "SET NULL",
  "improvement_proposals.deployed_prompt_version_id": "SET NULL",
  "ab_tests.improvement_proposal_id": "SET NULL",
  "learning_log.agent_id": "SET NULL",
  "learning_log.related_proposal_id": "SET NULL",
  "learning_log.related_ab_test_id": "SET NULL",
  "learning_log.superseded_by": "SET NULL",
  // A usage goes with the agent's prompt; a component in use stays.
  "prompt_library_usage.prompt_id": "CASCADE",
  "agent_slas.agent_id": "CASCADE",
  "cost_budgets.agent_id": "CASCADE",
  "model_routing_rules.agent_id": "CASCADE",
  "agent_dependencies.upstream_agent_id": "CASCADE",
  "agent_dependencies.downstream_agent_id": "CASCADE",
};

/** Columns that the seed leaves open in words, too. */
const ADDED_LISTS: readonly ClosedList[] = [
  {
    table: "agent_execution_logs",
    column: "status",
    values: ["success", "failure", "timeout", "cancelled", "running"],
  },
  { table: "circuit_breaker_state", column: "state", values: ["closed", "open", "half_open"] },
];

type Column = Part<"column">;

/** What is compared of a database: its schema public, and there the seed's tables. */
interface Catalogued {
  readonly tables: readonly string[];
  readonly columns: readonly Column[];
  readonly constraints: readonly Part<"constraint">[];
  readonly indexes: readonly Part<"index">[];
}

async function read(query: Query): Promise<Catalogued> {
  const isPublic = ({ schema }: { schema: string }) => schema === "public";
  const isSeeds = (part: { schema: string; table: string }) =>
    isPublic(part) && SEED_TABLES.includes(part.table);
  const tables = (await partsOf(query, ["table"])).filter(isPublic);
  return {
    tables: tables.map(({ table }) => table).toSorted(),
    columns: (await partsOf(query, ["column"])).filter(isSeeds),
    constraints: (await partsOf(query, ["constraint"])).filter(isSeeds),
    indexes: (await partsOf(query, ["index"])).filter(isSeeds),
  };
}

const ofTable = <T extends { readonly table: string }>(parts: readonly T[], table: string): T[] =>
  parts.filter((part) => part.table === table);

const definitions = (parts: readonly Part<"constraint" | "index">[]) =>
  Object.fromEntries(parts.map(({ name, definition }) => [name, definition]));

/** The seed's order, but for organization_id, which every table has last. */
const inOurOrder = (columns: readonly Column[]): Column[] =>
  columns.toSorted(
    (a, b) => Number(a.name === "organization_id") - Number(b.name === "organization_id"),
  );

function isRequired({ table, name, notNull, default: said }: Column): boolean {
  const path = `${table}.${name}`;
  if (name === "organization_id") return false;
  if (name === "agent_id") return !AGENT_IS_OPTIONAL.has(table);
  if (notNull || REQUIRED_REFERENCES.has(path)) return true;
  return (said ?? ADDED_DEFAULTS[name] ?? null) !== null && !NULL_MEANS_NO_LIMIT.has(path);
}

/** A check that limits one column to a list. */
const isList = ({ letter, columns, definition }: Part<"constraint">) =>
  letter === "c" && columns.length === 1 && definition.includes("= ANY (ARRAY['");

const literals = (definition: string): string[] =>
  [...definition.matchAll(/'([^']*)'/g)].map(([, literal = ""]) => literal);

suite("the catalog is the seed's", (database) => {
  let ours: Catalogued;
  let seeds: Catalogued;
  beforeAll(async () => {
    ours = await read(database.query);
    const made = await openEmpty();
    try {
      await makeSeed(made);
      seeds = await read(made.query);
    } finally {
      await made.close();
    }
  });

  test("the tables are the seed's 21, and no others but those of src/schema", () => {
    expect(SEED_TABLES.toSorted()).toEqual(seeds.tables);
    expect(seeds.tables).toHaveLength(21);
    expect(ours.tables).toEqual(expect.arrayContaining([...SEED_TABLES]));
    expect(ours.tables).toEqual(TABLES.map(getTableName).toSorted());
  });

  test.each(SEED_TABLES)("%s has the seed's columns and types, in order, then ours", (table) => {
    const typed = (columns: readonly Column[]) => columns.map(({ name, type }) => [name, type]);
    const expected = inOurOrder(ofTable(seeds.columns, table));
    expect(expected).not.toHaveLength(0);
    expect(typed(ofTable(ours.columns, table))).toEqual([
      ...typed(expected),
      ...(ADDED_COLUMNS[table] ?? []),
    ]);
  });

  test.each(SEED_TABLES)("%s has the seed's defaults, and ours where it says none", (table) => {
    const expected = inOurOrder(ofTable(seeds.columns, table)).map(({ name, default: said }) => [
      name,
      said ?? ADDED_DEFAULTS[`${table}.${name}`] ?? ADDED_DEFAULTS[name] ?? null,
    ]);
    const added = (ADDED_COLUMNS[table] ?? []).map(([name]) => [name, null]);
    expect(ofTable(ours.columns, table).map((column) => [column.name, column.default])).toEqual([
      ...expected,
      ...added,
    ]);
  });

  test.each(SEED_TABLES)("%s demands what the seed and our decisions demand", (table) => {
    const required = ofTable(ours.columns, table).filter(({ notNull }) => notNull);
    expect(required.map(({ name }) => name)).toEqual(
      inOurOrder(ofTable(seeds.columns, table))
        .filter(isRequired)
        .map(({ name }) => name),
    );
  });

  test.each(SEED_TABLES)(
    "%s has its key, the seed's uniques and those we add, no others",
    (table) => {
      const uniques = ({ constraints, indexes }: Catalogued) => {
        const kept = definitions(ofTable(constraints, table));
        return ofTable(indexes, table)
          .filter(({ isUnique }) => isUnique)
          .map(({ name, definition }) => [name, kept[name] ?? definition]);
      };
      const expected = uniques(seeds).map(([name = "", definition]) => [
        name,
        NULLS_NOT_DISTINCT.has(name)
          ? definition?.replace("UNIQUE (", "UNIQUE NULLS NOT DISTINCT (")
          : definition,
      ]);
      expect(expected).toContainEqual([`${table}_pkey`, "PRIMARY KEY (id)"]);
      const added = ADDED_UNIQUES[table] ?? [];
      expect(uniques(ours).filter(([, definition = ""]) => !added.includes(definition))).toEqual(
        expected,
      );
      expect(uniques(ours)).toHaveLength(expected.length + added.length);
    },
  );

  test("the foreign keys are the seed's 37, and every rule of ours is one of a key's", () => {
    const keys = ({ constraints }: Catalogued) =>
      constraints
        .filter(({ letter }) => letter === "f")
        .map(({ table, columns, parent }) => `${table}.${columns.join()} to ${parent}`);
    expect(keys(ours)).toEqual(keys(seeds));
    expect(keys(seeds)).toHaveLength(37);
    const paths = keys(ours).map((key) => key.replace(/ to .*/, ""));
    expect(paths).toEqual(expect.arrayContaining(Object.keys(ON_DELETE)));
  });

  test.each(SEED_TABLES)("%s refers as the seed's does, with our rules for a deletion", (table) => {
    const keys = ({ constraints }: Catalogued) =>
      ofTable(constraints, table).filter(({ letter }) => letter === "f");
    const expected = keys(seeds).map(({ name, columns, definition }) => {
      const rule = ON_DELETE[`${table}.${columns.join()}`];
      return [name, rule ? `${definition} ON DELETE ${rule}` : definition];
    });
    expect(definitions(keys(ours))).toEqual(Object.fromEntries(expected));
  });

  test.each(SEED_TABLES)(
    "%s takes the listed values and no others, where there is a list",
    async (table) => {
      for (const { column, values } of listsOf(table)) {
        const check = ours.constraints.find(({ name }) => name === `${table}_${column}_check`);
        const definition = check?.isValidated ? check.definition : "";
        expect(new Set(literals(definition)), column).toEqual(new Set(values));

        // A CHECK passes when it is not false, so NULL is for NOT NULL to refuse.
        const candidates = [...values, "NULL", "no such value", ...values.map((v) => ` ${v}`), ""];
        const taken = await database.query<{ value: string | null }>(
          `select "${column}" as value
         from unnest(string_to_array($1::text, ',', 'NULL')) as candidate ("${column}")
         where (${definition.replace(/^CHECK /, "")}) is not false`,
          [candidates.join(",")],
        );
        expect(
          taken.map(({ value }) => value),
          column,
        ).toEqual([...values, null]);
      }
    },
  );

  /** What the seed's CHECKs say, what its comments say, and ours. */
  function listsOf(table: string): ClosedList[] {
    const checked = seeds.constraints
      .filter(isList)
      .map(({ table: of, columns, definition }): ClosedList => ({
        table: of,
        column: columns.join(),
        values: literals(definition),
      }));
    return ofTable([...checked, ...SEED_LISTS, ...ADDED_LISTS], table);
  }

  test("no other column is limited to a list: the seed's open ones stay open", () => {
    const named = SEED_TABLES.flatMap(listsOf).map(
      ({ table, column }) => `${table}_${column}_check`,
    );
    expect(named).toHaveLength(22);
    expect(
      ours.constraints
        .filter(isList)
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual(named.toSorted());
  });

  test.each(SEED_INDEXES)("%s is the seed's index", (index) => {
    const [own, said] = [ours, seeds].map(({ indexes }) =>
      indexes.find(({ name }) => name === index),
    );
    expect(said).toBeDefined();
    expect(own).toMatchObject({ definition: said?.definition, isValid: true });
  });

  test("none of the seed's indexes is left out of these", () => {
    const made = seeds.indexes.filter(({ isOwned }) => !isOwned).map(({ name }) => name);
    expect(made.toSorted()).toEqual(SEED_INDEXES.toSorted());
    expect(made).toHaveLength(21);
  });
});
