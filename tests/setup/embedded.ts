import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSnapshot } from "../../src/operate/snapshot.ts";

/** Has the snapshot made that each test file opens, away from the user's own. */
export default async function setup() {
  const directory = await mkdtemp(join(tmpdir(), "meta-agent-db-"));
  process.env["META_AGENT_DB_CACHE"] = directory;
  const { client } = await openSnapshot();
  await client.close();
  return () => rm(directory, { recursive: true });
}
