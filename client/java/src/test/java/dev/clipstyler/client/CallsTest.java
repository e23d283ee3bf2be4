package dev.clipstyler.client;

import static dev.clipstyler.client.ScriptedServer.refusal;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Context;
import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class CallsTest {
  private final Calls calls = new Calls(() -> false, () -> {});

  @Test
  void aCallIsRepeatedAfterTheRecommendedDelay() {
    var attempts = new AtomicInteger();
    var begun = System.nanoTime();
    var value = calls.unary(null, deadline -> {
      if (attempts.incrementAndGet() == 1) {
        throw refusal(Status.Code.UNAVAILABLE, "STORAGE_UNAVAILABLE", 300);
      }
      return "done";
    });
    assertEquals("done", value);
    assertTrue(System.nanoTime() - begun >= Duration.ofMillis(300).toNanos());
  }

  @Test
  void aCallIsMadeFiveTimesAtMost() {
    var attempts = new AtomicInteger();
    assertThrows(StylizeException.class, () -> calls.unary(null, deadline -> {
      attempts.incrementAndGet();
      throw refusal(Status.Code.UNAVAILABLE, "STORAGE_UNAVAILABLE", 10);
    }));
    assertEquals(5, attempts.get());
  }

  @Test
  void theEndOfTheCallersContextEndsThePause() {
    try (var server = new ScriptedServer((number, after, call) -> {}); var client = server.client()) {
      var leaving = Context.current().withCancellation();
      CompletableFuture.delayedExecutor(200, TimeUnit.MILLISECONDS).execute(() -> leaving.cancel(null));
      var begun = System.nanoTime();
      leaving.run(() -> {
        for (Executable call : List.<Executable>of(
            () -> client.jobs().get("some-job"), () -> client.waitUntilReady(Duration.ofMinutes(1)))) {
          var failure = assertThrows(StylizeException.class, call);
          assertEquals(Status.Code.CANCELLED, failure.code());
        }
      });
      assertTrue(System.nanoTime() - begun < Duration.ofSeconds(20).toNanos());
    }
  }

  @Test
  void aRetryThatTheDeadlineForbidsIsNotWaitedFor() {
    var begun = System.nanoTime();
    var failure = assertThrows(StylizeException.class, () -> calls.unary(Duration.ofSeconds(30), deadline -> {
      throw refusal(Status.Code.UNAVAILABLE, "STORAGE_UNAVAILABLE", 3_600_000);
    }));
    assertEquals("STORAGE_UNAVAILABLE", failure.reason());
    assertTrue(System.nanoTime() - begun < Duration.ofSeconds(20).toNanos());
  }

  @Test
  void aTimeoutMayBeLongerThanAnyClock() {
    var forever = Duration.ofSeconds(Long.MAX_VALUE);
    assertEquals("done", calls.unary(forever, deadline -> deadline.isExpired() ? "late" : "done"));
  }

  @Test
  void aRecommendedDelayMayBeLongerThanAnyClock() {
    assertFalse(calls.pause(Duration.ofSeconds(Long.MAX_VALUE), Calls.deadline(Duration.ofMinutes(1))));
  }

  @Test
  void onlyUnavailableIsRepeated() {
    var attempts = new AtomicInteger();
    var failure = assertThrows(StylizeException.class, () -> calls.unary(null, deadline -> {
      attempts.incrementAndGet();
      throw refusal(Status.Code.RESOURCE_EXHAUSTED, "QUEUE_FULL", 12_000);
    }));
    assertEquals(Duration.ofSeconds(12), failure.retryDelay().orElseThrow());
    assertEquals(1, attempts.get());
  }
}
