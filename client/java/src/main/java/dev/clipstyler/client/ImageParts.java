package dev.clipstyler.client;

import com.google.protobuf.ByteString;
import dev.clipstyler.v1.ImageMetadata;
import java.util.Optional;

/** Joins the parts of images that follow each other: of each first the metadata, then the bytes, in order. */
final class ImageParts {
  private ImageMetadata metadata;
  private ByteString data = ByteString.EMPTY;

  void begin(ImageMetadata announced) {
    metadata = announced;
    data = ByteString.EMPTY;
  }

  /** Adds bytes; returns the image once it is complete. */
  Optional<JobImage> add(ByteString part) {
    if (metadata == null) {
      throw StylizeException.broken("bytes arrived before the metadata of their image");
    }
    data = data.concat(part);
    if (data.size() < metadata.getSizeBytes()) {
      return Optional.empty();
    }
    Images.check(data, metadata);
    var image = new JobImage(data, metadata);
    metadata = null;
    return Optional.of(image);
  }

  /** Throws if an image has begun that is not complete. */
  void end() {
    if (metadata != null) {
      throw StylizeException.broken("the response ended within an image");
    }
  }
}
