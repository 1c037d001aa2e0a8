/** What tests and canaries of prompts begin with. */
import { sql } from "drizzle-orm";
import { type Executor, textArray } from "../client/sql.ts";
import { answered, fromDatabaseError } from "../validation/refusals.ts";
import { lockAgent } from "./steps.ts";

/** An agent before something of it begins: locked, so that this stays as it is. */
export interface AgentState {
  readonly organizationId: string | null;
  readonly activePromptId: string | null;
  /** An A/B test that runs. */
  readonly testId: string | null;
  /** A canary that runs or is paused. */
  readonly canaryId: string | null;
  /** A shadow test that runs. */
  readonly shadowTestId: string | null;
}

interface Beginning {
  readonly caller: string;
  readonly agentId: string;
  /** Versions that must be the agent's. */
  readonly promptIds: readonly (string | undefined)[];
}

/**
 * Locks an agent and answers what runs.
 * @throws {Error} when there is no such agent, or one of the versions is not its
 */
export async function lockedAgent(
  tx: Executor,
  { caller, agentId, promptIds }: Beginning,
): Promise<AgentState> {
  await lockAgent(tx, caller, sql`select ${agentId}::uuid`);
  const wanted = promptIds.flatMap((id) => (id === undefined ? [] : [id]));
  const [state] = await answered<AgentState & { promptIds: string[] }>(
    tx,
    sql`select organization_id as "organizationId",
      (select id from public.agent_prompts where agent_id = agent.id and is_active) as "activePromptId",
      (select min(id::text) from public.ab_tests where agent_id = agent.id and status = 'running') as "testId",
      (select min(id::text) from public.canary_deployments where agent_id = agent.id and status in ('running', 'paused')) as "canaryId",
      (select min(id::text) from public.shadow_tests where agent_id = agent.id and status = 'running') as "shadowTestId",
      array(select id::text from public.agent_prompts where agent_id = agent.id and id = any (${textArray(wanted)}::uuid[])) as "promptIds"
    from public.agent_registry as agent where id = ${agentId}`,
  );
  if (!state) throw new Error(`${caller}: no agent ${agentId}, or it is not this caller's`);
  const { promptIds: known, ...rest } = state;
  const missing = wanted.find((id) => !known.includes(id));
  if (missing !== undefined) {
    throw new Error(
      `${caller}: no prompt ${missing} of agent ${agentId}, or it is not this caller's`,
    );
  }
  return rest;
}

/**
 * The traffic of an agent is shared by one experiment at a time, which tries a version that is not active.
 * @throws {Error} naming what runs, or when the version on trial is active
 */
export function requireFreeTraffic(
  { caller, agentId }: Beginning,
  { activePromptId, testId, canaryId }: AgentState,
  onTrial: string,
): void {
  if (testId !== null) {
    throw new Error(`${caller}: A/B test ${testId} of agent ${agentId} runs: finish it first`);
  }
  if (canaryId !== null) {
    throw new Error(
      `${caller}: canary ${canaryId} of agent ${agentId} is not over: complete it or roll it back first`,
    );
  }
  if (onTrial === activePromptId) {
    throw new Error(`${caller}: prompt ${onTrial} is active already: there is nothing to try`);
  }
}

/** @throws {Error} when the agent has no active version to compare with */
export function requireActive({ caller, agentId }: Beginning, { activePromptId }: AgentState) {
  if (activePromptId !== null) return activePromptId;
  throw new Error(
    `${caller}: agent ${agentId} has no active prompt: promotePrompt makes one active`,
  );
}

/** The row that an insert returns. */
export async function begun<Row>(inserting: PromiseLike<Row[]>): Promise<Row> {
  try {
    const [row] = await inserting;
    if (row) return row;
  } catch (error) {
    throw fromDatabaseError(error);
  }
  throw new TypeError("an insert that returns its row has returned none");
}
