import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Code, ConnectError, type UnaryRequest } from "@connectrpc/connect";
import { reportLostConnections, Stylization_ImageKind, Stylization_State, StylizeError } from "../src/core.js";
import { clientOf, failure, IMAGE, imageMetadata, PHOTO } from "./server.js";

const UUID4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const NAME = "stylizations/8c4ab1a1-5f0c-4a3e-9c57-0e0d4f6f3a11";

test("retries of create have the same request id", async () => {
  const ids: string[] = [];
  const client = clientOf({
    createStylization: ({ requestId, timeout }) => {
      assert.equal(timeout?.seconds, 90n);
      if (ids.push(requestId) < 3) throw failure(Code.Unavailable, "DRAINING");
      return { stylization: { name: NAME } };
    },
  });
  const job = await client.jobs.create({ photo: PHOTO, styleText: "fire", jobTimeoutMs: 90_000 });
  assert.equal(job.name, NAME);
  assert.equal(ids.length, 3);
  assert.equal(new Set(ids).size, 1);
  assert.match(ids[0]!, UUID4);
});

test("a request that does not fit the contract is the caller's error, and never sent", async () => {
  const client = clientOf({ stylize: () => assert.fail("sent"), createStylization: () => assert.fail("sent") });
  const init = { photo: PHOTO, styleText: "fire", options: { steps: 1.5 } };
  const field = "clipstyler.v1.StylizationOptions.steps";
  const expected = { name: "StylizeError", code: Code.InvalidArgument, reason: "INVALID_FIELD", metadata: { fields: field } };
  await assert.rejects(client.jobs.create(init), { ...expected, message: `${field}: invalid int32: 1.5` });
  await assert.rejects(client.stylize(init).result(), expected);
  const watched = client.jobs.watch(NAME, { afterSequence: 2n ** 80n });
  await assert.rejects(watched.result(), { code: Code.InvalidArgument, reason: "INVALID_FIELD" });
});

test("only UNAVAILABLE is retried", async () => {
  let calls = 0;
  const client = clientOf({
    getStylization: () => {
      calls++;
      throw failure(Code.ResourceExhausted, "QUEUE_FULL", 12_000);
    },
  });
  const expected = { code: Code.ResourceExhausted, reason: "QUEUE_FULL", retryDelayMs: 12_000 };
  await assert.rejects(client.jobs.get(NAME), expected);
  assert.equal(calls, 1);
});

test("a retry waits as long as the server recommends", async () => {
  let calls = 0;
  const client = clientOf({
    getStylization: () => {
      if (calls++ === 0) throw failure(Code.Unavailable, "STORAGE_UNAVAILABLE", 80);
      return { stylization: { name: NAME } };
    },
  });
  const begun = performance.now();
  await client.jobs.get(NAME);
  assert.ok(performance.now() - begun >= 75);
});

test("a retry that the deadline forbids is not waited for", async () => {
  const client = clientOf({
    getStylization: () => {
      throw failure(Code.Unavailable, "STORAGE_UNAVAILABLE", 60_000);
    },
  });
  const begun = performance.now();
  await assert.rejects(client.jobs.get(NAME, { timeoutMs: 1000 }), { reason: "STORAGE_UNAVAILABLE" });
  assert.ok(performance.now() - begun < 900);
});

for (const timeoutMs of [2 ** 31, Number.MAX_VALUE]) {
  test(`a timeout of ${timeoutMs} ms, longer than timers can wait, does not end a call at once`, async () => {
    const client = clientOf({
      getStylization: async () => {
        await setTimeout(20);
        return { stylization: { name: NAME } };
      },
    });
    assert.equal((await client.jobs.get(NAME, { timeoutMs })).name, NAME);
  });
}

test("a bare UUID is completed to a name", async () => {
  const names: string[] = [];
  const client = clientOf({
    getStylization: ({ name }) => (names.push(name), { stylization: { name } }),
    cancelStylization: ({ name }) => (names.push(name), { stylization: { name } }),
    deleteStylization: ({ name }) => (names.push(name), {}),
  });
  await client.jobs.get("one");
  await client.jobs.cancel("one");
  await client.jobs.delete("stylizations/one");
  assert.deepEqual(names, ["stylizations/one", "stylizations/one", "stylizations/one"]);
});

