// What callers without TypeScript may pass by mistake: it is refused by its name, before any call.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, createRouterTransport } from "@connectrpc/connect";
import { Client, EncoderService, StylizationService, StyleService } from "../src/core.js";
import { PHOTO } from "./server.js";

const client: any = new Client(
  createRouterTransport(({ service }) => {
    for (const sent of [EncoderService, StylizationService, StyleService]) service(sent, {});
  }),
);
const HUGE = 256 * 2 ** 20 + 1;

async function drain(events: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of events);
}

/** Bytes that only say how many they are. */
function announcing(length: number): Uint8Array {
  return Object.defineProperty(new Uint8Array(1), "length", { value: length });
}

const CALLS: [field: string, call: () => Promise<unknown>][] = [
  ["name", () => client.jobs.get(undefined)],
  ["name", () => client.jobs.watch(5).result()],
  ["name", () => client.jobs.download(null)],
  ["name", () => client.styles.get(undefined)],
  ["name", () => client.styles.create(5)],
  ["name", () => drain(client.styles.apply({ style: 5 }, [PHOTO]))],
  ["photo", () => client.stylize({ photo: announcing(HUGE), styleText: "fire" }).result()],
  ["photo", () => client.jobs.upload(announcing(HUGE))],
  ["photos", () => drain(client.styles.apply({ style: "x" }, undefined))],
  ["photos", () => client.styles.fit({ styleText: "fire", photos: PHOTO })],
  ["jobTimeoutMs", () => client.jobs.create({ photo: PHOTO, styleText: "fire", jobTimeoutMs: NaN })],
  ["texts", () => client.encoders.encodeText({ texts: "fire" })],
  ["images", () => client.encoders.encodeImage({ images: PHOTO })],
  ["images[1]", () => client.encoders.encodeImage({ images: [PHOTO, "photo.jpg"] })],
  ["image", () => client.encoders.classify({ image: undefined, labels: ["fire"] })],
  ["labels", () => client.encoders.classify({ image: PHOTO, labels: "fire" })],
  ["stylizedImage", () => client.encoders.evaluate({ contentImage: PHOTO, stylizedImage: "out.png", styleText: "fire" })],
];

test("images that no message has room for are refused at once", async () => {
  const images = Array<Uint8Array>(16).fill(announcing(HUGE - 1));
  const expected = { code: Code.InvalidArgument, reason: "INVALID_FIELD", message: /the images have 4294967296 bytes/ };
  await assert.rejects(client.encoders.encodeImage({ images }), expected);
  await assert.rejects(client.styles.fit({ styleText: "fire", photos: images }), expected);
});

for (const [field, call] of CALLS) {
  test(`${field} is refused in ${call}`, async () => {
    await assert.rejects(call, { name: "StylizeError", code: Code.InvalidArgument, metadata: { fields: field } });
  });
}
