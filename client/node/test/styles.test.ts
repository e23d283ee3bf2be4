import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createRouterTransport, type ServiceImpl } from "@connectrpc/connect";
import {
  Client,
  ImageFormat,
  RETRY_POLICY,
  StyleService,
  StylizeError,
  type CreateStyleRequest,
  type StyledPhoto,
} from "../src/core.js";
import { failure, IMAGE, imageMetadata, PHOTO } from "./server.js";

const FILE = new Uint8Array([9, 8, 7]);
const DIGEST = createHash("sha256").update(FILE).digest("hex");
const NAME = `styles/${DIGEST}`;

function clientOf(methods: Partial<ServiceImpl<typeof StyleService>>): Client {
  const transport = createRouterTransport(({ service }) => service(StyleService, methods));
  return new Client(transport, { policy: { ...RETRY_POLICY, initialBackoffMs: 1, maxBackoffMs: 5 } });
}

function* image(photoIndex: number) {
  yield { photoIndex, part: { case: "metadata" as const, value: imageMetadata(IMAGE) } };
  yield { photoIndex, part: { case: "data" as const, value: IMAGE.subarray(0, 100) } };
  yield { photoIndex, part: { case: "data" as const, value: IMAGE.subarray(100) } };
}

test("bare names are completed", async () => {
  const names: string[] = [];
  const client = clientOf({
    createStyle: ({ stylization }) => (names.push(stylization), { style: { name: NAME } }),
    getStyle: ({ name }) => (names.push(name), { style: { name } }),
    deleteStyle: ({ name }) => (names.push(name), {}),
  });
  assert.equal((await client.styles.create("one")).name, NAME);
  await client.styles.get(DIGEST);
  await client.styles.delete(NAME);
  assert.deepEqual(names, ["stylizations/one", NAME, NAME]);
});

