/** A line to a server on which one message can be lost, held back, cut off or garbled. */
import { once } from "node:events";
import { type Socket, connect, createServer } from "node:net";

/**
 * What happens to a message: `hold`, it never arrives and the line stays up; `mute`, it arrives and nothing
 * comes back; `cut`, it is answered and the line is cut before the answer; `sever`, the line is cut before
 * the message; `garble`, it arrives as something the server refuses.
 */
export type Deed = "hold" | "mute" | "cut" | "sever" | "garble";

export interface Wire {
  /** The URL of the server, through the line. */
  readonly url: string;
  /** Does `deed` to the next message that holds `word`, and to no other. */
  arm(deed: Deed, word: string): void;
  /** Whether the deed was done. */
  isDone(): boolean;
  close(): void;
}

/** Lays a line to the server of `url`. */
export async function layWire(url: string): Promise<Wire> {
  const through = new URL(url);
  const to = { host: through.hostname, port: Number(through.port || 5432), noDelay: true };
  const sockets = new Set<Socket>();
  let armed: { readonly deed: Deed; readonly word: string } | undefined;
  const strike = (message: Buffer): { deed: Deed; word: string } | undefined => {
    if (!armed || !message.includes(armed.word)) return undefined;
    const struck = armed;
    armed = undefined;
    return struck;
  };
  const server = createServer((client) => {
    const upstream = connect(to);
    for (const socket of [client, upstream]) sockets.add(socket.on("error", () => {}));
    client.once("close", () => upstream.destroy());
    upstream.once("close", () => client.destroy());
    let deed: Deed | undefined;
    client.on("data", (message) => {
      if (deed === "hold") return;
      const struck = strike(message);
      deed = struck?.deed ?? deed;
      if (struck?.deed === "hold") return;
      if (struck?.deed === "sever") client.resetAndDestroy();
      else upstream.write(struck?.deed === "garble" ? garbled(message, struck.word) : message);
    });
    upstream.on("data", (answer) => {
      if (deed === "cut") client.resetAndDestroy();
      else if (deed !== "mute") client.write(answer);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address !== "object" || !address) throw new Error("the line does not listen");
  through.host = `127.0.0.1:${address.port}`;
  return {
    url: through.href,
    arm: (deed, word) => {
      armed = { deed, word };
    },
    isDone: () => armed === undefined,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** As long as it was: the protocol counts bytes. */
function garbled(message: Buffer, word: string): Buffer {
  const copy = Buffer.from(message);
  copy.write("x".repeat(word.length), copy.indexOf(word));
  return copy;
}
