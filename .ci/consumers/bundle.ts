// Bundled into one file and run where this package is not installed: the migrations travel in it, and it
// still reads a .env.
import { PGlite } from "@electric-sql/pglite";
import { vector } from "@electric-sql/pglite-pgvector";
import { drizzle } from "drizzle-orm/pglite";
import { agentRegistry, databaseUrls, migrate, schema, withOrganization } from "meta-agent-db";

async function main() {
  const client = await PGlite.create({ extensions: { vector } });
  const db = drizzle(client, { schema });
  await migrate(db);
  const rows = await withOrganization(db, "6f0d9d6e-36c5-4b8f-9a3e-1f3a5f1c7b2d", (tx) =>
    tx
      .insert(agentRegistry)
      .values({ agentName: "clerk", displayName: "Clerk", category: "sales" })
      .returning(),
  );
  console.log(rows.map(({ agentName }) => agentName).join(), databaseUrls().databaseUrl);
  await client.close();
}

void main();