test("a fit is created once, by bytes or uploads, and identified", async () => {
  const asked: CreateStyleRequest[] = [];
  const client = clientOf({
    createStyle: (request) => {
      asked.push(request);
      if (asked.length === 1) throw failure(Code.Unavailable, "DRAINING");
      return { stylization: { name: "stylizations/1", fittedPhotoCount: 2 } };
    },
  });
  const upload = { $typeName: "clipstyler.v1.UploadImageResponse" as const, upload: "uploads/1" };
  const options = { steps: 9 };
  const job = await client.styles.fit({ styleText: "fire", photos: [PHOTO, upload], options, jobTimeoutMs: 1500 });
  await client.styles.fit({ styleText: "a text alone", requestId: "mine" });
  assert.equal(job.name, "stylizations/1");
  const [first, again, alone] = asked;
  assert.equal(first!.requestId, again!.requestId);
  assert.match(first!.requestId, /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
  const spec = again!.fit?.spec;
  assert.deepEqual([spec?.styleText, spec?.options?.steps, spec?.photo.case], ["fire", 9, undefined]);
  assert.deepEqual(again!.fit?.photos.map(({ photo }) => photo.value), [PHOTO, "uploads/1"]);
  assert.equal(again!.timeout && durationMs(again!.timeout), 1500);
  assert.deepEqual([alone!.requestId, alone!.fit?.photos.length, alone!.timeout], ["mine", 0, undefined]);
});

test("a list of styles goes through all pages", async () => {
  const client = clientOf({
    listStyles: ({ pageToken, pageSize }) => {
      assert.equal(pageSize, 2);
      if (pageToken) return { styles: [{ name: "3" }] };
      return { styles: [{ name: "1" }, { name: "2" }], nextPageToken: "more" };
    },
  });
  const names = [];
  for await (const { name } of client.styles.list({ pageSize: 2 })) names.push(name);
  assert.deepEqual(names, ["1", "2", "3"]);
});

test("the file of a style is joined and checked against its name, and an upload is retried", async () => {
  let uploads = 0;
  const client = clientOf({
    downloadStyle: async function* () {
      yield { data: FILE.subarray(0, 1) };
      yield { data: FILE.subarray(1) };
    },
    uploadStyle: ({ data }) => {
      if (uploads++ === 0) throw failure(Code.Unavailable, "DRAINING");
      return { style: { name: `styles/${createHash("sha256").update(data).digest("hex")}` } };
    },
  });
  assert.deepEqual(await client.styles.download(DIGEST), FILE);
  await assert.rejects(client.styles.download("0".repeat(64)), { reason: "BROKEN_RESULT" });
  assert.equal((await client.styles.upload(new Blob([FILE]))).name, NAME);
});

test("each photo is given as it is done, with its image or its error", async () => {
  const sent: number[] = [];
  const client = clientOf({
    applyStyle: async function* (requests) {
      let index = -1;
      for await (const { part } of requests) {
        if (part.case === "application") {
          const { style, secondStyle, controls, resultFormat } = part.value;
          assert.deepEqual([style, secondStyle, controls?.strength], [NAME, "styles/other", 0.5]);
          assert.equal(resultFormat, ImageFormat.WEBP);
        } else if (++index === 1) {
          yield { photoIndex: index, part: { case: "error", value: { code: 3, message: "no", reason: "INVALID_FIELD" } } };
        } else yield* image(index);
      }
    },
  });
  async function* photos() {
    for (const number of [0, 1, 2]) {
      sent.push(number);
      yield number === 2 ? new Blob([PHOTO]) : PHOTO;
    }
  }
  const init = { style: DIGEST, secondStyle: "other", controls: { strength: 0.5 }, resultFormat: ImageFormat.WEBP };
  const done: StyledPhoto[] = [];
  for await (const styled of client.styles.apply(init, photos())) done.push(styled);
  assert.deepEqual(done.map(({ index }) => index), [0, 1, 2]);
  assert.deepEqual(done.map(({ image }) => image?.data.length), [IMAGE.length, undefined, IMAGE.length]);
  assert.ok(done[1]!.error instanceof StylizeError);
  assert.equal(done[1]!.error.code, Code.InvalidArgument);
  assert.deepEqual(sent, [0, 1, 2]);
});

test("photos wait in their source until the server takes them, and leaving ends the call", async () => {
  let taken = 0;
  let isSourceClosed = false;
  let isCancelled = false;
  const client = clientOf({
    applyStyle: async function* (requests, { signal }) {
      signal.addEventListener("abort", () => (isCancelled = true));
      const reading = requests[Symbol.asyncIterator]();
      await reading.next();
      await reading.next();
      yield* image(0);
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    },
  });
  function* photos() {
    try {
      for (; ; taken++) yield PHOTO;
    } finally {
      isSourceClosed = true;
    }
  }
  for await (const { index } of client.styles.apply({ style: NAME }, photos())) {
    assert.equal(index, 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    break;
  }
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(taken <= 3, `${taken} photos were taken`);
  assert.ok(isCancelled && isSourceClosed);
});

test("an error of the source is thrown as it is, one of the call as a StylizeError", async () => {
  const client = clientOf({
    applyStyle: async function* (requests) {
      for await (const { part } of requests) if (part.case === "photo") yield* image(0);
      throw failure(Code.NotFound, "STYLE_NOT_FOUND");
    },
  });
  function* broken() {
    yield PHOTO;
    throw new RangeError("no such file");
  }
  const drain = async (photos: Iterable<Uint8Array>) => {
    for await (const _ of client.styles.apply({ style: NAME }, photos));
  };
  await assert.rejects(drain(broken()), new RangeError("no such file"));
  await assert.rejects(drain([PHOTO]), { name: "StylizeError", reason: "STYLE_NOT_FOUND" });
});

for (const [problem, second] of Object.entries({ "an error of the source": undefined, "what is no photo": "photo.jpg" })) {
  test(`photos before ${problem} are given first`, async () => {
    const client = clientOf({
      applyStyle: async function* (requests) {
        const taken = [];
        for await (const { part } of requests) if (part.case === "photo") taken.push(part.value);
        for (const index of taken.keys()) yield* image(index);
      },
    });
    const failure = new RangeError("no such file");
    function* photos() {
      yield PHOTO;
      if (second === undefined) throw failure;
      yield second as unknown as Uint8Array;
    }
    const given: number[] = [];
    const drain = async () => {
      for await (const { index } of client.styles.apply({ style: NAME }, photos())) given.push(index);
    };
    await assert.rejects(drain(), second === undefined ? failure : { code: Code.InvalidArgument, message: /^photo: / });
    assert.deepEqual(given, [0]);
  });
}

test("until the first answer a call begins again with its photos, then no more", async () => {
  const seen: number[][] = [];
  const begunAt: number[] = [];
  const client = clientOf({
    applyStyle: async function* (requests) {
      const photos: number[] = [];
      seen.push(photos);
      begunAt.push(performance.now());
      for await (const { part } of requests) {
        if (part.case !== "photo") continue;
        photos.push((part.value.photo.value as Uint8Array)[0]!);
        if (photos.length === 2 && seen.length === 1) throw failure(Code.Unavailable, "DRAINING", 50);
        if (photos.length === 3) throw failure(Code.Unavailable, "WORKER_CRASHED");
        if (seen.length > 1) yield* image(photos.length - 1);
      }
    },
  });
  const photos = [1, 2, 3].map((number) => new Uint8Array([number]));
  const given: number[] = [];
  const drain = async () => {
    for await (const { index } of client.styles.apply({ style: NAME }, photos)) given.push(index);
  };
  await assert.rejects(drain(), { reason: "WORKER_CRASHED" });
  assert.deepEqual(seen, [[1, 2], [1, 2, 3]]);
  assert.deepEqual(given, [0, 1]);
  assert.ok(begunAt[1]! - begunAt[0]! >= 45, "RetryInfo is ignored");
});

test("an image that arrives broken or ends too early is refused", async () => {
  let parts = [...image(0)].reverse();
  const client = clientOf({
    applyStyle: async function* () {
      yield* parts;
    },
    renderStyle: async function* () {
      for (const { part } of parts) yield { part };
    },
  });
  const apply = async () => {
    for await (const _ of client.styles.apply({ style: NAME }, []));
  };
  await assert.rejects(apply(), { reason: "BROKEN_RESULT" });
  parts = [...image(0)].slice(0, 2);
  await assert.rejects(apply(), { reason: "BROKEN_RESULT" });
  await assert.rejects(client.styles.render({ style: NAME, photo: PHOTO }), { reason: "BROKEN_RESULT" });
});

test("a photo or a finished job is rendered", async () => {
  const asked: unknown[] = [];
  const client = clientOf({
    renderStyle: async function* ({ application, photo, stylization }) {
      asked.push([application?.style, application?.controls?.outputSize, photo?.photo, stylization]);
      if (asked.length === 1) throw new ConnectError("cut", Code.Unavailable);
      for (const { part } of image(0)) yield { part };
    },
  });
  const upload = { $typeName: "clipstyler.v1.UploadImageResponse" as const, upload: "uploads/1" };
  const rendered = await client.styles.render({ style: DIGEST, photo: upload, controls: { outputSize: 40 } });
  assert.deepEqual(rendered.data, IMAGE);
  await client.styles.render({ job: "one" });
  assert.deepEqual(asked.slice(1), [
    [NAME, 40, { case: "upload", value: "uploads/1" }, ""],
    ["", undefined, undefined, "stylizations/one"],
  ]);
});
