/** What the agents of the demo run, as their processes would record it: the same on every machine, at whatever instant the demo ends. */
import { createHash } from "node:crypto";
import { executionLogId, uuidFor } from "../client/keys.ts";
import { bucketOf } from "../fleet/assignment.ts";
import type { NewExecution } from "../fleet/record/record.ts";
import type * as schema from "../schema/index.ts";
import type { ExecutionStatus } from "../values.ts";
import {
  DEMO_ORGANIZATIONS,
  ERRORS,
  type Model,
  PRICES,
  type Step,
  type Story,
  type Version,
} from "./story.ts";

export const MINUTE = 60_000;
export const DAY = 1440 * MINUTE;

/** The id of whatever has this name in the demo. */
export const idOf = (...name: string[]): string => uuidFor("meta-agent-db demo", ...name);

/** A version that some executions are given, by an experiment of this id. */
interface Trial {
  readonly id: string;
  readonly share: number;
  readonly version: string;
}

/** An agent at an instant of the story. */
export interface Actor extends Story {
  readonly id: string;
  readonly organizationId: string;
  /** The active version. */
  live: string;
  /** The running canary or A/B test. */
  trial?: Trial | undefined;
  /** The running shadow test. */
  shadow?: Trial | undefined;
  /** Executions a day. */
  pace: number;
  /** Milliseconds since 1970: from when on nothing begins but what is told. */
  rests?: number | undefined;
  /** Milliseconds since 1970: when the next execution begins. */
  next: number;
  /** Milliseconds since 1970: the end of the story, after which nobody reviews. */
  readonly end: number;
  /** Executions so far, the oldest first; shadows are none. */
  readonly runs: Run[];
}

/** One execution: its rows and how it ended. */
export interface Run {
  readonly outcome: ExecutionStatus;
  readonly topic: string;
  readonly logs: readonly (NewExecution & { readonly id: string; readonly timestamp: Date })[];
}

export const actorOf = (story: Story, { from, end }: { from: Date; end: Date }): Actor => ({
  ...story,
  id: idOf("agent", story.agentName),
  organizationId: DEMO_ORGANIZATIONS[story.organization].id,
  live: "1.0.0",
  next: from.getTime(),
  end: end.getTime(),
  runs: [],
});

export const promptId = ({ agentName }: Story, version: string): string =>
  idOf("prompt", agentName, version);

export function versionOf({ agentName, versions }: Story, version: string): Version {
  const found = versions[version];
  if (!found) throw new Error(`the demo's ${agentName} has no version ${version}`);
  return found;
}

/** The rows of all executions of an agent that have ended by an instant, from where it was left on. */
export function executionsUntil(actor: Actor, until: Date): NewExecution[] {
  const end = Math.min(until.getTime() - MINUTE, actor.rests ?? Infinity);
  const logs: NewExecution[] = [];
  while (actor.next < end) {
    const chance = chanceOf("pace", actor.agentName, String(actor.runs.length));
    // Some days are busier than others.
    const day = chanceOf(
      "day",
      actor.agentName,
      String(Math.floor(actor.runs.length / actor.pace)),
    );
    logs.push(...executionOf(actor, actor.next));
    actor.next += Math.round(((0.4 + 1.2 * chance()) * (0.75 + 0.5 * day()) * DAY) / actor.pace);
  }
  return logs;
}

/** The rows of one execution, and of its shadow where it has one. */
export function executionOf(
  actor: Actor,
  start: number,
  scripted?: ExecutionStatus,
): NewExecution[] {
  const { agentName, runs, live, trial, shadow } = actor;
  const name = [agentName, String(runs.length)];
  const executionId = idOf("execution", ...name);
  const isIn = (experiment: Trial | undefined) =>
    experiment !== undefined && bucketOf(experiment.id, executionId) < experiment.share;
  const version = isIn(trial) && trial ? trial.version : live;
  const run = runOf(actor, { name, start, executionId, version, scripted });
  runs.push(run);
  if (!isIn(shadow) || !shadow || version !== live) return [...run.logs];
  const unseen = {
    name: [...name, "shadow"],
    start: start + 5,
    executionId: idOf("shadow", ...name),
    version: shadow.version,
    metadata: { shadow_of: executionId },
  };
  return [...run.logs, ...runOf(actor, unseen).logs];
}

interface Begun {
  readonly name: readonly string[];
  readonly start: number;
  readonly executionId: string;
  readonly version: string;
  readonly scripted?: ExecutionStatus | undefined;
  readonly metadata?: schema.JsonObject;
}

