package dev.clipstyler.client;

import com.google.protobuf.ByteString;
import dev.clipstyler.v1.CreateStyleRequest;
import dev.clipstyler.v1.DeleteStyleRequest;
import dev.clipstyler.v1.DownloadStyleRequest;
import dev.clipstyler.v1.GetStyleRequest;
import dev.clipstyler.v1.ListStylesRequest;
import dev.clipstyler.v1.ListStylesResponse;
import dev.clipstyler.v1.RenderStyleRequest;
import dev.clipstyler.v1.Style;
import dev.clipstyler.v1.StyleApplication;
import dev.clipstyler.v1.StylePhoto;
import dev.clipstyler.v1.Stylization;
import dev.clipstyler.v1.UploadStyleRequest;
import io.grpc.Deadline;
import java.time.Duration;
import java.util.HexFormat;
import java.util.UUID;
import java.util.stream.Stream;

/**
 * Styles: fitted once, applied to any number of photos.
 *
 * <p>Every call throws {@link StylizeException}. Names may be bare SHA-256 digests.
 */
public final class Styles {
  private final Connection connection;
  private final Duration timeout;

  Styles(Connection connection, Duration timeout) {
    this.connection = connection;
    this.timeout = timeout;
  }

  /** Makes a style of a finished job that was created with the option {@code keep_style}. */
  public Style create(String job) {
    var request = CreateStyleRequest.newBuilder().setStylization(Jobs.fullName(job)).build();
    return connection.calls().unary(timeout, deadline -> connection.styles(deadline).createStyle(request)).getStyle();
  }

  /**
   * Creates a job that fits a style to the text and the photos of the request's fit, at most 16, which take turns;
   * without photos, to a few that come with the server. {@link Jobs} watches and cancels it, and its result names the
   * style.
   *
   * <p>Retries create it once: the call is idempotent by its request id, which is drawn if the request has none.
   */
  public Stylization fit(CreateStyleRequest request) {
    var identified = request.getRequestId().isEmpty()
        ? request.toBuilder().setRequestId(UUID.randomUUID().toString()).build()
        : request;
    return connection.calls().unary(timeout, deadline -> connection.styles(deadline).createStyle(identified)).getStylization();
  }

  /** Gets a style, with its thumbnail. */
  public Style get(String name) {
    var request = GetStyleRequest.newBuilder().setName(fullName(name)).build();
    return connection.calls().unary(timeout, deadline -> connection.styles(deadline).getStyle(request)).getStyle();
  }

  /** All styles: the bundled ones, then others, newest first. */
  public Stream<Style> list() {
    return list(ListStylesRequest.getDefaultInstance());
  }

  /** All styles from the page that the request asks for; pages are requested as the stream is read. */
  public Stream<Style> list(ListStylesRequest request) {
    return Pages.items(
        page(request),
        ListStylesResponse::getNextPageToken,
        token -> page(request.toBuilder().setPageToken(token).build()),
        ListStylesResponse::getStylesList);
  }

  /** Gets one page of styles. */
  public ListStylesResponse page(ListStylesRequest request) {
    return connection.calls().unary(timeout, deadline -> connection.styles(deadline).listStyles(request));
  }

  /** Deletes a style that is not bundled. */
  public void delete(String name) {
    var request = DeleteStyleRequest.newBuilder().setName(fullName(name)).build();
    connection.calls().unary(timeout, deadline -> connection.styles(deadline).deleteStyle(request));
  }

  /** Downloads the file of a style, checked against its name. */
  public ByteString download(String name) {
    var request = DownloadStyleRequest.newBuilder().setName(fullName(name)).build();
    var file = connection.calls().unary(timeout, deadline -> joined(request, deadline));
    var digest = HexFormat.of().formatHex(Images.sha256(file).toByteArray());
    if (!fullName(digest).equals(request.getName())) {
      throw StylizeException.broken("a file with the digest " + digest + " arrived for " + request.getName());
    }
    return file;
  }

  /** Stores the file of a style. */
  public Style upload(ByteString file) {
    var request = UploadStyleRequest.newBuilder().setData(file).build();
    return connection.calls().unary(timeout, deadline -> connection.styles(deadline).uploadStyle(request)).getStyle();
  }

  /**
   * Applies a style to photos: iterate over what becomes of each, as it is done, and close the stream to leave.
   *
   * <p>The photos are taken from their source in another thread, as fast as the server takes them.
   */
  public StyledPhotos apply(StyleApplication application, Iterable<StylePhoto> photos) {
    return StyledPhotos.of(
        deadline -> connection.stylesByStream(deadline).applyStyle(),
        new ApplyRequests(completed(application), photos),
        timeout,
        connection.calls());
  }

  /** Draws one photo in a style, or in that of a finished job which kept it; without a photo, that of the job. */
  public JobImage render(RenderStyleRequest request) {
    var completed = request.toBuilder().setApplication(completed(request.getApplication()));
    if (!request.getStylization().isEmpty()) {
      completed.setStylization(Jobs.fullName(request.getStylization()));
    }
    return connection.calls().unary(timeout, deadline -> image(completed.build(), deadline));
  }

  private ByteString joined(DownloadStyleRequest request, Deadline deadline) {
    var file = ByteString.EMPTY;
    var responses = connection.styles(deadline).downloadStyle(request);
    while (responses.hasNext()) {
      file = file.concat(responses.next().getData());
    }
    return file;
  }

  private JobImage image(RenderStyleRequest request, Deadline deadline) {
    var responses = connection.styles(deadline).renderStyle(request);
    return Images.read(responses, part -> part.hasMetadata() ? part.getMetadata() : null, part -> part.getData());
  }

  private static StyleApplication completed(StyleApplication application) {
    return application.toBuilder()
        .setStyle(fullName(application.getStyle()))
        .setSecondStyle(fullName(application.getSecondStyle()))
        .build();
  }

  /** Completes a bare SHA-256 to a resource name. */
  private static String fullName(String name) {
    return name.isEmpty() || name.contains("/") ? name : "styles/" + name;
  }
}
