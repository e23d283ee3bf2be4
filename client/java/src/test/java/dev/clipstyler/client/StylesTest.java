package dev.clipstyler.client;

import static dev.clipstyler.client.ScriptedServer.IMAGE;
import static dev.clipstyler.client.ScriptedServer.announced;
import static dev.clipstyler.client.ScriptedServer.refusal;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import dev.clipstyler.v1.ApplyStyleRequest;
import dev.clipstyler.v1.ApplyStyleResponse;
import dev.clipstyler.v1.CreateStyleRequest;
import dev.clipstyler.v1.CreateStyleResponse;
import dev.clipstyler.v1.DeleteStyleRequest;
import dev.clipstyler.v1.DeleteStyleResponse;
import dev.clipstyler.v1.DownloadStyleRequest;
import dev.clipstyler.v1.DownloadStyleResponse;
import dev.clipstyler.v1.Error;
import dev.clipstyler.v1.GetStyleRequest;
import dev.clipstyler.v1.GetStyleResponse;
import dev.clipstyler.v1.ListStylesRequest;
import dev.clipstyler.v1.ListStylesResponse;
import dev.clipstyler.v1.RenderStyleRequest;
import dev.clipstyler.v1.RenderStyleResponse;
import dev.clipstyler.v1.Style;
import dev.clipstyler.v1.StyleApplication;
import dev.clipstyler.v1.StyleFit;
import dev.clipstyler.v1.StylePhoto;
import dev.clipstyler.v1.StyleServiceGrpc;
import dev.clipstyler.v1.Stylization;
import dev.clipstyler.v1.UploadStyleRequest;
import dev.clipstyler.v1.UploadStyleResponse;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import io.grpc.inprocess.InProcessChannelBuilder;
import io.grpc.inprocess.InProcessServerBuilder;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

class StylesTest {
  private static final ByteString FILE = ByteString.copyFromUtf8("a style");
  private static final String DIGEST = HexFormat.of().formatHex(Images.sha256(FILE).toByteArray());
  private static final String NAME = "styles/" + DIGEST;
  private static final ByteString BAD = ByteString.copyFromUtf8("no image");
  private static final StyleApplication APPLICATION = StyleApplication.newBuilder().setStyle(DIGEST).build();

  /** Draws photos, refuses those that are {@link #BAD}, and fails at the photo of a number. */
  private static final class Styling extends StyleServiceGrpc.StyleServiceImplBase implements AutoCloseable {
    final List<String> names = new ArrayList<>();
    final CountDownLatch cancelled = new CountDownLatch(1);
    ByteString rendered = IMAGE;
    List<Part> parts = List.of(Part.METADATA, Part.FIRST, Part.REST);
    int refusals;
    int failsAt = Integer.MAX_VALUE;
    int readsOnly = Integer.MAX_VALUE;
    private int uploads;
    private int downloads;
    private final String address = UUID.randomUUID().toString();
    private final Server server;

    Styling() {
      try {
        server = InProcessServerBuilder.forName(address).addService(this).build().start();
      } catch (IOException impossible) {
        throw new IllegalStateException(impossible);
      }
    }

    Client client() {
      return Client.connect(InProcessChannelBuilder.forName(address));
    }

    @Override
    public void createStyle(CreateStyleRequest request, StreamObserver<CreateStyleResponse> observer) {
      if (request.hasFit()) {
        names.add(request.getRequestId());
        if (names.size() == 1) {
          observer.onError(refusal(Status.Code.UNAVAILABLE, "DRAINING", 10));
          return;
        }
        var job = Stylization.newBuilder().setFittedPhotoCount(request.getFit().getPhotosCount());
        answer(observer, CreateStyleResponse.newBuilder().setStylization(job).build());
        return;
      }
      names.add(request.getStylization());
      answer(observer, CreateStyleResponse.newBuilder().setStyle(Style.newBuilder().setName(NAME)).build());
    }

    @Override
    public void getStyle(GetStyleRequest request, StreamObserver<GetStyleResponse> observer) {
      names.add(request.getName());
      answer(observer, GetStyleResponse.newBuilder().setStyle(Style.newBuilder().setName(request.getName())).build());
    }

    @Override
    public void deleteStyle(DeleteStyleRequest request, StreamObserver<DeleteStyleResponse> observer) {
      names.add(request.getName());
      answer(observer, DeleteStyleResponse.getDefaultInstance());
    }

