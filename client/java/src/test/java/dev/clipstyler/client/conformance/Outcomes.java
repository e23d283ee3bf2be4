package dev.clipstyler.client.conformance;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import com.google.protobuf.ByteString;
import dev.clipstyler.client.FieldViolation;
import dev.clipstyler.client.JobImage;
import dev.clipstyler.client.StyledPhoto;
import dev.clipstyler.client.StylizeException;
import dev.clipstyler.v1.ImageMetadata;
import dev.clipstyler.v1.Style;
import dev.clipstyler.v1.Stylization;
import dev.clipstyler.v1.StylizationEvent;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.function.Predicate;
import java.util.stream.Collector;
import java.util.stream.Stream;

/** Describes what calls returned. */
final class Outcomes {
  private static final Gson GSON = new Gson();

  private Outcomes() {}

  static void add(JsonObject outcome, StylizeException failure) {
    outcome.addProperty("code", failure.code().name());
    outcome.addProperty("message", failure.getMessage());
    outcome.addProperty("reason", failure.reason());
    outcome.add("metadata", GSON.toJsonTree(failure.metadata()));
    outcome.add("fields", strings(failure.violations().stream().map(FieldViolation::field).sorted()));
    JsonElement none = JsonNull.INSTANCE;
    outcome.add(
        "retry_delay_s",
        failure.retryDelay().<JsonElement>map(delay -> new JsonPrimitive(delay.toMillis() / 1000.0)).orElse(none));
  }

  static void add(JsonObject outcome, Stylization job) {
    outcome.addProperty("job", job.getName());
    outcome.addProperty("state", job.getState().name());
    outcome.addProperty("cancel_reason", job.getCancelReason().name());
    outcome.addProperty("step", job.getStep());
    outcome.addProperty("attempts", job.getAttemptCount());
    outcome.addProperty("style_text", job.getSpec().getStyleText());
    outcome.addProperty("seed", job.getSpec().getOptions().getSeed());
    outcome.addProperty("error_reason", job.getError().getReason());
    outcome.addProperty("fitted_photos", job.getFittedPhotoCount());
    outcome.addProperty("fitted_style", job.getResult().getStyle());
  }

  static void add(JsonObject outcome, Style style) {
    outcome.addProperty("style", style.getName());
    outcome.addProperty("style_text", style.getStyleText());
    outcome.addProperty("steps", style.getStepCount());
    outcome.addProperty("photos", style.getPhotoCount());
    outcome.addProperty("size_bytes", style.getSizeBytes());
    outcome.addProperty("bundled", style.getBundled());
    outcome.addProperty("thumbnail", !style.getThumbnail().isEmpty());
  }

  static void addStyled(JsonObject outcome, List<StyledPhoto> photos) {
    var indexes = new JsonArray();
    photos.forEach(photo -> indexes.add(photo.index()));
    outcome.add("indexes", indexes);
    outcome.add("sizes", strings(photos.stream().map(photo -> photo.image().map(Outcomes::size).orElse(""))));
    outcome.add(
        "digests", strings(photos.stream().map(photo -> photo.image().map(image -> sha256(image.data())).orElse(""))));
    outcome.add(
        "reasons", strings(photos.stream().map(photo -> photo.error().map(StylizeException::reason).orElse(""))));
    outcome.addProperty(
        "bytes", photos.stream().mapToInt(photo -> photo.image().map(image -> image.data().size()).orElse(0)).sum());
  }

  private static String size(JobImage image) {
    return image.metadata().getWidthPx() + "x" + image.metadata().getHeightPx();
  }

  static void add(JsonObject outcome, ByteString data, ImageMetadata metadata) {
    outcome.addProperty("width", metadata.getWidthPx());
    outcome.addProperty("height", metadata.getHeightPx());
    outcome.addProperty("format", metadata.getFormat().name());
    outcome.addProperty("bytes", data.size());
    outcome.addProperty("sha256", sha256(data));
  }

  static void add(JsonObject outcome, List<StylizationEvent> events) {
    outcome.add("events", strings(events.stream().map(Outcomes::kind)));
    outcome.addProperty("previews", count(events, StylizationEvent::hasPreview));
    outcome.add(
        "warnings",
        strings(events.stream().filter(StylizationEvent::hasWarning).map(event -> event.getWarning().getCode())));
    outcome.addProperty(
        "skipped_progress", events.stream().mapToInt(event -> event.getGap().getSkippedProgressCount()).sum());
    outcome.addProperty("log_expired", count(events, event -> event.getGap().getLogExpired()) > 0);
    events.stream().filter(StylizationEvent::hasDraft).findFirst().ifPresent(event -> add(outcome, event.getDraft()));
    var sequences = events.stream().map(StylizationEvent::getSequence).toList();
    outcome.addProperty("in_order", sequences.equals(sequences.stream().sorted().toList()));
    if (events.isEmpty()) {
      return;
    }
    var last = events.get(events.size() - 1);
    outcome.addProperty("sequence", last.getSequence());
    outcome.addProperty("job", last.getStylization());
    if (last.hasResult()) {
      outcome.addProperty("seed", last.getResult().getSpec().getOptions().getSeed());
      outcome.addProperty("fitted_style", last.getResult().getResult().getStyle());
      add(outcome, last.getResult().getImageData(), last.getResult().getResult().getImage());
    }
  }

  private static void add(JsonObject outcome, StylizationEvent.Draft draft) {
    outcome.addProperty("draft_style", draft.getStyle());
    outcome.addProperty("draft_text", draft.getStyleText());
    outcome.addProperty("draft_similarity", draft.hasSimilarity() ? draft.getSimilarity() : null);
    outcome.addProperty("draft_width", draft.getImage().getWidthPx());
    outcome.addProperty("draft_bytes", draft.getImageData().size());
  }

  static String kind(StylizationEvent event) {
    return event.getEventCase().name().toLowerCase(Locale.ROOT);
  }

  static JsonArray strings(Stream<String> values) {
    return values.collect(Collector.of(JsonArray::new, JsonArray::add, (one, other) -> one));
  }

  private static long count(List<StylizationEvent> events, Predicate<StylizationEvent> predicate) {
    return events.stream().filter(predicate).count();
  }

  static String sha256(ByteString data) {
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(data.toByteArray()));
    } catch (NoSuchAlgorithmException impossible) {
      throw new IllegalStateException(impossible);
    }
  }
}
