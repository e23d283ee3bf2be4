package dev.clipstyler.client;

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.clipstyler.v1.GetStylizationRequest;
import dev.clipstyler.v1.GetStylizationResponse;
import dev.clipstyler.v1.ImageMetadata;
import dev.clipstyler.v1.StylizationEvent;
import dev.clipstyler.v1.StylizationResult;
import dev.clipstyler.v1.StylizationServiceGrpc;
import dev.clipstyler.v1.StylizeRequest;
import dev.clipstyler.v1.StylizeResponse;
import dev.clipstyler.v1.WatchStylizationRequest;
import dev.clipstyler.v1.WatchStylizationResponse;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.inprocess.InProcessChannelBuilder;
import io.grpc.inprocess.InProcessServerBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;

/** A server in this process that plays scripts of events. */
class ScriptedServer extends StylizationServiceGrpc.StylizationServiceImplBase implements AutoCloseable {
  static final ByteString IMAGE = ByteString.copyFrom(new byte[1000]);

  /** Plays the events of one call, of which it is the n-th from 1. */
  interface Script {
    /** Returns the events; an error, if one is thrown, comes after those that were sent by `call`. */
    void play(int number, long after, Call call) throws StatusRuntimeException;
  }

  /** Sends the events of one call, numbered from 1. */
  interface Call {
    void send(StylizationEvent event);
  }

  final AtomicInteger calls = new AtomicInteger();
  final CountDownLatch cancelled = new CountDownLatch(1);
  boolean isEndless;
  private final String name = UUID.randomUUID().toString();
  private final Script script;
  private final Server server;

  ScriptedServer(Script script) {
    this.script = script;
    try {
      server = InProcessServerBuilder.forName(name).addService(this).build().start();
    } catch (IOException impossible) {
      throw new IllegalStateException(impossible);
    }
  }

  static ScriptedServer playing(StylizationEvent... events) {
    return new ScriptedServer((number, after, call) -> List.of(events).forEach(call::send));
  }

  Client client() {
    return Client.connect(InProcessChannelBuilder.forName(name));
  }

  @Override
  public void stylize(StylizeRequest request, StreamObserver<StylizeResponse> observer) {
    play(observer, 0, event -> observer.onNext(StylizeResponse.newBuilder().setEvent(event).build()));
  }

  @Override
  public void watchStylization(WatchStylizationRequest request, StreamObserver<WatchStylizationResponse> observer) {
    play(
        observer,
        request.getAfterSequence(),
        event -> observer.onNext(WatchStylizationResponse.newBuilder().setEvent(event).build()));
  }

  @Override
  public void getStylization(GetStylizationRequest request, StreamObserver<GetStylizationResponse> observer) {
    observer.onError(refusal(Status.Code.UNAVAILABLE, "DRAINING", 30_000));
  }

  private void play(StreamObserver<?> observer, long after, Call call) {
    ((ServerCallStreamObserver<?>) observer).setOnCancelHandler(cancelled::countDown);
    var sequence = new AtomicInteger();
    try {
      script.play(calls.incrementAndGet(), after, event -> {
        if (sequence.incrementAndGet() > after) {
          call.send(event.toBuilder().setSequence(sequence.get()).build());
        }
      });
      if (!isEndless) {
        observer.onCompleted();
      }
    } catch (StatusRuntimeException failure) {
      observer.onError(failure);
    }
  }

  @Override
  public void close() {
    server.shutdownNow();
  }

  static StylizationEvent queued() {
    return StylizationEvent.newBuilder().setQueued(StylizationEvent.Queued.newBuilder().setSeed(7)).build();
  }

  static StylizationEvent progress(int step) {
    return StylizationEvent.newBuilder().setProgress(StylizationEvent.Progress.newBuilder().setStep(step)).build();
  }

  static StylizationEvent chunk(int begin, int end) {
    var chunk = StylizationEvent.Chunk.newBuilder().setOffset(begin).setData(IMAGE.substring(begin, end));
    return StylizationEvent.newBuilder().setChunk(chunk).build();
  }

  static StylizationEvent result(ByteString data) {
    var result = StylizationResult.newBuilder().setImage(announced());
    return StylizationEvent.newBuilder()
        .setResult(StylizationEvent.Result.newBuilder().setResult(result).setImageData(data))
        .build();
  }

  static ImageMetadata announced() {
    return ImageMetadata.newBuilder().setSizeBytes(IMAGE.size()).setSha256(Images.sha256(IMAGE)).build();
  }

  static StatusRuntimeException refusal(Status.Code code, String reason, long delayMs, String... fields) {
    var info = ErrorInfo.newBuilder().setReason(reason).setDomain("clipstyler.dev").putMetadata("state", "starting");
    var request = BadRequest.newBuilder();
    for (var field : fields) {
      request.addFieldViolations(BadRequest.FieldViolation.newBuilder().setField(field).setDescription("is wrong"));
    }
    var status = com.google.rpc.Status.newBuilder()
        .setCode(code.value())
        .setMessage(reason + " happened")
        .addDetails(Any.pack(info.build()))
        .addDetails(Any.pack(request.build()));
    if (delayMs > 0) {
      var delay = Duration.newBuilder().setSeconds(delayMs / 1000).setNanos((int) (delayMs % 1000) * 1_000_000);
      status.addDetails(Any.pack(RetryInfo.newBuilder().setRetryDelay(delay).build()));
    }
    return StatusProto.toStatusRuntimeException(status.build());
  }
}
