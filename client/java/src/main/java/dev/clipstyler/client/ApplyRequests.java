package dev.clipstyler.client;

import dev.clipstyler.v1.ApplyStyleRequest;
import dev.clipstyler.v1.StyleApplication;
import dev.clipstyler.v1.StylePhoto;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;

/**
 * What is sent to apply a style: each photo is taken from its source when it is due. One that the source cannot give is
 * the end of them. Until the first answer photos are kept, so that the call can begin again.
 */
final class ApplyRequests {
  private final Iterable<StylePhoto> source;
  private final List<ApplyStyleRequest> kept = new ArrayList<>();
  private Iterator<StylePhoto> photos;
  private int call;
  private int next;
  private volatile boolean isAnswered;
  private volatile Throwable failure;

  ApplyRequests(StyleApplication application, Iterable<StylePhoto> source) {
    this.source = source;
    kept.add(ApplyStyleRequest.newBuilder().setApplication(application).build());
  }

  /** Begins a call, from the first request on, and returns its number; the call before gets no more. */
  synchronized int begin() {
    next = 0;
    return ++call;
  }

  /** The next request of the call of a number; null at the end. */
  synchronized ApplyStyleRequest next(int number) {
    if (number != call) {
      return null;
    }
    if (next < kept.size()) {
      return kept.get(next++);
    }
    var request = taken();
    if (isAnswered) {
      kept.clear();
      next = 0;
    } else if (request != null) {
      kept.add(request);
      next++;
    }
    return request;
  }

  private ApplyStyleRequest taken() {
    try {
      photos = photos == null ? source.iterator() : photos;
      return photos.hasNext() ? ApplyStyleRequest.newBuilder().setPhoto(photos.next()).build() : null;
    } catch (Throwable thrown) { // also what other languages need not declare
      failure = thrown;
      return null;
    }
  }

  /** Records that the server answered: the call cannot begin again, and nothing more is kept. */
  void answered() {
    isAnswered = true;
  }

  boolean isAnswered() {
    return isAnswered;
  }

  /** Throws what the source threw, if anything. */
  void end() {
    if (failure instanceof Error error) {
      throw error;
    }
    if (failure instanceof RuntimeException exception) {
      throw exception;
    }
    if (failure != null) {
      throw new IllegalStateException("the source of the photos failed", failure);
    }
  }
}
