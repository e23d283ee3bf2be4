import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { Stylization_CancelReason, StylizeError, type StylizationStream } from "../src/core.js";
import { badRequest, clientOf, failure, IMAGE, numbered, PHOTO, play, result, type Body } from "./server.js";

const QUEUED: Body = { case: "queued", value: { position: 0, seed: 7n } };
const progress = (step: number): Body => ({ case: "progress", value: { step, steps: 3 } });
const chunk = (offset: number, end: number): Body => ({
  case: "chunk",
  value: { offset: BigInt(offset), data: IMAGE.subarray(offset, end) },
});
const ASKED = { photo: PHOTO, styleText: "fire", options: { size: 64 } };

async function kinds(stream: StylizationStream): Promise<(string | undefined)[]> {
  const seen = [];
  for await (const { event } of stream) seen.push(event.case);
  return seen;
}

test("a stream yields events and its result", async () => {
  const client = clientOf({ stylize: () => play([QUEUED, progress(1), result(IMAGE)]) });
  const stream = client.stylize(ASKED);
  assert.deepEqual(await kinds(stream), ["queued", "progress", "result"]);
  assert.deepEqual((await stream.result()).imageData, IMAGE);
});

test("the request has what was asked for", async () => {
  const texts: unknown[] = [];
  const client = clientOf({
    stylize: ({ spec }) => {
      texts.push([spec?.photo, spec?.styleText, spec?.options?.size]);
      return play([result(IMAGE)]);
    },
  });
  await client.stylize(ASKED).result();
  await client.stylize({ ...ASKED, photo: new Blob([PHOTO]) }).result();
  const sent = [{ case: "image", value: PHOTO }, "fire", 64];
  assert.deepEqual(texts, [sent, sent]);
});

for (const photo of [undefined, null, "photo.jpg", PHOTO.buffer] as unknown as Uint8Array[]) {
  test(`what is no photo is refused at once: ${String(photo)}`, async () => {
    const client = clientOf({});
    const refused = { name: "StylizeError", code: Code.InvalidArgument, message: /^photo: must be/ };
    await assert.rejects(client.stylize({ ...ASKED, photo }).result(), refused);
    await assert.rejects(client.jobs.create({ ...ASKED, photo }), refused);
  });
}

test("chunks are assembled and not shown", async () => {
  const client = clientOf({ stylize: () => play([chunk(0, 400), chunk(400, 1000), result(IMAGE, false)]) });
  const stream = client.stylize(ASKED);
  assert.deepEqual(await kinds(stream), ["result"]);
  assert.deepEqual((await stream.result()).imageData, IMAGE);
});

for (const [problem, script] of Object.entries({
  "a missing chunk": [chunk(400, 1000), result(IMAGE, false)],
  "a wrong length": [chunk(0, 400), result(IMAGE, false)],
  "a wrong digest": [{ ...result(IMAGE), value: { ...(result(IMAGE)!.value as object), imageData: IMAGE.toReversed() } }],
  "no result": [QUEUED],
} as Record<string, Body[]>)) {
  test(`${problem} is DATA_LOSS`, async () => {
    const stream = clientOf({ stylize: () => play(script) }).stylize(ASKED);
    await assert.rejects(stream.result(), { name: "StylizeError", code: Code.DataLoss, reason: "BROKEN_RESULT" });
  });
}

test("a watch resumes after the last event", async () => {
  const script = [QUEUED, progress(1), progress(2), result(IMAGE)];
  const asked: bigint[] = [];
  const client = clientOf({
    watchStylization: async function* ({ afterSequence }) {
      asked.push(afterSequence);
      if (asked.length > 1) return yield* play(script, afterSequence);
      yield* numbered(script).slice(0, 2);
      throw failure(Code.Unavailable, "DRAINING");
    },
  });
  const stream = client.jobs.watch("some-job");
  assert.deepEqual(await kinds(stream), ["queued", "progress", "progress", "result"]);
  assert.deepEqual(asked, [0n, 2n]);
  assert.equal(stream.sequence, 4n);
});

test("a watch begins after a known event, and passes gaps on", async () => {
  const script: Body[] = [QUEUED, { case: "gap", value: { logExpired: true } }, result(IMAGE)];
  const client = clientOf({ watchStylization: ({ afterSequence }) => play(script, afterSequence) });
  assert.deepEqual(await kinds(client.jobs.watch("some-job", { afterSequence: 1n })), ["gap", "result"]);
});

