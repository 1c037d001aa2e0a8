/** Figures as people read them. */
const LOCALE = "en-US";

const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(LOCALE, { notation: "compact", maximumSignificantDigits: 3 });
const significant = new Intl.NumberFormat(LOCALE, { maximumSignificantDigits: 3 });
const cents = new Intl.NumberFormat(LOCALE, { style: "currency", currency: "USD" });
const dollars = new Intl.NumberFormat(LOCALE, {
  style: "currency",
  currency: "USD",
  maximumFractionDigits: 0,
});
const small = new Intl.NumberFormat(LOCALE, {
  style: "currency",
  currency: "USD",
  maximumSignificantDigits: 2,
});

export const count = (n: number): string => (n < 100_000 ? whole.format(n) : short.format(n));

export const counted = (n: number, noun: string): string =>
  `${count(n)} ${n === 1 ? noun : noun.endsWith("y") ? `${noun.slice(0, -1)}ies` : `${noun}s`}`;

export function usd(amount: number): string {
  if (amount >= 1000) return dollars.format(amount);
  return amount === 0 || amount >= 0.01 ? cents.format(amount) : small.format(amount);
}

/** Of an axis: no two ticks read alike. */
export function usdTick(amount: number): string {
  if (amount >= 1000) return `$${short.format(amount)}`;
  const isWhole = Math.abs(amount * 100 - Math.round(amount * 100)) < 1e-6;
  return isWhole ? cents.format(amount) : small.format(amount);
}

/** For an axis, whose zero needs no unit. */
export const tick =
  (format: (value: number) => string) =>
  (value: number): string =>
    value === 0 ? "0" : format(value);

/** A ratio as percent; never 100 % where something is missing. */
export function percent(ratio: number | null): string {
  if (ratio === null) return "–";
  const rounded = Math.round(ratio * 1000) / 10;
  const honest = rounded === 100 && ratio < 1 ? 99.9 : rounded;
  return `${honest >= 100 ? whole.format(honest) : significant.format(honest)}%`;
}

/** No line ends between a number and its unit. */
const united = (text: string, unit: string) => `${text}\u00A0${unit}`;

/** `n = 18`, how many a rate is of. */
export const sample = (n: number): string => united(united("n", "="), count(n));

/** Milliseconds as the unit that suits. */
export function duration(ms: number | null): string {
  if (ms === null) return "–";
  if (ms < 1000) return united(whole.format(ms), "ms");
  return ms < 120_000
    ? united(significant.format(ms / 1000), "s")
    : united(significant.format(ms / 60_000), "min");
}

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

/** `31 Jan`, of a day or an instant in UTC. */
export function day(of: Date | string): string {
  const at = new Date(of);
  return united(String(at.getUTCDate()), MONTHS[at.getUTCMonth()] ?? "");
}

export const longDay = (of: Date): string => united(day(of), String(of.getUTCFullYear()));

/** `31 Jan, 11:39`, in UTC. */
export const moment = (at: Date): string => united(`${day(at)},`, at.toISOString().slice(11, 16));

/** How long ago, in the largest unit that fits twice. */
export function ago(at: Date, now: Date): string {
  const minutes = Math.max(0, Math.round((+now - +at) / 60_000));
  if (minutes === 0) return "just now";
  if (minutes < 120) return `${united(String(minutes), "min")} ago`;
  return minutes < 2 * 1440
    ? `${united(String(Math.round(minutes / 60)), "h")} ago`
    : `${united(String(Math.round(minutes / 1440)), "days")} ago`;
}
