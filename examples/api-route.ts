// An HTTP API that acts as the caller's organization: the token says which, the handlers never do.
//   GET /agents    its agents
//   POST /agents   adds one
import { createHmac, timingSafeEqual } from "node:crypto";
import { type IncomingMessage, type Server, createServer } from "node:http";
import { json } from "node:stream/consumers";
import * as z from "zod";
import {
  type Claims,
  type Database,
  agentRegistry,
  fromDatabaseError,
  jsonInsertSchema,
  withOrganization,
} from "../src/index.ts";

/**
 * The claims of a JSON Web Token that `secret` signed (HS256) and that has not expired. For keys that
 * rotate (JWKS), put your identity provider's verifier here; the rest stays.
 */
export function verifiedClaims(token: string, secret: string): Claims | undefined {
  const [head = "", body = "", signature = ""] = token.split(".");
  const expected = createHmac("sha256", secret).update(`${head}.${body}`).digest();
  const given = Buffer.from(signature, "base64url");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  const claims: unknown = JSON.parse(Buffer.from(body, "base64url").toString());
  const { exp, ...others } = z.looseObject({ exp: z.number() }).parse(claims);
  return exp * 1000 > Date.now() ? others : undefined;
}

/** `db` is of `connect(url)`, the login one that owns nothing, such as meta_agent_app. */
export function createApi(db: Database, secret: string): Server {
  async function answer({ method, url, headers }: IncomingMessage, body: () => Promise<unknown>) {
    const claims = verifiedClaims(headers.authorization?.replace(/^Bearer /, "") ?? "", secret);
    if (!claims) return { status: 401, content: { error: "a valid token is needed" } };
    if (url !== "/agents") return { status: 404, content: { error: "no such route" } };
    if (method !== "POST") {
      const agents = await withOrganization(db, claims, (tx) => tx.select().from(agentRegistry));
      return { status: 200, content: agents };
    }
    const agent = jsonInsertSchema(agentRegistry).parse(await body());
    const [added] = await withOrganization(db, claims, (tx) =>
      tx.insert(agentRegistry).values(agent).returning(),
    );
    return { status: 201, content: added };
  }
  return createServer(async (request, response) => {
    const { status, content } = await answer(request, () => json(request)).catch(refusal);
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(content));
  });
}

/** What the caller may know of an error: what is wrong with the row, whoever found it; of others nothing. */
function refusal(error: unknown) {
  const known = fromDatabaseError(error);
  if (known instanceof z.ZodError) return { status: 422, content: { error: known.issues } };
  return { status: error instanceof SyntaxError ? 400 : 500, content: { error: "failed" } };
}
