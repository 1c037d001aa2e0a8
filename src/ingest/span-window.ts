/** Spans of a file in bounded memory: those of a trace wait for each other, as long as there is room. */
import type { Document, DocumentReader, PlacedExecution, PlacedSpan } from "./documents.ts";
import { type SpanOptions, executionOf, scopesOf } from "./spans.ts";

/** How spans of a file become rows. */
export interface SpanReaderOptions extends SpanOptions {
  /** The agent of all of them. Default: as each says. */
  readonly agent?: string | undefined;
  /** Told of each span that is no action of an agent. */
  readonly onSkipped?: (() => void) | undefined;
  /** Characters of JSON that may wait. */
  readonly mostWaiting?: number | undefined;
}

const MOST_WAITING = 32 * 2 ** 20;

/**
 * Reads documents of spans. An inner span ends before the one that names its agent, and may stand lines before
 * it: spans wait until 32 million characters do, and then the trace that has waited longest goes.
 */
export class SpanWindow implements DocumentReader {
  readonly #spansOf: (document: Document) => readonly PlacedSpan[];
  readonly #options: SpanReaderOptions;
  readonly #traces = new Map<string, { readonly spans: PlacedSpan[]; characters: number }>();
  #characters = 0;

  constructor(
    spansOf: (document: Document) => readonly PlacedSpan[],
    options: SpanReaderOptions = {},
  ) {
    this.#spansOf = spansOf;
    this.#options = options;
  }

  *read(document: Document): Generator<PlacedExecution> {
    const spans = this.#spansOf(document);
    const share = document.characters / spans.length;
    for (const placed of spans) this.#hold(placed, share);
    const { mostWaiting = MOST_WAITING } = this.#options;
    for (const traceId of this.#traces.keys()) {
      if (this.#characters <= mostWaiting) break;
      yield* this.#release(traceId);
    }
  }

  *end(): Generator<PlacedExecution> {
    for (const traceId of this.#traces.keys()) yield* this.#release(traceId);
  }

  #hold(placed: PlacedSpan, characters: number): void {
    const { traceId } = placed.span.spanContext();
    const trace = this.#traces.get(traceId) ?? { spans: [], characters: 0 };
    this.#traces.set(traceId, trace);
    trace.spans.push(this.#named(placed));
    trace.characters += characters;
    this.#characters += characters;
  }

  /** With the agent's name where all readers look first. */
  #named(placed: PlacedSpan): PlacedSpan {
    const { agent } = this.#options;
    if (agent === undefined) return placed;
    const attributes = { ...placed.span.attributes, "gen_ai.agent.name": agent };
    return { ...placed, span: { ...placed.span, attributes } };
  }

  *#release(traceId: string): Generator<PlacedExecution> {
    const trace = this.#traces.get(traceId);
    if (!trace) return;
    this.#traces.delete(traceId);
    this.#characters -= trace.characters;
    const arounds = scopesOf(trace.spans.map(({ span }) => span));
    for (const { span, place } of trace.spans) {
      const found = executionOf(span, this.#options, arounds.get(span));
      if (found) yield { ...found, place };
      else this.#options.onSkipped?.();
    }
  }
}
