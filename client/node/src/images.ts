import { brokenResult } from "./errors.js";
import { type ImageMetadata } from "./gen/clipstyler/v1/image_pb.js";

/** An image of a job, or of a style: its encoded bytes, complete and checked against their digest. */
export interface JobImage {
  readonly data: Uint8Array;
  readonly metadata: ImageMetadata;
}

/** A part of an image: first its metadata, then its bytes, in order. */
export type ImagePart =
  | { readonly case: "metadata"; readonly value: ImageMetadata }
  | { readonly case: "data"; readonly value: Uint8Array };

/** Joins the parts of images that follow each other. */
export class ImageParts {
  #metadata: ImageMetadata | undefined;
  #chunks: Uint8Array[] = [];
  #received = 0;

  /** Whether an image has begun that is not complete. */
  get isIncomplete(): boolean {
    return this.#metadata !== undefined;
  }

  /** Add the next part; returns an image once it is complete. Throws a `StylizeError` if it is not the one announced. */
  async add(part: ImagePart): Promise<JobImage | undefined> {
    if (part.case === "metadata") {
      this.#metadata = part.value;
      this.#chunks = [];
      this.#received = 0;
      return undefined;
    }
    this.#chunks.push(part.value);
    this.#received += part.value.length;
    const metadata = this.#metadata;
    if (!metadata) throw brokenResult("bytes arrived before the metadata of their image");
    if (BigInt(this.#received) < metadata.sizeBytes) return undefined;
    const data = joined(this.#chunks);
    await checkImage(data, metadata);
    this.#metadata = undefined;
    return { data, metadata };
  }
}

/** Read the image of a response that has one. */
export async function readImage(
  parts: AsyncIterable<{ readonly part: ImagePart | { readonly case: undefined } }>,
): Promise<JobImage> {
  const reading = new ImageParts();
  let image: JobImage | undefined;
  for await (const { part } of parts) {
    if (part.case !== undefined) image = (await reading.add(part)) ?? image;
  }
  if (!image || reading.isIncomplete) throw brokenResult("the response ended within its image");
  return image;
}

/** Join the parts of an image. */
export function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/**
 * Throw if an image is not the one that its metadata announces.
 *
 * Browsers compute digests in secure contexts only; elsewhere only the length is compared.
 */
export async function checkImage(data: Uint8Array, announced: ImageMetadata | undefined): Promise<void> {
  const isWhole = announced?.sizeBytes === BigInt(data.length);
  if (!isWhole || !sameBytes((await sha256(data)) ?? announced.sha256, announced.sha256)) {
    throw brokenResult(`${data.length} bytes arrived that do not match the announced ${announced?.sizeBytes}`);
  }
}

/** SHA-256 of bytes; undefined where browsers do not compute it. */
export async function sha256(data: Uint8Array): Promise<Uint8Array | undefined> {
  const subtle = globalThis.crypto.subtle as SubtleCrypto | undefined;
  return subtle && new Uint8Array(await subtle.digest("SHA-256", data as Uint8Array<ArrayBuffer>));
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}
