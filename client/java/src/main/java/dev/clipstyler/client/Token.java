package dev.clipstyler.client;

import io.grpc.CallCredentials;
import io.grpc.Metadata;
import io.grpc.SecurityLevel;
import io.grpc.Status;
import java.util.concurrent.Executor;

/**
 * A bearer token that every call shows, over TLS only.
 *
 * <p>{@code Client.connect(target, CompositeChannelCredentials.create(TlsChannelCredentials.create(), new Token(token)))}
 */
public final class Token extends CallCredentials {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final String token;

  /** Credentials of a token, as the operator of the server has given it out. */
  public Token(String token) {
    this.token = token;
  }

  @Override
  public void applyRequestMetadata(RequestInfo request, Executor executor, MetadataApplier applier) {
    if (request.getSecurityLevel() != SecurityLevel.PRIVACY_AND_INTEGRITY) {
      applier.fail(Status.UNAUTHENTICATED.withDescription(
          "the token would be sent without encryption: connect with TlsChannelCredentials"));
      return;
    }
    var headers = new Metadata();
    headers.put(AUTHORIZATION, "Bearer " + token);
    applier.apply(headers);
  }

  /** Keeps the token out of logs. */
  @Override
  public String toString() {
    return "Token";
  }
}
