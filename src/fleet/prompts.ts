import { sql } from "drizzle-orm";
import { type Executor, rows } from "../client/sql.ts";
import { agentPrompts, agentRegistry } from "../schema/index.ts";

/** What a promotion changed. */
export interface Promotion {
  readonly agentId: string;
  /** The prompt that became active; `null`: it was active already. */
  readonly steppedUp: string | null;
  /** The prompt that was active before; `null`: there was none, or it still is. */
  readonly steppedDown: string | null;
}

/**
 * Makes a prompt version its agent's one active version, in one UPDATE; the former one steps down.
 * Maintains `agent_prompts.is_active`. Promotions of versions of one agent wait for each other, and the last one
 * stands; in a transaction of REPEATABLE READ or above the one that waited fails (40001) and may be tried
 * again. So does a promotion beside an INSERT of another active version (23P01 `agent_prompts_one_active`).
 *
 * @throws {Error} when there is no such prompt, or the caller does not see it
 */
export async function promotePrompt(tx: Executor, promptId: string): Promise<Promotion> {
  // A statement of its own: the UPDATE must see what the promotion before it did, and it sees what was
  // committed when it began. Keys to the agent (new prompts, new logs) are not held up.
  await tx.execute(sql`
    select from public.${agentRegistry} where id = (select agent_id from public.${agentPrompts} where id = ${promptId})
    for no key update`);
  const [promotion] = rows<{
    agentId: string;
    steppedUp: string | null;
    steppedDown: string | null;
  }>(
    await tx.execute(sql`
      with chosen as (
        select id, agent_id from public.${agentPrompts} where id = ${promptId} for no key update
      ), changed as (
        update public.${agentPrompts} as prompt set is_active = prompt.id = chosen.id from chosen
        where prompt.agent_id = chosen.agent_id and prompt.is_active <> (prompt.id = chosen.id)
        returning prompt.id, prompt.is_active
      )
      select agent_id as "agentId",
        (select id from changed where is_active) as "steppedUp",
        (select id from changed where not is_active) as "steppedDown"
      from chosen`),
  );
  if (!promotion) {
    throw new Error(`promotePrompt: no prompt ${promptId}, or it is not this caller's`);
  }
  return promotion;
}
