/** A line to a server that is far away: it counts round trips, and delays each direction. */
import { once } from "node:events";
import { type Socket, connect, createServer } from "node:net";

export interface Distance {
  /** The URL of the server, through the line. */
  readonly url: string;
  /** Round trips so far: how often a client has sent something after it had heard something. */
  readonly trips: () => number;
  close(): void;
}

/** @param delay - milliseconds of each direction */
export async function layDistance(url: string, delay = 0): Promise<Distance> {
  const through = new URL(url);
  const to = { host: through.hostname, port: Number(through.port || 5432), noDelay: true };
  const sockets = new Set<Socket>();
  let trips = 0;
  const carry = (message: Buffer, socket: Socket) => {
    if (delay === 0) socket.write(message);
    else setTimeout(() => socket.writable && socket.write(message), delay);
  };
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect(to);
    for (const socket of [client, upstream]) sockets.add(socket.on("error", () => {}));
    client.once("close", () => upstream.destroy());
    upstream.once("close", () => client.destroy());
    let isSending = false;
    client.on("data", (message) => {
      if (!isSending) trips += 1;
      isSending = true;
      carry(message, upstream);
    });
    upstream.on("data", (answer) => {
      isSending = false;
      carry(answer, client);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address !== "object" || !address) throw new Error("the line does not listen");
  through.host = `127.0.0.1:${address.port}`;
  return {
    url: through.href,
    trips: () => trips,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
