import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";

// What the transports report when a response ends without its status, or when the other side closes the connection.
const CUT_SHORT =
  /missing (status|trailer|EndStreamResponse)|incomplete envelope|http\/2 stream closed with error code CANCEL/;
// What Node.js reports for a stream that a proxy reset while the connection lives on.
const RESET = "ERR_HTTP2_STREAM_ERROR";

/**
 * Reports a lost connection as UNAVAILABLE.
 *
 * It belongs behind all other interceptors of a transport: what they throw is no lost connection, though it looks alike.
 */
export const reportLostConnections: Interceptor = (next) => async (request) => {
  try {
    const response = await next(request);
    return response.stream ? { ...response, message: reported(response.message) } : response;
  } catch (thrown) {
    throw translated(thrown);
  }
};

async function* reported<T>(messages: AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
  try {
    yield* messages;
  } catch (thrown) {
    throw translated(thrown);
  }
}

function translated(thrown: unknown): ConnectError {
  const error = ConnectError.from(thrown);
  if (!isConnectionFailure(error)) return error;
  return new ConnectError(error.rawMessage, Code.Unavailable, error.metadata, undefined, error.cause ?? error);
}

/** Whether the connection failed, as opposed to one stream, the server reporting an error, or the end by the caller. */
function isConnectionFailure(error: ConnectError): boolean {
  const { cause } = error;
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  const isFromNode = typeof code === "string" && code !== RESET;
  const isFromFetch = cause instanceof TypeError && error.code === Code.Unknown;
  return isFromNode || isFromFetch || CUT_SHORT.test(error.rawMessage);
}
