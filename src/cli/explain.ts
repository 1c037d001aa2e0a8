import { Option } from "commander";
import { type SQL, sql } from "drizzle-orm";
import { type Transaction, rows } from "../client/sql.ts";
import { withOrganization, withServiceRole } from "../client/tenancy.ts";
import { type PromptExplanation, explainPrompt } from "../fleet/explain.ts";
import { linksOf, stateOf } from "../report/story.ts";
import { canonicalUuid } from "../schema/uuid.ts";
import { type TargetOptions, jsonOption, targetCommand, uuid, withTarget } from "./command.ts";
import { out, print, printJson } from "./print.ts";

interface Options extends TargetOptions {
  readonly organization?: string;
  readonly json?: true;
}

export const explainCommand = targetCommand("explain", {
  description:
    "Tells where a prompt version comes from: its parent, the proposal that deployed it, who approved, the report behind, the tests and canaries it was in, and which of these links are missing. The prompt is an agent's name (its active version), name@version, or the id of a version or of a row of the log. It only reads, as service role unless an organization is named.",
  examples: [
    "meta-agent-db explain lead-qualifier",
    "meta-agent-db explain lead-qualifier@1.0.0 --json",
    "meta-agent-db explain 018f3a52-6d3b-7c1e-9a87-2b5e8d40c6f1",
  ],
})
  .argument("<prompt>", "agent, agent@version, or the id of a version or of a row of the log")
  .addOption(new Option("--organization <uuid>", "see what this organization sees").argParser(uuid))
  .addOption(jsonOption())
  .action(async (prompt: string, { organization, json, ...target }: Options) =>
    withTarget(target, async ({ db }) => {
      const tell = async (tx: Transaction) => explainPrompt(tx, await askedBy(tx, prompt));
      const told =
        organization === undefined
          ? await withServiceRole(db, tell)
          : await withOrganization(db, organization, tell);
      if (json) printJson(told);
      else print(storyOf(told));
    }),
  );

async function askedBy(
  tx: Transaction,
  prompt: string,
): Promise<Parameters<typeof explainPrompt>[1]> {
  const id = canonicalUuid(prompt);
  const at = prompt.lastIndexOf("@");
  const [name, version] = at > 0 ? [prompt.slice(0, at), prompt.slice(at + 1)] : [prompt];
  const [found] = rows<{ id: string }>(
    await tx.execute(id === undefined ? named(name, version) : versionOf(id)),
  );
  if (found) return { promptId: found.id };
  if (id !== undefined) return { logId: id };
  throw new Error(
    version === undefined
      ? `no agent ${name} with an active prompt is to be seen; name a version as ${name}@1.0.0, or an id`
      : `no version ${version} of an agent ${name} is to be seen`,
  );
}

const versionOf = (id: string): SQL => sql`select id from public.agent_prompts where id = ${id}`;

const named = (name: string, version: string | undefined): SQL => sql`
  select prompt.id from public.agent_registry as agent
  join public.agent_prompts as prompt on prompt.agent_id = agent.id
  where agent_name = ${name} and ${version === undefined ? sql`is_active` : sql`prompt.version = ${version}`}`;

/** One line a link, each with what it is at its head. */
function storyOf(told: PromptExplanation): string {
  const { prompt, missing } = told;
  const links = [...linksOf(told), ...missing.map((link) => ["missing", link] as const)];
  return [
    out.bold(`${prompt.agentName} ${prompt.version} ${stateOf(told)}`),
    ...links.map(([head, text]) => `  ${out.dim(head.padEnd(12))}${text}`),
  ].join("\n");
}
