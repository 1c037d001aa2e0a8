import { once } from "node:events";
import { createServer } from "node:http";
import { onTestFinished } from "vitest";

/** A webhook, until the test has ended, that keeps the bodies that it is sent. */
export async function newWebhook(
  answer: (body: string) => number | undefined,
): Promise<{ webhook: string; received: readonly string[] }> {
  const received: string[] = [];
  const server = createServer((request, response) => {
    request.setEncoding("utf8");
    let body = "";
    request.on("data", (part: string) => (body += part));
    request.on("end", () => {
      received.push(body);
      const status = answer(body);
      if (status === undefined) request.socket.destroy();
      else response.writeHead(status).end();
    });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("a port");
  return { webhook: `http://127.0.0.1:${address.port}`, received };
}
