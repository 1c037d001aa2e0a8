import { type SQL, sql } from "drizzle-orm";
import * as z from "zod";
import { type Executor, rows } from "../client/sql.ts";
import { agentPrompts, agentRegistry } from "../schema/index.ts";
import { lazy } from "../validation/lazy.ts";
import { answered } from "../validation/refusals.ts";
import { parsed } from "../validation/refused.ts";
import { validators } from "../validation/validators.ts";
import { lockAgent } from "./steps.ts";

/** What a promotion changed, or a change of the baseline. */
export interface Promotion {
  readonly agentId: string;
  /** The prompt that became active, or the baseline; `null`: it was already. */
  readonly steppedUp: string | null;
  /** The prompt that was it before; `null`: there was none, or it still is. */
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
export const promotePrompt = (tx: Executor, promptId: string): Promise<Promotion> =>
  moveFlag(tx, { caller: "promotePrompt", flag: sql`is_active`, promptId });

/**
 * Makes a prompt version the one that others of its agent are measured against, as {@link promotePrompt} makes
 * one active. Maintains `agent_prompts.is_baseline`.
 *
 * @throws {Error} when there is no such prompt, or the caller does not see it
 */
export const setBaseline = (tx: Executor, promptId: string): Promise<Promotion> =>
  moveFlag(tx, { caller: "setBaseline", flag: sql`is_baseline`, promptId });

interface Move {
  readonly caller: string;
  /** The column that one prompt of an agent has. */
  readonly flag: SQL;
  readonly promptId: string;
}

async function moveFlag(tx: Executor, { caller, flag, promptId }: Move): Promise<Promotion> {
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
        update public.${agentPrompts} as prompt set ${flag} = false from chosen
        where prompt.agent_id = chosen.agent_id and prompt.${flag} and prompt.id <> chosen.id
        returning prompt.id
      )
      select agent_id as "agentId", (select id from former) as "steppedDown" from chosen`),
  );
  if (!former) {
    throw new Error(`${caller}: no prompt ${promptId}, or it is not this caller's`);
  }
  const [next] = rows<{ id: string }>(
    await tx.execute(sql`
      update public.${agentPrompts} set ${flag} = true where id = ${promptId} and not ${flag} returning id`),
  );
  return { ...former, steppedUp: next?.id ?? null };
}

/** A way back to an earlier prompt version. */
export interface PromptRollBack {
  readonly agentId: string;
  /** The version that the active one was made from, or the baseline. Default `parent`. */
  readonly to?: "parent" | "baseline" | undefined;
  /**
   * The version to roll back from: where another one is active by now, nothing is done. So a request may come
   * twice. Default: whichever is active, so that each call is one step.
   */
  readonly from?: string | undefined;
}

const ROLL_BACK = lazy(() => {
  const { agentId } = validators(agentPrompts).insert.shape;
  return z.strictObject({
    agentId,
    to: z.enum(["parent", "baseline"]).default("parent"),
    from: agentId.optional(),
  });
});

/**
 * Promotes the version that an agent's active prompt was made from, or its baseline.
 * @example
 * await rollBackPrompt(tx, { agentId, from: badPromptId });
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 * @throws {Error} when there is no such agent or nothing to roll back to, or the transaction is not READ COMMITTED
 */
export async function rollBackPrompt(tx: Executor, asked: PromptRollBack): Promise<Promotion> {
  const { agentId, to, from } = parsed(ROLL_BACK, asked);
  const isOurs = await lockAgent(tx, "rollBackPrompt", sql`select ${agentId}::uuid`);
  if (isOurs === null) {
    throw new Error(`rollBackPrompt: no agent ${agentId}, or it is not this caller's`);
  }
  const [active] = await answered<{ id: string; parent: string | null; baseline: string | null }>(
    tx,
    sql`select id, parent_version_id as parent,
        (select id from public.agent_prompts where agent_id = ${agentId} and is_baseline) as baseline
      from public.agent_prompts where agent_id = ${agentId} and is_active`,
  );
  if (from !== undefined && active?.id !== from) {
    return { agentId, steppedUp: null, steppedDown: null };
  }
  const target = active?.[to];
  if (!target) throw new Error(noWayBack(agentId, to, active?.id));
  return promotePrompt(tx, target);
}

function noWayBack(agentId: string, to: "parent" | "baseline", active: string | undefined): string {
  const missing =
    active === undefined
      ? `agent ${agentId} has no active prompt`
      : to === "parent"
        ? `prompt ${active} names no parent version`
        : `agent ${agentId} has no baseline: setBaseline names one`;
  return `rollBackPrompt: ${missing}. promotePrompt makes any other version active`;
}
