package dev.clipstyler.client;

import static dev.clipstyler.client.ScriptedServer.IMAGE;
import static dev.clipstyler.client.ScriptedServer.chunk;
import static dev.clipstyler.client.ScriptedServer.playing;
import static dev.clipstyler.client.ScriptedServer.progress;
import static dev.clipstyler.client.ScriptedServer.queued;
import static dev.clipstyler.client.ScriptedServer.refusal;
import static dev.clipstyler.client.ScriptedServer.result;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import dev.clipstyler.v1.Error;
import dev.clipstyler.v1.Stylization.CancelReason;
import dev.clipstyler.v1.StylizationEvent;
import dev.clipstyler.v1.StylizationEvent.EventCase;
import dev.clipstyler.v1.StylizeRequest;
import io.grpc.Context;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Function;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

class EventStreamTest {
  private static final StylizeRequest ASKED = StylizeRequest.getDefaultInstance();

  private static List<EventCase> kinds(EventStream stream) {
    var seen = new ArrayList<EventCase>();
    stream.forEach(event -> seen.add(event.getEventCase()));
    return seen;
  }

  private static StylizeException failureOf(ScriptedServer server) {
    try (server; var client = server.client()) {
      return assertThrows(StylizeException.class, () -> client.stylize(ASKED).result());
    }
  }

  @Test
  void aStreamYieldsEventsAndAssemblesChunks() {
    var script = new StylizationEvent[] {
      queued(), progress(1), chunk(0, 400), chunk(400, 1000), result(ByteString.EMPTY)
    };
    try (var server = playing(script); var client = server.client(); var stream = client.stylize(ASKED)) {
      assertEquals(List.of(EventCase.QUEUED, EventCase.PROGRESS, EventCase.RESULT), kinds(stream));
      assertEquals(IMAGE, stream.result().getImageData());
    }
  }

  @Test
  void brokenResultsAreDataLoss() {
    var scripts = List.of(
        new StylizationEvent[] {chunk(400, 1000), result(ByteString.EMPTY)},
        new StylizationEvent[] {chunk(0, 400), result(ByteString.EMPTY)},
        new StylizationEvent[] {result(IMAGE.substring(1).concat(ByteString.copyFromUtf8("x")))},
        new StylizationEvent[] {queued()});
    for (var script : scripts) {
      var failure = failureOf(playing(script));
      assertEquals(Status.Code.DATA_LOSS, failure.code());
      assertEquals("BROKEN_RESULT", failure.reason());
    }
  }

  @Test
  void aWatchResumesAfterTheLastEvent() {
    var asked = new ArrayList<Long>();
    ScriptedServer.Script script = (number, after, call) -> {
      asked.add(after);
      call.send(queued());
      call.send(progress(1));
      if (number == 1) {
        call.send(chunk(0, 400));
        throw refusal(Status.Code.UNAVAILABLE, "DRAINING", 0);
      }
      call.send(chunk(0, 1000));
      call.send(result(ByteString.EMPTY));
    };
    try (var server = new ScriptedServer(script);
        var client = server.client();
        var stream = client.jobs().watch("some-job")) {
      assertEquals(List.of(EventCase.QUEUED, EventCase.PROGRESS, EventCase.RESULT), kinds(stream));
      assertEquals(List.of(0L, 2L), asked);
      assertEquals(4, stream.sequence());
    }
  }

  @Test
  void silenceIsThatOfTheServerNotOfABusyReader() throws InterruptedException {
    var attempts = new AtomicInteger();
    EventStream.Beginning breaking = (after, deadline) -> Stream.of(attempts.incrementAndGet() > 2, true)
        .map(breaks -> {
          if (breaks) {
            throw Status.UNAVAILABLE.asRuntimeException();
          }
          return queued();
        })
        .iterator();
    var patience = Duration.ofMillis(300);
    var calls = new Calls(() -> false, () -> {});
    var events = new EventStream(breaking, new Resumption(true, patience), 0, null, calls).iterator();
    events.next();
    Thread.sleep(2 * patience.toMillis());
    events.next();
    assertEquals(2, attempts.get());
    assertEquals(Status.Code.UNAVAILABLE, assertThrows(StylizeException.class, events::next).code());
    assertTrue(attempts.get() > 2);
  }

  @Test
  void aShutdownBeginsTheCallAgain() {
    var draining = StylizationEvent.Cancelled.newBuilder().setReason(CancelReason.CANCEL_REASON_DRAINING);
    ScriptedServer.Script script = (number, after, call) -> {
      call.send(queued());
      call.send(number > 1 ? result(IMAGE) : StylizationEvent.newBuilder().setCancelled(draining).build());
    };
    try (var server = new ScriptedServer(script); var client = server.client()) {
      assertEquals(IMAGE, client.stylize(ASKED).result().getImageData());
    }
  }

