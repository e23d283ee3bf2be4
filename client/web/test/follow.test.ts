import { create } from "@bufbuild/protobuf";
import {
  Code,
  Stylization_State,
  StylizationEventSchema,
  StylizationSchema,
  StylizeError,
  type Jobs,
  type StylizationEvent,
} from "@clipstyler/client/web";
import { beforeEach, expect, test, vi } from "vitest";
import { follow } from "../src/follow";

const NAME = "stylizations/8c4ab1a1-5f0c-4a3e-9c57-0e0d4f6f3a11";
type Script = (close: Promise<void>) => AsyncGenerator<StylizationEvent, void, undefined>;

/** Jobs whose watches play one script each, and whose state is the same whenever it is asked for. */
function jobsThat(state: Stylization_State | StylizeError, ...scripts: Script[]) {
  const begun: bigint[] = [];
  const jobs = {
    watch: (_: string, { afterSequence }: { afterSequence: bigint }) => {
      begun.push(afterSequence);
      let close = () => {};
      const closed = new Promise<void>((resolve) => (close = resolve));
      const stream = { sequence: afterSequence, close, [Symbol.asyncIterator]: play };
      const script = scripts.shift()!;
      async function* play() {
        for await (const event of script(closed)) {
          stream.sequence = event.sequence;
          yield event;
        }
      }
      return stream;
    },
    get: async () => {
      if (state instanceof StylizeError) throw state;
      return create(StylizationSchema, { name: NAME, state });
    },
  };
  return { jobs: jobs as unknown as Jobs, begun };
}

const progress = (sequence: bigint) =>
  create(StylizationEventSchema, { sequence, event: { case: "progress", value: { step: Number(sequence), steps: 9 } } });
const result = (sequence: bigint) => create(StylizationEventSchema, { sequence, event: { case: "result", value: {} } });
const follower = () => ({ event: vi.fn(), connected: vi.fn(), underWay: vi.fn(), refused: vi.fn(), ended: vi.fn(), gone: vi.fn() });

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("window", Object.assign(new EventTarget(), { setTimeout: setTimeout.bind(globalThis) }));
  vi.stubGlobal("document", new EventTarget());
  vi.stubGlobal("navigator", {});
});

test("a connection that died silently is given up, and the job followed from its last event", async () => {
  const { jobs, begun } = jobsThat(
    Stylization_State.RUNNING,
    async function* (closed) {
      yield progress(3n);
      await closed;
    },
    async function* () {
      yield result(9n);
    },
  );
  const told = follower();
  const following = follow(jobs, NAME, 0n, told, new AbortController().signal);
  await vi.advanceTimersByTimeAsync(24_000);
  expect(begun).toEqual([0n]);
  await vi.advanceTimersByTimeAsync(3_000);
  await following;
  expect(begun).toEqual([0n, 3n]);
  expect(told.connected.mock.calls.map(([isConnected]) => isConnected)).toEqual([true, false, true]);
  expect(told.event).toHaveBeenCalledTimes(2);
});

test("a broken connection is tried again at once when the network is back", async () => {
  const { jobs, begun } = jobsThat(
    Stylization_State.RUNNING,
    async function* () {
      throw new StylizeError(Code.Unavailable, "gone");
    },
    async function* () {
      yield result(9n);
    },
  );
  const following = follow(jobs, NAME, 0n, follower(), new AbortController().signal);
  await vi.advanceTimersByTimeAsync(10);
  expect(begun).toHaveLength(1);
  window.dispatchEvent(new Event("online"));
  await following;
  expect(begun).toHaveLength(2);
});

test.each([Stylization_State.FAILED, Stylization_State.CANCELLED])("a job that ended in state %i is not tried again", async (state) => {
  const { jobs, begun } = jobsThat(state, async function* () {
    throw new StylizeError(Code.Unavailable, "the worker crashed");
  });
  const told = follower();
  await follow(jobs, NAME, 0n, told, new AbortController().signal);
  expect(told.ended).toHaveBeenCalledOnce();
  expect(begun).toHaveLength(1);
});

test("a stream that a proxy reset just before the result is watched again", async () => {
  const { jobs, begun } = jobsThat(
    Stylization_State.SUCCEEDED,
    async function* () {
      yield progress(3n);
      throw new StylizeError(Code.Internal, "reset");
    },
    async function* () {
      yield result(9n);
    },
  );
  const told = follower();
  const following = follow(jobs, NAME, 0n, told, new AbortController().signal);
  await vi.advanceTimersByTimeAsync(1_000);
  await following;
  expect(begun).toEqual([0n, 3n]);
  expect(told.ended).not.toHaveBeenCalled();
});

test.each([
  new StylizeError(Code.ResourceExhausted, "too many calls are open", { reason: "TOO_MANY_CALLS", retryDelayMs: 1_000 }),
  new StylizeError(Code.Unauthenticated, "the token was revoked", { reason: "CREDENTIALS_INVALID" }),
])("a job that ended while its watch was refused has its picture still: %s", async (refusal) => {
  const { jobs } = jobsThat(
    Stylization_State.SUCCEEDED,
    async function* () {
      throw refusal;
    },
    async function* () {
      yield result(9n);
    },
  );
  const told = follower();
  const following = follow(jobs, NAME, 0n, told, new AbortController().signal);
  await vi.advanceTimersByTimeAsync(5_000);
  await following;
  expect(told.event).toHaveBeenCalledOnce();
  expect(told.ended).not.toHaveBeenCalled();
});

test("a result that the server cannot read ends the wait", async () => {
  const { jobs } = jobsThat(Stylization_State.SUCCEEDED, async function* () {
    throw new StylizeError(Code.DataLoss, "damaged");
  });
  const told = follower();
  await follow(jobs, NAME, 0n, told, new AbortController().signal);
  expect(told.ended).toHaveBeenCalledOnce();
});

test("while other tabs hold most connections a job is asked for, and watched when it is at its end", async () => {
  const request = vi.fn(async (_name: string, _options: LockOptions, act: (held: Lock | null) => unknown) => act(null));
  vi.stubGlobal("navigator", { locks: { request } });
  const { jobs, begun } = jobsThat(Stylization_State.RUNNING, async function* () {
    yield result(9n);
  });
  const told = follower();
  const following = follow(jobs, NAME, 0n, told, new AbortController().signal);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(request.mock.calls.length).toBeGreaterThan(4);
  expect(told.underWay.mock.calls.length).toBeGreaterThan(2);
  expect(begun).toEqual([]);
  Object.assign(jobs, { get: async () => create(StylizationSchema, { name: NAME, state: Stylization_State.SUCCEEDED }) });
  await vi.advanceTimersByTimeAsync(3_000);
  await following;
  expect(told.event).toHaveBeenCalledOnce();
});

test("a job that the server no longer has is gone", async () => {
  const missing = new StylizeError(Code.NotFound, "none");
  const { jobs } = jobsThat(missing, async function* () {
    throw missing;
  });
  const told = follower();
  await follow(jobs, NAME, 0n, told, new AbortController().signal);
  expect(told.gone).toHaveBeenCalledOnce();
});
