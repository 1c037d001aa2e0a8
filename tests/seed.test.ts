import { getTableName } from "drizzle-orm";
import { expect, test } from "vitest";
import { TABLES } from "../src/schema/all.ts";
import { suite } from "./engine.ts";
import { SEED_INDEXES, SEED_TABLES, type SeedColumn } from "./seed.ts";

// What SPEC adds where the seed is silent, written out so that a change of mind shows here.

const ADDED_DEFAULTS: Record<string, string> = {
  id: "gen_random_uuid()",
  organization_id: "meta_agent.current_organization_id()",
  created_at: "now()",
  updated_at: "now()",
  "agent_execution_logs.id": "meta_agent.uuidv7()",
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

/** Table, column, parent, and what happens to the row when its parent is deleted. */
const FOREIGN_KEYS = [
  ["agent_prompts", "agent_id", "agent_registry", "NO ACTION"],
  ["agent_prompts", "parent_version_id", "agent_prompts", "SET NULL"],
  ["agent_execution_logs", "agent_id", "agent_registry", "NO ACTION"],
  ["agent_execution_logs", "prompt_version_id", "agent_prompts", "NO ACTION"],
  ["agent_performance_metrics", "agent_id", "agent_registry", "NO ACTION"],
  ["agent_performance_metrics", "prompt_version_id", "agent_prompts", "NO ACTION"],
  ["agent_health_realtime", "agent_id", "agent_registry", "CASCADE"],
  ["circuit_breaker_state", "agent_id", "agent_registry", "CASCADE"],
  ["evaluation_reports", "agent_id", "agent_registry", "NO ACTION"],
  ["improvement_proposals", "agent_id", "agent_registry", "NO ACTION"],
  ["improvement_proposals", "evaluation_report_id", "evaluation_reports", "SET NULL"],
  ["improvement_proposals", "deployed_prompt_version_id", "agent_prompts", "SET NULL"],
  ["ab_tests", "agent_id", "agent_registry", "NO ACTION"],
  ["ab_tests", "improvement_proposal_id", "improvement_proposals", "SET NULL"],
  ["ab_tests", "control_prompt_id", "agent_prompts", "NO ACTION"],
  ["ab_tests", "treatment_prompt_id", "agent_prompts", "NO ACTION"],
  ["shadow_tests", "agent_id", "agent_registry", "NO ACTION"],
  ["shadow_tests", "production_prompt_id", "agent_prompts", "NO ACTION"],
  ["shadow_tests", "shadow_prompt_id", "agent_prompts", "NO ACTION"],
  ["canary_deployments", "agent_id", "agent_registry", "NO ACTION"],
  ["canary_deployments", "current_prompt_id", "agent_prompts", "NO ACTION"],
  ["canary_deployments", "canary_prompt_id", "agent_prompts", "NO ACTION"],
  ["alert_history", "agent_id", "agent_registry", "NO ACTION"],
  ["learning_log", "agent_id", "agent_registry", "SET NULL"],
  ["learning_log", "related_proposal_id", "improvement_proposals", "SET NULL"],
  ["learning_log", "related_ab_test_id", "ab_tests", "SET NULL"],
  ["learning_log", "superseded_by", "learning_log", "SET NULL"],
  ["prompt_library_usage", "prompt_id", "agent_prompts", "CASCADE"],
  // A usage goes with the agent's prompt; a component in use stays.
  ["prompt_library_usage", "library_component_id", "prompt_library", "NO ACTION"],
  ["agent_slas", "agent_id", "agent_registry", "CASCADE"],
  ["sla_compliance", "agent_id", "agent_registry", "NO ACTION"],
  ["sla_compliance", "sla_id", "agent_slas", "NO ACTION"],
  ["cost_budgets", "agent_id", "agent_registry", "CASCADE"],
  ["model_routing_rules", "agent_id", "agent_registry", "CASCADE"],
  ["agent_dependencies", "upstream_agent_id", "agent_registry", "CASCADE"],
  ["agent_dependencies", "downstream_agent_id", "agent_registry", "CASCADE"],
  ["execution_embeddings", "execution_log_id", "agent_execution_logs", "CASCADE"],
] as const;

const tables = Object.entries(SEED_TABLES);

/** The seed's columns in its order, but for organization_id, which every table has last. */
function columnsInOrder(seed: (typeof SEED_TABLES)[string]): [string, SeedColumn][] {
  const columns = Object.entries(seed.columns);
  return columns.toSorted(
    ([a], [b]) => Number(a === "organization_id") - Number(b === "organization_id"),
  );
}

const seedColumns = tables.flatMap(([table, seed]) =>
  Object.entries(seed.columns).map(([column, said]) => ({ table, column, ...said })),
);

const closedLists = [
  ...seedColumns.flatMap(({ table, column, values }) => (values ? { table, column, values } : [])),
  {
    table: "agent_execution_logs",
    column: "status",
    values: ["success", "failure", "timeout", "cancelled", "running"],
  },
  {
    table: "circuit_breaker_state",
    column: "state",
    values: ["closed", "open", "half_open"],
  },
];

function isRequired(table: string, column: string, said: SeedColumn): boolean {
  const path = `${table}.${column}`;
  if (column === "organization_id") return false;
  if (column === "agent_id") return !AGENT_IS_OPTIONAL.has(table);
  if (said.notNull || REQUIRED_REFERENCES.has(path)) return true;
  return (said.default ?? ADDED_DEFAULTS[column]) !== undefined && !NULL_MEANS_NO_LIMIT.has(path);
}

/** The seed's CREATE INDEX in the words of pg_get_indexdef. */
function asPrinted(statement: string): string {
  const parts =
    /^CREATE INDEX (\w+) ON (\w+) ?(?:USING (\w+) ?)?\((.+?)\)(?: WITH \((\w+) = (\d+)\))?(?: WHERE (.+))?;$/.exec(
      statement.replace(/\s+/g, " "),
    );
  if (!parts) throw new Error(`expected CREATE INDEX … ON …(…);, got ${statement}`);
  const [, name = "", table = "", method = "btree", columns = "", option, value, where] = parts;
  const printed = [
    `CREATE INDEX ${name} ON public.${table} USING ${method.toLowerCase()}`,
    `(${columns.replace(/\btimestamp\b/, '"timestamp"')})`,
  ];
  if (option && value) printed.push(`WITH (${option}='${value}')`);
  const predicate = where
    ?.replace(/\b(?:TRUE|FALSE)$/, (word) => word.toLowerCase())
    .replace(/'\w+'$/, "$&::text");
  if (predicate) printed.push(`WHERE (${predicate})`);
  return printed.join(" ");
}

const COLUMNS = `
  select a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type,
    pg_get_expr(d.adbin, d.adrelid) as default, a.attnotnull::text as required
  from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where a.attrelid = to_regclass('public.' || $1::text) and a.attnum > 0 and not a.attisdropped
  order by a.attnum`;

interface Column {
  name: string;
  type: string;
  default: string | null;
  required: "true" | "false";
}

suite("the catalog is the seed's", (database) => {
  test("the tables are the seed's 21 and those that came later, each exported", async () => {
    const rows = await database.query<{ name: string }>(
      `select relname::text as name from pg_class
       where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'f')`,
    );
    const found = rows.map((row) => row.name);
    expect(found.toSorted()).toEqual(TABLES.map(getTableName).toSorted());
    expect(found).toEqual(expect.arrayContaining(Object.keys(SEED_TABLES)));
    expect(Object.keys(SEED_TABLES)).toHaveLength(21);
  });

  test.each(tables)("%s has the seed's columns and types, in order", async (table, seed) => {
    const columns = await database.query<Column>(COLUMNS, [table]);
    expect(columns.map(({ name, type }) => [name, type])).toEqual(
      columnsInOrder(seed).map(([name, { type }]) => [name, type]),
    );
  });

  test.each(tables)(
    "%s has the seed's defaults, and ours where it says none",
    async (table, seed) => {
      const columns = await database.query<Column>(COLUMNS, [table]);
      const expected = columnsInOrder(seed).map(([name, said]) => [
        name,
        said.default ?? ADDED_DEFAULTS[`${table}.${name}`] ?? ADDED_DEFAULTS[name] ?? null,
      ]);
      expect(columns.map((column) => [column.name, column.default])).toEqual(expected);
    },
  );

  test.each(tables)("%s demands what the seed and our decisions demand", async (table, seed) => {
    const columns = await database.query<Column>(COLUMNS, [table]);
    const required = columns.filter((column) => column.required === "true");
    expect(required.map(({ name }) => name)).toEqual(
      columnsInOrder(seed).flatMap(([name, said]) => (isRequired(table, name, said) ? name : [])),
    );
  });

  test.each(tables)("%s has its key and the seed's uniques, and no others", async (table, seed) => {
    const rows = await database.query<{ name: string; definition: string | null }>(
      `select i.indexrelid::regclass::text as name, pg_get_constraintdef(c.oid) as definition
       from pg_index i
       left join pg_constraint c on c.conindid = i.indexrelid and c.contype in ('p', 'u')
       where i.indrelid = to_regclass('public.' || $1::text) and i.indisunique`,
      [table],
    );
    const single = columnsInOrder(seed).flatMap(([name, { unique }]) => (unique ? [[name]] : []));
    const uniques = [...single, ...(seed.unique ?? [])].map((columns) => {
      const name = `${table}_${columns.join("_")}_key`;
      const nulls = NULLS_NOT_DISTINCT.has(name) ? "NULLS NOT DISTINCT " : "";
      return [name, `UNIQUE ${nulls}(${columns.join(", ")})`];
    });
    expect(Object.fromEntries(rows.map((row) => [row.name, row.definition]))).toEqual({
      [`${table}_pkey`]: "PRIMARY KEY (id)",
      ...Object.fromEntries(uniques),
    });
  });

  test("the foreign keys of its tables are the seed's 37", async () => {
    const rows = await database.query<{ name: string; child: string; parent: string }>(
      `select conname::text as name, conrelid::regclass::text as child, confrelid::regclass::text as parent
       from pg_constraint
       where contype = 'f' and connamespace = 'public'::regnamespace`,
    );
    const keys = rows
      .filter(({ child }) => Object.hasOwn(SEED_TABLES, child))
      .map(({ name, parent }) => `${name} to ${parent}`);
    const said = seedColumns.flatMap(({ table, column, references }) =>
      references ? `${table}_${column}_fkey to ${references}` : [],
    );
    expect(keys.toSorted()).toEqual(said.toSorted());
    expect(keys).toHaveLength(FOREIGN_KEYS.length);
    expect(keys).toHaveLength(37);
  });

  test.each(FOREIGN_KEYS)(
    "%s.%s points at %s, ON DELETE %s",
    async (table, column, parent, rule) => {
      const rows = await database.query<{ definition: string }>(
        `select pg_get_constraintdef(oid) as definition from pg_constraint
       where conrelid = to_regclass('public.' || $1::text) and conname::text = $2 and contype = 'f'`,
        [table, `${table}_${column}_fkey`],
      );
      const onDelete = rule === "NO ACTION" ? "" : ` ON DELETE ${rule}`;
      expect(rows.map(({ definition }) => definition)).toEqual([
        `FOREIGN KEY (${column}) REFERENCES ${parent}(id)${onDelete}`,
      ]);
    },
  );

  test.each(closedLists)(
    "$table $column takes its listed values and no other",
    async ({ table, column, values }) => {
      const checks = await database.query<{ rule: string }>(
        `select pg_get_expr(conbin, conrelid) as rule from pg_constraint
         where conrelid = to_regclass('public.' || $1::text) and conname::text = $2
           and contype = 'c' and convalidated`,
        [table, `${table}_${column}_check`],
      );
      const rule = checks[0]?.rule ?? "";
      const literals = Array.from(rule.matchAll(/'([^']*)'/g), (match) => match[1]);
      expect(new Set(literals)).toEqual(new Set(values));

      // A CHECK passes when it is not false, so NULL is for NOT NULL to refuse.
      const candidates = [...values, "NULL", "no such value", ...values.map((v) => ` ${v}`), ""];
      const taken = await database.query<{ value: string | null }>(
        `select "${column}" as value
         from unnest(string_to_array($1::text, ',', 'NULL')) as candidate ("${column}")
         where (${rule}) is not false`,
        [candidates.join(",")],
      );
      expect(taken.map(({ value }) => value)).toEqual([...values, null]);
    },
  );

  test("no other column is limited to a list: the seed's open ones stay open", async () => {
    const rows = await database.query<{ name: string }>(
      `select conname::text as name from pg_constraint
       where contype = 'c' and connamespace = 'public'::regnamespace and cardinality(conkey) = 1
         and pg_get_constraintdef(oid) like '%= ANY (ARRAY[''%'`,
    );
    const named = closedLists.map(({ table, column }) => `${table}_${column}_check`);
    expect(rows.map(({ name }) => name).toSorted()).toEqual(named.toSorted());
  });

  test.each(Object.entries(SEED_INDEXES))("%s is the seed's index", async (name, statement) => {
    const rows = await database.query<{ definition: string }>(
      `select pg_get_indexdef(indexrelid) as definition from pg_index
       where indexrelid = to_regclass('public.' || $1::text) and indisvalid`,
      [name],
    );
    expect(rows.map(({ definition }) => definition)).toEqual([asPrinted(statement)]);
  });
});