  @Test
  void aResetByAProxyIsResumedByWatchesOnly() {
    for (var code : List.of(Status.Code.INTERNAL, Status.Code.UNKNOWN)) {
      var server = new ScriptedServer((number, after, call) -> {
        call.send(queued());
        if (number == 1) {
          throw code.toStatus().withDescription("reset by a proxy").asRuntimeException();
        }
        call.send(result(IMAGE));
      });
      try (server; var client = server.client()) {
        assertEquals(IMAGE, client.jobs().watch("some-job").result().getImageData());
        assertEquals(2, server.calls.getAndSet(0));
        var failure = assertThrows(StylizeException.class, () -> client.stylize(ASKED).result());
        assertEquals(code, failure.code());
        assertEquals(1, server.calls.get());
      }
    }
  }

  @Test
  void aFailureWithAReasonEndsAWatch() {
    var server = new ScriptedServer((number, after, call) -> {
      call.send(queued());
      throw refusal(Status.Code.INTERNAL, "INTERNAL", 0);
    });
    try (server; var client = server.client()) {
      var failure = assertThrows(StylizeException.class, () -> client.jobs().watch("some-job").result());
      assertEquals("INTERNAL", failure.reason());
      assertEquals(1, server.calls.get());
    }
  }

  @Test
  void aJobThatEndedIsNotWatchedAgain() {
    var draining = StylizationEvent.Cancelled.newBuilder().setReason(CancelReason.CANCEL_REASON_DRAINING);
    var server = new ScriptedServer((number, after, call) -> {
      call.send(queued());
      call.send(StylizationEvent.newBuilder().setCancelled(draining).build());
    });
    try (server; var client = server.client()) {
      var failure = assertThrows(StylizeException.class, () -> client.jobs().watch("some-job").result());
      assertEquals("DRAINING", failure.reason());
      assertEquals(1, server.calls.get());
    }
  }

  @Test
  void aCrashOfTheWorkerIsNotResumed() {
    var server = new ScriptedServer((number, after, call) -> {
      call.send(queued());
      throw refusal(Status.Code.UNAVAILABLE, "WORKER_CRASHED", 1500);
    });
    var failure = failureOf(server);
    assertEquals("WORKER_CRASHED", failure.reason());
    assertEquals(Duration.ofMillis(1500), failure.retryDelay().orElseThrow());
    assertEquals(1, server.calls.get());
  }

  @Test
  void aResultThatFailedFailsAgainByTheSameError() {
    var server = new ScriptedServer((number, after, call) -> {
      call.send(queued());
      throw refusal(Status.Code.UNAVAILABLE, "WORKER_CRASHED", 0);
    });
    try (server; var client = server.client(); var stream = client.stylize(ASKED)) {
      var failure = assertThrows(StylizeException.class, () -> kinds(stream));
      assertEquals("WORKER_CRASHED", failure.reason());
      assertSame(failure, assertThrows(StylizeException.class, stream::result));
      stream.close();
      assertSame(failure, assertThrows(StylizeException.class, stream::result));
    }
  }

  @Test
  void aFailedEventHasAllDetails() {
    var error = Error.newBuilder()
        .setCode(Error.Code.CODE_INVALID_ARGUMENT)
        .setReason("DIVERGED")
        .setMessage("it diverged")
        .putMetadata("step", "3")
        .addFieldViolations(Error.FieldViolation.newBuilder().setField("spec.options.size").setDescription("is large"));
    var failed = StylizationEvent.Failed.newBuilder().setError(error);
    var failure = failureOf(playing(queued(), StylizationEvent.newBuilder().setFailed(failed).build()));
    assertEquals(Status.Code.INVALID_ARGUMENT, failure.code());
    assertEquals("DIVERGED", failure.reason());
    assertEquals("it diverged", failure.getMessage());
    assertEquals("3", failure.metadata().get("step"));
    assertEquals(List.of(new FieldViolation("spec.options.size", "is large")), failure.violations());
    assertTrue(failure.retryDelay().isEmpty());
  }

