package dev.clipstyler.client;

import java.util.Optional;

/**
 * What became of one photo of a call: an image, or the error why there is none.
 *
 * @param index number of the photo, from 0 in the order in which they were sent
 * @param image what the style makes of it
 * @param error why there is no image
 */
public record StyledPhoto(int index, Optional<JobImage> image, Optional<StylizeException> error) {
  static StyledPhoto of(int index, JobImage image) {
    return new StyledPhoto(index, Optional.of(image), Optional.empty());
  }

  static StyledPhoto of(int index, StylizeException error) {
    return new StyledPhoto(index, Optional.empty(), Optional.of(error));
  }
}
