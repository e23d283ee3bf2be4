package dev.clipstyler.client.conformance;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.JsonFormat;
import dev.clipstyler.client.Client;
import dev.clipstyler.client.EventStream;
import dev.clipstyler.client.StylizeException;
import dev.clipstyler.v1.CreateStylizationRequest;
import dev.clipstyler.v1.EncodeTextRequest;
import dev.clipstyler.v1.EncoderSet;
import dev.clipstyler.v1.ListStylizationsRequest;
import dev.clipstyler.v1.ServerInfo.Worker.State;
import dev.clipstyler.v1.Stylization;
import dev.clipstyler.v1.Stylization.ImageKind;
import dev.clipstyler.v1.Stylization.Priority;
import dev.clipstyler.v1.StylizationEvent;
import dev.clipstyler.v1.StylizationSpec;
import dev.clipstyler.v1.StylizeRequest;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;

/** Plays one case with one client. */
final class Player {
  private static final long EVENTUALLY_MS = 30_000;
  private static final long PAUSE_MS = 50;
  private static final Pattern VARIABLE = Pattern.compile("\\$\\{(\\w+)\\}");

  private final Control control;
  private final Client client;
  private final Map<String, JsonElement> variables = new HashMap<>();

  Player(Control control, Client client) {
    this.control = control;
    this.client = client;
    variables.put("uuid", new JsonPrimitive(UUID.randomUUID().toString()));
  }

  /** Plays the steps; throws a description of the first that fails. */
  void play(JsonArray steps) throws Exception {
    for (var index = 0; index < steps.size(); index++) {
      var step = filled(steps.get(index)).getAsJsonObject();
      if (step.has("control")) {
        control.post(text(step, "control"));
      }
      if (step.has("call")) {
        var outcome = matching(step, index + 1);
        var save = step.has("save") ? step.getAsJsonObject("save") : new JsonObject();
        save.entrySet().forEach(entry -> variables.put(entry.getKey(), outcome.get(entry.getValue().getAsString())));
      }
    }
  }

  private JsonObject matching(JsonObject step, int number) throws Exception {
    var until = System.currentTimeMillis() + (step.has("eventually") ? EVENTUALLY_MS : 0);
    var expected = step.has("expect") ? step.getAsJsonObject("expect") : new JsonObject();
    while (true) {
      var outcomes = outcomes(step);
      var wrong = outcomes.stream().flatMap(outcome -> Matching.mismatches(expected, outcome).stream()).toList();
      if (wrong.isEmpty()) {
        return outcomes.get(0);
      }
      if (System.currentTimeMillis() > until) {
        throw new IllegalStateException("step " + number + ", " + text(step, "call") + ": " + String.join("; ", wrong));
      }
      Thread.sleep(PAUSE_MS);
    }
  }

  private List<JsonObject> outcomes(JsonObject step) {
    var count = step.has("parallel") ? step.get("parallel").getAsInt() : 1;
    var threads = Executors.newFixedThreadPool(count);
    try {
      var running = IntStream.range(0, count)
          .mapToObj(index -> CompletableFuture.supplyAsync(() -> outcome(step), threads))
          .toList();
      return running.stream().map(CompletableFuture::join).toList();
    } finally {
      threads.shutdown();
    }
  }

  private JsonObject outcome(JsonObject step) {
    var outcome = new JsonObject();
    outcome.addProperty("code", "OK");
    try {
      call(step, outcome);
    } catch (StylizeException failure) {
      Outcomes.add(outcome, failure);
    } catch (InvalidProtocolBufferException mistake) {
      throw new IllegalStateException(mistake);
    }
    return outcome;
  }

  private void call(JsonObject step, JsonObject outcome) throws InvalidProtocolBufferException {
    var job = text(step, "job");
    switch (text(step, "call")) {
      case "stylize" -> stylize(step, outcome);
      case "watch" -> {
        var after = step.has("after_sequence") ? step.get("after_sequence").getAsLong() : 0;
        read(client.jobs().watch(job, after), step, outcome);
      }
      case "create" -> Outcomes.add(outcome, client.jobs().create(createRequest(step)));
      case "get" -> Outcomes.add(outcome, client.jobs().get(job));
      case "cancel" -> Outcomes.add(outcome, client.jobs().cancel(job));
      case "delete" -> client.jobs().delete(job);
      case "list" -> {
        var state = Stylization.State.valueOf(text(step, "state"));
        var jobs = client.jobs().list(ListStylizationsRequest.newBuilder().setState(state).build());
        outcome.add("jobs", Outcomes.strings(jobs.map(Stylization::getName)));
      }
      case "image" -> {
        var image = client.jobs().download(job, ImageKind.valueOf(text(step, "kind")));
        Outcomes.add(outcome, image.data(), image.metadata());
      }
      case "upload" -> outcome.addProperty("upload", client.jobs().upload(photo(step)).getUpload());
      case "info" -> info(outcome);
      case "encode_text" -> {
        var request = EncodeTextRequest.newBuilder();
        step.getAsJsonArray("texts").forEach(text -> request.addTexts(text.getAsString()));
        client.encoders().encodeText(request.build());
      }
      default -> new StyleCalls(control, client).call(step, outcome);
    }
  }

