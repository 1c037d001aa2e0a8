import { type SQL, sql } from "drizzle-orm";
import * as z from "zod";
import { LOG, besideLog } from "../client/spread.ts";
import type { Executor } from "../client/sql.ts";
import { agentPrompts } from "../schema/index.ts";
import { lazy } from "../validation/lazy.ts";
import { answered } from "../validation/refusals.ts";
import { parsed } from "../validation/refused.ts";
import { validators } from "../validation/validators.ts";
import type {
  CanaryStatus,
  LibraryCategory,
  ProposalStatus,
  TestStatus,
  TestWinner,
} from "../values.ts";
import { OF_LOG, executionsOf, withStart } from "./outcome.ts";

/** Which version is asked about: itself, or the one that a row of the log ran. */
export type ExplainedPrompt =
  | { readonly promptId: string; readonly logId?: undefined }
  | { readonly logId: string; readonly promptId?: undefined };

/** Why a prompt version is what it is, link by link; `null` and empty lists are links that are not there. */
export interface PromptExplanation {
  readonly prompt: {
    readonly id: string;
    readonly agentId: string;
    readonly agentName: string;
    readonly version: string;
    readonly isActive: boolean;
    readonly isBaseline: boolean;
    readonly createdAt: Date;
    readonly createdBy: string | null;
    readonly changeReason: string | null;
  };
  /** The version it was made from. */
  readonly parent: { readonly id: string; readonly version: string } | null;
  /** The proposal that last deployed it. */
  readonly proposal: {
    readonly id: string;
    readonly title: string;
    readonly status: ProposalStatus;
    readonly requiresHumanApproval: boolean;
    readonly deployedAt: Date | null;
  } | null;
  /** Who agreed to that proposal. */
  readonly approval: { readonly by: string; readonly at: Date | null } | null;
  /** The report that led to that proposal. */
  readonly report: {
    readonly id: string;
    readonly reportDate: string;
    readonly overallScore: number | null;
  } | null;
  /** A/B tests that it was one side of, oldest first. */
  readonly abTests: readonly {
    readonly id: string;
    readonly testName: string;
    readonly role: "control" | "treatment";
    readonly status: TestStatus;
    readonly winner: TestWinner | null;
    readonly significance: number | null;
    readonly executions: number;
    readonly startDate: Date;
    readonly endDate: Date | null;
  }[];
  /** Shadow tests that it was one side of, oldest first. */
  readonly shadowTests: readonly {
    readonly id: string;
    readonly role: "production" | "shadow";
    readonly status: TestStatus;
    readonly recommendation: string | null;
    readonly startDate: Date;
  }[];
  /** Canaries that it was one side of, oldest first. */
  readonly canaries: readonly {
    readonly id: string;
    readonly role: "current" | "canary";
    readonly status: CanaryStatus;
    readonly stage: number;
    readonly startedAt: Date | null;
    readonly completedAt: Date | null;
    readonly rollbackReason: string | null;
  }[];
  /** What of the prompt library it uses, by name. */
  readonly components: readonly {
    readonly id: string;
    readonly name: string;
    readonly category: LibraryCategory;
  }[];
  /**
   * From when on it was live, and what says so: its proposal, its canary, else its first execution in the log, which
   * may be one of a test.
   */
  readonly since: {
    readonly at: Date;
    readonly by: "proposal" | "canary" | "first execution";
  } | null;
  /** The links that are missing, in words; empty where the chain is whole. */
  readonly missing: readonly string[];
}

const ASKED = lazy(() => {
  const { agentId: id } = validators(agentPrompts).insert.shape;
  return z
    .strictObject({ promptId: id.optional(), logId: id.optional() })
    .refine(({ promptId, logId }) => (promptId === undefined) !== (logId === undefined), {
      error: "expected either promptId or logId",
    });
});

/**
 * Why a prompt version is live, or was: where it comes from, which proposal deployed it, who agreed, what was
 * measured before. One statement over the keys that the rows have; what is not there it says.
 * @example
 * const { proposal, approval, missing } = await explainPrompt(tx, { logId });
 * @throws {z.ZodError} before any SQL: what is wrong with the input
 * @throws {Error} when there is no such prompt or row of the log, or that row and its execution name no version
 */
export async function explainPrompt(
  tx: Executor,
  asked: ExplainedPrompt,
): Promise<PromptExplanation> {
  const { promptId, logId } = parsed(ASKED, asked);
  const version =
    promptId === undefined ? versionOfLog(logId) : sql`select ${promptId}::uuid as id`;
  const agents =
    promptId === undefined
      ? sql`select agent_id from ${LOG} where id = ${logId}`
      : sql`select agent_id from public.agent_prompts where id = ${promptId}`;
  const [found] = await besideLog(tx, { agents }, () =>
    answered<{ told: string }>(tx, explained(version)),
  );
  if (!found) {
    throw new Error(
      promptId === undefined
        ? `explainPrompt: no row ${logId} of the log that names a prompt version, or it is not this caller's`
        : `explainPrompt: no prompt ${promptId}, or it is not this caller's`,
    );
  }
  const told: Told = JSON.parse(found.told, asDate);
  return { ...told, missing: missingOf(told) };
}

