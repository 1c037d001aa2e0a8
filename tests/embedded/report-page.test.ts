// The page in a real browser: Chromium, where it is, else it is skipped.
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, type Page, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { figuresOf } from "../../src/report/figures.ts";
import { pageOf } from "../../src/report/page.ts";
import { loadPlots } from "../../src/report/plots.ts";
import { END, SHOWN, busyFleet, renameAll } from "../busy-fleet.ts";
import { openMigrated } from "../engine.ts";

const CHROMIUM = "/usr/bin/chromium";
const QUIET =
  "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
/** Milliseconds. A machine with other work takes its time. */
const PATIENCE = 100_000;
const VIEWS = ([1280, 390] as const).flatMap((width) =>
  (["light", "dark"] as const).map((scheme) => [width, scheme] as const),
);

describe.skipIf(!existsSync(CHROMIUM))("the page in Chromium", () => {
  let directory: string;
  let browser: Browser;
  const files: Record<"plain" | "hostile", string> = { plain: "", hostile: "" };
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "meta-agent-db-page-"));
    const database = await openMigrated();
    const fleets = [await busyFleet(database, "A/B test"), await busyFleet(database, "canary")];
    const plots = await loadPlots();
    const write = async (kind: keyof typeof files) => {
      files[kind] = join(directory, `${kind}.html`);
      await writeFile(
        files[kind],
        pageOf(await figuresOf(database.db, { days: 14, now: END }), plots),
      );
    };
    // So many that wherever a line ends one would be torn.
    const dates = Array.from({ length: 31 }, (_, n) => `2026-03-${String(n + 1).padStart(2, "0")}`);
    await database.query("update alert_history set message = $1", [dates.join(" to ")]);
    await write("plain");
    for (const fleet of fleets) await renameAll(database, fleet);
    await write("hostile");
    await database.close();
    const args = QUIET.split(" ");
    browser = await chromium.launch({ executablePath: CHROMIUM, args, timeout: PATIENCE });
  });
  afterAll(async () => {
    await browser?.close();
    await rm(directory, { recursive: true });
  });

  /** Opens a page, and answers what it said and asked for beside itself. */
  async function opened(
    kind: keyof typeof files,
    [width, colorScheme]: (typeof VIEWS)[number] = [1280, "light"],
  ): Promise<{ page: Page; noise: string[] }> {
    const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
    page.setDefaultTimeout(PATIENCE);
    const url = pathToFileURL(files[kind]).href;
    const noise: string[] = [];
    page.on("console", (message) => noise.push(message.text()));
    page.on("pageerror", (error) => noise.push(error.message));
    page.on("dialog", (dialog) => noise.push(dialog.message()));
    page.on("request", (request) => request.url() !== url && noise.push(request.url()));
    await page.goto(url);
    // What is shut has text, too.
    await page.evaluate(
      "document.querySelectorAll('details').forEach((of) => { of.open = true; })",
    );
    return { page, noise };
  }

  test.each(VIEWS)(
    "at %i pixels, %s, nothing is clipped, no figure and no date is torn, and nothing complains",
    async (...view) => {
      for (const kind of ["plain", "hostile"] as const) {
        const { page, noise } = await opened(kind, view);
        expect(await page.evaluate(CLIPPED)).toEqual([]);
        if (kind === "plain") expect(await page.evaluate(TORN)).toEqual([]);
        expect(noise).toEqual([]);
        await page.close();
      }
    },
  );

  test("every plot has marks of different heights, a name, and its zero", async () => {
    const { page } = await opened("plain");
    const plots = await page.evaluate<{ name: string; heights: number; zero: string }[]>(PLOTS);
    expect(plots.length).toBe(4 + 2 + 2 + 1);
    for (const { name, heights, zero } of plots) {
      expect(name).toMatch(/\d/);
      expect(zero, name).toBe("0");
      expect(heights, name).toBeGreaterThan(1);
    }
    await page.close();
  });

  test("hostile names make no element, and are read as they are", async () => {
    const [plain, hostile] = [await opened("plain"), await opened("hostile")];
    const kinds = `[...new Set([...document.querySelectorAll("*")].map((of) => of.localName))].sort()`;
    expect(await hostile.page.evaluate(kinds)).toEqual(await plain.page.evaluate(kinds));
    expect(await hostile.page.innerText("body")).toContain(SHOWN);
    await Promise.all([plain.page.close(), hostile.page.close()]);
  });

  test("text is told from its ground, light and dark, and on paper, which is white", async () => {
    for (const view of VIEWS.slice(0, 2)) {
      const { page } = await opened("plain", view);
      expect(await page.evaluate(FAINT)).toEqual([]);
      await page.emulateMedia({ media: "print", colorScheme: view[1] });
      expect(await page.evaluate(FAINT)).toEqual([]);
      const ground = await page.evaluate("getComputedStyle(document.body).backgroundColor");
      expect(ground).toBe("rgb(255, 255, 255)");
      await page.close();
    }
  });
});

