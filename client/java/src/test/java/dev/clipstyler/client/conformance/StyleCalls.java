package dev.clipstyler.client.conformance;

import static dev.clipstyler.client.conformance.Player.text;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.protobuf.Duration;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.JsonFormat;
import dev.clipstyler.client.Client;
import dev.clipstyler.client.StyledPhoto;
import dev.clipstyler.v1.CreateStyleRequest;
import dev.clipstyler.v1.ImageFormat;
import dev.clipstyler.v1.RenderStyleRequest;
import dev.clipstyler.v1.Style;
import dev.clipstyler.v1.StyleApplication;
import dev.clipstyler.v1.StyleControls;
import dev.clipstyler.v1.StyleFit;
import dev.clipstyler.v1.StylePhoto;
import dev.clipstyler.v1.StylizationSpec;
import java.util.ArrayList;
import java.util.List;

/** Makes the calls on styles. */
record StyleCalls(Control control, Client client) {
  void call(JsonObject step, JsonObject outcome) throws InvalidProtocolBufferException {
    var styles = client.styles();
    var style = text(step, "style");
    switch (text(step, "call")) {
      case "style_create" -> Outcomes.add(outcome, styles.create(text(step, "job")));
      case "style_fit" -> Outcomes.add(outcome, styles.fit(fitRequest(step)));
      case "style_get" -> Outcomes.add(outcome, styles.get(style));
      case "style_list" -> {
        var all = styles.list().toList();
        outcome.add("styles", Outcomes.strings(all.stream().map(Style::getName)));
        outcome.addProperty("first", all.get(0).getName());
        outcome.addProperty("first_is_bundled", all.get(0).getBundled());
      }
      case "style_delete" -> styles.delete(style);
      case "style_download" -> {
        var file = styles.download(style);
        outcome.addProperty("bytes", file.size());
        outcome.addProperty("style", "styles/" + Outcomes.sha256(file));
      }
      case "style_upload" -> Outcomes.add(outcome, styles.upload(control.get("styles/" + text(step, "file"))));
      case "style_apply" -> apply(step, outcome);
      case "style_render" -> {
        var image = styles.render(request(step));
        Outcomes.add(outcome, image.data(), image.metadata());
      }
      default -> throw new IllegalArgumentException("unknown call: " + step);
    }
  }

  private CreateStyleRequest fitRequest(JsonObject step) throws InvalidProtocolBufferException {
    var spec = StylizationSpec.newBuilder();
    JsonFormat.parser().merge(step.get("spec").toString(), spec);
    var request = CreateStyleRequest.newBuilder()
        .setFit(StyleFit.newBuilder().setSpec(spec).addAllPhotos(photos(step)))
        .setRequestId(text(step, "request_id"))
        .setPriority(Player.priority(step));
    if (step.has("timeout_s")) {
      request.setTimeout(Duration.newBuilder().setSeconds(Player.timeout(step).toSeconds()));
    }
    return request.build();
  }

  private void apply(JsonObject step, JsonObject outcome) throws InvalidProtocolBufferException {
    var stopAfter = step.has("stop_after") ? step.get("stop_after").getAsInt() : Integer.MAX_VALUE;
    var done = new ArrayList<StyledPhoto>();
    try (var styled = client.styles().apply(application(step), photos(step))) {
      for (var photo : styled) {
        done.add(photo);
        if (done.size() == stopAfter) {
          break;
        }
      }
    } finally {
      Outcomes.addStyled(outcome, done);
    }
  }

  private RenderStyleRequest request(JsonObject step) throws InvalidProtocolBufferException {
    var request = RenderStyleRequest.newBuilder().setApplication(application(step)).setStylization(text(step, "job"));
    if (step.has("photo")) {
      request.setPhoto(photo(text(step, "photo")));
    }
    return request.build();
  }

  private List<StylePhoto> photos(JsonObject step) {
    var names = step.has("photos") ? step.getAsJsonArray("photos") : new JsonArray();
    return names.asList().stream().map(name -> photo(name.getAsString())).toList();
  }

  private StylePhoto photo(String name) {
    return StylePhoto.newBuilder().setImage(control.get("photos/" + name)).build();
  }

  private static StyleApplication application(JsonObject step) throws InvalidProtocolBufferException {
    var controls = StyleControls.newBuilder();
    if (step.has("controls")) {
      JsonFormat.parser().merge(step.get("controls").toString(), controls);
    }
    var application = StyleApplication.newBuilder()
        .setStyle(text(step, "style"))
        .setSecondStyle(text(step, "second_style"))
        .setControls(controls);
    if (step.has("result_format")) {
      application.setResultFormat(ImageFormat.valueOf(text(step, "result_format")));
    }
    return application.build();
  }
}