type Told = Omit<PromptExplanation, "missing">;

/** Instants are the only values whose keys say `at` or `date` and that have a time. */
const asDate = (key: string, value: unknown): unknown =>
  /(At|Date|^at)$/.test(key) && typeof value === "string" && value.includes("T")
    ? new Date(value)
    : value;

function missingOf({ prompt, parent, proposal, approval, report, ...tried }: Told): string[] {
  const isTried = [
    ...tried.abTests.filter(({ role }) => role === "treatment"),
    ...tried.shadowTests.filter(({ role }) => role === "shadow"),
    ...tried.canaries.filter(({ role }) => role === "canary"),
  ].length;
  return [
    parent === null && "it names no version that it was made from",
    proposal === null && "no proposal deployed it",
    proposal !== null && approval === null && "nobody approved its proposal",
    proposal !== null && report === null && "its proposal names no report",
    isTried === 0 &&
      `no test and no canary tried it${prompt.isActive || tried.since ? " before it went live" : ""}`,
  ].filter((link) => link !== false);
}

/** The version of a row of the log: its own, else that of its execution. */
const versionOfLog = (logId: string | undefined): SQL => sql`
  select coalesce(log.prompt_version_id, execution.prompt_version_id) as id
  from (select * from ${LOG} where id = ${logId}) as log
  left join lateral (
    ${executionsOf(
      sql`(${withStart(sql`
      select ${OF_LOG} from ${LOG} as row
      where row.execution_id = log.execution_id and row.agent_id = log.agent_id`)})`,
    )}
  ) as execution on execution.started <= log.timestamp and execution.latest >= log.timestamp`;

const explained = (version: SQL): SQL => sql`
  with asked as materialized (
    select prompt.* from (${version}) as named
    join public.agent_prompts as prompt on prompt.id = named.id
  ), proposal as materialized (
    select proposal.* from asked join public.improvement_proposals as proposal on proposal.deployed_prompt_version_id = asked.id
    order by deployed_at desc nulls last, proposal.id limit 1
  ), canary as materialized (
    select canary.* from asked join public.canary_deployments as canary
      on canary.agent_id = asked.agent_id and asked.id in (canary_prompt_id, current_prompt_id)
  )
  select json_build_object(
    'prompt', json_build_object('id', p.id, 'agentId', p.agent_id, 'agentName', agent.agent_name, 'version', p.version,
      'isActive', p.is_active, 'isBaseline', p.is_baseline, 'createdAt', p.created_at, 'createdBy', p.created_by,
      'changeReason', p.change_reason),
    'parent', (select json_build_object('id', id, 'version', version) from public.agent_prompts where id = p.parent_version_id),
    'proposal', (select json_build_object('id', id, 'title', title, 'status', status,
      'requiresHumanApproval', requires_human_approval, 'deployedAt', deployed_at) from proposal),
    'approval', (select json_build_object('by', approved_by, 'at', approved_at) from proposal where approved_by is not null),
    'report', (select json_build_object('id', report.id, 'reportDate', report_date, 'overallScore', overall_score)
      from proposal join public.evaluation_reports as report on report.id = proposal.evaluation_report_id),
    'abTests', (select coalesce(json_agg(json_build_object('id', id, 'testName', test_name,
        'role', case when treatment_prompt_id = p.id then 'treatment' else 'control' end, 'status', status, 'winner', winner,
        'significance', statistical_significance, 'executions', control_executions::bigint + treatment_executions,
        'startDate', start_date, 'endDate', end_date) order by start_date, id), '[]')
      from public.ab_tests where agent_id = p.agent_id and p.id in (control_prompt_id, treatment_prompt_id)),
    'shadowTests', (select coalesce(json_agg(json_build_object('id', id,
        'role', case when shadow_prompt_id = p.id then 'shadow' else 'production' end, 'status', status,
        'recommendation', recommendation, 'startDate', start_date) order by start_date, id), '[]')
      from public.shadow_tests where agent_id = p.agent_id and p.id in (production_prompt_id, shadow_prompt_id)),
    'canaries', (select coalesce(json_agg(json_build_object('id', id,
        'role', case when canary_prompt_id = p.id then 'canary' else 'current' end, 'status', status, 'stage', current_stage,
        'startedAt', started_at, 'completedAt', completed_at, 'rollbackReason', rollback_reason) order by started_at, id), '[]')
      from canary),
    'components', (select coalesce(json_agg(json_build_object('id', part.id, 'name', name, 'category', category) order by name), '[]')
      from public.prompt_library_usage as use join public.prompt_library as part on part.id = use.library_component_id
      where use.prompt_id = p.id),
    'since', coalesce(
      (select json_build_object('at', deployed_at, 'by', 'proposal') from proposal where deployed_at is not null),
      (select json_build_object('at', max(completed_at), 'by', 'canary') from canary where canary_prompt_id = p.id having max(completed_at) is not null),
      (select json_build_object('at', min(timestamp), 'by', 'first execution') from ${LOG}
        where prompt_version_id = p.id having min(timestamp) is not null))
  )::text as told
  from asked as p join public.agent_registry as agent on agent.id = p.agent_id`;
