package dev.clipstyler.client;

import dev.clipstyler.v1.EncoderServiceGrpc;
import dev.clipstyler.v1.EncoderServiceGrpc.EncoderServiceBlockingStub;
import dev.clipstyler.v1.ServerServiceGrpc;
import dev.clipstyler.v1.ServerServiceGrpc.ServerServiceBlockingStub;
import dev.clipstyler.v1.StyleServiceGrpc;
import dev.clipstyler.v1.StyleServiceGrpc.StyleServiceBlockingStub;
import dev.clipstyler.v1.StyleServiceGrpc.StyleServiceBlockingV2Stub;
import dev.clipstyler.v1.StylizationServiceGrpc;
import dev.clipstyler.v1.StylizationServiceGrpc.StylizationServiceBlockingStub;
import dev.clipstyler.v1.StylizationServiceGrpc.StylizationServiceStub;
import io.grpc.Deadline;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.time.Duration;
import java.util.Iterator;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/** A channel to a server, and the stubs on it. */
record Connection(ManagedChannel channel) {
  private static final long RETRY_BUFFER_BYTES = 64L << 20;
  private static final long KEEPALIVE_S = 60;
  private static final int LARGEST_PORT = 65_535;

  /** False for what gRPC would wait for without ever reaching it: nothing, a URL, a port that there cannot be. */
  static boolean isAddress(String target) {
    if (target.isBlank() || target.startsWith("http://") || target.startsWith("https://")) {
      return false;
    }
    var port = target.substring(target.lastIndexOf(':') + 1);
    // Without a number at its end it may be a name or a path.
    return !port.matches("\\d+") || port.length() <= 9 && Integer.parseInt(port) <= LARGEST_PORT;
  }

  /** Lets gRPC send what no server has processed once more, photos too, and detect a dead connection by pings. */
  static <B extends ManagedChannelBuilder<B>> B configured(B builder) {
    return builder
        .enableRetry()
        .retryBufferSize(RETRY_BUFFER_BYTES)
        .perRpcBufferLimit(RETRY_BUFFER_BYTES)
        .keepAliveTime(KEEPALIVE_S, TimeUnit.SECONDS);
  }

  Calls calls() {
    return new Calls(channel::isShutdown, channel::resetConnectBackoff);
  }

  StylizationServiceBlockingStub stylizations(Deadline deadline) {
    return StylizationServiceGrpc.newBlockingStub(channel).withDeadline(deadline);
  }

  StylizationServiceStub stylizationsLater(Deadline deadline) {
    return StylizationServiceGrpc.newStub(channel).withDeadline(deadline);
  }

  StyleServiceBlockingStub styles(Deadline deadline) {
    return StyleServiceGrpc.newBlockingStub(channel).withDeadline(deadline);
  }

  StyleServiceBlockingV2Stub stylesByStream(Deadline deadline) {
    return StyleServiceGrpc.newBlockingV2Stub(channel).withDeadline(deadline);
  }

  EncoderServiceBlockingStub encoders(Deadline deadline) {
    return EncoderServiceGrpc.newBlockingStub(channel).withDeadline(deadline);
  }

  ServerServiceBlockingStub server(Deadline deadline) {
    return ServerServiceGrpc.newBlockingStub(channel).withDeadline(deadline);
  }

  EventStream oneShot(EventStream.Beginning beginning, Duration timeout) {
    return stream(beginning, new Resumption(false, Resumption.TIMEOUT), 0, timeout);
  }

  EventStream watch(EventStream.Beginning beginning, long afterSequence, Duration timeout) {
    return stream(beginning, new Resumption(true, Resumption.TIMEOUT), afterSequence, timeout);
  }

  private EventStream stream(
      EventStream.Beginning beginning, Resumption resumption, long afterSequence, Duration timeout) {
    return new EventStream(beginning, resumption, afterSequence, timeout, calls());
  }

  static <T, R> Iterator<R> mapped(Iterator<T> source, Function<T, R> function) {
    return new Iterator<>() {
      @Override
      public boolean hasNext() {
        return source.hasNext();
      }

      @Override
      public R next() {
        return function.apply(source.next());
      }
    };
  }
}
