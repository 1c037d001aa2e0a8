import { createHmac } from "node:crypto";

/** The key with which {@link token} signs. */
export const SECRET = "a secret of the tests";

/** A JSON Web Token as an identity provider makes it, good for ten minutes unless `claims` say otherwise. */
export function token(claims: object, secret = SECRET): string {
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + 600;
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ exp, ...claims })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
