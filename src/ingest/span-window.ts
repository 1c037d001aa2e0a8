/** Spans of a file in bounded memory: those of a trace wait for each other, as long as there is room. */
import type { Document, DocumentReader, PlacedExecution } from "./documents.ts";
import {
  type FinishedSpan,
  type SpanOptions,
  type SpanScope,
  executionOf,
  scopeOf,
} from "./spans.ts";

/** A span, and where it stands. */
export interface PlacedSpan {
  readonly span: FinishedSpan;
  readonly place: string;
  readonly traceId: string;
  /** Trace and span, in one. */
  readonly key: string;
  readonly parentKey: string;
}

/** What spans take from those around them, where these are among them. */
export function scopesOf(
  spans: readonly PlacedSpan[],
): ReadonlyMap<PlacedSpan, SpanScope | undefined> {
  const byKey = new Map(spans.map((placed) => [placed.key, placed]));
  const arounds = new Map<PlacedSpan, SpanScope | undefined>();
  for (const placed of spans) {
    const way = new Set<PlacedSpan>();
    // Who is its own ancestor has none.
    for (let at: PlacedSpan | undefined = placed; at && !arounds.has(at) && !way.has(at);) {
      way.add(at);
      at = byKey.get(at.parentKey);
    }
    for (const inner of [...way].toReversed()) {
      const outer = byKey.get(inner.parentKey);
      const isKnown = outer !== undefined && arounds.has(outer);
      arounds.set(inner, isKnown ? scopeOf(outer.span, arounds.get(outer)) : undefined);
    }
  }
  return arounds;
}

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
    const trace = this.#traces.get(placed.traceId) ?? { spans: [], characters: 0 };
    this.#traces.set(placed.traceId, trace);
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
    const arounds = scopesOf(trace.spans);
    for (const placed of trace.spans) {
      const found = executionOf(placed.span, this.#options, arounds.get(placed));
      if (found) yield { ...found, place: placed.place };
      else this.#options.onSkipped?.();
    }
  }
}
