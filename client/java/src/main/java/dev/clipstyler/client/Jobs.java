package dev.clipstyler.client;

import com.google.protobuf.ByteString;
import dev.clipstyler.v1.CancelStylizationRequest;
import dev.clipstyler.v1.CreateStylizationRequest;
import dev.clipstyler.v1.DeleteStylizationRequest;
import dev.clipstyler.v1.GetStylizationImageRequest;
import dev.clipstyler.v1.GetStylizationRequest;
import dev.clipstyler.v1.ListStylizationsRequest;
import dev.clipstyler.v1.ListStylizationsResponse;
import dev.clipstyler.v1.Stylization;
import dev.clipstyler.v1.Stylization.ImageKind;
import dev.clipstyler.v1.UploadImageRequest;
import dev.clipstyler.v1.UploadImageResponse;
import dev.clipstyler.v1.WatchStylizationRequest;
import io.grpc.Deadline;
import java.time.Duration;
import java.util.UUID;
import java.util.stream.Stream;

/**
 * Durable jobs: they survive this process, the connection and restarts of the server.
 *
 * <p>Every call throws {@link StylizeException}. Names may be bare UUIDs.
 */
public final class Jobs {
  private final Connection connection;
  private final Duration timeout;

  Jobs(Connection connection, Duration timeout) {
    this.connection = connection;
    this.timeout = timeout;
  }

  /**
   * Creates a job. Retries create it once: the call is idempotent by its request id, which is drawn if the request has
   * none.
   */
  public Stylization create(CreateStylizationRequest request) {
    var identified = request.getRequestId().isEmpty()
        ? request.toBuilder().setRequestId(UUID.randomUUID().toString()).build()
        : request;
    return connection.calls().unary(timeout, deadline -> connection.stylizations(deadline).createStylization(identified))
        .getStylization();
  }

  /** Gets a job. */
  public Stylization get(String name) {
    var request = GetStylizationRequest.newBuilder().setName(fullName(name)).build();
    return connection.calls().unary(timeout, deadline -> connection.stylizations(deadline).getStylization(request)).getStylization();
  }

  /** All jobs from the page that the request asks for, newest first; pages are requested as the stream is read. */
  public Stream<Stylization> list(ListStylizationsRequest request) {
    return Pages.items(
        page(request),
        ListStylizationsResponse::getNextPageToken,
        token -> page(request.toBuilder().setPageToken(token).build()),
        ListStylizationsResponse::getStylizationsList);
  }

  /** Gets one page of jobs, newest first. */
  public ListStylizationsResponse page(ListStylizationsRequest request) {
    return connection.calls().unary(timeout, deadline -> connection.stylizations(deadline).listStylizations(request));
  }

  /** Watches a job from its beginning to its end. */
  public EventStream watch(String name) {
    return watch(name, 0);
  }

  /**
   * Watches a job to its end, from after an event that is known already; leaving changes nothing for the job.
   *
   * <p>An interrupted watch resumes after the last event, across restarts of the server and resets by proxies too.
   */
  public EventStream watch(String name, long afterSequence) {
    return connection.watch(
        (sequence, deadline) -> {
          var request = WatchStylizationRequest.newBuilder().setName(fullName(name)).setAfterSequence(sequence).build();
          var responses = connection.stylizations(deadline).watchStylization(request);
          return Connection.mapped(responses, response -> response.getEvent());
        },
        afterSequence,
        timeout);
  }

  /** Cancels a job within one step; a finished one stays as it is. */
  public Stylization cancel(String name) {
    var request = CancelStylizationRequest.newBuilder().setName(fullName(name)).build();
    return connection.calls().unary(timeout, deadline -> connection.stylizations(deadline).cancelStylization(request))
        .getStylization();
  }

  /** Deletes a finished job and its images. */
  public void delete(String name) {
    var request = DeleteStylizationRequest.newBuilder().setName(fullName(name)).build();
    connection.calls().unary(timeout, deadline -> connection.stylizations(deadline).deleteStylization(request));
  }

  /** Downloads an image of a job: its result, its latest preview, or the photo. */
  public JobImage download(String name, ImageKind kind) {
    var request = GetStylizationImageRequest.newBuilder().setName(fullName(name)).setKind(kind).build();
    return connection.calls().unary(timeout, deadline -> image(request, deadline));
  }

  /** Sends a large photo in parts; a spec takes the name of the upload. */
  public UploadImageResponse upload(ByteString photo) {
    return connection.calls().unary(timeout, deadline -> new Upload(photo).send(connection.stylizationsLater(deadline)));
  }

  private JobImage image(GetStylizationImageRequest request, Deadline deadline) {
    var responses = connection.stylizations(deadline).getStylizationImage(request);
    return Images.read(responses, part -> part.hasMetadata() ? part.getMetadata() : null, part -> part.getData());
  }

  /** Completes a bare UUID to a resource name. */
  static String fullName(String name) {
    return name.contains("/") ? name : "stylizations/" + name;
  }
}
