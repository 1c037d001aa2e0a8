/** Dependencies between agents: which needs which, without a circle, and who is hit when one fails. */
import { sql } from "drizzle-orm";
import { type Executor, byKey, one, textArray } from "../client/sql.ts";
import { type NewAgentDependency, agentDependencies, agentRegistry } from "../schema/index.ts";
import { answered } from "../validation/refusals.ts";
import { parsed } from "../validation/refused.ts";
import { validators } from "../validation/validators.ts";
import { ISOLATION, requireReadCommitted } from "./steps.ts";

/** That the downstream agent needs something of the upstream one. */
export type Dependency = Pick<
  NewAgentDependency,
  "upstreamAgentId" | "downstreamAgentId" | "dependencyType" | "isCritical"
>;

/** What {@link addDependency} did. */
export interface AddedDependency {
  readonly id: string;
  /** Whether it was added now; else it was there, and has the type and weight that were given. */
  readonly isNew: boolean;
}

/** A dependency that would close a circle. */
export class DependencyCycleError extends Error {
  override readonly name = "DependencyCycleError";
  /** Ids of agents, each needed by the next: the downstream one, over others to the upstream one, and back. */
  readonly path: readonly string[];

  constructor(path: readonly Agent[]) {
    const names = path.map(({ name }) => name).join(" → ");
    super(
      `addDependency: the agents would need each other in a circle: ${names}. Nothing was added: remove one of these dependencies first, or leave this one out.`,
    );
    this.path = path.map(({ id }) => id);
  }
}

/** An agent that is hit when another one fails. */
export interface HitAgent {
  readonly agentId: string;
  /** Count. Dependencies on the shortest way, from 1. */
  readonly depth: number;
  /** Whether every dependency on some way is critical. */
  readonly isCritical: boolean;
  /** Whether it needs itself, over others. */
  readonly inCycle: boolean;
}

/** Whose blast radius, and which way. */
export interface BlastOptions {
  readonly agentId: string;
  /** `down`, the default: who needs the agent. `up`: whom it needs. */
  readonly direction?: "down" | "up" | undefined;
}

interface Agent {
  readonly id: string;
  readonly name: string;
}

/**
 * Adds a dependency, unless it would close a circle. One that is there is given the type and weight, and where it
 * has them nothing is written. Whoever adds to one organization waits for the others until their transaction ends,
 * so that no two of them close a circle together; whoever writes the table past this function may.
 * @example
 * await addDependency(tx, { upstreamAgentId: extractor, downstreamAgentId: reporter, dependencyType: "data" });
 * @throws {z.ZodError} for a dependency that is none, such as one of an agent on itself
 * @throws {DependencyCycleError} for one that closes a circle, with its path
 * @throws {Error} when there is no such agent, the caller does not see it, or they are of two organizations; and in
 * a transaction that is not READ COMMITTED, whose snapshot may be older than what others have added
 */
export async function addDependency(
  tx: Executor,
  dependency: Dependency,
): Promise<AddedDependency> {
  const {
    upstreamAgentId: up,
    downstreamAgentId: down,
    dependencyType,
    isCritical = false,
  } = parsed(validators(agentDependencies).insert, dependency);
  // A statement of its own: the next one's snapshot is newer than the lock.
  const { isolation } = await one<{ isolation: string }>(
    tx,
    sql`
    select ${ISOLATION}, (
      select pg_advisory_xact_lock(hashtextextended(concat('meta-agent-db dependencies ', organization_id), 0))
      from public.agent_registry where id = ${up})`,
  );
  requireReadCommitted("addDependency", isolation);
  const [added] = await answered<{ isCycle: boolean; id: string; isNew: boolean }>(
    tx,
    sql`
    with recursive ${reachOf(down, "down")}, pair as materialized (
      select up.id, up.organization_id, exists (select from reach where id = ${up}) as is_cycle
      from public.agent_registry as up
      join public.agent_registry as down on down.id = ${down} and down.organization_id is not distinct from up.organization_id
      where up.id = ${up}
    ), former as materialized (
      select id from public.agent_dependencies where upstream_agent_id = ${up} and downstream_agent_id = ${down}
    ), added as (
      insert into public.agent_dependencies as stored
        (upstream_agent_id, downstream_agent_id, dependency_type, is_critical, organization_id)
      select id, ${down}, ${dependencyType}, ${isCritical}, organization_id from pair where not is_cycle
      on conflict (upstream_agent_id, downstream_agent_id) do update
      set dependency_type = excluded.dependency_type, is_critical = excluded.is_critical
      where (stored.dependency_type, stored.is_critical) is distinct from (excluded.dependency_type, excluded.is_critical)
      returning id
    )
    select is_cycle as "isCycle", coalesce((select id from added), (select id from former)) as id,
      not exists (select from former) as "isNew"
    from pair`,
  );
  if (!added) {
    throw new Error(
      `addDependency: no agents ${up} and ${down} of one organization, or they are not this caller's`,
    );
  }
  const { isCycle, ...result } = added;
  if (isCycle) throw new DependencyCycleError(await circle(tx, up, down));
  return result;
}

