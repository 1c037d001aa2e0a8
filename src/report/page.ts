/** The page: one file of HTML with its style and its plots in it, that asks nobody for anything. */
import type { BudgetState } from "../fleet/budgets.ts";
import { ENOUGH_EVIDENCE, ENOUGH_EXECUTIONS } from "../fleet/evidence.ts";
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
  failureRate,
  rateOverLimit,
  successRate,
} from "./figures.ts";
import { type Html, type Part, html } from "./html.ts";
import { type Plots, SURE, type Series, significanceOf } from "./plots.ts";
import { linksOf, stateOf, sure } from "./story.ts";
import { STYLE } from "./style.ts";
import {
  ago,
  count,
  counted,
  day,
  duration,
  longDay,
  moment,
  percent,
  sample,
  usd,
} from "./words.ts";

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
          <p>${freshness(figures)}</p>
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
    </html> `.text.replaceAll(/\n\s+/g, "\n");
}

function freshness({ latest, healthAt, now }: Figures): string {
  const told = (at: Date) => `${moment(at)} UTC (${ago(at, now)})`;
  return [
    latest === null ? "The log is empty." : `The last execution in the log: ${told(latest)}.`,
    healthAt === null ? "Health was never checked." : `Health was last checked: ${told(healthAt)}.`,
  ].join(" ");
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

/** Text whose dates are not broken at their hyphens. */
const prose = (text: string): Part =>
  text
    .split(/(\d{4}-\d\d-\d\d(?: \d\d:\d\d UTC)?)/)
    .map((part, n) => (n % 2 === 1 ? html`<span class="kept">${part}</span>` : part));

/** A text of somebody's, whose direction is its own. */
const name = (text: string): Html => html`<bdi>${prose(text)}</bdi>`;

/** The beginning of an organization's id, which tells a page's apart. */
const shortId = (id: string): Html =>
  html`<abbr title="organization ${id}">${id.slice(0, 8)}</abbr>`;

// ── What one sees first ──

function tiles({ total, agents: { shown, leftOut: n }, alerts: open }: Figures): Html {
  const healthy = shown.filter((agent) => toneOf(agent) === "good");
  const over = healthy.filter((agent) => agent.over.length > 0).length;
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
    ${tile("Agents", count(shown.length + n), `${healthy.length} healthy${n > 0 ? ` of ${shown.length} shown` : ""}${over > 0 ? `, ${over} of them over a limit` : ""}`)}
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
  const subject = ({ agentName, title }: OpenAlert): Part => {
    if (agentName === null) return "the organization, ";
    return !title.includes(agentName) && html`${name(agentName)}, `;
  };
  const item = (alert: OpenAlert) =>
    html`<li>
      ${badge(SEVERITY_TONES[alert.severity], alert.severity)}
      <div>
        <strong>${name(alert.title)}</strong>
        <span class="muted"
          >${subject(alert)}${ago(alert.createdAt, now)}, taken on by
          ${alert.acknowledgedBy === null ? "nobody yet" : name(alert.acknowledgedBy || "somebody")}</span
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

const key = (...entries: readonly [colour: string, text: Part, isDashed?: boolean][]): Html =>
  html`<span class="key"
    >${entries.map(
      ([colour, text, isDashed = false]) =>
        html`<span
          ><i style="--of: ${colour}" ${isDashed && html` class="dashed"`}></i>${text}</span
        >`,
    )}</span
  >`;

function overDays({ days, models, total, ...of }: Figures, plots: Plots): Html {
  if (total.executions === 0 && total.usd === 0) {
    return section({ title: "Day by day" }, html`<p>Nothing was recorded in these days.</p>`);
  }
  const series = seriesOf(models);
  const target = sharedTarget(of);
  return section(
    {
      title: "Day by day",
      about: `Days of UTC. The last one, ${day(of.now)}, goes up to ${of.now.toISOString().slice(11, 16)} and is not over.`,
    },
    html`<div class="plots">
        ${figure("Executions", key(["var(--bad)", "failed"], ["var(--main)", "succeeded"], ["var(--control)", "cancelled"], ["var(--m4)", "running"]), plots.executions(days))}
        ${figure("Success", target === undefined ? "Share of the executions that ended" : `Share of the executions that ended; the line is the ${percent(target)} that are promised`, plots.success(days, target))}
        ${figure("Latency", "Half (p50) and 95 in 100 (p95) took no longer", plots.latency(days))}
        ${figure("Cost", html`US dollars a day ${key(...series.map(keyOf))}`, plots.cost(days, models, series))}
        ${costByModel(models, series)}
      </div>
      ${table(days)}`,
  );
}

