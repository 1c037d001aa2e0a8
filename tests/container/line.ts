/** A line to a server, on which a test decides what happens to each message. */
import { once } from "node:events";
import { type Socket, connect, createServer } from "node:net";

export interface Line {
  /** The URL of the server, through the line. */
  readonly url: string;
  close(): void;
}

/**
 * Lays a line to the server of `url`. `join` is called for each client, with the socket to the server that was
 * opened for it, and says what happens to what either sends; where one ends, so does the other.
 */
export async function layLine(
  url: string,
  join: (client: Socket, upstream: Socket) => void,
): Promise<Line> {
  const through = new URL(url);
  const to = { host: through.hostname, port: Number(through.port || 5432), noDelay: true };
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect(to);
    for (const socket of [client, upstream]) sockets.add(socket.on("error", () => {}));
    client.once("close", () => upstream.destroy());
    upstream.once("close", () => client.destroy());
    join(client, upstream);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address !== "object" || !address) throw new Error("the line does not listen");
  through.host = `127.0.0.1:${address.port}`;
  return {
    url: through.href,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
