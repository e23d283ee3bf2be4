package dev.clipstyler.client;

import com.google.protobuf.ByteString;
import dev.clipstyler.v1.ImageMetadata;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** Digests of images. */
final class Images {
  private Images() {}

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
