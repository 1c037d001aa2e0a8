/** The questions of docs/dashboards.md: as its reader copies them, and as examples/queries.ts asks them. */
import { readFileSync } from "node:fs";
import type { SQLWrapper } from "drizzle-orm";
import * as queries from "../examples/queries.ts";
import type { Transaction } from "../src/client/sql.ts";

/** What a reader writes for the variables. */
export interface Asked {
  readonly from: Date;
  readonly to: Date;
  readonly execution: string;
}

type Question = SQLWrapper & { toSQL(): { sql: string; params: unknown[] } };

/** By the headings of the page. */
export const QUESTIONS: Readonly<Record<string, (tx: Transaction, asked: Asked) => Question>> = {
  "Cost by model and day": queries.costByModel,
  "Tokens by agent and day": queries.tokensByAgent,
  "Outcomes and latency by day": queries.outcomesByDay,
  "Slowest tools": queries.slowestTools,
  "Recent failures": queries.recentFailures,
  "One execution as a list": (tx, { execution }) => queries.stepsOfExecution(tx, execution),
};

const page = readFileSync("docs/dashboards.md", "utf8");

/** The blocks of SQL below a heading. */
export function blocksBelow(heading: string): string[] {
  const [, section = ""] = page.split(`\n## ${heading}\n`);
  const [own = ""] = section.split("\n## ");
  return [...own.matchAll(/```sql\n([\s\S]*?)```/g)].map(([, block = ""]) => block);
}

/** The headings that have SQL. */
export const headings = [...page.matchAll(/^## (.+)$/gm)]
  .map(([, heading = ""]) => heading)
  .filter((heading) => blocksBelow(heading).length > 0);

/** SQL with values for its variables, as psql puts them in. */
export const withValues = (text: string, { from, to, execution }: Asked): string =>
  text
    .replaceAll(":'from'", `'${from.toISOString()}'`)
    .replaceAll(":'to'", `'${to.toISOString()}'`)
    .replaceAll(":'execution'", `'${execution}'`);
