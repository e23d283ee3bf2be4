package dev.clipstyler.client;

import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;

/** Decides whether a stream goes on after an error: until the server was silent for too long. */
final class Resumption {
  static final Duration TIMEOUT = Duration.ofMinutes(2);

  private static final long FIRST_BACKOFF_MS = 200;
  private static final long LONGEST_BACKOFF_MS = 5_000;
  // A connection that broke gives no reason. A worker that crashed on a job is not sent the same job again.
  private static final Set<String> TRANSIENT = Set.of("", "DRAINING", "WORKER_NOT_READY", "STORAGE_UNAVAILABLE");

  // What gRPC reports if a proxy resets a stream or ends it without a status. The server's own errors have a reason.
  private static final Set<Status.Code> RESET = Set.of(Status.Code.INTERNAL, Status.Code.UNKNOWN);

  private final boolean isAfterResets;
  private final Duration timeout;
  private boolean hasReceived;
  private boolean isRepeated;
  private boolean isOver;
  private long waitingSince;
  private long backoffMs = FIRST_BACKOFF_MS;

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
    backoffMs = FIRST_BACKOFF_MS;
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
    if (!hasReceived) { // gRPC has retried already
      var isLast = isRepeated || !Calls.isRetryRecommended(failure);
      isRepeated = true;
      return isLast ? Optional.empty() : failure.retryDelay();
    }
    if (!isTransient(failure) || System.nanoTime() - waitingSince > timeout.toNanos()) {
      return Optional.empty();
    }
    var delay = Duration.ofMillis(Math.round(backoffMs * ThreadLocalRandom.current().nextDouble(0.8, 1.2)));
    backoffMs = Math.min(2 * backoffMs, LONGEST_BACKOFF_MS);
    return Optional.of(failure.retryDelay().filter(least -> least.compareTo(delay) > 0).orElse(delay));
  }

  private boolean isTransient(StylizeException failure) {
    if (failure.code() == Status.Code.UNAVAILABLE) {
      return TRANSIENT.contains(failure.reason());
    }
    return isAfterResets && RESET.contains(failure.code()) && failure.reason().isEmpty();
  }
}
