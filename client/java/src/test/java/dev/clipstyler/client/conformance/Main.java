package dev.clipstyler.client.conformance;

import com.google.gson.JsonObject;
import dev.clipstyler.client.Client;
import java.util.List;

/** Plays the cases that every client of the service must pass: {@code Main CONTROL [CASE...]}. */
public final class Main {
  private Main() {}

  public static void main(String[] arguments) {
    var control = new Control(arguments[0]);
    var names = List.of(arguments).subList(1, arguments.length);
    var code = 0;
    for (var element : control.json("cases").getAsJsonArray()) {
      var item = element.getAsJsonObject();
      if (!names.isEmpty() && !names.contains(item.get("name").getAsString())) {
        continue;
      }
      var detail = play(control, item);
      var report = new JsonObject();
      report.add("name", item.get("name"));
      report.addProperty("ok", detail.isEmpty());
      report.addProperty("detail", detail);
      System.out.println(report);
      code = detail.isEmpty() ? code : 1;
    }
    System.exit(code);
  }

  /** Plays a case; returns what went wrong, "" if nothing did. */
  private static String play(Control control, JsonObject item) {
    var server = control.json("servers/" + item.get("server").getAsString()).getAsJsonObject();
    try (var client = Client.connect(server.get("grpc").getAsString())) {
      new Player(control, client).play(item.getAsJsonArray("steps"));
      return "";
    } catch (Exception failure) {
      return String.valueOf(failure.getMessage());
    }
  }
}
