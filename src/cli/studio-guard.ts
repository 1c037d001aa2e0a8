/** Who may speak to studio. drizzle-kit answers every web page, and runs any SQL that it is sent. */
import type { IncomingMessage, OutgoingHttpHeaders, Server, ServerResponse } from "node:http";
import type { Server as SecureServer } from "node:https";

/** Studio's page, from where a browser asks. */
export const STUDIO_PAGE = "https://local.drizzle.studio";

/** Lets a server answer studio's page, and programs that are no browser; all others get a 403. */
export function guard(server: Server | SecureServer, port: number): void {
  const answer = server.listeners("request");
  server.removeAllListeners("request");
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    const refusal = refusalOf(request, port);
    if (refusal !== undefined) {
      response.writeHead(403, { "content-type": "text/plain" }).end(`${refusal}\n`);
      return;
    }
    nameOrigin(response);
    for (const listener of answer) Reflect.apply(listener, server, [request, response]);
  });
}

/** Why a request is refused; `undefined` where it is not. */
function refusalOf({ headers }: IncomingMessage, port: number): string | undefined {
  // A name of somebody's own that leads to 127.0.0.1 makes any page one of the same origin.
  if (!loopbackHosts(port).includes(headers.host ?? "")) {
    return "studio answers to the loopback address alone";
  }
  const { origin, "sec-fetch-site": site = "none" } = headers;
  if (origin === STUDIO_PAGE) return undefined;
  if (origin === undefined && (site === "none" || site === "same-origin")) return undefined;
  return `studio answers to ${STUDIO_PAGE} and to no other web page`;
}

function loopbackHosts(port: number): string[] {
  const names = ["127.0.0.1", "localhost", "[::1]"];
  const isDefault = port === 80 || port === 443;
  return [...names.map((name) => `${name}:${port}`), ...(isDefault ? names : [])];
}

/** Answers name the page that may read them, where drizzle-kit would write `*`. */
function nameOrigin(response: ServerResponse): void {
  const writeHead = response.writeHead.bind(response);
  const named = { "access-control-allow-origin": STUDIO_PAGE, vary: "Origin" };
  Object.assign(response, {
    writeHead: (status: number, headers?: OutgoingHttpHeaders) =>
      writeHead(status, { ...headers, ...named }),
  });
}