// Scripts of the browser are texts: what they name is not of this side.

/** Elements whose contents are wider than they, text that leaves the window, and labels of a plot outside of it. */
const CLIPPED = `(() => {
  const wide = [...document.querySelectorAll("body, body *:not(svg *)")].filter((of) =>
    of.clientWidth > 0 && of.scrollWidth > of.clientWidth + 1 && getComputedStyle(of).display !== "inline");
  const out = [...document.querySelectorAll("svg text")].filter((of) => {
    const [own, plot] = [of.getBoundingClientRect(), of.closest("svg").getBoundingClientRect()];
    return own.left < plot.left - 1 || own.right > plot.right + 1 || own.top < plot.top - 1 || own.bottom > plot.bottom + 1;
  });
  const isBroad = document.documentElement.scrollWidth > innerWidth;
  return [...wide, ...out].map((of) => of.localName + "." + of.getAttribute("class") + ": " + of.textContent.slice(0, 40))
    .concat(isBroad ? ["the page"] : []);
})()`;

/** Numbers, amounts, shares and dates that stand on two lines. */
const TORN = `(() => {
  const torn = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    if (text.parentElement.closest("svg, style")) continue;
    for (const { 0: figure, index } of text.data.matchAll(/\\d{4}-\\d\\d-\\d\\d( \\d\\d:\\d\\d UTC)?|\\$?\\d[\\d.,]*(%|\\s(ms|s|min|h|days|[A-Z][a-z]{2})\\b)?/g)) {
      const range = document.createRange();
      range.setStart(text, index);
      range.setEnd(text, index + figure.trimEnd().length);
      if (new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size > 1) torn.push(figure);
    }
  }
  return torn;
})()`;

/** How many heights, in whole pixels, there are among the bars of a plot, or the corners of its lines. */
const PLOTS = `[...document.querySelectorAll("svg.plot")].map((svg) => {
  const bars = [...svg.querySelectorAll("[aria-label=bar] rect")].map((of) => of.getAttribute("height"));
  const lines = [...svg.querySelectorAll("[aria-label=line] path")].flatMap((of) =>
    of.getAttribute("d").match(/[ML,][-0-9.]+,[-0-9.]+/g).map((corner) => corner.split(",").at(-1)));
  // The small ones of a table have no axis, and a line at zero like the others.
  const zero = svg.querySelector("[aria-label=rule]") && (svg.querySelector('[aria-label="y-axis tick label"] text')?.textContent ?? "0");
  return { name: svg.getAttribute("aria-label"), heights: new Set([...bars, ...lines].map((height) => Math.round(height))).size, zero };
})`;

/** Texts whose contrast is below 4.5, as WCAG computes it. */
const FAINT = `(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (of) => {
    const colour = of ? getComputedStyle(of).backgroundColor : "rgb(255, 255, 255)";
    return colour.endsWith(", 0)") ? ground(of.parentElement) : colour;
  };
  const texts = [...document.querySelectorAll("body *")].filter((of) =>
    [...of.childNodes].some((child) => child.nodeType === 3 && child.data.trim() !== "") && of.getClientRects().length > 0 && of.localName !== "title");
  return texts.filter((of) => {
    const style = getComputedStyle(of);
    const [a, b] = [light(of.closest("svg") ? style.fill : style.color), light(ground(of))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
  }).map((of) => of.localName + "." + of.getAttribute("class") + ": " + of.textContent.slice(0, 40));
})()`;
