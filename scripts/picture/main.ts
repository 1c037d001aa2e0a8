// docs/report-light.png: the head of the demo's page in Chromium, drawn by `npm run docs:picture`. Its colours are
// reduced by pngquant where that is installed.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";
import { loadDemo } from "../../src/demo/load.ts";
import { openEmbedded } from "../../src/embedded.ts";
import { migrate } from "../../src/operate/migrate/migrate.ts";
import { figuresOf } from "../../src/report/figures.ts";
import { pageOf } from "../../src/report/page.ts";
import { loadPlots } from "../../src/report/plots.ts";

const FILE = "docs/report-light.png";
const WIDTH = 1280;
/** What README shows: all to the end of this. */
const UNTIL = ".plots >> nth=0";
const directory = mkdtempSync(join(tmpdir(), "meta-agent-db-picture-"));

try {
  const { db, close } = await openEmbedded(directory);
  await migrate(db);
  await loadDemo(db);
  const figures = await figuresOf(db, { days: 14 });
  await close();
  const page = join(directory, "page.html");
  // That the demo's time is past is no news on a picture.
  writeFileSync(page, pageOf({ ...figures, isPast: false }, await loadPlots()));
  await picture(page);
} finally {
  rmSync(directory, { recursive: true });
}

async function picture(page: string): Promise<void> {
  const args = ["--no-sandbox", "--disable-gpu"];
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args });
  const tab = await browser.newPage({
    viewport: { width: WIDTH, height: 900 },
    colorScheme: "light",
  });
  await tab.goto(pathToFileURL(page).href);
  await tab.addStyleTag({ content: "details { display: none }" });
  const box = await tab.locator(UNTIL).boundingBox();
  const height = box ? Math.round(box.y + box.height) + 32 : 900;
  const clip = { x: 0, y: 0, width: WIDTH, height };
  await tab.screenshot({ path: FILE, clip, fullPage: true });
  await browser.close();
  spawnSync("pngquant", ["--force", "--skip-if-larger", "--ext", ".png", "64", FILE]);
  console.log(`${FILE}: ${WIDTH} by ${clip.height}, ${Math.round(statSync(FILE).size / 1000)} kB`);
}