    @Override
    public void listStyles(ListStylesRequest request, StreamObserver<ListStylesResponse> observer) {
      var isFirst = request.getPageToken().isEmpty();
      var response = ListStylesResponse.newBuilder().setNextPageToken(isFirst ? "more" : "");
      for (var name : isFirst ? List.of("1", "2") : List.of("3")) {
        response.addStyles(Style.newBuilder().setName(name).setSize(request.getPageSize()));
      }
      answer(observer, response.build());
    }

    @Override
    public void downloadStyle(DownloadStyleRequest request, StreamObserver<DownloadStyleResponse> observer) {
      observer.onNext(DownloadStyleResponse.newBuilder().setData(FILE.substring(0, 3)).build());
      if (downloads++ == 0) { // the connection breaks
        observer.onError(Status.UNAVAILABLE.asRuntimeException());
        return;
      }
      answer(observer, DownloadStyleResponse.newBuilder().setData(FILE.substring(3)).build());
    }

    @Override
    public void uploadStyle(UploadStyleRequest request, StreamObserver<UploadStyleResponse> observer) {
      if (uploads++ == 0) {
        observer.onError(refusal(Status.Code.UNAVAILABLE, "DRAINING", 10));
        return;
      }
      var style = Style.newBuilder().setSizeBytes(request.getData().size());
      answer(observer, UploadStyleResponse.newBuilder().setStyle(style).build());
    }

    @Override
    public void renderStyle(RenderStyleRequest request, StreamObserver<RenderStyleResponse> observer) {
      names.add(request.getApplication().getStyle() + request.getStylization());
      ((ServerCallStreamObserver<?>) observer).setOnCancelHandler(cancelled::countDown);
      observer.onNext(RenderStyleResponse.newBuilder().setMetadata(announced()).build());
      observer.onNext(RenderStyleResponse.newBuilder().setData(rendered).build());
      if (rendered == IMAGE) { // else it goes on until nobody listens
        observer.onCompleted();
      }
    }

    @Override
    public StreamObserver<ApplyStyleRequest> applyStyle(StreamObserver<ApplyStyleResponse> responses) {
      var call = (ServerCallStreamObserver<ApplyStyleResponse>) responses;
      call.setOnCancelHandler(cancelled::countDown);
      call.disableAutoRequest();
      call.request(2);
      return new StreamObserver<>() {
        private int number;
        private boolean hasFailed;

        @Override
        public void onNext(ApplyStyleRequest request) {
          if (request.hasApplication()) {
            names.add(request.getApplication().getStyle());
            return;
          }
          if (refusals-- > 0) {
            fail(refusal(Status.Code.UNAVAILABLE, "WORKER_NOT_READY", 10));
            return;
          }
          if (number == failsAt) {
            fail(refusal(Status.Code.NOT_FOUND, "STYLE_NOT_FOUND", 0));
            return;
          }
          draw(call, number++, request.getPhoto().getImage());
          if (number < readsOnly) {
            call.request(1);
          }
        }

        private void fail(StatusRuntimeException failure) {
          hasFailed = true;
          call.onError(failure);
        }

        @Override
        public void onError(Throwable ended) {}

        @Override
        public void onCompleted() {
          if (!hasFailed) {
            call.onCompleted();
          }
        }
      };
    }

    private void draw(StreamObserver<ApplyStyleResponse> call, int number, ByteString photo) {
      var response = ApplyStyleResponse.newBuilder().setPhotoIndex(number);
      if (photo.equals(BAD)) {
        var error = Error.newBuilder().setCode(Error.Code.CODE_INVALID_ARGUMENT).setReason("INVALID_FIELD");
        call.onNext(response.setError(error).build());
        return;
      }
      for (var part : parts) {
        switch (part) {
          case METADATA -> response.setMetadata(announced());
          case FIRST -> response.setData(IMAGE.substring(0, 100));
          default -> response.setData(IMAGE.substring(100));
        }
        call.onNext(response.build());
      }
    }

    private static <T> void answer(StreamObserver<T> observer, T response) {
      observer.onNext(response);
      observer.onCompleted();
    }

    @Override
    public void close() {
      server.shutdownNow();
    }
  }

  private enum Part { METADATA, FIRST, REST }

  private static StylePhoto photo(ByteString data) {
    return StylePhoto.newBuilder().setImage(data).build();
  }

  @Test
  void bareNamesAreCompleted() {
    try (var server = new Styling(); var client = server.client()) {
      assertEquals(NAME, client.styles().create("one").getName());
      client.styles().get(DIGEST);
      client.styles().delete(NAME);
      assertEquals(List.of("stylizations/one", NAME, NAME), server.names);
    }
  }

