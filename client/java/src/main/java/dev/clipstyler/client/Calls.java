package dev.clipstyler.client;

import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/** Makes calls that have one response, with the errors of this package and the server's recommendations for retries. */
final class Calls {
  static final Duration TIMEOUT = Duration.ofMinutes(1);

  private Calls() {}

  /** The deadline of a call, all attempts included; null for none. */
  static Deadline deadline(Duration timeout) {
    return timeout == null ? null : Deadline.after(nanoseconds(timeout), TimeUnit.NANOSECONDS);
  }

  /**
   * Makes a call, and repeats it once after the delay that the server recommends, when gRPC's own retries have failed:
   * gRPC does not know RetryInfo.
   */
  static <T> T unary(Duration timeout, Function<Deadline, T> attempt) {
    var deadline = deadline(timeout == null ? TIMEOUT : timeout);
    try {
      return translated(attempt, deadline);
    } catch (StylizeException failure) {
      if (!isRetryRecommended(failure) || !pause(failure.retryDelay().orElseThrow(), deadline)) {
        throw failure;
      }
      return translated(attempt, deadline);
    }
  }

  static boolean isRetryRecommended(StylizeException failure) {
    return failure.code() == Status.Code.UNAVAILABLE && failure.retryDelay().isPresent();
  }

  /** Waits; false, at once, if the deadline is earlier, and if the thread is interrupted. */
  static boolean pause(Duration delay, Deadline deadline) {
    if (deadline != null && deadline.timeRemaining(TimeUnit.NANOSECONDS) <= nanoseconds(delay)) {
      return false;
    }
    try {
      TimeUnit.NANOSECONDS.sleep(nanoseconds(delay));
      return true;
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
      return false;
    }
  }

  /** The longest that 64 bits can hold, 292 years, for whatever is longer. */
  private static long nanoseconds(Duration duration) {
    return TimeUnit.NANOSECONDS.convert(duration);
  }

  /** An attempt that fails between two parts of a response ends its call: nobody reads the rest. */
  private static <T> T translated(Function<Deadline, T> attempt, Deadline deadline) {
    var leaving = Context.current().withCancellation();
    var before = leaving.attach();
    try {
      return attempt.apply(deadline);
    } catch (StatusRuntimeException failure) {
      throw StylizeException.of(failure);
    } finally {
      leaving.detachAndCancel(before, null);
    }
  }
}
