/** The e-values of `src/fleet/evidence.ts` once more in plain TypeScript, unit by unit. */

/** What one user, or one execution without one, did in an arm. */
export interface Unit {
  readonly n: number;
  readonly s: number;
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]) => sum(values) / values.length;
const exp = (x: number) => Math.exp(Math.max(-300, Math.min(300, x)));

function armOf(units: readonly Unit[]) {
  const n = sum(units.map((unit) => unit.n));
  const s = sum(units.map((unit) => unit.s));
  const spread = sum(units.map((unit) => (unit.s - (unit.n * s) / n) ** 2)) / n ** 2;
  return { n, s, spread };
}

export function evidenceOfDifference(control: readonly Unit[], treatment: readonly Unit[]): number {
  const [c, t] = [armOf(control), armOf(treatment)];
  if (c.n === 0 || t.n === 0) return 1;
  const p = (c.s + t.s + 0.5) / (c.n + t.n + 1);
  const v = Math.max(p * (1 - p) * (1 / c.n + 1 / t.n), c.spread + t.spread);
  const d = t.s / t.n - c.s / c.n;
  return mean(
    [0.01, 0.03, 0.1].map((tau) =>
      exp(0.5 * Math.log(v / (v + tau ** 2)) + (tau ** 2 * d ** 2) / (2 * v * (v + tau ** 2))),
    ),
  );
}

export const evidenceOfFailure = (failures: number, successes: number, limit: number): number =>
  mean(
    [0.1, 0.25, 0.5, 0.9].map((share) => {
      const rate = limit + (1 - limit) * share;
      return exp(
        failures * Math.log(rate / limit) + successes * Math.log((1 - rate) / (1 - limit)),
      );
    }),
  );

export const evidenceOfMismatch = (control: number, treatment: number, split: number): number =>
  mean(
    [0.5, 0.8, 0.9, 0.95, 1.05, 1.1, 1.25, 2].map((factor) => {
      const share = (factor * split) / (1 - split + factor * split);
      return exp(
        treatment * Math.log(share / split) + control * Math.log((1 - share) / (1 - split)),
      );
    }),
  );
