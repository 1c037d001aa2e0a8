import { sql } from "drizzle-orm";
import { connect } from "../client/connect.ts";
import { type Database, rows } from "../client/sql.ts";
import {
  type AgentSummary,
  fleetSummary,
  isolationProof,
  loadDemo,
  refuseUsedDatabase,
} from "../demo/load.ts";
import { EMBEDDED_DIRECTORY, openEmbedded } from "../embedded.ts";
import { migrate } from "../operate/migrate/migrate.ts";
import { type TargetOptions, command, directoryOption, urlOption } from "./command.ts";
import { out, print, step, table } from "./print.ts";
import { demoPage } from "./report.ts";

export const demoCommand = command("demo", {
  description:
    "Makes an embedded database, migrates it, loads a fleet of agents of two organizations, and shows it, as a table and as a page to open in a browser. A second run finds it there.",
  examples: ["meta-agent-db demo"],
})
  .addOption(urlOption("a server instead, only if its tables are empty"))
  .addOption(directoryOption())
  .action(demo);

/** Opens and migrates a database, loads the demo fleet unless it is there, and shows it. */
async function demo({ url, directory = EMBEDDED_DIRECTORY }: TargetOptions): Promise<void> {
  const { db, close } = await step(
    async () => (url === undefined ? openEmbedded(directory) : connect(url)),
    ({ label }) => label,
  );
  try {
    await refuseUsedDatabase(db);
    await step(
      async () => ({ ...(await migrate(db)), ...(await versions(db)) }),
      ({ applied, postgres, vector }) =>
        `PostgreSQL ${postgres} + pgvector ${vector}, ${applied.length > 0 ? `${applied.length} migrations applied` : "migrated before"}`,
    );
    await step(
      () => loadDemo(db, { now: lastNoon(new Date()) }),
      ({ loaded, agents, executions, logs, embeddings }) =>
        `demo fleet ${loaded ? "loaded" : "found"}: ${agents} agents, ${number(executions)} executions in ${number(logs)} log rows, ${embeddings} embeddings`,
    );
    await step(
      () => demoPage(db, url === undefined ? directory : "."),
      (said) => said,
    );
    await show(db, url);
  } finally {
    await close();
  }
}

const DAY = 86_400_000;

/** The noon of UTC before an instant: a day of the demo is half over, whenever it is loaded. */
const lastNoon = (instant: Date) =>
  new Date((Math.floor(instant.getTime() / DAY - 0.5) + 0.5) * DAY);

async function versions(db: Database): Promise<{ postgres: string; vector: string }> {
  const [found] = rows<{ postgres: string; vector: string }>(
    await db.execute(sql`
      select split_part(current_setting('server_version'), ' ', 1) as postgres, extversion as vector
      from pg_extension where extname = 'vector'`),
  );
  return found ?? { postgres: "?", vector: "?" };
}

async function show(db: Database, url: string | undefined): Promise<void> {
  const agents = await fleetSummary(db);
  print(
    table(
      ["AGENT", "ORGANIZATION", "STATUS", "RUNS", "OK %", "P95 MS", "COST $", ""],
      agents.map(cells),
    ),
  );
  const { query, answers } = await isolationProof(db);
  print();
  print(`${out.bold("Isolation")}  ${query}`);
  for (const answer of answers) {
    print(`  as ${answer.organization ?? "no organization"}: ${answer.agents}`);
  }
  print();
  print(out.bold("Next"));
  for (const line of nextSteps(url)) print(`  ${line}`);
}

/** What to type next: in this repository by npm's scripts, elsewhere by the installed command. */
function nextSteps(url: string | undefined): string[] {
  if (url !== undefined) return ["npx meta-agent-db studio --url postgres://…    browse it"];
  return process.env["npm_lifecycle_event"] === "demo"
    ? [
        "npm run dev:db            serve this database to psql, drizzle-kit and your code",
        "npx drizzle-kit studio    browse it, while dev:db runs",
        "DATABASE_URL=postgres://… npx drizzle-kit migrate    the same tables on your own server",
      ]
    : [
        "npx meta-agent-db dev     serve this database to psql, drizzle-kit and your code",
        "DATABASE_URL=postgres://… npx meta-agent-db migrate    the same tables on your own server",
      ];
}

function cells(agent: AgentSummary): string[] {
  return [
    agent.agent,
    agent.organization ?? "–",
    agent.status,
    number(agent.runs),
    agent.successPercent?.toFixed(1) ?? "–",
    agent.p95LatencyMs?.toFixed(0) ?? "–",
    Number(agent.costUsd).toFixed(2),
    agent.note,
  ];
}

const number = (value: number) => value.toLocaleString("en-US");
