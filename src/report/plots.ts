/** The plots of the page, drawn by Observable Plot into SVG. All their text is of ours: days, numbers, units. */
import type { EvidenceSoFar } from "../fleet/ab-tests.ts";
import {
  type CanaryFigures,
  type Day,
  type ModelCost,
  failureRate,
  successRate,
} from "./figures.ts";
import { Html } from "./html.ts";
import { count, counted, day, duration, moment, percent, tick, usd, usdTick } from "./words.ts";

/** What draws. Each answers an SVG that says in words what it shows. */
export interface Plots {
  readonly executions: (days: readonly Day[]) => Html;
  /** @param target a ratio that all promise */
  readonly success: (days: readonly Day[], target: number | undefined) => Html;
  readonly latency: (days: readonly Day[]) => Html;
  readonly cost: (
    days: readonly Day[],
    costs: readonly ModelCost[],
    models: readonly Series[],
  ) => Html;
  readonly traffic: (
    name: string,
    days: readonly Pick<Day, "day" | "executions" | "failures">[],
  ) => Html;
  readonly certainty: (evidence: readonly EvidenceSoFar[]) => Html;
  readonly arms: (evidence: readonly EvidenceSoFar[]) => Html;
  readonly canary: (canary: CanaryFigures) => Html;
}

/** A model and its colour. `null`: all others. */
export interface Series {
  readonly model: string | null;
  readonly isOther: boolean;
  readonly colour: string;
}

/** The significance that names a winner, as `refreshAbTest` has it by default. */
export const SURE = 0.95;
/** What an e-value is as `statistical_significance`. */
export const significanceOf = (evidence: number): number => 1 - Math.min(1, 1 / evidence);
const [WIDTH, HEIGHT] = [380, 190];

/**
 * Loads what draws: two packages of the application's.
 * @throws {Error} when they are not installed, naming them
 */
