// Draws what bench/growth.ts measured: JSON lines in, SVG out, both axes logarithmic. The colours are of
// middle lightness, to be read on white and on black.
import { readFileSync } from "node:fs";
import * as z from "zod";

const point = z.object({ cost: z.string(), logs: z.number(), ms: z.number() });

const [WIDTH, HEIGHT] = [860, 460];
const [LEFT, RIGHT, TOP, BOTTOM] = [72, 250, 24, 48];
const GREY = "#7a828c";
const COLOURS = [GREY, "#2f81c9", "#d1652f", "#2a9d6f", "#9a6fc4", "#b8902a", "#d0558c", "#5f8f36"];

const points = readFileSync(0, "utf8")
  .trim()
  .split("\n")
  .map((line) => point.parse(JSON.parse(line)));
const costs = [...new Set(points.map(({ cost }) => cost))];

const sizes = [...new Set(points.map(({ logs }) => logs))];
const [x0, x1] = [Math.log10(Math.min(...sizes)), Math.log10(Math.max(...sizes))];
const taken = points.map(({ ms }) => Math.log10(ms));
const [y0, y1] = [Math.floor(Math.min(...taken)), Math.ceil(Math.max(...taken))];
const x = (logs: number) =>
  Math.round(LEFT + ((Math.log10(logs) - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT));
const y = (ms: number) =>
  Math.round(HEIGHT - BOTTOM - ((Math.log10(ms) - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM));

const powers = Array.from({ length: y1 - y0 + 1 }, (_, n) => 10 ** (y0 + n));
const text = (at: [number, number], words: string, more = "") =>
  `<text x="${at[0]}" y="${at[1]}" ${more}>${words}</text>`;
const line = (fromX: number, fromY: number, toX: number, toY: number) =>
  `<path d="M${fromX} ${fromY}L${toX} ${toY}" stroke="${GREY}" stroke-opacity="0.3"/>`;

const grid = [
  ...sizes.flatMap((logs) => [
    line(x(logs), TOP, x(logs), HEIGHT - BOTTOM),
    text([x(logs), HEIGHT - BOTTOM + 18], logs.toLocaleString("en"), 'text-anchor="middle"'),
  ]),
  ...powers.flatMap((ms) => [
    line(LEFT, y(ms), WIDTH - RIGHT, y(ms)),
    text([LEFT - 8, y(ms) + 4], `${ms.toLocaleString("en")} ms`, 'text-anchor="end"'),
  ]),
  text([LEFT, HEIGHT - 8], "logs in the database, of 100 organizations alike"),
];

/** Each line's name at its end, moved down where it would stand on another. */
const ends = costs
  .map((cost, n) => {
    const own = points.filter((p) => p.cost === cost).toSorted((a, b) => a.logs - b.logs);
    return { cost, own, colour: COLOURS[n % COLOURS.length], at: y(own.at(-1)?.ms ?? 1) + 4 };
  })
  .toSorted((a, b) => a.at - b.at);
let lowest = 0;
const lines = ends.flatMap(({ cost, own, colour, at }) => {
  lowest = Math.max(at, lowest + 16);
  const path = own.map(({ logs, ms }) => `${x(logs)} ${y(ms)}`).join("L");
  return [
    `<path d="M${path}" fill="none" stroke="${colour}" stroke-width="2"/>`,
    ...own.map(({ logs, ms }) => `<circle cx="${x(logs)}" cy="${y(ms)}" r="3" fill="${colour}"/>`),
    text([x(own.at(-1)?.logs ?? 1) + 10, lowest], cost, `fill="${colour}"`),
  ];
});

console.log(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="system-ui, sans-serif" font-size="12" fill="${GREY}">
<title>Cost as a tenant by the number of logs</title>
${[...grid, ...lines].join("\n")}
</svg>`);