  private void stylize(JsonObject step, JsonObject outcome) throws InvalidProtocolBufferException {
    var timed = step.has("timeout_s") ? client.withTimeout(timeout(step)) : client;
    var request = StylizeRequest.newBuilder().setSpec(spec(step)).setPriority(priority(step)).build();
    read(timed.stylize(request), step, outcome);
  }

  private CreateStylizationRequest createRequest(JsonObject step) throws InvalidProtocolBufferException {
    var request = CreateStylizationRequest.newBuilder()
        .setSpec(spec(step))
        .setRequestId(text(step, "request_id"))
        .setPriority(priority(step));
    if (step.has("timeout_s")) {
      request.setTimeout(Duration.newBuilder().setSeconds(timeout(step).toSeconds()));
    }
    return request.build();
  }

  private void read(EventStream stream, JsonObject step, JsonObject outcome) {
    var at = step.has("at") ? step.getAsJsonObject("at") : new JsonObject();
    var awaited = text(at, "event");
    var events = new ArrayList<StylizationEvent>();
    try (stream) {
      for (var event : stream) {
        events.add(event);
        if (!Outcomes.kind(event).equals(awaited)) {
          continue;
        }
        if (at.has("stop")) {
          break;
        }
        awaited = "";
        control.post(text(at, "control"));
      }
    } finally {
      Outcomes.add(outcome, events);
    }
  }

  private void info(JsonObject outcome) {
    var info = client.serverInfo();
    outcome.addProperty("version", info.getVersion());
    outcome.addProperty("max_image_bytes", info.getLimits().getMaxImageBytes());
    outcome.add("encoder_sets", Outcomes.strings(info.getEncoderSetsList().stream().map(EncoderSet::getName)));
    outcome.addProperty("running", info.getQueue().getRunningCount());
    var states = info.getWorkersList().stream().map(worker -> worker.getState());
    outcome.addProperty("ready", states.anyMatch(List.of(State.STATE_IDLE, State.STATE_BUSY)::contains));
  }

  private StylizationSpec spec(JsonObject step) throws InvalidProtocolBufferException {
    var spec = StylizationSpec.newBuilder();
    JsonFormat.parser().merge(step.get("spec").toString(), spec);
    return step.has("upload")
        ? spec.setUpload(text(step, "upload")).build()
        : spec.setImage(photo(step)).build();
  }

  private ByteString photo(JsonObject step) {
    return control.get("photos/" + text(step, "photo"));
  }

  static Priority priority(JsonObject step) {
    return step.has("priority") ? Priority.valueOf(text(step, "priority")) : Priority.PRIORITY_UNSPECIFIED;
  }

  static java.time.Duration timeout(JsonObject step) {
    return java.time.Duration.ofMillis(Math.round(1000 * step.get("timeout_s").getAsDouble()));
  }

  /** Puts the values of variables into all strings. */
  private JsonElement filled(JsonElement value) {
    if (value.isJsonArray()) {
      var copy = new JsonArray();
      value.getAsJsonArray().forEach(inner -> copy.add(filled(inner)));
      return copy;
    }
    if (value.isJsonObject()) {
      var copy = new JsonObject();
      value.getAsJsonObject().entrySet().forEach(entry -> copy.add(entry.getKey(), filled(entry.getValue())));
      return copy;
    }
    if (!value.isJsonPrimitive() || !value.getAsJsonPrimitive().isString()) {
      return value;
    }
    var whole = VARIABLE.matcher(value.getAsString());
    if (whole.matches()) {
      return variables.get(whole.group(1));
    }
    return new JsonPrimitive(
        whole.replaceAll(found -> Matcher.quoteReplacement(variables.get(found.group(1)).getAsString())));
  }

  static String text(JsonObject object, String key) {
    return object.has(key) ? object.get(key).getAsString() : "";
  }
}
