import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { createPglite } from "../../src/client/pglite.ts";
import { openSnapshot } from "../../src/operate/snapshot.ts";

/** Has the snapshot made that each test file opens, away from the user's own, and one of an empty database. */
export default async function setup() {
  // As the processes that run the tests.
  setFlagsFromString("--liftoff-only");
  const directory = await mkdtemp(join(tmpdir(), "meta-agent-db-"));
  process.env["META_AGENT_DB_CACHE"] = directory;
  const { client } = await openSnapshot();
  await client.close();
  const empty = await createPglite({ initDbStartParams: ["--wal-segsize=1"] });
  const packed = await empty.client.dumpDataDir("none");
  await empty.client.close();
  const path = join(directory, "empty.tar");
  await writeFile(path, new Uint8Array(await packed.arrayBuffer()));
  process.env["EMPTY_DATABASE"] = path;
  return () => rm(directory, { recursive: true });
}
