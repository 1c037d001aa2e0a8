import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";

/**
 * Advances in thousandths of an em of DejaVu Sans, the widest of the usual sans-serif fonts and what many
 * systems put in place of a font they do not have; what is not listed is narrower or as wide as "d".
 */
const ADVANCES = {
  normal: {
    il: 278,
    " ,.:": 337,
    ftr: 411,
    _s: 521,
    cz: 550,
    d: 635,
    UNDGw: 818,
    "→↺": 838,
    m: 974,
  },
  bold: { il: 343, " ": 348, ft: 478, r: 493, _: 500, cs: 595, d: 716, wGM: 995, m: 1042 },
} as const;

/** The usual monospace fonts: Consolas 0.55 em, Courier New 0.6, DejaVu and Menlo 0.602, SF Mono 0.618. */
const MONOSPACE = 0.62;

interface Text {
  readonly text: string;
  readonly x: number;
  readonly y: number;
  readonly size: number;
  readonly weight: keyof typeof ADVANCES;
  /** What a viewer fits it into. */
  readonly fitted: number;
}

interface Box {
  readonly left: number;
  readonly right: number;
  readonly texts: readonly Text[];
}

const svg = readFileSync("docs/schema.svg", "utf8");

/** Tables, groups of tables, and the page, each with the texts that must be inside. */
const boxes = svg
  .split(/^<g id="/m)
  .filter((part) => /class="(node|cluster|graph)"/.test(part))
  .map((part): Box => {
    const outline = /<(?:polygon|path) [^>]*?(?:points|d)="([^"]+)"/.exec(part)?.[1] ?? "";
    const xs = [...outline.matchAll(/(-?[\d.]+),-?[\d.]+/g)].map(([, x]) => Number(x));
    return { left: Math.min(...xs), right: Math.max(...xs), texts: textsOf(part) };
  });

function textsOf(part: string): Text[] {
  return [...part.matchAll(/<text ([^>]*)>([^<]*)</g)].map(([, attributes = "", text = ""]) => {
    const number = (name: string) =>
      Number(new RegExp(` ${name}="(-?[\\d.]+)"`).exec(attributes)?.[1]);
    return {
      text,
      x: number("x"),
      y: number("y"),
      size: number("font-size"),
      weight: attributes.includes('font-weight="bold"') ? "bold" : "normal",
      fitted: number("textLength"),
    };
  });
}

/** As wide as the widest known font makes it where nothing fits it. */
function widest({ text, size, weight }: Text): number {
  const advances = Object.entries(ADVANCES[weight]);
  const proportional = Array.from(
    text,
    (character) =>
      advances.find(([characters]) => characters.includes(character))?.[1] ?? ADVANCES[weight].d,
  );
  const thousandths = proportional.reduce<number>((sum, advance) => sum + advance, 0);
  return size * Math.max(thousandths / 1000, text.length * MONOSPACE);
}

/** Where a text must end: at what stands beside it, or at the edge of its box. */
const endOf = ({ x, y }: Text, { texts, right }: Box): number =>
  Math.min(right, ...texts.filter((other) => other.y === y && other.x > x).map((other) => other.x));

// A reader's font is not known when the diagram is drawn.
describe("docs/schema.svg holds with any font", () => {
  test("every text begins where its box does, and none needs a font of a name", () => {
    const texts = boxes.flatMap((box) => box.texts);
    expect(texts).toHaveLength(svg.match(/<text /g)?.length ?? 0);
    expect(texts.length).toBeGreaterThan(100);
    expect(svg.match(/text-anchor="start"/g)).toHaveLength(texts.length);
    expect(svg.match(/font-family="[^"]*"/g)).toEqual([expect.stringMatching(/, monospace"$/)]);
  });

  test.each(boxes.flatMap((box) => box.texts.map((text) => ({ ...text, box }))))(
    "$text is fitted into its box, and is inside where a viewer does not fit it",
    ({ box, ...text }) => {
      expect(text.x).toBeGreaterThan(box.left);
      expect(text.x + text.fitted).toBeLessThan(endOf(text, box));
      expect(text.x + widest(text)).toBeLessThan(endOf(text, box));
    },
  );

  test("it fits them by their glyphs too, or wide ones would lie on each other", () => {
    expect(svg.match(/ textLength="[\d.]+" lengthAdjust="spacingAndGlyphs"/g)).toHaveLength(
      svg.match(/<text /g)?.length ?? 0,
    );
  });
});
