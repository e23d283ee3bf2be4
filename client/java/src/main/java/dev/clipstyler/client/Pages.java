package dev.clipstyler.client;

import java.util.List;
import java.util.function.Function;
import java.util.stream.Stream;

/** Lists that come in pages. */
final class Pages {
  private Pages() {}

  /** The items of a page and of all that follow it, which are requested as the stream is read. */
  static <P, T> Stream<T> items(
      P first, Function<P, String> nextToken, Function<String, P> page, Function<P, List<T>> itemsOf) {
    return Stream.iterate(first, current -> current != null, current -> {
          var token = nextToken.apply(current);
          return token.isEmpty() ? null : page.apply(token);
        })
        .flatMap(current -> itemsOf.apply(current).stream());
  }
}
