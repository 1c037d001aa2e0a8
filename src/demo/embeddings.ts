/** Executions of the demo as vectors, whose directions are made of names. */
import type { NewExecutionEmbedding } from "../schema/index.ts";
import type { ExecutionStatus } from "../values.ts";
import { type Actor, type Run, chanceOf, idOf } from "./traffic.ts";

/** How many of an organization's newest executions have an embedding. */
const EMBEDDED: Partial<Record<ExecutionStatus, number>> = { failure: 10, success: 20 };

export function embeddingRows(actors: readonly Actor[]): NewExecutionEmbedding[] {
  const organizations = new Set(actors.map(({ organizationId }) => organizationId));
  return [...organizations].flatMap((organization) => {
    const runs = actors
      .filter(({ organizationId }) => organizationId === organization)
      .flatMap((actor) => actor.runs.map((run) => ({ actor, run })))
      .toSorted((a, b) => startOf(b.run) - startOf(a.run));
    return Object.entries(EMBEDDED).flatMap(([outcome, count]) =>
      runs
        .filter(({ run }) => run.outcome === outcome)
        .slice(0, count)
        .flatMap(({ actor, run }) => embeddingOf(actor, run)),
    );
  });
}

const startOf = ({ logs }: Run) => logs[0]?.timestamp.getTime() ?? 0;

/** Executions of one agent lie close, those about one topic closer; errors of one type lie close. */
function embeddingOf(
  { id: agentId, organizationId }: Actor,
  { topic, logs }: Run,
): NewExecutionEmbedding[] {
  const [log] = logs;
  if (!log) return [];
  const { id, errorType, timestamp } = log;
  return [
    {
      ...{ id: idOf("embedding", id), organizationId, executionLogId: id, createdAt: timestamp },
      inputEmbedding: embed({ [agentId]: 1, [topic]: 1, [id]: 0.6 }),
      errorEmbedding: errorType ? embed({ [errorType]: 1, [agentId]: 0.4, [id]: 0.4 }) : null,
    },
  ];
}

/** A unit vector between the directions of the names, by weight: what shares names lies close. */
function embed(weights: Readonly<Record<string, number>>): number[] {
  const blend = Array.from({ length: 1536 }, () => 0);
  for (const [name, weight] of Object.entries(weights)) {
    const chance = chanceOf("direction", name);
    for (const [axis, part] of blend.entries()) blend[axis] = part + weight * (2 * chance() - 1);
  }
  const length = Math.sqrt(blend.reduce((sum, part) => sum + part * part, 0));
  return blend.map((part) => Math.round((1e6 * part) / length) / 1e6);
}
