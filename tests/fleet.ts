/** One agent of a new organization with versions of its prompt, each made from the one before. */
import { randomUUID } from "node:crypto";
import { and, eq } from "drizzle-orm";
import type { Database, Transaction } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { agentPrompts, agentRegistry } from "../src/schema/index.ts";
import { newAgent, newPrompt } from "../src/testing.ts";

export interface Fleet {
  readonly organization: string;
  readonly agentId: string;
  /** The versions, the first one active and the baseline. */
  readonly ids: readonly [string, string, string, string];
  /** Runs as the organization. */
  readonly as: <T>(work: (tx: Transaction) => Promise<T>) => Promise<T>;
  /** The versions that are active. */
  readonly active: () => Promise<string[]>;
}

export async function newFleet(db: Database): Promise<Fleet> {
  const organization = randomUUID();
  const agent = newAgent();
  const ids = [randomUUID(), randomUUID(), randomUUID(), randomUUID()] as const;
  const as: Fleet["as"] = (work) => withOrganization(db, organization, work);
  await as(async (tx) => {
    await tx.insert(agentRegistry).values(agent);
    for (const [n, id] of ids.entries()) {
      const parentVersionId = ids[n - 1] ?? null;
      const flags = { isActive: n === 0, isBaseline: n === 0 };
      await tx
        .insert(agentPrompts)
        .values(newPrompt({ id, agentId: agent.id, parentVersionId, ...flags }));
    }
  });
  return {
    organization,
    agentId: agent.id,
    ids: [...ids],
    as,
    active: async () =>
      (
        await db
          .select({ id: agentPrompts.id })
          .from(agentPrompts)
          .where(and(eq(agentPrompts.agentId, agent.id), agentPrompts.isActive))
      ).map(({ id }) => id),
  };
}

/** Every row of an organization's tables of governance with the transaction that wrote it. */
export const WRITTEN = `
  select 'prompt' as kind, xmin::text, p::text as row from agent_prompts as p where organization_id = $1
  union all select 'proposal', xmin::text, p::text from improvement_proposals as p where organization_id = $1
  union all select 'test', xmin::text, t::text from ab_tests as t where organization_id = $1
  union all select 'shadow', xmin::text, t::text from shadow_tests as t where organization_id = $1
  union all select 'canary', xmin::text, c::text from canary_deployments as c where organization_id = $1
  union all select 'component', xmin::text, c::text from prompt_library as c where organization_id = $1
  union all select 'learning', xmin::text, l::text from learning_log as l where organization_id = $1
  order by 1, 3`;
