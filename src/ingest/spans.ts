/** What a finished span of an agent is as a row of `agent_execution_logs`. Knows nothing of OpenTelemetry's packages. */
import { executionLogId, uuidFor } from "../client/keys.ts";
import type { NewExecution } from "../fleet/record/record.ts";
import { storableText } from "../schema/json.ts";
import { INT4_MAX } from "../schema/rules.ts";
import { canonicalUuid } from "../schema/uuid.ts";
import { asJson } from "../validation/as-json.ts";
import { CONTENT, KINDS, type SpanKind, TEXTS, TOKENS } from "./dialects.ts";

/** Seconds and nanoseconds since 1970. */
export type Instant = readonly [seconds: number, nanoseconds: number];

/** What a span is named, and the attributes it has. */
export type Attributes = Readonly<Record<string, unknown>>;

/** A span that has begun: what `onStart` of a span processor is given. */
export interface StartedSpan {
  readonly name: string;
  readonly attributes: Attributes;
  readonly resource: { readonly attributes: Attributes };
}

/** A span that has ended, as the SDKs 1.x and 2.x of OpenTelemetry give it, and `readOtlp`. */
export interface FinishedSpan extends StartedSpan {
  readonly startTime: Instant;
  readonly endTime: Instant;
  /** 2 is an error. */
  readonly status: { readonly code: number; readonly message?: string | undefined };
  readonly events: readonly {
    readonly name: string;
    readonly attributes?: Attributes | undefined;
  }[];
  /** Of 2.x. */
  readonly parentSpanContext?: { readonly spanId: string } | undefined;
  /** Of 1.x. */
  readonly parentSpanId?: string | undefined;
  spanContext(): {
    readonly traceId: string;
    readonly spanId: string;
    readonly traceFlags?: number;
  };
}

/** What a span hands on to the spans inside it. */
export interface SpanScope {
  /** Whose work it is. */
  readonly agentName: string | undefined;
  readonly conversation: string | undefined;
  readonly user: string | undefined;
  readonly promptVersionId: string | undefined;
  /** The agents whose runs it is in, from the outside. */
  readonly runs: readonly string[];
  /** The inference that it is a part of, which has counted its tokens. */
  readonly inference: SpanKind | undefined;
  /** The guarded execution that it is in. Its outermost run is that execution's. */
  readonly guarded?: { readonly executionId: string; readonly isOutermost: boolean } | undefined;
}

/** Inside of no other span. */
export const NOWHERE: SpanScope = {
  agentName: undefined,
  conversation: undefined,
  user: undefined,
  promptVersionId: undefined,
  runs: [],
  inference: undefined,
};

/** What an inference used. */
export interface ModelUsage {
  /** Such as `openai`. */
  readonly provider: string | undefined;
  /** The model that answered. */
  readonly model: string;
  /** Tokens, those of the cache included. */
  readonly input: number;
  /** Tokens, those of reasoning included. */
  readonly output: number;
  readonly cacheRead: number;
  readonly cacheWrite: number;
  readonly reasoning: number;
  /** When it began: prices change. */
  readonly at: Date;
}

/** Where a value is going. */
export interface ContentPlace {
  readonly column: "inputData" | "outputData" | "errorMessage" | "errorStackTrace";
  readonly agentName: string;
}

/** How spans become executions. */
export interface SpanOptions {
  /** `none` leaves out what actions were given and answered. Default `all`. */
  readonly content?: "none" | "all" | undefined;
  /** What is stored in place of a value, such as one without personal data. Where it throws, a mark is stored. */
  readonly mask?: ((value: unknown, place: ContentPlace) => unknown) | undefined;
  /** Characters of the JSON of an input or an output, and of a stack trace, at most; from 64. Default 16,384. */
  readonly maxCharacters?: number | undefined;
  /** US dollars as decimal text; undefined, or an error: not known. */
  readonly cost?: ((usage: ModelUsage) => string | undefined) | undefined;
}

/** A row to record once the agent's id is known. */
export interface SpanExecution {
  readonly agentName: string;
  readonly execution: Omit<NewExecution, "agentId">;
  /** Whether it is a run that a guarded execution is the row of. */
  readonly isGuardedRun?: boolean;
}

const SERVICE = ["service.name"];
export const NAME_LENGTH = 255;
export const MESSAGE_LENGTH = 4096;

/**
 * What the spans inside a span take from it: the agent, the conversation, the user, the prompt version. The agent
 * is the one it names itself, else that of the span around it; the outermost is named by its span where a user
 * chose that name, else by the service.
 */
