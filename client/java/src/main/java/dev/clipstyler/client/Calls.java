package dev.clipstyler.client;

import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.Function;

/**
 * Makes calls that have one response, with the errors of this package and the server's recommendations for retries.
 *
 * @param isClosed whether the client is closed
 * @param reconnect connects at once: a server that restarts is back within seconds, and a channel waits ever longer
 */
record Calls(BooleanSupplier isClosed, Runnable reconnect) {
  static final Duration TIMEOUT = Duration.ofMinutes(1);

  private static final Duration LOOK = Duration.ofMillis(50);

  /** The deadline of a call, all attempts included; null for none. */
  static Deadline deadline(Duration timeout) {
    return timeout == null ? null : Deadline.after(nanoseconds(timeout), TimeUnit.NANOSECONDS);
  }

  /** Makes a call until it is answered; one whose context has ended fails by that at once. */
  <T> T unary(Duration timeout, Function<Deadline, T> attempt) {
    var deadline = deadline(timeout == null ? TIMEOUT : timeout);
    var context = Context.current();
    var attempts = new Attempts();
    while (true) {
      try {
        return translated(attempt, deadline);
      } catch (StylizeException failure) {
        var delay = attempts.delayAfter(failure);
        if (delay.isEmpty() || !pause(delay.get(), deadline, context::isCancelled) && !context.isCancelled()) {
          throw failure;
        }
      }
    }
  }

  /** The error of a call: gRPC calls the server unavailable if the client was closed. */
  StylizeException ended(StylizeException failure) {
    return isClosed.getAsBoolean() && failure.code() == Status.Code.UNAVAILABLE ? closed() : failure;
  }

  private static StylizeException closed() {
    return StylizeException.of(Status.Code.CANCELLED, "", "the client was closed");
  }

  /**
   * Waits before another attempt; false, at once, if the deadline is earlier.
   *
   * @throws StylizeException the client was closed, or the thread interrupted: CANCELLED
   */
  boolean pause(Duration delay, Deadline deadline) {
    return pause(delay, deadline, () -> false);
  }

  /** Waits in the same way, no longer than until there will be no other attempt: false. */
  boolean pause(Duration delay, Deadline deadline, BooleanSupplier isLeft) {
    if (deadline != null && deadline.timeRemaining(TimeUnit.NANOSECONDS) <= nanoseconds(delay)) {
      return false;
    }
    var end = Deadline.after(nanoseconds(delay), TimeUnit.NANOSECONDS);
    try {
      while (!isClosed.getAsBoolean() && !isLeft.getAsBoolean() && !end.isExpired()) {
        TimeUnit.NANOSECONDS.sleep(Math.min(end.timeRemaining(TimeUnit.NANOSECONDS), LOOK.toNanos()));
      }
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
      throw StylizeException.of(Status.Code.CANCELLED, "", "the thread was interrupted");
    }
    if (isClosed.getAsBoolean()) {
      throw closed();
    }
    reconnect.run();
    return !isLeft.getAsBoolean();
  }

  /** The longest that 64 bits can hold, 292 years, for whatever is longer. */
  private static long nanoseconds(Duration duration) {
    return TimeUnit.NANOSECONDS.convert(duration);
  }

  /** An attempt that fails between two parts of a response ends its call: nobody reads the rest. */
  private <T> T translated(Function<Deadline, T> attempt, Deadline deadline) {
    var leaving = Context.current().withCancellation();
    var before = leaving.attach();
    try {
      return attempt.apply(deadline);
    } catch (StatusRuntimeException failure) {
      throw ended(StylizeException.of(failure));
    } finally {
      leaving.detachAndCancel(before, null);
    }
  }
}
