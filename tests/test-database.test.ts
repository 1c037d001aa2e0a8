import { describe, expect, inject, test } from "vitest";
import { withOrganization } from "../src/client/tenancy.ts";
import { migrate } from "../src/operate/migrate/migrate.ts";
import { agentRegistry } from "../src/schema/index.ts";
import { newAgent, openTestDatabase } from "../src/testing.ts";
import { engine, openUrl } from "./engine.ts";

const ORGANIZATION = "5f0c8b1e-4f0c-4f6e-9d53-0a4a3a0f2f11";

describe.skipIf(engine === "container" && inject("server") === "")("a test database", () => {
  const open = () =>
    openTestDatabase(engine === "container" ? { url: inject("server") } : undefined);

  test("shares no rows with one that is opened at the same moment", async () => {
    const [one, other] = await Promise.all([open(), open()]);
    try {
      await one.db.insert(agentRegistry).values(newAgent());
      expect(await other.db.$count(agentRegistry)).toBe(0);
    } finally {
      await Promise.all([one.close(), other.close()]);
    }
  });

  test("is migrated, and acts as an organization", async () => {
    const { db, close } = await open();
    try {
      expect(await migrate(db)).toEqual({ applied: [] });
      await withOrganization(db, ORGANIZATION, (tx) => tx.insert(agentRegistry).values(newAgent()));
      expect(await db.$count(agentRegistry)).toBe(1);
    } finally {
      await close();
    }
  });
});

describe.skipIf(engine === "embedded" || inject("server") === "")("on a server", () => {
  test("it is gone when it is closed, and leaves the template for the next", async () => {
    const { close } = await openTestDatabase({ url: inject("server") });
    await close();
    const server = openUrl(inject("server"));
    const left = await server.query<{ name: string }>(
      "select datname as name from pg_database where datname like 'meta\\_agent\\_%'",
    );
    await server.close();
    expect(left).toEqual([{ name: expect.stringMatching(/^meta_agent_template_[0-9a-f]{16}$/) }]);
  });
});
