/** Agents by their names. */
import { type SQL, sql } from "drizzle-orm";
import { type Executor, rows, textArray } from "../client/sql.ts";
import { type NewAgent, agentRegistry } from "../schema/index.ts";
import { fromDatabaseError } from "../validation/refusals.ts";
import { refused } from "../validation/refused.ts";
import { validators } from "../validation/validators.ts";

/** An agent by its name. What else is given counts only where it is made now. */
export interface NamedAgent extends Partial<NewAgent> {
  readonly agentName: string;
}

/** Names that another organization has: they are unique in the whole database. */
export class AgentNameTakenError extends Error {
  override readonly name = "AgentNameTakenError";
  readonly agentNames: readonly string[];

  constructor(agentNames: readonly string[]) {
    super(isTaken(agentNames));
    this.agentNames = agentNames;
  }
}

/** What {@link ensureAgents} found or made. */
export interface EnsuredAgent {
  readonly agentName: string;
  readonly id: string;
  /** Whether it was made now. */
  readonly isNew: boolean;
}

/**
 * The ids of agents by their names, in the order given; those that are missing are made, in one statement. A
 * display name left out is the name, a category `internal`, all else as the database has it. An agent that is
 * there stays as it is. However many callers ask at once, each agent is made once.
 *
 * Remember ids only after the transaction has committed.
 * @example
 * const [agent] = await ensureAgents(tx, [{ agentName: "invoice-reconciler", category: "operations" }]);
 * @throws {z.ZodError} for an agent that is none, by its index
 * @throws {AgentNameTakenError} for names that another organization has; then none is made
 */
export async function ensureAgents(
  tx: Executor,
  agents: readonly NamedAgent[],
): Promise<EnsuredAgent[]> {
  if (agents.length === 0) return [];
  const values = validated(agents);
  // In one order: of two callers with the same names each would wait for the other's.
  const insert = tx
    .insert(agentRegistry)
    .values(values.toSorted((a, b) => (a.agentName < b.agentName ? -1 : 1)))
    .onConflictDoNothing({ target: agentRegistry.agentName })
    .returning();
  const known = sql`select id, agent_name, organization_id, false as is_new
    from public.agent_registry where agent_name = any (${textArray(values.map(({ agentName }) => agentName))})`;
  const found = await byName(
    tx,
    sql`with new as ${insert} select id, agent_name, organization_id, true as is_new from new union all ${known}`,
  );
  // One that another caller made while this one waited for it was not to be seen yet.
  const isWhole = values.every(({ agentName }) => found.has(agentName));
  const all = isWhole ? found : new Map([...(await byName(tx, known)), ...found]);
  const ensured: EnsuredAgent[] = [];
  const taken: string[] = [];
  for (const { agentName, organizationId: wanted } of values) {
    const agent = all.get(agentName);
    const isOurs = agent && (wanted === undefined || wanted === agent.organization_id);
    if (isOurs) ensured.push({ agentName, id: agent.id, isNew: agent.is_new });
    else taken.push(agentName);
  }
  if (taken.length > 0) {
    const made = ensured.flatMap(({ id, isNew }) => (isNew ? [id] : []));
    await tx.execute(
      sql`delete from public.agent_registry where id = any (${textArray(made)}::uuid[])`,
    );
    throw new AgentNameTakenError(taken);
  }
  return ensured;
}

interface Found {
  id: string;
  agent_name: string;
  organization_id: string | null;
  is_new: boolean;
}

async function byName(tx: Executor, query: SQL): Promise<Map<string, Found>> {
  try {
    return new Map(rows<Found>(await tx.execute(query)).map((agent) => [agent.agent_name, agent]));
  } catch (error) {
    throw fromDatabaseError(error);
  }
}

function validated(agents: readonly NamedAgent[]) {
  const { insert } = validators(agentRegistry);
  const parsed = agents.map((agent) =>
    insert.safeParse({ displayName: agent.agentName, category: "internal", ...agent }),
  );
  const issues = parsed.flatMap(({ error }, index) =>
    (error?.issues ?? []).map((issue) => ({ ...issue, path: [index, ...issue.path] })),
  );
  if (issues.length > 0) throw refused(issues);
  return parsed.flatMap(({ data }) => (data ? [data] : []));
}

function isTaken(names: readonly string[]): string {
  const told = names.slice(0, 20).map((name) => JSON.stringify(name));
  const more = names.length > told.length ? ` and ${names.length - told.length} more` : "";
  return `ensureAgents: another organization has an agent of this name: ${told.join(", ")}${more}. Names are unique in the whole database: choose another, with something of the organization in it. No agent was made.`;
}