test("a list goes through all pages with its filter", async () => {
  const client = clientOf({
    listStylizations: ({ pageToken, state, pageSize }) => {
      assert.deepEqual([state, pageSize], [Stylization_State.SUCCEEDED, 2]);
      if (pageToken) return { stylizations: [{ name: "3" }] };
      return { stylizations: [{ name: "1" }, { name: "2" }], nextPageToken: "more" };
    },
  });
  const names = [];
  for await (const { name } of client.jobs.list({ state: Stylization_State.SUCCEEDED, pageSize: 2 })) names.push(name);
  assert.deepEqual(names, ["1", "2", "3"]);
});

test("an upload announces its digest, and a retry sends everything again", async () => {
  const photo = new Uint8Array(2.5 * 2 ** 20).fill(7);
  let calls = 0;
  const client = clientOf({
    uploadImage: async (requests) => {
      const sizes: number[] = [];
      for await (const { part } of requests) {
        if (part.case === "header") {
          assert.deepEqual(part.value.sha256, new Uint8Array(createHash("sha256").update(photo).digest()));
          assert.equal(part.value.sizeBytes, BigInt(photo.length));
        }
        if (part.case === "data") sizes.push(part.value.length);
      }
      assert.deepEqual(sizes, [2 ** 20, 2 ** 20, 2 ** 19]);
      if (calls++ === 0) throw new ConnectError("cut", Code.Unavailable);
      return { upload: "uploads/1" };
    },
    createStylization: ({ spec }) => {
      assert.deepEqual(spec?.photo, { case: "upload", value: "uploads/1" });
      return { stylization: { name: NAME } };
    },
  });
  await client.jobs.create({ photo: await client.jobs.upload(photo), styleText: "fire" });
  assert.equal(calls, 2);
});

test("a download is joined and checked", async () => {
  let data = IMAGE;
  const signals: AbortSignal[] = [];
  const client = clientOf({
    getStylizationImage: async function* ({ kind }, { signal }) {
      assert.equal(kind, Stylization_ImageKind.PREVIEW);
      signals.push(signal);
      yield { part: { case: "metadata", value: imageMetadata(IMAGE) } };
      yield { part: { case: "data", value: data.subarray(0, 100) } };
      yield { part: { case: "data", value: data.subarray(100) } };
    },
  });
  const image = await client.jobs.download(NAME, Stylization_ImageKind.PREVIEW);
  assert.deepEqual(image.data, IMAGE);
  assert.equal(image.metadata.widthPx, 64);
  data = IMAGE.toReversed();
  await assert.rejects(client.jobs.download(NAME, Stylization_ImageKind.PREVIEW), { reason: "BROKEN_RESULT" });
  assert.equal(signals[1]!.aborted, true, "the rest of what is broken is sent until the deadline");
});

test("failures of the connection are UNAVAILABLE, mistakes of the caller are not", async () => {
  const reset = Object.assign(new Error("reset"), { code: "ECONNRESET" });
  const resetByAProxy = Object.assign(new Error("closed"), { code: "ERR_HTTP2_STREAM_ERROR" });
  const failures = [
    new ConnectError("reset", Code.Aborted, undefined, undefined, reset),
    ConnectError.from(new TypeError("Failed to fetch")),
    new ConnectError("protocol error: missing status", Code.Internal),
    ConnectError.from("missing trailer"),
    new ConnectError("cannot serialize", Code.Internal, undefined, undefined, new TypeError("invalid int32")),
    new ConnectError("internal", Code.Internal),
    new ConnectError("closed", Code.Internal, undefined, undefined, resetByAProxy),
  ];
  const request = {} as UnaryRequest;
  const reported = failures.map((error) => reportLostConnections(() => Promise.reject(error))(request).catch(StylizeError.from));
  const codes = (await Promise.all(reported)).map((error) => (error as StylizeError).code);
  assert.deepEqual(codes, [...Array(4).fill(Code.Unavailable), ...Array(3).fill(Code.Internal)]);
});

test("a timeout has to be positive", async () => {
  await assert.rejects(clientOf({}).jobs.get(NAME, { timeoutMs: 0 }), RangeError);
});
