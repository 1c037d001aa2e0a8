// Sends open alerts to a webhook, such as an incoming webhook of Slack. Any number of these may run: each alert
// is one sender's at a time, and one that dies leaves its alerts to the others. It logs in as meta_agent_backend:
//   DATABASE_URL=postgres://… npx tsx examples/alert-sender.ts https://hooks.example.com/alerts
import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
import {
  type ClaimedAlert,
  type Database,
  claimAlerts,
  connect,
  explain,
  markAlertsSent,
  releaseAlerts,
  withServiceRole,
} from "../src/index.ts";

export interface SenderOptions {
  readonly webhook: string;
  /** How many alerts it takes at once. Default 10. */
  readonly limit?: number;
  /** Seconds to send these in; what is not sent then is another's. Default 60. */
  readonly leaseSeconds?: number;
}

/** One round: sends what is due, and answers how many reached the webhook. To run every few seconds. */
export async function sendAlerts(
  db: Database,
  { webhook, limit = 10, leaseSeconds = 60 }: SenderOptions,
): Promise<number> {
  const channel = "slack";
  // Each step commits before the next begins: no lock is held while the webhook answers.
  const alerts = await withServiceRole(db, (tx) =>
    claimAlerts(tx, { channel, limit, leaseSeconds }),
  );
  let count = 0;
  for (const alert of alerts) {
    const isSent = await post(webhook, alert);
    const settle = isSent ? markAlertsSent : releaseAlerts;
    await withServiceRole(db, (tx) => settle(tx, { channel, alerts: [alert] }));
    if (isSent) count += 1;
  }
  return count;
}

/** Gives up when the claim lapses: from then on another may send it. */
async function post(webhook: string, alert: ClaimedAlert): Promise<boolean> {
  const { id, severity, title, message, claimedUntil } = alert;
  try {
    const response = await fetch(webhook, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ id, text: `${severity.toUpperCase()}: ${title}\n${message}` }),
      signal: AbortSignal.timeout(Math.max(1, claimedUntil.getTime() - Date.now())),
    });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}

async function main(): Promise<void> {
  const [webhook] = process.argv.slice(2);
  const url = process.env["DATABASE_URL"];
  if (webhook === undefined || url === undefined) {
    throw new Error("expected the URL of a webhook, and of the database as DATABASE_URL");
  }
  const { db, close } = connect(url);
  try {
    while ((await sendAlerts(db, { webhook })) > 0);
  } finally {
    await close();
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  main().catch((error: unknown) => {
    console.error(explain(error));
    process.exitCode = 1;
  });
}
