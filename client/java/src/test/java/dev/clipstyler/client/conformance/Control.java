package dev.clipstyler.client.conformance;

import com.google.gson.JsonElement;
import com.google.gson.JsonParser;
import com.google.protobuf.ByteString;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** The test's control: cases, photos, gates and servers. */
record Control(String address, HttpClient http) {
  Control(String address) {
    this(address, HttpClient.newHttpClient());
  }

  JsonElement json(String path) {
    return JsonParser.parseString(get(path).toStringUtf8());
  }

  ByteString get(String path) {
    return send(request(path).GET());
  }

  void post(String path) {
    send(request(path).POST(HttpRequest.BodyPublishers.noBody()));
  }

  private HttpRequest.Builder request(String path) {
    return HttpRequest.newBuilder(URI.create(address + "/" + path));
  }

  private ByteString send(HttpRequest.Builder request) {
    try {
      var response = http.send(request.build(), BodyHandlers.ofByteArray());
      if (response.statusCode() != 200) {
        throw new IllegalStateException("the control answered " + response.statusCode());
      }
      return ByteString.copyFrom(response.body());
    } catch (IOException | InterruptedException failure) {
      throw new IllegalStateException(failure);
    }
  }
}