  @Test
  void errorsOfCallsHaveAllDetailsAndAreNotRetried() {
    var server = new ScriptedServer((number, after, call) -> {
      throw refusal(Status.Code.INVALID_ARGUMENT, "INVALID_FIELD", 0, "spec.style_text", "spec.options.steps");
    });
    var failure = failureOf(server);
    assertEquals(Status.Code.INVALID_ARGUMENT, failure.code());
    assertEquals("INVALID_FIELD", failure.reason());
    assertEquals("starting", failure.metadata().get("state"));
    assertEquals("spec.options.steps", failure.violations().get(1).field());
    assertEquals(1, server.calls.get());
  }

  @Test
  void aStreamThatBeginsWithUnavailableIsRetried() {
    var server = new ScriptedServer((number, after, call) -> {
      if (number == 1) {
        throw refusal(Status.Code.UNAVAILABLE, "WORKER_NOT_READY", 0);
      }
      call.send(result(IMAGE));
    });
    try (server; var client = server.client()) {
      assertEquals(IMAGE, client.stylize(ASKED).result().getImageData());
    }
  }

  @Test
  void closingAStreamEndsItsCallQuietly() throws InterruptedException {
    try (var server = playing(queued()); var client = server.client()) {
      server.isEndless = true;
      var stream = client.stylize(ASKED);
      for (var event : stream) {
        stream.close();
      }
      assertTrue(server.cancelled.await(10, TimeUnit.SECONDS));
      assertEquals("BROKEN_RESULT", assertThrows(StylizeException.class, stream::result).reason());
    }
  }

  @Test
  @Timeout(30)
  void closingTheClientEndsItsStreams() {
    try (var server = playing(queued())) {
      server.isEndless = true;
      for (var streamOf : List.<Function<Client, EventStream>>of(
          client -> client.stylize(ASKED), client -> client.jobs().watch("some-job"))) {
        var client = server.client();
        var events = streamOf.apply(client).iterator();
        events.next();
        client.close();
        var failure = assertThrows(StylizeException.class, events::next);
        assertEquals(Status.Code.CANCELLED, failure.code());
        assertEquals("the client was closed", failure.getMessage());
      }
    }
  }

  /** A server whose streams are interrupted, with a pause of a minute before they resume. */
  private static ScriptedServer restarting(Runnable inThePause) {
    return new ScriptedServer((number, after, call) -> {
      call.send(queued());
      CompletableFuture.delayedExecutor(200, TimeUnit.MILLISECONDS).execute(inThePause);
      throw refusal(Status.Code.UNAVAILABLE, "DRAINING", 60_000);
    });
  }

  @Test
  @Timeout(30)
  void closingTheClientEndsAStreamThatWaitsToResume() {
    var client = new AtomicReference<Client>();
    try (var server = restarting(() -> client.get().close())) {
      client.set(server.client());
      var stream = client.get().jobs().watch("some-job");
      assertEquals(Status.Code.CANCELLED, assertThrows(StylizeException.class, stream::result).code());
      assertEquals(1, server.calls.get());
    }
  }

  @Test
  @Timeout(30)
  void aStreamThatIsClosedWhileItWaitsToResumeEndsQuietly() {
    var stream = new AtomicReference<EventStream>();
    try (var server = restarting(() -> stream.get().close()); var client = server.client()) {
      stream.set(client.jobs().watch("some-job"));
      assertEquals(List.of(EventCase.QUEUED), kinds(stream.get()));
      assertEquals(1, server.calls.get());
    }
  }

  @Test
  @Timeout(30)
  void theEndOfTheCallersContextIsNoQuietEnd() {
    try (var server = playing(queued()); var client = server.client(); var leaving = Context.current().withCancellation()) {
      server.isEndless = true;
      leaving.run(() -> {
        var events = client.jobs().watch("some-job").iterator();
        events.next();
        leaving.cancel(null);
        assertEquals(Status.Code.CANCELLED, assertThrows(StylizeException.class, events::hasNext).code());
      });
    }
  }

  @Test
  @Timeout(30)
  void anInterruptedThreadEndsThePause() {
    try (var server = restarting(Thread.currentThread()::interrupt); var client = server.client()) {
      var stream = client.jobs().watch("some-job");
      assertEquals(Status.Code.CANCELLED, assertThrows(StylizeException.class, stream::result).code());
      assertTrue(Thread.interrupted());
    }
  }

  @Test
  void aDeadlineEndsTheCall() throws InterruptedException {
    try (var server = playing(queued()); var client = server.client()) {
      server.isEndless = true;
      var stream = client.withTimeout(Duration.ofMillis(200)).stylize(ASKED);
      var failure = assertThrows(StylizeException.class, stream::result);
      assertEquals(Status.Code.DEADLINE_EXCEEDED, failure.code());
      assertTrue(server.cancelled.await(10, TimeUnit.SECONDS));
    }
  }
}
