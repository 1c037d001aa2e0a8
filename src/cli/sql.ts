import { PREREQUISITES_SQL, installSql } from "../operate/migrate/install-script.ts";
import { command } from "./command.ts";

export const sqlCommand = command("sql", {
  description:
    "Prints the whole installation as one script for psql or an SQL editor. It may be run on any state: it applies what the journal lacks, all of it or nothing, and migrate knows it afterwards.",
  examples: [
    "meta-agent-db sql --prerequisites | psql -U postgres app",
    "meta-agent-db sql | psql -v ON_ERROR_STOP=1 postgres://…",
  ],
})
  .option("--prerequisites", "what a superuser must run first, where the owner may create no roles")
  .action(({ prerequisites }: { prerequisites?: true }) => {
    process.stdout.write(prerequisites ? PREREQUISITES_SQL : installSql());
  });
