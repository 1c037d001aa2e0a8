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
 * Makes a prompt version its agent's one active version; the former one steps down first, in a statement of
 * its own, as `agent_prompts_one_active` is held row by row. Maintains `agent_prompts.is_active`. Promotions of
 * versions of one agent wait for each other, and the last one stands; in a transaction of REPEATABLE READ or
 * above the one that waited fails (40001; 23505 where none was active) and may be tried again. So does a
 * promotion beside an INSERT of another active version (23505 `agent_prompts_one_active`).
 *
 * @throws {Error} when there is no such prompt, or the caller does not see it
 */
export async function promotePrompt(tx: Executor, promptId: string): Promise<Promotion> {
  // A statement of its own: what follows must see what the promotion before it did, and a statement sees what
  // was committed when it began. Keys to the agent (new prompts, new logs) are not held up.
  await tx.execute(sql`
    select from public.${agentRegistry} where id = (select agent_id from public.${agentPrompts} where id = ${promptId})
    for no key update`);
  // The chosen one is locked before another steps down: it cannot be deleted in between.
  const [former] = rows<{ agentId: string; steppedDown: string | null }>(
    await tx.execute(sql`
      with chosen as (
        select id, agent_id from public.${agentPrompts} where id = ${promptId} for no key update
      ), former as (
        update public.${agentPrompts} as prompt set is_active = false from chosen
        where prompt.agent_id = chosen.agent_id and prompt.is_active and prompt.id <> chosen.id
        returning prompt.id
      )
      select agent_id as "agentId", (select id from former) as "steppedDown" from chosen`),
  );
  if (!former) {
    throw new Error(`promotePrompt: no prompt ${promptId}, or it is not this caller's`);
  }
  const [next] = rows<{ id: string }>(
    await tx.execute(sql`
      update public.${agentPrompts} set is_active = true where id = ${promptId} and not is_active returning id`),
  );
  return { ...former, steppedUp: next?.id ?? null };
}
