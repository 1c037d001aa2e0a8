/** A line to a server that is far away: it counts round trips, and delays each direction. */
import type { Socket } from "node:net";
import { type Line, layLine } from "./line.ts";

export interface Distance extends Line {
  /** Round trips so far: how often a client has sent something after it had heard something. */
  readonly trips: () => number;
}

/** @param delay - milliseconds of each direction */
export async function layDistance(url: string, delay = 0): Promise<Distance> {
  let trips = 0;
  const carry = (message: Buffer, socket: Socket) => {
    if (delay === 0) socket.write(message);
    else setTimeout(() => socket.writable && socket.write(message), delay);
  };
  const line = await layLine(url, (client, upstream) => {
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
  return { ...line, trips: () => trips };
}
