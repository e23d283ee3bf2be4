package dev.clipstyler.client;

import dev.clipstyler.v1.GetServerInfoRequest;
import dev.clipstyler.v1.ServerInfo;
import dev.clipstyler.v1.StylizeRequest;
import io.grpc.ChannelCredentials;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Status;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/** A connection to a clipstyler server; safe for use by several threads. */
public final class Client implements AutoCloseable {
  /** Where a server listens by default. */
  public static final String DEFAULT_TARGET = "127.0.0.1:50051";

  private static final Duration INFO_TIMEOUT = Duration.ofSeconds(10);
  private static final Duration POLL = Duration.ofMillis(100);

  private final Connection connection;
  private final Duration timeout;

  private Client(Connection connection, Duration timeout) {
    this.connection = connection;
    this.timeout = timeout;
  }

  /**
   * Connects to "HOST:PORT" without encryption.
   *
   * @throws IllegalArgumentException the target is no address of a server
   */
  public static Client connect(String target) {
    return connect(target, InsecureChannelCredentials.create());
  }

  /**
   * Connects to "HOST:PORT" with credentials, for TLS.
   *
   * @throws IllegalArgumentException the target is no address of a server
   */
  public static Client connect(String target, ChannelCredentials credentials) {
    if (!Connection.isAddress(target)) {
      throw new IllegalArgumentException(
          "\"" + target + "\" is no address of a server: use HOST:PORT, such as " + DEFAULT_TARGET);
    }
    return connect(Grpc.newChannelBuilder(target, credentials));
  }

  /** Connects by a channel of your own, to which retries and keep-alive are added. */
  public static <B extends ManagedChannelBuilder<B>> Client connect(ManagedChannelBuilder<B> builder) {
    @SuppressWarnings("unchecked") // a builder is of its own type
    var configured = Connection.configured((B) builder);
    return new Client(new Connection(configured.build()), null);
  }

  /**
   * The same connection with a deadline for each call, retries included.
   *
   * <p>Without it, calls with one response take at most a minute, and streams as long as their stylization.
   */
  public Client withTimeout(Duration callTimeout) {
    return new Client(connection, callTimeout);
  }

  /** Durable jobs: create, watch, list, cancel, download, ... */
  public Jobs jobs() {
    return new Jobs(connection, timeout);
  }

  /** Styles: fitted once, applied to any number of photos. */
  public Styles styles() {
    return new Styles(connection, timeout);
  }

  /** Embeddings, text directions, classification, evaluation. */
  public Encoders encoders() {
    return new Encoders(connection, timeout);
  }

  /**
   * Stylizes a photo by a text while the call lasts: iterate over the stream, or wait for its result.
   *
   * <p>A call that a restart of the server interrupts begins again: its events start over, with the same result if a
   * seed is given. Create and watch a job to continue instead.
   */
  public EventStream stylize(StylizeRequest request) {
    return connection.oneShot(
        (sequence, deadline) ->
            Connection.mapped(connection.stylizations(deadline).stylize(request), response -> response.getEvent()),
        timeout);
  }

  /** Gets version, limits, encoder sets, workers and queue. */
  public ServerInfo serverInfo() {
    var allowed = timeout == null ? INFO_TIMEOUT : timeout;
    var request = GetServerInfoRequest.getDefaultInstance();
    return connection.calls().unary(allowed, deadline -> connection.server(deadline).getServerInfo(request)).getServerInfo();
  }

  /**
   * Waits until a worker takes jobs.
   *
   * @throws StylizeException none does in time: UNAVAILABLE; or the client was closed, the context cancelled, or the thread
   *     interrupted: CANCELLED
   */
  public ServerInfo waitUntilReady(Duration allowed) {
    var deadline = Calls.deadline(allowed);
    var problem = "its worker is still starting";
    do {
      try {
        var left = Duration.ofNanos(deadline.timeRemaining(TimeUnit.NANOSECONDS));
        var info = withTimeout(INFO_TIMEOUT.compareTo(left) < 0 ? INFO_TIMEOUT : left).serverInfo();
        if (info.getWorkersList().stream().anyMatch(Client::isReady)) {
          return info;
        }
      } catch (StylizeException failure) {
        if (Context.current().isCancelled()) {
          throw failure;
        }
        problem = failure.getMessage();
      }
    } while (connection.calls().pause(POLL, deadline));
    throw StylizeException.of(
        Status.Code.UNAVAILABLE, "", "the server was not ready after " + allowed.toMillis() + " ms: " + problem);
  }

  private static boolean isReady(ServerInfo.Worker worker) {
    return switch (worker.getState()) {
      case STATE_IDLE, STATE_BUSY -> true;
      default -> false;
    };
  }

  /** Closes the connection; running calls are cancelled, and later ones, too. */
  @Override
  public void close() {
    connection.channel().shutdownNow();
  }
}
