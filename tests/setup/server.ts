import * as server from "../../src/client/server.ts";

export { siblingUrl } from "../../src/client/url.ts";

/** Runs one statement as superuser, outside of any transaction. */
export const administer = (serverUrl: string, statement: string): Promise<void> =>
  server.administer(serverUrl, (admin) => admin.unsafe(statement));
