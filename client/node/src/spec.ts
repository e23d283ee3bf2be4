import { type MessageInitShape } from "@bufbuild/protobuf";
import { invalid } from "./errors.js";
import { type ImageFormat } from "./gen/clipstyler/v1/image_pb.js";
import { type PreviewOptionsSchema, type StylizationOptionsSchema } from "./gen/clipstyler/v1/options_pb.js";
import { type StylizationSpecSchema } from "./gen/clipstyler/v1/stylization_pb.js";
import { type UploadImageResponse } from "./gen/clipstyler/v1/stylization_service_pb.js";

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

/** Bytes of a file; throws `StylizeError` for what is none, as callers without TypeScript may pass. */
export async function bytesOf(file: Uint8Array | Blob, argument: string): Promise<Uint8Array> {
  if (file instanceof Uint8Array) return file;
  if (file instanceof Blob) return new Uint8Array(await file.arrayBuffer());
  throw invalid(argument, "must be the bytes of a file, as a Uint8Array or a Blob");
}

/** Name a photo in a message; throws `StylizeError` for what is none, as callers without TypeScript may pass. */
export async function photoField(photo: Photo): Promise<{ case: "image"; value: Uint8Array } | { case: "upload"; value: string }> {
  if (photo instanceof Uint8Array) return { case: "image", value: photo };
  if (photo instanceof Blob) return { case: "image", value: new Uint8Array(await photo.arrayBuffer()) };
  if (typeof photo?.upload === "string") return { case: "upload", value: photo.upload };
  throw invalid("photo", "must be the bytes of an image file, as a Uint8Array or a Blob, or what jobs.upload returned");
}
