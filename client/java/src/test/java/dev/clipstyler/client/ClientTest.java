package dev.clipstyler.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import dev.clipstyler.v1.GetServerInfoRequest;
import dev.clipstyler.v1.GetServerInfoResponse;
import dev.clipstyler.v1.ServerServiceGrpc;
import dev.clipstyler.v1.StyleApplication;
import io.grpc.Context;
import io.grpc.Status;
import io.grpc.inprocess.InProcessChannelBuilder;
import io.grpc.inprocess.InProcessServerBuilder;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.LinkedBlockingDeque;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ClientTest {
  @ParameterizedTest
  @ValueSource(strings = {"", " ", "http://127.0.0.1:50051", "https://a", "a:65536", "[::1]:99999999999999999999"})
  void whatIsNoAddressIsRefusedAtOnce(String target) {
    assertThrows(IllegalArgumentException.class, () -> Client.connect(target));
  }

  @ParameterizedTest
  @ValueSource(strings = {"a", "a:65535", "[::1]:80", "dns:///a:80"})
  void anAddressIsTaken(String target) {
    Client.connect(target).close();
  }

  @Test
  void callsOfAClosedClientAreCancelled() {
    var client = Client.connect("127.0.0.1:1");
    client.close();
    var calls = Map.<String, Executable>of(
        "get", () -> client.jobs().get("some-job"),
        "upload", () -> client.jobs().upload(ByteString.copyFromUtf8("photo")),
        "download", () -> client.styles().download("some-style"),
        "watch", () -> client.jobs().watch("some-job").result(),
        "apply", () -> client.styles().apply(StyleApplication.getDefaultInstance(), List.of()).forEach(photo -> {}),
        "wait", () -> client.waitUntilReady(Duration.ofSeconds(1)));
    calls.forEach((name, call) ->
        assertEquals(Status.Code.CANCELLED, assertThrows(StylizeException.class, call, name).code(), name));
  }

  @Test
  void waitingUntilReadyLastsAsLongAsAllowedHoweverSilentTheServer() throws IOException {
    var allowed = Duration.ofSeconds(1);
    var left = new LinkedBlockingDeque<Long>();
    var service = new ServerServiceGrpc.ServerServiceImplBase() {
      @Override
      public void getServerInfo(GetServerInfoRequest request, StreamObserver<GetServerInfoResponse> observer) {
        left.add(Context.current().getDeadline().timeRemaining(TimeUnit.MILLISECONDS));
        if (left.size() == 1) { // and silent from then on
          observer.onNext(GetServerInfoResponse.getDefaultInstance());
          observer.onCompleted();
        }
      }
    };
    var server = InProcessServerBuilder.forName("silent").addService(service).build().start();
    try (var client = Client.connect(InProcessChannelBuilder.forName("silent"))) {
      var failure = assertThrows(StylizeException.class, () -> client.waitUntilReady(allowed));
      assertEquals(Status.Code.UNAVAILABLE, failure.code());
      assertEquals(2, left.size());
      assertTrue(left.getLast() <= 900, left + " ms were left"); // 100 ms are between two questions
    } finally {
      server.shutdownNow();
    }
  }
}
