package dev.clipstyler.client;

import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;

/**
 * Attempts of a call that has received nothing: UNAVAILABLE is the only code that invites a plain retry. gRPC does not
 * make them: it does not know RetryInfo.
 */
final class Attempts {
  private static final int MOST = 5;

  private final Backoff backoff = new Backoff();
  private int failed;

  /** The time to wait before the next attempt; empty if none makes sense. */
  Optional<Duration> delayAfter(StylizeException failure) {
    failed++;
    var isAgain = failure.code() == Status.Code.UNAVAILABLE && failed < MOST;
    return isAgain ? Optional.of(backoff.after(failure)) : Optional.empty();
  }
}
