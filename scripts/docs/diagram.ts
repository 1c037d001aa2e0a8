/** Draws the tables and their references. */
import { instance } from "@viz-js/viz";
import { getTableName } from "drizzle-orm";
import { agentRegistry } from "../../src/schema/index.ts";
import { TABLE_GROUPS, type TableFacts } from "./facts.ts";

/** A hue for each group, in their order: dark for the heads of its tables and the lines that begin there, light behind. */
const COLORS = [
  { dark: "#1d4ed8", light: "#eff6ff" },
  { dark: "#0f766e", light: "#f0fdfa" },
  { dark: "#7e22ce", light: "#faf5ff" },
  { dark: "#b91c1c", light: "#fef2f2" },
  { dark: "#a16207", light: "#fefce8" },
  { dark: "#475569", light: "#f8fafc" },
] as const;

/** Nearly every table refers to it. */
const HUB = getTableName(agentRegistry);

/**
 * The diagram in Graphviz's language: a box a table with its key, its references and what tells a row from
 * others; a line a reference, dashed where it may be NULL.
 */
export function diagramSource(facts: ReadonlyMap<string, TableFacts>): string {
  const groups = TABLE_GROUPS.map(({ title, tables }, at) => ({
    title,
    color: COLORS[at % COLORS.length] ?? COLORS[0],
    tables: tables.flatMap((table) => facts.get(getTableName(table)) ?? []),
  }));
  const clusters = groups.map(
    ({ title, color, tables }, at) => `subgraph cluster_${at} {
label=<<B>${title}</B>>; labelloc=t; labeljust=l; fontsize=16; fontcolor="${color.dark}"; style="rounded,filled"; color="${color.dark}"; fillcolor="${color.light}"; margin=14;
${tables.map((table) => box(table, color.dark)).join("\n")}
}`,
  );
  const lines = groups.flatMap(({ color, tables }) =>
    tables.flatMap(({ name, columns, references }) =>
      references
        .filter(({ table }) => table !== name)
        .map(({ column, table }) => {
          const optional = columns.find((one) => one.name === column)?.nullable === true;
          // What nearly every table has would hide the rest.
          const shade = table === HUB ? `color="#94a3b8"` : `color="${color.dark}", penwidth=1.6`;
          return `${table}:head -> ${name}:${column} [${shade}${optional ? ", style=dashed" : ""}];`;
        }),
    ),
  );
  const legend = `Each line is a reference, its arrow at the table referred to. Dashed: may be NULL. Grey: to ${HUB}.`;
  return [
    "digraph {",
    `rankdir=LR; bgcolor="white"; pad=0.3; nodesep=0.22; ranksep=1.5; fontname="${LAYOUT_FONT}"; fontsize=13; fontcolor="#64748b"; labelloc=b; labeljust=l; label=<<TABLE BORDER="0"><TR><TD ALIGN="LEFT">${legend}</TD></TR></TABLE>>;`,
    `node [shape=plain, fontname="${LAYOUT_FONT}", fontsize=12]; edge [dir=back, arrowtail=normal, arrowsize=0.7, penwidth=1.3];`,
    ...clusters,
    ...lines,
    "}",
  ].join("\n");
}

/**
 * Graphviz has no font to measure with. It lays out what it knows by heart: Courier, of which every character
 * is 0.6 em wide, bold or not, as it is in nearly every other monospace font.
 */
const LAYOUT_FONT = "Courier";
const EM_PER_CHARACTER = 0.6;
const FONTS = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace";

/** The diagram as SVG. Each text has the width that its box was made for, whatever font a reader has. */
export async function drawDiagram(facts: ReadonlyMap<string, TableFacts>): Promise<string> {
  const graphviz = await instance();
  return fitted(graphviz.renderString(diagramSource(facts), { format: "svg", engine: "dot" }));
}

/** Has a viewer fit each text into its width: a font that is wider or narrower is squeezed or stretched. */
const fitted = (svg: string): string =>
  svg
    .replaceAll(
      /<text (.*?) font-family="[^"]*"(.*?) font-size="([\d.]+)"(.*?)>([^<]*)</g,
      (_, place: string, weight: string, size: string, color: string, text: string) => {
        const width = (text.length * EM_PER_CHARACTER * Number(size)).toFixed(1);
        return `<text ${place}${weight} font-size="${size}"${color} textLength="${width}" lengthAdjust="spacingAndGlyphs">${text}<`;
      },
    )
    .replace('<g id="graph0"', `<g id="graph0" font-family="${FONTS}"`);

function box({ name, references }: TableFacts, color: string): string {
  const row = (port: string, left: string, right: string) =>
    `<TR><TD PORT="${port}" ALIGN="LEFT">${left}</TD><TD ALIGN="LEFT"><FONT COLOR="#64748b">${right}</FONT></TD></TR>`;
  return `${name} [label=<<TABLE BORDER="1" CELLBORDER="0" CELLSPACING="0" CELLPADDING="4" COLOR="${color}" BGCOLOR="white">
<TR><TD PORT="head" COLSPAN="2" BGCOLOR="${color}" ALIGN="LEFT"><FONT COLOR="white"><B>${name}</B></FONT></TD></TR>
${references.map(({ column, table }) => row(column, column, table === name ? "↺ itself" : `→ ${table}`)).join("\n")}
</TABLE>>];`;
}
