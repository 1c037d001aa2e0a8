/** The circuit breaker as its rules say, in memory. Instants are microseconds. */
import type { Outcome } from "../src/fleet/breaker.ts";
import type { CircuitState } from "../src/values.ts";

/** One outcome that is told. */
export interface Told {
  readonly outcome: Outcome;
  /** `undefined`: now. */
  readonly at?: number | undefined;
  readonly probe?: number | null | undefined;
}

const SECOND = 1_000_000;
const MILLISECOND = 1000;

export class BreakerModel {
  state: CircuitState = "closed";
  failures = 0;
  successes = 0;
  lastFailure = -Infinity;
  lastSuccess = -Infinity;
  opened = -Infinity;
  ticket = -Infinity;
  failureThreshold = 5;
  successThreshold = 3;
  cooldown = 60 * SECOND;

  acquire(now: number) {
    const { state } = this;
    if (state === "closed") return { allowed: true, state, probe: null, retryAt: null };
    const lease = Math.max(this.cooldown, SECOND);
    const isOut = this.lastSuccess < this.ticket;
    const due = state === "open" ? this.opened + this.cooldown : isOut ? this.ticket + lease : now;
    if (now < due) return { allowed: false, state, probe: null, retryAt: due };
    if (state === "open") this.successes = 0;
    this.state = "half_open";
    const next = Math.max(now, Math.max(this.ticket, this.lastSuccess) + MILLISECOND);
    this.ticket = Math.floor(next / MILLISECOND) * MILLISECOND;
    return { allowed: true, state: this.state, probe: this.ticket, retryAt: null };
  }

  tell(now: number, told: readonly Told[]) {
    const { state, failures, successes, lastFailure, lastSuccess } = this;
    const ordered = told.toSorted(
      (a, b) => (a.at ?? Infinity) - (b.at ?? Infinity) || a.outcome.localeCompare(b.outcome),
    );
    for (const [n, { outcome, at = Infinity, probe = null }] of ordered.entries()) {
      this.#one(outcome, Math.min(at, now - (ordered.length - 1 - n)), probe);
    }
    const changed = this.state !== state;
    if (changed) this.successes = 0;
    if (changed && this.state === "open") this.opened = Math.max(now, this.opened);
    const isSame =
      this.failures === failures &&
      this.successes === successes &&
      this.lastFailure === lastFailure;
    // Only the time of a success has moved, and by less than a second.
    if (!changed && isSame && this.lastSuccess < lastSuccess + SECOND) {
      this.lastSuccess = lastSuccess;
    }
    return { state: this.state, changed };
  }

  #one(outcome: Outcome, at: number, probe: number | null): void {
    const failed = outcome === "failure";
    if (this.state === "closed" && probe === null) {
      if (failed && at > this.lastSuccess) {
        this.failures += 1;
        this.lastFailure = Math.max(this.lastFailure, at);
        if (this.failures >= this.failureThreshold) this.state = "open";
      } else if (!failed && at >= this.lastFailure) {
        this.failures = 0;
        this.lastSuccess = Math.max(this.lastSuccess, at);
      }
      return;
    }
    const isCurrent = probe === this.ticket && this.lastSuccess < this.ticket;
    if (this.state !== "half_open" || !isCurrent) return;
    if (failed) {
      this.state = "open";
      this.lastFailure = Math.max(this.lastFailure, at);
      return;
    }
    this.successes += 1;
    this.lastSuccess = Math.max(this.ticket, at);
    if (this.successes >= this.successThreshold) {
      this.state = "closed";
      this.failures = 0;
    }
  }

  reset() {
    const changed = this.state !== "closed";
    Object.assign(this, { state: "closed", failures: 0, successes: 0 });
    return { state: this.state, changed };
  }
}