export function scopeOf(span: StartedSpan, around: SpanScope = NOWHERE): SpanScope {
  return scopeOfFound(span, kindOf(span.attributes, around), around);
}

function scopeOfFound(span: StartedSpan, found: Found | undefined, around: SpanScope): SpanScope {
  const { attributes } = span;
  if (!found && HANDED_ON.every((key) => attributes[key] === undefined)) return around;
  const agentName = isGuardedRun(found, around)
    ? around.agentName
    : (ownName(span, found) ?? around.agentName ?? (found && fallbackName(span, found)));
  const isSameAgent = around.agentName === undefined || around.agentName === agentName;
  return {
    agentName,
    conversation: text(attributes, TEXTS.conversation) ?? around.conversation,
    user: text(attributes, TEXTS.user) ?? around.user,
    promptVersionId:
      text(attributes, TEXTS.promptVersion) ?? (isSameAgent ? around.promptVersionId : undefined),
    runs:
      found?.kind === "agent_run" && agentName !== undefined
        ? [...around.runs, agentName]
        : around.runs,
    // A tool may call a model of its own.
    inference: found === undefined ? around.inference : inferenceOf(found.kind),
    guarded: around.guarded && {
      ...around.guarded,
      isOutermost: around.guarded.isOutermost && found?.kind !== "agent_run",
    },
  };
}

/** The attributes that a span of any kind hands on. */
const HANDED_ON: readonly string[] = [
  ...TEXTS.agent,
  ...TEXTS.conversation,
  ...TEXTS.user,
  ...TEXTS.promptVersion,
];

/** Whether it is a guarded execution's own run, whatever agent it names. */
const isGuardedRun = (found: Found | undefined, { guarded }: SpanScope): boolean =>
  found?.kind === "agent_run" && guarded?.isOutermost === true;

/** What spans take from those around them, where these are among them, in any order. */
export function scopesOf(
  spans: readonly FinishedSpan[],
): ReadonlyMap<FinishedSpan, SpanScope | undefined> {
  const byKey = new Map(spans.map((span) => [keyOf(span, span.spanContext().spanId), span]));
  const parentOf = (span: FinishedSpan) => byKey.get(keyOf(span, parentId(span)));
  const arounds = new Map<FinishedSpan, SpanScope | undefined>();
  for (const span of spans) {
    const way = new Set<FinishedSpan>();
    // Who is its own ancestor has none.
    for (let at: FinishedSpan | undefined = span; at && !arounds.has(at) && !way.has(at);) {
      way.add(at);
      at = parentOf(at);
    }
    for (const inner of [...way].toReversed()) {
      const outer = parentOf(inner);
      const isKnown = outer !== undefined && arounds.has(outer);
      arounds.set(inner, isKnown ? scopeOf(outer, arounds.get(outer)) : undefined);
    }
  }
  return arounds;
}

/** Spans of other traces may have the same ids. */
const keyOf = (span: FinishedSpan, spanId = "") => `${span.spanContext().traceId}/${spanId}`;

const parentId = (span: FinishedSpan) => span.parentSpanContext?.spanId ?? span.parentSpanId;

/**
 * The row of a span; undefined for spans that are no action of an agent, and for a model's call inside the span
 * of the same call. The same span always is the same row: its id is made from its start and its ids, its
 * execution is its trace. What cannot be stored is left out or replaced, the row is not.
 *
 * Tokens and dollars are of inferences alone: spans around them say them again.
 * @param around what the span is inside of, by {@link scopeOf}
 */
export function executionOf(
  span: FinishedSpan,
  options: SpanOptions = {},
  around: SpanScope = NOWHERE,
): SpanExecution | undefined {
  const found = kindOf(span.attributes, around);
  if (!found || (around.inference !== undefined && around.inference === found.kind))
    return undefined;
  const scope = scopeOfFound(span, found, around);
  const agentName = scope.agentName ?? found.kind;
  const isInside = found.kind === "agent_run" && around.runs.includes(agentName);
  const { traceId, spanId } = span.spanContext();
  const timestamp = new Date(milliseconds(span.startTime));
  const execution = {
    id: executionLogId(timestamp, `${traceId}/${spanId}`),
    executionId: around.guarded?.executionId ?? uuidFor(traceId),
    timestamp,
    actionType: isInside ? "agent_step" : found.kind,
    actionName: actionName(span, found.kind, agentName),
    latencyMs: Math.min(latency(span), INT4_MAX),
    promptVersionId: scope.promptVersionId && canonicalUuid(scope.promptVersionId),
    userId: scope.user && canonicalUuid(scope.user),
    ...outcomeOf(span, agentName, options),
    ...usageOf(span, found.kind, options),
    inputData: contentOf(span, { column: "inputData", agentName }, options),
    outputData: contentOf(span, { column: "outputData", agentName }, options),
    metadata: metadataOf(span, found.kind, scope),
  };
  return { agentName, execution, isGuardedRun: isGuardedRun(found, around) };
}

