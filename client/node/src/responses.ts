import { type CallOptions } from "@connectrpc/connect";

/**
 * Iterate over the messages of a response; leaving the loop ends the call.
 *
 * Iterators of Connect go on without their reader, and the timer of a deadline keeps a program alive until it fires.
 */
export async function* messages<T>(
  begin: (options: CallOptions) => AsyncIterable<T>,
  options: CallOptions,
): AsyncGenerator<T, void, undefined> {
  const leaving = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, leaving.signal]) : leaving.signal;
  const response = begin({ ...options, signal })[Symbol.asyncIterator]();
  try {
    for (let { done, value } = await response.next(); !done; { done, value } = await response.next()) yield value;
  } finally {
    leaving.abort();
    await ended(response);
  }
}

/** Wait for the first message of a response, and iterate over all: what fails before it can begin again. */
export async function begun<T>(
  response: AsyncGenerator<T, void, undefined>,
): Promise<AsyncGenerator<T, void, undefined>> {
  const first = await response.next();
  async function* all(): AsyncGenerator<T, void, undefined> {
    try {
      if (!first.done) yield first.value;
      yield* response;
    } finally {
      await response.return();
    }
  }
  return all();
}

/** Wait for the end of a call, which is where its timer is cleared: behind what has arrived already. */
async function ended(response: AsyncIterator<unknown>): Promise<void> {
  try {
    while (!(await response.next()).done);
  } catch {
    // it has ended
  }
}