test("chunks of an interrupted stream are dropped", async () => {
  let calls = 0;
  const client = clientOf({
    watchStylization: async function* () {
      yield* numbered([QUEUED, chunk(0, 400)]);
      if (calls++ === 0) throw new ConnectError("cut", Code.Unavailable);
      yield* numbered([QUEUED, chunk(0, 400), chunk(400, 1000), result(IMAGE, false)]).slice(2);
    },
  });
  assert.deepEqual((await client.jobs.watch("some-job").result()).imageData, IMAGE);
});

test("a stream that begins with UNAVAILABLE is retried, a bounded number of times", async () => {
  let calls = 0;
  const stylize = async function* () {
    calls++;
    throw failure(Code.Unavailable, "WORKER_NOT_READY");
  };
  await assert.rejects(clientOf({ stylize }).stylize(ASKED).result(), { reason: "WORKER_NOT_READY" });
  assert.equal(calls, 5);
});

test("a crash of the worker during the stream is not resumed", async () => {
  let calls = 0;
  const stylize = async function* () {
    calls++;
    yield* play([QUEUED]);
    throw failure(Code.Unavailable, "WORKER_CRASHED");
  };
  await assert.rejects(clientOf({ stylize }).stylize(ASKED).result(), { reason: "WORKER_CRASHED" });
  assert.equal(calls, 1);
});

for (const code of [Code.Internal, Code.Unknown]) {
  const broken = async function* (calls: number) {
    if (calls > 1) return yield* play([result(IMAGE)]);
    yield* play([QUEUED]);
    throw new ConnectError("reset by a proxy", code);
  };

  test(`a watch resumes after a reset reported as ${Code[code]}; a one-shot call does not begin anew`, async () => {
    let calls = 0;
    const client = clientOf({ stylize: () => broken(++calls), watchStylization: () => broken(++calls) });
    assert.deepEqual((await client.jobs.watch("some-job").result()).imageData, IMAGE);
    assert.equal(calls, 2);
    calls = 0;
    await assert.rejects(client.stylize(ASKED).result(), { code, message: "reset by a proxy" });
    assert.equal(calls, 1);
  });
}

test("whether a one-shot call begins again after a lost connection depends on the client", async () => {
  for (const [oneShotResumesAfter, begun] of [["connection", 2], ["reported", 1]] as const) {
    let calls = 0;
    const stylize = async function* () {
      if (calls++) return yield* play([result(IMAGE)]);
      yield* play([QUEUED]);
      throw new ConnectError("lost", Code.Unavailable);
    };
    await clientOf({ stylize }, { oneShotResumesAfter }).stylize(ASKED).result().catch(() => {});
    assert.equal(calls, begun, oneShotResumesAfter);
  }
});

test("a failure that the server reports with its reason ends a watch", async () => {
  let calls = 0;
  const watchStylization = async function* () {
    calls++;
    yield* play([QUEUED]);
    throw failure(Code.Internal, "INTERNAL");
  };
  await assert.rejects(clientOf({ watchStylization }).jobs.watch("some-job").result(), { reason: "INTERNAL" });
  assert.equal(calls, 1);
});

test("a job that ended is not watched again, whatever its reason", async () => {
  let calls = 0;
  const end: Body = { case: "cancelled", value: { step: 2, reason: Stylization_CancelReason.DRAINING } };
  const watchStylization = () => (calls++, play([QUEUED, end]));
  await assert.rejects(clientOf({ watchStylization }).jobs.watch("some-job").result(), { reason: "DRAINING" });
  assert.equal(calls, 1);
});

test("silence longer than allowed ends a watch", async () => {
  const watchStylization = async function* () {
    yield* play([QUEUED]);
    await new Promise((resolve) => setTimeout(resolve, 30));
    throw failure(Code.Unavailable, "DRAINING");
  };
  const stream = clientOf({ watchStylization }).jobs.watch("some-job", { resumeTimeoutMs: 10 });
  await assert.rejects(stream.result(), { reason: "DRAINING" });
});

