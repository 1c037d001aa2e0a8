import { readFileSync, readdirSync } from "node:fs";

const DIRECTORY = new URL("fixtures/seed/", import.meta.url);

/** The seed, which is the first schema this database had: its SQL files, in their order. */
export const SEED_FILES: readonly { readonly name: string; readonly text: string }[] = readdirSync(
  DIRECTORY,
)
  .toSorted()
  .map((name) => ({ name, text: readFileSync(new URL(name, DIRECTORY), "utf8") }));

/** Its tables by name. */
export const SEED_TABLES: readonly string[] = SEED_FILES.flatMap(({ text }) =>
  [...text.matchAll(/^CREATE TABLE (\w+)/gm)].map(([, name = ""]) => name),
);

/** Its indexes by name. */
export const SEED_INDEXES: readonly string[] = SEED_FILES.flatMap(({ text }) =>
  [...text.matchAll(/^CREATE INDEX (\w+)/gm)].map(([, name = ""]) => name),
);

export interface ClosedList {
  readonly table: string;
  readonly column: string;
  readonly values: readonly string[];
}

const ON_EXCEEDED = ["alert", "throttle", "pause", "downgrade_model"];

/** The closed lists that its SQL names in a comment only; those of its CHECKs its database says. */
export const SEED_LISTS: readonly ClosedList[] = [
  {
    table: "agent_registry",
    column: "category",
    values: ["client_success", "marketing", "sales", "operations", "internal"],
  },
  {
    table: "improvement_proposals",
    column: "proposal_type",
    values: [
      "prompt_change",
      "tool_addition",
      "tool_removal",
      "config_change",
      "architecture_change",
    ],
  },
  { table: "ab_tests", column: "winner", values: ["control", "treatment", "inconclusive"] },
  {
    table: "learning_log",
    column: "learning_type",
    values: ["success_pattern", "failure_pattern", "optimization", "anti_pattern"],
  },
  {
    table: "prompt_library",
    column: "category",
    values: ["system_instruction", "output_format", "error_handling", "tool_usage", "persona"],
  },
  { table: "cost_budgets", column: "on_daily_exceeded", values: ON_EXCEEDED },
  { table: "cost_budgets", column: "on_weekly_exceeded", values: ON_EXCEEDED },
  { table: "cost_budgets", column: "on_monthly_exceeded", values: ON_EXCEEDED },
  {
    table: "agent_dependencies",
    column: "dependency_type",
    values: ["data", "trigger", "approval", "context"],
  },
];