  @Test
  void aFitIsCreatedOnce() {
    var request = CreateStyleRequest.newBuilder().setFit(StyleFit.newBuilder().addPhotos(photo(FILE))).build();
    try (var server = new Styling(); var client = server.client()) {
      assertEquals(1, client.styles().fit(request).getFittedPhotoCount());
      client.styles().fit(request.toBuilder().setRequestId("mine").build());
      assertEquals(3, server.names.size());
      assertEquals(server.names.get(0), server.names.get(1));
      assertEquals(4, UUID.fromString(server.names.get(0)).version());
      assertEquals("mine", server.names.get(2));
    }
  }

  @Test
  void aListGoesThroughAllPages() {
    try (var server = new Styling(); var client = server.client()) {
      var styles = client.styles().list(ListStylesRequest.newBuilder().setPageSize(2).build()).toList();
      assertEquals(List.of("1", "2", "3"), styles.stream().map(Style::getName).toList());
      assertTrue(styles.stream().allMatch(style -> style.getSize() == 2));
      assertEquals(3, client.styles().list().count());
    }
  }

  @Test
  void theFileOfAStyleIsJoinedAndChecked() {
    try (var server = new Styling(); var client = server.client()) {
      assertEquals(FILE, client.styles().download(DIGEST));
      var broken = assertThrows(StylizeException.class, () -> client.styles().download("0".repeat(64)));
      assertEquals("BROKEN_RESULT", broken.reason());
      assertEquals(FILE.size(), client.styles().upload(FILE).getSizeBytes());
    }
  }

  @Test
  void eachPhotoIsGivenAsItIsDone() {
    try (var server = new Styling();
        var client = server.client();
        var photos = client.styles().apply(APPLICATION, List.of(photo(FILE), photo(BAD), photo(FILE)))) {
      var done = new ArrayList<StyledPhoto>();
      photos.forEach(done::add);
      assertEquals(List.of(0, 1, 2), done.stream().map(StyledPhoto::index).toList());
      assertEquals(IMAGE, done.get(0).image().orElseThrow().data());
      assertEquals("INVALID_FIELD", done.get(1).error().orElseThrow().reason());
      assertTrue(done.get(1).image().isEmpty());
      assertEquals(IMAGE, done.get(2).image().orElseThrow().data());
      assertEquals(List.of(NAME), server.names);
    }
  }

  @Test
  void photosAreSentAgainAfterTheRecommendedDelay() {
    var taken = new AtomicInteger();
    Iterable<StylePhoto> source = () -> Stream.of(FILE, BAD)
        .peek(data -> taken.incrementAndGet())
        .map(StylesTest::photo)
        .iterator();
    try (var server = new Styling(); var client = server.client()) {
      server.refusals = 4;
      var photos = client.styles().apply(APPLICATION, source).iterator();
      assertEquals(IMAGE, photos.next().image().orElseThrow().data());
      assertEquals("INVALID_FIELD", photos.next().error().orElseThrow().reason());
      assertFalse(photos.hasNext());
      assertEquals(2, taken.get());
      server.refusals = 5;
      var refused = client.styles().apply(APPLICATION, source).iterator();
      var failure = assertThrows(StylizeException.class, refused::next);
      assertEquals("WORKER_NOT_READY", failure.reason());
      assertEquals(0, server.refusals);
    }
  }

  @Test
  void photosWaitInTheirSourceUntilTheServerTakesThem() throws InterruptedException {
    var taken = new AtomicInteger();
    Iterable<StylePhoto> endless = () -> IntStream.iterate(0, number -> number + 1)
        .peek(number -> taken.incrementAndGet())
        .mapToObj(number -> photo(FILE))
        .iterator();
    try (var server = new Styling(); var client = server.client()) {
      server.readsOnly = 1;
      try (var photos = client.styles().apply(APPLICATION, endless)) {
        assertEquals(0, photos.iterator().next().index());
        Thread.sleep(100);
      }
      assertTrue(server.cancelled.await(10, TimeUnit.SECONDS)); // by closing
      assertTrue(taken.get() <= 3, taken + " photos were taken");
    }
  }

  @Test
  void afterClosingThereAreNoMorePhotos() {
    try (var server = new Styling(); var client = server.client()) {
      server.readsOnly = 1;
      var photos = client.styles().apply(APPLICATION, List.of(photo(FILE), photo(FILE)));
      var iterator = photos.iterator();
      iterator.next();
      photos.close();
      assertFalse(iterator.hasNext());
    }
  }

