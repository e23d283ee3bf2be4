package dev.clipstyler.client;

import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;
import java.util.Set;

/** Decides whether a stream goes on after an error: until the server was silent for too long. */
final class Resumption {
  static final Duration TIMEOUT = Duration.ofMinutes(2);

  // A connection that broke gives no reason. A worker that crashed on a job is not sent the same job again.
  private static final Set<String> TRANSIENT = Set.of("", "DRAINING", "WORKER_NOT_READY", "STORAGE_UNAVAILABLE");

  // What gRPC reports if a proxy resets a stream or ends it without a status. The server's own errors have a reason.
  private static final Set<Status.Code> RESET = Set.of(Status.Code.INTERNAL, Status.Code.UNKNOWN);

  private final boolean isAfterResets;
  private final Duration timeout;
  private final Attempts attempts = new Attempts();
  private final Backoff backoff = new Backoff();
  private boolean hasReceived;
  private boolean isOver;
  private long waitingSince;

  /**
   * Begins without any message received.
   *
   * @param isAfterResets whether the stream goes on after a proxy reset it. A proxy resets streams whose time is up,
   *     too: a watch continues then, but a one-shot call would begin anew each time
   * @param timeout how long the server may be silent
   */
  Resumption(boolean isAfterResets, Duration timeout) {
    this.isAfterResets = isAfterResets;
    this.timeout = timeout;
  }

  /** Records that the next event is waited for: only from then on is it the server that is silent, not the reader. */
  void waiting() {
    waitingSince = System.nanoTime();
  }

  void received() {
    hasReceived = true;
    backoff.reset();
  }

  /**
   * Records that an event told how the stylization ended: a job that is watched stays as it is, whatever would help the
   * next one; a one-shot call may begin anew.
   */
  void toldTheEnd() {
    isOver = isAfterResets;
  }

  /** The time to wait before the next attempt; empty if none makes sense. */
  Optional<Duration> delayAfter(StylizeException failure) {
    if (isOver) {
      return Optional.empty();
    }
    if (!hasReceived) {
      return attempts.delayAfter(failure);
    }
    if (!isTransient(failure) || System.nanoTime() - waitingSince > timeout.toNanos()) {
      return Optional.empty();
    }
    return Optional.of(backoff.after(failure));
  }

  private boolean isTransient(StylizeException failure) {
    if (failure.code() == Status.Code.UNAVAILABLE) {
      return TRANSIENT.contains(failure.reason());
    }
    return isAfterResets && RESET.contains(failure.code()) && failure.reason().isEmpty();
  }
}
