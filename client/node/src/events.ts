import { Code } from "@connectrpc/connect";
import { brokenResult, StylizeError } from "./errors.js";
import type { ImageMetadata } from "./gen/clipstyler/v1/image_pb.js";
import type {
  StylizationEvent,
  StylizationEvent_Cancelled,
  StylizationEvent_Chunk,
  StylizationEvent_Result,
} from "./gen/clipstyler/v1/event_pb.js";
import { Stylization_CancelReason } from "./gen/clipstyler/v1/stylization_pb.js";

/** Reads the events of one stylization in order; keeps the chunks of a large result until it is complete. */
export class EventReader {
  #chunks: Uint8Array[] = [];
  #received = 0;

  /**
   * Return what the caller gets to see; undefined for a chunk, and for kinds that a newer server may send.
   *
   * Throws a `StylizeError` if the stylization failed or was cancelled, or its result arrived broken.
   */
  async read(message: StylizationEvent): Promise<StylizationEvent | undefined> {
    const { event } = message;
    switch (event.case) {
      case undefined:
        return undefined;
      case "chunk":
        this.#append(event.value);
        return undefined;
      case "failed":
        throw event.value.error ? StylizeError.fromMessage(event.value.error) : brokenResult("an error without details");
      case "cancelled":
        throw cancelled(event.value);
      case "result":
        await this.#complete(event.value);
        return message;
      default:
        return message;
    }
  }

  #append(chunk: StylizationEvent_Chunk): void {
    if (chunk.offset !== BigInt(this.#received)) {
      throw brokenResult(`a chunk at byte ${chunk.offset} arrived instead of one at byte ${this.#received}`);
    }
    this.#chunks.push(chunk.data);
    this.#received += chunk.data.length;
  }

  async #complete(result: StylizationEvent_Result): Promise<void> {
    if (result.imageData.length === 0) result.imageData = joined(this.#chunks);
    await checkImage(result.imageData, result.result?.image);
  }
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

function cancelled({ reason, step }: StylizationEvent_Cancelled): StylizeError {
  if (reason === Stylization_CancelReason.DRAINING) {
    return new StylizeError(Code.Unavailable, "the server shut down meanwhile: retry", { reason: "DRAINING" });
  }
  return new StylizeError(Code.Canceled, `cancelled after ${step} steps`, { reason: "CANCELLED" });
}
