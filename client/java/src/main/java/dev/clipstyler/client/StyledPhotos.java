package dev.clipstyler.client;

import dev.clipstyler.v1.ApplyStyleRequest;
import dev.clipstyler.v1.ApplyStyleResponse;
import io.grpc.Deadline;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import java.time.Duration;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.function.Function;

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
  private final Function<Deadline, BlockingClientCall<ApplyStyleRequest, ApplyStyleResponse>> calls;
  private final ApplyRequests requests;
  private final Deadline deadline;
  private final Calls client;
  private final Attempts attempts = new Attempts();
  private final ImageParts parts = new ImageParts();
  private final Iterator<StyledPhoto> photos = new Photos();
  private BlockingClientCall<ApplyStyleRequest, ApplyStyleResponse> call;
  private volatile boolean isClosed;

  private StyledPhotos(
      Function<Deadline, BlockingClientCall<ApplyStyleRequest, ApplyStyleResponse>> calls,
      ApplyRequests requests,
      Deadline deadline,
      Calls client) {
    this.calls = calls;
    this.client = client;
    this.requests = requests;
    this.deadline = deadline;
  }

  /** Begins to send what is to be done, and the photos. */
  static StyledPhotos of(
      Function<Deadline, BlockingClientCall<ApplyStyleRequest, ApplyStyleResponse>> calls,
      ApplyRequests requests,
      Duration timeout,
      Calls client) {
    var styled = new StyledPhotos(calls, requests, Calls.deadline(timeout), client);
    styled.begin(requests.begin());
    return styled;
  }

  @Override
  public Iterator<StyledPhoto> iterator() {
    return photos;
  }

  /** Ends the call. */
  @Override
  public synchronized void close() {
    isClosed = true;
    call.cancel("the caller ended the call", null);
  }

  /** Begins the call of a number, unless the caller has closed it. */
  private synchronized void begin(int number) {
    if (isClosed) {
      return;
    }
    var begun = calls.apply(deadline);
    call = begun;
    var sender = new Thread(() -> send(begun, number), "clipstyler-photos");
    sender.setDaemon(true);
    sender.start();
  }

  private void send(BlockingClientCall<ApplyStyleRequest, ApplyStyleResponse> begun, int number) {
    try {
      for (var request = requests.next(number); request != null; request = requests.next(number)) {
        if (!begun.write(request)) {
          return; // the server ended the call
        }
      }
      begun.halfClose();
    } catch (StatusException ended) {
      // reading reports it
    } catch (InterruptedException | RuntimeException | Error unsent) {
      begun.cancel("a photo could not be sent", unsent);
    }
  }

  /** The next photo; null at the end. */
  private StyledPhoto read() {
    try {
      for (var part = next(); part != null; part = next()) {
        var styled = styled(part);
        if (styled != null) {
          return styled;
        }
      }
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
      close();
      throw StylizeException.of(Status.Code.CANCELLED, "", "the thread was interrupted");
    } catch (StylizeException failure) {
      close();
      throw failure;
    }
    if (!isClosed) {
      parts.end();
      requests.end();
    }
    return null;
  }

  /** The next part of a response; null at the end, and after the caller has closed the call. */
  private ApplyStyleResponse next() throws InterruptedException {
    while (true) {
      try {
        var part = call.read();
        requests.answered();
        return part;
      } catch (StatusException ended) {
        if (isClosed) {
          return null;
        }
        beginAfter(client.ended(StylizeException.of(ended)));
      }
    }
  }

  /** Begins again after a pause; throws the failure if that makes no sense. */
  private void beginAfter(StylizeException failure) {
    var delay = requests.isAnswered() ? Optional.<Duration>empty() : attempts.delayAfter(failure);
    if (delay.isEmpty() || !client.pause(delay.get(), deadline, () -> isClosed) && !isClosed) {
      throw failure;
    }
    begin(requests.begin());
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