// ── What it is ──

interface Found {
  readonly kind: SpanKind;
  readonly isNamedByUser: boolean;
}

function kindOf(attributes: Attributes, around: SpanScope): Found | undefined {
  for (const { key, meanings, isNamedByUser = false } of KINDS) {
    const value = attributes[key];
    const meaning = typeof value === "string" ? meanings.get(value) : undefined;
    if (meaning === "chain") {
      return around.runs.length === 0 ? { kind: "agent_run", isNamedByUser } : undefined;
    }
    if (meaning) return { kind: meaning, isNamedByUser };
  }
  return undefined;
}

const inferenceOf = (kind: SpanKind) =>
  kind === "llm_call" || kind === "embedding" ? kind : undefined;

// ── Names ──

function ownName({ attributes }: StartedSpan, found: Found | undefined): string | undefined {
  const isRun = found?.kind === "agent_run";
  return (
    nameIn(text(attributes, TEXTS.agent)) ??
    (isRun ? nameIn(text(attributes, TEXTS.run)) : undefined)
  );
}

/** Of the outermost span, where nothing names an agent. */
function fallbackName({ name, resource }: StartedSpan, { kind, isNamedByUser }: Found): string {
  const service = text(resource.attributes, SERVICE);
  return (
    (isNamedByUser && kind === "agent_run" ? nameIn(name) : undefined) ??
    // As OpenTelemetry calls a service that has no name.
    (service?.startsWith("unknown_service") ? undefined : nameIn(service)) ??
    nameIn(name) ??
    kind
  );
}

