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

  private boolean hasReceived;
  private boolean isRepeated;
  private long receivedAt;
  private long backoffMs = FIRST_BACKOFF_MS;

  void received() {
    hasReceived = true;
    receivedAt = System.nanoTime();
    backoffMs = FIRST_BACKOFF_MS;
  }

  /** The time to wait before the next attempt; empty if none makes sense. */
  Optional<Duration> delayAfter(StylizeException failure) {
    if (!hasReceived) { // gRPC has retried already
      var isLast = isRepeated || !Calls.isRetryRecommended(failure);
      isRepeated = true;
      return isLast ? Optional.empty() : failure.retryDelay();
    }
    var isTransient = failure.code() == Status.Code.UNAVAILABLE && TRANSIENT.contains(failure.reason());
    if (!isTransient || System.nanoTime() - receivedAt > TIMEOUT.toNanos()) {
      return Optional.empty();
    }
    var delay = Duration.ofMillis(Math.round(backoffMs * ThreadLocalRandom.current().nextDouble(0.8, 1.2)));
    backoffMs = Math.min(2 * backoffMs, LONGEST_BACKOFF_MS);
    return Optional.of(failure.retryDelay().filter(least -> least.compareTo(delay) > 0).orElse(delay));
  }
}
