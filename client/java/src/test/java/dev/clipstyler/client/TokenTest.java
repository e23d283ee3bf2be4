package dev.clipstyler.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;

import io.grpc.Attributes;
import io.grpc.CallCredentials;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.SecurityLevel;
import io.grpc.Status;
import org.junit.jupiter.api.Test;

class TokenTest {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  /** What a call got: headers or a failure. */
  private static final class Outcome extends CallCredentials.MetadataApplier {
    private Metadata headers;
    private Status failure;

    @Override
    public void apply(Metadata applied) {
      headers = applied;
    }

    @Override
    public void fail(Status status) {
      failure = status;
    }
  }

  private static Outcome applied(SecurityLevel level) {
    var request = new CallCredentials.RequestInfo() {
      @Override
      public MethodDescriptor<?, ?> getMethodDescriptor() {
        throw new UnsupportedOperationException();
      }

      @Override
      public SecurityLevel getSecurityLevel() {
        return level;
      }

      @Override
      public String getAuthority() {
        return "studio.example";
      }

      @Override
      public Attributes getTransportAttrs() {
        return Attributes.EMPTY;
      }
    };
    var outcome = new Outcome();
    new Token("secret").applyRequestMetadata(request, Runnable::run, outcome);
    return outcome;
  }

  @Test
  void everyCallShowsTheToken() {
    assertEquals("Bearer secret", applied(SecurityLevel.PRIVACY_AND_INTEGRITY).headers.get(AUTHORIZATION));
  }

  @Test
  void aTokenIsNotSentWithoutEncryption() {
    var outcome = applied(SecurityLevel.NONE);
    assertNull(outcome.headers);
    assertEquals(Status.Code.UNAUTHENTICATED, outcome.failure.getCode());
    assertFalse(outcome.failure.toString().contains("secret"));
  }

  @Test
  void aTokenIsNotPrinted() {
    assertFalse(new Token("secret").toString().contains("secret"));
  }
}
