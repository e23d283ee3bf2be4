import { Code } from "@connectrpc/connect";
import { brokenResult, StylizeError } from "./errors.js";
import type {
  StylizationEvent,
  StylizationEvent_Cancelled,
  StylizationEvent_Chunk,
  StylizationEvent_Result,
} from "./gen/clipstyler/v1/event_pb.js";
import { Stylization_CancelReason } from "./gen/clipstyler/v1/stylization_pb.js";
import { checkImage, joined } from "./images.js";

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

function cancelled({ reason, step }: StylizationEvent_Cancelled): StylizeError {
  if (reason === Stylization_CancelReason.DRAINING) {
    return new StylizeError(Code.Unavailable, "the server shut down meanwhile: retry", { reason: "DRAINING" });
  }
  return new StylizeError(Code.Canceled, `cancelled after ${step} steps`, { reason: "CANCELLED" });
}
