package dev.clipstyler.client;

import com.google.protobuf.ByteString;
import dev.clipstyler.v1.ImageMetadata;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Iterator;
import java.util.Optional;
import java.util.function.Function;

/** Reads and checks images. */
final class Images {
  private Images() {}

  /** Reads the image of a response that has one; `metadataOf` gives null for a part with bytes. */
  static <P> JobImage read(Iterator<P> response, Function<P, ImageMetadata> metadataOf, Function<P, ByteString> dataOf) {
    var parts = new ImageParts();
    var image = Optional.<JobImage>empty();
    while (response.hasNext()) {
      var part = response.next();
      var metadata = metadataOf.apply(part);
      if (metadata == null) {
        image = parts.add(dataOf.apply(part));
      } else {
        parts.begin(metadata);
      }
    }
    return image.orElseThrow(() -> StylizeException.broken("the response ended within its image"));
  }

  /** Throws if an image is not the one that its metadata announces. */
  static void check(ByteString data, ImageMetadata announced) {
    if (data.size() != announced.getSizeBytes() || !sha256(data).equals(announced.getSha256())) {
      throw StylizeException.broken(
          data.size() + " bytes arrived that do not match the announced " + announced.getSizeBytes());
    }
  }

  static ByteString sha256(ByteString data) {
    try {
      var digest = MessageDigest.getInstance("SHA-256");
      data.asReadOnlyByteBufferList().forEach(digest::update);
      return ByteString.copyFrom(digest.digest());
    } catch (NoSuchAlgorithmException impossible) {
      throw new IllegalStateException("every Java platform has SHA-256", impossible);
    }
  }
}
