/** A line to a server on which one message can be lost, held back, cut off or garbled. */
import { type Line, layLine } from "./line.ts";

/**
 * What happens to a message: `hold`, it never arrives and the line stays up; `mute`, it arrives and nothing
 * comes back; `cut`, it is answered and the line is cut before the answer; `sever`, the line is cut before
 * the message; `garble`, it arrives as something the server refuses.
 */
export type Deed = "hold" | "mute" | "cut" | "sever" | "garble";

export interface Wire extends Line {
  /** Does `deed` to the next message that holds `word`, and to no other. */
  arm(deed: Deed, word: string): void;
  /** Whether the deed was done. */
  isDone(): boolean;
}

/** Lays a line to the server of `url`. */
export async function layWire(url: string): Promise<Wire> {
  let armed: { readonly deed: Deed; readonly word: string } | undefined;
  const strike = (message: Buffer): { deed: Deed; word: string } | undefined => {
    if (!armed || !message.includes(armed.word)) return undefined;
    const struck = armed;
    armed = undefined;
    return struck;
  };
  const line = await layLine(url, (client, upstream) => {
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
  return {
    ...line,
    arm: (deed, word) => {
      armed = { deed, word };
    },
    isDone: () => armed === undefined,
  };
}

/** As long as it was: the protocol counts bytes. */
function garbled(message: Buffer, word: string): Buffer {
  const copy = Buffer.from(message);
  copy.write("x".repeat(word.length), copy.indexOf(word));
  return copy;
}
