const TOLERATED_RISE = 1.2;
const TOLERATED_RISE_MS = 2_000;

/**
 * The time left, as it is shown: it counts down between two reports and never rises on its own. A report that is
 * only a little later than what is shown is noise and changes nothing; a much later one is news.
 */
export class Eta {
  #end: number | undefined;

  /** Forget the last run. */
  reset(): void {
    this.#end = undefined;
  }

  /** Take a report of the server: milliseconds left, at the time `now`. */
  report(leftMs: number, now: number): void {
    const shown = this.leftMs(now);
    const isNoise = shown !== undefined && leftMs > shown && leftMs <= shown * TOLERATED_RISE + TOLERATED_RISE_MS;
    if (!isNoise) this.#end = now + leftMs;
  }

  /** Milliseconds left at the time `now`; undefined before the first report. */
  leftMs(now: number): number | undefined {
    return this.#end === undefined ? undefined : Math.max(0, this.#end - now);
  }
}
