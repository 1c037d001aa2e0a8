import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { Server } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createApi } from "../examples/api-route.ts";
import { agentRegistry } from "../src/schema/index.ts";
import { newAgent } from "../src/testing.ts";
import { suite } from "./engine.ts";
import { SECRET, token } from "./tokens.ts";

const [OURS, THEIRS] = [randomUUID(), randomUUID()];

suite("examples/api-route.ts", (database) => {
  let server: Server;
  beforeAll(async () => {
    server = createApi(database.db, SECRET).listen(0, "127.0.0.1");
    await once(server, "listening");
  });
  afterAll(() => server.close());

  /** POST with a body, else GET. */
  async function call(bearer: string, body?: object | string, route = "/agents") {
    const address = server.address();
    const port = typeof address === "object" && address ? address.port : 0;
    const posted = typeof body === "object" ? JSON.stringify(body) : body;
    const response = await fetch(`http://127.0.0.1:${port}${route}`, {
      headers: { authorization: `Bearer ${bearer}` },
      ...(posted === undefined ? {} : { method: "POST", body: posted }),
    });
    return { status: response.status, content: await response.json() };
  }
  const ours = token({ organization_id: OURS });
  const theirs = token({ app_metadata: { organization_id: THEIRS } });

  test("a row that is posted is the token's organization's, and no other caller's", async () => {
    const agent = newAgent();
    const added = await call(ours, agent);
    expect(added).toMatchObject({ status: 201, content: { id: agent.id, organizationId: OURS } });
    expect(await call(ours)).toMatchObject({ status: 200, content: [{ id: agent.id }] });
    expect(await call(theirs)).toEqual({ status: 200, content: [] });
    expect(await call(token({ sub: "nobody" }))).toEqual({ status: 200, content: [] });
  });

  test("a token that is forged, changed, expired or absent is refused", async () => {
    const [head = "", , signature = ""] = ours.split(".");
    const [, others = ""] = theirs.split(".");
    const refused = [
      token({ organization_id: OURS }, "another secret"),
      token({ organization_id: OURS, exp: 1 }),
      `${head}.${others}.${signature}`,
      `${head}.${others}.`,
      "",
    ];
    for (const bearer of refused) expect((await call(bearer)).status, bearer).toBe(401);
  });

  test("a row for another organization, a bad one and a taken name are refused with the reason", async () => {
    const taken = newAgent();
    await database.db.insert(agentRegistry).values(taken);
    const before = await database.db.$count(agentRegistry);
    const refusal = (issue: object) => ({ status: 422, content: { error: [issue] } });
    expect(await call(ours, newAgent({ organizationId: THEIRS }))).toMatchObject(
      refusal({ params: { sqlstate: "42501" } }),
    );
    expect(await call(ours, { ...newAgent(), currentHealthScore: 140 })).toMatchObject(
      refusal({ path: ["currentHealthScore"] }),
    );
    expect(await call(ours, newAgent({ agentName: taken.agentName }))).toMatchObject(
      refusal({ path: ["agentName"] }),
    );
    expect((await call(ours, "{")).status).toBe(400);
    expect((await call(ours, undefined, "/elsewhere")).status).toBe(404);
    expect(await database.db.$count(agentRegistry)).toBe(before);
  });
});