export async function loadPlots(): Promise<Plots> {
  const [Plot, { parseHTML }] = await Promise.all([
    import("@observablehq/plot"),
    import("linkedom"),
  ]).catch((cause: unknown) => {
    throw isNotInstalled(cause) ? new PlotsMissing({ cause }) : cause;
  });
  const { document } = parseHTML("<html></html>");

  type Options = Parameters<typeof Plot.plot>[0];
  const draw = (label: string, options: Options): Html => {
    const svg = Plot.plot({
      document,
      width: WIDTH,
      height: HEIGHT,
      marginLeft: 52,
      marginRight: 14,
      marginTop: 12,
      marginBottom: 24,
      style: { fontSize: "11px" },
      className: "plot",
      ...options,
    });
    // The page has its style once.
    svg.querySelector("style")?.remove();
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
    return new Html(svg.outerHTML);
  };
  const limitAt = (value: number, stroke: string) =>
    Plot.ruleY([value], { stroke, strokeDasharray: "4 3", strokeWidth: 1.5 });
  const zero = () => Plot.ruleY([0], { stroke: "var(--axis)" });
  const grid = (tickFormat: (value: number) => string, more = {}) => [
    Plot.gridY({ stroke: "var(--grid)", strokeOpacity: 1, ticks: 4, ...more }),
    Plot.axisY({
      tickSize: 0,
      tickPadding: 6,
      label: null,
      ticks: 4,
      tickFormat: tick(tickFormat),
      fill: "var(--muted)",
      ...more,
    }),
  ];
  const dayAxis = (days: readonly { day: string }[]) => {
    const step = Math.max(1, Math.ceil(days.length / 5));
    const ticks = days.map((of) => of.day).filter((_, n) => (days.length - 1 - n) % step === 0);
    return Plot.axisX(ticks, { tickSize: 0, label: null, tickFormat: day, fill: "var(--muted)" });
  };
  const overDays = (days: readonly { day: string }[]) => ({
    x: { type: "band" as const, domain: days.map((of) => of.day), padding: 0.18, label: null },
  });

  return {
    executions: (days) =>
      draw(`Executions a day: ${told(days, ({ executions }) => count(executions))}`, {
        ...overDays(days),
        y: fromZero(
          days.map(({ executions }) => executions),
          4,
        ),
        marks: [
          ...grid(count),
          Plot.barY(days.flatMap(outcomes), { x: "day", y: "n", fill: "colour", title: "title" }),
          zero(),
          dayAxis(days),
        ],
      }),

    success: (days, target) => {
      const rates = days.map((of) => ({ ...of, rate: successRate(of) }));
      return draw(`Success rate by day: ${told(rates, ({ rate }) => percent(rate))}`, {
        ...overDays(days),
        y: SHARE,
        marks: [
          ...grid(percent, { ticks: [0, 0.25, 0.5, 0.75, 1] }),
          Plot.areaY(rates, { x: "day", y: "rate", fill: "var(--good)", fillOpacity: 0.12 }),
          Plot.lineY(rates, { x: "day", y: "rate", stroke: "var(--good)", strokeWidth: 2 }),
          Plot.dot(rates, {
            x: "day",
            y: "rate",
            r: 2.5,
            fill: "var(--good)",
            title: (of: (typeof rates)[number]) =>
              `${day(of.day)}: ${percent(of.rate)}, ${of.failures} of ${of.successes + of.failures} failed`,
          }),
          target === undefined ? null : limitAt(target, "var(--warn)"),
          zero(),
          dayAxis(days),
        ],
      });
    },

    latency: (days) => {
      const top = Math.max(1, ...days.map(({ p95 }) => p95 ?? 0));
      const last = days.findLast(({ p95 }) => p95 !== null);
      // Of lines that meet the names would stand on each other.
      const isTight = last !== undefined && ((last.p95 ?? 0) - (last.p50 ?? 0)) / top < 0.09;
      const line = (name: "p50" | "p95", more: object, dy: number) => [
        Plot.lineY(days, { x: "day", y: name, stroke: "var(--main)", ...more }),
        Plot.dot(days, {
          x: "day",
          y: name,
          r: 2.5,
          fill: "var(--main)",
          title: (of: Day) => `${day(of.day)}: ${name} ${duration(of[name])}`,
        }),
        Plot.text(last ? [last] : [], {
          x: "day",
          y: name,
          text: () => name,
          dx: 10,
          dy: isTight ? dy : 0,
          textAnchor: "start",
          fontWeight: 600,
          fill: "var(--ink)",
        }),
      ];
      return draw(
        `Latency by day, half and 95 in 100 executions took no longer: ${told(days, ({ p50, p95 }) => `${duration(p50)} and ${duration(p95)}`)}`,
        {
          ...overDays(days),
          marginRight: 34,
          y: fromZero([top], 1),
          marks: [
            ...grid(duration),
            ...line("p95", { strokeWidth: 2 }, -6),
            ...line("p50", { strokeWidth: 2, strokeDasharray: "4 3" }, 6),
            zero(),
            dayAxis(days),
          ],
        },
      );
    },

    cost: (days, costs, models) => {
      const seriesOf = (model: string | null) =>
        models.find((series) => !series.isOther && series.model === model) ??
        models.find(({ isOther }) => isOther);
      const bars = costs
        .map((cost) => ({ ...cost, series: seriesOf(cost.model) }))
        .map(({ series, ...cost }) => ({
          ...cost,
          rank: series ? models.indexOf(series) : 0,
          colour: series?.colour ?? "var(--muted)",
          title: `${day(cost.day)}: ${usd(cost.usd)}`,
        }))
        .toSorted((a, b) => a.rank - b.rank);
      return draw(`Cost a day: ${told(days, ({ usd: amount }) => usd(amount))}`, {
        ...overDays(days),
        y: fromZero(
          days.map((of) => of.usd),
          0.000001,
        ),
        marks: [
          ...grid(usdTick),
          Plot.barY(bars, { x: "day", y: "usd", fill: "colour", title: "title" }),
          zero(),
          dayAxis(days),
        ],
      });
    },

    traffic: (name, days) =>
      draw(`Executions a day: ${told(days, ({ executions }) => count(executions))}`, {
        ...overDays(days),
        width: 132,
        height: 28,
        marginLeft: 0,
        marginRight: 0,
        marginTop: 1,
        marginBottom: 1,
        y: {
          ...fromZero(
            days.map(({ executions }) => executions),
            1,
          ),
          axis: null,
        },
        marks: [
          Plot.barY(
            days.flatMap((of) => [
              { day: of.day, n: of.failures, colour: "var(--bad)", title: titleOf(of) },
              {
                day: of.day,
                n: of.executions - of.failures,
                colour: "var(--main)",
                title: titleOf(of),
              },
            ]),
            { x: "day", y: "n", fill: "colour", title: "title" },
          ),
          Plot.ruleY([0], { stroke: "var(--axis)" }),
          Plot.axisX([], {}),
        ],
      }),

    certainty: (evidence) => {
      const points = evidence.map((of) => ({ at: of.at, sure: significanceOf(of.evidence) }));
      const last = points.at(-1);
      return draw(
        `How sure it is that the versions differ: ${percent(last?.sure ?? 0)} now, ${percent(SURE)} names a winner`,
        {
          x: { type: "utc", label: null },
          y: SHARE,
          marks: [
            ...grid(percent, { ticks: [0, 0.25, 0.5, 0.75, 1] }),
            limitAt(SURE, "var(--warn)"),
            Plot.areaY(points, { x: "at", y: "sure", fill: "var(--main)", fillOpacity: 0.12 }),
            Plot.lineY(points, { x: "at", y: "sure", stroke: "var(--main)", strokeWidth: 2 }),
            Plot.dot(last ? [last] : [], { x: "at", y: "sure", r: 3, fill: "var(--main)" }),
            zero(),
            instants(points),
          ],
        },
      );
    },

    arms: (evidence) => {
      const rate = ({ executions, successes }: EvidenceSoFar["control"]) =>
        executions > 0 ? successes / executions : null;
      const points = evidence.map(({ at: instant, control, treatment }) => ({
        at: instant,
        control: rate(control),
        treatment: rate(treatment),
      }));
      const last = points.at(-1);
      return draw(
        `Success rate so far: control ${percent(last?.control ?? null)}, treatment ${percent(last?.treatment ?? null)}`,
        {
          x: { type: "utc", label: null },
          y: SHARE,
          marks: [
            ...grid(percent, { ticks: [0, 0.25, 0.5, 0.75, 1] }),
            Plot.lineY(points, {
              x: "at",
              y: "control",
              stroke: "var(--control)",
              strokeWidth: 2,
              strokeDasharray: "4 3",
            }),
            Plot.lineY(points, {
              x: "at",
              y: "treatment",
              stroke: "var(--treatment)",
              strokeWidth: 2,
            }),
            zero(),
            instants(points),
          ],
        },
      );
    },

    canary: (canary) => {
      const nameOf = (n: number) => stageName(n, canary.stages[n]?.traffic ?? null);
      const bars = canary.stages.flatMap(({ measured }, stage) =>
        (["current", "canary"] as const).map((arm) => ({
          stage,
          arm,
          rate: measured ? failureRate(measured[arm]) : null,
          text: measured ? `${measured[arm].failures} of ${measured[arm].executions}` : "",
          colour: arm === "current" ? "var(--control)" : "var(--treatment)",
        })),
      );
      const empty = canary.stages.flatMap(({ measured }, stage) => {
        if (measured) return [];
        return [{ stage, text: stage < canary.stage ? "not judged" : "not reached" }];
      });
      const known = bars.filter(({ rate }) => rate !== null);
      const top = Math.max(0.01, canary.limit ?? 0, ...known.map(({ rate }) => rate ?? 0)) * 1.15;
      return draw(
        `Share of executions that failed by stage: ${known.map(({ stage, arm, text }) => `${nameOf(stage)} ${arm} ${text}`).join(", ")}`,
        {
          marginBottom: 26,
          x: { domain: ["current", "canary"], axis: null, padding: 0.15 },
          fx: {
            domain: canary.stages.map((_, n) => n),
            label: null,
            padding: 0.25,
          },
          y: { domain: [0, Math.min(1, top)], label: null },
          marks: [
            ...grid(percent),
            Plot.barY(known, {
              fx: "stage",
              x: "arm",
              y: "rate",
              fill: "colour",
              title: ({ rate, text }) => `${percent(rate)}, ${text}`,
            }),
            // Where there are more the bars are narrower than their numbers.
            Plot.text(canary.stages.length <= 3 ? known : [], {
              fx: "stage",
              x: "arm",
              y: "rate",
              text: "text",
              dy: -7,
              fill: "var(--ink)",
            }),
            Plot.text(canary.stages.length <= 3 ? empty : [], {
              fx: "stage",
              text: "text",
              frameAnchor: "bottom",
              dy: -8,
              fill: "var(--muted)",
            }),
            canary.limit === null ? null : limitAt(canary.limit, "var(--bad)"),
            zero(),
            Plot.axisFx({
              anchor: "bottom",
              tickFormat: nameOf,
              tickSize: 0,
              label: null,
              fill: "var(--muted)",
              dy: 2,
            }),
          ],
        },
      );
    },
  };

  function instants(points: readonly { at: Date }[]) {
    const [begin, end] = [points[0]?.at, points.at(-1)?.at];
    const isShort = begin && end && +end - +begin < 2 * 86_400_000;
    return Plot.axisX({
      ticks: 4,
      tickSize: 0,
      label: null,
      fill: "var(--muted)",
      tickFormat: (instant: Date) => (isShort ? moment(instant).slice(-5) : day(instant)),
    });
  }
}

