package dev.clipstyler.client;

import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;

/** Growing, random delays; what the server recommends is a lower bound. */
final class Backoff {
  private static final long FIRST_MS = 200;
  private static final long LONGEST_MS = 5_000;

  private long nextMs = FIRST_MS;

  /** Begins with short delays again. */
  void reset() {
    nextMs = FIRST_MS;
  }

  /** The time to wait after a failure. */
  Duration after(StylizeException failure) {
    var delay = Duration.ofMillis(Math.round(nextMs * ThreadLocalRandom.current().nextDouble(0.8, 1.2)));
    nextMs = Math.min(2 * nextMs, LONGEST_MS);
    return failure.retryDelay().filter(least -> least.compareTo(delay) > 0).orElse(delay);
  }
}
