import { createHash } from "node:crypto";
import { type SQL, sql } from "drizzle-orm";
import * as z from "zod";
import { type Executor, isKey } from "../client/sql.ts";
import { agentPrompts } from "../schema/index.ts";
import { isStorable } from "../schema/json.ts";
import { lazy } from "../validation/lazy.ts";
import { answered } from "../validation/refusals.ts";
import { parsed } from "../validation/refused.ts";
import { validators } from "../validation/validators.ts";
import { clock } from "./steps.ts";

/**
 * Where a unit falls in an experiment, 0 to below 1: evenly spread, always the same for the same two, and
 * independent between experiments. A unit is in the treatment if this is less than the treatment's share, so that
 * a growing share keeps whom it has. `meta_agent.bucket_of` is the same in SQL.
 * @param salt the id of the test or canary, a uuid in lower case
 * @param unit what stays together, such as a user's id
 * @example
 * bucketOf(testId, userId) < 0.5 ? "treatment" : "control";
 */
export const bucketOf = (salt: string, unit: string): number =>
  createHash("sha256").update(`${salt}:${unit}`).digest().readUInt32BE(0) / 2 ** 32;

/** Who asks which prompt to run. */
export interface PromptChoice {
  readonly agentId: string;
  /**
   * What stays with one version: a user, a conversation, else the execution's own id. Where it is a user, record
   * `userId` with the executions: the statistics of a test go by it.
   */
  readonly unit: string;
  /** Default: the database's clock. */
  readonly now?: Date | undefined;
}

/** The prompt version to run. */
export interface ChosenPrompt {
  readonly promptId: string;
  /** Why this one: it is the canary's, one arm of an A/B test, or neither and active. */
  readonly role: "canary" | "treatment" | "control" | "active";
  /** The canary or the A/B test that decided; `null`: none runs. */
  readonly experimentId: string | null;
  /** A version to run beside it, unseen, with `metadata.shadow_of`; `null`: none. */
  readonly shadow: { readonly testId: string; readonly promptId: string } | null;
}

const CHOICE = lazy(() => {
  const { agentId, createdAt } = validators(agentPrompts).insert.shape;
  return z.strictObject({
    agentId,
    unit: z.string().min(1).refine(isStorable, "expected text without NUL or broken Unicode"),
    now: createdAt,
  });
});

/**
 * The prompt version that an agent runs for a unit: always the same while nothing changes. A running canary
 * decides, else a running A/B test whose time it is, else the active version runs. A canary whose current version is no
 * longer the active one decides nothing; the next step ends it. Beside it a running shadow test names its version
 * for the share of the units that it samples, where the chosen one is its production's.
 *
 * One statement that locks nothing. Record executions with the `promptVersionId` that it answered.
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 * @throws {Error} when there is no such agent, or it has no active prompt and no experiment
 */
export async function choosePrompt(tx: Executor, asked: PromptChoice): Promise<ChosenPrompt> {
  const { agentId, unit, now } = parsed(CHOICE, asked);
  const [choice] = await answered<Answer>(tx, choose({ agentId, unit, now }));
  if (!choice) throw new Error(`choosePrompt: no agent ${agentId}, or it is not this caller's`);
  const { promptId, role, experimentId, shadowTestId, shadowPromptId } = choice;
  if (promptId === null) {
    throw new Error(
      `choosePrompt: agent ${agentId} has no active prompt: promotePrompt makes one active`,
    );
  }
  const shadow =
    shadowTestId === null || shadowPromptId === null
      ? null
      : { testId: shadowTestId, promptId: shadowPromptId };
  return { promptId, role, experimentId, shadow };
}

interface Answer {
  readonly promptId: string | null;
  readonly role: ChosenPrompt["role"];
  readonly experimentId: string | null;
  readonly shadowTestId: string | null;
  readonly shadowPromptId: string | null;
}

const isNow = sql`status = 'running' and start_date <= clock.now and (end_date is null or end_date > clock.now)`;

/** Stages are free JSON to the database: one without a number gets no traffic. */
const STAGE_TRAFFIC = sql`case when jsonb_typeof(stages -> (current_stage - 1) -> 'traffic') = 'number'
      then (stages -> (current_stage - 1) ->> 'traffic')::float8 end`;

// Ordered by the agent first, as isKey wants it: of a large organization all rows were read else.
const choose = ({ agentId, unit, now }: PromptChoice): SQL => {
  const isBelow = (share: SQL) => sql`meta_agent.bucket_of(id, ${unit}) < ${share}`;
  const ofAgent = isKey("agent_id", "agent.id");
  return sql`
  select coalesce(canary.chosen, test.chosen, active.id) as "promptId",
    case when canary.id is not null then case when canary.chosen = active.id then 'active' else 'canary' end
      else coalesce(test.role, 'active') end as role,
    coalesce(canary.id, test.id) as "experimentId", shadow.id as "shadowTestId", shadow.shadow_prompt_id as "shadowPromptId"
  from ${clock(now)} as clock
  cross join (select id from public.agent_registry where id = ${agentId}) as agent
  left join lateral (select id from public.agent_prompts where agent_id = agent.id and is_active) as active on true
  left join lateral (
    select id, case when ${isBelow(STAGE_TRAFFIC)} then canary_prompt_id else current_prompt_id end as chosen
    from public.canary_deployments where ${ofAgent} and status = 'running' and current_prompt_id = active.id
    order by agent_id, started_at desc nulls last, id limit 1
  ) as canary on true
  left join lateral (
    select id, case when is_treated then treatment_prompt_id else control_prompt_id end as chosen,
      case when is_treated then 'treatment' else 'control' end as role
    from (
      select *, ${isBelow(sql`traffic_split`)} as is_treated from public.ab_tests where ${ofAgent} and ${isNow}
      order by agent_id, start_date desc, id limit 1
    ) as latest
  ) as test on true
  left join lateral (
    select id, shadow_prompt_id from public.shadow_tests where ${ofAgent} and ${isNow}
      and production_prompt_id = coalesce(canary.chosen, test.chosen, active.id) and ${isBelow(sql`sample_rate`)}
    order by agent_id, start_date desc, id limit 1
  ) as shadow on true`;
};
