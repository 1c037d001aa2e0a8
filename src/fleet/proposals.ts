import { type SQL, eq, sql } from "drizzle-orm";
import * as z from "zod";
import { type Executor, textArray } from "../client/sql.ts";
import { type ImprovementProposal, agentRegistry, improvementProposals } from "../schema/index.ts";
import { lazy } from "../validation/lazy.ts";
import { answered } from "../validation/refusals.ts";
import { parsed } from "../validation/refused.ts";
import { validators } from "../validation/validators.ts";
import { PROPOSAL_STATUSES, type ProposalStatus } from "../values.ts";
import { type Promotion, promotePrompt } from "./prompts.ts";
import { clock, lockAgent } from "./steps.ts";

/** What may follow a status. `testing` follows `proposed` only where no person must agree. */
export const PROPOSAL_STEPS: Readonly<Record<ProposalStatus, readonly ProposalStatus[]>> = {
  proposed: ["approved", "rejected", "testing"],
  approved: ["testing", "deployed", "rejected"],
  testing: ["deployed", "rejected"],
  deployed: ["rolled_back"],
  rejected: [],
  rolled_back: [],
};

/** One step of a proposal. */
export interface ProposalStep {
  readonly id: string;
  readonly to: ProposalStatus;
  /** Who agrees, 1 to 255 characters: to `approved` somebody must. */
  readonly by?: string | undefined;
  /** Why it is `rejected`. */
  readonly reason?: string | undefined;
  /**
   * To `deployed`: the prompt version that the change became, which a `prompt_change` must name. To
   * `rolled_back`: the version to return to, default the deployed one's parent.
   */
  readonly promptId?: string | undefined;
  /** When it happens. Default: the database's clock. */
  readonly now?: Date | undefined;
}

/** What {@link moveProposal} did. */
export interface ProposalMove {
  /** The proposal after it. */
  readonly proposal: ImprovementProposal;
  /** Whether this call took the step; false: it had been taken, and nothing was written. */
  readonly moved: boolean;
  /** Which prompt became active in the same transaction; `null`: none had to. */
  readonly promotion: Promotion | null;
}

const STEP = lazy(() => {
  const { agentId: id, rejectionReason, createdAt } = validators(improvementProposals).insert.shape;
  const { agentName: name } = validators(agentRegistry).insert.shape;
  return z
    .strictObject({
      id,
      to: z.enum(PROPOSAL_STATUSES, `expected one of ${PROPOSAL_STATUSES.join(", ")}`),
      by: name.optional(),
      reason: rejectionReason,
      promptId: id.optional(),
      now: createdAt,
    })
    .refine(({ to, by }) => to !== "approved" || by !== undefined, {
      path: ["by"],
      error: "missing, expected the person who agrees",
    });
});

/**
 * Takes a proposal one step further, as {@link PROPOSAL_STEPS} says. Of any number of callers one takes a step; one
 * that comes after it with the same `to` writes nothing.
 *
 * - `approved` keeps who agreed and when; `rejected` keeps why.
 * - `deployed` needs that somebody has agreed where `requires_human_approval`. It promotes the prompt version, links
 *   it and keeps when.
 * - `rolled_back` promotes the version to return to, if the deployed one is still the active one.
 *
 * @example
 * await moveProposal(tx, { id, to: "approved", by: "lena.fischer" });
 * await moveProposal(tx, { id, to: "deployed", promptId });
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 * @throws {Error} when there is no such proposal, the step is not one that may follow, nobody has agreed, or there is
 * no such prompt version; or the transaction is not READ COMMITTED. Then nothing was written
 */
