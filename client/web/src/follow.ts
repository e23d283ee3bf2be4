import { Code, Stylization_State, StylizeError, type Jobs, type Stylization, type StylizationEvent } from "@clipstyler/client/web";

// The server sends a heartbeat after 10 s of silence: a connection that is silent for much longer is dead.
const SILENCE_MS = 25_000;
const STATUS_TIMEOUT_MS = 5_000;
const FIRST_PAUSE_MS = 500;
const MAX_PAUSE_MS = 3_000;
// Of all tabs: a browser opens six connections to a server by HTTP/1.1.
const MAX_STREAMS = 4;
const FINAL = [Stylization_State.SUCCEEDED, Stylization_State.FAILED, Stylization_State.CANCELLED];

/** Who is told about a job that is followed. */
export interface Follower {
  event(event: StylizationEvent): void;
  /** The connection was lost, or is there again; the job goes on meanwhile. */
  connected(isConnected: boolean): void;
  /** It was asked for instead of watched. */
  underWay(job: Stylization): void;
  /** The server asks for a valid token; the job goes on meanwhile. */
  refused(): void;
  /** It failed or was cancelled. */
  ended(job: Stylization): void;
  /** The server no longer has it. */
  gone(): void;
}

/**
 * Follows a job to its end, however long the connection is lost: the laptop may sleep for a night.
 *
 * The client's own stream gives up after some minutes of silence, and does not notice a connection that dies silently.
 */
export async function follow(jobs: Jobs, name: string, after: bigint, follower: Follower, signal: AbortSignal): Promise<void> {
  let sequence = after;
  let pauseMs = FIRST_PAUSE_MS;
  /** Watches until the stream ends; returns whether there is nothing more to follow. */
  const watch = async (): Promise<boolean> => {
    const stream = jobs.watch(name, { afterSequence: sequence, resumeTimeoutMs: 0, signal });
    const silence = new Silence(() => stream.close());
    try {
      for await (const event of stream) {
        silence.isOver();
        pauseMs = FIRST_PAUSE_MS;
        follower.connected(true);
        follower.event(event);
        if (event.event.case === "result") return true;
      }
    } catch (thrown) {
      if (signal.aborted || (await isFinished(jobs, name, StylizeError.from(thrown), follower, signal))) return true;
    } finally {
      silence.end();
    }
    sequence = stream.sequence;
    return signal.aborted;
  };
  while (!signal.aborted) {
    const isOver = await withConnection(watch);
    if (isOver === undefined && (await isUnderWay(jobs, name, follower, signal))) {
      await pause(MAX_PAUSE_MS, signal);
      continue;
    }
    if (isOver ?? (await watch())) return;
    follower.connected(false);
    await pause(pauseMs, signal);
    pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS);
  }
}

/**
 * Does something that holds a connection to the server, unless other tabs do so on most of those that a browser opens:
 * nothing could be loaded or cancelled in any tab then.
 */
async function withConnection<T>(act: () => Promise<T>): Promise<T | undefined> {
  try {
    for (let place = 1; place <= MAX_STREAMS; place++) {
      const lock = `clipstyler-stream-${place}`;
      const done = await navigator.locks.request(lock, { ifAvailable: true }, async (held) => held && { value: await act() });
      if (done) return done.value;
    }
    return undefined;
  } catch {
    return act(); // outside secure contexts, and where nothing may be stored, there are no locks
  }
}

/** Asks how a job is instead of watching it. One that is at its end, or cannot be asked for, is to be watched after all. */
async function isUnderWay(jobs: Jobs, name: string, follower: Follower, signal: AbortSignal): Promise<boolean> {
  try {
    const job = await jobs.get(name, { timeoutMs: STATUS_TIMEOUT_MS, signal });
    if (FINAL.includes(job.state)) return false;
    follower.underWay(job);
    return true;
  } catch {
    return false;
  }
}

/** Asks how a job is after its stream broke; tells the follower if it is at its end. */
async function isFinished(
  jobs: Jobs,
  name: string,
  error: StylizeError,
  follower: Follower,
  signal: AbortSignal,
): Promise<boolean> {
  if (isBroken(error)) follower.connected(false);
  try {
    const job = await jobs.get(name, { timeoutMs: STATUS_TIMEOUT_MS, signal });
    // The image of one that succeeded comes with its last event: watch it again unless that cannot be read.
    const isComing = job.state === Stylization_State.SUCCEEDED && isPassing(error);
    if (isComing || !FINAL.includes(job.state)) return false;
    follower.ended(job);
    return true;
  } catch (thrown) {
    const { code } = StylizeError.from(thrown);
    if (code === Code.Unauthenticated) follower.refused();
    if (code !== Code.NotFound) return false;
    follower.gone();
    return true;
  }
}

/** Whether the same watch may go well later: the connection broke, the server asks to wait, or for another token. */
function isPassing(error: StylizeError): boolean {
  return isBroken(error) || error.retryDelayMs !== undefined || error.code === Code.Unauthenticated;
}

function isBroken(error: StylizeError): boolean {
  return error.code === Code.Unavailable || error.isInterruption;
}

/** Waits; a connection that is back, or a page that is looked at again, ends the wait. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const waking = new AbortController();
  await new Promise<void>((resolve) => {
    const done = () => resolve();
    const options = { signal: waking.signal, once: true };
    const timer = setTimeout(done, ms);
    window.addEventListener("online", done, options);
    document.addEventListener("visibilitychange", done, options);
    signal.addEventListener("abort", done, options);
    waking.signal.addEventListener("abort", () => clearTimeout(timer));
  });
  waking.abort();
}

class Silence {
  #timer = 0;

  constructor(readonly tooLong: () => void) {
    this.isOver();
  }

  isOver(): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(this.tooLong, SILENCE_MS);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}