/**
 * The agents that are hit when one fails: those that need it, and those that need these, to the end. With
 * `direction: "up"` those that it needs. The nearest come first; the agent itself is among them only where it needs
 * itself, over others.
 * @example
 * const hit = await blastRadius(tx, { agentId });
 * const down = hit.filter(({ isCritical }) => isCritical);
 * @throws {Error} when there is no such agent, or the caller does not see it
 */
export async function blastRadius(
  tx: Executor,
  { agentId, direction = "down" }: BlastOptions,
): Promise<HitAgent[]> {
  const id = parsed(validators(agentRegistry).select.shape.id, agentId);
  const edges = await edgesFrom(tx, id, direction);
  if (edges.length === 0) {
    throw new Error(`blastRadius: no agent ${id}, or it is not this caller's`);
  }
  const all = byStart(edges);
  const critical = waysFrom(id, byStart(edges.filter(({ isCritical }) => isCritical)));
  return Array.from(waysFrom(id, all), ([agent, { depth }]) => ({
    agentId: agent,
    depth,
    isCritical: critical.has(agent),
    inCycle: waysFrom(agent, all).has(agent),
  })).toSorted((a, b) => a.depth - b.depth || (a.agentId < b.agentId ? -1 : 1));
}

interface Edge {
  readonly from: string;
  /** NULL: nothing goes on from there. */
  readonly to: string | null;
  readonly isCritical: boolean | null;
}

const ENDS = {
  down: { from: "upstream_agent_id", to: "downstream_agent_id" },
  up: { from: "downstream_agent_id", to: "upstream_agent_id" },
} as const;

/** `reach (id)`: an agent that the caller sees, and all that are reached from it, each once. */
const reachOf = (agentId: string, direction: "down" | "up") => {
  const { from, to } = ENDS[direction];
  return sql`reach (id) as (
    select id from public.agent_registry where id = ${agentId}
    union
    select next.id from reach cross join lateral (
      select ${sql.raw(to)} as id from public.agent_dependencies where ${byKey(from, "reach.id")}
    ) as next
  )`;
};

/** The dependencies on all ways from an agent; at least one row if there is that agent. */
function edgesFrom(tx: Executor, agentId: string, direction: "down" | "up"): Promise<Edge[]> {
  const { from, to } = ENDS[direction];
  return answered<Edge>(
    tx,
    sql`
    with recursive ${reachOf(agentId, direction)}
    select reach.id as "from", edge.to, edge.is_critical as "isCritical" from reach left join lateral (
      select ${sql.raw(to)} as to, is_critical from public.agent_dependencies where ${byKey(from, "reach.id")}
    ) as edge on true`,
  );
}

function byStart(edges: readonly Edge[]): ReadonlyMap<string, readonly string[]> {
  const ends = new Map<string, string[]>();
  for (const { from, to } of edges) {
    if (to === null) continue;
    const known = ends.get(from);
    if (known) known.push(to);
    else ends.set(from, [to]);
  }
  return ends;
}

interface Way {
  readonly depth: number;
  /** The agent before, on a shortest way. */
  readonly before: string;
}

/** A shortest way to each agent that is reached; to the one it begins at, if a circle leads back to it. */
function waysFrom(start: string, ends: ReadonlyMap<string, readonly string[]>): Map<string, Way> {
  const ways = new Map<string, Way>();
  let nearest = [start];
  for (let depth = 1; nearest.length > 0; depth += 1) {
    const next: string[] = [];
    for (const before of nearest) {
      for (const to of ends.get(before) ?? []) {
        if (ways.has(to)) continue;
        ways.set(to, { depth, before });
        next.push(to);
      }
    }
    nearest = next;
  }
  return ways;
}

/** From the downstream agent over others to the upstream one, and back. */
async function circle(tx: Executor, up: string, down: string): Promise<Agent[]> {
  const ways = waysFrom(down, byStart(await edgesFrom(tx, down, "down")));
  const path = [up];
  for (let at = ways.get(up); at && path[0] !== down; at = ways.get(at.before)) {
    path.unshift(at.before);
  }
  const agents = await answered<Agent>(
    tx,
    sql`
    select id, agent_name as name from public.agent_registry
    where id = any (${textArray(path)}::uuid[])`,
  );
  return [...path, down].map((id) => ({
    id,
    name: agents.find((agent) => agent.id === id)?.name ?? id,
  }));
}
