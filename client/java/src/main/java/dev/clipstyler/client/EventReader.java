package dev.clipstyler.client;

import com.google.protobuf.ByteString;
import dev.clipstyler.v1.Stylization.CancelReason;
import dev.clipstyler.v1.StylizationEvent;
import io.grpc.Status;
import java.util.Optional;

/** Reads the events of one stylization in order; keeps the chunks of a large result until it is complete. */
final class EventReader {
  private ByteString chunks = ByteString.EMPTY;

  /**
   * Returns what the caller gets to see; empty for a chunk, and for kinds that a newer server may send.
   *
   * @throws StylizeException the stylization failed or was cancelled, or its result arrived broken
   */
  Optional<StylizationEvent> read(StylizationEvent event) {
    switch (event.getEventCase()) {
      case EVENT_NOT_SET:
        return Optional.empty();
      case CHUNK:
        append(event.getChunk());
        return Optional.empty();
      case FAILED:
        throw StylizeException.of(event.getFailed().getError());
      case CANCELLED:
        throw cancelled(event.getCancelled());
      case RESULT:
        return Optional.of(complete(event));
      default:
        return Optional.of(event);
    }
  }

  private void append(StylizationEvent.Chunk chunk) {
    if (chunk.getOffset() != chunks.size()) {
      throw StylizeException.broken(
          "a chunk at byte " + chunk.getOffset() + " arrived instead of one at byte " + chunks.size());
    }
    chunks = chunks.concat(chunk.getData());
  }

  private StylizationEvent complete(StylizationEvent event) {
    var result = event.getResult();
    if (result.getImageData().isEmpty()) {
      result = result.toBuilder().setImageData(chunks).build();
    }
    Images.check(result.getImageData(), result.getResult().getImage());
    return event.toBuilder().setResult(result).build();
  }

  private static StylizeException cancelled(StylizationEvent.Cancelled event) {
    if (event.getReason() == CancelReason.CANCEL_REASON_DRAINING) {
      return StylizeException.of(Status.Code.UNAVAILABLE, "DRAINING", "the server shut down meanwhile: retry");
    }
    return StylizeException.of(Status.Code.CANCELLED, "CANCELLED", "cancelled after " + event.getStep() + " steps");
  }
}
