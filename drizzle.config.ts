import { defineConfig } from "drizzle-kit";
import { databaseUrls } from "./src/config.ts";
import { JOURNAL } from "./src/drizzle-kit.ts";
import { embeddedServerUrl } from "./src/embedded.ts";

const command = process.argv[2] ?? "";
if (command === "push") {
  throw new Error(
    "push would drop the policies and hand-written indexes: use generate and migrate",
  );
}

function databaseUrl(): string {
  const url = databaseUrls().migrationDatabaseUrl ?? embeddedServerUrl();
  if (url === undefined && ["migrate", "studio", "pull"].includes(command)) {
    throw new Error(
      `drizzle-kit ${command} needs a database: set DATABASE_URL, or run "npm run dev:db" in another terminal to use the embedded one`,
    );
  }
  return url ?? "";
}

export default defineConfig({
  dialect: "postgresql",
  out: "./drizzle",
  schema: [
    "./src/schema/governance.ts",
    "./src/schema/monitoring.ts",
    "./src/schema/evaluation.ts",
    "./src/schema/safety.ts",
    "./src/schema/learning-cost.ts",
    "./src/schema/embeddings.ts",
    "./src/relations.ts",
  ],
  migrations: JOURNAL,
  dbCredentials: { url: databaseUrl() },
  strict: true,
});
