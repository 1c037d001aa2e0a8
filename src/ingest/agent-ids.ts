/** The agents that rows name, found or made once each. */
import * as z from "zod";
import type { Executor } from "../client/sql.ts";
import { AgentNameTakenError, type NamedAgent, ensureAgents } from "../fleet/agents.ts";

/** An agent of an organization, as rows name it. */
export interface RowAgent {
  readonly organization: string;
  readonly agentName: string;
  /** What it is registered as. */
  named: NamedAgent;
  /** Known once it is committed. */
  id: string | undefined;
  /** Whether it was made when it got its id. */
  isNew?: boolean | undefined;
}

/** An agent that could not be registered as asked, and why. It may have its id all the same. */
export interface AgentRefusal {
  readonly agent: RowAgent;
  readonly cause: unknown;
}

/**
 * Gives agents of one organization their ids. A name that another organization has is taken with the beginning
 * of the organization's id behind it, and what more was said of an agent is left out where it is refused: rows
 * are not lost for it.
 * @param act runs work in a transaction, and answers once that is committed
 * @returns what was refused
 */
export async function identify(
  agents: readonly RowAgent[],
  act: <T>(work: (tx: Executor) => Promise<T>) => Promise<T>,
): Promise<AgentRefusal[]> {
  const refusals: AgentRefusal[] = [];
  let left = agents;
  while (left.length > 0) {
    const asked = left;
    try {
      const named = asked.map((agent) => ({ ...agent.named, organizationId: agent.organization }));
      const found = await act((tx) => ensureAgents(tx, named));
      for (const [index, agent] of asked.entries()) {
        agent.id = found[index]?.id;
        agent.isNew = found[index]?.isNew;
      }
      return refusals;
    } catch (cause) {
      const refused = refusedIn(asked, cause);
      if (refused.length === 0) throw cause;
      const others = refused.filter((agent) => !renamed(agent, cause));
      refusals.push(...others.map((agent) => ({ agent, cause })));
      // Once more with its name alone; if that is refused, it has no id.
      const hopeless = new Set(others.filter((agent) => !bared(agent)));
      left = asked.filter((agent) => !hopeless.has(agent));
    }
  }
  return refusals;
}

/** Whom an error is about; nobody, if it is about the database. */
function refusedIn(agents: readonly RowAgent[], cause: unknown): readonly RowAgent[] {
  if (cause instanceof AgentNameTakenError) {
    return agents.filter(({ named }) => cause.agentNames.includes(named.agentName));
  }
  if (!(cause instanceof z.ZodError)) return [];
  const places = new Set(cause.issues.map(({ path }) => path[0]));
  return agents.filter((_, index) => places.has(index));
}

/** Gives an agent another name, unless it has that already. */
function renamed(agent: RowAgent, cause: unknown): boolean {
  if (!(cause instanceof AgentNameTakenError)) return false;
  const suffix = `@${agent.organization.slice(0, 8)}`;
  if (agent.named.agentName.endsWith(suffix)) return false;
  const agentName = agent.named.agentName.slice(0, 255 - suffix.length) + suffix;
  agent.named = { displayName: agent.agentName, ...agent.named, agentName };
  return true;
}

/** Leaves an agent nothing but its name, unless it has nothing else already. */
function bared(agent: RowAgent): boolean {
  if (Object.keys(agent.named).length === 1) return false;
  agent.named = { agentName: agent.named.agentName };
  return true;
}