/** A uuid or another long id of hex digits, a ULID, or many digits, with what joins it to the name. */
const IDS =
  /[\s:#/_.@-]*(?<![a-z0-9])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=[a-f]*[0-9])[0-9a-f]{12,}|(?=[a-z]*[0-9])[0-9a-hjkmnp-tv-z]{26}|[0-9]{9,})(?![a-z0-9])/gi;

/** The name in what may hold an id of the run, too: each run would be an agent of its own. */
function nameIn(found: string | undefined): string | undefined {
  const name = found && storableText(found.slice(0, 2000).replaceAll(IDS, "").trim(), NAME_LENGTH);
  return name || undefined;
}

function actionName(span: FinishedSpan, kind: SpanKind, agentName: string): string {
  if (kind === "agent_run") return agentName;
  const keys = kind === "tool_call" ? TEXTS.tool : inferenceOf(kind) ? TEXTS.model : [];
  return storableText(text(span.attributes, keys) ?? span.name, NAME_LENGTH);
}

// ── Numbers ──

const milliseconds = ([seconds, nanoseconds]: Instant) =>
  seconds * 1000 + Math.floor(nanoseconds / 1e6);

function latency({ startTime, endTime }: FinishedSpan): number {
  const nanoseconds = (endTime[0] - startTime[0]) * 1e9 + (endTime[1] - startTime[1]);
  return Math.max(0, Math.round(nanoseconds / 1e6));
}

function usageOf({ attributes, startTime }: FinishedSpan, kind: SpanKind, options: SpanOptions) {
  if (!inferenceOf(kind)) return {};
  const [input, output] = [tokens(attributes, TOKENS.input), tokens(attributes, TOKENS.output)];
  const model = text(attributes, TEXTS.model);
  const isCounted = model !== undefined && (input !== undefined || output !== undefined);
  const usage = isCounted && {
    provider: providerOf(attributes),
    model,
    input: input ?? 0,
    output: output ?? 0,
    cacheRead: tokens(attributes, TOKENS.cacheRead) ?? 0,
    cacheWrite: tokens(attributes, TOKENS.cacheWrite) ?? 0,
    reasoning: tokens(attributes, TOKENS.reasoning) ?? 0,
    at: new Date(milliseconds(startTime)),
  };
  return {
    modelName: label(model),
    tokenCountInput: input,
    tokenCountOutput: output,
    estimatedCostUsd: usage ? attempted(() => options.cost?.(usage)) : undefined,
  };
}

function tokens(attributes: Attributes, keys: readonly string[]): number | undefined {
  for (const key of keys) {
    const value = attributes[key];
    const count = typeof value === "string" && value !== "" ? Number(value) : value;
    if (typeof count === "number" && Number.isInteger(count) && count >= 0 && count <= INT4_MAX) {
      return count;
    }
  }
  return undefined;
}

/** The AI SDK adds which of a provider's interfaces it speaks: `openai.responses`. */
function providerOf(attributes: Attributes): string | undefined {
  const provider = text(attributes, TEXTS.provider);
  return "ai.operationId" in attributes ? provider?.split(".")[0] : provider;
}

// ── Outcome ──

const ERROR = 2;

function outcomeOf(span: FinishedSpan, agentName: string, options: SpanOptions) {
  if (span.status.code !== ERROR) return { status: "success" as const };
  const exception = span.events.findLast(({ name }) => name === "exception")?.attributes ?? {};
  const message = span.status.message || text(exception, ["exception.message"]);
  const errorType =
    text(span.attributes, TEXTS.errorType) ??
    text(exception, ["exception.type"]) ??
    /^\w*(?:Error|Exception)\b/.exec(message ?? "")?.[0];
  const place = (column: ContentPlace["column"]) => ({ column, agentName });
  return {
    status: statusOf(errorType ?? ""),
    errorType: label(errorType),
    errorMessage: maskedText(message, place("errorMessage"), options, MESSAGE_LENGTH),
    errorStackTrace: maskedText(
      text(exception, ["exception.stacktrace"]),
      place("errorStackTrace"),
      options,
    ),
  };
}

function statusOf(errorType: string): "failure" | "cancelled" | "timeout" {
  if (/abort|cancel/i.test(errorType)) return "cancelled";
  return /time.{0,2}out|deadline/i.test(errorType) ? "timeout" : "failure";
}

// ── Content ──

const MOST_CHARACTERS = 16_384;

function contentOf(
  { attributes }: FinishedSpan,
  place: ContentPlace & { readonly column: "inputData" | "outputData" },
  options: SpanOptions,
) {
  const key = CONTENT[place.column].find((one) => (attributes[one] ?? "") !== "");
  if (key === undefined || options.content === "none") return undefined;
  return storedContent(parsed(attributes[key]), place, options);
}

/** What is stored of an input or an output: masked, cut, storable. */
export function storedContent(value: unknown, place: ContentPlace, options: SpanOptions) {
  if (options.content === "none") return undefined;
  const left = masked(value, place, options);
  const { maxCharacters = MOST_CHARACTERS } = options;
  return left === undefined ? undefined : asJson(left, { maxCharacters }).value;
}

/** The JSON in a text, or the text. */
function parsed(value: unknown): unknown {
  if (typeof value !== "string" || !/^\s*[[{]/.test(value)) return value;
  return attempted((): unknown => JSON.parse(value)) ?? value;
}

/** What must not be stored is not, whatever becomes of the function that sees to it. */
function masked(value: unknown, place: ContentPlace, { mask }: SpanOptions): unknown {
  if (!mask) return value;
  try {
    return mask(value, place);
  } catch {
    return "[mask threw]";
  }
}

/** What is stored of a message or a stack trace. */
export function maskedText(
  value: string | undefined,
  place: ContentPlace,
  options: SpanOptions,
  most = options.maxCharacters ?? MOST_CHARACTERS,
): string | undefined {
  const left = value && masked(value, place, options);
  return typeof left === "string" && left !== "" ? storableText(left, most) : undefined;
}

/** Where the row comes from, and what has no column. What is not known is left out of JSON. */
function metadataOf(span: FinishedSpan, kind: SpanKind, { conversation, user }: SpanScope) {
  // One literal: V8 takes ten times as long to spread two.
  const inference = inferenceOf(kind) ? span.attributes : {};
  return {
    span_id: span.spanContext().spanId,
    parent_span_id: parentId(span),
    conversation: label(conversation),
    user: user && canonicalUuid(user) ? undefined : label(user),
    service: label(text(span.resource.attributes, SERVICE)),
    provider: label(providerOf(inference)),
    finish_reason: label(text(inference, TEXTS.finishReason)),
    cache_read_tokens: tokens(inference, TOKENS.cacheRead) || undefined,
    cache_write_tokens: tokens(inference, TOKENS.cacheWrite) || undefined,
    reasoning_tokens: tokens(inference, TOKENS.reasoning) || undefined,
  };
}

const label = (value: string | undefined) => value && storableText(value, NAME_LENGTH);

// ── Reading ──

/** The first text that is not empty; of a list its first. */
function text(attributes: Attributes, keys: readonly string[]): string | undefined {
  for (const key of keys) {
    const value = attributes[key];
    const first: unknown = Array.isArray(value) ? value[0] : value;
    if (typeof first === "string" && first !== "") return first;
  }
  return undefined;
}

function attempted<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}
