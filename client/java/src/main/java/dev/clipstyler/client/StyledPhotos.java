package dev.clipstyler.client;

import dev.clipstyler.v1.ApplyStyleRequest;
import dev.clipstyler.v1.ApplyStyleResponse;
import dev.clipstyler.v1.StyleApplication;
import dev.clipstyler.v1.StylePhoto;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import java.util.Iterator;
import java.util.NoSuchElementException;

/**
 * What becomes of the photos of a call, each as it is done.
 *
 * <p>Iterate over it once, in one thread. Another thread takes the photos from their source, as fast as the server takes
 * them, and results wait at the server until they are read. {@link #close} ends the call. A photo that cannot be used
 * has an error of its own, and the others go on; iterating throws {@link StylizeException} if the call failed, and what
 * the source of the photos threw, after the photos before: a checked exception as the cause of an
 * {@link IllegalStateException}.
 */
public final class StyledPhotos implements Iterable<StyledPhoto>, AutoCloseable {
  private final BlockingClientCall<ApplyStyleRequest, ApplyStyleResponse> call;
  private final ImageParts parts = new ImageParts();
  private final Iterator<StyledPhoto> photos = new Photos();
  private volatile Throwable sourceFailure;
  private volatile boolean isClosed;

  private StyledPhotos(BlockingClientCall<ApplyStyleRequest, ApplyStyleResponse> call) {
    this.call = call;
  }

  /** Begins to send what is to be done, and the photos. */
  static StyledPhotos of(
      BlockingClientCall<ApplyStyleRequest, ApplyStyleResponse> call,
      StyleApplication application,
      Iterable<StylePhoto> photos) {
    var styled = new StyledPhotos(call);
    var sender = new Thread(() -> styled.send(application, photos), "clipstyler-photos");
    sender.setDaemon(true);
    sender.start();
    return styled;
  }

  @Override
  public Iterator<StyledPhoto> iterator() {
    return photos;
  }

  /** Ends the call. */
  @Override
  public void close() {
    isClosed = true;
    call.cancel("the caller ended the call", null);
  }

  private void send(StyleApplication application, Iterable<StylePhoto> source) {
    var requests = new Requests(source);
    try {
      call.write(ApplyStyleRequest.newBuilder().setApplication(application).build());
      for (var request = requests.next(); request != null; request = requests.next()) {
        if (!call.write(request)) {
          return; // the server ended the call
        }
      }
      call.halfClose();
    } catch (StatusException ended) {
      // reading reports it
    } catch (InterruptedException | RuntimeException | Error unsent) {
      call.cancel("a photo could not be sent", unsent);
    }
  }

  /** The next photo; null at the end. */
  private StyledPhoto read() {
    try {
      for (var part = call.read(); part != null; part = call.read()) {
        var styled = styled(part);
        if (styled != null) {
          return styled;
        }
      }
    } catch (StatusException failure) {
      if (isClosed) {
        return null;
      }
      throw StylizeException.of(failure);
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
      close();
      throw StylizeException.of(Status.Code.CANCELLED, "", "the thread was interrupted");
    } catch (StylizeException broken) {
      close();
      throw broken;
    }
    parts.end();
    if (sourceFailure != null) {
      throw unchecked(sourceFailure);
    }
    return null;
  }

  /** The photo that a part completes; null if more parts come. */
  private StyledPhoto styled(ApplyStyleResponse part) {
    switch (part.getPartCase()) {
      case ERROR:
        return StyledPhoto.of(part.getPhotoIndex(), StylizeException.of(part.getError()));
      case METADATA:
        parts.begin(part.getMetadata());
        return null;
      case DATA:
        return parts.add(part.getData()).map(image -> StyledPhoto.of(part.getPhotoIndex(), image)).orElse(null);
      default:
        return null; // a kind that a newer server sends
    }
  }

  private static RuntimeException unchecked(Throwable failure) {
    if (failure instanceof Error error) {
      throw error;
    }
    return failure instanceof RuntimeException exception
        ? exception
        : new IllegalStateException("the source of the photos failed", failure);
  }

  /** The photos of the source, up to where it fails: also with exceptions that other languages need not declare. */
  private final class Requests {
    private final Iterable<StylePhoto> source;
    private Iterator<StylePhoto> photos;

    private Requests(Iterable<StylePhoto> source) {
      this.source = source;
    }

    /** The next photo; null at the end. */
    private ApplyStyleRequest next() {
      try {
        photos = photos == null ? source.iterator() : photos;
        return photos.hasNext() ? ApplyStyleRequest.newBuilder().setPhoto(photos.next()).build() : null;
      } catch (Throwable failure) {
        sourceFailure = failure;
        return null;
      }
    }
  }

  private final class Photos implements Iterator<StyledPhoto> {
    private StyledPhoto next;
    private boolean isAtEnd;

    @Override
    public boolean hasNext() {
      if (next == null && !isAtEnd) {
        next = read();
        isAtEnd = next == null;
      }
      return next != null;
    }

    @Override
    public StyledPhoto next() {
      if (!hasNext()) {
        throw new NoSuchElementException();
      }
      var photo = next;
      next = null;
      return photo;
    }
  }
}
