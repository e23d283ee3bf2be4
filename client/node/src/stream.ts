import { Code, type CallOptions } from "@connectrpc/connect";
import { brokenResult, StylizeError } from "./errors.js";
import { EventReader } from "./events.js";
import type { StylizationEvent, StylizationEvent_Result } from "./gen/clipstyler/v1/event_pb.js";
import { messages } from "./responses.js";
import { Backoff, type Calls, type CallLimits, type Deadline, type RetryPolicy } from "./retry.js";

/** Milliseconds without any message from the server after which a stream gives up. */
export const RESUME_TIMEOUT_MS = 120_000;

// Reasons of the server. A worker that crashed on a job is not sent the same job again.
const TRANSIENT = new Set(["DRAINING", "WORKER_NOT_READY", "STORAGE_UNAVAILABLE"]);

/**
 * After which interruptions a stream goes on: those that the server reports as transient, lost connections too, or any,
 * also resets by a proxy.
 *
 * A proxy resets streams whose time is up, too: a watch continues then, but a one-shot call would begin anew each time.
 */
export type ResumesAfter = "reported" | "connection" | "any";

/** Begins a stream of events after a sequence number. */
export type BeginAfter = (sequence: bigint, options: CallOptions) => AsyncIterable<{ event?: StylizationEvent | undefined }>;

/** How a stream is begun and how long it is resumed. */
export interface StreamSettings extends CallLimits {
  readonly calls: Calls;
  readonly afterSequence?: bigint | undefined;
  readonly resumeTimeoutMs?: number | undefined;
  readonly resumesAfter: ResumesAfter;
}

/**
 * The events of a stylization, its result last; resumes by itself after interruptions.
 *
 * Iterate over it once. Leaving the loop, or `close()`, ends the call: that cancels a one-shot stylization and changes
 * nothing for a job that is watched. A result that arrived in chunks is complete in `imageData`.
 */
export class StylizationStream implements AsyncIterable<StylizationEvent> {
  readonly #beginAfter: BeginAfter;
  readonly #settings: StreamSettings;
  readonly #closing = new AbortController();
  readonly #events: AsyncGenerator<StylizationEvent, void, undefined>;
  #sequence: bigint;
  #result: StylizationEvent_Result | undefined;
  /** What an event told: how the stylization ended. */
  #end: unknown;
  /** What a read threw: `result` throws it again. */
  #failure: { readonly thrown: unknown } | undefined;

  constructor(beginAfter: BeginAfter, settings: StreamSettings) {
    this.#beginAfter = beginAfter;
    this.#settings = settings;
    this.#sequence = settings.afterSequence ?? 0n;
    this.#events = this.#read();
  }

  /** Sequence number of the last event received: a later watch can begin after it. */
  get sequence(): bigint {
    return this.#sequence;
  }

  [Symbol.asyncIterator](): AsyncIterator<StylizationEvent, void, undefined> {
    const leave = async (): Promise<IteratorReturnResult<void>> => {
      this.close(); // first, so that a read that waits for the server ends
      await this.#events.return();
      return { done: true, value: undefined };
    };
    return { next: () => this.#events.next(), return: leave };
  }

  /** Wait for the end and return the result, skipping the other events; may be called again. */
  async result(): Promise<StylizationEvent_Result> {
    for await (const _ of this);
    if (this.#failure) throw this.#failure.thrown;
    if (!this.#result) throw brokenResult("the stream was closed before its result");
    return this.#result;
  }

  /** End the call; the server stops a one-shot stylization within one step. */
  close(): void {
    this.#closing.abort();
  }

  async *#read(): AsyncGenerator<StylizationEvent, void, undefined> {
    const { calls, signal, timeoutMs } = this.#settings;
    const ending = signal ? AbortSignal.any([signal, this.#closing.signal]) : this.#closing.signal;
    const { resumesAfter, resumeTimeoutMs = RESUME_TIMEOUT_MS } = this.#settings;
    const resumption = new Resumption(calls.policy, resumeTimeoutMs, resumesAfter);
    try {
      const deadline = calls.deadline({ signal: ending, timeoutMs });
      for (;;) {
        try {
          for await (const event of this.#once(deadline)) {
            resumption.received();
            yield event;
            resumption.waiting(); // the time of the reader is no silence of the server
          }
          return;
        } catch (thrown) {
          if (this.#result) return;
          const error = deadline.translate(thrown);
          // A job that is watched stays as it is, whatever would help the next one; a one-shot call may begin anew.
          if (this.#end && resumesAfter === "any") throw error;
          await deadline.wait(resumption.delayAfter(error), error);
        }
      }
    } catch (thrown) {
      if (this.#closing.signal.aborted) return;
      this.#failure = { thrown };
      throw thrown;
    } finally {
      this.close();
    }
  }

  async #decoded(reader: EventReader, message: StylizationEvent): Promise<StylizationEvent | undefined> {
    try {
      return await reader.read(message);
    } catch (end) {
      this.#end = end;
      throw end;
    }
  }

  async *#once(deadline: Deadline): AsyncGenerator<StylizationEvent, void, undefined> {
    const reader = new EventReader();
    const begin = (options: CallOptions) => this.#beginAfter(this.#sequence, options);
    for await (const { event: message } of messages(begin, deadline.callOptions())) {
      const event = message && (await this.#decoded(reader, message));
      if (!event) continue;
      if (event.sequence > this.#sequence) this.#sequence = event.sequence;
      if (event.event.case === "result") this.#result = event.event.value;
      yield event;
    }
    if (!this.#result) throw brokenResult("the stream ended without a result");
  }
}

/** Decides whether a stream goes on after an error: until the server was silent for too long. */
class Resumption {
  readonly #backoff: Backoff;
  #failures = 0;
  /** Since when the server is waited for; undefined before its first event. */
  #silentSince: number | undefined;

  constructor(
    readonly policy: RetryPolicy,
    readonly timeoutMs: number,
    readonly resumesAfter: ResumesAfter,
  ) {
    this.#backoff = new Backoff(policy);
  }

  received(): void {
    this.#backoff.reset();
    this.waiting();
  }

  /** Begin to wait for the server. */
  waiting(): void {
    this.#silentSince = performance.now();
  }

  /** Milliseconds to wait before the next attempt; throws `error` if another one makes no sense. */
  delayAfter(error: StylizeError): number {
    this.#failures++;
    if (!this.#mayResume(error)) throw error;
    return this.#backoff.delayAfter(error);
  }

  /** A stream that never received anything is retried as any call is. */
  #mayResume(error: StylizeError): boolean {
    const isRetryable = this.policy.retryableCodes.includes(error.code);
    if (this.#silentSince === undefined) return isRetryable && this.#failures < this.policy.maxAttempts;
    const isTransient = error.isInterruption ? this.#goesOnAfter(error) : isRetryable && TRANSIENT.has(error.reason);
    return isTransient && performance.now() - this.#silentSince <= this.timeoutMs;
  }

  #goesOnAfter({ code }: StylizeError): boolean {
    return this.resumesAfter === "any" || (this.resumesAfter === "connection" && code === Code.Unavailable);
  }
}
