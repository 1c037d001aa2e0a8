import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { verifiedClaims } from "../../examples/api-route.ts";
import { type Supabase, asUser, joinOrganization } from "../../examples/supabase.ts";
import { type Connection, connect } from "../../src/client/connect.ts";
import { createLogins } from "../../src/operate/logins.ts";
import { agentRegistry } from "../../src/schema/index.ts";
import { newAgent } from "../../src/testing.ts";
import { openUrl } from "../engine.ts";
import { SECRET, token } from "../tokens.ts";
import { type Environment, openSupabaseLike } from "./environments.ts";

const PASSWORD = "test test";
const USER = randomUUID();
const [OURS, THEIRS] = [randomUUID(), randomUUID()];

describe.skipIf(inject("containerId") === "")("examples/supabase.ts in a project", () => {
  let project: Environment;
  let app: Connection | undefined;
  beforeAll(async () => {
    project = await openSupabaseLike();
    await createLogins(project.db, { application: PASSWORD, backend: PASSWORD });
    const url = new URL(project.urlAs("meta_agent_app"));
    url.password = PASSWORD;
    app = connect(url.href);
  });
  afterAll(async () => {
    await app?.close();
    await project.close();
  });

  /** The part of Supabase that knows users and signs their tokens. */
  const users = new Map<string, object>();
  const admin = {
    updateUserById: async (id: string, changes: object) => {
      users.set(id, changes);
      return { error: null };
    },
  };
  const signIn = (id: string) =>
    token({ sub: id, role: "authenticated", aud: "authenticated", ...users.get(id) });
  const supabase: Supabase = {
    auth: {
      getClaims: async (jwt) => {
        const claims = verifiedClaims(jwt, SECRET);
        return claims ? { data: { claims }, error: null } : { data: null, error: "bad jwt" };
      },
    },
  };
  const as = (accessToken: string) => {
    if (!app) throw new Error("the project opens before the first test");
    return { db: app.db, supabase, accessToken };
  };

  test("a user who joined an organization writes its rows, and PostgREST shows them to its users alone", async () => {
    await joinOrganization({ auth: { admin } }, { userId: USER, organizationId: OURS });
    const agent = newAgent();
    const written = await asUser(as(signIn(USER)), (tx) =>
      tx.insert(agentRegistry).values(agent).returning(),
    );
    expect(written).toMatchObject([{ id: agent.id, organizationId: OURS }]);
    expect(await throughPostgrest(OURS)).toEqual([{ id: agent.id }]);
    expect(await throughPostgrest(THEIRS)).toEqual([]);
  });

  test("a user of no organization sees nothing, whatever user_metadata says", async () => {
    const outsider = token({ sub: USER, user_metadata: { organization_id: OURS } });
    expect(await asUser(as(outsider), (tx) => tx.select().from(agentRegistry))).toEqual([]);
  });

  test("a token that nobody signed reaches no row", async () => {
    const forged = token({ app_metadata: { organization_id: OURS } }, "another secret");
    await expect(asUser(as(forged), (tx) => tx.select().from(agentRegistry))).rejects.toThrow(
      "a valid access token is needed",
    );
  });

  /** What `supabase.from("agent_registry").select("id")` sends: PostgREST's own login, role and claims. */
  async function throughPostgrest(organization: string): Promise<unknown> {
    const postgrest = openUrl(project.urlAs("authenticator"));
    const claims = JSON.stringify({ app_metadata: { organization_id: organization } });
    let found: unknown;
    await postgrest.rolledBack(async (query) => {
      await query(
        "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', $1, true)",
        [claims],
      );
      found = await query("select id from agent_registry");
    });
    await postgrest.close();
    return found;
  }
});
