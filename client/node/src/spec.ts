import { type MessageInitShape } from "@bufbuild/protobuf";
import { invalid } from "./errors.js";
import { type ImageFormat } from "./gen/clipstyler/v1/image_pb.js";
import { type PreviewOptionsSchema, type StylizationOptionsSchema } from "./gen/clipstyler/v1/options_pb.js";
import { type StylizationSpecSchema } from "./gen/clipstyler/v1/stylization_pb.js";
import { type UploadImageResponse } from "./gen/clipstyler/v1/stylization_service_pb.js";

// No server accepts more of one photo.
const MAX_FILE_BYTES = 256 * 2 ** 20;
const LARGEST_MESSAGE = 2 ** 31 - 1; // of protobuf

/** Bytes of an image file, or what `jobs.upload` returned. */
export type Photo = Uint8Array | Blob | UploadImageResponse;

/** A text to follow, and how. Everything that is left out has a default: the server's. */
export interface TextInit {
  /** What the result should look like. */
  readonly styleText: string;
  /** What the photo shows. Default: the encoders' source text. */
  readonly sourceText?: string;
  /** Size, steps, seed, ...: how it is computed. */
  readonly options?: MessageInitShape<typeof StylizationOptionsSchema>;
  /** Which previews are sent, and whether a draft comes before them. */
  readonly previews?: MessageInitShape<typeof PreviewOptionsSchema>;
  /** Encoding of the result. Default: PNG. */
  readonly resultFormat?: ImageFormat;
}

/** What to stylize, and how. */
export interface SpecInit extends TextInit {
  readonly photo: Photo;
}

/** Build the spec of a request. */
export async function specOf(init: SpecInit): Promise<MessageInitShape<typeof StylizationSpecSchema>> {
  return { ...textSpec(init), photo: await photoField(init.photo) };
}

/** Build a spec without its photo. */
export function textSpec(init: TextInit) {
  const { styleText, sourceText, options = {}, previews = {}, resultFormat } = init;
  return {
    styleText,
    options,
    previews,
    ...(sourceText !== undefined && { sourceText }),
    ...(resultFormat !== undefined && { resultFormat }),
  };
}

/** Bytes of a file; throws `StylizeError` for what is none, as callers without TypeScript may pass, or too large. */
export async function bytesOf(file: Uint8Array | Blob, argument: string): Promise<Uint8Array> {
  if (file instanceof Uint8Array) return fitting(file.length, argument) && file;
  if (file instanceof Blob) return fitting(file.size, argument) && new Uint8Array(await file.arrayBuffer());
  throw invalid(argument, "must be the bytes of a file, as a Uint8Array or a Blob");
}

/** Throw `StylizeError` for what is no text, as callers without TypeScript may pass. */
export function checkText(text: unknown, argument: string): void {
  if (typeof text !== "string") throw invalid(argument, `must be a text, got ${typeof text}`);
}

/** Throw `StylizeError` for what is no array: the letters of a single text would be sent as texts. */
export function checkArray(list: unknown, argument: string): void {
  if (!Array.isArray(list)) throw invalid(argument, `must be an array, got ${typeof list}`);
}

/** Throw `StylizeError` for what are no bytes of an image that a server could accept. */
export function checkBytes(image: unknown, argument: string): void {
  if (!(image instanceof Uint8Array)) throw invalid(argument, "must be the bytes of an image file, as a Uint8Array");
  fitting(image.length, argument);
}

/** Throw `StylizeError` for images that no message has room for: a transport would be busy with them until the deadline. */
export function checkTotal(images: readonly Uint8Array[]): void {
  const size = images.reduce((total, { length }) => total + length, 0);
  if (size > LARGEST_MESSAGE) {
    throw invalid(undefined, `the images have ${size} bytes, and a message at most ${LARGEST_MESSAGE}`);
  }
}

function fitting(size: number, argument: string): true {
  if (size <= MAX_FILE_BYTES) return true;
  throw invalid(argument, `has ${size} bytes, and no server accepts more than ${MAX_FILE_BYTES}`);
}

/** Name a photo in a message; throws `StylizeError` for what is none, as callers without TypeScript may pass. */
export async function photoField(photo: Photo): Promise<{ case: "image"; value: Uint8Array } | { case: "upload"; value: string }> {
  if (photo instanceof Uint8Array || photo instanceof Blob) return { case: "image", value: await bytesOf(photo, "photo") };
  if (typeof photo?.upload === "string") return { case: "upload", value: photo.upload };
  throw invalid("photo", "must be the bytes of an image file, as a Uint8Array or a Blob, or what jobs.upload returned");
}