function runOf(actor: Actor, begun: Begun): Run {
  const { name, start, executionId, scripted, metadata } = begun;
  const chance = chanceOf("run", ...name);
  const version = versionOf(actor, begun.version);
  const outcome = scripted ?? drawOutcome(chance, version.failing);
  const topic = pick(chance, actor.topics);
  const number = 1000 + Math.floor(chance() * 9000);
  const { length } = actor.steps;
  const taken = outcome === "success" ? length : length - Math.floor(skewed(chance) * length);
  const shared = {
    agentId: actor.id,
    organizationId: actor.organizationId,
    promptVersionId: promptId(actor, begun.version),
    executionId,
    relatedEntityType: actor.entity,
    relatedEntityId: idOf(actor.entity, String(number)),
    metadata,
  };
  const model = actor.route.topic === topic ? actor.route.model : (version.model ?? actor.model);
  const error = errorOf(actor, outcome, chance);
  const rowAt = (at: number, part: string) => {
    return { id: executionLogId(new Date(at), [...name, part].join("/")), timestamp: new Date(at) };
  };
  let at = start + 20 + Math.round(60 * chance());
  const actions = actor.steps.slice(0, taken).map((step, index) => {
    const status = index === taken - 1 ? outcome : "success";
    const { actionType, actionName } = step;
    const row = {
      ...{ ...shared, ...rowAt(at, actionName), actionType, actionName, status },
      ...measured(step, { model, status, size: version.size ?? 1, chance }),
      ...(status === outcome && error),
    };
    at += row.latencyMs ?? 0;
    return row;
  });
  const ended = outcome === "running" ? {} : { latencyMs: at - start };
  const run = {
    ...{ ...shared, ...rowAt(start, "run"), actionType: "agent_run", status: outcome, ...error },
    ...{ ...ended, inputData: { [actor.entity]: number, topic } },
    ...(outcome === "success" && judged(actor, { version, start, chance })),
  };
  // A run of one call is one row.
  const [call] = actions;
  const logs = actor.steps.length === 1 ? [{ ...call, ...run }] : [run, ...actions];
  return { outcome, topic, logs };
}

function drawOutcome(chance: Chance, failing: number): ExecutionStatus {
  const draw = chance();
  if (draw < failing) return chance() < 0.2 ? "timeout" : "failure";
  return draw < failing + 0.008 ? "cancelled" : "success";
}

function errorOf({ errors }: Story, outcome: ExecutionStatus, chance: Chance) {
  if (outcome !== "failure" && outcome !== "timeout") return {};
  const errorType = outcome === "timeout" ? "upstream_timeout" : pick(chance, errors);
  return { errorType, errorMessage: ERRORS[errorType] };
}

interface Conditions {
  readonly model: Model;
  readonly status: ExecutionStatus;
  readonly size: number;
  readonly chance: Chance;
}

function measured({ ms, tokens }: Step, { model, status, size, chance }: Conditions) {
  const latency = spread(chance, ms * (tokens ? size : 1), 0.35);
  const latencyMs = status === "timeout" ? 30_000 : status === "running" ? null : latency;
  if (!tokens || status === "running") return { latencyMs };
  const input = spread(chance, tokens.input * size, 0.25);
  const output = status === "success" ? spread(chance, tokens.output, 0.35) : 0;
  const price = PRICES[model];
  return {
    latencyMs,
    modelName: model,
    tokenCountInput: input,
    tokenCountOutput: output,
    // Whole millionths of a dollar.
    estimatedCostUsd: ((input * price.input + output * price.output) / 1e6).toFixed(6),
  };
}

/** Most successes are scored, some are reviewed by the agent's owner hours later. */
function judged(
  { owner, end }: Actor,
  { version, start, chance }: { version: Version; start: number; chance: Chance },
) {
  const qualityScore = Math.min(100, Math.round(10 * (version.quality + 5 * normal(chance))) / 10);
  if (chance() < 0.15) return {};
  const reviewedAt = start + Math.round(300 * MINUTE * chance());
  if (chance() > 0.06 || reviewedAt > end) return { qualityScore };
  return {
    qualityScore,
    qualityFeedback: qualityScore < version.quality ? "Needs rework." : "Good as it is.",
    reviewedBy: `${owner}@example.com`,
    reviewedAt: new Date(reviewedAt),
  };
}

// ── Chance ──

export type Chance = () => number;

/** Numbers in [0, 1) that depend on the name alone (mulberry32). */
export function chanceOf(...name: string[]): Chance {
  let state = createHash("sha256").update(name.join("/")).digest().readUInt32BE(0);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Normally distributed, near enough: a sum, which is the same on every machine to the last bit. */
const normal = (chance: Chance) =>
  Array.from({ length: 12 }, chance).reduce((sum, part) => sum + part, -6);

/** Log-normal around a typical value, rounded to whole numbers. */
const spread = (chance: Chance, typical: number, sigma: number) =>
  Math.round(typical * Math.exp(sigma * normal(chance)));

/** In [0, 1), small values more often. */
const skewed = (chance: Chance) => chance() * chance();

/** One of a list, the first ones more often. */
function pick<T>(chance: Chance, list: readonly T[]): T {
  const picked = list[Math.floor(skewed(chance) * list.length)];
  if (picked === undefined) throw new Error("the demo's story has an empty list");
  return picked;
}