test("a reader that was busy for longer than silence is allowed loses nothing", async () => {
  const watchStylization = async function* ({ afterSequence }: { afterSequence: bigint }) {
    if (afterSequence) return yield* play([QUEUED, result(IMAGE)], afterSequence);
    yield* play([QUEUED]);
    throw failure(Code.Unavailable, "DRAINING");
  };
  const seen = [];
  for await (const { event } of clientOf({ watchStylization }).jobs.watch("some-job", { resumeTimeoutMs: 20 })) {
    seen.push(event.case);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.deepEqual(seen, ["queued", "result"]);
});

test("a failed event throws all that it carries", async () => {
  const fieldViolations = [{ field: "spec.options.size", description: "is too large" }];
  const error = { code: 3, reason: "DIVERGED", message: "it diverged", metadata: { step: "3" }, fieldViolations };
  const stylize = () => play([QUEUED, { case: "failed", value: { error: { ...error, retryDelay: { nanos: 5e8 } } } }]);
  await assert.rejects(clientOf({ stylize }).stylize(ASKED).result(), {
    code: Code.InvalidArgument,
    message: "it diverged",
    reason: "DIVERGED",
    metadata: { step: "3" },
    violations: fieldViolations,
    retryDelayMs: 500,
  });
});

test("the result of a stream that failed is its failure, however often it is asked for", async () => {
  const failed: Body = { case: "failed", value: { error: { code: 3, reason: "DIVERGED", message: "it diverged" } } };
  const client = clientOf({ stylize: () => play([QUEUED, failed]) });
  const stream = client.stylize(ASKED);
  await assert.rejects(kinds(stream), { reason: "DIVERGED" });
  await assert.rejects(stream.result(), { reason: "DIVERGED" });
  await assert.rejects(stream.result(), { reason: "DIVERGED" });
  const unlimited = client.stylize(ASKED, { timeoutMs: -1 });
  await assert.rejects(unlimited.result(), RangeError);
  await assert.rejects(unlimited.result(), RangeError);
});

test("a cancelled event throws CANCELLED; a shutdown begins the call again", async () => {
  const cancelled = (reason: Stylization_CancelReason): Body => ({ case: "cancelled", value: { step: 2, reason } });
  const client = clientOf({ stylize: () => play([QUEUED, cancelled(Stylization_CancelReason.REQUESTED)]) });
  await assert.rejects(client.stylize(ASKED).result(), { code: Code.Canceled, message: "cancelled after 2 steps" });

  let calls = 0;
  const draining = clientOf({
    stylize: () => play(calls++ ? [result(IMAGE)] : [QUEUED, cancelled(Stylization_CancelReason.DRAINING)]),
  });
  assert.deepEqual((await draining.stylize(ASKED).result()).imageData, IMAGE);
});

function endless() {
  let end: (cancelled: boolean) => void;
  const ended = new Promise<boolean>((resolve) => (end = resolve));
  const client = clientOf({
    stylize: async function* (_request, { signal }) {
      signal.addEventListener("abort", () => end(true));
      yield* play([QUEUED]);
      await ended;
    },
  });
  return { client, ended };
}

test("leaving the loop ends the call", async () => {
  const { client, ended } = endless();
  for await (const _ of client.stylize(ASKED)) break;
  assert.equal(await ended, true);
});

test("closing a stream ends its loop quietly, and there is no result", async () => {
  const { client, ended } = endless();
  const stream = client.stylize(ASKED);
  for await (const _ of stream) stream.close();
  assert.equal(await ended, true);
  await assert.rejects(stream.result(), { reason: "BROKEN_RESULT" });
});

test("closing a stream in the pause before a resume ends its loop quietly, too", async () => {
  let calls = 0;
  const watchStylization = async function* () {
    calls++;
    yield* play([QUEUED]);
    throw failure(Code.Unavailable, "DRAINING", 60_000);
  };
  const stream = clientOf({ watchStylization }).jobs.watch("some-job");
  const seen = kinds(stream);
  await new Promise((resolve) => setTimeout(resolve, 50));
  stream.close();
  assert.deepEqual(await seen, ["queued"]);
  assert.equal(calls, 1);
});

test("a signal ends a call with CANCELLED, whatever its reason is", async () => {
  const { client, ended } = endless();
  const controller = new AbortController();
  const stream = client.stylize(ASKED, { signal: controller.signal });
  const events = stream[Symbol.asyncIterator]();
  await events.next();
  controller.abort(new TypeError("enough"));
  await assert.rejects(events.next(), { code: Code.Canceled, message: "the caller ended the call" });
  assert.equal(await ended, true);
});

test("a deadline ends a call with DEADLINE_EXCEEDED", async () => {
  const { client, ended } = endless();
  const stream = client.stylize(ASKED, { timeoutMs: 50 });
  await assert.rejects(stream.result(), { code: Code.DeadlineExceeded });
  assert.equal(await ended, true);
});

test("invalid requests are not retried and name every field", async () => {
  let calls = 0;
  const stylize = async function* () {
    calls++;
    throw badRequest("spec.style_text", "spec.options.steps");
  };
  await assert.rejects(clientOf({ stylize }).stylize(ASKED).result(), (error: StylizeError) => {
    assert.deepEqual(error.violations.map(({ field }) => field), ["spec.style_text", "spec.options.steps"]);
    assert.equal(error.code, Code.InvalidArgument);
    return true;
  });
  assert.equal(calls, 1);
});
