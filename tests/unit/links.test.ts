import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { expect, test } from "vitest";

const SKIPPED = new Set(["node_modules", "dist", ".git", ".meta-agent", "fixtures"]);

function markdownIn(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return SKIPPED.has(entry.name) ? [] : markdownIn(path);
    return entry.name.endsWith(".md") ? [path] : [];
  });
}

/** What is text, not code. */
const prose = (markdown: string) =>
  markdown
    .replaceAll(/^ *(```|~~~)[\s\S]*?^ *\1.*$/gm, "")
    .replaceAll(/`[^`\n]*`/g, (code) => code.replaceAll(/[[\]()]/g, "_"));

/** The targets of `[text](target)`, `![text](target)` and `[text]: target`. */
function linksOf(markdown: string): string[] {
  const text = prose(markdown);
  return [
    ...text.matchAll(/\]\(<?([^\s)>]+)>?(?: "[^"]*")?\)/g),
    ...text.matchAll(/^\[[^\]]+\]: (\S+)/gm),
  ].map(([, target = ""]) => target);
}

/** What a heading is called in an address: as the hosts of repositories make it. */
function anchorsOf(markdown: string): Set<string> {
  const anchors = new Set<string>();
  const code = /^ *(```|~~~)[\s\S]*?^ *\1.*$/gm;
  for (const [, heading = ""] of markdown.replaceAll(code, "").matchAll(/^#{1,6} +(.+?) *#*$/gm)) {
    const name = heading
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, "")
      .replaceAll(" ", "-");
    let anchor = name;
    for (let n = 1; anchors.has(anchor); n++) anchor = `${name}-${n}`;
    anchors.add(anchor);
  }
  return anchors;
}

/** Why a link of a file leads nowhere; `undefined` when it leads somewhere. Others' pages by form only. */
function whyDead(file: string, link: string): string | undefined {
  if (/^[a-z][a-z\d+.-]*:/i.test(link)) {
    return link.startsWith("https://") && URL.canParse(link) ? undefined : "expected https://…";
  }
  const [path = "", anchor] = link.split("#");
  const target = path === "" ? file : join(dirname(file), decodeURIComponent(path));
  if (relative(".", target).startsWith("..") || path.startsWith("/")) return "leads out of here";
  if (!existsSync(target)) return "no such file";
  if (anchor === undefined || !target.endsWith(".md")) return undefined;
  return anchorsOf(readFileSync(target, "utf8")).has(anchor) ? undefined : "no such heading";
}

test("every link in every Markdown file leads somewhere", () => {
  const files = markdownIn(".");
  expect(files).toContain("README.md");
  const links = files.flatMap((file) =>
    linksOf(readFileSync(file, "utf8")).map((link) => ({ file, link })),
  );
  expect(links.length).toBeGreaterThan(20);
  const dead = links.flatMap(({ file, link }) => {
    const why = whyDead(file, link);
    return why === undefined ? [] : [`${file}: ${link}: ${why}`];
  });
  expect(dead).toEqual([]);
});

test("a link that leads nowhere is told", () => {
  const dead = (link: string) => whyDead("docs/tenancy.md", link);
  expect(dead("decisions.md")).toBeUndefined();
  expect(dead("#not-promised")).toBeUndefined();
  expect(dead("../README.md#tenancy")).toBeUndefined();
  expect(dead("nowhere.md")).toBe("no such file");
  expect(dead("#promised")).toBe("no such heading");
  expect(dead("../README.md#nowhere")).toBe("no such heading");
  expect(dead("../../elsewhere.md")).toBe("leads out of here");
  expect(dead("/docs/tenancy.md")).toBe("leads out of here");
  expect(dead("http://example.com")).toBe("expected https://…");
  expect(linksOf('[a](b.md) `[c](d.md)`\n```\n[e](f.md)\n```\n![g](h.svg "i")\n[j]: k.md')).toEqual(
    ["b.md", "h.svg", "k.md"],
  );
  expect([...anchorsOf("# A `b` – c?\n## A `b` – c?\n```\n# no\n```")]).toEqual([
    "a-b--c",
    "a-b--c-1",
  ]);
});