export async function moveProposal(tx: Executor, asked: ProposalStep): Promise<ProposalMove> {
  const step = parsed(STEP, asked);
  const { id } = step;
  await lockAgent(
    tx,
    "moveProposal",
    sql`select agent_id from public.improvement_proposals where id = ${id}`,
  );
  const [judged] = await answered<Judged>(tx, take(step));
  if (!judged) throw new Error(`moveProposal: no proposal ${id}, or it is not this caller's`);
  const { from, refusal, moved, next } = judged;
  if (refusal !== null) {
    throw new Error(`moveProposal: proposal ${id} is ${from}${REFUSALS[refusal](from)}`);
  }
  const promotion = moved && next !== null ? await promotePrompt(tx, next) : null;
  const [proposal] = await tx
    .select()
    .from(improvementProposals)
    .where(eq(improvementProposals.id, id));
  if (!proposal) throw new Error(`moveProposal: proposal ${id} is gone`);
  return { proposal, moved, promotion };
}

interface Judged {
  readonly from: ProposalStatus;
  readonly refusal: keyof typeof REFUSALS | null;
  readonly moved: boolean;
  /** The prompt to promote. */
  readonly next: string | null;
}

const REFUSALS = {
  step: (from: ProposalStatus) => {
    const steps = PROPOSAL_STEPS[from];
    return steps.length > 0 ? ` and may become ${steps.join(" or ")}` : ", and stays so";
  },
  approval: () => " and needs a person's agreement first: move it to approved, by whoever agrees",
  prompt: () => ": name the promptId of a version of its agent that the change became",
  other: () => " as another prompt version: a further change is a proposal of its own",
  parent: () => " and its prompt version has no parent: name the promptId of the one to return to",
};

const take = ({ id, to, by, reason, promptId, now }: z.infer<typeof STEP>): SQL => {
  const before = PROPOSAL_STATUSES.filter((status) => PROPOSAL_STEPS[status].includes(to));
  const sets = (status: ProposalStatus, column: string, value: SQL) =>
    sql`${sql.raw(column)} = ${to === status ? value : sql.raw(`proposal.${column}`)}`;
  return sql`
  with clock as materialized ${clock(now)},
  former as materialized (
    select id, agent_id, status, proposal_type, requires_human_approval, approved_by, deployed_prompt_version_id as deployed
    from public.improvement_proposals where id = ${id} for no key update
  ), known as (
    select former.*, named.id as named, live.parent_version_id as parent, live.id is not null as is_live
    from former
    left join public.agent_prompts as named on named.id = ${promptId ?? null}::uuid and named.agent_id = former.agent_id
    left join public.agent_prompts as live on live.id = former.deployed and live.is_active
  ), judged as (
    select known.*,
      case ${to}::text when 'deployed' then named when 'rolled_back' then case when is_live then coalesce(named, parent) end end as next,
      case
        when status = ${to} then case when status = 'deployed' and ${promptId ?? null}::uuid <> deployed then 'other' end
        when status <> all (${textArray(before)}) then 'step'
        when status = 'proposed' and ${to} = 'testing' and requires_human_approval then 'approval'
        when ${to} = 'deployed' and requires_human_approval and approved_by is null then 'approval'
        when named is null and (${promptId ?? null}::uuid is not null or (${to} = 'deployed' and proposal_type = 'prompt_change')) then 'prompt'
        when ${to} = 'rolled_back' and is_live and coalesce(named, parent) is null then 'parent'
      end as refusal
    from known
  ), moved as (
    update public.improvement_proposals as proposal
    set status = ${to}, ${sets("approved", "approved_by", sql`${by ?? null}`)}, ${sets("approved", "approved_at", sql`clock.now`)},
      ${sets("rejected", "rejection_reason", sql`${reason ?? null}`)}, ${sets("deployed", "deployed_at", sql`clock.now`)},
      ${sets("deployed", "deployed_prompt_version_id", sql`judged.named`)}
    from judged cross join clock
    where proposal.id = judged.id and judged.refusal is null and judged.status <> ${to}
    returning proposal.id
  )
  select status as "from", refusal, next, exists (select from moved) as moved from judged`;
};