/** What every agent promises; nothing where they promise different things, or some nothing. */
function sharedTarget({
  agents: fleet,
  errorBudgets: promises,
}: Pick<Figures, "agents" | "errorBudgets">): number | undefined {
  const targets = new Set(promises.shown.map(({ targetSuccessRate }) => targetSuccessRate));
  const promising = new Set(promises.shown.map(({ agentId }) => agentId));
  const isWhole = fleet.leftOut + promises.leftOut === 0 && promising.size === fleet.shown.length;
  return isWhole && targets.size === 1 ? [...targets][0] : undefined;
}

const labelOf = ({ model, isOther }: Series): Part => {
  if (isOther) return "other models";
  return model === null ? "model not named" : name(model);
};
const keyOf = (series: Series): [string, Part] => [series.colour, labelOf(series)];

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
  const lines = series.map((of) =>
    line(labelOf(of), sums.get(of.isOther ? undefined : of.model) ?? 0, of.colour),
  );
  return html`<figure class="wide">
    <figcaption>
      <h3>Cost by model</h3>
      <p>US dollars over all these days, and each model's share of them</p>
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
  /** A mark, as a share. */
  readonly limit?: number | undefined;
}

/** A bar from zero; its numbers stand beside it as text. */
const bar = ({ share, of, colour, limit }: Bar): Html => {
  const at = (part: number) => `${Math.round((Math.min(Math.max(part, 0), of) / of) * 1000) / 10}%`;
  return html`<span class="bar" aria-hidden="true"
    ><i
      style="width: ${at(share)}; background: ${colour}"
      ${share > of && html` class="beyond"`}
    ></i
    >${limit !== undefined && html`<b style="left: ${at(limit)}"></b>`}</span
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
    <summary>These numbers as a table</summary>
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
          >${agent.status}${organization === null && html` · ${agent.organizationId === null ? "platform" : html`organization ${shortId(agent.organizationId)}`}`}</span
        >
      </th>
      ${cell("Health", html`${agent.health === null ? badge("rest", "not taken") : badge(toneOf(agent), agent.health)}${isOld(agent) && agent.healthAt !== null && html`<span class="muted">${ago(agent.healthAt, now)}</span>`}${agent.over.map((what) => badge("bad", what))}`)}
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
        "What needs a look comes first. Health is of the last hours; the limits below it are of the days, and an agent may be healthy now and over them. Bars by day are executions, those that failed at their foot, each agent on its own scale.",
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

/** All bars have one scale, so that the line stands where it stood; what is longer ends in an arrow. */
const SCALE = 1.25;

