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

/** Wait for the end of a call, which is where its timer is cleared: behind what has arrived already. */
async function ended(response: AsyncIterator<unknown>): Promise<void> {
  try {
    while (!(await response.next()).done);
  } catch {
    // it has ended
  }
}
