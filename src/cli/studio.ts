import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { Server } from "node:http";
import { Server as SecureServer } from "node:https";
import { type AddressInfo, createServer } from "node:net";
import { connect } from "../client/connect.ts";
import { schema } from "../client/schema.ts";
import { openEmbedded } from "../embedded.ts";
import {
  type TargetOptions,
  demandTarget,
  portNumber,
  targetCommand,
  targetUrl,
  untilInterrupted,
} from "./command.ts";
import { EXIT } from "./exit.ts";
import { print, progress } from "./print.ts";
import { STUDIO_PAGE, guard } from "./studio-guard.ts";

export const studioCommand = targetCommand("studio", {
  description:
    "Starts drizzle-kit studio with this package's tables and relations, on the loopback address until Ctrl-C. The page itself comes from the internet; of all pages in a browser it alone is let in. Programs of this machine that reach the port can run any SQL as the target's login.",
  examples: ["meta-agent-db studio", "meta-agent-db studio --port 0 --url postgres://…"],
})
  .option("--port <number>", "port to listen on, 0 for any free one", portNumber, 4983)
  .action(async ({ port: wanted, ...target }: TargetOptions & { port: number }) => {
    demandTarget(target);
    const { startStudioPostgresServer } = await drizzleKit();
    const port = await freePort(wanted);
    const { url, label, close } = await openServed(target);
    untilInterrupted(() => void close().then(() => process.exit(EXIT.ok)));
    progress(`${label}, browsed until Ctrl-C at`);
    await guarded(port, () =>
      startStudioPostgresServer(schema, { url }, { host: "127.0.0.1", port }),
    );
    print(`${STUDIO_PAGE}${port === 4983 ? "" : `?port=${port}`}`);
  });

/** Published by Node.js with each server that is told to listen, before it does. */
const LISTEN = "tracing:net.server.listen:asyncStart";

/**
 * Puts our guard into the server that `start` makes. drizzle-kit hands out neither the server nor its
 * routes, and a second port behind a proxy of ours would be a port that anybody may find.
 */
async function guarded(port: number, start: () => Promise<void>): Promise<void> {
  let isGuarded = false;
  const onListen = (message: unknown) => {
    const server = listening(message);
    if (server === undefined) return;
    guard(server, port);
    isGuarded = true;
  };
  subscribe(LISTEN, onListen);
  await start();
  unsubscribe(LISTEN, onListen);
  if (isGuarded) return;
  // It listens, and answers everybody: nothing but the end of the process closes it.
  progress(
    "error studio: this version of drizzle-kit or Node.js cannot be guarded against web pages",
  );
  process.exit(EXIT.error);
}

function listening(message: unknown): Server | SecureServer | undefined {
  if (typeof message !== "object" || message === null || !("server" in message)) return undefined;
  const { server } = message;
  return server instanceof Server || server instanceof SecureServer ? server : undefined;
}

/** A tool to develop with, and no dependency of this package. */
async function drizzleKit() {
  return import("drizzle-kit/api").catch((cause: unknown) => {
    throw new Error("studio needs the package drizzle-kit: npm install --save-dev drizzle-kit", {
      cause,
    });
  });
}

/** Looks first, since studio would go on without a port. */
export async function freePort(wanted: number): Promise<number> {
  const probe = createServer().listen(wanted, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  await once(probe, "close");
  return isAddress(address) ? address.port : wanted;
}

const isAddress = (address: AddressInfo | string | null): address is AddressInfo =>
  typeof address === "object" && address !== null;

/** A database by a URL: studio takes nothing else. The embedded one is served. */
async function openServed(
  target: TargetOptions,
): Promise<{ url: string; label: string; close: () => Promise<void> }> {
  const url = targetUrl(target);
  if (url !== undefined) return { ...connect(url), url };
  const embedded = await openEmbedded(target.directory);
  return { ...embedded, url: await embedded.serve(0) };
}
