package dev.clipstyler.client;

import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ClientTest {
  @ParameterizedTest
  @ValueSource(strings = {"", " ", "http://127.0.0.1:50051", "https://a", "a:65536", "[::1]:99999999999999999999"})
  void whatIsNoAddressIsRefusedAtOnce(String target) {
    assertThrows(IllegalArgumentException.class, () -> Client.connect(target));
  }

  @ParameterizedTest
  @ValueSource(strings = {"a", "a:65535", "[::1]:80", "dns:///a:80"})
  void anAddressIsTaken(String target) {
    Client.connect(target).close();
  }
}
