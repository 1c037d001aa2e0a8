/** A real PgBouncer in transaction mode, as a child process, behind a line that can be cut. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chown, mkdtemp, rm, writeFile } from "node:fs/promises";
import { type Server, type Socket, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../src/cli/studio.ts";
import { printed } from "../cli.ts";

/** Where PgBouncer is installed; empty when it is not. */
export const pgbouncer =
  [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin"]
    .map((folder) => join(folder, "pgbouncer"))
    .find((path) => existsSync(path)) ?? "";

/** What clients reach the pooler through. */
interface Line {
  readonly port: number;
  /** Resets the client's connection, as a crash or a broken network does. */
  cut(client: string): void;
  /** Asks the pooler to cancel what the client runs, as drivers do: on a connection of its own. */
  cancel(client: string): Promise<void>;
  close(): void;
}

export interface Pooler extends Pick<Line, "cut" | "cancel"> {
  /** The database through the pooler, on one connection; `client` names it for `cut` and `cancel`. */
  url(client: string): string;
  stop(): Promise<void>;
}

/** Starts PgBouncer before the database at `url`, for the login of that URL, on few server connections. */
export async function startPooler(url: string, serverConnections: number): Promise<Pooler> {
  const { hostname, port, pathname, username, password } = new URL(url);
  const folder = await mkdtemp(join(tmpdir(), "pgbouncer-"));
  try {
    await writeFile(join(folder, "users"), `"${username}" "${password}"\n`);
    const server = `${pathname.slice(1)} = host=${hostname} port=${port || 5432}`;
    const { child, poolerPort } = await onFreePort(async (free) => {
      const given = { listen_port: free, default_pool_size: serverConnections };
      await writeFile(join(folder, "settings"), settings(server, given));
      return { child: await launch(folder), poolerPort: free };
    });
    const line = await openLine(poolerPort);
    return {
      ...line,
      url: (client) =>
        `postgres://${username}@127.0.0.1:${line.port}${pathname}?max=1&client=${client}`,
      stop: async () => {
        line.close();
        await end(child);
        await rm(folder, { recursive: true });
      },
    };
  } catch (error) {
    await rm(folder, { recursive: true });
    throw error;
  }
}

/** Others on the machine may take a port that was free. */
async function onFreePort<T>(work: (port: number) => Promise<T>): Promise<T> {
  for (let tries = 5; ; tries -= 1) {
    try {
      return await work(await freePort(0));
    } catch (error) {
      if (tries === 1 || !String(error).includes("Address already in use")) throw error;
    }
  }
}

function settings(database: string, more: Record<string, number>): string {
  const list = {
    pool_mode: "transaction",
    listen_addr: "127.0.0.1",
    listen_backlog: 2000,
    max_client_conn: 2000,
    unix_socket_dir: "",
    auth_type: "trust",
    auth_file: "users",
    ignore_startup_parameters: "client",
    // Whose server refuses once is not served for 15 s otherwise.
    server_login_retry: 1,
    ...more,
    // The harder case: from 1.21 on PgBouncer can carry prepared statements over.
    ...(minorVersion() >= 21 ? { max_prepared_statements: 0 } : {}),
  };
  const lines = Object.entries(list).map(([key, value]) => `${key} = ${value}`);
  return ["[databases]", database, "[pgbouncer]", ...lines, ""].join("\n");
}

function minorVersion(): number {
  const version = execFileSync(pgbouncer, ["--version"], { encoding: "utf8" });
  return Number(/PgBouncer 1\.(\d+)/.exec(version)?.[1]);
}

const NOBODY = 65_534;

/** PgBouncer refuses to run as root; and it is not to outlive this process. */
async function launch(folder: string): Promise<ChildProcess> {
  let command = [pgbouncer, "settings"];
  if (process.getuid?.() === 0) {
    await chown(folder, NOBODY, NOBODY);
    const nobody = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"];
    command = ["setpriv", ...nobody, "--pdeathsig=KILL", ...command];
  }
  const [program = "", ...words] = command;
  const child = spawn(program, words, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  child.once("exit", () => process.off("exit", kill));
  await printed(child.stderr, /process up/);
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

/** Carries bytes between clients and pooler, and remembers whose they are. */
async function openLine(poolerPort: number): Promise<Line> {
  const sockets = new Set<Socket>();
  const clients = new Map<string, { socket: Socket; key: Promise<Buffer> }>();
  const server = createServer((socket) => {
    const pooler = connect(poolerPort, "127.0.0.1");
    couple(socket, pooler);
    couple(pooler, socket);
    sockets.add(socket.once("close", () => sockets.delete(socket)));
    const key = backendKey(pooler);
    socket.once("data", (startup) => {
      const name = /\0client\0([^\0]+)/.exec(startup.toString("latin1"))?.[1];
      if (name) clients.set(name, { socket, key });
    });
  });
  return {
    port: await listening(server),
    cut: (client) => clients.get(client)?.socket.resetAndDestroy(),
    cancel: async (client) => {
      const key = await clients.get(client)?.key;
      if (!key) throw new Error(`no client ${client}`);
      const socket = connect(poolerPort, "127.0.0.1");
      // CancelRequest: length, code, key.
      socket.write(Buffer.concat([Buffer.from("0000001004d2162e", "hex"), key]));
      await once(socket.resume(), "close");
    },
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** What one says the other hears; when one is gone, however, so is the other. */
function couple(from: Socket, to: Socket): void {
  from.pipe(to);
  from.on("error", () => {});
  from.once("close", () => to.destroy());
}

/** The key that the pooler gives a client to cancel with: BackendKeyData. */
function backendKey(pooler: Socket): Promise<Buffer> {
  return new Promise((found) => {
    pooler.on("data", function look(answer: Buffer) {
      const at = answer.indexOf("K\0\0\0\f", "latin1");
      if (at < 0) return;
      pooler.off("data", look);
      found(answer.subarray(at + 5, at + 13));
    });
  });
}

async function listening(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address !== "object" || !address) throw new Error("the server does not listen");
  return address.port;
}
