/** Spans of agents as they end, on their way into the database. */
import { type Context, context, createContextKey, trace } from "@opentelemetry/api";
import { type Guard, currentGuard } from "../fleet/guard.ts";
import { canonicalUuid } from "../schema/uuid.ts";
import { Delivery, type DeliveryCounts, type DeliveryOptions } from "./delivery.ts";
import {
  type FinishedSpan,
  NOWHERE,
  type SpanExecution,
  type SpanOptions,
  type SpanScope,
  type StartedSpan,
  executionOf,
  scopeOf,
} from "./spans.ts";

/** Whose spans are recorded, and how. */
export interface AgentSpanProcessorOptions extends SpanOptions, Omit<DeliveryOptions, "around"> {
  /**
   * The organization's uuid, or what tells it when a span begins that is inside of no other, such as from the
   * context. A span without one is not recorded, and told.
   */
  readonly organization:
    | string
    | ((span: StartedSpan, parentContext: Context) => string | undefined);
}

/** A span that has begun, and what it is inside of. */
interface Begun {
  readonly span: StartedSpan;
  readonly around: SpanScope | undefined;
  readonly organization: string | undefined;
  readonly guard: Guard | undefined;
}

/** The key of the SDK's own: in such a context no spans are made. */
const SUPPRESSED = createContextKey("OpenTelemetry SDK Context Key SUPPRESS_TRACING");
const SAMPLED = 1;

/**
 * A span processor of OpenTelemetry, SDK 1.x or 2.x, that records what agents do: give it to a tracer provider
 * beside others. Spans of models, tools and agents become rows, all else is left alone. Rows are written in the
 * background, at most 500 at once; while the database is away they wait, and none is lost without `onLoss`
 * being told. The same spans again, or read by `readOtlp`, are the same rows.
 *
 * Spans know their agent from the span around them, as it is when they begin. Before a serverless function is
 * frozen, await `forceFlush`; before a process is ended, `shutdown`.
 * @example
 * const processor = new AgentSpanProcessor({ db, organization: organizationId });
 * new NodeTracerProvider({ spanProcessors: [processor] }).register();
 */
export class AgentSpanProcessor {
  readonly #options: AgentSpanProcessorOptions;
  readonly #begun = new WeakMap<object, Begun>();
  readonly #delivery: Delivery;

  constructor(options: AgentSpanProcessorOptions) {
    this.#options = options;
    const { organization } = options;
    if (typeof organization === "string" && !canonicalUuid(organization)) {
      throw new TypeError("AgentSpanProcessor: the organization must be a uuid");
    }
    // The client of the database may be traced as well.
    const around = <T>(work: () => Promise<T>) =>
      context.with(context.active().setValue(SUPPRESSED, true), work);
    this.#delivery = new Delivery({ ...options, around });
  }

  /** What has become of the rows. */
  get counts(): DeliveryCounts {
    return this.#delivery.counts;
  }

  onStart(span: StartedSpan, parentContext: Context): void {
    const outer = trace.getSpan(parentContext);
    const parent = outer && this.#begun.get(outer);
    const guard = currentGuard();
    const isInside = parent && (guard === undefined || parent.guard === guard);
    const around = isInside ? scopeOf(parent.span, parent.around) : guard && scopeOfGuard(guard);
    this.#begun.set(span, {
      span,
      around,
      organization:
        organizationOfGuard(guard) ??
        parent?.organization ??
        this.#organizationOf(span, parentContext),
      guard: isInside ? parent.guard : guard,
    });
  }

  onEnd(span: FinishedSpan): void {
    const begun = this.#begun.get(span);
    if (!begun || ((span.spanContext().traceFlags ?? SAMPLED) & SAMPLED) === 0) return;
    try {
      const found = executionOf(span, this.#options, begun.around);
      if (!found) return this.#forget(span, begun);
      if (this.#isSeen(found, begun.guard)) return;
      if (begun.organization) this.#delivery.add(begun.organization, found);
      else this.#delivery.lose({ rows: 1, reason: "no organization" });
    } catch (cause) {
      this.#delivery.lose({ rows: 1, reason: "refused", cause });
    }
  }

  /** Settles once the rows of all spans that have ended are stored or lost. Not for inside a transaction. */
  async forceFlush(): Promise<void> {
    await this.#delivery.flush();
  }

  /** As `forceFlush`, within the deadline. Spans that end later are lost, and told. */
  async shutdown(): Promise<void> {
    await this.#delivery.close();
  }

  /**
   * A span of others that has nothing to hand on, not even the organization that it was asked for, is like none to
   * those that begin inside of it later. They are many, and the map's room is that of the most at once.
   */
  #forget(span: FinishedSpan, { around, guard }: Begun): void {
    const isAsked = typeof this.#options.organization !== "string";
    if (!isAsked && !guard && scopeOf(span, around) === NOWHERE) this.#begun.delete(span);
  }

  /** The first run inside of a guarded execution is that execution's own row, which the guard writes. */
  #isSeen({ execution, isGuardedRun }: SpanExecution, guard: Guard | undefined): boolean {
    if (!guard || !isGuardedRun || guard.seen) return false;
    const { actionName, promptVersionId, userId, inputData, outputData, metadata } = execution;
    guard.seen = {
      columns: { actionName, promptVersionId, userId, inputData, outputData, metadata },
      isPriced: this.#options.cost !== undefined,
    };
    return true;
  }

  /** What a function throws is not for the application, which only began a span. */
  #organizationOf(span: StartedSpan, parentContext: Context): string | undefined {
    const { organization } = this.#options;
    if (typeof organization === "string") return canonicalUuid(organization);
    try {
      return canonicalUuid(organization(span, parentContext) ?? "");
    } catch {
      return undefined;
    }
  }
}

const scopeOfGuard = ({ agentName, executionId, promptVersionId }: Guard) => ({
  ...NOWHERE,
  agentName,
  promptVersionId: promptVersionId ?? undefined,
  runs: [agentName],
  guarded: { executionId, isOutermost: true },
});

const organizationOfGuard = (guard: Guard | undefined) =>
  typeof guard?.organization === "string" ? canonicalUuid(guard.organization) : undefined;
