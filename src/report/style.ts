import { Html } from "./html.ts";

/**
 * The style of the page. Colours are of Okabe and Ito's set, which the colour-blind tell apart, darker on white and
 * lighter on black; what a colour says a word or a shape says, too.
 */
export const STYLE = new Html(`
:root {
  color-scheme: light dark;
  --page: #f6f7f8; --card: #ffffff; --ink: #16191d; --muted: #59626c; --line: #dfe3e7;
  --grid: #e9ecef; --axis: #9aa3ad;
  --main: #2a78b5; --good: #00805c; --warn: #b26a00; --bad: #c8500a; --rest: #b9c1c9;
  --control: #7a8591; --treatment: #2a78b5;
  --m1: #2a78b5; --m2: #e0952a; --m3: #009e73; --m4: #b8648f; --m5: #63b3e4;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #0e1116; --card: #161b22; --ink: #e8ebef; --muted: #9aa5b1; --line: #2a313a;
    --grid: #242b33; --axis: #5b6672;
    --main: #58aae6; --good: #35c39a; --warn: #f0b44c; --bad: #f58a4b; --rest: #4d5763;
    --control: #8b96a3; --treatment: #58aae6;
    --m1: #58aae6; --m2: #f0b44c; --m3: #35c39a; --m4: #dc94ba; --m5: #2f72a6;
  }
}
* { box-sizing: border-box; margin: 0; }
body {
  background: var(--page); color: var(--ink); padding: 40px 32px 48px; max-width: 1264px; margin: 0 auto;
  font: 15px/1.5 Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; -webkit-text-size-adjust: 100%;
}
h1 { font-size: 28px; line-height: 1.2; letter-spacing: -0.015em; font-weight: 700; }
h2 { font-size: 19px; line-height: 1.3; letter-spacing: -0.01em; font-weight: 650; }
h3 { font-size: 15px; line-height: 1.35; font-weight: 600; }
h3 .muted, h3 span.muted { font-weight: 400; }
ul, ol, dl, dd { padding: 0; list-style: none; }
header p, .muted, .about, footer { color: var(--muted); }
.muted { font-size: 13px; }
.note { border-left: 3px solid var(--warn); padding: 2px 12px; margin-top: 16px; }
section { margin-top: 40px; }
h2 + * { margin-top: 12px; }
.about { font-size: 14px; max-width: 72ch; }
h2 + .about { margin: 2px 0 12px; }
footer { margin-top: 48px; padding-top: 16px; border-top: 1px solid var(--line); font-size: 13px; }
footer p { max-width: 90ch; }
abbr { text-decoration: none; }
.kept, .tiles dd:not(.more), .windows .value, .value .muted, .windows .muted:not(.said), .days td, .days th { white-space: nowrap; }

.tiles { display: grid; grid-template-columns: repeat(6, 1fr); gap: 12px; margin-top: 24px; }
.tiles > div, figure, article, .alerts, .bars:not(.models), .plain, table.agents { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tiles > div { padding: 14px 16px; }
.tiles dt { color: var(--muted); font-size: 13px; }
.tiles dd { font-size: 26px; line-height: 1.25; font-weight: 650; letter-spacing: -0.015em; font-variant-numeric: normal; }
.tiles dd.more { color: var(--muted); font-size: 13px; font-weight: 400; letter-spacing: 0; }

.badge { white-space: nowrap; font-size: 13px; font-weight: 550; }
.badge.good { color: var(--good); } .badge.warn { color: var(--warn); } .badge.bad { color: var(--bad); } .badge.rest { color: var(--muted); }
.alerts li { display: grid; grid-template-columns: 96px 1fr; gap: 4px 12px; padding: 12px 16px; }
.alerts li + li, .plain li + li { border-top: 1px solid var(--line); }

.plots { display: grid; grid-template-columns: repeat(3, 1fr); gap: 16px; }
figure { padding: 14px 16px 12px; display: flex; flex-direction: column; gap: 8px; min-width: 0; }
figcaption p, figure > p:not(.verdict) { color: var(--muted); font-size: 13px; }
.plot { --plot-background: var(--card); display: block; width: 100%; max-width: 480px; height: auto; font-family: inherit; }
.plot text { white-space: pre; }
.key { display: inline-flex; flex-wrap: wrap; gap: 2px 14px; }
.key > span { display: inline-flex; align-items: center; gap: 6px; }
.key i { width: 10px; height: 10px; border-radius: 2px; background: var(--of); }
.key i.dashed { height: 0; width: 14px; border-radius: 0; background: none; border-top: 2px dashed var(--of); }

.bars li { display: grid; grid-template-columns: 1fr auto; gap: 4px 12px; padding: 10px 16px; align-items: baseline; }
.bars .value { text-align: right; }
.bars li > .bar { grid-column: 1 / -1; }
.bars:not(.models) { display: grid; grid-template-columns: repeat(2, 1fr); padding: 6px 0; }
.bars li > .muted:last-child, .windows { grid-column: 1 / -1; }
.windows { display: grid; grid-template-columns: 46px 1fr minmax(132px, max-content) 48px; gap: 2px 10px; align-items: center; font-size: 14px; }
.windows .muted { text-align: right; }
.windows .said { grid-column: 2 / -1; text-align: left; }
figure.wide { grid-column: span 2; }
.models li { padding: 6px 0; }
.bar { position: relative; display: block; height: 10px; border-radius: 3px; background: var(--grid); }
.bar i { position: absolute; inset: 0 auto 0 0; border-radius: 3px; min-width: 2px; }
.bar .beyond { border-radius: 0; clip-path: polygon(0 0, calc(100% - 8px) 0, 100% 50%, calc(100% - 8px) 100%, 0 100%); }
.bar b { position: absolute; top: -3px; bottom: -3px; width: 2px; margin-left: -1px; background: var(--ink); }

table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; }
.agents { border-collapse: separate; border-spacing: 0; }
.agents td, .agents th { padding: 10px 12px; vertical-align: middle; border-top: 1px solid var(--line); }
.agents thead th { border-top: 0; color: var(--muted); font-size: 13px; font-weight: 500; white-space: nowrap; }
.agents .muted { display: block; font-weight: 400; }
.agents td .badge { display: block; }
.agents .number { text-align: right; white-space: nowrap; }
.agents th:first-child { padding-left: 16px; } .agents td:last-child, .agents thead th:last-child { padding-right: 16px; }
.traffic { width: 156px; }
.traffic .plot { max-width: 132px; }
details { margin-top: 14px; }
summary { cursor: pointer; color: var(--muted); font-size: 14px; }
.days { margin-top: 8px; max-width: 720px; font-size: 14px; }
.days td, .days th { padding: 4px 8px; border-top: 1px solid var(--line); text-align: right; overflow-wrap: normal; }
.days th:first-child { text-align: left; padding-left: 0; }

article { padding: 16px; }
article + article, article + .plain { margin-top: 16px; }
article > p { color: var(--muted); font-size: 14px; }
article .plots { margin-top: 8px; }
article figure { border: 0; padding: 8px 0 0; background: none; }
.verdict { align-self: center; font-size: 15px; color: var(--ink); }
.verdict .muted { display: block; margin-top: 8px; }
.plain li { padding: 12px 16px; }
.stages { display: flex; gap: 4px; margin-top: 8px; }
.stages li { flex: 1; min-width: 0; padding: 2px 4px; border-radius: 4px; text-align: center; font-size: 12px; background: var(--grid); color: var(--muted); }
.stages .done { background: var(--good); color: var(--card); } .stages .now { background: var(--main); color: var(--card); font-weight: 600; } .stages .failed { background: var(--bad); color: var(--card); }
.stories { columns: 3; column-gap: 16px; }
.stories article { break-inside: avoid; margin: 0 0 16px; }
.story { margin-top: 8px; font-size: 14px; }
.story div { display: grid; grid-template-columns: 84px 1fr; gap: 8px; padding: 3px 0; }
.story dt { color: var(--muted); }

@media (max-width: 1000px) {
  .tiles { grid-template-columns: repeat(3, 1fr); }
  .plots { grid-template-columns: repeat(2, 1fr); }
  .stories { columns: 2; }
  .agents, .agents tbody { display: block; }
  .agents thead { display: none; }
  .agents tr { display: grid; grid-template-columns: repeat(4, 1fr); gap: 8px 12px; padding: 14px 16px; }
  .agents tr + tr { border-top: 1px solid var(--line); }
  .agents td, .agents th, .agents th:first-child { padding: 0; border: 0; text-align: left; }
  .agents th { grid-column: 1 / -1; }
  .agents td.number { text-align: left; }
  .agents td::before { content: attr(data-label); display: block; color: var(--muted); font-size: 12px; }
  .traffic { width: auto; grid-column: span 2; }
}
@media (max-width: 640px) {
  body { padding: 24px 16px 32px; }
  h1 { font-size: 24px; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  .tiles dd { font-size: 22px; }
  .plots, .bars:not(.models) { grid-template-columns: 1fr; }
  .stories { columns: 1; }
  figure.wide { grid-column: auto; }
  .bars:not(.models) li { grid-template-columns: 1fr; }
  .bars:not(.models) li > .value { text-align: left; }
  .windows { grid-template-columns: 44px 1fr minmax(122px, max-content) 42px; gap: 2px 8px; font-size: 13px; }
  .agents tr { grid-template-columns: repeat(6, 1fr); }
  .agents td { grid-column: span 3; }
  .agents td.traffic { grid-column: 1 / -1; }
  .agents td.number { grid-column: span 2; }
  .alerts li { grid-template-columns: 1fr; }
  .days td, .days th { padding: 4px 3px; font-size: 13px; }
}
@media print {
  :root { color-scheme: light; --page: #fff; }
  .bar, .bar i, .bar b, .key i, .stages li { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { padding: 0; max-width: none; font-size: 12px; }
  figure, article, .bars li, .alerts li, .agents tr, .tiles > div { break-inside: avoid; }
  h2 { break-after: avoid; }
  details { display: none; }
}
`);
