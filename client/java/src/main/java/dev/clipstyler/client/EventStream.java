package dev.clipstyler.client;

import dev.clipstyler.v1.StylizationEvent;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Optional;

/**
 * The events of a stylization, its result last; resumes by itself after interruptions.
 *
 * <p>Iterate over it once, in one thread. {@link #close} ends the call: that cancels a one-shot stylization and changes
 * nothing for a job that is watched. A result that arrived in chunks is complete in its image data. Iterating throws
 * {@link StylizeException} if the call failed, the client was closed, or the stylization failed or was cancelled.
 */
public final class EventStream implements Iterable<StylizationEvent>, AutoCloseable {

  /** Begins a stream of events after a sequence number. */
  interface Beginning {
    Iterator<StylizationEvent> after(long sequence, Deadline deadline);
  }

  private final Beginning beginning;
  private final Deadline deadline;
  private final Context.CancellableContext context = Context.current().withCancellation();
  private final Resumption resumption;
  private final Iterator<StylizationEvent> events = new Events();
  private final Calls calls;
  private volatile boolean isClosed;
  private long sequence;
  private Iterator<StylizationEvent> call;
  private EventReader reader;
  private StylizationEvent.Result result;
  private StylizeException failure;

  EventStream(
      Beginning beginning, Resumption resumption, long afterSequence, Duration timeout, Calls calls) {
    this.beginning = beginning;
    this.resumption = resumption;
    this.deadline = Calls.deadline(timeout);
    this.calls = calls;
    this.sequence = afterSequence;
  }

  /** Sequence number of the last event received: a later watch can begin after it. */
  public long sequence() {
    return sequence;
  }

  @Override
  public Iterator<StylizationEvent> iterator() {
    return events;
  }

  /** Waits for the end and returns the result, skipping the other events; may be called again, after a failure too. */
  public StylizationEvent.Result result() {
    events.forEachRemaining(event -> {});
    if (failure != null) {
      throw failure;
    }
    if (result == null) {
      throw StylizeException.broken("the stream was closed before its result");
    }
    return result;
  }

  /** Ends the call; the server stops a one-shot stylization within one step. */
  @Override
  public void close() {
    isClosed = true;
    context.cancel(null);
  }

  /** The next event; null at the end. */
  private StylizationEvent read() {
    resumption.waiting();
    while (!isClosed) {
      try {
        return attempt();
      } catch (StylizeException interruption) {
        call = null;
        if (!isClosed) {
          pauseAfter(interruption);
        }
      }
    }
    return null;
  }

  /** Waits before the next attempt; ends the stream if none makes sense. */
  private void pauseAfter(StylizeException interruption) {
    try {
      var delay = resumption.delayAfter(calls.ended(interruption));
      if (delay.isEmpty() || !calls.pause(delay.get(), deadline, context::isCancelled) && !context.isCancelled()) {
        throw calls.ended(interruption);
      }
    } catch (StylizeException end) {
      throw ended(end);
    }
  }

  /** Ends the stream by an error. */
  private StylizeException ended(StylizeException error) {
    failure = error;
    close();
    return error;
  }

  private StylizationEvent attempt() {
    try {
      if (call == null) {
        reader = new EventReader();
        call = context.wrap(() -> beginning.after(sequence, deadline)).call();
      }
      while (call.hasNext()) {
        var event = read(call.next());
        if (event.isPresent()) {
          return event.get();
        }
      }
    } catch (StatusRuntimeException error) {
      throw StylizeException.of(error);
    } catch (StylizeException error) {
      throw error;
    } catch (Exception impossible) {
      throw new IllegalStateException(impossible);
    }
    throw StylizeException.broken("the stream ended without a result");
  }

  private Optional<StylizationEvent> read(StylizationEvent event) {
    try {
      return reader.read(event);
    } catch (StylizeException end) {
      resumption.toldTheEnd();
      throw end;
    }
  }

  private void received(StylizationEvent event) {
    resumption.received();
    sequence = Math.max(sequence, event.getSequence());
    if (event.hasResult()) {
      result = event.getResult();
    }
  }

  /** Reads the rest of a call that has given its result, so that it is not cancelled after all was received. */
  private void drain() {
    try {
      call.forEachRemaining(event -> {});
    } catch (StatusRuntimeException ignored) {
      // nothing is missing
    }
    close();
  }

  private final class Events implements Iterator<StylizationEvent> {
    private StylizationEvent next;

    @Override
    public boolean hasNext() {
      if (next == null && result == null) {
        next = read();
      } else if (next == null && !context.isCancelled()) {
        drain();
      }
      return next != null;
    }

    @Override
    public StylizationEvent next() {
      if (!hasNext()) {
        throw new NoSuchElementException();
      }
      var event = next;
      next = null;
      received(event);
      return event;
    }
  }
}