  @Test
  void errorsOfTheSourceAndOfTheCallAreThrown() {
    try (var server = new Styling(); var client = server.client()) {
      var failure = new IllegalStateException("no such file");
      Iterable<StylePhoto> broken = () -> {
        throw failure;
      };
      try (var photos = client.styles().apply(APPLICATION, broken)) {
        assertSame(failure, assertThrows(IllegalStateException.class, () -> photos.iterator().next()));
      }
      server.failsAt = 1;
      try (var photos = client.styles().apply(APPLICATION, List.of(photo(FILE), photo(FILE)))) {
        photos.iterator().next();
        var thrown = assertThrows(StylizeException.class, () -> photos.iterator().next());
        assertEquals("STYLE_NOT_FOUND", thrown.reason());
      }
    }
  }

  @Test
  @Timeout(30)
  void whateverTheSourceThrowsReachesItsReader() {
    var checked = new IOException("no such file");
    assertSame(checked, assertThrows(IllegalStateException.class, () -> applyTo(checked)).getCause());
    var refused = new StatusException(Status.NOT_FOUND);
    assertSame(refused, assertThrows(IllegalStateException.class, () -> applyTo(refused)).getCause());
    var error = new OutOfMemoryError("a large photo");
    assertSame(error, assertThrows(OutOfMemoryError.class, () -> applyTo(error)));
  }

  private static void applyTo(Throwable failure) {
    Iterable<StylePhoto> source = () -> StylesTest.<RuntimeException, Iterator<StylePhoto>>thrown(failure);
    try (var server = new Styling();
        var client = server.client();
        var photos = client.styles().apply(APPLICATION, source)) {
      photos.iterator().next();
    }
  }

  @Test
  void photosBeforeTheFailureOfTheirSourceAreDone() {
    var failure = new IllegalStateException("no such file");
    Iterable<StylePhoto> broken = () -> IntStream.range(0, 3).mapToObj(number -> {
      if (number == 2) {
        throw failure;
      }
      return photo(FILE);
    }).iterator();
    try (var server = new Styling();
        var client = server.client();
        var photos = client.styles().apply(APPLICATION, broken)) {
      var done = photos.iterator();
      assertEquals(0, done.next().index());
      assertEquals(1, done.next().index());
      assertSame(failure, assertThrows(IllegalStateException.class, done::next));
    }
  }

  /** Throws what need not be declared, as Kotlin and Scala do. */
  @SuppressWarnings("unchecked")
  private static <E extends Throwable, T> T thrown(Throwable failure) throws E {
    throw (E) failure;
  }

  @Test
  void brokenImagesAreRefused() {
    for (var parts : List.of(List.of(Part.METADATA, Part.FIRST), List.of(Part.FIRST, Part.REST))) {
      try (var server = new Styling(); var client = server.client()) {
        server.parts = parts;
        try (var photos = client.styles().apply(APPLICATION, List.of(photo(FILE)))) {
          var failure = assertThrows(StylizeException.class, () -> photos.iterator().next());
          assertEquals(Status.Code.DATA_LOSS, failure.code());
        }
      }
    }
  }

  @Test
  void aBrokenImageEndsTheCallThatStillTakesPhotos() throws InterruptedException {
    try (var server = new Styling(); var client = server.client()) {
      server.parts = List.of(Part.FIRST, Part.REST);
      Iterable<StylePhoto> endless = () -> Stream.generate(() -> photo(FILE)).iterator();
      var photos = client.styles().apply(APPLICATION, endless).iterator();
      assertEquals(Status.Code.DATA_LOSS, assertThrows(StylizeException.class, photos::next).code());
      assertTrue(server.cancelled.await(10, TimeUnit.SECONDS));
    }
  }

  @Test
  void theRestOfAnImageThatIsBrokenIsNotWaitedFor() throws InterruptedException {
    try (var server = new Styling(); var client = server.client()) {
      server.rendered = ByteString.copyFrom(new byte[IMAGE.size() + 1]);
      var request = RenderStyleRequest.newBuilder().setApplication(APPLICATION).setPhoto(photo(FILE)).build();
      var failure = assertThrows(StylizeException.class, () -> client.styles().render(request));
      assertEquals(Status.Code.DATA_LOSS, failure.code());
      assertTrue(server.cancelled.await(10, TimeUnit.SECONDS));
    }
  }

  @Test
  void aPhotoOrAFinishedJobIsRendered() {
    try (var server = new Styling(); var client = server.client()) {
      var request = RenderStyleRequest.newBuilder().setApplication(APPLICATION).setPhoto(photo(FILE)).build();
      assertEquals(IMAGE, client.styles().render(request).data());
      client.styles().render(RenderStyleRequest.newBuilder().setStylization("one").build());
      assertEquals(List.of(NAME, "stylizations/one"), server.names);
    }
  }
}