function budgets({ budgets: all }: Figures): Part {
  if (all.shown.length === 0) return null;
  const line = (budget: BudgetState) => {
    const tone = budget.isSpent ? "bad" : budget.isAlertDue ? "warn" : "main";
    return html`<span>${WINDOWS[budget.window]}</span>
      ${bar({ share: budgetShare(budget), of: SCALE, colour: `var(--${tone})`, limit: 1 })}
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
    {
      title: "Budgets",
      about:
        "Spent and reserved, the fullest first. The line is the limit, 100%; amber is from where its alert is due, 80% unless the budget says otherwise, red where it is spent.",
    },
    html`<ul class="bars">
      ${all.shown.map(item)}
    </ul>`,
    leftOut(all, "budget"),
  );
}

const WINDOWS = { daily: "day", weekly: "week", monthly: "month" };

function errorBudgets({ errorBudgets: all }: Figures): Part {
  if (all.shown.length === 0) return null;
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
      ${bar({ share, of: SCALE, colour: `var(--${tone})`, limit: 1 })}
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
        "How many executions failed, and how many may fail while the success that is promised is kept; the fullest first. The line is all that may, 100%; amber is failing too fast to last, red where it is used up.",
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

type Evidence = RunningTest["evidence"][number];
const shareOf = (successes: number, n: number) => percent(n > 0 ? successes / n : null);

function verdictOf({ minSampleSize }: RunningTest, { evidence, control, treatment }: Evidence) {
  const significance = significanceOf(evidence);
  if (significance < SURE) {
    return `Not decided yet: ${sure(significance)}, and ${percent(SURE)} are asked.`;
  }
  const least = Math.min(control.executions, treatment.executions);
  if (least < minSampleSize) {
    return `Not decided yet: ${sure(significance)}, and one side has ${count(least)} of the ${counted(minSampleSize, "execution")} that are asked.`;
  }
  const isBetter =
    treatment.successes / treatment.executions > control.successes / control.executions;
  return `Enough evidence for the ${isBetter ? "treatment" : "control"}: ${sure(significance)}.`;
}

function abTest(test: RunningTest, plots: Plots): Html {
  const last = test.evidence.at(-1);
  const arm = (label: string, version: string, of: Evidence["control"]) =>
    html`${label} ${name(version)}: ${shareOf(of.successes, of.executions)} succeeded,
    ${sample(of.executions)}`;
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
        ${figure("How sure it is that they differ", html`Above the line, ${percent(SURE)}, one wins: from ${counted(test.minSampleSize, "execution")} each`, plots.certainty(test.evidence))}
        ${figure("Success so far", key(["var(--treatment)", `treatment, ${sample(last.treatment.executions)}`], ["var(--control)", `control, ${sample(last.control.executions)}`, true]), plots.arms(test.evidence))}
        <p class="verdict">
          <strong>${verdictOf(test, last)}</strong
          ><br />${arm("Treatment", test.treatment, last.treatment)}<br />${arm("Control", test.control, last.control)}
          <span class="muted"
            >The test is sequential: one may look on any day and as often as one likes. So it is
            less sure than a test that looks once, at its end, would be with the same numbers.</span
          >
        </p>
      </div>`
    }
  </article>`;
}

function shadow(test: RunningShadow): Html {
  const { pairs, minSampleSize } = test;
  const side = (label: string, version: string, successes: number) =>
    html`${label} ${name(version)} succeeded in ${shareOf(successes, pairs)}, ${sample(pairs)}`;
  return html`<li>
    <strong>${name(test.agentName)}</strong> shadow test since ${day(test.startDate)}:
    ${name(test.shadow)} runs beside ${name(test.production)} on the same requests, and nobody is
    given its answers.
    <p>
      ${side("Production", test.production, test.productionSuccesses)};
      ${side("shadow", test.shadow, test.shadowSuccesses)}${test.similarity !== null && html`; outputs are ${percent(test.similarity)} alike`}.
      <strong
        >${
          pairs < minSampleSize
            ? `Not decided yet: ${count(pairs)} of the ${counted(minSampleSize, "pair")} that are asked.`
            : `It has the ${counted(minSampleSize, "pair")} that are asked: somebody may decide.`
        }</strong
      >
    </p>
  </li>`;
}

function canaries({ canaries: all, now }: Figures, plots: Plots): Part {
  if (all.shown.length === 0) return null;
  return section(
    {
      title: "Canaries",
      about:
        "A new version takes a growing share of the traffic, and is rolled back where it does worse. Those that go on, and those that ended in these days.",
    },
    html`<div class="plots">${all.shown.map((canary) => canaryCard(canary, plots, now))}</div>`,
    leftOut(all, "canary"),
  );
}

/** How `stepCanary` judges the present stage, by what it has kept of it, or what it waits for. */
function canaryVerdict(canary: CanaryFigures, now: Date): string | null {
  const { status, stage, stages, limit } = canary;
  if (status === "pending") return "Not begun.";
  if (status === "paused") return "Paused: when it goes on its stage begins anew.";
  const { measured, evidence, minutes, startedAt } = stages[stage - 1] ?? {};
  if (status !== "running") return null;
  if (!measured || minutes === undefined) return "Not judged yet: its stage has just begun.";
  const { executions, failures } = measured.canary;
  const ends = +(startedAt ?? canary.startedAt ?? now) + minutes * 60_000;
  const rate = rateOverLimit(canary);
  let waits = rate === null ? "Ready for its next step." : "So it does not go on.";
  if (executions < ENOUGH_EXECUTIONS) {
    waits = `Too few executions to go on: ${executions} of the ${ENOUGH_EXECUTIONS} that a stage needs by default.`;
  } else if (+now < ends) waits = `Its stage goes on until ${moment(new Date(ends))} at least.`;
  if (rate === null || limit === null) return `Not rolled back so far. ${waits}`;
  return `Fails more often than the limit, ${failures} of ${executions}, without enough evidence to roll it back: ${(evidence ?? 1).toFixed(1)} of the ${ENOUGH_EVIDENCE} that are asked. ${waits}`;
}

function canaryCard(canary: CanaryFigures, plots: Plots, now: Date): Html {
  const isMeasured = canary.stages.some(
    ({ measured }) => measured && failureRate(measured.canary) !== null,
  );
  const when = canary.endedAt ?? canary.startedAt;
  const verdict = canaryVerdict(canary, now);
  const tone = rateOverLimit(canary) === null ? CANARY_TONES[canary.status] : "warn";
  return html`<figure>
    <figcaption>
      <h3>${name(canary.agentName)} ${name(canary.canary)}</h3>
      <p>
        ${badge(tone, canary.status.replace("_", " "))}
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
          traffic${canary.limit !== null && html`. The line, ${percent(canary.limit)} of the canary's executions, is its limit, whatever the current version does`}.<br />
          ${key(["var(--control)", "current"], ["var(--treatment)", "canary"])}
        </p>
        ${plots.canary(canary)}`
    }
    ${verdict !== null && html`<p class="verdict">${verdict}</p>`}
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
      <p>${prose(stateOf(told))}</p>
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
