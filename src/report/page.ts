/** The page: one file of HTML with its style and its plots in it, that asks nobody for anything. */
import type { BudgetState } from "../fleet/budgets.ts";
import type { AlertSeverity, CircuitState, HealthStatus } from "../values.ts";
import {
  type AgentFigures,
  type BudgetFigures,
  type CanaryFigures,
  type Day,
  type Figures,
  type Listed,
  type ModelCost,
  type OpenAlert,
  type RunningShadow,
  type RunningTest,
  budgetShare,
  successRate,
} from "./figures.ts";
import { type Html, type Part, html } from "./html.ts";
import { type Plots, type Series, failureRate } from "./plots.ts";
import { linksOf, stateOf } from "./story.ts";
import { STYLE } from "./style.ts";
import { ago, count, counted, day, duration, longDay, moment, percent, usd } from "./words.ts";

/** Who the page is about, in words of whoever asks. */
export interface PageOptions {
  readonly title?: string | undefined;
}

/** The whole page. */
export function pageOf(figures: Figures, plots: Plots, { title }: PageOptions = {}): string {
  const subject =
    title ??
    (figures.organization === null ? "Agent fleet" : `Organization ${figures.organization}`);
  const { from, now } = figures;
  const days = `${from.getUTCFullYear() === now.getUTCFullYear() ? day(from) : longDay(from)} to ${longDay(now)}`;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta
          http-equiv="Content-Security-Policy"
          content="default-src 'none'; style-src 'unsafe-inline'"
        />
        <meta name="generator" content="meta-agent-db" />
        <meta name="color-scheme" content="light dark" />
        <title>${subject}, ${days}</title>
        <style>
          ${STYLE}
        </style>
      </head>
      <body>
        <header>
          <h1 dir="auto">${subject}</h1>
          <p>${days}, as of ${now.toISOString().slice(11, 16)} UTC</p>
        </header>
        ${figures.isPast && html`<p class="note">Nothing was recorded since: the page stands where the log ends.</p>`}
        <main>
          ${tiles(figures)} ${alerts(figures)} ${overDays(figures, plots)} ${agents(figures, plots)}
          ${budgets(figures)} ${errorBudgets(figures)} ${experiments(figures, plots)}
          ${canaries(figures, plots)} ${stories(figures)}
        </main>
        <footer>
          <p>
            Days are of UTC, the last one up to ${now.toISOString().slice(11, 16)}. An execution
            counts once, on the day it began; success is successful ÷ (successful + failed), where a
            timeout is a failure; half of the executions took no longer than p50, 95 in 100 no
            longer than p95. Cost is estimated, each row's on its own day. Shadow tests count in
            cost alone.
          </p>
        </footer>
      </body>
    </html> `.text;
}

interface SectionOptions {
  readonly title: string;
  readonly about?: Part;
}

const section = ({ title, about = null }: SectionOptions, ...parts: readonly Part[]): Html =>
  html`<section>
    <h2>${title}</h2>
    ${about !== null && html`<p class="about">${about}</p>`} ${parts}
  </section>`;

const leftOut = ({ leftOut: n }: Listed<unknown>, noun: string): Part =>
  n > 0 &&
  html`<p class="about">${counted(n, `more ${noun}`)} ${n === 1 ? "is" : "are"} not shown.</p>`;

/** A text of somebody's, whose direction is its own. */
const name = (text: string): Html => html`<bdi>${text}</bdi>`;

/** The beginning of an organization's id, which tells a page's apart. */
const shortId = (id: string): Html =>
  html`<abbr title="organization ${id}">${id.slice(0, 8)}</abbr>`;

// ── What one sees first ──

function tiles({ total, agents: { shown, leftOut: n }, alerts: open }: Figures): Html {
  const healthy = shown.filter((agent) => toneOf(agent) === "good").length;
  const alertCount = open.shown.length + open.leftOut;
  const tile = (label: string, value: string, more: string) =>
    html`<div>
      <dt>${label}</dt>
      <dd>${value}</dd>
      <dd class="more">${more}</dd>
    </div>`;
  return html`<dl class="tiles">
    ${tile("Executions", count(total.executions), `${count(total.failures)} failed`)}
    ${tile("Success", percent(successRate(total)), "of those that ended")}
    ${tile("Latency, p95", duration(total.p95), `p50 ${duration(total.p50)}`)}
    ${tile("Cost", usd(total.usd), total.executions > 0 ? `${usd(total.usd / total.executions)} an execution` : "–")}
    ${tile("Agents", count(shown.length + n), `${healthy} healthy${n > 0 ? ` of ${shown.length} shown` : ""}`)}
    ${tile("Open alerts", count(alertCount), severities(open.shown))}
  </dl>`;
}

function severities(open: readonly OpenAlert[]): string {
  const loudest = SEVERITIES.find((severity) => open.some((alert) => alert.severity === severity));
  if (loudest === undefined) return "none";
  return `${open.filter(({ severity }) => severity === loudest).length} ${loudest}`;
}

const SEVERITIES = ["emergency", "critical", "warning", "info"] as const;

type Tone = "good" | "warn" | "bad" | "rest";
const SEVERITY_TONES: Record<AlertSeverity, Tone> = {
  emergency: "bad",
  critical: "bad",
  warning: "warn",
  info: "rest",
};

/** A state in a word, with a shape that is told apart without colours. */
const badge = (tone: Tone, text: string): Html =>
  html`<span class="badge ${tone}"><span aria-hidden="true">${SHAPES[tone]}</span> ${text}</span>`;
const SHAPES: Record<Tone, string> = { good: "●", warn: "▲", bad: "■", rest: "○" };

function alerts({ alerts: open, now }: Figures): Part {
  if (open.shown.length === 0) return null;
  const item = (alert: OpenAlert) =>
    html`<li>
      ${badge(SEVERITY_TONES[alert.severity], alert.severity)}
      <div>
        <strong>${name(alert.title)}</strong>
        <span class="muted"
          >${alert.agentName === null ? "the organization" : name(alert.agentName)},
          ${ago(alert.createdAt, now)}${alert.acknowledgedBy !== null && html`, taken on${alert.acknowledgedBy !== "" && html` by ${name(alert.acknowledgedBy)}`}`}</span
        >
        <p>${name(alert.message)}</p>
      </div>
    </li>`;
  return section(
    { title: "Open alerts" },
    html`<ul class="alerts">
      ${open.shown.map(item)}
    </ul>`,
    leftOut(open, "alert"),
  );
}

// ── Over days ──

const figure = (title: string, about: Part, plot: Part): Html =>
  html`<figure>
    <figcaption>
      <h3>${title}</h3>
      <p>${about}</p>
    </figcaption>
    ${plot}
  </figure>`;

const key = (...entries: readonly [colour: string, text: string, isDashed?: boolean][]): Html =>
  html`<span class="key"
    >${entries.map(
      ([colour, text, isDashed = false]) =>
        html`<span
          ><i style="--of: ${colour}" ${isDashed && html` class="dashed"`}></i>${text}</span
        >`,
    )}</span
  >`;

function overDays({ days, models, total }: Figures, plots: Plots): Html {
  if (total.executions === 0 && total.usd === 0) {
    return section({ title: "Day by day" }, html`<p>Nothing was recorded in these days.</p>`);
  }
  const series = seriesOf(models);
  return section(
    { title: "Day by day" },
    html`<div class="plots">
        ${figure("Executions", key(["var(--bad)", "failed"], ["var(--main)", "succeeded"], ["var(--rest)", "cancelled or running"]), plots.executions(days))}
        ${figure("Success", "Share of the executions that ended", plots.success(days))}
        ${figure("Latency", "Half (p50) and 95 in 100 (p95) took no longer", plots.latency(days))}
        ${figure("Cost", "US dollars, by model", plots.cost(days, models, series))}
        ${costByModel(models, series)}
      </div>
      ${table(days)}`,
  );
}

const COLOURS = ["var(--m1)", "var(--m2)", "var(--m3)", "var(--m4)", "var(--m5)"];

/** The dearest models, each with a colour, and all others with one. */
function seriesOf(models: readonly ModelCost[]): Series[] {
  const names = [...sumBy(models, ({ model }) => model)]
    .toSorted(([, a], [, b]) => b - a)
    .map(([model]) => model);
  const own = names.slice(0, COLOURS.length);
  const others = names.length > own.length;
  return [
    ...own.map((model, n) => ({ model, isOther: false, colour: COLOURS[n] ?? "var(--rest)" })),
    ...(others ? [{ model: null, isOther: true, colour: "var(--rest)" }] : []),
  ];
}

function sumBy<K>(costs: readonly ModelCost[], by: (cost: ModelCost) => K): Map<K, number> {
  const sums = new Map<K, number>();
  for (const cost of costs) sums.set(by(cost), (sums.get(by(cost)) ?? 0) + cost.usd);
  return sums;
}

function costByModel(models: readonly ModelCost[], series: readonly Series[]): Html {
  const total = models.reduce((sum, cost) => sum + cost.usd, 0);
  const own = new Map(
    series.filter(({ isOther }) => !isOther).map(({ model, colour }) => [model, colour]),
  );
  const sums = sumBy(models, ({ model }) => (own.has(model) ? model : undefined));
  const line = (label: Part, usdOf: number, colour: string) =>
    html`<li>
      <span>${label}</span
      ><span class="value">${usd(usdOf)} <span class="muted">${percent(usdOf / total)}</span></span>
      ${bar({ share: usdOf / total, of: 1, colour })}
    </li>`;
  const lines = series.map(({ model, isOther, colour }) =>
    isOther
      ? line("other models", sums.get(undefined) ?? 0, colour)
      : line(model === null ? "model not named" : name(model), sums.get(model) ?? 0, colour),
  );
  return html`<figure class="wide">
    <figcaption>
      <h3>Cost by model</h3>
      <p>US dollars of all days, and the share of each</p>
    </figcaption>
    <ul class="bars models">
      ${lines}
    </ul>
  </figure>`;
}

interface Bar {
  readonly share: number;
  /** The share that fills it. */
  readonly of: number;
  readonly colour: string;
  /** Marks, as shares. */
  readonly limit?: number | undefined;
  readonly early?: number | undefined;
}

/** A bar from zero; its numbers stand beside it as text. */
const bar = ({ share, of, colour, limit, early }: Bar): Html => {
  const at = (part: number) => `${Math.round((Math.min(Math.max(part, 0), of) / of) * 1000) / 10}%`;
  return html`<span class="bar" aria-hidden="true"
    ><i style="width: ${at(share)}; background: ${colour}"></i
    >${early !== undefined && html`<b class="early" style="left: ${at(early)}"></b>`}${limit !== undefined && html`<b style="left: ${at(limit)}"></b>`}</span
  >`;
};

function table(days: readonly Day[]): Html {
  const row = (of: Day) =>
    html`<tr>
      <th scope="row">${day(of.day)}</th>
      <td>${count(of.executions)}</td>
      <td>${count(of.failures)}</td>
      <td>${percent(successRate(of))}</td>
      <td>${duration(of.p50)}</td>
      <td>${duration(of.p95)}</td>
      <td>${usd(of.usd)}</td>
    </tr>`;
  return html`<details>
    <summary>The same as a table</summary>
    <table class="days">
      <thead>
        <tr>
          <th scope="col">Day</th>
          <th scope="col">Runs</th>
          <th scope="col">Failed</th>
          <th scope="col">Success</th>
          <th scope="col">p50</th>
          <th scope="col">p95</th>
          <th scope="col">Cost</th>
        </tr>
      </thead>
      <tbody>
        ${days.map(row)}
      </tbody>
    </table>
  </details>`;
}

// ── Agents ──

const HEALTH_TONES: Record<HealthStatus, Tone> = {
  healthy: "good",
  degraded: "warn",
  critical: "bad",
  offline: "rest",
};
const BREAKER_TONES: Record<CircuitState, Tone> = {
  closed: "good",
  half_open: "warn",
  open: "bad",
};

const toneOf = ({ health }: AgentFigures): Tone =>
  health === null ? "rest" : HEALTH_TONES[health];

/** A snapshot that is older says little of now. */
const FRESH = 15 * 60_000;

function agents({ agents: fleet, organization, now }: Figures, plots: Plots): Html {
  if (fleet.shown.length === 0)
    return section({ title: "Agents" }, html`<p>No agent is registered.</p>`);
  const isOld = ({ healthAt }: AgentFigures) => healthAt !== null && +now - +healthAt > FRESH;
  const cell = (label: string, value: Part, kind = "") =>
    html`<td data-label="${label}" class="${kind}">${value}</td>`;
  const row = (agent: AgentFigures) =>
    html`<tr>
      <th scope="row">
        ${name(agent.name)}<span class="muted"
          >${agent.status}${organization === null && html` · ${agent.organizationId === null ? "platform" : shortId(agent.organizationId)}`}</span
        >
      </th>
      ${cell("Health", html`${agent.health === null ? badge("rest", "not taken") : badge(toneOf(agent), agent.health)}${isOld(agent) && agent.healthAt !== null && html`<span class="muted">${ago(agent.healthAt, now)}</span>`}`)}
      ${cell("Breaker", html`${badge(BREAKER_TONES[agent.breaker], agent.breaker.replace("_", " "))}${agent.breaker !== "closed" && agent.breakerOpenedAt !== null && html`<span class="muted">opened ${ago(agent.breakerOpenedAt, now)}</span>`}`)}
      ${cell("By day", agent.executions > 0 && plots.traffic(agent.name, agent.days), "traffic")}
      ${cell("Executions", count(agent.executions), "number")}
      ${cell("Success", percent(successRate(agent)), "number")}
      ${cell("p50", duration(agent.p50), "number")} ${cell("p95", duration(agent.p95), "number")}
      ${cell("Cost", usd(agent.usd), "number")}
    </tr>`;
  return section(
    {
      title: "Agents",
      about:
        "What needs a look comes first. Bars by day are executions, those that failed at their foot, each agent on its own scale.",
    },
    html`<table class="agents">
      <thead>
        <tr>
          <th scope="col">Agent</th>
          <th scope="col">Health</th>
          <th scope="col">Breaker</th>
          <th scope="col">By day</th>
          <th scope="col" class="number">Executions</th>
          <th scope="col" class="number">Success</th>
          <th scope="col" class="number">p50</th>
          <th scope="col" class="number">p95</th>
          <th scope="col" class="number">Cost</th>
        </tr>
      </thead>
      <tbody>
        ${fleet.shown.map(row)}
      </tbody>
    </table>`,
    leftOut(fleet, "agent"),
  );
}

// ── Limits ──

/** Bars of one list have one scale, and the longest of what is overspent ends it. */
const scaleOf = (shares: readonly number[]) => Math.min(2, Math.max(1.1, ...shares));

function budgets({ budgets: all }: Figures): Part {
  if (all.shown.length === 0) return null;
  const of = scaleOf(all.shown.flatMap(({ windows }) => windows.map(budgetShare)));
  const line = (budget: BudgetState) => {
    const tone = budget.isSpent ? "bad" : budget.isAlertDue ? "warn" : "main";
    return html`<span>${WINDOWS[budget.window]}</span>
      ${bar({ share: budgetShare(budget), of, colour: `var(--${tone})`, limit: 1 })}
      <span class="value">${usd(Number(budget.spentUsd))} of ${usd(Number(budget.limitUsd))}</span
      ><span class="muted">${percent(budgetShare(budget))}</span>
      ${budget.isSpent && html`<span class="said muted">spent, until ${moment(budget.resetsAt)}: ${budget.action === null ? "nothing happens" : budget.action.replace("_", " ")}</span>`}`;
  };
  const item = ({ agentName, organizationId, windows }: BudgetFigures) =>
    html`<li>
      <strong
        >${agentName === null ? html`the whole organization${organizationId !== null && html` <span class="muted">${shortId(organizationId)}</span>`}` : name(agentName)}</strong
      >
      <div class="windows">${windows.map(line)}</div>
    </li>`;
  return section(
    { title: "Budgets", about: "Spent and reserved against the limit, the line at 100%." },
    html`<ul class="bars">
      ${all.shown.map(item)}
    </ul>`,
    leftOut(all, "budget"),
  );
}

const WINDOWS = { daily: "day", weekly: "week", monthly: "month" };

function errorBudgets({ errorBudgets: all }: Figures): Part {
  if (all.shown.length === 0) return null;
  const of = scaleOf(all.shown.map(({ usedShare }) => usedShare ?? 0));
  const line = (budget: (typeof all.shown)[number]) => {
    const share = budget.usedShare ?? Number(budget.failures > 0);
    const burn = budget.burns.find(({ isFiring }) => isFiring);
    const tone = share >= 1 ? "bad" : burn ? "warn" : "main";
    return html`<li>
      <span>${name(budget.agentName)}, ${percent(budget.targetSuccessRate)} promised</span>
      <span class="value"
        >${counted(budget.failures, "failure")} of ${budget.allowedFailures.toFixed(1)} allowed
        <span class="muted">${percent(share)}</span></span
      >
      ${bar({ share, of, colour: `var(--${tone})`, limit: 1 })}
      <span class="muted"
        >${day(budget.periodStart)} to ${day(budget.periodEnd)},
        ${counted(budget.executions, "execution")}${burn !== undefined && burn.long.burnRate !== null && html`; burns ${burn.long.burnRate.toFixed(1)} times too fast (${burn.severity})`}</span
      >
    </li>`;
  };
  return section(
    {
      title: "Error budgets",
      about:
        "How many executions failed against how many may by what is promised, the line at 100%.",
    },
    html`<ul class="bars">
      ${all.shown.map(line)}
    </ul>`,
    leftOut(all, "promise"),
  );
}

// ── Changes ──

function experiments({ tests, shadows }: Figures, plots: Plots): Part {
  if (tests.shown.length + shadows.shown.length === 0) return null;
  return section(
    { title: "Running experiments" },
    tests.shown.map((test) => abTest(test, plots)),
    leftOut(tests, "A/B test"),
    shadows.shown.length > 0 &&
      html`<ul class="plain">
        ${shadows.shown.map(shadow)}
      </ul>`,
    leftOut(shadows, "shadow test"),
  );
}

function abTest(test: RunningTest, plots: Plots): Html {
  const last = test.evidence.at(-1);
  const arm = (label: string, version: string, of: { executions: number; successes: number }) =>
    html`${label} ${name(version)}:
    ${percent(of.executions > 0 ? of.successes / of.executions : null)} of
    ${counted(of.executions, "execution")} succeeded`;
  return html`<article>
    <h3>
      ${name(test.testName)}
      <span class="muted"
        >A/B test of ${name(test.agentName)} since ${day(test.startDate)}, ${percent(test.split)} of
        the traffic to the treatment</span
      >
    </h3>
    <p>${name(test.hypothesis)}</p>
    ${
      last !== undefined &&
      html`<div class="plots">
        ${figure("How sure it is that they differ", html`Above the line, 95%, one wins: from ${count(test.minSampleSize)} executions each`, plots.certainty(test.evidence))}
        ${figure("Success so far", key(["var(--treatment)", "treatment"], ["var(--control)", "control", true]), plots.arms(test.evidence))}
        <p class="verdict">
          <strong>${percent(1 - Math.min(1, 1 / last.evidence))} sure</strong> that they differ<br />${arm("Treatment", test.treatment, last.treatment)}<br />${arm("Control", test.control, last.control)}
        </p>
      </div>`
    }
  </article>`;
}

const shadow = (test: RunningShadow): Html =>
  html`<li>
    <strong>${name(test.agentName)}</strong> shadow test since ${day(test.startDate)}:
    ${name(test.production)} succeeds in ${percent(test.productionSuccessRate)}, unseen
    ${name(test.shadow)} in
    ${percent(test.shadowSuccessRate)}${test.similarity !== null && html`; outputs are ${percent(test.similarity)} alike`}
  </li>`;

function canaries({ canaries: all }: Figures, plots: Plots): Part {
  if (all.shown.length === 0) return null;
  return section(
    {
      title: "Canaries",
      about:
        "A new version takes a growing share of the traffic, and is rolled back where it does worse. Those that go on, and those that ended in these days.",
    },
    html`<div class="plots">${all.shown.map((canary) => canaryCard(canary, plots))}</div>`,
    leftOut(all, "canary"),
  );
}

function canaryCard(canary: CanaryFigures, plots: Plots): Html {
  const isMeasured = canary.stages.some(
    ({ measured }) => measured && failureRate(measured.canary) !== null,
  );
  const when = canary.endedAt ?? canary.startedAt;
  return html`<figure>
    <figcaption>
      <h3>${name(canary.agentName)} ${name(canary.canary)}</h3>
      <p>
        ${badge(CANARY_TONES[canary.status], canary.status.replace("_", " "))}
        <span class="muted">${when !== null && day(when)}, instead of ${name(canary.current)}</span>
      </p>
      <ol class="stages" aria-label="share of the traffic, stage by stage">
        ${canary.stages.map((stage, n) => html`<li class="${stageState(canary, n + 1)}" ${n + 1 === canary.stage && html` aria-current="step"`}>${stage.traffic === null ? `stage ${n + 1}` : percent(stage.traffic)}</li>`)}
      </ol>
    </figcaption>
    ${
      isMeasured &&
      html`<p class="muted">
          Failed at each share of the
          traffic${canary.limit !== null && html`; rolled back on evidence for more than the line, ${percent(canary.limit)}`}.
          ${key(["var(--treatment)", "canary"], ["var(--control)", "current"])}
        </p>
        ${plots.canary(canary)}`
    }
    ${canary.reason !== null && html`<p>${name(canary.reason)}</p>`}
  </figure>`;
}

const CANARY_TONES: Record<CanaryFigures["status"], Tone> = {
  pending: "rest",
  running: "good",
  paused: "warn",
  completed: "good",
  rolled_back: "bad",
};

function stageState({ status, stage }: CanaryFigures, n: number): string {
  if (n < stage || status === "completed") return "done";
  if (n > stage) return "ahead";
  return status === "rolled_back" ? "failed" : "now";
}

function stories({ stories: all }: Figures): Part {
  if (all.shown.length === 0) return null;
  const link = (head: string, text: string) =>
    html`<div>
      <dt>${head}</dt>
      <dd>${name(text)}</dd>
    </div>`;
  const story = (told: (typeof all.shown)[number]) =>
    html`<article>
      <h3>${name(told.prompt.agentName)} ${name(told.prompt.version)}</h3>
      <p>${stateOf(told)}</p>
      <dl class="story">
        ${linksOf(told).map(([head, text]) => link(head, text))}${told.missing.length > 0 && link("missing", told.missing.join("; "))}
      </dl>
    </article>`;
  return section(
    { title: "Why each prompt is live" },
    html`<div class="stories">${all.shown.map(story)}</div>`,
    leftOut(all, "prompt"),
  );
}
