// One stream of bench:record in a process of its own, whose memory is its own: URL ROWS.
import { sql } from "drizzle-orm";
import { connect } from "../src/client/connect.ts";
import { rows } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { recordExecutionStream } from "../src/fleet/record/record.ts";
import { ORGANIZATION, type Parents, newLog } from "./logs.ts";
import { time } from "./server.ts";

/** Milliseconds of the stream, and the most bytes that the process had at the end of a chunk. */
export interface Streamed {
  readonly ms: number;
  readonly rss: number;
}

const [url = "", count] = process.argv.slice(2);
const { db, close } = connect(url);
let rss = 0;
const ms = await time(() =>
  withOrganization(db, ORGANIZATION, async (tx) => {
    const agents = rows<Parents>(
      await tx.execute(sql`
        select agent_id as "agentId", id as "promptVersionId" from public.agent_prompts order by id`),
    );
    const source = function* () {
      for (let n = 0; n < Number(count); n += 1) yield newLog(n, agents);
    };
    await recordExecutionStream(tx, source(), {
      onProgress: () => {
        rss = Math.max(rss, process.memoryUsage.rss());
      },
    });
  }),
);
await close();
console.log(JSON.stringify({ ms, rss } satisfies Streamed));
