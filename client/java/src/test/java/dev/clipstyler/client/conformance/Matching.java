package dev.clipstyler.client.conformance;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import java.util.ArrayList;
import java.util.List;

/** Whether an outcome is what a case expects. */
final class Matching {
  private Matching() {}

  /** Describes each key whose value is not as expected. */
  static List<String> mismatches(JsonObject expected, JsonObject outcome) {
    var wanted = new JsonObject();
    wanted.addProperty("code", "OK");
    expected.entrySet().forEach(entry -> wanted.add(entry.getKey(), entry.getValue()));
    var wrong = new ArrayList<String>();
    for (var entry : wanted.entrySet()) {
      var value = valueOf(outcome, entry.getKey());
      if (!matches(entry.getValue(), value)) {
        wrong.add(entry.getKey() + ": expected " + entry.getValue() + ", got " + value);
      }
    }
    return wrong;
  }

  private static boolean matches(JsonElement expected, JsonElement value) {
    if (!expected.isJsonObject()) {
      return isNumber(expected) && isNumber(value)
          ? expected.getAsDouble() == value.getAsDouble()
          : expected.equals(value);
    }
    var rule = expected.getAsJsonObject();
    if (rule.has("present")) {
      return isPresent(value) == rule.get("present").getAsBoolean();
    }
    if (rule.has("min")) {
      return isNumber(value) && value.getAsDouble() >= rule.get("min").getAsDouble();
    }
    if (rule.has("max")) {
      return isNumber(value) && value.getAsDouble() <= rule.get("max").getAsDouble();
    }
    if (rule.has("contains")) {
      return value.isJsonArray() && isSubsequence(rule.getAsJsonArray("contains"), value.getAsJsonArray());
    }
    if (!value.isJsonObject()) {
      return false;
    }
    var inner = value.getAsJsonObject();
    return rule.isEmpty()
        ? inner.isEmpty()
        : rule.entrySet().stream().allMatch(entry -> matches(entry.getValue(), valueOf(inner, entry.getKey())));
  }

  private static boolean isPresent(JsonElement value) {
    if (value.isJsonArray()) {
      return !value.getAsJsonArray().isEmpty();
    }
    if (value.isJsonObject()) {
      return !value.getAsJsonObject().isEmpty();
    }
    if (isNumber(value)) {
      return value.getAsDouble() != 0;
    }
    return !value.isJsonNull() && !value.getAsString().isEmpty() && !value.getAsString().equals("false");
  }

  private static boolean isSubsequence(JsonArray items, JsonArray values) {
    var found = 0;
    for (var value : values) {
      if (found < items.size() && items.get(found).equals(value)) {
        found++;
      }
    }
    return found == items.size();
  }

  private static boolean isNumber(JsonElement value) {
    return value.isJsonPrimitive() && value.getAsJsonPrimitive().isNumber();
  }

  private static JsonElement valueOf(JsonObject object, String key) {
    return object.has(key) ? object.get(key) : JsonNull.INSTANCE;
  }
}
