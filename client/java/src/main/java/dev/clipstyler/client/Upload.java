package dev.clipstyler.client;

import com.google.protobuf.ByteString;
import dev.clipstyler.v1.StylizationServiceGrpc.StylizationServiceStub;
import dev.clipstyler.v1.UploadImageRequest;
import dev.clipstyler.v1.UploadImageResponse;
import io.grpc.Status;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;

/** Sends one photo in parts, as fast as the server takes them. */
final class Upload implements ClientResponseObserver<UploadImageRequest, UploadImageResponse> {
  private static final int CHUNK_BYTES = 1 << 20;

  private final ByteString photo;
  private final CompletableFuture<UploadImageResponse> response = new CompletableFuture<>();
  private ClientCallStreamObserver<UploadImageRequest> requests;
  private boolean isAnnounced;
  private int sent;

  Upload(ByteString photo) {
    this.photo = Objects.requireNonNull(photo, "photo");
  }

  /** Sends the photo and waits for the response. */
  UploadImageResponse send(StylizationServiceStub stub) {
    stub.uploadImage(this);
    try {
      return response.get();
    } catch (ExecutionException failure) {
      throw Status.fromThrowable(failure.getCause()).asRuntimeException(Status.trailersFromThrowable(failure.getCause()));
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
      requests.cancel("interrupted", interrupted);
      throw Status.CANCELLED.withDescription("the thread was interrupted").withCause(interrupted).asRuntimeException();
    }
  }

  @Override
  public void beforeStart(ClientCallStreamObserver<UploadImageRequest> observer) {
    requests = observer;
    observer.setOnReadyHandler(this::sendMore);
  }

  private void sendMore() {
    while (requests.isReady() && !isComplete()) {
      requests.onNext(next());
      if (isComplete()) {
        requests.onCompleted();
      }
    }
  }

  private boolean isComplete() {
    return isAnnounced && sent == photo.size();
  }

  private UploadImageRequest next() {
    if (!isAnnounced) {
      isAnnounced = true;
      var header = UploadImageRequest.Header.newBuilder().setSizeBytes(photo.size()).setSha256(Images.sha256(photo));
      return UploadImageRequest.newBuilder().setHeader(header).build();
    }
    var end = Math.min(sent + CHUNK_BYTES, photo.size());
    var part = photo.substring(sent, end);
    sent = end;
    return UploadImageRequest.newBuilder().setData(part).build();
  }

  @Override
  public void onNext(UploadImageResponse uploaded) {
    response.complete(uploaded);
  }

  @Override
  public void onError(Throwable failure) {
    response.completeExceptionally(failure);
  }

  @Override
  public void onCompleted() {
    response.completeExceptionally(Status.INTERNAL.withDescription("no response").asRuntimeException());
  }
}