/** The packages that draw are not there. */
export class PlotsMissing extends Error {
  constructor(options: ErrorOptions) {
    super(
      "a page needs the optional packages @observablehq/plot and linkedom: npm install --save-dev @observablehq/plot linkedom",
      options,
    );
  }
}

const isNotInstalled = (cause: unknown): boolean =>
  cause instanceof Error && "code" in cause && cause.code === "ERR_MODULE_NOT_FOUND";

const stageName = (n: number, traffic: number | null): string =>
  traffic === null ? `stage ${n + 1}` : percent(traffic);

/** A scale that begins at zero, whatever the values. */
const fromZero = (values: readonly number[], least: number) => ({
  domain: [0, Math.max(least, ...values)],
  nice: true,
  label: null,
});
const SHARE = { domain: [0, 1], label: null };

/** The first, the last and the extremes of a plot would repeat its numbers: the table below has them all. */
const told = <T extends { day: string }>(days: readonly T[], value: (of: T) => string): string => {
  const [begin, end] = [days[0], days.at(-1)];
  return begin && end
    ? `${value(begin)} on ${day(begin.day)}, ${value(end)} on ${day(end.day)}`
    : "none";
};

const titleOf = ({
  day: name,
  executions,
  failures,
}: Pick<Day, "day" | "executions" | "failures">) =>
  `${day(name)}: ${counted(executions, "execution")}, ${failures} failed`;

const outcomes = (of: Day) => {
  const title = titleOf(of);
  return [
    { day: of.day, n: of.failures, colour: "var(--bad)", title },
    { day: of.day, n: of.successes, colour: "var(--main)", title },
    { day: of.day, n: of.cancelled, colour: "var(--control)", title },
    {
      day: of.day,
      n: of.executions - of.successes - of.failures - of.cancelled,
      colour: "var(--m4)",
      title,
    },
  ];
};
