import { Code, type CallOptions } from "@connectrpc/connect";
import { StylizeError } from "./errors.js";

/** When a failed call is repeated: the `retryPolicy` of a gRPC service config. */
export interface RetryPolicy {
  readonly maxAttempts: number;
  readonly initialBackoffMs: number;
  readonly maxBackoffMs: number;
  readonly backoffMultiplier: number;
  readonly retryableCodes: readonly Code[];
}

/** UNAVAILABLE is the only code that invites a plain retry. */
export const RETRY_POLICY: RetryPolicy = {
  maxAttempts: 5,
  initialBackoffMs: 200,
  maxBackoffMs: 5_000,
  backoffMultiplier: 2,
  retryableCodes: [Code.Unavailable],
};

/** Milliseconds that a call with one response may take, unless the caller says otherwise. */
export const CALL_TIMEOUT_MS = 60_000;
/** The longest time that timers of JavaScript can wait, 24 days; beyond it they fire at once. A later deadline is none. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** What a caller can say about one call. */
export interface CallLimits {
  /** Ends the call. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds for the whole call, retries included. */
  readonly timeoutMs?: number | undefined;
}

/** The total time of a call, however often it is begun. */
export class Deadline {
  readonly #signal: AbortSignal | undefined;
  readonly #until: number;

  constructor({ signal, timeoutMs }: CallLimits, defaultTimeoutMs = Infinity) {
    const allowedMs = timeoutMs ?? defaultTimeoutMs;
    if (!(allowedMs > 0)) throw new RangeError(`timeoutMs: ${allowedMs} is not above 0`);
    this.#signal = signal;
    this.#until = performance.now() + allowedMs;
  }

  /** Milliseconds that are left, at least 1: a timeout of 0 would be none. */
  get leftMs(): number {
    return Math.max(1, Math.ceil(this.#until - performance.now()));
  }

  /** Options for the next attempt. */
  callOptions(): CallOptions {
    const timeoutMs = this.leftMs;
    const timeout = timeoutMs > LONGEST_TIMER_MS ? {} : { timeoutMs };
    return { ...timeout, ...(this.#signal && { signal: this.#signal }) };
  }

  /** Translate what an attempt threw; a call that its caller ended is CANCELLED. */
  translate(thrown: unknown): StylizeError {
    if (!this.#signal?.aborted) return StylizeError.from(thrown);
    return new StylizeError(Code.Canceled, "the caller ended the call", {}, { cause: thrown });
  }

  /** Wait before the next attempt; throws `error` if the time would be up or the caller ended the call. */
  async wait(ms: number, error: StylizeError): Promise<void> {
    if (performance.now() + ms >= this.#until) throw error;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, Math.min(ms, LONGEST_TIMER_MS));
      const signal = this.#signal;
      function done(): void {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        resolve();
      }
      signal?.addEventListener("abort", done);
      if (signal?.aborted) done();
    });
    if (this.#signal?.aborted) throw this.translate(error);
  }
}

/** Growing, random delays; the server's own recommendation is a lower bound. */
export class Backoff {
  #nextMs: number;

  constructor(readonly policy: RetryPolicy) {
    this.#nextMs = policy.initialBackoffMs;
  }

  /** Begin again with the shortest delay. */
  reset(): void {
    this.#nextMs = this.policy.initialBackoffMs;
  }

  /** Milliseconds to wait after an error. */
  delayAfter(error: StylizeError): number {
    const delay = this.#nextMs * (0.8 + 0.4 * Math.random());
    this.#nextMs = Math.min(this.policy.backoffMultiplier * this.#nextMs, this.policy.maxBackoffMs);
    return Math.max(delay, error.retryDelayMs ?? 0);
  }
}

/** The calls of a client: they are repeated by one policy, and end with the client. */
export class Calls {
  readonly #closing = new AbortController();

  constructor(readonly policy: RetryPolicy) {}

  /** Limit a call by what its caller says, and by the end of the client. */
  deadline({ signal, timeoutMs }: CallLimits = {}, defaultTimeoutMs?: number): Deadline {
    const ending = AbortSignal.any([this.#closing.signal, ...(signal ? [signal] : [])]);
    return new Deadline({ signal: ending, timeoutMs }, defaultTimeoutMs);
  }

  /** Make a call that has one response, with retries. */
  async call<T>(
    attempt: (options: CallOptions) => Promise<T>,
    limits?: CallLimits,
    defaultTimeoutMs = CALL_TIMEOUT_MS,
  ): Promise<T> {
    return this.retried(attempt, this.deadline(limits, defaultTimeoutMs));
  }

  /** Repeat an attempt within the time of its call. */
  async retried<T>(attempt: (options: CallOptions) => Promise<T>, deadline: Deadline): Promise<T> {
    const backoff = new Backoff(this.policy);
    for (let count = 1; ; count++) {
      try {
        return await attempt(deadline.callOptions());
      } catch (thrown) {
        const error = deadline.translate(thrown);
        if (count >= this.policy.maxAttempts || !this.policy.retryableCodes.includes(error.code)) throw error;
        await deadline.wait(backoff.delayAfter(error), error);
      }
    }
  }

  /** End all calls, those that wait for their next attempt and later ones included. */
  close(): void {
    this.#closing.abort();
  }
}
