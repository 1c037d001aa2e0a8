import { sql } from "drizzle-orm";
import * as z from "zod";
import type { Executor } from "../client/sql.ts";
import { agentPrompts } from "../schema/index.ts";
import { lazy } from "../validation/lazy.ts";
import { answered } from "../validation/refusals.ts";
import { parsed } from "../validation/refused.ts";
import { validators } from "../validation/validators.ts";

/** A learning, and the one that takes its place. */
export interface Supersession {
  readonly id: string;
  readonly by: string;
}

const SUPERSESSION = lazy(() => {
  const { agentId: id } = validators(agentPrompts).insert.shape;
  return z.strictObject({ id, by: id }).refine(({ id: old, by }) => old !== by, {
    path: ["by"],
    error: "expected another learning than id",
  });
});

/**
 * Puts a learning in the place of another, which from then on is not active. The one that takes the place holds
 * itself, so that no ring comes about, however many callers do so at once; again it writes nothing.
 *
 * @returns whether anything was written
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 * @throws {Error} when one of the two is not there or is superseded by another one already, which it names
 */
export async function supersedeLearning(tx: Executor, asked: Supersession): Promise<boolean> {
  const { id, by } = parsed(SUPERSESSION, asked);
  const [told] = await answered<Told>(
    tx,
    sql`
    with pair as materialized (
      select id, organization_id, superseded_by, is_active from public.learning_log
      where id in (${id}, ${by}) order by id for no key update
    ), judged as (
      select old.id, old.superseded_by as "oldBy", successor.superseded_by as "successorBy",
        coalesce(old.superseded_by = successor.id and not old.is_active, false) as "isDone"
      from pair as old join pair as successor on old.organization_id is not distinct from successor.organization_id
      where old.id = ${id} and successor.id = ${by}
    ), written as (
      update public.learning_log as learning set superseded_by = ${by}, is_active = false from judged
      where learning.id = judged.id and not "isDone" and "successorBy" is null and coalesce("oldBy" = ${by}, true)
      returning learning.id
    )
    select "oldBy", "successorBy", "isDone", exists (select from written) as written from judged`,
  );
  if (!told) {
    throw new Error(
      `supersedeLearning: no learnings ${id} and ${by} of one organization, or they are not this caller's`,
    );
  }
  if (!told.written && !told.isDone) throw new Error(refusal({ id, by }, told));
  return told.written;
}

interface Told {
  readonly oldBy: string | null;
  readonly successorBy: string | null;
  readonly isDone: boolean;
  readonly written: boolean;
}

function refusal({ id, by }: Supersession, { oldBy, successorBy }: Told): string {
  return successorBy === null
    ? `supersedeLearning: ${id} is superseded by ${oldBy} already: supersede that one`
    : `supersedeLearning: ${by} is itself superseded, by ${successorBy}: name the one that holds`;
}
