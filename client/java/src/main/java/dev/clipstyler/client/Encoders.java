package dev.clipstyler.client;

import dev.clipstyler.v1.ClassifyImageRequest;
import dev.clipstyler.v1.ClassifyImageResponse;
import dev.clipstyler.v1.EncodeImageRequest;
import dev.clipstyler.v1.EncodeImageResponse;
import dev.clipstyler.v1.EncodeTextRequest;
import dev.clipstyler.v1.EncodeTextResponse;
import dev.clipstyler.v1.EvaluateStylizationRequest;
import dev.clipstyler.v1.EvaluateStylizationResponse;
import dev.clipstyler.v1.GetTextDirectionRequest;
import dev.clipstyler.v1.GetTextDirectionResponse;
import java.time.Duration;

/**
 * The encoders themselves; requests without an encoder set use the server's first.
 *
 * <p>Every call throws {@link StylizeException}.
 */
public final class Encoders {
  private final Connection connection;
  private final Duration timeout;

  Encoders(Connection connection, Duration timeout) {
    this.connection = connection;
    this.timeout = timeout;
  }

  /** Embeds texts, each as one sentence. */
  public EncodeTextResponse encodeText(EncodeTextRequest request) {
    return connection.calls().unary(timeout, deadline -> connection.encoders(deadline).encodeText(request));
  }

  /** Embeds images. */
  public EncodeImageResponse encodeImage(EncodeImageRequest request) {
    return connection.calls().unary(timeout, deadline -> connection.encoders(deadline).encodeImage(request));
  }

  /** Gets the direction from a source text to a style text. */
  public GetTextDirectionResponse textDirection(GetTextDirectionRequest request) {
    return connection.calls().unary(timeout, deadline -> connection.encoders(deadline).getTextDirection(request));
  }

  /** Ranks labels by how well they describe an image, the most probable first. */
  public ClassifyImageResponse classify(ClassifyImageRequest request) {
    return connection.calls().unary(timeout, deadline -> connection.encoders(deadline).classifyImage(request));
  }

  /** Measures a stylized image against its photo and its text. */
  public EvaluateStylizationResponse evaluate(EvaluateStylizationRequest request) {
    return connection.calls().unary(timeout, deadline -> connection.encoders(deadline).evaluateStylization(request));
  }
}
